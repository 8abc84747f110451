//! The processes that the demo starts. Each is killed when its value here is dropped.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use provisioning_core::domain::CommandCenterUrl;
use provisioning_core::secret::SecretText;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::timeline::{FileRow, Timeline};

/// How long a process may take until it prints its address.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// Lines of a log that are shown after a failure.
const LOG_LINES: usize = 20;

const NODE: &str = "jarvis-provision";
const CENTER: &str = "jarvis-command-center";

/// The directory of the two servers.
pub(crate) struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// The servers of this program's build. Under `cargo run` they are built first, so that they match the sources.
    pub(crate) async fn find(timeline: &Timeline) -> Result<Self> {
        let own = std::env::current_exe().context("finding this program")?;
        // target/PROFILE/examples/demo: the servers are built into target/PROFILE.
        let directory = own.parent().and_then(Path::parent).context("this program is not in a target directory")?.to_owned();
        if let Some(cargo) = std::env::var_os("CARGO") {
            timeline.note("Building the servers, if they are not up to date ...");
            let mut build = Command::new(cargo);
            // Naming the example selects the features of the tests, so that no library is compiled twice.
            build.args(["build", "--quiet", "--bin", NODE, "--bin", CENTER, "--example", "demo"]);
            build.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
            if let Some(target) = directory.parent() {
                build.arg("--target-dir").arg(target);
            }
            if directory.ends_with("release") {
                build.arg("--release");
            }
            let status = build.stdin(Stdio::null()).kill_on_drop(true).status().await.context("running cargo")?;
            ensure!(status.success(), "the servers could not be built");
        }
        for program in [NODE, CENTER] {
            let path = directory.join(program);
            ensure!(path.exists(), "`{}` does not exist; `cargo demo` builds it", path.display());
        }
        Ok(Self { directory })
    }

    /// A command of one of them, without the settings and the home directory of the user who runs the demo.
    fn command(&self, program: &str, home: &Path) -> Command {
        let mut command = Command::new(self.directory.join(program));
        for (name, _) in std::env::vars_os() {
            let theirs = name.to_str().is_none_or(|name| {
                name.starts_with("JARVIS_") || matches!(name, "CONFIG_PATH" | "COMMAND_CENTER_URL" | "ADMIN_API_KEY")
            });
            if theirs {
                command.env_remove(name);
            }
        }
        command.env("HOME", home).current_dir(home).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// Starts a server; returns it and the first line of its output, which it prints when it is ready.
async fn start<Ready: DeserializeOwned>(mut command: Command, log: &Path) -> Result<(Child, Ready)> {
    let errors = File::create(log).with_context(|| format!("creating `{}`", log.display()))?;
    let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().context("starting a server")?;
    let output = child.stdout.take().expect("the output is a pipe");
    let mut lines = BufReader::new(output).lines();
    let line = timeout(READY_LIMIT, lines.next_line()).await.context("the server did not print its address in time")??;
    let Some(line) = line else {
        bail!("the server ended before it listened: {}", child.wait().await?);
    };
    // Read and discard the rest of the output, which would otherwise fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, serde_json::from_str(&line).with_context(|| format!("the server's first line is `{line}`"))?))
}

/// The command center.
pub(crate) struct Center {
    _process: Child,
    pub(crate) url: String,
    pub(crate) administrator_key: SecretText,
}

#[derive(Deserialize)]
struct CenterReady {
    listening: SocketAddr,
}

impl Center {
    pub(crate) async fn start(programs: &Programs, directory: &Path) -> Result<Self> {
        let home = directory.join("command-center");
        fs::create_dir(&home).with_context(|| format!("creating `{}`", home.display()))?;
        let mut random = [0; 24];
        getrandom::fill(&mut random).context("getting random bytes from the system")?;
        let administrator_key = SecretText::new(URL_SAFE_NO_PAD.encode(random));
        let mut command = programs.command(CENTER, &home);
        command.args(["serve", "--listen", "127.0.0.1:0", "--database"]);
        command.arg(format!("sqlite:{}", home.join("center.db").display()));
        command.env("ADMIN_API_KEY", administrator_key.expose());
        let (process, CenterReady { listening }) =
            start(command, &directory.join("command-center.log")).await.context("the command center")?;
        Ok(Self { _process: process, url: format!("http://{listening}"), administrator_key })
    }

    pub(crate) fn url(&self) -> Result<CommandCenterUrl> {
        Ok(CommandCenterUrl::try_from(self.url.as_str())?)
    }
}

/// A node.
pub(crate) struct Node {
    _process: Child,
    home: PathBuf,
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) socket: PathBuf,
}

