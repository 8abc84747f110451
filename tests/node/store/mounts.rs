//! File systems that refuse writes: full, read-only, and a configuration that is a mount point.
//!
//! They are mounted in a mount namespace, by the superuser or in a user namespace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jarvis_provisioning::store::Store;
use provisioning_core::fault::Fault;
use provisioning_core::fault::chain;
use testing_node::files::{
    Node, SHIPPED, credentials, k2, outcome, paths, pending, registration, reset, run, skip, this_program,
};

/// Runs an ignored test of this module in a mount namespace, after `script` has mounted the file systems.
fn in_namespace(test: &str, script: &str) {
    let flags: &[&str] = if testing_node::files::is_root() { &["--mount"] } else { &["--mount", "--map-root-user"] };
    let probe = Command::new("unshare").args(flags).args(["sh", "-c", "mount -t tmpfs tmpfs /mnt"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return skip("this machine does not permit mounts in a namespace", false);
    }
    let node = Node::new();
    let script = format!("set -e; cd \"$JARVIS_TEST_ROOT\"; {script}; exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(flags).args(["sh", "-c", &script, "sh"]).args(this_program(&format!("store::mounts::{test}")));
    let printed = run(command.env("JARVIS_TEST_ROOT", node.root()));
    assert!(printed.contains("1 passed"), "{printed}");
}

/// The root of the node, inside the namespace.
fn root() -> Option<PathBuf> {
    std::env::var_os("JARVIS_TEST_ROOT").map(PathBuf::from)
}

/// Fills the file system of that folder to the last byte.
fn fill(folder: &Path) -> PathBuf {
    let filler = folder.join("filler");
    let error = fs::write(&filler, vec![0; 4 * 1024 * 1024]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    filler
}

fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut contents: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .filter(|(name, _)| name != "filler")
        .collect();
    contents.sort();
    contents
}

/// Asserts that every write fails with these words, and changes nothing.
fn assert_every_write_fails(store: &Store, state: &Path, words: &[&str]) {
    let before = contents(state);
    for (writer, result) in [
        ("attempts", store.save_guesses(5)),
        ("k2", store.save_k2(&k2(2))),
        ("pending", store.save_pending(&pending(0))),
        ("enrollment", store.save_enrollment(&credentials(), &registration())),
        ("marker", store.mark_provisioned()),
        ("outcome", store.save_outcome(&outcome(Fault::WrongPassword))),
        ("reset", store.begin_reset()),
    ] {
        let error = result.expect_err(writer);
        let text = chain(&error);
        assert!(words.iter().all(|word| text.contains(word)), "{writer}: {text}");
        assert_eq!(error.fault(), Fault::StorageFailed, "{writer}");
        assert_eq!(contents(state), before, "{writer}");
    }
    assert_eq!(store.load().unwrap().guesses, 3);
}

#[test]
#[ignore = "a part of `a_full_disk_is_named_and_loses_nothing`, in a namespace of its own"]
fn full() {
    let Some(root) = root() else { return };
    let state = root.join("state");
    let store = Store::open(paths(&root)).unwrap();
    store.save_guesses(3).unwrap();
    store.save_k2(&k2(1)).unwrap();
    let filler = fill(&state);
    assert_every_write_fails(&store, &state, &["/state/", "no space left", "free some"]);
    fs::remove_file(filler).unwrap();
    store.save_guesses(4).unwrap();
    assert_eq!(store.load().unwrap().guesses, 4);
}

#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    in_namespace("full", "mkdir state; mount -t tmpfs -o size=256k,mode=700 tmpfs state");
}

#[test]
#[ignore = "a part of `a_disk_that_is_full_at_the_first_start_is_named`, in a namespace of its own"]
fn full_at_first() {
    let Some(root) = root() else { return };
    let filler = fill(&root.join("state"));
    let text = chain(&Store::open(paths(&root)).unwrap_err());
    assert!(text.contains("/state/secrets.key`") && text.contains("free some"), "{text}");
    fs::remove_file(filler).unwrap();
    assert_eq!(Store::open(paths(&root)).unwrap().load().unwrap().guesses, 0);
}

#[test]
fn a_disk_that_is_full_at_the_first_start_is_named() {
    in_namespace("full_at_first", "mkdir state; mount -t tmpfs -o size=256k,mode=700 tmpfs state");
}

#[test]
#[ignore = "a part of `a_read_only_folder_is_named_and_can_be_read`, in a namespace of its own"]
fn read_only() {
    let Some(root) = root() else { return };
    let state = root.join("state");
    let store = Store::open(paths(&root)).unwrap();
    store.save_guesses(3).unwrap();
    store.save_k2(&k2(1)).unwrap();
    run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(&state));
    assert_every_write_fails(&store, &state, &["/state/", "read-only", "mount it writable"]);
    // Enough to print a label or the state.
    let again = Store::open(paths(&root)).unwrap();
    assert_eq!(again.pairing(), store.pairing());
}

