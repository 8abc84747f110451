//! The stored networks: a file of this program, with mode 0600, because `wpa_supplicant` forgets what it was told when it ends.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;
use zeroize::Zeroizing;

use super::cause::Cause;
use crate::files::{FileError, Folder, bytes_of, hexadecimal};
use provisioning_core::domain::{Passphrase, Ssid};

/// The file, in the folder of the node's files.
const FILE: &str = "networks.json";
/// More networks than an owner has.
const MOST: usize = 32;
/// The longest name and passphrase in JSON, with the words around them, bytes.
const ENTRY: usize = 1024;

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    pub ssid: Ssid,
    pub passphrase: Passphrase,
    /// It does not broadcast its name.
    pub hidden: bool,
}

/// The same in the file.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// Hexadecimal digits, because a name is bytes.
    ssid: String,
    passphrase: Zeroizing<String>,
    hidden: bool,
}

impl Entry {
    fn of(profile: &Profile) -> Self {
        let Profile { ssid, passphrase, hidden } = profile;
        let passphrase = passphrase.expose().to_owned().into();
        Self { ssid: hexadecimal(ssid.as_bytes()), passphrase, hidden: *hidden }
    }

    fn profile(self) -> Option<Profile> {
        let name = bytes_of(&self.ssid)?;
        let passphrase = Passphrase::try_from(self.passphrase.to_string()).ok()?;
        Some(Profile { ssid: Ssid::try_from(name.as_slice()).ok()?, passphrase, hidden: self.hidden })
    }
}

/// The file of the stored networks.
#[derive(Clone, Debug)]
pub(super) struct Profiles(pub PathBuf);

impl Profiles {
    /// All of them; the one that was used last comes first. A file that cannot be parsed has none.
    pub(super) fn load(&self) -> Result<Vec<Profile>, Cause> {
        let Some(folder) = self.folder()? else { return Ok(Vec::new()) };
        let Some(content) = folder.read_secret(FILE, MOST * ENTRY)? else { return Ok(Vec::new()) };
        let entries = serde_json::from_slice::<Vec<Entry>>(&content).unwrap_or_else(|error| {
            // The text of the error has no values, but may have a part of them.
            warn!(line = error.line(), column = error.column(), "the stored networks cannot be read: {FILE} is damaged");
            Vec::new()
        });
        Ok(entries.into_iter().filter_map(Entry::profile).collect())
    }

    /// Stores a network as the one that was used last, in place of another one of its name.
    pub(super) fn store(&self, profile: &Profile) -> Result<(), Cause> {
        let mut all = self.load()?;
        all.retain(|stored| stored.ssid != profile.ssid);
        all.insert(0, profile.clone());
        all.truncate(MOST);
        self.save(&all)
    }

    /// Deletes those with that name, for people; returns whether there was one.
    pub(super) fn delete(&self, name: &str) -> Result<bool, Cause> {
        let mut all = self.load()?;
        let before = all.len();
        all.retain(|stored| stored.ssid.to_string() != name);
        if all.len() < before {
            self.save(&all)?;
        }
        Ok(all.len() < before)
    }

    /// Deletes all of them, durably.
    pub(super) fn forget(&self) -> Result<(), Cause> {
        if let Some(folder) = self.folder()? {
            folder.remove(FILE)?;
            folder.tidy(&[FILE])?;
        }
        Ok(())
    }

    fn save(&self, profiles: &[Profile]) -> Result<(), Cause> {
        let entries: Vec<_> = profiles.iter().map(Entry::of).collect();
        // One allocation, so that no copy remains in freed memory.
        let mut content = Zeroizing::new(Vec::with_capacity(MOST * ENTRY));
        serde_json::to_writer(&mut *content, &entries).expect("texts can be written to memory");
        Folder::make(&self.0)?.write(FILE, &content)?;
        Ok(())
    }

    /// The folder; none if it does not exist.
    fn folder(&self) -> Result<Option<Folder>, FileError> {
        if Path::exists(&self.0) { Folder::open(&self.0).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn profile(name: &[u8], passphrase: &str) -> Profile {
        let passphrase = Passphrase::try_from(passphrase.to_owned()).expect("short enough");
        Profile { ssid: Ssid::try_from(name).expect("1 to 32 bytes"), passphrase, hidden: false }
    }

    #[test]
    fn networks_are_stored_privately_and_the_last_one_comes_first() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let profiles = Profiles(folder.path().join("state"));
        assert_eq!(profiles.load().expect("nothing is stored"), []);
        let [first, odd] = [profile(b"home", "\"quoted\" \\ pass"), profile(b"\xff\0\n\"", "another one")];
        profiles.store(&first).expect("it can be stored");
        profiles.store(&odd).expect("it can be stored");
        assert_eq!(profiles.load().expect("they can be read"), [odd.clone(), first]);
        let changed = profile(b"home", "a new passphrase");
        profiles.store(&changed).expect("it can be stored");
        assert_eq!(profiles.load().expect("they can be read"), [changed, odd]);
        let mode = std::fs::metadata(folder.path().join("state/networks.json")).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_network_is_deleted_by_its_name_and_all_are_forgotten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let profiles = Profiles(folder.path().into());
        profiles.forget().expect("there is nothing to forget");
        profiles.store(&profile(b"home", "a passphrase")).expect("it can be stored");
        assert!(!profiles.delete("other").expect("no such network"));
        assert!(profiles.delete("home").expect("it is stored"));
        profiles.store(&profile(b"home", "a passphrase")).expect("it can be stored");
        profiles.forget().expect("it can be forgotten");
        assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
    }

    #[test]
    fn a_damaged_file_has_no_networks() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let profiles = Profiles(folder.path().into());
        for text in [
            "",
            "{}",
            "[{\"ssid\":\"zz\",\"passphrase\":\"x\",\"hidden\":false}]",
            "[{\"ssid\":\"\",\"passphrase\":\"\",\"hidden\":true}]",
        ] {
            std::fs::write(folder.path().join(FILE), text).expect("a writable folder");
            assert_eq!(profiles.load().expect("it can be read"), [], "{text}");
        }
    }
}
