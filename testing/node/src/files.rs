//! A node's files in a temporary folder, and the values that tests store in them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use fernet::Fernet;
use jarvis_provisioning::claim::forget;
use jarvis_provisioning::store::{Error, Paths, Store};
use provisioning_core::domain::{
    CommandCenterUrl, CreatedAt, Credentials, Failure, K2, Outcome, Passphrase, Registration, Ssid, Step,
};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Cleared, Pending};
use provisioning_core::secret::{SecretBytes, SecretText};
use tempfile::TempDir;
use testing::journal::{self, QUOTED_PASSWORD, TOKEN, VECTOR_NODE_KEY};

/// The initial configuration of the existing software, with an entry of the owner.
pub const SHIPPED: &str = "{\n  \"node_id\": \"your-node-id\",\n  \"volume\": 0.80,\n  \"api_key\": \"your_api_key_here\"\n}";

/// The hardware address of the node.
pub const MAC_ADDRESS: &str = "b8:27:eb:5b:91:61";

/// The folders of one node, below one root: `state`, `config.json`, `jarvis_node.db`, `msp`, `sys`.
pub struct Node {
    root: TempDir,
}

impl Node {
    /// With the initial configuration, and without state.
    #[expect(clippy::new_without_default, reason = "every call makes another folder; goes when the lint accepts that")]
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// The same in a memory file system, if there is one, because a sync is free there.
    pub fn in_memory() -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::within(memory) } else { Self::new() }
    }

    fn within(folder: &Path) -> Self {
        journal::watch();
        let node = Self { root: TempDir::with_prefix_in("jarvis-store-", folder).unwrap() };
        let interface = node.root.path().join("sys/class/net/wlan0");
        fs::create_dir_all(&interface).unwrap();
        fs::write(interface.join("address"), format!("{MAC_ADDRESS}\n")).unwrap();
        fs::write(node.config(), SHIPPED).unwrap();
        node
    }

    /// The root folder.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The paths of the node.
    pub fn paths(&self) -> Paths {
        paths(self.root.path())
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// A file in the state folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.state().join(name)
    }

    /// The configuration of the existing software.
    pub fn config(&self) -> PathBuf {
        self.root.path().join("config.json")
    }

    /// Opens the store.
    pub fn open(&self) -> Store {
        Store::open(self.paths()).unwrap()
    }

    /// The key that files are sealed with.
    pub fn key(&self) -> Fernet {
        Fernet::new(&fs::read_to_string(self.file("secrets.key")).unwrap()).unwrap()
    }

    /// The plain content of a sealed file.
    pub fn unsealed(&self, name: &str) -> Vec<u8> {
        self.key().decrypt(&fs::read_to_string(self.file(name)).unwrap()).unwrap()
    }

    /// The names in the state folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(self.state()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Whether a file of that name was set aside as unreadable.
    pub fn has_aside(&self, name: &str) -> bool {
        self.names().iter().any(|found| found.starts_with(&format!("{name}.unreadable-")))
    }
}

/// The paths of a node with that root.
pub fn paths(root: &Path) -> Paths {
    let mut paths = Paths::new(root.join("state"));
    paths.config = Some(root.join("config.json"));
    paths.database = root.join("jarvis_node.db");
    paths.claim = root.join("msp");
    paths.sysfs = root.join("sys");
    paths.machine = "aarch64".into();
    paths
}

/// The permission bits of a file.
pub fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The user that owns a file.
pub fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().uid()
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command that runs one ignored test of this program alone, on its main thread.
pub fn this_program(test: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    [&program, "--exact", test, "--ignored", "--nocapture", "--test-threads=1"].map(str::to_owned).to_vec()
}

/// Runs a command and returns its output; panics with the output if it failed.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {printed}");
    printed
}

/// Reports that a test was skipped. On CI this is a failure if the machine is expected to be able to run it.
pub fn skip(why: &str, expected_on_ci: bool) {
    assert!(!expected_on_ci || std::env::var("CI").is_err(), "not run on CI: {why}");
    eprintln!("SKIPPED: {why}");
}

/// A K2 that is different for each number.
pub fn k2(number: u8) -> K2 {
    K2 {
        key: SecretBytes::new([number; 32]),
        kid: format!("kid-{number}"),
        created_at: CreatedAt::try_from("2026-02-01T13:00:00+00:00").unwrap(),
    }
}

/// Credentials with characters that need quoting.
pub fn credentials() -> Credentials {
    Credentials {
        request_id: 7,
        ssid: Some(Ssid::try_from("Café 😀").unwrap()),
        passphrase: Passphrase::try_from(QUOTED_PASSWORD.to_owned()).unwrap(),
        hidden: true,
        room: "küche".into(),
        command_center: Some(CommandCenterUrl::try_from("http://10.0.0.2:7703//").unwrap()),
        config_service: CommandCenterUrl::try_from("http://10.0.0.2:7700").ok(),
        household_id: "household".into(),
        node_id: "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d".into(),
        token: SecretText::new(TOKEN.into()),
        provision_code: None,
        time: None,
        country: None,
        seen_frequency: 0,
        enterprise: None,
    }
}

/// A pending attempt that was resumed so many times.
pub fn pending(resumes: u32) -> Pending {
    Pending { credentials: credentials(), resumes }
}

/// The answer of the command center.
pub fn registration() -> Registration {
    Registration {
        node_id: "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d".into(),
        node_key: SecretText::new(VECTOR_NODE_KEY.into()),
        household_id: None,
    }
}

/// A failure while registering.
pub fn outcome(fault: Fault) -> Outcome {
    Outcome {
        request_id: u64::MAX,
        ssid: "Café 😀".into(),
        ssid_bytes: Some(Ssid::try_from("Café 😀").unwrap()),
        step: Step::Registering,
        failure: Some(Failure { fault, registration_status: Some(401) }),
        online: false,
    }
}

/// Writes all files.
pub fn write_everything(store: &Store) {
    store.save_k2(&k2(1)).unwrap();
    store.save_pending(&pending(0)).unwrap();
    store.save_enrollment(&credentials(), &registration()).unwrap();
    store.mark_provisioned().unwrap();
    store.save_outcome(&outcome(Fault::WrongPassword)).unwrap();
    store.save_pending(&pending(0)).unwrap();
}

/// Resets a node that has no networks.
pub fn reset(store: &mut Store) -> Result<Cleared, Error> {
    store.begin_reset()?;
    store.finish_reset(forget)
}
