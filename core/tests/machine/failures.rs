//! Each failure is reported by its own fault.

use std::time::Duration;

use provisioning_core::domain::{Credentials, State, Step, UnixTime};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{
    Command, DISK_LIMIT, DiskCommand, Input, Joined, LocalRequest, RADIO_LIMIT, RadioCommand, Refused,
};
use provisioning_core::wire::{Reply, Request};

use crate::center::unreachable;
use crate::matrix::States;
use crate::world::{Radio, World, credentials, k2, request, ssid, with_a_code};

/// The attempt fails with this fault at that step, the previous network is restored, and the next attempt succeeds.
fn fails(world: &mut World, fault: Fault, step: Step) {
    fails_with(world, &credentials(), fault, step);
}

fn fails_with(world: &mut World, credentials: &Credentials, fault: Fault, step: Step) {
    let phone = world.attempt(credentials);
    let report = world.phones[phone].last_report();
    assert_eq!((report.state, report.retryable, report.progress), (State::Error, true, step.progress()));
    assert_eq!(report.failure.as_ref().map(|failure| failure.fault), Some(fault));
    assert_eq!(report.message, fault.text());
    assert_eq!(world.radio, Radio::Before);
    assert!(world.disk.pending.is_none());
    assert!(!world.disk.provisioned);

    world.ask(phone, &request(credentials)).unwrap();
    world.until(|world| world.step_is(Step::Done)).unwrap();
    assert_eq!(world.phones[phone].last_report().state, State::Provisioned);
    world.check_enrollment();
}

#[test]
fn a_refused_code_fails_the_attempt_and_the_registration_is_repeated() {
    for fault in [
        Fault::ProvisionCodeRejected,
        Fault::ProvisionCodeExpired,
        Fault::ProvisionCodeClaimed,
        Fault::CommandCenterUnreachable,
        Fault::StorageFailed,
    ] {
        let mut world = World::new();
        world.center.claim_failures.push_back(fault);
        fails_with(&mut world, &with_a_code(), fault, Step::Claiming);
        assert_eq!((world.center.requests, world.center.nodes.len(), world.center.claims.len()), (2, 1, 1));
    }
}

#[test]
fn every_failure_of_a_join_is_reported_by_name() {
    for fault in Fault::ALL.iter().copied().filter(|fault| (20..40).contains(&fault.number())) {
        let mut world = World::new();
        world.joins.push_back(Err(fault));
        fails(&mut world, fault, Step::Joining);
    }
}

#[test]
fn a_final_failure_of_a_registration_is_reported_by_name_and_not_retried() {
    for (fault, status) in [
        (Fault::TlsFailed, None),
        (Fault::TokenRejected, Some(401)),
        (Fault::CommandCenterRefused, Some(422)),
        (Fault::CommandCenterAnswer, Some(200)),
        (Fault::AddressRefused, None),
        (Fault::InvalidUrl, None),
    ] {
        let mut world = World::new();
        world.center.failures.push_back(Refused { fault, status, retry_after: None });
        let requests = world.center.requests;
        fails(&mut world, fault, Step::Registering);
        assert_eq!(world.center.requests, requests + 2, "once, and once for the attempt that succeeded");
    }
}

#[test]
fn a_registration_at_an_unreachable_command_center_has_eight_tries() {
    let mut world = World::new();
    world.center.failures.extend((0..8).map(|_| unreachable()));
    fails(&mut world, Fault::CommandCenterUnreachable, Step::Registering);
    assert_eq!(world.center.requests, 9);
}

#[test]
fn a_registration_at_a_failing_command_center_has_three_tries() {
    let mut world = World::new();
    let failed = Refused { fault: Fault::CommandCenterFailed, status: Some(503), retry_after: None };
    world.center.failures.extend((0..3).map(|_| failed.clone()));
    fails(&mut world, Fault::CommandCenterFailed, Step::Registering);
}

