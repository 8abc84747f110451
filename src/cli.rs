//! The command line: commands, their messages, and their exit status.

mod authorise;
mod backend;
mod care;
mod claim;
mod connect;
mod diagnose;
mod events;
mod factory;
mod forget;
mod hotspot;
mod label;
mod login;
mod networks;
mod recover;
mod reset;
mod run;
mod status;
mod terminal;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{CommandFactory, Parser, Subcommand};
use jarvis_program::{Completions, Log};
use jarvis_provisioning::config;
use jarvis_provisioning::config::{Config, SETTINGS};
use jarvis_provisioning::network::hostapd::{become_child, supervise};
use jarvis_provisioning::store::{self, Paths, Store};
use provisioning_core::fault::{Fault, chain};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

const AFTER_HELP: &str = "\
Exit status:
  0  success; also if the node is already provisioned
  1  failure for a reason not listed below; `claim --check`: not provisioned
  2  invalid command line
  3  invalid settings
  4  the node's files cannot be read or written
  5  an address, a socket, a radio or NetworkManager cannot be used
  6  the node's credentials, or the token of its API, are missing or refused: retrying does not help
  7  the server cannot be reached, or fails: retrying may help
  8  `diagnose`: something does not work
  9  the node does not run, or without what the command needs: network care, for `networks`, `connect`, `forget`, `hotspot`,
     `recover` and `events`; a protocol without a secret, for `authorise`
  127  `factory`, `label --sheet`: the program jarvis-factory is not installed

Environment:
  JARVIS_SECRET_DIRECTORY       folder of the node's files (default ~/.jarvis)
  CONFIG_PATH                   config.json of the node's normal operation; without it no attempt succeeds
  JARVIS_PROVISIONING_PORT      port of the HTTP API (default 8080)
  JARVIS_SIMULATE_PROVISIONING  true, 1 or yes: same as --simulate
  JARVIS_SKIP_PROVISIONING_CHECK  true, 1 or yes: start even if the node is provisioned
  JARVIS_WIFI_BACKEND           networkmanager (default) or hostapd
  JARVIS_PROVISION_CODE         code for `claim`
  MOONHUB_PROVISIONING_ENABLED  true, 1 or yes: network care, as in the settings
  MOONHUB_PROVISIONING_TOKEN    token of the API of network care
  RUST_LOG                      log filter; logs go to standard error (default info)
  NO_COLOR                      disables colours

Examples:
  jarvis-provision run --simulate     simulated node: no radio, no root
  sudo jarvis-provision run           on a real node
  jarvis-provision label --png label.png
  jarvis-provision status --json
  sudo jarvis-provision claim --qr code.png";

/// Provisions this node from its owner's phone: from first boot to online and enrolled.
#[derive(Parser)]
#[command(name = "jarvis-provision", version, after_long_help = AFTER_HELP, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: Log,
}

#[derive(Subcommand)]
enum Command {
    /// Serve phones until the node is provisioned; with network care in the settings, stay and keep it online.
    Run(run::Arguments),
    /// Claim a provision code: enroll this node as an appliance of the code's site, and write config.yaml.
    Claim(claim::Arguments),
    /// Print or draw the label: pairing code, access point and passphrase, and two QR codes.
    Label(label::Arguments),
    /// Print the node's state, without secrets.
    Status(status::Arguments),
    /// Find out what is wrong with the network, from the radio to the command center. Changes nothing; needs no root.
    Diagnose(diagnose::Arguments),
    /// List the networks in range, or those that are saved.
    Networks(networks::Arguments),
    /// Join a network and save it. If that fails, the node returns to the network that it was in, or opens its hotspot.
    Connect(connect::Arguments),
    /// Delete a saved network.
    Forget(forget::Arguments),
    /// Open or close the hotspot.
    Hotspot(hotspot::Arguments),
    /// Start a recovery at once: search for a network that works, and open the hotspot if there is none.
    Recover(recover::Arguments),
    /// Print the last events of network care.
    Events(events::Arguments),
    /// Permit apps without the pairing code, such as Improv's, to give this device its network, for a minute. Needs a node that runs
    /// with such a protocol in its settings.
    #[command(alias = "authorize")]
    Authorise(authorise::Arguments),
    /// Factory reset: delete everything that the owner has entered. Completes an interrupted reset.
    Reset(reset::Arguments),
    /// Create accounts and images for devices before they are flashed.
    Factory(factory::Arguments),
    /// Log this node in with the credentials in its image.
    Login(login::Arguments),
    /// Write a completion script for a shell to standard output.
    Completions(Completions),
    /// Become another program that ends when its parent does; for the children of `run`.
    #[command(hide = true)]
    Child {
        /// The process that must be the parent; 0 to run the program until standard input ends.
        parent: u32,
        /// The program.
        program: PathBuf,
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Write the manual pages to a folder.
    #[command(hide = true)]
    Manual {
        /// The folder.
        folder: PathBuf,
    },
}

/// The source of the settings; the same for every command.
#[derive(clap::Args)]
struct Settings {
    /// Settings file [default: /etc/jarvis/provision.toml, if it exists].
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
    /// Status 4 or 5. The cause is logged.
    #[error(
        "the reset is not complete, and this node takes nothing before it is: {0} {remedy}, then run this command again, or start `jarvis-provision run`, which completes it",
        remedy = remedy(*.0)
    )]
    ResetIncomplete(Fault),
    /// Status 6.
    #[error(transparent)]
    Credentials(anyhow::Error),
    /// Status 7.
    #[error(transparent)]
    Server(anyhow::Error),
    /// Status 9.
    #[error(
        "jarvis-provision does not run on this device, or not at {address}: start it with `systemctl start jarvis-provision`"
    )]
    Absent {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// Status 9.
    #[error("{0}")]
    Disabled(String),
    /// Status 127, as shells have it.
    #[error("{0} is not installed: install the package {0}, or put the program into the PATH")]
    NotInstalled(&'static str),
    /// Status 1.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
    /// This status; the message is already printed.
    #[error("failed")]
    Reported(u8),
}

impl Failure {
    /// Whether the same command can succeed later, although nobody has changed anything.
    const fn is_temporary(&self) -> bool {
        matches!(self, Self::Absent { .. } | Self::Server(_) | Self::Other(_))
    }

    const fn status(&self) -> u8 {
        match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Settings(_) => 3,
            Self::Files(_) | Self::ResetIncomplete(Fault::StorageFailed) => 4,
            Self::Resource { .. } | Self::ResetIncomplete(_) => 5,
            Self::Credentials(_) => 6,
            Self::Server(_) => 7,
            Self::Absent { .. } | Self::Disabled(_) => care::ABSENT,
            Self::NotInstalled(_) => 127,
            Self::Reported(status) => *status,
        }
    }
}

