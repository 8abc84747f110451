//! The way of links and servers to the loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use provisioning_core::domain::{CommandCenterUrl, Identity, Network, RadioUse, Status};
use provisioning_core::endpoint::Endpoint;
use provisioning_core::espressif;
use provisioning_core::fault::Fault;
use provisioning_core::improv::{self, FromClient};
use provisioning_core::machine::{Answer, Link, LocalRequest, Machine};
use provisioning_core::nymea;
use provisioning_core::wire::Info;

/// Messages that may wait for a slow phone before its link is closed.
const OUTBOUND_QUEUE: usize = 64;

/// How often a link that a connection carries reports that its phone is present.
pub const PRESENCE: Duration = Duration::from_secs(30);

/// The loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the daemon is stopping")]
pub struct Stopping;

/// A snapshot for any number of readers, which do not wait for the loop.
#[derive(Clone, Debug)]
pub struct View {
    /// The public information about the node.
    pub info: Info,
    /// The node's identity.
    pub identity: Identity,
    /// The state of provisioning.
    pub status: Status,
    /// Where the owner continues after a success, if the settings name a page.
    pub next_url: Option<CommandCenterUrl>,
    /// The last list of networks, in the order of the adapter.
    pub networks: Vec<Network>,
    /// The link of the phone that has the session.
    pub session: Option<Link>,
    /// Whether provisioning needs the radio.
    pub needs_radio: bool,
    /// What everyone may know of Improv; none if it is not served.
    pub improv: Option<improv::Shown>,
    /// What everyone may know of nymea's services; none if they are not served.
    pub nymea: Option<nymea::Shown>,
    /// The device shows which one it is.
    pub is_identifying: bool,
}

impl From<&Machine> for View {
    fn from(machine: &Machine) -> Self {
        Self {
            info: machine.info(),
            identity: machine.identity().clone(),
            status: machine.status().clone(),
            next_url: machine.next_url().cloned(),
            networks: machine.networks().to_vec(),
            session: machine.session_link(),
            needs_radio: machine.needs_radio(),
            improv: machine.improv(),
            nymea: machine.nymea(),
            is_identifying: machine.is_identifying(),
        }
    }
}

/// An event from a link. Each is a call of [`Handle`].
#[allow(missing_docs, reason = "the calls hold the documentation; goes when an event says more than its call")]
pub enum Event {
    Opened { link: Link, outbound: mpsc::Sender<Vec<u8>> },
    Received { link: Link, endpoint: Endpoint, message: Vec<u8> },
    Espressif { link: Link, endpoint: espressif::Endpoint, message: Vec<u8> },
    Improv { link: Link, from: FromClient },
    Nymea { link: Link, from: nymea::FromClient },
    InvalidMessage { link: Link, fault: Fault },
    Present { link: Link },
    Closed { link: Link },
    ClearRequest { request: LocalRequest, answer: oneshot::Sender<Answer> },
    LocalRequest { request: LocalRequest, answer: oneshot::Sender<Answer> },
    Bluetooth { available: bool },
    RadioTaken { taken: bool },
    AccessPoint { open: bool },
}

/// The loop's end of a [`Handle`].
#[derive(Debug)]
pub struct Ends {
    /// The events of links; none when every handle is dropped.
    pub events: mpsc::Receiver<Event>,
    /// The snapshot for readers.
    pub view: watch::Sender<Arc<View>>,
    /// Whether to advertise over Bluetooth.
    pub advertising: watch::Sender<bool>,
}

/// A way to the loop; clones share it.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) advertising: watch::Receiver<bool>,
    pub(super) links: Arc<AtomicU64>,
    /// The number of requests of phones.
    requests: watch::Sender<u64>,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Event(..)")
    }
}

impl Handle {
    /// A handle and the loop's end of it. `queue` events may wait for the loop; more make their senders wait.
    pub fn channel(queue: usize, view: View) -> (Self, Ends) {
        let (event, events) = mpsc::channel(queue);
        let (view, view_receiver) = watch::channel(Arc::new(view));
        let (advertising, advertising_receiver) = watch::channel(false);
        let handle = Self {
            events: event,
            view: view_receiver,
            advertising: advertising_receiver,
            links: Arc::default(),
            requests: watch::Sender::new(0),
        };
        (handle, Ends { events, view, advertising })
    }

    /// A phone has connected. What the node sends it arrives at the receiver, an encoded
    /// [`Outbound`](provisioning_core::wire::Outbound) each; the receiver ends when the node closes the link.
    pub async fn open(&self) -> Result<(Link, mpsc::Receiver<Vec<u8>>), Stopping> {
        let link = Link(self.links.fetch_add(1, Ordering::Relaxed));
        let (outbound, receiver) = mpsc::channel(OUTBOUND_QUEUE);
        self.send(Event::Opened { link, outbound }).await?;
        Ok((link, receiver))
    }

    /// A phone wrote a whole message.
    pub async fn received(&self, link: Link, endpoint: Endpoint, message: Vec<u8>) -> Result<(), Stopping> {
        self.send(Event::Received { link, endpoint, message }).await
    }

    /// One of Espressif's apps wrote a message. Its answer arrives at the link's receiver, before which the app sends no other.
    pub async fn espressif(&self, link: Link, endpoint: espressif::Endpoint, message: Vec<u8>) -> Result<(), Stopping> {
        self.send(Event::Espressif { link, endpoint, message }).await
    }