#[test]
fn the_node_waits_for_a_router_that_forwards_late() {
    let mut world = World::new();
    world.center.failures.extend((0..5).map(|_| unreachable()));
    let phone = world.paired();
    let began = world.now;
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(World::settled).unwrap();
    assert_eq!(world.phones[phone].last_report().state, State::Provisioned);
    // The pauses are 1, 2, 4, 8 and 15 seconds, each shortened by half at most.
    assert!(world.now >= began + Duration::from_secs(15));
    assert!(world.now <= began + Duration::from_secs(30));
}

/// By the node's clock, the certificate of the command center is not valid yet.
fn clock_not_set() -> Refused {
    Refused { fault: Fault::ClockNotSet, status: None, retry_after: None }
}

#[test]
fn the_node_stays_in_the_network_until_its_clock_is_set() {
    let mut world = World::new();
    world.center.failures.extend((0..15).map(|_| clock_not_set()));
    let phone = world.paired();
    world.ask(phone, &request(&credentials())).unwrap();
    let began = world.now;
    world.until(|world| world.machine.status().waits_for_time).unwrap();
    let told = world.phones[phone].last_report();
    assert_eq!((told.state, told.progress), (State::Registering, Step::Registering.progress()));
    world.until(|world| world.center.failures.is_empty()).unwrap();
    assert_eq!(world.radio, Radio::Joined(ssid("home")));
    assert!(world.now <= began + Duration::from_mins(1));
    world.until(World::settled).unwrap();
    assert_eq!(world.phones[phone].last_report().state, State::Provisioned);
    let told = world.phones[phone].reports().iter().filter(|report| report.message.contains("clock")).count();
    assert_eq!(told, 1, "the status does not change at every try");
}

#[test]
fn a_clock_that_is_not_set_within_a_minute_fails_the_attempt() {
    let mut world = World::new();
    world.center.failures.extend((0..100).map(|_| clock_not_set()));
    let phone = world.paired();
    let began = world.now;
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(World::settled).unwrap();
    assert_eq!(world.now, began + Duration::from_mins(1));
    let report = world.phones[phone].last_report();
    assert_eq!(report.failure.map(|failure| failure.fault), Some(Fault::ClockNotSet));
    assert_eq!((report.message.as_str(), report.retryable), (Fault::ClockNotSet.text(), true));
    assert_eq!(world.radio, Radio::Before);
}

#[test]
fn the_wait_for_the_clock_uses_up_no_tries() {
    let mut world = World::new();
    world.center.failures.extend((0..10).map(|_| clock_not_set()));
    let failed = Refused { fault: Fault::CommandCenterFailed, status: Some(503), retry_after: None };
    world.center.failures.extend((0..2).map(|_| failed.clone()));
    let phone = world.attempt(&credentials());
    assert_eq!(world.phones[phone].last_report().state, State::Provisioned);
}

#[test]
fn the_phones_time_advances_while_the_node_tries() {
    let sent = UnixTime(1_800_000_000);
    let mut world = World::new();
    world.center.failures.extend((0..4).map(|_| clock_not_set()));
    world.attempt(&Credentials { time: Some(sent), ..with_a_code() });
    world.idle().unwrap();
    let after = |seconds| Some(sent.after(Duration::from_secs(seconds)));
    // Five registrations with pauses of three seconds, and the claim.
    assert_eq!(world.center.times, [0, 3, 6, 9, 12, 12].map(after));
}

#[test]
fn the_same_credentials_with_a_later_time_are_the_same_attempt() {
    let mut world = World::new();
    let phone = world.paired();
    for time in [1_800_000_000, 1_800_000_005] {
        let credentials = Credentials { time: Some(UnixTime(time)), ..credentials() };
        let to = world.ask(phone, &request(&credentials)).unwrap();
        world.until(|world| !world.phones[phone].replies(to).is_empty()).unwrap();
        assert_eq!(world.phones[phone].replies(to), [Reply::Accepted { request_id: credentials.request_id }]);
    }
}