impl Settings {
    fn read(&self) -> Result<Config, Failure> {
        let packaged = Path::new(SETTINGS);
        let file = self.config.as_deref().or_else(|| packaged.exists().then_some(packaged));
        Ok(Config::read(file, variable)?)
    }
}

/// What the operator does about a reset that is not complete.
const fn remedy(fault: Fault) -> &'static str {
    match fault {
        Fault::StorageFailed => "Make the files in the message above removable",
        _ => "Start NetworkManager.service, or wpa_supplicant.service with the backend hostapd",
    }
}

/// Parses the command line, executes the command, and prints its error.
pub(crate) fn main() -> ExitCode {
    let Arguments { command, log } = Arguments::parse();
    log.start();
    let result = match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Claim(arguments) => claim::run(&arguments),
        Command::Label(arguments) => label::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Diagnose(arguments) => diagnose::run(&arguments),
        Command::Networks(arguments) => networks::run(&arguments),
        Command::Connect(arguments) => connect::run(&arguments),
        Command::Forget(arguments) => forget::run(&arguments),
        Command::Hotspot(arguments) => hotspot::run(&arguments),
        Command::Recover(arguments) => recover::run(&arguments),
        Command::Events(arguments) => events::run(&arguments),
        Command::Authorise(arguments) => authorise::run(&arguments),
        Command::Reset(arguments) => reset::run(&arguments),
        Command::Factory(_) => factory::run().map(|never| match never {}),
        Command::Login(arguments) => login::run(&arguments),
        Command::Completions(completions) => {
            completions.write::<Arguments>();
            Ok(())
        }
        Command::Child { parent, program, arguments } => {
            let failure = |source| Failure::Resource { attempt: format!("becoming {}", program.display()), source };
            match parent {
                0 => match supervise(&program, &arguments) {
                    Ok(status) if status.success() => Ok(()),
                    Ok(_) => Err(Failure::Reported(1)),
                    Err(source) => Err(failure(source)),
                },
                parent => Err(failure(become_child(parent, &program, &arguments))),
            }
        }
        Command::Manual { folder } => {
            clap_mangen::generate_to(Arguments::command(), folder).map_err(|error| Failure::Other(error.into()))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Reported(status)) => status.into(),
        Err(failure) => {
            eprintln!("jarvis-provision: {}", chain(&failure));
            failure.status().into()
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Ensures that one program runs per node; released when dropped.
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

/// The paths of the node's files.
fn paths(config: &Config) -> Paths {
    let mut paths =
        Paths::from_environment(|name| variable(name).filter(|value| !value.is_empty()).or_else(|| config.files.variable(name)));
    paths.pairing.clone_from(&config.pairing.file);
    paths
}

/// Opens the node's files.
fn open_store(config: &Config) -> Result<Store, Failure> {
    Ok(Store::open(paths(config))?)
}

#[expect(clippy::disallowed_methods, reason = "`Retry-After` and the end of a cooldown are dates; nothing else uses this clock")]
fn now() -> SystemTime {
    SystemTime::now()
}
