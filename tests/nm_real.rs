//! The NetworkManager adapter with a real NetworkManager, on virtual radios.
//!
//! Runs as root in a guest with `mac80211_hwsim`: `wlan0` belongs to NetworkManager, `wlan1` is in the network namespace
//! `home` and `wlan2` in `phone`. Each test opens its own networks with `hostapd` and serves them with `dnsmasq`. They share
//! the radio: run them with `--test-threads=1`.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jarvis_provisioning::network::nm::{NetworkManager, Settings};
use jarvis_provisioning::network::{Error, Network};
use provisioning_core::domain::{Passphrase, Security, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::fault::chain;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep, timeout};

const PASSPHRASE: &str = "correct horse battery";
/// Limit of every wait; reached only by a failing test.
const PATIENCE: Duration = Duration::from_secs(150);
/// The folder of NetworkManager's stored profiles.
const STORED: &str = "/etc/NetworkManager/system-connections";

/// Runs a program of the guest until it exits.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it is installed");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A program that is terminated on drop.
struct Running(Child);

impl Running {
    fn start(program: &str, arguments: &[&str]) -> Self {
        Self(Command::new(program).args(arguments).stdout(Stdio::null()).spawn().expect("it is installed"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM, not SIGKILL: hostapd resets its radio when it exits. It may have exited already.
        let _ended = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ended = self.0.wait();
    }
}

/// The protection of a home's network.
#[derive(Clone, Copy)]
enum Home {
    Open,
    Wpa2,
    Wpa3,
    Mixed,
    Hidden,
}

impl Home {
    fn hostapd(self, name: &str) -> String {
        let security = match self {
            Self::Open => String::new(),
            Self::Wpa2 | Self::Hidden => format!("wpa=2\nwpa_key_mgmt=WPA-PSK\nrsn_pairwise=CCMP\nwpa_passphrase={PASSPHRASE}\n"),
            Self::Wpa3 => format!("wpa=2\nwpa_key_mgmt=SAE\nrsn_pairwise=CCMP\nieee80211w=2\nsae_password={PASSPHRASE}\n"),
            Self::Mixed => {
                format!(
                    "wpa=2\nwpa_key_mgmt=WPA-PSK SAE\nrsn_pairwise=CCMP\nieee80211w=1\nwpa_passphrase={PASSPHRASE}\nsae_password={PASSPHRASE}\n"
                )
            }
        };
        let hidden = u8::from(matches!(self, Self::Hidden));
        format!("interface=wlan1\ndriver=nl80211\nssid={name}\nhw_mode=g\nchannel=6\nignore_broadcast_ssid={hidden}\n{security}")
    }
}

/// A home's network, with or without DHCP; stops on drop.
struct Air {
    _parts: Vec<Running>,
    directory: tempfile::TempDir,
    network: NetworkManager,
}

impl Air {
    async fn with(home: Home, name: &str, dhcp: bool) -> Self {
        wipe().await;
        let directory = tempfile::tempdir().expect("a temporary folder");
        let configuration = directory.path().join("hostapd.conf");
        fs::write(&configuration, home.hostapd(name)).expect("a writable folder");
        run("ip", &["-n", "home", "address", "flush", "dev", "wlan1"]);
        // Otherwise the kernel keeps the keys of the previous home.
        run("ip", &["-n", "home", "link", "set", "wlan1", "down"]);
        let mut parts =
            vec![Running::start("ip", &["netns", "exec", "home", "hostapd", configuration.to_str().expect("plain text")])];
        until("the home's access point is up", || {
            run("ip", &["netns", "exec", "home", "iw", "dev", "wlan1", "info"]).contains("channel 6")
        })
        .await;
        run("ip", &["-n", "home", "address", "add", "192.168.77.1/24", "dev", "wlan1"]);
        if dhcp {
            let leases = format!("--dhcp-leasefile={}", directory.path().join("leases").display());
            let arguments = [
                "netns",
                "exec",
                "home",
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--port=0",
                "--interface=wlan1",
            ];
            parts.push(Running::start(
                "ip",
                &[&arguments[..], &["--dhcp-range=192.168.77.10,192.168.77.99,1h", &leases]].concat(),
            ));
        }
        let settings = Settings {
            interface: Some("wlan0".into()),
            passphrase: Some(passphrase("the label's passphrase")),
            ..Settings::default()
        };
        Self { _parts: parts, directory, network: NetworkManager::start(settings) }
    }

    async fn join(&self, name: &str, text: &str) -> Result<(), Error> {
        let began = Instant::now();
        let joined = timeout(PATIENCE, self.network.join(&ssid(name), &passphrase(text), false)).await.expect("nothing hangs");
        let status = joined.as_ref().map_or_else(|error| chain(error), |_| "joined".into());
        eprintln!("{name}: {status} after {:.1} s", began.elapsed().as_secs_f64());
        joined.map(drop)
    }

    /// Scans until a network is listed; returns its protection.
    async fn see(&self, name: &str) -> Security {
        // A scan that was in progress when the home appeared may not list it.
        for _ in 0..5 {
            let networks = timeout(PATIENCE, self.network.scan()).await.expect("nothing hangs").expect("a scan");
            if let Some(network) = networks.iter().find(|network| network.ssid == ssid(name)) {
                return network.security;
            }
        }
        panic!("{name} sends beacons, but is not listed");
    }

    async fn open(&self) -> Result<(), Error> {
        let began = Instant::now();
        let opened = timeout(PATIENCE, self.network.open_access_point("jarvis-00c0ffee")).await.expect("nothing hangs");
        let status = opened.as_ref().map_or_else(|error| chain(error), |()| "open".into());
        eprintln!("access point: {status} after {:.1} s", began.elapsed().as_secs_f64());
        opened
    }
}

fn ssid(name: &str) -> Ssid {
    Ssid::try_from(name).expect("a short name")
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::try_from(text.to_owned()).expect("a short passphrase")
}

fn fault<T>(result: Result<T, Error>) -> Option<Fault> {
    result.err().map(|error| error.fault)
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "{what} did not happen in time");
}

/// The names of NetworkManager's Wi-Fi profiles.
fn profiles() -> Vec<String> {
    let list = run("nmcli", &["--terse", "--fields", "TYPE,NAME", "connection", "show"]);
    list.lines().filter_map(|line| line.strip_prefix("802-11-wireless:")).map(str::to_owned).collect()
}

/// Removes what the previous test left, and waits for the radio.
async fn wipe() {
    for name in profiles() {
        run("nmcli", &["connection", "delete", "id", &name]);
    }
    until("the radio is free", || {
        run("nmcli", &["--terse", "--fields", "DEVICE,STATE", "device"]).contains("wlan0:disconnected")
    })
    .await;
}

fn stored() -> Vec<PathBuf> {
    fs::read_dir(STORED).map(|folder| folder.flatten().map(|entry| entry.path()).collect()).unwrap_or_default()
}

#[tokio::test]
async fn every_protection_is_seen_and_joined() {
    for (home, name, text, security) in [
        (Home::Wpa2, "Two", PASSPHRASE, Security::Wpa2),
        (Home::Wpa3, "Three", PASSPHRASE, Security::Wpa3),
        (Home::Mixed, "Mixed", PASSPHRASE, Security::Wpa2Wpa3),
        (Home::Open, "Cafe", "", Security::Open),
    ] {
        let air = Air::with(home, name, true).await;
        let seen = air.see(name).await;
        assert_eq!(seen, security, "{name}");
        assert_eq!(fault(air.join(name, text).await), None, "{name}");
        assert_eq!(profiles(), [format!("jarvis-{name}")]);
        assert!(stored().is_empty(), "nothing is stored before it is kept");
    }
}

#[tokio::test]
async fn a_wrong_password_is_reported_and_leaves_no_profile() {
    for (home, name, expected) in [
        (Home::Wpa2, "Two", Fault::WrongPassword),
        (Home::Wpa3, "Three", Fault::ProbablyWrongPassword),
        (Home::Mixed, "Mixed", Fault::ProbablyWrongPassword),
    ] {
        let air = Air::with(home, name, true).await;
        assert_eq!(fault(air.join(name, "incorrect horse").await), Some(expected), "{name}");
        assert!(profiles().is_empty() && stored().is_empty(), "{name}");
        assert_eq!(fault(air.join(name, PASSPHRASE).await), None, "{name}");
    }
}

#[tokio::test]
async fn an_absent_network_and_one_without_dhcp_are_reported() {
    let air = Air::with(Home::Wpa2, "Two", false).await;
    assert_eq!(fault(air.join("Nowhere", PASSPHRASE).await), Some(Fault::NetworkNotFound));
    assert_eq!(fault(air.join("Two", PASSPHRASE).await), Some(Fault::NoAddress));
    assert!(profiles().is_empty());
}

#[tokio::test]
async fn a_hidden_network_is_joined_by_its_name_and_kept_as_hidden() {
    let air = Air::with(Home::Hidden, "Cellar", true).await;
    assert_eq!(fault(air.join("Cellar", PASSPHRASE).await), None);
    timeout(PATIENCE, air.network.keep()).await.expect("nothing hangs").expect("it is joined");
    let shown = run("nmcli", &["--fields", "802-11-wireless.hidden", "connection", "show", "jarvis-Cellar"]);
    assert!(shown.contains("yes"), "{shown}");
}

#[tokio::test]
async fn a_kept_network_is_stored_with_its_passphrase_and_our_mark() {
    // A factory default name, which NetworkManager ties to a single router.
    let air = Air::with(Home::Wpa2, "linksys", true).await;
    air.see("linksys").await;
    for _ in 0..2 {
        assert_eq!(fault(air.join("linksys", PASSPHRASE).await), None);
        timeout(PATIENCE, air.network.keep()).await.expect("nothing hangs").expect("it is joined");
        let files = stored();
        assert_eq!(files.len(), 1, "the older one is gone: {files:?}");
        let text = fs::read_to_string(&files[0]).expect("root reads everything");
        assert!(text.contains(&format!("psk={PASSPHRASE}")) && text.contains("org.jarvis.provisioning=1"), "{text}");
        assert!(!text.contains("\nbssid=") && !text.contains("hidden=true"), "{text}");
    }
    timeout(PATIENCE, air.network.forget()).await.expect("nothing hangs").expect("it can be deleted");
    assert!(profiles().is_empty() && stored().is_empty());
}

#[tokio::test]
async fn the_previous_network_is_restored_unchanged() {
    let air = Air::with(Home::Wpa2, "Two", true).await;
    run("nmcli", &["device", "wifi", "rescan"]);
    until("the home is seen", || {
        run("nmcli", &["--terse", "--fields", "SSID", "device", "wifi", "list", "--rescan", "no"]).contains("Two")
    })
    .await;
    // An overloaded guest may lose a handshake, which nmcli reports as a wrong password.
    until("the owner's own network is joined", || {
        run("nmcli", &["connection", "delete", "id", "owners"]);
        let connecting = ["device", "wifi", "connect", "Two", "password", PASSPHRASE, "ifname", "wlan0", "name", "owners"];
        run("nmcli", &connecting).contains("successfully")
    })
    .await;
    let before = fs::read(format!("{STORED}/owners.nmconnection")).expect("nmcli stores it");
    assert_eq!(fault(air.join("Two", "incorrect horse").await), Some(Fault::WrongPassword));
    timeout(PATIENCE, air.network.restore()).await.expect("nothing hangs").expect("it is still there");
    assert!(run("nmcli", &["--terse", "--fields", "NAME", "connection", "show", "--active"]).contains("owners"));
    assert_eq!(fault(air.join("Two", PASSPHRASE).await), None);
    timeout(PATIENCE, air.network.restore()).await.expect("nothing hangs").expect("it is still there");
    until("ours is gone", || profiles() == ["owners"]).await;
    assert_eq!(fs::read(format!("{STORED}/owners.nmconnection")).expect("it is still there"), before);
}

/// Joins the node's access point like a phone; returns the output of the phone's DHCP client.
fn phone_joins(air: &Air) -> Running {
    let configuration = air.directory.path().join("phone.conf");
    fs::write(&configuration, "network={\n ssid=\"jarvis-00c0ffee\"\n psk=\"the label's passphrase\"\n}\n")
        .expect("a writable folder");
    Running::start(
        "ip",
        &["netns", "exec", "phone", "wpa_supplicant", "-i", "wlan2", "-c", configuration.to_str().expect("plain text")],
    )
}

#[tokio::test]
async fn a_phone_joins_the_access_point_and_every_name_resolves_to_the_node() {
    let air = Air::with(Home::Wpa2, "Two", true).await;
    air.open().await.expect("hwsim has access point mode");
    let _phone = phone_joins(&air);
    until("the phone is associated", || {
        run("ip", &["netns", "exec", "phone", "iw", "dev", "wlan2", "link"]).contains("Connected")
    })
    .await;
    let lease = run("ip", &["netns", "exec", "phone", "/usr/lib/klibc/bin/ipconfig", "-c", "dhcp", "-t", "60", "wlan2"]);
    assert!(lease.contains("192.168.4.1"), "{lease}");
    assert!(fs::read_dir("/etc/NetworkManager/dnsmasq-shared.d").is_ok_and(|folder| folder.count() == 1));
    assert!(address_of_any_name().ends_with(&[192, 168, 4, 1]), "every name resolves to the node");
    let networks = timeout(PATIENCE, air.network.scan()).await.expect("nothing hangs").expect("a list");
    let names: Vec<_> = networks.iter().map(|network| network.ssid.to_string()).collect();
    assert!(names.iter().any(|name| name == "Two"), "{names:?}");
    assert!(!names.iter().any(|name| name == "jarvis-00c0ffee"), "its own network is in the list: {names:?}");
}

/// The access point's DNS answer for a name that phones look up (RFC 1035, 4.1).
fn address_of_any_name() -> Vec<u8> {
    let socket = UdpSocket::bind("192.168.4.1:0").expect("the node has this address");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("not zero");
    let question = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x07captive\x05apple\x03com\0\0\x01\0\x01";
    socket.send_to(question, "192.168.4.1:53").expect("a local address");
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).expect("the DNS server answers");
    answer[..length].to_vec()
}

