//! The ledger: intentions and results, one JSON object per line, each synced to the disk before the next step.
//!
//! | state | meaning |
//! |---|---|
//! | `planned` | processing of the device begins |
//! | `written` | a password is in the tree, under a temporary name; the server may receive it after this line |
//! | `registered` | the server and the tree's `device.conf` have the password |
//! | `refused` | the account exists and was not created with this ledger; nothing was changed |
//! | `shipped` | the device has left the factory: its password must not change |
//!
//! It contains no secrets: it identifies files by hash, and each hashed file contains 128 random bits.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::serial::{Device, Serial};

/// Size limit of a ledger, bytes: about a million devices.
const LIMIT: u64 = 1024 * 1024 * 1024;

/// The clock for timestamps.
pub type Clock = fn() -> SystemTime;

/// Why a ledger is unusable.
#[derive(Debug, Error)]
pub enum Error {
    /// The system refused.
    #[error("{action} the ledger {}", path.display())]
    System {
        /// The action.
        action: &'static str,
        /// The ledger.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another run has locked it.
    #[error("another run uses the ledger {}: wait until it ends", .0.display())]
    Busy(PathBuf),
    /// An invalid line.
    #[error("line {line} of the ledger {} is invalid: repair it, or use another ledger", path.display())]
    Line {
        /// The ledger.
        path: PathBuf,
        /// The line number, from 1.
        line: usize,
        /// The cause.
        source: serde_json::Error,
    },
    /// The ledger records the account for another device.
    #[error("{serial} maps to the account {account}, which belongs to {other} in the ledger {}", path.display())]
    Account {
        /// The ledger.
        path: PathBuf,
        /// The device.
        serial: Serial,
        /// Its account.
        account: String,
        /// The device that has the account.
        other: String,
    },
    /// A line could not be written. The state of the file is unknown, so the run ends.
    #[error("writing the ledger")]
    Append(#[source] Arc<io::Error>),
    /// The device was never registered.
    #[error("{0} was not registered with this ledger, so it cannot have shipped")]
    Unregistered(Serial),
}

/// The progress of a device; the module's documentation has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Planned,
    Written,
    Registered,
    Refused,
    Shipped,
}

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    at: String,
    serial: String,
    state: State,
    account: String,
    api: String,
    /// `--reissue` was given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    reissue: bool,
    /// SHA-256 of the `device.conf`, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_conf: Option<String>,
    /// SHA-256 of the pairing file, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pairing: Option<String>,
}

/// The ledger's record of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    account: String,
    /// The server that has the account for certain.
    registered_at: Option<String>,
    /// The server that may have received the password in the file with the hash.
    written_for: Option<String>,
    device_conf: Option<String>,
    pairing: Option<String>,
    shipped: bool,
}

impl Record {
    /// Whether the account was certainly created with this ledger.
    pub fn is_registered(&self, api: &str) -> bool {
        self.registered_at.as_deref() == Some(api)
    }

    /// Whether the `device.conf` with this hash has the last password that the server may have received.
    pub fn is_written(&self, api: &str, device_conf: &str) -> bool {
        self.written_for.as_deref() == Some(api) && self.device_conf.as_deref() == Some(device_conf)
    }

    /// Whether that pairing file, by its hash, is the device's.
    pub fn has_pairing(&self, pairing: &str) -> bool {
        self.pairing.as_deref() == Some(pairing)
    }

    /// Whether the device has left the factory.
    pub const fn is_shipped(&self) -> bool {
        self.shipped
    }

    fn take(&mut self, line: Line) {
        self.account = line.account;
        match line.state {
            State::Planned if line.reissue => self.shipped = false,
            State::Planned => {}
            State::Written => {
                self.written_for = Some(line.api);
                self.device_conf = line.device_conf;
                self.pairing = line.pairing;
            }
            State::Registered => self.registered_at = Some(line.api),
            State::Refused => self.written_for = None,
            State::Shipped => self.shipped = true,
        }
    }
}

/// An open ledger, locked against other processes.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    api: String,
    clock: Clock,
    records: Mutex<HashMap<String, Record>>,
    /// `None` in a dry run.
    writer: Option<mpsc::Sender<Append>>,
}

/// Lines to be written, and the channel for the result.
struct Append {
    lines: Vec<u8>,
    done: oneshot::Sender<Result<(), Arc<io::Error>>>,
}

impl Ledger {
    /// Opens a ledger and creates a missing one. Removes an incomplete last line, left by a crash: its step was not done.
    /// `api` is the server of this run.
    pub fn open(path: &Path, api: &str, clock: Clock) -> Result<Self, Error> {
        let system = |action| move |source| Error::System { action, path: path.into(), source };
        let mut options = File::options();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(path).map_err(system("opening"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Err(Error::Busy(path.into())),
            // Some network file systems have no locks.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK) => {}
            Err(errno) => return Err(system("locking")(errno.into())),
        }
        let (records, whole) = read(path, &mut file)?;
        file.set_len(whole).map_err(system("repairing"))?;
        file.seek(io::SeekFrom::End(0)).map_err(system("repairing"))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(system("syncing the folder of"))?;
        let (writer, appends) = mpsc::channel();
        std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || write(file, &appends))
            .map_err(system("starting to write"))?;
        Ok(Self { path: path.into(), api: api.into(), clock, records: Mutex::new(records), writer: Some(writer) })
    }

