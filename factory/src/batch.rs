//! The steps for each device, many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use thiserror::Error;
use tokio::task::JoinSet;

use crate::image::{Image, Layout, PrepareError, Prepared};
use crate::ledger::{Error as LedgerError, Ledger, Record};
use crate::serial::Device;
use jarvis_provisioning::label::Label;
use jarvis_provisioning::login::{Api, ApiError, Creation, Login, TreeError};
use provisioning_core::fault::chain;

/// How many devices are worked on for each request that may be under way, so that disk and server are busy together.
const WIDTH: usize = 4;

/// What a run is to do.
#[derive(Debug)]
pub struct Batch {
    /// The server.
    pub api: Api,
    /// The ledger.
    pub ledger: Ledger,
    /// What goes where in the images.
    pub layout: Layout,
    /// Give devices new passwords although their accounts may be in use in the field.
    pub reissue: bool,
    /// Tell the server the password of a device that is done already, once more.
    pub confirm: bool,
    /// Log in as each device at the end.
    pub verify: bool,
}

/// What became of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has a new account.
    Created,
    /// Its account was there, and has the password in the tree.
    Updated,
    /// It was done already; nothing was changed.
    Already,
    /// It is not done, because of this.
    Failed(String),
    /// The run ended before.
    NotTried,
}

/// What became of one device, in full.
#[derive(Clone, Debug)]
pub struct Report {
    /// The device.
    pub device: Device,
    /// What became of it.
    pub outcome: Outcome,
    /// SHA-256 of its `device.conf`, hexadecimal, if it is done.
    pub device_conf: Option<String>,
    /// SHA-256 of its pairing file, hexadecimal, if it is done and has one.
    pub pairing: Option<String>,
    /// Its pairing secrets are new: a label that was printed before is void.
    pub has_new_label: bool,
    /// What was written has the owner it should have.
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

/// What a run would do with one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Make an account and files.
    Create,
    /// Go on where an earlier run was interrupted.
    Resume,
    /// Make another password for its account.
    Reissue,
    /// Nothing: it is done.
    Nothing,
    /// Fail, because of this.
    Fail(String),
}

/// Why a device is not done.
#[derive(Debug, Error)]
pub enum Failure {
    /// It may be in use.
    #[error("it has shipped: a new password would lock it out; if it came back, say --reissue")]
    Shipped,
    /// Its account may be another device's, or this one's in the field.
    #[error(
        "the account {0} exists and was not made with this ledger: a device in use would be locked out; if not, say --reissue"
    )]
    Taken(String),
    /// The server took the password and does not accept it.
    #[error("the server does not let it log in with the password it was given")]
    NoLogin,
    /// The server has no way to log in.
    #[error("the server knows no logins: leave out --verify")]
    CannotVerify,
    /// Its tree cannot be used.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The system gives no randomness.
    #[error("making a secret")]
    Random(#[from] getrandom::Error),
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The server did not do its part.
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
    /// Every other device would fail of it as well.
    const fn is_everybodys(&self) -> bool {
        matches!(self, Self::Ledger(_) | Self::Random(_) | Self::CannotVerify | Self::Api(ApiError::Unauthorized(_)))
    }
}

impl Batch {
    /// What [`run`](Self::run) would do with a device, as far as can be known without asking the server. Changes nothing.
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

    /// Works on the devices, and tells of each as soon as it is known what became of it. The reports come back in the
    /// order of the devices. Ends early if what failed for one device would fail for all, or if the API is stopped.
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
            let (index, report) = finished.expect("no device's work panics or is cancelled");
            each(&report);
            reports[index] = Some(report);
        }
        reports.into_iter().map(|report| report.expect("every device was worked on")).collect()
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
                // A server that has failed for as many devices in a row as are worked on at once is down.
                let is_down = matches!(failure, Failure::Api(ApiError::Exhausted { .. }))
                    && failures.fetch_add(1, Ordering::Relaxed) + 1 >= self.api.limits().jobs;
                if is_down || failure.is_everybodys() {
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
        let anew = self.reissue;
        let prepared = Arc::new(self.on_disk(device, move |image, _| Ok(image.prepare(found, anew)?)).await?);
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
        // A `device.conf` has its name only because the server took it.
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

    /// Makes the server know the password.
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

    /// Works on a device's tree where waiting for the disk holds nobody up.
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

/// The label of a device whose pairing file is in its tree, if the ledger knows the file as this device's.
pub fn label(device: &Device, layout: &Layout, ledger: &Ledger) -> Result<Option<Label>, TreeError> {
    Image::open(device, layout)?.label(&ledger.record(&device.serial))
}
