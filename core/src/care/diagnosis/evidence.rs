//! The evidence of a diagnosis.

use alloc::string::String;
use alloc::vec::Vec;

/// What was collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The Wi-Fi adapter.
    pub radio: Radio,
    /// The connection.
    pub association: Association,
    /// The address.
    pub address: Address,
    /// The router.
    pub gateway: Gateway,
    /// The resolution of names.
    pub dns: Dns,
    /// Servers on the internet.
    pub internet: Internet,
    /// The clock.
    pub clock: Clock,
    /// The command center.
    pub command_center: CommandCenter,
    /// The command center is in the node's network, so that it needs no internet.
    pub command_center_is_near: bool,
}

/// Evidence about the Wi-Fi adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Radio {
    /// It can be used; its interface.
    Ready(String),
    /// There is none, or another one than the settings name.
    Missing,
    /// Switched off by software.
    SoftBlocked,
    /// Switched off by a hardware switch.
    HardBlocked,
    /// NetworkManager does not manage it.
    Unmanaged(String),
    /// Its firmware is missing.
    NoFirmware(String),
    /// Its supplicant does not run, or no country is set.
    Unavailable(String),
    /// NetworkManager does not run.
    ServiceAbsent,
    /// NetworkManager runs, and does not answer; why.
    ServiceSilent(String),
    /// There is none; it is simulated.
    Simulated,
}

/// Evidence about the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Association {
    /// In this network.
    Joined {
        /// The network's name.
        network: String,
        /// The strength of its signal, percent, if known.
        signal: Option<u8>,
    },
    /// By this interface, which is not Wi-Fi.
    Cable(String),
    /// Connecting; NetworkManager's name of the state.
    Joining(String),
    /// The setup hotspot is open in place of a connection.
    Hotspot,
    /// There is none.
    None,
}

/// Evidence about the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// This one.
    Assigned(String),
    /// One that the node made itself, because no server assigned one.
    LinkLocal(String),
    /// There is none.
    None,
}

/// Evidence about the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// It has answered; its address, and how.
    Answers(String, &'static str),
    /// It has not; its address.
    Silent(String),
    /// There is none.
    None,
}

/// Evidence about the resolution of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dns {
    /// A server has resolved a name.
    Resolves {
        /// The server's address.
        server: String,
        /// The name.
        name: String,
    },
    /// A server gives addresses for names that do not exist.
    Lies {
        /// The server's address.
        server: String,
        /// The name.
        name: String,
        /// The address that it gave.
        address: String,
    },
    /// The servers have answered with an error, such as `NXDOMAIN` or `SERVFAIL`.
    Refuses {
        /// The server's address.
        server: String,
        /// The name.
        name: String,
        /// The error.
        error: String,
    },
    /// No server has answered; their addresses.
    Silent(Vec<String>),
    /// No server is configured.
    NoServer,
}

/// Evidence about the internet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Internet {
    /// A server has given the expected answer; which one, or NetworkManager's check.
    Reached(String),
    /// Another answer than expected came from there.
    Portal(String),
    /// There was no answer; from where, and why.
    Unreachable(String, String),
    /// It could not be checked, because the name of the server was not resolved.
    Unchecked,
}

/// Evidence about the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// It was set by a time server; none if unknown.
    pub synchronized: Option<bool>,
    /// Seconds by which it is before the release of this program, which it cannot be.
    pub behind_release: Option<u64>,
}

/// Evidence about the command center.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandCenter {
    /// It is healthy; its address.
    Healthy(String),
    /// It is not; its address, and why.
    Unhealthy(String, String),
    /// The node is not registered with one.
    NotConfigured,
    /// Its address is in a file that this user may not read.
    Unreadable,
}
