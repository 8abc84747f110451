//! A private D-Bus bus.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A `dbus-daemon`, which is killed when this is dropped.
pub struct PrivateBus {
    daemon: Child,
    directory: tempfile::TempDir,
}

impl PrivateBus {
    /// Starts a bus; none if `dbus-daemon` is not installed. CI must have it.
    pub fn start() -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let Some(daemon) = spawn(directory.path()) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI needs dbus-daemon: install the package dbus");
            eprintln!("SKIPPED: there is no dbus-daemon here; install the package dbus to run this test");
            return None;
        };
        Some(Self { daemon, directory })
    }

    /// The address of the bus. A restart does not change it.
    pub fn address(&self) -> String {
        format!("unix:path={}", socket(self.directory.path()).display())
    }

    /// Kills the bus with all its connections.
    pub fn stop(&mut self) {
        self.daemon.kill().expect("the daemon is a child of this process");
        self.daemon.wait().expect("a child that was killed ends");
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        self.daemon = spawn(self.directory.path()).expect("the daemon started before");
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.stop();
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("bus")
}

fn spawn(directory: &Path) -> Option<Child> {
    // A leftover socket of a killed daemon would prevent the next one from listening.
    let _absent = std::fs::remove_file(socket(directory));
    let configuration = directory.join("bus.conf");
    let policy = r#"<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>"#;
    let text =
        format!("<busconfig><type>session</type><listen>unix:path={}</listen>{policy}</busconfig>", socket(directory).display());
    std::fs::write(&configuration, text).expect("a writable folder");
    let mut daemon = Command::new("dbus-daemon")
        .arg(format!("--config-file={}", configuration.display()))
        .args(["--nofork", "--print-address"])
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    // It listens before it prints its address.
    let mut address = String::new();
    BufReader::new(daemon.stdout.as_mut().expect("piped")).read_line(&mut address).expect("its first line");
    assert!(address.starts_with("unix:"), "dbus-daemon did not start: {address:?}");
    Some(daemon)
}
