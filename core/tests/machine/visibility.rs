//! When phones can find the node, and that the loop around the machine sleeps in between.

use std::time::Duration;

use provisioning_core::domain::{Credentials, State, Step};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{AccessPointPolicy, Command, DiskCommand, Input, LocalRequest, RADIO_LIMIT, RadioCommand};
use provisioning_core::wire::Request;

use crate::world::{Radio, UNREGISTERED, World, credentials, is_opening, request, ssid};

const QUIET: Duration = Duration::from_mins(1);

fn quiet() -> World {
    let mut world = World::with(AccessPointPolicy::WhenQuiet(QUIET));
    world.idle().unwrap();
    world
}

fn on_air(world: &World) -> bool {
    matches!(world.radio, Radio::AccessPoint(_))
}

fn refuse_access_point(world: &mut World) {
    let command = world.commands.pop_back().unwrap();
    let Command::Radio(RadioCommand::OpenAccessPoint { op, .. }) = command else { panic!("{command:?}") };
    world.input(Input::Done(op.done(Err(Fault::RadioBlocked)))).unwrap();
}

#[test]
fn a_node_advertises_from_the_start() {
    assert!(World::new().advertised);
}

#[test]
fn without_bluetooth_there_is_nothing_to_advertise_and_the_access_point_opens() {
    let mut world = quiet();
    world.input(Input::Bluetooth { available: false }).unwrap();
    world.idle().unwrap();
    assert!(!world.advertised && on_air(&world));
    world.input(Input::Bluetooth { available: true }).unwrap();
    assert!(world.advertised);
}

#[test]
fn the_access_point_opens_when_no_phone_connects() {
    let mut world = quiet();
    world.advance(Duration::from_secs(59)).unwrap();
    assert!(!on_air(&world));
    world.advance(Duration::from_secs(1)).unwrap();
    assert!(on_air(&world));
}

fn take_radio(world: &mut World, taken: bool) {
    world.input(Input::RadioTaken { taken }).unwrap();
    world.idle().unwrap();
}

#[test]
fn the_access_point_leaves_a_radio_alone_that_others_use() {
    for bluetooth in [true, false] {
        let mut world = quiet();
        take_radio(&mut world, true);
        world.input(Input::Bluetooth { available: bluetooth }).unwrap();
        world.advance(Duration::from_hours(1)).unwrap();
        assert_eq!((&world.radio, world.advertised), (&Radio::Before, bluetooth));
    }
}

#[test]
fn the_access_point_opens_a_minute_after_others_have_lost_the_radio() {
    let mut world = quiet();
    take_radio(&mut world, true);
    world.advance(Duration::from_hours(1)).unwrap();
    take_radio(&mut world, false);
    world.advance(Duration::from_secs(30)).unwrap();
    // It was only a restart of the router.
    take_radio(&mut world, true);
    world.advance(Duration::from_mins(2)).unwrap();
    take_radio(&mut world, false);
    world.advance(Duration::from_secs(59)).unwrap();
    assert!(!on_air(&world));
    world.advance(Duration::from_secs(1)).unwrap();
    assert!(on_air(&world));
    take_radio(&mut world, true);
    take_radio(&mut world, false);
    world.radio = Radio::Before;
    world.advance(QUIET).unwrap();
    assert!(on_air(&world), "it opens again after others have taken the radio from it");
}

#[test]
fn the_access_point_takes_a_radio_that_others_use_if_it_always_opens() {
    let mut world = World::with(AccessPointPolicy::Always);
    take_radio(&mut world, true);
    assert!(on_air(&world));
}

#[test]
fn a_node_whose_radio_others_use_is_provisioned_over_bluetooth() {
    let mut world = quiet();
    take_radio(&mut world, true);
    let phone = world.attempt(&credentials());
    assert_eq!(world.phones[phone].last_report().state, State::Provisioned);
    assert_eq!(world.radio, Radio::Joined(ssid("home")));
}

#[test]
fn the_access_point_does_not_take_the_radio_while_a_phone_has_the_session() {
    let mut world = quiet();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    world.advance(QUIET + Duration::from_secs(10)).unwrap();
    assert!(world.machine.has_session() && !on_air(&world));
    world.close(phone).unwrap();
    world.idle().unwrap();
    assert!(on_air(&world), "it opens when the phone has disconnected");
}

#[test]
fn the_loop_sleeps_through_a_long_attempt() {
    // Every drain of this world asserts that no timeout is overdue.
    let mut world = quiet();
    let phone = world.paired();
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(|world| world.step_is(Step::Joining)).unwrap();
    world.close(phone).unwrap();
    let join = world.commands.pop_front().unwrap();
    world.advance(QUIET + Duration::from_secs(30)).unwrap();
    world.commands.push_back(join);
    world.until(World::settled).unwrap();
    assert!(world.disk.provisioned);
}

