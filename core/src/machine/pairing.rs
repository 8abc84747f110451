//! The one session, from its first message to its last.

use alloc::boxed::Box;
use core::time::Duration;

use rand_core::CryptoRng;

use super::apps::App;
use super::command::{DiskCommand, Op, kind};
use super::{Answer, Instant, Link, Machine, Output, Ticket};
use crate::domain::Pairing;
use crate::endpoint::Endpoint;
use crate::fault::Fault;
use crate::session::{self, Session, Unconfirmed};
use crate::wire::{Message, Open, Outbound, Record, Refusal, Reply, Request, SecretKind};

/// From the first message to the phone's proof.
const HANDSHAKE_LIMIT: Duration = Duration::from_mins(1);
/// A phone that is not heard of for so long while nothing is in progress has left.
const IDLE_LIMIT: Duration = Duration::from_secs(85);
/// A phone that is present but sends nothing for so long while nothing is in progress was put aside by its owner, or is
/// another's: its presence is not authenticated.
const PRESENT_LIMIT: Duration = Duration::from_mins(10);

/// The session, or its handshake.
pub(super) struct Slot {
    link: Link,
    stage: Stage,
    /// When it ends by itself.
    until: Instant,
    /// When it ends by itself although the phone is present.
    latest: Instant,
}

enum Stage {
    /// The guess is being stored.
    Counting { op: Op<kind::Save>, open: Open },
    /// The node has answered; the phone has proven nothing yet.
    Answered(Box<Unconfirmed>),
    /// Both have proven that they know the secret.
    Established(Box<Session>),
    /// The same with one of Espressif's apps, from its first message to its last.
    App(Box<App>),
}

impl Slot {
    pub(super) const fn link(&self) -> Link {
        self.link
    }

    /// A handshake of one of Espressif's apps.
    pub(super) const fn app_handshake(link: Link, app: Box<App>, now: Instant) -> Self {
        Self::handshake(link, Stage::App(app), now.saturating_add(HANDSHAKE_LIMIT))
    }

    /// The session of one of Espressif's apps.
    pub(super) const fn app_session(link: Link, app: Box<App>, now: Instant) -> Self {
        let (until, latest) = (now.saturating_add(IDLE_LIMIT), now.saturating_add(PRESENT_LIMIT));
        Self { link, stage: Stage::App(app), until, latest }
    }

