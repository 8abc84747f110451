//! The session of one of Espressif's apps: the same slot, guesses, networks and attempts as those of the project's own phones.
//!
//! An app polls. Each of its messages has one answer, and an attempt's outcome is read later. Its network alone makes an attempt
//! without a command center; the custom endpoint adds one before.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use rand_core::CryptoRng;

use super::attempt::Activity;
use super::command::{DiskCommand, Op, kind};
use super::pairing::Slot;
use super::{Asker, Instant, Link, Machine, Output};
use crate::domain::{Credentials, Network, Passphrase, Ssid, Step};
use crate::espressif::srp::PublicKey;
use crate::espressif::{Endpoint, Handshake, Session, User};
use crate::fault::Fault;
use crate::wire::espressif::{self as wire, ConfigRequest, ControlRequest, ScanRequest, Station, Status};
use crate::wire::{Message, Reply, Request};

/// An app waits for a scan at most this long, and gets the last list then. GATT gives an answer 30 s.
const SCAN_LIMIT: Duration = Duration::from_secs(15);
/// The handshakes with the QR secret that are computed in a period. They cannot be guesses, and each costs the node some
/// milliseconds to a tenth of a second.
const HANDSHAKES: u32 = 10;
/// The period.
const HANDSHAKES_PERIOD: Duration = Duration::from_mins(1);

/// One of Espressif's apps, from its hello to the end of its session.
pub(super) struct App {
    stage: Stage,
    /// The network that it has set.
    network: Option<(Ssid, Passphrase)>,
    /// The command center that it has named over the custom endpoint.
    enrolling: Option<Box<Credentials>>,
    /// The list that it reads in parts.
    networks: Option<Vec<Network>>,
    /// The request whose answer waits for something.
    waiting: Option<Waiting>,
}

enum Stage {
    /// The guess is being stored.
    Counting { op: Op<kind::Save>, client: Box<PublicKey> },
    /// The node has sent its challenge.
    Challenged(Box<Handshake>),
    /// Both have proven that they know the secret.
    Established(Box<Session>),
}

#[derive(Clone, Copy)]
enum Waiting {
    /// For a scan, until then.
    Scan(Instant),
    /// Until an attempt is stored.
    Apply,
    /// The same, or for a key; over the custom endpoint.
    Custom,
}

impl App {
    const fn new(stage: Stage) -> Self {
        Self { stage, network: None, enrolling: None, networks: None, waiting: None }
    }

    pub(super) const fn counting(&self) -> Option<Op<kind::Save>> {
        match self.stage {
            Stage::Counting { op, .. } => Some(op),
            Stage::Challenged(_) | Stage::Established(_) => None,
        }
    }

    pub(super) const fn is_established(&self) -> bool {
        matches!(self.stage, Stage::Established(_))
    }
}

/// What is left of the handshakes that are not counted as guesses.
pub(super) struct Budget {
    used: u32,
    since: Instant,
}

impl Budget {
    pub(super) const fn new(now: Instant) -> Self {
        Self { used: 0, since: now }
    }

    /// Takes one; false if none is left in this period.
    fn take(&mut self, now: Instant) -> bool {
        if now >= self.since + HANDSHAKES_PERIOD {
            *self = Self::new(now);
        }
        self.used += 1;
        self.used <= HANDSHAKES
    }
}

impl Machine {
    pub(super) fn app_received(
        &mut self,
        link: Link,
        endpoint: Endpoint,
        message: &[u8],
        now: Instant,
        rng: &mut impl CryptoRng,
    ) {
        if message.len() > endpoint.row().limit {
            return self.app_sends(link, Vec::new());
        }
        match endpoint {
            Endpoint::Version => {
                let version = crate::espressif::version(&self.config.firmware_version);
                self.app_sends(link, version.into_bytes());
            }
            Endpoint::Session => match wire::Handshake::decode(message) {
                Ok(wire::Handshake::Hello { user_name, public_key }) => self.app_greets(link, &user_name, &public_key, now, rng),
                Ok(wire::Handshake::Proof(proof)) => self.app_proves(link, &proof, now, rng),
                Err(_) => self.app_sends(link, Vec::new()),
            },
            _ => self.app_asks(link, endpoint, message, now, rng),
        }
    }

    fn app_sends(&mut self, link: Link, message: Vec<u8>) {
        self.outbox.push(Output::Send { link, message });
    }

