//! The end of an attempt at a phone's request.
//!
//! A cancelled attempt ends as a failed one does: the outcome is stored, the previous network is restored, and then the
//! phone gets the answer. The registration's answer is the point of no return: from the moment it is being stored, the node belongs
//! to a household, and only a reset undoes that.

use alloc::vec::Vec;

use super::attempt::{Activity, Stage};
use super::{Asker, Link, Machine, Output};
use crate::domain::Step;
use crate::fault::Fault;
use crate::wire::Reply;

impl Machine {
    /// A phone cancels an attempt. Any authenticated phone may: the one that began it may have lost its session.
    pub(super) fn cancel(&mut self, link: Link, to: u64, request_id: u64) {
        if self.status.step == Step::Waiting || self.status.request_id != request_id {
            return self.reply(to, Reply::Refused(Fault::NoAttempt));
        }
        if self.activity.is_cancellable() {
            let rollback = self.activity.rollback().expect("an attempt is in progress");
            self.refuse_waiting(Fault::Cancelled);
            if let Some(op) = self.activity.attempt_op() {
                self.outbox.push(Output::Cancel { op });
            }
            self.fail(Fault::Cancelled.into(), rollback);
        }
        match &mut self.activity {
            Activity::Recording { waiting, .. } => waiting.push(Asker::Phone { link, to }),
            // The attempt has ended, or is past the point of no return.
            _ => self.reply_status(to),
        }
    }

    /// Answers those who have cancelled an attempt: its outcome is stored.
    pub(super) fn report_end(&mut self, waiting: Vec<Asker>) {
        for asker in waiting {
            if let Asker::Phone { link, to } = asker
                && self.established() == Some(link)
            {
                self.reply_status(to);
            }
        }
    }

    /// Answers a request with the status.
    pub(super) fn reply_status(&mut self, to: u64) {
        let report = self.report();
        self.reply(to, Reply::Status(report));
    }
}

impl Activity {
    /// Whether an attempt is in progress and can still end without a trace in the node's configuration.
    const fn is_cancellable(&self) -> bool {
        match self {
            Self::Attempting { stage, .. } => {
                !matches!(stage, Stage::Storing { .. } | Stage::Keeping { .. } | Stage::Marking { .. } | Stage::Settling { .. })
            }
            Self::Idle | Self::Recording { .. } | Self::Resetting(_) => false,
        }
    }
}
