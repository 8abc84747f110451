//! The wire format of the simulated link.
//!
//! A packet is its length (two bytes, big-endian, at most [`PACKET_LIMIT`]), one byte for its kind, and its body. Kinds
//! and error codes are those of the Attribute Protocol where it has them (Bluetooth Core 5.4, Vol 3, Part F, 3.4);
//! characteristics are identified by their UUID, 16 bytes, big-endian, because there is no discovery of handles.

use alloc::string::String;
use alloc::vec::Vec;

use thiserror::Error;

use super::{ATTRIBUTE_LIMIT, AttError};

/// The largest packet without its length, bytes: a kind, a characteristic and a whole attribute.
pub const PACKET_LIMIT: usize = 1 + 16 + ATTRIBUTE_LIMIT;

const ERROR: u8 = 0x01;
const MTU: u8 = 0x03;
const READ: u8 = 0x0c;
const READ_RESPONSE: u8 = 0x0d;
const WRITE: u8 = 0x12;
const WRITE_RESPONSE: u8 = 0x13;
const WRITE_COMMAND: u8 = 0x52;
const NOTIFICATION: u8 = 0x1b;
// The Attribute Protocol has no opcodes from 0x80 to 0x8f: these represent events outside of it.
const SUBSCRIBE: u8 = 0x80;
const ADVERTISEMENT: u8 = 0x81;
const NOT_ADVERTISING: u8 = 0x82;

/// A request of a phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromPhone {
    /// Read a part of a value. Answered with [`FromNode::Value`] or [`FromNode::Error`].
    Read {
        /// The characteristic.
        characteristic: u128,
        /// The first byte of the part.
        offset: u16,
    },
    /// Write a value. Answered with [`FromNode::Written`] or [`FromNode::Error`].
    Write {
        /// The characteristic.
        characteristic: u128,
        /// At most the MTU less three bytes.
        value: Vec<u8>,
    },
    /// The same without an answer: what is refused is ignored.
    WriteCommand {
        /// The characteristic.
        characteristic: u128,
        /// At most the MTU less three bytes.
        value: Vec<u8>,
    },
    /// Enable notifications. Answered like a write.
    Subscribe {
        /// The characteristic.
        characteristic: u128,
    },
}

/// A packet of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromNode {
    /// The advertisement: the first packet of every link.
    Advertisement {
        /// The local name.
        name: String,
        /// The primary service.
        service: u128,
    },
    /// The node does not advertise; the link ends.
    NotAdvertising,
    /// The ATT MTU of the link: the second packet of every link.
    Mtu(u16),
    /// The requested part, at most the MTU less one byte; a shorter one is the last.
    Value(Vec<u8>),
    /// The acknowledgement of a write or a subscription.
    Written,
    /// The request is refused.
    Error(AttError),
    /// A notified value, at most the MTU less three bytes.
    Notification {
        /// The characteristic.
        characteristic: u128,
        /// The value.
        value: Vec<u8>,
    },
}

/// A length that no packet has: zero or over the limit. The rest of the stream cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a packet of {0} bytes")]
pub struct BadLength(pub usize);

/// Splits a stream into packets. Holds the bytes that were pushed since the last whole packet.
#[derive(Debug, Default)]
pub struct Packets {
    bytes: Vec<u8>,
}

impl Packets {
    /// Adds bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole packet, without its length; none until more is pushed.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, BadLength> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<2>() else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 || length > PACKET_LIMIT {
            return Err(BadLength(length));
        }
        let Some(packet) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.bytes.drain(..2 + length);
        Ok(Some(packet))
    }
}

impl FromPhone {
    /// Parses a packet without its length. The error is the answer to the phone.
    pub fn decode(packet: &[u8]) -> Result<Self, AttError> {
        let (&kind, body) = packet.split_first().ok_or(AttError::InvalidPdu)?;
        if !matches!(kind, READ | WRITE | WRITE_COMMAND | SUBSCRIBE) {
            return Err(AttError::NotSupported);
        }
        let (characteristic, rest) = body.split_first_chunk().ok_or(AttError::InvalidPdu)?;
        let characteristic = u128::from_be_bytes(*characteristic);
        match (kind, rest) {
            (READ, &[high, low]) => Ok(Self::Read { characteristic, offset: u16::from_be_bytes([high, low]) }),
            (WRITE, value) => Ok(Self::Write { characteristic, value: value.to_vec() }),
            (WRITE_COMMAND, value) => Ok(Self::WriteCommand { characteristic, value: value.to_vec() }),
            (SUBSCRIBE, []) => Ok(Self::Subscribe { characteristic }),
            _ => Err(AttError::InvalidPdu),
        }
    }

    /// The packet with its length.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Read { characteristic, offset } => packet(READ, &[&characteristic.to_be_bytes(), &offset.to_be_bytes()]),
            Self::Write { characteristic, value } => packet(WRITE, &[&characteristic.to_be_bytes(), value]),
            Self::WriteCommand { characteristic, value } => packet(WRITE_COMMAND, &[&characteristic.to_be_bytes(), value]),
            Self::Subscribe { characteristic } => packet(SUBSCRIBE, &[&characteristic.to_be_bytes()]),
        }
    }
}

