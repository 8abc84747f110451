//! A Bluetooth link without a radio: a Unix stream socket that behaves like GATT.
//!
//! The [packets](provisioning_core::gatt::packets) are part of the core, because both roles use them; the node's role is
//! here. A phone finds the same as over the air: an advertisement, an ATT MTU, and characteristics that are read in parts,
//! written value by value with an acknowledgement, and notified after a subscription.

mod client;
mod server;

pub use server::{Config, Error, Listener, serve};
