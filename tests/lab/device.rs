//! A node as installed: its unit, or its program alone, with radios and files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use mobile_test_harness::command_center::Order;
use mobile_test_harness::phone::new_request_id;
use provisioning_core::domain::{Credentials, Passphrase, Ssid};
use provisioning_core::secret::SecretText;
use provisioning_core::session::PhoneSecret;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::air::{Controllers, PATIENCE, must, run, until};
use crate::place::{HOUSEHOLD, Home, PASSWORD, Running, SSID, json, start};
use crate::units::{SERVICE, property, write_label, write_settings};

/// The content of its label.
pub(crate) const CODE: &str = "482913";
pub(crate) const PASSPHRASE: &str = "on the label 4711";

/// The folder of the packaged service's keys and state.
const STATE: &str = "/var/lib/jarvis";

/// The resources of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Open file descriptors.
    pub(crate) descriptors: usize,
    /// Resident memory, KiB.
    pub(crate) resident: usize,
    /// Peak resident memory, KiB.
    pub(crate) peak: usize,
}

/// A device. Its files outlive its program.
pub(crate) struct Device {
    /// The files of a program that runs alone, as root; none if the unit of the installed package runs it, with its user and
    /// sandbox.
    alone: Option<TempDir>,
    /// The program that runs alone, or the reader of the unit's journal.
    program: Option<Running>,
    /// The advertised name, and the access point's SSID.
    pub(crate) name: String,
}

impl Device {
    /// A new device with Bluetooth that opens no access point.
    pub(crate) async fn start(controllers: &Controllers) -> Self {
        Self::with(&format!("adapter = \"{}\"\n[access_point]\nopen = \"never\"\n", controllers.node)).await
    }

    /// A new device with additional settings.
    pub(crate) async fn with(settings: &str) -> Self {
        forget_networks();
        Self::with_networks(settings).await
    }

    /// The same, on an image that has networks.
    pub(crate) async fn with_networks(settings: &str) -> Self {
        must("systemctl", &["stop", SERVICE]);
        must("rm", &["-rf", STATE, "/var/lib/msp"]);
        write_settings(settings);
        let mut device = Self { alone: None, program: None, name: String::new() };
        device.boot().await;
        device
    }

    /// A new device whose program runs alone, with additional settings.
    pub(crate) async fn alone(settings: &str) -> Self {
        forget_networks();
        let files = TempDir::new().expect("a temporary folder");
        let label = files.path().join("label.json");
        write_label(&label);
        // In TOML top-level keys come first.
        let settings = format!("interface = \"wlan0\"\n{settings}\n[pairing]\nfile = \"{}\"\n", label.display());
        fs::write(files.path().join("settings.toml"), settings).expect("its settings can be written");
        let mut device = Self { alone: Some(files), program: None, name: String::new() };
        device.boot().await;
        device
    }

    /// A command of its program.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/jarvis-provision");
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        if let Some(files) = &self.alone {
            let folder = files.path();
            command.arg("--config").arg(folder.join("settings.toml")).current_dir(folder);
            command.env("HOME", folder).env("JARVIS_SECRET_DIRECTORY", folder.join("secrets"));
            command.env("CONFIG_PATH", folder.join("config.json")).env("RUST_LOG", "debug,zbus=info,hyper=info,reqwest=info");
        }
        command
    }

    /// Starts its program, and returns the first line of its output that contains `word`.
    async fn run(&mut self, word: &str) -> String {
        let output = if self.alone.is_some() { self.command(&["run"]) } else { journal(&["--follow", "--no-tail"]) };
        let (program, line) = start(output, "node", word).await;
        self.program = Some(program);
        line
    }

    /// Starts its program.
    pub(crate) async fn boot(&mut self) {
        let ready = self.run("listening").await;
        let ready: Value = serde_json::from_str(&ready).expect("it says where it listens");
        self.name = ready["name"].as_str().expect("it says its name").into();
    }

    /// Starts its program after it was provisioned; it stays, because the node needs it for its network.
    pub(crate) async fn boot_provisioned(&mut self) {
        self.run("provisioned already").await;
    }

    /// Starts its unit, whose program exits at once; returns its output.
    pub(crate) async fn runs_to_its_end(&self) -> String {
        let mut output = journal(&[]);
        until("it has exited", async || property(SERVICE, "ActiveState") == "inactive").await;
        assert_eq!(property(SERVICE, "Result"), "success");
        let output = output.output().await.expect("the journal can be read");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Kills its program.
    pub(crate) fn kill(&mut self) {
        self.program = None;
        if self.alone.is_none() {
            must("systemctl", &["kill", "--signal=KILL", SERVICE]);
            // It would be restarted, at a time that the scenario does not know.
            must("systemctl", &["stop", SERVICE]);
        }
    }

    /// Stops its program like a service manager.
    pub(crate) async fn stop(&mut self) {
        let program = self.program.take().expect("it runs");
        if self.alone.is_some() {
            return program.stop().await;
        }
        must("systemctl", &["stop", SERVICE]);
        assert_eq!(property(SERVICE, "Result"), "success");
    }

    /// Resets it by the command; returns the exit status and the output.
    pub(crate) async fn reset(&self) -> (Option<i32>, String) {
        let mut command = self.command(&["reset", "--yes"]);
        let output = timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The resources of its program.
    pub(crate) fn usage(&self) -> Usage {
        match &self.alone {
            Some(_) => usage(&self.program.as_ref().expect("it runs").process().as_raw_nonzero().to_string()),
            None => usage(&property(SERVICE, "MainPID")),
        }
    }

    /// The pairing code of its label.
    pub(crate) fn code() -> PhoneSecret {
        PhoneSecret::Code(SecretText::new(CODE.into()))
    }

    /// The configuration of its normal operation.
    fn configuration(&self) -> PathBuf {
        self.alone.as_ref().map_or(Path::new(STATE), TempDir::path).join("config.json")
    }

    /// A file in its folder of keys and state.
    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.alone.as_ref().map_or_else(|| STATE.into(), |files| files.path().join("secrets")).join(name)
    }

    /// Whether it reports that it is provisioned.
    pub(crate) fn is_provisioned(&self) -> bool {
        self.secret(".provisioned").exists()
    }

    /// Asserts that it is provisioned: it reports so, and the command center accepts the key in its configuration.
    pub(crate) async fn assert_provisioned(&self, home: &Home, order: &Order) {
        self.assert_provisioned_in(home.name(), home, order).await;
    }

    /// Asserts that it is provisioned, and in that network.
    pub(crate) async fn assert_provisioned_in(&self, ssid: &str, home: &Home, order: &Order) {
        assert!(self.is_provisioned(), "the marker is there");
        let configuration = json(&self.configuration());
        assert_eq!(configuration["node_id"], order.node_id.as_str());
        let key = configuration["api_key"].as_str().expect("a key");
        assert!(home.knows(&order.node_id, key).await, "the command center knows the node");
        assert_eq!(active_network(), ssid, "the node is in the network");
    }

    /// Asserts that it is not provisioned, and that no profile is left behind.
    pub(crate) async fn assert_not_provisioned(&self) {
        assert!(!self.is_provisioned(), "no marker is there");
        until("the profile is gone", async || profiles().is_empty()).await;
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.alone.is_none() {
            run("systemctl", &["stop", SERVICE]);
        }
    }
}

