//! The claim: an appliance sends the provision code that its installer received, gets the site that it belongs to, and
//! writes `config.yaml`, the configuration of its agent.
//!
//! The guarantees, in order of execution:
//!
//! 1. Before the first request, the program checks that the file can be written: a code is good for one claim, and a
//!    claim whose outcome cannot be stored is lost.
//! 2. A secret random claim id is stored before the first request and sent with each. A server that supports claim ids
//!    repeats its answer to the same device, so an answer lost to a connection failure or a power cut can be requested
//!    again. Other servers ignore the id.
//! 3. The file is synced to disk before the claim is acknowledged. After the acknowledgement the server refuses the claim
//!    to every device.
//!
//! The file contains a key, so it is created readable for its owner only.

mod answer;
mod client;
mod config;
mod device;
mod heartbeat;
mod node;
mod qr;
mod record;
mod refusal;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use thiserror::Error;
use tokio::task::spawn_blocking;

use crate::files::{FileError, Folder, Lock, hexadecimal};
use answer::Grant;
use provisioning_core::domain::{CommandCenterUrl, ProvisionCode};
use provisioning_core::secret::SecretText;
use record::Record;

pub use client::{Claimant, RetryLimits};
pub use device::{Device, InvalidMacAddress, MacAddress};
pub use heartbeat::Standing;
pub use node::NodeClaims;
pub use qr::{Error as QrError, read as read_qr};
pub use refusal::{RefusalReason, ServerRefusal};

/// The default server for claims.
pub const DEFAULT_ENDPOINT: &str = "https://api.osiriscare.net";

/// The agent's configuration file, in the appliance's state folder.
pub const CONFIG: &str = "config.yaml";

/// The file with the claim id; it exists until the claim is complete.
const CLAIM_ID: &str = "claim-id";

/// The file that records which code was claimed.
const RECORD: &str = "claimed.json";

/// All files that this module writes.
const NAMES: [&str; 3] = [CONFIG, CLAIM_ID, RECORD];

/// Random bytes of a claim id, enough that it cannot be guessed.
const CLAIM_ID_BYTES: usize = 16;

/// The approximate size of the configuration, bytes.
const CONFIG_SIZE: usize = 2048;

/// Maximum size of a configuration, which its owner may have edited, bytes.
const CONFIG_LIMIT: usize = 64 * 1024;

