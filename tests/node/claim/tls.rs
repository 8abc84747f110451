//! The TLS errors that installers see. The shared HTTP client's tests cover which certificates are accepted.

use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::claim::Claimant;
use tempfile::TempDir;
use testing::server::Server;
use testing::tls::{Authority, CertificateParams, date_time_ymd};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::claim::server::claimed;
use crate::claim::{AMPLE, CODE, claimant, failure, request};

/// A server with a certificate, adjusted before it is signed, and a claimant that trusts its authority.
async fn server(change: impl FnOnce(&mut CertificateParams)) -> (Server, Claimant, Authority) {
    let authority = Authority::new();
    let server = authority.server("localhost", [claimed()], change).await;
    let client = Client::new(AddressPolicy::SIMULATION, Trust::Only(authority.path()));
    (server, Claimant::new(client).with_limits(AMPLE), authority)
}

fn url(server: &Server) -> String {
    format!("https://localhost:{}", server.address.port())
}

#[tokio::test]
async fn a_code_is_claimed_over_tls() {
    let folder = TempDir::new().unwrap();
    let (server, claimant, _authority) = server(|_| {}).await;
    claimant.provision(&request(&url(&server), CODE, folder.path())).await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn an_untrusted_certificate_is_reported_and_the_code_is_not_sent() {
    let folder = TempDir::new().unwrap();
    let (server, ..) = server(|_| {}).await;
    let error = failure(&claimant(), &request(&url(&server), CODE, folder.path())).await;
    assert!(error.starts_with("Failed to connect to server: invalid peer certificate"), "{error}");
    assert!(server.requests().is_empty());
}

/// The clock of a device that was never set is in 1970, and every certificate is not valid yet.
#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_reported_with_the_clock() {
    let folder = TempDir::new().unwrap();
    let (server, claimant, _authority) = server(|params| {
        params.not_before = date_time_ymd(3000, 1, 1);
        params.not_after = date_time_ymd(3001, 1, 1);
    })
    .await;
    let error = failure(&claimant, &request(&url(&server), CODE, folder.path())).await;
    assert!(error.starts_with("Failed to connect to server: ") && error.contains("clock"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_reported() {
    let folder = TempDir::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let plain = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    });
    let error = failure(&claimant(), &request(&url, CODE, folder.path())).await;
    assert!(error.starts_with("Failed to connect to server: received corrupt message"), "{error}");
    plain.await.unwrap();
}
