//! The clients of Improv: their commands, and what the node tells them.
//!
//! Clients have no session, so any number of them sees the same state. A person at the node authorizes it for a minute; in that
//! time the first client that sends a network starts the same attempt as everyone else, without a command center. That client
//! learns its outcome; if it has left, the clients do that are there at the end, because it may be one of them.

use alloc::vec::Vec;
use core::time::Duration;

use super::attempt::Activity;
use super::authorization::LASTS;
use super::{Asker, Instant, Link, Machine, Output};
use crate::fault::Fault;
use crate::improv::{self, Command, Error, FromClient, Notice, Packet, Shown, State};

/// The values of a packet follow each other within some milliseconds. What follows later begins another one.
const PACKET_TIME: Duration = Duration::from_secs(2);
/// How long the device shows which one it is.
const IDENTIFIES: Duration = Duration::from_secs(10);
/// How long a success is advertised: clients that have found the node learn that it needs nothing more.
const FAREWELL: Duration = LASTS;

/// What there is beside the state of the node.
pub(super) struct Improv {
    clients: Vec<Client>,
    /// The state that the clients know.
    announced: State,
    /// The attempt of a client.
    attempt: Option<Attempt>,
    /// How long a success is advertised.
    farewell: Option<Instant>,
    /// How long the device shows which one it is.
    identifies: Option<Instant>,
}

struct Client {
    link: Link,
    packet: Packet,
    /// When the packet has begun.
    begun: Instant,
    room: usize,
    /// The error that it knows.
    error: Error,
}

/// An attempt whose outcome a client waits for; none if it has left.
struct Attempt {
    link: Option<Link>,
}

impl Default for Improv {
    fn default() -> Self {
        Self { clients: Vec::new(), announced: State::AuthorizationRequired, attempt: None, farewell: None, identifies: None }
    }
}

impl Improv {
    /// The client of a link, which may be new.
    fn client(&mut self, link: Link, now: Instant) -> &mut Client {
        let index = self.clients.iter().position(|client| client.link == link).unwrap_or(self.clients.len());
        if index == self.clients.len() {
            self.clients.push(Client { link, packet: Packet::default(), begun: now, room: 0, error: Error::None });
        }
        &mut self.clients[index]
    }
}

impl Machine {
    /// What everyone may know of Improv; none if it is not served.
    pub fn improv(&self) -> Option<Shown> {
        let state = self.improv.announced;
        let advertised = state != State::Provisioned || self.improv.farewell.is_some();
        self.config.improv.then_some(Shown { state, advertised })
    }

    /// Whether the device shows which one it is.
    pub const fn is_identifying(&self) -> bool {
        self.improv.identifies.is_some()
    }

    pub(super) fn improv_received(&mut self, link: Link, from: FromClient, now: Instant) {
        if !self.config.improv {
            return;
        }
        let (FromClient::Opened { room } | FromClient::Written { room, .. }) = &from;
        let room = *room;
        let client = self.improv.client(link, now);
        client.room = room;
        let FromClient::Written { value, .. } = from else { return };
        if client.begun + PACKET_TIME <= now {
            client.packet.clear();
        }
        if client.packet.is_empty() {
            client.begun = now;
        }
        match client.packet.push(value.expose()) {
            Some(Ok(command)) => self.improv_commanded(link, room, command, now),
            Some(Err(error)) => self.improv_errs(link, error),
            None => {}
        }
    }

    fn improv_commanded(&mut self, link: Link, room: usize, command: Command, now: Instant) {
        let is_idle = self.activity.is_idle();
        match command {
            // Everyone in range may look for networks, but not make the node do it. An attempt uses the permission, so there is
            // none while one of a client is in progress.
            Command::Scan | Command::Join { .. } if !self.authorization.is_given() => {
                return self.improv_errs(link, Error::NotAuthorized);
            }
            Command::Join { .. } if !is_idle => return self.improv_errs(link, Error::Unknown),
            _ => self.improv_errs(link, Error::None),
        }
        match command {
            Command::Identify => self.improv.identifies = Some(now + IDENTIFIES),
            Command::DeviceInfo => {
                let (version, name) = (&self.config.firmware_version, self.identity.name());
                let info = ["jarvis-provisioning", version, &self.identity.hardware, &name];
                self.improv_tells(link, Notice::result(improv::device_info(info, room)));
            }
            Command::Scan => {
                if self.scan_is_recent(Asker::Improv(link), now) {
                    self.improv_lists(link);
                }
            }
            Command::Join { ssid, passphrase } => {
                self.authorization.used();
                self.improv.attempt = Some(Attempt { link: Some(link) });
                // 0: it came in clear.
                let credentials = self.network_alone(0, ssid, passphrase);
                self.begin(credentials, 0, Some(Asker::Improv(link)), now);
            }
        }
    }

