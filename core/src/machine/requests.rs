//! What phones and local callers ask, apart from going online.

use alloc::string::String;
use alloc::vec::Vec;

use super::{
    AccessPoint, Answer, Asker, Cleared, Command, Done, Instant, Link, LocalRequest, Machine, Output, SCAN_LIMIT, SCAN_RECENT,
    Scan, Ticket,
};
use crate::domain::{Failure, Network, Status};
use crate::fault::Fault;
use crate::machine::run::{Left, Phase};
use crate::wire::{Reply, Request, StatusReport};

impl Machine {
    /// An authenticated phone asks.
    pub(super) fn requested(&mut self, link: Link, to: u64, request: Request, now: Instant) {
        match request {
            Request::Status => {
                let told = StatusReport::from(&self.status);
                self.reply(to, Reply::Status(told));
            }
            Request::Scan { fresh } => {
                let recent = self.networks.as_ref().is_some_and(|(_, at)| *at + SCAN_RECENT > now);
                // While an attempt has the radio, the last list is the best there is.
                if !matches!(self.phase, Phase::Idle) || recent && !fresh {
                    self.list(to);
                } else {
                    self.scan(Some(Asker::Phone { link, to }), now);
                }
            }
            Request::K2(_) | Request::Credentials(_) if matches!(self.phase, Phase::Resetting { .. }) => {
                self.reply(to, Reply::Refused(Fault::Resetting));
            }
            Request::K2(k2) => {
                let kid = k2.kid.clone();
                let op = self.start(Command::SaveK2(k2));
                self.saving_k2.push((op, Asker::Phone { link, to }, kid));
            }
            Request::Credentials(credentials) => self.credentials(to, *credentials, now),
        }
    }

    /// Somebody without a session asks.
    pub(super) fn asked(&mut self, ticket: Ticket, request: LocalRequest, now: Instant) {
        let resetting = matches!(self.phase, Phase::Resetting { .. });
        match request {
            LocalRequest::Scan => {
                let networks = self.networks().to_vec();
                self.answer(ticket, Answer::Networks(networks));
                let recent = self.networks.as_ref().is_some_and(|(_, at)| *at + SCAN_LIMIT > now);
                if !recent && matches!(self.phase, Phase::Idle) {
                    self.scan(None, now);
                }
            }
            LocalRequest::Reset => {
                self.reset(Some(ticket));
            }
            _ if resetting => self.answer(ticket, Answer::Refused(Fault::Resetting)),
            LocalRequest::K2(_) if self.provisioned && self.healthy => self.answer(ticket, Answer::AlreadyProvisioned),
            LocalRequest::K2(k2) => {
                let op = self.start(Command::SaveK2(k2));
                self.saving_k2.push((op, Asker::Local(ticket), String::new()));
            }
            _ if !matches!(self.phase, Phase::Idle) => self.answer(ticket, Answer::Busy),
            LocalRequest::Credentials(credentials) => {
                self.answer(ticket, Answer::Accepted);
                self.begin(*credentials, 0, now);
            }
            LocalRequest::Unusable { ssid, fault } => {
                self.answer(ticket, Answer::Accepted);
                self.begin_unusable(ssid, fault);
            }
        }
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.outputs.push_back(Output::Answer { ticket, answer });
    }

    /// Looks for networks, unless that is under way; `asker` waits for the result.
    pub(super) fn scan(&mut self, asker: Option<Asker>, now: Instant) {
        if self.scan.is_none() {
            let op = self.start(Command::Scan);
            self.scan = Some(Scan { op, until: now + SCAN_LIMIT, waiting: Vec::new() });
        }
        if let Some(scan) = &mut self.scan {
            scan.waiting.extend(asker);
        }
    }

