//! The node's persistent files, written so that they survive a power cut.
//!
//! The state folder contains the files of the existing software, in its formats, and the node's own:
//!
//! | file | content |
//! |---|---|
//! | `secrets.key` | K1: a Fernet key, 44 characters |
//! | `k2.enc`, `k2_metadata.json` | K2, 32 bytes sealed with K1; its name and date |
//! | `wifi_credentials.enc` | SSID and passphrase as JSON, sealed with K1 |
//! | `.provisioned` | empty; if it exists, the node is provisioned |
//! | `state.json` | pairing guesses, the last outcome, whether a factory reset is in progress; the hardware address that names the node; the hash of the token that the last factory reset has voided |
//! | `pairing.json` | the label: six digits, 128 bits, the access point's passphrase |
//! | `pending.enc` | the pending attempt, sealed with K1 |
//! | `k2_pending.enc` | a K2 that is being written to its two files, sealed with K1 |
//!
//! Each file is replaced atomically. A change of several files is committed by one write, and the next start completes a
//! committed change:
//!
//! - **K2** is committed by `k2_pending.enc`. Its metadata is removed before the key is replaced and written after it, so
//!   that no reader combines new metadata with an old key.
//! - **The end of an attempt** is committed by `state.json`, which contains the attempt's name and outcome; the marker is
//!   written next, and `pending.enc` is removed last.
//! - **A factory reset** is committed by `state.json`, and repeated from its beginning after a power cut. K1 is replaced after
//!   everything that it opens is deleted.
//!
//! An unreadable file is renamed to `NAME.unreadable-N` and replaced by the safe state: after a lost state all free guesses
//! count as used, and a lost label is replaced by a new one. K1 is the exception: while there is a file that it seals, a lost
//! K1 is an error, and only a factory reset replaces it.

mod configuration;
mod error;
mod format;
mod paths;
mod record;
mod seal;
mod token;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tracing::{info, warn};

use crate::files::{FileError, Folder, Lock};
use crate::identity;
use configuration::Configuration;
pub use error::Error;
pub use paths::{CLAIM_FOLDER, Paths};
use provisioning_core::domain::{CommandCenterUrl, Credentials, Identity, K2, Outcome, Pairing, Registration, TextField};
use provisioning_core::fault::chain;
use provisioning_core::machine::{Boot, Cleared, ClearedItem, Pending};
use provisioning_core::secret::SecretText;
pub use record::Label;
use record::{Concluded, State, StoredPending};
use seal::Key;
use token::Token;

const K2_KEY: &str = "k2.enc";
const K2_METADATA: &str = "k2_metadata.json";
const WIFI: &str = "wifi_credentials.enc";
const MARKER: &str = ".provisioned";
const STATE: &str = "state.json";
const LABEL: &str = "pairing.json";
const PENDING: &str = "pending.enc";
const K2_PENDING: &str = "k2_pending.enc";
/// The key of the database of the node's normal operation.
const DATABASE_KEY: &str = "db.key";

/// All files in the state folder except K1, whose name the operator chooses.
const NAMES: [&str; 8] = [K2_KEY, K2_METADATA, WIFI, MARKER, STATE, LABEL, PENDING, K2_PENDING];

/// The files in the state folder that contain what the owner gave.
const OWNERS: [&str; 6] = [MARKER, K2_PENDING, K2_METADATA, K2_KEY, WIFI, PENDING];

/// The files in the state folder that K1 seals.
const SEALED: [&str; 4] = [K2_KEY, WIFI, PENDING, K2_PENDING];

/// Maximum size of a file in the state folder, bytes.
const LIMIT: usize = 64 * 1024;

/// The files of one node. A write returns after it is synced to disk.
///
/// Several processes and threads may use the same folder: each write locks it.
#[derive(Debug)]
pub struct Store {
    paths: Paths,
    folder: Folder,
    key: Key,
    label: Label,
    mac_address: String,
    token: Option<Token>,
}

/// The configured address of the command center. Reads one file, and changes nothing: every user who may read the file may ask.
pub fn configured_command_center(paths: &Paths) -> Result<Option<CommandCenterUrl>, Error> {
    let text = match (&paths.command_center_url, &paths.config) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(path)) => Configuration::read(path).map_err(Error::Configuration)?.command_center(),
        (None, None) => None,
    };
    Ok(text.and_then(|text| CommandCenterUrl::try_from(text.as_str()).ok()))
}

