//! `jarvis-phone` as a person or a script runs it, at a node in this process.

use std::fs;
use std::process::{Output, Stdio};

use mobile_test_harness::phone::Phone;
use provisioning_core::machine::{Command as NodeCommand, DiskCommand, RadioCommand};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testing::journal::TOKEN;
use testing_node::sim_link::{CODE, NETWORKS, Node, PASSWORD, PATIENCE, SSID, secret};
use tokio::process::{Child, Command};
use tokio::time::Instant;

fn phone(node: &Node, command: &str, arguments: &[&str]) -> Command {
    let mut phone = Command::new(env!("CARGO_BIN_EXE_jarvis-phone"));
    phone.arg(command).args(["--over", &node.target.to_string()]).args(arguments).stdin(Stdio::null());
    for variable in [
        "JARVIS_PAIRING_CODE",
        "JARVIS_WIFI_PASSWORD",
        "JARVIS_CERTIFICATE_PASSWORD",
        "JARVIS_PROVISIONING_TOKEN",
        "JARVIS_JWT",
        "RUST_LOG",
    ] {
        phone.env_remove(variable);
    }
    phone
}

fn provision(node: &Node, arguments: &[&str]) -> Command {
    let mut phone = phone(node, "provision", arguments);
    phone.args(["--ssid", SSID, "--room", "kitchen", "--command-center", "http://192.0.2.7:7703", "--household", "home"]);
    phone.args(["--node-id", "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d"]);
    phone.env("JARVIS_WIFI_PASSWORD", PASSWORD).env("JARVIS_PROVISIONING_TOKEN", TOKEN).env("JARVIS_PAIRING_CODE", CODE);
    phone
}

async fn run(mut phone: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = phone.output().await.expect("the program starts");
    let [output, errors] = [stdout, stderr].map(|text| String::from_utf8(text).expect("UTF-8"));
    (status.code(), output, errors)
}

async fn json(phone: Command) -> (Option<i32>, Value) {
    let (code, output, errors) = run(phone).await;
    assert_eq!(output.lines().count(), 1, "{output}{errors}");
    (code, serde_json::from_str(&output).expect("one JSON object"))
}

/// A scan; repeated until the node has processed the end of the previous connection.
async fn unless_busy(node: &Node, arguments: &[&str]) -> (Option<i32>, Value) {
    let until = Instant::now() + PATIENCE;
    loop {
        let (code, result) = json(phone(node, "scan", arguments)).await;
        if result["error"]["fault"] != "Busy" || Instant::now() > until {
            return (code, result);
        }
    }
}

#[tokio::test]
async fn info_needs_no_code() {
    let node = Node::start(185).await;
    let (code, info) = json(phone(&node, "info", &["--json"])).await;
    assert_eq!(code, Some(0));
    assert_eq!(info["name"], "jarvis-5b91b661");
    assert_eq!(info["state"], "AP_MODE");
    assert_eq!(info["capabilities"], serde_json::json!(["voice", "speaker"]));
}

#[tokio::test]
async fn a_scan_is_a_table_for_people() {
    let node = Node::start(185).await;
    let (code, output, _) = run(phone(&node, "scan", &["--code", CODE])).await;
    assert_eq!(code, Some(0));
    assert_eq!(output.lines().count(), 1 + NETWORKS);
    assert_eq!(output.lines().nth(1), Some("▂▄▆█     -40 dBm  Lighthouse  WPA2"));
    assert!(!output.contains('\u{1b}'), "colours without a terminal");
}

#[tokio::test]
async fn a_scan_is_one_object_for_scripts() {
    let node = Node::start(185).await;
    let (code, scan) = json(phone(&node, "scan", &["--json", "--fresh", "--code", "482 913"])).await;
    assert_eq!(code, Some(0));
    assert_eq!(scan["networks"].as_array().map(Vec::len), Some(NETWORKS));
    assert_eq!(scan["networks"][0]["ssid"], SSID);
}

#[tokio::test]
async fn a_node_is_provisioned_and_the_key_is_kept() {
    let node = Node::start(185).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("k2.json");
    let k2_out = path.to_str().expect("UTF-8");
    let (code, outcome) = json(provision(&node, &["--json", "--k2-out", k2_out])).await;
    assert_eq!((code, &outcome["outcome"]), (Some(0), &Value::from("PROVISIONED")));
    assert_eq!(outcome["fault"], Value::Null);
    let kept: Value = serde_json::from_slice(&fs::read(&path).expect("the key is kept")).expect("JSON");
    assert_eq!(kept["kid"], outcome["kid"]);
    assert_eq!(
        node.started(|command| matches!(command, NodeCommand::Disk(DiskCommand::SaveK2 { k2, .. }) if kept["kid"] == *k2.kid)),
        1
    );
}

