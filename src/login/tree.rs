//! The tree that an image is made of. It is hostile input: it comes from archives and from other people's builds, and a
//! link in it can lead to the machine that makes the image.
//!
//! Folders are looked up by the kernel with the tree as its root (`openat2` with `RESOLVE_IN_ROOT`), so that a link to
//! `/etc` leads to the tree's `/etc`. Where the kernel or a sandbox refuses that call, the folders are walked one by one,
//! and a link on the way is an error. Files are made beside their name and renamed over it, so that nothing at
//! the name itself, be it a link, a pipe or a second name of another file, is ever opened for writing.

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

/// As distributions make them.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);

/// The kernel reports a rename elsewhere in the tree during a lookup; so many times in a row is no coincidence.
const LOOKUPS: usize = 16;

/// What is wrong with a tree.
#[derive(Debug, Error)]
pub enum Error {
    /// The machine's own root.
    #[error("`{}` is this machine's own root, not a tree for an image", .0.display())]
    OwnRoot(PathBuf),
    /// A path that leaves the tree, or names nothing in it.
    #[error("`{}` is no path of a file in an image", .0.display())]
    Path(PathBuf),
    /// Something else where a folder is needed.
    #[error("`{}` is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// A link where none is followed.
    #[error("`{}` is a symbolic link, which is not followed without openat2", .0.display())]
    Link(PathBuf),
    /// A link to nothing, or in a circle.
    #[error("`{}` is a symbolic link that leads nowhere in the tree", .0.display())]
    DeadLink(PathBuf),
    /// The owner that was asked for cannot be given.
    #[error(
        "giving `{}` to {owner}: run as root, under fakeroot, or in a user namespace; or leave out --uid and --gid, and let \
         the image builder set owners with --device-table",
        path.display()
    )]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Who should own it.
        owner: Owner,
        /// The cause.
        source: io::Error,
    },
    /// The system refused.
    #[error("{action} `{}`", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn system<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    move |source| Error::System { action, path: path.into(), source: source.into() }
}

/// Who owns what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user's number in the image.
    pub uid: u32,
    /// The group's number in the image.
    pub gid: u32,
    /// Fail if the owner cannot be given; otherwise what is made stays this user's.
    pub required: bool,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// How folders are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// By the kernel, with the tree as its root; links are followed inside of it.
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
    /// Opens a tree; the kernel looks folders up if it can.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let tree = Self::open_with(path, Lookup::Kernel)?;
        match in_root(tree.handle.as_fd(), Path::new(".")) {
            // Sandboxes refuse calls that they do not know with either.
            Err(Errno::NOSYS | Errno::PERM) => Ok(Self { lookup: Lookup::Walk, ..tree }),
            _ => Ok(tree),
        }
    }

    /// Opens a tree whose folders are looked up in that way.
    pub fn open_with(path: &Path, lookup: Lookup) -> Result<Self, Error> {
        let handle = openat(CWD, path, FOLDER, Mode::empty()).map_err(|errno| match errno {
            Errno::NOTDIR => Error::NotAFolder(path.into()),
            errno => system("opening the tree", path)(errno),
        })?;
        let identity = |found: rustix::fs::Stat| (found.st_dev, found.st_ino);
        let tree = fstat(&handle).map(identity).map_err(system("looking at the tree", path))?;
        if rustix::fs::stat("/").map(identity) == Ok(tree) {
            return Err(Error::OwnRoot(path.into()));
        }
        Ok(Self { path: path.into(), handle, lookup })
    }

    /// How folders are looked up here.
    pub const fn lookup(&self) -> Lookup {
        self.lookup
    }

    /// The folder of a file and the file's name in it. What is missing of the folder is made if it has an owner to be.
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

    /// The next folder on the way, if it is there.
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
                    Err(errno) => Err(system("looking at", path)(errno)),
                }
            }
            Err(errno) => Err(system("opening the folder", path)(errno)),
        }
    }

    fn make(&self, folder: &Folder, name: &OsStr, reached: &Path, path: &Path, owner: Owner) -> Result<OwnedFd, Error> {
        match mkdirat(&folder.handle, name, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(system("making the folder", path)(errno)),
        }
        let Some(made) = self.open_next(folder, name, reached, path)? else {
            return Err(system("opening the folder", path)(Errno::NOENT));
        };
        // The mask of this process is not the image's.
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

/// Gives what was made to its owner; says whether it is so.
///
/// Through the C library rather than the kernel directly, because `fakeroot` stands between the two.
fn give(handle: &impl AsFd, path: &Path, owner: Owner) -> Result<bool, Error> {
    let found = fstat(handle).map_err(system("looking at", path))?;
    if (found.st_uid, found.st_gid) == (owner.uid, owner.gid) {
        return Ok(true);
    }
    match std::os::unix::fs::fchown(handle, Some(owner.uid), Some(owner.gid)) {
        Ok(()) => Ok(true),
        Err(source) if owner.required => Err(Error::Owner { path: path.into(), owner, source }),
        Err(source) if matches!(Errno::from_io_error(&source), Some(Errno::PERM | Errno::INVAL)) => Ok(false),
        Err(source) => Err(Error::System { action: "giving to its owner", path: path.into(), source }),
    }
}

/// An open folder, in a tree or elsewhere.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    handle: OwnedFd,
}

impl Folder {
    /// The folder of a file outside of any tree, which may be reached over links, and the file's name in it.
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

    /// The content of a regular file of that name, up to a limit in bytes. Anything else counts as not there: it will be
    /// replaced, and not looked into.
    pub fn read(&self, name: &str, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let path = self.path(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Ok(None),
            Err(errno) => return Err(system("opening", &path)(errno)),
        };
        let found = fstat(&file).map_err(system("looking at", &path))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        // A buffer that grew would leave copies of a secret behind.
        let mut content = Zeroizing::new(Vec::with_capacity(limit + 1));
        file.take(limit as u64 + 1).read_to_end(&mut content).map_err(system("reading", &path))?;
        Ok((content.len() <= limit).then_some(content))
    }

    /// Makes a file under a name of ours, 0600 from the first moment; whatever had the name is removed. It would survive
    /// a power cut. Says whether it has the owner.
    pub fn write_new(&self, name: &str, content: &[u8], owner: Option<Owner>) -> Result<bool, Error> {
        let path = self.path(name);
        self.remove(name)?;
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = openat(&self.handle, name, flags, mode).map(File::from).map_err(system("making", &path))?;
        // The mask of this process may have taken rights away.
        fchmod(&file, mode).map_err(system("setting the mode of", &path))?;
        let is_given = owner.map_or(Ok(true), |owner| give(&file, &path, owner))?;
        file.write_all(content).map_err(system("writing", &path))?;
        fsync(&file).map_err(system("syncing", &path))?;
        self.sync()?;
        Ok(is_given)
    }

    /// Renames a file over whatever has the other name. It would survive a power cut.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        renameat(&self.handle, from, &self.handle, to).map_err(system("replacing", &self.path(to)))?;
        self.sync()
    }

    /// Replaces a file whole or not at all, 0600. Says whether it has the owner.
    pub fn replace(&self, name: &str, content: &[u8], owner: Option<Owner>) -> Result<bool, Error> {
        let temporary = format!(".{name}.new");
        let written = self.write_new(&temporary, content, owner);
        let replaced = written.and_then(|owned| self.rename(&temporary, name).map(|()| owned));
        if replaced.is_err() {
            // What cannot be removed is removed by the next write.
            let _ = self.remove(&temporary);
        }
        replaced
    }

    /// Removes a file, if there is one.
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