/// The hardware address that names the node. Changes nothing: for a user who may not read the state, or before the first
/// start, it is the one that the first start would store.
pub fn mac_address(paths: &Paths) -> String {
    let state = Folder::open(&paths.directory).and_then(|folder| folder.read_parsed(STATE, LIMIT, State::parse));
    let stored = state.ok().flatten().and_then(|state| state.mac_address);
    stored.unwrap_or_else(|| identity::mac_address(&paths.sysfs, &paths.machine_id))
}

impl Store {
    /// Opens or creates the folder, K1 and the pairing secrets. Completes changes that a power cut interrupted.
    pub fn open(paths: Paths) -> Result<Self, Error> {
        let folder = Folder::make(&paths.directory)?;
        let lock = folder.lock()?;
        folder.tidy(&NAMES)?;
        let mut state = read_state(&folder)?;
        let (key, is_key_new) = open_key(&folder, &paths.key, state.resetting)?;
        let is_state_new = state.mac_address.is_none();
        let current = || identity::mac_address(&paths.sysfs, &paths.machine_id);
        let mac_address = state.mac_address.get_or_insert_with(current).clone();
        // The state is written before the label: if there is a label, a missing state was lost.
        if is_state_new {
            folder.place(STATE, &state.content())?;
        }
        let (label, is_label_new) = open_label(&folder, paths.pairing.as_deref())?;
        // Nothing is sealed, counted or shown before this, so one sync suffices for all files of a first start; it takes
        // most of the time of such a start.
        if is_key_new || is_state_new || is_label_new {
            folder.sync()?;
        }
        if let Some(config) = &paths.config {
            configuration::tidy(config).map_err(Error::Configuration)?;
        }
        let store = Self { paths, folder, key, label, mac_address, token: None };
        store.finish_k2(&lock)?;
        store.finish_attempt(&lock)?;
        Ok(store)
    }

    /// Stores that a factory reset has begun, for a node whose K1 is lost. After this, [`open`](Self::open) replaces K1.
    pub fn begin_reset_without_key(paths: &Paths) -> Result<(), Error> {
        let folder = Folder::open(&paths.directory)?;
        let lock = folder.lock()?;
        change_state(&folder, &lock, State::begin_reset)
    }

    /// The secrets that a phone proves to know.
    pub fn pairing(&self) -> Pairing {
        self.label.pairing.clone()
    }

    /// The passphrase of the node's access point.
    pub fn access_point_passphrase(&self) -> SecretText {
        self.label.passphrase.clone()
    }

    /// Makes the token of the API void with each factory reset. Returns whether the last one has done so, and the next ones
    /// do: someone who has learned the token from the previous owner must not control the device of the next one.
    pub fn revocable_token(&mut self, token: &SecretText) -> Result<Arc<AtomicBool>, Error> {
        let _lock = self.folder.lock()?;
        let token = Token::new(token, read_state(&self.folder)?.void_token.as_deref());
        let is_void = token.is_void();
        self.token = Some(token);
        Ok(is_void)
    }

    /// Deletes the owner's file with pairing secrets, and returns its path; none if there is no such file.
    pub fn remove_pairing_file(&self) -> Result<Option<&Path>, Error> {
        let Some(path) = self.paths.pairing.as_deref().filter(|path| path.exists()) else { return Ok(None) };
        let (folder, name) = Folder::of(path)?;
        Ok(folder.remove(&name)?.then_some(path))
    }

    /// The initial data of the machine. Unreadable files are set aside and replaced by the safe state.
    pub fn load(&self) -> Result<Boot, Error> {
        let lock = self.folder.lock()?;
        let state = read_state(&self.folder)?;
        self.inspect(&lock)?;
        let configuration = self.configuration();
        let given = self.paths.command_center_url.clone();
        let command_center = given.or_else(|| configuration.as_ref()?.command_center());
        let command_center = command_center.and_then(|text| match CommandCenterUrl::try_from(text.as_str()) {
            Ok(url) => Some(url),
            Err(fault) => {
                warn!(%fault, "the configured address of the command center is invalid");
                None
            }
        });
        Ok(Boot {
            identity: self.identity(configuration.as_ref()),
            pairing: self.pairing(),
            guesses: state.attempts,
            provisioned: self.is_provisioned()?,
            command_center,
            pending: self.pending(&lock)?.map(|stored| stored.pending),
            outcome: state.outcome().expect("checked when the state was parsed"),
            resetting: state.resetting,
            country: state.country.unwrap_or_default(),
        })
    }

