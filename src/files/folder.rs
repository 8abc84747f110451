//! Reads, writes and removes the files of one folder.
//!
//! A file is written under a temporary name, created with its final mode, synced, and renamed to its name; then the folder
//! is synced. After a power cut there is the old file or the new one. All access uses an open handle of the folder and
//! follows no symbolic link.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Stat, StatxAttributes, StatxFlags, Uid, fchmod, fchown,
    flock, fstat, fsync, openat, renameat, statat, statx, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use tracing::{error, warn};
use zeroize::Zeroizing;

use super::error::FileError;
use super::hexadecimal;

/// Accessible to the owner only, because every file contains a secret or metadata of one.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const FOLDER_MODE: u32 = 0o700;

/// The random part of a temporary file's name, hexadecimal digits.
const SUFFIX_DIGITS: usize = 16;

/// Maximum number of unreadable files per name; then the last is replaced, so that a failing medium does not fill the
/// folder.
const ASIDE_LIMIT: u32 = 20;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    handle: OwnedFd,
    /// The owner of new files: this user, or, for the superuser, the folder's owner.
    owner: Owner,
}

/// User and group of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    user: Uid,
    group: Gid,
}

/// The lock of a folder. While it is held, no other process or thread writes to the folder.
#[derive(Debug)]
pub(crate) struct Lock {
    _handle: OwnedFd,
}

/// A temporary file that is written and synced, and not yet renamed. Dropping it removes the file.
#[derive(Debug)]
#[must_use]
pub(crate) struct Staged<'a> {
    folder: &'a Folder,
    temporary: String,
    name: String,
    committed: bool,
}

