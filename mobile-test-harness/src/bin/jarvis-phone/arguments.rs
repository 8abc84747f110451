//! The command line.

#![expect(clippy::doc_markdown, reason = "the documentation is the help text, which shows backticks; goes when clap hides them")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use mobile_test_harness::link::Target;
use provisioning_core::domain::CommandCenterUrl;

const EXAMPLES: &str = "\
Examples:
  Is there a device, and what is it?
    jarvis-phone info --over ble-sim:/run/jarvis/ble.sock

  Which networks does it see? (asks for the code on the label)
    jarvis-phone scan --over ble

  Which, if this computer has no Bluetooth? (asks for the passphrase of the access point, too)
    jarvis-phone scan --over ap

  Bring it online; the password is asked for, the token comes from the command center:
    jarvis-phone provision --over ble-sim:/run/jarvis/ble.sock --ssid Home \\
        --command-center https://center.example --household home --mint --admin-key-file admin.key

Exit codes:
  0  done
  1  the device said what is wrong, or the attempt failed; the fault is named
  2  wrong arguments, or a secret that cannot be read
  3  no device there
  4  not let in: wrong code, too many wrong codes, another phone is connected
  5  the device was lost, and the outcome is not known
  6  the command center gave no token

Environment:
  JARVIS_PAIRING_CODE, JARVIS_AP_PASSPHRASE, JARVIS_WIFI_PASSWORD, JARVIS_PROVISIONING_TOKEN, JARVIS_JWT,
  JARVIS_PROVISION_CODE
            secrets, where they are not in files
  RUST_LOG  what is logged to standard error, such as `debug` [default: warn]
  NO_COLOR  no colours";

/// The phone's side of provisioning: finds a Jarvis device and brings it online.
///
/// A device is reached over Bluetooth (ble), in its access point (ap), over the simulated Bluetooth link of a node that
/// runs here (ble-sim:PATH), or at an address (http://HOST:PORT). Everything that is secret travels sealed, over all of them.
///
/// With `ap` this computer joins the access point jarvis-XXXX through NetworkManager, follows the device into its network
/// if it is in the same one, and is back in the network where it was when the program ends.
#[derive(Debug, Parser)]
#[command(name = "jarvis-phone", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How the log is written.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What the device says of itself. Needs no code.
    Info(Node),
    /// The networks that the device sees.
    Scan(Scan),
    /// Bring the device online and enroll it.
    Provision(Box<Provision>),
    /// How the device stands; more of it with a code.
    Status(Status),
    /// A script that completes this program's arguments.
    Completions {
        /// For this shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Node {
    /// Where the device is: `ble[:ADAPTER]`, `ap[:INTERFACE]`, `ble-sim:PATH` or `http://HOST:PORT`.
    #[arg(long, value_name = "WHERE")]
    pub(crate) over: Target,
    /// With `ap`: the access point's name, if several devices are near.
    #[arg(long, value_name = "NAME")]
    pub(crate) ap_name: Option<String>,
    /// With `ap`: a file with the access point's passphrase, which is on the label; else it is taken from
    /// JARVIS_AP_PASSPHRASE, or asked for.
    #[arg(long, value_name = "FILE")]
    pub(crate) ap_passphrase_file: Option<PathBuf>,
    /// With `ap`: the access point has no passphrase.
    #[arg(long, conflicts_with = "ap_passphrase_file")]
    pub(crate) ap_open: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// How long to look for the device, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub(crate) wait: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Pairing {
    /// The six digits on the label.
    ///
    /// Other users of this machine can see it while the program runs; --code-file, the variable JARVIS_PAIRING_CODE or
    /// the prompt keep it to yourself.
    #[arg(long, value_name = "DIGITS")]
    pub(crate) code: Option<String>,
    /// A file with the six digits.
    #[arg(long, value_name = "FILE", conflicts_with = "code")]
    pub(crate) code_file: Option<PathBuf>,
    /// A file with the 32 hexadecimal digits of the label's QR code, in place of the six.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["code", "code_file"])]
    pub(crate) qr_secret_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Scan {
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) pairing: Pairing,
    /// Have the device look around again, even if it did so a moment ago.
    #[arg(long)]
    pub(crate) fresh: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) pairing: Pairing,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own; goes when two of them exclude each other")]
pub(crate) struct Provision {
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) pairing: Pairing,
    /// The Wi-Fi network's name.
    #[arg(long, value_name = "NAME")]
    pub(crate) ssid: OsString,
    /// The network does not broadcast its name.
    #[arg(long)]
    pub(crate) hidden: bool,
    /// The network has no password.
    #[arg(long, conflicts_with = "wifi_password_file")]
    pub(crate) open: bool,
    /// A file with the Wi-Fi password; else it is taken from JARVIS_WIFI_PASSWORD, or asked for.
    #[arg(long, value_name = "FILE")]
    pub(crate) wifi_password_file: Option<PathBuf>,
    /// Where the device will stand.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) room: String,
    /// The command center to enroll with.
    #[arg(long, value_name = "URL", value_parser = command_center)]
    pub(crate) command_center: CommandCenterUrl,
    /// The configuration service, if there is one.
    #[arg(long, value_name = "URL")]
    pub(crate) config_service: Option<String>,
    /// Whose device it is.
    #[arg(long, value_name = "ID")]
    pub(crate) household: String,
    /// The identity that the command center made for the device.
    #[arg(long, value_name = "ID", required_unless_present = "mint", conflicts_with = "mint")]
    pub(crate) node_id: Option<String>,
    /// A file with the provisioning token; else it is taken from JARVIS_PROVISIONING_TOKEN, or asked for.
    #[arg(long, value_name = "FILE", conflicts_with = "mint")]
    pub(crate) token_file: Option<PathBuf>,
    /// Get identity and token from the command center, as a user (JARVIS_JWT) or as the administrator.
    #[arg(long)]
    pub(crate) mint: bool,
    /// A file with the administrator's key at the command center.
    #[arg(long, value_name = "FILE", requires = "mint")]
    pub(crate) admin_key_file: Option<PathBuf>,
    /// A file with a provision code, which the device claims at the command center once it is online; else it is taken from
    /// JARVIS_PROVISION_CODE, if that is set.
    #[arg(long = "provision-code-file", value_name = "FILE")]
    pub(crate) code_to_claim: Option<PathBuf>,
    /// Write the settings key (K2) that the device is given to a new file, for this user alone.
    #[arg(long, value_name = "FILE", conflicts_with = "no_k2")]
    pub(crate) k2_out: Option<PathBuf>,
    /// Give the device no settings key.
    #[arg(long)]
    pub(crate) no_k2: bool,
    /// How long to follow the device, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) timeout: u64,
}

fn command_center(text: &str) -> Result<CommandCenterUrl, String> {
    CommandCenterUrl::try_from(text).map_err(|fault| fault.text().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_password_is_not_taken_from_the_command_line() {
        for secret in ["--wifi-password", "--token", "--admin-key", "--qr-secret", "--ap-passphrase"] {
            let parsed = Arguments::try_parse_from(["jarvis-phone", "provision", secret, "x"]);
            assert_eq!(parsed.err().map(|error| error.kind()), Some(ErrorKind::UnknownArgument), "{secret}");
        }
    }
}
