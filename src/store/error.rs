//! Errors of the node's files, for the operator.

use thiserror::Error;

use crate::files::FileError;
use provisioning_core::fault::Fault;

/// A file could not be read or written. The message names the file, the problem and the remedy, and has no content.
#[derive(Debug, Error)]
pub enum Error {
    /// The state folder, or one of the node's own files.
    #[error(transparent)]
    State(#[from] FileError),
    /// The configuration of the node's normal operation.
    #[error(transparent)]
    Configuration(FileError),
    /// The path of the configuration of the node's normal operation is not configured.
    #[error("CONFIG_PATH is not set: set it to the configuration file of the node's normal operation")]
    ConfigurationUnset,
}

impl Error {
    /// The fault for the phone.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::State(_) => Fault::StorageFailed,
            Self::Configuration(_) | Self::ConfigurationUnset => Fault::ConfigurationFailed,
        }
    }
}
