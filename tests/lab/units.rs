//! The packages, as administrators install them, and their units, with all their restrictions.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use provisioning_core::domain::State;
use serde_json::{Value, json};

use crate::air::{Controllers, PATIENCE, connect, must, run, until};
use crate::device::{CODE, Device, PASSPHRASE, credentials, forget_networks, until_in_network};
use crate::place::{Home, SSID, Wifi, json as read};

/// The folder of the packages.
pub(crate) const PACKAGES: &str = "/lab/packages";

/// The node's unit.
pub(crate) const SERVICE: &str = "jarvis-provision.service";

/// The node's settings, and its label.
pub(crate) const SETTINGS: &str = "/etc/jarvis/provision.toml";
const LABEL: &str = "/etc/jarvis/pairing.json";

/// The file that makes every name resolve to the node.
const NAMES: &str = "/etc/NetworkManager/dnsmasq-shared.d/jarvis-provisioning.conf";

/// The file of a package.
fn file(package: &str) -> String {
    let packages = fs::read_dir(PACKAGES).expect("the laboratory builds them").map(|entry| entry.expect("a name").path());
    let is_wanted =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{package}_")));
    let file = packages.into_iter().find(is_wanted).expect("the package is built");
    file.into_os_string().into_string().expect("a plain name")
}

/// Installs packages, which enables and starts their services. Existing settings stay. The guest has all that they depend on,
/// and apt would need ten times as long.
pub(crate) fn install(packages: &[&str]) {
    let files: Vec<_> = packages.iter().map(|package| file(package)).collect();
    let files = files.iter().map(String::as_str);
    must("dpkg", &["--force-confold", "--install"].into_iter().chain(files).collect::<Vec<_>>());
}

/// Installs a package as an administrator does.
pub(crate) fn apt_install(package: &str) {
    let options = ["--yes", "--quiet", "--no-install-recommends", "--option=Dpkg::Options::=--force-confold"];
    must("apt-get", &[&["install"], &options[..], &[&file(package)]].concat());
}

/// Purges a package, which an earlier scenario or a first try may have left, and the node's files.
pub(crate) fn clean(package: &str) {
    purge(&[package]);
    must("rm", &["-rf", "/var/lib/jarvis", "/var/lib/msp"]);
}

fn purge(packages: &[&str]) {
    must("dpkg", &[&["--purge"], packages].concat());
}

/// Writes the settings before the package is installed: the node's radios, when to open the access point, and a known label.
pub(crate) fn configure(controllers: &Controllers, access_point: &str) {
    write_settings(&format!("adapter = \"{}\"\n[access_point]\nopen = \"{access_point}\"\n", controllers.node));
}

/// Writes the packaged settings with others, whose top-level keys come first, and a known label.
pub(crate) fn write_settings(settings: &str) {
    fs::create_dir_all("/etc/jarvis").expect("root may");
    write_label(Path::new(LABEL));
    let packaged = include_str!("../../packaging/provision.toml");
    let settings = format!("interface = \"wlan0\"\n{settings}\n{packaged}\n[pairing]\nfile = \"{LABEL}\"\n");
    fs::write(SETTINGS, settings).expect("it can be written");
}

/// Writes the label of a device.
pub(crate) fn write_label(file: &Path) {
    let label = json!({ "code": CODE, "access_point_passphrase": PASSPHRASE });
    fs::write(file, label.to_string()).expect("it can be written");
}

