//! The order of the steps of a recovery.

use std::time::Duration;

use provisioning_core::care::recovery::{
    COOLDOWN, Event, HISTORY, Input, Internet, Link, Lock, Mode, Outage, Outcome, Radio, Recovery, Refusal,
};

use crate::world::{HOUR, MINUTE, Network, SECOND, Use, World, ssid};

fn has_recovered(world: &World) -> bool {
    let status = world.recovery.status(world.now);
    status.lock != Lock::Recovery && status.outcome != Outcome::Idle
}

/// Loses the home, and waits for the end of the recovery.
fn recovered(world: &mut World) -> Outcome {
    world.set("home", Network::GONE);
    world.until(4 * MINUTE, has_recovered);
    world.recovery.status(world.now).outcome
}

#[test]
fn three_bad_checks_start_a_recovery_and_two_do_not() {
    let mut world = World::settled();
    world.set("home", Network::GONE);
    world.advance(89 * SECOND);
    assert_eq!((world.recovery.status(world.now).bad_checks, world.switches()), (2, vec![]));
    world.set("home", Network::GOOD);
    world.advance(31 * SECOND);
    assert_eq!(world.recovery.status(world.now).bad_checks, 0);
    world.set("home", Network::GONE);
    world.advance(91 * SECOND);
    assert_eq!(world.switches(), ["reconnect"]);
}

#[test]
fn a_network_that_is_back_is_joined_again_without_a_hotspot() {
    let mut world = World::settled();
    world.radio = Use::Nothing;
    world.until(4 * MINUTE, has_recovered);
    assert_eq!(world.switches(), ["reconnect"]);
    assert_eq!(world.recovery.status(world.now).outcome, Outcome::RejoinSucceeded);
    assert!(world.has_event(&Event::Rejoined { network: Some(ssid("home")) }));
}

#[test]
fn another_stored_network_comes_before_the_hotspot() {
    let mut world = World::settled();
    world.set("attic", Network::GOOD);
    world.set("barn", Network::GONE);
    assert_eq!(recovered(&mut world), Outcome::RejoinSucceeded);
    assert_eq!(world.switches(), ["reconnect", "connect attic"]);
    assert!(world.is_home());
    assert_eq!(world.changes, []);
}

#[test]
fn the_node_stays_in_the_other_network_when_the_home_returns() {
    let mut world = World::settled();
    world.set("attic", Network::GOOD);
    recovered(&mut world);
    world.set("home", Network::GOOD);
    world.commands.clear();
    world.advance(HOUR);
    assert_eq!((world.radio.clone(), world.switches()), (Use::Joined(ssid("attic")), vec![]));
}

#[test]
fn a_network_without_a_gateway_does_not_count_as_joined() {
    let mut world = World::settled();
    world.set("attic", Network { routes: false, ..Network::GOOD });
    assert_eq!(recovered(&mut world), Outcome::HotspotRestored);
    assert_eq!(world.switches(), ["reconnect", "connect attic", "open"]);
}

#[test]
fn a_hung_radio_is_restarted_before_the_hotspot_opens() {
    let mut world = World::settled();
    (world.state, world.radio) = (Radio::Hung, Use::Nothing);
    world.until(4 * MINUTE, has_recovered);
    assert_eq!(world.switches(), ["reconnect", "restart", "reconnect"]);
    assert!(world.is_home() && world.has_event(&Event::RadioRestarted));
}

#[test]
fn a_radio_that_reacts_is_not_restarted() {
    let mut world = World::settled();
    assert_eq!(recovered(&mut world), Outcome::HotspotRestored);
    assert_eq!(world.switches(), ["reconnect", "open"]);
    assert_eq!(world.recovery.status(world.now).mode, Mode::Hotspot);
}

#[test]
fn a_failed_recovery_cools_down_and_the_next_one_restarts_the_radio() {
    let mut world = World::settled();
    world.hotspot_works = false;
    assert_eq!(recovered(&mut world), Outcome::Failed);
    let status = world.recovery.status(world.now);
    assert_eq!((status.lock, status.cooldown_until), (Lock::Cooldown, Some(world.now + COOLDOWN)));
    world.commands.clear();
    world.advance(COOLDOWN.saturating_sub(SECOND));
    assert_eq!(world.switches(), Vec::<String>::new(), "nothing is tried every 30 s");
    world.hotspot_works = true;
    world.advance(2 * MINUTE);
    assert_eq!(world.switches(), ["reconnect", "restart", "reconnect", "open"]);
    assert_eq!(world.recovery.status(world.now).outcome, Outcome::HotspotRestored);
}

