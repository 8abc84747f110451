//! The requests of a phone to network care.
//!
//! The session authorizes them: the phone has proven the pairing secret. The machine passes one request at a time on. With
//! some of them, the phone leaves the radio to network care until its link ends or an attempt begins.

use super::command::{CareCommand, Op, kind};
use super::{Link, Machine};
use crate::domain::{CareReply, CareRequest};
use crate::fault::Fault;
use crate::wire::Reply;

/// A request in progress.
pub(super) struct Caring {
    op: Op<kind::Care>,
    /// Who waits for the answer; none if the session has ended.
    asker: Option<(Link, u64)>,
}

impl Machine {
    /// A phone with the session sends a request.
    pub(super) fn phone_cares(&mut self, link: Link, to: u64, request: CareRequest) {
        if !self.config.network_care {
            // The answer of a node that does not know the request.
            return self.reply(to, Reply::Refused(Fault::Malformed));
        }
        if self.caring.is_some() {
            return self.reply(to, Reply::Refused(Fault::InProgress));
        }
        if request.leaves_radio() {
            self.left_to_care = Some(link);
        }
        let op = self.outbox.op();
        self.outbox.start(CareCommand::Serve { op, request });
        self.caring = Some(Caring { op, asker: Some((link, to)) });
    }

    /// A request has ended.
    pub(super) fn cared(&mut self, op: Op<kind::Care>, result: Result<CareReply, Fault>) {
        let Some(Caring { asker, .. }) = self.caring.take_if(|caring| caring.op == op) else { return };
        let Some((_, to)) = asker.filter(|(link, _)| self.established() == Some(*link)) else { return };
        match result {
            Ok(answer) => Reply::of_care(answer).into_iter().for_each(|reply| self.reply(to, reply)),
            Err(fault) => self.reply(to, Reply::Refused(fault)),
        }
    }

    /// The session of a link has ended: its request continues, and needs no answer.
    pub(super) fn forget_caring(&mut self, link: Link) {
        if let Some(caring) = &mut self.caring {
            caring.asker.take_if(|(asker, _)| *asker == link);
        }
    }
}
