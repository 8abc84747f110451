//! What can be wrong with the files, in words for the operator.

use thiserror::Error;

use crate::files::FileError;
use provisioning_core::fault::Fault;

/// A file that could not be read or written. Says which, what is wrong, and what to do; holds no content.
#[derive(Debug, Error)]
pub enum Error {
    /// In the state folder, or with one of the node's own files.
    #[error(transparent)]
    State(#[from] FileError),
    /// With the configuration of the node's normal operation.
    #[error(transparent)]
    Configuration(FileError),
    /// The path of the configuration of the node's normal operation is not configured.
    #[error("CONFIG_PATH is not set: name in it the configuration file of the node's normal operation")]
    ConfigurationUnset,
}

impl Error {
    /// The fault that the phone receives.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::State(_) => Fault::StorageFailed,
            Self::Configuration(_) | Self::ConfigurationUnset => Fault::ConfigurationFailed,
        }
    }
}
