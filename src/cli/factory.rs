//! `jarvis-provision factory` and `jarvis-provision label --sheet`: both execute `jarvis-factory`, which is not installed on
//! devices.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::Failure;

/// The program, in the package of the same name.
const PROGRAM: &str = "jarvis-factory";

/// All arguments go to `jarvis-factory`, including `--help`.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Arguments {
    /// The arguments of `jarvis-factory prepare`.
    #[arg(value_name = "ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<OsString>,
}

/// The devices of a sheet, and their files. `jarvis-factory` checks the values.
#[derive(clap::Args)]
pub(super) struct Devices {
    /// One device.
    #[arg(long, value_name = "SERIAL", conflicts_with = "serials")]
    serial: Option<OsString>,

    /// Many devices: a CSV file with a column `serial`.
    #[arg(long, value_name = "FILE")]
    serials: Option<PathBuf>,

    /// The image's file tree; {serial} is replaced by the serial.
    #[arg(long, value_name = "DIRECTORY")]
    rootfs_dir: Option<OsString>,

    /// The ledger of `jarvis-provision factory` [default: factory-ledger.jsonl].
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,

    /// Template of account names, as for `jarvis-provision factory`.
    #[arg(long, value_name = "TEMPLATE")]
    account: Option<OsString>,

    /// Path of the pairing secrets in the image [default: boot/firmware/jarvis-pairing.json].
    #[arg(long, value_name = "PATH")]
    pairing_file: Option<PathBuf>,
}

impl Devices {
    /// Whether any device was named.
    pub(super) const fn are_named(&self) -> bool {
        self.serial.is_some() || self.serials.is_some()
    }
}

/// Executes `jarvis-factory` with the arguments of this process. Prefers the one beside this program to one in the `PATH`,
/// so that both have the same version.
pub(super) fn run() -> Result<Infallible, Failure> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(PROGRAM)).filter(|path| path.is_file());
    let program = beside.unwrap_or_else(|| PROGRAM.into());
    let error = Command::new(&program).args(std::env::args_os().skip(1)).exec();
    Err(match error.kind() {
        io::ErrorKind::NotFound => Failure::NotInstalled(PROGRAM),
        _ => Failure::Other(anyhow::Error::new(error).context(format!("starting {}", program.display()))),
    })
}
