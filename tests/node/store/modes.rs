//! Owners and modes of the files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use jarvis_provisioning::store::Store;
use provisioning_core::fault::Fault;
use provisioning_core::fault::chain;

use testing_node::files::{
    Node, credentials, is_root, mode, owner, paths, pending, registration, run, skip, this_program, write_everything,
};

fn assert_private(node: &Node) {
    assert_eq!(mode(&node.state()), 0o700);
    assert_eq!(mode(&node.config()), 0o600);
    assert_eq!(node.names().len(), 8, "{:?}", node.names());
    for name in node.names() {
        assert_eq!(mode(&node.file(&name)), 0o600, "{name}");
    }
}

#[test]
#[ignore = "a part of `every_umask_gives_private_files`, in a process of its own"]
fn with_a_umask() {
    let Ok(root) = std::env::var("JARVIS_TEST_ROOT") else { return };
    write_everything(&Store::open(paths(root.as_ref())).unwrap());
}

#[test]
fn every_umask_gives_private_files() {
    for umask in ["000", "022", "077", "277"] {
        let node = Node::new();
        let [program, arguments @ ..] = &this_program("store::modes::with_a_umask")[..] else { unreachable!() };
        let script = format!("umask {umask} && exec \"$@\"");
        run(Command::new("sh").args(["-c", &script, "sh", program]).args(arguments).env("JARVIS_TEST_ROOT", node.root()));
        assert_private(&node);
    }
}

#[test]
fn the_mode_of_an_existing_folder_is_unchanged() {
    let node = Node::new();
    fs::create_dir(node.state()).unwrap();
    fs::set_permissions(node.state(), Permissions::from_mode(0o755)).unwrap();
    write_everything(&node.open());
    assert_eq!(mode(&node.state()), 0o755);
    assert!(node.names().iter().all(|name| mode(&node.file(name)) == 0o600));
}

#[test]
fn missing_parent_folders_are_created_private() {
    let node = Node::new();
    let mut paths = node.paths();
    paths.directory = node.root().join("a/b/state");
    paths.key = paths.directory.join("secrets.key");
    Store::open(paths).unwrap();
    assert!(["a", "a/b", "a/b/state"].iter().all(|folder| mode(&node.root().join(folder)) == 0o700));
}

#[test]
fn a_file_that_others_could_read_is_repaired_and_read() {
    let node = Node::new();
    let store = node.open();
    write_everything(&store);
    for name in node.names() {
        fs::set_permissions(node.file(&name), Permissions::from_mode(0o644)).unwrap();
    }
    let boot = node.open().load().unwrap();
    assert!(boot.provisioned && boot.pending.is_some());
    assert!(node.names().iter().all(|name| mode(&node.file(name)) == 0o600), "{:?}", node.names());
}

#[test]
fn a_readable_configuration_becomes_private_with_a_key() {
    let node = Node::new();
    fs::set_permissions(node.config(), Permissions::from_mode(0o644)).unwrap();
    let store = node.open();
    store.save_pending(&pending(0)).unwrap();
    assert_eq!(mode(&node.config()), 0o644);
    store.save_enrollment(&credentials(), &registration()).unwrap();
    assert_eq!(mode(&node.config()), 0o600);
}

#[test]
fn the_configuration_keeps_its_owner() {
    if !is_root() {
        return skip("only the superuser can change the owner of files", false);
    }
    let node = Node::new();
    chown(node.config(), Some(1234), Some(1234)).unwrap();
    node.open().save_enrollment(&credentials(), &registration()).unwrap();
    assert_eq!((owner(&node.config()), mode(&node.config())), (1234, 0o600));
}

#[test]
fn the_superuser_writes_for_the_owner_of_the_folder() {
    if !is_root() {
        return skip("only the superuser can change the owner of files", false);
    }
    let node = Node::new();
    fs::create_dir(node.state()).unwrap();
    fs::set_permissions(node.state(), Permissions::from_mode(0o700)).unwrap();
    chown(node.state(), Some(1234), Some(1234)).unwrap();
    write_everything(&node.open());
    assert!(node.names().iter().all(|name| owner(&node.file(name)) == 1234));
    assert!(node.open().load().unwrap().provisioned);
}

#[test]
fn a_file_of_another_user_is_not_trusted() {
    if !is_root() {
        return skip("only the superuser can change the owner of files", false);
    }
    let node = Node::new();
    node.open().mark_provisioned().unwrap();
    chown(node.file(".provisioned"), Some(1234), None).unwrap();
    assert!(!node.open().load().unwrap().provisioned);
    assert!(node.has_aside(".provisioned"));
}

#[test]
fn a_world_writable_folder_is_refused() {
    let node = Node::new();
    fs::create_dir(node.state()).unwrap();
    fs::set_permissions(node.state(), Permissions::from_mode(0o777)).unwrap();
    let error = Store::open(node.paths()).unwrap_err();
    let text = chain(&error);
    assert!(text.contains("/state`") && text.contains("chmod 700"), "{text}");
    assert_eq!(error.fault(), Fault::StorageFailed);
    assert_eq!(node.names().len(), 0);
}
