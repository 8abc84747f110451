//! TLS, metrics, health, and clients that are slow.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use command_center::audit::Actor;
use command_center::{Clock, Config, Database, OpenError, SecretText, Server, StartError, TlsError, TlsFiles};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{self, ADMIN_KEY, Center, text};

/// Writes a fresh certificate for this machine and its key; the certificate.
fn certify(folder: &Path) -> (TlsFiles, reqwest::Certificate) {
    let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let files = TlsFiles { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, identity.cert.pem()).unwrap();
    let mut options = std::fs::OpenOptions::new();
    let mut key = options.write(true).create(true).truncate(true).mode(0o600).open(&files.key).unwrap();
    key.write_all(identity.signing_key.serialize_pem().as_bytes()).unwrap();
    (files, reqwest::Certificate::from_pem(identity.cert.pem().as_bytes()).unwrap())
}

fn trusting(certificate: reqwest::Certificate) -> reqwest::Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap()
}

fn config(folder: &Path) -> Config {
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), Database::Sqlite(folder.join("center.db")));
    config.admin_key = Some(SecretText::new(ADMIN_KEY.into()));
    config.clock = Clock::manual(support::START);
    config
}

#[tokio::test]
async fn tls_clients_are_served_and_a_renewed_certificate_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let (files, first) = certify(folder.path());
    let mut config = config(folder.path());
    config.tls = Some(files);
    let server = Server::start(config).await.unwrap();
    let url = format!("https://{}/health", server.address());
    assert_eq!(trusting(first.clone()).get(&url).send().await.unwrap().status(), StatusCode::OK);
    let (_, second) = certify(folder.path());
    assert!(trusting(second.clone()).get(&url).send().await.is_err());
    server.reload_certificate().unwrap();
    assert_eq!(trusting(second.clone()).get(&url).send().await.unwrap().status(), StatusCode::OK);
    assert!(trusting(first).get(&url).send().await.is_err());

    std::fs::write(folder.path().join("certificate.pem"), "nonsense").unwrap();
    assert!(server.reload_certificate().is_err());
    assert_eq!(trusting(second).get(&url).send().await.unwrap().status(), StatusCode::OK);
    // A client without TLS gets no answer, and does not affect others.
    let mut plain = TcpStream::connect(server.address()).unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    plain.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut said = Vec::new();
    let said = tokio::task::spawn_blocking(move || plain.read_to_end(&mut said).map(|_| said)).await.unwrap();
    assert!(!said.unwrap_or_default().starts_with(b"HTTP"));
    server.stop().await;
}

#[tokio::test]
async fn a_server_with_tls_takes_forms_of_its_https_page_only() {
    let folder = tempfile::tempdir().unwrap();
    let (files, certificate) = certify(folder.path());
    let mut config = config(folder.path());
    config.tls = Some(files);
    let server = Server::start(config).await.unwrap();
    let client = trusting(certificate);
    for (scheme, expected) in [("http", StatusCode::FORBIDDEN), ("https", StatusCode::NOT_FOUND)] {
        let request = client.post(format!("https://{}/codes/revoke", server.address()));
        let request = request.basic_auth("operator", Some(ADMIN_KEY)).header("content-type", "application/x-www-form-urlencoded");
        let request = request.header("origin", format!("{scheme}://{}", server.address())).body("id=none");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), expected, "{scheme}");
        assert_eq!(response.headers()["strict-transport-security"], "max-age=31536000");
    }
}

#[tokio::test]
async fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (files, _) = certify(folder.path());
    std::fs::set_permissions(&files.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut config = config(folder.path());
    config.tls = Some(files);
    assert!(matches!(Server::start(config).await, Err(StartError::Tls(TlsError::Exposed { .. }))));
}

#[tokio::test]
async fn metrics_count_answers_by_route_and_hold_no_secret() {
    let center = Center::on_sqlite().await;
    let code = center.code().await;
    center.get(&format!("/api/provision/validate/{code}"), &[]).await;
    center.get("/no/such/route", &[]).await;
    let bearer = format!("Bearer {ADMIN_KEY}");
    let response = center.request(Method::GET, "/metrics").header("authorization", bearer).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4");
    let metrics = response.text().await.unwrap();
    for line in [
        "jarvis_healthy 1",
        "jarvis_http_requests_total{route=\"/api/provision/validate/{code}\",method=\"GET\",status=\"200\"} 1",
        "jarvis_http_requests_total{route=\"-\",method=\"GET\",status=\"404\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in:\n{metrics}");
    }
    assert!(!metrics.contains(&code));
}

