//! Espressif's apps: their handshake, their network, and what follows.

use std::time::Duration;

use provisioning_core::domain::{State, Step};
use provisioning_core::espressif::Endpoint;
use provisioning_core::fault::Fault;
use provisioning_core::machine::{AccessPointPolicy, Answer, Command, Input, Link, LocalRequest, RadioCommand, Ticket};
use provisioning_core::secret::SecretText;
use provisioning_core::wire::{Message, Reply, Request};

use crate::app::{App, apply, field, hello, proof, set, start, state};
use crate::phone::right;
use crate::world::{CODE, PASSPHRASE, QR, Radio, World, credentials, k2, ssid, without_a_network};

const CODE_USER: &[u8] = b"wifiprov";
const QR_USER: &[u8] = b"wifiprov-qr";
const LINK: Link = Link(1000);

fn opened(world: &mut World, link: Link) -> App {
    App::open(world, link, CODE_USER, CODE.as_bytes()).expect("the right code")
}

fn qr() -> Vec<u8> {
    QR.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// Sets a network, applies it, and polls until the attempt has ended: the station's state and its detail.
fn joined(world: &mut World, app: &mut App, name: &str, passphrase: &str) -> Vec<u8> {
    assert_eq!(app.ask(world, Endpoint::Config, &set(name, passphrase)).expect("an answer"), [8, 3, 106, 0]);
    assert_eq!(app.ask(world, Endpoint::Config, &apply()).expect("an answer"), [8, 5, 122, 0]);
    assert!(world.disk.pending.is_some(), "answered before the attempt was on disk");
    world.until(|world| world.machine.status().state() == State::Online || world.settled()).expect("no cut is planned");
    station(world, app)
}

fn station(world: &mut World, app: &mut App) -> Vec<u8> {
    let answer = app.ask(world, Endpoint::Config, &state()).expect("an answer");
    field(&answer, 11).expect("a station").to_vec()
}

fn refused(world: &mut World, link: Link, endpoint: Endpoint, message: Vec<u8>) -> bool {
    App::write(world, link, endpoint, message).expect("an answer").is_empty()
}

#[test]
fn an_app_gives_a_node_its_network_and_the_node_is_online_and_not_enrolled() {
    let mut world = World::with(AccessPointPolicy::WhenQuiet(Duration::from_mins(2)));
    world.idle().unwrap();
    let mut app = opened(&mut world, LINK);
    assert_eq!(app.ask(&mut world, Endpoint::Scan, &start()).expect("a list"), [8, 1, 90, 0]);
    let station = joined(&mut world, &mut app, "home", PASSPHRASE);
    assert_eq!(field(&station, 11).and_then(|connected| field(connected, 3)), Some(&b"home"[..]));
    assert_eq!(world.machine.status().state(), State::Online);
    assert!(world.disk.outcome.as_ref().is_some_and(|outcome| outcome.online && outcome.step == Step::Online));
    assert_eq!((world.kept.clone(), world.disk.provisioned), (Some(ssid("home")), false));
    world.input(Input::Closed { link: LINK }).unwrap();
    for _ in 0..2 {
        world.advance(Duration::from_hours(1)).unwrap();
        assert_eq!(world.radio, Radio::Joined(ssid("home")), "its access point takes no radio");
        assert!(world.advertised && !world.finished, "it waits for a phone");
        assert!(!world.machine.needs_radio());
        world.reboot().unwrap();
        assert_eq!(world.machine.status().state(), State::Online, "after a restart, too");
    }
}

#[test]
fn a_node_that_is_online_is_enrolled_by_a_phone() {
    let mut world = World::new();
    let mut app = opened(&mut world, LINK);
    joined(&mut world, &mut app, "home", PASSPHRASE);
    world.input(Input::Closed { link: LINK }).unwrap();
    world.attempt(&without_a_network());
    assert_eq!(world.machine.status().state(), State::Provisioned);
    world.check_enrollment();
}

#[test]
fn a_failed_enrollment_leaves_a_node_online() {
    let mut world = World::with(AccessPointPolicy::WhenQuiet(Duration::from_mins(2)));
    let mut app = opened(&mut world, LINK);
    joined(&mut world, &mut app, "home", PASSPHRASE);
    world.input(Input::Closed { link: LINK }).unwrap();
    let mut elsewhere = without_a_network();
    elsewhere.token = SecretText::new("another token".into());
    let phone = world.attempt(&elsewhere);
    assert_eq!(world.machine.status().state(), State::Error);
    world.close(phone).unwrap();
    world.reboot().unwrap();
    world.advance(Duration::from_hours(1)).unwrap();
    assert_eq!(world.radio, Radio::Joined(ssid("home")));
    assert!(world.disk.outcome.as_ref().is_some_and(|outcome| outcome.online));
}

#[test]
fn over_the_custom_endpoint_an_app_gives_the_key_and_the_command_center() {
    let mut world = World::new();
    let mut app = opened(&mut world, LINK);
    let answer = app.ask(&mut world, Endpoint::Custom, &Request::K2(k2("k-1")).encode()).expect("an answer");
    assert_eq!(Message::decode(&answer), Ok(Message::Reply { to: 0, reply: Reply::K2Stored { kid: "k-1".into() } }));
    assert!(world.disk.k2.is_some(), "it is on disk before it is announced");
    let center = Request::Credentials(Box::new(without_a_network())).encode();
    let answer = app.ask(&mut world, Endpoint::Custom, &center).expect("an answer");
    assert_eq!(Message::decode(&answer), Ok(Message::Reply { to: 0, reply: Reply::Accepted { request_id: 7 } }));
    assert!(world.disk.pending.is_none(), "it waits for the network");
    joined(&mut world, &mut app, "home", PASSPHRASE);
    assert_eq!(world.machine.status().state(), State::Provisioned);
    world.check_enrollment();
}

#[test]
fn over_the_custom_endpoint_a_node_that_is_online_is_enrolled_at_once() {
    let mut world = World::new();
    let mut app = opened(&mut world, LINK);
    joined(&mut world, &mut app, "home", PASSPHRASE);
    let center = Request::Credentials(Box::new(without_a_network())).encode();
    app.ask(&mut world, Endpoint::Custom, &center).expect("an answer");
    world.until(World::settled).unwrap();
    assert_eq!(world.machine.status().state(), State::Provisioned);
}

#[test]
fn after_a_failure_an_app_learns_the_reason_and_sets_another_network_without_a_reset() {
    let mut world = World::new();
    let mut app = opened(&mut world, LINK);
    for _ in 0..3 {
        assert_eq!(joined(&mut world, &mut app, "home", "wrong password"), [16, 3, 80, 0]);
        assert_eq!(joined(&mut world, &mut app, "nowhere", PASSPHRASE), [16, 3, 80, 1]);
        world.joins.push_back(Err(Fault::NoAddress));
        assert_eq!(joined(&mut world, &mut app, "home", PASSPHRASE), [16, 2]);
    }
    assert!(joined(&mut world, &mut app, "home", PASSPHRASE).starts_with(&[90]));
}

#[test]
fn a_network_that_no_scan_has_found_is_taken_for_a_hidden_one() {
    let mut world = World::new();
    world.idle().unwrap();
    let mut app = opened(&mut world, LINK);
    for (name, expected) in [("home", false), ("cellar", true)] {
        app.ask(&mut world, Endpoint::Config, &set(name, PASSPHRASE)).expect("an answer");
        app.ask(&mut world, Endpoint::Config, &apply()).expect("an answer");
        world.until_command(|command| matches!(command, Command::Radio(RadioCommand::Join { .. })));
        let Some(Command::Radio(RadioCommand::Join { hidden, .. })) = world.commands.front() else { panic!("a join") };
        assert_eq!(*hidden, expected, "{name}");
        world.until(|world| world.machine.status().state() == State::Online || world.settled()).unwrap();
    }
}

#[test]
fn wrong_proofs_and_guesses_of_phones_share_one_count() {
    let mut world = World::new();
    for guesses in 1..=5 {
        let link = Link(LINK.0 + u64::from(guesses));
        let share = [2];
        let challenge = App::write(&mut world, link, Endpoint::Session, hello(CODE_USER, &share)).expect("a challenge");
        assert!(challenge.len() > 400);
        assert_eq!(world.disk.guesses, guesses, "counted before it is answered");
        assert!(refused(&mut world, link, Endpoint::Session, proof(&[7; 64])));
        world.input(Input::Closed { link }).unwrap();
    }
    // An app that knows the code, and a phone that does.
    assert!(App::open(&mut world, LINK, CODE_USER, CODE.as_bytes()).is_none());
    let phone = world.connect();
    world.open(phone, &right()).unwrap();
    assert_eq!(world.phones[phone].refusals.first().map(|refusal| refusal.fault), Some(Fault::Locked));
    world.close(phone).unwrap();
    assert_eq!(world.disk.guesses, 5, "what is locked is neither compared nor counted");
    world.reboot().unwrap();
    assert!(App::open(&mut world, LINK, CODE_USER, CODE.as_bytes()).is_none());
    world.advance(Duration::from_mins(1)).unwrap();
    opened(&mut world, LINK);
    world.idle().unwrap();
    assert_eq!(world.disk.guesses, 0, "a success starts over");
}

#[test]
fn an_app_that_never_proves_is_charged() {
    let mut world = World::new();
    App::write(&mut world, LINK, Endpoint::Session, hello(CODE_USER, &[2])).expect("a challenge");
    world.advance(Duration::from_mins(2)).unwrap();
    assert_eq!((world.disk.guesses, world.closed.as_slice()), (1, &[LINK][..]));
}

#[test]
fn a_guess_that_cannot_be_stored_is_not_answered_with_a_challenge() {
    let mut world = World::new();
    world.idle().unwrap();
    world.full.push_back(Fault::StorageFailed);
    let answer = App::write(&mut world, LINK, Endpoint::Session, hello(CODE_USER, &[2])).expect("a refusal");
    assert!(answer.len() < 20);
}

#[test]
fn the_qr_secret_is_not_counted_and_opens_while_the_code_is_locked() {
    let mut world = World::new();
    world.disk.guesses = 9;
    world.reboot().unwrap();
    App::open(&mut world, LINK, QR_USER, &qr()).expect("the secret");
    world.idle().unwrap();
    assert_eq!(world.disk.guesses, 0);
}

#[test]
fn the_handshakes_that_a_neighbour_can_force_have_a_bound() {
    let mut world = World::new();
    let mut computed = 0;
    for number in 0..1000 {
        let link = Link(LINK.0 + number);
        for user in [CODE_USER, QR_USER] {
            computed +=
                usize::from(App::write(&mut world, link, Endpoint::Session, hello(user, &[2])).expect("an answer").len() > 400);
            refused(&mut world, link, Endpoint::Session, proof(&[0; 64]));
        }
        world.input(Input::Closed { link }).unwrap();
    }
    assert_eq!(computed, 5 + 10, "in one minute");
}

#[test]
fn shares_that_fix_the_key_are_refused_and_not_counted() {
    let mut world = World::new();
    for share in [&[][..], &[0; 384], &[0xff; 384], &[1; 385]] {
        let answer = App::write(&mut world, LINK, Endpoint::Session, hello(CODE_USER, share)).expect("an answer");
        assert!(answer.len() < 20);
    }
    let answer = App::write(&mut world, LINK, Endpoint::Session, hello(b"admin", &[2])).expect("an answer");
    assert!(answer.len() < 20 && world.disk.guesses == 0 && !world.machine.has_session());
}

#[test]
fn phones_and_apps_have_one_session_between_them() {
    let mut world = World::new();
    let phone = world.paired();
    let counted = world.disk.guesses;
    let answer = App::write(&mut world, LINK, Endpoint::Session, hello(CODE_USER, &[2])).expect("an answer");
    assert!(answer.len() < 20);
    assert_eq!(world.disk.guesses, counted, "busy is not a guess");
    world.close(phone).unwrap();
    let mut app = opened(&mut world, LINK);
    let second = Link(LINK.0 + 1);
    assert!(App::open(&mut world, second, CODE_USER, CODE.as_bytes()).is_none());
    assert!(refused(&mut world, second, Endpoint::Config, vec![1; 40]));
    let phone = world.connect();
    world.open(phone, &right()).unwrap();
    assert_eq!(world.phones[phone].refusals.first().map(|refusal| refusal.fault), Some(Fault::Busy));
    let request = LocalRequest::Credentials(Box::new(credentials()));
    world.input(Input::ClearRequest { ticket: Ticket(900), request }).unwrap();
    assert_eq!(world.answered(Ticket(900)), Some(&Answer::Busy));
    assert_eq!(station(&mut world, &mut app), [16, 2], "the session is as it was");
}

#[test]
fn messages_in_the_wrong_order_change_nothing() {
    let mut world = World::new();
    let everything = [Endpoint::Scan, Endpoint::Config, Endpoint::Control, Endpoint::Custom];
    for endpoint in everything {
        assert!(refused(&mut world, LINK, endpoint, set("home", PASSPHRASE)));
    }
    assert!(refused(&mut world, LINK, Endpoint::Session, proof(&[0; 64])));
    App::write(&mut world, LINK, Endpoint::Session, hello(CODE_USER, &[2])).expect("a challenge");
    for endpoint in everything {
        assert!(refused(&mut world, LINK, endpoint, apply()));
    }
    let mut app = opened(&mut world, LINK);
    assert!(refused(&mut world, LINK, Endpoint::Session, proof(&[0; 64])), "the proof again");
    // Apply without a network.
    assert_eq!(app.ask(&mut world, Endpoint::Config, &apply()).expect("an answer"), [8, 5, 122, 2, 8, 4]);
    assert!(world.disk.pending.is_none());
    for bad in [set("", PASSPHRASE), set(&"a".repeat(33), PASSPHRASE), set("home", "two\nlines"), set("home", &"a".repeat(129))] {
        assert_eq!(app.ask(&mut world, Endpoint::Config, &bad).expect("an answer"), [8, 3, 106, 2, 8, 4]);
    }
}

#[test]
fn replayed_reflected_and_foreign_messages_change_nothing() {
    let mut world = World::new();
    let mut app = opened(&mut world, LINK);
    let sealed = app.seal(&set("home", PASSPHRASE));
    let answer = App::write(&mut world, LINK, Endpoint::Config, sealed.clone()).expect("an answer");
    for message in [sealed.clone(), answer.clone(), Vec::new(), vec![0; 16], vec![0; 600]] {
        for endpoint in [Endpoint::Scan, Endpoint::Config, Endpoint::Control, Endpoint::Custom, Endpoint::Session] {
            assert!(refused(&mut world, LINK, endpoint, message.clone()), "{endpoint:?}");
        }
    }
    app.opened(&answer).expect("the answer");
    assert_eq!(station(&mut world, &mut app), [16, 2]);
    world.input(Input::Closed { link: LINK }).unwrap();
    opened(&mut world, LINK);
    assert!(refused(&mut world, LINK, Endpoint::Config, sealed), "in another session");
}

#[test]
fn an_app_that_vanishes_at_any_step_leaves_the_session_free() {
    for steps in 0..6 {
        let mut world = World::new();
        let link = LINK;
        if steps == 1 {
            App::write(&mut world, link, Endpoint::Session, hello(CODE_USER, &[2])).expect("a challenge");
        } else if steps > 1 {
            let mut app = opened(&mut world, link);
            if steps > 2 {
                let sealed = app.seal(&start());
                world.input(Input::Espressif { link, endpoint: Endpoint::Scan, message: sealed }).unwrap();
            }
            if steps > 3 {
                world.idle().unwrap();
                let mut app = opened(&mut world, link);
                app.ask(&mut world, Endpoint::Config, &set("home", PASSPHRASE)).expect("an answer");
                if steps > 4 {
                    app.ask(&mut world, Endpoint::Config, &apply()).expect("an answer");
                }
            }
        }
        world.input(Input::Closed { link }).unwrap();
        world.idle().unwrap();
        world.advance(Duration::from_mins(5)).unwrap();
        let mut app = opened(&mut world, Link(LINK.0 + 1));
        let joined = steps == 5;
        assert_eq!(station(&mut world, &mut app).starts_with(&[90]), joined, "after {steps} steps");
    }
}

#[test]
fn an_app_that_only_waits_loses_its_session() {
    let mut world = World::new();
    opened(&mut world, LINK);
    world.advance(Duration::from_mins(2)).unwrap();
    assert_eq!(world.closed, [LINK]);
}

#[test]
fn a_scan_that_does_not_end_is_answered_with_the_last_list_within_fifteen_seconds() {
    let mut world = World::new();
    world.idle().unwrap();
    world.advance(Duration::from_mins(1)).unwrap();
    let mut app = opened(&mut world, LINK);
    let message = app.seal(&start());
    world.app_answers.clear();
    world.input(Input::Espressif { link: LINK, endpoint: Endpoint::Scan, message }).unwrap();
    assert!(world.app_answers.is_empty(), "it waits for the scan");
    let began = world.now;
    while world.app_answers.is_empty() {
        world.now = world.machine.poll_timeout().expect("a limit");
        world.input(Input::Timeout).unwrap();
    }
    assert_eq!(world.now, began + Duration::from_secs(15));
    let (_, answer) = world.app_answers.pop().expect("an answer");
    assert_eq!(app.opened(&answer).expect("sealed"), [8, 1, 90, 0]);
    let answer =
        app.ask(&mut world, Endpoint::Scan, &crate::app::message(&[(1, crate::app::Number(2)), (12, crate::app::Bytes(&[]))]));
    assert_eq!(field(&answer.expect("an answer"), 13), Some(&[8, 1, 16, 2][..]), "finished, and two networks");
}

#[test]
fn a_power_cut_at_any_instant_of_an_apps_attempt_ends_online() {
    for instant in 1.. {
        let mut world = World::new();
        world.idle().unwrap();
        let mut app = opened(&mut world, LINK);
        app.ask(&mut world, Endpoint::Config, &set("home", PASSPHRASE)).expect("an answer");
        app.ask(&mut world, Endpoint::Config, &apply()).expect("an answer");
        world.cut_at = Some(world.instants + instant);
        let cut = world.until(|world| world.machine.status().state() == State::Online).is_err();
        if !cut {
            assert!(instant > 5);
            return;
        }
        world.reboot().unwrap();
        world.until(|world| world.machine.status().state() == State::Online).unwrap();
        assert!(world.disk.pending.is_none() && world.kept == Some(ssid("home")));
    }
}