/// Why a code was not claimed. Installers see these texts, which are those of the existing software.
#[derive(Debug, Error)]
pub enum Error {
    /// A configuration exists already; no request was sent.
    #[error("Already provisioned")]
    AlreadyProvisioned,
    /// The server refused; the text is the server's.
    #[error("{0}")]
    Refused(ServerRefusal),
    /// The server did not answer in time.
    #[error("Connection timed out")]
    TimedOut,
    /// The connection could not be established, was not trusted, or broke.
    #[error("Failed to connect to server: {0}")]
    Unreachable(String),
    /// The answer is not a valid answer to a claim.
    #[error("Unexpected error: {0}")]
    Unexpected(String),
    /// The files cannot be written. If the server has granted the claim already, the same claim can be repeated.
    #[error(transparent)]
    Files(#[from] FileError),
}

/// Whether the appliance must claim a code, because the folder contains no configuration.
///
/// A folder that cannot be read is an error.
pub fn needs_provisioning(folder: &Path) -> Result<bool, FileError> {
    let config = folder.join(CONFIG);
    config.try_exists().map(|there| !there).map_err(FileError::system("looking for", &config))
}

/// Deletes the files of a claim, also those that were set aside; returns whether there was a configuration. Waits for a
/// claim in progress.
pub fn forget(folder: &Path) -> Result<bool, FileError> {
    // A device that never claimed a code does not need the folder, or write access to it.
    match Folder::open(folder) {
        Ok(folder) if folder.has_any(&NAMES)? => {}
        Ok(_) => return Ok(false),
        // A claim does not write to such a folder.
        Err(error) if error.is_out_of_reach() || matches!(error, FileError::Link { .. } | FileError::NotAFolder { .. }) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    let folder = Folder::make(folder)?;
    let _lock = folder.lock()?;
    folder.tidy(&NAMES)?;
    folder.remove_aside(&NAMES)?;
    // The configuration is deleted last: while it exists, an interrupted reset is repeated.
    folder.remove(CLAIM_ID)?;
    folder.remove(RECORD)?;
    folder.remove(CONFIG)
}

/// The parameters of a claim.
#[derive(Clone, Debug)]
pub struct Request {
    /// The code.
    pub code: ProvisionCode,
    /// The device that claims it.
    pub device: Device,
    /// The server.
    pub endpoint: CommandCenterUrl,
    /// The folder for the configuration.
    pub folder: PathBuf,
    /// Claim even if a configuration exists, and replace it; a configuration from the same code is kept.
    pub again: bool,
    /// The current time. It may be wrong, because the clock of a new device was never set.
    pub clock: fn() -> SystemTime,
}

/// The result of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appliance {
    /// The appliance's identity.
    pub appliance_id: String,
    /// The site that it belongs to.
    pub site_id: String,
    /// The name of the partner who maintains it.
    pub brand_name: String,
    /// The path of its configuration.
    pub config: PathBuf,
}

impl Claimant {
    /// Claims a code and writes the configuration. After any failure it can be called again with the same code.
    pub async fn provision(&self, request: &Request) -> Result<Appliance, Error> {
        let (folder, again, code) = (request.folder.clone(), request.again, request.code.clone());
        let place = match blocking(move || Place::prepare(&folder, again, &code)).await? {
            Prepared::Open(place) => place,
            Prepared::Done(appliance) => return Ok(appliance),
        };
        let grant = self.claim(request, &place.claim_id).await?;
        let api_key = match &grant.api_key {
            Some(api_key) => api_key.clone(),
            None => config::random_key().map_err(FileError::system("making a key for", request.folder.join(CONFIG)))?,
        };
        let content = config::content(&grant, &api_key, &request.device, &request.folder, (request.clock)());
        let Grant { appliance_id, site_id, api_key: given, partner, .. } = grant;
        let config = request.folder.join(CONFIG);
        let appliance = Appliance { appliance_id, site_id, brand_name: partner.brand_name, config };
        let record = Record::new(&request.code, &appliance);
        blocking(move || place.store(content.as_bytes(), &record)).await?;
        tracing::info!(appliance_id = appliance.appliance_id, config = %appliance.config.display(), "this device is provisioned");
        if given.is_some() {
            self.acknowledge(&request.endpoint, &appliance.appliance_id, &api_key).await;
        }
        Ok(appliance)
    }
}

/// The files of a claim in progress. While this value exists, no other claim can start for the folder.
#[derive(Debug)]
struct Place {
    folder: Folder,
    lock: Lock,
    claim_id: ClaimId,
}

/// The state of the folder before a claim.
#[derive(Debug)]
enum Prepared {
    /// The outcome can be stored.
    Open(Place),
    /// This code was claimed before, and its outcome is stored.
    Done(Appliance),
}

/// The id of a claim.
#[derive(Debug)]
struct ClaimId {
    digits: SecretText,
    /// An earlier run of this program has sent it.
    is_old: bool,
}

impl Place {
    fn prepare(folder: &Path, again: bool, code: &ProvisionCode) -> Result<Prepared, Error> {
        let folder = Folder::make(folder)?;
        let lock = folder.lock()?;
        folder.tidy(&NAMES)?;
        if folder.has(CONFIG)? {
            if !again {
                return Err(Error::AlreadyProvisioned);
            }
            if let Some(record) = Record::read(&folder)?.filter(|record| record.is_of(code)) {
                return Ok(Prepared::Done(record.appliance(folder.path(CONFIG))));
            }
        }
        let owner = folder.replaceable(CONFIG)?;
        drop(folder.stage(CONFIG, &[b'#'; CONFIG_SIZE], owner)?);
        let claim_id = ClaimId::open(&folder)?;
        Ok(Prepared::Open(Self { folder, lock, claim_id }))
    }

    /// A crash between two writes leaves a state from which the claim can be repeated: the configuration comes first, then
    /// the record of the code; the claim id is removed last.
    fn store(self, content: &[u8], record: &Record) -> Result<(), Error> {
        let Self { folder, lock, claim_id: _ } = self;
        let owner = folder.replaceable(CONFIG)?;
        folder.remove(RECORD)?;
        folder.stage(CONFIG, content, owner)?.commit()?;
        folder.write(RECORD, &record.content())?;
        folder.remove(CLAIM_ID)?;
        drop(lock);
        Ok(())
    }
}

impl ClaimId {
    fn open(folder: &Folder) -> Result<Self, FileError> {
        let parse = |content: &[u8]| match std::str::from_utf8(content) {
            Ok(text) if text.len() == 2 * CLAIM_ID_BYTES && text.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
                Ok(SecretText::new(text.into()))
            }
            _ => Err("does not contain a claim id".into()),
        };
        if let Some(digits) = folder.read_or_set_aside(CLAIM_ID, 2 * CLAIM_ID_BYTES, parse)? {
            return Ok(Self { digits, is_old: true });
        }
        let mut bytes = [0; CLAIM_ID_BYTES];
        getrandom::fill(&mut bytes).map_err(FileError::system("making", folder.path(CLAIM_ID)))?;
        let digits = SecretText::new(hexadecimal(&bytes));
        folder.write(CLAIM_ID, digits.expose().as_bytes())?;
        Ok(Self { digits, is_old: false })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    spawn_blocking(work).await.unwrap_or_else(|stopped| Err(Error::Unexpected(stopped.to_string())))
}
