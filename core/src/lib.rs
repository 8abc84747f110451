//! The core of provisioning: everything that is decided, and nothing that touches the world.
//!
//! The crate has no clock, no random source, no files, no sockets and no threads: it is `no_std` with an allocator, and
//! the compiler proves the rest. Time and random numbers are arguments, effects are values.
//!
//! | module | what it holds |
//! |---|---|
//! | [`secret`] | values that are erased and never printed |
//! | [`fault`] | the failures that are reported to phones |
//! | [`domain`] | the values that provisioning is about, and the state of the node |
//! | [`endpoint`] | the endpoint table: characteristic, path, operations, size limit |
//! | [`backoff`] | pauses between tries |
//! | [`wire`] | protobuf ↔ domain, and the framing of messages over GATT |
//! | [`gatt`] | the rules of GATT that both roles share |
//! | [`session`] | the handshake and the sealed records, both roles |
//! | [`espressif`] | the session with Espressif's apps |
//! | [`improv`] | the messages of Improv's clients |
//! | [`nymea`] | the messages of nymea's clients |
//! | [`machine`] | what happens when: inputs in, outputs out |
//! | [`care`] | how a provisioned node stays online |
//! | [`panel`] | what a light on the device shows, and what a button on it does |

#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod backoff;
pub mod care;
pub mod domain;
pub mod endpoint;
pub mod espressif;
pub mod fault;
pub mod gatt;
pub mod improv;
pub mod machine;
pub mod nymea;
pub mod panel;
pub mod secret;
pub mod session;
pub mod wire;
