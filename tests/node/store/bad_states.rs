//! Invalid folders and files: a clear error or the safe state, and no lost data.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use fernet::Fernet;
use jarvis_provisioning::store::{Error, Store};
use provisioning_core::fault::Fault;
use provisioning_core::fault::chain;
use provisioning_core::machine::{ClearedItem, FREE_GUESSES};
use testing::journal::{Journal, TOKEN};
use testing_node::files::{Node, SHIPPED, credentials, k2, outcome, pending, registration, reset, run, write_everything};

/// The files that are read at start, except K1.
const READ: [&str; 6] = ["state.json", "pairing.json", "k2.enc", "k2_metadata.json", "wifi_credentials.enc", "pending.enc"];

fn pipe(path: &Path) {
    run(Command::new("mkfifo").arg(path));
}

fn assert_clear(error: &Error, fault: Fault, words: &[&str]) {
    let text = chain(error);
    assert!(words.iter().all(|word| text.contains(word)), "{text} should have {words:?}");
    assert_eq!(error.fault(), fault);
}

#[test]
fn a_state_folder_that_is_a_link_is_refused() {
    let node = Node::new();
    let elsewhere = node.root().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, node.state()).unwrap();
    let mut paths = node.paths();
    for directory in [node.state(), node.root().join("state/")] {
        paths.directory = directory;
        let error = Store::open(paths.clone()).unwrap_err();
        assert_clear(&error, Fault::StorageFailed, &["/state`", "symbolic link", "name what it points to"]);
    }
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
}

#[test]
fn a_state_folder_that_is_a_dangling_link_is_refused() {
    let node = Node::new();
    symlink("nowhere", node.state()).unwrap();
    let error = Store::open(node.paths()).unwrap_err();
    assert_clear(&error, Fault::StorageFailed, &["/state`", "symbolic link"]);
}

#[test]
fn a_state_folder_that_is_a_file_is_refused() {
    let node = Node::new();
    fs::write(node.state(), "mine").unwrap();
    let error = Store::open(node.paths()).unwrap_err();
    assert_clear(&error, Fault::StorageFailed, &["/state`", "not a folder", "remove it"]);
    assert_eq!(fs::read_to_string(node.state()).unwrap(), "mine");
}

#[test]
fn a_state_folder_below_a_file_is_refused() {
    let node = Node::new();
    let mut paths = node.paths();
    paths.directory = node.config().join("state");
    let error = Store::open(paths).unwrap_err();
    assert_clear(&error, Fault::StorageFailed, &["config.json/state`", "name another"]);
}

#[test]
fn a_file_torn_at_any_byte_is_set_aside_and_nothing_else_is_lost() {
    let node = Node::in_memory();
    let store = node.open();
    write_everything(&store);
    for name in READ {
        let whole = fs::read(node.file(name)).unwrap();
        let others: Vec<_> =
            READ.iter().filter(|other| **other != name).map(|other| (other, fs::read(node.file(other)).unwrap())).collect();
        // The sealed files are long, so they are cut at every seventh byte only.
        for length in (0..whole.len() - 2).step_by(if whole.len() > 300 { 7 } else { 1 }) {
            fs::write(node.file(name), &whole[..length]).unwrap();
            let boot = node.open().load().unwrap();
            assert!(boot.provisioned, "{name} cut to {length} bytes");
            assert!(node.has_aside(name), "{name} cut to {length} bytes");
            let aside: Vec<_> = node.names().into_iter().filter(|found| found.contains(".unreadable-")).collect();
            for found in aside {
                fs::remove_file(node.file(&found)).unwrap();
            }
            fs::write(node.file(name), &whole).unwrap();
            for (other, content) in &others {
                fs::write(node.file(other), content).unwrap();
            }
        }
    }
}

