//! The program itself: its first line, its exit codes, signals, and sudden death.

mod support;

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{ADMIN_KEY, answer, text};
use tokio::task::JoinSet;

struct Process {
    child: Child,
    url: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis-command-center"));
    command.env_clear().env("ADMIN_API_KEY", ADMIN_KEY).stderr(Stdio::null());
    command
}

fn serve(folder: &Path) -> Process {
    let database = format!("sqlite:{}", folder.join("center.db").display());
    let mut child =
        program().args(["serve", "--listen", "127.0.0.1:0", "--database", &database]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    Process { child, url: format!("http://{}", text(&said, "listening")) }
}

fn signal(process: &Process, name: &str) {
    let done = Command::new("kill").args(["-s", name, &process.child.id().to_string()]).status().unwrap();
    assert!(done.success());
}

async fn mint(client: &reqwest::Client, url: &str) -> (StatusCode, Value) {
    let request = client.post(format!("{url}/api/v0/provisioning/token")).header("x-api-key", ADMIN_KEY);
    answer(request.json(&json!({ "household_id": "home" }))).await
}

#[tokio::test]
async fn the_first_line_is_the_address_and_a_signal_ends_it_well() {
    for name in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let mut process = serve(folder.path());
        let (status, _) = mint(&support::client(), &process.url).await;
        assert_eq!(status, StatusCode::CREATED);
        signal(&process, name);
        assert_eq!(process.child.wait().unwrap().code(), Some(0), "{name}");
        assert!(!folder.path().join("center.db-wal").exists(), "the journal was brought into the file");
    }
}

#[test]
fn each_kind_of_failure_has_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("center.db").display());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (arguments, code) in [
        (vec!["--database", "mysql://host/name"], 2),
        (vec!["--database", "postgres://nobody@127.0.0.1:1/nothing"], 2),
        (vec!["--database", "sqlite:/nonexistent/center.db", "--secret-file", "/nonexistent/secret"], 2),
        (vec!["--database", "sqlite:/proc/center.db", "--secret-file", "SECRET"], 3),
        (vec!["--database", &database, "--listen", &address], 4),
    ] {
        let secret = folder.path().join("secret").display().to_string();
        let arguments = arguments.into_iter().map(|argument| if argument == "SECRET" { &secret } else { argument });
        let status = program().arg("serve").args(arguments.clone()).stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{:?}", arguments.collect::<Vec<_>>());
    }
}

#[test]
fn another_servers_secret_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    drop(serve(folder.path()));
    std::fs::remove_file(folder.path().join("center.db.secret")).unwrap();
    let database = format!("sqlite:{}", folder.path().join("center.db").display());
    let status = program().args(["serve", "--listen", "127.0.0.1:0", "--database", &database]).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_it_has_lost_nothing_that_it_acknowledged() {
    const ROUNDS: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let mut process = serve(folder.path());
        let mut clients = JoinSet::new();
        let (report, mut progress) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..8 {
            let (url, report) = (process.url.clone(), report.clone());
            clients.spawn(async move {
                let client = support::client();
                loop {
                    // Ends with the server, in the middle of whatever it was doing.
                    let request = client.post(format!("{url}/api/v0/provisioning/token")).header("x-api-key", ADMIN_KEY);
                    let Ok(response) = request.json(&json!({ "household_id": "home" })).send().await else { return };
                    let Ok(minted) = response.json::<Value>().await else { return };
                    let body = json!({ "node_id": minted["node_id"], "provisioning_token": minted["token"] });
                    let register = client.post(format!("{url}/api/v0/nodes/register")).json(&body);
                    let Ok(response) = register.send().await else { return };
                    let Ok(registered) = response.json::<Value>().await else { return };
                    report.send(format!("{}:{}", text(&registered, "node_id"), text(&registered, "node_key"))).unwrap();
                }
            });
        }
        drop(report);
        // A different number of registrations in each round, so that the death comes at different moments.
        for _ in 0..=round * 7 {
            acknowledged.push(progress.recv().await.unwrap());
        }
        signal(&process, "KILL");
        assert_eq!(process.child.wait().unwrap().signal(), Some(9));
        while let Some(credentials) = progress.recv().await {
            acknowledged.push(credentials);
        }
        clients.join_all().await;
    }
    assert!(acknowledged.len() >= ROUNDS);
    let process = serve(folder.path());
    let client = support::client();
    for credentials in acknowledged {
        let beat = client.post(format!("{}/api/v0/admin/nodes/heartbeat", process.url)).header("x-api-key", &credentials);
        let (status, body) = answer(beat.json(&json!({})).timeout(Duration::from_secs(30))).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
}
