//! The health check.

use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::command_center::{Limits, Registrar};
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