#[test]
fn the_command_center_sets_the_time_of_the_retry() {
    let mut world = World::new();
    let busy = Refused { fault: Fault::CommandCenterFailed, status: Some(503), retry_after: Some(Duration::from_secs(12)) };
    world.center.failures.push_back(busy);
    let phone = world.paired();
    let began = world.now;
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(World::settled).unwrap();
    assert_eq!(world.now, began + Duration::from_secs(12));
}

#[test]
fn the_status_of_the_command_centers_answer_is_reported() {
    let mut world = World::new();
    world.center.failures.push_back(Refused { fault: Fault::CommandCenterRefused, status: Some(422), retry_after: None });
    let phone = world.attempt(&credentials());
    let failure = world.phones[phone].last_report().failure.unwrap();
    assert_eq!(failure.registration_status, Some(422));
}

#[test]
fn a_lost_answer_of_the_command_center_does_not_lose_the_node() {
    let mut world = World::new();
    world.center.lost_answers = 3;
    let phone = world.attempt(&credentials());
    assert_eq!(world.phones[phone].last_report().state, State::Provisioned);
    assert_eq!(world.center.nodes.len(), 1);
}

#[test]
fn a_join_that_never_ends_is_given_up() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &request(&credentials())).unwrap();
    world.until_command(|command| matches!(command, Command::Radio(RadioCommand::Join { .. })));
    let join = world.commands.pop_back().unwrap();
    world.advance(Duration::from_secs(119)).unwrap();
    assert!(world.step_is(Step::Joining) && world.machine.status().failure.is_none());
    world.advance(Duration::from_secs(1)).unwrap();
    assert_eq!(world.phones[phone].last_report().failure.unwrap().fault, Fault::NetworkTimeout);

    // Its late result is ignored.
    let before = world.machine.status().clone();
    let Command::Radio(RadioCommand::Join { op, .. }) = join else { panic!("{join:?}") };
    world.input(Input::Done(op.done(Ok(Joined { limited_connectivity: false })))).unwrap();
    world.idle().unwrap();
    assert_eq!(*world.machine.status(), before);
    assert_eq!(world.center.requests, 0);
}

#[test]
fn a_lost_result_ends_the_attempt_with_a_fault() {
    for (state, fault) in [
        (States::Saving, Fault::StorageFailed),
        (States::Joining, Fault::NetworkUnavailable),
        (States::Claiming, Fault::CommandCenterUnreachable),
        (States::Storing, Fault::StorageFailed),
        (States::Keeping, Fault::NetworkUnavailable),
        (States::Marking, Fault::StorageFailed),
    ] {
        let (mut world, phone) = state.reach();
        let lost = world.commands.pop_front().unwrap().lost();
        world.input(Input::Done(lost)).unwrap();
        world.until(World::settled).unwrap();
        assert_eq!(world.phones[phone].last_report().failure.unwrap().fault, fault, "{state:?}");
        assert!(world.disk.pending.is_none());
    }
}

#[test]
fn a_registration_whose_result_is_lost_is_retried() {
    let (mut world, _) = States::Registering.reach();
    let lost = world.commands.pop_front().unwrap().lost();
    world.input(Input::Done(lost)).unwrap();
    world.until(World::settled).unwrap();
    assert!(world.disk.provisioned);
}

#[test]
fn a_command_that_never_ends_ends_the_attempt_with_a_fault() {
    for (state, fault) in [
        (States::Saving, Fault::StorageFailed),
        (States::Joining, Fault::NetworkTimeout),
        (States::Registering, Fault::CommandCenterUnreachable),
        (States::Claiming, Fault::CommandCenterUnreachable),
        (States::Storing, Fault::StorageFailed),
        (States::Keeping, Fault::NetworkTimeout),
        (States::Marking, Fault::StorageFailed),
    ] {
        let (mut world, phone) = state.reach();
        world.commands.clear();
        world.until(World::settled).unwrap();
        assert_eq!(world.phones[phone].last_report().failure.unwrap().fault, fault, "{state:?}");
        // A network that was kept before the marker is joined again.
        assert_eq!(world.radio, world.kept.clone().map_or(Radio::Before, Radio::Joined));
    }
}

