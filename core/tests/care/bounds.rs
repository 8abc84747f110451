//! The bounds that the documentation promises, in virtual time.

use std::time::Duration;

use provisioning_core::care::recovery::{FALLBACK_WITHIN, Internet, Mode, RETURN_WITHIN, Radio};

use crate::world::{Air, HOUR, MINUTE, Network, SECOND, Use, World};

fn has_hotspot(world: &World) -> bool {
    world.radio == Use::Hotspot
}

/// The moments of a loss, relative to the checks.
fn moments() -> impl Iterator<Item = Duration> {
    (0..125).map(Duration::from_secs)
}

#[test]
fn home_gone_means_a_hotspot_within_four_minutes() {
    for moment in moments() {
        let mut world = World::settled();
        world.advance(moment);
        world.set("home", Network::GONE);
        world.until(FALLBACK_WITHIN, has_hotspot);
    }
}

#[test]
fn the_hotspot_opens_in_time_however_slow_and_useless_everything_is() {
    // The results of the checks, of the first join and of the scan are lost; and those of the restart and the next join, unless
    // the radio needs the restart.
    for (lost, state) in [(0, Radio::Ready), (7, Radio::Ready), (0, Radio::Hung), (5, Radio::Hung)] {
        for moment in moments() {
            let mut world = World::settled();
            for name in ["attic", "barn", "cellar", "den"] {
                world.set(name, Network::REFUSING);
            }
            world.advance(moment);
            world.set("home", Network::GONE);
            (world.slow, world.state, world.lost) = (true, state, lost);
            world.until(FALLBACK_WITHIN, has_hotspot);
        }
    }
}

#[test]
fn the_hotspot_opens_in_time_after_a_recovery_that_has_just_ended() {
    let mut world = World::settled();
    world.recover().expect("nothing keeps it from starting");
    world.until(MINUTE, |world| world.recovery.status(world.now).last_recovered.is_some() && !world.is_busy());
    (world.slow, world.state) = (true, Radio::Hung);
    world.set("home", Network::GONE);
    world.set("attic", Network::REFUSING);
    world.until(FALLBACK_WITHIN, has_hotspot);
}

#[test]
fn home_back_means_the_node_in_it_within_two_minutes() {
    for moment in moments() {
        let mut world = World::in_hotspot();
        world.advance(10 * MINUTE + moment);
        world.slow = true;
        world.set("home", Network::GOOD);
        let took = world.until(RETURN_WITHIN, |world| world.is_home() && world.mode_is(Mode::Station));
        assert!(took > 30 * SECOND, "a network that has just appeared is joined after the second scan that finds it: {took:?}");
    }
}

#[test]
fn a_network_that_flaps_every_second_causes_three_changes_an_hour_at_most() {
    for percent in [5, 20, 35, 50, 65, 80, 95] {
        for seed in 0..20 {
            let mut world = World::settled();
            world.changes.clear();
            world.set("home", Network { air: Air::Flaps { percent, seed: seed * 1000 }, ..Network::GOOD });
            world.advance(6 * HOUR);
            for (index, (at, _)) in world.changes.iter().enumerate() {
                let within = world.changes[index..].iter().filter(|(other, _)| *other < *at + HOUR).count();
                assert!(within <= 3, "{percent} % with seed {seed}: {:?}", world.changes);
            }
        }
    }
}

#[test]
fn a_network_that_flaps_is_joined_again_once_it_is_steady() {
    let mut world = World::settled();
    world.set("home", Network { air: Air::Flaps { percent: 50, seed: 1 }, ..Network::GOOD });
    world.advance(3 * HOUR);
    world.set("home", Network::GOOD);
    world.until(HOUR + 2 * MINUTE, World::is_home);
    world.advance(21 * MINUTE);
    // The next loss is treated like the first.
    world.set("home", Network::GONE);
    world.until(FALLBACK_WITHIN, has_hotspot);
    world.set("home", Network::GOOD);
    world.until(RETURN_WITHIN, World::is_home);
}

#[test]
fn an_outage_of_the_internet_alone_never_takes_the_radio_away() {
    for internet in [Internet::None, Internet::Portal, Internet::Limited, Internet::Forged, Internet::Unknown] {
        let mut world = World::settled();
        world.internet = internet;
        world.advance(24 * HOUR);
        assert_eq!(world.switches(), Vec::<String>::new(), "{internet:?}");
        assert!(world.is_home());
    }
}

#[test]
fn an_idle_node_wakes_up_four_times_a_minute() {
    let mut world = World::settled();
    world.advance(HOUR);
    // A command is a start and an end.
    assert_eq!(world.commands.len() * 2, 60 * 4);
}
