//! The node's side of GATT.
//!
//! A link calls [`Reads::read`] for reads, [`check_write`] and [`Inbox::push`] for writes, and [`check_subscribe`] for
//! subscriptions. Two rules of order are the link's: acknowledge a write before processing it, so that the phone does not
//! wait for the node; register a subscription before acknowledging it, so that the phone misses no answer.

use alloc::vec::Vec;

use super::AttError;
use crate::domain::Status;
use crate::endpoint::{ENDPOINTS, Endpoint};
use crate::wire::framing::{FramingError, Reassembler, VALUE_LIMIT};
use crate::wire::{Info, PublicStatus};

/// The public value of an endpoint.
pub fn public_value(endpoint: Endpoint, info: &Info, status: &Status) -> Result<Vec<u8>, AttError> {
    match endpoint {
        Endpoint::Info => Ok(info.encode()),
        Endpoint::Status => Ok(PublicStatus::from(status).encode()),
        Endpoint::Session | Endpoint::Scan | Endpoint::K2 | Endpoint::Credentials => Err(AttError::ReadNotPermitted),
    }
}

/// Whether `length` bytes may be written at `offset` of an endpoint, on a connection that carries values of `size` bytes.
/// Messages are written value by value, so there are no long writes.
pub fn check_write(endpoint: Endpoint, offset: usize, length: usize, size: usize) -> Result<(), AttError> {
    if offset != 0 {
        Err(AttError::InvalidOffset)
    } else if !endpoint.row().writable {
        Err(AttError::WriteNotPermitted)
    } else if length > size.min(VALUE_LIMIT) {
        Err(AttError::InvalidLength)
    } else {
        Ok(())
    }
}

/// Whether a phone may subscribe to an endpoint.
pub const fn check_subscribe(endpoint: Endpoint) -> Result<(), AttError> {
    if endpoint.row().notifies { Ok(()) } else { Err(AttError::NotSupported) }
}

/// The values that phones are reading in parts, so that the parts of one read belong to one value. Holds one value per
/// endpoint, that of the last reader: a phone that another one interrupts continues in the value of that time.
///
/// `P` identifies a phone.
#[derive(Debug)]
pub struct Reads<P> {
    values: [Option<(P, Vec<u8>)>; ENDPOINTS.len()],
}

impl<P> Default for Reads<P> {
    fn default() -> Self {
        Self { values: ENDPOINTS.map(|_| None) }
    }
}

impl<P: PartialEq> Reads<P> {
    /// The public value of an endpoint from `offset` on.
    pub fn read(&mut self, phone: P, endpoint: Endpoint, offset: usize, info: &Info, status: &Status) -> Result<&[u8], AttError> {
        let held = &mut self.values[usize::from(endpoint.row().number)];
        let continues = offset > 0 && held.as_ref().is_some_and(|(reader, _)| *reader == phone);
        if !continues {
            *held = Some((phone, public_value(endpoint, info, status)?));
        }
        held.as_ref().and_then(|(_, value)| value.get(offset..)).ok_or(AttError::InvalidOffset)
    }
}

/// Reassembles the messages that one phone writes. Each endpoint has its own sequence of frames.
#[derive(Debug)]
pub struct Inbox {
    endpoints: [Reassembler; ENDPOINTS.len()],
}

impl Default for Inbox {
    fn default() -> Self {
        Self { endpoints: ENDPOINTS.map(|row| Reassembler::new(row.limit)) }
    }
}

