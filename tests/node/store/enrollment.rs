//! Stored values are loaded unchanged, and related values are stored together.

use std::fs;
use std::sync::atomic::Ordering;

use jarvis_provisioning::link::http::cleared_name;
use jarvis_provisioning::store::{Store, mac_address};
use provisioning_core::domain::{Credentials, Passphrase};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Cleared, Pending};
use provisioning_core::secret::SecretText;
use testing_node::files::{MAC_ADDRESS, Node, SHIPPED, credentials, k2, mode, outcome, pending, registration, reset};

#[test]
fn a_fresh_node_has_only_its_secrets() {
    let node = Node::new();
    let boot = node.open().load().unwrap();
    assert_eq!(node.names(), ["pairing.json", "secrets.key", "state.json"]);
    assert_eq!((boot.guesses, boot.provisioned, boot.resetting), (0, false, false));
    assert_eq!((boot.pending, boot.outcome, boot.command_center), (None, None, None));
    assert_eq!(boot.identity.node_id, "jarvis-eb5b9161");
    assert_eq!(boot.identity.mac_address, MAC_ADDRESS);
    assert_eq!(boot.identity.hardware, "linux-aarch64");
}

#[test]
fn the_secrets_stay_when_the_node_is_started_again() {
    let node = Node::new();
    let (first, key) = (node.open(), fs::read(node.file("secrets.key")).unwrap());
    let again = node.open();
    assert_eq!(again.pairing(), first.pairing());
    assert_eq!(again.access_point_passphrase(), first.access_point_passphrase());
    assert_eq!(fs::read(node.file("secrets.key")).unwrap(), key);
}

#[test]
fn the_identity_is_the_same_over_a_hundred_restarts_with_random_addresses() {
    let node = Node::in_memory();
    let interfaces = node.root().join("sys/class/net");
    let wlan0 = interfaces.join("wlan0");
    fs::write(wlan0.join("addr_assign_type"), "3\n").unwrap();
    let first = node.open().load().unwrap().identity;
    for restart in 0..100_u8 {
        fs::write(wlan0.join("address"), format!("5a:00:00:00:00:{restart:02x}\n")).unwrap();
        match restart {
            // Another interface comes, as one in a USB port, and the radio goes.
            30 => {
                fs::create_dir(interfaces.join("eth0")).unwrap();
                fs::write(interfaces.join("eth0/address"), "b8:27:eb:00:00:02\n").unwrap();
            }
            60 => fs::remove_file(wlan0.join("address")).unwrap(),
            _ => {}
        }
        let store = node.open();
        store.save_guesses(restart.into()).unwrap();
        assert_eq!(store.load().unwrap().identity, first, "restart {restart}");
        assert_eq!(mac_address(&node.paths()), first.mac_address, "restart {restart}");
    }
    reset(&mut node.open()).unwrap();
    assert_eq!(node.open().load().unwrap().identity, first);
}

#[test]
fn a_node_that_has_stored_no_address_stores_its_present_one() {
    let node = Node::new();
    node.open().save_guesses(3).unwrap();
    let state = || serde_json::from_slice::<serde_json::Value>(&fs::read(node.file("state.json")).unwrap()).unwrap();
    let stored = state();
    let mut older = stored.clone();
    assert_eq!(older.as_object_mut().unwrap().remove("mac_address"), Some(MAC_ADDRESS.into()));
    fs::write(node.file("state.json"), older.to_string()).unwrap();
    assert_eq!(node.open().load().unwrap().guesses, 3);
    assert_eq!(state(), stored);
}

#[test]
fn attempts_are_there_after_a_restart() {
    let node = Node::new();
    node.open().save_guesses(3).unwrap();
    assert_eq!(node.open().load().unwrap().guesses, 3);
}

#[test]
fn a_pending_attempt_is_loaded_unchanged() {
    let node = Node::new();
    node.open().save_pending(&pending(2)).unwrap();
    assert_eq!(node.open().load().unwrap().pending, Some(pending(2)));
}

