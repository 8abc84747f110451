//! The steps for each device; devices are processed concurrently.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;
use tokio::task::JoinSet;

use crate::image::{Image, LabelError, Layout, PrepareError, Prepared};
use crate::ledger::{Error as LedgerError, Ledger, Record};
use crate::serial::Device;
use jarvis_provisioning::label::Label;
use jarvis_provisioning::login::{Api, ApiError, Creation, Login, TreeError};
use provisioning_core::fault::chain;

/// Concurrent devices per concurrent request, so that disk and server work at the same time.
const WIDTH: usize = 4;

/// The configuration of a run.
#[derive(Debug)]
pub struct Batch {
    /// The server.
    pub api: Api,
    /// The ledger.
    pub ledger: Ledger,
    /// The files in the images.
    pub layout: Layout,
    /// Set new passwords for accounts that deployed devices may use.
    pub reissue: bool,
    /// Send the password of a complete device to the server again.
    pub confirm: bool,
    /// Log in as each device at the end.
    pub verify: bool,
}

/// The result for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The account is new.
    Created,
    /// The account existed, and has the password in the tree.
    Updated,
    /// The device was complete; nothing was changed.
    Already,
    /// The device is not complete, for this reason.
    Failed(String),
    /// The run ended before this device.
    NotTried,
}

/// The full result for one device.
#[derive(Clone, Debug)]
pub struct Report {
    /// The device.
    pub device: Device,
    /// The result.
    pub outcome: Outcome,
    /// SHA-256 of its `device.conf`, hexadecimal, if the device is complete.
    pub device_conf: Option<String>,
    /// SHA-256 of its pairing file, hexadecimal, if the device is complete and has one.
    pub pairing: Option<String>,
    /// The pairing secrets are new: a label printed before is invalid.
    pub has_new_label: bool,
    /// All written files have the configured owner.
    pub is_owned: bool,
}

impl Report {
    fn without_files(device: Device, outcome: Outcome) -> Self {
        Self { device, outcome, device_conf: None, pairing: None, has_new_label: false, is_owned: true }
    }

    /// Whether the image can log in.
    pub const fn is_done(&self) -> bool {
        matches!(self.outcome, Outcome::Created | Outcome::Updated | Outcome::Already)
    }
}

/// The action of a run for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Create the account and the files.
    Create,
    /// Resume an interrupted run.
    Resume,
    /// Set a new password for its account.
    Reissue,
    /// Nothing: the device is complete.
    Nothing,
    /// Fail, for this reason.
    Fail(String),
}

/// Why a device is not complete.
#[derive(Debug, Error)]
pub enum Failure {
    /// The device may be in use.
    #[error("the device has shipped and a new password would lock it out; if it was returned, use --reissue")]
    Shipped,
    /// The account may belong to another device, or to this one, deployed.
    #[error(
        "the account {0} exists and was not created with this ledger; a new password would lock out a device that uses it. If none \
         does, use --reissue"
    )]
    Taken(String),
    /// The server stored the password but rejects it at login.
    #[error("the server does not let it log in with its new password")]
    NoLogin,
    /// The server has no login endpoint.
    #[error("the server has no login endpoint: omit --verify")]
    CannotVerify,
    /// Its tree is unusable.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The system provides no random numbers.
    #[error("generating a secret")]
    Random(#[from] getrandom::Error),
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A request failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The program is being stopped.
    #[error("the program is being stopped")]
    Stopped(#[from] tokio::task::JoinError),
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Tree(error) => Self::Tree(error),
            PrepareError::Random(error) => Self::Random(error),
        }
    }
}

impl Failure {
    /// Whether every other device would fail for the same reason.
    const fn aborts_batch(&self) -> bool {
        matches!(self, Self::Ledger(_) | Self::Random(_) | Self::CannotVerify | Self::Api(ApiError::Unauthorized(_)))
    }
}

impl Batch {
    /// The action of [`run`](Self::run) for a device, as far as known without the server. Changes nothing.
    pub fn plan(&self, device: &Device) -> Plan {
        let record = self.ledger.record(&device.serial);
        if record.is_shipped() && !self.reissue {
            return Plan::Fail(Failure::Shipped.to_string());
        }
        match Image::open(device, &self.layout).and_then(|image| image.look(&record, self.ledger.api())) {
            Err(error) => Plan::Fail(chain(&error)),
            Ok(_) if self.reissue => Plan::Reissue,
            Ok(found) if found.is_complete(&self.layout) && !self.confirm => Plan::Nothing,
            Ok(found) if found.is_resumed() => Plan::Resume,
            Ok(_) => Plan::Create,
        }
    }

    /// Processes the devices and passes each report to `each` as soon as it is known. Returns the reports in the order of
    /// the devices. Ends early after a failure that every other device would have too, or if the API is stopped.
    pub async fn run(self: &Arc<Self>, devices: Vec<Device>, mut each: impl FnMut(&Report)) -> Vec<Report> {
        let width = self.api.limits().jobs * WIDTH;
        let mut reports: Vec<Option<Report>> = devices.iter().map(|_| None).collect();
        let failures = Arc::new(AtomicUsize::new(0));
        let mut waiting = devices.into_iter().enumerate();
        let mut working = JoinSet::new();
        loop {
            while working.len() < width
                && let Some((index, device)) = waiting.next()
            {
                let (batch, failures) = (self.clone(), failures.clone());
                working.spawn(async move { (index, batch.one(device, &failures).await) });
            }
            let Some(finished) = working.join_next().await else { break };
            let (index, report) = finished.expect("the task of a device neither panics nor is cancelled");
            each(&report);
            reports[index] = Some(report);
        }
        reports.into_iter().map(|report| report.expect("every device was processed")).collect()
    }

