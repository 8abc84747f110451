//! The queue of outputs, and the commands in progress.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::command::{Command, Done, Kind, Op, OpId};
use super::{Instant, Output};

/// What is to be carried out, in order, the number of the next command, and the commands that may become overdue.
pub(super) struct Outbox {
    next: u64,
    outputs: VecDeque<Output>,
    /// The time of the input in progress, from which the limits of commands count.
    now: Instant,
    running: Vec<Running>,
}

/// A command in progress that has a limit.
struct Running {
    until: Instant,
    lost: Done,
}

impl Outbox {
    pub(super) const fn new(now: Instant) -> Self {
        Self { next: 0, outputs: VecDeque::new(), now, running: Vec::new() }
    }

    /// An input begins.
    pub(super) const fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// Numbers a command, which is started later.
    pub(super) const fn op<K: Kind>(&mut self) -> Op<K> {
        let op = Op::new(self.next);
        self.next += 1;
        op
    }

    pub(super) fn start(&mut self, command: impl Into<Command>) {
        let command = command.into();
        if let Some(limit) = command.limit() {
            self.running.push(Running { until: self.now + limit, lost: command.lost() });
        }
        self.outputs.push_back(Output::Start(command));
    }

    pub(super) fn push(&mut self, output: Output) {
        if let Output::Cancel { op } = output {
            self.ended(op);
        }
        self.outputs.push_back(output);
    }

    /// A command has ended, or is cancelled.
    pub(super) fn ended(&mut self, op: OpId) {
        self.running.retain(|running| running.lost.id() != op);
    }

    /// When the next command is overdue.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        self.running.iter().map(|running| running.until).min()
    }

    /// Cancels a command that is overdue, and returns the result in place of its own.
    pub(super) fn overdue(&mut self) -> Option<Done> {
        let index = self.running.iter().position(|running| running.until <= self.now)?;
        let Running { lost, .. } = self.running.remove(index);
        self.outputs.push_back(Output::Cancel { op: lost.id() });
        Some(lost)
    }

    pub(super) fn next(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
