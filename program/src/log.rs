//! The log: to standard error, as text or as JSON.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

/// Format of log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// Readable text.
    Human,
    /// One JSON object per line.
    Json,
}

/// The arguments of the log.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Log {
    /// Format of log lines.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human, env = "JARVIS_LOG_FORMAT")]
    log_format: LogFormat,
}

impl Log {
    /// Starts logging to standard error; `RUST_LOG` is the filter, and `NO_COLOR` disables colours.
    pub fn start(self) {
        self.log_format.start(LevelFilter::INFO);
    }
}

impl LogFormat {
    /// Starts logging to standard error; `RUST_LOG` replaces the lowest level, and `NO_COLOR` disables colours.
    pub fn start(self, lowest: LevelFilter) {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let registry = tracing_subscriber::registry().with(filter(lowest));
        match self {
            Self::Human => registry.with(lines.with_target(false).with_ansi(colours)).init(),
            Self::Json => registry.with(lines.json()).init(),
        }
    }
}

/// The levels and targets of `RUST_LOG`, such as `debug,zbus=info`; without it, or if it is malformed, everything from `lowest`.
pub fn filter(lowest: LevelFilter) -> Targets {
    parse(std::env::var("RUST_LOG").ok().as_deref(), lowest)
}

/// `EnvFilter` would add a regular-expression engine to the device's program, to match fields of spans; the programs create no
/// spans.
fn parse(directives: Option<&str>, lowest: LevelFilter) -> Targets {
    let all = || Targets::new().with_default(lowest);
    match directives {
        Some("") => Targets::new().with_default(LevelFilter::ERROR),
        Some(directives) => directives.parse().unwrap_or_else(|_| all()),
        None => all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn levels_and_targets_select_what_is_logged() {
        for (directives, enabled, disabled) in [
            (None, ("hyper", Level::INFO), ("hyper", Level::DEBUG)),
            (Some(""), ("hyper", Level::ERROR), ("hyper", Level::WARN)),
            (Some("debug"), ("hyper", Level::DEBUG), ("hyper", Level::TRACE)),
            (Some("debug,zbus=info"), ("jarvis_provisioning::daemon", Level::DEBUG), ("zbus::connection", Level::DEBUG)),
            (Some("off,zbus=trace"), ("zbus", Level::TRACE), ("hyper", Level::ERROR)),
            (Some("zbus=louder"), ("hyper", Level::INFO), ("zbus", Level::DEBUG)),
        ] {
            let filter = parse(directives, LevelFilter::INFO);
            assert!(filter.would_enable(enabled.0, &enabled.1), "{directives:?} enables {enabled:?}");
            assert!(!filter.would_enable(disabled.0, &disabled.1), "{directives:?} disables {disabled:?}");
        }
    }
}
