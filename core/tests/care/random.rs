//! Random events in random order. The world checks the invariants at each command: one command at a time, none while
//! provisioning has the radio, and the radio never leaves a network that works.

use std::time::Duration;

use proptest::prelude::*;
use provisioning_core::care::recovery::{FALLBACK_WITHIN, Input, Internet, RETURN_WITHIN, Radio};

use crate::world::{Air, HOUR, Network, Use, World};

#[derive(Clone, Copy, Debug)]
enum Action {
    Network { name: &'static str, network: Network },
    Radio(Radio),
    Internet(Internet),
    Cable(bool),
    Stations(u32),
    PhoneActive,
    HotspotWorks(bool),
    Provisioning(bool),
    Recover,
    ResultsAreLost(u32),
    Slow(bool),
    AnotherProgramStops,
    Crash,
    Timeout,
    Wait { seconds: u16 },
}

fn network() -> impl Strategy<Value = Network> {
    let air = prop_oneof![
        3 => Just(Air::On),
        3 => Just(Air::Off),
        1 => (1..100_u64, any::<u16>()).prop_map(|(percent, seed)| Air::Flaps { percent, seed: seed.into() }),
    ];
    (air, prop::bool::weighted(0.8), prop::bool::weighted(0.8)).prop_map(|(air, accepts, routes)| Network {
        air,
        accepts,
        routes,
    })
}

fn action() -> impl Strategy<Value = Action> {
    let name = prop_oneof![3 => Just("home"), 1 => Just("attic"), 1 => Just("barn")];
    prop_oneof![
        6 => (name, network()).prop_map(|(name, network)| Action::Network { name, network }),
        1 => prop_oneof![Just(Radio::Ready), Just(Radio::Hung), Just(Radio::Unusable)].prop_map(Action::Radio),
        1 => prop_oneof![Just(Internet::None), Just(Internet::Portal), Just(Internet::Full)].prop_map(Action::Internet),
        1 => any::<bool>().prop_map(Action::Cable),
        2 => (0..3_u32).prop_map(Action::Stations),
        1 => Just(Action::PhoneActive),
        1 => any::<bool>().prop_map(Action::HotspotWorks),
        2 => any::<bool>().prop_map(Action::Provisioning),
        1 => Just(Action::Recover),
        1 => (1..6_u32).prop_map(Action::ResultsAreLost),
        1 => any::<bool>().prop_map(Action::Slow),
        1 => Just(Action::AnotherProgramStops),
        1 => Just(Action::Crash),
        1 => Just(Action::Timeout),
        12 => (0..400_u16).prop_map(|seconds| Action::Wait { seconds }),
    ]
}

fn act(world: &mut World, action: Action) {
    match action {
        Action::Network { name, network } => world.set(name, network),
        Action::Radio(state) => world.state = state,
        Action::Internet(internet) => world.internet = internet,
        Action::Cable(cable) => world.cable = cable,
        Action::Stations(stations) => world.stations = if world.radio == Use::Hotspot { stations } else { 0 },
        Action::PhoneActive => world.input(Input::PhoneActive),
        Action::HotspotWorks(works) => world.hotspot_works = works,
        Action::Provisioning(active) => world.set_provisioning(active),
        // A refusal has its reason.
        Action::Recover => {
            let _refused = world.recover();
        }
        Action::ResultsAreLost(lost) => world.lost = lost,
        Action::Slow(slow) => world.slow = slow,
        Action::AnotherProgramStops => world.radio = Use::Nothing,
        Action::Crash => world.crash(),
        Action::Timeout => world.input(Input::Timeout),
        Action::Wait { seconds } => world.advance(Duration::from_secs(seconds.into())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_events_the_node_can_be_reached_and_comes_home(actions in prop::collection::vec(action(), 1..60)) {
        let mut world = World::new();
        for action in actions {
            act(&mut world, action);
        }
        // The faults end, and no network is in range.
        (world.lost, world.slow, world.stations, world.cable) = (0, false, 0, false);
        (world.state, world.hotspot_works) = (Radio::Ready, true);
        for name in ["home", "attic", "barn"] {
            world.set(name, Network::GONE);
        }
        world.set_provisioning(false);
        world.until(2 * FALLBACK_WITHIN, |world| world.radio == Use::Hotspot);
        world.set("home", Network::GOOD);
        world.until(HOUR + RETURN_WITHIN, World::is_home);
        // From here on it stays there.
        world.commands.clear();
        world.advance(HOUR);
        prop_assert!(world.is_home() && world.switches().is_empty());
    }
}