#[test]
fn a_write_of_an_attempt_is_given_up_at_its_limit_and_its_late_result_is_ignored() {
    let (mut world, phone) = States::Storing.reach();
    let write = world.commands.pop_front().unwrap();
    world.advance(DISK_LIMIT.saturating_sub(Duration::from_secs(1))).unwrap();
    assert!(world.machine.status().failure.is_none());
    world.advance(Duration::from_secs(1)).unwrap();
    assert_eq!(world.phones[phone].last_report().failure.unwrap().fault, Fault::StorageFailed);
    let before = world.machine.status().clone();
    let Command::Disk(DiskCommand::SaveEnrollment { op, .. }) = write else { panic!("{write:?}") };
    world.input(Input::Done(op.done(Ok(())))).unwrap();
    world.idle().unwrap();
    assert_eq!(*world.machine.status(), before);
}

#[test]
fn the_reason_is_reported_even_if_storing_it_never_ends() {
    let (mut world, phone) = States::Recording.reach();
    world.commands.clear();
    world.outcome_lost = true;
    world.advance(DISK_LIMIT).unwrap();
    let report = world.phones[phone].last_report();
    assert_eq!((report.failure.unwrap().fault, report.retryable), (Fault::WrongPassword, true));
}

#[test]
fn another_attempt_can_start_even_if_restoring_the_network_never_ends() {
    let (mut world, phone) = States::Recording.reach();
    world.until_command(|command| matches!(command, Command::Radio(RadioCommand::RestoreNetwork { .. })));
    world.commands.clear();
    world.close(phone).unwrap();
    world.advance(RADIO_LIMIT.saturating_sub(Duration::from_secs(1))).unwrap();
    assert!(!world.machine.status().retryable);
    world.advance(Duration::from_secs(1)).unwrap();
    assert!(world.machine.status().retryable);
    world.attempt(&Credentials { request_id: 8, ..credentials() });
    assert!(world.disk.provisioned);
}

#[test]
fn settings_that_are_never_stored_are_a_failure() {
    let (mut world, phone) = States::Established.reach();
    let to = world.ask(phone, &Request::K2(k2("k2-1"))).unwrap();
    world.commands.clear();
    world.advance(DISK_LIMIT).unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::StorageFailed)]);
}

#[test]
fn a_full_disk_fails_the_attempt_at_each_write() {
    for (writes_before, step) in [(0, Step::Saving), (1, Step::Finalizing), (2, Step::Finalizing)] {
        let mut world = World::new();
        let phone = world.paired();
        world.idle().unwrap();
        world.ask(phone, &request(&credentials())).unwrap();
        let mut writes = 0;
        // SavePending, SaveEnrollment and MarkProvisioned; the outcome is stored afterwards.
        let is_write = |command: &Command| {
            matches!(
                command,
                Command::Disk(
                    DiskCommand::SavePending { .. } | DiskCommand::SaveEnrollment { .. } | DiskCommand::MarkProvisioned { .. }
                )
            )
        };
        while !world.settled() {
            if world.commands.front().is_some_and(is_write) {
                if writes == writes_before {
                    world.full.push_back(Fault::StorageFailed);
                }
                writes += 1;
            }
            assert!(world.step().unwrap());
        }
        let report = world.phones[phone].last_report();
        assert_eq!((report.state, report.progress), (State::Error, step.progress()));
        assert_eq!(report.failure.unwrap().fault, Fault::StorageFailed);
        assert!(!world.disk.provisioned);
        // A network that was kept before the marker failed remains.
        assert_eq!(world.radio, world.kept.clone().map_or(Radio::Before, Radio::Joined));
    }
}

