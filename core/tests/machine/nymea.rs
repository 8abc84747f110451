//! nymea's clients: who may give the node its network, and what each client learns.

use std::net::Ipv4Addr;
use std::time::Duration;

use provisioning_core::domain::{State as NodeState, Step};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Answer, Command, Input, Link, LocalRequest, RadioCommand};
use provisioning_core::nymea::{Characteristic, FromClient, Network, Notice, Shown, Wireless};
use provisioning_core::secret::SecretBlob;
use serde_json::{Value, json};

use crate::world::{PASSPHRASE, Radio, World, request, ssid, without_a_network};

const LINK: Link = Link(2000);
const OTHER: Link = Link(2001);
const MINUTE: Duration = Duration::from_mins(1);
/// How long clients wait for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 20);

const SUCCESS: u8 = 0;
const INVALID_COMMAND: u8 = 1;
const INVALID_PARAMETER: u8 = 2;
const NETWORKING_DISABLED: u8 = 5;
const UNKNOWN: u8 = 7;

fn world() -> World {
    let mut world = World::new();
    world.config.nymea = true;
    world.reboot().unwrap();
    world.idle().unwrap();
    world
}

/// A world in which a client has connected to a node that is authorized.
fn authorized() -> World {
    let mut world = world();
    open(&mut world, LINK);
    world.authorize();
    told(&mut world, LINK);
    world
}

fn open(world: &mut World, link: Link) {
    world.input(Input::Nymea { link, from: FromClient::Opened }).unwrap();
}

fn write(world: &mut World, link: Link, characteristic: Characteristic, value: &[u8]) {
    let from = FromClient::Written { characteristic, value: SecretBlob::new(value.to_vec()), address: Some(ADDRESS) };
    world.input(Input::Nymea { link, from }).unwrap();
}

/// Sends a command in pieces of 20 bytes.
fn send(world: &mut World, link: Link, command: &Value) {
    for piece in format!("{command}\n").as_bytes().chunks(20) {
        write(world, link, Characteristic::Commander, piece);
    }
}

fn join(passphrase: &str) -> Value {
    json!({ "c": 1, "p": { "e": "home", "p": passphrase } })
}

/// What a client was notified of since the last time.
fn told(world: &mut World, link: Link) -> Vec<Notice> {
    world.told(link).iter().map(|message| Notice::decode(message).expect("a notice")).collect()
}

/// The answers that a client got since the last time.
fn answers(world: &mut World, link: Link) -> Vec<Value> {
    let is_answer = |notice: &Notice| notice.characteristic == Characteristic::Answer;
    let answers = told(world, link).into_iter().filter(is_answer);
    answers.map(|notice| serde_json::from_slice(&notice.value).expect("JSON")).collect()
}

/// Sends a command that is answered at once; its answer.
fn ask(world: &mut World, link: Link, command: &Value) -> Value {
    send(world, link, command);
    let mut answers = answers(world, link);
    assert_eq!(answers.len(), 1, "{command}: {answers:?}");
    answers.remove(0)
}

fn answer(command: u8, code: u8) -> Value {
    json!({ "c": command, "r": code })
}

/// Makes steps until no attempt is in progress.
fn end(world: &mut World) {
    let is_busy = |shown: Shown| matches!(shown.wireless, Wireless::Preparing | Wireless::Joining | Wireless::Checking);
    world.until(|world| !is_busy(shown(world)) && world.commands.is_empty()).unwrap();
}

fn shown(world: &World) -> Shown {
    world.machine.nymea().expect("it is served")
}

