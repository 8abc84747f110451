//! A node as installed: the program, with radios and files.

use std::fs;
use std::path::PathBuf;
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

/// The content of its label.
pub(crate) const CODE: &str = "482913";
pub(crate) const PASSPHRASE: &str = "on the label 4711";

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
    files: TempDir,
    settings: String,
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
        let files = TempDir::new().expect("a temporary folder");
        let label = format!(r#"{{"code":"{CODE}","access_point_passphrase":"{PASSPHRASE}"}}"#);
        let label_file = files.path().join("label.json");
        fs::write(&label_file, label).expect("its label can be written");
        // In TOML top-level keys come first.
        let settings = format!("interface = \"wlan0\"\n{settings}\n[pairing]\nfile = \"{}\"\n", label_file.display());
        let mut device = Self { files, settings, program: None, name: String::new() };
        device.boot().await;
        device
    }

    /// A command of its program.
    fn command(&self, arguments: &[&str]) -> Command {
        let folder = self.files.path();
        fs::write(folder.join("settings.toml"), &self.settings).expect("its settings can be written");
        let mut command = Command::new("jarvis-provision");
        command.args(arguments).arg("--config").arg(folder.join("settings.toml"));
        command.env("HOME", folder).env("JARVIS_SECRET_DIRECTORY", folder.join("secrets")).current_dir(folder);
        command.env("CONFIG_PATH", folder.join("config.json")).env("RUST_LOG", "debug,zbus=info,hyper=info,reqwest=info");
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs its program, which exits at once; returns its output.
    pub(crate) async fn runs_to_its_end(&self) -> String {
        let output = timeout(PATIENCE, self.command(&["run"]).output()).await.expect("it ends").expect("it starts");
        assert!(output.status.success(), "it exits with success: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts its program.
    pub(crate) async fn boot(&mut self) {
        let (program, ready) = start(self.command(&["run"]), "node", "listening").await;
        let ready: Value = serde_json::from_str(&ready).expect("it says where it listens");
        self.name = ready["name"].as_str().expect("it says its name").into();
        self.program = Some(program);
    }

    /// Starts its program after it was provisioned; it stays, because the node needs it for its network.
    pub(crate) async fn boot_provisioned(&mut self) {
        self.program = Some(start(self.command(&["run"]), "node", "provisioned already").await.0);
    }

    /// Kills its program.
    pub(crate) fn kill(&mut self) {
        self.program = None;
    }

    /// Stops its program like a service manager.
    pub(crate) async fn stop(&mut self) {
        self.program.take().expect("it runs").stop().await;
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
        usage(&self.program.as_ref().expect("it runs").process().as_raw_nonzero().to_string())
    }

    /// The pairing code of its label.
    pub(crate) fn code() -> PhoneSecret {
        PhoneSecret::Code(SecretText::new(CODE.into()))
    }

    /// The configuration of its normal operation.
    fn configuration(&self) -> PathBuf {
        self.files.path().join("config.json")
    }

    /// A file in its folder of keys and state.
    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.files.path().join("secrets").join(name)
    }

    /// Whether it reports that it is provisioned.
    pub(crate) fn is_provisioned(&self) -> bool {
        self.files.path().join("secrets/.provisioned").exists()
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
