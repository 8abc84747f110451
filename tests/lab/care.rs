//! Network care: the packaged service as a caretaker, within its sandbox, with the real NetworkManager.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use provisioning_core::care::recovery::{FALLBACK_WITHIN, RETURN_WITHIN};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::air::{Controllers, must, run, until, within};
use crate::device::{active_network, device_state, forget_networks, profiles};
use crate::place::{AIR, CENTER_PORT, Home, OTHER_SSID, PASSWORD, SSID, Settings, listen, log, there};
use crate::units::{SETTINGS, Unit, clean, configure, install};

/// The page that shows the internet.
const PAGE: &str = "check.test";
const PAGE_PORT: u16 = 8000;

const TOKEN: &str = "a-token-of-the-laboratory";
const TOKEN_FILE: &str = "/etc/jarvis/care-token";

/// A user who is no administrator.
const STRANGER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// The promise for a diagnosis.
const DIAGNOSIS: Duration = Duration::from_secs(10);

/// What is behind the home: a DNS server, and the page that shows the internet.
pub(crate) struct Internet {
    names: Option<Child>,
    page: Option<Page>,
}

impl Internet {
    pub(crate) fn open() -> Self {
        Self { names: Some(dns(&["--address", &format!("/{PAGE}/{AIR}")])), page: Some(Page::open()) }
    }

    /// The DNS server refuses every name.
    pub(crate) async fn refuse_names(&mut self) {
        self.stop_names().await;
        self.names = Some(dns(&[]));
    }

    /// The DNS server knows the page again.
    pub(crate) async fn resolve_names(&mut self) {
        self.stop_names().await;
        self.names = Some(dns(&["--address", &format!("/{PAGE}/{AIR}")]));
    }

    async fn stop_names(&mut self) {
        if let Some(mut names) = self.names.take() {
            names.kill().await.expect("it runs");
        }
    }

    pub(crate) fn close_page(&mut self) {
        self.page = None;
    }

    pub(crate) fn open_page(&mut self) {
        self.page = Some(Page::open());
    }
}

/// A DNS server without an upstream.
fn dns(arguments: &[&str]) -> Child {
    let mut command = there("home", "dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--log-facility=-"]);
    command.args(arguments).stdout(Stdio::null());
    command.stderr(fs::File::options().create(true).append(true).open(log("dns")).expect("the log can be written"));
    command.spawn().expect("dnsmasq can be started")
}

/// The page, on a thread: scenarios block while they wait for a program. It is closed when this is dropped.
struct Page {
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

impl Page {
    fn open() -> Self {
        let listener = listen("home", PAGE_PORT);
        let (stop, stopped) = oneshot::channel();
        let serving = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                listener.set_nonblocking(true).expect("a socket");
                let listener = TcpListener::from_std(listener).expect("a socket");
                tokio::select! {
                    _ = stopped => {}
                    () = serve(&listener) => {}
                }
            });
        });
        Self { stop: Some(stop), serving: Some(serving) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        drop(self.stop.take());
        // Its sockets are closed then.
        _ = self.serving.take().map(JoinHandle::join);
    }
}

async fn serve(listener: &TcpListener) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        // A client that leaves early needs no answer.
        let mut request = [0; 1024];
        _ = stream.read(&mut request).await;
        _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nNetworkManager is online\n").await;
    }
}

/// A provisioned device whose service takes care of the network. Purged when it ends.
pub(crate) struct Caretaker {
    unit: Unit,
    pub(crate) home: Home,
    pub(crate) internet: Internet,
    /// The name of its hotspot.
    name: String,
}

