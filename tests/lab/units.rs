//! The units of `packaging/`, started by systemd with all their restrictions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use provisioning_core::domain::State;
use serde_json::{Value, json};

use crate::air::{Controllers, PATIENCE, connect, must, run, until};
use crate::device::{CODE, Device, PASSPHRASE, credentials, forget_networks, until_in_network};
use crate::place::{Home, SSID, Wifi, json as read};

/// The folder into which `tests/lab/run` copies them.
const PACKAGED: &str = "/lab/packaging";

/// The file that makes every name resolve to the node.
const NAMES: &str = "/etc/NetworkManager/dnsmasq-shared.d/jarvis-provisioning.conf";

/// Installs a program and the files of its package, with the node's user.
fn install(package: &str, program: &str) {
    must("install", &[&format!("/opt/lab/{program}"), &format!("/usr/bin/{program}")]);
    must(&format!("{PACKAGED}/install"), &[package, "/"]);
    must("systemd-sysusers", &[]);
    must("systemctl", &["reload", "dbus"]);
    must("systemctl", &["daemon-reload"]);
}

/// A started unit, which stops when dropped.
struct Unit {
    name: &'static str,
}

impl Unit {
    fn start(name: &'static str) -> Self {
        must("systemctl", &["start", name]);
        Self { name }
    }

    fn property(&self, name: &str) -> String {
        must("systemctl", &["show", "--value", "--property", name, self.name]).trim().to_owned()
    }

    /// The id of the user that its main process runs as.
    fn user(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.property("MainPID"))).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("every process has a user");
        line.split_whitespace().next().expect("the real user").to_owned()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        run("systemctl", &["stop", self.name]);
        run("systemctl", &["reset-failed", self.name]);
    }
}

