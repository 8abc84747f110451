//! nymea's setup of a wireless network over Bluetooth (<https://github.com/nymea/nymea-networkmanager>), as nymea's app and
//! Meshtastic's Android app speak it, so that they can bring the node online.
//!
//! The protocol has no session and no encryption: any client that writes to the node while it is authorized sets its network. So a
//! person has to authorize the node first, for a minute. Commands and answers are JSON in pieces of at most 20 bytes, ended by a
//! line feed; states are one byte each:
//!
//! ```text
//! client → node   commander   {"c":1,"p":{"e":"the name","p":"the password"}}
//! node → client   answer      {"c":1,"r":0}
//! node → client   state       0 to 12, at each change
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `command` | commands and their reassembly |
//! | `answer` | answers |

mod answer;
mod command;

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use crate::secret::SecretBlob;
pub use answer::{Code, Connection, connection, networks, result};
pub use command::{Command, Refused, Text};

/// The service for the wireless network, which is advertised.
pub const WIRELESS_SERVICE: u128 = 0xe081_fec0_f757_4449_b9c9_bfa8_3133_f7fc;
/// The service for the network as a whole. nymea's app disconnects from a device that does not have it.
pub const NETWORK_SERVICE: u128 = 0xef6d_6610_b8af_49e0_9eca_ab34_3513_641c;

/// The largest piece of an answer, bytes. Clients take up to 20; this much is notified whole with the smallest MTU as well.
const PIECE: usize = 18;
/// What tells the characteristics of the second service from those of the first one.
const SECOND: u8 = 0x10;

/// A characteristic of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Characteristic {
    /// Commands: written.
    Commander = 1,
    /// Answers: notified.
    Answer = 2,
    /// [`Wireless`]: read, notified.
    Wireless = 3,
    /// What the radio is used for: read, notified.
    Mode = 4,
    /// [`Network`]: read, notified.
    Network = 0x11,
    /// Commands about the network: written.
    NetworkCommander = 0x12,
    /// Their results: notified.
    NetworkAnswer = 0x13,
    /// Whether there is networking: read, notified.
    NetworkingEnabled = 0x14,
    /// Whether there is wireless networking: read, notified.
    WirelessEnabled = 0x15,
}

impl Characteristic {
    /// All of them, in the order of their services and UUIDs. The order never changes, because phones cache handles.
    pub const ALL: [Self; 9] = [
        Self::Commander,
        Self::Answer,
        Self::Wireless,
        Self::Mode,
        Self::Network,
        Self::NetworkCommander,
        Self::NetworkAnswer,
        Self::NetworkingEnabled,
        Self::WirelessEnabled,
    ];

    /// The service that it belongs to.
    pub const fn service(self) -> u128 {
        if (self as u8) < SECOND { WIRELESS_SERVICE } else { NETWORK_SERVICE }
    }

    /// Its UUID: that of the service, whose first group is counted on.
    pub const fn uuid(self) -> u128 {
        self.service() + ((self as u8 % SECOND) as u128) * (1 << 96)
    }

    /// The characteristic of a UUID.
    pub fn from_uuid(uuid: u128) -> Option<Self> {
        Self::ALL.into_iter().find(|characteristic| characteristic.uuid() == uuid)
    }

    /// Whether clients write it.
    pub const fn is_written(self) -> bool {
        matches!(self, Self::Commander | Self::NetworkCommander)
    }

    /// Whether clients read it.
    pub const fn is_read(self) -> bool {
        !self.is_written() && !matches!(self, Self::Answer | Self::NetworkAnswer)
    }

    /// Whether clients are notified of it.
    pub const fn notifies(self) -> bool {
        !self.is_written()
    }
}

/// The state of the radio as clients see it. The other numbers of the protocol are steps that the node does not tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wireless {
    /// In no network.
    Disconnected = 3,
    /// About to join one.
    Preparing = 4,
    /// Joining one.
    Joining = 5,
    /// Joined, and checking or storing it.
    Checking = 8,
    /// In a network.
    Activated = 10,
    /// The last network was not joined.
    Failed = 12,
}

/// The state of the network as clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Network {
    /// Networking is disabled: nobody has authorized the node.
    Asleep = 1,
    /// In no network.
    Disconnected = 2,
    /// Joining one.
    Connecting = 4,
    /// In a network that does not reach the internet.
    Site = 6,
    /// In a network.
    Global = 7,
}

