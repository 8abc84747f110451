//! Provisioning of headless Linux devices from a phone.
//!
//! The **core** is pure: it has no clock, no random source of its own, no files and no sockets. It builds alone with
//! `--no-default-features`, and imports nothing from the shell.
//!
//! | module | what it holds |
//! |---|---|
//! | [`secret`] | values that are erased and never printed |
//! | [`fault`] | what a phone can be told went wrong |
//! | [`domain`] | the values that provisioning is about, and how it stands |
//! | [`link`] | the endpoints: characteristic, path, size limit |
//! | [`wire`] | protobuf ↔ domain, and the framing of messages over GATT |
//! | [`session`] | the handshake and the sealed records, both roles |
//! | [`machine`] | what happens when: inputs in, outputs out |
//!
//! The **shell** is the feature `daemon`, on by default. It touches the world, and decides nothing.
//!
//! | module | what it holds |
//! |---|---|
//! | `config` | the settings: file and environment |
//! | `daemon` | the loop around the machine, and the way to it |
//! | `factory` | accounts and images of many devices |
//! | `label` | what an owner types or scans |
//! | `link::http`, `link::sim` | the links: bytes between a phone and an endpoint |
//! | `login` | the first login of a device |
//! | `network` | what is needed of the machine's network |
//! | `registrar` | the client of the command center |
//! | `simulation` | a network without a radio |
//! | `store` | the files |

#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod domain;
#[cfg(feature = "daemon")]
pub mod factory;
pub mod fault;
#[cfg(feature = "daemon")]
pub mod label;
pub mod link;
#[cfg(feature = "daemon")]
pub mod login;
pub mod machine;
#[cfg(feature = "daemon")]
pub mod network;
#[cfg(feature = "daemon")]
pub mod registrar;
pub mod secret;
pub mod session;
#[cfg(feature = "daemon")]
pub mod simulation;
#[cfg(feature = "daemon")]
pub mod store;
pub mod wire;
