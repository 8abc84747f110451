//! No program lets other processes of its user read its memory, and none leaves a core dump: each makes itself not dumpable
//! before it reads a secret.
//!
//! The kernel shows it: the files in `/proc` of a process that is not dumpable belong to root, under any user. The limit of the
//! size of core dumps has no part in this.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::fs::{File, OpenOptions};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::place::PATIENCE;

/// A user that is not root: Debian's `nobody`.
const NOBODY: u32 = 65_534;

/// The file of a secret. It is a pipe that nobody writes to, so that a program that reads it waits.
const SECRET: &str = "secret";

/// Each program, with a command line that makes it read [`SECRET`].
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("jarvis-provision", &["claim", "--code-file", SECRET]),
    ("jarvis-command-center", &["serve", "--listen", "127.0.0.1:0", "--admin-key-file", SECRET]),
    (
        "jarvis-factory",
        &["prepare", "--serial", "A-1", "--rootfs-dir", ".", "--api-url", "http://127.0.0.1:9", "--admin-token-file", SECRET],
    ),
    ("jarvis-phone", &["status", "--over", "http://127.0.0.1:9", "--code-file", SECRET]),
];

/// A folder with a pipe, for programs of a user that is not root.
fn place() -> TempDir {
    let place = tempfile::tempdir().expect("a temporary folder");
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o777)).expect("it is ours");
    let pipe = place.path().join(SECRET);
    let made = std::process::Command::new("mkfifo").args(["--mode", "666"]).arg(&pipe).status().expect("mkfifo starts");
    assert!(made.success());
    place
}

/// Starts a copy of a program in the folder as a user that is not root.
fn start(program: &Path, arguments: &[&str], place: &Path) -> Child {
    // The user may not be able to reach the original. Another process copies it: a file that this one has open for writing
    // cannot be executed, and neither can one that a child has inherited.
    let copy = place.join(program.file_name().expect("a name"));
    let copied = std::process::Command::new("cp").arg(program).arg(&copy).status().expect("cp starts");
    assert!(copied.success());
    let mut command = Command::new(copy);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.args(arguments).current_dir(place).env_clear().kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

/// The pipe, opened for writing when a program has opened it for reading.
async fn writing(place: &TempDir) -> File {
    OpenOptions::new().write(true).open(place.path().join(SECRET)).await.expect("a pipe")
}

/// The user that the memory of a process belongs to; none if it has ended.
fn owner(process: &Child) -> Option<u32> {
    let memory = format!("/proc/{}/mem", process.id()?);
    std::fs::metadata(memory).ok().map(|memory| memory.uid())
}

/// A program of the workspace, which is built beside the node's; none, and a notice, if only the node's package was built.
fn built(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_jarvis-provision")).with_file_name(name);
    assert!(path.exists() || std::env::var_os("CI").is_none(), "{name} is built before CI runs this");
    if !path.exists() {
        eprintln!("SKIPPED: {name} is not built, so it was not tested");
    }
    path.exists().then_some(path)
}

#[tokio::test]
async fn every_program_is_not_dumpable_when_it_reads_a_secret() {
    for (name, arguments) in PROGRAMS {
        let Some(program) = built(name) else { continue };
        let place = place();
        let mut process = start(&program, arguments, place.path());
        let pipe = timeout(PATIENCE, writing(&place)).await.unwrap_or_else(|_| panic!("{name} reads the secret"));
        assert_eq!(owner(&process), Some(0), "the memory of {name} belongs to its user: it is dumpable");
        drop(pipe);
        process.kill().await.expect("it was started");
    }
}

#[tokio::test]
async fn the_memory_of_a_dumpable_program_belongs_to_its_user() {
    let place = place();
    let control = start(Path::new("/bin/cat"), &[SECRET], place.path());
    let _pipe = timeout(PATIENCE, writing(&place)).await.expect("the control reads");
    assert_ne!(owner(&control), Some(0), "this machine does not show whether a program is dumpable");
}

#[test]
fn every_packaged_service_has_no_core_dumps() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let entries = std::fs::read_dir(folder).expect("the units").map(|entry| entry.expect("an entry").path());
    let services: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "service")).collect();
    assert!(services.len() >= 4, "{services:?}");
    for service in services {
        let text = std::fs::read_to_string(&service).expect("a unit");
        assert!(text.lines().any(|line| line == "LimitCORE=0"), "{}", service.display());
    }
}
