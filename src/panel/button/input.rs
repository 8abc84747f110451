//! A key of an input device. Other programs see its events as well.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use tokio::net::unix::pipe::Receiver;

use super::{Level, read};

/// The size of `struct input_event` of `linux/input.h`: two machine words of time, a type, a code and a value.
const EVENT: usize = 2 * size_of::<usize>() + 8;
/// Events that are read at once.
const EVENTS: usize = 16;

const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const SYN_DROPPED: u16 = 3;

/// An open device, and the key.
pub(super) struct Key {
    device: Receiver,
    code: u16,
    buffer: Box<[u8; EVENTS * EVENT]>,
    /// The events in the buffer that have not been parsed.
    unread: std::ops::Range<usize>,
}

impl Key {
    pub(super) fn open(device: &Path, code: u16) -> io::Result<Self> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of `open`");
        let device = OpenOptions::new().read(true).custom_flags(flags).open(device)?;
        // The type for everything that is read as soon as it has something.
        let device = Receiver::from_file_unchecked(device)?;
        Ok(Self { device, code, buffer: Box::new([0; EVENTS * EVENT]), unread: 0..0 })
    }

    /// The next level of the key. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<Level> {
        loop {
            while self.unread.len() >= EVENT {
                let event = &self.buffer[self.unread.start..][..EVENT];
                self.unread.start += EVENT;
                if let Some(level) = level(event, self.code) {
                    return Ok(level);
                }
            }
            let read = read(&self.device, &mut *self.buffer).await?;
            // The kernel writes whole events.
            if read == 0 || read % EVENT != 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "this is not an input device"));
            }
            self.unread = 0..read;
        }
    }
}

/// What an event says about a key; none if it is about something else. A repetition says nothing new.
fn level(event: &[u8], code: u16) -> Option<Level> {
    let (_, event) = event.split_last_chunk::<8>()?;
    let number = |index: usize| u16::from_ne_bytes([event[index], event[index + 1]]);
    let value = i32::from_ne_bytes([event[4], event[5], event[6], event[7]]);
    match (number(0), number(2), value) {
        (EV_SYN, SYN_DROPPED, _) => Some(Level::Unknown),
        (EV_KEY, key, 0) if key == code => Some(Level::Released),
        (EV_KEY, key, 1) if key == code => Some(Level::Pressed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let time = [0; 2 * size_of::<usize>()];
        [&time[..], &kind.to_ne_bytes(), &code.to_ne_bytes(), &value.to_ne_bytes()].concat()
    }

    #[test]
    fn only_presses_and_releases_of_the_key_and_lost_events_count() {
        for (kind, code, value, expected) in [
            (EV_KEY, 408, 1, Some(Level::Pressed)),
            (EV_KEY, 408, 0, Some(Level::Released)),
            (EV_KEY, 408, 2, None),
            (EV_KEY, 408, -1, None),
            (EV_KEY, 409, 1, None),
            (EV_SYN, 0, 0, None),
            (EV_SYN, SYN_DROPPED, 0, Some(Level::Unknown)),
            (4, 408, 1, None),
        ] {
            assert_eq!(level(&event(kind, code, value), 408), expected, "{kind} {code} {value}");
        }
    }

    #[test]
    fn an_event_has_the_size_of_the_kernels() {
        assert_eq!(EVENT, if cfg!(target_pointer_width = "64") { 24 } else { 16 });
    }
}