    /// Stores the number of guesses since the last success.
    pub fn save_guesses(&self, made: u32) -> Result<(), Error> {
        let lock = self.folder.lock()?;
        change_state(&self.folder, &lock, |state| state.attempts = made)
    }

    /// Stores K2.
    pub fn save_k2(&self, k2: &K2) -> Result<(), Error> {
        let lock = self.folder.lock()?;
        self.place_k2(&lock, k2, true)
    }

    /// Stores the pending attempt; fails with
    /// [`Fault::ConfigurationFailed`](provisioning_core::fault::Fault::ConfigurationFailed) if the configuration file cannot
    /// be written.
    pub fn save_pending(&self, pending: &Pending) -> Result<(), Error> {
        let path = configuration::located(self.paths.config.as_ref())?;
        let stored =
            StoredPending::new(pending).map_err(FileError::system("naming the attempt in", self.folder.path(PENDING)))?;
        let _lock = self.folder.lock()?;
        let configuration = Configuration::read(path).map_err(Error::Configuration)?;
        configuration.rehearse(&pending.credentials).map_err(Error::Configuration)?;
        self.folder.write(PENDING, self.key.seal(&stored.content()).as_bytes())?;
        Ok(())
    }

    /// Stores the configuration, and the credentials of a network that was joined.
    pub fn save_enrollment(&self, credentials: &Credentials, registration: &Registration) -> Result<(), Error> {
        let path = configuration::located(self.paths.config.as_ref())?;
        let lock = self.folder.lock()?;
        if let Some(country) = credentials.country {
            change_state(&self.folder, &lock, |state| state.country = Some(country.into_string()))?;
        }
        let mut configuration = Configuration::read(path).map_err(Error::Configuration)?;
        // Both are staged before either is committed, so that a full disk leaves the old files.
        let wifi = credentials.ssid.as_ref().map(|ssid| {
            let sealed = self.key.seal(format::wifi_credentials(ssid, &credentials.passphrase).as_bytes());
            self.folder.stage(WIFI, sealed.as_bytes(), self.folder.owner())
        });
        let wifi = wifi.transpose()?;
        let configuration = configuration.enroll(credentials, registration).map_err(Error::Configuration)?;
        if let Some(wifi) = wifi {
            wifi.commit()?;
        }
        configuration.commit().map_err(Error::Configuration)
    }

    /// Writes the marker, then deletes the pending attempt and the last outcome.
    pub fn mark_provisioned(&self) -> Result<(), Error> {
        let lock = self.folder.lock()?;
        self.conclude(&lock, None, true)?;
        self.folder.write(MARKER, b"")?;
        // If a power cut brings it back, the next start removes it again.
        self.folder.unlink(PENDING)?;
        Ok(())
    }

    /// Stores the outcome of an attempt, then deletes the pending attempt.
    pub fn save_outcome(&self, outcome: &Outcome) -> Result<(), Error> {
        let lock = self.folder.lock()?;
        self.conclude(&lock, Some(outcome), false)?;
        self.folder.unlink(PENDING)?;
        Ok(())
    }

    /// Replaces the pairing secrets by random ones, and returns them. The access point's passphrase stays, because phones have
    /// stored it.
    pub fn renew_pairing(&mut self) -> Result<Pairing, Error> {
        let path = self.folder.path(LABEL);
        let random = Label::random().map_err(FileError::system("generating secrets for", path))?;
        let label = Label { pairing: random.pairing, ..self.label.clone() };
        let _lock = self.folder.lock()?;
        self.folder.write(LABEL, &label.content())?;
        self.label = label;
        Ok(self.pairing())
    }

    /// Stores that a factory reset has begun, and deletes the last outcome.
    pub fn begin_reset(&self) -> Result<(), Error> {
        let lock = self.folder.lock()?;
        change_state(&self.folder, &lock, State::begin_reset)
    }