impl Folder {
    /// Opens the folder; creates a missing one.
    pub(crate) fn make(path: &Path) -> Result<Self, FileError> {
        // Without a trailing slash, which would make the system follow a link.
        let path: PathBuf = path.components().collect();
        let is_missing = path.symlink_metadata().is_err_and(|failure| failure.kind() == io::ErrorKind::NotFound);
        if is_missing {
            let missing = path.ancestors().take_while(|folder| folder.symlink_metadata().is_err()).count();
            let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&path);
            made.map_err(FileError::system("creating the folder", &path))?;
            for made in path.ancestors().take(missing) {
                let above = parent(made);
                File::open(above).and_then(|above| above.sync_all()).map_err(FileError::system("syncing the folder", above))?;
            }
        }
        let folder = Self::open(&path)?;
        if is_missing {
            // The umask may have removed bits from the mode.
            fchmod(&folder.handle, Mode::RWXU).map_err(FileError::system("setting the mode of the folder", &path))?;
        }
        folder.check()?;
        Ok(folder)
    }

    /// Opens an existing folder.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let handle = openat(CWD, path, flags, Mode::empty()).map_err(|failure| match path.symlink_metadata() {
            Ok(found) if found.is_symlink() => FileError::Link { path: path.into() },
            Ok(found) if !found.is_dir() => FileError::NotAFolder { path: path.into() },
            _ => FileError::system("opening the folder", path)(failure),
        })?;
        let found = fstat(&handle).map_err(FileError::system("checking the folder", path))?;
        let owner = if geteuid().is_root() { Owner::of(&found) } else { Owner::this_user() };
        Ok(Self { path: path.into(), handle, owner })
    }

    /// The folder of a file, whose path may contain links, and the file's name in it.
    pub(crate) fn of(file: &Path) -> Result<(Self, String), FileError> {
        let name = file.file_name().and_then(OsStr::to_str).ok_or_else(|| FileError::NotAFile { path: file.into() })?;
        let folder = parent(file);
        let folder = folder.canonicalize().map_err(FileError::system("opening the folder", folder))?;
        Ok((Self::open(&folder)?, name.into()))
    }

    /// Refuses a folder whose content other users control; warns of one that they can read.
    fn check(&self) -> Result<(), FileError> {
        let found = fstat(&self.handle).map_err(FileError::system("checking the folder", &self.path))?;
        let mode = Mode::from_raw_mode(found.st_mode);
        if !self.trusts(Uid::from_raw(found.st_uid)) {
            return Err(FileError::Foreign { path: self.path.clone(), owner: found.st_uid });
        }
        if mode.contains(Mode::WOTH) {
            return Err(FileError::Exposed { path: self.path.clone() });
        }
        if mode.intersects(Mode::RWXG | Mode::RWXO) {
            let mode = format!("{:o}", mode.as_raw_mode());
            warn!(folder = %self.path.display(), mode, "other users can access the state folder: run `chmod 700` on it");
        }
        Ok(())
    }

    /// Whether an owner is trusted: this user, the superuser, or the folder's owner.
    fn trusts(&self, user: Uid) -> bool {
        user == geteuid() || user.is_root() || user == self.owner.user
    }

    /// Waits until no other process or thread writes to the folder.
    pub(crate) fn lock(&self) -> Result<Lock, FileError> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        // A lock belongs to an open file description, so a new one for each lock also excludes other threads.
        let handle =
            openat(&self.handle, ".", flags, Mode::empty()).map_err(FileError::system("opening the folder", &self.path))?;
        while let Err(failure) = flock(&handle, FlockOperation::LockExclusive) {
            match failure {
                Errno::INTR => {}
                // Some network file systems have no locks; there is only one daemon anyway.
                Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK => break,
                failure => return Err(FileError::system("locking the folder", &self.path)(failure)),
            }
        }
        Ok(Lock { _handle: handle })
    }

    /// Whether the folder was opened with this path.
    pub(crate) fn is(&self, path: &Path) -> bool {
        self.path == path
    }

    /// The owner of new files.
    pub(crate) const fn owner(&self) -> Owner {
        self.owner
    }

    /// The path of a file, for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether the name exists, with any type.
    pub(crate) fn has(&self, name: &str) -> Result<bool, FileError> {
        self.look(name).map(|found| found.is_some())
    }

    /// Whether there is a regular file of that name.
    pub(crate) fn has_file(&self, name: &str) -> Result<bool, FileError> {
        let is_file = |found: Stat| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        self.look(name).map(|found| found.is_some_and(is_file))
    }

    fn look(&self, name: &str) -> Result<Option<Stat>, FileError> {
        match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(failure) => Err(FileError::system("looking at", self.path(name))(failure)),
        }
    }

    /// Opens a regular file; does not follow links, and does not block on pipes.
    fn open_file(&self, name: &str) -> Result<Option<(File, Stat)>, FileError> {
        let path = || self.path(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&self.handle, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(FileError::Link { path: path() }),
            // The path is a socket.
            Err(Errno::NXIO) => return Err(FileError::NotAFile { path: path() }),
            Err(failure) => return Err(FileError::system("opening", path())(failure)),
        };
        let found = fstat(&file).map_err(FileError::system("looking at", path()))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            return Err(FileError::NotAFile { path: path() });
        }
        Ok(Some((file, found)))
    }

    /// Reads the owner's file, with any owner and mode.
    pub(crate) fn read(&self, name: &str, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
        let Some((file, _)) = self.open_file(name)? else { return Ok(None) };
        self.content(name, file, limit).map(Some)
    }

    /// Reads a file of this program: its owner must be trusted, and it must be private. A mode that is too permissive is
    /// corrected.
    pub(crate) fn read_secret(&self, name: &str, limit: usize) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
        let Some((file, found)) = self.open_file(name)? else { return Ok(None) };
        if !self.trusts(Uid::from_raw(found.st_uid)) {
            return Err(FileError::Foreign { path: self.path(name), owner: found.st_uid });
        }
        let mode = Mode::from_raw_mode(found.st_mode);
        if mode.intersects(Mode::RWXG | Mode::RWXO) {
            let repaired = fchmod(&file, FILE_MODE).is_ok();
            let (file, mode) = (self.path(name), format!("{:o}", mode.as_raw_mode()));
            warn!(file = %file.display(), mode, repaired, "other users could access this file: they may know its content");
        }
        self.content(name, file, limit).map(Some)
    }

    fn content(&self, name: &str, file: File, limit: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
        // One allocation, so that no copy remains in freed memory; one byte more than the limit, to detect larger files.
        let mut content = Zeroizing::new(Vec::with_capacity(limit + 1));
        let most = u64::try_from(limit + 1).expect("limits are far below 2^64");
        file.take(most).read_to_end(&mut content).map_err(FileError::system("reading", self.path(name)))?;
        if content.len() > limit { Err(FileError::TooLarge { path: self.path(name), limit }) } else { Ok(content) }
    }

    /// Reads and parses a file of this program.
    pub(crate) fn read_parsed<T>(
        &self,
        name: &str,
        limit: usize,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, FileError> {
        let malformed = |what| FileError::Malformed { path: self.path(name), what };
        self.read_secret(name, limit)?.map(|content| parse(&content).map_err(malformed)).transpose()
    }

    /// Reads a file of this program; an invalid one is set aside and counts as missing.
    pub(crate) fn read_or_set_aside<T>(
        &self,
        name: &str,
        limit: usize,
        parse: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<Option<T>, FileError> {
        match self.read_parsed(name, limit, parse) {
            Err(error) if error.is_unfit() => {
                self.set_aside(name, &error)?;
                Ok(None)
            }
            parsed => parsed,
        }
    }

    /// Renames an unreadable file, so that its content is kept and no reader fails on it again.
    pub(crate) fn set_aside(&self, name: &str, why: &FileError) -> Result<(), FileError> {
        let mut number = 1;
        let mut aside = format!("{name}.unreadable-1");
        while number < ASIDE_LIMIT && self.has(&aside)? {
            number += 1;
            aside = format!("{name}.unreadable-{number}");
        }
        let setting_aside = "setting aside";
        renameat(&self.handle, name, &self.handle, &aside).map_err(FileError::system(setting_aside, self.path(name)))?;
        self.sync()?;
        error!(reason = %why, kept = %self.path(&aside).display(), "a file of the node's state is unreadable and was set aside");
        Ok(())
    }

    /// Replaces or creates a file.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<(), FileError> {
        self.stage(name, content, self.owner)?.commit()
    }

    /// Like [`write`](Self::write), but the file survives a power cut only after [`sync`](Self::sync).
    pub(crate) fn place(&self, name: &str, content: &[u8]) -> Result<(), FileError> {
        self.stage(name, content, self.owner)?.rename()
    }

    /// Writes and syncs the content to a temporary file; [`Staged::commit`] replaces the file.
    pub(crate) fn stage(&self, name: &str, content: &[u8], owner: Owner) -> Result<Staged<'_>, FileError> {
        let path = self.path(name);
        let temporary =
            format!(".{name}.{}.tmp", random_digits().map_err(FileError::system("naming a temporary file for", &path))?);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.handle, &temporary, flags, FILE_MODE)
            .map_err(FileError::system("creating a temporary file for", &path))?;
        let staged = Staged { folder: self, temporary, name: name.into(), committed: false };
        // The umask may have removed bits from the mode.
        fchmod(&file, FILE_MODE).map_err(FileError::system("setting the mode of", &path))?;
        if owner != Owner::this_user() {
            match fchown(&file, Some(owner.user), Some(owner.group)) {
                // Only the user can read the file, so a group that cannot be set has no effect.
                Err(_) if owner.user == geteuid() => {}
                result => result.map_err(FileError::system("setting the owner of", &path))?,
            }
        }
        let mut file = File::from(file);
        file.write_all(content).map_err(FileError::system("writing", &path))?;
        fsync(&file).map_err(FileError::system("syncing", &path))?;
        Ok(staged)
    }

    /// Removes a file; returns whether it existed.
    pub(crate) fn remove(&self, name: &str) -> Result<bool, FileError> {
        let existed = self.unlink(name)?;
        if existed {
            self.sync()?;
        }
        Ok(existed)
    }

    /// Like [`remove`](Self::remove), but a power cut may bring the file back until the next [`sync`](Self::sync).
    pub(crate) fn unlink(&self, name: &str) -> Result<bool, FileError> {
        match unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(failure) => Err(FileError::system("removing", self.path(name))(failure)),
        }
    }

    /// Whether there is a file with one of these names, one that was set aside, or a temporary file of an interrupted write.
    pub(crate) fn has_any(&self, names: &[&str]) -> Result<bool, FileError> {
        let is_of = |file: &str, name: &str| file == name || is_aside(file, name) || is_temporary(file, name);
        Ok(!self.names(|file| names.iter().any(|name| is_of(file, name)))?.is_empty())
    }

    /// Removes temporary files of interrupted writes.
    pub(crate) fn tidy(&self, names: &[&str]) -> Result<(), FileError> {
        self.remove_all(|file| names.iter().any(|name| is_temporary(file, name)))
    }

    /// Removes files that were set aside.
    pub(crate) fn remove_aside(&self, names: &[&str]) -> Result<(), FileError> {
        self.remove_all(|file| names.iter().any(|name| is_aside(file, name)))
    }

    fn remove_all(&self, is_meant: impl Fn(&str) -> bool) -> Result<(), FileError> {
        self.names(is_meant)?.iter().try_for_each(|name| self.remove(name).map(drop))
    }

    /// The names of files that are meant.
    fn names(&self, is_meant: impl Fn(&str) -> bool) -> Result<Vec<String>, FileError> {
        let listing = || FileError::system("listing", &self.path);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.handle).map_err(listing())? {
            let entry = entry.map_err(listing())?;
            names.extend(entry.file_name().to_str().ok().filter(|name| is_meant(name)).map(str::to_owned));
        }
        Ok(names)
    }

    /// Checks that the file can be replaced; returns its owner, or the owner of a new file.
    pub(crate) fn replaceable(&self, name: &str) -> Result<Owner, FileError> {
        let pinned = |reason| Err(FileError::Pinned { path: self.path(name), reason });
        let Some(found) = self.look(name)? else { return Ok(self.owner) };
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => {}
            FileType::Symlink => return Err(FileError::Link { path: self.path(name) }),
            _ => return Err(FileError::NotAFile { path: self.path(name) }),
        }
        match statx(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty()).map(|found| found.stx_attributes) {
            Ok(attributes) if attributes.contains(StatxAttributes::MOUNT_ROOT) => pinned("it is a mount point: mount its folder"),
            Ok(attributes) if attributes.contains(StatxAttributes::IMMUTABLE) => pinned("it is immutable: run `chattr -i` on it"),
            Ok(attributes) if attributes.contains(StatxAttributes::APPEND) => pinned("it is append-only: run `chattr -a` on it"),
            // An old kernel does not report attributes; then writing fails.
            _ => Ok(Owner::of(&found)),
        }
    }

    /// Syncs the names of the files to disk.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        fsync(&self.handle).map_err(FileError::system("syncing the folder", &self.path))
    }
}

