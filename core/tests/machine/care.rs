//! The machine beside network care.

use std::time::Duration;

use provisioning_core::domain::{CareRequest, Credentials};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{AccessPointPolicy, CareCommand, Command, Input, LocalRequest};
use provisioning_core::wire::{Reply, Request};

use crate::world::{Radio, UNREGISTERED, World, credentials, passphrase, request, ssid};

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

/// The request that network care has in progress.
fn asked(world: &World) -> Option<&CareRequest> {
    world.commands.iter().find_map(|command| match command {
        Command::Care(CareCommand::Serve { request, .. }) => Some(request),
        _ => None,
    })
}

#[test]
fn a_phone_with_the_session_leaves_the_radio_to_network_care() {
    let mut world = at_home();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    assert!(world.machine.needs_radio(), "a phone has the session");
    let to = world.ask(phone, &Request::Care(CareRequest::Hotspot(true))).unwrap();
    assert_eq!(asked(&world), Some(&CareRequest::Hotspot(true)));
    assert!(!world.machine.needs_radio(), "the phone has left it to network care");
    world.idle().unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Done]);
    assert!(!world.machine.needs_radio(), "which keeps the hotspot open");
    world.ask(phone, &request(&wrong())).unwrap();
    assert!(world.machine.needs_radio(), "an attempt comes first");
    world.idle().unwrap();
    world.close(phone).unwrap();
    let other = world.paired();
    world.ask(other, &Request::Status).unwrap();
    assert!(world.machine.needs_radio(), "another session");
}

#[test]
fn a_phone_that_only_asks_keeps_the_radio_from_network_care() {
    let mut world = at_home();
    let phone = world.paired();
    for asks in [CareRequest::Status, CareRequest::Saved, CareRequest::Diagnose] {
        world.ask(phone, &Request::Care(asks)).unwrap();
        assert!(world.machine.needs_radio());
        world.idle().unwrap();
    }
}

#[test]
fn a_phone_that_follows_the_events_does_not_keep_network_care_from_its_work() {
    let mut world = at_home();
    let phone = world.paired();
    world.ask(phone, &Request::Care(CareRequest::Events(String::new()))).unwrap();
    world.idle().unwrap();
    assert!(!world.machine.needs_radio());
}

#[test]
fn a_reset_by_network_care_leaves_its_answer_to_the_phone_that_asked() {
    let mut world = at_home();
    let phone = world.paired();
    let to = world.ask(phone, &Request::Care(CareRequest::Reset)).unwrap();
    assert_eq!(asked(&world), Some(&CareRequest::Reset));
    let reset = world.local(LocalRequest::Reset).unwrap();
    world.idle().unwrap();
    assert!(world.answered(reset).is_some());
    assert_eq!(world.phones[phone].replies(to), [Reply::Done]);
}

#[test]
fn one_request_to_network_care_is_in_progress_at_a_time() {
    let mut world = at_home();
    let phone = world.paired();
    let first = world.ask(phone, &Request::Care(CareRequest::Diagnose)).unwrap();
    let second = world.ask(phone, &Request::Care(CareRequest::Recover)).unwrap();
    assert_eq!(world.phones[phone].replies(second), [Reply::Refused(Fault::InProgress)]);
    world.idle().unwrap();
    assert_eq!(world.phones[phone].replies(first), [Reply::Done]);
    let third = world.ask(phone, &Request::Care(CareRequest::Recover)).unwrap();
    world.idle().unwrap();
    assert_eq!(world.phones[phone].replies(third), [Reply::Done]);
}

#[test]
fn a_node_without_network_care_answers_like_one_that_does_not_know_the_request() {
    let mut world = World::new();
    let phone = world.paired();
    let to = world.ask(phone, &Request::Care(CareRequest::Status)).unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::Malformed)]);
    assert_eq!(asked(&world), None);
}

#[test]
fn the_answer_of_network_care_is_for_the_session_that_asked() {
    let mut world = at_home();
    let phone = world.paired();
    world.ask(phone, &Request::Care(CareRequest::Restart)).unwrap();
    world.close(phone).unwrap();
    let other = world.paired();
    let heard = world.phones[other].messages.len();
    world.idle().unwrap();
    assert_eq!(world.phones[other].messages.len(), heard, "it has not asked");
    let to = world.ask(other, &Request::Care(CareRequest::Saved)).unwrap();
    world.idle().unwrap();
    assert_eq!(world.phones[other].replies(to), [Reply::Done]);
}

#[test]
fn network_care_that_does_not_answer_is_given_up() {
    let mut world = at_home();
    let phone = world.paired();
    let to = world.ask(phone, &Request::Care(CareRequest::Recover)).unwrap();
    world.commands.clear();
    world.advance(Duration::from_mins(4)).unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::NetworkUnavailable)]);
}

#[test]
fn a_reset_refuses_requests_to_network_care() {
    let mut world = at_home();
    let phone = world.paired();
    world.local(LocalRequest::Reset).unwrap();
    let to = world.ask(phone, &Request::Care(CareRequest::Status)).unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::Resetting)]);
}
