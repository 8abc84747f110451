//! `jarvis-provision hotspot`.

use clap::ValueEnum;
use serde_json::json;

use super::Failure;
use super::care::{NEEDS, Options};

#[derive(clap::Args)]
#[command(after_help = NEEDS)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,

    /// Open or close it.
    state: State,
}

#[derive(Clone, Copy, ValueEnum)]
enum State {
    /// Open it, in place of the network.
    On,
    /// Close it, and return to a saved network.
    Off,
}

pub(super) fn run(Arguments { options, state }: &Arguments) -> Result<(), Failure> {
    let (path, done) = match state {
        State::On => ("hotspot/enable", "The hotspot is open."),
        State::Off => ("hotspot/disable", "The hotspot is closed."),
    };
    options.perform(path, &json!({}), done)
}
