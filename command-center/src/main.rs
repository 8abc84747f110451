//! `jarvis-command-center`: the server and the operator's tools.

mod cli;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::prelude::*;

use cli::{Arguments, Failure, LogFormat};

fn main() -> ExitCode {
    jarvis_program::start("jarvis-command-center", run)
}

fn run() -> ExitCode {
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
    let level = if format == LogFormat::Quiet { LevelFilter::WARN } else { LevelFilter::INFO };
    let log = tracing_subscriber::registry().with(jarvis_program::filter(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Human | LogFormat::Quiet => log.with(lines.with_ansi(std::io::stderr().is_terminal())).init(),
        LogFormat::Json => log.with(lines.json().flatten_event(true)).init(),
    }
}
