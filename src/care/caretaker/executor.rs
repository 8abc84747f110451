//! The executor of the caretaker: one job at a time, recovery's commands and the owner's requests alike.
//!
//! A job that is cancelled is dropped, which ends it; the next job starts after that.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use provisioning_core::care::diagnosis::{self, Address, Association};
use provisioning_core::care::recovery::{Command, Done, Link, Observation, Radio, Sighted, Trouble};
use provisioning_core::domain::Ssid;
use provisioning_core::fault::{Fault, chain};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::care::health::{Found, Health};
use crate::care::port::{Error, Join, Scope};
use crate::care::restart;
use crate::network::{self, Inspection, Maintenance};

/// Before the internet is checked again in a network that was just joined. Three checks and their pauses end within the
/// minute that a client waits.
const INTERNET_PAUSE: Duration = Duration::from_secs(2);

/// A job, and the end of its permission: it is cancelled when the sender is dropped.
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) cancelled: oneshot::Receiver<Infallible>,
}

/// What to do.
pub(super) enum Work {
    /// A command of recovery.
    Command(Command),
    /// A request of the owner.
    Operation(Operation),
}

/// A request of the owner that may change what the radio does.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// Join a network, and store it.
    Connect(Join),
    /// Delete the stored networks of a name.
    Forget(String),
    /// Open the hotspot.
    Open,
    /// Close it.
    Close,
    /// Restart the program, which the loop does after the answer, or the device.
    Restart(Scope),
}

/// A job that has ended. There is none for a job that was cancelled.
pub(super) enum Ended {
    /// A command of recovery; a check also has what it has seen.
    Command(Done, Option<Inspection>),
    /// A request of the owner, and what was seen after it.
    Operation(Result<(), Error>, Inspection),
}

/// The radio and what is near it.
pub(super) struct Executor<N> {
    pub(super) network: Arc<N>,
    /// How a connection is checked; none in simulation.
    pub(super) health: Option<Health>,
    /// The name of the hotspot.
    pub(super) hotspot: String,
    /// The D-Bus address of another bus than the system's.
    pub(super) bus: Option<String>,
}

