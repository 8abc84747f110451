//! The node as a client of its command center.
//!
//! The token and the node's key go to whoever holds the address that the phone named, so most of what is here is about
//! to whom the node speaks:
//!
//! - [`AddressPolicy`] says which addresses are spoken to at all, and to which of them without TLS. It is applied to
//!   the very addresses that are connected to, after names are resolved, so a name that answers differently when it
//!   is asked again leads nowhere.
//! - [`Trust`] says whose certificates are believed. Old protocols, host names that do not match and expired
//!   certificates never are.
//! - A redirect is an answer like any other, not followed. Proxies of the environment are not used.
//!
//! One try is one connection. Trying again is up to the machine.

mod address;
mod answer;
mod client;
mod error;
mod names;
mod trust;

pub use address::{AddressPolicy, PlainHttp, Refusal, is_own};
pub(crate) use client::Answer;
pub use client::{Client, Limits};
pub(crate) use error::Error;
pub use names::{Lookup, Names, SystemNames};
pub use trust::Trust;
