//! Loss and return of the database, and a full disk.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};

use crate::support::postgres::Cluster;
use crate::support::{self, ADMIN_KEY, Center, answer, text};

/// Polls until the server gives the expected answer.
async fn until_health(client: &reqwest::Client, url: &str, expected: StatusCode) {
    let asking = async {
        loop {
            let (status, _) = answer(client.get(format!("{url}/health"))).await;
            if status == expected {
                return;
            }
            // The server probes once a second; asking more often returns the cached result.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), asking).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn service_resumes_when_the_database_is_back() {
    if !support::postgres::is_installed() {
        return;
    }
    let mut cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let center = Center::start(tempfile::tempdir().unwrap(), cluster.fresh_database()).await;
    let node = center.node().await;
    let (node_id, token) = center.token().await;

    tokio::task::block_in_place(|| cluster.pause());
    let body = json!({ "node_id": node_id, "provisioning_token": token });
    let request = center.request(reqwest::Method::POST, "/api/v0/nodes/register").json(&body);
    let refused = request.send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key(RETRY_AFTER));
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::SERVICE_UNAVAILABLE);
    until_health(&center.client, &center.url(""), StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(center.get("/api/v0/ping", &[]).await.0, StatusCode::OK);

    tokio::task::block_in_place(|| cluster.resume());
    until_health(&center.client, &center.url(""), StatusCode::OK).await;
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::OK);
    assert_eq!(center.register(&node_id, &token).await.0, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_the_database_costs_the_last_heartbeats_but_no_first_one() {
    if !support::postgres::is_installed() {
        return;
    }
    let mut cluster = tokio::task::spawn_blocking(Cluster::start).await.unwrap();
    let center = Center::start(tempfile::tempdir().unwrap(), cluster.fresh_database()).await;
    let (node_id, token) = center.token().await;
    let (_, registered) = center.register(&node_id, &token).await;
    let node = format!("{node_id}:{}", text(&registered, "node_key"));
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::OK);
    let first = last_seen(&center).await;
    // Later ones are not awaited on the disk.
    center.clock.advance(Duration::from_secs(30));
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::OK);
    let second = last_seen(&center).await;
    assert_ne!(first, second);

    tokio::task::block_in_place(|| cluster.crash());
    tokio::task::block_in_place(|| cluster.resume());
    until_health(&center.client, &center.url(""), StatusCode::OK).await;
    // The first one has ended the token.
    assert_eq!(center.register(&node_id, &token).await.0, StatusCode::UNAUTHORIZED);
    let kept = last_seen(&center).await;
    assert!([first, second].contains(&kept), "{kept}");
    center.clock.advance(Duration::from_secs(30));
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::OK);
    assert_eq!(last_seen(&center).await, "2026-01-04T15:31:00.000000+00:00");
}

/// When the only node was last heard of.
async fn last_seen(center: &Center) -> String {
    let (_, nodes) = center.get("/api/v0/admin/nodes", &[("x-api-key", ADMIN_KEY)]).await;
    text(&nodes[0], "last_seen")
}

/// A server whose database is on a disk of one megabyte, a part of it taken by a file.
struct Small {
    child: Child,
    url: String,
    filler: String,
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn on_a_small_disk(folder: &str) -> Small {
    // A mount that only this server and its own see.
    let script = "mount -t tmpfs -o size=1200k tmpfs \"$1\" && head -c 500k /dev/zero >\"$1/filler\" && shift && exec \"$@\"";
    let mut child = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh", folder])
        .arg(env!("CARGO_BIN_EXE_jarvis-command-center"))
        .arg(format!("--database=sqlite:{folder}/center.db"))
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("ADMIN_API_KEY", ADMIN_KEY)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let filler = format!("/proc/{}/root{folder}/filler", child.id());
    Small { child, url: format!("http://{}", text(&said, "listening")), filler }
}

/// Whether disks can be mounted in a new namespace, which not every container allows.
fn can_mount() -> bool {
    let tried = Command::new("unshare").args(["--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).status();
    support::is_there("a mount namespace (Debian: util-linux)", tried.is_ok_and(|status| status.success()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_changes_atomically_until_there_is_room() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = on_a_small_disk(folder.path().to_str().unwrap());
    let client = support::client();
    let post = |path: &str, body: Value| {
        let request = client.post(format!("{}{path}", server.url)).header("x-api-key", ADMIN_KEY).json(&body);
        answer(request)
    };
    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    // Each adds a token and a node, until the disk is full.
    while refused.len() < 20 {
        let (status, minted) = post("/api/v0/provisioning/token", json!({ "household_id": "h".repeat(100) })).await;
        if status != StatusCode::CREATED {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{minted}");
            refused.push(Value::Null);
            continue;
        }
        let body = json!({ "node_id": minted["node_id"], "provisioning_token": minted["token"] });
        let (status, registered) = post("/api/v0/nodes/register", body.clone()).await;
        match status {
            StatusCode::CREATED => acknowledged.push(registered),
            _ => refused.push(body),
        }
        assert!(acknowledged.len() < 10_000, "the disk was not full");
    }
    assert!(!acknowledged.is_empty());
    // Requests that do not write are still answered.
    let nodes = client.get(format!("{}/api/v0/admin/nodes", server.url)).header("x-api-key", ADMIN_KEY);
    let (status, nodes) = answer(nodes).await;
    assert_eq!((status, nodes.as_array().unwrap().len()), (StatusCode::OK, acknowledged.len()));

    std::fs::remove_file(&server.filler).unwrap();
    until_health(&client, &server.url, StatusCode::OK).await;
    for registered in acknowledged {
        let key = format!("{}:{}", text(&registered, "node_id"), text(&registered, "node_key"));
        let beat = client.post(format!("{}/api/v0/admin/nodes/heartbeat", server.url)).header("x-api-key", key);
        assert_eq!(answer(beat.json(&json!({}))).await.0, StatusCode::OK);
    }
    for body in refused.into_iter().filter(|body| !body.is_null()) {
        assert_eq!(post("/api/v0/nodes/register", body).await.0, StatusCode::CREATED);
    }
}
