//! nymea's clients: their commands, and what the node tells them.
//!
//! They share the permission of a person at the node with the clients of Improv. A client has one command at a time, and an answer
//! to each within [`ANSWER`]: an attempt that takes longer goes on, and its outcome is the state of the radio, or the answer to the
//! same command if it is sent again. A client learns the network that the node is in only if it has sent that network, or while
//! the node is authorized.

use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;

use super::{Asker, Instant, Link, Machine, Output};
use crate::domain::{Credentials, Step};
use crate::fault::Fault;
use crate::nymea::{
    self, Characteristic, Code, Command, Connection, FromClient, Network, Notice, Refused, Shown, Text, Wireless,
};

/// Clients wait for an answer for 15 s from the last piece of a command on; the answer needs some time in the air.
const ANSWER: Duration = Duration::from_secs(14);
/// The pieces of a command follow each other within some tenths of a second. What follows later begins another one.
const PIECE_TIME: Duration = Duration::from_secs(2);

/// What there is beside the state of the node.
#[derive(Default)]
pub(super) struct Nymea {
    clients: Vec<Client>,
    /// What the clients know.
    shown: Shown,
    /// An attempt of a client is in progress.
    attempting: bool,
}

struct Client {
    link: Link,
    text: Text,
    /// When it has last written.
    written: Instant,
    /// The command that is not answered, and when it has to be.
    waiting: Option<(i64, Instant)>,
    /// It has sent the network that the node joins, or is in.
    knows_network: bool,
}

impl Nymea {
    /// The client of a link, which may be new.
    fn client(&mut self, link: Link, now: Instant) -> &mut Client {
        let index = self.clients.iter().position(|client| client.link == link).unwrap_or(self.clients.len());
        if index == self.clients.len() {
            self.clients.push(Client { link, text: Text::default(), written: now, waiting: None, knows_network: false });
        }
        &mut self.clients[index]
    }
}

impl Machine {
    /// What everyone may know of nymea's services; none if they are not served.
    pub fn nymea(&self) -> Option<Shown> {
        self.config.nymea.then_some(self.nymea.shown)
    }

    pub(super) fn nymea_received(&mut self, link: Link, from: FromClient, now: Instant) {
        if !self.config.nymea {
            return;
        }
        let client = self.nymea.client(link, now);
        let FromClient::Written { characteristic, value, address } = from else { return };
        if characteristic != Characteristic::Commander {
            let result = nymea::network_result(value.expose(), self.nymea.shown);
            return self.nymea_tells(link, result);
        }
        if client.written + PIECE_TIME <= now {
            client.text.clear();
        }
        client.written = now;
        match client.text.push(value.expose()) {
            Some(Ok(command)) => self.nymea_commanded(link, command, address, now),
            Some(Err(Refused { number, code })) => self.nymea_answers(link, number, code),
            None => {}
        }
    }

    fn nymea_commanded(&mut self, link: Link, command: Command, address: Option<Ipv4Addr>, now: Instant) {
        let is_given = self.authorization.is_given();
        let number = command.number();
        let client = self.nymea.client(link, now);
        if client.waiting.is_some() {
            return self.nymea_answers(link, number, Code::Unknown);
        }
        match command {
            Command::Connection if is_given || client.knows_network => {
                let connection = self.nymea_connection(number, address);
                self.nymea_tells(link, Notice::answer(connection));
            }
            Command::Networks if is_given => {
                let networks = nymea::networks(number, &self.listed_networks());
                self.nymea_tells(link, Notice::answer(networks));
            }
            // Everyone in range may look for networks, but not make the node do it.
            Command::Scan if is_given => {
                if self.scan_is_recent(Asker::Nymea(link), now) {
                    return self.nymea_answers(link, number, Code::Success);
                }
                self.nymea.client(link, now).waiting = Some((number, now + ANSWER));
            }
            Command::Join { ssid, passphrase, hidden, .. } => {
                let network = self.network_alone(0, ssid, passphrase);
                let hidden = hidden || network.hidden;
                self.nymea_joins(link, number, Credentials { hidden, ..network }, now);
            }
            Command::Connection | Command::Networks | Command::Scan => {
                self.nymea_answers(link, number, Code::NetworkingDisabled);
            }
        }
    }

    fn nymea_joins(&mut self, link: Link, number: i64, network: Credentials, now: Instant) {
        let is_online = self.status.step == Step::Online && self.status.failure.is_none();
        let is_repeated = self.nymea.attempting && self.activity.attempted().is_some_and(|attempted| attempted.is_same(&network));
        let client = self.nymea.client(link, now);
        // The same network sent again, after an answer that came too early or was lost.
        if is_repeated {
            (client.waiting, client.knows_network) = (Some((number, now + ANSWER)), true);
        } else if client.knows_network && is_online && self.status.ssid_bytes == network.ssid {
            self.nymea_answers(link, number, Code::Success);
        } else if !self.authorization.is_given() {
            self.nymea_answers(link, number, Code::NetworkingDisabled);
        } else if !self.activity.is_idle() {
            self.nymea_answers(link, number, Code::Unknown);
        } else {
            for other in &mut self.nymea.clients {
                other.knows_network = other.link == link;
            }
            self.nymea.client(link, now).waiting = Some((number, now + ANSWER));
            self.nymea.attempting = true;
            self.authorization.used();
            self.begin(network, 0, Some(Asker::Nymea(link)), now);
        }
    }

