//! The device's own panel: what other software on the device, a light and a button see and do.
//!
//! [`Panel`] combines the snapshots of provisioning, of network care and of the radio into one, [`Shown`], and is the way to
//! the operations of a person at the device. Its users are adapters:
//!
//! | module | what it holds |
//! |---|---|
//! | [`dbus`] | the object `org.jarvis.Provisioning1` on the system bus |
//! | [`led`] | a light, through `/sys/class/leds` |
//! | [`button`] | a button that resets or authorizes the node |

pub mod button;
pub mod dbus;
pub mod led;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;

use crate::care::port::{self, Care};
use crate::daemon::{Handle, View};
use provisioning_core::care::diagnosis::Evidence;
use provisioning_core::domain::{RadioUse, State};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Answer, LocalRequest};
use provisioning_core::panel::button::Press;
use provisioning_core::panel::light::Connectivity;

/// Collects the evidence for a diagnosis.
pub type Diagnose = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Evidence> + Send>> + Send + Sync>;

/// What the panel shows. Contains no secret: every user of the device may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The name on the label.
    pub name: String,
    /// The identity at the command center.
    pub node_id: String,
    /// The state of provisioning.
    pub state: State,
    /// 0 to 100.
    pub progress: u8,
    /// One sentence about the state, for people.
    pub message: String,
    /// How the last attempt ended: empty if there was none, `Succeeded`, or the name of the fault.
    pub last_outcome: &'static str,
    /// Why the last attempt failed, for people; empty if it did not.
    pub failure: &'static str,
    /// The node is provisioned.
    pub is_provisioned: bool,
    /// A phone has the session.
    pub has_phone: bool,
    /// The network that the node is in, as far as known; control characters and invalid bytes are replaced.
    pub network: String,
    /// The node's address in it, or in its access point; empty if unknown.
    pub address: String,
    /// What is known about the connection.
    pub connectivity: Connectivity,
    /// How far the press of a button is.
    pub press: Press,
    /// The device shows which one it is.
    pub is_identifying: bool,
}

/// Where the panel's content comes from, and how its operations are done. Clones share it.
#[derive(Clone)]
pub struct Panel {
    handle: Handle,
    care: Option<Care>,
    radio: watch::Receiver<RadioUse>,
    press: watch::Sender<Press>,
    diagnose: Diagnose,
}

/// Why an operation has failed. The text is for people.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The operation has failed. A reset that has begun is completed by itself.
    #[error("{0}")]
    Failed(Fault),
    /// Network care refuses it, or has failed.
    #[error(transparent)]
    Care(port::Error),
    /// The settings do not enable network care.
    #[error("network care is not enabled in the settings")]
    WithoutCare,
    /// The settings enable no protocol that has no secret.
    #[error(
        "there is nothing to authorize: set `enabled = true` under [improv] or [nymea] in the settings of the node, and restart it"
    )]
    NothingToAuthorize,
    /// The program is ending.
    #[error("the node is stopping")]
    Stopping,
}

impl From<port::Error> for Error {
    fn from(error: port::Error) -> Self {
        match error {
            port::Error::Failed(fault) => Self::Failed(fault),
            port::Error::Stopping => Self::Stopping,
            other => Self::Care(other),
        }
    }
}

impl Panel {
    /// The panel of a node. `radio` says what the radio is used for.
    pub fn new(handle: Handle, care: Option<Care>, radio: watch::Receiver<RadioUse>, diagnose: Diagnose) -> Self {
        Self { handle, care, radio, press: watch::Sender::new(Press::None), diagnose }
    }

    /// What is shown, and its changes.
    pub fn shown(&self) -> Changes {
        let sources = Sources {
            views: self.handle.views(),
            care: self.care.as_ref().map(Care::changes),
            radio: self.radio.clone(),
            press: self.press.subscribe(),
        };
        Changes::new(sources)
    }

    /// How far the press of a button is. With several buttons the last change counts.
    fn pressed(&self, press: Press) {
        self.press.send_if_modified(|shown| std::mem::replace(shown, press) != press);
    }

    /// Deletes everything that the owner has given, for a person at the device. Returns when it is complete, or has failed.
    pub async fn reset(&self) -> Result<(), Error> {
        if let Some(care) = &self.care {
            return Ok(care.factory_reset().await?);
        }
        match self.handle.ask_locally(LocalRequest::Reset).await {
            Ok(Answer::Refused(fault) | Answer::ResetIncomplete(fault)) => Err(Error::Failed(fault)),
            Ok(_) => Ok(()),
            Err(_) => Err(Error::Stopping),
        }
    }

    /// Permits clients that have no secret to give the node its network, for a minute.
    pub async fn authorize(&self) -> Result<(), Error> {
        match self.handle.ask_locally(LocalRequest::Authorize).await {
            Ok(Answer::Authorized) => Ok(()),
            Ok(Answer::Refused(fault)) => Err(Error::Failed(fault)),
            Ok(_) => Err(Error::NothingToAuthorize),
            Err(_) => Err(Error::Stopping),
        }
    }

