//! Commands, and their reassembly from the values that a client writes.

use alloc::string::String;

use zeroize::{Zeroize, Zeroizing};

use super::{Error, checksum};
use crate::domain::{Passphrase, Ssid};

/// The largest packet, bytes: the command, the length, as much data as one byte can count, and the checksum.
pub const PACKET_LIMIT: usize = 2 + 255 + 1;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Join this network.
    Join {
        /// Its name.
        ssid: Ssid,
        /// Its passphrase; empty for an open network.
        passphrase: Passphrase,
    },
    /// Show which device this is.
    Identify,
    /// Describe the device.
    DeviceInfo,
    /// List the networks in range.
    Scan,
}

impl Command {
    /// Parses a packet.
    pub fn decode(packet: &[u8]) -> Result<Self, Error> {
        let (sum, content) = packet.split_last().ok_or(Error::InvalidPacket)?;
        let [command, length, data @ ..] = content else { return Err(Error::InvalidPacket) };
        if data.len() != usize::from(*length) || *sum != checksum(content) {
            return Err(Error::InvalidPacket);
        }
        match (command, data) {
            (1, data) => join(data).ok_or(Error::InvalidPacket),
            (2, []) => Ok(Self::Identify),
            (3, []) => Ok(Self::DeviceInfo),
            (4, []) => Ok(Self::Scan),
            (2..=4, _) => Err(Error::InvalidPacket),
            _ => Err(Error::UnknownCommand),
        }
    }
}

fn join(data: &[u8]) -> Option<Command> {
    let (ssid, rest) = text(data)?;
    let (passphrase, rest) = text(rest)?;
    if !rest.is_empty() {
        return None;
    }
    let passphrase = Passphrase::try_from(String::from(core::str::from_utf8(passphrase).ok()?)).ok()?;
    passphrase.is_printable().then_some(())?;
    Some(Command::Join { ssid: Ssid::try_from(ssid).ok()?, passphrase })
}

/// A text after its length, and what follows it.
fn text(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// The packet that a client is writing.
pub struct Packet {
    bytes: Zeroizing<[u8; PACKET_LIMIT]>,
    length: usize,
}

impl Default for Packet {
    fn default() -> Self {
        Self { bytes: Zeroizing::new([0; PACKET_LIMIT]), length: 0 }
    }
}

impl Packet {
    /// Whether nothing was written, or only whole packets.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.bytes.zeroize();
        self.length = 0;
    }

    /// Takes a value; returns the command if it is complete. A value belongs to one packet.
    pub fn push(&mut self, value: &[u8]) -> Option<Result<Command, Error>> {
        let end = self.length + value.len();
        let Some(place) = self.bytes.get_mut(self.length..end) else {
            self.clear();
            return Some(Err(Error::InvalidPacket));
        };
        place.copy_from_slice(value);
        self.length = end;
        let written = &self.bytes[..end];
        if written.get(1).is_none_or(|length| end < 3 + usize::from(*length)) {
            return None;
        }
        let command = Command::decode(written);
        self.clear();
        Some(command)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    /// A packet with its length and checksum.
    pub(in crate::improv) fn packet(command: u8, data: &[u8]) -> Vec<u8> {
        let mut packet = vec![command, u8::try_from(data.len()).expect("at most 255 bytes")];
        packet.extend_from_slice(data);
        packet.push(checksum(&packet));
        packet
    }

    fn network(ssid: &[u8], passphrase: &[u8]) -> Vec<u8> {
        let length = |text: &[u8]| u8::try_from(text.len()).expect("short");
        packet(1, &[&[length(ssid)], ssid, &[length(passphrase)], passphrase].concat())
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        let bytes = network(b"MyWirelessAP", b"mysecurepassword");
        assert_eq!(bytes[..4], [0x01, 0x1e, 0x0c, b'M']);
        let Ok(Command::Join { ssid, passphrase }) = Command::decode(&bytes) else { panic!("a network") };
        assert_eq!((ssid.as_bytes(), passphrase.expose()), (&b"MyWirelessAP"[..], "mysecurepassword"));
        for (number, command) in [(2, Command::Identify), (3, Command::DeviceInfo), (4, Command::Scan)] {
            assert_eq!(Command::decode(&packet(number, &[])), Ok(command));
        }
    }

    #[test]
    fn every_packet_that_is_cut_or_has_a_wrong_byte_is_invalid() {
        for bytes in [network(b"home", b"correct horse"), packet(2, &[]), packet(3, &[]), packet(4, &[])] {
            for length in 0..bytes.len() {
                assert_eq!(Command::decode(&bytes[..length]), Err(Error::InvalidPacket), "{length} bytes");
            }
            for index in 0..bytes.len() {
                for flip in 1..=255_u8 {
                    let mut wrong = bytes.clone();
                    wrong[index] ^= flip;
                    assert!(Command::decode(&wrong).is_err(), "byte {index}: {flip:#x}");
                }
            }
            let mut long = bytes.clone();
            long.push(0);
            assert_eq!(Command::decode(&long), Err(Error::InvalidPacket));
        }
    }

    #[test]
    fn texts_that_do_not_fit_each_other_or_a_network_are_invalid() {
        let invalid = [
            network(b"", b"correct horse"),
            network(&[b'a'; 33], b"correct horse"),
            network(b"home", &[0xff; 8]),
            network(b"home", b"new\nline"),
            network(b"home", &[b'a'; 129]),
            packet(1, &[]),
            packet(1, &[4, b'h', b'o', b'm', b'e']),
            packet(1, &[4, b'h', b'o', b'm', b'e', 0, 0]),
            packet(1, &[4, b'h', b'o', b'm', b'e', 1]),
            packet(1, &[255, b'h']),
            packet(2, &[0]),
            packet(4, &[1]),
        ];
        for bytes in invalid {
            assert_eq!(Command::decode(&bytes), Err(Error::InvalidPacket), "{bytes:?}");
        }
        for command in [0, 5, 6, 255] {
            assert_eq!(Command::decode(&packet(command, b"name")), Err(Error::UnknownCommand));
        }
        assert!(Command::decode(&network(&[0xff; 32], b"")).is_ok(), "an open network, whose name is no text");
    }

    #[test]
    fn a_packet_is_whole_however_it_was_cut() {
        let bytes = network(&[b'a'; 32], &[b'b'; 128]);
        let whole = Command::decode(&bytes);
        assert!(whole.is_ok());
        for size in 1..=bytes.len() {
            let mut packet = Packet::default();
            for _ in 0..2 {
                let mut commands: Vec<_> = bytes.chunks(size).filter_map(|value| packet.push(value)).collect();
                assert_eq!((commands.pop(), commands.len()), (Some(whole.clone()), 0), "values of {size} bytes");
                assert!(packet.is_empty());
            }
        }
    }

    #[test]
    fn a_packet_that_is_too_long_is_invalid_and_the_next_one_is_read() {
        let mut packet = Packet::default();
        assert_eq!(packet.push(&[]), None);
        assert_eq!(packet.push(&[1, 255]), None);
        assert_eq!(packet.push(&[0; 300]), Some(Err(Error::InvalidPacket)));
        assert_eq!(packet.push(&[2, 0, 2]), Some(Ok(Command::Identify)));
        assert_eq!(packet.push(&[2, 0, 2, 2, 0, 2]), Some(Err(Error::InvalidPacket)));
        assert_eq!(packet.push(&[3]), None);
        packet.clear();
        assert_eq!(packet.push(&[2, 0, 2]), Some(Ok(Command::Identify)));
    }
}
