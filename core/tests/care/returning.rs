//! The way back from the hotspot.

use provisioning_core::care::recovery::{Event, FALLBACK_WITHIN, Input, Mode, Outcome, RETURN_WITHIN};

use crate::world::{HOUR, MINUTE, Network, SECOND, Use, World, ssid};

/// In the hotspot, with a phone that has just connected, and the home back.
fn with_a_phone() -> World {
    let mut world = World::in_hotspot();
    world.stations = 1;
    world.advance(MINUTE);
    world.set("home", Network::GOOD);
    world.commands.clear();
    world
}

#[test]
fn a_phone_that_uses_the_hotspot_is_neither_cut_off_nor_interrupted_by_scans() {
    let mut world = with_a_phone();
    for _ in 0..30 {
        world.advance(2 * MINUTE);
        world.input(Input::PhoneActive);
    }
    assert_eq!((world.radio.clone(), world.switches()), (Use::Hotspot, vec![]));
    assert!(
        world.commands.iter().all(|(_, command)| matches!(command, provisioning_core::care::recovery::Command::Check { .. }))
    );
    // It leaves.
    world.stations = 0;
    world.until(RETURN_WITHIN, World::is_home);
}

#[test]
fn a_phone_that_only_stays_associated_does_not_keep_the_node_from_its_home() {
    let mut world = with_a_phone();
    world.advance(239 * SECOND);
    assert_eq!(world.radio, Use::Hotspot);
    world.until(RETURN_WITHIN, World::is_home);
}

#[test]
fn a_phone_that_connects_during_the_scan_keeps_the_hotspot() {
    let mut world = World::in_hotspot();
    world.advance(5 * MINUTE);
    world.set("home", Network::GOOD);
    world.until(MINUTE, |world| world.commands.iter().filter(|(at, _)| *at + MINUTE > world.now).count() >= 3 && world.is_busy());
    world.stations = 1;
    world.advance(4 * MINUTE);
    assert_eq!((world.radio.clone(), world.switches()), (Use::Hotspot, vec![]));
}

#[test]
fn the_network_that_was_used_last_is_preferred() {
    let mut world = World::in_hotspot();
    world.set("attic", Network::GOOD);
    world.set("home", Network::GOOD);
    world.until(RETURN_WITHIN, |world| world.mode_is(Mode::Station));
    assert_eq!(world.switches(), ["connect home"]);
    assert!(world.has_event(&Event::Returned { network: Some(ssid("home")) }));
}

#[test]
fn another_stored_network_is_joined_if_the_home_stays_away() {
    let mut world = World::in_hotspot();
    world.set("attic", Network::GOOD);
    world.until(RETURN_WITHIN, World::is_home);
    assert_eq!(world.radio, Use::Joined(ssid("attic")));
}

#[test]
fn a_home_that_refuses_the_node_is_left_for_the_same_hotspot_and_tried_less_and_less() {
    let mut world = World::in_hotspot();
    world.set("home", Network::REFUSING);
    world.until(RETURN_WITHIN + MINUTE, |world| world.has_event(&Event::ReturnFailed));
    assert_eq!((world.switches(), &world.radio), (vec!["connect home".into(), "open".into()], &Use::Hotspot));
    assert_eq!(world.recovery.status(world.now).outcome, Outcome::RejoinFailed);
    world.advance(HOUR);
    let attempts = world.switches().iter().filter(|name| *name == "connect home").count();
    assert!((3..=6).contains(&attempts), "{attempts} attempts in an hour");
    assert_eq!(world.changes.len(), 1, "the hotspot is the node's mode meanwhile");
    // Its password is corrected.
    world.set("home", Network::GOOD);
    world.until(31 * MINUTE, World::is_home);
}

#[test]
fn a_hotspot_that_does_not_open_again_is_a_failed_recovery() {
    let mut world = World::in_hotspot();
    world.set("home", Network::REFUSING);
    world.hotspot_works = false;
    world.until(RETURN_WITHIN + MINUTE, |world| world.has_event(&Event::RecoveryFailed));
    assert_eq!(world.recovery.status(world.now).mode, Mode::Station);
    world.hotspot_works = true;
    world.until(FALLBACK_WITHIN, |world| world.radio == Use::Hotspot);
}