#[test]
fn a_recovery_that_was_asked_for_starts_at_once_and_once() {
    let mut world = World::settled();
    world.recover().expect("nothing keeps it from starting");
    assert_eq!(world.recovery.status(world.now).outcome, Outcome::Pending);
    assert_eq!(world.recover(), Err(Refusal::InProgress));
    world.until(MINUTE, has_recovered);
    let until = world.now + COOLDOWN;
    assert_eq!(world.recover(), Err(Refusal::Cooldown(until)));
    world.advance(COOLDOWN);
    assert_eq!(world.recover(), Ok(()));
}

#[test]
fn a_radio_that_was_switched_off_is_left_alone_until_it_is_on() {
    let mut world = World::settled();
    world.state = Radio::Unusable;
    world.advance(HOUR);
    assert_eq!(world.switches(), Vec::<String>::new());
    (world.state, world.radio) = (Radio::Ready, Use::Nothing);
    world.advance(MINUTE);
    assert!(world.is_home());
}

#[test]
fn a_cable_counts_as_a_network() {
    let mut world = World::settled();
    world.cable = true;
    world.set("home", Network::GONE);
    world.advance(HOUR);
    assert_eq!(world.switches(), Vec::<String>::new());
}

#[test]
fn the_internet_is_reported_when_it_goes_and_comes_back_and_not_in_between() {
    let mut world = World::settled();
    for internet in [Internet::Limited, Internet::None, Internet::Full, Internet::Unknown] {
        world.internet = internet;
        world.advance(5 * MINUTE);
    }
    let events: Vec<_> = world.events.iter().map(|entry| entry.event.clone()).collect();
    assert_eq!(events, [Event::InternetLost { outage: Outage::Unreachable }, Event::InternetBack]);
}

#[test]
fn a_portal_that_comes_back_and_dns_that_lies_are_only_reported() {
    let mut world = World::settled();
    for internet in [Internet::Portal, Internet::Full, Internet::Portal, Internet::Forged, Internet::None] {
        world.internet = internet;
        world.advance(5 * MINUTE);
    }
    let events: Vec<_> = world.events.iter().map(|entry| entry.event.clone()).collect();
    let lost = |outage| Event::InternetLost { outage };
    let portal = lost(Outage::Portal);
    assert_eq!(events, [portal.clone(), Event::InternetBack, portal, lost(Outage::Forged), lost(Outage::Unreachable)]);
    assert_eq!(world.switches(), Vec::<String>::new());
}

#[test]
fn the_history_holds_the_last_events_with_numbers_without_gaps() {
    let mut world = World::settled();
    for _ in 0..20 {
        for internet in [Internet::None, Internet::Full] {
            world.internet = internet;
            world.advance(MINUTE);
        }
    }
    let history: Vec<_> = world.recovery.history().collect();
    assert_eq!((history.len(), history[0].number), (HISTORY, 16));
    assert!(history.windows(2).all(|pair| pair[0].number + 1 == pair[1].number && pair[0].at < pair[1].at));
    assert!(history.iter().copied().eq(world.events.iter().skip(15)));
}

#[test]
fn provisioning_stops_a_recovery_and_nothing_starts_until_it_is_over() {
    for seconds in 0..180 {
        let mut world = World::settled();
        world.set("home", Network::GONE);
        world.advance(Duration::from_secs(seconds));
        world.set_provisioning(true);
        world.commands.clear();
        world.advance(HOUR);
        assert!(world.commands.is_empty() && world.recovery.status(world.now).paused);
        assert_eq!(world.recover(), Err(Refusal::Provisioning));
        // The attempt has brought the node home.
        (world.radio, world.stations) = (Use::Joined(ssid("home")), 0);
        world.set("home", Network::GOOD);
        world.set_provisioning(false);
        world.advance(HOUR);
        assert_eq!(world.switches(), Vec::<String>::new(), "after {seconds} s");
        assert_eq!(world.recovery.status(world.now).mode, Mode::Station);
    }
}

#[test]
fn a_machine_that_only_watches_changes_nothing_in_any_state_of_the_network() {
    let mut world = World::settled();
    world.recovery = Recovery::watching(world.now);
    world.input(Input::Timeout);
    for (home, radio) in
        [(Network::GONE, Use::Nothing), (Network::GOOD, Use::Hotspot), (Network::GOOD, Use::Joined(ssid("home")))]
    {
        world.set("home", home);
        world.radio = radio;
        world.advance(10 * MINUTE);
    }
    assert_eq!(world.switches(), Vec::<String>::new());
    assert_eq!(world.recover(), Err(Refusal::Disabled));
    assert!(world.has_event(&Event::NetworkLost { network: None, link: Some(Link::Down) }));
}
