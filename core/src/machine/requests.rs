//! The requests of phones and local callers.

use alloc::string::String;
use alloc::vec::Vec;

use super::attempt::{Activity, Rollback};
use super::command::{Cleared, DiskCommand, Op, RadioCommand, kind};
use super::{Answer, Asker, Instant, Link, LocalRequest, Machine, Output, Ticket};
use crate::domain::{K2, Status};
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
            Request::Scan { fresh } => self.phone_scans(link, to, fresh, now),
            Request::K2(_) | Request::Credentials(_) | Request::Cancel { .. } if self.activity.is_reset() => {
                self.reply(to, Reply::Refused(Fault::Resetting));
            }
            Request::K2(k2) => self.save_k2(k2, Asker::Phone { link, to }),
            Request::Credentials(credentials) => self.credentials(link, to, *credentials, now),
            Request::Cancel { request_id } => self.cancel(link, to, request_id),
        }
    }

    /// A caller that has proven nothing sends a request.
    pub(super) fn requested_in_clear(&mut self, ticket: Ticket, request: LocalRequest, now: Instant) {
        if (self.had_sealed_attempt || self.established().is_some()) && request != LocalRequest::Scan {
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
            LocalRequest::Reset => self.reset(Some(ticket)),
            _ if self.activity.is_reset() => self.answer(ticket, Answer::Refused(Fault::Resetting)),
            LocalRequest::K2(_) if self.enrollment.is_healthy() => self.answer(ticket, Answer::AlreadyProvisioned),
            LocalRequest::K2(k2) => self.save_k2(k2, Asker::Local(ticket)),
            _ if !self.activity.is_idle() => self.answer(ticket, Answer::Busy),
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

    fn save_k2(&mut self, k2: K2, asker: Asker) {
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
            Asker::Phone { .. } => {}
        }
    }

    /// A session has ended: the requests of its link need no answer.
    pub(super) fn forget_asker(&mut self, link: Link) {
        self.networks.forget(link);
        self.saving_k2.retain(|saving| !saving.asker.is_on(link));
        if let Some(waiting) = self.activity.waiting() {
            waiting.retain(|asker| !asker.is_on(link));
        }
    }

    /// Deletes everything that the owner gave, whatever is in progress.
    pub(super) fn reset(&mut self, ticket: Option<Ticket>) {
        if let Activity::Resetting { waiting, .. } = &mut self.activity {
            waiting.extend(ticket);
            return;
        }
        self.refuse_waiting(Fault::Resetting);
        let interrupted = self.activity.rollback();
        if let Some(op) = self.activity.attempt_op() {
            self.outbox.push(Output::Cancel { op });
        }
        self.stop_opening();
        let op = self.outbox.op();
        self.outbox.start(RadioCommand::ForgetNetworks { op });
        let op = self.outbox.op();
        self.outbox.start(DiskCommand::Reset { op });
        self.activity = Activity::Resetting { op, waiting: ticket.into_iter().collect(), interrupted };
    }

    pub(super) fn reset_done(&mut self, op: Op<kind::Reset>, result: Result<Cleared, Fault>, now: Instant) {
        match core::mem::replace(&mut self.activity, Activity::Idle) {
            Activity::Resetting { op: expected, waiting, interrupted } if expected == op => {
                self.reset_ended(waiting, interrupted, result, now);
            }
            activity => self.activity = activity,
        }
    }

    fn reset_ended(&mut self, waiting: Vec<Ticket>, interrupted: Option<Rollback>, result: Result<Cleared, Fault>, now: Instant) {
        let answer = match result {
            Ok(Cleared { items, node_id }) => {
                self.identity.node_id = node_id;
                self.enrollment.reset();
                self.had_sealed_attempt = false;
                self.status = Status::waiting();
                self.announce();
                self.scan(None, now);
                self.rename_access_point();
                Answer::Reset(items)
            }
            Err(fault) => {
                // The attempt that the reset stopped is not resumed.
                if let Some(rollback) = interrupted {
                    self.fail(fault.into(), rollback);
                }
                Answer::Refused(fault)
            }
        };
        for ticket in waiting {
            self.answer(ticket, answer.clone());
        }
    }
}