    /// The app, if the slot is that of one of Espressif's.
    pub(super) fn app_ref(&self) -> Option<&App> {
        match &self.stage {
            Stage::App(app) => Some(app),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(super) fn app(&mut self) -> Option<&mut App> {
        match &mut self.stage {
            Stage::App(app) => Some(app),
            _ => None,
        }
    }

    /// The app has sent a message that is authentic.
    pub(super) const fn app_is_heard(&mut self, now: Instant) {
        self.until = now.saturating_add(IDLE_LIMIT);
        self.latest = now.saturating_add(PRESENT_LIMIT);
    }

    /// The session is established.
    fn is_established(&self) -> bool {
        match &self.stage {
            Stage::Established(_) => true,
            Stage::App(app) => app.is_established(),
            Stage::Counting { .. } | Stage::Answered(_) => false,
        }
    }

    /// A handshake, which presence does not prolong.
    const fn handshake(link: Link, stage: Stage, until: Instant) -> Self {
        Self { link, stage, until, latest: until }
    }

    fn established(link: Link, session: Box<Session>, now: Instant) -> Self {
        Self { link, stage: Stage::Established(session), until: now + IDLE_LIMIT, latest: now + PRESENT_LIMIT }
    }

    pub(super) const fn until(&self) -> Instant {
        self.until
    }

    pub(super) const fn counting(&self) -> Option<Op<kind::Save>> {
        match self.stage {
            Stage::Counting { op, .. } => Some(op),
            Stage::App(ref app) => app.counting(),
            _ => None,
        }
    }
}

impl Machine {
    pub(super) fn received(&mut self, link: Link, endpoint: Endpoint, message: &[u8], now: Instant, rng: &mut impl CryptoRng) {
        if message.len() > endpoint.row().limit {
            return self.refuse(link, Fault::TooLarge);
        }
        if self.slot.as_ref().is_some_and(|slot| slot.link != link) {
            return self.refuse(link, Fault::Busy);
        }
        match endpoint {
            Endpoint::Info => self.refuse(link, Fault::Malformed),
            Endpoint::Session => self.opened(link, message, now, rng),
            _ => self.record(link, endpoint, message, now),
        }
    }

    fn opened(&mut self, link: Link, message: &[u8], now: Instant, rng: &mut impl CryptoRng) {
        if self.slot.as_ref().is_some_and(|slot| slot.counting().is_some()) {
            return self.refuse(link, Fault::Busy);
        }
        let checked = Open::decode(message).and_then(|open| Ok((session::check(&open)?, open)));
        let (offer, open) = match checked {
            Ok(checked) => checked,
            Err(fault) => return self.refuse(link, fault),
        };
        // A new handshake ends the previous session. Requests of that session are not answered any more, because the new
        // one counts its requests from 0 again.
        self.slot = None;
        self.forget_asker(link);
        let until = now + HANDSHAKE_LIMIT;
        match offer.secret {
            // 128 bits cannot be guessed: they are neither counted nor locked, so that wrong codes lock no owner out.
            SecretKind::Qr => self.accept(link, &open, until, rng),
            SecretKind::Code => {
                if let Some(left) = self.guesses.locked(now) {
                    let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1);
                    return self.refuse_until(link, Fault::Locked, seconds);
                }
                let made = self.guesses.charge(now);
                let op = self.outbox.op();
                self.outbox.start(DiskCommand::SaveGuesses { op, made });
                self.slot = Some(Slot::handshake(link, Stage::Counting { op, open }, until));
            }
        }
    }

    /// The guess is on disk, or could not be stored: only a counted guess is answered.
    pub(super) fn guess_counted(&mut self, result: Result<(), Fault>, rng: &mut impl CryptoRng) {
        let (link, open, until) = match self.slot.take() {
            Some(Slot { link, stage: Stage::Counting { open, .. }, until, .. }) => (link, open, until),
            Some(slot) => return self.app_counted(slot, result, rng),
            None => return,
        };
        match result {
            Ok(()) => self.accept(link, &open, until, rng),
            Err(_) => self.refuse(link, Fault::StorageFailed),
        }
    }

    fn accept(&mut self, link: Link, open: &Open, until: Instant, rng: &mut impl CryptoRng) {
        match session::accept(open, &self.pairing, &self.identity.node_id, &self.config.capabilities, rng) {
            Ok((unconfirmed, accept)) => {
                self.slot = Some(Slot::handshake(link, Stage::Answered(Box::new(unconfirmed)), until));
                self.send(link, &Outbound::Accept(accept));
            }
            Err(fault) => self.refuse(link, fault),
        }
    }

    fn record(&mut self, link: Link, endpoint: Endpoint, message: &[u8], now: Instant) {
        let record = match Record::decode(message) {
            Ok(record) => record,
            Err(fault) => return self.refuse(link, fault),
        };
        let Some(Slot { stage, until, latest, .. }) = self.slot.take() else {
            return self.refuse(link, Fault::NotAuthenticated);
        };
        let (mut session, first) = match stage {
            Stage::Established(session) => (session, false),
            Stage::Answered(unconfirmed) if unconfirmed.confirms(&record) => (Box::new(unconfirmed.established()), true),
            Stage::Answered(_) => return self.refuse(link, Fault::WrongCode),
            Stage::Counting { .. } | Stage::App(_) => {
                self.slot = Some(Slot { link, stage, until, latest });
                return self.refuse(link, Fault::NotAuthenticated);
            }
        };
        // The proof is not sealed, so a record that carries one needlessly could have been changed on its way.
        let opened = if first || record.confirmation.is_empty() { session.open(endpoint, &record).ok() } else { None };
        // Only valid records extend a session: junk on the link does not keep one whose phone has left.
        let slot = Slot::established(link, session, now);
        self.slot = Some(if first || opened.is_some() { slot } else { Slot { until, latest, ..slot } });
        if first {
            if self.guesses.clear() {
                let op = self.outbox.op();
                self.outbox.start(DiskCommand::SaveGuesses { op, made: 0 });
            }
            if self.status != crate::domain::Status::waiting() {
                self.announce();
            }
        }
        let Some(plaintext) = opened else {
            return self.refuse(link, Fault::NotAuthenticated);
        };
        match Request::decode(endpoint, &plaintext) {
            Ok(request) => self.requested(link, record.counter, request, now),
            Err(fault) => self.reply(record.counter, Reply::Refused(fault)),
        }
    }

    /// Callers at the same time get the same secrets, so that each code is valid when it is shown.
    pub(super) fn renew_pairing(&mut self, ticket: Ticket) {
        if self.renewing.is_empty() {
            let op = self.outbox.op();
            self.outbox.start(DiskCommand::RenewPairing { op });
        }
        self.renewing.push(ticket);
    }

    /// New pairing secrets are on disk, or could not be stored. An established session continues: its phone has proven that it
    /// knew the secret. A handshake ends, because it would be completed with the old one.
    pub(super) fn pairing_renewed(&mut self, result: Result<Pairing, Fault>) {
        let answer = match result {
            Ok(pairing) => {
                self.pairing = pairing;
                if let Some(slot) = self.slot.take_if(|slot| !slot.is_established()) {
                    self.outbox.push(Output::Close { link: slot.link });
                }
                Answer::PairingCode(self.pairing.code.clone())
            }
            Err(fault) => Answer::Refused(fault),
        };
        for ticket in core::mem::take(&mut self.renewing) {
            self.answer(ticket, answer.clone());
        }
    }

    pub(super) fn link_closed(&mut self, link: Link) {
        if self.slot.as_ref().is_some_and(|slot| slot.link == link) {
            self.slot = None;
        }
        self.forget_asker(link);
        self.improv_closed(link);
        self.nymea_closed(link);
    }

    /// A phone is on its link, although it sends nothing: its owner may be typing.
    pub(super) fn phone_present(&mut self, link: Link, now: Instant) {
        if let Some(slot) = self.slot.as_mut().filter(|slot| slot.link == link) {
            slot.until = slot.until.max((now + IDLE_LIMIT).min(slot.latest));
        }
    }

    pub(super) fn slot_timeout(&mut self, now: Instant) {
        let busy = !self.activity.is_idle() || self.networks.is_scanning() || self.caring.is_some();
        let Some(slot) = &mut self.slot else { return };
        if slot.until > now {
            return;
        }
        if busy && slot.is_established() {
            (slot.until, slot.latest) = (now + IDLE_LIMIT, now + PRESENT_LIMIT);
            return;
        }
        let link = slot.link;
        self.slot = None;
        self.forget_asker(link);
        self.outbox.push(Output::Close { link });
    }

    /// Answers a request on the session's link.
    pub(super) fn reply(&mut self, to: u64, reply: Reply) {
        self.tell(&Message::Reply { to, reply });
    }

    /// Seals a message for the phone that has the session, if there is one.
    pub(super) fn tell(&mut self, message: &Message) {
        let Some(Slot { link, stage: Stage::Established(session), .. }) = &mut self.slot else { return };
        let link = *link;
        let record = session.seal(Endpoint::Status, &message.encode());
        self.send(link, &Outbound::Record(record));
    }

    /// The link that has the established session.
    pub(super) fn established(&self) -> Option<Link> {
        self.slot.as_ref().filter(|slot| slot.is_established()).map(|slot| slot.link)
    }

    pub(super) fn refuse(&mut self, link: Link, fault: Fault) {
        self.refuse_until(link, fault, 0);
    }

    fn refuse_until(&mut self, link: Link, fault: Fault, retry_after: u32) {
        self.send(link, &Outbound::Refusal(Refusal { fault, retry_after }));
    }

    fn send(&mut self, link: Link, outbound: &Outbound) {
        self.outbox.push(Output::Send { link, message: outbound.encode() });
    }
}
