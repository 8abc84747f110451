//! The command line: what can be asked, how it is answered, and with which exit status.

mod claim;
mod factory;
mod label;
mod login;
mod reset;
mod run;
mod status;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{CommandFactory, Parser, Subcommand};
use jarvis_provisioning::config;
use jarvis_provisioning::config::Config;
use jarvis_provisioning::logging::{LogFormat, log_to_standard_error};
use jarvis_provisioning::store::{self, Paths, Store};
use provisioning_core::fault::chain;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

const AFTER_HELP: &str = "\
Exit status:
  0  done; also when the node is provisioned already
  1  failed for another reason than those below; `claim --check`: not provisioned
  2  the command line is not understood
  3  the settings cannot be used
  4  the node's files cannot be read or written
  5  an address, a socket or a radio cannot be used
  6  the device's credentials are missing or refused: another try will not help
  7  the server cannot be reached, or fails: another try may help
  127  `factory`, `label --sheet`: the program jarvis-factory is not installed

Environment:
  JARVIS_SECRET_DIRECTORY       the node's files (default ~/.jarvis)
  CONFIG_PATH                   config.json of the node's normal operation; without it no attempt succeeds
  JARVIS_PROVISIONING_PORT      the port of the HTTP API (default 8080)
  JARVIS_SIMULATE_PROVISIONING  true, 1 or yes: as --simulate
  JARVIS_SKIP_PROVISIONING_CHECK  true, 1 or yes: begin even if the node is provisioned
  JARVIS_WIFI_BACKEND           networkmanager
  JARVIS_PROVISION_CODE         the code for `claim`
  RUST_LOG                      what is logged to standard error (default info)
  NO_COLOR                      no colours

Examples:
  jarvis-provision run --simulate     try it on a desk: no radio, no root
  sudo jarvis-provision run           on a device
  jarvis-provision label --png label.png
  jarvis-provision status --json
  sudo jarvis-provision claim --qr code.png";

/// Brings this device from first boot to online and enrolled, from its owner's phone.
#[derive(Parser)]
#[command(name = "jarvis-provision", version, after_long_help = AFTER_HELP, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human, env = "JARVIS_LOG_FORMAT")]
    log_format: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Wait for a phone and do what it asks, until the node is provisioned.
    Run(run::Arguments),
    /// Claim a provision code, as an appliance: become one of the code's site, and write config.yaml.
    Claim(claim::Arguments),
    /// Show or draw the label: pairing code, access point and password, and two QR codes.
    Label(label::Arguments),
    /// Show how it stands, without any secret.
    Status(status::Arguments),
    /// Forget everything that the owner gave: a factory reset. What was interrupted is finished.
    Reset(reset::Arguments),
    /// Make accounts and images for devices that are about to be flashed.
    Factory(factory::Arguments),
    /// Log this device in with the credentials that the factory gave it.
    Login(login::Arguments),
    /// Write a completion script for a shell to standard output.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Where the settings come from; the same for every command.
#[derive(clap::Args)]
struct Settings {
    /// The settings; without it everything has its default.
    #[arg(long, value_name = "FILE", env = "JARVIS_PROVISION_CONFIG")]
    config: Option<PathBuf>,
}

/// Why a command failed; each kind has its exit status.
#[derive(Debug, Error)]
enum Failure {
    /// Status 2.
    #[error("{0}")]
    Usage(String),
    /// Status 3.
    #[error(transparent)]
    Settings(#[from] config::Error),
    /// Status 4.
    #[error(transparent)]
    Files(#[from] store::Error),
    /// Status 5.
    #[error("{attempt}")]
    Resource {
        attempt: String,
        #[source]
        source: std::io::Error,
    },
    /// Status 6.
    #[error(transparent)]
    Credentials(anyhow::Error),
    /// Status 7.
    #[error(transparent)]
    Server(anyhow::Error),
    /// Status 127, as shells have it.
    #[error("{0} is not installed: install the package {0}, or put the program into the PATH")]
    NotInstalled(&'static str),
    /// Status 1.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
    /// This status; there is nothing left to say.
    #[error("failed")]
    Told(u8),
}

impl Failure {
    fn status(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Settings(_) => 3,
            Self::Files(_) => 4,
            Self::Resource { .. } => 5,
            Self::Credentials(_) => 6,
            Self::Server(_) => 7,
            Self::NotInstalled(_) => 127,
            Self::Told(status) => *status,
        })
    }
}

impl Settings {
    fn read(&self) -> Result<Config, Failure> {
        Ok(Config::read(self.config.as_deref(), variable)?)
    }
}

/// Parses the command line, carries the command out, and says what went wrong.
pub(crate) fn main() -> ExitCode {
    let Arguments { command, log_format } = Arguments::parse();
    log_to_standard_error(log_format);
    // A core dump would hold every secret that the process holds.
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!("switching off core dumps: {error}");
    }
    let result = match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Claim(arguments) => claim::run(&arguments),
        Command::Label(arguments) => label::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Reset(arguments) => reset::run(&arguments),
        Command::Factory(_) => factory::run().map(|never| match never {}),
        Command::Login(arguments) => login::run(&arguments),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "jarvis-provision", &mut std::io::stdout());
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure @ Failure::Told(_)) => failure.status(),
        Err(failure) => {
            eprintln!("jarvis-provision: {}", chain(&failure));
            failure.status()
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Makes sure that the program runs once for a node; held until it is dropped.
fn lock(paths: &Paths) -> Result<OwnedFd, Failure> {
    let path = paths.directory.join("run.lock");
    let attempt = |what: &str| format!("{what} {}", path.display());
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
    let file = opened.map_err(|source| Failure::Resource { attempt: attempt("opening"), source: source.into() })?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Failure::Usage("jarvis-provision is running for this node: stop it first".into())),
        Err(source) => Err(Failure::Resource { attempt: attempt("locking"), source: source.into() }),
    }
}

/// Where the node's files are.
fn paths(config: &Config) -> Paths {
    let mut paths = Paths::from_environment(variable);
    paths.pairing.clone_from(&config.pairing.file);
    paths
}

/// Opens the node's files.
fn open_store(config: &Config) -> Result<Store, Failure> {
    Ok(Store::open(paths(config))?)
}

#[expect(clippy::disallowed_methods, reason = "servers name dates; nothing else is decided by it")]
fn now() -> SystemTime {
    SystemTime::now()
}
