//! The machine beside network care.

use std::time::Duration;

use provisioning_core::domain::Credentials;
use provisioning_core::machine::{AccessPointPolicy, Input, LocalRequest};

use crate::world::{Radio, UNREGISTERED, World, credentials, passphrase, ssid};

/// A node that is not provisioned, with network care.
fn cared_for() -> World {
    let mut world = World::with(AccessPointPolicy::WhenQuiet(Duration::from_mins(1)));
    (world.config.network_care, world.config.linger) = (true, None);
    world.reboot().unwrap();
    world.idle().unwrap();
    world
}

/// A provisioned node, with network care.
fn at_home() -> World {
    let mut world = cared_for();
    let phone = world.attempt(&credentials());
    world.close(phone).unwrap();
    assert_eq!(world.radio, Radio::Joined(ssid("home")));
    world
}

fn wrong() -> Credentials {
    Credentials { request_id: 8, passphrase: passphrase("not this one"), ..credentials() }
}

#[test]
fn a_node_without_a_network_opens_its_access_point_beside_network_care() {
    let mut world = cared_for();
    world.advance(Duration::from_mins(1)).unwrap();
    assert_eq!(world.radio, Radio::AccessPoint(UNREGISTERED.into()));
}

#[test]
fn network_care_decides_about_the_access_point_of_a_provisioned_node() {
    let mut world = at_home();
    let phone = world.attempt(&wrong());
    world.close(phone).unwrap();
    world.advance(Duration::from_mins(10)).unwrap();
    assert_eq!(world.radio, Radio::Joined(ssid("home")), "the previous network");
    world.reboot().unwrap();
    world.advance(Duration::from_mins(10)).unwrap();
    assert_eq!(world.radio, Radio::Joined(ssid("home")));
    assert!(!world.finished, "network care goes on");
}

#[test]
fn a_failed_attempt_in_the_access_point_of_network_care_opens_it_again() {
    let mut world = at_home();
    world.radio = Radio::AccessPoint(UNREGISTERED.into());
    world.input(Input::AccessPoint { open: true }).unwrap();
    let begun = world.now;
    let ticket = world.local(LocalRequest::Credentials(Box::new(wrong()))).unwrap();
    world.until(World::settled).unwrap();
    assert!(world.answered(ticket).is_some());
    assert!(world.now >= begun + world.config.answer_leaves, "the answer has left before the radio was switched");
    assert_eq!(world.radio, Radio::AccessPoint(UNREGISTERED.into()));
    assert!(world.machine.status().access_point_restored);
}

#[test]
fn an_attempt_after_the_access_point_of_network_care_was_closed_does_not_open_it() {
    let mut world = at_home();
    world.input(Input::AccessPoint { open: true }).unwrap();
    world.input(Input::AccessPoint { open: false }).unwrap();
    let phone = world.attempt(&wrong());
    world.close(phone).unwrap();
    assert_eq!(world.radio, Radio::Joined(ssid("home")));
}

#[test]
fn only_the_result_of_its_command_opens_the_access_point_of_the_machine() {
    let mut world = World::with(AccessPointPolicy::Always);
    world.until_command(crate::world::is_opening);
    world.input(Input::AccessPoint { open: true }).unwrap();
    world.input(Input::AccessPoint { open: false }).unwrap();
    assert_eq!(world.commands.iter().filter(|command| crate::world::is_opening(command)).count(), 1);
    world.idle().unwrap();
    assert_eq!(world.radio, Radio::AccessPoint(UNREGISTERED.into()));
}

#[test]
fn provisioning_needs_the_radio_until_the_node_has_a_network_and_no_phone() {
    let mut world = cared_for();
    assert!(world.machine.needs_radio(), "not provisioned");
    let phone = world.attempt(&credentials());
    assert!(world.machine.needs_radio(), "a phone has the session");
    world.close(phone).unwrap();
    assert!(!world.machine.needs_radio());
    world.local(LocalRequest::Credentials(Box::new(wrong()))).unwrap();
    assert!(world.machine.needs_radio(), "an attempt is in progress");
    world.idle().unwrap();
    assert!(!world.machine.needs_radio(), "it has failed, and the node is provisioned as before");
    world.local(LocalRequest::Reset).unwrap();
    assert!(world.machine.needs_radio(), "a reset is in progress");
    world.idle().unwrap();
    assert!(world.machine.needs_radio(), "not provisioned");
}
