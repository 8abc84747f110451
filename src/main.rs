//! `jarvis-provision`: arguments → settings → adapters → daemon. Only `cli/run.rs` names concrete adapters.

mod cli;

use std::process::ExitCode;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

fn main() -> ExitCode {
    if let Err(error) = forbid_core_dumps() {
        eprintln!("jarvis-provision: forbidding core dumps: {error}");
        return ExitCode::FAILURE;
    }
    cli::main()
}

/// Keeps secrets out of core dumps, and the memory away from other processes of the same user.
fn forbid_core_dumps() -> rustix::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // A kernel that pipes core dumps to a program ignores this limit, but not the line above.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
}