impl Inbox {
    /// Takes a value that was written; returns the message that it completes. After an error the next message is expected,
    /// and the phone is sent the error's [fault](FramingError::fault).
    pub fn push(&mut self, endpoint: Endpoint, value: &[u8]) -> Result<Option<Vec<u8>>, FramingError> {
        self.endpoints[usize::from(endpoint.row().number)].push(value)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;

    use super::*;
    use crate::domain::State;
    use crate::fault::Fault;
    use crate::wire::framing::frames;

    fn info(name: &str) -> Info {
        Info {
            node_id: name.into(),
            name: name.into(),
            firmware_version: "1.0.0".into(),
            hardware: "linux-aarch64".into(),
            capabilities: Vec::new(),
            state: State::ApMode,
            previously_provisioned: false,
            versions: vec![1],
            country: String::new(),
        }
    }

    #[test]
    fn exactly_the_readable_endpoints_have_a_public_value() {
        for row in &ENDPOINTS {
            let value = public_value(row.endpoint, &info("a"), &Status::waiting());
            assert_eq!(value.is_ok(), row.readable, "{:?}", row.endpoint);
        }
        let refused = public_value(Endpoint::Credentials, &info("a"), &Status::waiting());
        assert_eq!(refused, Err(AttError::ReadNotPermitted));
    }

    #[test]
    fn the_parts_of_one_read_belong_to_one_value() {
        let (old, new) = (info("jarvis-5b91b661"), info("jarvis-0a0b0c0d"));
        let status = Status::waiting();
        let mut reads = Reads::default();
        let head = reads.read(1, Endpoint::Info, 0, &old, &status).expect("readable")[..10].to_vec();
        let tail = reads.read(1, Endpoint::Info, 10, &new, &status).expect("readable");
        assert_eq!([&head, tail].concat(), old.encode());
        assert_eq!(reads.read(1, Endpoint::Info, 0, &new, &status), Ok(&*new.encode()));
    }

    #[test]
    fn a_read_that_another_phone_interrupts_continues_in_the_present_value() {
        let (old, new) = (info("jarvis-5b91b661"), info("jarvis-0a0b0c0d"));
        let status = Status::waiting();
        let mut reads = Reads::default();
        reads.read(1, Endpoint::Info, 0, &old, &status).expect("readable");
        reads.read(2, Endpoint::Info, 0, &old, &status).expect("readable");
        assert_eq!(reads.read(1, Endpoint::Info, 10, &new, &status), Ok(&new.encode()[10..]));
    }

    #[test]
    fn the_end_of_a_value_is_empty_and_past_it_is_no_offset() {
        let (info, status) = (info("a"), Status::waiting());
        let length = info.encode().len();
        let mut reads = Reads::default();
        assert_eq!(reads.read(1, Endpoint::Info, length, &info, &status), Ok(&[][..]));
        assert_eq!(reads.read(1, Endpoint::Info, length + 1, &info, &status), Err(AttError::InvalidOffset));
    }

    #[test]
    fn a_write_needs_a_writable_endpoint_no_offset_and_a_permitted_size() {
        assert_eq!(check_write(Endpoint::Scan, 0, 182, 182), Ok(()));
        assert_eq!(check_write(Endpoint::Scan, 0, 183, 182), Err(AttError::InvalidLength));
        assert_eq!(check_write(Endpoint::Scan, 0, VALUE_LIMIT, 514), Ok(()));
        assert_eq!(check_write(Endpoint::Scan, 0, VALUE_LIMIT + 1, 514), Err(AttError::InvalidLength));
        assert_eq!(check_write(Endpoint::Scan, 1, 1, 182), Err(AttError::InvalidOffset));
        assert_eq!(check_write(Endpoint::Info, 0, 1, 182), Err(AttError::WriteNotPermitted));
    }

    #[test]
    fn only_the_status_can_be_subscribed_to() {
        for row in &ENDPOINTS {
            let expected = if row.endpoint == Endpoint::Status { Ok(()) } else { Err(AttError::NotSupported) };
            assert_eq!(check_subscribe(row.endpoint), expected);
        }
    }

    #[test]
    fn messages_to_two_endpoints_may_alternate() {
        let mut inbox = Inbox::default();
        let (scan, k2) = (frames(&[1; 30], 20), frames(&[2; 30], 20));
        assert_eq!(inbox.push(Endpoint::Scan, &scan[0]), Ok(None));
        assert_eq!(inbox.push(Endpoint::K2, &k2[0]), Ok(None));
        assert_eq!(inbox.push(Endpoint::Scan, &scan[1]), Ok(Some(vec![1; 30])));
        assert_eq!(inbox.push(Endpoint::K2, &k2[1]), Ok(Some(vec![2; 30])));
    }

    #[test]
    fn a_message_over_the_limit_is_too_large_and_other_bad_frames_are_malformed() {
        let fault = |endpoint, value: &[u8]| Inbox::default().push(endpoint, value).map_err(FramingError::fault);
        for row in ENDPOINTS.iter().filter(|row| row.writable) {
            let over = &frames(&vec![1; row.limit + 1], VALUE_LIMIT)[0];
            assert_eq!(fault(row.endpoint, over), Err(Fault::TooLarge), "{:?}", row.endpoint);
            for value in [&[][..], &[1, 9], &[0xff; 495], &[0x80, 0, 1], &[0x80, 0, 1, 1, 2]] {
                assert_eq!(fault(row.endpoint, value), Err(Fault::Malformed), "{:?} {value:?}", row.endpoint);
            }
        }
    }
}
