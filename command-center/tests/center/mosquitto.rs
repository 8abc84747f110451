//! Notices through Mosquitto, a broker of others: with an account, with and without TLS.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::process::{program, spawned};
use crate::support::{self, ADMIN_KEY, answer, text};

/// Debian has it out of the path of users.
const MOSQUITTO: &str = "/usr/sbin/mosquitto";
const USER: &str = "center";
const PASSWORD: &str = "canary-of-the-brokers-account";

/// A broker at 127.0.0.1, with an account, and with TLS if there is a certificate.
struct Mosquitto {
    child: Child,
    port: u16,
    _log: Lines<BufReader<ChildStderr>>,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Mosquitto {
    /// Starts one whose files are in a folder; it serves TLS if `broker.pem` and `broker.key` are there.
    fn start(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name).display().to_string();
        let accounts = file("accounts");
        let made = Command::new("mosquitto_passwd").args(["-b", "-c", &accounts, USER, PASSWORD]).status().unwrap();
        assert!(made.success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let tls = folder.join("broker.pem").exists();
        let tls = if tls { format!("certfile {}\nkeyfile {}\n", file("broker.pem"), file("broker.key")) } else { String::new() };
        // Under root it would become another user, who cannot read the folder.
        let settings = format!("user root\nlistener {port} 127.0.0.1\nallow_anonymous false\npassword_file {accounts}\n{tls}");
        std::fs::write(folder.join("mosquitto.conf"), settings).unwrap();
        let mut child = Command::new(MOSQUITTO).args(["-c", &file("mosquitto.conf")]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        while !said.ends_with("running") {
            said = log.next().expect("it runs").unwrap();
        }
        Self { child, port, _log: log }
    }

    /// A client of the topics of all nodes, whose subscription outlives it. It trusts the certificate, if there is one.
    fn subscriber(&self, folder: &Path) -> Command {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-u", USER, "-P", PASSWORD]);
        command.args(["-i", "a-node", "-c", "-q", "1", "-t", "jarvis/nodes/#", "-v"]);
        let certificate = folder.join("broker.pem");
        if certificate.exists() {
            command.arg("--cafile").arg(certificate);
        }
        command
    }
}

fn is_installed() -> bool {
    let clients = Command::new("mosquitto_sub").arg("--help").output().is_ok();
    support::is_there("Mosquitto (Debian: mosquitto, mosquitto-clients)", clients && Path::new(MOSQUITTO).exists())
}

/// Relays a settings key with a notice over a broker at an address of the scheme; the account's password is `password`.
async fn relay(folder: &Path, broker: &Mosquitto, scheme: &str, password: &str) -> (StatusCode, Value) {
    let mut command = program();
    command.args(["--database", &format!("sqlite:{}", folder.join("center.db").display()), "serve", "--listen", "127.0.0.1:0"]);
    command.args(["--mqtt-broker", &format!("{scheme}://127.0.0.1:{}", broker.port)]);
    command.env("JARVIS_MQTT_USERNAME", USER).env("JARVIS_MQTT_PASSWORD", password);
    command.env("SSL_CERT_FILE", folder.join("broker.pem"));
    let process = spawned(command);
    let client = support::client();
    let administer = |path: &str| client.post(format!("{}{path}", process.url)).header("x-api-key", ADMIN_KEY);
    let minted = answer(administer("/api/v0/provisioning/token").json(&json!({ "household_id": "home" }))).await.1;
    let id = text(&minted, "node_id");
    let register = json!({ "node_id": id, "provisioning_token": text(&minted, "token") });
    let key = text(&answer(administer("/api/v0/nodes/register").json(&register)).await.1, "node_key");
    let body = json!({ "k2": "canary-of-a-settings-key", "kid": "k2-202601-abcdef", "created_at": "2026-01-04T15:30:00.000Z" });
    let relayed = tokio::spawn(answer(administer(&format!("/api/v0/nodes/{id}/k2")).json(&body)));
    if password == PASSWORD {
        let mut subscriber = broker.subscriber(folder);
        let heard =
            tokio::task::spawn_blocking(move || subscriber.args(["-C", "1", "-W", "60"]).output().unwrap()).await.unwrap();
        let heard = String::from_utf8(heard.stdout).unwrap();
        let (topic, notice) = heard.trim().split_once(' ').expect("a topic and a notice");
        assert_eq!(topic, format!("jarvis/nodes/{id}/k2/provision"));
        assert!(!notice.contains("canary"), "{notice}");
        let request = text(&serde_json::from_str(notice).unwrap(), "request_id");
        let path = format!("{}/api/v0/nodes/{id}/k2/ack/{request}", process.url);
        let stored = client.post(path).header("x-api-key", format!("{id}:{key}")).json(&json!({ "success": true }));
        assert_eq!(answer(stored).await.0, StatusCode::OK);
    }
    relayed.await.unwrap()
}

async fn a_notice_arrives(folder: &Path, scheme: &str) {
    let broker = Mosquitto::start(folder);
    let subscribed = broker.subscriber(folder).arg("-E").status().unwrap();
    assert!(subscribed.success());
    assert_eq!(relay(folder, &broker, scheme, "wrong").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(relay(folder, &broker, scheme, PASSWORD).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_arrives_through_mosquitto_with_an_account() {
    if !is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    a_notice_arrives(folder.path(), "mqtt").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_arrives_through_mosquitto_with_tls() {
    if !is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let identity = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(folder.path().join("broker.pem"), identity.cert.pem()).unwrap();
    std::fs::write(folder.path().join("broker.key"), identity.signing_key.serialize_pem()).unwrap();
    a_notice_arrives(folder.path(), "mqtts").await;
}