    pub(super) fn scanned(&mut self, result: Result<Vec<Network>, Fault>, now: Instant) {
        let Some(scan) = self.scan.take() else { return };
        let result = result.map(|networks| self.networks = Some((networks, now)));
        for asker in scan.waiting {
            let Asker::Phone { link, to } = asker else { continue };
            if self.established() != Some(link) {
                continue;
            }
            match result {
                Ok(()) => self.list(to),
                Err(fault) => self.reply(to, Reply::Refused(fault)),
            }
        }
    }

    /// Sends the list: one entry per SSID and security, strongest first.
    fn list(&mut self, to: u64) {
        let mut networks = self.networks().to_vec();
        networks.sort_by(|a, b| (&a.ssid, a.security, -i16::from(a.signal)).cmp(&(&b.ssid, b.security, -i16::from(b.signal))));
        networks.dedup_by(|b, a| a.ssid == b.ssid && a.security == b.security);
        networks.sort_by_key(|network| -i16::from(network.signal));
        for part in Reply::networks(&networks) {
            self.reply(to, part);
        }
    }

    pub(super) fn k2_saved(&mut self, asker: Asker, kid: String, result: &Done) {
        let result = match result {
            Done::Saved(result) => *result,
            _ => Err(Fault::StorageFailed),
        };
        match asker {
            Asker::Local(ticket) => self.answer(ticket, result.map_or_else(Answer::Refused, |()| Answer::K2Stored)),
            Asker::Phone { link, to } if self.established() == Some(link) => {
                self.reply(to, result.map_or_else(Reply::Refused, |()| Reply::K2Stored { kid }));
            }
            Asker::Phone { .. } => {}
        }
    }

    /// A session is gone: nobody waits on its link any more.
    pub(super) fn forget_asker(&mut self, gone: Link) {
        let waits = |asker: &Asker| !matches!(asker, Asker::Phone { link, .. } if *link == gone);
        if let Some(scan) = &mut self.scan {
            scan.waiting.retain(waits);
        }
        self.saving_k2.retain(|(_, asker, _)| waits(asker));
    }

    /// Forgets everything that the owner gave, whatever is under way.
    pub(super) fn reset(&mut self, ticket: Option<Ticket>) {
        let mut waiting: Vec<Ticket> = ticket.into_iter().collect();
        let phase = core::mem::replace(&mut self.phase, Phase::Idle);
        if let Phase::Resetting { op, waiting: mut earlier, interrupted } = phase {
            earlier.append(&mut waiting);
            self.phase = Phase::Resetting { op, waiting: earlier, interrupted };
            return;
        }
        if let Some(op) = phase.op() {
            self.outputs.push_back(Output::Cancel { op });
        }
        if let AccessPoint::Opening(op) = self.access_point {
            self.outputs.push_back(Output::Cancel { op });
            self.access_point = AccessPoint::Open;
        }
        self.start(Command::ForgetNetworks);
        let op = self.start(Command::Reset);
        self.phase = Phase::Resetting { op, waiting, interrupted: phase.left() };
    }

    pub(super) fn reset_done(
        &mut self,
        waiting: Vec<Ticket>,
        interrupted: Option<Left>,
        result: Result<Cleared, Fault>,
        now: Instant,
    ) {
        let answer = match result {
            Ok(Cleared { items, node_id }) => {
                self.identity.node_id = node_id;
                self.provisioned = false;
                self.healthy = false;
                self.status = Status::waiting();
                self.finish_at = None;
                self.announce();
                self.scan(None, now);
                // The access point goes by the node's identity, which has changed.
                if self.access_point == AccessPoint::Open {
                    self.open_access_point();
                } else {
                    self.access_point = AccessPoint::Closed;
                }
                Answer::Reset(items)
            }
            Err(fault) => {
                // The attempt that the reset stopped does not come back.
                if let Some(left) = interrupted {
                    self.fail(Failure { fault, registration_status: None }, left);
                }
                Answer::Refused(fault)
            }
        };
        for ticket in waiting {
            self.answer(ticket, answer.clone());
        }
    }
}
