//! The permission of a person at the node, for protocols that have no secret: for a minute, a client may give the node its network.

use core::time::Duration;

use super::{Answer, Instant, Machine, Ticket};

/// How long a permission lasts: the time that Improv suggests.
pub(super) const LASTS: Duration = Duration::from_mins(1);
/// The attempts of one permission. A failed one starts the minute over, because its owner types the password once more; a
/// neighbour cannot prolong it for ever.
const ATTEMPTS: u32 = 5;

/// The permission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Authorization {
    /// When it ends; none if there is none, or while an attempt uses it.
    until: Option<Instant>,
    /// The attempts that it is still good for.
    left: u32,
    /// An attempt uses it.
    in_use: bool,
}

impl Authorization {
    /// A person gives it.
    pub(super) fn give(&mut self, now: Instant) {
        *self = Self { until: Some(now + LASTS), left: ATTEMPTS, in_use: self.in_use };
    }

    /// It ends.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Whether a client may give the node its network.
    pub(super) const fn is_given(self) -> bool {
        self.until.is_some()
    }

    /// When it ends by itself.
    pub(super) const fn until(self) -> Option<Instant> {
        self.until
    }

    fn timed_out(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.end();
        }
    }

    /// An attempt uses it.
    pub(super) const fn used(&mut self) {
        self.until = None;
        self.left = self.left.saturating_sub(1);
        self.in_use = true;
    }

    /// The attempt that used it has failed: another one may follow.
    fn failed(&mut self, now: Instant) {
        if self.left > 0 && self.until.is_none() {
            self.until = Some(now + LASTS);
        }
    }
}

impl Machine {
    /// A person at the node permits clients without a secret to give it its network.
    pub(super) fn authorize(&mut self, now: Instant) -> bool {
        let served = self.config.improv || self.config.nymea;
        if served {
            self.authorization.give(now);
        }
        served
    }

    /// The same, as a local request.
    pub(super) fn authorize_locally(&mut self, ticket: Ticket, now: Instant) {
        let answer = if self.authorize(now) { Answer::Authorized } else { Answer::NothingToAuthorize };
        self.answer(ticket, answer);
    }

    /// Brings the permission in line with the time and the attempt that uses it.
    pub(super) fn settle_authorization(&mut self, now: Instant) {
        self.authorization.timed_out(now);
        if self.activity.is_reset() {
            self.authorization.end();
        }
        if self.authorization.in_use && !self.activity.is_attempt() {
            self.authorization.in_use = false;
            if self.status.failure.is_some() {
                self.authorization.failed(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_lasts_a_minute_from_each_failure_and_for_five_attempts() {
        let (mut given, mut now) = (Authorization::default(), Duration::ZERO);
        given.failed(now);
        assert!(!given.is_given(), "a failure gives none");
        given.give(now);
        for attempt in 1..=ATTEMPTS {
            now += LASTS.saturating_sub(Duration::from_nanos(1));
            given.timed_out(now);
            assert!(given.is_given(), "attempt {attempt}");
            given.used();
            assert!(!given.is_given(), "an attempt uses it");
            now += Duration::from_mins(3);
            given.timed_out(now);
            given.failed(now);
        }
        assert!(!given.is_given());
        given.give(now);
        given.timed_out(now + LASTS);
        assert!(!given.is_given());
    }
}
