//! The phone's side of the provisioning protocol.
//!
//! | module | what it holds |
//! |---|---|
//! | [`link`] | the connection to a node: Bluetooth, the simulated Bluetooth link, or sealed HTTP |
//! | [`bluez`] | the phone's own Bluetooth, over `BlueZ` |
//! | [`wifi`] | the phone's own Wi-Fi, to join a node's access point |
//! | [`phone`] | the operations of a phone: read the info, open a session, scan, send credentials, follow an attempt |
//! | [`command_center`] | the requests of a phone app to the command center |
//! | [`key`] | generation of K2, with its key id and its date |
//! | [`terminal`] | colours, tables and bars for terminals |
//!
//! The session is that of `provisioning_core::session`, in the initiator's role. The protocol is implemented in the core
//! alone.

pub mod bluez;
pub mod command_center;
pub mod key;
pub mod link;
pub mod phone;
pub mod terminal;
pub mod wifi;

pub use provisioning_core::fault::chain;
