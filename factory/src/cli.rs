//! The command line: commands, their messages, and their exit status.

mod label;
mod prepare;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{CommandFactory, Parser, Subcommand};
use factory::{AccountRule, Device, ListError, PAIRING, Serial, read_list};
use jarvis_program::{Completions, Log};
use jarvis_provisioning::login::Folder;
use provisioning_core::fault::chain;
use thiserror::Error;

/// The default ledger.
const LEDGER: &str = "factory-ledger.jsonl";

const AFTER_HELP: &str = "\
Exit status:
  0    success
  1    some devices are not complete, or another failure
  2    invalid command line or list of serials
  130  stopped at once by a second signal

Environment:
  JARVIS_LOG_FORMAT  human or json
  RUST_LOG           log filter; logs go to standard error (default info)
  NO_COLOR           disables colours

`jarvis-provision factory` and `jarvis-provision label --sheet` start this program with the same arguments.

Examples:
  jarvis-factory prepare --serials list.csv --rootfs-dir 'images/{serial}/rootfs' --api-url https://admin.example --dry-run
  jarvis-factory label --serials list.csv --rootfs-dir 'images/{serial}/rootfs' --sheet labels.pdf";

/// Creates accounts, credentials and labels for devices before they are flashed.
#[derive(Parser)]
#[command(name = "jarvis-factory", version, after_long_help = AFTER_HELP, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    log: Log,
}

#[derive(Subcommand)]
enum Command {
    /// Create accounts and images for devices before they are flashed.
    #[command(visible_alias = "factory")]
    Prepare(Box<prepare::Arguments>),
    /// Draw the labels of devices with complete images, from trees and ledger.
    Label(label::Arguments),
    /// Write a completion script for a shell to standard output.
    Completions(Completions),
    /// Write the manual pages to a folder.
    #[command(hide = true)]
    Manual {
        /// The folder.
        folder: PathBuf,
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

/// The devices, and their files.
#[derive(clap::Args)]
struct Devices {
    /// One device.
    #[arg(long, value_name = "SERIAL", conflicts_with = "serials")]
    serial: Option<Serial>,

    /// Many devices: a CSV file with a column `serial`.
    #[arg(long, value_name = "FILE")]
    serials: Option<PathBuf>,

    /// The image's file tree; {serial} is replaced by the serial.
    #[arg(long, value_name = "DIRECTORY")]
    rootfs_dir: Option<String>,

    /// The ledger: a line per intention and per result, without secrets. Keep it: it records which accounts this factory created.
    #[arg(long, value_name = "FILE", default_value = LEDGER)]
    ledger: PathBuf,

    /// Template of account names: {suffix} is the part after the serial's last hyphen, {serial} the whole, in lower case.
    #[arg(long, value_name = "TEMPLATE", default_value_t)]
    account: AccountRule,

    /// Path of the pairing secrets in the image.
    #[arg(long, value_name = "PATH", default_value = PAIRING)]
    pairing_file: PathBuf,
}

impl Devices {
    fn list(&self, needs_tree: bool) -> Result<Vec<Device>, Failure> {
        let rootfs = match self.rootfs_dir.as_deref() {
            Some(rootfs) => rootfs,
            None if needs_tree => return Err(Failure::Usage("use --rootfs-dir to set the image's file tree".into())),
            None => "{serial}",
        };
        match (&self.serial, &self.serials) {
            (Some(serial), _) => Ok(vec![Device::new(serial.clone(), &self.account, rootfs)]),
            (None, Some(list)) => read_list(list, &self.account, rootfs).map_err(|error| match error {
                ListError::Read { .. } => Failure::Other(error.into()),
                ListError::Lines { .. } | ListError::OneTree => Failure::Usage(error.to_string()),
            }),
            (None, None) => Err(Failure::Usage("use --serial or --serials to select devices".into())),
        }
    }
}

/// Parses the command line, executes the command, and prints its error.
pub(crate) fn main() -> ExitCode {
    let Arguments { command, log } = Arguments::parse();
    log.start();
    let result = match command {
        Command::Prepare(arguments) => prepare::run(&arguments),
        Command::Label(arguments) => label::run(&arguments),
        Command::Completions(completions) => {
            completions.write::<Arguments>();
            Ok(())
        }
        Command::Manual { folder } => {
            clap_mangen::generate_to(Arguments::command(), folder).map_err(|error| Failure::Other(error.into()))
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

#[expect(clippy::disallowed_methods, reason = "a timestamp in ledger and manifest; no decision depends on it")]
fn now() -> SystemTime {
    SystemTime::now()
}
