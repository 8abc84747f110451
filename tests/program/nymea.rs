//! nymea's clients over the simulated Bluetooth link: an independent client that behaves as an Android app does.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use provisioning_core::nymea::Characteristic;
use serde_json::{Value, json};
use testing::journal::PASSWORD;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::docs_client::{PYTHON, python_is_there};
use crate::improv::{Client, authorise, node};
use crate::place::{Node, PATIENCE, Place};

/// The network of the simulation that checks its passphrase.
const GUARDED: &str = "Lighthouse";
const ENABLED: &str = "[nymea]\nenabled = true\n";

/// Runs a scenario of the client; its result.
async fn run(place: &Place, node: &Node, scenario: &str) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nymea/peer.py");
    let socket = PathBuf::from(node.over_bluetooth().to_string().replace("ble-sim:", ""));
    let mut command = Command::new(PYTHON);
    command.arg("-B").arg(script).arg(socket).arg(scenario);
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut client = command.spawn().expect("Python starts");
    let mut input = client.stdin.take().expect("a pipe");
    let given = json!({ "ssid": GUARDED, "password": PASSWORD, "wrong": "wrong password" });
    input.write_all(given.to_string().as_bytes()).await.expect("a pipe holds a line");
    drop(input);
    let output = timeout(4 * PATIENCE, client.wait_with_output()).await.expect("it ends").expect("it was started");
    place.assert_clean("the client's output", &String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a JSON object")
}

#[tokio::test]
async fn nymeas_client_brings_an_authorized_node_online() {
    if !python_is_there() {
        return;
    }
    let (place, node) = node(ENABLED).await;
    let refused = run(&place, &node, "unauthorized").await;
    assert_eq!(refused, json!({ "codes": [5, 5, 5, 5, 5], "states": [3, 3, 1, 0, 1] }));
    authorise(&place).await;
    let result = run(&place, &node, "provision").await;
    assert_eq!((&result["scan"], &result["wrong"], &result["connect"]), (&json!(0), &json!(2), &json!(0)));
    assert!(result["networks"].as_array().expect("a list").contains(&json!(GUARDED)), "{result}");
    // Without a route to other networks the node does not know its address, and tells none.
    let connection = &result["connection"];
    assert!(connection["e"] == GUARDED && connection["i"] != "" || connection["m"] == "", "{connection}");
    let status = node.status(|status| status["progress_percent"] == 60).await;
    assert_eq!(status["state"], "AP_MODE", "a state that the existing app knows");
    node.stop().await;
    assert_eq!(place.status().await["state"], "ONLINE");
    place.assert_clean("the log", &place.log());
}

#[tokio::test]
async fn a_client_of_nymea_that_vanishes_at_each_step_comes_back() {
    if !python_is_there() {
        return;
    }
    let (place, node) = node(&format!("simulated_mtu = 23\n{ENABLED}")).await;
    authorise(&place).await;
    let result = run(&place, &node, "vanishing").await;
    // Its own attempt, or one whose permission is used up.
    assert!([json!(0), json!(5)].contains(&result["code"]), "{result}");
    place.assert_clean("the log", &place.log());
}

#[tokio::test]
async fn each_characteristic_of_nymeas_permits_what_it_has_and_is_there_with_its_setting_only() {
    for (settings, is_served) in [(ENABLED, true), ("", false)] {
        let (_place, node) = node(settings).await;
        let mut client = Client::connect(&node).await;
        for characteristic in Characteristic::ALL {
            let permitted = client.permitted(characteristic.uuid()).await;
            let expected = [characteristic.is_read(), characteristic.is_written(), characteristic.notifies()];
            assert_eq!(permitted, expected.map(|has| has && is_served), "{characteristic:?}");
        }
    }
}