    /// The network that the node is in, unless its name came sealed.
    fn nymea_connection(&self, number: i64, address: Option<Ipv4Addr>) -> Vec<u8> {
        let is_known = self.nymea.shown.wireless == Wireless::Activated && self.status.request_id == 0;
        let name = self.status.ssid.as_deref().filter(|_| is_known).unwrap_or_default();
        let networks = self.listed_networks();
        let network = networks.iter().find(|network| Some(&network.ssid) == self.status.ssid_bytes.as_ref());
        nymea::connection(number, &Connection { name, network, address })
    }

    fn nymea_tells(&mut self, link: Link, notice: Notice) {
        self.outbox.push(Output::Send { link, message: notice.encode() });
    }

    fn nymea_answers(&mut self, link: Link, command: i64, code: Code) {
        self.nymea_tells(link, Notice::answer(nymea::result(command, code)));
    }

    /// A scan that the client waits for has ended, or takes too long. An earlier list serves as well.
    pub(super) fn nymea_scanned(&mut self, link: Link, result: Result<(), Fault>) {
        let is_known = self.networks.is_known();
        let Some(client) = self.nymea.clients.iter_mut().find(|client| client.link == link) else { return };
        let Some((number, _)) = client.waiting.take() else { return };
        let code = if result.is_ok() || is_known { Code::Success } else { Code::Unknown };
        self.nymea_answers(link, number, code);
    }

    pub(super) fn nymea_closed(&mut self, link: Link) {
        self.nymea.clients.retain(|client| client.link != link);
    }

    pub(super) fn nymea_due(&self) -> Option<Instant> {
        self.nymea.clients.iter().filter_map(|client| client.waiting).map(|(_, until)| until).min()
    }

    /// Brings what clients know in line with everything else.
    pub(super) fn settle_nymea(&mut self, now: Instant) {
        if !self.config.nymea {
            return;
        }
        let is_attempt = self.activity.is_attempt();
        let is_over = self.nymea.attempting && !is_attempt;
        self.nymea.attempting &= is_attempt;
        let failure = self.status.failure.as_ref().map(|failure| Code::from(failure.fault));
        let outcome = if self.activity.is_reset() { Code::Unknown } else { failure.unwrap_or(Code::Success) };
        let is_theirs = if is_over { outcome == Code::Success } else { self.nymea.attempting || self.activity.is_idle() };
        let mut waiting = Vec::new();
        for client in &mut self.nymea.clients {
            client.knows_network &= is_theirs;
            waiting.extend(client.waiting.map(|(number, until)| (client.link, number, until)));
        }
        for (link, number, until) in waiting {
            let is_late = until <= now;
            if number == Command::Scan.number() {
                if is_late {
                    self.nymea_scanned(link, Err(Fault::ScanFailed));
                }
            } else if is_over || is_late {
                self.nymea.client(link, now).waiting = None;
                self.nymea_answers(link, number, if is_over { outcome } else { Code::Unknown });
            }
        }
        self.announce_nymea();
    }

    /// Tells every client the states that have changed.
    fn announce_nymea(&mut self) {
        let shown = self.nymea_state();
        let before = core::mem::replace(&mut self.nymea.shown, shown);
        for characteristic in Characteristic::ALL {
            let Some(value) = shown.value(characteristic).filter(|value| before.value(characteristic) != Some(*value)) else {
                continue;
            };
            for link in self.nymea.clients.iter().map(|client| client.link).collect::<Vec<_>>() {
                self.nymea_tells(link, Notice::state(characteristic, value));
            }
        }
    }

    fn nymea_state(&self) -> Shown {
        let is_attempt = self.activity.is_attempt();
        let keeps_network = self.enrollment.keeps_network() && !self.activity.is_reset();
        let wireless = match self.status.step {
            Step::Saving | Step::Saved if is_attempt && self.status.ssid.is_some() => Wireless::Preparing,
            Step::Joining if is_attempt => Wireless::Joining,
            Step::Joined if is_attempt => Wireless::Checking,
            _ if is_attempt || keeps_network => Wireless::Activated,
            _ if self.status.failure.is_some() => Wireless::Failed,
            _ => Wireless::Disconnected,
        };
        let network = match wireless {
            Wireless::Activated if self.status.limited_connectivity => Network::Site,
            Wireless::Activated => Network::Global,
            _ if is_attempt => Network::Connecting,
            _ if self.authorization.is_given() => Network::Disconnected,
            _ => Network::Asleep,
        };
        let advertised = is_attempt || !keeps_network || self.authorization.is_given();
        Shown { wireless, network, access_point: self.visibility.is_access_point(), advertised }
    }
}
