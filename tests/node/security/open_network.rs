//! The existing phone app demands a password for every network, open ones included.

use jarvis_provisioning::network::Network as _;
use jarvis_provisioning::simulation::SimulatedNetwork;
use provisioning_core::domain::{Passphrase, Security, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Command, RadioCommand};
use serde_json::json;

use crate::http::json::{provision, with};
use crate::http::support::{Node, config, network, success};

/// Whether the node joined with a passphrase.
fn joined_with_passphrase(node: &Node) -> bool {
    let joined = node.commands().into_iter().find_map(|command| match command {
        Command::Radio(RadioCommand::Join { passphrase, .. }) => Some(!passphrase.is_empty()),
        _ => None,
    });
    joined.expect("a join")
}

#[tokio::test]
async fn json_ignores_a_passphrase_for_an_open_network() {
    let long = "p".repeat(65);
    for password in ["12345678", "x", &long] {
        let node = Node::start();
        node.scanned().await;
        let body = with(with(provision(), "wifi_ssid", json!("CoffeeShop_Free")), "wifi_password", json!(password));
        node.post("/api/v1/provision", &body).await;
        node.settled("PROVISIONED").await;
        assert!(!joined_with_passphrase(&node), "{} bytes", password.len());
    }
}

#[tokio::test]
async fn json_keeps_the_passphrase_if_a_protected_network_has_the_same_name() {
    let world = |command: &Command| {
        Some(match command {
            Command::Radio(RadioCommand::Scan { op, .. }) => {
                op.done(Ok(vec![network("Cafe", -40, Security::Open), network("Cafe", -50, Security::Wpa2)]))
            }
            command => success(command),
        })
    };
    let node = Node::with(config(), Box::new(world));
    node.scanned().await;
    node.post("/api/v1/provision", &with(provision(), "wifi_ssid", json!("Cafe"))).await;
    node.settled("PROVISIONED").await;
    assert!(joined_with_passphrase(&node));
}

#[tokio::test]
async fn the_simulator_refuses_a_passphrase_on_an_open_network_as_the_connector_does() {
    for ssid in ["CoffeeShop_Free", "Sim-NoInternet"] {
        let join = async |passphrase: &str| {
            let ssid = Ssid::try_from(ssid).expect("a valid name");
            let passphrase = Passphrase::try_from(passphrase.to_owned()).expect("a valid passphrase");
            SimulatedNetwork.join(&ssid, &passphrase, false).await.map_err(|error| error.fault)
        };
        assert_eq!(join("12345678").await, Err(Fault::WrongPassword), "{ssid}");
        assert!(join("").await.is_ok(), "{ssid}");
    }
}