impl FromNode {
    /// Parses a packet without its length; none if it is invalid.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (&kind, body) = packet.split_first()?;
        match (kind, body) {
            (ADVERTISEMENT, body) => {
                let (service, name) = body.split_first_chunk()?;
                let name = String::from_utf8(name.to_vec()).ok()?;
                Some(Self::Advertisement { name, service: u128::from_be_bytes(*service) })
            }
            (NOT_ADVERTISING, []) => Some(Self::NotAdvertising),
            (MTU, &[high, low]) => Some(Self::Mtu(u16::from_be_bytes([high, low]))),
            (READ_RESPONSE, value) => Some(Self::Value(value.to_vec())),
            (WRITE_RESPONSE, []) => Some(Self::Written),
            (ERROR, &[code]) => AttError::from_code(code).map(Self::Error),
            (NOTIFICATION, body) => {
                let (characteristic, value) = body.split_first_chunk()?;
                Some(Self::Notification { characteristic: u128::from_be_bytes(*characteristic), value: value.to_vec() })
            }
            _ => None,
        }
    }

    /// The packet with its length.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Advertisement { name, service } => packet(ADVERTISEMENT, &[&service.to_be_bytes(), name.as_bytes()]),
            Self::NotAdvertising => packet(NOT_ADVERTISING, &[]),
            Self::Mtu(mtu) => packet(MTU, &[&mtu.to_be_bytes()]),
            Self::Value(value) => packet(READ_RESPONSE, &[value]),
            Self::Written => packet(WRITE_RESPONSE, &[]),
            Self::Error(error) => packet(ERROR, &[&[*error as u8]]),
            Self::Notification { characteristic, value } => packet(NOTIFICATION, &[&characteristic.to_be_bytes(), value]),
        }
    }
}

fn packet(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u16::try_from(1 + body.len()).expect("values and names are far below 64 KiB");
    [&length.to_be_bytes()[..], &[kind], &body].concat()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::endpoint::SERVICE;

    fn only(bytes: &[u8]) -> Vec<u8> {
        let mut packets = Packets::default();
        packets.push(bytes);
        let packet = packets.take().expect("a good length").expect("a whole packet");
        assert_eq!(packets.take(), Ok(None));
        packet
    }

    #[test]
    fn every_packet_reads_back() {
        let characteristic = SERVICE;
        for packet in [
            FromPhone::Read { characteristic, offset: 300 },
            FromPhone::Write { characteristic, value: vec![1, 2, 3] },
            FromPhone::Write { characteristic, value: Vec::new() },
            FromPhone::WriteCommand { characteristic, value: vec![1, 2, 3] },
            FromPhone::Subscribe { characteristic },
        ] {
            assert_eq!(FromPhone::decode(&only(&packet.encode())), Ok(packet));
        }
        let errors = AttError::ALL.map(FromNode::Error);
        let others = [
            FromNode::Advertisement { name: "jarvis-5b91b661".into(), service: SERVICE },
            FromNode::NotAdvertising,
            FromNode::Mtu(517),
            FromNode::Value(vec![9; ATTRIBUTE_LIMIT]),
            FromNode::Written,
            FromNode::Notification { characteristic, value: vec![4; 495] },
        ];
        for packet in errors.into_iter().chain(others) {
            assert_eq!(FromNode::decode(&only(&packet.encode())), Some(packet));
        }
    }

    #[test]
    fn a_packet_arrives_whole_from_any_pieces() {
        let write = FromPhone::Write { characteristic: SERVICE, value: vec![7; 40] };
        let mut packets = Packets::default();
        for (index, byte) in write.encode().into_iter().enumerate() {
            assert_eq!(packets.take(), Ok(None), "after {index} bytes");
            packets.push(&[byte]);
        }
        assert_eq!(packets.take().map(|packet| packet.map(|packet| FromPhone::decode(&packet))), Ok(Some(Ok(write))));
    }

    #[test]
    fn several_packets_of_one_read_come_one_by_one() {
        let mut packets = Packets::default();
        packets.push(&[FromNode::Written.encode(), FromNode::Mtu(23).encode()].concat());
        assert_eq!(packets.take(), Ok(Some(vec![WRITE_RESPONSE])));
        assert_eq!(packets.take(), Ok(Some(vec![MTU, 0, 23])));
        assert_eq!(packets.take(), Ok(None));
    }

    #[test]
    fn a_length_that_no_packet_has_ends_the_stream() {
        for length in [0, PACKET_LIMIT + 1, 65_535] {
            let mut packets = Packets::default();
            packets.push(&u16::try_from(length).expect("below 64 KiB").to_be_bytes());
            assert_eq!(packets.take(), Err(BadLength(length)));
        }
    }

    #[test]
    fn every_truncation_of_a_request_is_refused_as_what_it_is() {
        let whole = only(&FromPhone::Read { characteristic: SERVICE, offset: 0 }.encode());
        for length in 1..whole.len() {
            assert_eq!(FromPhone::decode(&whole[..length]), Err(AttError::InvalidPdu), "{length} bytes");
        }
        assert_eq!(FromPhone::decode(&[0x55]), Err(AttError::NotSupported));
    }

    #[test]
    fn what_no_node_sends_is_not_read() {
        for packet in [&[][..], &[0x55], &[MTU, 1], &[ERROR, 0x7f], &[NOTIFICATION, 1, 2], &[WRITE_RESPONSE, 0]] {
            assert_eq!(FromNode::decode(packet), None, "{packet:?}");
        }
    }
}
