//! Factory reset during every activity.

use provisioning_core::domain::{Registration, State, Status, Step};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{
    AccessPointPolicy, Answer, Command, CommandCenterCommand, DiskCommand, Input, Joined, LocalRequest, RadioCommand, Ticket,
};
use provisioning_core::secret::SecretText;
use provisioning_core::wire::{Reply, Request};

use crate::matrix::{States, snapshot};
use crate::world::{Radio, UNREGISTERED, World, credentials, k2, request};

#[test]
fn a_reset_in_every_state_clears_everything_and_the_node_can_be_provisioned_again() {
    for state in States::ALL {
        let (mut world, phone) = state.reach();
        let ticket = world.local(LocalRequest::Reset).unwrap();
        world.idle().unwrap();
        assert!(matches!(world.answered(ticket), Some(Answer::Reset(_))), "{state:?}");
        assert_eq!(world.machine.status().state(), State::ApMode, "{state:?}");
        assert_eq!(world.machine.identity().node_id, UNREGISTERED);
        assert!(!world.machine.info().previously_provisioned);
        let disk = &world.disk;
        assert!(disk.k2.is_none() && disk.pending.is_none() && disk.enrollment.is_none() && disk.outcome.is_none());
        assert_eq!(world.kept, None);

        world.close(phone).unwrap();
        let phone = world.paired();
        world.ask(phone, &request(&credentials())).unwrap();
        world.until(|world| world.step_is(Step::Done)).unwrap();
        assert_eq!(world.phones[phone].last_report().state, State::Provisioned);
    }
}

#[test]
fn late_results_of_commands_that_a_reset_stopped_are_ignored() {
    for state in [
        States::Saving,
        States::Joining,
        States::Registering,
        States::Storing,
        States::Keeping,
        States::Marking,
        States::Recording,
    ] {
        let (mut world, _) = state.reach();
        let command = world.commands.front().cloned().unwrap();
        world.local(LocalRequest::Reset).unwrap();
        assert!(world.commands.iter().all(|running| running.id() != command.id()), "{state:?} is cancelled");
        // Its result was sent before it was cancelled.
        let before = snapshot(&world);
        let done = match command {
            Command::Radio(RadioCommand::Join { op, .. }) => op.done(Ok(Joined { limited_connectivity: false })),
            Command::Radio(RadioCommand::KeepNetwork { op }) => op.done(Ok(())),
            Command::CommandCenter(CommandCenterCommand::Register { op, .. }) => {
                op.done(Ok(Registration { node_id: "n".into(), node_key: SecretText::new("k".into()), household_id: None }))
            }
            Command::Disk(
                DiskCommand::SavePending { op, .. }
                | DiskCommand::SaveEnrollment { op, .. }
                | DiskCommand::MarkProvisioned { op }
                | DiskCommand::SaveOutcome { op, .. },
            ) => op.done(Ok(())),
            command => panic!("not a command of an attempt: {command:?}"),
        };
        world.input(Input::Done(done)).unwrap();
        assert_eq!(snapshot(&world), before, "{state:?}");
        world.idle().unwrap();
        assert_eq!(world.machine.status().state(), State::ApMode);
    }
}

#[test]
fn two_requests_for_a_reset_are_one_reset_with_two_answers() {
    let (mut world, _) = States::Done.reach();
    let tickets = [world.local(LocalRequest::Reset).unwrap(), world.local(LocalRequest::Reset).unwrap()];
    assert_eq!(world.commands.len(), 1, "one reset begins");
    world.idle().unwrap();
    for ticket in tickets {
        assert!(matches!(world.answered(ticket), Some(Answer::Reset(_))));
    }
    let again = world.local(LocalRequest::Reset).unwrap();
    world.idle().unwrap();
    assert!(matches!(world.answered(again), Some(Answer::Reset(_))));
}

#[test]
fn a_reset_refuses_an_attempt_that_is_not_yet_accepted() {
    let mut world = World::new();
    let phone = world.paired();
    world.idle().unwrap();
    let to = world.ask(phone, &request(&credentials())).unwrap();
    world.local(LocalRequest::Reset).unwrap();
    world.idle().unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::Resetting)]);
}

#[test]
fn during_a_reset_nothing_is_taken() {
    let (mut world, phone) = States::Resetting.reach();
    let settings = world.ask(phone, &Request::K2(k2("k2-1"))).unwrap();
    let attempt = world.ask(phone, &request(&credentials())).unwrap();
    let local = world.local(LocalRequest::K2(k2("k2-1"))).unwrap();
    for to in [settings, attempt] {
        assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::Resetting)]);
    }
    assert_eq!(world.answered(local), Some(&Answer::Refused(Fault::Resetting)));
    world.idle().unwrap();
    assert!(world.disk.k2.is_none());
}

/// A provisioned node whose next reset fails so many times at forgetting its networks; and the reset's ticket, answered.
fn with_an_incomplete_reset(failures: usize) -> (World, Ticket) {
    let (mut world, _) = States::Done.reach();
    world.forget_failures.extend(vec![Fault::NetworkUnavailable; failures]);
    let ticket = world.local(LocalRequest::Reset).unwrap();
    world.idle().unwrap();
    (world, ticket)
}

