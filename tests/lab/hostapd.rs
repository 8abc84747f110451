//! A node on an image without `NetworkManager`: `hostapd` and `dnsmasq` for its access point, `wpa_supplicant` for networks, and
//! systemd-networkd, dhcpcd or udhcpc for addresses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use provisioning_core::domain::State;
use provisioning_core::fault::Fault;
use tokio::time::Instant;

use crate::air::{Controllers, PATIENCE, connect, must, run, until};
use crate::device::{Device, PASSPHRASE, active_network, credentials, with_password};
use crate::over_access_point::{address_at_home, provision};
use crate::place::{Home, SSID, Wifi};
use crate::units::{SETTINGS as SETTINGS_FILE, Unit, clean, configure, install};

/// What the settings of such an image have.
const SETTINGS: &str = "backend = \"hostapd\"\n[access_point]\nopen = \"always\"\n";
/// The file of the image by which systemd-networkd assigns addresses in the home's network. It also does, needlessly, while the
/// radio is an access point, as images without `WLANInterfaceType` do.
const NETWORKD: &str = "/run/systemd/network/10-lab.network";

/// The guest without `NetworkManager`, until this is dropped.
pub(crate) struct Bare;

impl Bare {
    /// No service gives its interfaces addresses.
    fn without_addresses() -> Self {
        let bare = Self;
        must("systemctl", &["stop", "NetworkManager"]);
        must("systemctl", &["mask", "--runtime", "NetworkManager"]);
        must("systemctl", &["restart", "wpa_supplicant"]);
        bare
    }

    /// With systemd-networkd.
    pub(crate) fn new() -> Self {
        let bare = Self::without_addresses();
        fs::create_dir_all(Path::new(NETWORKD).parent().expect("a folder")).expect("a writable folder");
        fs::write(NETWORKD, "[Match]\nName=wlan0\n[Network]\nDHCP=ipv4\n").expect("a writable folder");
        must("systemctl", &["restart", "systemd-networkd"]);
        bare
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // What fails here is found by the next scenario.
        run("systemctl", &["stop", "systemd-networkd.socket", "systemd-networkd"]);
        let _missing = fs::remove_file(NETWORKD);
        run("ip", &["addr", "flush", "dev", "wlan0"]);
        run("systemctl", &["restart", "wpa_supplicant"]);
        run("systemctl", &["unmask", "--runtime", "NetworkManager"]);
        run("systemctl", &["start", "NetworkManager"]);
    }
}

/// dhcpcd as a service, as older images have it, until this is dropped. The guest's other interfaces are not the node's.
struct Dhcpcd;

impl Dhcpcd {
    const UNIT: &str = "lab-dhcpcd";

    fn start() -> Self {
        let unit = format!("--unit={}", Self::UNIT);
        must("systemd-run", &["--quiet", "--collect", &unit, "dhcpcd", "--nobackground", "--allowinterfaces", "wlan0"]);
        Self
    }
}

impl Drop for Dhcpcd {
    fn drop(&mut self) {
        run("systemctl", &["stop", Self::UNIT]);
    }
}

/// Whether the node's radio has an address that begins so.
fn has_address(beginning: &str) -> bool {
    let text = run("ip", &["-4", "-oneline", "addr", "show", "dev", "wlan0"]).stdout;
    String::from_utf8_lossy(&text).split_whitespace().any(|word| word.starts_with(beginning))
}

/// Whether a program runs in the guest.
fn runs(program: &str) -> bool {
    run("pgrep", &["--exact", program]).status.success()
}

#[tokio::test]
async fn wrong_password_then_right_over_its_access_point_and_a_reset() {
    let _bare = Bare::new();
    let mut device = Device::alone(SETTINGS).await;
    let home = provision(&device, true).await;
    let stored = device.secret("networks.json");
    let metadata = fs::metadata(&stored).expect("the network is stored");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    device.stop().await;
    must("systemctl", &["restart", "wpa_supplicant"]);
    until("the node has left the network", async || active_network().is_empty()).await;
    device.boot_provisioned().await;
    until("the node has returned to its network", async || active_network() == SSID && address_at_home().is_some()).await;
    device.stop().await;
    let (status, cleared) = device.reset().await;
    assert_eq!(status, Some(0), "{cleared}");
    assert!(!stored.exists(), "the stored network is deleted");
    until("the node has left the network", async || active_network().is_empty()).await;
    drop(home);
}

