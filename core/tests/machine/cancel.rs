//! A phone ends an attempt in progress.

use std::time::Duration;

use provisioning_core::domain::{State, Step};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{AccessPointPolicy, LocalRequest};
use provisioning_core::wire::{Reply, Request, StatusReport};

use crate::center::unreachable;
use crate::matrix::States;
use crate::phone::right;
use crate::world::{Radio, World, credentials, request};

/// The stages before the point of no return. A phone has to wait for the disk in `Recording`, where the attempt has failed.
const CANCELLABLE: [States; 4] = [States::Saving, States::Joining, States::Registering, States::Claiming];
const TOO_LATE: [States; 3] = [States::Storing, States::Keeping, States::Marking];

fn cancel() -> Request {
    Request::Cancel { request_id: credentials().request_id }
}

fn fault(report: &StatusReport) -> Option<Fault> {
    report.failure.as_ref().map(|failure| failure.fault)
}

/// The one status that answers a request.
fn status(world: &World, phone: usize, to: u64) -> StatusReport {
    match &world.phones[phone].replies(to)[..] {
        [Reply::Status(report)] => report.clone(),
        replies => panic!("not one status: {replies:?}"),
    }
}

/// The attempt has ended without a trace, and the next one succeeds.
fn assert_cancelled(world: &mut World, phone: usize, to: u64) {
    assert_eq!(fault(&status(world, phone, to)), Some(Fault::Cancelled));
    world.until(World::settled).unwrap();
    let report = world.phones[phone].last_report();
    assert_eq!((report.state, report.retryable, fault(&report)), (State::Error, true, Some(Fault::Cancelled)));
    assert_eq!(world.radio, Radio::Before);
    assert!(world.disk.pending.is_none() && world.disk.enrollment.is_none() && !world.disk.provisioned);
    assert_eq!(world.disk.outcome.as_ref().and_then(|outcome| outcome.failure.clone()), report.failure);
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(|world| world.step_is(Step::Done)).unwrap();
    world.check_enrollment();
}

#[test]
fn an_attempt_is_cancelled_in_every_stage_before_its_answer_is_stored() {
    for state in CANCELLABLE {
        let (mut world, phone) = state.reach();
        let to = world.ask(phone, &cancel()).unwrap();
        assert!(world.phones[phone].replies(to).is_empty(), "{state:?}: the end is on disk before it is reported");
        world.idle().unwrap();
        assert_cancelled(&mut world, phone, to);
    }
}

#[test]
fn an_attempt_is_cancelled_before_its_answer_has_left() {
    let mut world = World::with(AccessPointPolicy::Always);
    let phone = world.paired();
    world.until(|world| matches!(world.radio, Radio::AccessPoint(_))).unwrap();
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(|world| world.step_is(Step::Saved)).unwrap();
    let to = world.ask(phone, &cancel()).unwrap();
    world.advance(Duration::from_mins(1)).unwrap();
    assert_eq!(fault(&status(&world, phone, to)), Some(Fault::Cancelled));
    assert!(matches!(world.radio, Radio::AccessPoint(_)), "the radio was not touched");
    assert!(world.machine.status().retryable && world.disk.pending.is_none());
}

#[test]
fn an_attempt_is_cancelled_while_it_waits_for_the_command_center() {
    let mut world = World::new();
    world.center.failures.extend([unreachable(), unreachable()]);
    let phone = world.paired();
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(|world| world.center.failures.len() == 1).unwrap();
    world.idle().unwrap();
    world.center.failures.clear();
    let to = world.ask(phone, &cancel()).unwrap();
    world.idle().unwrap();
    assert_eq!(world.center.requests, 1);
    assert_cancelled(&mut world, phone, to);
}

#[test]
fn an_attempt_that_is_cancelled_before_it_is_stored_is_refused() {
    let (mut world, phone) = States::Established.reach();
    let sent = world.ask(phone, &request(&credentials())).unwrap();
    world.ask(phone, &cancel()).unwrap();
    world.idle().unwrap();
    assert_eq!(world.phones[phone].replies(sent), [Reply::Refused(Fault::Cancelled)]);
}

#[test]
fn after_the_point_of_no_return_the_answer_is_the_status() {
    for state in TOO_LATE {
        let (mut world, phone) = state.reach();
        let to = world.ask(phone, &cancel()).unwrap();
        let report = status(&world, phone, to);
        assert_eq!((report.state, report.progress, fault(&report)), (State::Registering, 90, None), "{state:?}");
        world.until(|world| world.step_is(Step::Done)).unwrap();
        let to = world.ask(phone, &cancel()).unwrap();
        assert_eq!(status(&world, phone, to).state, State::Provisioned, "{state:?}");
    }
}

