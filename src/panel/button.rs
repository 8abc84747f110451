//! A button of the device: a long press resets the node, and a short one authorizes it for clients without a secret.
//!
//! | module | what it holds |
//! |---|---|
//! | `input` | a key of an input device (`/dev/input`) |
//! | `line` | a line of a GPIO chip (`/dev/gpiochip0`) |
//!
//! Both report changes only, so a button that is pressed when the program starts, or when its device appears, does nothing
//! before it is pressed again.

mod input;
mod line;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::{Error, Panel};
use input::Key;
use line::Line;
use provisioning_core::backoff::{Backoff, Jitter};
use provisioning_core::panel::button::{Button, Press};

/// Pauses between tries to open the device: a keyboard may be plugged in later.
const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1), Jitter::None);

/// Where a button is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A key of an input device.
    Input {
        /// The device, such as `/dev/input/by-path/platform-button-event`.
        device: PathBuf,
        /// The key's code, from `linux/input-event-codes.h`.
        key: u16,
    },
    /// A line of a GPIO chip, which the button connects to the ground or to the supply.
    Gpio {
        /// The chip, such as `/dev/gpiochip0`.
        chip: PathBuf,
        /// The number of the line.
        line: u32,
        /// The button connects the line to the supply; otherwise to the ground.
        active_high: bool,
    },
}

/// What a device reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Pressed,
    Released,
    /// Changes were lost.
    Unknown,
}

/// Follows a button until `shutdown` is ready.
pub async fn serve(panel: Panel, source: Source, shutdown: impl Future<Output = ()>) {
    tokio::select! {
        () = shutdown => {}
        () = retry(&panel, &source) => {}
    }
}

async fn retry(panel: &Panel, source: &Source) {
    let mut follower = Follower {
        panel,
        start: Instant::now(),
        button: Button::new(),
        last: Press::None,
        resetting: JoinSet::new(),
        authorizing: JoinSet::new(),
    };
    let mut reported = None;
    let mut failed = 0;
    loop {
        let error = match Levels::open(source) {
            Ok(mut levels) => {
                info!(?source, "following a button");
                (failed, reported) = (0, None);
                follower.follow(&mut levels).await
            }
            Err(error) => error,
        };
        follower.button.lost();
        follower.update();
        // The same reason is logged once as a warning, not at every try.
        if reported.replace(error.kind()) == Some(error.kind()) {
            debug!(?source, %error, "still no button");
        } else {
            warn!(?source, %error, "a button cannot be used: see \"Light and buttons\" in docs/settings.md");
        }
        failed += 1;
        let pause = sleep(RETRIES.nominal(failed));
        follower.until(pause).await;
    }
}

/// An open device.
enum Levels {
    Input(Box<Key>),
    Gpio(Line),
}

impl Levels {
    fn open(source: &Source) -> io::Result<Self> {
        Ok(match source {
            Source::Input { device, key } => Self::Input(Box::new(Key::open(device, *key)?)),
            Source::Gpio { chip, line, active_high } => Self::Gpio(Line::open(chip, *line, *active_high)?),
        })
    }

    /// The next level. Cancel-safe.
    async fn next(&mut self) -> io::Result<Level> {
        match self {
            Self::Input(key) => key.next().await,
            Self::Gpio(line) => line.next().await,
        }
    }
}

/// Reads what a device has, as soon as it has something. Cancel-safe.
async fn read(device: &Receiver, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        device.readable().await?;
        match device.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// The button, and the reset that it has started.
struct Follower<'a> {
    panel: &'a Panel,
    start: Instant,
    button: Button,
    last: Press,
    resetting: JoinSet<Result<(), Error>>,
    authorizing: JoinSet<Result<(), Error>>,
}

impl Follower<'_> {
    /// Follows the button until its device fails.
    async fn follow(&mut self, levels: &mut Levels) -> io::Error {
        loop {
            let timeout = self.button.poll_timeout(self.start.elapsed()).map(|at| self.start + at);
            tokio::select! {
                level = levels.next() => match level {
                    Ok(Level::Unknown) => self.button.lost(),
                    Ok(level) => self.button.handle(level == Level::Pressed, self.start.elapsed()),
                    Err(error) => return error,
                },
                () = sleep_until(timeout.unwrap_or_else(Instant::now)), if timeout.is_some() => {}
                Some(ended) = self.resetting.join_next() => reset_ended(ended),
                Some(ended) = self.authorizing.join_next() => authorized(ended),
            }
            self.update();
        }
    }

    /// Waits; a reset in progress may end meanwhile.
    async fn until(&mut self, pause: impl Future<Output = ()>) {
        let mut pause = std::pin::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => return,
                Some(ended) = self.resetting.join_next() => {
                    reset_ended(ended);
                    self.update();
                }
            }
        }
    }

    /// Shows the press, and starts what follows from it.
    fn update(&mut self) {
        if self.button.take_click(self.start.elapsed()) && self.authorizing.is_empty() {
            let panel = self.panel.clone();
            self.authorizing.spawn(async move { panel.authorize().await });
        }
        let press = self.button.press(self.start.elapsed());
        if std::mem::replace(&mut self.last, press) != press && press == Press::Reset && self.resetting.is_empty() {
            warn!("the button was held for ten seconds: resetting the node");
            let panel = self.panel.clone();
            self.resetting.spawn(async move { panel.reset().await });
        }
        // The owner learns how the reset ends, and not how long the button is held.
        self.panel.pressed(match (press, self.resetting.is_empty()) {
            (_, false) => Press::Reset,
            (Press::Warned, true) => Press::Warned,
            (Press::None | Press::Reset, true) => Press::None,
        });
    }
}

fn authorized(ended: Result<Result<(), Error>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => info!("the button was pressed: a client may give the node its network, for a minute"),
        Ok(Err(error)) => debug!(%error, "a short press of the button does nothing"),
        Err(error) => warn!(%error, "the authorization has ended"),
    }
}

fn reset_ended(ended: Result<Result<(), Error>, tokio::task::JoinError>) {
    match ended {
        Ok(Ok(())) => info!("the reset is complete"),
        Ok(Err(error)) => warn!(%error, "the reset has failed, or is not complete yet"),
        Err(error) => warn!(%error, "the reset has ended"),
    }
}