    /// Reads a ledger and changes nothing.
    pub fn read_only(path: &Path, api: &str, clock: Clock) -> Result<Self, Error> {
        let records = match File::open(path) {
            Ok(mut file) => read(path, &mut file)?.0,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(source) => return Err(Error::System { action: "opening", path: path.into(), source }),
        };
        Ok(Self { path: path.into(), api: api.into(), clock, records: Mutex::new(records), writer: None })
    }

    /// The server of this run.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// The record of a device.
    pub fn record(&self, serial: &Serial) -> Record {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).get(serial.as_str()).cloned().unwrap_or_default()
    }

    /// Fails if a device maps to an account that the ledger records for another device.
    pub fn check_accounts(&self, devices: &[Device]) -> Result<(), Error> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let owners: HashMap<&str, &str> =
            records.iter().map(|(serial, record)| (record.account.as_str(), serial.as_str())).collect();
        for device in devices {
            if let Some(other) = owners.get(device.account.as_str()).filter(|other| **other != device.serial.as_str()) {
                let (serial, account) = (device.serial.clone(), device.account.clone());
                return Err(Error::Account { path: self.path.clone(), serial, account, other: (*other).into() });
            }
        }
        Ok(())
    }

    /// Records that processing of the devices begins.
    pub async fn planned<'a>(&self, devices: impl IntoIterator<Item = &'a Device>, reissue: bool) -> Result<(), Error> {
        let lines = devices.into_iter().map(|device| Line { reissue, ..self.line(device, State::Planned) }).collect();
        self.append(lines).await
    }

    /// Records the hashes of the files. The server may receive the password after this.
    pub async fn written(&self, device: &Device, device_conf: String, pairing: Option<String>) -> Result<(), Error> {
        let line = Line { device_conf: Some(device_conf), pairing, ..self.line(device, State::Written) };
        self.append(vec![line]).await
    }

    /// Records that server and tree have the same password.
    pub async fn registered(&self, device: &Device) -> Result<(), Error> {
        self.append(vec![self.line(device, State::Registered)]).await
    }

    /// Records that the account was not created with this ledger.
    pub async fn refused(&self, device: &Device) -> Result<(), Error> {
        self.append(vec![self.line(device, State::Refused)]).await
    }

    /// Records that the devices have left the factory. Fails and records nothing if one of them is not registered.
    pub async fn shipped(&self, devices: &[Device]) -> Result<(), Error> {
        for device in devices {
            if self.record(&device.serial).registered_at.is_none() {
                return Err(Error::Unregistered(device.serial.clone()));
            }
        }
        self.append(devices.iter().map(|device| self.line(device, State::Shipped)).collect()).await
    }

    fn line(&self, device: &Device, state: State) -> Line {
        Line {
            at: timestamp((self.clock)()),
            serial: device.serial.as_str().into(),
            state,
            account: device.account.clone(),
            api: self.api.clone(),
            reissue: false,
            device_conf: None,
            pairing: None,
        }
    }

    /// Appends lines, and returns when they are synced to the disk.
    async fn append(&self, lines: Vec<Line>) -> Result<(), Error> {
        let closed = || Error::Append(Arc::new(io::Error::other("the ledger is closed")));
        let mut bytes = Vec::new();
        for line in &lines {
            serde_json::to_writer(&mut bytes, line).expect("the fields have only JSON types");
            bytes.push(b'\n');
        }
        let (done, written) = oneshot::channel();
        self.writer.as_ref().ok_or_else(closed)?.send(Append { lines: bytes, done }).map_err(|_| closed())?;
        written.await.map_err(|_| closed())?.map_err(Error::Append)?;
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        for line in lines {
            records.entry(line.serial.clone()).or_default().take(line);
        }
        Ok(())
    }
}

/// Writes lines until the ledger is dropped. Lines that arrive during a sync share the next one.
fn write(mut file: File, appends: &mpsc::Receiver<Append>) {
    let mut failed: Option<Arc<io::Error>> = None;
    while let Ok(first) = appends.recv() {
        let mut waiting = vec![first];
        waiting.extend(appends.try_iter());
        if failed.is_none() {
            let lines = waiting.iter().map(|append| &append.lines[..]).collect::<Vec<_>>().concat();
            // A full disk may leave an incomplete line, so nothing is written after a failure.
            failed = file.write_all(&lines).and_then(|()| file.sync_data()).err().map(Arc::new);
        }
        for append in waiting {
            // A receiver that is gone was dropped with the run.
            let _ = append.done.send(failed.clone().map_or(Ok(()), Err));
        }
    }
}