#[test]
fn garbage_is_set_aside() {
    let node = Node::in_memory();
    write_everything(&node.open());
    let contents = READ.map(|name| fs::read(node.file(name)).unwrap());
    for garbage in [&b""[..], b"\0\0\0\0", b"\xff\xfe", b"null", b"[]", b"{}", b"{\"schema\": 99}", &vec![b'A'; 100_000]] {
        for name in READ {
            fs::write(node.file(name), garbage).unwrap();
            node.open().load().unwrap();
            assert!(node.has_aside(name), "{name} with {:?}", &garbage[..garbage.len().min(20)]);
            for name in node.names().iter().filter(|name| name.contains(".unreadable-")) {
                fs::remove_file(node.file(name)).unwrap();
            }
            for (name, content) in READ.iter().zip(&contents) {
                fs::write(node.file(name), content).unwrap();
            }
        }
    }
}

#[test]
fn a_lost_count_of_attempts_counts_as_locked_and_stays_so() {
    let node = Node::new();
    node.open();
    fs::write(node.file("state.json"), "{\"schema\": 1, \"attem").unwrap();
    assert_eq!(node.open().load().unwrap().guesses, FREE_GUESSES);
    assert_eq!(node.open().load().unwrap().guesses, FREE_GUESSES);

    fs::remove_file(node.file("state.json")).unwrap();
    assert_eq!(node.open().load().unwrap().guesses, FREE_GUESSES);
}

#[test]
fn a_count_that_is_lost_while_the_node_runs_counts_as_locked() {
    let node = Node::new();
    let store = node.open();
    fs::write(node.file("state.json"), "torn").unwrap();
    store.save_outcome(&outcome(Fault::WrongPassword)).unwrap();
    assert_eq!(store.load().unwrap().guesses, FREE_GUESSES);
}

#[test]
fn a_lost_label_is_replaced_and_the_attempts_stay() {
    let node = Node::new();
    let store = node.open();
    store.save_guesses(3).unwrap();
    fs::write(node.file("pairing.json"), "torn").unwrap();
    let again = node.open();
    assert_ne!(again.pairing().secret, store.pairing().secret);
    assert_eq!(again.load().unwrap().guesses, 3);
    assert!(node.has_aside("pairing.json"));
}

#[test]
fn files_sealed_by_another_node_are_set_aside() {
    let (node, other) = (Node::new(), Node::new());
    write_everything(&node.open());
    write_everything(&other.open());
    for name in ["k2.enc", "wifi_credentials.enc", "pending.enc"] {
        fs::copy(other.file(name), node.file(name)).unwrap();
    }
    let boot = node.open().load().unwrap();
    assert!(boot.provisioned);
    assert_eq!(boot.pending, None);
    for name in ["k2.enc", "k2_metadata.json", "wifi_credentials.enc", "pending.enc"] {
        assert!(node.has_aside(name), "{name}");
        assert!(!node.file(name).exists(), "{name}");
    }
}

#[test]
fn with_another_k1_everything_that_was_sealed_is_set_aside() {
    let node = Node::new();
    write_everything(&node.open());
    fs::write(node.file("secrets.key"), Fernet::generate_key()).unwrap();
    let boot = node.open().load().unwrap();
    assert!(boot.provisioned);
    assert_eq!(boot.pending, None);
    for name in ["k2.enc", "wifi_credentials.enc", "pending.enc"] {
        assert!(node.has_aside(name), "{name}");
    }
}

/// Puts something in the place of K1.
type Lose = fn(&Path);

/// What may be in the place of K1, and how the error names it.
const LOST_KEYS: [(&str, Lose); 6] = [
    ("is missing", |_| ()),
    ("does not contain a key", |path| fs::write(path, "").unwrap()),
    ("does not contain a key", |path| fs::write(path, [b'A'; 42]).unwrap()),
    ("larger than", |path| fs::write(path, vec![b'A'; 100_000]).unwrap()),
    ("symbolic link", |path| symlink("../elsewhere", path).unwrap()),
    ("not a regular file", |path| fs::create_dir(path).unwrap()),
];

