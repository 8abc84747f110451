//! Fragmentation of messages into GATT values, and reassembly.
//!
//! A value starts with one control byte: bit 7 is set on the first frame of a message, bits 0 to 5 count the frames from
//! 0, modulo 64; bit 6 is zero. On the first frame the message's length follows, two bytes, big-endian. The rest is
//! payload. A message is complete when it has its length; a first frame starts a new message, even if the last one is not
//! complete.

use alloc::vec;
use alloc::vec::Vec;

use thiserror::Error;

use crate::fault::Fault;

/// The largest value that is written or notified, bytes: `BlueZ` before 5.69 loses writes of 511 and 512 bytes.
pub const VALUE_LIMIT: usize = 495;

/// The smallest value that any link must carry: the ATT MTU of 23 less the five bytes that a notification of several values
/// takes for its header.
pub const VALUE_MINIMUM: usize = 18;

const FIRST: u8 = 0x80;
const INDEX: u8 = 0x3f;

/// Why a frame does not continue its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FramingError {
    /// No control byte, no length, no payload, or an unknown flag.
    #[error("the frame is malformed")]
    NotAFrame,
    /// A frame that is not the next one.
    #[error("the frame is out of order")]
    OutOfOrder,
    /// The announced length is over the limit of the endpoint.
    #[error("the message is too large")]
    TooLarge,
    /// More payload than was announced.
    #[error("the message is longer than announced")]
    TooLong,
}

impl FramingError {
    /// The fault that the sender receives.
    pub const fn fault(self) -> Fault {
        match self {
            Self::TooLarge => Fault::TooLarge,
            Self::NotAFrame | Self::OutOfOrder | Self::TooLong => Fault::Malformed,
        }
    }
}

/// Reassembles the frames of one direction of one endpoint. Holds at most one message.
#[derive(Debug)]
pub struct Reassembler {
    limit: usize,
    /// The message so far, its announced length, and the next index; none between messages.
    partial: Option<(Vec<u8>, usize, u8)>,
}

impl Reassembler {
    /// Takes messages of up to `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { limit, partial: None }
    }

    /// Takes the next value; returns the message that it completes. An error discards the message; the next first frame
    /// starts another one.
    pub fn push(&mut self, value: &[u8]) -> Result<Option<Vec<u8>>, FramingError> {
        let partial = self.partial.take();
        let (&control, rest) = value.split_first().ok_or(FramingError::NotAFrame)?;
        if control & !(FIRST | INDEX) != 0 {
            return Err(FramingError::NotAFrame);
        }
        let index = control & INDEX;
        let (mut message, length, payload) = if control & FIRST != 0 {
            let (length, payload) = rest.split_first_chunk::<2>().ok_or(FramingError::NotAFrame)?;
            let length = usize::from(u16::from_be_bytes(*length));
            if index != 0 || length == 0 {
                return Err(FramingError::NotAFrame);
            }
            if length > self.limit {
                return Err(FramingError::TooLarge);
            }
            (Vec::with_capacity(length), length, payload)
        } else {
            let (message, length, next) = partial.ok_or(FramingError::OutOfOrder)?;
            if index != next {
                return Err(FramingError::OutOfOrder);
            }
            (message, length, rest)
        };
        if payload.is_empty() {
            return Err(FramingError::NotAFrame);
        }
        if message.len() + payload.len() > length {
            return Err(FramingError::TooLong);
        }
        message.extend_from_slice(payload);
        if message.len() == length {
            return Ok(Some(message));
        }
        self.partial = Some((message, length, (index + 1) & INDEX));
        Ok(None)
    }
}

/// Splits a message into values of at most `size` bytes; `size` is clamped to the range that every link carries.
pub fn frames(message: &[u8], size: usize) -> Vec<Vec<u8>> {
    let size = size.clamp(VALUE_MINIMUM, VALUE_LIMIT);
    let length = u16::try_from(message.len()).expect("every endpoint's limit is below 64 KiB");
    let (head, tail) = message.split_at(message.len().min(size - 3));
    let mut frames = vec![[&[FIRST][..], &length.to_be_bytes(), head].concat()];
    for (payload, index) in tail.chunks(size - 1).zip((1..=INDEX).chain((0..=INDEX).cycle())) {
        frames.push([&[index][..], payload].concat());
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deliver(reassembler: &mut Reassembler, frames: &[Vec<u8>]) -> Result<Option<Vec<u8>>, FramingError> {
        frames.iter().try_fold(None, |_, frame| reassembler.push(frame))
    }

    #[test]
    fn a_message_arrives_whole_at_every_value_size() {
        let message: Vec<u8> = (0..4096_usize).map(|index| u8::try_from(index % 251).expect("below 251")).collect();
        for size in VALUE_MINIMUM..=VALUE_LIMIT {
            let frames = frames(&message, size);
            assert!(frames.iter().all(|frame| frame.len() <= size));
            assert_eq!(deliver(&mut Reassembler::new(4096), &frames), Ok(Some(message.clone())));
        }
    }

    #[test]
    fn frozen_bytes() {
        let frames = frames(&[7; 40], 20);
        assert_eq!(frames[0], [&[0x80, 0, 40][..], &[7; 17]].concat());
        assert_eq!(frames[1], [&[1][..], &[7; 19]].concat());
        assert_eq!(frames[2], [2, 7, 7, 7, 7]);
    }

    #[test]
    fn frames_out_of_order_are_refused_and_the_next_message_arrives() {
        let frames = frames(&[1; 100], 20);
        let mut reassembler = Reassembler::new(100);
        reassembler.push(&frames[0]).expect("the first frame");
        assert_eq!(reassembler.push(&frames[2]), Err(FramingError::OutOfOrder));
        assert_eq!(deliver(&mut reassembler, &frames), Ok(Some(vec![1; 100])));
    }

    #[test]
    fn a_repeated_frame_is_refused() {
        let frames = frames(&[1; 100], 20);
        let mut reassembler = Reassembler::new(100);
        reassembler.push(&frames[0]).expect("the first frame");
        reassembler.push(&frames[1]).expect("the second frame");
        assert_eq!(reassembler.push(&frames[1]), Err(FramingError::OutOfOrder));
    }

    #[test]
    fn an_oversize_message_is_refused_before_it_is_held() {
        assert_eq!(Reassembler::new(99).push(&frames(&[1; 100], 20)[0]), Err(FramingError::TooLarge));
    }

    #[test]
    fn more_than_announced_is_refused() {
        assert_eq!(Reassembler::new(99).push(&[0x80, 0, 1, 1, 2]), Err(FramingError::TooLong));
    }

    #[test]
    fn malformed_frames_are_refused() {
        for value in [&[][..], &[0x80], &[0x80, 0], &[0x80, 0, 1], &[0x80, 0, 0, 1], &[0x81, 0, 1, 1], &[0xc0, 0, 1, 1]] {
            assert_eq!(Reassembler::new(99).push(value), Err(FramingError::NotAFrame), "{value:?}");
        }
        assert_eq!(Reassembler::new(99).push(&[1, 1]), Err(FramingError::OutOfOrder));
    }

    #[test]
    fn a_first_frame_discards_an_incomplete_message() {
        let mut reassembler = Reassembler::new(100);
        reassembler.push(&frames(&[1; 100], 20)[0]).expect("the first frame");
        assert_eq!(deliver(&mut reassembler, &frames(&[2; 30], 20)), Ok(Some(vec![2; 30])));
    }
}
