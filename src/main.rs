//! `jarvis-provision`: arguments → settings → adapters → loop. The only file that names concrete adapters is `cli/run.rs`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
