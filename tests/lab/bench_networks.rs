//! Every kind of network that a home has: how long the node takes to an address or to the reason, with either backend, beside
//! `nmcli` and a bare `wpa_supplicant`.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use jarvis_provisioning::network::Network;
use jarvis_provisioning::network::hostapd::{Hostapd, Settings};
use provisioning_core::domain::{Passphrase, Ssid};
use provisioning_core::fault::{Fault, chain};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use super::table::{Samples, Table};
use super::{radio_idle, seconds};
use crate::air::{must, run, until};
use crate::device::forget_networks;
use crate::homes::Node;
use crate::place::PASSWORD;
use crate::street::{Beacons, Street};

/// Joins of each kind. A failure is measured once, because the daemons' timers decide how long it takes.
const JOINS: usize = 3;
/// Longer than the supplicant needs to name a reason.
const LIMIT: Duration = Duration::from_secs(30);

const WRONG: &str = "not the password";
/// A key as programs that write images store it in place of a password.
const KEY: &str = "3b4f7c0d9e2a6185b4f7c0d9e2a6185b4f7c0d9e2a6185b4f7c0d9e2a61853b4";

/// A kind of network.
struct Kind {
    name: &'static str,
    /// Its protection for hostapd.
    lines: String,
    /// What the owner types.
    given: &'static str,
    hidden: bool,
    /// The right outcomes: none is an address.
    right: &'static [Option<Fault>],
}

impl Kind {
    fn check(&self, table: &mut Table, fault: Option<Fault>) {
        if !self.right.contains(&fault) {
            table.miss(format!("{}: {}", self.name, name_of(fault)));
        }
    }
}

/// The measured times of one tool, seconds, and what it told last.
struct Told {
    times: Samples,
    text: String,
}

impl Told {
    fn new() -> Self {
        Self { times: Samples::of("a kind"), text: String::new() }
    }

    fn add(&mut self, time: f64, text: String) {
        self.times.add(time);
        self.text = text;
    }

    fn time(&self) -> String {
        if self.times.count() == 0 { "–".to_owned() } else { format!("{:.2}", self.times.median()) }
    }
}

fn kinds() -> [Vec<Kind>; 3] {
    let kind = |name, lines: &str| Kind {
        name,
        lines: format!("wpa=2\nrsn_pairwise=CCMP\n{lines}"),
        given: PASSWORD,
        hidden: false,
        right: &[None],
    };
    let fails = |name, lines: &str, given, right| Kind { given, right, ..kind(name, lines) };
    let psk = format!("wpa_key_mgmt=WPA-PSK\nwpa_passphrase={PASSWORD}\n");
    let sae = format!("wpa_key_mgmt=SAE\nieee80211w=2\nsae_password={PASSWORD}\n");
    let mixed = format!("wpa_key_mgmt=WPA-PSK SAE\nieee80211w=1\nwpa_passphrase={PASSWORD}\nsae_password={PASSWORD}\n");
    let sha256 = format!("wpa_key_mgmt=WPA-PSK-SHA256\nieee80211w=2\nwpa_passphrase={PASSWORD}\n");
    let fast = format!(
        "wpa_key_mgmt=FT-PSK\nwpa_passphrase={PASSWORD}\nmobility_domain=a1b2\nnas_identifier=one\nft_psk_generate_local=1\n"
    );
    let tkip = format!("wpa=1\nwpa_pairwise=TKIP\nwpa_key_mgmt=WPA-PSK\nwpa_passphrase={PASSWORD}\n");
    let wrong_wpa3 = &[Some(Fault::WrongPassword), Some(Fault::ProbablyWrongPassword)];
    [
        vec![
            kind("WPA2", &psk),
            kind("WPA3", &sae),
            kind("WPA2 and WPA3", &mixed),
            kind("WPA3 with hash-to-element only", &format!("{sae}sae_pwe=1\n")),
            kind("WPA2 and such WPA3", &format!("{mixed}sae_pwe=1\n")),
        ],
        vec![
            kind("WPA2 with SHA-256 only", &sha256),
            kind("WPA2 with fast transition only", &fast),
            Kind { given: KEY, ..kind("WPA2, a key of 64 digits", &format!("wpa_key_mgmt=WPA-PSK\nwpa_psk={KEY}\n")) },
            Kind { hidden: true, ..kind("WPA2, hidden", &format!("{psk}ignore_broadcast_ssid=1\n")) },
            Kind { hidden: true, ..kind("WPA3, hidden", &format!("{sae}ignore_broadcast_ssid=1\n")) },
        ],
        vec![
            fails("WPA2, wrong password", &psk, WRONG, &[Some(Fault::WrongPassword)]),
            fails("WPA3, wrong password", &sae, WRONG, wrong_wpa3),
            fails("WPA3, a key of 64 digits", &sae, KEY, &[Some(Fault::Wpa3NeedsPassword)]),
            fails("a full router", &format!("{psk}max_num_sta=0\n"), PASSWORD, &[Some(Fault::RouterFull)]),
            fails(
                "a filter of addresses",
                &format!("{psk}macaddr_acl=1\n"),
                PASSWORD,
                &[Some(Fault::RouterRefused), Some(Fault::AssociationFailed)],
            ),
            Kind { lines: tkip, ..fails("TKIP only", "", PASSWORD, &[None, Some(Fault::OutdatedSecurity)]) },
        ],
    ]
}

