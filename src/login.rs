//! The first login of a device at its loader, with the credentials from its image.
//!
//! The factory uses these modules too: it writes the `device.conf` that the device reads, and its admin API has the same
//! login endpoint.
//!
//! | module | content |
//! |---|---|
//! | `client` | the client of the admin API and of a loader's login |
//! | `device_conf` | the credentials in an image |
//! | `tree` | the file tree of an image, as untrusted input |

mod client;
mod device_conf;
mod tree;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use client::{Api, ApiUrl, ApiUrlError, Creation, Credentials, Error as ApiError, Limits, Login, SetupError, Try};
pub use device_conf::{DeviceConf, DeviceConfError};
pub use tree::{Error as TreeError, Folder, Lookup, Owner, Tree};

/// Size limit of a `device.conf`, bytes.
const LIMIT: usize = 16 * 1024;

/// Why a login failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The credentials are unreadable.
    #[error("reading the credentials")]
    Read(#[source] TreeError),
    /// The credentials are missing.
    #[error("{} does not exist: this image was not provisioned", .0.display())]
    Missing(PathBuf),
    /// The credentials are invalid.
    #[error("parsing the credentials in {}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: DeviceConfError,
    },
    /// The loader rejects the credentials.
    #[error("the loader answered {0} to the device's credentials: they are wrong or revoked")]
    Refused(reqwest::StatusCode),
    /// The server at the loader's address has no login endpoint.
    #[error("the server at the loader's address has no login endpoint")]
    NotALoader,
    /// The loader is unreachable, or fails.
    #[error("logging in at the loader")]
    Loader(#[source] ApiError),
    /// The token could not be written.
    #[error("storing the token")]
    Store(#[source] TreeError),
}

/// The result of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedIn {
    /// The token is stored.
    Stored,
    /// The loader returned no token.
    Kept,
}

/// Logs in with the credentials in a file, and stores the token atomically with mode 0600. An earlier token stays if the login
/// fails.
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
