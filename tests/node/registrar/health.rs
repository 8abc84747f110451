//! The health check, and the first use of the node's key.

use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::command_center::{Limits, Registrar};
use provisioning_core::domain::Registration;
use provisioning_core::secret::SecretText;
use testing::server::{Act, Server, answer};

use crate::registrar::{AMPLE, SHORT, registrar, url};

#[tokio::test]
async fn a_command_center_that_answers_200_is_healthy() {
    let server = Server::answering(answer("200 OK", r#"{"status":"healthy"}"#)).await;
    assert!(registrar().healthy(&url(&format!("{}/", server.url()))).await);
    assert!(server.requests()[0].starts_with("GET /health HTTP/1.1\r\n"), "{:?}", server.requests());
}

#[tokio::test]
async fn any_other_status_is_not_healthy() {
    for status in ["201 Created", "204 No Content", "302 Found", "404 Not Found", "503 Service Unavailable"] {
        let server = Server::answering(answer(status, "")).await;
        assert!(!registrar().healthy(&url(&server.url())).await, "{status}");
    }
}

#[tokio::test]
async fn a_silent_command_center_is_not_healthy() {
    let server = Server::acting([Act::Hold]).await;
    let registrar = registrar().with_limits(Limits { health: SHORT, ..AMPLE });
    assert!(!registrar.healthy(&url(&server.url())).await);
}

#[tokio::test]
async fn a_refused_address_gets_no_health_check() {
    let server = Server::answering(answer("200 OK", "")).await;
    assert!(!Registrar::new(Client::new(AddressPolicy::DEVICE, Trust::System)).healthy(&url(&server.url())).await);
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn the_key_is_sent_once_in_its_header() {
    for (status, confirmed) in [("200 OK", true), ("401 Unauthorized", false), ("404 Not Found", false)] {
        let server = Server::answering(answer(status, "[]")).await;
        let registration =
            Registration { node_id: "node-1".into(), node_key: SecretText::new("k\u{e4}y".into()), household_id: None };
        assert_eq!(registrar().confirm_key(&url(&server.url()), &registration).await, confirmed, "{status}");
        let [request] = &server.requests()[..] else { panic!("{:?}", server.requests()) };
        assert!(request.starts_with("GET /api/v0/nodes/node-1/config/pending HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("x-api-key: node-1:k\u{e4}y\r\n"), "{request}");
    }
}