    /// Deletes the owner's data: marker, K2, Wi-Fi credentials, pending attempt, the node's database, identity and key in
    /// the configuration, and the files of a claim; also what was set aside or is left of an interrupted write. Replaces K1.
    /// Then deletes the record that a reset has begun. The pairing secrets and the number of guesses remain.
    ///
    /// `forget_claim` deletes the files of a claim, and returns whether there was a configuration. It is called again
    /// after a power cut during the reset.
    pub fn finish_reset(&mut self, forget_claim: impl FnOnce(&Path) -> Result<bool, FileError>) -> Result<Cleared, Error> {
        let lock = self.folder.lock()?;
        let mut items = vec![ClearedItem::ProvisioningMarker, ClearedItem::K2, ClearedItem::WifiCredentials];
        self.folder.tidy(&NAMES)?;
        for name in OWNERS {
            self.folder.remove(name)?;
        }
        // An unreadable label may be the only copy of what is printed, and contains nothing that the owner gave.
        self.folder.remove_aside(&OWNERS)?;
        self.folder.remove_aside(&[STATE])?;
        if self.remove_database()? {
            items.push(ClearedItem::NodeDatabase);
        }
        if self.folder.remove(DATABASE_KEY)? {
            items.push(ClearedItem::DatabaseKey);
        }
        self.remove_original()?;
        if self.clear_configuration().map_err(Error::Configuration)? {
            items.push(ClearedItem::ConfigurationCredentials);
        }
        if forget_claim(&self.paths.claim)? {
            items.push(ClearedItem::ApplianceConfiguration);
        }
        if let Some(key) = replace_key(&self.folder, &self.paths.key)? {
            self.key = key;
        }
        change_state(&self.folder, &lock, |state| {
            state.resetting = false;
            state.void_token = self.token.as_ref().map(Token::digest).or(state.void_token.take());
        })?;
        if let Some(token) = &self.token {
            token.make_void();
        }
        info!(cleared = ?items, "deleted the owner's data");
        Ok(Cleared { items, node_id: self.unregistered() })
    }

    fn identity(&self, configuration: Option<&Configuration>) -> Identity {
        let registered = configuration.and_then(Configuration::node_id).filter(|node_id| is_usable(node_id));
        let unregistered = self.unregistered();
        Identity {
            node_id: registered.unwrap_or_else(|| unregistered.clone()),
            unregistered,
            hardware: identity::hardware(&self.paths.sysfs, &self.paths.machine),
            mac_address: self.mac_address.clone(),
        }
    }

    /// The identity of a node that is not registered.
    fn unregistered(&self) -> String {
        self.label.node_id.clone().unwrap_or_else(|| identity::unregistered(&self.mac_address))
    }

    /// The configuration, if it exists and can be read.
    fn configuration(&self) -> Option<Configuration> {
        let read = Configuration::read(self.paths.config.as_deref()?);
        read.inspect_err(|error| warn!(reason = chain(error), "the configuration cannot be read")).ok()
    }

