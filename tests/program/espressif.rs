//! A client of Espressif's protocol that was written from its facts alone, against a node.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::center::{Center, credentials};
use crate::docs_client::{PYTHON, python_is_there};
use crate::place::{Label, Node, PATIENCE, Place, bring_online, phone};
use testing::journal::PASSWORD;

/// The network of the simulation that checks its passphrase.
const GUARDED: &str = "Lighthouse";

/// A node with these settings.
async fn node(settings: &str) -> (Place, Label, Node) {
    let place = Place::new();
    let file = place.path("settings.toml");
    std::fs::write(&file, settings).expect("a temporary folder");
    let place = place.with("JARVIS_PROVISION_CONFIG", file.to_str().expect("UTF-8"));
    let node = place.start().await;
    let label = place.label().await;
    (place, label, node)
}

const ENABLED: &str = "[espressif]\nenabled = true\n[access_point]\nopen = \"always\"\n";

/// Runs a scenario of the client; its result.
async fn run(place: &Place, node: &Node, scenario: &str, given: Value) -> Value {
    run_at(place, node.address().to_string(), scenario, given).await
}

/// Runs a scenario over Bluetooth.
async fn run_over_bluetooth(place: &Place, node: &Node, scenario: &str, given: Value) -> Value {
    let address = node.over_bluetooth().to_string().replace("ble-sim:", "unix:");
    run_at(place, address, scenario, given).await
}

