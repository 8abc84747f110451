//! Networks as homes have them: the protections, passwords and refusals of real routers, in one place. The radio is used without a
//! phone: what a phone is told follows from the fault.

use std::time::Duration;

use jarvis_provisioning::network::Network;
use jarvis_provisioning::network::nm::{NetworkManager, Settings};
use provisioning_core::domain::{Country, Credentials, Passphrase, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::fault::chain;

use crate::air::{must, run, until};
use crate::device::{active_network, device_state, forget_networks};
use crate::place::PASSWORD;
use crate::scene::Scene;
use crate::street::{Beacons, Street};

/// A key as programs that write images store it in place of a password.
const KEY: &str = "3b4f7c0d9e2a6185b4f7c0d9e2a6185b4f7c0d9e2a6185b4f7c0d9e2a61853b4";

/// The node's radio.
pub(crate) struct Node(NetworkManager);

impl Node {
    pub(crate) fn start() -> Self {
        forget_networks();
        // The guest's kernel has a country of its own.
        Self(NetworkManager::start(Settings { interface: Some("wlan0".into()), country: || None, ..Settings::default() }))
    }

    /// Joins a network, and leaves it. Returns the fault, if there is one.
    pub(crate) async fn join(&self, name: &str, password: &str) -> Option<Fault> {
        let fault = self.stay(name, password).await;
        self.leave().await;
        fault
    }

    /// The same with a network that hides its name.
    async fn join_hidden(&self, name: &str, password: &str) -> Option<Fault> {
        let fault = self.enter(name, password, true).await;
        self.leave().await;
        fault
    }

    /// Joins a network, and stays in it.
    async fn stay(&self, name: &str, password: &str) -> Option<Fault> {
        self.enter(name, password, false).await
    }

    pub(crate) async fn enter(&self, name: &str, password: &str, hidden: bool) -> Option<Fault> {
        let began = tokio::time::Instant::now();
        let passphrase = Passphrase::try_from(password.to_owned()).expect("a short passphrase");
        let joined = self.0.join(&Ssid::try_from(name).expect("a short name"), &passphrase, hidden).await;
        let fault = joined.as_ref().err().map(|error| error.fault);
        let cause = joined.as_ref().err().map(|error| chain(error));
        println!("{name}: {fault:?} after {:.1} s; {cause:?}", began.elapsed().as_secs_f32());
        fault
    }

    /// Scans until the network is listed.
    async fn until_seen(&self, name: &str) {
        until("the network is seen", async || {
            self.0.scan().await.expect("a scan").iter().any(|network| network.ssid.to_string() == name)
        })
        .await;
    }

    /// Leaves the network that was joined.
    pub(crate) async fn leave(&self) {
        self.0.restore().await.expect("there is nothing to return to");
    }
}

/// A mixed network for which the given lines are added.
fn mixed(more: &str) -> String {
    format!("{WPA2}wpa_key_mgmt=WPA-PSK SAE\nieee80211w=1\nwpa_passphrase={PASSWORD}\nsae_password={PASSWORD}\n{more}")
}

const WPA2: &str = "wpa=2\nrsn_pairwise=CCMP\n";

/// The access point that the node's radio is associated with.
fn station() -> String {
    let link = must("iw", &["dev", "wlan0", "link"]);
    link.split_whitespace().skip_while(|word| *word != "to").nth(1).unwrap_or_default().to_owned()
}

fn wpa2(more: &str) -> String {
    format!("{WPA2}wpa_key_mgmt=WPA-PSK\n{more}")
}

#[tokio::test]
async fn passwords_and_keys_are_taken_as_the_network_takes_them() {
    let _street = Street::open(&[
        ("Umlaut", &wpa2("wpa_passphrase=Gr\u{fc}\u{df}e-vom-Haus\n")),
        ("Five", &format!("{WPA2}wpa_key_mgmt=SAE\nieee80211w=2\nsae_password=abcde\n")),
        ("Long", &format!("{WPA2}wpa_key_mgmt=SAE\nieee80211w=2\nsae_password={}\n", "long".repeat(20))),
        ("Key", &wpa2(&format!("wpa_psk={KEY}\n"))),
    ])
    .await;
    let node = Node::start();
    assert_eq!(node.join("Umlaut", "Gr\u{fc}\u{df}e-vom-Haus").await, None);
    assert_eq!(node.join("Five", "abcde").await, None);
    assert_eq!(node.join("Long", &"long".repeat(20)).await, None);
    assert_eq!(node.join("Key", KEY).await, None);
    assert_eq!(node.join("Five", KEY).await, Some(Fault::Wpa3NeedsPassword));
}

#[tokio::test]
async fn every_protection_that_a_router_offers_is_joined() {
    let _street = Street::open(&[
        ("New element", &mixed("sae_pwe=1\n")),
        ("New element only", &format!("{WPA2}wpa_key_mgmt=SAE\nieee80211w=2\nsae_password={PASSWORD}\nsae_pwe=1\n")),
        ("Sha256", &format!("{WPA2}wpa_key_mgmt=WPA-PSK-SHA256\nieee80211w=2\nwpa_passphrase={PASSWORD}\n")),
        (
            "Roaming",
            &format!(
                "{WPA2}wpa_key_mgmt=FT-PSK\nwpa_passphrase={PASSWORD}\nmobility_domain=a1b2\nnas_identifier=one\nft_psk_generate_local=1\n"
            ),
        ),
    ])
    .await;
    let node = Node::start();
    for name in ["New element", "New element only", "Sha256", "Roaming"] {
        assert_eq!(node.join(name, PASSWORD).await, None, "{name}");
    }
}

#[tokio::test]
async fn a_router_that_refuses_is_told_by_its_reason() {
    let good = format!("wpa_passphrase={PASSWORD}\n");
    let _street = Street::open(&[
        ("Full", &wpa2(&format!("{good}max_num_sta=0\n"))),
        ("Filter", &wpa2(&format!("{good}macaddr_acl=1\n"))),
        ("Twins", &wpa2(&format!("{good}max_num_sta=0\n"))),
        ("Twins", &wpa2(&good)),
        ("Third", &format!("{WPA2}wpa_key_mgmt=SAE\nieee80211w=2\nsae_password={PASSWORD}\n")),
    ])
    .await;
    let node = Node::start();
    assert_eq!(node.join("Full", PASSWORD).await, Some(Fault::RouterFull));
    let filtered = node.join("Filter", PASSWORD).await.expect("it lets nobody in");
    assert!([Fault::RouterRefused, Fault::AssociationFailed].contains(&filtered), "{filtered:?}");
    assert_eq!(node.join("Twins", PASSWORD).await, None, "the other one has room");
    let wrong = node.join("Third", "not the password").await.expect("a wrong password");
    assert!([Fault::WrongPassword, Fault::ProbablyWrongPassword].contains(&wrong), "{wrong:?}");
}

#[tokio::test]
async fn a_router_with_tkip_is_joined_or_named() {
    let tkip = format!("wpa=1\nwpa_pairwise=TKIP\nwpa_key_mgmt=WPA-PSK\nwpa_passphrase={PASSWORD}\n");
    let _street = Street::open(&[("Old", &tkip)]).await;
    let fault = Node::start().join("Old", PASSWORD).await;
    assert!([None, Some(Fault::OutdatedSecurity)].contains(&fault), "{fault:?}");
}

#[tokio::test]
async fn a_hidden_network_with_wpa3_only_is_joined() {
    let hidden = format!("{WPA2}wpa_key_mgmt=SAE\nieee80211w=2\nsae_password={PASSWORD}\nignore_broadcast_ssid=1\n");
    let _street = Street::open(&[("Cellar", &hidden), ("Hall", &wpa2(&format!("wpa_passphrase={PASSWORD}\n")))]).await;
    let node = Node::start();
    assert_eq!(node.join_hidden("Cellar", PASSWORD).await, None);
    assert_eq!(node.join("Cellar", PASSWORD).await, None, "the phone may not say that it is hidden");
}

#[tokio::test]
async fn security_that_the_radio_does_not_have_is_named() {
    // IEEE 802.11-2020, 9.4.2.24: CCMP, the key management 24 (SAE-EXT-KEY) alone, and protected management frames.
    const NEWER: [u8; 22] = [48, 20, 1, 0, 0, 0x0f, 0xac, 4, 1, 0, 0, 0x0f, 0xac, 4, 1, 0, 0, 0x0f, 0xac, 24, 0xc0, 0];
    let node = Node::start();
    {
        let _air = Beacons::of("Attic", &NEWER);
        node.until_seen("Attic").await;
        assert_eq!(node.join("Attic", PASSWORD).await, Some(Fault::UnsupportedSecurity));
    }
    let _air = Beacons::of("Museum", &[]);
    node.until_seen("Museum").await;
    assert_eq!(node.join("Museum", PASSWORD).await, Some(Fault::OutdatedSecurity), "WEP");
}

#[tokio::test]
async fn a_mesh_that_steers_keeps_the_node_online() {
    let steering = wpa2(&format!("wpa_passphrase={PASSWORD}\nbss_transition=1\n"));
    let _street = Street::open(&[("Mesh", &steering), ("Mesh", &steering)]).await;
    let node = Node::start();
    assert_eq!(node.stay("Mesh", PASSWORD).await, None);
    node.0.keep().await.expect("it is joined");
    let here = must("cat", &["/sys/class/net/wlan0/address"]);
    let first = usize::from(station() == Street::station(1));
    let [from, to] = [first, 1 - first];
    let (device, other) = (Street::device(from), Street::station(to));
    let neighbour = format!("neighbor={other},0x0000,81,1,7");
    let steer = ["bss_tm_req", here.trim(), "pref=1", "disassoc_imminent=1", "disassoc_timer=50", &neighbour];
    must("hostapd_cli", &[&["-p", Street::CONTROL, "-i", &device], &steer[..]].concat());
    until("the node is at the other station", async || station() == other).await;
    until("the node is online", async || device_state("STATE").starts_with("100")).await;
    node.0.forget().await.expect("it is stored");
}

#[tokio::test]
async fn a_router_that_takes_forty_seconds_for_an_address_is_joined() {
    let mut street = Street::silent(&[("Slow", &wpa2(&format!("wpa_passphrase={PASSWORD}\n")))]).await;
    let node = Node::start();
    let answering = async {
        until("the node is associated", async || active_network() == "Slow").await;
        tokio::time::sleep(Duration::from_secs(40)).await;
        street.serve(&["--dhcp-range=10.20.0.10,10.20.0.250,1h".to_owned()]);
    };
    let (joined, ()) = tokio::join!(node.join("Slow", PASSWORD), answering);
    assert_eq!(joined, None);
}

#[tokio::test]
async fn an_address_that_another_device_uses_is_not_taken() {
    let mut street = Street::silent(&[("Crowded", &wpa2(&format!("wpa_passphrase={PASSWORD}\n")))]).await;
    // Somebody has given a printer an address that the router gives to others. A kernel answers for an address on every interface.
    must("ip", &["-n", "home", "addr", "add", "10.20.0.10/32", "dev", "lo"]);
    street.serve(&["--dhcp-range=10.20.0.10,10.20.0.20,1h".to_owned(), "--dhcp-sequential-ip".to_owned()]);
    let node = Node::start();
    assert_eq!(node.stay("Crowded", PASSWORD).await, None);
    let addresses = must("ip", &["-4", "-oneline", "addr", "show", "dev", "wlan0"]);
    node.leave().await;
    assert!(addresses.contains("10.20.0.11/"), "{addresses}");
}

#[tokio::test]
async fn a_network_with_ipv6_alone_is_joined() {
    let mut street = Street::silent(&[("Six", &wpa2(&format!("wpa_passphrase={PASSWORD}\n")))]).await;
    must("ip", &["-n", "home", "addr", "flush", "dev", "wlan1", "scope", "global"]);
    must("ip", &["-n", "home", "addr", "add", "fd20::1/64", "dev", "wlan1", "nodad"]);
    street.serve(&["--enable-ra".to_owned(), "--dhcp-range=fd20::,ra-only".to_owned()]);
    let node = Node::start();
    assert_eq!(node.join("Six", PASSWORD).await, None);
}

#[tokio::test]
async fn a_network_that_only_the_phone_sees_is_told_by_its_channel() {
    let mut scene = Scene::set().await;
    let elsewhere = Credentials {
        ssid: Some(Ssid::try_from("Penthouse").expect("a short name")),
        country: Some(Country::try_from("FI").expect("two letters")),
        // Channel 13.
        seen_frequency: 2472,
        ..scene.mistyped()
    };
    scene.fails_with(&elsewhere, &[Fault::ChannelNotAllowed]).await;
    assert_eq!(scene.phone().info().await.expect("info can be read").country, "FI");
    scene.ends().await;
}

#[tokio::test]
async fn a_radio_without_a_country_is_switched_on_with_one() {
    let node = Node::start();
    must("rfkill", &["block", "wifi"]);
    let blocked = node.0.scan().await.map_err(|error| error.fault);
    assert_eq!(blocked, Err(Fault::CountryMissing));
    let country = Country::try_from("FI").expect("two letters");
    let set = node.0.set_country(country).await;
    run("rfkill", &["unblock", "wifi"]);
    set.expect("the block is lifted");
    assert_eq!(NetworkManager::country().as_deref(), Some("FI"));
    node.0.scan().await.expect("the radio is on");
}
