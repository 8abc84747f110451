//! A Bluetooth link without a radio: a Unix stream socket that behaves like GATT.
//!
//! The [packets](provisioning_core::gatt::packets) are part of the core, because both ends speak them; the node's end is part of the shell. What a phone
//! finds there is what it finds over the air: an advertisement, an ATT MTU, characteristics that are read in pieces,
//! written one value at a time with an acknowledgement, and notified once they are subscribed to.

mod server;

pub use server::{Config, Error, Listener, serve};