#[tokio::test]
async fn from_the_access_point_to_a_network_and_back_with_the_reason() {
    let air = Air::with(Home::Wpa2, "Two", true).await;
    air.open().await.expect("hwsim has access point mode");
    assert_eq!(fault(air.join("Two", "incorrect horse").await), Some(Fault::WrongPassword));
    air.open().await.expect("the same again");
    assert_eq!(profiles(), ["jarvis-00c0ffee"]);
    assert_eq!(fault(air.join("Two", PASSPHRASE).await), None);
    until("the access point is gone", || profiles() == ["jarvis-Two"]).await;
    assert!(fs::read_dir("/etc/NetworkManager/dnsmasq-shared.d").is_ok_and(|folder| folder.count() == 0));
    timeout(PATIENCE, air.network.keep()).await.expect("nothing hangs").expect("it is joined");
}

#[tokio::test]
async fn the_access_point_names_the_port_in_use() {
    let air = Air::with(Home::Wpa2, "Two", true).await;
    let _taken = UdpSocket::bind("0.0.0.0:53").expect("root binds every port");
    let error = air.open().await.expect_err("its DNS server cannot start");
    assert!(chain(&error).contains("port 53"), "{}", chain(&error));
    assert!(profiles().is_empty());
}

#[tokio::test]
async fn the_access_point_ends_with_its_owner_and_returns_with_networkmanager() {
    let air = Air::with(Home::Wpa2, "Two", true).await;
    air.open().await.expect("hwsim has access point mode");
    run("systemctl", &["restart", "NetworkManager"]);
    until("it is open again", || {
        run("nmcli", &["--terse", "--fields", "DEVICE,STATE,CONNECTION", "device"]).contains("wlan0:connected:jarvis-00c0ffee")
    })
    .await;
    drop(air);
    until("it is gone", || profiles().is_empty()).await;
}

