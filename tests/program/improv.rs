//! Improv over the simulated Bluetooth link, with a client that writes and hears bytes, and the command that authorizes a node.

use std::collections::VecDeque;
use std::path::PathBuf;

use provisioning_core::gatt::AttError;
use provisioning_core::gatt::packets::{FromNode, FromPhone, Packets};
use provisioning_core::improv::Characteristic;
use serde_json::{Value, json};
use testing::journal::PASSWORD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::place::{Node, PATIENCE, Place};

/// The network of the simulation that checks its passphrase.
const GUARDED: &str = "Lighthouse";
const ENABLED: &str = "[improv]\nenabled = true\n";

/// A node with these settings, and the place where commands find it.
pub(crate) async fn node(settings: &str) -> (Place, Node) {
    let place = Place::new();
    let file = place.path("settings.toml");
    std::fs::write(&file, settings).expect("a temporary folder");
    let mut place = place.with("JARVIS_PROVISION_CONFIG", file.to_str().expect("UTF-8"));
    let node = place.start().await;
    place.set("JARVIS_PROVISIONING_PORT", &node.address().port().to_string());
    (place, node)
}

/// A client that is connected.
pub(crate) struct Client {
    stream: UnixStream,
    packets: Packets,
    notified: VecDeque<(Characteristic, Vec<u8>)>,
}

impl Client {
    pub(crate) async fn connect(node: &Node) -> Self {
        let path = PathBuf::from(node.over_bluetooth().to_string().replace("ble-sim:", ""));
        let stream = UnixStream::connect(path).await.expect("the node listens");
        let mut client = Self { stream, packets: Packets::default(), notified: VecDeque::new() };
        assert!(matches!(client.next().await, FromNode::Advertisement { .. }));
        assert!(matches!(client.next().await, FromNode::Mtu(_)));
        client
    }

    /// Connects, and subscribes as Home Assistant does.
    async fn subscribed(node: &Node) -> Self {
        let mut client = Self::connect(node).await;
        for characteristic in [Characteristic::Error, Characteristic::Result, Characteristic::State] {
            let subscribed = client.ask(&FromPhone::Subscribe { characteristic: characteristic.uuid() }).await;
            assert_eq!(subscribed, FromNode::Written);
        }
        client
    }

    async fn next(&mut self) -> FromNode {
        let mut bytes = [0; 1024];
        loop {
            if let Some(packet) = self.packets.take().expect("a length") {
                return FromNode::decode(&packet).expect("a packet of a node");
            }
            let read = timeout(PATIENCE, self.stream.read(&mut bytes)).await.expect("in time").expect("a stream");
            assert!(read > 0, "the node has closed the link");
            self.packets.push(&bytes[..read]);
        }
    }

    /// Asks, and keeps what the node notifies meanwhile.
    async fn ask(&mut self, request: &FromPhone) -> FromNode {
        self.stream.write_all(&request.encode()).await.expect("a stream");
        loop {
            match self.next().await {
                FromNode::Notification { characteristic, value } => {
                    self.notified.push_back((Characteristic::from_uuid(characteristic).expect("Improv's"), value));
                }
                answer => return answer,
            }
        }
    }

    /// Whether a characteristic can be read, written and subscribed to.
    pub(crate) async fn permitted(&mut self, characteristic: u128) -> [bool; 3] {
        let read = self.ask(&FromPhone::Read { characteristic, offset: 0 }).await;
        let write = self.ask(&FromPhone::Write { characteristic, value: vec![2] }).await;
        let subscribe = self.ask(&FromPhone::Subscribe { characteristic }).await;
        [matches!(read, FromNode::Value(_)), write == FromNode::Written, subscribe == FromNode::Written]
    }

    async fn read(&mut self, characteristic: Characteristic) -> Vec<u8> {
        match self.ask(&FromPhone::Read { characteristic: characteristic.uuid(), offset: 0 }).await {
            FromNode::Value(value) => value,
            other => panic!("a value: {other:?}"),
        }
    }

