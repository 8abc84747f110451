//! How the programs log: to standard error, for people or for machines.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One object a line.
    Json,
}

/// Logs to standard error from here on; `RUST_LOG` says what, and `NO_COLOR` switches colours off.
pub fn log_to_standard_error(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colours = std::io::stderr().is_terminal() && std::env::var("NO_COLOR").map_or(true, |value| value.is_empty());
    match format {
        LogFormat::Human => subscriber.with_target(false).with_ansi(colours).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}
