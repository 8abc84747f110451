//! A node's folder, and the processes that use it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use mobile_test_harness::link::Target;
use mobile_test_harness::phone::Phone;
use provisioning_core::domain::Credentials;
use provisioning_core::secret::{SecretBytes, SecretText};
use provisioning_core::session::PhoneSecret;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use testing::journal;

/// Limit of every wait; reached only by a failing test.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

const PROGRAM: &str = env!("CARGO_BIN_EXE_jarvis-provision");

/// One node's files. On drop, all output of its processes is searched for secrets.
pub(crate) struct Place {
    root: TempDir,
    variables: Vec<(&'static str, String)>,
    /// Values that may appear only in the files that are meant to contain them.
    secrets: Mutex<Vec<String>>,
}

/// The content of the label.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) code: String,
    pub(crate) secret: String,
    pub(crate) access_point_passphrase: String,
    pub(crate) pairing_qr: String,
    pub(crate) wifi_qr: String,
}

/// The exit status and output of a command.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        journal::watch();
        let root = TempDir::with_prefix("jarvis-program-").expect("a temporary folder");
        let path = |name: &str| root.path().join(name).to_str().expect("UTF-8").to_owned();
        let variables = vec![
            ("HOME", path("home")),
            ("RUST_LOG", "trace".into()),
            ("JARVIS_SECRET_DIRECTORY", path("secrets")),
            ("CONFIG_PATH", path("config.json")),
            ("JARVIS_NODE_DB", path("node.db")),
            ("JARVIS_CLAIM_DIRECTORY", path("msp")),
            ("JARVIS_PROVISIONING_PORT", "0".into()),
        ];
        let place = Self { root, variables, secrets: Mutex::default() };
        for canary in journal::CANARIES {
            place.keep_secret(canary);
        }
        place
    }

    /// Sets an environment variable; an empty value counts as unset.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
    }

    /// Registers a secret: no output of a process may contain it.
    pub(crate) fn keep_secret(&self, secret: &[u8]) {
        self.secrets.lock().expect("no test panics while it holds this").extend(journal::encodings(secret));
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A file in the node's state folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path("secrets").join(name)
    }

    pub(crate) fn config(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("config.json")).expect("a configuration")).expect("JSON")
    }

    /// The program with these arguments, without the environment of the tests.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        self.wrapped(&[PROGRAM], arguments)
    }

    /// Like [`command`](Self::command), started by another program.
    fn wrapped<W: AsRef<OsStr>, A: AsRef<OsStr>>(&self, program: &[W], arguments: &[A]) -> Command {
        let mut command = Command::new(&program[0]);
        command.args(&program[1..]).args(arguments).env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.root.path()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command of the program until it exits.
    pub(crate) async fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ended {
        self.run_program(Path::new(PROGRAM), arguments).await
    }

    /// Like [`run`](Self::run), with the program at another path.
    pub(crate) async fn run_program<A: AsRef<OsStr>>(&self, program: &Path, arguments: &[A]) -> Ended {
        let output = timeout(PATIENCE, self.wrapped(&[program], arguments).output()).await.expect("it ends").expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ended { status: output.status.code(), output: text(output.stdout), errors: text(output.stderr) }
    }

    /// The label; registers its content as secrets.
    pub(crate) async fn label(&self) -> Label {
        let ended = self.run(&["label", "--json"]).await;
        assert_eq!(ended.status, Some(0), "{}", ended.errors);
        let label: Label = serde_json::from_str(&ended.output).expect("one JSON object");
        for secret in [&label.code, &label.secret, &label.access_point_passphrase] {
            self.keep_secret(secret.as_bytes());
        }
        self.keep_secret(&qr_secret(&label));
        label
    }

    /// The node's state, from `jarvis-provision status`.
    pub(crate) async fn status(&self) -> Value {
        let ended = self.run(&["status", "--json"]).await;
        assert_eq!(ended.status, Some(0), "{}", ended.errors);
        serde_json::from_str(&ended.output).expect("one JSON object")
    }

    /// Starts the node, and waits until it is ready.
    pub(crate) async fn start(&self) -> Node {
        self.start_under(&[PROGRAM]).await.expect("the node says where it listens")
    }

    /// Like [`start`](Self::start); none if the node exits because it is provisioned.
    pub(crate) async fn start_unless_provisioned(&self) -> Option<Node> {
        self.start_under(&[PROGRAM]).await
    }

    /// Starts the node under `strace` with these options; none if it exits before it is ready.
    pub(crate) async fn start_traced(&self, options: &[&str]) -> Option<Node> {
        let trace = self.path("strace.log");
        // With -D, strace runs as a grandchild, so the node's process is our child.
        let mut program = vec!["strace", "-D", "--quiet=all", "--follow-forks", "--output", trace.to_str().expect("UTF-8")];
        program.extend(options);
        program.push(PROGRAM);
        self.start_under(&program).await
    }

    /// Starts the node in a network namespace.
    pub(crate) async fn start_in(&self, namespace: &str) -> Node {
        let program = ["ip", "netns", "exec", namespace, PROGRAM];
        self.start_under(&program).await.expect("the node says where it listens")
    }

    async fn start_under(&self, program: &[&str]) -> Option<Node> {
        let log = File::options().create(true).append(true).open(self.path("node.log")).expect("a log");
        let mut command = self.wrapped(program, &["run", "--simulate"]);
        let mut process = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the program starts");
        let mut output = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let line = timeout(PATIENCE, output.next_line()).await.expect("it is ready in time").expect("UTF-8");
        Some(Node { process, output, ready: serde_json::from_str(&line?).ok()? })
    }

    /// The logs of all processes of this node.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("node.log")).unwrap_or_default()
    }

    /// Panics if a text contains one of the secrets.
    pub(crate) fn assert_clean(&self, what: &str, text: &str) {
        let secrets = self.secrets.lock().expect("no test panics while it holds this");
        for line in text.lines() {
            // The fraction of a second in a timestamp has six digits, like a code.
            let line = line
                .split_once("Z ")
                .filter(|(time, _)| time.ends_with(|c: char| c.is_ascii_digit()))
                .map_or(line, |(_, line)| line);
            if let Some(secret) = secrets.iter().find(|secret| journal::contains_word(line, secret)) {
                panic!("{what} contains the secret {secret}: {line}");
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log().lines().filter(|line| !line.contains(" TRACE ")).collect::<Vec<_>>().join("\n"));
        } else {
            self.assert_clean("the log", &self.log());
        }
    }
}

