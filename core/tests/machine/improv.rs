//! Improv's clients: who may give the node its network, and what each client learns.

use std::time::Duration;

use provisioning_core::domain::{State as NodeState, Step};
use provisioning_core::fault::Fault;
use provisioning_core::improv::{Characteristic, Error, FromClient, Notice, State};
use provisioning_core::machine::{Answer, Command, Input, Link, LocalRequest, RadioCommand, Ticket};
use provisioning_core::secret::SecretBlob;
use provisioning_core::wire::{Reply, Request};

use crate::world::{PASSPHRASE, Radio, World, request, ssid, without_a_network};

const LINK: Link = Link(2000);
const OTHER: Link = Link(2001);
const PAGE: &str = "http://jarvis-5b91b661.local:8080/";
const MINUTE: Duration = Duration::from_mins(1);
/// What a client of an MTU of 517 can be notified of.
const ROOM: usize = 514;

fn world() -> World {
    let mut world = World::new();
    world.config.improv = true;
    world.config.page = PAGE.into();
    world.reboot().unwrap();
    world.idle().unwrap();
    world
}

/// A world in which a client has connected to a node that is authorized.
fn authorized() -> World {
    let mut world = world();
    open(&mut world, LINK);
    world.authorize();
    assert_eq!(told(&mut world, LINK), [Notice::state(State::Authorized)]);
    world
}

fn open(world: &mut World, link: Link) {
    world.input(Input::Improv { link, from: FromClient::Opened { room: ROOM } }).unwrap();
}

fn write(world: &mut World, link: Link, value: &[u8]) {
    let from = FromClient::Written { value: SecretBlob::new(value.to_vec()), room: ROOM };
    world.input(Input::Improv { link, from }).unwrap();
}

/// What a client was notified of since the last time.
fn told(world: &mut World, link: Link) -> Vec<Notice> {
    world.told(link).iter().map(|message| Notice::decode(message).expect("a notice")).collect()
}

