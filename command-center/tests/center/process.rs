//! The program: its first line, exit codes, signals, and kills.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use command_center::Database;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinSet;

use crate::support::{self, ADMIN_KEY, answer, text};

pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis-command-center"));
    command.env_clear().env("ADMIN_API_KEY", ADMIN_KEY).stderr(Stdio::null());
    command
}

fn serve(folder: &Path) -> Process {
    serve_on(folder, &format!("sqlite:{}", folder.join("center.db").display()))
}

fn serve_on(folder: &Path, database: &str) -> Process {
    start(program(), folder, database)
}

fn start(mut command: Command, folder: &Path, database: &str) -> Process {
    command.args(["serve", "--listen", "127.0.0.1:0", "--database", database]);
    command.arg("--secret-file").arg(folder.join("center.db.secret"));
    spawned(command)
}

/// The server of a complete command line, when it listens.
pub(crate) fn spawned(mut command: Command) -> Process {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
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
async fn the_first_line_is_the_address_and_a_signal_stops_it_cleanly() {
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
fn a_signal_ends_it_while_it_waits_for_a_secret() {
    for name in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("key");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // A shell's background job, as these tests may be, ignores SIGINT, and its processes inherit that.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT,TERM", env!("CARGO_BIN_EXE_jarvis-command-center")]);
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-key-file"]).arg(&pipe).current_dir(folder.path());
        command.env_clear().stderr(Stdio::null());
        let mut process = Process { child: command.spawn().unwrap(), url: String::new() };
        // Opened when the program has opened it too. Closed again, it would be an empty secret, which has another status.
        let writing = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
        signal(&process, name);
        drop(writing);
        let status = process.child.wait().unwrap();
        assert!(matches!(status.signal(), Some(2 | 15)), "{name}: {status}");
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
fn a_mistyped_database_address_does_not_print_its_password() {
    let folder = tempfile::tempdir().unwrap();
    for (address, code) in [
        ("postgers://user:hunter2@host/name", 2),
        ("user:hunter2@host/name", 2),
        ("postgres://user:hunter2@host:54x2/name", 3),
        ("postgres://user:hunter2@127.0.0.1:1/name?pasword=hunter2", 3),
        ("postgres://user@127.0.0.1:1/name?sslmode=hunter2", 3),
    ] {
        let mut commands = [program(), program()];
        commands[0].arg("--database").arg(address);
        commands[1].env("JARVIS_COMMAND_CENTER_DATABASE", address);
        for mut command in commands {
            command.env("RUST_LOG", "trace").args(["serve", "--listen", "127.0.0.1:0", "--secret-file"]);
            let output = command.arg(folder.path().join("secret")).stderr(Stdio::piped()).output().unwrap();
            let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert_eq!(output.status.code(), Some(code), "{address}: {printed}");
            assert!(!printed.contains("hunter2"), "{address}: {printed}");
        }
    }
}

/// A command line, started with an unlimited size of core dumps.
fn unlimited(command: &[&str], folder: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"])
        .args(command)
        .current_dir(folder)
        .env("ADMIN_API_KEY", ADMIN_KEY);
    shell
}

#[test]
fn a_crash_leaves_no_core_dump_and_the_limit_is_zero() {
    let folder = tempfile::tempdir().unwrap();
    let control = unlimited(&["sh", "-c", "kill -s ABRT $$"], folder.path()).status().unwrap();
    assert_eq!(control.signal(), Some(6));
    let arguments = ["--database", "sqlite:center.db", "serve", "--listen", "127.0.0.1:0"];
    let command = [&[env!("CARGO_BIN_EXE_jarvis-command-center")], &arguments[..]].concat();
    let mut process = spawned(unlimited(&command, folder.path()));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    signal(&process, "ABRT");
    let status = process.child.wait().unwrap();
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
    if !control.core_dumped() {
        eprintln!("SKIPPED: this machine writes no core dumps, so only the limit was tested");
    }
}

/// Whether this process may read the memory of all others: `CAP_SYS_PTRACE`, `CAP_SYS_ADMIN` or `CAP_PERFMON`.
fn may_read_all_memory() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let effective = u64::from_str_radix(effective.trim(), 16).unwrap();
    [19, 21, 38].into_iter().any(|capability| effective >> capability & 1 == 1)
}

#[test]
fn no_other_process_of_the_user_reads_its_memory() {
    let folder = tempfile::tempdir().unwrap();
    let process = serve(folder.path());
    // It takes the same right as the memory.
    let environment = std::fs::read(format!("/proc/{}/environ", process.child.id()));
    if may_read_all_memory() {
        eprintln!("SKIPPED: this user may read the memory of every process");
        return;
    }
    assert_eq!(environment.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn secrets_that_are_too_short_are_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("center.db").display());
    for (variable, secret, text) in [
        ("ADMIN_API_KEY", "fifteen bytes..", "shorter than 16 bytes: create one with `head -c 24 /dev/urandom | base64`"),
        ("JARVIS_JWT_SECRET", "thirty-one bytes are not enough", "shorter than 32 bytes: create one with"),
    ] {
        let mut command = program();
        command.env(variable, secret).args(["serve", "--listen", "127.0.0.1:0", "--database", &database]);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(text) && !said.contains(secret), "{said}");
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

/// The most memory that a process has had resident so far, in KiB.
fn peak_memory(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_logins_at_once_take_bounded_memory_and_delay_no_others() {
    const CONNECTIONS: usize = 20;
    const LOGINS: usize = 500;
    let folder = tempfile::tempdir().unwrap();
    let mut command = program();
    // Each login comes from its own address, so that no limit on guesses refuses it before its password is hashed.
    command.args(["--database", &format!("sqlite:{}", folder.path().join("center.db").display())]);
    command.args(["serve", "--listen", "127.0.0.1:0", "--trusted-proxy", "127.0.0.1", "--secret-file"]);
    command.arg(folder.path().join("center.db.secret"));
    let process = spawned(command);
    let client = support::client();
    let mut logins = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let (client, url) = (client.clone(), format!("{}/login", process.url));
        logins.spawn(async move {
            for login in 0..LOGINS / CONNECTIONS {
                let body = json!({ "email": format!("{connection}-{login}@unknown"), "password": "wrong" });
                let request = client.post(&url).header("x-forwarded-for", format!("10.0.{connection}.{login}"));
                let (status, said) = answer(request.json(&body)).await;
                // A machine under load refuses some after they waited for their turn.
                assert!([StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE].contains(&status), "{status} {said}");
            }
        });
    }
    let mut honest = 0;
    while !logins.is_empty() {
        tokio::select! {
            Some(ended) = logins.join_next() => ended.unwrap(),
            (status, said) = mint(&client, &process.url) => {
                assert_eq!(status, StatusCode::CREATED, "{said}");
                honest += 1;
            }
        }
    }
    assert!(honest >= 20, "{honest}");
    // Two blocks of 19 MiB, and the server itself.
    let peak = peak_memory(&process);
    assert!(peak < 100 * 1024, "{peak} KiB");
}

/// How often a server has had the disk synchronized, by its trace.
fn synchronized(trace: &Path) -> usize {
    let trace = std::fs::read_to_string(trace).unwrap();
    trace.lines().filter(|line| line.contains("fsync(") || line.contains("fdatasync(")).count()
}

#[tokio::test]
async fn only_the_first_heartbeat_with_a_key_synchronizes_the_disk() {
    if !support::is_there("strace", Command::new("strace").arg("-V").output().is_ok()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut command = Command::new("strace");
    // The server is our child; the tracer is not.
    command.args(["-D", "--quiet=all", "--follow-forks", "--trace=fsync,fdatasync", "--output"]).arg(&trace);
    command.arg(program().get_program()).env_clear().env("ADMIN_API_KEY", ADMIN_KEY).stderr(Stdio::null());
    let database = format!("sqlite:{}", folder.path().join("center.db").display());
    let process = start(command, folder.path(), &database);
    let client = support::client();
    let post = async |path: &str, key: &str, body: Value| {
        answer(client.post(format!("{}{path}", process.url)).header("x-api-key", key).json(&body)).await
    };
    let (_, minted) = mint(&client, &process.url).await;
    let node_id = text(&minted, "node_id");
    let body = json!({ "node_id": node_id, "provisioning_token": text(&minted, "token") });
    let (_, registered) = post("/api/v0/nodes/register", ADMIN_KEY, body).await;
    let key = format!("{node_id}:{}", text(&registered, "node_key"));
    let heartbeat = async || {
        let (status, said) = post("/api/v0/admin/nodes/heartbeat", &key, json!({ "is_busy": false })).await;
        assert_eq!(status, StatusCode::OK, "{said}");
    };
    let before = synchronized(&trace);
    heartbeat().await;
    let first = synchronized(&trace);
    assert!(first > before);
    for _ in 0..100 {
        heartbeat().await;
    }
    // Some come from checkpoints, a few in many seconds.
    assert!(synchronized(&trace) < first + 50);
}

/// What a client has received.
enum Acknowledged {
    /// A node, by its credentials.
    Node(String),
    /// An appliance, by the code that it claimed, its id and its key.
    Appliance([String; 3]),
}

/// Registers nodes and claims codes, one after the other, until the server is killed during a request.
async fn until_it_dies(url: &str, codes: &Mutex<Vec<String>>, report: &UnboundedSender<Acknowledged>) -> Option<()> {
    let client = support::client();
    let post = async |path: &str, body: Value| {
        let request = client.post(format!("{url}{path}")).header("x-api-key", ADMIN_KEY).json(&body);
        request.send().await.ok()?.json::<Value>().await.ok()
    };
    loop {
        let minted = post("/api/v0/provisioning/token", json!({ "household_id": "home" })).await?;
        let body = json!({ "node_id": minted["node_id"], "provisioning_token": minted["token"] });
        let registered = post("/api/v0/nodes/register", body).await?;
        let credentials = format!("{}:{}", text(&registered, "node_id"), text(&registered, "node_key"));
        report.send(Acknowledged::Node(credentials)).unwrap();

        let (code, left) = {
            let mut codes = codes.lock().unwrap();
            (codes.pop().expect("there are codes for all rounds"), codes.len())
        };
        let body = json!({ "provision_code": code, "mac_address": format!("02{left:010x}") });
        let claimed = post("/api/provision/claim", body).await?;
        report.send(Acknowledged::Appliance([code, text(&claimed, "appliance_id"), text(&claimed, "api_key")])).unwrap();
    }
}

async fn killed_under_load_it_has_lost_nothing_that_it_acknowledged(folder: &Path, database: &str) {
    const ROUNDS: usize = 8;
    let made = program()
        .args(["code", "create", "--count", "2000", "--json", "--database", database, "--secret-file"])
        .arg(folder.join("center.db.secret"))
        .output()
        .unwrap();
    let made: Vec<Value> = serde_json::from_slice(&made.stdout).unwrap();
    let codes = Arc::new(Mutex::new(made.iter().map(|made| text(made, "code")).collect::<Vec<_>>()));
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let mut process = serve_on(folder, database);
        let mut clients = JoinSet::new();
        let (report, mut progress) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..8 {
            let (url, codes, report) = (process.url.clone(), Arc::clone(&codes), report.clone());
            clients.spawn(async move { until_it_dies(&url, &codes, &report).await });
        }
        drop(report);
        // A different number of answers in each round, so that the kill comes at different moments.
        for _ in 0..=round * 13 {
            acknowledged.push(progress.recv().await.unwrap());
        }
        signal(&process, "KILL");
        assert_eq!(process.child.wait().unwrap().signal(), Some(9));
        while let Some(change) = progress.recv().await {
            acknowledged.push(change);
        }
        clients.join_all().await;
    }
    let process = serve_on(folder, database);
    let client = support::client();
    let (mut nodes, mut appliances) = (0, 0);
    for change in acknowledged {
        match change {
            Acknowledged::Node(credentials) => {
                let beat = client.post(format!("{}/api/v0/admin/nodes/heartbeat", process.url)).header("x-api-key", &credentials);
                assert_eq!(answer(beat.json(&json!({}))).await.0, StatusCode::OK);
                nodes += 1;
            }
            Acknowledged::Appliance([code, appliance_id, key]) => {
                let other = json!({ "provision_code": code, "mac_address": "0A0000000001" });
                let claim = client.post(format!("{}/api/provision/claim", process.url)).json(&other);
                assert!(answer(claim).await.0.is_client_error(), "a code is claimed once");
                let own = client.get(format!("{}/api/provision/config/{appliance_id}", process.url)).bearer_auth(key);
                assert_eq!(answer(own).await.0, StatusCode::OK);
                appliances += 1;
            }
        }
    }
    assert!(nodes >= ROUNDS && appliances >= ROUNDS, "{nodes} {appliances}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite_killed_under_load_it_has_lost_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("center.db").display());
    killed_under_load_it_has_lost_nothing_that_it_acknowledged(folder.path(), &database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres_killed_under_load_it_has_lost_nothing_that_it_acknowledged() {
    if !support::postgres::is_installed() {
        return;
    }
    let Database::Postgres(database) = support::postgres::fresh_database().await else { panic!("a fresh database is one") };
    let folder = tempfile::tempdir().unwrap();
    killed_under_load_it_has_lost_nothing_that_it_acknowledged(folder.path(), &database).await;
}
