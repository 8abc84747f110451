//! A node on an image without `NetworkManager`: `hostapd` and `dnsmasq` for its access point, `wpa_supplicant` for networks, and
//! systemd-networkd for addresses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::air::{must, run, until};
use crate::device::{Device, PASSPHRASE, active_network};
use crate::over_access_point::{address_at_home, provision};
use crate::place::{SSID, Wifi};

/// What the settings of such an image have.
const SETTINGS: &str = "backend = \"hostapd\"\n[access_point]\nopen = \"always\"\n";
/// The file of the image by which systemd-networkd assigns addresses in the home's network. It also does, needlessly, while the
/// radio is an access point, as images without `WLANInterfaceType` do.
const NETWORKD: &str = "/run/systemd/network/10-lab.network";

/// The guest without `NetworkManager`, until this is dropped.
struct Bare;

impl Bare {
    fn new() -> Self {
        let bare = Self;
        must("systemctl", &["stop", "NetworkManager"]);
        must("systemctl", &["mask", "--runtime", "NetworkManager"]);
        must("systemctl", &["restart", "wpa_supplicant"]);
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

/// Whether a program runs in the guest.
fn runs(program: &str) -> bool {
    run("pgrep", &["--exact", program]).status.success()
}

#[tokio::test]
async fn wrong_password_then_right_over_its_access_point_and_a_reset() {
    let _bare = Bare::new();
    let mut device = Device::with(SETTINGS).await;
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
async fn its_programs_end_with_it_however_it_ends() {
    let _bare = Bare::new();
    let mut device = Device::with(SETTINGS).await;
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
    let device = Device::with(SETTINGS).await;
    for program in ["hostapd", "dnsmasq"] {
        until("the access point is open", async || runs("hostapd") && runs("dnsmasq")).await;
        must("pkill", &["--exact", program]);
        until("it has ended", async || !runs("hostapd") || !runs("dnsmasq")).await;
    }
    let wifi = Wifi::join(&device.name, PASSPHRASE).await;
    drop((wifi, device));
}