    /// A client of Improv has connected, or wrote a value. What it is notified of arrives at the link's receiver, an encoded
    /// [`Notice`](improv::Notice) each.
    pub async fn improv(&self, link: Link, from: FromClient) -> Result<(), Stopping> {
        self.send(Event::Improv { link, from }).await
    }

    /// A client of nymea's has connected, or wrote a value. What it is notified of arrives at the link's receiver, an encoded
    /// [`Notice`](nymea::Notice) each.
    pub async fn nymea(&self, link: Link, from: nymea::FromClient) -> Result<(), Stopping> {
        self.send(Event::Nymea { link, from }).await
    }

    /// A phone wrote bytes that are not a message, or a message that is too large.
    pub async fn invalid_message(&self, link: Link, fault: Fault) -> Result<(), Stopping> {
        self.send(Event::InvalidMessage { link, fault }).await
    }

    /// A phone is still connected, or asks for messages. Said again before [`Machine`](provisioning_core::machine::Machine)
    /// takes its silence for absence.
    pub async fn present(&self, link: Link) -> Result<(), Stopping> {
        self.send(Event::Present { link }).await
    }

    /// A phone has disconnected.
    pub async fn closed(&self, link: Link) -> Result<(), Stopping> {
        self.send(Event::Closed { link }).await
    }

    /// Sends a request in clear, which anyone on the network can make. Waits only where the answer is a promise: for the
    /// disk, and for the radio in a factory reset.
    pub async fn ask(&self, request: LocalRequest) -> Result<Answer, Stopping> {
        let (answer, receiver) = oneshot::channel();
        self.send(Event::ClearRequest { request, answer }).await?;
        receiver.await.map_err(|_| Stopping)
    }

    /// Sends a request of a person at the node: from a button or the command line. Unlike [`ask`](Self::ask), it is not
    /// refused because a phone has the session.
    pub async fn ask_locally(&self, request: LocalRequest) -> Result<Answer, Stopping> {
        let (answer, receiver) = oneshot::channel();
        self.send(Event::LocalRequest { request, answer }).await?;
        receiver.await.map_err(|_| Stopping)
    }

    /// The Bluetooth adapter appeared or disappeared.
    pub async fn bluetooth(&self, available: bool) -> Result<(), Stopping> {
        self.send(Event::Bluetooth { available }).await
    }

    /// Reports to the loop whether another program's connection uses the radio, until the loop or the radio has ended.
    pub async fn follow_radio(self, radio: watch::Receiver<RadioUse>) {
        self.report_changes(radio, |used| used.other().is_some(), |taken| Event::RadioTaken { taken }).await;
    }

    /// Reports to the loop whether the access point is open, which network care opens as well, so that an attempt in it ends
    /// in it; until the loop or the radio has ended.
    pub async fn follow_access_point(self, radio: watch::Receiver<RadioUse>) {
        self.report_changes(radio, |used| used.access_point().is_some(), |open| Event::AccessPoint { open }).await;
    }

    /// Reports a fact about the radio, which is false at first, after each of its changes.
    async fn report_changes(self, mut radio: watch::Receiver<RadioUse>, fact: fn(&RadioUse) -> bool, event: fn(bool) -> Event) {
        let mut reported = false;
        loop {
            let now = fact(&radio.borrow_and_update());
            if now != reported && self.send(event(now)).await.is_err() {
                return;
            }
            reported = now;
            if radio.changed().await.is_err() {
                return;
            }
        }
    }

    /// The number of requests of phones so far, and its changes. Requests for snapshots do not count.
    pub fn requests(&self) -> watch::Receiver<u64> {
        self.requests.subscribe()
    }

    /// The current snapshot. Never waits.
    pub fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    /// The snapshot and its changes.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Whether to advertise over Bluetooth, and its changes.
    pub fn advertising(&self) -> watch::Receiver<bool> {
        self.advertising.clone()
    }

    async fn send(&self, event: Event) -> Result<(), Stopping> {
        if !matches!(event, Event::Closed { .. } | Event::Bluetooth { .. } | Event::AccessPoint { .. }) {
            self.requests.send_modify(|number| *number += 1);
        }
        self.events.send(event).await.map_err(|_| Stopping)
    }
}

#[cfg(test)]
mod tests {
    use provisioning_core::machine::AccessPointPolicy;
    use testing_node::scripted;

    use super::*;

    #[tokio::test]
    async fn the_loop_is_told_when_others_take_and_release_the_radio() {
        let machine = Machine::new(scripted::config(AccessPointPolicy::Never), scripted::boot(), Duration::ZERO);
        let (handle, mut ends) = Handle::channel(1, View::from(&machine));
        let (radio, receiver) = watch::channel(RadioUse::Idle);
        let following = tokio::spawn(handle.follow_radio(receiver));
        let other = RadioUse::Other { interface: "wlan0".into() };
        for (used, reported) in [(other.clone(), true), (RadioUse::Station { interface: "wlan0".into() }, false), (other, true)] {
            radio.send_replace(used);
            let event = ends.events.recv().await.expect("an event");
            assert!(matches!(event, Event::RadioTaken { taken } if taken == reported));
        }
        drop(radio);
        following.await.expect("it ends with the radio");
    }
}
