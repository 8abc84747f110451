//! The files are compatible with the existing software, in both directions. `vectors.py` generated the constants.

use std::fs;

use fernet::Fernet;
use provisioning_core::domain::Ssid;
use testing::journal::TOKEN;
use testing_node::files::{Node, credentials, k2, registration, reset};

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SEALED_K2: &str = "gAAAAABpf05QZGVmZ2hpamtsbW5vcHFycw2XakONgJI4f7VRXufEb5YNUA8WUL-hUVZm7TY0-ERu64ph41js4uE07JnuyfQUmqwPBFGEt5OI\
    xVU7PsZQ0e_mJq5DsDgDnL5xHF9H9TJH";
const SEALED_WIFI: &str = "gAAAAABpf05QZGVmZ2hpamtsbW5vcHFyc01pmHX1kbKLtKLJsha4JpfHT8pYydZGXbKGQGvKQiRjKJ-IiBmQy6QYceKtvdDqKT7B40ODpe0m\
    Bz9TUOcufJt0fJKnYqkfTCVkvUz2wNMxD1jo8PkkHkly6NoGtEKx_F3trF6qtmz1KJTptjaMq0I=";
const METADATA: &str = "{\n  \"kid\": \"kid-1\",\n  \"created_at\": \"2026-02-01T13:00:00+00:00\"\n}";
const CONFIG: &str = r#"{
  "node_id": "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d",
  "volume": 0.8,
  "api_key": "the-node-key",
  "room": "k\u00fcche",
  "jarvis_command_center_api_url": "http://10.0.0.2:7703//",
  "jarvis_config_service_url": "http://10.0.0.2:7700"
}"#;

#[test]
fn a_node_that_the_existing_software_provisioned_is_recognised() {
    let node = Node::new();
    fs::create_dir(node.state()).unwrap();
    let files =
        [("secrets.key", KEY), ("k2.enc", SEALED_K2), ("k2_metadata.json", METADATA), ("wifi_credentials.enc", SEALED_WIFI)];
    for (name, content) in files.iter().chain(&[(".provisioned", "")]) {
        fs::write(node.file(name), content).unwrap();
    }
    fs::write(node.config(), CONFIG).unwrap();

    let boot = node.open().load().unwrap();

    assert!(boot.provisioned);
    assert_eq!(boot.identity.node_id, "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d");
    assert_eq!(boot.command_center.unwrap().as_str(), "http://10.0.0.2:7703//");
    for (name, content) in files {
        assert_eq!(fs::read_to_string(node.file(name)).unwrap(), content, "{name} is left as it was");
    }
}

#[test]
fn the_key_is_44_characters_without_a_line_break() {
    let node = Node::new();
    node.open();
    let key = fs::read_to_string(node.file("secrets.key")).unwrap();
    assert_eq!(key.len(), 44);
    assert!(Fernet::new(&key).is_some());
}

#[test]
fn k2_is_32_sealed_bytes_with_a_name_and_a_date_beside_it() {
    let node = Node::new();
    node.open().save_k2(&k2(1)).unwrap();
    assert_eq!(fs::read_to_string(node.file("k2.enc")).unwrap().len(), SEALED_K2.len());
    assert_eq!(node.unsealed("k2.enc"), [1; 32]);
    assert_eq!(fs::read_to_string(node.file("k2_metadata.json")).unwrap(), METADATA);
}

#[test]
fn wifi_credentials_are_the_json_that_python_seals() {
    let node = Node::new();
    node.open().save_enrollment(&credentials(), &registration()).unwrap();
    let python = Fernet::new(KEY).unwrap().decrypt(SEALED_WIFI).unwrap();
    assert_eq!(node.unsealed("wifi_credentials.enc"), python);
}

#[test]
fn an_ssid_that_is_not_utf_8_is_stored_twice() {
    let node = Node::new();
    let mut credentials = credentials();
    credentials.ssid = Some(Ssid::try_from(&b"\xff\x00"[..]).unwrap());
    node.open().save_enrollment(&credentials, &registration()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&node.unsealed("wifi_credentials.enc")).unwrap();
    assert_eq!((json["ssid"].as_str(), json["ssid_hex"].as_str()), (Some("\u{fffd}\0"), Some("ff00")));
}

#[test]
fn the_configuration_keeps_its_order_and_the_entries_of_others() {
    let node = Node::new();
    node.open().save_enrollment(&credentials(), &registration()).unwrap();
    assert_eq!(fs::read_to_string(node.config()).unwrap(), CONFIG.replace("0.8", "0.80"));
}

#[test]
fn a_configuration_service_that_was_not_sent_is_not_stored() {
    let node = Node::new();
    let credentials = provisioning_core::domain::Credentials { config_service: None, ..credentials() };
    node.open().save_enrollment(&credentials, &registration()).unwrap();
    assert!(!fs::read_to_string(node.config()).unwrap().contains("jarvis_config_service_url"));
}

#[test]
fn a_reset_puts_the_placeholders_of_the_existing_software_back() {
    let node = Node::new();
    let mut store = node.open();
    store.save_enrollment(&credentials(), &registration()).unwrap();
    reset(&mut store).unwrap();
    let cleared = CONFIG
        .replace("0.8", "0.80")
        .replace("0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d", "your-node-id")
        .replace("the-node-key", "your_api_key_here");
    assert_eq!(fs::read_to_string(node.config()).unwrap(), cleared);
}

#[test]
fn a_pending_attempt_is_not_readable_on_disk() {
    let node = Node::new();
    node.open().save_pending(&testing_node::files::pending(0)).unwrap();
    let content = fs::read_to_string(node.file("pending.enc")).unwrap();
    for secret in ["hunter22", TOKEN, "Caf"] {
        assert!(!content.contains(secret));
    }
}
