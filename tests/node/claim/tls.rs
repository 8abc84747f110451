//! Whose certificates are believed is the client's matter; here is what installers are told.

use std::fs;
use std::sync::Arc;

use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::claim::Claimant;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::claim::server::{Server, claimed};
use crate::claim::{AMPLE, CODE, claimant, failure, request};

/// A server with a certificate of its own, and a claimant that believes it.
async fn server(place: &TempDir, change: impl FnOnce(&mut CertificateParams)) -> (Server, Claimant) {
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let file = place.path().join("authority.pem");
    fs::write(&file, certificate.pem()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = Server::wrapped([claimed()], move |stream| {
        let accepting = acceptor.accept(stream);
        async { accepting.await.ok() }
    });
    let client = Client::new(AddressPolicy::SIMULATION, Trust::Only(file));
    (server.await, Claimant::new(client).with_patience(AMPLE))
}

fn url(server: &Server) -> String {
    format!("https://localhost:{}", server.port)
}

#[tokio::test]
async fn a_code_is_claimed_over_tls() {
    let (folder, place) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (server, claimant) = server(&place, |_| {}).await;
    claimant.provision(&request(&url(&server), CODE, folder.path())).await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_strangers_certificate_is_told_and_the_code_is_not() {
    let (folder, place) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (server, _) = server(&place, |_| {}).await;
    let told = failure(&claimant(), &request(&url(&server), CODE, folder.path())).await;
    assert!(told.starts_with("Failed to connect to server: invalid peer certificate"), "{told}");
    assert!(server.requests().is_empty());
}

/// A device that was never told the time stands at 1970, and every certificate is one of the future.
#[tokio::test]
async fn a_certificate_of_the_future_is_told_with_the_clock() {
    let (folder, place) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (server, claimant) = server(&place, |params| {
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