    async fn one(self: &Arc<Self>, device: Device, failures: &AtomicUsize) -> Report {
        if self.api.is_stopped() {
            return Report::without_files(device, Outcome::NotTried);
        }
        match self.provision(&device).await {
            Ok((outcome, prepared)) => {
                failures.store(0, Ordering::Relaxed);
                Report {
                    device,
                    outcome,
                    device_conf: Some(prepared.device_conf.clone()),
                    pairing: prepared.pairing.clone(),
                    has_new_label: prepared.has_new_label,
                    is_owned: prepared.is_owned,
                }
            }
            Err(Failure::Api(ApiError::Stopped)) => Report::without_files(device, Outcome::NotTried),
            Err(failure) => {
                // The server counts as down after as many failed devices in a row as it serves concurrently.
                let is_down = matches!(failure, Failure::Api(ApiError::Exhausted { .. }))
                    && failures.fetch_add(1, Ordering::Relaxed) + 1 >= self.api.limits().jobs;
                if is_down || failure.aborts_batch() {
                    self.api.stop();
                }
                Report::without_files(device, Outcome::Failed(chain(&failure)))
            }
        }
    }

    async fn provision(self: &Arc<Self>, device: &Device) -> Result<(Outcome, Arc<Prepared>), Failure> {
        let record = self.ledger.record(&device.serial);
        if record.is_shipped() && !self.reissue {
            return Err(Failure::Shipped);
        }
        let found = self.on_disk(device, move |image, api| Ok(image.look(&record, api)?)).await?;
        let record = self.ledger.record(&device.serial);
        let (is_done, is_resumed) = (found.is_done && !self.reissue, found.is_resumed() && !self.reissue);
        let is_complete = found.is_complete(&self.layout) && !self.reissue;
        if !is_complete {
            self.ledger.planned([device], self.reissue).await?;
        }
        let reissue = self.reissue;
        let prepared = Arc::new(self.on_disk(device, move |image, _| Ok(image.prepare(found, reissue)?)).await?);
        if !is_complete {
            self.ledger.written(device, prepared.device_conf.clone(), prepared.pairing.clone()).await?;
        }
        let outcome = if is_done && !self.confirm {
            Outcome::Already
        } else {
            let outcome = self.register(device, &record, is_resumed, &prepared).await?;
            let committed = prepared.clone();
            self.on_disk(device, move |image, _| Ok(image.commit(&committed)?)).await?;
            outcome
        };
        // A `device.conf` gets its name only after the server has accepted the password.
        if outcome != Outcome::Already || !record.is_registered(self.ledger.api()) {
            self.ledger.registered(device).await?;
        }
        if self.verify {
            match self.api.login(&device.account, &prepared.conf.password).await? {
                Login::Accepted(_) => {}
                Login::Rejected(_) => return Err(Failure::NoLogin),
                Login::Unknown => return Err(Failure::CannotVerify),
            }
        }
        Ok((outcome, prepared))
    }

    /// Sends the password to the server.
    async fn register(
        self: &Arc<Self>,
        device: &Device,
        record: &Record,
        is_resumed: bool,
        prepared: &Prepared,
    ) -> Result<Outcome, Failure> {
        let (account, password) = (&device.account, &prepared.conf.password);
        let Creation::Exists { perhaps_ours } = self.api.create(account, password).await? else {
            return Ok(Outcome::Created);
        };
        let is_ours = self.reissue || record.is_registered(self.ledger.api());
        if !(is_ours || is_resumed || perhaps_ours) {
            return self.refuse(device).await;
        }
        if !is_ours {
            match self.api.login(account, password).await? {
                Login::Accepted(_) => return Ok(Outcome::Created),
                Login::Rejected(_) => return self.refuse(device).await,
                Login::Unknown => {}
            }
        }
        self.api.set_password(account, password).await?;
        Ok(Outcome::Updated)
    }

    async fn refuse(self: &Arc<Self>, device: &Device) -> Result<Outcome, Failure> {
        self.ledger.refused(device).await?;
        self.on_disk(device, |image, _| Ok(image.abandon()?)).await?;
        Err(Failure::Taken(device.account.clone()))
    }

    /// Accesses a device's tree on a blocking thread, so that disk latency delays no other task.
    async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        device: &Device,
        work: impl FnOnce(&Image<'_>, &str) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (batch, device) = (self.clone(), device.clone());
        let work = move || work(&Image::open(&device, &batch.layout)?, batch.ledger.api());
        tokio::task::spawn_blocking(work).await?
    }
}

/// The label of a device, if the tree has a pairing file and the ledger records it for this device.
pub fn label(device: &Device, layout: &Layout, ledger: &Ledger) -> Result<Option<Label>, LabelError> {
    Image::open(device, layout)?.label(&ledger.record(&device.serial))
}
