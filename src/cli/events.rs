//! `jarvis-provision events`.

use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use provisioning_core::fault::chain;
use serde_json::Value;

use super::Failure;
use super::care::{Answer, Api, NEEDS, Options};
use super::terminal::{colour, is_coloured, printable};

/// Pause before a stream that has ended is opened again. It doubles with each attempt that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

const OUTPUT: &str = "\
With --json, each event is one line.

With --follow, the command waits for a node that restarts, and continues after the last event that it has printed. It ends when it is \
interrupted, or when the node refuses it.";

#[derive(clap::Args)]
#[command(after_help = NEEDS, after_long_help = format!("{OUTPUT}\n\n{NEEDS}"))]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,

    /// Print the last events, and then each event when it happens.
    #[arg(long)]
    follow: bool,
}

pub(super) fn run(Arguments { options, follow }: &Arguments) -> Result<(), Failure> {
    options.report(print(options, *follow))
}

fn print(options: &Options, follow: bool) -> Result<(), Failure> {
    let api = options.api()?;
    let out = io::stdout().lock();
    let is_coloured = is_coloured(&out);
    let mut printer = Printer { out, json: options.json, is_coloured, last: None };
    let mut stream = api.events(follow, None)??;
    loop {
        match printer.print_all(&mut stream) {
            // Nobody reads: not an error of this program.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::Other(error.into())),
            Ok(()) if !follow => return Ok(()),
            Ok(()) => stream = reopen(&api, printer.last.as_deref())?,
        }
    }
}

/// Opens the stream after an event again, however long the node is away.
fn reopen(api: &Api, last: Option<&str>) -> Result<Answer, Failure> {
    let mut pause = FIRST_PAUSE;
    loop {
        std::thread::sleep(pause);
        let failure = match api.events(true, last) {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(refused)) => refused.into(),
            Err(failure) => failure,
        };
        if !failure.is_temporary() {
            return Err(failure);
        }
        if pause == FIRST_PAUSE {
            tracing::warn!(error = chain(&failure), "the node does not send events: trying again until it does");
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

struct Printer<W> {
    out: W,
    json: bool,
    is_coloured: bool,
    /// The id of the last event that was printed.
    last: Option<String>,
}

impl<W: Write> Printer<W> {
    /// Prints the events of one stream, until it ends.
    fn print_all(&mut self, stream: &mut Answer) -> io::Result<()> {
        while let Some(Frame { event, data }) = Frame::read(stream) {
            match (event.as_str(), serde_json::from_str::<Value>(&data)) {
                ("device", Ok(event)) => self.print(&event, &data)?,
                ("dropped", Ok(notice)) => {
                    tracing::warn!(missed = notice["missed"].as_u64(), "events were lost, because they were read too slowly");
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn print(&mut self, event: &Value, data: &str) -> io::Result<()> {
        if self.json {
            writeln!(self.out, "{data}")?;
        } else {
            writeln!(self.out, "{}", line(event, self.is_coloured))?;
        }
        self.out.flush()?;
        self.last = event["id"].as_str().map(str::to_owned);
        Ok(())
    }
}

/// One frame of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Frame {
    event: String,
    data: String,
}

impl Frame {
    /// The next frame; none when the stream has ended or was cut off.
    fn read(stream: &mut Answer) -> Option<Self> {
        let mut frame = Self::default();
        loop {
            let line = stream.line().ok().flatten()?;
            match line.split_once(": ") {
                Some(("event", event)) => event.clone_into(&mut frame.event),
                Some(("data", data)) => data.clone_into(&mut frame.data),
                _ if line.is_empty() => return Some(frame),
                _ => {}
            }
        }
    }
}

/// An event for people: time in UTC, level, message.
fn line(event: &Value, is_coloured: bool) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    let code = match text("level") {
        "success" => "32",
        "warning" => "33",
        "error" => "31",
        _ => "0",
    };
    let level = colour(&format!("{:<7}", printable(text("level"))), code, is_coloured);
    format!("{}  {level}  {}", time(text("id")), printable(text("message")))
}

/// The time in an id.
fn time(id: &str) -> String {
    match id.split_at_checked(14) {
        Some((digits, _)) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            let part = |from: usize, to: usize| &digits[from..to];
            format!("{}-{}-{} {}:{}:{}Z", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14))
        }
        _ => printable(id),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line_with_time_level_and_message() {
        let event = json!({ "id": "20260301120005-00000a", "level": "warning", "message": "lost \u{1b}[2J" });
        assert_eq!(line(&event, false), "2026-03-01 12:00:05Z  warning  lost \\u{1b}[2J");
        assert!(line(&event, true).contains("\x1b[33mwarning\x1b[0m"));
        assert_eq!(line(&json!({ "id": "x\u{7}", "level": 7 }), false), "x\\u{7}           ");
    }
}
