//! A line of a GPIO chip, by version 2 of the kernel's interface (Linux 5.10). The kernel sets the pull-up or pull-down.

use std::fs::File;
use std::io;
use std::path::Path;

use gpiocdev_uapi::v2::{LineConfig, LineEdgeEvent, LineFlags, LineRequest, get_line};
use tokio::net::unix::pipe::Receiver;

use super::{Level, read};

/// Who has requested the line, for `gpioinfo`.
const CONSUMER: &str = "jarvis-provision reset";

/// The size of an event, in words and in bytes.
const WORDS: usize = size_of::<LineEdgeEvent>() / 8;
const BYTES: usize = WORDS * 8;

/// A requested line.
pub(super) struct Line {
    events: Receiver,
    /// The number of the last event.
    last: u32,
}

impl Line {
    pub(super) fn open(chip: &Path, line: u32, active_high: bool) -> io::Result<Self> {
        let chip = File::open(chip)?;
        let pull = if active_high { LineFlags::BIAS_PULL_DOWN } else { LineFlags::ACTIVE_LOW | LineFlags::BIAS_PULL_UP };
        let flags = LineFlags::INPUT | LineFlags::EDGE_RISING | LineFlags::EDGE_FALLING | pull;
        let request = LineRequest {
            offsets: gpiocdev_uapi::v2::Offsets::from_slice(&[line]),
            consumer: CONSUMER.into(),
            config: LineConfig { flags, ..LineConfig::default() },
            num_lines: 1,
            ..LineRequest::default()
        };
        let events = get_line(&chip, request).map_err(|error| io::Error::other(error.to_string()))?;
        let flags = rustix::fs::fcntl_getfl(&events)?;
        rustix::fs::fcntl_setfl(&events, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { events: Receiver::from_file_unchecked(events)?, last: 0 })
    }

    /// The next level of the line. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<Level> {
        let mut bytes = [0; BYTES];
        let read = read(&self.events, &mut bytes).await?;
        if read != BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not an event of a GPIO line"));
        }
        level(&bytes, &mut self.last)
    }
}

/// What an event says. `last` is the number of the event before: a gap means that the kernel had no room for some.
fn level(bytes: &[u8; BYTES], last: &mut u32) -> io::Result<Level> {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    let event = LineEdgeEvent::from_slice(&words).map_err(|error| io::Error::other(error.to_string()))?;
    let expected = last.wrapping_add(1);
    *last = event.line_seqno;
    Ok(match event.kind {
        _ if event.line_seqno != expected => Level::Unknown,
        1 => Level::Pressed,
        2 => Level::Released,
        _ => Level::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct gpio_v2_line_event` of `linux/gpio.h`.
    fn event(kind: u32, number: u32) -> [u8; BYTES] {
        let fields = [kind, 17, number, number];
        let mut bytes = [0; BYTES];
        for (index, field) in fields.iter().enumerate() {
            bytes[8 + 4 * index..][..4].copy_from_slice(&field.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn edges_are_levels_and_a_gap_is_unknown() {
        let mut last = 0;
        let mut seen = |kind, number| level(&event(kind, number), &mut last).expect("an event");
        assert_eq!(seen(1, 1), Level::Pressed);
        assert_eq!(seen(2, 2), Level::Released);
        assert_eq!(seen(1, 7), Level::Unknown);
        assert_eq!(seen(2, 8), Level::Released);
        assert_eq!(seen(3, 9), Level::Unknown);
    }
}