#[tokio::test]
async fn progress_is_printed_and_no_secret_is() {
    let node = Node::start(185).await;
    let mut phone = provision(&node, &[]);
    phone.env("RUST_LOG", "trace");
    let (code, output, errors) = run(phone).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(output.contains("CONNECTING   Connecting to Lighthouse..."), "{output}");
    assert!(output.contains("Provisioned."), "{output}");
    for secret in [PASSWORD, TOKEN, CODE] {
        assert!(!output.contains(secret) && !errors.contains(secret), "{secret} was printed");
    }
}

#[tokio::test]
async fn a_device_that_is_online_needs_no_network() {
    let node = Node::start(185).await;
    let mut phone = phone(&node, "provision", &["--connected", "--json"]);
    phone.args(["--command-center", "http://192.0.2.7:7703", "--household", "home", "--node-id", "node-1"]);
    phone.env("JARVIS_PROVISIONING_TOKEN", TOKEN).env("JARVIS_PAIRING_CODE", CODE);
    let (code, outcome) = json(phone).await;
    assert_eq!((code, &outcome["outcome"], &outcome["ssid"]), (Some(0), &Value::from("PROVISIONED"), &Value::Null));
    assert_eq!(node.started(is_join), 0);
}

#[tokio::test]
async fn a_wrong_password_ends_with_1_and_its_name() {
    let node = Node::start(185).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("password");
    fs::write(&path, "not the password\n").expect("a file");
    let (code, outcome) = json(provision(&node, &["--json", "--wifi-password-file", path.to_str().expect("UTF-8")])).await;
    assert_eq!((code, &outcome["fault"]), (Some(1), &Value::from("WrongPassword")));
    assert_eq!(outcome["outcome"], "ERROR");
}

#[tokio::test]
async fn a_wrong_code_ends_with_4_and_its_name() {
    let node = Node::start(185).await;
    let (code, result) = json(phone(&node, "scan", &["--json", "--code", "000000"])).await;
    assert_eq!((code, &result["error"]["fault"]), (Some(4), &Value::from("WrongCode")));
}

#[tokio::test]
async fn a_busy_node_ends_with_4_and_is_reported() {
    let node = Node::start(185).await;
    let mut first = Phone::connect(&node.target).await.expect("a link");
    first.open_session(&secret()).await.expect("the right code");
    let (code, _, errors) = run(phone(&node, "scan", &["--code", CODE])).await;
    assert_eq!(code, Some(4));
    assert!(errors.starts_with("error: Busy: Another phone is setting up this device."), "{errors}");
}

#[tokio::test]
async fn too_many_wrong_codes_end_with_4_and_the_time_to_wait() {
    let node = Node::start(185).await;
    for _ in 0..5 {
        let (code, result) = unless_busy(&node, &["--json", "--code", "000000"]).await;
        assert_eq!((code, &result["error"]["fault"]), (Some(4), &Value::from("WrongCode")));
    }
    let (code, result) = unless_busy(&node, &["--json", "--code", CODE]).await;
    assert_eq!((code, &result["error"]["fault"]), (Some(4), &Value::from("Locked")));
    assert!(result["error"]["retry_after_seconds"].as_u64().is_some_and(|seconds| (1..=60).contains(&seconds)), "{result}");
}

#[tokio::test]
async fn without_a_device_it_ends_with_3() {
    let mut node = Node::start(185).await;
    node.stop_link().await;
    let (code, _, errors) = run(phone(&node, "info", &["--wait", "0"])).await;
    assert_eq!(code, Some(3));
    assert!(errors.starts_with("error: connecting to the device"), "{errors}");
}

#[tokio::test]
async fn a_missing_secret_ends_with_2_and_names_its_sources() {
    let node = Node::start(185).await;
    let (code, _, errors) = run(phone(&node, "scan", &[])).await;
    assert_eq!(code, Some(2));
    assert!(errors.contains("--code-file") && errors.contains("JARVIS_PAIRING_CODE"), "{errors}");
}

#[tokio::test]
async fn a_malformed_code_costs_no_guess() {
    let node = Node::start(185).await;
    let (code, _, _) = run(phone(&node, "scan", &["--code", "12345"])).await;
    assert_eq!(code, Some(2));
    assert_eq!(node.started(|command| matches!(command, NodeCommand::Disk(DiskCommand::SaveGuesses { .. }))), 0);
}

#[tokio::test]
async fn the_public_state_needs_no_code_and_the_rest_does() {
    let node = Node::start(185).await;
    let (code, public) = json(phone(&node, "status", &["--json"])).await;
    assert_eq!((code, &public["state"], &public["details"]), (Some(0), &Value::from("AP_MODE"), &Value::Null));
    let (code, all) = json(phone(&node, "status", &["--json", "--code", CODE])).await;
    assert_eq!((code, &all["details"]["state"]), (Some(0), &Value::from("AP_MODE")));
}

fn interrupt(phone: &Child) {
    let id = phone.id().and_then(|id| Pid::from_raw(id.try_into().expect("a process id"))).expect("the program runs");
    kill_process(id, Signal::INT).expect("the program runs");
}

const fn is_join(command: &NodeCommand) -> bool {
    matches!(command, NodeCommand::Radio(RadioCommand::Join { .. }))
}

