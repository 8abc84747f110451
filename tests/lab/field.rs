//! What devices meet where they are used: networks of others, adapters that are reset, and a router that is slower than they.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use mobile_test_harness::phone::Phone;
use provisioning_core::domain::State;
use provisioning_core::endpoint::MDNS_SERVICE;
use tokio::time::Instant;

use crate::air::{Controllers, PATIENCE, breath, must, run, until};
use crate::att::Att;
use crate::captive_portal::resolve;
use crate::device::{Device, PASSPHRASE, device_state, forget_networks, until_in_network};
use crate::mdns_service::{browse, holds};
use crate::over_access_point::address_at_home;
use crate::place::{Home, PASSWORD, SSID, Wifi, at_the_phone};
use crate::units::{Unit, clean, configure, install};

/// A network on the cable that overlaps the usual one of the access point, as some routers have it.
const CABLE: &str = "192.168.7.9/22";

/// The node's address in its access point beside that network.
const BESIDE_CABLE: Ipv4Addr = Ipv4Addr::new(192, 168, 184, 1);

/// Within this time an advertisement that the controller has lost is on the air again.
const LOST: Duration = Duration::from_secs(45);

/// Gives the device a network that is not the node's, and joins it.
fn join_as_another(name: &str) {
    let profile = ["connection", "add", "type", "wifi", "ifname", "wlan0", "con-name", name, "ssid", SSID];
    must("nmcli", &[&profile[..], &["wifi-sec.key-mgmt", "wpa-psk", "wifi-sec.psk", PASSWORD]].concat());
    must("nmcli", &["--wait", "90", "connection", "up", name]);
}

/// Removes an address of the cable when dropped.
struct Cable;

impl Cable {
    fn plug() -> Self {
        must("ip", &["addr", "add", CABLE, "dev", "lab0"]);
        Self
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        run("ip", &["addr", "del", CABLE, "dev", "lab0"]);
    }
}

#[tokio::test]
async fn a_network_of_another_program_keeps_the_radio_and_the_access_point_avoids_its_subnet() {
    const QUIET: Duration = Duration::from_secs(5);
    let controllers = Controllers::ready().await;
    forget_networks();
    let _home = Home::open().await;
    join_as_another("image");
    let _cable = Cable::plug();
    let started = Instant::now();
    let settings = format!(
        "adapter = \"{}\"\n[access_point]\nopen = \"when-quiet\"\nquiet_seconds = {}\n",
        controllers.node,
        QUIET.as_secs()
    );
    let device = Device::with_networks(&settings).await;

    // The owner's phone is in the same network.
    let wifi = Wifi::join(SSID, PASSWORD).await;
    must("ip", &["-n", "phone", "route", "replace", "224.0.0.0/4", "dev", "wlan2"]);
    let mut answer = Vec::new();
    until("the node answers", async || {
        answer = at_the_phone(|| browse(MDNS_SERVICE)).await;
        !answer.is_empty()
    })
    .await;
    assert!(holds(&answer, device.name.as_bytes()), "its name: {answer:?}");
    until("it has been quiet for long", async || started.elapsed() > 3 * QUIET).await;
    let address = address_at_home().expect("the network keeps the radio");
    let target = format!("http://{address}:8080").parse().expect("a target");
    at_the_phone(async move || {
        let mut phone = Phone::connect_within(&target, PATIENCE).await.expect("the node answers");
        phone.open_session(&Device::code()).await.expect("the code is right");
        assert_eq!(phone.status().await.expect("its status").state, State::ApMode);
    })
    .await;
    assert!(device_state("CONNECTION").contains("image"), "{}", device_state("CONNECTION"));
    drop(wifi);

    // Without that network the access point opens, in a subnet that the cable does not have.
    must("nmcli", &["connection", "delete", "image"]);
    let _wifi = Wifi::join(&device.name, PASSPHRASE).await;
    let page = at_the_phone(async || {
        let name = "connectivitycheck.gstatic.com";
        assert_eq!(resolve(BESIDE_CABLE, name).await, (0, BESIDE_CABLE), "names lead to the node");
        let url = format!("http://{BESIDE_CABLE}/");
        let answer = ["--output", "/dev/null", "--write-out", "%{http_code} %{content_type} %{url_effective}"];
        must("curl", &[&["--silent", "--max-time", "10", "--location"], &answer[..], &[&url]].concat())
    })
    .await;
    assert!(page.starts_with("200 text/html") && page.contains(&format!("{BESIDE_CABLE}:8080")), "the setup page: {page}");
    let addresses = must("ip", &["-n", "phone", "-4", "addr", "show", "dev", "wlan2"]);
    assert!(addresses.contains(" 192.168.184."), "{addresses}");
}