#[derive(Deserialize)]
struct NodeReady {
    listening: SocketAddr,
    ble_sim: PathBuf,
    name: String,
}

impl Node {
    /// Starts a node with all its files in `home`, which is created.
    pub(crate) async fn start(programs: &Programs, home: &Path) -> Result<Self> {
        fs::create_dir(home).with_context(|| format!("creating `{}`", home.display()))?;
        let settings = home.join("provision.toml");
        fs::write(&settings, "# The demo sets everything in the environment.\n").context("writing the node's settings")?;
        let mut command = Self::command(programs, home);
        command.args(["run", "--simulate", "--config"]).arg(settings);
        let (process, NodeReady { listening, ble_sim, name }) =
            start(command, &home.with_extension("log")).await.context("the node")?;
        Ok(Self { _process: process, home: home.to_owned(), name, address: listening, socket: ble_sim })
    }

    /// The label, as `jarvis-provision label --json` prints it.
    pub(crate) async fn label(&self, programs: &Programs) -> Result<Vec<u8>> {
        let mut command = Self::command(programs, &self.home);
        let output = command.args(["label", "--json"]).stderr(Stdio::inherit()).output().await.context("printing the label")?;
        ensure!(output.status.success(), "printing the label: {}", output.status);
        Ok(output.stdout)
    }

    fn command(programs: &Programs, home: &Path) -> Command {
        let mut command = programs.command(NODE, home);
        command.env("JARVIS_SECRET_DIRECTORY", home.join("secrets"));
        command.env("CONFIG_PATH", home.join("config.json"));
        command.env("JARVIS_NODE_DB", home.join("node.db"));
        command.env("JARVIS_BLE_SIM_SOCKET", home.join("ble.sock"));
        command.env("JARVIS_PROVISIONING_PORT", "0");
        command
    }

    /// The configuration of the node's normal operation.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.home.join("config.json")
    }

    /// The files that the node wrote, by name.
    pub(crate) fn files(&self) -> Result<Vec<FileRow>> {
        let secrets = self.home.join("secrets");
        let mut rows = Vec::new();
        let entries = fs::read_dir(&secrets).with_context(|| format!("reading `{}`", secrets.display()))?;
        for entry in entries {
            let entry = entry.context("reading the node's folder")?;
            rows.push(row(&entry.path(), &format!("secrets/{}", entry.file_name().to_string_lossy()))?);
        }
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        rows.push(row(&self.configuration(), "config.json")?);
        Ok(rows)
    }
}

fn row(path: &Path, name: &str) -> Result<FileRow> {
    let metadata = fs::symlink_metadata(path).with_context(|| format!("reading `{}`", path.display()))?;
    Ok(FileRow { mode: metadata.permissions().mode() & 0o7777, size: metadata.len(), name: name.to_owned() })
}

/// Prints the ends of the servers' logs, for diagnosis.
pub(crate) fn show_logs(directory: &Path) {
    let logs = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    for log in logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        if let Some(name) = log.file_stem().filter(|_| !lines.is_empty()) {
            eprintln!("--- {}", name.to_string_lossy());
            lines[lines.len().saturating_sub(LOG_LINES)..].iter().for_each(|line| eprintln!("{line}"));
        }
    }
}
