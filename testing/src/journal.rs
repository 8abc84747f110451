//! The log of a test program at every level, searched for secrets.
//!
//! Tests use [canaries](CANARIES) as secrets. [`watch`] aborts the program as soon as one is logged; tests call it first.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::{Arc, Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

/// A pairing code.
pub const CODE: &str = "482913";
/// The pairing secret of a QR code.
pub const QR_SECRET: [u8; 16] = *b"canary-QR-secret";
/// A Wi-Fi password: the one that the simulated network accepts.
pub const PASSWORD: &str = "correct horse battery";
/// A wrong Wi-Fi password. It is secret too: it may be the right one of another network.
pub const WRONG_PASSWORD: &str = "canary wrong password";
/// A provisioning token.
pub const TOKEN: &str = "prov_canary-token-8VqvTm0T1rj5sWkq-and-so-on-0x";
/// A node's key at the command center.
pub const NODE_KEY: &str = "canary-node-key-1hLkY0aXb7";
/// The key K2.
pub const K2_KEY: [u8; 32] = *b"canary-settings-key-of-32-bytes!";

/// A Wi-Fi password that needs quoting, in the vectors of the files.
pub const QUOTED_PASSWORD: &str = "hunter22 \"quoted\"";
/// A node's key, in the vectors of the files.
pub const VECTOR_NODE_KEY: &str = "the-node-key";

/// All values that no log may contain.
pub const CANARIES: [&[u8]; 9] = [
    CODE.as_bytes(),
    &QR_SECRET,
    PASSWORD.as_bytes(),
    WRONG_PASSWORD.as_bytes(),
    TOKEN.as_bytes(),
    NODE_KEY.as_bytes(),
    QUOTED_PASSWORD.as_bytes(),
    VECTOR_NODE_KEY.as_bytes(),
    &K2_KEY,
];

/// The printed forms of a value: plain, hexadecimal, base64, and a list of numbers.
pub fn encodings(secret: &[u8]) -> Vec<String> {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let digits = secret.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("writing to a text does not fail");
        digits
    });
    let list = format!("{secret:?}");
    let mut encodings = vec![
        digits.to_uppercase(),
        digits,
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        list.trim_matches(['[', ']']).to_owned(),
    ];
    encodings.extend(std::str::from_utf8(secret).map(str::to_owned));
    encodings
}

/// Whether a text contains the word. Short words must not be part of a longer number or word.
pub fn contains_word(text: &str, word: &str) -> bool {
    let joins = |character: Option<char>| character.is_some_and(|character| character.is_ascii_alphanumeric());
    text.match_indices(word).any(|(at, _)| {
        !joins(text[..at].chars().next_back()) && !joins(text[at + word.len()..].chars().next()) || word.len() > 12
    })
}

/// Aborts the program when a canary is logged.
///
/// A panic does not suffice, because in a task it ends only that task.
pub fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        let watch = Watch::new(|line| {
            // The test harness captures what `eprintln!` prints.
            let _unwritten = writeln!(std::io::stderr(), "a secret is logged: {line}");
            std::process::abort();
        });
        let subscriber = tracing_subscriber::registry().with(watch);
        tracing::subscriber::set_global_default(subscriber).expect("nothing else in a test program sets one");
    });
}

/// Searches every line for canaries.
pub struct Watch<F> {
    words: Vec<String>,
    found: F,
}

impl<F: Fn(&str)> Watch<F> {
    /// Calls `found` with each line that contains a canary.
    pub fn new(found: F) -> Self {
        Self { words: CANARIES.iter().flat_map(|canary| encodings(canary)).collect(), found }
    }

    fn check(&self, line: &str) {
        if self.words.iter().any(|word| contains_word(line, word)) {
            (self.found)(line);
        }
    }
}

impl<S: Subscriber, F: Fn(&str) + 'static> Layer<S> for Watch<F> {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut line = Line::begin(attributes.metadata());
        attributes.record(&mut line);
        self.check(&line.0);
    }

    fn on_record(&self, _: &Id, record: &Record<'_>, _: Context<'_, S>) {
        let mut line = Line(String::new());
        record.record(&mut line);
        self.check(&line.0);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.check(&Line::of(event));
    }
}

/// A recorded log.
pub struct Recording {
    lines: Lines,
    guard: tracing::subscriber::DefaultGuard,
}

/// The lines that one thread logged.
pub struct Journal(Vec<(Level, String)>);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Level, String)>>>);

impl Journal {
    /// Records the log of this thread. Panics if it contains a canary.
    pub fn start() -> Recording {
        watch();
        let lines = Lines::default();
        let watch = Watch::new(|line| panic!("a secret is logged: {line}"));
        let subscriber = tracing_subscriber::registry().with(watch).with(lines.clone());
        Recording { lines, guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Every line.
    pub fn text(&self) -> String {
        self.0.iter().map(|(level, line)| format!("{level} {line}\n")).collect()
    }

    /// Warnings and errors.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(level, _)| *level <= Level::WARN).map(|(_, line)| line.as_str())
    }
}

impl Recording {
    /// Ends the recording.
    pub fn stop(self) -> Journal {
        drop(self.guard);
        Journal(self.lines.0.lock().expect("no test panics while it holds this").clone())
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = (*event.metadata().level(), Line::of(event));
        self.0.lock().expect("no test panics while it holds this").push(line);
    }
}

/// Formats an event as one line without its time, whose digits could look like a code.
struct Line(String);

impl Line {
    fn begin(metadata: &tracing::Metadata<'_>) -> Self {
        Self(format!("{}:", metadata.target()))
    }

    fn of(event: &Event<'_>) -> String {
        let mut line = Self::begin(event.metadata());
        event.record(&mut line);
        line.0
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, " {field}={value}").expect("writing to a text does not fail");
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        }
        .expect("writing to a text does not fail");
    }
}
