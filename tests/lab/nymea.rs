//! nymea's services over real `BlueZ`s: an app's way to a network, and all four protocols beside each other.

use std::collections::BTreeMap;

use jarvis_provisioning::link::ble::Services;
use jarvis_provisioning::simulation::{GUARDED, PASSWORD};
use provisioning_core::domain::State as NodeState;
use provisioning_core::machine::{Answer, LocalRequest};
use provisioning_core::nymea::{Characteristic, WIRELESS_SERVICE};
use provisioning_core::{endpoint, espressif, improv};
use serde_json::{Value, json};
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::air::{Controllers, PATIENCE, breath, connect};
use crate::att::Att;
use crate::central::{Central, Device, advertises};
use crate::improv::packet;
use crate::node::Node;

const NYMEA: Services = Services { espressif: false, advertise_espressif: false, improv: false, nymea: true };
const ALL: Services = Services { espressif: true, advertise_espressif: false, improv: true, nymea: true };

/// An app, which subscribes to the answers and waits a moment before its first command.
struct App {
    central: Central,
    answers: UnixDatagram,
}

impl App {
    async fn find(controllers: &Controllers) -> Self {
        let is_found = |device: &Device| advertises(device, WIRELESS_SERVICE);
        Self::on(Central::find(controllers, is_found, &Characteristic::ALL.map(Characteristic::uuid)).await).await
    }

    async fn on(central: Central) -> Self {
        let answers = central.notifications(Characteristic::Answer.uuid()).await;
        breath().await;
        Self { central, answers }
    }

    async fn send(&self, command: &Value) {
        for piece in format!("{command}\n").as_bytes().chunks(20) {
            self.central.write(Characteristic::Commander.uuid(), piece).await;
        }
    }

    async fn answer(&self) -> Value {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") {
            let mut piece = [0; 64];
            let length = timeout(PATIENCE, self.answers.recv(&mut piece)).await.expect("an answer").expect("the link holds");
            assert!(length > 0 && length <= 20, "a piece of {length} bytes");
            answer.extend_from_slice(&piece[..length]);
        }
        serde_json::from_slice(&answer).expect("JSON")
    }

    async fn ask(&self, command: &Value) -> Value {
        self.send(command).await;
        let answer = self.answer().await;
        assert_eq!(answer["c"], command["c"]);
        answer
    }

    async fn join(&self, password: &str) -> Value {
        self.ask(&json!({ "c": 1, "p": { "e": GUARDED, "p": password } })).await["r"].clone()
    }

    async fn state(&self, characteristic: Characteristic) -> u8 {
        self.central.read(characteristic.uuid()).await[0]
    }
}

async fn authorize(node: &Node) {
    assert_eq!(node.handle.ask_locally(LocalRequest::Authorize).await, Ok(Answer::Authorized));
}

#[tokio::test]
async fn an_app_finds_an_authorized_node_and_gives_it_its_network() {
    let controllers = Controllers::ready().await;
    let node = Node::with(&controllers, NYMEA);
    let app = App::find(&controllers).await;
    assert_eq!(app.ask(&json!({ "c": 4 })).await["r"], 5, "nobody has authorized the node");
    assert_eq!((app.state(Characteristic::Network).await, app.state(Characteristic::NetworkingEnabled).await), (1, 0));
    authorize(&node).await;
    assert_eq!(app.ask(&json!({ "c": 4 })).await["r"], 0);
    let list = app.ask(&json!({ "c": 0 })).await;
    assert!(list["p"].as_array().expect("a list").iter().any(|network| network["e"] == GUARDED), "{list}");
    assert_eq!(app.join("wrong password").await, 2);
    // It vanishes, and comes back.
    app.central.leave(&controllers).await;
    breath().await;
    authorize(&node).await;
    let app = App::find(&controllers).await;
    assert_eq!(app.join(PASSWORD).await, 0);
    assert_eq!(app.ask(&json!({ "c": 5 })).await["r"], 0);
    assert_eq!((app.state(Characteristic::Wireless).await, app.state(Characteristic::Network).await), (10, 7));
    assert_eq!(node.handle.view().status.state(), NodeState::Online);
    app.central.leave(&controllers).await;
}

#[tokio::test]
async fn all_four_protocols_share_one_connection() {
    let controllers = Controllers::ready().await;
    let node = Node::with(&controllers, ALL);
    let state = improv::Characteristic::State.uuid();
    let version = espressif::Endpoint::Version.row().uuid();
    let wanted = [&Characteristic::ALL.map(Characteristic::uuid)[..], &[state, version]].concat();
    // The phone has the session, and the clients use its connection.
    let mut phone = connect(&controllers).await;
    phone.open_session(&node.code()).await.expect("the code is right");
    let app = App::on(Central::attach(&controllers, &wanted).await).await;
    app.central.subscribe(state).await;
    app.central.write(version, b"ESP").await;
    assert!(app.central.read(version).await.starts_with(b"{\"prov\""));
    authorize(&node).await;
    app.central.told(state, &[2]).await;
    assert_eq!(app.join("wrong password").await, 2);
    app.central.told(state, &[2]).await;
    app.central.write(improv::Characteristic::Command.uuid(), &packet(PASSWORD)).await;
    app.central.told(state, &[4]).await;
    assert_eq!(app.state(Characteristic::Wireless).await, 10);
    assert_eq!(phone.status().await.expect("its session holds").state, NodeState::Online);
    phone.leave().await;
}

/// The handles of the characteristics whose UUIDs are these.
fn of(handles: &BTreeMap<u128, u16>, uuids: &[u128]) -> Vec<Option<u16>> {
    uuids.iter().map(|uuid| handles.get(uuid).copied()).collect()
}

#[tokio::test]
async fn no_handle_moves_when_a_service_is_switched_on_or_off() {
    let controllers = Controllers::ready().await;
    let services = [
        endpoint::ENDPOINTS.map(|row| row.uuid).to_vec(),
        espressif::ENDPOINTS.iter().map(espressif::Row::uuid).collect(),
        improv::Characteristic::ALL.map(improv::Characteristic::uuid).to_vec(),
        Characteristic::ALL.map(Characteristic::uuid).to_vec(),
    ];
    let mut all = BTreeMap::new();
    // All first; then each alone, and none.
    for offered in [
        ALL,
        NYMEA,
        Services { improv: true, ..Services::default() },
        Services { espressif: true, ..Services::default() },
        Services::default(),
    ] {
        let node = Node::with(&controllers, offered);
        controllers.until_node_advertises().await;
        let att = Att::connect(&controllers).await;
        let handles: BTreeMap<_, _> = att.handles().iter().map(|(uuid, handle)| (*uuid, *handle)).collect();
        drop(att);
        controllers.restart_phone().await;
        drop(node);
        if all.is_empty() {
            all.clone_from(&handles);
        }
        let is_offered = [true, offered.espressif, offered.improv, offered.nymea];
        for (uuids, is_offered) in services.iter().zip(is_offered) {
            let expected = if is_offered { of(&all, uuids) } else { vec![None; uuids.len()] };
            assert_eq!(of(&handles, uuids), expected, "{offered:?}");
        }
        assert!(services.iter().all(|uuids| of(&all, uuids).iter().all(Option::is_some)));
    }
}