#[test]
fn an_authorized_node_takes_a_network_and_answers_when_it_has_joined() {
    let mut world = authorized();
    assert_eq!(ask(&mut world, LINK, &json!({ "c": 4 })), answer(4, SUCCESS));
    let list = ask(&mut world, LINK, &json!({ "c": 0 }));
    let names: Vec<_> = list["p"].as_array().expect("a list").iter().map(|entry| entry["e"].clone()).collect();
    assert_eq!(names, ["home", "attic"]);
    send(&mut world, LINK, &join(PASSPHRASE));
    assert_eq!(answers(&mut world, LINK), [] as [Value; 0], "not before it has joined");
    end(&mut world);
    assert_eq!(answers(&mut world, LINK), [answer(1, SUCCESS)]);
    assert_eq!((world.machine.status().state(), world.kept.clone()), (NodeState::Online, Some(ssid("home"))));
    let connection = ask(&mut world, LINK, &json!({ "c": 5 }));
    assert_eq!((&connection["p"]["e"], &connection["p"]["i"]), (&json!("home"), &json!("192.168.1.20")));
    assert_eq!(connection["p"]["m"], list["p"][0]["m"], "the same network as in the list");
    // A phone enrolls the node over the network that it has.
    world.attempt(&without_a_network());
    assert_eq!(world.machine.status().state(), NodeState::Provisioned);
    assert_eq!(ask(&mut world, LINK, &json!({ "c": 5 }))["r"], NETWORKING_DISABLED, "after another attempt");
}

#[test]
fn clients_are_told_each_state() {
    let mut world = world();
    open(&mut world, LINK);
    let asleep = Shown { wireless: Wireless::Disconnected, network: Network::Asleep, access_point: false, advertised: true };
    assert_eq!(shown(&world), asleep);
    world.authorize();
    let expected = [(Characteristic::Network, 2), (Characteristic::NetworkingEnabled, 1)];
    assert_eq!(told(&mut world, LINK), expected.map(|(characteristic, value)| Notice::state(characteristic, value)));
    send(&mut world, LINK, &join("wrong password"));
    end(&mut world);
    let states = |world: &mut World, of| -> Vec<u8> {
        let own = told(world, LINK).into_iter().filter(|notice| notice.characteristic == of);
        own.map(|notice| notice.value[0]).collect()
    };
    assert_eq!(states(&mut world, Characteristic::Wireless), [4, 5, 12]);
    send(&mut world, LINK, &join(PASSPHRASE));
    end(&mut world);
    assert_eq!(states(&mut world, Characteristic::Wireless), [4, 5, 8, 10]);
    assert_eq!((shown(&world).network, shown(&world).advertised), (Network::Global, false));
    world.authorize();
    assert!(shown(&world).advertised);
}

#[test]
fn without_a_permission_a_client_changes_nothing_and_learns_no_network() {
    let mut world = world();
    open(&mut world, LINK);
    for command in [json!({ "c": 0 }), json!({ "c": 4 }), json!({ "c": 5 }), join(PASSPHRASE)] {
        assert_eq!(ask(&mut world, LINK, &command), json!({ "c": command["c"], "r": NETWORKING_DISABLED }));
    }
    write(&mut world, LINK, Characteristic::NetworkCommander, &[0]);
    assert_eq!(told(&mut world, LINK), [Notice::state(Characteristic::NetworkAnswer, 4)], "a client cannot enable it");
    assert!(world.disk.pending.is_none() && world.radio == Radio::Before && world.commands.is_empty());
    // A node that a phone has set up over its session tells no client where it is.
    world.attempt(&crate::world::credentials());
    assert_eq!(ask(&mut world, LINK, &json!({ "c": 5 })), answer(5, NETWORKING_DISABLED));
    world.authorize();
    assert_eq!(answers(&mut world, LINK), [] as [Value; 0]);
    assert_eq!(ask(&mut world, LINK, &json!({ "c": 5 }))["p"]["e"], "", "its name came sealed");
}

#[test]
fn the_permission_is_the_one_of_improv() {
    let mut world = authorized();
    world.advance(MINUTE).unwrap();
    answers(&mut world, LINK);
    assert_eq!(ask(&mut world, LINK, &join(PASSPHRASE)), answer(1, NETWORKING_DISABLED));
    world.authorize();
    for attempt in 1..=5 {
        send(&mut world, LINK, &join("wrong password"));
        end(&mut world);
        assert_eq!(answers(&mut world, LINK), [answer(1, INVALID_PARAMETER)]);
        assert_eq!(shown(&world).network == Network::Disconnected, attempt < 5, "attempt {attempt}");
    }
    assert_eq!(ask(&mut world, LINK, &join(PASSPHRASE)), answer(1, NETWORKING_DISABLED));
}