#[tokio::test]
async fn phones_see_the_nodes_name_and_the_advertisement_survives_the_adapter() {
    let controllers = Controllers::ready().await;
    let mut device = Device::start(&controllers).await;
    let adapter = controllers.node_adapter().await.expect("BlueZ has it");
    let index = adapter.path().rsplit("hci").next().expect("a number").to_owned();

    let mut phone = Att::connect(&controllers).await;
    assert_eq!(phone.device_name().await, device.name);
    for connection in 0..5 {
        phone = phone.again(&controllers).await;
        assert_eq!(phone.device_name().await, device.name, "connection {connection}");
    }
    drop(phone);

    // First the advertisement is lost without the knowledge of BlueZ. The kernel notices, and so does not need the node; what
    // the kernel does not notice cannot be produced here.
    let off = ["hcitool", "-i", &format!("hci{index}"), "cmd", "0x08", "0x000a", "00"];
    let reset = ["hciconfig", &format!("hci{index}"), "reset"];
    let power = ["busctl", "set-property", "org.bluez", adapter.path(), "org.bluez.Adapter1", "Powered", "b", "false"];
    for command in [&off[..], &reset, &power] {
        // A virtual controller does not notice that its peer is reset.
        controllers.restart_phone().await;
        breath().await;
        must(command[0], &command[1..]);
        let lost = Instant::now();
        // A connection while it begins to advertise breaks a virtual controller.
        breath().await;
        controllers.until_node_advertises().await;
        breath().await;
        let mut phone = Att::connect(&controllers).await;
        assert!(lost.elapsed() < LOST, "{command:?}: {:?}", lost.elapsed());
        assert_eq!(phone.device_name().await, device.name, "{command:?}");
    }

    controllers.restart_phone().await;
    let mut phone = Att::connect(&controllers).await;
    device.stop().await;
    let host = fs::read_to_string("/etc/hostname").expect("it has a name");
    let name = phone.device_name().await;
    assert!(name.starts_with(host.trim()), "the host's name again: {name}");
}

/// The kernel suspends Bluetooth and freezes every process, but not the machine itself, whose disk would not come back.
#[tokio::test]
async fn the_advertisement_survives_a_suspend() {
    const SUSPENDED: &str = "/sys/power/suspend_stats/success";
    let controllers = Controllers::ready().await;
    let device = Device::start(&controllers).await;
    controllers.until_node_advertises().await;
    fs::write("/sys/power/pm_test", "freezer").expect("Debian's kernels have it");
    for round in 0..2 {
        let before = fs::read_to_string(SUSPENDED).expect("the kernel counts");
        must("systemctl", &["suspend"]);
        until("it was suspended", async || fs::read_to_string(SUSPENDED).is_ok_and(|count| count != before)).await;
        let resumed = Instant::now();
        // A virtual controller does not notice that its peer is reset.
        controllers.restart_phone().await;
        controllers.until_node_advertises().await;
        let mut phone = Att::connect(&controllers).await;
        assert!(resumed.elapsed() < LOST, "round {round}: {:?}", resumed.elapsed());
        assert_eq!(phone.device_name().await, device.name, "round {round}");
    }
    fs::write("/sys/power/pm_test", "none").expect("Debian's kernels have it");
}

/// After a power cut the device is faster than its router. Only the packaged timer runs.
#[tokio::test]
async fn a_network_that_has_refused_the_passphrase_is_joined_when_it_accepts_it() {
    let controllers = Controllers::ready().await;
    forget_networks();
    clean("jarvis-provisioning");
    let mut home = Home::open().await;
    join_as_another("home");
    configure(&controllers, "never");
    fs::create_dir_all("/var/lib/jarvis").expect("root may");
    fs::write("/var/lib/jarvis/.provisioned", "").expect("root may");
    install(&["jarvis-provisioning"]);
    let _timer = Unit::started("jarvis-rejoin.timer");
    until("the node has nothing to do", async || !run("systemctl", &["is-active", "jarvis-provision.service"]).status.success())
        .await;

    home.change_password("another passphrase").await;
    let refused = Instant::now();
    until("NetworkManager has given up", async || device_state("STATE").starts_with("30 ")).await;
    until("it is refused for a minute", async || refused.elapsed() > Duration::from_mins(1)).await;
    home.change_password(PASSWORD).await;
    let accepted = Instant::now();
    until_in_network(SSID).await;
    until("it has an address", async || address_at_home().is_some()).await;
    assert!(accepted.elapsed() < Duration::from_mins(2), "{:?}", accepted.elapsed());
    clean("jarvis-provisioning");
}
