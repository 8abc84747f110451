//! `jarvis-factory`: arguments → list, ledger and server → trees and labels.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
