//! The file tree of an image. It is untrusted input: it comes from archives and other builds, and a symbolic link in it can
//! lead to files of the machine that builds the image.
//!
//! The kernel resolves folders with the tree as the root (`openat2` with `RESOLVE_IN_ROOT`), so that a link to `/etc` leads
//! to the tree's `/etc`. If the kernel or a sandbox refuses that call, folders are opened one by one, and a link on the way
//! is an error. Files are written under a temporary name and renamed, so that an existing link, pipe or hard link of that
//! name is never opened for writing.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, fsync, mkdirat, openat, openat2, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;
use thiserror::Error;
use zeroize::Zeroizing;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// As distributions create them.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);

/// Tries of a lookup: the kernel asks for another if a rename in the tree interfered.
const LOOKUPS: usize = 16;

/// Why a tree is unusable.
#[derive(Debug, Error)]
pub enum Error {
    /// The machine's own root.
    #[error("`{}` is this machine's own root, not the tree of an image", .0.display())]
    OwnRoot(PathBuf),
    /// A path that leaves the tree, or has no file name.
    #[error("`{}` is not the path of a file in an image", .0.display())]
    Path(PathBuf),
    /// Something else than a folder.
    #[error("`{}` is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// A symbolic link without `openat2`.
    #[error("`{}` is a symbolic link, which is not followed without openat2", .0.display())]
    Link(PathBuf),
    /// A dangling or cyclic link.
    #[error("`{}` is a symbolic link without a target in the tree", .0.display())]
    DeadLink(PathBuf),
    /// The required owner cannot be set.
    #[error(
        "giving `{}` to {owner}: run as root, under fakeroot, or in a user namespace; or omit --uid and --gid, and let \
         the image builder set owners with --device-table",
        path.display()
    )]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// The required owner.
        owner: Owner,
        /// The cause.
        source: io::Error,
    },
    /// The system refused.
    #[error("{action} `{}`", path.display())]
    System {
        /// The action.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn system<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    move |source| Error::System { action, path: path.into(), source: source.into() }
}

/// The owner of created files and folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user's number in the image.
    pub uid: u32,
    /// The group's number in the image.
    pub gid: u32,
    /// Fail if the owner cannot be set; otherwise this user stays the owner.
    pub required: bool,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// How folders are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// By the kernel, with the tree as the root; links are followed inside it.
    Kernel,
    /// Folder by folder; links are refused.
    Walk,
}

/// An open tree.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    handle: OwnedFd,
    lookup: Lookup,
}

impl Tree {
    /// Opens a tree; the kernel resolves folders if it can.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let tree = Self::open_with(path, Lookup::Kernel)?;
        match in_root(tree.handle.as_fd(), Path::new(".")) {
            // Sandboxes refuse unknown calls with either error.
            Err(Errno::NOSYS | Errno::PERM) => Ok(Self { lookup: Lookup::Walk, ..tree }),
            _ => Ok(tree),
        }
    }

    /// Opens a tree with the given lookup.
    pub fn open_with(path: &Path, lookup: Lookup) -> Result<Self, Error> {
        let handle = openat(CWD, path, FOLDER, Mode::empty()).map_err(|errno| match errno {
            Errno::NOTDIR => Error::NotAFolder(path.into()),
            errno => system("opening the tree", path)(errno),
        })?;
        let identity = |found: rustix::fs::Stat| (found.st_dev, found.st_ino);
        let tree = fstat(&handle).map(identity).map_err(system("reading the tree's properties", path))?;
        if rustix::fs::stat("/").map(identity) == Ok(tree) {
            return Err(Error::OwnRoot(path.into()));
        }
        Ok(Self { path: path.into(), handle, lookup })
    }

    /// The lookup of this tree.
    pub const fn lookup(&self) -> Lookup {
        self.lookup
    }

    /// The folder of a file, and the file's name in it. Creates missing folders if an owner is given.
    pub fn folder_of(&self, file: &Path, make: Option<Owner>) -> Result<Option<(Folder, String)>, Error> {
        let invalid = || Error::Path(file.into());
        let file = file.strip_prefix("/").unwrap_or(file);
        let name = file.file_name().and_then(OsStr::to_str).ok_or_else(invalid)?;
        let mut folder = Folder { path: self.path.clone(), handle: self.again()? };
        let mut reached = PathBuf::new();
        for component in file.parent().ok_or_else(invalid)?.components() {
            let Component::Normal(component) = component else { return Err(invalid()) };
            reached.push(component);
            let path = self.path.join(&reached);
            let next = match self.open_next(&folder, component, &reached, &path)? {
                Some(next) => next,
                None => match make {
                    None => return Ok(None),
                    Some(owner) => self.make(&folder, component, &reached, &path, owner)?,
                },
            };
            folder = Folder { path, handle: next };
        }
        Ok(Some((folder, name.to_owned())))
    }

    /// Opens the next folder on the way, if it exists.
    fn open_next(&self, folder: &Folder, name: &OsStr, reached: &Path, path: &Path) -> Result<Option<OwnedFd>, Error> {
        let opened = match self.lookup {
            Lookup::Kernel => in_root(self.handle.as_fd(), reached),
            Lookup::Walk => openat(&folder.handle, name, FOLDER | OFlags::NOFOLLOW, Mode::empty()),
        };
        match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(errno @ (Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV)) => {
                let found = statat(&folder.handle, name, AtFlags::SYMLINK_NOFOLLOW);
                match found.map(|found| FileType::from_raw_mode(found.st_mode)) {
                    Err(Errno::NOENT) => Ok(None),
                    Ok(FileType::Symlink) if self.lookup == Lookup::Walk => Err(Error::Link(path.into())),
                    Ok(FileType::Symlink) if errno != Errno::NOTDIR => Err(Error::DeadLink(path.into())),
                    Ok(_) => Err(Error::NotAFolder(path.into())),
                    Err(errno) => Err(system("reading the properties of", path)(errno)),
                }
            }
            Err(errno) => Err(system("opening the folder", path)(errno)),
        }
    }

    fn make(&self, folder: &Folder, name: &OsStr, reached: &Path, path: &Path, owner: Owner) -> Result<OwnedFd, Error> {
        match mkdirat(&folder.handle, name, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(system("creating the folder", path)(errno)),
        }
        let Some(made) = self.open_next(folder, name, reached, path)? else {
            return Err(system("opening the folder", path)(Errno::NOENT));
        };
        // The umask of this process must not apply to the image.
        fchmod(&made, FOLDER_MODE).map_err(system("setting the mode of", path))?;
        give(&made, path, owner)?;
        folder.sync()?;
        Ok(made)
    }

    fn again(&self) -> Result<OwnedFd, Error> {
        openat(&self.handle, ".", FOLDER, Mode::empty()).map_err(system("opening the tree", &self.path))
    }
}