    fn improv_lists(&mut self, link: Link) {
        let Some(client) = self.improv.clients.iter().find(|client| client.link == link) else { return };
        let list = improv::networks(&self.listed_networks(), client.room);
        self.improv_tells(link, Notice::result(list));
    }

    /// A scan that the client waits for has ended.
    pub(super) fn improv_scanned(&mut self, link: Link, result: Result<(), Fault>) {
        if result.is_ok() || self.networks.is_known() {
            self.improv_lists(link);
        } else {
            self.improv_errs(link, Error::Unknown);
        }
    }

    pub(super) fn improv_closed(&mut self, link: Link) {
        self.improv.clients.retain(|client| client.link != link);
        if let Some(attempt) = &mut self.improv.attempt {
            attempt.link.take_if(|waiting| *waiting == link);
        }
    }

    fn improv_tells(&mut self, link: Link, notice: Notice) {
        self.outbox.push(Output::Send { link, message: notice.encode() });
    }

    /// Tells a client its error, if it is another one than before. The same error of two commands is told twice.
    fn improv_errs(&mut self, link: Link, error: Error) {
        let Some(client) = self.improv.clients.iter_mut().find(|client| client.link == link) else { return };
        if error != Error::None || client.error != Error::None {
            client.error = error;
            self.improv_tells(link, Notice::error(error));
        }
    }

    pub(super) fn improv_due(&self) -> Option<Instant> {
        [self.improv.farewell, self.improv.identifies].into_iter().flatten().min()
    }

    /// Brings what clients know in line with everything else.
    pub(super) fn settle_improv(&mut self, now: Instant) {
        if !self.config.improv {
            return;
        }
        for end in [&mut self.improv.farewell, &mut self.improv.identifies] {
            end.take_if(|end| *end <= now);
        }
        if self.activity.is_reset() {
            self.improv.farewell = None;
        }
        let ended = self.improv.attempt.take_if(|_| !self.activity.is_attempt());
        let failed = ended.is_some() && (self.status.failure.is_some() || self.activity.is_reset());
        let told = ended.map(|attempt| self.improv_waiting(&attempt)).unwrap_or_default();
        if failed {
            let error = self.status.failure.as_ref().map_or(Error::Unknown, |failure| error_of(failure.fault));
            for link in &told {
                self.improv_errs(*link, error);
            }
        }
        self.announce_improv(now);
        if !failed {
            for link in told {
                let room = self.improv.clients.iter().find(|client| client.link == link).map_or(0, |client| client.room);
                let result = improv::provisioned(&self.config.page, room);
                self.improv_tells(link, Notice::result(result));
            }
        }
    }

    /// Who learns the outcome of an attempt.
    fn improv_waiting(&self, attempt: &Attempt) -> Vec<Link> {
        let is_told = |link: &Link| attempt.link.is_none_or(|waiting| waiting == *link);
        self.improv.clients.iter().map(|client| client.link).filter(is_told).collect()
    }

    /// Tells every client the state, if it has changed.
    fn announce_improv(&mut self, now: Instant) {
        let state = if self.activity.is_attempt() {
            State::Provisioning
        } else if self.authorization.is_given() {
            State::Authorized
        } else if self.enrollment.keeps_network() && !self.activity.is_reset() {
            State::Provisioned
        } else {
            State::AuthorizationRequired
        };
        let before = core::mem::replace(&mut self.improv.announced, state);
        if before == state {
            return;
        }
        self.improv.farewell = (state == State::Provisioned && before == State::Provisioning).then(|| now + FAREWELL);
        for link in self.improv.clients.iter().map(|client| client.link).collect::<Vec<_>>() {
            self.improv_tells(link, Notice::state(state));
        }
    }
}

/// The protocol's word for a fault.
const fn error_of(fault: Fault) -> Error {
    if fault.is_network() { Error::UnableToConnect } else { Error::Unknown }
}

impl Activity {
    /// Whether an attempt is in progress, or its end is being stored.
    pub(super) const fn is_attempt(&self) -> bool {
        matches!(self, Self::Attempting { .. } | Self::Recording { .. })
    }
}