#[test]
fn the_reason_is_reported_even_if_it_cannot_be_stored() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    world.idle().unwrap();
    world.ask(phone, &request(&credentials())).unwrap();
    world.full.extend([Fault::StorageFailed, Fault::StorageFailed]);
    world.until(World::settled).unwrap();
    assert_eq!(world.phones[phone].last_report().failure.unwrap().fault, Fault::StorageFailed);
}

#[test]
fn an_attempt_that_cannot_be_stored_is_not_accepted() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    world.idle().unwrap();
    world.full.push_back(Fault::StorageFailed);
    let to = world.ask(phone, &request(&credentials())).unwrap();
    world.until(World::settled).unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::StorageFailed)]);
    assert_eq!(world.phones[phone].last_report().failure.unwrap().fault, Fault::StorageFailed);
}

#[test]
fn k2_that_cannot_be_stored_is_a_failure() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    world.idle().unwrap();
    world.full.push_back(Fault::StorageFailed);
    let to = world.ask(phone, &Request::K2(k2("k2-1"))).unwrap();
    world.idle().unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::StorageFailed)]);
}

#[test]
fn a_guess_that_cannot_be_counted_is_not_answered() {
    let mut world = World::new();
    world.idle().unwrap();
    world.full.push_back(Fault::StorageFailed);
    let phone = world.connect();
    world.open(phone, &crate::phone::right()).unwrap();
    assert!(world.phones[phone].session.is_none());
    assert_eq!(world.phones[phone].refusals[0].fault, Fault::StorageFailed);
}

#[test]
fn a_scan_that_never_ends_is_given_up() {
    let mut world = World::new();
    let phone = world.paired();
    world.idle().unwrap();
    let to = world.ask(phone, &Request::Scan { fresh: true, country: None }).unwrap();
    world.commands.clear();
    world.advance(Duration::from_secs(30)).unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::ScanFailed)]);
}

#[test]
fn a_value_that_can_only_fail_fails_like_an_attempt() {
    let mut world = World::new();
    let ticket = world.local(LocalRequest::Unusable { ssid: String::new(), fault: Fault::InvalidSsid }).unwrap();
    assert_eq!(world.answered(ticket), Some(&provisioning_core::machine::Answer::Accepted));
    world.until(World::settled).unwrap();
    let fault = world.machine.status().failure.as_ref().unwrap().fault;
    assert_eq!(fault, Fault::InvalidSsid);
    assert!(fault.is_network());
}

#[test]
fn a_network_without_internet_is_joined_and_reported() {
    let mut world = World::new();
    world.joins.push_back(Ok(Joined { limited_connectivity: true }));
    let phone = world.attempt(&credentials());
    let report = world.phones[phone].last_report();
    assert_eq!((report.state, report.limited_connectivity), (State::Provisioned, true));
    assert_eq!(world.kept, Some(ssid("home")));
}

#[test]
fn a_token_for_another_household_fails_the_attempt_and_leaves_no_registration() {
    let mut world = World::new();
    world.center.household = Some("other".into());
    let phone = world.paired();
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(World::settled).unwrap();
    let report = world.phones[phone].last_report();
    assert_eq!((report.failure.unwrap().fault, report.progress), (Fault::WrongHousehold, Step::Registering.progress()));
    assert!(world.disk.enrollment.is_none() && !world.disk.provisioned);
    assert_eq!(world.radio, Radio::Before);

    world.ask(phone, &request(&Credentials { household_id: "other".into(), ..credentials() })).unwrap();
    world.until(|world| world.step_is(Step::Done)).unwrap();
    assert_eq!(world.center.nodes.len(), 1, "the same registration, with the same token");
}

#[test]
fn without_a_household_on_either_side_none_is_wrong() {
    for (named, sent) in [(None, "h-1"), (Some("h-1"), "h-1"), (Some("h-1"), "")] {
        let mut world = World::new();
        world.center.household = named.map(Into::into);
        let phone = world.paired();
        world.ask(phone, &request(&Credentials { household_id: sent.into(), ..credentials() })).unwrap();
        world.until(|world| world.step_is(Step::Done)).unwrap();
    }
}
