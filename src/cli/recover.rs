//! `jarvis-provision recover`.

use serde_json::json;

use super::Failure;
use super::care::{NEEDS, Options};

#[derive(clap::Args)]
#[command(after_help = NEEDS)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,
}

pub(super) fn run(Arguments { options }: &Arguments) -> Result<(), Failure> {
    let done = "A recovery has started. To see how it ends, run `jarvis-provision events --follow`.";
    options.perform("recovery/trigger", &json!({}), done)
}