/// The names of all files that packages may change.
fn files() -> BTreeSet<String> {
    let places = ["/boot", "/etc", "/opt", "/run/systemd/system", "/srv", "/usr", "/var"];
    let output = run("find", &[&places[..], &["-xdev"]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // Records of other software, and what users' administration keeps of a file before its last change.
    let records = ["/var/cache", "/var/log", "/var/tmp", "/etc/.pwd.lock"].map(str::to_owned);
    let folders = ["NetworkManager", "apt", "bluetooth", "dpkg", "systemd"].map(|name| format!("/var/lib/{name}/"));
    let kept = |line: &&str| {
        let is_record = |record: &String| line.starts_with(record);
        !(records.iter().chain(&folders).any(is_record) || line.starts_with("/etc/") && line.ends_with('-'))
    };
    text.lines().filter(kept).map(str::to_owned).collect()
}

/// A property of a unit.
pub(crate) fn property(unit: &str, name: &str) -> String {
    must("systemctl", &["show", "--value", "--property", name, unit]).trim().to_owned()
}

/// A started unit, which stops when dropped.
pub(crate) struct Unit {
    pub(crate) name: &'static str,
}

impl Unit {
    /// A unit whose package has enabled and started it.
    pub(crate) fn started(name: &'static str) -> Self {
        must("systemctl", &["is-enabled", name]);
        must("systemctl", &["is-active", name]);
        Self { name }
    }

    pub(crate) fn property(&self, name: &str) -> String {
        property(self.name, name)
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

/// What `systemd-analyze` says of units.
fn analyze(command: &[&str], units: &[String]) -> String {
    let units = units.iter().map(String::as_str);
    let analyzed = run("systemd-analyze", &command.iter().copied().chain(units).collect::<Vec<_>>());
    let text = [analyzed.stdout, analyzed.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(analyzed.status.success(), "{text}");
    text
}

/// Asserts that the units of an installed package are valid, and that their exposure is at most 1.5.
fn assert_units(package: &str) {
    let listed = must("dpkg-query", &["--listfiles", package]);
    let units = listed.lines().filter_map(|line| line.strip_prefix("/usr/lib/systemd/system/"));
    // An instance of a template.
    let units: Vec<_> = units.filter(|name| name.ends_with(".service")).map(|name| name.replace('@', "@1")).collect();
    assert!(!units.is_empty(), "{listed}");
    let complaints = analyze(&["verify", "--man=no"], &units);
    assert!(!complaints.contains("jarvis"), "{complaints}");
    // systemd 247 has no threshold.
    let exposures = analyze(&["security", "--no-pager"], &units);
    for unit in &units {
        let line = exposures.lines().find_map(|line| line.split_once(&format!("exposure level for {unit}: ")));
        let exposure = line.and_then(|(_, level)| level.split(' ').next()?.parse::<f64>().ok());
        assert!(exposure.is_some_and(|exposure| exposure <= 1.5), "{unit}: {exposures}");
    }
}

#[test]
fn a_package_has_safe_units_and_leaves_nothing_when_it_is_purged_unused() {
    clean("jarvis-provisioning");
    let before = files();
    apt_install("jarvis-provisioning");
    let _started = [Unit::started("jarvis-provision-names.socket"), Unit::started("jarvis-provision.service")];
    must("test", &["-e", "/var/lib/jarvis"]);
    assert_units("jarvis-provisioning");
    purge(&["jarvis-provisioning"]);
    let after = files();
    assert_eq!(after.difference(&before).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(before.difference(&after).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(!run("id", &["jarvis-provision"]).status.success(), "the user is removed");
}

#[tokio::test]
async fn a_device_opens_its_access_point_and_is_provisioned_over_bluetooth() {
    let controllers = Controllers::ready().await;
    forget_networks();
    clean("jarvis-provisioning");
    // As the software that runs on a provisioned device leaves it: a file of root that no other user can read.
    let path = Path::new("/var/lib/jarvis/config.json");
    fs::create_dir("/var/lib/jarvis").expect("root may");
    fs::write(path, r#"{"volume":7}"#).expect("root may");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("root may");
    configure(&controllers, "always");
    let home = Home::open().await;
    let order = home.order().await;
    // As on an image whose Bluetooth is blocked at boot: the unit lifts the block from within its sandbox.
    must("rfkill", &["block", "bluetooth"]);
    install(&["jarvis-provisioning"]);
    let unit = Unit::started("jarvis-provision.service");

    let mut phone = connect(&controllers).await;
    assert_eq!(unit.user(), must("id", &["--user", "jarvis-provision"]).trim(), "the node has its own user");
    let name = phone.info().await.expect("info can be read").name;
    let wifi = Wifi::join(&name, PASSPHRASE).await;
    let ask = ["netns", "exec", "phone", "curl", "--silent", "--fail", "--max-time", "5", "http://192.168.4.1/generate_204"];
    until("port 80 answers", async || run("ip", &ask).status.success()).await;
    assert!(Path::new(NAMES).exists(), "names resolve to the node");
    drop(wifi);

    phone.open_session(&Device::code()).await.expect("the code is right");
    let report = phone.bring_online(&credentials(&order), PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!((report.state, report.failure), (State::Provisioned, None));
    phone.leave().await;
    until_in_network(SSID).await;
    until("names resolve as before", async || !Path::new(NAMES).exists()).await;
    let configuration = read(path);
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

    // An upgrade and a removal keep what the owner has entered.
    install(&["jarvis-provisioning"]);
    until("the service has ended", async || unit.property("ActiveState") == "inactive").await;
    purge(&["jarvis-provisioning"]);
    drop(unit);
    assert_eq!(read(path)["api_key"], key);
    assert!(Path::new("/var/lib/jarvis/.provisioned").exists(), "it stays provisioned");
    assert!(!Path::new(SETTINGS).exists(), "the settings belong to the package");
}

#[tokio::test]
async fn a_command_center_has_safe_units_and_keeps_its_data_across_restarts() {
    clean("jarvis-command-center");
    let place = Path::new("/etc/jarvis-command-center");
    fs::create_dir_all(place).expect("root may");
    fs::write(place.join("admin-key"), "the key of the administrator").expect("it can be written");
    install(&["jarvis-command-center"]);
    let unit = Unit::started("jarvis-command-center.service");
    assert_units("jarvis-command-center");
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