#[test]
fn every_fault_has_the_code_that_says_most() {
    for (fault, code) in [
        (Fault::WrongPassword, INVALID_PARAMETER),
        (Fault::NetworkNotFound, UNKNOWN),
        (Fault::NetworkUnavailable, 3),
        (Fault::AdapterGone, 4),
        (Fault::RadioBlocked, 6),
        (Fault::StorageFailed, UNKNOWN),
    ] {
        let mut world = authorized();
        match fault {
            Fault::StorageFailed => world.full.push_back(fault),
            fault => world.joins.push_back(Err(fault)),
        }
        send(&mut world, LINK, &join(PASSPHRASE));
        end(&mut world);
        assert_eq!(answers(&mut world, LINK), [answer(1, code)], "{fault:?}");
        send(&mut world, LINK, &join(PASSPHRASE));
        end(&mut world);
        assert_eq!(answers(&mut world, LINK), [answer(1, SUCCESS)], "after {fault:?}");
    }
}

#[test]
fn a_join_that_takes_too_long_is_answered_in_time_and_its_outcome_can_be_asked_for() {
    for passphrase in [PASSPHRASE, "wrong password"] {
        let mut world = authorized();
        send(&mut world, LINK, &join(passphrase));
        world.until_command(|command| matches!(command, Command::Radio(RadioCommand::Join { .. })));
        let began = world.now;
        // The join does not end.
        while answers(&mut world, LINK).is_empty() {
            world.now = world.machine.poll_timeout().expect("a limit");
            world.input(Input::Timeout).unwrap();
            assert!(world.now < began + PATIENCE);
        }
        assert!(matches!(shown(&world).wireless, Wireless::Joining));
        // The same command again waits for the same attempt; another one is refused meanwhile.
        send(&mut world, LINK, &join(passphrase));
        assert_eq!(answers(&mut world, LINK), [] as [Value; 0]);
        open(&mut world, OTHER);
        assert_eq!(ask(&mut world, OTHER, &json!({ "c": 1, "p": { "e": "attic", "p": PASSPHRASE } }))["r"], NETWORKING_DISABLED);
        end(&mut world);
        let code = if passphrase == PASSPHRASE { SUCCESS } else { INVALID_PARAMETER };
        assert_eq!(answers(&mut world, LINK), [answer(1, code)]);
        // Once more, after the end.
        if code == SUCCESS {
            assert_eq!(ask(&mut world, LINK, &join(passphrase)), answer(1, SUCCESS));
            assert_eq!(ask(&mut world, OTHER, &join(passphrase)), answer(1, NETWORKING_DISABLED), "a client that was not there");
        }
    }
}

#[test]
fn a_scan_is_answered_when_it_has_ended_and_in_time_when_it_does_not_end() {
    let mut world = authorized();
    world.advance(MINUTE / 2).unwrap();
    send(&mut world, LINK, &json!({ "c": 4 }));
    assert_eq!(answers(&mut world, LINK), [] as [Value; 0], "it waits for the scan");
    assert_eq!(ask(&mut world, LINK, &json!({ "c": 0 }))["r"], UNKNOWN, "one command at a time");
    world.idle().unwrap();
    assert_eq!(answers(&mut world, LINK), [answer(4, SUCCESS)]);
    world.advance(Duration::from_secs(11)).unwrap();
    send(&mut world, LINK, &json!({ "c": 4 }));
    let began = world.now;
    world.now = world.machine.poll_timeout().expect("a limit");
    world.input(Input::Timeout).unwrap();
    assert!(world.now < began + PATIENCE);
    assert_eq!(answers(&mut world, LINK), [answer(4, SUCCESS)], "the last list serves");
    world.idle().unwrap();
    assert_eq!(answers(&mut world, LINK), [] as [Value; 0], "answered once");
}

