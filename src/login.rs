//! The first login of a device: the credentials that its image was made with, and the loader's answer.
//!
//! The device and the factory share what is here: the factory writes the `device.conf` that the device reads, through
//! the same folders, and speaks to the server that the device logs in to.
//!
//! | module | what it holds |
//! |---|---|
//! | `client` | the admin API, and a loader's login |
//! | `device_conf` | the credentials in an image |
//! | `tree` | the tree of an image, which is hostile |

mod client;
mod device_conf;
mod tree;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use client::{Api, ApiUrl, ApiUrlError, Creation, Credentials, Error as ApiError, Limits, Login, SetupError, Try};
pub use device_conf::{DeviceConf, DeviceConfError};
pub use tree::{Error as TreeError, Folder, Lookup, Owner, Tree};

/// More than a `device.conf` has, bytes.
const LIMIT: usize = 16 * 1024;

/// Why a device is not logged in.
#[derive(Debug, Error)]
pub enum Error {
    /// The credentials cannot be read.
    #[error("reading the credentials")]
    Read(#[source] TreeError),
    /// There are none.
    #[error("there is no {}: this image was not provisioned", .0.display())]
    Missing(PathBuf),
    /// They are not what the factory writes.
    #[error("understanding the credentials in {}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: DeviceConfError,
    },
    /// The loader does not take them.
    #[error("the loader answered {0} to the device's credentials: they are wrong, or were taken back")]
    Refused(reqwest::StatusCode),
    /// What answers has no logins.
    #[error("what answers at the loader's address knows no logins")]
    NotALoader,
    /// The loader cannot be reached, or fails.
    #[error("asking the loader")]
    Loader(#[source] ApiError),
    /// The token cannot be written.
    #[error("storing the token")]
    Store(#[source] TreeError),
}

/// What a login gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedIn {
    /// The token is stored.
    Stored,
    /// The loader keeps the token to itself.
    Kept,
}

/// Logs in with the credentials in a file, and stores the token, 0600, whole or not at all. A token that was there stays
/// if the login fails.
pub async fn login(device_conf: &Path, loader: &Api, token: &Path) -> Result<LoggedIn, Error> {
    let (folder, name) = Folder::of(device_conf).map_err(Error::Read)?;
    let content = folder.read(&name, LIMIT).map_err(Error::Read)?.ok_or_else(|| Error::Missing(device_conf.into()))?;
    let conf = DeviceConf::parse(&content).map_err(|source| Error::Credentials { path: device_conf.into(), source })?;
    match loader.login(&conf.email, &conf.password).await.map_err(Error::Loader)? {
        Login::Accepted(Some(jwt)) => {
            let (folder, name) = Folder::of(token).map_err(Error::Store)?;
            folder.replace(&name, jwt.expose().as_bytes(), None).map_err(Error::Store)?;
            Ok(LoggedIn::Stored)
        }
        Login::Accepted(None) => Ok(LoggedIn::Kept),
        Login::Rejected(status) => Err(Error::Refused(status)),
        Login::Unknown => Err(Error::NotALoader),
    }
}