    /// The app of this link, if it has the slot.
    fn app_on(&mut self, link: Link) -> Option<&mut App> {
        self.slot.as_mut().filter(|slot| slot.link() == link).and_then(Slot::app)
    }

    fn app_greets(&mut self, link: Link, user_name: &[u8], public_key: &[u8], now: Instant, rng: &mut impl CryptoRng) {
        let refuse = |machine: &mut Self, status| machine.app_sends(link, wire::challenge(status, &[], &[]));
        let taken = self.slot.as_ref().is_some_and(|slot| slot.link() != link || slot.counting().is_some());
        let (Some(user), Some(client)) = (User::from_name(user_name), PublicKey::parse(public_key)) else {
            return refuse(self, Status::InvalidArgument);
        };
        if taken {
            return refuse(self, Status::TooManySessions);
        }
        // A new handshake ends the previous session.
        self.slot = None;
        self.forget_asker(link);
        match user {
            User::Qr if self.handshakes.take(now) => {
                let (handshake, challenge) = Handshake::answer(user, &client, &self.pairing, rng);
                let app = Box::new(App::new(Stage::Challenged(Box::new(handshake))));
                self.slot = Some(Slot::app_handshake(link, app, now));
                self.app_sends(link, challenge);
            }
            User::Code if self.guesses.locked(now).is_none() => {
                let made = self.guesses.charge(now);
                let op = self.outbox.op();
                self.outbox.start(DiskCommand::SaveGuesses { op, made });
                let app = Box::new(App::new(Stage::Counting { op, client: Box::new(client) }));
                self.slot = Some(Slot::app_handshake(link, app, now));
            }
            User::Qr | User::Code => refuse(self, Status::TooManySessions),
        }
    }

    /// The guess is on disk, or could not be stored: only a counted guess is answered.
    pub(super) fn app_counted(&mut self, mut slot: Slot, result: Result<(), Fault>, rng: &mut impl CryptoRng) {
        let link = slot.link();
        let Some(App { stage, .. }) = slot.app() else { return self.slot = Some(slot) };
        let Stage::Counting { client, .. } = stage else { return self.slot = Some(slot) };
        if result.is_err() {
            return self.app_sends(link, wire::challenge(Status::InternalError, &[], &[]));
        }
        let (handshake, challenge) = Handshake::answer(User::Code, client, &self.pairing, rng);
        *stage = Stage::Challenged(Box::new(handshake));
        self.slot = Some(slot);
        self.app_sends(link, challenge);
    }

    fn app_proves(&mut self, link: Link, proof: &[u8; wire::PROOF], now: Instant, rng: &mut impl CryptoRng) {
        let Some(App { stage: Stage::Challenged(handshake), .. }) = self.app_on(link) else {
            return self.app_sends(link, Vec::new());
        };
        let Ok((session, verified)) = handshake.verify(proof, rng) else {
            // A wrong proof ends the handshake: its guess is counted, and the slot is free.
            self.slot = None;
            return self.app_sends(link, Vec::new());
        };
        self.slot = Some(Slot::app_session(link, Box::new(App::new(Stage::Established(Box::new(session)))), now));
        if self.guesses.clear() {
            let op = self.outbox.op();
            self.outbox.start(DiskCommand::SaveGuesses { op, made: 0 });
        }
        self.app_sends(link, verified);
    }

    /// A sealed request.
    fn app_asks(&mut self, link: Link, endpoint: Endpoint, message: &[u8], now: Instant, rng: &mut impl CryptoRng) {
        let Some(App { stage: Stage::Established(session), waiting: None, .. }) = self.app_on(link) else {
            return self.app_sends(link, Vec::new());
        };
        let Ok(plaintext) = session.open(message) else { return self.app_sends(link, Vec::new()) };
        if let Some(slot) = &mut self.slot {
            slot.app_is_heard(now);
        }
        let served = match endpoint {
            Endpoint::Scan => ScanRequest::decode(&plaintext).map(|request| self.app_scan(link, request, now)),
            Endpoint::Config => ConfigRequest::decode(&plaintext).map(|request| self.app_config(link, request, now, rng)),
            Endpoint::Control => {
                ControlRequest::decode(&plaintext).map(|request| self.app_answers(link, &request.answer(Status::Success)))
            }
            Endpoint::Custom => {
                match Request::decode_any(&plaintext) {
                    Ok(request) => self.app_custom(link, request, now),
                    Err(fault) => self.app_custom_answers(link, Reply::Refused(fault)),
                }
                Ok(())
            }
            Endpoint::Session | Endpoint::Version => Err(Fault::Malformed),
        };
        if served.is_err() {
            self.app_sends(link, Vec::new());
        }
    }

