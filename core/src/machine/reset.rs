//! A factory reset: everything that the owner gave is deleted, whatever is in progress.
//!
//! ```text
//! Beginning ──→ Forgetting ──→ Deleting ──→ the node waits for a phone
//!     │             ↑  └──────────┴──→ Pausing
//!     │             └─────────────────────┘
//!     └──→ nothing has changed
//! ```
//!
//! The record that a reset has begun is on disk from the end of *beginning* to the end of *deleting*. A restart in between
//! resumes the reset, and the node does nothing else before the reset is complete. Success is reported only then.

use alloc::vec::Vec;
use core::mem::{replace, take};
use core::time::Duration;

use super::attempt::{Activity, Rollback};
use super::command::{Cleared, DiskCommand, Op, RadioCommand, kind};
use super::{Answer, Instant, Machine, Output, Ticket};
use crate::backoff::{Backoff, Jitter};
use crate::domain::Status;
use crate::fault::Fault;

/// Pauses between tries. NetworkManager restarts within seconds, and an owner who waits for the reset sees it complete soon.
const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), Jitter::None);

/// A factory reset in progress.
pub(super) struct Reset {
    stage: Stage,
    /// The callers that wait for its completion or failure.
    waiting: Vec<Ticket>,
    /// How many tries have failed.
    failed: u32,
}

/// How far a reset is.
enum Stage {
    /// The record that it has begun is being stored.
    Beginning {
        op: Op<kind::Save>,
        /// What brings the radio back if that fails; none if the reset has stopped no attempt.
        interrupted: Option<Rollback>,
    },
    /// The profiles of networks are being deleted.
    Forgetting { op: Op<kind::Switch> },
    /// The files are being deleted.
    Deleting { op: Op<kind::Reset> },
    /// A step has failed; forgetting and deleting are tried again at that time.
    Pausing { until: Instant },
}

impl Activity {
    /// The command that stores that a reset has begun.
    pub(super) const fn beginning_reset(&self) -> Option<Op<kind::Save>> {
        match self {
            Self::Resetting(Reset { stage: Stage::Beginning { op, .. }, .. }) => Some(*op),
            _ => None,
        }
    }

    /// The command that deletes the profiles of networks.
    pub(super) const fn forgetting(&self) -> Option<Op<kind::Switch>> {
        match self {
            Self::Resetting(Reset { stage: Stage::Forgetting { op }, .. }) => Some(*op),
            _ => None,
        }
    }
}

impl Machine {
    /// Begins a reset. During one, the caller waits for its end, and a pause ends at once.
    pub(super) fn reset(&mut self, ticket: Ticket) {
        if let Activity::Resetting(reset) = &mut self.activity {
            reset.waiting.push(ticket);
            if matches!(reset.stage, Stage::Pausing { .. }) {
                self.forget_networks();
            }
            return;
        }
        self.refuse_waiting(Fault::Resetting);
        let interrupted = self.activity.rollback();
        if let Some(op) = self.activity.attempt_op() {
            self.outbox.push(Output::Cancel { op });
        }
        self.stop_opening();
        let op = self.outbox.op();
        self.outbox.start(DiskCommand::BeginReset { op });
        let stage = Stage::Beginning { op, interrupted };
        self.activity = Activity::Resetting(Reset { stage, waiting: alloc::vec![ticket], failed: 0 });
    }

    /// Resumes a reset that a restart has interrupted.
    pub(super) fn resume_reset(&mut self) {
        let stage = self.start_forgetting();
        self.activity = Activity::Resetting(Reset { stage, waiting: Vec::new(), failed: 0 });
    }

    /// The record that the reset has begun is stored, or not.
    pub(super) fn reset_begun(&mut self, result: Result<(), Fault>) {
        match result {
            Ok(()) => {
                // The status no longer contains what the reset deletes.
                self.status = Status::waiting();
                self.announce();
                self.forget_networks();
            }
            Err(fault) => {
                let Activity::Resetting(Reset { stage, waiting, .. }) = replace(&mut self.activity, Activity::Idle) else {
                    return;
                };
                // The attempt that the reset has stopped is not continued.
                if let Stage::Beginning { interrupted: Some(rollback), .. } = stage {
                    self.fail(fault.into(), rollback);
                }
                self.answer_all(waiting, &Answer::Refused(fault));
            }
        }
    }

    fn start_forgetting(&mut self) -> Stage {
        let op = self.outbox.op();
        self.outbox.start(RadioCommand::ForgetNetworks { op });
        Stage::Forgetting { op }
    }

    fn forget_networks(&mut self) {
        let stage = self.start_forgetting();
        self.reset_enters(stage);
    }

    /// The networks are forgotten, or not.
    pub(super) fn networks_forgotten(&mut self, result: Result<(), Fault>, now: Instant) {
        match result {
            Ok(()) => {
                let op = self.outbox.op();
                self.outbox.start(DiskCommand::FinishReset { op });
                self.reset_enters(Stage::Deleting { op });
            }
            Err(fault) => self.retry_reset_later(fault, now),
        }
    }

    /// The files are deleted, or not.
    pub(super) fn files_deleted(&mut self, op: Op<kind::Reset>, result: Result<Cleared, Fault>, now: Instant) {
        match &self.activity {
            Activity::Resetting(Reset { stage: Stage::Deleting { op: expected }, .. }) if *expected == op => {}
            _ => return,
        }
        match result {
            Ok(cleared) => self.reset_completed(cleared, now),
            Err(fault) => self.retry_reset_later(fault, now),
        }
    }

    fn retry_reset_later(&mut self, fault: Fault, now: Instant) {
        let Activity::Resetting(reset) = &mut self.activity else { return };
        reset.failed = reset.failed.saturating_add(1);
        reset.stage = Stage::Pausing { until: now + RETRIES.nominal(reset.failed) };
        let waiting = take(&mut reset.waiting);
        self.answer_all(waiting, &Answer::ResetIncomplete(fault));
    }

    /// When a reset that has failed is tried again.
    pub(super) const fn reset_due(&self) -> Option<Instant> {
        match &self.activity {
            Activity::Resetting(Reset { stage: Stage::Pausing { until }, .. }) => Some(*until),
            _ => None,
        }
    }

    pub(super) fn reset_timed_out(&mut self, now: Instant) {
        if self.reset_due().is_some_and(|until| until <= now) {
            self.forget_networks();
        }
    }

    fn reset_completed(&mut self, Cleared { items, node_id }: Cleared, now: Instant) {
        let Activity::Resetting(Reset { waiting, .. }) = replace(&mut self.activity, Activity::Idle) else { return };
        self.identity.node_id = node_id;
        self.enrollment.reset();
        self.had_sealed_attempt = false;
        self.announce();
        self.scan(None, now);
        self.reopen_access_point();
        self.answer_all(waiting, &Answer::Reset(items));
    }

    fn reset_enters(&mut self, next: Stage) {
        if let Activity::Resetting(Reset { stage, .. }) = &mut self.activity {
            *stage = next;
        }
    }

    fn answer_all(&mut self, waiting: Vec<Ticket>, answer: &Answer) {
        for ticket in waiting {
            self.answer(ticket, answer.clone());
        }
    }
}
