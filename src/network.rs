//! The port to the radio: what the daemon needs, and why it can fail.

pub mod nm;

use std::error::Error as StdError;
use std::future::Future;

use thiserror::Error;

use provisioning_core::domain::{self, Passphrase, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Joined;

/// One Wi-Fi radio.
///
/// An implementation changes and deletes only what was created through this trait.
pub trait Network: Send + Sync + 'static {
    /// Scans for networks. The list contains neither the node's own access point nor hidden names.
    fn scan(&self) -> impl Future<Output = Result<Vec<domain::Network>, Error>> + Send;

    /// Joins a network without storing it, and stops any other use of the radio. Ends when the node has an address, or with
    /// the reason of the failure.
    fn join(&self, ssid: &Ssid, passphrase: &Passphrase, hidden: bool) -> impl Future<Output = Result<Joined, Error>> + Send;

    /// Stores the network that was joined last, so that it survives a restart.
    fn keep(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Leaves a network that was joined and not stored, and returns to the previous network, if there was one.
    fn restore(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Opens the node's access point with that name, and stops any other use of the radio. Keeps it open until the next
    /// request for the radio. An access point that is already open is unchanged.
    fn open_access_point(&self, name: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Deletes the profiles that were created through this trait, with or without a usable adapter. Ends only when their
    /// deletion survives a power cut.
    fn forget(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A failure: the fault for the phone, and the cause for the log.
#[derive(Debug, Error)]
#[error("{attempt}: {}", fault.name())]
pub struct Error {
    /// The failed operation, for the log.
    pub attempt: String,
    /// The fault for the phone.
    pub fault: Fault,
    /// The cause, if any.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure without a cause.
    pub fn new(attempt: impl Into<String>, fault: Fault) -> Self {
        Self { attempt: attempt.into(), fault, source: None }
    }

    /// A failure with its cause.
    pub fn because(attempt: impl Into<String>, fault: Fault, source: impl StdError + Send + Sync + 'static) -> Self {
        Self { attempt: attempt.into(), fault, source: Some(Box::new(source)) }
    }
}
