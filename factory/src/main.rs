//! `jarvis-factory`: arguments → list, ledger and server → trees and labels.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    jarvis_program::start("jarvis-factory", cli::main)
}