impl Caretaker {
    /// A device in its home.
    pub(crate) async fn at_home(settings: Settings) -> Self {
        let controllers = Controllers::ready().await;
        forget_networks();
        clean("jarvis-provisioning");
        let home = Home::with(Settings { dns: Some("0.0.0.0"), ..settings }).await;
        let internet = Internet::open();
        join_by_hand().await;
        configure(&controllers, "when-quiet");
        let mut file = fs::File::options().append(true).open(SETTINGS).expect("it was written");
        let care = format!("[care]\nenabled = true\ncheck_url = \"http://{PAGE}:{PAGE_PORT}/online\"\n");
        file.write_all(care.as_bytes()).expect("it can be written");
        // As the existing software leaves a device that it has provisioned.
        fs::create_dir_all("/var/lib/jarvis").expect("root may");
        let center = json!({ "jarvis_command_center_api_url": format!("http://{AIR}:{CENTER_PORT}") });
        fs::write("/var/lib/jarvis/config.json", center.to_string()).expect("root may");
        fs::write("/var/lib/jarvis/.provisioned", "").expect("root may");
        install(&["jarvis-provisioning"]);
        let unit = Unit::started("jarvis-provision.service");
        let mut caretaker = Self { unit, home, internet, name: String::new() };
        until("the caretaker sees the internet", async || {
            let status = status();
            status["network"]["hotspotSsid"].as_str().unwrap_or_default().clone_into(&mut caretaker.name);
            status["network"]["internetReachable"] == true
        })
        .await;
        caretaker
    }

    /// The same with the program that is measured, in place of the package's.
    pub(crate) async fn measured() -> Self {
        let caretaker = Self::at_home(Settings::default()).await;
        must("systemctl", &["stop", caretaker.unit.name]);
        must("install", &["--mode=755", "/opt/lab/jarvis-provision", "/usr/bin/jarvis-provision"]);
        must("systemctl", &["start", caretaker.unit.name]);
        until("it is in its home", async || is_in(SSID)).await;
        caretaker
    }

    /// The id of its process.
    pub(crate) fn process(&self) -> String {
        self.unit.property("MainPID")
    }

    /// Stops the caretaker, and leaves the network to NetworkManager.
    pub(crate) fn stop(&self) {
        must("systemctl", &["stop", self.unit.name]);
    }

    /// The node's access point is open.
    pub(crate) fn hotspot_is_open(&self) -> bool {
        let shown = run("iw", &["dev", "wlan0", "info"]);
        let text = String::from_utf8_lossy(&shown.stdout);
        let has_line = |line: &str| text.lines().any(|shown| shown.trim() == line);
        has_line("type AP") && has_line(&format!("ssid {}", self.name)) && device_state("STATE").starts_with("100 ")
    }

    pub(crate) fn ends(self) {
        drop(self.unit);
        clean("jarvis-provisioning");
        run("rm", &["-f", TOKEN_FILE]);
        forget_networks();
    }
}

/// The node has an address of the network and no hotspot, and says so.
pub(crate) fn is_in(ssid: &str) -> bool {
    let network = &status()["network"];
    is_online(ssid) && network["connected"] == true && network["apEnabled"] == false && network["lastSsid"] == ssid
}

/// The node's radio is in a network, and has an address.
pub(crate) fn is_online(ssid: &str) -> bool {
    active_network() == ssid && device_state("STATE").starts_with("100 ")
}

/// Joins the home with the system's tool, which stores it.
pub(crate) async fn join_by_hand() {
    until("the home is joined", async || {
        run("nmcli", &["device", "wifi", "list", "ifname", "wlan0", "--rescan", "yes"]);
        run("nmcli", &["device", "wifi", "connect", SSID, "password", PASSWORD, "ifname", "wlan0"]).status.success()
    })
    .await;
}

const API: &str = "http://127.0.0.1:8080/api/provisioning";

/// The status in the API; null while the program does not answer.
fn status() -> Value {
    ask(&[&format!("{API}/status")]).1["status"].take()
}