    /// Collects the evidence for a diagnosis. Changes nothing.
    pub fn diagnose(&self) -> impl Future<Output = Evidence> + Send + use<> {
        (self.diagnose)()
    }

    /// Starts a recovery of the network, and returns when it has started.
    pub async fn recover(&self) -> Result<(), Error> {
        Ok(self.care()?.recover().await?)
    }

    /// Opens or closes the hotspot.
    pub async fn hotspot(&self, open: bool) -> Result<(), Error> {
        Ok(self.care()?.hotspot(open).await?)
    }

    fn care(&self) -> Result<&Care, Error> {
        self.care.as_ref().ok_or(Error::WithoutCare)
    }
}

/// What is shown, and its changes. A reader that is slow misses values in between, and never the last one.
#[derive(Debug)]
pub struct Changes {
    sources: Sources,
    last: Shown,
}

/// The snapshots that are combined.
#[derive(Debug)]
struct Sources {
    views: watch::Receiver<Arc<View>>,
    care: Option<watch::Receiver<Arc<port::Status>>>,
    radio: watch::Receiver<RadioUse>,
    press: watch::Receiver<Press>,
}

impl Changes {
    fn new(mut sources: Sources) -> Self {
        let last = sources.read("");
        Self { sources, last }
    }

    /// The last value.
    pub const fn last(&self) -> &Shown {
        &self.last
    }

    /// Waits for another value; none when the program is ending. Cancel-safe.
    pub async fn next(&mut self) -> Option<&Shown> {
        loop {
            self.sources.changed().await?;
            let shown = self.sources.read(self.last.last_outcome);
            if shown != self.last {
                self.last = shown;
                return Some(&self.last);
            }
        }
    }
}

impl Sources {
    /// Waits for a change of one of them; none when the loop of provisioning has ended.
    async fn changed(&mut self) -> Option<()> {
        let Self { views, care, radio, press } = self;
        let care = async {
            match care {
                Some(care) => care.changed().await,
                None => pending().await,
            }
        };
        tokio::select! {
            changed = views.changed() => changed.ok(),
            // The others may end before, and then change no more.
            Ok(()) = care => Some(()),
            Ok(()) = radio.changed() => Some(()),
            Ok(()) = press.changed() => Some(()),
        }
    }

    /// Their combination. `before` is the last outcome so far.
    fn read(&mut self, before: &'static str) -> Shown {
        let view = self.views.borrow_and_update().clone();
        let care = self.care.as_mut().map(|care| care.borrow_and_update().clone());
        let radio = self.radio.borrow_and_update().clone();
        let press = *self.press.borrow_and_update();
        Shown { press, ..shown(&view, care.as_deref(), &radio, before) }
    }
}

/// The combination of the snapshots. `before` is the last outcome so far, which stays while an attempt runs.
fn shown(view: &View, care: Option<&port::Status>, radio: &RadioUse, before: &'static str) -> Shown {
    let status = &view.status;
    let is_provisioned = view.info.previously_provisioned;
    let state = status.state();
    let last_outcome = match (&status.failure, state) {
        (Some(failure), _) => failure.fault.name(),
        (None, State::Provisioned | State::Online) => SUCCEEDED,
        // The node has started after a success.
        (None, State::ApMode) if is_provisioned => SUCCEEDED,
        (None, State::ApMode) => "",
        (None, State::Connecting | State::Registering | State::Error) => before,
    };
    let care = care.map(|status| &status.network);
    let access_point = radio.access_point().map(|access_point| access_point.address);
    let connectivity = match care {
        _ if access_point.is_some() => Connectivity::AccessPoint,
        None => Connectivity::Unknown,
        Some(network) if network.hotspot_open => Connectivity::AccessPoint,
        Some(network) if !network.connected => Connectivity::Offline,
        Some(network) if !network.internet => Connectivity::Limited,
        Some(_) => Connectivity::Online,
    };
    let joined = care.filter(|network| network.connected && !network.hotspot_open);
    Shown {
        name: view.info.name.clone(),
        node_id: view.info.node_id.clone(),
        state,
        progress: status.progress(),
        message: status.public_message(),
        last_outcome,
        failure: status.failure.as_ref().map(|failure| failure.fault.text()).unwrap_or_default(),
        is_provisioned,
        has_phone: view.session.is_some(),
        network: joined
            .and_then(|network| network.last_ssid.as_ref())
            .map(|ssid| readable(&ssid.to_string()))
            .unwrap_or_default(),
        address: access_point.or(joined.and_then(|network| network.ipv4_address)).map(|ip| ip.to_string()).unwrap_or_default(),
        connectivity,
        press: Press::None,
        is_identifying: view.is_identifying,
    }
}

/// The last outcome after a success.
const SUCCEEDED: &str = "Succeeded";

/// A text without control characters, which a screen would obey.
fn readable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}
