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

use std::future::Future;

use provisioning_core::domain::{CommandCenterUrl, Registration};
use provisioning_core::machine::Refused;
use provisioning_core::secret::SecretText;

pub use address::{AddressPolicy, PlainHttp, Refusal, is_own};
pub(crate) use client::Answer;
pub use client::{Client, Limits};
pub(crate) use error::Error;
pub use names::{Lookup, Names, SystemNames};
pub use trust::Trust;

/// A command center that a node can register with.
pub trait Registrar: Send + Sync + 'static {
    /// One try to register. The cause of a failure is in the journal; what comes back is what the phone is told.
    fn register(
        &self,
        command_center: &CommandCenterUrl,
        node_id: &str,
        token: &SecretText,
        room: &str,
    ) -> impl Future<Output = Result<Registration, Refused>> + Send;

    /// Whether `GET /health` answers 200 in time.
    fn healthy(&self, command_center: &CommandCenterUrl) -> impl Future<Output = bool> + Send;
}
