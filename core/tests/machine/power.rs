//! The power fails at every instant: after each output, and between each command's effect and its report.

use provisioning_core::domain::{Credentials, State};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{AccessPointPolicy, LocalRequest, RESUMES};
use provisioning_core::wire::{Reply, Request};

use crate::center::{CODE_OF_A_SITE, unreachable};
use crate::phone::right;
use crate::world::{PowerCut, World, credentials, k2, passphrase, request, with_a_code, without_a_network};

/// Runs a story with a power cut at its first instant, at its second, and so on until it completes; over
/// Bluetooth alone, and with the access point open.
fn cut_everywhere(prepare: impl Fn(&mut World), story: impl Fn(&mut World) -> Result<(), PowerCut>, check: impl Fn(&mut World)) {
    for policy in [AccessPointPolicy::Never, AccessPointPolicy::Always] {
        for cut_at in 1.. {
            let mut world = World::with(policy);
            prepare(&mut world);
            world.idle().unwrap();
            world.instants = 0;
            world.cut_at = Some(cut_at);
            let result = story(&mut world);
            world.cut_at = None;
            if result.is_ok() {
                assert!(cut_at > 10, "the story has more instants");
                break;
            }
            world.reboot().unwrap();
            check(&mut world);
        }
    }
}

fn provision(world: &mut World) -> Result<(), PowerCut> {
    let phone = world.connect();
    world.open(phone, &right())?;
    world.ask(phone, &Request::K2(k2("k2-1")))?;
    world.idle()?;
    world.ask(phone, &request(&credentials()))?;
    world.until(World::settled)
}

/// An attempt without a settings key, until its end.
fn attempt(world: &mut World, credentials: &Credentials) -> Result<(), PowerCut> {
    let phone = world.connect();
    world.open(phone, &right())?;
    world.ask(phone, &request(credentials))?;
    world.until(World::settled)
}

/// Whether a phone received this before the cut.
fn was_told(world: &World, state: State) -> bool {
    world.phones.iter().any(|phone| phone.reports().iter().any(|report| report.state == state))
}

#[test]
fn a_success_survives_and_a_stored_attempt_is_completed() {
    cut_everywhere(
        |_| {},
        provision,
        |world| {
            let announced = was_told(world, State::Provisioned);
            assert!(!announced || world.disk.provisioned);
            let began = world.disk.pending.is_some() || world.disk.provisioned;
            if began {
                world.until(|world| world.disk.provisioned).unwrap();
                world.idle().unwrap();
                world.check_enrollment();
                assert_eq!(world.kept, credentials().ssid);
            } else {
                // No attempt was stored, and the owner can start one.
                world.idle().unwrap();
                provision(world).unwrap();
                world.check_enrollment();
            }
            assert_eq!(world.center.nodes.len(), 1);
        },
    );
}

#[test]
fn an_accepted_attempt_survives_and_an_earlier_failure_is_not_its_outcome() {
    cut_everywhere(
        |world| {
            let phone = world.attempt(&Credentials { passphrase: passphrase("not this one"), ..credentials() });
            world.close(phone).unwrap();
        },
        provision,
        |world| {
            let accepted = Reply::Accepted { request_id: credentials().request_id };
            if world.phones.iter().skip(1).any(|phone| phone.replies(1).contains(&accepted)) {
                assert!(world.disk.pending.is_some() || world.disk.provisioned, "accepted, and the node knows nothing of it");
                assert_eq!(world.machine.status().failure, None);
                world.until(|world| world.disk.provisioned).unwrap();
                world.check_enrollment();
            }
        },
    );
}

#[test]
fn a_stored_attempt_without_a_network_is_completed() {
    cut_everywhere(
        |_| {},
        |world| attempt(world, &without_a_network()),
        |world| {
            if world.disk.pending.is_none() && !world.disk.provisioned {
                return;
            }
            world.until(|world| world.disk.provisioned).unwrap();
            world.check_enrollment();
            assert_eq!(world.kept, None);
        },
    );
}

#[test]
fn a_stored_code_is_claimed() {
    cut_everywhere(
        |_| {},
        |world| attempt(world, &with_a_code()),
        |world| {
            if world.disk.pending.is_none() && !world.disk.provisioned {
                assert!(world.center.claims.is_empty(), "claimed, but unknown to the node");
                return;
            }
            world.until(|world| world.disk.provisioned).unwrap();
            assert!(world.center.claims.contains_key(CODE_OF_A_SITE));
            world.check_enrollment();
        },
    );
}