#[test]
fn an_outcome_replaces_the_pending_attempt() {
    let node = Node::new();
    let store = node.open();
    store.save_pending(&pending(0)).unwrap();
    store.save_outcome(&outcome(Fault::TokenRejected)).unwrap();
    let boot = node.open().load().unwrap();
    assert_eq!((boot.pending, boot.outcome), (None, Some(outcome(Fault::TokenRejected))));
}

#[test]
fn the_marker_replaces_the_pending_attempt_and_the_outcome() {
    let node = Node::new();
    let store = node.open();
    store.save_outcome(&outcome(Fault::WrongPassword)).unwrap();
    store.save_pending(&pending(0)).unwrap();
    store.save_enrollment(&credentials(), &registration()).unwrap();
    store.mark_provisioned().unwrap();
    let boot = node.open().load().unwrap();
    assert!(boot.provisioned);
    assert_eq!((boot.pending, boot.outcome), (None, None));
    assert_eq!(boot.identity.node_id, registration().node_id);
    assert_eq!(boot.identity.name(), "jarvis-eb5b9161", "the name on the label");
    assert_eq!(boot.command_center, credentials().command_center);
}

#[test]
fn an_attempt_whose_end_is_committed_is_not_resumed() {
    let node = Node::new();
    let store = node.open();
    store.save_pending(&pending(0)).unwrap();
    let kept = fs::read(node.file("pending.enc")).unwrap();
    store.mark_provisioned().unwrap();
    // As after a power cut between the commit and the removal of the file.
    fs::remove_file(node.file(".provisioned")).unwrap();
    fs::write(node.file("pending.enc"), kept).unwrap();
    let boot = node.open().load().unwrap();
    assert!(boot.provisioned);
    assert_eq!(boot.pending, None);
}

#[test]
fn a_new_attempt_after_a_completed_one_is_resumed() {
    let node = Node::new();
    let store = node.open();
    store.save_pending(&pending(0)).unwrap();
    store.save_outcome(&outcome(Fault::WrongPassword)).unwrap();
    store.save_pending(&pending(1)).unwrap();
    assert_eq!(node.open().load().unwrap().pending, Some(pending(1)));
}

#[test]
fn only_the_marker_makes_a_node_provisioned() {
    let node = Node::new();
    fs::create_dir(node.state()).unwrap();
    fs::write(node.file(".provisioned"), "").unwrap();
    fs::remove_file(node.config()).unwrap();
    assert!(node.open().load().unwrap().provisioned);
}

#[test]
fn the_environments_command_center_overrides_the_configurations() {
    let node = Node::new();
    node.open().save_enrollment(&credentials(), &registration()).unwrap();
    let mut paths = node.paths();
    paths.command_center_url = Some("https://center.example".into());
    let boot = jarvis_provisioning::store::Store::open(paths).unwrap().load().unwrap();
    assert_eq!(boot.command_center.unwrap().as_str(), "https://center.example");
}

#[test]
fn without_a_network_no_credentials_of_one_are_stored() {
    let node = Node::new();
    let store = node.open();
    let wired = || Credentials { ssid: None, passphrase: Passphrase::try_from(String::new()).unwrap(), ..credentials() };
    let pending = Pending { credentials: wired(), resumes: 0 };
    store.save_pending(&pending).unwrap();
    assert_eq!(node.open().load().unwrap().pending, Some(pending));
    store.save_enrollment(&wired(), &registration()).unwrap();
    store.mark_provisioned().unwrap();
    assert!(!node.file("wifi_credentials.enc").exists());
    assert_eq!(node.open().load().unwrap().identity.node_id, registration().node_id);
}

#[test]
fn a_pending_attempt_does_not_change_the_configuration() {
    let node = Node::new();
    node.open().save_pending(&pending(0)).unwrap();
    assert_eq!(fs::read_to_string(node.config()).unwrap(), SHIPPED);
    let beside: Vec<_> = fs::read_dir(node.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!beside.iter().any(|name| name.to_string_lossy().ends_with(".tmp")), "{beside:?}");
}

