//! Provisioning when nothing unexpected fails.

use std::time::Duration;

use provisioning_core::domain::{Country, Credentials, State, Step};
use provisioning_core::endpoint::Endpoint;
use provisioning_core::fault::Fault;
use provisioning_core::machine::{AccessPointPolicy, Answer, Command, LocalRequest, RadioCommand};
use provisioning_core::wire::{Message, Reply, Request};

use crate::center::{APPLIANCE, CODE_OF_A_SITE, unreachable};
use crate::phone::{by_qr, right};
use crate::world::{NODE_ID, Radio, World, credentials, k2, passphrase, request, ssid, with_a_code, without_a_network};

#[test]
fn a_phone_provisions_a_node() {
    let mut world = World::new();
    let phone = world.paired();
    let scan = world.ask(phone, &Request::Scan { fresh: true, country: None }).unwrap();
    let settings = world.ask(phone, &Request::K2(k2("k2-1"))).unwrap();
    world.idle().unwrap();
    let attempt = world.ask(phone, &request(&credentials())).unwrap();
    world.until(World::settled).unwrap();

    let phone = &world.phones[phone];
    let [Reply::Networks { networks, last: true }] = &phone.replies(scan)[..] else { panic!("{:?}", phone.replies(scan)) };
    assert_eq!(networks.iter().map(|network| network.signal).collect::<Vec<_>>(), [-45, -80], "deduplicated, strongest first");
    assert_eq!(phone.replies(settings), [Reply::K2Stored { kid: "k2-1".into() }]);
    assert_eq!(phone.replies(attempt), [Reply::Accepted { request_id: 7 }]);
    let states: Vec<(State, u8)> = phone.reports().iter().map(|report| (report.state, report.progress)).collect();
    assert_eq!(
        states,
        [
            (State::Connecting, 10),
            (State::Connecting, 20),
            (State::Connecting, 35),
            (State::Connecting, 50),
            (State::Registering, 70),
            (State::Registering, 90),
            (State::Provisioned, 100)
        ]
    );
    assert_eq!(world.machine.identity().node_id, NODE_ID);
    assert_eq!(world.radio, Radio::Joined(ssid("home")));
    assert_eq!(world.kept, Some(ssid("home")));
    world.check_enrollment();
}

#[test]
fn a_node_that_is_online_enrolls_without_a_network_and_leaves_the_radio_alone() {
    for policy in [AccessPointPolicy::Never, AccessPointPolicy::Always] {
        let mut world = World::with(policy);
        world.idle().unwrap();
        let before = world.radio.clone();
        world.center.failures.extend((0..8).map(|_| unreachable()));
        let phone = world.attempt(&without_a_network());
        assert_eq!(world.phones[phone].last_report().failure.unwrap().fault, Fault::CommandCenterUnreachable);
        assert_eq!(world.radio, before);

        world.ask(phone, &request(&without_a_network())).unwrap();
        world.until(|world| world.step_is(Step::Done)).unwrap();
        let steps: Vec<u8> = world.phones[phone].reports().iter().map(|report| report.progress).collect();
        assert!(steps.ends_with(&[10, 20, 70, 90, 100]), "{steps:?}");
        assert_eq!((&world.radio, &world.kept), (&before, &None));
        world.check_enrollment();
    }
}

#[test]
fn a_provision_code_is_claimed_once_the_node_is_registered() {
    let mut world = World::new();
    let phone = world.attempt(&with_a_code());
    let report = world.phones[phone].reports();
    let states: Vec<(u8, Option<&str>)> = report.iter().map(|report| (report.progress, report.appliance_id.as_deref())).collect();
    let before = [10, 20, 35, 50, 70, 80].map(|progress| (progress, None));
    assert_eq!(states, [&before[..], &[(90, Some(APPLIANCE)), (100, Some(APPLIANCE))]].concat());
    assert_eq!(world.center.claims[CODE_OF_A_SITE], 1);
    world.check_enrollment();
}

#[test]
fn an_attempt_without_a_code_has_no_appliance_id() {
    let mut world = World::new();
    let phone = world.attempt(&with_a_code());
    let mut again = credentials();
    again.request_id = 8;
    world.ask(phone, &request(&again)).unwrap();
    world.until(|world| world.machine.status().request_id == 8 && world.settled()).unwrap();
    assert_eq!(world.phones[phone].last_report().appliance_id, None);
}

#[test]
fn a_phone_with_the_qr_secret_provisions_a_node() {
    let mut world = World::new();
    let phone = world.connect();
    world.open(phone, &by_qr()).unwrap();
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(World::settled).unwrap();
    assert_eq!(world.phones[phone].last_report().state, State::Provisioned);
    assert_eq!(world.disk.guesses, 0, "a secret that cannot be guessed is not counted");
}