#[test]
fn a_lost_k1_is_not_replaced_while_there_is_a_file_that_it_seals() {
    for (words, lose) in LOST_KEYS {
        for sealed in ["k2.enc", "wifi_credentials.enc", "pending.enc", "k2_pending.enc"] {
            let node = Node::in_memory();
            write_everything(&node.open());
            fs::copy(node.file("k2.enc"), node.file("sealed")).unwrap();
            for name in ["k2.enc", "wifi_credentials.enc", "pending.enc"] {
                fs::remove_file(node.file(name)).unwrap();
            }
            fs::rename(node.file("sealed"), node.file(sealed)).unwrap();
            let (key, content) = (fs::read(node.file("secrets.key")).unwrap(), fs::read(node.file(sealed)).unwrap());
            fs::remove_file(node.file("secrets.key")).unwrap();
            lose(&node.file("secrets.key"));
            let before = node.names();

            let error = Store::open(node.paths()).unwrap_err();
            assert_clear(&error, Fault::StorageFailed, &["/secrets.key`", words, sealed, "restore", "jarvis-provision reset"]);
            assert_eq!(node.names(), before, "{words}");
            assert_eq!(fs::read(node.file(sealed)).unwrap(), content, "{words}");

            // The operator restores it, and nothing is lost.
            let _none_or_folder = fs::remove_dir(node.file("secrets.key")).or_else(|_| fs::remove_file(node.file("secrets.key")));
            fs::write(node.file("secrets.key"), &key).unwrap();
            node.open();
            assert_eq!(fs::read(node.file("secrets.key")).unwrap(), key, "{words}");
        }
    }
}

#[test]
fn a_lost_k1_that_seals_nothing_is_replaced() {
    for (words, lose) in LOST_KEYS {
        let node = Node::in_memory();
        node.open();
        fs::remove_file(node.file("secrets.key")).unwrap();
        lose(&node.file("secrets.key"));
        node.open().save_k2(&k2(1)).unwrap();
        assert_eq!(node.unsealed("k2.enc"), [1; 32], "{words}");
        assert_eq!(node.has_aside("secrets.key"), words != "is missing", "{words}");
    }
}

#[test]
fn a_reset_replaces_a_lost_k1_also_after_a_restart() {
    for (words, lose) in LOST_KEYS {
        // A folder is kept: it is not a file of this program.
        if words == "not a regular file" {
            continue;
        }
        let node = Node::in_memory();
        write_everything(&node.open());
        fs::remove_file(node.file("secrets.key")).unwrap();
        lose(&node.file("secrets.key"));
        Store::begin_reset_without_key(&node.paths()).unwrap();
        for _ in 0..2 {
            assert!(node.open().load().unwrap().resetting, "{words}");
        }
        node.open().finish_reset(|_| Ok(false)).unwrap();
        assert!(!node.open().load().unwrap().resetting, "{words}");
        assert_eq!(node.names(), ["pairing.json", "secrets.key", "state.json"], "{words}");
    }
}

