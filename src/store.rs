//! The files that survive a power cut.

use std::path::PathBuf;

use thiserror::Error;

use crate::domain::{Credentials, K2, Outcome, Registration};
use crate::fault::Fault;
use crate::machine::{Boot, Cleared, Pending};

/// Where the files are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `JARVIS_SECRET_DIRECTORY`: K1, K2, credentials and the marker.
    pub directory: PathBuf,
    /// `CONFIG_PATH`: the configuration of the node's normal operation.
    pub config: Option<PathBuf>,
    /// `JARVIS_NODE_DB`: removed by a factory reset.
    pub database: PathBuf,
}

/// A file that could not be read or written.
#[derive(Debug, Error)]
pub enum Error {}

impl Error {
    /// What the phone is told.
    pub fn fault(&self) -> Fault {
        match *self {}
    }
}

/// The files of one node. Every write ends when it would survive a power cut.
#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Opens the folder, making it if it is not there, and everything in it that the node needs to begin: K1 and the
    /// pairing secrets.
    pub fn open(_paths: Paths) -> Result<Self, Error> {
        unreachable!()
    }

    /// What the machine begins with. State that cannot be read is set aside, and counts as the safe state.
    pub fn load(&self) -> Result<Boot, Error> {
        unreachable!()
    }

    /// Stores the number of attempts since the last success.
    pub fn save_attempts(&self, _made: u32) -> Result<(), Error> {
        unreachable!()
    }

    /// Stores K2.
    pub fn save_k2(&self, _k2: &K2) -> Result<(), Error> {
        unreachable!()
    }

    /// Stores an intention; fails with [`Fault::ConfigurationFailed`] if the configuration file could not be written.
    pub fn save_pending(&self, _pending: &Pending) -> Result<(), Error> {
        unreachable!()
    }

    /// Stores configuration and credentials.
    pub fn save_enrollment(&self, _credentials: &Credentials, _registration: &Registration) -> Result<(), Error> {
        unreachable!()
    }

    /// Writes the marker, then forgets the intention and the last outcome.
    pub fn mark_provisioned(&self) -> Result<(), Error> {
        unreachable!()
    }

    /// Stores how an attempt ended, then forgets the intention.
    pub fn save_outcome(&self, _outcome: &Outcome) -> Result<(), Error> {
        unreachable!()
    }

    /// Deletes what the owner gave.
    pub fn reset(&self) -> Result<Cleared, Error> {
        unreachable!()
    }
}