#[test]
fn commands_that_are_cut_wrong_or_unknown_change_nothing() {
    let mut world = authorized();
    let whole = format!("{}\n", join(PASSPHRASE));
    for length in 1..whole.len() - 1 {
        write(&mut world, LINK, Characteristic::Commander, &whole.as_bytes()[..length]);
        write(&mut world, LINK, Characteristic::Commander, b"\n");
        let answers = answers(&mut world, LINK);
        assert_eq!(answers.len(), 1, "{length} bytes");
        assert_eq!(answers[0]["r"], INVALID_COMMAND, "{length} bytes");
    }
    for (command, code) in [
        (json!({ "c": 1 }), INVALID_PARAMETER),
        (json!({ "c": 1, "p": { "p": PASSPHRASE } }), INVALID_PARAMETER),
        (json!({ "c": 2, "p": { "e": "", "p": PASSPHRASE } }), INVALID_PARAMETER),
        (json!({ "c": 3 }), INVALID_COMMAND),
        (json!({ "c": 6, "p": { "e": "mine", "p": PASSPHRASE } }), INVALID_COMMAND),
        (json!({ "c": 99 }), INVALID_COMMAND),
        (json!({ "c": "1" }), INVALID_COMMAND),
        (json!([1]), INVALID_COMMAND),
    ] {
        assert_eq!(ask(&mut world, LINK, &command)["r"], code, "{command}");
    }
    for value in [&[][..], &[4], &[0, 0]] {
        write(&mut world, LINK, Characteristic::NetworkCommander, value);
        assert_eq!(told(&mut world, LINK), [Notice::state(Characteristic::NetworkAnswer, 1)]);
    }
    assert!(world.disk.pending.is_none() && world.commands.is_empty());
    assert_eq!(shown(&world).network, Network::Disconnected, "still authorized");
}

#[test]
fn a_command_that_is_not_continued_is_forgotten_after_two_seconds() {
    let mut world = authorized();
    write(&mut world, LINK, Characteristic::Commander, b"{\"c\":1,\"p\":");
    world.advance(Duration::from_secs(2)).unwrap();
    assert_eq!(ask(&mut world, LINK, &json!({ "c": 5 }))["r"], SUCCESS);
    // Each piece has its own two seconds.
    let line = format!("{}\n", join(PASSPHRASE));
    for piece in line.as_bytes().chunks(8) {
        world.advance(Duration::from_millis(1900)).unwrap();
        write(&mut world, LINK, Characteristic::Commander, piece);
    }
    end(&mut world);
    assert_eq!(answers(&mut world, LINK), [answer(1, SUCCESS)]);
}

#[test]
fn a_command_that_is_replayed_changes_nothing() {
    let mut world = authorized();
    send(&mut world, LINK, &join(PASSPHRASE));
    end(&mut world);
    world.input(Input::Closed { link: LINK }).unwrap();
    open(&mut world, OTHER);
    assert_eq!(ask(&mut world, OTHER, &join(PASSPHRASE)), answer(1, NETWORKING_DISABLED));
    assert_eq!(ask(&mut world, OTHER, &json!({ "c": 5 })), answer(5, NETWORKING_DISABLED));
    assert_eq!((world.commands.len(), world.kept.clone()), (0, Some(ssid("home"))));
}

#[test]
fn a_client_that_vanishes_at_any_step_finds_the_outcome_when_it_comes_back() {
    for (passphrase, outcome) in [(PASSPHRASE, Wireless::Activated), ("wrong password", Wireless::Failed)] {
        let line = format!("{}\n", join(passphrase));
        // Before the command is whole.
        for length in 0..line.len() {
            let mut world = authorized();
            write(&mut world, LINK, Characteristic::Commander, &line.as_bytes()[..length]);
            world.input(Input::Closed { link: LINK }).unwrap();
            open(&mut world, OTHER);
            assert_eq!(ask(&mut world, OTHER, &json!({ "c": 5 }))["r"], SUCCESS, "{length} bytes");
        }
        for steps in 0.. {
            let mut world = authorized();
            send(&mut world, LINK, &join(passphrase));
            for _ in 0..steps {
                world.work().unwrap();
            }
            if !answers(&mut world, LINK).is_empty() {
                assert!(steps > 2, "an attempt takes some steps");
                break;
            }
            world.input(Input::Closed { link: LINK }).unwrap();
            open(&mut world, OTHER);
            send(&mut world, OTHER, &join(passphrase));
            end(&mut world);
            assert_eq!(answers(&mut world, LINK), [] as [Value; 0], "it is gone");
            assert_eq!(shown(&world).wireless, outcome, "after {steps} steps");
            assert!(answers(&mut world, OTHER).len() == 1, "and an answer, after {steps} steps");
        }
    }
}

