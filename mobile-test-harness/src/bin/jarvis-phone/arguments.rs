//! The command line.

#![expect(clippy::doc_markdown, reason = "the documentation is the help text, which shows backticks; goes when clap hides them")]

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use jarvis_program::{Completions, LogFormat};
use mobile_test_harness::link::Target;
use provisioning_core::domain::{CommandCenterUrl, Country};

const EXAMPLES: &str = "\
Examples:
  Find a device and show its properties:
    jarvis-phone info --over ble-sim:/run/jarvis/ble.sock

  List the networks in its range (prompts for the code on the label):
    jarvis-phone scan --over ble

  The same through its access point, without Bluetooth (prompts for the access point's passphrase, too):
    jarvis-phone scan --over ap

  Bring it online (prompts for the Wi-Fi password, gets the token from the command center):
    jarvis-phone provision --over ble-sim:/run/jarvis/ble.sock --ssid Home \\
        --command-center https://center.example --household home --mint --admin-key-file admin.key

Exit codes:
  0  done
  1  the device reported an error, or the attempt failed; the output names the fault
  2  invalid arguments, or a secret that cannot be read
  3  no device found
  4  access refused: wrong code, too many wrong codes, or another phone is connected
  5  the connection to the device was lost, and the outcome is unknown
  6  no token from the command center
  130  interrupted twice, while the attempt was being cancelled; the outcome is unknown

Environment:
  JARVIS_PAIRING_CODE, JARVIS_AP_PASSPHRASE, JARVIS_WIFI_PASSWORD, JARVIS_CERTIFICATE_PASSWORD,
  JARVIS_PROVISIONING_TOKEN, JARVIS_JWT, JARVIS_PROVISION_CODE
            secrets that are not given in files
  RUST_LOG  log level of standard error, such as `debug` [default: warn]
  NO_COLOR  disables colours";

/// The phone's side of provisioning: finds a Jarvis device and brings it online.
///
/// A device is reached over Bluetooth (ble), through its access point (ap), over the simulated Bluetooth link of a node on
/// this machine (ble-sim:PATH), or at an address (http://HOST:PORT). Secrets are encrypted end to end on all of them.
///
/// With `ap`, this computer joins the access point jarvis-XXXX through NetworkManager, continues in the device's new network
/// if this computer is in the same one, and returns to its previous network when the program ends.
#[derive(Debug, Parser)]
#[command(name = "jarvis-phone", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Log format.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the device's properties. Needs no code.
    Info(Node),
    /// List the networks in range of the device.
    Scan(Scan),
    /// Bring the device online and enroll it. Ctrl-C cancels the attempt; pressed again, it ends the program at once.
    Provision(Box<Provision>),
    /// Show the device's status; with a code, in detail.
    Status(Status),
    /// Cancel the attempt in progress, whichever phone began it, and show its outcome.
    Cancel(Cancel),
    /// Use the device's network care: after provisioning, with the code on the label.
    Care(Care),
    /// Print a shell completion script.
    Completions(Completions),
    /// Write the manual pages to a folder.
    #[command(hide = true)]
    Manual {
        /// The folder.
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Node {
    /// Where the device is: `ble[:ADAPTER]`, `ap[:INTERFACE]`, `ble-sim:PATH` or `http://HOST:PORT`.
    #[arg(long, value_name = "WHERE")]
    pub(crate) over: Target,
    /// With `ap`: the access point's name, if several devices are in range.
    #[arg(long, value_name = "NAME")]
    pub(crate) ap_name: Option<String>,
    /// With `ap`: a file with the access point's passphrase, which is on the label [default: JARVIS_AP_PASSPHRASE, or a
    /// prompt].
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
    /// Other users of this machine can see it while the program runs; use --code-file, the variable JARVIS_PAIRING_CODE or
    /// the prompt to keep it private.
    #[arg(long, value_name = "DIGITS")]
    pub(crate) code: Option<String>,
    /// A file with the six digits.
    #[arg(long, value_name = "FILE", conflicts_with = "code")]
    pub(crate) code_file: Option<PathBuf>,
    /// A file with the 32 hexadecimal digits of the label's QR code, in place of the six digits.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["code", "code_file"])]
    pub(crate) qr_secret_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Scan {
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) pairing: Pairing,
    /// Scan again even if the device has a recent list.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// The country that the device is in, two letters: without one, the radio of some devices is off.
    #[arg(long, value_name = "CC", value_parser = country)]
    pub(crate) country: Option<Country>,
}

#[derive(Debug, Args)]
pub(crate) struct Care {
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) pairing: Pairing,
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What network care is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Show the state of the device's network.
    Status,
    /// List the networks that the device has saved.
    Saved,
    /// Join a saved network.
    Join {
        /// Its name.
        name: String,
    },
    /// Join a network, and save it. If it does not work, the device returns to what it did before.
    Connect {
        /// Its name.
        name: String,
        /// The network does not broadcast its name.
        #[arg(long)]
        hidden: bool,
        /// The network has no password.
        #[arg(long, conflicts_with = "wifi_password_file")]
        open: bool,
        /// A file with the Wi-Fi password [default: JARVIS_WIFI_PASSWORD, or a prompt].
        #[arg(long, value_name = "FILE")]
        wifi_password_file: Option<PathBuf>,
    },
    /// Delete a saved network.
    Forget {
        /// Its name, as `saved` shows it.
        name: String,
    },
    /// Find out what is wrong.
    Diagnose,
    /// Open the hotspot, or close it.
    Hotspot {
        /// Which of both.
        #[arg(value_enum)]
        to: Switch,
    },
    /// Start a recovery.
    Recover,
    /// Restart the device's program.
    Restart,
    /// Print the last events; with --json, each is one line.
    Events {
        /// Then print each event when it happens, until interrupted.
        #[arg(long)]
        follow: bool,
    },
    /// Show the pairing code and the text of the label's pairing QR code.
    Label,
    /// Delete everything that the owner has given the device: networks, keys and the registration.
    Reset {
        /// Really do it: it cannot be undone.
        #[arg(long, required = true)]
        yes: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) pairing: Pairing,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) pairing: Pairing,
    /// How long to follow an attempt that is too late to cancel, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own; goes when two of them exclude each other")]
pub(crate) struct Provision {
    #[command(flatten)]
    pub(crate) node: Node,
    #[command(flatten)]
    pub(crate) pairing: Pairing,
    /// The Wi-Fi network's name.
    #[arg(long, value_name = "NAME", required_unless_present = "connected")]
    pub(crate) ssid: Option<OsString>,
    /// Enroll over the connection that the device has, such as a cable, in place of joining a network.
    #[arg(long, conflicts_with_all = ["ssid", "hidden", "open", "wifi_password_file"])]
    pub(crate) connected: bool,
    /// The country that the device is in, two letters, such as `DE`: decides about the channels of its radio.
    #[arg(long, value_name = "CC", value_parser = country)]
    pub(crate) country: Option<Country>,
    /// The network does not broadcast its name.
    #[arg(long)]
    pub(crate) hidden: bool,
    /// The network has no password.
    #[arg(long, conflicts_with = "wifi_password_file")]
    pub(crate) open: bool,
    /// A file with the Wi-Fi password, or with the user's password of an enterprise network [default: JARVIS_WIFI_PASSWORD, or
    /// a prompt].
    #[arg(long, value_name = "FILE")]
    pub(crate) wifi_password_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) enterprise: Enterprise,
    /// The room of the device.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) room: String,
    /// The command center to enroll with.
    #[arg(long, value_name = "URL", value_parser = service)]
    pub(crate) command_center: CommandCenterUrl,
    /// The configuration service, if there is one.
    #[arg(long, value_name = "URL", value_parser = service)]
    pub(crate) config_service: Option<CommandCenterUrl>,
    /// The household that the device belongs to.
    #[arg(long, value_name = "ID")]
    pub(crate) household: String,
    /// The identity that the command center assigned to the device.
    #[arg(long, value_name = "ID", required_unless_present = "mint", conflicts_with = "mint")]
    pub(crate) node_id: Option<String>,
    /// A file with the provisioning token [default: JARVIS_PROVISIONING_TOKEN, or a prompt].
    #[arg(long, value_name = "FILE", conflicts_with = "mint")]
    pub(crate) token_file: Option<PathBuf>,
    /// Get identity and token from the command center, as a user (JARVIS_JWT) or as the administrator.
    #[arg(long)]
    pub(crate) mint: bool,
    /// A file with the administrator's key at the command center.
    #[arg(long, value_name = "FILE", requires = "mint")]
    pub(crate) admin_key_file: Option<PathBuf>,
    /// A file with a provision code, which the device claims at the command center once it is online [default:
    /// JARVIS_PROVISION_CODE, if set].
    #[arg(long = "provision-code-file", value_name = "FILE")]
    pub(crate) code_to_claim: Option<PathBuf>,
    /// Write the settings key (K2) of the device to a new file that only this user can read.
    #[arg(long, value_name = "FILE", conflicts_with = "no_k2")]
    pub(crate) k2_out: Option<PathBuf>,
    /// Send no settings key to the device.
    #[arg(long)]
    pub(crate) no_k2: bool,
    /// How long to follow the device, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) timeout: u64,
}