#[test]
fn an_attempt_survives_a_second_cut_while_it_is_resumed() {
    for first in (1..).step_by(2) {
        let mut world = World::new();
        world.idle().unwrap();
        world.instants = 0;
        world.cut_at = Some(first);
        if provision(&mut world).is_ok() {
            assert!(first > 20);
            return;
        }
        for second in (1..).step_by(2) {
            let mut world = World::new();
            world.idle().unwrap();
            world.instants = 0;
            world.cut_at = Some(first);
            provision(&mut world).unwrap_err();
            world.instants = 0;
            world.cut_at = Some(second);
            let resumed = world.reboot().and_then(|()| world.idle());
            let cut = resumed.is_err();
            world.cut_at = None;
            if cut {
                world.reboot().unwrap();
            }
            if world.disk.pending.is_some() || world.disk.provisioned {
                world.until(|world| world.disk.provisioned).unwrap();
                world.check_enrollment();
            }
            assert!(world.center.nodes.len() <= 1);
            if !cut {
                break;
            }
        }
    }
}

#[test]
fn a_node_that_the_command_center_registered_gets_its_key() {
    cut_everywhere(
        |world| world.center.lost_answers = 2,
        provision,
        |world| {
            if world.center.nodes.is_empty() {
                return;
            }
            assert!(world.disk.pending.is_some() || world.disk.provisioned, "registered, but unknown to the node");
            world.until(|world| world.disk.provisioned).unwrap();
            world.check_enrollment();
            assert_eq!(world.center.nodes.len(), 1);
        },
    );
}

#[test]
fn a_failure_that_was_reported_can_be_read_after_a_restart() {
    let wrong = || {
        let mut wrong = credentials();
        wrong.passphrase = passphrase("not this one");
        wrong
    };
    cut_everywhere(
        |_| {},
        |world| attempt(world, &wrong()),
        |world| {
            let announced = was_told(world, State::Error);
            let began = world.disk.pending.is_some() || world.disk.outcome.is_some();
            world.idle().unwrap();
            if began {
                world.until(World::settled).unwrap();
            }
            let phone = world.paired();
            world.ask(phone, &Request::Status).unwrap();
            let report = world.phones[phone].last_report();
            assert!(!announced || report.state == State::Error);
            assert_eq!(report.state == State::Error, began);
        },
    );
}

#[test]
fn a_cut_at_every_instant_of_a_reset_ends_in_a_reset() {
    cut_everywhere(
        |world| {
            provision(world).unwrap();
            world.close(0).unwrap();
        },
        |world| {
            // NetworkManager is away at first.
            world.forget_failures.push_back(Fault::NetworkUnavailable);
            world.local(LocalRequest::Reset)?;
            world.until(|world| !world.disk.resetting && !world.disk.provisioned)?;
            world.idle()?;
            provision(world)
        },
        |world| {
            // Before the reset is on disk the node is unchanged; afterwards it is completed before anything else.
            if !world.disk.resetting && world.disk.provisioned {
                world.check_enrollment();
                assert!(world.kept.is_some());
            }
            if world.disk.resetting {
                world.until(|world| !world.disk.resetting).unwrap();
                assert!(world.kept.is_none() && world.disk.enrollment.is_none() && world.disk.k2.is_none());
            }
            world.idle().unwrap();
            provision(world).unwrap();
            world.check_enrollment();
        },
    );
}

#[test]
fn an_attempt_that_is_interrupted_too_often_fails_and_is_reported() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &request(&credentials())).unwrap();
    // The power fails repeatedly while the node waits for the command center.
    for _ in 0..=RESUMES {
        world.center.failures.extend((0..8).map(|_| unreachable()));
        world.until(|world| world.center.requests > 0).unwrap();
        world.center.requests = 0;
        world.center.failures.clear();
        world.reboot().unwrap();
    }
    world.until(World::settled).unwrap();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    let failure = world.phones[phone].last_report().failure.unwrap();
    assert_eq!(failure.fault, Fault::Interrupted);
    assert!(world.disk.pending.is_none());
}

#[test]
fn guesses_are_counted_across_power_cuts() {
    // The power is cut at every instant of a wrong guess; every guess that was answered is on disk.
    cut_everywhere(
        |_| {},
        |world| {
            for _ in 0..4 {
                let phone = world.connect();
                world.open(phone, &crate::phone::wrong())?;
                world.close(phone)?;
            }
            Ok(())
        },
        |world| {
            let answered = world.phones.iter().filter(|phone| phone.error.is_some()).count();
            assert!(world.disk.guesses as usize >= answered);
        },
    );
}