#[test]
fn of_two_clients_the_first_that_sends_a_network_gives_it() {
    let mut world = authorized();
    open(&mut world, OTHER);
    send(&mut world, LINK, &join(PASSPHRASE));
    assert_eq!(
        ask(&mut world, OTHER, &json!({ "c": 2, "p": { "e": "attic", "p": PASSPHRASE } })),
        answer(2, NETWORKING_DISABLED)
    );
    end(&mut world);
    assert_eq!(answers(&mut world, LINK), [answer(1, SUCCESS)]);
    assert_eq!(answers(&mut world, OTHER), [] as [Value; 0]);
    assert_eq!(world.kept, Some(ssid("home")));
}

#[test]
fn while_a_phone_sets_the_node_up_a_client_waits_and_sees_it() {
    let mut world = authorized();
    let phone = world.paired();
    world.ask(phone, &request(&without_a_network())).unwrap();
    assert_eq!(ask(&mut world, LINK, &join(PASSPHRASE)), answer(1, UNKNOWN));
    world.until(World::settled).unwrap();
    assert_eq!(shown(&world).wireless, Wireless::Activated);
}

#[test]
fn both_ways_of_saying_so_make_a_network_hidden() {
    for command in [
        json!({ "c": 2, "p": { "e": "home", "p": PASSPHRASE } }),
        json!({ "c": 1, "p": { "e": "home", "p": PASSPHRASE, "h": true } }),
        // No scan has found it.
        json!({ "c": 1, "p": { "e": "cellar", "p": PASSPHRASE } }),
    ] {
        let mut world = authorized();
        send(&mut world, LINK, &command);
        world.until_command(|command| matches!(command, Command::Radio(RadioCommand::Join { hidden: true, .. })));
    }
    let mut world = authorized();
    send(&mut world, LINK, &join(PASSPHRASE));
    world.until_command(|command| matches!(command, Command::Radio(RadioCommand::Join { hidden: false, .. })));
}

#[test]
fn a_reset_ends_the_attempt_and_the_permission() {
    let mut world = authorized();
    send(&mut world, LINK, &join(PASSPHRASE));
    world.until_command(|command| matches!(command, Command::Radio(RadioCommand::Join { .. })));
    world.local(LocalRequest::Reset).unwrap();
    assert_eq!(answers(&mut world, LINK), [answer(1, UNKNOWN)]);
    world.idle().unwrap();
    assert_eq!((shown(&world).network, world.machine.status().step), (Network::Asleep, Step::Waiting));
    assert_eq!(ask(&mut world, LINK, &join(PASSPHRASE)), answer(1, NETWORKING_DISABLED));
}

#[test]
fn clients_of_improv_and_of_nymea_share_one_node() {
    use provisioning_core::improv;
    let mut world = World::new();
    (world.config.improv, world.config.nymea) = (true, true);
    world.reboot().unwrap();
    world.idle().unwrap();
    open(&mut world, LINK);
    world.input(Input::Improv { link: OTHER, from: improv::FromClient::Opened { room: 514 } }).unwrap();
    world.authorize();
    told(&mut world, LINK);
    send(&mut world, LINK, &join(PASSPHRASE));
    assert_eq!(world.machine.improv().expect("it is served").state, improv::State::Provisioning);
    end(&mut world);
    assert_eq!(answers(&mut world, LINK), [answer(1, SUCCESS)]);
    assert_eq!(world.machine.improv().expect("it is served").state, improv::State::Provisioned);
    let states: Vec<_> = world.app_answers.iter().filter(|(to, _)| *to == OTHER).map(|(_, message)| message.clone()).collect();
    assert_eq!(states, [vec![1, 2], vec![1, 3], vec![1, 4]], "states, and nobody else's result");
}

#[test]
fn without_its_setting_nymea_is_not_there() {
    let mut world = World::new();
    let ticket = world.local(LocalRequest::Authorize).unwrap();
    assert_eq!(world.answered(ticket), Some(&Answer::NothingToAuthorize));
    open(&mut world, LINK);
    send(&mut world, LINK, &join(PASSPHRASE));
    assert_eq!((told(&mut world, LINK), world.machine.nymea()), (vec![], None));
}