#[tokio::test]
async fn udhcpc_gets_the_address_where_no_service_does() {
    let _bare = Bare::without_addresses();
    let mut device = Device::alone(SETTINGS).await;
    let home = provision(&device, true).await;
    until("the node has an address", async || runs("udhcpc") && address_at_home().is_some()).await;
    device.kill();
    until("its program has ended", async || !runs("udhcpc")).await;
    device.boot_provisioned().await;
    until("the node has returned to its network", async || active_network() == SSID && address_at_home().is_some()).await;
    drop(home);
}

#[tokio::test]
async fn dhcpcd_gets_the_address_and_leaves_the_access_point_alone() {
    let _bare = Bare::without_addresses();
    let _dhcpcd = Dhcpcd::start();
    let mut device = Device::alone(SETTINGS).await;
    until("dhcpcd has found no server, and made an address", async || has_address("169.254.")).await;
    assert!(has_address("192.168.4.1/24"), "the access point has its address");
    let home = provision(&device, true).await;
    assert!(address_at_home().is_some() && !runs("udhcpc"), "the address is dhcpcd's");
    device.stop().await;
    must("systemctl", &["restart", "wpa_supplicant"]);
    until("the node has left the network", async || active_network().is_empty()).await;
    device.boot_provisioned().await;
    until("the node has returned to its network", async || active_network() == SSID && address_at_home().is_some()).await;
    drop(home);
}

#[tokio::test]
async fn its_programs_end_with_it_however_it_ends() {
    let _bare = Bare::new();
    let mut device = Device::alone(SETTINGS).await;
    let wifi = Wifi::join(&device.name, PASSPHRASE).await;
    assert!(runs("hostapd") && runs("dnsmasq"));
    device.kill();
    until("its programs have ended", async || !runs("hostapd") && !runs("dnsmasq")).await;
    drop(wifi);
    device.boot().await;
    let wifi = Wifi::join(&device.name, PASSPHRASE).await;
    device.stop().await;
    assert!(!runs("hostapd") && !runs("dnsmasq"));
    drop(wifi);
}

#[tokio::test]
async fn a_lost_access_point_opens_again() {
    let _bare = Bare::new();
    let device = Device::alone(SETTINGS).await;
    for program in ["hostapd", "dnsmasq"] {
        until("the access point is open", async || runs("hostapd") && runs("dnsmasq")).await;
        must("pkill", &["--exact", program]);
        until("it has ended", async || !runs("hostapd") || !runs("dnsmasq")).await;
    }
    let wifi = Wifi::join(&device.name, PASSPHRASE).await;
    drop((wifi, device));
}

#[tokio::test]
async fn the_packaged_service_does_the_same_with_its_drop_ins() {
    let controllers = Controllers::ready().await;
    let _bare = Bare::new();
    clean("jarvis-provisioning");
    configure(&controllers, "always");
    let settings = fs::read_to_string(SETTINGS_FILE).expect("they were written");
    fs::write(SETTINGS_FILE, format!("backend = \"hostapd\"\n{settings}")).expect("root may");
    install(&["jarvis-provisioning"]);
    let unit = Unit::started("jarvis-provision.service");
    let drop_ins = [
        ("unit.conf", "/etc/systemd/system/jarvis-provision.service.d/hostapd.conf"),
        ("dbus.conf", "/etc/dbus-1/system.d/jarvis-provisioning-hostapd.conf"),
    ];
    for (from, to) in drop_ins {
        must("install", &["-D", "-m", "644", &format!("/usr/lib/jarvis-provisioning/hostapd/{from}"), to]);
    }
    must("systemctl", &["daemon-reload"]);
    must("systemctl", &["reload", "dbus"]);
    must("systemctl", &["restart", unit.name]);

    let home = Home::open().await;
    let order = home.order().await;
    let mut phone = connect(&controllers).await;
    let name = phone.info().await.expect("info can be read").name;
    let wifi = Wifi::join(&name, PASSPHRASE).await;
    let ask = ["netns", "exec", "phone", "curl", "--silent", "--fail", "--max-time", "5", "http://192.168.4.1/generate_204"];
    until("port 80 answers", async || run("ip", &ask).status.success()).await;
    drop(wifi);
    phone.open_session(&Device::code()).await.expect("the code is right");
    let right = credentials(&order);
    let wrong = with_password("not the password", &right);
    let began = Instant::now();
    let report = phone.bring_online(&wrong, PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!(report.failure.map(|failure| failure.fault), Some(Fault::WrongPassword));
    eprintln!("{:.1} s: a wrong password is told", began.elapsed().as_secs_f64());
    let report = phone.bring_online(&right, PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!((report.state, report.failure), (State::Provisioned, None));
    phone.leave().await;
    controllers.switch_phone_off().await;
    for (_, to) in drop_ins {
        fs::remove_file(to).expect("root may");
    }
    drop(unit);
    clean("jarvis-provisioning");
}