impl<N: Maintenance> Executor<N> {
    /// Works until the sender of jobs is dropped.
    pub(super) async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>, results: mpsc::UnboundedSender<Ended>) {
        while let Some(Job { work, cancelled }) = jobs.recv().await {
            tokio::select! {
                biased;
                _ = cancelled => debug!("a job was cancelled"),
                ended = self.execute(work) => {
                    // The receiver is dropped only when the loop has ended.
                    let _ended = results.send(ended);
                }
            }
        }
    }

    async fn execute(&mut self, work: Work) -> Ended {
        match work {
            Work::Command(command) => self.command(command).await,
            Work::Operation(operation) => {
                let result = self.operate(operation).await;
                Ended::Operation(result, self.network.inspect().await)
            }
        }
    }

    async fn command(&mut self, command: Command) -> Ended {
        let lost = command.lost();
        let done = match command {
            Command::Check { op } => {
                let (observation, seen) = self.check().await;
                return Ended::Command(op.done(observation), Some(seen));
            }
            Command::Scan { op } => match self.network.in_range().await {
                Ok(sighted) => op.done(sighted),
                Err(error) if error.hung => {
                    warn!("{}", chain(&error));
                    lost
                }
                Err(error) => {
                    debug!("{}", chain(&error));
                    op.done(Sighted::default())
                }
            },
            Command::Reconnect { op } => {
                let (seen, _) = self.check().await;
                op.done(if seen.works() { Ok(()) } else { self.join_stored(None).await })
            }
            Command::Connect { op, network } => {
                let (seen, _) = self.check().await;
                let is_in_it = seen.works() && seen.joined.as_ref() == Some(&network);
                op.done(if is_in_it { Ok(()) } else { self.join_stored(Some(&network)).await })
            }
            Command::RestartRadio { op } => op.done(self.network.restart_radio().await.map_err(|error| trouble(&error))),
            Command::OpenHotspot { op } => {
                op.done(self.network.open_access_point(&self.hotspot).await.map_err(|error| trouble(&error)))
            }
            Command::CloseHotspot { op } => op.done(self.network.close_access_point().await.map_err(|error| trouble(&error))),
        };
        Ended::Command(done, None)
    }

    async fn join_stored(&self, network: Option<&Ssid>) -> Result<(), Trouble> {
        self.network.join_stored(network).await.map_err(|error| trouble(&error))
    }

    /// Finds out what works.
    async fn check(&mut self) -> (Observation, Inspection) {
        let mut seen = self.network.inspect().await;
        let found = match &mut self.health {
            Some(health) if link(&seen, true) == Link::Up => health.check(&seen).await,
            _ => Found { router_answers: true, internet: seen.internet },
        };
        seen.internet = found.internet;
        (observation(&seen, found.router_answers), seen)
    }

    async fn operate(&mut self, operation: Operation) -> Result<(), Error> {
        match operation {
            Operation::Connect(join) => self.connect(&join).await,
            Operation::Forget(name) => self.network.delete(&name).await.map_err(|error| match error.fault {
                Fault::NetworkNotFound => Error::UnknownNetwork,
                _ => failed(&error),
            }),
            Operation::Open => self.network.open_access_point(&self.hotspot).await.map_err(|error| failed(&error)),
            Operation::Close => self.network.close_access_point().await.map_err(|error| failed(&error)),
            Operation::Restart(Scope::Program) => Ok(()),
            Operation::Restart(Scope::Device) => restart::device(self.bus.as_deref()).await.map_err(|error| {
                warn!("restarting the device: {}", chain(&error));
                Error::RestartRefused
            }),
        }
    }

    /// Joins a network. If this fails, or if it has no internet, returns to what the radio did before; the adapter's limits
    /// for that begin then.
    async fn connect(&mut self, join: &Join) -> Result<(), Error> {
        let before = self.network.inspect().await;
        // Without a passphrase, a network that is stored is meant, unless there is none: then it is an open one.
        let is_stored = join.passphrase.is_empty() && self.is_stored(&join.ssid).await;
        let joined = if is_stored { self.join_stored_network(&join.ssid).await } else { self.join(join).await };
        match &joined {
            Ok(()) => {}
            Err(Error::NoInternet) if is_stored && before.phones.is_none() => self.go_back_to(before.joined.as_ref()).await,
            Err(_) => self.go_back(before.phones.is_some()).await,
        }
        joined
    }

    async fn join_stored_network(&mut self, ssid: &Ssid) -> Result<(), Error> {
        self.network.join_stored(Some(ssid)).await.map_err(|error| failed(&error))?;
        if self.has_internet().await { Ok(()) } else { Err(Error::NoInternet) }
    }

    async fn join(&mut self, Join { ssid, passphrase, hidden }: &Join) -> Result<(), Error> {
        let joined = self.network.join(ssid, passphrase, *hidden).await.map_err(|error| failed(&error))?;
        if joined.limited_connectivity || !self.has_internet().await {
            return Err(Error::NoInternet);
        }
        self.network.keep().await.map_err(|error| failed(&error))
    }

    /// Whether a network that was just joined has internet. Its router may need some seconds to let a new client through.
    async fn has_internet(&mut self) -> bool {
        if let Some(health) = &mut self.health {
            health.forget();
        }
        for pause in [Some(INTERNET_PAUSE), Some(INTERNET_PAUSE), None] {
            let (observation, _) = self.check().await;
            if observation.has_internet() {
                return true;
            }
            if let Some(pause) = pause {
                sleep(pause).await;
            }
        }
        false
    }

    async fn is_stored(&self, ssid: &Ssid) -> bool {
        self.network.stored().await.is_ok_and(|stored| stored.iter().any(|network| network.ssid == *ssid))
    }

    /// Returns to a network, or to the hotspot if there was none or if it refuses.
    async fn go_back_to(&self, network: Option<&Ssid>) {
        if let Some(network) = network {
            match self.network.join_stored(Some(network)).await {
                Ok(()) => return,
                Err(error) => warn!("opening the hotspot, because the previous network is lost: {}", chain(&error)),
            }
        }
        self.go_back(true).await;
    }

    /// Returns to the previous network, or to the hotspot if there was none or if it refuses.
    async fn go_back(&self, had_hotspot: bool) {
        if !had_hotspot {
            match self.network.restore().await {
                Ok(()) => return,
                Err(error) => warn!("opening the hotspot, because the previous network is lost: {}", chain(&error)),
            }
        }
        if let Err(error) = self.network.open_access_point(&self.hotspot).await {
            warn!("{}", chain(&error));
        }
    }
}

/// Logs why a request of the owner has failed; returns what its caller is told.
pub(super) fn failed(error: &network::Error) -> Error {
    warn!(fault = error.fault.name(), "{}", chain(error));
    Error::Failed(error.fault)
}

fn trouble(error: &network::Error) -> Trouble {
    warn!(fault = error.fault.name(), "{}", chain(error));
    if error.hung { Trouble::Hung } else { Trouble::Failed }
}

/// What recovery has to know.
fn observation(seen: &Inspection, gateway_answers: bool) -> Observation {
    Observation {
        radio: radio(&seen.radio),
        link: link(seen, gateway_answers),
        internet: seen.internet,
        joined: seen.joined.clone(),
        hotspot: seen.phones,
    }
}

const fn radio(radio: &diagnosis::Radio) -> Radio {
    match radio {
        diagnosis::Radio::Ready(_) | diagnosis::Radio::Simulated => Radio::Ready,
        diagnosis::Radio::Unavailable(_) | diagnosis::Radio::ServiceSilent(_) => Radio::Hung,
        diagnosis::Radio::Missing
        | diagnosis::Radio::SoftBlocked
        | diagnosis::Radio::HardBlocked
        | diagnosis::Radio::Unmanaged(_)
        | diagnosis::Radio::NoFirmware(_)
        | diagnosis::Radio::ServiceAbsent => Radio::Unusable,
    }
}

const fn link(seen: &Inspection, gateway_answers: bool) -> Link {
    match (&seen.association, &seen.address) {
        (Association::None | Association::Joining(_) | Association::Hotspot, _) => Link::Down,
        (_, Address::None | Address::LinkLocal(_)) if !seen.has_ipv6 => Link::NoAddress,
        _ if gateway_answers => Link::Up,
        // The router of the IPv6 address is not probed.
        _ if seen.has_ipv6 => Link::Up,
        _ => Link::GatewaySilent,
    }
}
