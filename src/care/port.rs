//! The port to network care: what servers and commands request of the caretaker, and its state.
//!
//! [`Care`] is their end, [`Ends`] is the caretaker's. The last [`Status`] is read without waiting. A request waits for its
//! result, and is completed even if its caller no longer waits: a client that disconnects interrupts no change of the radio.
//!
//! What the owner has given, and the pairing secrets, belong to provisioning. Requests for them go to
//! [`daemon`](crate::daemon), and not to the caretaker.

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use super::events::{Action, Events, Level, News, Phase};
use crate::daemon::{Handle, Stopping};
use provisioning_core::care::condition::{Condition, Facts, Mode};
use provisioning_core::care::diagnosis::Evidence;
use provisioning_core::care::recovery::{Lock, Outcome};
use provisioning_core::domain::{Pairing, Passphrase, Security, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Answer, LocalRequest};
use provisioning_core::secret::SecretText;

/// Requests that may wait for the caretaker; further callers wait.
const QUEUE: usize = 16;

/// The state of the node's network, and of what watches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What the node is for at the moment.
    pub mode: Mode,
    /// The node's name in its network.
    pub hostname: String,
    /// The network.
    pub network: NetworkStatus,
    /// Recovery.
    pub recovery: RecoveryStatus,
    /// A restart was requested and has not happened.
    pub restart_pending: bool,
    /// Why the last restart was requested.
    pub last_restart_reason: Option<String>,
    /// NetworkManager answers.
    pub network_manager: bool,
}

/// The state of the node's network, as the last check has found it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the existing system's status; goes when that changes")]
pub struct NetworkStatus {
    /// The node has been given a network.
    pub provisioned: bool,
    /// It is in a network.
    pub connected: bool,
    /// The network that it was in last.
    pub last_ssid: Option<Ssid>,
    /// The name of its hotspot.
    pub hotspot_ssid: String,
    /// The name of the hotspot's profile in NetworkManager.
    pub hotspot_profile: String,
    /// The Wi-Fi interface.
    pub interface: String,
    /// The hotspot is open.
    pub hotspot_open: bool,
    /// The name of the active profile in NetworkManager.
    pub active_connection: Option<String>,
    /// The node's address.
    pub ipv4_address: Option<Ipv4Addr>,
    /// The router's address.
    pub gateway: Option<Ipv4Addr>,
    /// The internet is reachable, as far as known.
    pub internet: bool,
    /// Why the last operation has failed, for people.
    pub last_error: Option<String>,
}

/// The state of recovery. Its times are those of the node's clock when the status was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryStatus {
    /// The settings allow it.
    pub enabled: bool,
    /// Bad checks in a row that start a recovery.
    pub threshold: u32,
    /// The time after a recovery in which none starts.
    pub cooldown: Duration,
    /// Bad checks in a row.
    pub bad_checks: u32,
    /// When the last recovery started.
    pub last_attempt: Option<SystemTime>,
    /// When the node last came back to a network.
    pub last_recovered: Option<SystemTime>,
    /// How the last recovery ended.
    pub outcome: Outcome,
    /// When the cooldown ends.
    pub cooldown_until: Option<SystemTime>,
    /// What keeps a recovery from starting.
    pub lock: Lock,
    /// Why the last recovery started or failed, for people.
    pub last_reason: Option<String>,
}

impl Status {
    /// Phase, health and warnings.
    pub fn condition(&self) -> Condition {
        Condition::from(Facts {
            mode: self.mode,
            restart_pending: self.restart_pending,
            provisioned: self.network.provisioned,
            connected: self.network.connected,
            hotspot: self.network.hotspot_open,
            internet: self.network.internet,
            network_manager: self.network_manager,
        })
    }
}

/// A network in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its name.
    pub ssid: Ssid,
    /// Received strength, percent.
    pub signal: u8,
    /// Its protection.
    pub security: Security,
    /// The node is in it.
    pub in_use: bool,
}

/// A network that the node can join by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The name of its profile in NetworkManager, by which it is forgotten.
    pub name: String,
    /// The profile's UUID.
    pub uuid: Option<String>,
    /// The node joins it without a request.
    pub autoconnect: bool,
    /// The node is in it.
    pub active: bool,
}

/// A network to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// Its name.
    pub ssid: Ssid,
    /// Its passphrase; empty for an open network, or for one that is saved.
    pub passphrase: Passphrase,
    /// It does not send its name.
    pub hidden: bool,
}

/// What to restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// This program.
    #[default]
    Program,
    /// The device.
    Device,
}

/// The pairing code: the one with which a phone opens a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingCode {
    /// Six digits.
    pub code: SecretText,
    /// The identity of the device, which nothing changes.
    pub device_id: String,
    /// The name on the label.
    pub name: String,
}

