//! The claim: an appliance sends the provision code that its installer was given, receives the site that it belongs to,
//! and writes `config.yaml`, which its agent starts from.
//!
//! What holds, in the order in which it happens:
//!
//! 1. No request is sent before it is known that the file could be written: a code is good for one claim, and a claim
//!    whose outcome cannot be stored is lost.
//! 2. A secret random number is stored before the first request and sent with each. A server that knows such
//!    numbers answers the same device the same again, so an answer that was lost, to a bad line or to a power cut, can be
//!    asked for again. Other servers ignore it.
//! 3. The file is on the disk before the claim is acknowledged. From then on the server answers it to no device.
//!
//! The file contains a key, so only its owner can read it, from its first moment.

mod answer;
mod client;
mod config;
mod device;
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

pub use client::{Claimant, Patience};
pub use device::{Device, InvalidMacAddress, MacAddress};
pub use node::NodeClaims;
pub use qr::{Error as QrError, read as read_qr};
pub use refusal::{RefusalReason, ServerRefusal};

/// Where appliances claim their codes.
pub const DEFAULT_ENDPOINT: &str = "https://api.osiriscare.net";

/// The file that an appliance's agent starts from, in the folder of its state.
pub const CONFIG: &str = "config.yaml";

/// The number that stands for this device's claim, until the claim is done.
const CLAIM_ID: &str = "claim-id";

/// Which code the configuration came of.
const RECORD: &str = "claimed.json";

/// Every file that is written here.
const NAMES: [&str; 3] = [CONFIG, CLAIM_ID, RECORD];

/// Random bytes of a claim's number, enough that it cannot be guessed.
const CLAIM_ID_BYTES: usize = 16;

/// About as much as the file has, bytes.
const CONFIG_SIZE: usize = 2048;

/// Why a code was not claimed. The texts are those that installers know, and are shown to them as they are.
#[derive(Debug, Error)]
pub enum Error {
    /// There is a configuration already; no request was sent.
    #[error("Already provisioned")]
    AlreadyProvisioned,
    /// The server refused; shown in its own words.
    #[error("{0}")]
    Refused(ServerRefusal),
    /// Nothing came in time.
    #[error("Connection timed out")]
    TimedOut,
    /// There was no connection, or none that can be trusted, or it broke.
    #[error("Failed to connect to server: {0}")]
    Unreachable(String),
    /// The answer is not one to a claim.
    #[error("Unexpected error: {0}")]
    Unexpected(String),
    /// The files cannot be written. If that came up after the server had agreed, the same claim can be made again.
    #[error(transparent)]
    Files(#[from] FileError),
}

/// Whether an appliance with that folder has to claim a code: there is no configuration in it.
///
/// A folder that cannot be read is an error, neither yes nor no.
pub fn needs_provisioning(folder: &Path) -> Result<bool, FileError> {
    let config = folder.join(CONFIG);
    config.try_exists().map(|there| !there).map_err(FileError::system("looking for", &config))
}

/// Forgets what a claim has made of the device; says whether there was a configuration. Waits for a claim under way.
pub fn forget(folder: &Path) -> Result<bool, FileError> {
    // A device that never claimed anything need not even be able to write there.
    if NAMES.iter().all(|name| folder.join(name).symlink_metadata().is_err()) {
        return Ok(false);
    }
    let folder = Folder::make(folder)?;
    let _lock = folder.lock()?;
    folder.tidy(&NAMES)?;
    // The configuration last: a reset that is cut off is done again while it is there.
    folder.remove(CLAIM_ID)?;
    folder.remove(RECORD)?;
    folder.remove(CONFIG)
}

/// A claim to be made.
#[derive(Clone, Debug)]
pub struct Request {
    /// What the installer was given.
    pub code: ProvisionCode,
    /// Who claims it.
    pub device: Device,
    /// Where.
    pub endpoint: CommandCenterUrl,
    /// Where the configuration is written.
    pub folder: PathBuf,
    /// Even if there is a configuration already, which is then replaced; unless it came of this very code.
    pub again: bool,
    /// The current time. It may be wrong: the clock of a new device was never set.
    pub clock: fn() -> SystemTime,
}

/// What a device has become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appliance {
    /// Its identity.
    pub appliance_id: String,
    /// Where it belongs.
    pub site_id: String,
    /// Who looks after it, for people.
    pub brand_name: String,
    /// Its configuration.
    pub config: PathBuf,
}

impl Claimant {
    /// Claims a code and writes the configuration. Whatever fails, and whenever, it can be called again with the same code.
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

/// Where the outcome of a claim goes. While it lives, no other claim is made for the folder.
#[derive(Debug)]
struct Place {
    folder: Folder,
    lock: Lock,
    claim_id: ClaimId,
}

/// What a claim finds.
#[derive(Debug)]
enum Prepared {
    /// Its outcome has a place.
    Open(Place),
    /// It was made, and its outcome is stored.
    Done(Appliance),
}

/// The number of a claim.
#[derive(Debug)]
struct ClaimId {
    digits: SecretText,
    /// An earlier run of this program has used it.
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

    /// Each file is the last that it takes for the next start to find what it should: the configuration, then what it came
    /// of; the number is removed when no retry can follow.
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
            _ => Err("does not hold the number of a claim".into()),
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
