//! Attacks on a node with a session, or without one: replay, clear text, forgeries.

use std::time::Duration;

use provisioning_core::endpoint::Endpoint;
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Input, Link};
use provisioning_core::wire::{Record, Request};

use crate::matrix::{States, snapshot};
use crate::phone::right;
use crate::world::{Random, World, credentials, k2, request};

const WRITABLE: [Endpoint; 5] = [Endpoint::Session, Endpoint::Scan, Endpoint::K2, Endpoint::Credentials, Endpoint::Status];

/// All messages of a phone that provisioned a node.
fn recorded() -> Vec<(Endpoint, Vec<u8>)> {
    let mut world = World::new();
    // The keys differ from those of the worlds in which the messages are replayed.
    world.random = Random(2);
    let phone = world.connect();
    let mut written = vec![(Endpoint::Session, world.phones[phone].open("jarvis-5b91b661", &right(), &mut world.random))];
    world.write(phone, Endpoint::Session, written[0].1.clone()).unwrap();
    world.idle().unwrap();
    for request in
        [Request::Scan { fresh: true, country: None }, Request::K2(k2("k2-1")), request(&credentials()), Request::Status]
    {
        let (record, _) = world.phones[phone].seal(&request);
        world.write(phone, request.endpoint(), record.clone()).unwrap();
        world.idle().unwrap();
        written.push((request.endpoint(), record));
    }
    assert!(world.disk.provisioned);
    written
}

#[test]
fn every_recorded_message_replayed_in_every_state_is_refused() {
    let recorded = recorded();
    for state in States::ALL {
        for (endpoint, message) in &recorded[1..] {
            let (mut world, phone) = state.reach();
            let before = snapshot(&world);
            world.write(phone, *endpoint, message.clone()).unwrap();
            let refusal = world.phones[phone].refusals.last().expect("a refusal");
            assert!(matches!(refusal.fault, Fault::NotAuthenticated | Fault::WrongCode), "{state:?}: {refusal:?}");
            assert_eq!(snapshot(&world), before, "{state:?}");
        }
    }
}

#[test]
fn a_replayed_open_counts_as_a_guess_and_has_no_other_effect() {
    let recorded = recorded();
    let mut world = World::new();
    world.reboot().unwrap();
    let phone = world.connect();
    let link = world.phones[phone].link;
    // The attacker does not receive the answer; the test checks the node alone.
    world.phones[phone].connected = false;
    for made in 1..=3 {
        world.input(Input::Received { link, endpoint: Endpoint::Session, message: recorded[0].1.clone() }).unwrap();
        world.idle().unwrap();
        assert_eq!(world.disk.guesses, made);
        for (endpoint, message) in &recorded[1..] {
            world.input(Input::Received { link, endpoint: *endpoint, message: message.clone() }).unwrap();
            world.idle().unwrap();
        }
        assert!(world.disk.k2.is_none() && world.disk.pending.is_none() && !world.disk.provisioned);
    }
}

#[test]
fn an_unsealed_write_on_every_endpoint_in_every_state_changes_nothing() {
    let messages = [
        Vec::new(),
        b"{}".to_vec(),
        Request::Scan { fresh: true, country: None }.encode().to_vec(),
        Request::K2(k2("k2-1")).encode().to_vec(),
        request(&credentials()).encode().to_vec(),
        Request::Status.encode().to_vec(),
        Record { counter: 0, sealed: request(&credentials()).encode().to_vec(), confirmation: Vec::new() }.encode(),
        Record { counter: 9, sealed: request(&credentials()).encode().to_vec(), confirmation: vec![0; 64] }.encode(),
    ];
    for state in States::ALL {
        for endpoint in WRITABLE {
            for message in &messages {
                let (mut world, phone) = state.reach();
                let before = snapshot(&world);
                let heard = world.phones[phone].messages.len();
                world.write(phone, endpoint, message.clone()).unwrap();
                assert_eq!(snapshot(&world), before, "{state:?} {endpoint:?} {message:?}");
                assert_eq!(world.phones[phone].messages.len(), heard);
                assert!(!world.phones[phone].refusals.is_empty());
            }
        }
    }
}

