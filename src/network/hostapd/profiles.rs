//! The stored networks: a file of this program, with mode 0600, because `wpa_supplicant` forgets what it was told when it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tracing::warn;
use zeroize::Zeroizing;

use super::cause::Cause;
use crate::files::{FileError, Folder, bytes_of, hexadecimal};
use provisioning_core::domain::{Enterprise, Passphrase, Ssid};

/// The file, in the folder of the node's files.
const FILE: &str = "networks.json";
/// More networks than an owner has.
const MOST: usize = 32;
/// The largest file, bytes: so many networks with the longest passphrases, three of them with the largest certificates.
const LIMIT: usize = 128 * 1024;
/// The largest network in it, bytes.
const ENTRY: usize = 32 * 1024;

/// A network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Profile {
    pub ssid: Ssid,
    /// Empty for an open network and for an enterprise network.
    pub passphrase: Passphrase,
    /// The login to an enterprise network.
    pub enterprise: Option<Arc<Enterprise>>,
    /// It does not broadcast its name.
    pub hidden: bool,
}

/// The same in the file.
#[derive(Serialize, Deserialize)]
struct Entry {
    /// Hexadecimal digits, because a name is bytes.
    ssid: String,
    passphrase: Zeroizing<String>,
    /// Hexadecimal digits of the login, as [`Enterprise::encode`] has it. Older files have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enterprise_hex: Option<Zeroizing<String>>,
    hidden: bool,
}

impl Entry {
    fn of(profile: &Profile) -> Self {
        let Profile { ssid, passphrase, enterprise, hidden } = profile;
        Self {
            ssid: hexadecimal(ssid.as_bytes()),
            passphrase: passphrase.expose().to_owned().into(),
            enterprise_hex: enterprise.as_ref().map(|enterprise| hexadecimal(&enterprise.encode()).into()),
            hidden: *hidden,
        }
    }

    fn profile(self) -> Option<Profile> {
        let name = bytes_of(&self.ssid)?;
        let passphrase = Passphrase::try_from(self.passphrase.to_string()).ok()?;
        let enterprise = match self.enterprise_hex {
            Some(digits) => Some(Arc::new(Enterprise::decode(&Zeroizing::new(bytes_of(&digits)?)).ok()?)),
            None => None,
        };
        Some(Profile { ssid: Ssid::try_from(name.as_slice()).ok()?, passphrase, enterprise, hidden: self.hidden })
    }
}

/// The file of the stored networks.
#[derive(Clone, Debug)]
pub(super) struct Profiles(pub PathBuf);

impl Profiles {
    /// All of them; the one that was used last comes first. A file that cannot be parsed has none.
    pub(super) fn load(&self) -> Result<Vec<Profile>, Cause> {
        let Some(folder) = self.folder()? else { return Ok(Vec::new()) };
        let Some(content) = folder.read_secret(FILE, LIMIT)? else { return Ok(Vec::new()) };
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
        let mut entries: Vec<_> = profiles.iter().map(Entry::of).collect();
        // One allocation, so that no copy remains in freed memory.
        let mut content = Zeroizing::new(Vec::with_capacity(LIMIT + ENTRY));
        loop {
            serde_json::to_writer(&mut *content, &entries).expect("texts can be written to memory");
            if content.len() <= LIMIT {
                break;
            }
            // The one that was used longest ago makes room.
            entries.pop();
            content.clear();
        }
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
    use crate::network::nm::enterprise::tests::with_certificate;
    use provisioning_core::domain::Login;
    use provisioning_core::secret::SecretBlob;

    fn profile(name: &[u8], passphrase: &str) -> Profile {
        let passphrase = Passphrase::try_from(passphrase.to_owned()).expect("short enough");
        Profile { ssid: Ssid::try_from(name).expect("1 to 32 bytes"), passphrase, enterprise: None, hidden: false }
    }

    /// A network with a login, and a PKCS#12 of that size.
    fn office(name: &[u8], size: u16) -> Profile {
        let [first, second] = (size - 4).to_be_bytes();
        let outline = [0x30, 0x82, first, second, 2, 1, 3, 0x30];
        let certificate = SecretBlob::new([&outline[..], &vec![0; usize::from(size) - outline.len()]].concat());
        let login = Login { certificate, ..with_certificate() };
        Profile { enterprise: Some(Arc::new(login.try_into().expect("a valid login"))), ..profile(name, "") }
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
    fn a_login_is_stored_and_files_without_one_are_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let profiles = Profiles(folder.path().into());
        let older = "[{\"ssid\":\"686f6d65\",\"passphrase\":\"a passphrase\",\"hidden\":false}]";
        std::fs::write(folder.path().join(FILE), older).expect("a writable folder");
        let home = profile(b"home", "a passphrase");
        assert_eq!(profiles.load().expect("it can be read"), std::slice::from_ref(&home));
        let office = office(b"office", 100);
        profiles.store(&office).expect("it can be stored");
        assert_eq!(profiles.load().expect("they can be read"), [office, home]);
    }

    #[test]
    fn the_oldest_networks_make_room_for_large_logins() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let profiles = Profiles(folder.path().into());
        for number in 0..MOST {
            profiles.store(&profile(format!("{number:032}").as_bytes(), &"\\".repeat(128))).expect("it can be stored");
        }
        for number in 0..8 {
            profiles.store(&office(&[number], 8192)).expect("it can be stored");
            let logins = profiles.load().expect("they can be read").into_iter().filter(|profile| profile.enterprise.is_some());
            assert!(logins.count() >= 3.min(usize::from(number) + 1), "{number}");
        }
        assert_eq!(profiles.load().expect("they can be read").first(), Some(&office(&[7], 8192)));
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
            "[{\"ssid\":\"61\",\"passphrase\":\"\",\"enterprise_hex\":\"08\",\"hidden\":true}]",
        ] {
            std::fs::write(folder.path().join(FILE), text).expect("a writable folder");
            assert_eq!(profiles.load().expect("it can be read"), [], "{text}");
        }
    }
}