#[test]
fn an_attempt_that_has_just_failed_is_answered_with_its_own_reason() {
    let (mut world, phone) = States::Recording.reach();
    let to = world.ask(phone, &cancel()).unwrap();
    assert!(world.phones[phone].replies(to).is_empty(), "the reason is on disk before it is reported");
    world.idle().unwrap();
    assert_eq!(fault(&status(&world, phone, to)), Some(Fault::WrongPassword));
}

#[test]
fn a_cancel_that_is_sent_again_has_the_same_answer() {
    let (mut world, phone) = States::Joining.reach();
    let [first, second] = [0, 1].map(|_| world.ask(phone, &cancel()).unwrap());
    world.idle().unwrap();
    let third = world.ask(phone, &cancel()).unwrap();
    for to in [first, second, third] {
        assert_eq!(fault(&status(&world, phone, to)), Some(Fault::Cancelled));
    }
}

#[test]
fn a_cancel_without_such_an_attempt_says_so() {
    let (mut world, phone) = States::Established.reach();
    for request_id in [0, credentials().request_id] {
        let to = world.ask(phone, &Request::Cancel { request_id }).unwrap();
        assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::NoAttempt)]);
    }
    let (mut world, phone) = States::Joining.reach();
    for request_id in [0, credentials().request_id + 1] {
        let to = world.ask(phone, &Request::Cancel { request_id }).unwrap();
        assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::NoAttempt)]);
    }
    world.until(|world| world.step_is(Step::Done)).unwrap();
}

#[test]
fn another_paired_phone_cancels_what_a_lost_one_has_begun() {
    let (mut world, phone) = States::Joining.reach();
    world.close(phone).unwrap();
    let other = world.connect();
    // The guess is counted while the join is in progress.
    let join = world.commands.pop_front().unwrap();
    world.open(other, &right()).unwrap();
    world.commands.push_front(join);
    let to = world.ask(other, &cancel()).unwrap();
    world.idle().unwrap();
    assert_cancelled(&mut world, other, to);
}

#[test]
fn an_attempt_in_clear_is_cancelled_by_its_number_0() {
    let mut world = World::new();
    let clear = provisioning_core::domain::Credentials { request_id: 0, ..credentials() };
    world.local(LocalRequest::Credentials(Box::new(clear))).unwrap();
    let phone = world.connect();
    world.open(phone, &right()).unwrap();
    let to = world.ask(phone, &Request::Cancel { request_id: 0 }).unwrap();
    world.idle().unwrap();
    assert_eq!(fault(&status(&world, phone, to)), Some(Fault::Cancelled));
    assert!(world.disk.enrollment.is_none());
}

#[test]
fn a_cancelled_join_opens_the_access_point_again() {
    let mut world = World::with(AccessPointPolicy::Always);
    let phone = world.paired();
    world.until(|world| matches!(world.radio, Radio::AccessPoint(_))).unwrap();
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(|world| world.step_is(Step::Joining)).unwrap();
    let to = world.ask(phone, &cancel()).unwrap();
    world.until(World::settled).unwrap();
    assert_eq!(fault(&status(&world, phone, to)), Some(Fault::Cancelled));
    assert!(matches!(world.radio, Radio::AccessPoint(_)));
    assert!(world.machine.status().access_point_restored);
}

#[test]
fn a_cancelled_attempt_is_not_resumed_after_a_power_cut() {
    for state in CANCELLABLE {
        let (mut world, phone) = state.reach();
        let to = world.ask(phone, &cancel()).unwrap();
        world.until(|world| !world.phones[phone].replies(to).is_empty()).unwrap();
        world.reboot().unwrap();
        world.advance(Duration::from_mins(5)).unwrap();
        let status = world.machine.status();
        assert_eq!(status.failure.as_ref().map(|failure| failure.fault), Some(Fault::Cancelled), "{state:?}");
        assert!(world.disk.pending.is_none() && !world.disk.provisioned, "{state:?}");
    }
}

#[test]
fn a_reset_answers_who_waits_for_the_end_of_an_attempt() {
    let (mut world, phone) = States::Joining.reach();
    let to = world.ask(phone, &cancel()).unwrap();
    world.local(LocalRequest::Reset).unwrap();
    world.idle().unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::Resetting)]);
}
