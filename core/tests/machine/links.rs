//! The link is lost, and a phone reconnects later.

use std::time::Duration;

use provisioning_core::domain::State;
use provisioning_core::endpoint::Endpoint;
use provisioning_core::fault::Fault;
use provisioning_core::wire::{Reply, Request};

use crate::phone::{right, wrong};
use crate::world::{World, credentials, k2, passphrase, request};

#[test]
fn the_link_is_lost_at_every_step_and_another_phone_learns_the_outcome() {
    for fails in [false, true] {
        for steps in 0.. {
            let mut world = World::new();
            let phone = world.paired();
            world.idle().unwrap();
            let mut sent = credentials();
            if fails {
                sent.passphrase = passphrase("not this one");
            }
            world.ask(phone, &request(&sent)).unwrap();
            let mut taken = 0;
            while taken < steps && !world.settled() {
                assert!(world.step().unwrap());
                taken += 1;
            }
            let over = taken < steps;
            world.close(phone).unwrap();
            world.until(World::settled).unwrap();

            assert!(world.advertised, "the node advertises for a phone that lost its link");
            let later = world.paired();
            world.ask(later, &Request::Status).unwrap();
            let report = world.phones[later].last_report();
            assert_eq!(report.request_id, 7);
            if fails {
                assert_eq!(report.failure.unwrap().fault, Fault::WrongPassword);
            } else {
                assert_eq!(report.state, State::Provisioned);
            }
            if over {
                assert!(steps > 3);
                break;
            }
        }
    }
}

/// What a phone does before it disconnects.
type Abandoned = fn(&mut World, usize);

#[test]
fn a_session_is_abandoned_at_each_step_and_the_next_phone_gets_one() {
    let stories: [Abandoned; 5] = [
        // The phone has sent nothing.
        |_, _| {},
        // The guess is being counted.
        |world, phone| {
            let open = world.phones[phone].open("jarvis-5b91b661", &right(), &mut world.random);
            world.write(phone, Endpoint::Session, open).unwrap();
        },
        // The node has answered.
        |world, phone| world.open(phone, &right()).unwrap(),
        // The session is established.
        |world, phone| {
            world.open(phone, &right()).unwrap();
            world.ask(phone, &Request::Status).unwrap();
        },
        // The phone waits for answers.
        |world, phone| {
            world.open(phone, &right()).unwrap();
            world.ask(phone, &Request::Scan { fresh: true, country: None }).unwrap();
            world.ask(phone, &Request::K2(k2("k2-1"))).unwrap();
        },
    ];
    for story in stories {
        let mut world = World::new();
        let phone = world.connect();
        story(&mut world, phone);
        world.close(phone).unwrap();
        assert!(!world.machine.has_session());
        world.idle().unwrap();
        let next = world.paired();
        world.ask(next, &Request::Status).unwrap();
        assert_eq!(world.phones[next].last_report().state, State::ApMode);
    }
}

#[test]
fn a_handshake_without_progress_ends_after_a_minute() {
    let mut world = World::new();
    let silent = world.connect();
    world.open(silent, &wrong()).unwrap();
    world.advance(Duration::from_secs(59)).unwrap();
    assert!(world.machine.has_session());
    world.advance(Duration::from_secs(1)).unwrap();
    assert!(!world.machine.has_session());
    assert_eq!(world.closed, [world.phones[silent].link]);
}

#[test]
fn an_idle_session_ends_but_not_during_its_attempt() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(|world| world.step_is(provisioning_core::domain::Step::Joining)).unwrap();
    let join = world.commands.pop_front().unwrap();
    world.advance(Duration::from_secs(110)).unwrap();
    assert!(world.machine.has_session());
    world.commands.push_back(join);
    world.until(World::settled).unwrap();
    assert_eq!(world.phones[phone].last_report().state, State::Provisioned);
    world.advance(Duration::from_mins(2)).unwrap();
    assert!(!world.machine.has_session());
}

#[test]
fn a_reply_that_is_too_late_for_its_phone_reaches_no_other_phone() {
    let mut world = World::new();
    let gone = world.paired();
    world.idle().unwrap();
    world.ask(gone, &Request::Scan { fresh: true, country: None }).unwrap();
    world.ask(gone, &Request::K2(k2("k2-1"))).unwrap();
    let late: Vec<_> = world.commands.drain(..).collect();
    world.close(gone).unwrap();
    let next = world.paired();
    world.ask(next, &Request::Status).unwrap();
    world.commands.extend(late);
    world.idle().unwrap();
    assert_eq!(world.phones[next].messages.len(), 1, "{:?}", world.phones[next].messages);
}

#[test]
fn a_reply_to_an_earlier_session_is_not_sent_to_the_new_one_on_the_same_link() {
    let mut world = World::new();
    let phone = world.paired();
    world.idle().unwrap();
    world.ask(phone, &Request::K2(k2("the first"))).unwrap();
    let first = world.commands.pop_back().unwrap();
    // The phone starts over without closing the link. Its new session counts from 0 again.
    world.open(phone, &right()).unwrap();
    let to = world.ask(phone, &Request::K2(k2("the second"))).unwrap();
    let second = world.commands.pop_back().unwrap();
    world.idle().unwrap();
    world.commands.extend([first, second]);
    world.work().unwrap();
    assert_eq!(world.phones[phone].replies(to), [], "the second key is not stored");
    world.idle().unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::K2Stored { kid: "the second".into() }]);
}

#[test]
fn a_list_for_an_earlier_session_on_the_same_link_is_not_sent_to_the_new_one() {
    let mut world = World::new();
    let phone = world.paired();
    world.idle().unwrap();
    world.ask(phone, &Request::Scan { fresh: true, country: None }).unwrap();
    let scan = world.commands.pop_back().unwrap();
    world.open(phone, &right()).unwrap();
    world.ask(phone, &Request::Status).unwrap();
    world.commands.push_back(scan);
    world.idle().unwrap();
    assert_eq!(world.phones[phone].messages.len(), 1, "{:?}", world.phones[phone].messages);
}
