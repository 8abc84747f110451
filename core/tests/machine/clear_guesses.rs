//! Guesses of the pairing code in clear, as a form without a script sends them.

use std::time::Duration;

use provisioning_core::domain::Step;
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Answer, FREE_GUESSES, Input, LocalRequest, Ticket};
use provisioning_core::secret::SecretText;

use crate::phone::right;
use crate::world::{CODE, World, credentials};

const TICKET: Ticket = Ticket(1 << 32);

fn ready() -> World {
    let mut world = World::new();
    world.idle().unwrap();
    world
}

fn send(world: &mut World, code: &str) {
    let request = LocalRequest::Guess { code: SecretText::new(code.into()), credentials: Box::new(credentials()) };
    world.answers.clear();
    world.input(Input::ClearRequest { ticket: TICKET, request }).unwrap();
}

/// Guesses, and returns the answer.
fn guess(world: &mut World, code: &str) -> Option<Answer> {
    send(world, code);
    world.until(|world| world.answered(TICKET).is_some()).unwrap();
    world.answered(TICKET).cloned()
}

#[test]
fn the_right_code_in_clear_begins_an_attempt() {
    let mut world = ready();
    assert_eq!(guess(&mut world, "999999"), Some(Answer::Refused(Fault::WrongCode)));
    world.idle().unwrap();
    assert!(world.step_is(Step::Waiting));
    assert_eq!(guess(&mut world, CODE), Some(Answer::Accepted));
    world.idle().unwrap();
    assert!(world.step_is(Step::Done));
    assert_eq!(world.disk.guesses, 0);
}

#[test]
fn a_guess_in_clear_is_on_disk_before_it_is_answered() {
    let mut world = ready();
    send(&mut world, CODE);
    assert_eq!((world.answered(TICKET), world.disk.guesses), (None, 0));
    world.until(|world| world.answered(TICKET).is_some()).unwrap();
    assert_eq!(world.disk.guesses, 1);
    let mut world = ready();
    world.full.push_back(Fault::StorageFailed);
    assert_eq!(guess(&mut world, CODE), Some(Answer::Refused(Fault::StorageFailed)));
    assert!(world.step_is(Step::Waiting));
}

#[test]
fn guesses_in_clear_lock_like_those_of_handshakes() {
    let mut world = ready();
    for _ in 0..FREE_GUESSES {
        assert_eq!(guess(&mut world, "999999"), Some(Answer::Refused(Fault::WrongCode)));
    }
    let minute = Duration::from_mins(1);
    for _ in 0..2 {
        assert_eq!(guess(&mut world, CODE), Some(Answer::Locked(minute)));
        let phone = world.connect();
        world.open(phone, &right()).unwrap();
        assert_eq!(world.phones[phone].refusals.first().map(|refusal| refusal.fault), Some(Fault::Locked));
        world.reboot().unwrap();
    }
    assert_eq!(world.disk.guesses, FREE_GUESSES);
    world.advance(minute).unwrap();
    assert_eq!(guess(&mut world, CODE), Some(Answer::Accepted));
}

#[test]
fn beside_a_session_a_guess_in_clear_is_not_counted() {
    let mut world = ready();
    world.paired();
    let counted = world.disk.guesses;
    assert_eq!(guess(&mut world, "999999"), Some(Answer::Busy));
    world.idle().unwrap();
    assert!(world.disk.guesses <= counted);
}

#[test]
fn the_second_of_two_guesses_at_once_waits() {
    let mut world = ready();
    send(&mut world, "999999");
    let request = LocalRequest::Guess { code: SecretText::new(CODE.into()), credentials: Box::new(credentials()) };
    let other = Ticket(2 << 32);
    world.input(Input::ClearRequest { ticket: other, request }).unwrap();
    world.idle().unwrap();
    assert_eq!(world.answered(other), Some(&Answer::Busy));
    assert_eq!(world.answered(TICKET), Some(&Answer::Refused(Fault::WrongCode)));
}
