//! `jarvis-provision`: arguments → settings → adapters → daemon. Only `cli/run.rs` names concrete adapters.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    jarvis_program::start("jarvis-provision", cli::main)
}
