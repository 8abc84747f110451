//! Improv over real `BlueZ`s: what a client finds in the air, and its way to a network.

use std::collections::BTreeMap;

use jarvis_provisioning::link::ble::Services;
use jarvis_provisioning::simulation::{GUARDED, PASSWORD};
use provisioning_core::domain::State as NodeState;
use provisioning_core::improv::{Characteristic, SERVICE, SERVICE_DATA, State};
use provisioning_core::machine::{Answer, LocalRequest};
use serde_json::{Value, json};
use uuid::Uuid;
use zbus::Variant;

use crate::air::{Controllers, breath, must};
use crate::central::{Central, Device, advertises, program};
use crate::node::Node;
use crate::place::log;

/// A client on the phone's controller, connected to the node.
struct Client(Central);

impl Client {
    /// Finds a node whose advertisement has this state, as clients do, and connects.
    async fn find(controllers: &Controllers, state: State) -> Self {
        let data = Variant::from(vec![state as u8, 7, 0, 0, 0, 0]);
        let expected = Variant::from(BTreeMap::from([(Uuid::from_u128(SERVICE_DATA).to_string(), data)]));
        let is_found =
            |device: &Device| advertises(device, SERVICE) && device.get("ServiceData").is_some_and(|data| **data == expected);
        let client = Self(Central::find(controllers, is_found, &Characteristic::ALL.map(Characteristic::uuid)).await);
        for characteristic in [Characteristic::Error, Characteristic::Result, Characteristic::State] {
            client.0.subscribe(characteristic.uuid()).await;
        }
        client
    }

    async fn read(&self, characteristic: Characteristic) -> Vec<u8> {
        self.0.read(characteristic.uuid()).await
    }

    async fn told(&self, characteristic: Characteristic, value: &[u8]) {
        self.0.told(characteristic.uuid(), value).await;
    }

    async fn join(&self, passphrase: &str) {
        self.0.write(Characteristic::Command.uuid(), &packet(passphrase)).await;
    }

    async fn leave(self, controllers: &Controllers) {
        self.0.leave(controllers).await;
    }
}

/// The command to join the simulated network that checks its passphrase.
pub(crate) fn packet(passphrase: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("short");
    let data = [&[length(GUARDED)], GUARDED.as_bytes(), &[length(passphrase)], passphrase.as_bytes()].concat();
    let mut packet = vec![1, u8::try_from(data.len()).expect("short")];
    packet.extend(data);
    packet.push(packet.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
    packet
}

#[tokio::test]
async fn a_client_finds_an_authorized_node_and_gives_it_its_network() {
    let controllers = Controllers::ready().await;
    let node = Node::with(&controllers, Services { improv: true, ..Services::default() });
    let client = Client::find(&controllers, State::AuthorizationRequired).await;
    assert_eq!(client.read(Characteristic::State).await, [1]);
    assert_eq!(client.read(Characteristic::Capabilities).await, [7]);
    client.join(PASSWORD).await;
    client.told(Characteristic::Error, &[4]).await;
    assert_eq!(node.handle.ask_locally(LocalRequest::Authorize).await, Ok(Answer::Authorized));
    client.told(Characteristic::State, &[2]).await;
    client.join("wrong password").await;
    client.told(Characteristic::Error, &[3]).await;
    client.leave(&controllers).await;
    // After an error clients connect again.
    breath().await;
    assert_eq!(node.handle.ask_locally(LocalRequest::Authorize).await, Ok(Answer::Authorized));
    let client = Client::find(&controllers, State::Authorized).await;
    client.join(PASSWORD).await;
    client.told(Characteristic::State, &[4]).await;
    client.told(Characteristic::Result, &[1, 0, 1]).await;
    assert_eq!(node.handle.view().status.state(), NodeState::Online);
    client.leave(&controllers).await;
    let capture = must("btmon", &["--read", log("btmon.snoop").to_str().expect("a plain name")]);
    let mut reports = capture.split("LE Advertising Report").skip(1).map(|report| report.lines().take(20).collect::<String>());
    let is_whole = |report: &String| {
        ["Connectable undirected", "Data length: 31", "Service UUIDs", "0x4677"].iter().all(|part| report.contains(part))
    };
    assert!(reports.any(|report| is_whole(&report)), "the UUID and the data are in one packet, which they fill");
}

/// Home Assistant's client gives the node the simulated network, with one password after another; returns what it has seen.
async fn home_assistant(controllers: &Controllers, passwords: &[&str]) -> Value {
    program(controllers, "improv.py", &[], &json!({ "ssid": GUARDED, "passwords": passwords })).await
}

#[tokio::test]
async fn home_assistants_client_is_refused_and_then_gives_an_authorized_node_its_network() {
    let controllers = Controllers::ready().await;
    let node = Node::with(&controllers, Services { improv: true, ..Services::default() });
    let seen = home_assistant(&controllers, &[PASSWORD]).await;
    assert_eq!((&seen["authorized"], &seen["outcomes"]), (&json!(false), &json!([{ "error": "NOT_AUTHORIZED" }])));
    assert_eq!(node.handle.ask_locally(LocalRequest::Authorize).await, Ok(Answer::Authorized));
    let seen = home_assistant(&controllers, &["wrong password", PASSWORD]).await;
    assert_eq!(seen["authorized"], true);
    assert_eq!(seen["outcomes"], json!([{ "error": "UNABLE_TO_CONNECT" }, { "url": null }]));
    assert!(seen["networks"].as_array().expect("a list").contains(&json!(GUARDED)), "{seen}");
    assert_eq!(seen["info"].as_array().map(Vec::len), Some(4), "{seen}");
    assert_eq!(node.handle.view().status.state(), NodeState::Online);
}