fn packet(command: u8, data: &[u8]) -> Vec<u8> {
    let mut packet = vec![command, u8::try_from(data.len()).expect("short")];
    packet.extend_from_slice(data);
    packet.push(packet.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
    packet
}

fn join(ssid: &str, passphrase: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("short");
    packet(1, &[&[length(ssid)], ssid.as_bytes(), &[length(passphrase)], passphrase.as_bytes()].concat())
}

/// Makes steps until no attempt is in progress.
fn end(world: &mut World) {
    world.until(|world| world.machine.improv().expect("it is served").state != State::Provisioning).unwrap();
}

fn state(world: &World) -> State {
    world.machine.improv().expect("it is served").state
}

fn success() -> Notice {
    let text = [&[u8::try_from(PAGE.len()).expect("short")], PAGE.as_bytes()].concat();
    Notice::result(packet(1, &text))
}

fn refused() -> Vec<Notice> {
    vec![Notice::error(Error::NotAuthorized)]
}

#[test]
fn an_authorized_node_takes_a_network_and_names_its_page() {
    let mut world = authorized();
    write(&mut world, LINK, &join("home", PASSPHRASE));
    assert_eq!(told(&mut world, LINK), [Notice::state(State::Provisioning)], "before anything is done");
    end(&mut world);
    assert_eq!(told(&mut world, LINK), [Notice::state(State::Provisioned), success()]);
    assert_eq!((world.machine.status().state(), world.kept.clone()), (NodeState::Online, Some(ssid("home"))));
    assert!(world.disk.outcome.as_ref().is_some_and(|outcome| outcome.online && outcome.step == Step::Online));
    // The permission is used up: the same packet again changes nothing.
    write(&mut world, LINK, &join("home", PASSPHRASE));
    assert_eq!(told(&mut world, LINK), refused());
    // A phone enrolls the node over the network that it has.
    world.input(Input::Closed { link: LINK }).unwrap();
    world.attempt(&without_a_network());
    assert_eq!(world.machine.status().state(), NodeState::Provisioned);
}

#[test]
fn without_a_permission_a_client_can_only_ask_who_the_node_is() {
    let mut world = world();
    open(&mut world, LINK);
    for command in [join("home", PASSPHRASE), packet(4, &[])] {
        write(&mut world, LINK, &command);
        assert_eq!(told(&mut world, LINK).last(), Some(&Notice::error(Error::NotAuthorized)));
    }
    write(&mut world, LINK, &packet(3, &[]));
    let info = told(&mut world, LINK).pop().expect("a description");
    assert_eq!((info.characteristic, info.value[0]), (Characteristic::Result, 3));
    assert!(info.value.windows(15).any(|window| window == b"jarvis-5b91b661"));
    write(&mut world, LINK, &packet(2, &[]));
    assert!(world.machine.is_identifying());
    world.advance(Duration::from_secs(10)).unwrap();
    assert!(!world.machine.is_identifying());
    assert!(world.disk.pending.is_none() && world.radio == Radio::Before && state(&world) == State::AuthorizationRequired);
}

#[test]
fn a_permission_lapses_after_a_minute_and_clients_learn_it() {
    let mut world = authorized();
    world.advance(MINUTE.saturating_sub(Duration::from_nanos(1))).unwrap();
    assert_eq!(told(&mut world, LINK), []);
    world.advance(Duration::from_nanos(1)).unwrap();
    assert_eq!(told(&mut world, LINK), [Notice::state(State::AuthorizationRequired)]);
    write(&mut world, LINK, &join("home", PASSPHRASE));
    assert_eq!(told(&mut world, LINK), refused());
    // A second one, in the middle of a minute, starts the minute over.
    world.authorize();
    world.advance(MINUTE / 2).unwrap();
    world.authorize();
    world.advance(MINUTE / 2 + MINUTE / 4).unwrap();
    assert_eq!(state(&world), State::Authorized);
    write(&mut world, LINK, &join("home", PASSPHRASE));
    end(&mut world);
    assert_eq!(told(&mut world, LINK).pop(), Some(success()));
}

#[test]
fn a_phone_with_a_session_gives_a_permission() {
    let mut world = world();
    let phone = world.paired();
    let to = world.ask(phone, &Request::Authorize).unwrap();
    assert_eq!(world.phones[phone].replies(to), [Reply::Done]);
    assert_eq!(state(&world), State::Authorized);
    let mut without = World::new();
    let phone = without.paired();
    let to = without.ask(phone, &Request::Authorize).unwrap();
    assert_eq!(without.phones[phone].replies(to), [Reply::Refused(Fault::Malformed)]);
}

#[test]
fn nobody_in_the_network_gives_a_permission() {
    let mut world = world();
    let ticket = Ticket(9000);
    world.input(Input::ClearRequest { ticket, request: LocalRequest::Authorize }).unwrap();
    assert_eq!(world.answered(ticket), Some(&Answer::Refused(Fault::NotAuthenticated)));
    assert_eq!(state(&world), State::AuthorizationRequired);
}

#[test]
fn after_a_failure_a_client_that_comes_back_tries_again_a_hundred_times() {
    let mut world = authorized();
    for round in 0..100 {
        let link = Link(3000 + 2 * round);
        open(&mut world, link);
        write(&mut world, link, &join("home", "wrong password"));
        end(&mut world);
        let expected = [State::Provisioning, State::Authorized].map(Notice::state);
        assert_eq!(
            told(&mut world, link),
            [&expected[..1], &[Notice::error(Error::UnableToConnect)], &expected[1..]].concat(),
            "round {round}"
        );
        world.input(Input::Closed { link }).unwrap();
        let link = Link(3001 + 2 * round);
        open(&mut world, link);
        write(&mut world, link, &join("home", PASSPHRASE));
        end(&mut world);
        assert_eq!(told(&mut world, link).pop(), Some(success()), "round {round}");
        world.input(Input::Closed { link }).unwrap();
        assert_eq!(world.machine.status().state(), NodeState::Online);
        world.authorize();
    }
}

#[test]
fn a_permission_is_good_for_five_attempts() {
    let mut world = authorized();
    for attempt in 1..=5 {
        write(&mut world, LINK, &join("home", "wrong password"));
        end(&mut world);
        assert_eq!(state(&world), if attempt < 5 { State::Authorized } else { State::AuthorizationRequired });
    }
    told(&mut world, LINK);
    write(&mut world, LINK, &join("home", PASSPHRASE));
    assert_eq!(told(&mut world, LINK), refused());
}

#[test]
fn every_fault_has_the_protocols_word() {
    for (fault, error) in [
        (Fault::WrongPassword, Error::UnableToConnect),
        (Fault::NetworkNotFound, Error::UnableToConnect),
        (Fault::NoAddress, Error::UnableToConnect),
        (Fault::RouterFull, Error::UnableToConnect),
        (Fault::InvalidPassphrase, Error::UnableToConnect),
        (Fault::StorageFailed, Error::Unknown),
    ] {
        let mut world = authorized();
        match fault {
            Fault::StorageFailed => world.full.push_back(fault),
            fault => world.joins.push_back(Err(fault)),
        }
        write(&mut world, LINK, &join("home", PASSPHRASE));
        end(&mut world);
        let told = told(&mut world, LINK);
        assert!(told.contains(&Notice::error(error)), "{fault:?}: {told:?}");
        assert_eq!(told.last(), Some(&Notice::state(State::Authorized)), "{fault:?}");
        // The next command clears the error.
        write(&mut world, LINK, &packet(2, &[]));
        assert_eq!(self::told(&mut world, LINK), [Notice::error(Error::None)]);
    }
}

#[test]
fn a_client_that_vanishes_at_any_step_finds_the_outcome_when_it_comes_back() {
    for (passphrase, outcome) in [(PASSPHRASE, success()), ("wrong password", Notice::error(Error::UnableToConnect))] {
        for steps in 0.. {
            let mut world = authorized();
            write(&mut world, LINK, &join("home", passphrase));
            for _ in 0..steps {
                world.work().unwrap();
            }
            if state(&world) != State::Provisioning {
                assert!(steps > 2, "an attempt takes some steps");
                break;
            }
            world.input(Input::Closed { link: LINK }).unwrap();
            told(&mut world, LINK);
            open(&mut world, OTHER);
            end(&mut world);
            assert_eq!(told(&mut world, LINK), [], "it is gone");
            assert!(told(&mut world, OTHER).contains(&outcome), "after {steps} steps");
        }
    }
}

#[test]
fn a_client_that_vanishes_before_its_packet_is_whole_has_changed_nothing() {
    let bytes = join("home", PASSPHRASE);
    for length in 0..bytes.len() {
        let mut world = authorized();
        write(&mut world, LINK, &bytes[..length]);
        world.input(Input::Closed { link: LINK }).unwrap();
        open(&mut world, LINK);
        write(&mut world, LINK, &packet(3, &[]));
        assert_eq!(told(&mut world, LINK).len(), 1, "{length} bytes");
        assert_eq!(state(&world), State::Authorized);
    }
}

#[test]
fn a_packet_that_is_not_continued_is_forgotten_after_two_seconds() {
    let bytes = join("home", PASSPHRASE);
    let mut world = authorized();
    write(&mut world, LINK, &bytes[..20]);
    world.advance(Duration::from_secs(2)).unwrap();
    write(&mut world, LINK, &packet(3, &[]));
    assert_eq!(told(&mut world, LINK).pop().expect("a description").value[0], 3);
    for value in bytes.chunks(20) {
        world.advance(Duration::from_millis(500)).unwrap();
        write(&mut world, LINK, value);
    }
    end(&mut world);
    assert_eq!(told(&mut world, LINK).pop(), Some(success()));
}

#[test]
fn commands_that_are_cut_wrong_or_unknown_change_nothing() {
    let mut world = authorized();
    let mut wrong = join("home", PASSPHRASE);
    *wrong.last_mut().expect("a checksum") ^= 1;
    for (command, error) in [
        (wrong, Error::InvalidPacket),
        (packet(1, &[]), Error::InvalidPacket),
        (join("", PASSPHRASE), Error::InvalidPacket),
        (packet(2, &[7]), Error::InvalidPacket),
        (packet(5, b"host"), Error::UnknownCommand),
        (packet(6, &[]), Error::UnknownCommand),
        (packet(0, &[]), Error::UnknownCommand),
        ([packet(2, &[]), packet(2, &[])].concat(), Error::InvalidPacket),
        (vec![1; 259], Error::InvalidPacket),
    ] {
        write(&mut world, LINK, &command);
        assert_eq!(told(&mut world, LINK), [Notice::error(error)], "{command:?}");
    }
    assert!(world.disk.pending.is_none() && state(&world) == State::Authorized);
}

#[test]
fn of_two_clients_the_first_that_sends_a_network_gives_it_and_learns_the_outcome() {
    let mut world = authorized();
    open(&mut world, OTHER);
    write(&mut world, LINK, &join("home", PASSPHRASE));
    write(&mut world, OTHER, &join("attic", PASSPHRASE));
    let (first, second) = (told(&mut world, LINK), told(&mut world, OTHER));
    assert_eq!(first, [Notice::state(State::Provisioning)]);
    assert_eq!(second, [Notice::state(State::Provisioning), Notice::error(Error::NotAuthorized)]);
    end(&mut world);
    assert_eq!(told(&mut world, LINK), [Notice::state(State::Provisioned), success()]);
    assert_eq!(told(&mut world, OTHER), [Notice::state(State::Provisioned)]);
    assert_eq!(world.kept, Some(ssid("home")));
}

#[test]
fn while_a_phone_sets_the_node_up_a_client_waits_and_sees_it() {
    let mut world = authorized();
    let phone = world.paired();
    world.ask(phone, &request(&without_a_network())).unwrap();
    write(&mut world, LINK, &join("home", PASSPHRASE));
    let told = told(&mut world, LINK);
    assert_eq!(told, [Notice::state(State::Provisioning), Notice::error(Error::Unknown)]);
    world.until(World::settled).unwrap();
    assert_eq!(world.machine.status().state(), NodeState::Provisioned);
}

#[test]
fn an_authorized_client_gets_a_list_of_networks_that_a_scan_has_renewed() {
    let mut world = authorized();
    world.advance(Duration::from_secs(30)).unwrap();
    write(&mut world, LINK, &packet(4, &[]));
    assert_eq!(told(&mut world, LINK), [], "it waits for the scan");
    world.idle().unwrap();
    let list = told(&mut world, LINK).pop().expect("a list");
    assert_eq!(list, Notice::result(packet(4, b"\x04home\x03-45\x04WPA2\x05attic\x03-80\x04WPA2")));
    world.advance(Duration::from_secs(20)).unwrap();
    world.scans.push_back(Fault::ScanFailed);
    write(&mut world, LINK, &packet(4, &[]));
    world.idle().unwrap();
    assert_eq!(told(&mut world, LINK).pop(), Some(list), "the last list, if a scan fails");
}

#[test]
fn a_network_that_no_scan_has_found_is_joined_as_hidden() {
    let mut world = authorized();
    write(&mut world, LINK, &join("cellar", PASSPHRASE));
    world.until_command(|command| matches!(command, Command::Radio(RadioCommand::Join { hidden: true, .. })));
}

#[test]
fn a_reset_ends_the_attempt_and_the_permission() {
    let mut world = authorized();
    write(&mut world, LINK, &join("home", PASSPHRASE));
    world.until_command(|command| matches!(command, Command::Radio(RadioCommand::Join { .. })));
    world.local(LocalRequest::Reset).unwrap();
    let told = told(&mut world, LINK);
    assert!(told.contains(&Notice::error(Error::Unknown)), "{told:?}");
    world.idle().unwrap();
    assert_eq!((state(&world), world.machine.status().step), (State::AuthorizationRequired, Step::Waiting));
    write(&mut world, LINK, &join("home", PASSPHRASE));
    assert_eq!(self::told(&mut world, LINK).pop(), refused().pop());
}

#[test]
fn a_success_is_advertised_for_a_minute_and_a_node_with_a_network_only_while_it_is_authorized() {
    let mut world = authorized();
    write(&mut world, LINK, &join("home", PASSPHRASE));
    end(&mut world);
    let advertised = |world: &World| world.machine.improv().expect("it is served").advertised;
    world.advance(MINUTE.saturating_sub(Duration::from_secs(1))).unwrap();
    assert!(advertised(&world) && state(&world) == State::Provisioned);
    world.advance(Duration::from_secs(1)).unwrap();
    assert!(!advertised(&world));
    world.reboot().unwrap();
    world.idle().unwrap();
    assert!(!advertised(&world) && state(&world) == State::Provisioned, "after a restart, too");
    world.authorize();
    assert!(advertised(&world) && state(&world) == State::Authorized);
    world.advance(MINUTE).unwrap();
    assert!(!advertised(&world));
}

#[test]
fn without_its_setting_improv_is_not_there() {
    let mut world = World::new();
    let ticket = world.local(LocalRequest::Authorize).unwrap();
    assert_eq!(world.answered(ticket), Some(&Answer::NothingToAuthorize));
    open(&mut world, LINK);
    write(&mut world, LINK, &join("home", PASSPHRASE));
    assert_eq!((told(&mut world, LINK), world.machine.improv()), (vec![], None));
}

#[test]
fn what_a_client_wrote_is_shown_in_no_text() {
    let input =
        Input::Improv { link: LINK, from: FromClient::Written { value: SecretBlob::new(join("home", PASSPHRASE)), room: ROOM } };
    assert!(!format!("{input:?}").contains("99, 111, 114"), "the passphrase as numbers");
}