#[test]
fn a_k1_of_other_software_in_standard_base64_opens_its_files() {
    let node = Node::new();
    // Contains both characters that the url-safe alphabet replaces.
    let standard = "++//".repeat(10) + "++8=";
    let theirs = Fernet::new(&standard.replace('+', "-").replace('/', "_")).unwrap();
    node.open();
    fs::write(node.file("secrets.key"), &standard).unwrap();
    fs::write(node.file("k2.enc"), theirs.encrypt(&[7; 32])).unwrap();
    fs::write(node.file("k2_metadata.json"), r#"{"kid": "k", "created_at": "2026-02-01T13:00:00+00:00"}"#).unwrap();
    node.open().load().unwrap();
    assert_eq!(fs::read_to_string(node.file("secrets.key")).unwrap(), standard);
    assert!(node.file("k2.enc").exists(), "K2 stays");
}

#[test]
fn a_sealed_file_in_the_place_of_another_is_set_aside() {
    let node = Node::new();
    write_everything(&node.open());
    fs::copy(node.file("k2.enc"), node.file("pending.enc")).unwrap();
    fs::copy(node.file("wifi_credentials.enc"), node.file("k2.enc")).unwrap();
    let boot = node.open().load().unwrap();
    assert_eq!(boot.pending, None);
    assert!(node.has_aside("pending.enc") && node.has_aside("k2.enc"));
}

#[test]
fn metadata_without_a_key_is_set_aside() {
    let node = Node::new();
    node.open().save_k2(&k2(1)).unwrap();
    fs::remove_file(node.file("k2.enc")).unwrap();
    node.open().load().unwrap();
    assert_eq!(node.names(), ["k2_metadata.json.unreadable-1", "pairing.json", "secrets.key", "state.json"]);
}

#[test]
fn files_set_aside_repeatedly_do_not_fill_the_folder() {
    let node = Node::in_memory();
    for _ in 0..50 {
        node.open().load().unwrap();
        fs::write(node.file("pairing.json"), "torn").unwrap();
    }
    node.open();
    assert_eq!(node.names().len(), 20 + 3);
}

#[test]
fn links_pipes_sockets_and_folders_in_the_place_of_files_are_set_aside_untouched() {
    type Make = fn(&Path);
    let precious = |root: &Path| root.join("precious");
    let kinds: [(&str, Make); 5] = [
        ("link", |path| symlink("../precious", path).unwrap()),
        ("dangling link", |path| symlink("nowhere", path).unwrap()),
        ("pipe", pipe),
        ("socket", |path| drop(UnixListener::bind(path).unwrap())),
        ("folder", |path| fs::create_dir(path).unwrap()),
    ];
    for (kind, make) in kinds {
        let node = Node::in_memory();
        fs::write(precious(node.root()), "precious").unwrap();
        write_everything(&node.open());
        for name in READ.iter().chain(&[".provisioned", "secrets.key"]) {
            fs::remove_file(node.file(name)).unwrap();
            make(&node.file(name));
        }
        let store = node.open();
        let boot = store.load().unwrap();
        assert!(!boot.provisioned, "{kind}");
        assert_eq!(boot.guesses, FREE_GUESSES, "{kind}");
        write_everything(&store);
        assert!(node.open().load().unwrap().provisioned, "{kind}");
        assert_eq!(fs::read_to_string(precious(node.root())).unwrap(), "precious", "{kind}");
    }
}

#[test]
fn temporary_files_of_a_crash_are_removed() {
    let node = Node::new();
    node.open();
    let left = [node.file(".k2.enc.0123456789abcdef.tmp"), node.root().join(".config.json.0123456789abcdef.tmp")];
    for file in &left {
        fs::write(file, "half").unwrap();
    }
    fs::write(node.file(".mine.0123456789abcdef.tmp"), "mine").unwrap();
    node.open();
    assert!(left.iter().all(|file| !file.exists()));
    assert!(node.file(".mine.0123456789abcdef.tmp").exists());
}

#[test]
fn without_config_path_no_attempt_begins() {
    let node = Node::new();
    let mut paths = node.paths();
    paths.config = None;
    let store = Store::open(paths).unwrap();
    for error in
        [store.save_pending(&pending(0)).unwrap_err(), store.save_enrollment(&credentials(), &registration()).unwrap_err()]
    {
        assert_clear(&error, Fault::ConfigurationFailed, &["CONFIG_PATH is not set"]);
    }
    assert_eq!(store.load().unwrap().pending, None);
}

#[test]
fn with_a_configuration_that_cannot_be_replaced_no_attempt_begins() {
    type Make = fn(&Path);
    let kinds: [(&str, Make); 6] = [
        ("not complete JSON", |path| fs::write(path, "{\"api_key\": \"secret").unwrap()),
        ("another form", |path| fs::write(path, "[1, 2]").unwrap()),
        ("symbolic link", |path| symlink("elsewhere.json", path).unwrap()),
        ("not a regular file", pipe),
        ("not a regular file", |path| fs::create_dir(path).unwrap()),
        ("larger than", |path| fs::write(path, vec![b' '; 2 * 1024 * 1024]).unwrap()),
    ];
    for (words, make) in kinds {
        let node = Node::new();
        fs::remove_file(node.config()).unwrap();
        make(&node.config());
        let mut store = node.open();
        let error = store.save_pending(&pending(0)).unwrap_err();
        assert_clear(&error, Fault::ConfigurationFailed, &["config.json`", words]);
        assert!(!chain(&error).contains("secret"));
        // All other functions work without it.
        let boot = store.load().unwrap();
        assert_eq!((boot.pending, boot.identity.node_id.as_str()), (None, "jarvis-eb5b9161"));
        assert!(!reset(&mut store).unwrap().items.contains(&ClearedItem::ConfigurationCredentials));
    }
}

#[test]
fn a_configuration_whose_folder_is_missing_is_not_created() {
    let node = Node::new();
    let mut paths = node.paths();
    paths.config = Some(node.root().join("missing/config.json"));
    let store = Store::open(paths).unwrap();
    let error = store.save_pending(&pending(0)).unwrap_err();
    assert_clear(&error, Fault::ConfigurationFailed, &["/missing`", "create it"]);
    assert!(!node.root().join("missing").exists());
}

#[test]
fn an_empty_configuration_is_filled() {
    let node = Node::new();
    fs::write(node.config(), "\n").unwrap();
    node.open().save_enrollment(&credentials(), &registration()).unwrap();
    assert_eq!(node.open().load().unwrap().identity.node_id, registration().node_id);
}

#[test]
fn a_configured_node_id_that_breaks_its_grammar_is_ignored_and_replaced() {
    let node = Node::new();
    for bad in ["aa:bb:cc", "\u{1f3e0}", "a b", "a\n", "x".repeat(65).as_str()] {
        fs::write(node.config(), serde_json::json!({"node_id": bad}).to_string()).unwrap();
        let store = node.open();
        assert_eq!(store.load().unwrap().identity.node_id, "jarvis-eb5b9161", "{bad:?}");
        store.save_enrollment(&credentials(), &registration()).unwrap();
        assert_eq!(store.load().unwrap().identity.node_id, registration().node_id, "{bad:?}");
    }
}

#[test]
fn placeholders_are_not_an_identity() {
    let node = Node::new();
    for content in [SHIPPED, "{\"node_id\": \"\"}", "{\"node_id\": 7}", "{}"] {
        fs::write(node.config(), content).unwrap();
        assert_eq!(node.open().load().unwrap().identity.node_id, "jarvis-eb5b9161");
    }
}

#[test]
fn an_invalid_address_counts_as_no_command_center() {
    let node = Node::new();
    fs::write(node.config(), "{\"jarvis_command_center_api_url\": \"not an address\"}").unwrap();
    assert_eq!(node.open().load().unwrap().command_center, None);
}

#[test]
fn an_owners_file_with_a_mistake_is_named() {
    let node = Node::new();
    let given = node.root().join("pairing.json");
    fs::write(&given, "{\"code\": \"12345\"}").unwrap();
    let mut paths = node.paths();
    paths.pairing = Some(given);
    let error = Store::open(paths).unwrap_err();
    assert_clear(&error, Fault::StorageFailed, &["/pairing.json`", "six digits"]);
    assert!(!chain(&error).contains("12345"));
}

#[test]
fn nothing_secret_is_shown_by_debug() {
    let node = Node::new();
    let store = node.open();
    let shown = format!("{store:?}");
    let key = fs::read_to_string(node.file("secrets.key")).unwrap();
    for secret in [key.as_str(), store.pairing().code.expose(), store.access_point_passphrase().expose()] {
        assert!(!shown.contains(secret));
    }
}

/// The log of a start.
fn journal(node: &Node) -> String {
    let journal = Journal::start();
    node.open().load().unwrap();
    journal.stop().text()
}

#[test]
fn a_world_readable_folder_is_named_in_the_journal() {
    let node = Node::new();
    node.open();
    assert_eq!(journal(&node), "");
    fs::set_permissions(node.state(), fs::Permissions::from_mode(0o755)).unwrap();
    let said = journal(&node);
    assert!(said.contains("WARN") && said.contains("/state") && said.contains("755") && said.contains("chmod 700"), "{said}");
}

#[test]
fn a_file_that_is_set_aside_is_logged_without_its_content() {
    let node = Node::new();
    write_everything(&node.open());
    fs::write(node.file("pairing.json"), r#"{"schema": 1, "code": "135790", "secret": "canary"}"#).unwrap();
    fs::set_permissions(node.file("k2.enc"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = journal(&node);
    assert!(said.contains("ERROR") && said.contains("/pairing.json`") && said.contains("/pairing.json.unreadable-1"), "{said}");
    assert!(said.contains("WARN") && said.contains("/k2.enc") && said.contains("644"), "{said}");
    for secret in ["135790", "canary", "hunter22", TOKEN, &fs::read_to_string(node.file("secrets.key")).unwrap()] {
        assert!(!said.contains(secret), "{said}");
    }
}