#[test]
fn a_hotspot_that_another_program_has_closed_is_opened_again() {
    let mut world = World::in_hotspot();
    world.advance(MINUTE);
    world.radio = Use::Nothing;
    world.until(FALLBACK_WITHIN, |world| world.radio == Use::Hotspot);
}

#[test]
fn a_node_that_another_program_has_brought_home_is_at_home() {
    let mut world = World::in_hotspot();
    world.set("home", Network::GOOD);
    world.radio = Use::Joined(ssid("home"));
    world.advance(31 * SECOND);
    assert_eq!((world.recovery.status(world.now).mode, world.switches()), (Mode::Station, vec![]));
}

#[test]
fn a_cable_closes_the_hotspot_unless_a_phone_uses_it() {
    let mut world = with_a_phone();
    world.cable = true;
    world.advance(MINUTE);
    assert_eq!(world.radio, Use::Hotspot);
    world.stations = 0;
    world.advance(MINUTE);
    assert_eq!((world.switches(), world.recovery.status(world.now).mode), (vec!["close".into()], Mode::Station));
}

#[test]
fn a_cable_that_is_plugged_in_while_the_home_returns_closes_the_hotspot() {
    for milliseconds in (0..70_000).step_by(100) {
        let mut world = World::in_hotspot();
        world.set("home", Network::GOOD);
        world.advance(std::time::Duration::from_millis(milliseconds));
        world.cable = true;
        world.advance(5 * MINUTE);
        assert_ne!(world.radio, Use::Hotspot, "after {milliseconds} ms");
        assert!(world.mode_is(Mode::Station));
    }
}

#[test]
fn a_hotspot_that_is_open_after_provisioning_is_left_when_the_home_is_there() {
    let mut world = World::in_hotspot();
    world.set_provisioning(true);
    world.advance(10 * MINUTE);
    world.set("home", Network::GOOD);
    world.set_provisioning(false);
    world.until(RETURN_WITHIN, World::is_home);
    assert_eq!(world.switches(), ["connect home"]);
}

/// The commands that restart the radio, and those that open the hotspot.
fn repairs(world: &World) -> Vec<String> {
    world.switches().into_iter().filter(|name| name != "connect home").collect()
}

#[test]
fn a_hotspot_that_becomes_deaf_is_opened_again_once_an_hour() {
    let mut world = World::in_hotspot();
    world.advance(5 * MINUTE);
    world.commands.clear();
    world.hears = false;
    world.advance(3 * MINUTE);
    assert_eq!(repairs(&world), ["restart", "open"]);
    assert!(world.has_event(&Event::HotspotDeaf));
    assert_eq!((world.radio.clone(), world.recovery.status(world.now).mode), (Use::Hotspot, Mode::Hotspot));
    // It hears again, and becomes deaf again.
    world.hears = true;
    world.advance(2 * MINUTE);
    world.hears = false;
    world.advance(30 * MINUTE);
    assert_eq!(repairs(&world).len(), 2, "not twice in an hour");
    world.advance(40 * MINUTE);
    assert_eq!(repairs(&world).len(), 4);
}

#[test]
fn a_hotspot_that_has_never_heard_a_network_is_not_deaf() {
    let mut world = World::settled();
    world.hears = false;
    world.set("home", Network::GONE);
    world.until(FALLBACK_WITHIN, |world| world.radio == Use::Hotspot);
    world.commands.clear();
    world.advance(3 * HOUR);
    assert_eq!(repairs(&world), Vec::<String>::new());
}

#[test]
fn a_phone_that_uses_a_hotspot_keeps_its_radio_from_being_restarted() {
    let mut world = World::in_hotspot();
    world.advance(5 * MINUTE);
    world.commands.clear();
    world.stations = 1;
    world.hears = false;
    for _ in 0..30 {
        world.advance(2 * MINUTE);
        world.input(Input::PhoneActive);
    }
    assert_eq!(repairs(&world), Vec::<String>::new());
}
