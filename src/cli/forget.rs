//! `jarvis-provision forget`.

use serde_json::json;

use super::Failure;
use super::care::{NEEDS, Options};
use super::terminal::printable;

#[derive(clap::Args)]
#[command(after_help = NEEDS)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,

    /// The name of the network, as `jarvis-provision networks --saved` lists it.
    name: String,
}

pub(super) fn run(Arguments { options, name }: &Arguments) -> Result<(), Failure> {
    let done = format!("The node has forgotten the network {}.", printable(name));
    options.perform("network/forget", &json!({ "name": name }), &done)
}
