//! The output of the demo: one line per step, with its time.

use std::fmt::Display;
use std::io::{self, Write};

use mobile_test_harness::terminal::{self, Style, Tone};
use provisioning_core::domain::{Network, State};
use provisioning_core::wire::StatusReport;
use tokio::time::Instant;

/// How a run reaches its node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Over {
    Bluetooth,
    Http,
}

impl Over {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bluetooth => "ble-sim",
            Self::Http => "http",
        }
    }
}

/// A file of a node.
pub(crate) struct FileRow {
    pub(crate) mode: u32,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) name: String,
}

/// Prints the lines of the demo; none with `--json`.
pub(crate) struct Timeline {
    quiet: bool,
    style: Style,
    start: Instant,
}

impl Timeline {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, style: Style::of(&io::stdout()), start: Instant::now() }
    }

    /// A line outside of the steps.
    pub(crate) fn note(&self, text: &str) {
        self.line(&self.style.paint(Tone::Quiet, text));
    }

    /// Prints the title; times are relative to this call.
    pub(crate) fn start(&mut self, title: &str) {
        self.start = Instant::now();
        self.line("");
        self.line(&self.style.paint(Tone::Strong, title));
        self.line("");
    }

    /// The heading of a run.
    pub(crate) fn run(&self, over: Over) {
        let title = match over {
            Over::Bluetooth => "Over the simulated Bluetooth link",
            Over::Http => "Over HTTP, sealed",
        };
        self.line("");
        self.line(&self.style.paint(Tone::Strong, format_args!("── {title} {}", "─".repeat(74 - title.chars().count()))));
        self.line("");
    }

    /// A step and its result.
    pub(crate) fn step(&self, step: &str, learned: impl Display) {
        self.timed(Tone::Strong, step, learned);
    }

    /// A step that proves success.
    pub(crate) fn good(&self, step: &str, learned: &str) {
        self.timed(Tone::Good, step, learned);
    }

    /// A status of the node.
    pub(crate) fn status(&self, status: &StatusReport) {
        let tone = match status.state {
            State::Provisioned => Tone::Good,
            State::Error => Tone::Bad,
            _ => Tone::Quiet,
        };
        let fault = status.failure.as_ref().map(|failure| format!("{}: ", failure.fault.name())).unwrap_or_default();
        let state = self.style.paint(tone, format_args!("{:<11}", status.state.name()));
        self.timed(
            Tone::Quiet,
            "",
            format!("{state} {:>3} %  {}{}", status.progress, self.style.paint(tone, fault), status.message),
        );
    }

    pub(crate) fn networks(&self, networks: &[Network]) {
        self.line("");
        for row in terminal::networks(networks, self.style) {
            self.line(&format!("{:28}{row}", ""));
        }
        self.line("");
    }

    pub(crate) fn files(&self, title: &str, files: &[FileRow]) {
        self.line("");
        self.line(&format!("{:12}{}", "", self.style.paint(Tone::Strong, title)));
        for FileRow { mode, size, name } in files {
            self.line(&format!("{:12}{mode:04o}  {size:>6} bytes  {name}", ""));
        }
        self.line("");
    }

    /// The last lines: the outcome of each run.
    pub(crate) fn end(&self, runs: impl Iterator<Item = (&'static str, &'static str, f64, u32)>) {
        self.line("");
        for (over, outcome, seconds, round_trips) in runs {
            let tone = if outcome == State::Provisioned.name() { Tone::Good } else { Tone::Bad };
            self.line(&format!(
                "{:<8}  {}  in {seconds:.2} s and {round_trips} round trips",
                over,
                self.style.paint(tone, outcome),
            ));
        }
    }

    fn timed(&self, tone: Tone, step: &str, learned: impl Display) {
        let elapsed = self.style.paint(Tone::Quiet, format_args!("{:>8.3} s", self.start.elapsed().as_secs_f64()));
        self.line(&format!("{elapsed}  {}  {learned}", self.style.paint(tone, format_args!("{step:<14}"))));
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            // The reader may have closed the pipe, as `head` does; the exit status still tells the result.
            let _unread = writeln!(io::stdout(), "{text}");
        }
    }
}
