//! The command line: what can be asked, how it is answered, and with which exit status.

mod label;
mod prepare;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{CommandFactory, Parser, Subcommand};
use factory::{AccountRule, Device, ListError, PAIRING, Serial, read_list};
use jarvis_provisioning::logging::{LogFormat, log_to_standard_error};
use jarvis_provisioning::login::Folder;
use provisioning_core::fault::chain;
use thiserror::Error;

/// Where the ledger is if nobody says.
const LEDGER: &str = "factory-ledger.jsonl";

const AFTER_HELP: &str = "\
Exit status:
  0    done
  1    devices are not done, or another failure
  2    the command line, or the list of serials, is not understood
  130  ended at once by a second signal

Environment:
  JARVIS_LOG_FORMAT  human or json
  RUST_LOG           what is logged to standard error (default info)
  NO_COLOR           no colours

`jarvis-provision factory` and `jarvis-provision label --sheet` start this program with the same arguments.

Examples:
  jarvis-factory prepare --serials list.csv --rootfs-dir 'images/{serial}/rootfs' --api-url https://admin.example --dry-run
  jarvis-factory label --serials list.csv --rootfs-dir 'images/{serial}/rootfs' --sheet labels.pdf";

/// Makes accounts, credentials and labels for devices that are about to be flashed.
#[derive(Parser)]
#[command(name = "jarvis-factory", version, after_long_help = AFTER_HELP, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human, env = "JARVIS_LOG_FORMAT")]
    log_format: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Make accounts and images for devices that are about to be flashed.
    #[command(visible_alias = "factory")]
    Prepare(Box<prepare::Arguments>),
    /// Draw the labels of devices whose images are made, from trees and ledger.
    Label(label::Arguments),
    /// Write a completion script for a shell to standard output.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Why a command failed; each kind has its exit status.
#[derive(Debug, Error)]
enum Failure {
    /// Status 2.
    #[error("{0}")]
    Usage(String),
    /// Status 1.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Failure {
    fn status(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
        })
    }
}

/// Which devices, and where their files are.
#[derive(clap::Args)]
struct Devices {
    /// One device.
    #[arg(long, value_name = "SERIAL", conflicts_with = "serials")]
    serial: Option<Serial>,

    /// Many devices: a CSV file with a column `serial`.
    #[arg(long, value_name = "FILE")]
    serials: Option<PathBuf>,

    /// The tree that the image is made of; {serial} stands for the serial.
    #[arg(long, value_name = "DIRECTORY")]
    rootfs_dir: Option<String>,

    /// What was meant and what was done, a line each; without secrets. Keep it: it says which accounts are ours.
    #[arg(long, value_name = "FILE", default_value = LEDGER)]
    ledger: PathBuf,

    /// How accounts are named: {suffix} is what follows the serial's last hyphen, {serial} the whole, in lower case.
    #[arg(long, value_name = "TEMPLATE", default_value_t)]
    account: AccountRule,

    /// Where the pairing secrets are in the image.
    #[arg(long, value_name = "PATH", default_value = PAIRING)]
    pairing_file: PathBuf,
}

impl Devices {
    fn list(&self, needs_tree: bool) -> Result<Vec<Device>, Failure> {
        let rootfs = match self.rootfs_dir.as_deref() {
            Some(rootfs) => rootfs,
            None if needs_tree => return Err(Failure::Usage("say with --rootfs-dir where the image's tree is".into())),
            None => "{serial}",
        };
        match (&self.serial, &self.serials) {
            (Some(serial), _) => Ok(vec![Device::new(serial.clone(), &self.account, rootfs)]),
            (None, Some(list)) => read_list(list, &self.account, rootfs).map_err(|error| match error {
                ListError::Read { .. } => Failure::Other(error.into()),
                ListError::Lines { .. } | ListError::OneTree => Failure::Usage(error.to_string()),
            }),
            (None, None) => Err(Failure::Usage("say with --serial or --serials which devices".into())),
        }
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
        Command::Prepare(arguments) => prepare::run(&arguments),
        Command::Label(arguments) => label::run(&arguments),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "jarvis-factory", &mut std::io::stdout());
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("jarvis-factory: {}", chain(&failure));
            failure.status()
        }
    }
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let (folder, name) = Folder::of(path)?;
    folder.replace(&name, content, None)?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "ledger and manifest say when; nothing is decided by it")]
fn now() -> SystemTime {
    SystemTime::now()
}
