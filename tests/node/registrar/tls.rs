//! Which certificates are accepted.

use std::fs;

use jarvis_http::client::{AddressPolicy, Client, RELEASE, Trust};
use provisioning_core::domain::UnixTime;
use provisioning_core::fault::Fault;
use tempfile::TempDir;
use testing::server::{Act, Server, answer};
use testing::tls::{Authority, CertificateParams, date_time_ymd};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::registrar::server::registered;
use crate::registrar::{CONNECT, fault, register, without_status};

/// A command center with a certificate for that name, adjusted before it is signed.
async fn server(authority: &Authority, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Server {
    authority.server(name, [Act::Send(answer("201 Created", &registered()).into())], change).await
}

fn trusting(trust: Trust) -> Client {
    Client::new(AddressPolicy::SIMULATION, trust).with_connect_limit(CONNECT)
}

fn https(server: &Server) -> String {
    format!("https://{}", server.address)
}

/// Asserts that the certificate is refused, and that no request was sent.
async fn distrusted(client: &Client, server: &Server) -> String {
    let (refused, line) = fault(client, &https(server)).await;
    assert_eq!(refused, without_status(Fault::TlsFailed), "{line}");
    assert!(server.requests().is_empty());
    line
}

#[tokio::test]
async fn a_certificate_of_a_configured_authority_is_accepted() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", |_| {}).await;
    for trust in [Trust::Only(authority.path()), Trust::SystemAnd(authority.path())] {
        let (outcome, journal) = register(&trusting(trust), &https(&server)).await;
        assert!(outcome.is_ok(), "{}", journal.text());
    }
}

#[tokio::test]
async fn a_certificate_for_a_name_is_accepted_under_that_name() {
    let authority = Authority::new();
    let server = server(&authority, "localhost", |_| {}).await;
    let url = format!("https://localhost:{}", server.address.port());
    assert!(register(&trusting(Trust::Only(authority.path())), &url).await.0.is_ok());
}

#[tokio::test]
async fn a_server_with_another_authoritys_certificate_receives_nothing() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = server(&theirs, "127.0.0.1", |_| {}).await;
    for trust in [Trust::System, Trust::SystemAnd(ours.path()), Trust::Only(ours.path())] {
        distrusted(&trusting(trust), &server).await;
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let server = server(&authority, "center.example", |_| {}).await;
    let line = distrusted(&trusting(Trust::Only(authority.path())), &server).await;
    assert!(line.contains("center.example"), "the log names the certificate's subject: {line}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", |params| params.not_after = date_time_ymd(2001, 1, 1)).await;
    let line = distrusted(&trusting(Trust::Only(authority.path())), &server).await;
    assert!(line.contains("expired"), "{line}");
}

/// The beginning of the year 3001.
const LATER: UnixTime = UnixTime(32_535_216_000);

/// With a clock in 1970, every certificate is not valid yet.
#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_refused_and_the_log_names_the_clock() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", |params| params.not_before = date_time_ymd(3000, 1, 1)).await;
    let client = trusting(Trust::Only(authority.path()));
    for time in [None, Some(UnixTime(0)), Some(RELEASE)] {
        let (refused, line) = fault(&client.clone().at_or_after(time), &https(&server)).await;
        assert_eq!(refused, without_status(Fault::ClockNotSet), "{line}");
        assert!(line.contains("clock"), "{line}");
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_certificate_is_judged_by_the_latest_time_that_is_known() {
    let authority = Authority::new();
    let validity = |from, to| {
        move |params: &mut CertificateParams| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        }
    };
    let client = trusting(Trust::Only(authority.path())).at_or_after(Some(LATER));
    let valid = server(&authority, "127.0.0.1", validity(3000, 3002)).await;
    let (outcome, journal) = register(&client, &https(&valid)).await;
    assert!(outcome.is_ok(), "{}", journal.text());
    let expired = server(&authority, "127.0.0.1", validity(2000, 3000)).await;
    distrusted(&client, &expired).await;
    // A time in the past changes nothing.
    let (outcome, journal) = register(&client.at_or_after(Some(UnixTime(1))), &https(&expired)).await;
    assert!(outcome.is_ok(), "{}", journal.text());
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let plain = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    });
    let authority = Authority::new();
    let (refused, _) = fault(&trusting(Trust::Only(authority.path())), &format!("https://{address}")).await;
    assert_eq!(refused, without_status(Fault::TlsFailed));
    plain.await.unwrap();
}

#[tokio::test]
async fn unreadable_authorities_are_named_and_no_certificate_is_accepted() {
    let authority = Authority::new();
    let server = server(&authority, "127.0.0.1", |_| {}).await;
    let folder = TempDir::new().unwrap();
    let path = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let torn = fs::read_to_string(authority.path()).unwrap().replace("-----END", "");
    for path in [
        folder.path().join("missing.pem"),
        folder.path().to_owned(),
        path("empty.pem", ""),
        path("other.pem", "not a certificate"),
        path("torn.pem", &torn),
        path("wrong.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        for trust in [Trust::Only(path.clone()), Trust::SystemAnd(path.clone())] {
            let line = distrusted(&trusting(trust), &server).await;
            assert!(line.contains(path.to_str().unwrap()), "{line}");
        }
    }
}