/// Sends a request with curl; none without an answer.
fn curl(arguments: &[&str]) -> Option<String> {
    let output = run("curl", &[&["--silent", "--fail", "--max-time", "5"], arguments].concat());
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn every_unit_is_valid_and_its_exposure_is_at_most_1_5() {
    install("jarvis-provisioning", "jarvis-provision");
    install("jarvis-command-center", "jarvis-command-center");
    let names = fs::read_dir(PACKAGED).expect("the laboratory copies it").map(|entry| entry.expect("a name").file_name());
    let units: Vec<_> = names.filter_map(|name| name.into_string().ok()).filter(|name| name.contains(".service")).collect();
    assert!(units.len() > 3, "the units of the node and of the command center");
    for unit in units {
        // An instance of a template.
        let unit = unit.replace('@', "@1");
        let verified = run("systemd-analyze", &["verify", "--man=no", &unit]);
        let complaints = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(verified.status.success() && !complaints.contains("jarvis"), "{complaints}");
        must("systemd-analyze", &["security", "--threshold=15", "--no-pager", &unit]);
    }
}

#[tokio::test]
async fn a_device_opens_its_access_point_and_is_provisioned_over_bluetooth() {
    let controllers = Controllers::ready().await;
    forget_networks();
    for folder in ["/var/lib/jarvis", "/var/lib/msp"] {
        run("rm", &["-rf", folder]);
    }
    install("jarvis-provisioning", "jarvis-provision");
    must("systemd-tmpfiles", &["--create", "jarvis-provisioning.conf"]);
    // As the software that runs on a provisioned device leaves it: a file of root that no other user can read.
    let configuration = Path::new("/var/lib/jarvis/config.json");
    fs::write(configuration, r#"{"volume":7}"#).expect("root may");
    fs::set_permissions(configuration, fs::Permissions::from_mode(0o600)).expect("root may");
    let place = Path::new("/etc/jarvis");
    let label = json!({ "code": CODE, "access_point_passphrase": PASSPHRASE });
    fs::write(place.join("pairing.json"), label.to_string()).expect("it can be written");
    let packaged = fs::read_to_string(Path::new(PACKAGED).join("provision.toml")).expect("the settings are packaged");
    let settings = format!(
        "interface = \"wlan0\"\nadapter = \"{}\"\n{packaged}\n[access_point]\nopen = \"always\"\n[pairing]\nfile = \"/etc/jarvis/pairing.json\"\n",
        controllers.node
    );
    fs::write(place.join("provision.toml"), settings).expect("it can be written");
    let home = Home::open().await;
    let order = home.order().await;
    // As on an image whose Bluetooth is blocked at boot: the unit lifts the block from within its sandbox.
    must("rfkill", &["block", "bluetooth"]);
    let unit = Unit::start("jarvis-provision.service");

    let mut phone = connect(&controllers).await;
    assert_eq!(unit.user(), must("id", &["--user", "jarvis-provision"]).trim(), "the node has its own user");
    let name = phone.info().await.expect("info can be read").name;
    let wifi = Wifi::join(&name, PASSPHRASE).await;
    let ask = ["netns", "exec", "phone", "curl", "--silent", "--fail", "--max-time", "5", "http://192.168.4.1/generate_204"];
    until("port 80 answers", async || run("ip", &ask).status.success()).await;
    assert!(Path::new(NAMES).exists(), "names resolve to the node");
    drop(wifi);

    phone.open_session(&Device::code()).await.expect("the code is right");
    let told = phone.bring_online(&credentials(&order), PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!((told.state, told.failure), (State::Provisioned, None));
    phone.leave().await;
    until_in_network(SSID).await;
    until("names resolve as before", async || !Path::new(NAMES).exists()).await;
    let configuration = read(configuration);
    assert_eq!(configuration["volume"], 7, "the other software's settings are kept");
    let key = configuration["api_key"].as_str().expect("a key");
    assert!(home.knows(&order.node_id, key).await, "the command center knows the node");

    // After a kill it is restarted, exits because the node is provisioned, and stays stopped.
    must("systemctl", &["kill", "--signal=KILL", unit.name]);
    until("it has exited with success", async || {
        unit.property("ActiveState") == "inactive" && unit.property("Result") == "success"
    })
    .await;
    controllers.switch_phone_off().await;
    drop(unit);
    // The other scenarios run the program without the package.
    must("systemctl", &["stop", "jarvis-provision-names.socket"]);
}

#[tokio::test]
async fn a_command_center_serves_and_keeps_its_data_across_restarts() {
    let place = Path::new("/etc/jarvis-command-center");
    fs::create_dir_all(place).expect("root may");
    fs::write(place.join("admin-key"), "the key of the administrator").expect("it can be written");
    install("jarvis-command-center", "jarvis-command-center");
    let unit = Unit::start("jarvis-command-center.service");
    let ask = |path: &str, arguments: &[&str]| {
        let url = format!("http://127.0.0.1:7703{path}");
        let key = ["--header", "x-api-key: the key of the administrator", "--header", "content-type: application/json", &url];
        serde_json::from_str::<Value>(&curl(&[&key[..], arguments].concat())?).ok()
    };
    until("it answers", async || ask("/health", &[]).is_some()).await;
    let minted = ask("/api/v0/provisioning/token", &["--data", r#"{"household_id":"home"}"#]).expect("a token");
    let body = json!({ "node_id": minted["node_id"], "provisioning_token": minted["token"] }).to_string();
    let registered = ask("/api/v0/nodes/register", &["--data", &body]).expect("a registration");

    must("systemctl", &["kill", "--signal=KILL", unit.name]);
    until("it is back", async || unit.property("NRestarts") == "1" && ask("/health", &[]).is_some()).await;
    let again = ask("/api/v0/nodes/register", &["--data", &body]).expect("the same answer");
    assert_eq!(again["node_key"], registered["node_key"]);
    must("systemctl", &["reload", unit.name]);
    must("systemctl", &["stop", unit.name]);
    assert_eq!((unit.property("ActiveState"), unit.property("Result")), ("inactive".into(), "success".into()));
}
