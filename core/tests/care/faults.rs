//! Crashes, lost results and jumps of time, in every state.

use std::time::Duration;

use provisioning_core::care::recovery::{FALLBACK_WITHIN, RETURN_WITHIN};

use crate::world::{HOUR, MINUTE, Network, SECOND, Use, World};

/// A node that loses its home and finds it again, at each second of that.
fn every_moment(mut check: impl FnMut(World)) {
    for seconds in 0..330 {
        let mut world = World::settled();
        world.set("attic", Network::REFUSING);
        world.set("home", Network::GONE);
        world.advance(Duration::from_secs(seconds.min(230)));
        if seconds > 230 {
            world.set("home", Network::GOOD);
            world.advance(Duration::from_secs(seconds - 230));
        }
        check(world);
    }
}

/// Whatever has happened, the node has a hotspot while its home is gone, and is in its home afterwards.
fn is_alive(mut world: World) {
    world.set("home", Network::GONE);
    world.until(FALLBACK_WITHIN + RETURN_WITHIN, |world| world.radio == Use::Hotspot);
    world.set("home", Network::GOOD);
    // A return that has failed meanwhile, or did not last, holds the next one back.
    world.until(HOUR + RETURN_WITHIN, World::is_home);
}

#[test]
fn after_a_crash_in_every_state_nothing_is_stuck() {
    every_moment(|mut world| {
        world.crash();
        is_alive(world);
    });
}

#[test]
fn after_a_lost_result_in_every_state_nothing_is_stuck() {
    for lost in [1, 2, 5] {
        every_moment(|mut world| {
            world.lost = lost;
            world.advance(10 * MINUTE);
            is_alive(world);
        });
    }
}

#[test]
fn after_a_pause_for_provisioning_in_every_state_nothing_is_stuck() {
    every_moment(|mut world| {
        world.set_provisioning(true);
        world.advance(MINUTE);
        world.set_provisioning(false);
        is_alive(world);
    });
}

#[test]
fn after_ten_years_of_suspension_in_every_state_nothing_is_stuck() {
    every_moment(|mut world| {
        world.jump(10 * 365 * 24 * HOUR);
        is_alive(world);
    });
}

#[test]
fn a_result_that_arrives_after_its_limit_changes_nothing() {
    let mut world = World::settled();
    world.lost = 1;
    world.advance(30 * SECOND);
    let late = world.commands.last().expect("a check was started").1.lost();
    world.advance(6 * SECOND);
    let before = world.recovery.status(world.now);
    world.input(provisioning_core::care::recovery::Input::Done(late));
    assert_eq!(world.recovery.status(world.now), before);
    assert!(!world.is_busy());
}