#[test]
fn a_missing_configuration_is_created() {
    let node = Node::new();
    fs::remove_file(node.config()).unwrap();
    let store = node.open();
    store.save_pending(&pending(0)).unwrap();
    assert!(!node.config().exists());
    store.save_enrollment(&credentials(), &registration()).unwrap();
    assert!(node.config().exists());
}

#[test]
fn a_second_registration_replaces_the_first() {
    let node = Node::new();
    let store = node.open();
    store.save_enrollment(&credentials(), &registration()).unwrap();
    let second = provisioning_core::domain::Registration { node_id: "another".into(), ..registration() };
    store.save_enrollment(&credentials(), &second).unwrap();
    assert_eq!(store.load().unwrap().identity.node_id, "another");
}

fn names_of(cleared: &Cleared) -> Vec<&'static str> {
    cleared.items.iter().copied().map(cleared_name).collect()
}

#[test]
fn two_nodes_of_one_name_have_different_secrets() {
    let nodes = [Node::new(), Node::new()];
    let [one, other] = nodes.each_ref().map(Node::open);
    let name = |store: &Store| store.load().unwrap().identity.name();
    assert_eq!(name(&one), name(&other));
    assert_ne!(one.access_point_passphrase(), other.access_point_passphrase());
    assert_ne!(one.pairing().secret, other.pairing().secret);
    assert!(!one.access_point_passphrase().expose().contains(&name(&one)["jarvis-".len()..]));
}

#[test]
fn a_reset_deletes_the_owners_data_and_keeps_the_nodes_identity() {
    let node = Node::new();
    let mut store = node.open();
    let (label, key) = (fs::read(node.file("pairing.json")).unwrap(), fs::read(node.file("secrets.key")).unwrap());
    store.save_guesses(4).unwrap();
    store.save_k2(&k2(1)).unwrap();
    store.save_enrollment(&credentials(), &registration()).unwrap();
    store.mark_provisioned().unwrap();
    store.save_outcome(&outcome(Fault::WrongPassword)).unwrap();
    store.save_pending(&pending(0)).unwrap();
    fs::create_dir(node.root().join("msp")).unwrap();
    for left in [
        "jarvis_node.db",
        "jarvis_node.db-wal",
        "provisioning.json",
        "state/db.key",
        "state/k2.enc.unreadable-1",
        "state/state.json.unreadable-2",
        "state/secrets.key.unreadable-1",
        "state/.pending.enc.0123456789abcdef.tmp",
        "msp/config.yaml.unreadable-1",
        "msp/claimed.json.unreadable-20",
    ] {
        fs::write(node.root().join(left), "data").unwrap();
    }

    let cleared = reset(&mut store).unwrap();

    let names = ["provisioning_marker", "k2_key", "wifi_credentials", "node_database", "db_key", "config_credentials"];
    assert_eq!(names_of(&cleared), names);
    assert_eq!(cleared.node_id, "jarvis-eb5b9161");
    assert_eq!(node.names(), ["pairing.json", "secrets.key", "state.json"]);
    for gone in ["jarvis_node.db", "jarvis_node.db-wal", "provisioning.json"] {
        assert!(!node.root().join(gone).exists(), "{gone}");
    }
    assert_eq!(fs::read(node.file("pairing.json")).unwrap(), label);
    assert_eq!(fs::read_dir(node.root().join("msp")).unwrap().count(), 0);
    assert_ne!(fs::read(node.file("secrets.key")).unwrap(), key, "K1 could open what the medium still holds of K2");
    store.save_k2(&k2(2)).unwrap();
    assert_eq!(node.unsealed("k2.enc"), [2; 32], "the node seals with its new K1");
    let boot = node.open().load().unwrap();
    assert_eq!((boot.guesses, boot.provisioned, boot.resetting), (4, false, false));
    assert_eq!((boot.pending, boot.outcome), (None, None));
    assert_eq!(boot.identity.node_id, "jarvis-eb5b9161");
    assert_eq!(boot.command_center, credentials().command_center);
}