async fn run_at(place: &Place, address: String, scenario: &str, given: Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/espressif/peer.py");
    let mut command = Command::new(PYTHON);
    command.arg("-B").arg(script).arg(address).arg(scenario);
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut client = command.spawn().expect("Python starts");
    let mut input = client.stdin.take().expect("a pipe");
    input.write_all(given.to_string().as_bytes()).await.expect("a pipe holds a line");
    drop(input);
    let output = timeout(4 * PATIENCE, client.wait_with_output()).await.expect("it ends").expect("it was started");
    let errors = String::from_utf8_lossy(&output.stderr);
    place.assert_clean("the client's output", &String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("a JSON object")
}

#[tokio::test]
async fn espressifs_client_brings_a_node_online_and_a_phone_enrolls_it() {
    if !python_is_there() {
        return;
    }
    let center = Center::start().await;
    let (place, label, node) = node(ENABLED).await;
    let given = json!({ "code": label.code, "ssid": GUARDED, "passphrase": PASSWORD, "wrong": "wrong password" });
    let result = run(&place, &node, "provision", given).await;
    assert_eq!((&result["version"]["prov"]["sec_patch_ver"], &result["denied"]), (&json!(1), &json!(500)));
    assert_eq!(
        (&result["first"], &result["applied"], &result["outcome"]),
        (&json!("wrong password"), &json!(0), &json!("connected"))
    );
    assert_eq!(result["networks"][0], json!({ "ssid": "HomeNetwork", "channel": 6, "signal": -45, "auth": 3 }));
    let online = node.status(|status| status["progress_percent"] == 60).await;
    assert_eq!(online["state"], "AP_MODE", "a state that the existing app knows");
    let order = center.order(&place).await;
    // The session of the app is free when its link has ended or is idle; the owner's phone restarts the node here.
    node.kill().await;
    assert_eq!(place.status().await["state"], "ONLINE");
    let node = place.start().await;
    let mut owner = phone(&node.over_bluetooth(), &label.by_code()).await;
    let mut enrolling = credentials(GUARDED, PASSWORD, &center.url(), &order);
    (enrolling.ssid, enrolling.passphrase) = (None, String::new().try_into().expect("empty"));
    assert_eq!(bring_online(&mut owner, &enrolling).await.progress, 100);
    center.assert_enrolled(&place, &order).await;
}

#[tokio::test]
async fn espressifs_client_enrolls_a_node_over_the_custom_endpoint() {
    if !python_is_there() {
        return;
    }
    let center = Center::start().await;
    let (place, label, node) = node(ENABLED).await;
    let order = center.order(&place).await;
    let given = json!({
        "code": label.code, "ssid": GUARDED, "passphrase": PASSWORD, "url": center.url(), "node_id": order.node_id,
        "token": order.token.expose(),
    });
    assert_eq!(run(&place, &node, "enroll", given).await["outcome"], "connected");
    center.assert_enrolled(&place, &order).await;
    assert!(place.file("k2.enc").exists());
}

#[tokio::test]
async fn espressifs_client_is_refused_after_five_wrong_codes_and_the_qr_secret_is_not() {
    if !python_is_there() {
        return;
    }
    let (place, label, node) = node(ENABLED).await;
    let result = run(&place, &node, "guesses", json!({ "code": label.code })).await;
    // A wrong proof fails like on Espressif's devices; a locked node says that no session is to be had.
    assert_eq!(result, json!({ "statuses": [500, 500, 500, 500, 500, 3], "right": 3 }));
    assert_eq!(place.status().await["pairing_attempts"], 5);
    let result = run(&place, &node, "with_the_qr_secret", json!({ "secret": label.secret })).await;
    assert_eq!(result["state"], "disconnected");
}

#[tokio::test]
async fn what_espressifs_client_must_not_send_is_refused_and_changes_nothing() {
    if !python_is_there() {
        return;
    }
    let (place, label, node) = node(ENABLED).await;
    let result = run(&place, &node, "hostile", json!({ "code": label.code })).await;
    assert_eq!(result["statuses"], json!([4, 4, 4, 4]), "shares that fix the key");
    assert_eq!((&result["failures"], &result["replays"]), (&json!([500]), &json!([500, 500, 500])));
    assert_eq!(result["state"], json!(["disconnected", "disconnected"]));
    assert_eq!(place.status().await["pairing_attempts"], 0);
}

#[tokio::test]
async fn of_two_clients_of_espressif_one_has_the_session() {
    if !python_is_there() {
        return;
    }
    let (place, label, node) = node(ENABLED).await;
    assert_eq!(run(&place, &node, "busy", json!({ "code": label.code })).await, json!({ "second": 3, "first": "disconnected" }));
}

#[tokio::test]
async fn a_hundred_sessions_of_espressifs_client_open_half_of_them_with_zeros_in_their_shares() {
    if !python_is_there() {
        return;
    }
    let (place, label, node) = node(ENABLED).await;
    let count = std::env::var("ESPRESSIF_SESSIONS").map_or(100_u64, |count| count.parse().expect("a number"));
    let result = run(&place, &node, "many", json!({ "code": label.code, "count": count })).await;
    eprintln!("{result}");
    assert!(result["zeros"]["A"].as_u64() >= Some(count / 2), "{result}");
}

#[tokio::test]
async fn the_label_has_espressifs_code_with_the_option_and_with_the_setting() {
    let place = Place::new();
    let label = place.run(&["label", "--json"]).await;
    let label: Value = serde_json::from_str(&label.output).expect("one JSON object");
    let code: Value = serde_json::from_str(label["espressif_qr"].as_str().expect("a text")).expect("JSON, as the apps read it");
    let expected = json!({
        "ver": "v1", "name": label["name"], "username": "wifiprov-qr", "pop": label["secret"], "transport": "ble", "security": 2,
    });
    assert_eq!(code, expected);
    let shown = "app of Espressif's";
    assert!(!place.run(&["label"]).await.output.contains(shown));
    assert!(place.run(&["label", "--espressif"]).await.output.contains(shown));
    let file = place.path("settings.toml");
    std::fs::write(&file, "[espressif]\nlabel = true\n").expect("a temporary folder");
    let place = place.with("JARVIS_PROVISION_CONFIG", file.to_str().expect("UTF-8"));
    assert!(place.run(&["label"]).await.output.contains(shown));
}

#[tokio::test]
async fn without_its_setting_espressifs_protocol_is_not_there() {
    let (_, _, node) = node("[access_point]\nopen = \"always\"\n").await;
    for path in ["/proto-ver", "/prov-session", "/prov-config"] {
        assert_eq!(testing::http::request(node.address(), "POST", path, &[], b"ESP").await.status, 404);
    }
}

#[tokio::test]
async fn over_bluetooth_espressifs_client_brings_a_node_online_at_the_smallest_mtu() {
    if !python_is_there() {
        return;
    }
    for mtu in [23, 517] {
        let (place, label, node) = node(&format!("simulated_mtu = {mtu}\n{ENABLED}")).await;
        let given = json!({ "code": label.code, "ssid": GUARDED, "passphrase": PASSWORD, "wrong": "wrong password" });
        let result = run_over_bluetooth(&place, &node, "provision", given).await;
        assert_eq!((&result["first"], &result["outcome"]), (&json!("wrong password"), &json!("connected")));
        let given = json!({ "code": label.code, "sizes": [495, 509, 510, 511, 512] });
        let long = run_over_bluetooth(&place, &node, "long", given).await;
        assert_eq!(long["states"], json!([0, 0, 0, 0, 0]), "a value has up to 512 bytes");
        // The link has ended with the client, so the next one finds the session free.
        let hostile = run_over_bluetooth(&place, &node, "hostile", json!({ "code": label.code })).await;
        assert_eq!((&hostile["statuses"], &hostile["failures"]), (&json!([4, 4, 4, 4]), &json!([4])));
        assert_eq!(hostile["state"], json!(["connected", "connected"]));
    }
}