/// The login to an enterprise network.
#[derive(Debug, Args)]
#[command(next_help_heading = "Enterprise networks")]
pub(crate) struct Enterprise {
    /// How the device proves itself to an enterprise network.
    #[arg(long, value_enum, requires = "identity", conflicts_with_all = ["connected", "open"])]
    pub(crate) eap: Option<Eap>,
    /// The user name.
    #[arg(long, value_name = "NAME", requires = "eap")]
    pub(crate) identity: Option<String>,
    /// What is sent in clear in place of the user name.
    #[arg(long, value_name = "NAME", requires = "eap")]
    pub(crate) anonymous_identity: Option<String>,
    /// With `tls`: a PKCS#12 file with the device's certificate and private key.
    #[arg(long, value_name = "FILE", requires = "eap", required_if_eq("eap", "tls"))]
    pub(crate) certificate_file: Option<PathBuf>,
    /// With `tls`: a file with the password of that PKCS#12 [default: JARVIS_CERTIFICATE_PASSWORD, or a prompt].
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    pub(crate) certificate_password_file: Option<PathBuf>,
    /// A file with the certificate of the authority that the network's server must have its own from, PEM or DER [default: the
    /// authorities of the device's system, together with --server-domain].
    #[arg(long, value_name = "FILE", requires = "eap")]
    pub(crate) authority_file: Option<PathBuf>,
    /// The name of the network's server, or a domain that it is in.
    #[arg(long, value_name = "DOMAIN", requires = "eap")]
    pub(crate) server_domain: Option<String>,
    /// Send the password to whichever server answers, without verifying it: anyone nearby can pretend to be the network.
    #[arg(long, requires = "eap", conflicts_with_all = ["authority_file", "server_domain"])]
    pub(crate) accept_unverified_server: bool,
}

