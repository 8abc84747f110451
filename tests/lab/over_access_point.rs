//! A phone without Bluetooth: it joins the node's access point, and provisions over HTTP.

use std::fs;
use std::time::Duration;

use mobile_test_harness::link::Target;
use mobile_test_harness::phone::Phone;
use provisioning_core::domain::{CommandCenterUrl, Credentials, State};
use provisioning_core::fault::Fault;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::air::{must, run, until};
use crate::device::{Device, PASSPHRASE, credentials, with_password};
use crate::place::{Home, PASSWORD, SSID, Wifi, at_the_phone};

/// Limit for an attempt: the access point closes and, after a failure, opens again.
const ATTEMPT: Duration = Duration::from_mins(3);

/// The node in its access point.
const NODE: &str = "192.168.4.1";

fn target() -> Target {
    format!("http://{NODE}:8080").parse().expect("a target")
}

/// Provisions a node over its access point: first with a wrong password, which is reported to the phone, then successfully.
/// Returns the home that it is in.
pub(crate) async fn provision(device: &Device, mistake: bool) -> Home {
    let home = Home::open().await;
    let _wifi = Wifi::join(&device.name, PASSPHRASE).await;
    let order = home.order().await;
    let right = credentials(&order);
    let wrong = with_password("not the password", &right);
    let code = Device::code();
    at_the_phone(async move || {
        let mut phone = Phone::connect_within(&target(), ATTEMPT).await.expect("the node answers");
        assert_eq!(phone.public_status().await.expect("its status").state, State::ApMode);
        phone.open_session(&code).await.expect("the code is right");
        phone.scan(false).await.expect("a list");
        if mistake {
            let failed = phone.bring_online(&wrong, ATTEMPT, |_| {}).await.expect("an outcome");
            assert_eq!(failed.failure.map(|failure| failure.fault), Some(Fault::WrongPassword));
        }
        // After a success the access point is closed, so only the acceptance is known here.
        phone.send_credentials(&right).await.expect("they are taken");
    })
    .await;
    until("the node is provisioned", async || device.is_provisioned()).await;
    device.assert_provisioned(&home, &order).await;
    home
}

#[tokio::test]
async fn wrong_password_then_right() {
    provision(&Device::with("[access_point]\nopen = \"always\"\n").await, true).await;
}

#[tokio::test]
async fn without_an_adapter_the_access_point_opens() {
    must("systemctl", &["stop", "controllers"]);
    provision(&Device::with("[access_point]\nopen = \"when-quiet\"\nquiet_seconds = 3600\n").await, false).await;
}

/// Sends a request like the existing phone app; none while the radio is in another network.
fn ask(node: &str, path: &str, arguments: &[&str]) -> Option<Value> {
    let url = format!("http://{node}:8080/api/v1/{path}");
    let asking = ["netns", "exec", "phone", "curl", "--silent", "--max-time", "3", &url];
    serde_json::from_slice(&run("ip", &[&asking[..], arguments].concat()).stdout).ok()
}

fn hand_over(credentials: &Credentials) {
    let body = json!({
        "wifi_ssid": credentials.ssid.as_ref().map(ToString::to_string).unwrap_or_default(), "wifi_password": credentials.passphrase.expose(), "room": credentials.room,
        "command_center_url": credentials.command_center.as_ref().map(CommandCenterUrl::as_str), "household_id": credentials.household_id,
        "node_id": credentials.node_id, "provisioning_token": credentials.token.expose(),
    });
    let file = NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), body.to_string()).expect("it can be written");
    let data = format!("@{}", file.path().display());
    let answer = ask(NODE, "provision", &["--header", "content-type: application/json", "--data", &data]);
    assert_eq!(answer.expect("an answer")["success"], true);
}

/// Polls until the node reports a state.
async fn poll(node: &str, state: &str) -> Value {
    let mut status = Value::Null;
    until(&format!("{state} is reported"), async || {
        status = ask(node, "status", &[]).unwrap_or_default();
        status["state"] == state
    })
    .await;
    status
}

/// The node's address in the home.
pub(crate) fn address_at_home() -> Option<String> {
    let text = String::from_utf8(run("ip", &["-4", "-oneline", "addr", "show", "dev", "wlan0"]).stdout).expect("ASCII");
    text.split_whitespace().find_map(|word| Some(word.strip_suffix("/24")?.to_owned())).filter(|address| address != NODE)
}

#[tokio::test]
async fn a_phone_polls_the_status_through_failure_and_success() {
    let home = Home::open().await;
    let device = Device::with("[access_point]\nopen = \"always\"\n").await;
    let setup = Wifi::join(&device.name, PASSPHRASE).await;
    let order = home.order().await;
    let right = credentials(&order);
    poll(NODE, "AP_MODE").await;
    hand_over(&with_password("not the password", &right));
    let failed = poll(NODE, "ERROR").await;
    assert!(failed["error"].as_str().is_some_and(|error| error.contains(SSID)), "{failed}");
    until("the access point is reported as open again", async || {
        ask(NODE, "status", &[]).is_some_and(|status| status["hotspot_restored"] == true && status["retryable"] == true)
    })
    .await;
    assert!(!device.is_provisioned());
    hand_over(&right);
    until("the node is at home", async || address_at_home().is_some()).await;
    // The access point is closed, and the phone has returned to its own network.
    drop(setup);
    let _wifi = Wifi::join(SSID, PASSWORD).await;
    let report = poll(&address_at_home().expect("it stays at home"), "PROVISIONED").await;
    assert_eq!((&report["progress_percent"], &report["error"]), (&json!(100), &Value::Null));
    device.assert_provisioned(&home, &order).await;
}