/// What everyone in range may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The state of the radio.
    pub wireless: Wireless,
    /// The state of the network.
    pub network: Network,
    /// The access point is open.
    pub access_point: bool,
    /// The service is advertised, as long as the node advertises at all.
    pub advertised: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self { wireless: Wireless::Disconnected, network: Network::Asleep, access_point: false, advertised: true }
    }
}

impl Shown {
    /// The value of a characteristic; none for one that is not read.
    pub fn value(self, characteristic: Characteristic) -> Option<u8> {
        match characteristic {
            Characteristic::Wireless => Some(self.wireless as u8),
            // Infrastructure, or access point.
            Characteristic::Mode => Some(if self.access_point { 3 } else { 2 }),
            Characteristic::Network => Some(self.network as u8),
            Characteristic::NetworkingEnabled => Some(u8::from(self.network != Network::Asleep)),
            Characteristic::WirelessEnabled => Some(1),
            _ => None,
        }
    }
}

/// What a link does.
#[derive(Debug)]
pub enum FromClient {
    /// A client has connected: it gets every notice from here on.
    Opened,
    /// It has written a value.
    Written {
        /// To this characteristic.
        characteristic: Characteristic,
        /// The value, which may hold a password.
        value: SecretBlob,
        /// The node's own address, if it has one.
        address: Option<Ipv4Addr>,
    },
}

/// The new value of a characteristic, of which a client is notified, or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The characteristic.
    pub characteristic: Characteristic,
    /// Its value; an answer whole.
    pub value: Vec<u8>,
}

impl Notice {
    /// A state.
    pub fn state(characteristic: Characteristic, value: u8) -> Self {
        Self { characteristic, value: vec![value] }
    }

    /// An answer.
    pub const fn answer(value: Vec<u8>) -> Self {
        Self { characteristic: Characteristic::Answer, value }
    }

    /// The values that a client is notified of.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.value.chunks(PIECE)
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

/// The result of a command about the network. What would change the node's network is refused: a person authorizes that.
pub fn network_result(command: &[u8], shown: Shown) -> Notice {
    const SUCCESS: u8 = 0;
    const INVALID: u8 = 1;
    const UNKNOWN: u8 = 4;
    let result = match command {
        // To enable networking, or wireless networking.
        [0 | 2] if shown.network != Network::Asleep => SUCCESS,
        [0..=3] => UNKNOWN,
        _ => INVALID,
    };
    Notice::state(Characteristic::NetworkAnswer, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characteristics_follow_their_services() {
        assert_eq!(Characteristic::Commander.uuid(), 0xe081_fec1_f757_4449_b9c9_bfa8_3133_f7fc);
        assert_eq!(Characteristic::WirelessEnabled.uuid(), 0xef6d_6615_b8af_49e0_9eca_ab34_3513_641c);
        for characteristic in Characteristic::ALL {
            assert_eq!(Characteristic::from_uuid(characteristic.uuid()), Some(characteristic));
            assert_eq!(Shown::default().value(characteristic).is_some(), characteristic.is_read());
        }
        assert_eq!(Characteristic::from_uuid(WIRELESS_SERVICE), None);
    }

    #[test]
    fn a_notice_is_read_back_and_nothing_else_is_one() {
        for notice in [Notice::state(Characteristic::Wireless, 10), Notice::answer(b"{}\n".to_vec())] {
            assert_eq!(Notice::decode(&notice.clone().encode()), Some(notice));
        }
        for other in [&[][..], &[0, 1], &[1, 1], &[0x12, 1], &[0x16, 1]] {
            assert_eq!(Notice::decode(other), None);
        }
    }

    #[test]
    fn pieces_fit_the_smallest_mtu() {
        let notice = Notice::answer(vec![7; 37]);
        assert_eq!(notice.pieces().map(<[u8]>::len).collect::<Vec<_>>(), [18, 18, 1]);
    }

    #[test]
    fn no_command_about_the_network_changes_it() {
        let awake = Shown { network: Network::Disconnected, ..Shown::default() };
        let result = |command: &[u8], shown| network_result(command, shown).value[0];
        assert_eq!([0, 1, 2, 3].map(|command| result(&[command], awake)), [0, 4, 0, 4]);
        assert_eq!([0, 1, 2, 3].map(|command| result(&[command], Shown::default())), [4; 4]);
        assert_eq!([&[][..], &[4], &[255], &[0, 0]].map(|command| result(command, awake)), [1; 4]);
    }
}
