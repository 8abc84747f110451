//! The requests of phones and local callers.

use alloc::string::String;

use super::command::{DiskCommand, Op, kind};
use super::{Answer, Asker, Instant, Link, LocalRequest, Machine, Output, Ticket};
use crate::domain::K2;
use crate::fault::Fault;
use crate::wire::{Reply, Request};

/// A K2 that is being stored.
pub(super) struct SavingK2 {
    pub(super) op: Op<kind::Save>,
    asker: Asker,
    kid: String,
}

impl Machine {
    /// An authenticated phone sends a request.
    pub(super) fn requested(&mut self, link: Link, to: u64, request: Request, now: Instant) {
        match request {
            Request::Status => self.reply_status(to),
            Request::Scan { fresh, country } => self.phone_scans(link, to, fresh, country, now),
            Request::K2(_) | Request::Credentials(_) | Request::Cancel { .. } | Request::Care(_) | Request::Authorize
                if self.activity.is_reset() =>
            {
                self.reply(to, Reply::Refused(Fault::Resetting));
            }
            Request::K2(k2) => self.save_k2(k2, Asker::Phone { link, to }),
            Request::Credentials(credentials) => self.credentials(link, to, *credentials, now),
            Request::Cancel { request_id } => self.cancel(link, to, request_id),
            Request::Care(request) => self.phone_cares(link, to, request),
            Request::Authorize if self.authorize(now) => self.reply(to, Reply::Done),
            // The answer of a node that does not know the request.
            Request::Authorize => self.reply(to, Reply::Refused(Fault::Malformed)),
        }
    }

    /// A caller that has proven nothing sends a request.
    pub(super) fn requested_in_clear(&mut self, ticket: Ticket, request: LocalRequest, now: Instant) {
        let changes_nothing = matches!(request, LocalRequest::Scan | LocalRequest::PairingCode | LocalRequest::Pairing);
        // A guess proves the code, and waits for the phone that has the session by itself.
        let may_prove = matches!(request, LocalRequest::Guess { .. });
        // Nobody authorizes himself.
        if request == LocalRequest::Authorize {
            return self.answer(ticket, Answer::Refused(Fault::NotAuthenticated));
        }
        if (self.had_sealed_attempt || self.established().is_some()) && !changes_nothing && !may_prove {
            return self.answer(ticket, Answer::Busy);
        }
        self.requested_locally(ticket, request, now);
    }

    /// A caller without a session sends a request.
    pub(super) fn requested_locally(&mut self, ticket: Ticket, request: LocalRequest, now: Instant) {
        match request {
            LocalRequest::Scan => {
                let networks = self.networks().to_vec();
                self.answer(ticket, Answer::Networks(networks));
                self.refresh_networks(now);
            }
            LocalRequest::PairingCode => self.answer(ticket, Answer::PairingCode(self.pairing.code.clone())),
            LocalRequest::Pairing => self.answer(ticket, Answer::Pairing(self.pairing.clone())),
            LocalRequest::Reset => self.reset(ticket),
            _ if self.activity.is_reset() => self.answer(ticket, Answer::Refused(Fault::Resetting)),
            LocalRequest::K2(_) if self.enrollment.is_healthy() => self.answer(ticket, Answer::AlreadyProvisioned),
            LocalRequest::K2(k2) => self.save_k2(k2, Asker::Local(ticket)),
            LocalRequest::RenewPairing => self.renew_pairing(ticket),
            LocalRequest::Authorize => self.authorize_locally(ticket, now),
            _ if !self.activity.is_idle() => self.answer(ticket, Answer::Busy),
            LocalRequest::Guess { code, credentials } => self.guess_in_clear(ticket, code, credentials, now),
            LocalRequest::Credentials(credentials) => {
                // The existing app needs an answer at once, before the disk has finished. It reads the outcome from the status.
                self.answer(ticket, Answer::Accepted);
                self.begin(*credentials, 0, None, now);
            }
            LocalRequest::Unusable { ssid, fault } => {
                self.answer(ticket, Answer::Accepted);
                self.begin_unusable(ssid, fault);
            }
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.outbox.push(Output::Answer { ticket, answer });
    }

    pub(super) fn save_k2(&mut self, k2: K2, asker: Asker) {
        let kid = k2.kid.clone();
        let op = self.outbox.op();
        self.outbox.start(DiskCommand::SaveK2 { op, k2 });
        self.saving_k2.push(SavingK2 { op, asker, kid });
    }

    pub(super) fn k2_saved(&mut self, SavingK2 { asker, kid, .. }: SavingK2, result: Result<(), Fault>) {
        match asker {
            Asker::Local(ticket) => self.answer(ticket, result.map_or_else(Answer::Refused, |()| Answer::K2Stored)),
            Asker::Phone { link, to } if self.established() == Some(link) => {
                self.reply(to, result.map_or_else(Reply::Refused, |()| Reply::K2Stored { kid }));
            }
            Asker::Phone { .. } | Asker::Improv(_) | Asker::Nymea(_) => {}
            Asker::App(link) => self.app_k2_saved(link, kid, result),
        }
    }

    /// A session has ended: the requests of its link need no answer.
    pub(super) fn forget_asker(&mut self, link: Link) {
        self.networks.forget(link);
        self.forget_caring(link);
        self.saving_k2.retain(|saving| !saving.asker.is_on(link));
        if let Some(waiting) = self.activity.waiting() {
            waiting.retain(|asker| !asker.is_on(link));
        }
    }
}