    /// Writes a command, in values of 20 bytes.
    async fn command(&mut self, command: u8, data: &[u8]) {
        let mut packet = vec![command, u8::try_from(data.len()).expect("short")];
        packet.extend_from_slice(data);
        packet.push(packet.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
        for value in packet.chunks(20) {
            let write = FromPhone::Write { characteristic: Characteristic::Command.uuid(), value: value.to_vec() };
            assert_eq!(self.ask(&write).await, FromNode::Written, "acknowledged at once");
        }
    }

    async fn join(&mut self, passphrase: &str) {
        let length = |text: &str| u8::try_from(text.len()).expect("short");
        let data = [&[length(GUARDED)], GUARDED.as_bytes(), &[length(passphrase)], passphrase.as_bytes()].concat();
        self.command(1, &data).await;
    }

    async fn notified(&mut self) -> (Characteristic, Vec<u8>) {
        if let Some(notified) = self.notified.pop_front() {
            return notified;
        }
        match self.next().await {
            FromNode::Notification { characteristic, value } => {
                (Characteristic::from_uuid(characteristic).expect("Improv's"), value)
            }
            other => panic!("a notification: {other:?}"),
        }
    }

    async fn expect(&mut self, characteristic: Characteristic, value: &[u8]) {
        assert_eq!(self.notified().await, (characteristic, value.to_vec()));
    }
}

/// Authorizes the node as its owner does.
pub(crate) async fn authorise(place: &Place) {
    let ended = place.run(&["authorise"]).await;
    assert_eq!(
        (ended.status, ended.output.as_str()),
        (Some(0), "For a minute, an app without the pairing code may give this device its network.\n"),
        "{}",
        ended.errors
    );
}

#[tokio::test]
async fn a_client_of_improv_brings_an_authorized_node_online() {
    let (place, node) = node(ENABLED).await;
    let mut client = Client::subscribed(&node).await;
    assert_eq!(client.read(Characteristic::Capabilities).await, [7]);
    assert_eq!((client.read(Characteristic::State).await, client.read(Characteristic::Error).await), (vec![1], vec![0]));
    client.join(PASSWORD).await;
    client.expect(Characteristic::Error, &[4]).await;
    authorise(&place).await;
    client.expect(Characteristic::State, &[2]).await;
    client.join("wrong password").await;
    client.expect(Characteristic::Error, &[0]).await;
    client.expect(Characteristic::State, &[3]).await;
    client.expect(Characteristic::Error, &[3]).await;
    client.expect(Characteristic::State, &[2]).await;
    // After an error clients connect again.
    drop(client);
    let mut client = Client::subscribed(&node).await;
    assert_eq!((client.read(Characteristic::State).await, client.read(Characteristic::Error).await), (vec![2], vec![0]));
    client.join(PASSWORD).await;
    client.expect(Characteristic::State, &[3]).await;
    client.expect(Characteristic::State, &[4]).await;
    let (characteristic, result) = client.notified().await;
    assert_eq!((characteristic, result[0]), (Characteristic::Result, 1));
    let page = format!("http://{}/", node.address());
    assert_eq!(&result[3..result.len() - 1], page.as_bytes());
    assert_eq!(client.read(Characteristic::Result).await, result);
    let status = node.status(|status| status["progress_percent"] == 60).await;
    assert_eq!(status["state"], "AP_MODE", "a state that the existing app knows");
    node.stop().await;
    assert_eq!(place.status().await["state"], "ONLINE");
    place.assert_clean("the log", &place.log());
}

#[tokio::test]
async fn results_fit_the_smallest_mtu() {
    let (place, node) = node(&format!("simulated_mtu = 23\n{ENABLED}")).await;
    let mut client = Client::subscribed(&node).await;
    client.command(3, &[]).await;
    let (_, info) = client.notified().await;
    let texts = std::iter::successors(Some(&info[2..info.len() - 1]), |rest| Some(&rest[1 + usize::from(*rest.first()?)..]));
    assert_eq!((info[0], info.len(), texts.take_while(|rest| !rest.is_empty()).count()), (3, 20, 4));
    authorise(&place).await;
    client.expect(Characteristic::State, &[2]).await;
    client.command(4, &[]).await;
    let (_, list) = client.notified().await;
    assert!(list[0] == 4 && list.len() <= 20, "{list:?}");
    client.join(PASSWORD).await;
    client.expect(Characteristic::State, &[3]).await;
    client.expect(Characteristic::State, &[4]).await;
    client.expect(Characteristic::Result, &[1, 0, 1]).await;
}

#[tokio::test]
async fn each_characteristic_permits_what_it_has() {
    let (_place, node) = node(ENABLED).await;
    let mut client = Client::connect(&node).await;
    for characteristic in Characteristic::ALL {
        let is_written = characteristic == Characteristic::Command;
        let permitted = client.permitted(characteristic.uuid()).await;
        assert_eq!(permitted, [!is_written, is_written, characteristic.notifies()], "{characteristic:?}");
        if characteristic.notifies() {
            let past = client.ask(&FromPhone::Read { characteristic: characteristic.uuid(), offset: 9 }).await;
            assert_eq!(past, FromNode::Error(AttError::InvalidOffset));
        }
    }
}

#[tokio::test]
async fn without_its_setting_improv_is_not_there_and_nothing_is_authorized() {
    let (place, node) = node("").await;
    let mut client = Client::connect(&node).await;
    let read = client.ask(&FromPhone::Read { characteristic: Characteristic::State.uuid(), offset: 0 }).await;
    assert_eq!(read, FromNode::Error(AttError::InvalidHandle));
    let ended = place.run(&["authorise"]).await;
    assert_eq!(ended.status, Some(9));
    assert!(ended.errors.contains("[improv]") && ended.errors.contains("enabled = true"), "{}", ended.errors);
    let ended = place.run(&["authorise", "--json"]).await;
    let object: Value = serde_json::from_str(&ended.output).expect("one JSON object");
    assert_eq!((ended.status, &object["ok"]), (Some(9), &json!(false)));
}

#[tokio::test]
async fn authorise_says_so_for_scripts_and_names_a_node_that_does_not_run() {
    let (place, node) = node(ENABLED).await;
    for arguments in [["authorise", "--json"], ["authorize", "--json"]] {
        let ended = place.run(&arguments).await;
        assert_eq!((ended.status, ended.output.as_str()), (Some(0), "{\"ok\":true}\n"), "{}", ended.errors);
    }
    let foreign = [("sec-fetch-site", "cross-site")];
    let path = "/api/provisioning/authorize";
    assert_eq!(testing::http::request(node.address(), "POST", path, &foreign, b"").await.status, 403);
    assert_eq!(testing::http::request(node.address(), "GET", path, &[], b"").await.status, 405);
    node.stop().await;
    let ended = place.run(&["authorise"]).await;
    assert_eq!(ended.status, Some(9));
    assert!(ended.errors.contains("systemctl start jarvis-provision"), "{}", ended.errors);
}