#[test]
fn another_link_cannot_use_the_session() {
    let mut world = World::new();
    let owner = world.paired();
    world.ask(owner, &Request::Status).unwrap();
    let before = snapshot(&world);
    let (stolen, _) = world.phones[owner].seal(&request(&credentials()));
    let thief = world.connect();
    world.write(thief, Endpoint::Credentials, stolen.clone()).unwrap();
    assert_eq!(world.phones[thief].refusals[0].fault, Fault::Busy);
    assert_eq!(snapshot(&world), before);
    // The owner's own record is still valid.
    world.write(owner, Endpoint::Credentials, stolen).unwrap();
    world.until(World::settled).unwrap();
    assert!(world.disk.provisioned);
}

#[test]
fn a_hundred_thousand_failed_decrypts_leave_the_session_working() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    let link = world.phones[phone].link;
    for counter in 0..100_000_u64 {
        let forged = Record { counter, sealed: counter.to_be_bytes().repeat(4), confirmation: Vec::new() };
        world.machine.handle(
            Input::Received { link, endpoint: Endpoint::Scan, message: forged.encode() },
            world.now,
            &mut world.random,
        );
        while world.machine.poll_output().is_some() {}
    }
    world.ask(phone, &Request::Status).unwrap();
    assert_eq!(world.phones[phone].reports().len(), 2);
}

#[test]
fn a_request_written_to_another_endpoint_is_refused_or_does_not_open() {
    let requests =
        [Request::Scan { fresh: true, country: None }, Request::K2(k2("k2-1")), request(&credentials()), Request::Status];
    for request in &requests {
        for endpoint in WRITABLE.into_iter().filter(|endpoint| *endpoint != request.endpoint()) {
            let mut world = World::new();
            let phone = world.paired();
            world.ask(phone, &Request::Status).unwrap();
            let before = snapshot(&world);
            // Sealed for the right endpoint, written to the wrong one.
            let (record, _) = world.phones[phone].seal(request);
            world.write(phone, endpoint, record).unwrap();
            assert_eq!(snapshot(&world), before);
            // Sealed for the wrong endpoint by a faulty phone.
            if endpoint != Endpoint::Session {
                let session = world.phones[phone].session.as_mut().unwrap();
                let record = session.seal(endpoint, &request.encode()).encode();
                world.write(phone, endpoint, record).unwrap();
                assert_eq!(snapshot(&world), before);
            }
        }
    }
}

#[test]
fn a_message_over_the_limit_of_its_endpoint_is_not_parsed() {
    let mut world = World::new();
    let phone = world.connect();
    for endpoint in WRITABLE {
        let refusals = world.phones[phone].refusals.len();
        world.write(phone, endpoint, vec![0; endpoint.row().limit + 1]).unwrap();
        assert_eq!(world.phones[phone].refusals[refusals].fault, Fault::TooLarge);
    }
    assert!(!world.machine.has_session());
}

#[test]
fn every_truncation_of_every_written_message_is_harmless() {
    for (endpoint, message) in recorded() {
        for length in 0..message.len() {
            let mut world = World::new();
            world.idle().unwrap();
            let before = snapshot(&world);
            let link = Link(99);
            world.input(Input::Received { link, endpoint, message: message[..length].to_vec() }).unwrap();
            world.idle().unwrap();
            assert_eq!(snapshot(&world), before, "{endpoint:?} cut at {length}");
        }
    }
}

#[test]
fn a_record_that_carries_a_proof_without_need_is_refused() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    let session = world.phones[phone].session.as_mut().unwrap();
    let record = session.seal(Endpoint::Status, &Request::Status.encode());
    let added = Record { confirmation: vec![0; 64], ..record.clone() };
    world.write(phone, Endpoint::Status, added.encode()).unwrap();
    assert_eq!(world.phones[phone].refusals.last().unwrap().fault, Fault::NotAuthenticated);
    assert_eq!(world.phones[phone].reports().len(), 1);
    world.write(phone, Endpoint::Status, record.encode()).unwrap();
    assert_eq!(world.phones[phone].reports().len(), 2, "the honest record still opens");
}