#[test]
fn a_reset_makes_the_token_of_the_api_void_until_another_one_is_set() {
    let node = Node::new();
    let [old, new] = ["the token of the previous owner", "the token of the next owner"].map(|text| SecretText::new(text.into()));
    let is_void = |store: &mut Store, token| store.revocable_token(token).unwrap().load(Ordering::Relaxed);
    let mut store = node.open();
    let flag = store.revocable_token(&old).unwrap();
    assert!(!flag.load(Ordering::Relaxed));
    reset(&mut store).unwrap();
    assert!(flag.load(Ordering::Relaxed), "at once");
    let mut store = node.open();
    assert!(is_void(&mut store, &old), "and after a restart");
    assert!(!is_void(&mut store, &new));
    reset(&mut store).unwrap();
    assert!(is_void(&mut node.open(), &new));
    let state = fs::read_to_string(node.file("state.json")).unwrap();
    assert!(!state.contains(old.expose()) && !state.contains(new.expose()), "{state}");
}

#[test]
fn a_reset_of_a_fresh_node_returns_the_items_that_apps_expect() {
    let node = Node::new();
    fs::remove_file(node.config()).unwrap();
    let mut store = node.open();
    for _ in 0..2 {
        assert_eq!(names_of(&reset(&mut store).unwrap()), ["provisioning_marker", "k2_key", "wifi_credentials"]);
    }
    assert!(!node.config().exists());
}

#[test]
fn the_secrets_on_the_boot_partition_are_copied_once() {
    let node = Node::new();
    let given = node.root().join("pairing.json");
    fs::write(&given, r#"{"code": "012345", "access_point_passphrase": "correct horse"}"#).unwrap();
    let mut paths = node.paths();
    paths.pairing = Some(given.clone());
    let store = jarvis_provisioning::store::Store::open(paths.clone()).unwrap();
    assert_eq!(store.pairing().code.expose(), "012345");
    assert_eq!(store.access_point_passphrase().expose(), "correct horse");

    fs::write(&given, r#"{"code": "999999"}"#).unwrap();
    let again = jarvis_provisioning::store::Store::open(paths).unwrap();
    assert_eq!(again.pairing(), store.pairing());
}

#[test]
fn the_secrets_on_the_boot_partition_are_removed_on_request() {
    let node = Node::new();
    let given = node.root().join("pairing.json");
    fs::write(&given, r#"{"code": "012345"}"#).unwrap();
    let mut paths = node.paths();
    paths.pairing = Some(given.clone());
    let store = jarvis_provisioning::store::Store::open(paths.clone()).unwrap();
    assert_eq!(store.remove_pairing_file().unwrap(), Some(given.as_path()));
    assert!(!given.exists());
    assert_eq!(store.remove_pairing_file().unwrap(), None);
    let again = jarvis_provisioning::store::Store::open(paths).unwrap();
    assert_eq!(again.pairing().code.expose(), "012345");
}

#[test]
fn two_writers_of_one_folder_lose_nothing() {
    let node = Node::in_memory();
    node.open();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let store = node.open();
            scope.spawn(move || (0..50).for_each(|_| store.save_guesses(1).unwrap()));
        }
    });
    let state: serde_json::Value = serde_json::from_slice(&fs::read(node.file("state.json")).unwrap()).unwrap();
    assert_eq!(state["generation"], 100);
}

#[test]
fn renewed_pairing_secrets_survive_a_restart_and_the_passphrase_stays() {
    let node = Node::new();
    let mut store = node.open();
    let (before, passphrase) = (store.pairing(), store.access_point_passphrase());
    let renewed = store.renew_pairing().unwrap();
    assert_ne!(renewed.secret, before.secret);
    for store in [store, node.open()] {
        assert_eq!((store.pairing(), store.access_point_passphrase()), (renewed.clone(), passphrase.clone()));
    }
    assert_eq!(mode(&node.file("pairing.json")), 0o600);
}
