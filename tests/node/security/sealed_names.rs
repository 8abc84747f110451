//! Without a session, the name of a network that was sent sealed cannot be read.

use provisioning_core::domain::{Outcome, Ssid, Step};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Command, RadioCommand};
use provisioning_core::wire::Request;
use serde_json::json;

use crate::http::json::{provision, with};
use crate::http::sealed::{Phone, credentials};
use crate::http::support::{Node, config, request, success};

const PRIVATE: &str = "Doctor Smith Private";

/// Everything that can be read from the node without a session.
async fn readable(node: &Node) -> String {
    let mut readable = String::new();
    for path in ["/api/v1/status", "/api/v1/info", "/api/v1/scan-networks"] {
        for accept in ["application/json", "application/x-protobuf"] {
            let reply = request(node.api, "GET", path, &[("accept", accept)], b"").await;
            readable += &String::from_utf8_lossy(&reply.body);
        }
    }
    readable
}

/// A node whose joins never end.
fn joining() -> Node {
    let world = |command: &Command| match command {
        Command::Radio(RadioCommand::Join { .. }) => None,
        command => Some(success(command)),
    };
    Node::with(config(), Box::new(world))
}

async fn sealed_attempt(node: &Node) {
    let mut phone = Phone::connect(node).await;
    let mut credentials = credentials();
    credentials.ssid = Some(Ssid::try_from(PRIVATE).expect("a valid name"));
    phone.ask(&Request::Credentials(Box::new(credentials))).await;
}

#[tokio::test]
async fn the_name_of_a_sealed_attempt_is_not_in_the_status_while_it_runs() {
    let node = joining();
    sealed_attempt(&node).await;
    let status = node.status(|status| status["progress_percent"] == 35).await;
    assert_eq!(status["message"], "Connecting to the network...");
    assert!(!readable(&node).await.contains(PRIVATE));
}

#[tokio::test]
async fn the_name_of_a_sealed_attempt_is_not_in_the_status_after_it_failed() {
    let world = |command: &Command| {
        Some(match command {
            Command::Radio(RadioCommand::Join { op, .. }) => op.done(Err(Fault::WrongPassword)),
            command => success(command),
        })
    };
    let node = Node::with(config(), Box::new(world));
    sealed_attempt(&node).await;
    let status = node.settled("ERROR").await;
    assert_eq!(status["error"], format!("Failed to connect to the network: {}", Fault::WrongPassword));
    assert!(!readable(&node).await.contains(PRIVATE));
}

#[tokio::test]
async fn the_name_of_a_sealed_attempt_is_not_in_the_status_after_a_restart() {
    for (request_id, shown) in [(77, false), (0, true)] {
        let outcome = Outcome {
            request_id,
            ssid: PRIVATE.into(),
            ssid_bytes: Ssid::try_from(PRIVATE).ok(),
            step: Step::Joining,
            failure: Some(Fault::WrongPassword.into()),
            online: false,
        };
        let node = Node::after(outcome);
        node.settled("ERROR").await;
        assert_eq!(readable(&node).await.contains(PRIVATE), shown, "{request_id}");
    }
}

#[tokio::test]
async fn the_name_of_an_attempt_in_json_is_shown() {
    let node = joining();
    node.post("/api/v1/provision", &with(provision(), "wifi_ssid", json!(PRIVATE))).await;
    let status = node.status(|status| status["progress_percent"] == 35).await;
    assert_eq!(status["message"], format!("Connecting to {PRIVATE}..."));
}