#[tokio::test]
async fn a_dropped_join_leaves_nothing() {
    let air = Air::with(Home::Wpa2, "Two", true).await;
    {
        let (name, text) = (ssid("Two"), passphrase(PASSPHRASE));
        let joining = air.network.join(&name, &text, false);
        tokio::select! {
            joined = joining => panic!("too quick: {joined:?}"),
            () = until("it is under way", || !profiles().is_empty()) => {}
        }
    }
    until("its profile is gone", || profiles().is_empty()).await;
    assert_eq!(fault(air.join("Two", PASSPHRASE).await), None);
}

/// The name makes it the last test: blocking the radios disturbs `hostapd` too.
#[tokio::test]
async fn z_a_blocked_radio_is_reported_and_stays_blocked() {
    let air = Air::with(Home::Wpa2, "Two", true).await;
    run("nmcli", &["radio", "wifi", "off"]);
    until("it is off", || run("nmcli", &["--terse", "--fields", "DEVICE,STATE", "device"]).contains("wlan0:unavailable")).await;
    assert_eq!(fault(air.join("Two", PASSPHRASE).await), Some(Fault::RadioBlocked));
    assert_eq!(fault(air.open().await), Some(Fault::RadioBlocked));
    assert!(run("nmcli", &["radio", "wifi"]).contains("disabled"));
    run("nmcli", &["radio", "wifi", "on"]);
}
