//! The units of `packaging/`, started by systemd with all their restrictions.

use std::fs;
use std::path::{Path, PathBuf};

use provisioning_core::domain::State;
use serde_json::{Value, json};

use crate::air::{Controllers, PATIENCE, connect, must, run, until};
use crate::device::{CODE, Device, PASSPHRASE, credentials, forget_networks, until_in_network};
use crate::place::{Home, SSID, Wifi, json as read};

/// The folder into which `tests/lab/run` copies them.
const PACKAGED: &str = "/lab/packaging";

/// An installed and started unit.
struct Unit {
    name: &'static str,
    file: PathBuf,
}

impl Unit {
    /// Installs `program` and its unit like a package, and starts it.
    fn start(name: &'static str, program: &str) -> Self {
        must("install", &[&format!("/opt/lab/{program}"), &format!("/usr/bin/{program}")]);
        let file = Path::new("/etc/systemd/system").join(name);
        fs::copy(Path::new(PACKAGED).join(name), &file).expect("the unit is packaged");
        must("systemctl", &["daemon-reload"]);
        must("systemctl", &["start", name]);
        Self { name, file }
    }

    fn property(&self, name: &str) -> String {
        must("systemctl", &["show", "--value", "--property", name, self.name]).trim().to_owned()
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        run("systemctl", &["stop", self.name]);
        run("systemctl", &["reset-failed", self.name]);
        drop(fs::remove_file(&self.file));
        run("systemctl", &["daemon-reload"]);
    }
}

/// Sends a request with curl; none without an answer.
fn curl(arguments: &[&str]) -> Option<String> {
    let output = run("curl", &[&["--silent", "--fail", "--max-time", "5"], arguments].concat());
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn a_device_opens_its_access_point_and_is_provisioned_over_bluetooth() {
    let controllers = Controllers::ready().await;
    forget_networks();
    for folder in ["/var/lib/jarvis", "/var/lib/msp"] {
        run("rm", &["-rf", folder]);
    }
    let place = Path::new("/etc/jarvis");
    fs::create_dir_all(place).expect("root may");
    let label = json!({ "code": CODE, "access_point_passphrase": PASSPHRASE });
    fs::write(place.join("pairing.json"), label.to_string()).expect("it can be written");
    let settings = format!(
        "interface = \"wlan0\"\nadapter = \"{}\"\n[access_point]\nopen = \"always\"\n[pairing]\nfile = \"/etc/jarvis/pairing.json\"\n",
        controllers.node
    );
    fs::write(place.join("provision.toml"), settings).expect("it can be written");
    let home = Home::open().await;
    let order = home.order().await;
    let environment = Path::new("/run/systemd/system/jarvis-provision.service.d");
    fs::create_dir_all(environment).expect("root may");
    let text = "[Service]\nEnvironment=JARVIS_PROVISION_CONFIG=/etc/jarvis/provision.toml\n";
    fs::write(environment.join("lab.conf"), text).expect("it can be written");
    // As on an image whose Bluetooth is blocked at boot: the unit lifts the block from within its sandbox.
    must("rfkill", &["block", "bluetooth"]);
    let unit = Unit::start("jarvis-provision.service", "jarvis-provision");

    let mut phone = connect(&controllers).await;
    let name = phone.info().await.expect("info can be read").name;
    let wifi = Wifi::join(&name, PASSPHRASE).await;
    let ask = ["netns", "exec", "phone", "curl", "--silent", "--fail", "--max-time", "5", "http://192.168.4.1/generate_204"];
    until("port 80 answers", async || run("ip", &ask).status.success()).await;
    assert!(Path::new("/etc/NetworkManager/dnsmasq-shared.d/jarvis-provisioning.conf").exists(), "names resolve to the node");
    drop(wifi);

    phone.open_session(&Device::code()).await.expect("the code is right");
    let told = phone.bring_online(&credentials(&order), PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!((told.state, told.failure), (State::Provisioned, None));
    phone.leave().await;
    until_in_network(SSID).await;
    let configuration = read(Path::new("/var/lib/jarvis/config.json"));
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
    fs::remove_dir_all(environment).expect("it was made above");
}

#[tokio::test]
async fn a_command_center_serves_and_keeps_its_data_across_restarts() {
    let place = Path::new("/etc/jarvis-command-center");
    fs::create_dir_all(place).expect("root may");
    fs::write(place.join("admin-key"), "the key of the administrator").expect("it can be written");
    let unit = Unit::start("jarvis-command-center.service", "jarvis-command-center");
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
