//! Improv Wi-Fi over Bluetooth (<https://www.improv-wifi.com/ble>, revision 2.2), so that clients such as Home Assistant can bring
//! the node online.
//!
//! The protocol has no session and no encryption: any client that writes to the node while it is authorized sets its network. So a
//! person has to authorize the node first, for a minute. A client writes a command, perhaps in several values, and learns what
//! follows from notifications:
//!
//! ```text
//! client → node   command   command, length, data, checksum
//! node → client   state     1 to 4, at each change
//! node → client   error     0 to 255
//! node → client   result    command, length, texts, checksum
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `packet` | commands and their reassembly |
//! | `result` | results, cut to what one notification carries |

mod packet;
mod result;

use alloc::vec;
use alloc::vec::Vec;

use crate::secret::SecretBlob;
pub use packet::{Command, PACKET_LIMIT, Packet};
pub use result::{device_info, networks, provisioned};

/// The service.
pub const SERVICE: u128 = 0x0046_7768_6228_2272_4663_2774_7826_8000;
/// The UUID of the service data in the advertisement: the 16 bits 0x4677 in the base of Bluetooth.
pub const SERVICE_DATA: u128 = 0x0000_4677_0000_1000_8000_0080_5f9b_34fb;
/// What the node can do: identify itself (bit 0), describe itself (1), and list networks (2).
pub const CAPABILITIES: u8 = 0b0111;

/// A characteristic of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Characteristic {
    /// The state: read, notified.
    State = 1,
    /// The error of the client's last command: read, notified.
    Error = 2,
    /// Commands: written.
    Command = 3,
    /// The result of the client's last command that has one: read, notified.
    Result = 4,
    /// [`CAPABILITIES`]: read.
    Capabilities = 5,
}

impl Characteristic {
    /// All of them, in the order of their UUIDs. The order never changes, because phones cache handles.
    pub const ALL: [Self; 5] = [Self::State, Self::Error, Self::Command, Self::Result, Self::Capabilities];

    /// Its UUID.
    pub const fn uuid(self) -> u128 {
        SERVICE + self as u128
    }

    /// The characteristic of a UUID.
    pub fn from_uuid(uuid: u128) -> Option<Self> {
        Self::ALL.into_iter().find(|characteristic| characteristic.uuid() == uuid)
    }

    /// Whether clients are notified of it.
    pub const fn notifies(self) -> bool {
        matches!(self, Self::State | Self::Error | Self::Result)
    }
}

/// The state that clients see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// A person has to authorize the node.
    AuthorizationRequired = 1,
    /// A client may send the network.
    Authorized = 2,
    /// The node is joining a network.
    Provisioning = 3,
    /// It has a network.
    Provisioned = 4,
}

/// The error of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Error {
    /// None.
    None = 0,
    /// The command cannot be parsed.
    InvalidPacket = 1,
    /// The node does not know the command.
    UnknownCommand = 2,
    /// The network was not joined. The protocol does not tell reasons apart.
    UnableToConnect = 3,
    /// Nobody has authorized the node.
    NotAuthorized = 4,
    /// Everything else.
    Unknown = 255,
}

/// What everyone in range may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The state.
    pub state: State,
    /// The service is advertised, as long as the node advertises at all.
    pub advertised: bool,
}

impl Shown {
    /// The service data of the advertisement.
    pub const fn service_data(self) -> [u8; 6] {
        [self.state as u8, CAPABILITIES, 0, 0, 0, 0]
    }
}

/// What a link does.
#[derive(Debug)]
pub enum FromClient {
    /// A client has connected: it gets every notice from here on.
    Opened {
        /// The largest value of which it can be notified, bytes.
        room: usize,
    },
    /// It has written a value to [`Characteristic::Command`].
    Written {
        /// The value, which may hold a password.
        value: SecretBlob,
        /// The same.
        room: usize,
    },
}

/// The new value of a characteristic, of which a client is notified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The characteristic.
    pub characteristic: Characteristic,
    /// Its value.
    pub value: Vec<u8>,
}

impl Notice {
    /// A state.
    pub fn state(state: State) -> Self {
        Self { characteristic: Characteristic::State, value: vec![state as u8] }
    }

    /// An error.
    pub fn error(error: Error) -> Self {
        Self { characteristic: Characteristic::Error, value: vec![error as u8] }
    }

    /// A result.
    pub const fn result(value: Vec<u8>) -> Self {
        Self { characteristic: Characteristic::Result, value }
    }

    /// One message for a link.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = vec![self.characteristic as u8];
        bytes.extend(self.value);
        bytes
    }

    /// The reverse of [`encode`](Self::encode); none if it is not one.
    pub fn decode(message: &[u8]) -> Option<Self> {
        let (number, value) = message.split_first()?;
        let is_it = |characteristic: &Characteristic| *characteristic as u8 == *number && characteristic.notifies();
        let characteristic = Characteristic::ALL.into_iter().find(is_it)?;
        Some(Self { characteristic, value: value.to_vec() })
    }
}

/// The sum of all bytes, of which one byte is kept.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characteristics_follow_the_service() {
        assert_eq!(Characteristic::State.uuid(), 0x0046_7768_6228_2272_4663_2774_7826_8001);
        for characteristic in Characteristic::ALL {
            assert_eq!(Characteristic::from_uuid(characteristic.uuid()), Some(characteristic));
        }
        assert_eq!(Characteristic::from_uuid(SERVICE), None);
    }

    #[test]
    fn a_notice_is_read_back_and_nothing_else_is_one() {
        for notice in [Notice::state(State::Authorized), Notice::error(Error::Unknown), Notice::result(vec![1, 0, 1])] {
            assert_eq!(Notice::decode(&notice.clone().encode()), Some(notice));
        }
        for other in [&[][..], &[0, 1], &[3, 1], &[5, 1], &[6, 1]] {
            assert_eq!(Notice::decode(other), None);
        }
    }

    #[test]
    fn no_state_is_zero_in_the_service_data() {
        let shown = Shown { state: State::AuthorizationRequired, advertised: true };
        assert_eq!(shown.service_data(), [1, 7, 0, 0, 0, 0]);
    }
}