#[test]
fn a_reset_that_cannot_forget_the_networks_has_not_succeeded() {
    let (world, ticket) = with_an_incomplete_reset(1);
    assert_eq!(world.answered(ticket), Some(&Answer::ResetIncomplete(Fault::NetworkUnavailable)));
    assert!(world.disk.resetting && world.disk.enrollment.is_some(), "nothing is deleted before");
    assert_eq!(world.machine.status(), &Status::waiting(), "the status still has the network's name");
}

#[test]
fn a_reset_that_cannot_forget_the_networks_tries_again_with_growing_pauses() {
    let (mut world, _) = with_an_incomplete_reset(7);
    world.close(0).unwrap();
    let mut pauses = Vec::new();
    while world.disk.resetting {
        let pause = world.machine.poll_timeout().unwrap().saturating_sub(world.now);
        pauses.push(pause.as_secs());
        world.advance(pause).unwrap();
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!((world.kept, world.disk.provisioned), (None, false));
}

#[test]
fn while_a_reset_is_incomplete_nothing_is_taken_and_nothing_is_provisioned() {
    let (mut world, _) = with_an_incomplete_reset(1);
    world.close(0).unwrap();
    let phone = world.paired();
    let (now, failures) = (world.now, world.forget_failures.len());
    assert_eq!(failures, 0);
    let refused = [Request::K2(k2("k2-1")), request(&credentials())].map(|request| world.ask(phone, &request).unwrap());
    for to in refused {
        assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::Resetting)]);
    }
    for request in [LocalRequest::K2(k2("k2-1")), LocalRequest::Credentials(Box::new(credentials()))] {
        let ticket = world.local(request).unwrap();
        assert_eq!(world.answered(ticket), Some(&Answer::Refused(Fault::Resetting)));
    }
    assert_eq!((world.now, world.disk.resetting), (now, true));
}

#[test]
fn a_second_request_for_an_incomplete_reset_ends_its_pause() {
    let (mut world, _) = with_an_incomplete_reset(1);
    let again = world.local(LocalRequest::Reset).unwrap();
    world.idle().unwrap();
    assert!(matches!(world.answered(again), Some(Answer::Reset(_))));
}

#[test]
fn an_incomplete_reset_is_resumed_after_a_restart() {
    let (mut world, _) = with_an_incomplete_reset(1);
    world.reboot().unwrap();
    world.idle().unwrap();
    assert!(!world.disk.resetting && !world.disk.provisioned);
    assert_eq!((world.machine.status().state(), &world.kept), (State::ApMode, &None));
}

#[test]
fn a_reset_whose_files_cannot_be_deleted_tries_again() {
    let (mut world, _) = States::Done.reach();
    let ticket = world.local(LocalRequest::Reset).unwrap();
    world.work().unwrap();
    world.full.push_back(Fault::StorageFailed);
    world.idle().unwrap();
    assert_eq!(world.answered(ticket), Some(&Answer::ResetIncomplete(Fault::StorageFailed)));
    world.until(|world| !world.disk.resetting).unwrap();
    assert!(world.disk.enrollment.is_none());
}

#[test]
fn a_reset_that_cannot_be_stored_changes_nothing() {
    let (mut world, _) = States::Done.reach();
    world.full.push_back(Fault::StorageFailed);
    let ticket = world.local(LocalRequest::Reset).unwrap();
    world.idle().unwrap();
    assert_eq!(world.answered(ticket), Some(&Answer::Refused(Fault::StorageFailed)));
    assert!(world.disk.provisioned && world.kept.is_some());
    assert_eq!(world.machine.status().state(), State::Provisioned);
}

#[test]
fn a_reset_that_cannot_be_stored_ends_the_attempt_with_the_reason() {
    for state in [States::Saving, States::Joining, States::Registering, States::Storing, States::Keeping, States::Marking] {
        let (mut world, phone) = state.reach();
        let ticket = world.local(LocalRequest::Reset).unwrap();
        world.commands.retain(|command| !matches!(command, Command::Disk(DiskCommand::SaveK2 { .. })));
        world.full.push_back(Fault::StorageFailed);
        world.until(World::settled).unwrap();
        assert_eq!(world.answered(ticket), Some(&Answer::Refused(Fault::StorageFailed)), "{state:?}");
        assert_eq!(world.phones[phone].last_report().failure.unwrap().fault, Fault::StorageFailed, "{state:?}");
        assert_eq!(world.radio, world.kept.clone().map_or(Radio::Before, Radio::Joined), "{state:?}");
        world.ask(phone, &request(&credentials())).unwrap();
        world.until(|world| world.step_is(Step::Done)).unwrap();
    }
}

#[test]
fn the_access_point_keeps_its_name_over_a_reset() {
    let mut world = World::with(AccessPointPolicy::WhenQuiet(std::time::Duration::from_mins(1)));
    let phone = world.paired();
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(|world| world.step_is(Step::Done)).unwrap();
    world.reboot().unwrap();
    world.advance(std::time::Duration::from_mins(1)).unwrap();
    assert_eq!(world.radio, Radio::AccessPoint(UNREGISTERED.into()));
    world.local(LocalRequest::Reset).unwrap();
    world.idle().unwrap();
    assert_eq!(world.radio, Radio::AccessPoint(UNREGISTERED.into()));
}
