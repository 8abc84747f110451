//! What can be wrong with a file, in words for the operator.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

/// What is wrong with one file or folder.
#[derive(Debug, Error)]
pub enum FileError {
    /// A symbolic link, which could lead anywhere.
    #[error("`{}` is a symbolic link, which is not followed: name what it points to, or replace it with that", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// Something else where a folder is needed.
    #[error("`{}` is not a folder: remove it, or name another folder", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A folder, a pipe or a device where a file is needed.
    #[error("`{}` is not a regular file: remove it", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A folder that everybody may write to.
    #[error("anybody may write to the folder `{}`, so nothing in it can be trusted: run `chmod 700` on it", path.display())]
    Exposed {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder of another user, who could have put anything there.
    #[error("`{}` belongs to the user with the number {owner}: give it to the user that runs this program", path.display())]
    Foreign {
        /// The path.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// A file that no other can take the place of.
    #[error("`{}` cannot be replaced, because {reason}", path.display())]
    Pinned {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// A file that is larger than it can rightly be.
    #[error("`{}` is larger than {limit} bytes: repair or remove it", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read, bytes.
        limit: usize,
    },
    /// A file whose content is not what it should be: torn, or made with another key.
    #[error("`{}` {what}: repair or remove it", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with the content; none of the content.
        what: String,
    },
    /// The system refused.
    #[error("{action} `{}`{}", path.display(), advice(source))]
    System {
        /// What was tried, such as `writing`.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl FileError {
    /// Whether it is the file itself that is at fault, so that it is better set aside than tried again.
    pub(crate) const fn is_unfit(&self) -> bool {
        matches!(
            self,
            Self::Link { .. } | Self::NotAFile { .. } | Self::Foreign { .. } | Self::TooLarge { .. } | Self::Malformed { .. }
        )
    }

    /// Whether the file is none of this program's: its folder is not there, or closed to this user.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        let Self::System { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS))
    }

    /// For `map_err`: what was tried when the system refused.
    pub(crate) fn system<E: Into<io::Error>>(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::System { action, path, source: source.into() }
    }
}

/// What to do about a reason that an owner can do something about.
fn advice(source: &io::Error) -> &'static str {
    match Errno::from_io_error(source) {
        Some(Errno::NOSPC | Errno::DQUOT) => ": there is no space left; free some, then try again",
        Some(Errno::ROFS) => ": the file system is read-only; mount it writable, or name a folder on another one",
        Some(Errno::ACCESS | Errno::PERM) => ": this user may not; run as the owner of the folder, or change its owner",
        Some(Errno::NOENT) => ": its folder is not there; make it, or name another",
        Some(Errno::NOTDIR) => ": what should be its folder is not one; name another",
        Some(Errno::IO) => ": the storage medium fails; replace it",
        Some(Errno::FBIG) => ": a limit on the size of files is too low; raise it",
        Some(Errno::MFILE | Errno::NFILE) => ": too many files are open; raise the limit",
        Some(Errno::ISDIR) => ": it is a folder; remove it",
        _ => "",
    }
}