/// What the label shows for pairing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The name of the device.
    pub name: String,
    /// The pairing secrets.
    pub pairing: Pairing,
}

impl PairingCode {
    /// What no longer works after a renewal, for people.
    pub fn void_label(&self) -> String {
        format!(
            "The label of {} is void: its code and its pairing QR code no longer work. Print a new one with \
             `jarvis-provision label`. The name and the password of the access point have not changed.",
            self.name
        )
    }
}

/// Why a request has failed. The text is for people; the cause is logged by the caretaker.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The settings forbid recovery.
    #[error("recovery is disabled")]
    RecoveryDisabled,
    /// The last recovery ended a short time ago.
    #[error("recovery is in cooldown until {}", milliseconds(*.0))]
    RecoveryCooldown(SystemTime),
    /// A recovery is in progress.
    #[error("recovery already in progress")]
    RecoveryInProgress,
    /// Provisioning has the radio.
    #[error("provisioning has the radio: provision the device first, or wait until its phone has finished")]
    Provisioning,
    /// A request of another client is in progress.
    #[error("the device is busy with another request")]
    Busy,
    /// There is no saved network of this name.
    #[error("no saved network has this name")]
    UnknownNetwork,
    /// The network gives no access to the internet; the node has left it.
    #[error("connected to WiFi but internet access is not available")]
    NoInternet,
    /// The settings forbid restarts.
    #[error("restarts are not allowed by the device's settings")]
    RestartForbidden,
    /// The system has not accepted the restart, or it has not happened in time.
    #[error("the restart was refused or has not happened; the journal says why")]
    RestartRefused,
    /// The operation has failed.
    #[error("{0}")]
    Failed(Fault),
    /// The caretaker did not do it: it has ended.
    #[error("network care is stopping")]
    Stopping,
}

/// Milliseconds since 1970.
fn milliseconds(time: SystemTime) -> u128 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

/// Takes the result of a request.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<Result<T, Error>>);

impl<T> Reply<T> {
    /// The request has ended. Its caller may no longer wait.
    pub fn send(self, result: Result<T, Error>) {
        // Nothing depends on whether the caller waits.
        let _unread = self.0.send(result);
    }
}

/// A request to the caretaker. Each is a method of [`Care`].
#[derive(Debug)]
#[allow(missing_docs, reason = "the methods hold the documentation; goes when a request says more than its method")]
pub enum Request {
    Scan(Reply<Vec<Seen>>),
    Saved(Reply<Vec<Saved>>),
    Connect(Join, Reply<()>),
    Forget(String, Reply<()>),
    Hotspot { open: bool, reply: Reply<()> },
    Recover(Reply<()>),
    Diagnose(Reply<Box<Evidence>>),
    Restart { reason: String, scope: Scope, reply: Reply<()> },
    Rollback { reason: String, reply: Reply<()> },
}

/// The caretaker's end of a [`Care`].
#[derive(Debug)]
pub struct Ends {
    /// The requests; none when every [`Care`] is dropped.
    pub requests: mpsc::Receiver<Request>,
    /// The state for readers.
    pub status: watch::Sender<Arc<Status>>,
    /// The log of events.
    pub events: Events,
}

/// The way to the caretaker; clones share it.
#[derive(Clone, Debug)]
pub struct Care {
    requests: mpsc::Sender<Request>,
    status: watch::Receiver<Arc<Status>>,
    events: Events,
    daemon: Handle,
}

impl Care {
    /// The way to a caretaker, and the caretaker's end of it. `daemon` is the way to provisioning.
    pub fn channel(status: Status, events: Events, daemon: Handle) -> (Self, Ends) {
        let (request, requests) = mpsc::channel(QUEUE);
        let (sender, receiver) = watch::channel(Arc::new(status));
        let care = Self { requests: request, status: receiver, events: events.clone(), daemon };
        (care, Ends { requests, status: sender, events })
    }

    /// The last state.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }

    /// The states, for a reader that waits for changes.
    pub fn changes(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// The log of events.
    pub const fn events(&self) -> &Events {
        &self.events
    }

    /// Scans for networks.
    pub async fn scan(&self) -> Result<Vec<Seen>, Error> {
        self.ask(Request::Scan).await
    }

    /// Lists the saved Wi-Fi networks, without the hotspot.
    pub async fn saved(&self) -> Result<Vec<Saved>, Error> {
        self.ask(Request::Saved).await
    }

    /// Joins a network and saves it. If it does not work or gives no access to the internet, the node returns to what it
    /// did before, which takes its own time: it does not depend on how long the join took.
    pub async fn connect(&self, join: Join) -> Result<(), Error> {
        self.ask(|reply| Request::Connect(join, reply)).await
    }

    /// Deletes the saved network whose profile has this name.
    pub async fn forget(&self, name: String) -> Result<(), Error> {
        self.ask(|reply| Request::Forget(name, reply)).await
    }

    /// Opens or closes the hotspot. Nothing changes if it is so already.
    pub async fn hotspot(&self, open: bool) -> Result<(), Error> {
        self.ask(|reply| Request::Hotspot { open, reply }).await
    }

    /// Starts a recovery, and returns when it has started.
    pub async fn recover(&self) -> Result<(), Error> {
        self.ask(Request::Recover).await
    }

    /// Collects the evidence for a diagnosis. Changes nothing.
    pub async fn diagnose(&self) -> Result<Evidence, Error> {
        self.ask(Request::Diagnose).await.map(|evidence| *evidence)
    }

    /// Restarts the program or the device. Returns before it happens.
    pub async fn restart(&self, reason: String, scope: Scope) -> Result<(), Error> {
        self.ask(|reply| Request::Restart { reason, scope, reply }).await
    }

    /// Opens the hotspot and waits for another network. `reason` is shown as the last error.
    pub async fn rollback(&self, reason: String) -> Result<(), Error> {
        self.ask(|reply| Request::Rollback { reason, reply }).await
    }

    /// Deletes everything that the owner has given. Returns when it is complete, or has failed. For a person at the node, or
    /// with the token of its API.
    pub async fn factory_reset(&self) -> Result<(), Error> {
        let care = self.clone();
        // A task, because the events must be complete even if the caller no longer waits.
        let reset = async move { care.reset(care.daemon.ask_locally(LocalRequest::Reset)).await };
        tokio::spawn(reset).await.unwrap_or(Err(Error::Stopping))
    }

    /// The same for a caller that has proven nothing: refused while a phone has the session, or after it had it.
    pub async fn factory_reset_in_clear(&self) -> Result<(), Error> {
        let care = self.clone();
        let reset = async move { care.reset(care.daemon.ask(LocalRequest::Reset)).await };
        tokio::spawn(reset).await.unwrap_or(Err(Error::Stopping))
    }

    /// The pairing code, and the identity of the device.
    pub async fn pairing_code(&self) -> Result<PairingCode, Error> {
        self.pairing(LocalRequest::PairingCode).await
    }

    /// What the label shows for pairing.
    pub async fn label(&self) -> Result<Label, Error> {
        match self.daemon.ask_locally(LocalRequest::Pairing).await {
            Ok(Answer::Pairing(pairing)) => Ok(Label { name: self.daemon.view().identity.name(), pairing }),
            Ok(_) => Err(Error::Busy),
            Err(_) => Err(Error::Stopping),
        }
    }

    /// Replaces the pairing secrets. The new code is stored when this returns.
    pub async fn renew_pairing_code(&self) -> Result<PairingCode, Error> {
        self.pairing(LocalRequest::RenewPairing).await
    }

    async fn pairing(&self, request: LocalRequest) -> Result<PairingCode, Error> {
        match self.daemon.ask_locally(request).await {
            Ok(Answer::PairingCode(code)) => {
                let identity = &self.daemon.view().identity;
                Ok(PairingCode { code, device_id: identity.device_id(), name: identity.name() })
            }
            Ok(Answer::Refused(fault)) => Err(Error::Failed(fault)),
            Ok(_) => Err(Error::Busy),
            Err(_) => Err(Error::Stopping),
        }
    }

    async fn reset(&self, answer: impl Future<Output = Result<Answer, Stopping>>) -> Result<(), Error> {
        let announce = |phase, level, message: &str| {
            self.events.publish(News::action(Action::FactoryReset, phase, level, message).with_status(self.status()));
        };
        announce(Phase::Started, Level::Warning, "Factory reset started");
        let result = match answer.await {
            Ok(Answer::Reset(_)) => Ok(()),
            Ok(Answer::Refused(fault) | Answer::ResetIncomplete(fault)) => Err(Error::Failed(fault)),
            Ok(_) => Err(Error::Busy),
            Err(_) => Err(Error::Stopping),
        };
        match &result {
            Ok(()) => announce(Phase::Completed, Level::Success, "Factory reset completed"),
            Err(error) => announce(Phase::Failed, Level::Error, &format!("Factory reset failed: {error}")),
        }
        result
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Error> {
        let (sender, result) = oneshot::channel();
        self.requests.send(request(Reply(sender))).await.map_err(|_| Error::Stopping)?;
        result.await.unwrap_or(Err(Error::Stopping))
    }
}
