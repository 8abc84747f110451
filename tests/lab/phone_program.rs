//! `jarvis-phone`: over Bluetooth, and from a computer in the home's network that joins the node's access point.

use std::process::Stdio;

use mobile_test_harness::command_center::Order;
use serde_json::Value;
use tokio::process::Command;

use crate::air::{Controllers, breath};
use crate::desk::Desk;
use crate::device::{CODE, Device, PASSPHRASE};
use crate::place::{HOUSEHOLD, Home, PASSWORD, SSID, log};

/// The phone's program provisions the device; returns its exit code and its result.
async fn provision(mut phone: Command, over: &str, order: &Order, password: &str) -> (Option<i32>, Value) {
    phone.args(["provision", "--over", over, "--json", "--wait", "60", "--ssid", SSID, "--household", HOUSEHOLD]);
    phone.args(["--command-center", Home::command_center().as_str(), "--node-id", &order.node_id]);
    phone.env("JARVIS_PAIRING_CODE", CODE).env("JARVIS_AP_PASSPHRASE", PASSPHRASE);
    phone.env("JARVIS_WIFI_PASSWORD", password).env("JARVIS_PROVISIONING_TOKEN", order.token.expose());
    let file = std::fs::File::options().create(true).append(true).open(log("jarvis-phone")).expect("the log can be written");
    phone.stderr(file);
    let output = phone.output().await.expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

#[tokio::test]
async fn it_provisions_over_bluetooth() {
    let controllers = Controllers::ready().await;
    let home = Home::open().await;
    let device = Device::start(&controllers).await;
    let order = home.order().await;
    let over = format!("ble:{}", controllers.phone);
    let phone = || {
        let mut phone = Command::new("jarvis-phone");
        phone.env("RUST_LOG", "debug,zbus=info,hyper=info,reqwest=info").stdin(Stdio::null()).kill_on_drop(true);
        phone
    };
    let (code, failed) = provision(phone(), &over, &order, "not the password").await;
    assert_eq!((code, &failed["fault"]), (Some(1), &Value::from("WrongPassword")), "{failed}");
    device.assert_not_provisioned().await;
    breath().await;
    let (code, done) = provision(phone(), &over, &order, PASSWORD).await;
    assert_eq!((code, &done["outcome"]), (Some(0), &Value::from("PROVISIONED")), "{done}");
    device.assert_provisioned(&home, &order).await;
    controllers.switch_phone_off().await;
}

#[tokio::test]
async fn it_provisions_over_the_access_point_and_restores_the_computers_network() {
    let home = Home::open().await;
    let device = Device::with("[access_point]\nopen = \"always\"\n").await;
    let desk = Desk::at_home().await;
    let order = home.order().await;
    let (code, failed) = provision(desk.phone(), "ap", &order, "not the password").await;
    assert_eq!((code, &failed["fault"]), (Some(1), &Value::from("WrongPassword")), "{failed}");
    desk.is_back_home().await;
    let (code, done) = provision(desk.phone(), "ap", &order, PASSWORD).await;
    assert_eq!((code, &done["outcome"]), (Some(0), &Value::from("PROVISIONED")), "{done}");
    device.assert_provisioned(&home, &order).await;
    desk.is_back_home().await;
}

#[tokio::test]
async fn a_wrong_passphrase_of_the_access_point_is_named() {
    let _home = Home::open().await;
    let device = Device::with("[access_point]\nopen = \"always\"\n").await;
    let desk = Desk::at_home().await;
    let mut phone = desk.phone();
    phone.args(["info", "--over", "ap:wlan2", "--json", "--wait", "60", "--ap-name", &device.name]);
    let output = phone.env("JARVIS_AP_PASSPHRASE", "not on the label").output().await.expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("passphrase"), "{text}");
    desk.is_back_home().await;
}