/// Sends a request with curl; returns the status, and the body if it is JSON.
fn ask(arguments: &[&str]) -> (u16, Value) {
    let output = run("curl", &[&["--silent", "--max-time", "75", "--write-out", "\n%{http_code}"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("curl ends with the status");
    (status.parse().expect("a number"), serde_json::from_str(body).unwrap_or_default())
}

/// Runs a command of the node's program, with `--json`, with a line of input; returns the exit status, and the output.
fn command(user: &[&str], arguments: &[&str], input: &str) -> (Option<i32>, Vec<Value>) {
    let line = [user, &["jarvis-provision"], arguments, &["--json"]].concat();
    let mut command = std::process::Command::new(line[0]);
    let program = command.args(&line[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut program = program.unwrap_or_else(|error| panic!("running {line:?}: {error}"));
    // A program that reads no input may have ended.
    _ = writeln!(program.stdin.take().expect("a pipe"), "{input}");
    let output = program.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    eprintln!("{line:?}: {:?} {text}", output.status);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}")));
    (output.status.code(), lines.collect())
}

/// Asserts that a command does what it is asked.
fn works(arguments: &[&str], input: &str) -> Vec<Value> {
    let (status, lines) = command(&[], arguments, input);
    assert_eq!(status, Some(0), "{arguments:?}: {lines:?}");
    lines
}

/// Diagnoses as an ordinary user; returns the verdicts of all layers but the clock, because the guest has no time server.
fn diagnose() -> Vec<(String, String)> {
    timed_diagnosis().0
}

/// The same, and how long it takes.
pub(crate) fn timed_diagnosis() -> (Vec<(String, String)>, Duration) {
    let began = Instant::now();
    let (_, lines) = command(&STRANGER, &["diagnose"], "");
    let took = began.elapsed();
    assert!(took < DIAGNOSIS, "{took:?}");
    let text = |layer: &Value, key: &str| layer[key].as_str().expect("a text").to_owned();
    let layers = lines[0]["layers"].as_array().expect("a list").iter();
    let verdicts = layers.map(|layer| (text(layer, "layer"), text(layer, "verdict")));
    (verdicts.filter(|(layer, _)| layer != "clock").collect(), took)
}

/// The verdicts if everything below a layer works. An ordinary user cannot read the address of the command center.
fn broken(layer: &str) -> Vec<(String, String)> {
    let layers = ["radio", "association", "address", "gateway", "dns", "internet", "command_center"];
    let failed = layers.iter().position(|name| *name == layer).expect("a layer");
    let verdict = |index: usize| match index.cmp(&failed) {
        std::cmp::Ordering::Less => "ok",
        std::cmp::Ordering::Equal => "failed",
        std::cmp::Ordering::Greater => "not_reached",
    };
    layers.iter().enumerate().map(|(index, name)| ((*name).to_owned(), verdict(index).to_owned())).collect()
}

/// Home gone: the hotspot is open within four minutes. Home back: the node is in it within two, and the hotspot is closed.
#[tokio::test]
async fn the_hotspot_opens_when_the_home_is_gone_and_closes_when_it_is_back() {
    let mut node = Caretaker::at_home(Settings::default()).await;
    node.home.close_access_point();
    let gone = within(FALLBACK_WITHIN, "the hotspot is open", async || node.hotspot_is_open()).await;
    until("the recovery has ended", async || status()["recovery"]["lastResult"] == "hotspot_restored").await;
    node.home.open_access_point().await;
    let back = within(RETURN_WITHIN, "the node is back", async || is_in(SSID)).await;
    eprintln!("hotspot after {gone:?}, back after {back:?}");
    until("the recovery has ended", async || status()["recovery"]["lastResult"] == "rejoin_succeeded").await;
    node.ends();
}

/// A real fault in each layer, told to an ordinary user.
#[tokio::test]
async fn a_diagnosis_names_the_layer_that_fails() {
    let mut node = Caretaker::at_home(Settings { lease_minutes: 2, ..Settings::default() }).await;
    // The lease is lost meanwhile.
    node.home.suspend_dhcp();
    let (status, lines) = command(&[], &["diagnose"], "");
    let works = |layer: &Value| layer["verdict"] == "ok" || layer["layer"] == "clock";
    assert!(status.is_some() && lines[0]["layers"].as_array().expect("a list").iter().all(works), "{lines:?}");
    assert_eq!(diagnose()[..6], broken("command_center")[..6]);
    node.internet.close_page();
    assert_eq!(diagnose()[..6], broken("internet")[..6]);
    node.internet.open_page();
    node.internet.refuse_names().await;
    assert_eq!(diagnose()[..6], broken("dns")[..6]);
    node.internet.resolve_names().await;
    must("ip", &["-n", "home", "addr", "del", &format!("{AIR}/24"), "dev", "wlan1"]);
    // Until then the kernel may believe that the router is there.
    until("the router's absence is noticed", async || diagnose()[..6] == broken("gateway")[..6]).await;
    must("ip", &["-n", "home", "addr", "add", &format!("{AIR}/24"), "dev", "wlan1"]);
    until("the lease is lost", async || !is_online(SSID)).await;
    // NetworkManager connects again, and waits for an address.
    until("it is told", async || diagnose()[..6] == broken("address")[..6]).await;
    node.home.give_addresses();
    until("it has an address again", async || is_in(SSID)).await;
    node.home.close_access_point();
    until("the home is gone", async || diagnose()[..6] == broken("association")[..6]).await;
    node.ends();
}

/// Everything that a terminal can do, and the guard.
#[tokio::test]
async fn the_commands_do_what_they_say() {
    let node = Caretaker::at_home(Settings { other: true, ..Settings::default() }).await;
    let listed = works(&["networks"], "");
    let networks = listed[0]["networks"].as_array().expect("a list");
    assert!(networks.iter().any(|network| network["ssid"] == SSID && network["inUse"] == true), "{networks:?}");

    let (status, _) = command(&[], &["connect", OTHER_SSID, "--password-stdin"], "not the password");
    assert_eq!(status, Some(1));
    until("it is in its old network again", async || is_in(SSID)).await;
    assert_eq!(profiles().len(), 1);
    works(&["connect", OTHER_SSID, "--password-stdin"], PASSWORD);
    until("it is in the other network", async || is_in(OTHER_SSID)).await;
    let saved = works(&["networks", "--saved"], "")[0]["networks"].as_array().expect("a list").len();
    assert_eq!(saved, 2);
    works(&["forget", OTHER_SSID], "");
    until("it is in the network that is left", async || is_in(SSID)).await;
    assert_eq!(command(&[], &["forget", OTHER_SSID], "").0, Some(2), "it is forgotten");

    works(&["hotspot", "on"], "");
    assert!(node.hotspot_is_open());
    works(&["hotspot", "off"], "");
    until("it is at home", async || is_in(SSID)).await;
    works(&["recover"], "");
    let events = works(&["events"], "");
    for action in ["network.connect", "network.forget", "hotspot.enable", "hotspot.disable", "recovery.start"] {
        assert!(events.iter().any(|event| event["action"] == action), "{action}: {events:?}");
    }

    // As docs/settings.md says.
    fs::write(TOKEN_FILE, TOKEN).expect("root may");
    must("chgrp", &["jarvis-provision", TOKEN_FILE]);
    must("chmod", &["640", TOKEN_FILE]);
    fs::write(SETTINGS, fs::read_to_string(SETTINGS).expect("it is there") + &format!("token_file = \"{TOKEN_FILE}\"\n"))
        .expect("root may");
    must("systemctl", &["restart", node.unit.name]);
    until("it answers", async || ask(&[&format!("{API}/status")]).0 == 401).await;
    assert_eq!(command(&STRANGER, &["networks"], "").0, Some(3), "an ordinary user cannot read the token");
    works(&["events"], "");
    let status = format!("http://{}:8080/api/provisioning/status", address());
    for (header, expected) in [
        ("x-moonhub-provisioning-token: wrong".to_owned(), 401),
        (format!("x-moonhub-provisioning-token: {TOKEN}"), 200),
        (format!("authorization: bearer {TOKEN}"), 200),
    ] {
        // From the home's network, where the API refuses everybody else.
        let there = ["netns", "exec", "home", "curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}"];
        let asked = must("ip", &[&there[..], &["--max-time", "10", "--header", &header, &status]].concat());
        assert_eq!(asked, expected.to_string(), "{header}");
    }
    node.ends();
}

/// The node's address in its home.
fn address() -> Ipv4Addr {
    let shown = must("nmcli", &["--get-values", "IP4.ADDRESS", "device", "show", "wlan0"]);
    shown.trim().split('/').next().and_then(|address| address.parse().ok()).expect("an address")
}

/// A lost lease, a restart of the supplicant, and one of NetworkManager during a recovery.
#[tokio::test]
async fn nothing_stays_broken_that_comes_back() {
    let mut node = Caretaker::at_home(Settings::default()).await;
    must("systemctl", &["restart", "wpa_supplicant"]);
    until("the radio is lost", async || !is_online(SSID)).await;
    until("it is at home after a restart of the supplicant", async || is_in(SSID)).await;

    node.home.close_access_point();
    until("the home is lost", async || !is_online(SSID)).await;
    works(&["recover"], "");
    until("a recovery is in progress", async || status()["recovery"]["activeLock"] == "recovery").await;
    must("systemctl", &["restart", "NetworkManager"]);
    node.home.open_access_point().await;
    until("it is at home after a restart of NetworkManager", async || is_in(SSID)).await;
    until("the recovery has ended", async || status()["recovery"]["activeLock"] != "recovery").await;
    node.ends();
}