#[test]
fn junk_does_not_prolong_a_handshake_that_is_being_counted() {
    let mut world = World::new();
    world.idle().unwrap();
    let phone = world.connect();
    let open = world.phones[phone].open("jarvis-5b91b661", &right(), &mut world.random);
    world.write(phone, Endpoint::Session, open).unwrap();
    let began = world.now;
    for second in 1..60 {
        world.now = began + Duration::from_secs(second);
        world
            .write(phone, Endpoint::Status, Record { counter: 0, sealed: Vec::new(), confirmation: Vec::new() }.encode())
            .unwrap();
    }
    assert_eq!(world.machine.poll_timeout(), Some(began + Duration::from_mins(1)));
}

#[test]
fn junk_does_not_prolong_an_unused_session() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    world.idle().unwrap();
    let ends = world.machine.poll_timeout();
    let began = world.now;
    for second in 1..80 {
        world.now = began + Duration::from_secs(second);
        world
            .write(phone, Endpoint::Status, Record { counter: 9, sealed: vec![0; 32], confirmation: Vec::new() }.encode())
            .unwrap();
    }
    assert!(world.machine.has_session());
    assert_eq!(world.machine.poll_timeout(), ends);
}

/// A phone that sends nothing, but is present every half second for so long.
fn present_for(seconds: u64) -> World {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    world.idle().unwrap();
    let link = world.phones[phone].link;
    for _ in 0..seconds * 2 {
        world.advance(Duration::from_millis(500)).unwrap();
        world.input(Input::Present { link }).unwrap();
    }
    world
}

#[test]
fn a_phone_that_is_present_keeps_its_session_while_its_owner_types() {
    let mut world = present_for(599);
    assert!(world.machine.has_session());
    world.ask(0, &Request::Status).unwrap();
    assert_eq!(world.phones[0].reports().len(), 2);
}

#[test]
fn a_phone_that_only_polls_loses_its_session_after_ten_minutes() {
    let world = present_for(601);
    assert!(!world.machine.has_session());
    assert_eq!(world.closed, [world.phones[0].link]);
}

#[test]
fn a_phone_that_has_left_loses_its_session_after_its_last_presence() {
    let mut world = present_for(100);
    world.advance(Duration::from_secs(84)).unwrap();
    assert!(world.machine.has_session());
    world.advance(Duration::from_secs(1)).unwrap();
    assert!(!world.machine.has_session());
}

#[test]
fn presence_counts_on_the_link_of_the_session_alone() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    world.idle().unwrap();
    let other = world.connect();
    let (ends, link) = (world.machine.poll_timeout(), world.phones[other].link);
    world.advance(Duration::from_mins(1)).unwrap();
    world.input(Input::Present { link }).unwrap();
    assert_eq!(world.machine.poll_timeout(), ends);
}

#[test]
fn presence_does_not_prolong_a_handshake() {
    let mut world = World::new();
    let phone = world.paired();
    let (ends, link) = (world.machine.poll_timeout(), world.phones[phone].link);
    world.advance(Duration::from_secs(30)).unwrap();
    world.input(Input::Present { link }).unwrap();
    assert_eq!(world.machine.poll_timeout(), ends);
}

#[test]
fn an_invalid_message_is_refused_by_name_and_the_session_remains() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    let link = world.phones[phone].link;
    world.input(Input::InvalidMessage { link, fault: Fault::TooLarge }).unwrap();
    assert_eq!(world.phones[phone].refusals[0].fault, Fault::TooLarge);
    world.ask(phone, &Request::Status).unwrap();
    assert_eq!(world.phones[phone].reports().len(), 2);
}

#[test]
fn a_new_handshake_ends_the_previous_session() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &Request::Status).unwrap();
    let (old, _) = world.phones[phone].seal(&request(&credentials()));
    world.open(phone, &right()).unwrap();
    world.ask(phone, &Request::Status).unwrap();
    let before = snapshot(&world);
    world.write(phone, Endpoint::Credentials, old).unwrap();
    assert_eq!(world.phones[phone].refusals.last().unwrap().fault, Fault::NotAuthenticated);
    assert_eq!(snapshot(&world), before);
}