/// Time to an address or to the right reason, for every kind.
#[tokio::test]
#[ignore = "takes minutes, and a guest for itself: `tests/lab/bench` runs it"]
async fn networks() {
    let mut table = Table::default();
    table.row(&row("median, s", &["node", "its backend hostapd", "nmcli", "wpa_supplicant"]));
    for kinds in kinds() {
        let named: Vec<_> = kinds.iter().map(|kind| (kind.name, kind.lines.as_str())).collect();
        let street = Street::open(&named).await;
        measure(&mut table, &kinds).await;
        drop(street);
    }
    let outdated =
        Kind { name: "WEP", lines: String::new(), given: PASSWORD, hidden: false, right: &[Some(Fault::OutdatedSecurity)] };
    let air = Beacons::of(outdated.name, &[]);
    measure(&mut table, &[outdated]).await;
    drop(air);
    table.end();
}

async fn measure(table: &mut Table, kinds: &[Kind]) {
    let node = Node::start();
    let mut rows: Vec<[Told; 4]> = kinds.iter().map(|_| std::array::from_fn(|_| Told::new())).collect();
    for (kind, [ours, _, theirs, _]) in kinds.iter().zip(&mut rows) {
        let rounds = if kind.right == [None] { JOINS } else { 1 };
        for _ in 0..rounds {
            seen(kind).await;
            let began = Instant::now();
            let fault = node.enter(kind.name, kind.given, kind.hidden).await;
            ours.add(seconds(began), name_of(fault));
            node.leave().await;
            kind.check(table, fault);
            seen(kind).await;
            let began = Instant::now();
            let text = by_nmcli(kind);
            theirs.add(seconds(began), text);
            forget_networks();
            radio_idle().await;
        }
    }
    must("nmcli", &["device", "set", "wlan0", "managed", "no"]);
    for (kind, [_, ours, _, bare]) in kinds.iter().zip(&mut rows) {
        // Nothing gives addresses here but to a bare supplicant.
        if !kind.right.contains(&None) {
            let began = Instant::now();
            let fault = without_networkmanager(kind).await;
            ours.add(seconds(began), name_of(fault));
            kind.check(table, fault);
        }
        let began = Instant::now();
        let text = by_supplicant(kind).await;
        bare.add(seconds(began), text);
    }
    must("nmcli", &["device", "set", "wlan0", "managed", "yes"]);
    radio_idle().await;
    for (kind, told) in kinds.iter().zip(&rows) {
        table.row(&row(kind.name, &told.each_ref().map(Told::time)));
        let texts = told.iter().map(|told| told.text.as_str()).filter(|text| !text.is_empty());
        table.row(&format!("    {}", texts.collect::<Vec<_>>().join(" | ")));
    }
}