#[test]
fn the_loop_sleeps_while_a_failed_access_point_waits() {
    let mut world = World::with(AccessPointPolicy::Always);
    world.until_command(is_opening);
    refuse_access_point(&mut world);
    world.local(LocalRequest::Reset).unwrap();
    let reset: Vec<_> = world.commands.drain(..).collect();
    world.advance(Duration::from_mins(2)).unwrap();
    world.commands.extend(reset);
    world.idle().unwrap();
    assert!(on_air(&world));
}

#[test]
fn the_loop_sleeps_while_a_phone_stays_after_the_end() {
    let mut world = World::new();
    world.config.linger = Some(Duration::from_secs(30));
    world.reboot().unwrap();
    let phone = world.attempt(&credentials());
    world.advance(Duration::from_secs(31)).unwrap();
    assert!(!world.finished, "not while a phone has the session");
    world.close(phone).unwrap();
    assert!(world.finished);
}

#[test]
fn a_node_can_be_found_until_the_linger_time_is_over() {
    let mut world = World::new();
    let phone = world.attempt(&credentials());
    world.close(phone).unwrap();
    world.advance(Duration::from_mins(4)).unwrap();
    assert!(world.advertised && !world.finished);
    world.advance(Duration::from_mins(1)).unwrap();
    assert!(world.finished);
}

#[test]
fn a_provisioned_node_ends_also_after_a_second_attempt_that_failed() {
    let mut world = World::new();
    let phone = world.attempt(&credentials());
    world.close(phone).unwrap();
    world.advance(Duration::from_mins(4)).unwrap();
    let phone = world.attempt(&Credentials { request_id: 8, ssid: Some(ssid("nowhere")), ..credentials() });
    assert_eq!(world.machine.status().state(), State::Error);
    world.close(phone).unwrap();
    world.advance(Duration::from_mins(4)).unwrap();
    assert!(world.advertised && !world.finished, "the reason can be read for as long as a success");
    world.advance(Duration::from_mins(1)).unwrap();
    assert!(world.finished && world.disk.provisioned);
}

#[test]
fn a_join_waits_for_an_access_point_that_is_being_opened() {
    // The world refuses a join while an access point is being opened.
    let mut world = World::with(AccessPointPolicy::Always);
    world.until_command(is_opening);
    let opening = world.commands.pop_front().unwrap();
    world.local(LocalRequest::Credentials(Box::new(credentials()))).unwrap();
    while world.commands.front().is_some_and(|command| matches!(command, Command::Disk(DiskCommand::SavePending { .. }))) {
        world.work().unwrap();
    }
    world.commands.push_back(opening);
    world.until(World::settled).unwrap();
    assert_eq!(world.radio, Radio::Joined(ssid("home")));
    assert!(world.disk.provisioned);
}

#[test]
fn an_access_point_that_cannot_be_opened_is_retried() {
    let mut world = World::with(AccessPointPolicy::Always);
    world.until_command(is_opening);
    refuse_access_point(&mut world);
    world.advance(Duration::from_secs(29)).unwrap();
    assert!(!on_air(&world));
    world.advance(Duration::from_secs(1)).unwrap();
    assert!(on_air(&world));
}

#[test]
fn an_access_point_whose_opening_never_ends_is_retried() {
    let mut world = World::with(AccessPointPolicy::Always);
    world.until_command(is_opening);
    world.commands.clear();
    world.advance(RADIO_LIMIT).unwrap();
    assert!(!on_air(&world));
    world.advance(Duration::from_secs(30)).unwrap();
    assert!(on_air(&world));
}

#[test]
fn a_provisioned_node_reports_it_and_waits_for_another_attempt() {
    let mut world = World::new();
    world.attempt(&credentials());
    world.reboot().unwrap();
    assert!(world.advertised && world.machine.info().previously_provisioned);
    assert_eq!(world.machine.info().node_id, crate::world::NODE_ID);
}

#[test]
fn a_registered_node_keeps_the_name_on_its_label() {
    let mut world = World::with(AccessPointPolicy::Always);
    let phone = world.paired();
    world.until(on_air).unwrap();
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(|world| world.step_is(Step::Done)).unwrap();
    let label = |world: &World| world.machine.info().name == UNREGISTERED;
    assert!(world.machine.identity().node_id != UNREGISTERED && label(&world));
    world.reboot().unwrap();
    world.until(on_air).unwrap();
    assert!(world.machine.identity().node_id != UNREGISTERED && label(&world));
    assert_eq!(world.radio, Radio::AccessPoint(UNREGISTERED.into()));
}
