//! JSON changes nothing while a phone has a session, or once a sealed attempt was accepted.

use provisioning_core::endpoint::SESSION_HEADER;
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Command, DiskCommand};
use provisioning_core::wire::Request;
use serde_json::json;

use crate::http::json::{k2, provision};
use crate::http::sealed::{Phone, credentials, open};
use crate::http::support::{CODE, Node, request};

/// Sends every JSON request that changes something: the answer to each is that the node is busy.
async fn assert_busy(node: &Node) {
    let text = Fault::Busy.text();
    let message = "Provisioning already in progress";
    assert_eq!(node.post("/api/v1/provision", &provision()).await.json(), json!({"success": false, "message": message}));
    assert_eq!(
        node.post("/api/v1/provision/k2", &k2()).await.json(),
        json!({"success": false, "node_id": null, "kid": null, "error": text})
    );
    assert_eq!(node.post_text("/api/v1/factory-reset", "").await.json(), json!({"success": false, "cleared": [], "error": text}));
}

fn has_changed(node: &Node) -> bool {
    let changes = |command: &Command| {
        matches!(
            command,
            Command::Disk(DiskCommand::SaveK2 { .. } | DiskCommand::SavePending { .. } | DiskCommand::BeginReset { .. })
        )
    };
    node.commands().iter().any(changes)
}

async fn close(node: &Node, phone: Phone<'_>) {
    let headers = [(SESSION_HEADER, phone.name.as_str())];
    assert_eq!(request(node.api, "DELETE", "/api/v1/session", &headers, b"").await.status, 204);
}

#[tokio::test]
async fn json_is_busy_while_a_session_is_open_and_accepted_after_it() {
    let node = Node::start();
    let mut phone = Phone::connect(&node).await;
    phone.ask(&Request::Status).await;
    assert_busy(&node).await;
    assert!(!has_changed(&node));
    for path in ["/api/v1/info", "/api/v1/status", "/api/v1/scan-networks"] {
        assert_eq!(node.get(path).await.status, 200);
    }
    close(&node, phone).await;
    assert_eq!(node.post("/api/v1/provision/k2", &k2()).await.json()["success"], true);
}

#[tokio::test]
async fn json_is_accepted_during_a_handshake_that_has_proven_nothing() {
    let node = Node::start();
    open(&node, CODE, &[]).await;
    assert_eq!(node.post("/api/v1/provision/k2", &k2()).await.json()["success"], true);
}

#[tokio::test]
async fn json_is_busy_once_a_sealed_attempt_was_accepted() {
    let node = Node::start();
    let mut phone = Phone::connect(&node).await;
    phone.ask(&Request::Credentials(Box::new(credentials()))).await;
    node.settled("PROVISIONED").await;
    close(&node, phone).await;
    let before = node.commands().len();
    assert_busy(&node).await;
    assert_eq!(node.commands().len(), before, "{:?}", node.commands());
}
