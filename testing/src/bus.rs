//! A private D-Bus bus.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Everybody may do everything.
const OPEN: &str =
    r#"<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>"#;

/// What the system bus permits without the files of packages.
const SYSTEM: &str = r#"<policy context="default">
  <allow user="*"/>
  <deny own="*"/>
  <deny send_type="method_call"/>
  <allow send_type="signal"/>
  <allow send_requested_reply="true" send_type="method_return"/>
  <allow send_requested_reply="true" send_type="error"/>
  <allow receive_type="method_call"/>
  <allow receive_type="method_return"/>
  <allow receive_type="error"/>
  <allow receive_type="signal"/>
  <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
</policy>"#;

/// A `dbus-daemon`, which is killed when this is dropped.
pub struct PrivateBus {
    daemon: Child,
    directory: tempfile::TempDir,
    policy: String,
}

impl PrivateBus {
    /// Starts a bus; none if `dbus-daemon` is not installed. CI must have it.
    pub fn start() -> Option<Self> {
        Self::start_with(OPEN.into())
    }

    /// The same for all users of the machine, with the permissions of a system bus and the policies in a package's file.
    pub fn start_as_system(file: &str) -> Option<Self> {
        let (_, policies) = file.split_once("<busconfig>").expect("a configuration of a bus");
        let policies = policies.replace("</busconfig>", "");
        let bus = Self::start_with(format!("<auth>EXTERNAL</auth>{SYSTEM}{policies}"))?;
        let everybody = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(bus.directory.path(), everybody).expect("a folder of this process");
        Some(bus)
    }

    fn start_with(policy: String) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let Some(daemon) = spawn(directory.path(), &policy) else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "CI needs dbus-daemon: install the package dbus");
            eprintln!("SKIPPED: there is no dbus-daemon here; install the package dbus to run this test");
            return None;
        };
        Some(Self { daemon, directory, policy })
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
        self.daemon = spawn(self.directory.path(), &self.policy).expect("the daemon started before");
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

fn spawn(directory: &Path, policy: &str) -> Option<Child> {
    // A leftover socket of a killed daemon would prevent the next one from listening.
    let _absent = std::fs::remove_file(socket(directory));
    let configuration = directory.join("bus.conf");
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
