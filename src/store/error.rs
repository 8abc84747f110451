//! Errors of the node's files, for the operator.

use std::path::PathBuf;

use thiserror::Error;

use crate::files::FileError;
use provisioning_core::fault::Fault;

/// A file could not be read or written. The message names the file, the problem and the remedy, and has no content.
#[derive(Debug, Error)]
pub enum Error {
    /// The state folder, or one of the node's own files.
    #[error(transparent)]
    State(#[from] FileError),
    /// K1 cannot be read, and there is a file that only K1 opens. A new K1 would make the loss final, so it is the operator's
    /// decision.
    #[error(
        "the key `{}` {why}, and `{}` can only be opened with it: restore the key, or run `jarvis-provision reset`, which deletes what is sealed with it",
        key.display(),
        sealed.display()
    )]
    KeyLost {
        /// The file of K1.
        key: PathBuf,
        /// What is wrong with it, without its content.
        why: String,
        /// A file that is sealed with it.
        sealed: PathBuf,
    },
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
            Self::State(_) | Self::KeyLost { .. } => Fault::StorageFailed,
            Self::Configuration(_) | Self::ConfigurationUnset => Fault::ConfigurationFailed,
        }
    }
}
