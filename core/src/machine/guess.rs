//! A guess of the pairing code in clear, for a caller that cannot seal: a form without a script. It has the limits of
//! the guesses of handshakes, and their order: count, store, compare, answer.

use alloc::boxed::Box;

use super::command::{DiskCommand, Op, kind};
use super::{Answer, Instant, Machine, Ticket};
use crate::domain::Credentials;
use crate::fault::Fault;
use crate::secret::SecretText;

/// A guess that is being counted.
pub(super) struct Guess {
    op: Op<kind::Save>,
    ticket: Ticket,
    code: SecretText,
    credentials: Box<Credentials>,
}

impl Guess {
    pub(super) const fn op(&self) -> Op<kind::Save> {
        self.op
    }
}

impl Machine {
    /// Counts a guess, unless a phone has the session, or another guess is being counted.
    pub(super) fn guess_in_clear(&mut self, ticket: Ticket, code: SecretText, credentials: Box<Credentials>, now: Instant) {
        if self.slot.is_some() || self.guess.is_some() {
            return self.answer(ticket, Answer::Busy);
        }
        if let Some(left) = self.guesses.locked(now) {
            return self.answer(ticket, Answer::Locked(left));
        }
        let made = self.guesses.charge(now);
        let op = self.outbox.op();
        self.outbox.start(DiskCommand::SaveGuesses { op, made });
        self.guess = Some(Guess { op, ticket, code, credentials });
    }

    /// The guess is on disk, or could not be stored: only a counted guess is answered.
    pub(super) fn guess_in_clear_counted(&mut self, guess: Guess, result: Result<(), Fault>, now: Instant) {
        let Guess { ticket, code, credentials, .. } = guess;
        if let Err(fault) = result {
            return self.answer(ticket, Answer::Refused(fault));
        }
        if !self.pairing.code.matches(code.expose()) {
            return self.answer(ticket, Answer::Refused(Fault::WrongCode));
        }
        if self.guesses.clear() {
            let op = self.outbox.op();
            self.outbox.start(DiskCommand::SaveGuesses { op, made: 0 });
        }
        // A phone may have begun an attempt or a reset meanwhile.
        if self.activity.is_idle() {
            self.answer(ticket, Answer::Accepted);
            self.begin(*credentials, 0, None, now);
        } else {
            self.answer(ticket, Answer::Busy);
        }
    }
}