#[test]
fn a_wrong_password_is_reported_and_the_right_one_succeeds_on_the_same_session() {
    let mut world = World::new();
    let phone = world.paired();
    let mut wrong = credentials();
    wrong.passphrase = passphrase("not this one");
    world.ask(phone, &request(&wrong)).unwrap();
    world.until(World::settled).unwrap();
    let report = world.phones[phone].last_report();
    assert_eq!((report.state, report.retryable), (State::Error, true));
    assert_eq!(report.failure.map(|failure| failure.fault), Some(Fault::WrongPassword));
    assert_eq!(world.radio, Radio::Before);

    world.ask(phone, &request(&credentials())).unwrap();
    world.until(|world| world.step_is(Step::Done)).unwrap();
    assert_eq!(world.phones[phone].last_report().state, State::Provisioned);
    assert_eq!(world.phones.len(), 1);
}

#[test]
fn a_hundred_failures_do_not_keep_a_node_from_succeeding() {
    let mut world = World::new();
    let phone = world.paired();
    for attempt in 1..=100 {
        let mut wrong = credentials();
        wrong.passphrase = passphrase("not this one");
        wrong.request_id = attempt;
        world.ask(phone, &request(&wrong)).unwrap();
        world.until(World::settled).unwrap();
        let report = world.phones[phone].last_report();
        assert_eq!((report.state, report.request_id), (State::Error, attempt));
    }
    world.ask(phone, &request(&credentials())).unwrap();
    world.until(|world| world.step_is(Step::Done)).unwrap();
    assert_eq!(world.center.nodes.len(), 1);
    world.check_enrollment();
}

#[test]
fn the_same_credentials_sent_twice_are_one_attempt() {
    let mut world = World::new();
    let phone = world.paired();
    let first = world.ask(phone, &request(&credentials())).unwrap();
    let second = world.ask(phone, &request(&credentials())).unwrap();
    world.until(World::settled).unwrap();
    let third = world.ask(phone, &request(&credentials())).unwrap();
    world.idle().unwrap();
    for to in [first, second, third] {
        assert_eq!(world.phones[phone].replies(to), [Reply::Accepted { request_id: 7 }]);
    }
    assert_eq!(world.center.requests, 1);
    assert_eq!(world.phones[phone].last_report().state, State::Provisioned);
}

#[test]
fn other_credentials_during_an_attempt_are_refused() {
    let mut world = World::new();
    let phone = world.paired();
    world.ask(phone, &request(&credentials())).unwrap();
    let mut other = credentials();
    other.ssid = Some(ssid("attic"));
    let refused = world.ask(phone, &request(&other)).unwrap();
    assert_eq!(world.phones[phone].replies(refused), [Reply::Refused(Fault::InProgress)]);
    world.until(World::settled).unwrap();
    assert_eq!(world.phones[phone].last_report().ssid, Some(ssid("home")));
}

#[test]
fn the_answer_leaves_before_the_access_point_closes() {
    let mut world = World::with(AccessPointPolicy::Always);
    world.until(|world| matches!(world.radio, Radio::AccessPoint(_))).unwrap();
    let phone = world.paired();
    let to = world.ask(phone, &request(&credentials())).unwrap();
    let asked_at = world.now;
    world.idle().unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Accepted { request_id: 7 }]);
    assert!(world.disk.pending.is_some());
    world.until(|world| world.step_is(Step::Joining)).unwrap();
    assert!(world.now >= asked_at + Duration::from_millis(500));
}

#[test]
fn the_access_point_opens_again_when_an_attempt_over_it_fails() {
    let mut world = World::with(AccessPointPolicy::Always);
    world.until(|world| matches!(world.radio, Radio::AccessPoint(_))).unwrap();
    let before = world.radio.clone();
    let mut wrong = credentials();
    wrong.passphrase = passphrase("not this one");
    world.local(LocalRequest::Credentials(Box::new(wrong))).unwrap();
    world.until(World::settled).unwrap();
    assert_eq!(world.radio, before);
    assert!(world.machine.status().access_point_restored);
}

#[test]
fn a_recent_list_is_returned_at_once_and_a_rescan_is_started() {
    let mut world = World::new();
    world.idle().unwrap();
    let phone = world.paired();
    let recent = world.ask(phone, &Request::Scan { fresh: false, country: None }).unwrap();
    assert_eq!(world.phones[phone].replies(recent).len(), 1);
    let fresh = world.ask(phone, &Request::Scan { fresh: true, country: None }).unwrap();
    assert_eq!(world.phones[phone].replies(fresh).len(), 0);
    world.idle().unwrap();
    assert_eq!(world.phones[phone].replies(fresh).len(), 1);
}