    /// Removes identity and key from the configuration; returns whether it exists and can be read. A failure of the storage
    /// medium is an error, because identity and key would remain on it.
    fn clear_configuration(&self) -> Result<bool, FileError> {
        let Some(path) = &self.paths.config else { return Ok(false) };
        match Configuration::read(path) {
            Ok(configuration) if configuration.is_there() => configuration.clear().map(|()| true),
            Ok(_) => Ok(false),
            Err(error) if error.is_unfit() || error.is_out_of_reach() => {
                warn!(reason = chain(&error), "the configuration cannot be read: identity and key may remain in it");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn is_provisioned(&self) -> Result<bool, FileError> {
        self.folder.read_or_set_aside(MARKER, LIMIT, |_| Ok(())).map(|marker| marker.is_some())
    }

    /// Sets aside files that are torn or belong to another node, so that no reader fails on them.
    fn inspect(&self, _: &Lock) -> Result<(), FileError> {
        self.folder.read_or_set_aside(WIFI, LIMIT, |token| format::is_wifi_credentials(&self.key.open(token)?))?;
        let key = self.folder.read_or_set_aside(K2_KEY, LIMIT, |token| match self.key.open(token)?.len() {
            32 => Ok(()),
            length => Err(format!("contains a key of {length} bytes")),
        })?;
        let metadata = self.folder.read_or_set_aside(K2_METADATA, LIMIT, |content| match key {
            Some(()) => format::is_k2_metadata(content),
            None => Err("describes a missing key".into()),
        })?;
        if key.is_some() && metadata.is_none() {
            warn!(file = %self.folder.path(K2_KEY).display(), "K2 has no metadata: send it again from the app");
        }
        Ok(())
    }

    fn pending(&self, _: &Lock) -> Result<Option<StoredPending>, FileError> {
        self.folder.read_or_set_aside(PENDING, LIMIT, |token| StoredPending::parse(&self.key.open(token)?))
    }

    /// Commits the end of the pending attempt.
    fn conclude(&self, lock: &Lock, outcome: Option<&Outcome>, provisioned: bool) -> Result<(), Error> {
        let attempt = self.pending(lock)?.map(|stored| stored.attempt);
        change_state(&self.folder, lock, |state| {
            state.set_outcome(outcome);
            state.concluded = attempt.map(|attempt| Concluded { attempt, provisioned });
        })
    }

    /// An attempt that has ended is not resumed.
    fn finish_attempt(&self, lock: &Lock) -> Result<(), FileError> {
        let Some(StoredPending { attempt, .. }) = self.pending(lock)? else { return Ok(()) };
        let Some(concluded) = read_state(&self.folder)?.concluded else { return Ok(()) };
        if concluded.attempt == attempt {
            if concluded.provisioned {
                self.folder.write(MARKER, b"")?;
            }
            self.folder.remove(PENDING)?;
        }
        Ok(())
    }

    fn finish_k2(&self, lock: &Lock) -> Result<(), Error> {
        let k2 = self.folder.read_or_set_aside(K2_PENDING, LIMIT, |token| record::k2_parse(&self.key.open(token)?))?;
        k2.map_or(Ok(()), |k2| self.place_k2(lock, &k2, false))
    }

    /// Replaces K2. All files are staged before any is committed, so that a full disk leaves the old K2.
    fn place_k2(&self, _: &Lock, k2: &K2, decide: bool) -> Result<(), Error> {
        let stage = |name, content: &[u8]| self.folder.stage(name, content, self.folder.owner());
        let key = stage(K2_KEY, self.key.seal(k2.key.expose()).as_bytes())?;
        let metadata = stage(K2_METADATA, format::k2_metadata(k2).as_bytes())?;
        if decide {
            self.folder.write(K2_PENDING, self.key.seal(&record::k2_content(k2)).as_bytes())?;
        }
        self.folder.remove(K2_METADATA)?;
        key.commit()?;
        metadata.commit()?;
        self.folder.remove(K2_PENDING)?;
        Ok(())
    }

    /// Removes the settings of the existing system, which name the owner's network.
    fn remove_original(&self) -> Result<bool, FileError> {
        let Some(path) = self.paths.original() else { return Ok(false) };
        if path.symlink_metadata().is_err() {
            return Ok(false);
        }
        let (folder, name) = Folder::of(&path)?;
        folder.remove(&name)
    }

    /// Removes the database of the node's normal operation, and SQLite's files beside it.
    fn remove_database(&self) -> Result<bool, FileError> {
        let path = &self.paths.database;
        if path.symlink_metadata().is_err_and(|failure| failure.kind() == std::io::ErrorKind::NotFound) {
            return Ok(false);
        }
        let (folder, name) = Folder::of(path)?;
        for suffix in ["-journal", "-wal", "-shm"] {
            folder.remove(&format!("{name}{suffix}"))?;
        }
        folder.remove(&name)
    }
}

/// Reads the state. If it is missing although there is a label, it was lost.
fn read_state(folder: &Folder) -> Result<State, FileError> {
    match folder.read_or_set_aside(STATE, LIMIT, State::parse)? {
        Some(state) => Ok(state),
        None if folder.has(LABEL)? => Ok(State::lost()),
        None => Ok(State::new()),
    }
}

fn change_state(folder: &Folder, _: &Lock, change: impl FnOnce(&mut State)) -> Result<(), Error> {
    let mut state = read_state(folder)?;
    change(&mut state);
    state.generation = state.generation.saturating_add(1);
    folder.write(STATE, &state.content())?;
    Ok(())
}

/// K1, and whether it was created by this call and must be synced. A lost K1 is replaced only if it seals no file, or if a
/// reset deletes what it seals.
fn open_key(folder: &Folder, path: &Path, resetting: bool) -> Result<(Key, bool), Error> {
    let place = KeyPlace::find(folder, path)?;
    place.folder().tidy(&[&place.name])?;
    let unfit = match place.folder().read_parsed(&place.name, LIMIT, Key::parse) {
        Ok(Some(key)) => return Ok((key, false)),
        Ok(None) => None,
        Err(error) if error.is_unfit() => Some(error),
        Err(error) => return Err(error.into()),
    };
    if !resetting {
        for name in SEALED {
            if folder.has_file(name)? {
                return Err(Error::KeyLost { key: path.into(), why: describe(unfit), sealed: folder.path(name) });
            }
        }
    }
    if let Some(error) = unfit {
        place.folder().set_aside(&place.name, &error)?;
    }
    let key = Key::random().map_err(FileError::system("generating a key for", path))?;
    match &place.elsewhere {
        Some(elsewhere) => elsewhere.write(&place.name, key.content()),
        None => folder.place(&place.name, key.content()),
    }?;
    info!(file = %path.display(), "generated the key that seals the node's files");
    Ok((key, true))
}

/// Why K1 is lost.
fn describe(unfit: Option<FileError>) -> String {
    match unfit {
        None => "is missing".into(),
        Some(FileError::Malformed { what, .. }) => what,
        Some(error) => format!("cannot be used ({error})"),
    }
}

/// Whether a configured identity obeys the grammar of one that the command center returns.
fn is_usable(node_id: &str) -> bool {
    let checked = TextField::NodeId.check(node_id);
    checked.inspect_err(|fault| warn!(%fault, "the configured node id is ignored until a registration replaces it")).is_ok()
}

/// Replaces K1, and deletes earlier ones that were set aside. None if the operator has put K1 where it cannot be replaced.
fn replace_key(folder: &Folder, path: &Path) -> Result<Option<Key>, FileError> {
    let place = KeyPlace::find(folder, path)?;
    let key = Key::random().map_err(FileError::system("generating a key for", path))?;
    let replaced = place
        .folder()
        .remove_aside(&[&place.name])
        .and_then(|()| place.folder().replaceable(&place.name))
        .and_then(|_| place.folder().write(&place.name, key.content()));
    match replaced {
        Ok(()) => Ok(Some(key)),
        Err(error) if place.elsewhere.is_some() && error.is_fixed() => {
            warn!(reason = chain(&error), "K1 stays; everything that it opens is deleted");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The folder and the name of K1.
struct KeyPlace<'a> {
    state: &'a Folder,
    /// Its folder, if the operator chose another than the state folder.
    elsewhere: Option<Folder>,
    name: String,
}

impl<'a> KeyPlace<'a> {
    fn find(state: &'a Folder, path: &Path) -> Result<Self, FileError> {
        Ok(match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
            (Some(parent), Some(name)) if state.is(parent) => Self { state, elsewhere: None, name: name.to_owned() },
            _ => {
                let (elsewhere, name) = Folder::of(path)?;
                Self { state, elsewhere: Some(elsewhere), name }
            }
        })
    }

    fn folder(&self) -> &Folder {
        self.elsewhere.as_ref().unwrap_or(self.state)
    }
}

/// The label, and whether it was created by this call and must be synced.
fn open_label(folder: &Folder, given: Option<&Path>) -> Result<(Label, bool), FileError> {
    if let Some(label) = folder.read_or_set_aside(LABEL, LIMIT, Label::parse)? {
        return Ok((label, false));
    }
    let random = Label::random().map_err(FileError::system("generating secrets for", folder.path(LABEL)))?;
    let label = match given.filter(|path| path.exists()) {
        None => {
            info!("generated new pairing secrets: print the label");
            random
        }
        Some(path) => {
            let (boot, name) = Folder::of(path)?;
            let content = boot.read(&name, LIMIT)?.ok_or_else(|| FileError::NotAFile { path: path.into() })?;
            let label = Label::given(&content, random).map_err(|what| FileError::Malformed { path: path.into(), what })?;
            warn!(
                file = %path.display(),
                "copied the pairing secrets from the owner's file, which still has them: to delete it, run `jarvis-provision label --remove-pairing-file`"
            );
            label
        }
    };
    folder.place(LABEL, &label.content())?;
    Ok((label, true))
}
