//! Factory reset during every activity.

use provisioning_core::domain::{Registration, State, Step};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{
    AccessPointPolicy, Answer, Command, CommandCenterCommand, DiskCommand, Input, Joined, LocalRequest, RadioCommand,
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
    assert_eq!(world.commands.len(), 2, "forget the networks, and reset");
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

#[test]
fn a_reset_that_was_interrupted_is_resumed_after_a_restart() {
    let (mut world, _) = States::Done.reach();
    world.full.push_back(Fault::StorageFailed);
    let ticket = world.local(LocalRequest::Reset).unwrap();
    world.idle().unwrap();
    assert_eq!(world.answered(ticket), Some(&Answer::Refused(Fault::StorageFailed)));
    assert!(world.disk.resetting);
    world.reboot().unwrap();
    world.idle().unwrap();
    assert!(!world.disk.resetting && !world.disk.provisioned);
    assert_eq!(world.machine.status().state(), State::ApMode);
}

#[test]
fn a_reset_that_fails_during_an_attempt_ends_the_attempt_with_the_reason() {
    for state in [States::Saving, States::Joining, States::Registering, States::Storing, States::Keeping, States::Marking] {
        let (mut world, phone) = state.reach();
        let ticket = world.local(LocalRequest::Reset).unwrap();
        world.commands.retain(|command| !matches!(command, Command::Disk(DiskCommand::SaveK2 { .. })));
        world.full.push_back(Fault::StorageFailed);
        world.until(World::settled).unwrap();
        assert_eq!(world.answered(ticket), Some(&Answer::Refused(Fault::StorageFailed)), "{state:?}");
        assert_eq!(world.phones[phone].last_report().failure.unwrap().fault, Fault::StorageFailed, "{state:?}");
        assert_eq!(world.radio, Radio::Before, "{state:?}");
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