#[tokio::test]
async fn a_login_with_the_largest_certificate_arrives_whole() {
    let node = Node::start(185).await;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (certificate, authority) = (directory.path().join("device.p12"), directory.path().join("authority.pem"));
    // The outlines of a PKCS#12 and of a certificate.
    let pkcs12 = [&[0x30, 0x82, 0x1f, 0xfc, 2, 1, 3, 0x30][..], &[7; 8192 - 8]].concat();
    let pem = "-----BEGIN CERTIFICATE-----\nMAcwADAAAwEA\n-----END CERTIFICATE-----\n";
    fs::write(&certificate, &pkcs12).expect("a file");
    fs::write(&authority, format!("{pem:>4096}")).expect("a file");
    let [certificate, authority] = [&certificate, &authority].map(|path| path.to_str().expect("UTF-8"));
    let login = ["--eap", "tls", "--identity", "anna", "--certificate-file", certificate, "--authority-file", authority];
    let mut phone = provision(&node, &[&login[..], &["--json"]].concat());
    phone.env("JARVIS_CERTIFICATE_PASSWORD", "it opens the key");
    let (_, outcome) = json(phone).await;
    let is_whole = |command: &NodeCommand| match command {
        NodeCommand::Radio(RadioCommand::Join { enterprise: Some(enterprise), passphrase, .. }) => {
            let login = enterprise.login();
            passphrase.is_empty()
                && login.certificate.expose() == pkcs12
                && login.authority.len() == 4096
                && login.certificate_password.expose() == "it opens the key"
        }
        _ => false,
    };
    assert_eq!(node.started(is_whole), 1, "{outcome}");
}

#[tokio::test]
async fn a_login_that_verifies_no_server_is_refused_before_it_is_sent() {
    let node = Node::start(185).await;
    let (code, _, errors) = run(provision(&node, &["--eap", "peap", "--identity", "anna"])).await;
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("cannot be verified"), "{errors}");
    assert_eq!(node.started(is_join), 0);
}

#[tokio::test]
async fn ctrl_c_cancels_the_attempt_and_reports_its_outcome() {
    let node = Node::start(185).await;
    node.hold(is_join);
    let phone = provision(&node, &["--json"]).stdout(Stdio::piped()).spawn().expect("the program starts");
    node.held().await;
    interrupt(&phone);
    let ended = tokio::time::timeout(PATIENCE, phone.wait_with_output()).await.expect("it ends in time").expect("it ran");
    let outcome: Value = serde_json::from_slice(&ended.stdout).expect("one JSON object");
    assert_eq!((ended.status.code(), &outcome["fault"]), (Some(1), &Value::from("Cancelled")));
    assert_eq!(node.handle.view().status.failure.as_ref().map(|failure| failure.fault.name()), Some("Cancelled"));
}

#[tokio::test]
async fn a_second_ctrl_c_ends_the_program_at_once() {
    let node = Node::start(185).await;
    node.hold(|command| is_join(command) || matches!(command, NodeCommand::Disk(DiskCommand::SaveOutcome { .. })));
    let mut phone = provision(&node, &[]).stdout(Stdio::null()).spawn().expect("the program starts");
    node.held().await;
    interrupt(&phone);
    node.held_count(2).await;
    interrupt(&phone);
    let ended = tokio::time::timeout(PATIENCE, phone.wait()).await.expect("it ends in time").expect("it ran");
    assert_eq!(ended.code(), Some(130));
}

#[tokio::test]
async fn cancel_ends_what_another_phone_has_begun() {
    let node = Node::start(185).await;
    node.hold(is_join);
    let mut first = provision(&node, &[]).stdout(Stdio::null()).spawn().expect("the program starts");
    node.held().await;
    first.kill().await.expect("the program runs");
    let until = Instant::now() + PATIENCE;
    let (code, outcome) = loop {
        // The node may process the second phone before the end of the first.
        let (code, outcome) = json(phone(&node, "cancel", &["--json", "--code", CODE])).await;
        if outcome["error"]["fault"] != "Busy" || Instant::now() > until {
            break (code, outcome);
        }
    };
    assert_eq!((code, &outcome["fault"]), (Some(0), &Value::from("Cancelled")), "{outcome}");
    let (code, nothing) = json(phone(&Node::start(185).await, "cancel", &["--json", "--code", CODE])).await;
    assert_eq!((code, &nothing["error"]["fault"]), (Some(1), &Value::from("NoAttempt")));
}

#[tokio::test]
async fn a_node_without_network_care_refuses_its_requests_by_a_fault() {
    let node = Node::start(185).await;
    for action in ["saved", "events"] {
        let (code, result) = json(phone(&node, "care", &["--code", CODE, "--json", action])).await;
        assert_eq!((code, &result["error"]["fault"]), (Some(1), &Value::from("Malformed")), "{result}");
    }
    let (code, _, errors) = run(phone(&node, "care", &["--code", CODE, "hotspot", "ajar"])).await;
    assert_eq!(code, Some(2), "{errors}");
}
