//! All four protocols on one node: the node's own, Espressif's, Improv and nymea's, one after another and at once.

use std::time::Duration;

use provisioning_core::domain::State;
use provisioning_core::espressif::Endpoint;
use provisioning_core::machine::{Input, Link};
use provisioning_core::secret::SecretBlob;
use provisioning_core::{improv, nymea};

use crate::app::{App, apply, hello, set};
use crate::world::{CODE, PASSPHRASE, World, request, ssid, without_a_network};

const APP: Link = Link(1000);
const IMPROV: Link = Link(2000);
const NYMEA: Link = Link(3000);

const JOIN: &str = "{\"c\":1,\"p\":{\"e\":\"home\",\"p\":\"correct horse battery\"}}\n";

fn world() -> World {
    let mut world = World::new();
    (world.config.improv, world.config.nymea) = (true, true);
    world.reboot().unwrap();
    world.idle().unwrap();
    world.input(Input::Improv { link: IMPROV, from: improv::FromClient::Opened { room: 514 } }).unwrap();
    world.input(Input::Nymea { link: NYMEA, from: nymea::FromClient::Opened }).unwrap();
    world
}

/// Improv's command to join the network, as its packet.
fn packet() -> Vec<u8> {
    let data = [&[4][..], b"home", &[21], PASSPHRASE.as_bytes()].concat();
    let mut packet = vec![1, u8::try_from(data.len()).expect("short")];
    packet.extend(data);
    packet.push(packet.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
    packet
}

fn improv_joins(world: &mut World) {
    let from = improv::FromClient::Written { value: SecretBlob::new(packet()), room: 514 };
    world.input(Input::Improv { link: IMPROV, from }).unwrap();
}

fn nymea_joins(world: &mut World) {
    let value = SecretBlob::new(JOIN.into());
    let characteristic = nymea::Characteristic::Commander;
    let from = nymea::FromClient::Written { characteristic, value, address: None };
    world.input(Input::Nymea { link: NYMEA, from }).unwrap();
}

fn app_joins(world: &mut World, app: &mut App) -> Option<Vec<u8>> {
    app.ask(world, Endpoint::Config, &set("home", PASSPHRASE)).expect("an answer");
    app.ask(world, Endpoint::Config, &apply())
}

fn is_online(world: &World) -> bool {
    matches!(world.machine.status().state(), State::Online | State::Provisioned) && world.commands.is_empty()
}

/// Whether nymea's client was answered, and with this code.
fn nymea_answer(world: &mut World) -> Option<u8> {
    let mut notices = world.told(NYMEA).into_iter().filter_map(|message| nymea::Notice::decode(&message));
    let answer = notices.rfind(|notice| notice.characteristic == nymea::Characteristic::Answer)?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.value).expect("JSON");
    answer["r"].as_u64().and_then(|code| u8::try_from(code).ok())
}

#[test]
fn all_four_protocols_are_used_one_after_another_in_every_order() {
    for first in 0..4 {
        let mut world = world();
        for turn in 0..4 {
            world.authorize();
            match (first + turn) % 4 {
                0 => {
                    let phone = world.paired();
                    world.ask(phone, &request(&crate::world::credentials())).unwrap();
                    world.until(World::settled).unwrap();
                    assert_eq!(world.machine.status().state(), State::Provisioned);
                    world.close(phone).unwrap();
                }
                1 => {
                    let mut app = App::open(&mut world, APP, b"wifiprov", CODE.as_bytes()).expect("the right code");
                    app_joins(&mut world, &mut app).expect("an answer");
                    world.until(is_online).unwrap();
                    world.input(Input::Closed { link: APP }).unwrap();
                }
                2 => {
                    improv_joins(&mut world);
                    world.until(is_online).unwrap();
                    assert!(world.told(IMPROV).last().is_some_and(|told| told[..2] == [4, 1]), "a result");
                }
                _ => {
                    nymea_joins(&mut world);
                    world.until(is_online).unwrap();
                    assert_eq!(nymea_answer(&mut world), Some(0));
                }
            }
            assert_eq!(world.kept, Some(ssid("home")), "{first}, {turn}");
        }
    }
}

#[test]
fn of_all_four_protocols_at_once_one_gives_the_network_and_the_others_are_told() {
    for winner in [IMPROV, NYMEA, APP] {
        let mut world = world();
        world.authorize();
        let mut app = App::open(&mut world, APP, b"wifiprov", CODE.as_bytes()).expect("the right code");
        // A phone is a second one beside the app.
        let phone = world.connect();
        world.open(phone, &crate::phone::right()).unwrap();
        assert!(world.phones[phone].session.is_none());
        match winner {
            IMPROV => improv_joins(&mut world),
            NYMEA => nymea_joins(&mut world),
            _ => _ = app_joins(&mut world, &mut app),
        }
        (_, _) = (world.told(IMPROV), world.told(NYMEA));
        improv_joins(&mut world);
        nymea_joins(&mut world);
        let refused = world.told(IMPROV).iter().any(|told| told[0] == 2 && told[1] != 0);
        assert!(refused, "Improv's client has an error");
        world.until(is_online).unwrap();
        // The client whose attempt it is has its outcome, though its second command was refused.
        assert_eq!(nymea_answer(&mut world) == Some(0), winner == NYMEA);
        assert_eq!(world.kept, Some(ssid("home")));
        let state = world.machine.improv().expect("it is served").state;
        assert_eq!(state, if winner == APP { improv::State::Authorized } else { improv::State::Provisioned });
        // The app's link ends, and the phone enrolls the node.
        world.input(Input::Closed { link: APP }).unwrap();
        world.attempt(&without_a_network());
        assert_eq!(world.machine.status().state(), State::Provisioned);
    }
}

#[test]
fn two_apps_and_two_clients_of_each_protocol_leave_no_one_without_an_answer() {
    let mut world = world();
    world.authorize();
    let others = [Link(1001), Link(2001), Link(3001)];
    world.input(Input::Improv { link: others[1], from: improv::FromClient::Opened { room: 20 } }).unwrap();
    world.input(Input::Nymea { link: others[2], from: nymea::FromClient::Opened }).unwrap();
    App::open(&mut world, APP, b"wifiprov", CODE.as_bytes()).expect("the right code");
    let second = App::write(&mut world, others[0], Endpoint::Session, hello(b"wifiprov", &[2])).expect("an answer");
    assert!(second.len() < 20, "a refusal, and no challenge");
    nymea_joins(&mut world);
    for link in others {
        world.input(Input::Closed { link }).unwrap();
    }
    world.until(is_online).unwrap();
    assert_eq!(nymea_answer(&mut world), Some(0));
    world.advance(Duration::from_mins(10)).unwrap();
    assert_eq!(world.kept, Some(ssid("home")));
}
