//! `jarvis-command-center`: the server and the operator's tools.

mod cli;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use cli::{Arguments, Failure, LogFormat};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let format = arguments.log();
    start_log(format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format, &Failure { code: 1, text: error.to_string() }),
    };
    match runtime.block_on(arguments.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(format, &failure),
    }
}

fn fail(format: LogFormat, Failure { code, text }: &Failure) -> ExitCode {
    match format {
        LogFormat::Quiet => eprintln!("jarvis-command-center: {text}"),
        LogFormat::Human | LogFormat::Json => tracing::error!("{text}"),
    }
    ExitCode::from(*code)
}

fn start_log(format: LogFormat) {
    let level = if format == LogFormat::Quiet { "warn" } else { "info" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Human | LogFormat::Quiet => log.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
