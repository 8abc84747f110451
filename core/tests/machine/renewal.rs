//! New pairing secrets in place of those on the label.

use provisioning_core::fault::Fault;
use provisioning_core::machine::{Answer, Input, LocalRequest, Ticket};
use provisioning_core::secret::SecretText;
use provisioning_core::session::AcceptError;
use provisioning_core::wire::Request;

use crate::phone::{by_code, right};
use crate::world::{CODE, World, renewed};

fn code(text: &str) -> Answer {
    Answer::PairingCode(SecretText::new(text.into()))
}

/// Sends a request of a caller that has proven nothing, and returns the answer.
fn in_clear(world: &mut World, request: LocalRequest) -> Option<Answer> {
    let ticket = Ticket(1 << 32);
    world.input(Input::ClearRequest { ticket, request }).unwrap();
    world.idle().unwrap();
    world.answered(ticket).cloned()
}

/// Whether a phone with this code is accepted.
fn accepts(world: &mut World, code: &str) -> bool {
    let phone = world.connect();
    world.open(phone, &by_code(code)).unwrap();
    let error = world.phones[phone].error;
    world.close(phone).unwrap();
    assert!(matches!(error, None | Some(AcceptError::WrongSecret)));
    error.is_none()
}

#[test]
fn a_new_code_is_on_disk_before_it_is_shown_and_the_old_one_is_void() {
    let mut world = World::new();
    world.idle().unwrap();
    let ticket = world.local(LocalRequest::RenewPairing).unwrap();
    assert_eq!((world.answered(ticket), world.disk.renewals), (None, 0));
    world.idle().unwrap();
    assert_eq!((world.answered(ticket), world.disk.renewals), (Some(&code(&renewed(1))), 1));
    for _ in 0..2 {
        assert!(!accepts(&mut world, CODE) && accepts(&mut world, &renewed(1)));
        world.reboot().unwrap();
    }
    assert_eq!(in_clear(&mut world, LocalRequest::PairingCode), Some(code(&renewed(1))));
}

#[test]
fn a_code_that_cannot_be_stored_is_not_shown_and_the_old_one_stays() {
    let mut world = World::new();
    world.idle().unwrap();
    world.full.push_back(Fault::StorageFailed);
    let ticket = world.local(LocalRequest::RenewPairing).unwrap();
    world.idle().unwrap();
    assert_eq!(world.answered(ticket), Some(&Answer::Refused(Fault::StorageFailed)));
    assert!(accepts(&mut world, CODE));
}

#[test]
fn callers_at_the_same_time_get_the_same_code() {
    let mut world = World::new();
    world.idle().unwrap();
    let tickets = [(); 3].map(|()| world.local(LocalRequest::RenewPairing).unwrap());
    world.idle().unwrap();
    for ticket in tickets {
        assert_eq!(world.answered(ticket), Some(&code(&renewed(1))));
    }
    assert_eq!(world.disk.renewals, 1);
}

#[test]
fn a_session_survives_a_renewal_and_a_handshake_does_not() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    world.local(LocalRequest::RenewPairing).unwrap();
    world.idle().unwrap();
    let to = world.ask(phone, &Request::Status).unwrap();
    world.idle().unwrap();
    assert_eq!((world.phones[phone].replies(to).len(), world.closed.len()), (1, 0));
    world.close(phone).unwrap();

    let phone = world.connect();
    world.open(phone, &by_code(&renewed(1))).unwrap();
    world.local(LocalRequest::RenewPairing).unwrap();
    world.idle().unwrap();
    assert_eq!(world.closed, [world.phones[phone].link]);
}

#[test]
fn in_clear_a_code_is_shown_beside_a_session_and_not_renewed() {
    let mut world = World::new();
    let phone = world.connect();
    world.open(phone, &right()).unwrap();
    world.ask(phone, &Request::Status).unwrap();
    assert_eq!(in_clear(&mut world, LocalRequest::RenewPairing), Some(Answer::Busy));
    world.answers.clear();
    assert_eq!(in_clear(&mut world, LocalRequest::PairingCode), Some(code(CODE)));
    assert_eq!(world.disk.renewals, 0);
}