/// Waits until the server has closed a connection, and returns what it said before.
fn until_closed(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut said = Vec::new();
    // A reset also closes the connection.
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_disconnected_and_others_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.patience.head = Duration::from_millis(300);
    config.patience.body = Duration::from_millis(300);
    let server = Server::start(config).await.unwrap();
    let address = server.address();
    let connect = move |said: &'static str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        stream
    };
    let body = "POST /api/provision/claim HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    let silent = (0..300).map(|_| connect("")).collect::<Vec<_>>();
    let half_heads = (0..300).map(|_| connect("GET /health HTTP/1.1\r\nhos")).collect::<Vec<_>>();
    let half_bodies = (0..10).map(|_| connect(body)).collect::<Vec<_>>();
    let client = support::client();
    let health = client.get(format!("http://{address}/health")).send().await.unwrap();
    assert_eq!(health.status(), StatusCode::OK);
    tokio::task::spawn_blocking(move || {
        for stream in silent.into_iter().chain(half_heads) {
            assert_eq!(until_closed(stream), "");
        }
        for stream in half_bodies {
            assert!(until_closed(stream).starts_with("HTTP/1.1 408 "));
        }
    })
    .await
    .unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_are_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.patience.answer = Duration::from_millis(300);
    // Otherwise the limit for the next request would end them.
    config.patience.head = Duration::from_mins(10);
    let server = Server::start(config).await.unwrap();
    let address = server.address();
    let ask = format!("GET /openapi.json HTTP/1.1\r\nhost: x\r\nx-api-key: {ADMIN_KEY}\r\n\r\n");
    let clients = tokio::task::spawn_blocking(move || {
        let connect = || {
            let mut stream = TcpStream::connect(address).unwrap();
            // More than what the kernel holds for a client that does not read.
            stream.write_all(ask.repeat(300).as_bytes()).unwrap();
            stream
        };
        (0..10).map(|_| connect()).collect::<Vec<_>>()
    });
    let clients = clients.await.unwrap();
    let client = support::client();
    let metrics = || client.get(format!("http://{address}/metrics")).bearer_auth(ADMIN_KEY).send();
    let until_gone = async {
        while !metrics().await.unwrap().text().await.unwrap().contains("\njarvis_connections 1\n") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), until_gone).await.unwrap();
    drop(clients);
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_runs_when_the_server_stops_is_answered() {
    let center = Center::on_sqlite().await;
    let address = center.address();
    let mut stream = TcpStream::connect(address).unwrap();
    let body = json!({ "household_id": "home" }).to_string();
    let head = format!(
        "POST /api/v0/provisioning/token HTTP/1.1\r\nhost: x\r\nx-api-key: {ADMIN_KEY}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // Until the server has the head: the next connection is answered after it.
    assert_eq!(center.get("/health", &[]).await.0, StatusCode::OK);
    let stopping = tokio::spawn(center.stop());
    let answered = tokio::task::spawn_blocking(move || {
        // New connections are refused as soon as the server is stopping.
        while TcpStream::connect(address).is_ok() {
            std::thread::yield_now();
        }
        stream.write_all(body.as_bytes()).unwrap();
        until_closed(stream)
    });
    let answered = answered.await.unwrap();
    assert!(answered.starts_with("HTTP/1.1 201 "), "{answered}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    Server::start(config.clone()).await.unwrap().stop().await;
    let connection = rusqlite::Connection::open(folder.path().join("center.db")).unwrap();
    connection.execute("UPDATE schema_version SET version = 1000", []).unwrap();
    match Server::start(config).await {
        Err(StartError::Open(OpenError::Database(text))) => assert!(text.contains("schema 1000"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_log_at_every_level_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_jarvis-command-center"))
        .env_clear()
        .envs([("RUST_LOG", "trace"), ("ADMIN_API_KEY", ADMIN_KEY)])
        .arg(format!("--database=sqlite:{}", folder.path().join("center.db").display()))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    let url = format!("http://{}", text(&serde_json::from_str(&line).unwrap(), "listening"));
    let client = support::client();
    let post =
        |path: &str, body: serde_json::Value| client.post(format!("{url}{path}")).header("x-api-key", ADMIN_KEY).json(&body);
    let (_, minted) = support::answer(post("/api/v0/provisioning/token", json!({ "household_id": "home" }))).await;
    let register = json!({ "node_id": minted["node_id"], "provisioning_token": minted["token"] });
    let (_, registered) = support::answer(post("/api/v0/nodes/register", register)).await;
    let operator = command_center::operator::Operator::open(&config(folder.path())).await.unwrap();
    let wanted = command_center::operator::NewCodes {
        site: None,
        partner: "default".into(),
        expires_in: Duration::from_hours(24 * 365 * 10),
        count: 1,
    };
    let code = operator.acting(Actor::at_the_command_line()).create_codes(&wanted, |_| {}).await.unwrap().remove(0).code;
    client.get(format!("{url}/api/provision/validate/{}", code.expose())).send().await.unwrap();
    let claim = json!({ "provision_code": code.expose(), "mac_address": "84:3A:5B:91:B6:61" });
    let (status, claimed) = support::answer(post("/api/provision/claim", claim)).await;
    assert_eq!(status, StatusCode::OK);
    let account = json!({ "email": "a@b", "password": "a password to find", "role": "r" });
    support::answer(post("/users", account.clone())).await;
    let (_, login) = support::answer(post("/login", account)).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("/api/provision/validate/{code}"), "requests are in the log");
    let secret = std::fs::read_to_string(folder.path().join("center.db.secret")).unwrap();
    for secret in [
        ADMIN_KEY,
        secret.trim(),
        &text(&minted, "token"),
        &text(&registered, "node_key"),
        code.expose(),
        &text(&claimed, "api_key"),
        "a password to find",
        &text(&login, "token"),
    ] {
        assert!(!log.contains(secret), "{secret}");
    }
}