/// Starts the unit; returns the command that prints the output of its program.
fn journal(arguments: &[&str]) -> Command {
    must("systemctl", &["start", SERVICE]);
    let mut journal = Command::new("journalctl");
    journal.args(["--output=cat", &format!("_SYSTEMD_INVOCATION_ID={}", property(SERVICE, "InvocationID"))]);
    journal.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    journal
}

/// The resources of a process.
pub(crate) fn usage(process: &str) -> Usage {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("its descriptors").count();
    let figure = |text: &str, name: &str| -> usize {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().trim_end_matches("kB").trim().parse().ok());
        value.expect("a figure")
    };
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("its figures");
    let [resident, peak] = ["VmRSS:", "VmHWM:"].map(|name| figure(&status, name));
    Usage { descriptors, resident, peak }
}

/// The profiles that NetworkManager has, volatile ones included.
pub(crate) fn profiles() -> Vec<String> {
    let listed = run("nmcli", &["--terse", "--fields", "UUID,TYPE", "connection", "show"]);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    text.lines().filter_map(|line| line.strip_suffix(":802-11-wireless")).map(str::to_owned).collect()
}

/// Removes all profiles and known networks of the node: networks of the previous scenario may have had the same name.
pub(crate) fn forget_networks() {
    let supplicant = "fi.w1.wpa_supplicant1";
    let root = "/fi/w1/wpa_supplicant1";
    let found = run("busctl", &["call", supplicant, root, supplicant, "GetInterface", "s", "wlan0"]);
    if let Some(interface) = String::from_utf8_lossy(&found.stdout).split('"').nth(1) {
        must("busctl", &["call", supplicant, interface, &format!("{supplicant}.Interface"), "FlushBSS", "u", "0"]);
    }
    for uuid in profiles() {
        // A volatile profile may have disappeared meanwhile.
        run("nmcli", &["connection", "delete", "uuid", &uuid]);
    }
}

/// Waits until the node's radio has joined a network; it may not have an address yet.
pub(crate) async fn until_in_network(ssid: &str) {
    until("the node is in the network", async || active_network() == ssid).await;
}

/// A general value of the node's radio in NetworkManager, a number and its meaning.
pub(crate) fn device_state(value: &str) -> String {
    must("nmcli", &["--get-values", &format!("GENERAL.{value}"), "device", "show", "wlan0"])
}

/// The network of the node's radio.
pub(crate) fn active_network() -> String {
    let link = run("iw", &["dev", "wlan0", "link"]);
    let text = String::from_utf8_lossy(&link.stdout).into_owned();
    text.lines().find_map(|line| line.trim().strip_prefix("SSID: ")).unwrap_or_default().to_owned()
}

/// The credentials for a home.
pub(crate) fn credentials(order: &Order) -> Credentials {
    Credentials {
        request_id: new_request_id(),
        ssid: Some(Ssid::try_from(SSID).expect("a short name")),
        passphrase: Passphrase::try_from(PASSWORD.to_owned()).expect("a short passphrase"),
        hidden: false,
        room: "kitchen".into(),
        command_center: Some(Home::command_center()),
        config_service: None,
        household_id: HOUSEHOLD.into(),
        node_id: order.node_id.clone(),
        token: order.token.clone(),
        provision_code: None,
        time: None,
        country: None,
        seen_frequency: 0,
        enterprise: None,
    }
}

/// The same with another password.
pub(crate) fn with_password(password: &str, credentials: &Credentials) -> Credentials {
    let passphrase = Passphrase::try_from(password.to_owned()).expect("a short passphrase");
    Credentials { request_id: new_request_id(), passphrase, ..credentials.clone() }
}