fn in_root(root: std::os::fd::BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut result = Err(Errno::AGAIN);
    for _ in 0..LOOKUPS {
        result = openat2(root, path, FOLDER, Mode::empty(), resolve);
        if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    result
}

/// Sets the owner of a created file or folder. Returns whether it has that owner.
///
/// Calls the C library instead of the kernel, because `fakeroot` intercepts the C library.
fn give(handle: &impl AsFd, path: &Path, owner: Owner) -> Result<bool, Error> {
    let found = fstat(handle).map_err(system("reading the properties of", path))?;
    if (found.st_uid, found.st_gid) == (owner.uid, owner.gid) {
        return Ok(true);
    }
    match std::os::unix::fs::fchown(handle, Some(owner.uid), Some(owner.gid)) {
        Ok(()) => Ok(true),
        Err(source) if owner.required => Err(Error::Owner { path: path.into(), owner, source }),
        Err(source) if matches!(Errno::from_io_error(&source), Some(Errno::PERM | Errno::INVAL)) => Ok(false),
        Err(source) => Err(Error::System { action: "setting the owner of", path: path.into(), source }),
    }
}

/// An open folder, in a tree or elsewhere.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: OwnedFd,
}

impl Folder {
    /// The folder of a file outside any tree, and the file's name in it. Follows links.
    pub fn of(file: &Path) -> Result<(Self, String), Error> {
        let name = file.file_name().and_then(OsStr::to_str).ok_or_else(|| Error::Path(file.into()))?;
        let path = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let handle = openat(CWD, path, FOLDER, Mode::empty()).map_err(system("opening the folder", path))?;
        Ok((Self { path: path.into(), handle }, name.to_owned()))
    }

    /// The path of a file, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The content of a regular file, up to a limit in bytes. Anything else counts as missing: it is replaced, never read.
    pub fn read(&self, name: &str, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let path = self.path(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Ok(None),
            Err(errno) => return Err(system("opening", &path)(errno)),
        };
        let found = fstat(&file).map_err(system("reading the properties of", &path))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        // A growing buffer would leave copies of a secret in memory.
        let mut content = Zeroizing::new(Vec::with_capacity(limit + 1));
        file.take(limit as u64 + 1).read_to_end(&mut content).map_err(system("reading", &path))?;
        Ok((content.len() <= limit).then_some(content))
    }

    /// Creates a file with mode 0600, replaces any file of that name, and syncs it to the disk. Returns whether it has
    /// the owner.
    pub fn write_new(&self, name: &str, content: &[u8], owner: Option<Owner>) -> Result<bool, Error> {
        let path = self.path(name);
        self.remove(name)?;
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = openat(&self.handle, name, flags, mode).map(File::from).map_err(system("creating", &path))?;
        // The umask of this process may have removed permissions.
        fchmod(&file, mode).map_err(system("setting the mode of", &path))?;
        let is_given = owner.map_or(Ok(true), |owner| give(&file, &path, owner))?;
        file.write_all(content).map_err(system("writing", &path))?;
        fsync(&file).map_err(system("syncing", &path))?;
        self.sync()?;
        Ok(is_given)
    }

    /// Renames a file, replaces any file of the new name, and syncs the folder.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        renameat(&self.handle, from, &self.handle, to).map_err(system("replacing", &self.path(to)))?;
        self.sync()
    }

    /// Replaces a file atomically, with mode 0600. Returns whether it has the owner.
    pub fn replace(&self, name: &str, content: &[u8], owner: Option<Owner>) -> Result<bool, Error> {
        let temporary = format!(".{name}.new");
        let written = self.write_new(&temporary, content, owner);
        let replaced = written.and_then(|owned| self.rename(&temporary, name).map(|()| owned));
        if replaced.is_err() {
            // The next write removes a file that stays here.
            let _ = self.remove(&temporary);
        }
        replaced
    }

    /// Removes a file if it exists.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        match unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(system("removing", &self.path(name))(errno)),
        }
    }

    fn sync(&self) -> Result<(), Error> {
        fsync(&self.handle).map_err(system("syncing the folder", &self.path))
    }
}