impl Owner {
    pub(super) fn this_user() -> Self {
        Self { user: geteuid(), group: rustix::process::getegid() }
    }

    fn of(found: &Stat) -> Self {
        Self { user: Uid::from_raw(found.st_uid), group: Gid::from_raw(found.st_gid) }
    }
}

impl Staged<'_> {
    /// Renames the file to its name and syncs the folder. After this it survives a power cut.
    pub(crate) fn commit(self) -> Result<(), FileError> {
        let folder = self.folder;
        self.rename()?;
        folder.sync()
    }

    fn rename(mut self) -> Result<(), FileError> {
        let handle = &self.folder.handle;
        renameat(handle, &self.temporary, handle, &self.name)
            .map_err(FileError::system("replacing", self.folder.path(&self.name)))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // If this fails, the next start removes the file.
            let _ = unlinkat(&self.folder.handle, &self.temporary, AtFlags::empty());
        }
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().as_bytes().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn random_digits() -> io::Result<String> {
    let mut bytes = [0; SUFFIX_DIGITS / 2];
    getrandom::fill(&mut bytes)?;
    Ok(hexadecimal(&bytes))
}

/// Whether a file of that name was set aside.
fn is_aside(file: &str, name: &str) -> bool {
    let number = file.strip_prefix(name).and_then(|rest| rest.strip_prefix(".unreadable-"));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn is_temporary(file: &str, name: &str) -> bool {
    let digits = file.strip_prefix('.').and_then(|rest| rest.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp"));
    digits.is_some_and(|digits| digits.len() == SUFFIX_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_temporary_files_are_recognised() {
        assert!(is_temporary(".k2.enc.0123456789abcdef.tmp", "k2.enc"));
        for other in [".k2.enc.tmp", "k2.enc.0123456789abcdef.tmp", ".k2.enc.0123456789abcdeg.tmp", ".other.0123456789abcdef.tmp"]
        {
            assert!(!is_temporary(other, "k2.enc"), "{other}");
        }
    }
}
