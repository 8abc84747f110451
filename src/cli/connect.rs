//! `jarvis-provision connect`.

use std::io::IsTerminal;

use serde::Serialize;
use zeroize::Zeroizing;

use super::Failure;
use super::care::{NEEDS, Options};
use super::terminal::{printable, prompt_password, read_password};

const PASSWORD: &str = "\
The password is read from the terminal, or with --password-stdin from a line of standard input. It is empty for an open network and \
for one that is saved; without a terminal and without --password-stdin it counts as empty.";

#[derive(clap::Args)]
#[command(after_help = NEEDS, after_long_help = format!("{PASSWORD}\n\n{NEEDS}"))]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,

    /// The name of the network.
    name: String,

    /// The network does not send its name.
    #[arg(long)]
    hidden: bool,

    /// Read the password from standard input.
    #[arg(long)]
    password_stdin: bool,
}

/// The request.
#[derive(Serialize)]
struct Body<'a> {
    ssid: &'a str,
    password: &'a str,
    hidden: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { options, name, hidden, password_stdin } = arguments;
    let shown = printable(name);
    let password = if *password_stdin {
        read_password()?
    } else if std::io::stdin().is_terminal() {
        prompt_password(&format!("Password of {shown} (empty for an open or a saved network): "))?
    } else {
        Zeroizing::default()
    };
    let body = Body { ssid: name, password: &password, hidden: *hidden };
    options.perform("network/connect", &body, &format!("The node is in the network {shown}."))
}
