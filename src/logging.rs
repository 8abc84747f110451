//! The log of the programs: to standard error, as text or as JSON.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// Format of log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// Readable text.
    Human,
    /// One JSON object per line.
    Json,
}

/// Starts logging to standard error; `RUST_LOG` is the filter, and `NO_COLOR` disables colours.
pub fn log_to_standard_error(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let colours = std::io::stderr().is_terminal() && std::env::var("NO_COLOR").map_or(true, |value| value.is_empty());
    match format {
        LogFormat::Human => subscriber.with_target(false).with_ansi(colours).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}
