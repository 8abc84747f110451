//! Whose certificates are believed is the client's matter; here is what installers are told.

use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::claim::Claimant;
use tempfile::TempDir;
use testing::server::Server;
use testing::tls::{Authority, CertificateParams, date_time_ymd};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::claim::server::claimed;
use crate::claim::{AMPLE, CODE, claimant, failure, request};

/// A server with a certificate of an authority, changed before it is signed, and a claimant that trusts the authority.
async fn server(change: impl FnOnce(&mut CertificateParams)) -> (Server, Claimant, Authority) {
    let authority = Authority::new();
    let server = authority.server("localhost", [claimed()], change).await;
    let client = Client::new(AddressPolicy::SIMULATION, Trust::Only(authority.path()));
    (server, Claimant::new(client).with_patience(AMPLE), authority)
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
async fn a_strangers_certificate_is_told_and_the_code_is_not() {
    let folder = TempDir::new().unwrap();
    let (server, ..) = server(|_| {}).await;
    let told = failure(&claimant(), &request(&url(&server), CODE, folder.path())).await;
    assert!(told.starts_with("Failed to connect to server: invalid peer certificate"), "{told}");
    assert!(server.requests().is_empty());
}

/// A device that was never told the time stands at 1970, and every certificate is one of the future.
#[tokio::test]
async fn a_certificate_of_the_future_is_told_with_the_clock() {
    let folder = TempDir::new().unwrap();
    let (server, claimant, _authority) = server(|params| {
        params.not_before = date_time_ymd(3000, 1, 1);
        params.not_after = date_time_ymd(3001, 1, 1);
    })
    .await;
    let told = failure(&claimant, &request(&url(&server), CODE, folder.path())).await;
    assert!(told.starts_with("Failed to connect to server: ") && told.contains("clock"), "{told}");
}

#[tokio::test]
async fn a_server_without_tls_is_told() {
    let folder = TempDir::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let plain = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    });
    let told = failure(&claimant(), &request(&url, CODE, folder.path())).await;
    assert!(told.starts_with("Failed to connect to server: received corrupt message"), "{told}");
    plain.await.unwrap();
}
