//! The client that was written from `docs/protocol.md` alone provisions a node over both links.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use mobile_test_harness::command_center::Order;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::center::Center;
use crate::place::{Label, Node, PATIENCE, Place};
use testing::journal::{PASSWORD, WRONG_PASSWORD};

const DOCUMENT: &str = include_str!("../../docs/protocol.md");
const CLIENT: &str = include_str!("../../docs/examples/client.py");

/// Debian's Python, because its package `python3-cryptography` is not visible to other builds of Python.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// Whether the client can run here.
pub(crate) fn python_is_there() -> bool {
    let imports = std::process::Command::new(PYTHON).args(["-c", "import cryptography"]).stderr(Stdio::null()).status();
    let is_there = imports.is_ok_and(|status| status.success());
    assert!(is_there || std::env::var_os("CI").is_none(), "CI has python3-cryptography");
    if !is_there {
        eprintln!("SKIPPED: {PYTHON} has no module cryptography; docs/examples/client.py did not run");
    }
    is_there
}

fn over_http(node: &Node) -> [String; 2] {
    ["--http".into(), format!("http://{}", node.address())]
}

fn over_bluetooth(node: &Node) -> [String; 2] {
    ["--socket".into(), node.over_bluetooth().to_string().trim_start_matches("ble-sim:").to_owned()]
}

/// A node that waits for a phone, and the order for it.
struct Scene {
    place: Place,
    center: Center,
    node: Node,
    label: Label,
    order: Order,
}

impl Scene {
    async fn new() -> Self {
        Self::at(Place::new()).await
    }

    async fn at(place: Place) -> Self {
        let center = Center::start().await;
        let node = place.start().await;
        let label = place.label().await;
        let order = center.order(&place).await;
        Self { place, center, node, label, order }
    }

    /// Runs the client; the exit status, and what it printed, which holds no secret.
    async fn client(&self, link: &[String], code: &str, passphrases: &[&str]) -> (Option<i32>, String) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/client.py");
        let mut command = Command::new(PYTHON);
        command.arg("-B").arg(script).args(link);
        command.args(["--ssid", "Lighthouse", "--household", "home", "--node-id", &self.order.node_id]);
        command.args(["--command-center", &self.center.url()]);
        command.env_clear().env("JARVIS_CODE", code).env("JARVIS_TOKEN", self.order.token.expose());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut client = command.spawn().expect("Python starts");
        let lines = passphrases.iter().fold(String::new(), |mut lines, passphrase| {
            writeln!(lines, "{passphrase}").expect("a string can be written");
            lines
        });
        let mut input = client.stdin.take().expect("a pipe");
        input.write_all(lines.as_bytes()).await.expect("a pipe holds two lines");
        drop(input);
        let output = timeout(PATIENCE, client.wait_with_output()).await.expect("it ends").expect("it was started");
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
        self.place.assert_clean("the client's output", &printed);
        (output.status.code(), printed)
    }
}

async fn provisions(link: fn(&Node) -> [String; 2]) {
    if !python_is_there() {
        return;
    }
    let scene = Scene::new().await;
    let (status, printed) = scene.client(&link(&scene.node), &scene.label.code, &[PASSWORD]).await;
    assert_eq!(status, Some(0), "{printed}");
    for line in ["paired", "network: b'HomeNetwork', -45 dBm", "accepted", "REGISTERING 70 %", "PROVISIONED 100 %"] {
        assert!(printed.lines().any(|printed| printed == line), "{line}: {printed}");
    }
    scene.center.assert_enrolled(&scene.place, &scene.order).await;
    assert!(scene.place.file("k2.enc").exists());
}

async fn names_a_wrong_code(link: fn(&Node) -> [String; 2]) {
    if !python_is_there() {
        return;
    }
    let scene = Scene::new().await;
    let wrong = if scene.label.code == "000000" { "000001" } else { "000000" };
    let (status, printed) = scene.client(&link(&scene.node), wrong, &[PASSWORD]).await;
    assert_eq!(status, Some(1), "{printed}");
    assert!(printed.contains("failed: FAULT_WRONG_CODE: The pairing code is wrong."), "{printed}");
    assert_eq!(scene.place.status().await["pairing_attempts"], 1, "one run is one guess");
    // The client closed its link, so the next one does not find the node busy.
    let (status, printed) = scene.client(&link(&scene.node), &scene.label.code, &[PASSWORD]).await;
    assert_eq!(status, Some(0), "{printed}");
}

async fn retries_a_wrong_passphrase(link: fn(&Node) -> [String; 2]) {
    if !python_is_there() {
        return;
    }
    let scene = Scene::new().await;
    let (status, printed) = scene.client(&link(&scene.node), &scene.label.code, &[WRONG_PASSWORD, PASSWORD]).await;
    assert_eq!(status, Some(0), "{printed}");
    assert!(printed.contains("FAULT_WRONG_PASSWORD: The Wi-Fi password is wrong."), "{printed}");
    assert_eq!(printed.matches("paired").count(), 1, "both attempts are made in one session: {printed}");
    scene.center.assert_enrolled(&scene.place, &scene.order).await;
}

#[tokio::test]
async fn the_documented_client_provisions_over_http() {
    provisions(over_http).await;
}

#[tokio::test]
async fn the_documented_client_provisions_over_bluetooth() {
    provisions(over_bluetooth).await;
}

#[tokio::test]
async fn the_documented_client_names_a_wrong_code_over_http() {
    names_a_wrong_code(over_http).await;
}

#[tokio::test]
async fn the_documented_client_names_a_wrong_code_over_bluetooth() {
    names_a_wrong_code(over_bluetooth).await;
}

#[tokio::test]
async fn the_documented_client_retries_a_wrong_passphrase_over_http() {
    retries_a_wrong_passphrase(over_http).await;
}

#[tokio::test]
async fn the_documented_client_retries_a_wrong_passphrase_over_bluetooth() {
    retries_a_wrong_passphrase(over_bluetooth).await;
}

#[tokio::test]
async fn the_documented_client_provisions_with_the_smallest_mtu() {
    if !python_is_there() {
        return;
    }
    let mut place = Place::new();
    let settings = place.path("settings.toml");
    std::fs::write(&settings, "simulated_mtu = 23").expect("a writable folder");
    place.set("JARVIS_PROVISION_CONFIG", settings.to_str().expect("UTF-8"));
    let scene = Scene::at(place).await;
    let (status, printed) = scene.client(&over_bluetooth(&scene.node), &scene.label.code, &[PASSWORD]).await;
    assert_eq!(status, Some(0), "{printed}");
}

#[tokio::test]
async fn a_client_without_another_passphrase_fails() {
    if !python_is_there() {
        return;
    }
    let scene = Scene::new().await;
    let (status, printed) = scene.client(&over_http(&scene.node), &scene.label.code, &[WRONG_PASSWORD]).await;
    assert_eq!(status, Some(1), "only PROVISIONED is a success: {printed}");
}

#[test]
fn the_document_quotes_the_client() {
    let (_, section) = DOCUMENT.split_once("\n## A client in Python\n").expect("the section of the client");
    let (_, quoted) = section.split_once("```python\n").expect("a quotation");
    let (quoted, _) = quoted.split_once("```").expect("the end of the quotation");
    assert!(quoted.lines().count() > 20 && CLIENT.contains(quoted), "docs/examples/client.py does not contain:\n{quoted}");
    assert!(CLIENT.lines().count() <= 250, "the client fits on a few pages");
}