/// A method of an enterprise network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Eap {
    /// PEAP with MSCHAPv2: a password.
    Peap,
    /// TTLS with PAP: a password.
    Ttls,
    /// TLS: a certificate.
    Tls,
}

fn service(text: &str) -> Result<CommandCenterUrl, String> {
    CommandCenterUrl::try_from(text).map_err(|fault| fault.text().into())
}

fn country(text: &str) -> Result<Country, String> {
    Country::try_from(text).map_err(|fault| fault.text().into())
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
    fn a_login_has_the_arguments_of_its_method() {
        let parse = |login: &[&str]| {
            let others = ["jarvis-phone", "provision", "--over", "ble", "--ssid", "Office", "--mint", "--household", "home"];
            let center = ["--command-center", "https://center.example"];
            Arguments::try_parse_from([&others[..], &center, login].concat()).map_err(|error| error.kind())
        };
        let anna = ["--identity", "anna", "--server-domain", "office.example"];
        assert!(parse(&[&["--eap", "peap"], &anna[..]].concat()).is_ok());
        assert!(parse(&[&["--eap", "tls", "--certificate-file", "a.p12"], &anna[..]].concat()).is_ok());
        assert!(parse(&["--eap", "ttls", "--identity", "anna", "--accept-unverified-server"]).is_ok());
        for (login, kind) in [
            (&["--eap", "peap"][..], ErrorKind::MissingRequiredArgument),
            (&anna, ErrorKind::MissingRequiredArgument),
            (&["--eap", "tls", "--identity", "anna"], ErrorKind::MissingRequiredArgument),
            (&["--eap", "md5", "--identity", "anna"], ErrorKind::InvalidValue),
            (&["--eap", "peap", "--identity", "anna", "--open"], ErrorKind::ArgumentConflict),
            (&[&["--eap", "peap", "--accept-unverified-server"], &anna[..]].concat(), ErrorKind::ArgumentConflict),
        ] {
            assert_eq!(parse(login).err(), Some(kind), "{login:?}");
        }
    }

    #[test]
    fn a_password_is_not_taken_from_the_command_line() {
        for secret in ["--wifi-password", "--token", "--admin-key", "--qr-secret", "--ap-passphrase", "--certificate-password"] {
            let parsed = Arguments::try_parse_from(["jarvis-phone", "provision", secret, "x"]);
            assert_eq!(parsed.err().map(|error| error.kind()), Some(ErrorKind::UnknownArgument), "{secret}");
        }
    }
}
