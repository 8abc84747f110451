//! The phone's side of the provisioning protocol.
//!
//! | module | what it holds |
//! |---|---|
//! | [`link`] | the way to a node: Bluetooth, the simulated Bluetooth link, or sealed HTTP |
//! | [`wifi`] | the phone's own Wi-Fi, for a node's access point |
//! | [`phone`] | what a phone does there: find out, open a session, scan, hand over, follow |
//! | [`command_center`] | what a phone app asks of the command center |
//! | [`key`] | a new K2, with its name and its date |
//! | [`terminal`] | colours, tables and bars for people |
//!
//! The session itself is that of `provisioning_core::session`, in the initiator's role; nothing of the protocol is
//! written twice.

pub mod command_center;
pub mod key;
pub mod link;
pub mod phone;
pub mod terminal;
pub mod wifi;

pub use provisioning_core::fault::chain;