/// Returns the records, and the length of the complete lines in bytes.
fn read(path: &Path, file: &mut File) -> Result<(HashMap<String, Record>, u64), Error> {
    let system = |action| move |source| Error::System { action, path: path.into(), source };
    let mut content = Vec::new();
    let length = file.take(LIMIT + 1).read_to_end(&mut content).map_err(system("reading"))?;
    if length as u64 > LIMIT {
        return Err(system("reading")(io::Error::other("it is larger than 1 GiB")));
    }
    let mut records = HashMap::<String, Record>::new();
    let whole = content.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    for (index, line) in content[..whole].split(|&byte| byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let line: Line =
            serde_json::from_slice(line).map_err(|source| Error::Line { path: path.into(), line: index + 1, source })?;
        records.entry(line.serial.clone()).or_default().take(line);
    }
    Ok((records, whole as u64))
}

/// RFC 3339 in UTC, to the second.
pub(crate) fn timestamp(time: SystemTime) -> String {
    const DAY: u64 = 24 * 60 * 60;
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (days, second) = (seconds / DAY, seconds % DAY);
    // Years that begin in March have their leap day at the end; 400 of them have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day + 2) / 153;
    let day = day - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serial::AccountRule;

    const API: &str = "https://admin.test";

    fn clock() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_709_210_096)
    }

    fn device(serial: &str) -> Device {
        Device::new(serial.parse().unwrap(), &AccountRule::default(), "rootfs")
    }

    fn ledger(folder: &tempfile::TempDir) -> Ledger {
        Ledger::open(&folder.path().join("ledger.jsonl"), API, clock).unwrap()
    }

    /// The writer's thread lets go of the lock a moment after the ledger is dropped.
    fn reopened(folder: &tempfile::TempDir, ledger: Ledger) -> Ledger {
        drop(ledger);
        loop {
            match Ledger::open(&folder.path().join("ledger.jsonl"), API, clock) {
                Err(Error::Busy(_)) => std::thread::yield_now(),
                opened => return opened.unwrap(),
            }
        }
    }

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (seconds, text) in
            [(0, "1970-01-01T00:00:00Z"), (1_709_210_096, "2024-02-29T12:34:56Z"), (4_107_542_399, "2100-02-28T23:59:59Z")]
        {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[tokio::test]
    async fn what_was_noted_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(&folder);
        let device = device("AZJN-0042");
        ledger.planned([&device], false).await.unwrap();
        ledger.written(&device, "aa".into(), Some("bb".into())).await.unwrap();
        ledger.registered(&device).await.unwrap();
        let record = reopened(&folder, ledger).record(&device.serial);
        assert!(record.is_registered(API) && record.is_written(API, "aa") && record.has_pairing("bb") && !record.is_shipped());
        assert!(!record.is_registered("https://other.test") && !record.is_written(API, "cc"));
    }

    #[tokio::test]
    async fn a_torn_last_line_is_removed_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let first = ledger(&folder);
        let device = device("AZJN-0042");
        first.written(&device, "aa".into(), None).await.unwrap();
        let path = folder.path().join("ledger.jsonl");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], &whole[..20]].concat()).unwrap();
        let second = reopened(&folder, first);
        second.registered(&device).await.unwrap();
        assert!(reopened(&folder, second).record(&device.serial).is_registered(API));
    }

    #[test]
    fn a_line_that_is_not_ours_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        std::fs::write(&path, "\n{}\n").unwrap();
        assert!(matches!(Ledger::open(&path, API, clock), Err(Error::Line { line: 2, .. })));
    }

    #[test]
    fn two_runs_do_not_share_a_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let _first = ledger(&folder);
        assert!(matches!(Ledger::open(&folder.path().join("ledger.jsonl"), API, clock), Err(Error::Busy(_))));
    }

    #[tokio::test]
    async fn an_account_of_another_device_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(&folder);
        ledger.planned([&device("AZJN-0042")], false).await.unwrap();
        assert!(ledger.check_accounts(&[device("AZJN-0042")]).is_ok());
        assert!(matches!(ledger.check_accounts(&[device("OTHER-0042")]), Err(Error::Account { .. })));
    }

    #[tokio::test]
    async fn a_refused_account_is_not_ours_and_a_shipped_device_must_be_reissued() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(&folder);
        let device = device("AZJN-0042");
        ledger.written(&device, "aa".into(), None).await.unwrap();
        ledger.refused(&device).await.unwrap();
        assert!(!ledger.record(&device.serial).is_written(API, "aa"));
        assert!(matches!(ledger.shipped(std::slice::from_ref(&device)).await, Err(Error::Unregistered(_))));
        ledger.registered(&device).await.unwrap();
        ledger.shipped(std::slice::from_ref(&device)).await.unwrap();
        ledger.planned([&device], false).await.unwrap();
        assert!(ledger.record(&device.serial).is_shipped());
        ledger.planned([&device], true).await.unwrap();
        assert!(!ledger.record(&device.serial).is_shipped());
    }

    #[tokio::test]
    async fn a_dry_run_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let ledger = Ledger::read_only(&path, API, clock).unwrap();
        assert!(ledger.planned([&device("AZJN-0042")], false).await.is_err());
        assert!(!path.exists());
    }
}