    /// Seals the answer to the app's last request.
    fn app_answers(&mut self, link: Link, plaintext: &[u8]) {
        let Some(App { stage: Stage::Established(session), waiting, .. }) = self.app_on(link) else { return };
        *waiting = None;
        let sealed = session.seal(plaintext);
        self.app_sends(link, sealed);
    }

    fn app_waits(&mut self, link: Link, reason: Waiting) {
        if let Some(app) = self.app_on(link) {
            app.waiting = Some(reason);
        }
    }

    fn app_waiting(&mut self, link: Link) -> Option<Waiting> {
        self.app_on(link).and_then(|app| app.waiting)
    }

    // -- Scans.

    fn app_scan(&mut self, link: Link, request: ScanRequest, now: Instant) {
        match request {
            ScanRequest::Start => {
                if self.scan_is_recent(Asker::App(link), now) {
                    return self.app_lists(link);
                }
                self.app_waits(link, Waiting::Scan(now + SCAN_LIMIT));
            }
            ScanRequest::State => {
                let count = self.app_networks(link).len();
                self.app_answers(link, &wire::scan_finished(count));
            }
            ScanRequest::Range { start, count } => {
                let networks = self.app_networks(link);
                let part = networks.get(start..).unwrap_or_default();
                let answer = wire::scan_entries(&part[..count.min(part.len())]);
                self.app_answers(link, &answer);
            }
        }
    }

    /// The list that the app reads: its parts belong to one list.
    fn app_networks(&mut self, link: Link) -> Vec<Network> {
        let listed = self.listed_networks();
        self.app_on(link).map(|app| app.networks.get_or_insert(listed).clone()).unwrap_or_default()
    }

    /// The list is there.
    fn app_lists(&mut self, link: Link) {
        let listed = self.listed_networks();
        if let Some(app) = self.app_on(link) {
            app.networks = Some(listed);
        }
        self.app_answers(link, &wire::scan_started(Status::Success));
    }

    /// A scan that the app waits for has ended. After a failure an earlier list serves as well.
    pub(super) fn app_scanned(&mut self, link: Link, result: Result<(), Fault>) {
        if !matches!(self.app_waiting(link), Some(Waiting::Scan(_))) {
            return;
        }
        if result.is_ok() || self.networks.is_known() {
            self.app_lists(link);
        } else {
            self.app_answers(link, &wire::scan_started(Status::InternalError));
        }
    }

    /// When the app that waits for a scan gets the last list.
    pub(super) fn app_due(&self) -> Option<Instant> {
        self.slot.as_ref().and_then(Slot::app_ref).and_then(|app| match app.waiting {
            Some(Waiting::Scan(until)) => Some(until),
            _ => None,
        })
    }

    pub(super) fn app_timed_out(&mut self, now: Instant) {
        if let Some(link) = self.slot.as_ref().map(Slot::link)
            && self.app_due().is_some_and(|until| until <= now)
        {
            self.app_scanned(link, Err(Fault::ScanFailed));
        }
    }

    // -- The network, and the attempt.

    fn app_config(&mut self, link: Link, request: ConfigRequest, now: Instant, rng: &mut impl CryptoRng) {
        match request {
            ConfigRequest::State => {
                let station = wire::station(&self.station());
                self.app_answers(link, &station);
            }
            ConfigRequest::Set(Ok(network)) => {
                if let Some(app) = self.app_on(link) {
                    app.network = Some(network);
                }
                self.app_answers(link, &wire::set(Status::Success));
            }
            ConfigRequest::Set(Err(_)) => self.app_answers(link, &wire::set(Status::InvalidArgument)),
            ConfigRequest::Apply => {
                let Some((network, enrolling)) =
                    self.app_on(link).and_then(|app| Some((app.network.clone()?, app.enrolling.clone())))
                else {
                    return self.app_answers(link, &wire::applied(Status::InvalidArgument));
                };
                self.app_waits(link, Waiting::Apply);
                let credentials = self.app_credentials(network, enrolling, rng);
                self.app_begins(link, credentials, now);
            }
        }
    }

