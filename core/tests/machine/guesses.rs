//! Brute force of the pairing code.

use std::time::Duration;

use provisioning_core::endpoint::Endpoint;
use provisioning_core::fault::Fault;
use provisioning_core::session::AcceptError;
use provisioning_core::wire::Request;

use crate::phone::{by_qr, right, wrong};
use crate::world::World;

/// Makes a wrong guess on a new connection.
fn guess(world: &mut World) {
    let phone = world.connect();
    world.open(phone, &wrong()).unwrap();
    assert_eq!(world.phones[phone].error, Some(AcceptError::WrongSecret), "{:?}", world.phones[phone].refusals);
    world.close(phone).unwrap();
}

/// The remaining lock time, in which no code is compared.
fn locked(world: &mut World) -> Option<u32> {
    let phone = world.connect();
    let accepted = world.air.len();
    world.open(phone, &right()).unwrap();
    let refusal = world.phones[phone].refusals.first().copied();
    assert_eq!(world.phones[phone].session.is_some(), refusal.is_none());
    assert_eq!(world.air.len(), accepted + 1);
    world.close(phone).unwrap();
    refusal.map(|refusal| {
        assert_eq!(refusal.fault, Fault::Locked);
        refusal.retry_after
    })
}

#[test]
fn after_five_wrong_codes_the_right_one_is_refused_and_a_reboot_does_not_help() {
    let mut world = World::new();
    for _ in 0..5 {
        guess(&mut world);
    }
    assert_eq!(locked(&mut world), Some(60));
    for _ in 0..3 {
        world.reboot().unwrap();
        assert_eq!(locked(&mut world), Some(60), "a restart starts the pause again");
    }
    assert_eq!(world.disk.guesses, 5);
}

#[test]
fn a_locked_node_compares_nothing_and_counts_nothing() {
    let mut world = World::new();
    for _ in 0..5 {
        guess(&mut world);
    }
    for _ in 0..100 {
        assert!(locked(&mut world).is_some());
    }
    assert_eq!(world.disk.guesses, 5);
    world.advance(Duration::from_mins(1)).unwrap();
    assert_eq!(locked(&mut world), None);
}

#[test]
fn pauses_double_over_reconnects_and_reboots() {
    let mut world = World::new();
    for _ in 0..5 {
        guess(&mut world);
    }
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(locked(&mut world), Some(minutes * 60));
        world.reboot().unwrap();
        world.advance(Duration::from_secs(u64::from(minutes) * 60 - 1)).unwrap();
        assert_eq!(locked(&mut world), Some(1));
        world.advance(Duration::from_secs(1)).unwrap();
        guess(&mut world);
    }
}

#[test]
fn a_success_clears_the_count_on_disk() {
    let mut world = World::new();
    for _ in 0..4 {
        guess(&mut world);
    }
    let phone = world.paired();
    assert_eq!(world.disk.guesses, 5, "not before the phone has proven that it knows the code");
    world.ask(phone, &Request::Status).unwrap();
    world.idle().unwrap();
    assert_eq!(world.disk.guesses, 0);
}

#[test]
fn a_fake_phone_that_never_confirms_is_charged() {
    let mut world = World::new();
    for made in 1..=5 {
        let phone = world.connect();
        world.open(phone, &right()).unwrap();
        assert!(world.phones[phone].session.is_some());
        world.close(phone).unwrap();
        assert_eq!(world.disk.guesses, made);
    }
    assert!(locked(&mut world).is_some());
}

#[test]
fn a_guess_is_charged_before_it_is_answered() {
    let mut world = World::new();
    world.idle().unwrap();
    let phone = world.connect();
    let open = world.phones[phone].open("jarvis-5b91b661", &wrong(), &mut world.random);
    world.write(phone, Endpoint::Session, open).unwrap();
    assert!(world.air.is_empty(), "nothing is answered while the count is not on disk");
    world.close(phone).unwrap();
    world.idle().unwrap();
    assert_eq!(world.disk.guesses, 1, "disconnecting does not refund it");
    assert!(world.air.is_empty());
}

#[test]
fn a_new_handshake_on_the_same_link_is_a_new_attempt() {
    let mut world = World::new();
    let phone = world.connect();
    for made in 1..=5 {
        world.open(phone, &wrong()).unwrap();
        assert_eq!(world.disk.guesses, made);
    }
    world.open(phone, &right()).unwrap();
    assert_eq!(world.phones[phone].refusals[0].fault, Fault::Locked);
}

#[test]
fn a_second_phone_is_busy_and_is_not_charged() {
    let mut world = World::new();
    let first = world.paired();
    for _ in 0..50 {
        let second = world.connect();
        world.open(second, &right()).unwrap();
        assert_eq!(world.phones[second].refusals[0].fault, Fault::Busy);
        world.close(second).unwrap();
    }
    assert_eq!(world.disk.guesses, 1);
    world.ask(first, &Request::Status).unwrap();
    assert_eq!(world.phones[first].reports().len(), 1, "the first phone is not affected");
}

#[test]
fn invalid_messages_are_not_charged_and_not_answered_with_a_secret() {
    let mut world = World::new();
    let phone = world.connect();
    for message in [&[][..], &[0xff; 512], &[0x0a; 3]] {
        world.write(phone, Endpoint::Session, message.to_vec()).unwrap();
    }
    world.idle().unwrap();
    assert_eq!(world.disk.guesses, 0);
    assert_eq!(world.phones[phone].refusals.len(), 3);
}

#[test]
fn a_neighbour_who_locks_the_code_does_not_lock_out_the_owner_with_the_qr_code() {
    let mut world = World::new();
    for _ in 0..5 {
        guess(&mut world);
    }
    assert!(locked(&mut world).is_some());
    let owner = world.connect();
    world.open(owner, &by_qr()).unwrap();
    world.ask(owner, &Request::Status).unwrap();
    assert_eq!(world.phones[owner].reports().len(), 1);
    world.idle().unwrap();
    assert_eq!(world.disk.guesses, 0, "the owner's session clears the count");
}

#[test]
fn a_wrong_confirmation_ends_the_handshake_at_once() {
    let mut world = World::new();
    let phone = world.paired();
    let session = world.phones[phone].session.as_mut().unwrap();
    let mut record = session.seal(Endpoint::Status, &Request::Status.encode());
    record.confirmation[0] ^= 1;
    world.write(phone, Endpoint::Status, record.encode()).unwrap();
    assert_eq!(world.phones[phone].refusals[0].fault, Fault::WrongCode);
    // A second try with the same answer is impossible.
    record.confirmation[0] ^= 1;
    world.write(phone, Endpoint::Status, record.encode()).unwrap();
    assert_eq!(world.phones[phone].refusals[1].fault, Fault::NotAuthenticated);
    assert!(!world.machine.has_session());
}
