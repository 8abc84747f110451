//! Errors of files, for the operator.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

/// An error of one file or folder; the message names the remedy.
#[derive(Debug, Error)]
pub enum FileError {
    /// A symbolic link, whose target is not trusted.
    #[error("`{}` is a symbolic link, which is not followed: name what it points to, or replace the link by it", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// Not a folder where a folder is needed.
    #[error("`{}` is not a folder: remove it, or name another folder", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// Not a regular file where a file is needed.
    #[error("`{}` is not a regular file: remove it", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A world-writable folder.
    #[error("the folder `{}` is world-writable, so nothing in it can be trusted: run `chmod 700` on it", path.display())]
    Exposed {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder of another user, who could have written anything to it.
    #[error("`{}` belongs to the user {owner}: run `chown` on it, for the user that runs this program", path.display())]
    Foreign {
        /// The path.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// A file that cannot be replaced.
    #[error("`{}` cannot be replaced, because {reason}", path.display())]
    Pinned {
        /// The file.
        path: PathBuf,
        /// The reason, and the remedy.
        reason: &'static str,
    },
    /// A file above the size limit.
    #[error("`{}` is larger than {limit} bytes: repair or remove it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, bytes.
        limit: usize,
    },
    /// A file with invalid content: torn, or sealed with another key.
    #[error("`{}` {what}: repair or remove it", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with the content, without quoting it.
        what: String,
    },
    /// A system call failed.
    #[error("{action} `{}`{}", path.display(), advice(source))]
    System {
        /// The operation, such as `writing`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl FileError {
    /// Whether the file itself is invalid, so that it should be set aside; a retry would fail again.
    pub(crate) const fn is_unfit(&self) -> bool {
        matches!(
            self,
            Self::Link { .. } | Self::NotAFile { .. } | Self::Foreign { .. } | Self::TooLarge { .. } | Self::Malformed { .. }
        )
    }

    /// Whether this user cannot have such a file: its folder is missing, or not accessible.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        let Self::System { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS))
    }

    /// Whether this user cannot replace the file: it is on a read-only file system, or pinned to its place.
    pub(crate) fn is_fixed(&self) -> bool {
        match self {
            Self::Pinned { .. } => true,
            Self::System { source, .. } => {
                matches!(Errno::from_io_error(source), Some(Errno::ROFS | Errno::ACCESS | Errno::PERM | Errno::BUSY))
            }
            _ => false,
        }
    }

    /// For `map_err`: the operation that failed.
    pub(crate) fn system<E: Into<io::Error>>(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::System { action, path, source: source.into() }
    }
}

/// The remedy for errors that an owner can fix.
fn advice(source: &io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::NOSPC | Errno::DQUOT) => ": there is no space left; free some, then try again",
        Some(Errno::ROFS) => ": the file system is read-only; mount it writable, or name a folder on another one",
        Some(Errno::ACCESS | Errno::PERM) => ": this user has no permission; run as the owner of the folder, or change its owner",
        Some(Errno::NOENT) => ": its folder does not exist; create it, or name another",
        Some(Errno::NOTDIR) => ": a part of its path is not a folder; name another",
        Some(Errno::IO) => ": the storage medium fails; replace it",
        Some(Errno::FBIG) => ": a limit on the size of files is too low; raise it",
        Some(Errno::MFILE | Errno::NFILE) => ": too many files are open; raise the limit",
        Some(Errno::ISDIR) => ": it is a folder; remove it",
        _ => "",
    }
}