#[test]
fn a_country_of_a_phone_comes_before_its_scan_and_its_join_and_is_shown() {
    let country = |text: &str| Country::try_from(text).ok();
    let mut world = World::new();
    world.idle().unwrap();
    assert_eq!(world.machine.info().country, "");
    let phone = world.paired();
    world.ask(phone, &Request::Scan { fresh: false, country: country("FI") }).unwrap();
    let sent = country("FI");
    world.until_command(|command| matches!(command, Command::Radio(RadioCommand::Scan { country, .. }) if *country == sent));
    assert_eq!(world.machine.info().country, "FI");
    world.idle().unwrap();
    let credentials = Credentials { country: country("DE"), seen_frequency: 2467, ..credentials() };
    world.ask(phone, &request(&credentials)).unwrap();
    let joins = |command: &Command| {
        let Command::Radio(RadioCommand::Join { country, seen_frequency, .. }) = command else { return false };
        *country == credentials.country && *seen_frequency == 2467
    };
    world.until_command(joins);
    assert_eq!(world.machine.info().country, "DE");
}

#[test]
fn a_scan_that_needed_a_country_is_repeated_when_a_phone_has_sent_it() {
    let mut world = World::new();
    world.idle().unwrap();
    let phone = world.paired();
    let without = world.ask(phone, &Request::Scan { fresh: true, country: None }).unwrap();
    let with = world.ask(phone, &Request::Scan { fresh: true, country: Country::try_from("FI").ok() }).unwrap();
    world.scans.push_back(Fault::CountryMissing);
    world.idle().unwrap();
    for to in [without, with] {
        let replies = world.phones[phone].replies(to);
        assert!(matches!(&replies[..], [Reply::Networks { .. }]), "{replies:?}");
    }
    let to = world.ask(phone, &Request::Scan { fresh: true, country: None }).unwrap();
    world.scans.push_back(Fault::CountryMissing);
    world.idle().unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Refused(Fault::CountryMissing)], "not for ever");
}

#[test]
fn a_status_can_be_requested() {
    let mut world = World::new();
    let phone = world.paired();
    let to = world.ask(phone, &Request::Status).unwrap();
    let [Reply::Status(report)] = &world.phones[phone].replies(to)[..] else { panic!("one status") };
    assert_eq!((report.state, report.progress, report.failure.as_ref()), (State::ApMode, 0, None));
}

#[test]
fn requests_of_the_json_api_are_answered() {
    let mut world = World::new();
    world.idle().unwrap();
    let scan = world.local(LocalRequest::Scan).unwrap();
    assert!(matches!(world.answered(scan), Some(Answer::Networks(networks)) if networks.len() == 3));
    let stored = world.local(LocalRequest::K2(k2("k2-1"))).unwrap();
    assert_eq!(world.answered(stored), None, "not before it is on disk");
    world.idle().unwrap();
    assert_eq!(world.answered(stored), Some(&Answer::K2Stored));
    let accepted = world.local(LocalRequest::Credentials(Box::new(credentials()))).unwrap();
    assert_eq!(world.answered(accepted), Some(&Answer::Accepted));
    let busy = world.local(LocalRequest::Credentials(Box::new(credentials()))).unwrap();
    assert_eq!(world.answered(busy), Some(&Answer::Busy));
    world.until(World::settled).unwrap();
    assert!(world.disk.provisioned);
}

#[test]
fn a_large_list_arrives_in_parts_that_each_fit_one_notification() {
    let mut world = World::new();
    let phone = world.connect();
    world.open(phone, &right()).unwrap();
    let to = world.ask(phone, &Request::Scan { fresh: true, country: None }).unwrap();
    world.idle().unwrap();
    assert!(!world.phones[phone].replies(to).is_empty());
    assert!(world.air.iter().all(|message| message.len() + 3 <= provisioning_core::wire::framing::VALUE_LIMIT));
}

#[test]
fn an_invalid_request_is_answered_within_the_session() {
    let mut world = World::new();
    let phone = world.paired();
    let session = world.phones[phone].session.as_mut().unwrap();
    let record = session.seal(Endpoint::Scan, b"\xff\xff").encode();
    world.write(phone, Endpoint::Scan, record).unwrap();
    assert_eq!(world.phones[phone].messages, [Message::Reply { to: 0, reply: Reply::Refused(Fault::Malformed) }]);
}
