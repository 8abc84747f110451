//! `jarvis-provision authorise`.

use serde_json::json;

use super::Failure;
use super::care::Options;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
}

pub(super) fn run(Arguments { options }: &Arguments) -> Result<(), Failure> {
    let done = "For a minute, an app without the pairing code may give this device its network.";
    options.perform("authorize", &json!({}), done)
}