#[test]
fn a_read_only_folder_is_named_and_can_be_read() {
    in_namespace("read_only", "mkdir state; mount -t tmpfs -o mode=700 tmpfs state");
}

#[test]
#[ignore = "a part of `a_read_only_folder_at_the_first_start_is_named`, in a namespace of its own"]
fn read_only_at_first() {
    let Some(root) = root() else { return };
    let text = chain(&Store::open(paths(&root)).unwrap_err());
    assert!(text.contains("/state/secrets.key`") && text.contains("mount it writable"), "{text}");
}

#[test]
fn a_read_only_folder_at_the_first_start_is_named() {
    in_namespace("read_only_at_first", "mkdir state; mount -t tmpfs -o mode=700,ro tmpfs state");
}

#[test]
#[ignore = "a part of `a_configuration_that_is_a_mount_point_is_named`, in a namespace of its own"]
fn mounted_configuration() {
    let Some(root) = root() else { return };
    let store = Store::open(paths(&root)).unwrap();
    let error = store.save_pending(&pending(0)).unwrap_err();
    let text = chain(&error);
    assert!(text.contains("/config.json`") && text.contains("mount its folder"), "{text}");
    assert_eq!(error.fault(), Fault::ConfigurationFailed);
    assert_eq!(store.load().unwrap().pending, None);
    assert_eq!(fs::read_to_string(root.join("config.json")).unwrap(), SHIPPED);
}

#[test]
fn a_configuration_that_is_a_mount_point_is_named() {
    in_namespace("mounted_configuration", "mount --bind config.json config.json");
}

#[test]
#[ignore = "a part of `with_a_read_only_configuration_no_attempt_begins`, in a namespace of its own"]
fn read_only_configuration() {
    let Some(root) = root() else { return };
    let mut paths = paths(&root);
    paths.config = Some(root.join("conf/config.json"));
    let store = Store::open(paths).unwrap();
    let error = store.save_pending(&pending(0)).unwrap_err();
    let text = chain(&error);
    assert!(text.contains("/conf/config.json`") && text.contains("mount it writable"), "{text}");
    assert_eq!(error.fault(), Fault::ConfigurationFailed);
}

#[test]
fn with_a_read_only_configuration_no_attempt_begins() {
    in_namespace("read_only_configuration", "mkdir conf; mount -t tmpfs -o ro tmpfs conf");
}

#[test]
#[ignore = "a part of `a_reset_keeps_a_key_that_the_operator_mounted_read_only`, in a namespace of its own"]
fn read_only_key() {
    let Some(root) = root() else { return };
    let mut paths = paths(&root);
    paths.key = root.join("keys/k1");
    let key = fs::read(&paths.key).unwrap();
    let mut store = Store::open(paths.clone()).unwrap();
    store.save_k2(&k2(1)).unwrap();
    reset(&mut store).unwrap();
    assert_eq!(fs::read(&paths.key).unwrap(), key);
    assert!(!root.join("state/k2.enc").exists() && !store.load().unwrap().resetting);
}

#[test]
fn a_reset_keeps_a_key_that_the_operator_mounted_read_only() {
    let key = format!("{}=", "A".repeat(43));
    let script = format!(
        "mkdir keys; mount -t tmpfs -o mode=700 tmpfs keys; umask 077; printf {key} > keys/k1; mount -o remount,ro,mode=700 keys"
    );
    in_namespace("read_only_key", &script);
}

#[test]
#[ignore = "a part of `a_limit_on_the_size_of_files_loses_nothing`, in a process of its own"]
fn size_limit() {
    let Some(root) = root() else { return };
    let store = Store::open(paths(&root)).unwrap();
    let text = chain(&store.save_guesses(4).unwrap_err());
    assert!(text.contains("/state/state.json`") && text.contains("raise it"), "{text}");
    assert_eq!(store.load().unwrap().guesses, 3);
}

#[test]
fn a_limit_on_the_size_of_files_loses_nothing() {
    let node = Node::new();
    node.open().save_guesses(3).unwrap();
    let names = node.names();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"]).args(this_program("store::mounts::size_limit"));
    let printed = run(command.env("JARVIS_TEST_ROOT", node.root()));
    assert!(printed.contains("1 passed"), "{printed}");
    assert_eq!(node.names(), names);
}
