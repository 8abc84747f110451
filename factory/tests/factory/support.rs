//! A workplace of the factory: a folder with trees, and the program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use crate::server::Server;

pub(crate) const CONF: &str = "etc/azaion/device.conf";
pub(crate) const PAIRING: &str = "boot/firmware/jarvis-pairing.json";

pub(crate) const FACTORY: &str = env!("CARGO_BIN_EXE_jarvis-factory");

/// Another program of this workspace, beside the one under test. `cargo test` builds it; if this package is tested alone,
/// it is built here.
pub(crate) fn program(name: &str) -> PathBuf {
    static BUILD: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILD.lock().unwrap();
    let path = Path::new(FACTORY).with_file_name(name);
    if !path.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).args(["build", "--quiet", "--bin", name]);
        cargo.env("CARGO_TARGET_DIR", path.ancestors().nth(2).unwrap());
        assert!(cargo.status().unwrap().success(), "building {name}");
    }
    path
}

/// A folder in which the program runs.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A desk in a memory file system, if there is one; for tests with many runs.
    pub(crate) fn fast() -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { folder: folder.unwrap() }
    }

    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// An empty tree.
    pub(crate) fn tree(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// A list of serials and their trees.
    pub(crate) fn list(&self, serials: usize) -> Vec<String> {
        let serials: Vec<_> = (1..=serials).map(|number| format!("AZJN-{number:04}")).collect();
        fs::write(self.path("list.csv"), format!("serial\n{}\n", serials.join("\n"))).unwrap();
        for serial in &serials {
            self.tree(&format!("images/{serial}/rootfs"));
        }
        serials
    }

    pub(crate) fn rootfs(&self, serial: &str) -> PathBuf {
        self.path(format!("images/{serial}/rootfs"))
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let program = if arguments.first() == Some(&"login") { program("jarvis-provision") } else { FACTORY.into() };
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).args(arguments).env_remove("RUST_LOG").env_remove("AZAION_LOADER_URL");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    /// `prepare` for one device, in the tree `rootfs`.
    pub(crate) fn single(&self, server: &Server, more: &[&str]) -> Run {
        let url = server.url();
        let fixed = ["prepare", "--serial", "AZJN-0042", "--api-url", &url, "--rootfs-dir", "rootfs"];
        self.run(&[&fixed, more].concat())
    }

    /// `prepare` for the list.
    pub(crate) fn batch(&self, server: &Server, more: &[&str]) -> Run {
        self.run(&[&Self::batch_arguments(&server.url()), more].concat())
    }

    pub(crate) fn batch_arguments(url: &str) -> [&str; 7] {
        ["prepare", "--serials", "list.csv", "--rootfs-dir", "images/{serial}/rootfs", "--api-url", url]
    }
}

/// The exit status and output of a run.
pub(crate) struct Run {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) errors: String,
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code(), out: text(output.stdout), errors: text(output.stderr) }
    }

    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.status, Some(0), "{}{}", self.out, self.errors);
        self
    }

    #[track_caller]
    pub(crate) fn failed_with(self, words: &str) -> Self {
        assert!(self.status.is_some_and(|status| status != 0), "{}{}", self.out, self.errors);
        assert!(self.errors.contains(words), "{}", self.errors);
        self
    }

    #[track_caller]
    pub(crate) fn shows_none_of(self, secrets: &[String]) -> Self {
        for secret in secrets {
            assert!(!self.out.contains(secret) && !self.errors.contains(secret), "a secret is shown");
        }
        self
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Account and password in a tree.
pub(crate) fn credentials(rootfs: &Path) -> (String, String) {
    let content = fs::read_to_string(rootfs.join(CONF)).unwrap();
    let lines: Vec<_> = content.lines().collect();
    let [email, password] = lines[..] else { panic!("two lines: {content}") };
    let value = |line: &str, name: &str| line.strip_prefix(name).unwrap().to_owned();
    (value(email, "AZAION_DEVICE_EMAIL="), value(password, "AZAION_DEVICE_PASSWORD="))
}

/// Asserts that the device can log in, and that its files are private.
#[track_caller]
pub(crate) fn assert_agreement(server: &Server, rootfs: &Path) {
    let (email, password) = credentials(rootfs);
    assert_eq!(server.world().passwords.get(&email), Some(&password), "{email}");
    assert_eq!(mode(&rootfs.join(CONF)), 0o600);
    assert_eq!(mode(&rootfs.join(PAIRING)), 0o600);
}

/// Every regular file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}
