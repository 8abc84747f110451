//! Espressif's protocol over real `BlueZ`s: an independent client, which finds its endpoints as the apps do.

use std::fs;

use jarvis_provisioning::link::ble::Services;
use jarvis_provisioning::simulation::{GUARDED, PASSWORD};
use provisioning_core::domain::State;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::air::{Controllers, must};
use crate::central::program;
use crate::node::Node;

const ADVERTISED: Services = Services { espressif: true, advertise_espressif: true, improv: false, nymea: false };

/// What every client finds.
const ENDPOINTS: [&str; 6] = ["jarvis", "proto-ver", "prov-config", "prov-ctrl", "prov-scan", "prov-session"];

/// Runs a scenario of the client; its result.
async fn run(controllers: &Controllers, scenario: &str, given: &Value) -> Value {
    // Guests have the scenarios alone.
    let modules = TempDir::new().expect("a temporary folder");
    fs::write(modules.path().join("peer.py"), include_str!("../espressif/peer.py")).expect("it can be written");
    let modules = modules.path().to_str().expect("UTF-8");
    let result = program(controllers, "espressif.py", &[modules, scenario], given).await;
    assert_eq!(result["endpoints"], json!(ENDPOINTS), "{result}");
    result
}

/// A network whose password is wrong first.
fn network(node: &Node) -> Value {
    json!({ "code": node.digits(), "ssid": GUARDED, "passphrase": PASSWORD, "wrong": "wrong password" })
}

async fn provisions(controllers: &Controllers, node: &Node, given: &Value) -> Value {
    let seen = run(controllers, "provision", given).await;
    assert_eq!(seen["version"]["prov"]["sec_ver"], 2);
    assert!(seen["denied"].is_u64(), "a wrong code: {seen}");
    assert!(seen["networks"].as_array().expect("a list").iter().any(|network| network["ssid"] == GUARDED), "{seen}");
    assert_eq!((&seen["first"], &seen["applied"], &seen["outcome"]), (&json!("wrong password"), &json!(0), &json!("connected")));
    assert_eq!(node.handle.view().status.state(), State::Online);
    seen
}

#[tokio::test]
async fn an_independent_client_brings_a_node_online_over_the_air() {
    let controllers = Controllers::ready().await;
    let node = Node::with(&controllers, ADVERTISED);
    assert_eq!(run(&controllers, "with_the_qr_secret", &json!({ "secret": node.secret() })).await["state"], "disconnected");
    // It comes back, and knows the code alone.
    provisions(&controllers, &node, &network(&node)).await;
}

#[tokio::test]
async fn an_independent_client_gives_the_key_and_the_command_center_over_the_air() {
    let controllers = Controllers::ready().await;
    let node = Node::with(&controllers, ADVERTISED);
    let mut given = network(&node);
    given["url"] = json!("https://center.example/");
    given["node_id"] = json!("jarvis-kitchen");
    given["token"] = json!("token");
    assert_eq!(run(&controllers, "enroll", &given).await["outcome"], "connected");
    assert_eq!(node.handle.view().status.state(), State::Provisioned);
}

#[tokio::test]
async fn what_a_client_must_not_send_over_the_air_changes_nothing_and_its_guesses_are_counted() {
    let controllers = Controllers::ready().await;
    let node = Node::with(&controllers, ADVERTISED);
    let code = json!({ "code": node.digits() });
    let seen = run(&controllers, "hostile", &code).await;
    assert_eq!(seen["statuses"], json!([4, 4, 4, 4]), "shares that fix the key");
    assert!(seen["failures"].as_array().is_some_and(|failures| failures.len() == 1), "{seen}");
    assert_eq!(seen["state"], json!(["disconnected", "disconnected"]));
    let seen = run(&controllers, "guesses", &code).await;
    assert_eq!(seen["right"], 3, "locked: {seen}");
}

#[tokio::test]
async fn messages_of_any_size_pass_at_the_smallest_mtu() {
    let controllers = Controllers::ready().await;
    let node = Node::with(&controllers, ADVERTISED);
    let mut given = network(&node);
    given["address"] = json!(controllers.phone);
    controllers.until_node_advertises().await;
    assert_eq!(provisions(&controllers, &node, &given).await["mtu"], 23);
    let sizes = [495, 508, 512];
    // BlueZ before 5.69 counts the header of a part as part of the value.
    let taken = &sizes[..if bluez() >= 69 { 3 } else { 2 }];
    given["sizes"] = json!(taken);
    given["others"] = json!([513]);
    let seen = run(&controllers, "long", &given).await;
    assert_eq!(seen["states"], json!(vec![0; taken.len()]));
    assert!(seen["others"][0].is_u64(), "it is refused: {seen}");
}

/// The minor version of `BlueZ`.
fn bluez() -> u32 {
    let version = must("/usr/libexec/bluetooth/bluetoothd", &["--version"]);
    version.trim().strip_prefix("5.").and_then(|minor| minor.parse().ok()).expect("a version 5")
}