pub(crate) fn qr_secret(label: &Label) -> [u8; 16] {
    let mut secret = [0; 16];
    for (byte, at) in secret.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&label.secret[at..at + 2], 16).expect("32 hexadecimal digits");
    }
    secret
}

impl Label {
    /// The code, as a person types it.
    pub(crate) fn by_code(&self) -> PhoneSecret {
        PhoneSecret::Code(SecretText::new(self.code.clone()))
    }

    /// The secret of the QR code.
    pub(crate) fn by_qr(&self) -> PhoneSecret {
        PhoneSecret::Qr(SecretBytes::new(qr_secret(self)))
    }

    /// A wrong code.
    pub(crate) fn wrong_code(&self) -> PhoneSecret {
        let wrong = (self.code.parse::<u32>().expect("six digits") + 1) % 1_000_000;
        PhoneSecret::Code(SecretText::new(format!("{wrong:06}")))
    }
}

/// The node's output when it is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    listening: SocketAddr,
    ble_sim: PathBuf,
    name: String,
}

/// A running node; killed on drop.
#[derive(Debug)]
pub(crate) struct Node {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    ready: Ready,
}

impl Node {
    pub(crate) const fn address(&self) -> SocketAddr {
        self.ready.listening
    }

    pub(crate) fn name(&self) -> &str {
        &self.ready.name
    }

    pub(crate) fn over_bluetooth(&self) -> Target {
        Target::Simulated(self.ready.ble_sim.clone())
    }

    pub(crate) fn over_http(&self) -> Target {
        format!("http://{}", self.ready.listening).parse().expect("a target")
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    /// A file of the process in `/proc`; none if the user who runs the test may not read it, because the process is not
    /// dumpable and the user is not root.
    pub(crate) fn shown(&self, what: &str) -> Option<String> {
        let mut shown = Vec::new();
        let mut file = match File::open(format!("/proc/{}/{what}", self.id())) {
            Ok(file) => file,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{error}");
                assert!(!rustix::process::geteuid().is_root(), "root may read everything");
                return None;
            }
        };
        file.read_to_end(&mut shown).expect("it can be read");
        assert!(!shown.is_empty(), "{what} shows something");
        Some(String::from_utf8_lossy(&shown).replace('\0', "\n"))
    }

    pub(crate) async fn get(&self, path: &str) -> testing::http::Reply {
        testing::http::request(self.address(), "GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> testing::http::Reply {
        testing::http::post_json(self.address(), path, body.to_string().as_bytes()).await
    }

    /// Waits until `/status` fulfils a condition.
    pub(crate) async fn status(&self, fits: impl Fn(&Value) -> bool) -> Value {
        testing::http::poll_json(self.address(), "/api/v1/status", PATIENCE, fits).await
    }

    /// Waits until its program has restarted itself, and is ready again.
    pub(crate) async fn until_restarted(&mut self) {
        let line = timeout(PATIENCE, self.output.next_line()).await.expect("it is ready in time").expect("UTF-8");
        self.ready = serde_json::from_str(&line.expect("it prints where it listens")).expect("one JSON object");
    }

    /// Kills it, like a power cut.
    pub(crate) async fn kill(mut self) {
        self.process.kill().await.expect("it runs");
    }

    /// Waits until it exits; returns the exit status.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        timeout(PATIENCE, self.process.wait()).await.expect("it ends").expect("it was started").code()
    }

    /// Sends SIGTERM, like a service manager; returns the exit status, and the output after it was ready.
    pub(crate) async fn stop(mut self) -> (Option<i32>, Vec<String>) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.id()).expect("small")).expect("not zero");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let status = self.ended().await;
        let mut printed = Vec::new();
        while let Some(line) = self.output.next_line().await.expect("UTF-8") {
            printed.push(line);
        }
        (status, printed)
    }
}

/// Connects a phone and opens a session.
pub(crate) async fn phone(target: &Target, secret: &PhoneSecret) -> Phone {
    let mut phone = Phone::connect_within(target, PATIENCE).await.expect("the node is there");
    phone.open_session(secret).await.expect("the right secret");
    phone
}

/// Makes an attempt; returns its outcome.
pub(crate) async fn bring_online(phone: &mut Phone, credentials: &Credentials) -> provisioning_core::wire::StatusReport {
    phone.bring_online(credentials, PATIENCE, |_| {}).await.expect("an outcome")
}

/// The files in a folder and below it.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
