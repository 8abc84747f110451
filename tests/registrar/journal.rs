//! What is logged, by anything, at every level, on the thread of a test.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Level;
use tracing::subscriber::DefaultGuard;

/// A journal that is being written.
pub(crate) struct Writing {
    lines: Lines,
    guard: DefaultGuard,
}

/// A journal that is complete.
pub(crate) struct Journal(String);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Journal {
    pub(crate) fn start() -> Writing {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(Level::TRACE).with_ansi(false).with_writer(move || writer.clone()).finish();
        Writing { lines, guard: tracing::subscriber::set_default(subscriber) }
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    pub(crate) fn warnings(&self) -> impl Iterator<Item = &str> {
        self.0.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
    }
}

impl Writing {
    pub(crate) fn stop(self) -> Journal {
        drop(self.guard);
        let bytes = self.lines.0.lock().unwrap().clone();
        Journal(String::from_utf8(bytes).unwrap())
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
