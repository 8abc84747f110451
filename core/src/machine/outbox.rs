//! The queue of outputs.

use alloc::collections::VecDeque;

use super::Output;
use super::command::{Command, Kind, Op};

/// What is to be carried out, in order, and the number of the next command.
#[derive(Default)]
pub(super) struct Outbox {
    next: u64,
    outputs: VecDeque<Output>,
}

impl Outbox {
    /// Numbers a command, which is started later.
    pub(super) const fn op<K: Kind>(&mut self) -> Op<K> {
        let op = Op::new(self.next);
        self.next += 1;
        op
    }

    pub(super) fn start(&mut self, command: impl Into<Command>) {
        self.push(Output::Start(command.into()));
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn next(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}
