//! What the daemon needs of the machine's network, and why it can fail.

pub mod nm;

use std::error::Error as StdError;
use std::future::Future;

use thiserror::Error;

use provisioning_core::domain::{self, Passphrase, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Joined;

/// One Wi-Fi radio and its network service.
///
/// Nothing that existed before is changed or deleted: only what was made through this trait is.
pub trait Network: Send + Sync + 'static {
    /// Looks for networks. The node's own access point and hidden names are not in the list.
    fn scan(&self) -> impl Future<Output = Result<Vec<domain::Network>, Error>> + Send;

    /// Joins a network without storing it, in place of whatever the radio does. Ends when the node has an address, or
    /// with the reason why not.
    fn join(&self, ssid: &Ssid, passphrase: &Passphrase, hidden: bool) -> impl Future<Output = Result<Joined, Error>> + Send;

    /// Keeps the network that was joined last, over a restart too.
    fn keep(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Leaves what was joined without being kept, and goes back to the network before it, if there was one.
    fn restore(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Opens the node's access point under that name, in place of whatever the radio does, and holds it open until
    /// something else is asked of the radio. One that is open already stays as it is.
    fn open_access_point(&self, name: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Deletes the profiles that were made through this trait.
    fn forget(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// An attempt that failed: what the phone is told, and the cause for the journal.
#[derive(Debug, Error)]
#[error("{attempt}: {}", fault.name())]
pub struct Error {
    /// What was tried, for the journal.
    pub attempt: String,
    /// What the phone is told.
    pub fault: Fault,
    /// The cause, if there is one below.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure without a cause below it.
    pub fn new(attempt: impl Into<String>, fault: Fault) -> Self {
        Self { attempt: attempt.into(), fault, source: None }
    }

    /// A failure with its cause.
    pub fn because(attempt: impl Into<String>, fault: Fault, source: impl StdError + Send + Sync + 'static) -> Self {
        Self { attempt: attempt.into(), fault, source: Some(Box::new(source)) }
    }
}
