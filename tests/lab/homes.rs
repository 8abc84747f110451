//! Networks as homes have them: the protections, passwords and refusals of real routers, in one place. The radio is used without a
//! phone: what a phone is told follows from the fault.

use jarvis_provisioning::network::Network;
use jarvis_provisioning::network::nm::{NetworkManager, Settings};
use provisioning_core::domain::{Country, Passphrase, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::fault::chain;

use crate::air::{must, run};
use crate::device::forget_networks;
use crate::place::{PASSWORD, Street};

/// A key as programs that write images store it in place of a password.
const KEY: &str = "3b4f7c0d9e2a6185b4f7c0d9e2a6185b4f7c0d9e2a6185b4f7c0d9e2a61853b4";

/// The node's radio.
struct Node(NetworkManager);

impl Node {
    fn start() -> Self {
        forget_networks();
        // The guest's kernel has a country of its own.
        Self(NetworkManager::start(Settings { interface: Some("wlan0".into()), country: || None, ..Settings::default() }))
    }

    /// Joins a network, and leaves it. Returns the fault, if there is one.
    async fn join(&self, name: &str, password: &str) -> Option<Fault> {
        let began = tokio::time::Instant::now();
        let passphrase = Passphrase::try_from(password.to_owned()).expect("a short passphrase");
        let joined = self.0.join(&Ssid::try_from(name).expect("a short name"), &passphrase, false).await;
        let fault = joined.as_ref().err().map(|error| error.fault);
        let cause = joined.as_ref().err().map(|error| chain(error));
        println!("{name}: {fault:?} after {:.1} s; {cause:?}", began.elapsed().as_secs_f32());
        self.0.restore().await.expect("there is nothing to return to");
        fault
    }
}

/// A mixed network for which the given lines are added.
fn mixed(more: &str) -> String {
    format!("{WPA2}wpa_key_mgmt=WPA-PSK SAE\nieee80211w=1\nwpa_passphrase={PASSWORD}\nsae_password={PASSWORD}\n{more}")
}

const WPA2: &str = "wpa=2\nrsn_pairwise=CCMP\n";

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
