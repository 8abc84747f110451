//! What the programs have in common before their work begins. Knows nothing about provisioning.

mod log;
mod prompt;

use std::process::ExitCode;

use clap::CommandFactory;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

pub use log::{Log, LogFormat, filter};
pub use prompt::prompt;

/// Runs a program that has secrets in its memory. Fails if the kernel does not forbid core dumps.
pub fn start(name: &str, main: impl FnOnce() -> ExitCode) -> ExitCode {
    if let Err(error) = forbid_core_dumps() {
        eprintln!("{name}: forbidding core dumps: {error}");
        return ExitCode::FAILURE;
    }
    main()
}

/// Keeps secrets out of core dumps, and the memory away from other processes of the same user.
fn forbid_core_dumps() -> rustix::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // A kernel that pipes core dumps to a program ignores this limit, but not the line above.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
}

/// The arguments of the command `completions`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    /// Writes the completion script of a command line to standard output.
    pub fn write<C: CommandFactory>(self) {
        let mut command = C::command();
        let name = command.get_name().to_owned();
        clap_complete::generate(self.shell, &mut command, name, &mut std::io::stdout());
    }
}