    /// The attempt that an app describes.
    fn app_credentials(
        &self,
        (ssid, passphrase): (Ssid, Passphrase),
        enrolling: Option<Box<Credentials>>,
        rng: &mut impl CryptoRng,
    ) -> Credentials {
        // It came sealed, so its network is not shown to everyone.
        let network = self.network_alone(rng.next_u64() | 1, ssid, passphrase);
        match enrolling {
            Some(enrolling) => {
                let Credentials { ssid, passphrase, hidden, .. } = network;
                Credentials { ssid, passphrase, hidden, ..*enrolling }
            }
            None => network,
        }
    }

    fn app_begins(&mut self, link: Link, credentials: Credentials, now: Instant) {
        if self.activity.is_idle() {
            self.begin(credentials, 0, Some(Asker::App(link)), now);
        } else {
            self.app_refused(link, Fault::InProgress);
        }
    }

    /// The attempt is on disk.
    pub(super) fn app_accepted(&mut self, link: Link, request_id: u64) {
        match self.app_waiting(link) {
            Some(Waiting::Apply) => self.app_answers(link, &wire::applied(Status::Success)),
            Some(Waiting::Custom) => self.app_custom_answers(link, Reply::Accepted { request_id }),
            Some(Waiting::Scan(_)) | None => {}
        }
    }

    /// There is no attempt.
    pub(super) fn app_refused(&mut self, link: Link, fault: Fault) {
        match self.app_waiting(link) {
            Some(Waiting::Apply) => self.app_answers(link, &wire::applied(Status::InternalError)),
            Some(Waiting::Custom) => self.app_custom_answers(link, Reply::Refused(fault)),
            Some(Waiting::Scan(_)) | None => {}
        }
    }

    /// The state of the station: an app has two numbers for a failure, and shows everything else as a lost connection.
    fn station(&self) -> Station {
        if matches!(self.activity, Activity::Attempting { .. } | Activity::Recording { .. }) {
            return Station::Connecting;
        }
        match (&self.status.failure, self.status.step) {
            (None, Step::Online | Step::Done) => Station::Connected(self.status.ssid_bytes.clone()),
            (None, _) => Station::Disconnected,
            (Some(failure), _) => match failure.fault {
                Fault::WrongPassword | Fault::ProbablyWrongPassword | Fault::InvalidPassphrase => Station::WrongPassword,
                Fault::NetworkNotFound => Station::NotFound,
                _ => Station::Disconnected,
            },
        }
    }

    // -- The custom endpoint.

    fn app_custom(&mut self, link: Link, request: Request, now: Instant) {
        match request {
            Request::K2(_) | Request::Credentials(_) if self.activity.is_reset() => {
                self.app_custom_answers(link, Reply::Refused(Fault::Resetting));
            }
            Request::K2(k2) => {
                self.app_waits(link, Waiting::Custom);
                self.save_k2(k2, Asker::App(link));
            }
            // A node that is online enrolls at once, and others when they join the network that the app sets.
            Request::Credentials(credentials) if credentials.ssid.is_none() && !self.enrollment.is_online() => {
                let request_id = credentials.request_id;
                if let Some(app) = self.app_on(link) {
                    app.enrolling = Some(credentials);
                }
                self.app_custom_answers(link, Reply::Accepted { request_id });
            }
            Request::Credentials(credentials) => {
                self.app_waits(link, Waiting::Custom);
                self.app_begins(link, *credentials, now);
            }
            Request::Status => {
                let report = self.report();
                self.app_custom_answers(link, Reply::Status(report));
            }
            Request::Scan { .. } | Request::Cancel { .. } | Request::Care(_) | Request::Authorize => {
                self.app_custom_answers(link, Reply::Refused(Fault::Malformed));
            }
        }
    }

    fn app_custom_answers(&mut self, link: Link, reply: Reply) {
        self.app_answers(link, &Message::Reply { to: 0, reply }.encode());
    }

    /// A key that the app has sent is on disk, or could not be stored.
    pub(super) fn app_k2_saved(&mut self, link: Link, kid: String, result: Result<(), Fault>) {
        if matches!(self.app_waiting(link), Some(Waiting::Custom)) {
            self.app_custom_answers(link, result.map_or_else(Reply::Refused, |()| Reply::K2Stored { kid }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_that_are_not_guesses_have_a_budget_for_each_minute() {
        let mut budget = Budget::new(Duration::ZERO);
        let now = Duration::from_secs(59);
        assert_eq!((0..100).filter(|_| budget.take(now)).count(), 10);
        assert!(budget.take(Duration::from_mins(1)));
    }
}