fn row(name: &str, columns: &[impl AsRef<str>]) -> String {
    let columns: String = columns.iter().map(|column| format!(" {:>19}", column.as_ref())).collect();
    format!("{name:<32}{columns}")
}

fn name_of(fault: Option<Fault>) -> String {
    fault.map_or("address", Fault::name).to_owned()
}

/// Joins by the node without NetworkManager; returns the fault.
async fn without_networkmanager(kind: &Kind) -> Option<Fault> {
    let place = TempDir::new().expect("a temporary folder");
    let settings = Settings {
        interface: Some("wlan0".into()),
        profiles: place.path().into(),
        runtime: place.path().join("run"),
        country: || None,
        ..Settings::default()
    };
    let network = Hostapd::start(settings);
    let passphrase = Passphrase::try_from(kind.given.to_owned()).expect("a short passphrase");
    let joined = network.join(&Ssid::try_from(kind.name).expect("a short name"), &passphrase, kind.hidden).await;
    if let Err(error) = &joined {
        println!("{}: {}", kind.name, chain(error));
    }
    network.restore().await.expect("there is nothing to return to");
    joined.err().map(|error| error.fault)
}

/// Waits until a scan has found the network, as after the owner's choice from a list.
async fn seen(kind: &Kind) {
    radio_idle().await;
    until("a scan has ended", async || {
        let list = ["--terse", "--fields", "SSID", "device", "wifi", "list", "ifname", "wlan0", "--rescan", "yes"];
        let listed = run("nmcli", &list);
        kind.hidden || String::from_utf8_lossy(&listed.stdout).lines().any(|ssid| ssid == kind.name)
    })
    .await;
}

/// Joins by `nmcli`; returns what it says.
fn by_nmcli(kind: &Kind) -> String {
    let hidden = if kind.hidden { "yes" } else { "no" };
    let named = ["device", "wifi", "connect", kind.name, "password", kind.given, "ifname", "wlan0", "hidden", hidden];
    let output = run("nmcli", &[&["--wait", "100"], &named[..]].concat());
    if output.status.success() {
        return "address".to_owned();
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().last().unwrap_or_default().trim_start_matches("Error: ").to_owned()
}

/// Joins by a supplicant alone, with every method that takes a password; returns what it says.
async fn by_supplicant(kind: &Kind) -> String {
    let key = if kind.given == KEY { KEY.to_owned() } else { format!("\"{}\"", kind.given) };
    let file = std::env::temp_dir().join("alone.conf");
    let text = format!(
        "sae_pwe=2\nnetwork={{\n ssid=\"{}\"\n scan_ssid=1\n key_mgmt=WPA-PSK WPA-PSK-SHA256 FT-PSK SAE\n ieee80211w=1\n psk={key}\n \
         sae_password=\"{}\"\n}}\n",
        kind.name, kind.given
    );
    fs::write(&file, text).expect("its settings can be written");
    let mut command = Command::new("wpa_supplicant");
    command.args(["-i", "wlan0", "-c"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut supplicant = command.spawn().expect("wpa_supplicant can be started");
    let mut lines = BufReader::new(supplicant.stdout.take().expect("a pipe")).lines();
    let reading = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains("CTRL-EVENT-CONNECTED") {
                return "address".to_owned();
            }
            let reason = ["reason=WRONG_KEY", "status_code=", "CTRL-EVENT-NETWORK-NOT-FOUND"];
            if let Some(at) = reason.iter().find_map(|word| line.find(word)) {
                return line[at..].to_owned();
            }
        }
        "it has ended".to_owned()
    };
    let said = timeout(LIMIT, reading).await.unwrap_or_else(|_| "nothing".to_owned());
    if said == "address" {
        let client = ["-c", "dhcp", "-t", "30", "wlan0"];
        assert!(run("/usr/lib/klibc/bin/ipconfig", &client).status.success(), "the home gives addresses");
    }
    supplicant.kill().await.expect("it runs");
    run("ip", &["addr", "flush", "dev", "wlan0"]);
    said
}
