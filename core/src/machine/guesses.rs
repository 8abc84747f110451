//! The limit on guesses of the pairing code.
//!
//! Five times, then once after a pause that doubles from one minute to an hour; a success starts over. The count is on
//! disk before a guess is answered, so neither a reconnect nor a power cut gives one back. There is no wall clock to
//! trust at first boot, so a restart starts the pause again.

use core::time::Duration;

use super::Instant;
use crate::backoff::{Backoff, Jitter};

/// Guesses before the first pause.
pub const FREE: u32 = 5;

/// The pauses after those. Without jitter: the phone learns when the pause ends.
const PAUSES: Backoff = Backoff::new(Duration::from_mins(1), Duration::from_hours(1), Jitter::None);

/// The guesses since the last success.
#[derive(Debug)]
pub(super) struct Guesses {
    made: u32,
    locked_until: Option<Instant>,
}

impl Guesses {
    /// The count that was on disk at the start.
    pub(super) fn restored(made: u32, now: Instant) -> Self {
        Self { made, locked_until: pause(made).map(|pause| now + pause) }
    }

    /// How long nothing is compared; none if a guess may be made.
    pub(super) fn locked(&self, now: Instant) -> Option<Duration> {
        self.locked_until.and_then(|until| until.checked_sub(now)).filter(|left| !left.is_zero())
    }

    /// Charges a guess; returns the count to store before it is answered.
    pub(super) fn charge(&mut self, now: Instant) -> u32 {
        self.made = self.made.saturating_add(1);
        self.locked_until = pause(self.made).map(|pause| now + pause);
        self.made
    }

    /// A phone has proven that it knows the secret; returns whether there is anything to store.
    pub(super) fn clear(&mut self) -> bool {
        let charged = self.made > 0;
        *self = Self { made: 0, locked_until: None };
        charged
    }
}

fn pause(made: u32) -> Option<Duration> {
    let failed = made.saturating_add(1).checked_sub(FREE).filter(|failed| *failed > 0)?;
    Some(PAUSES.nominal(failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_attempts_then_pauses_that_double_to_an_hour() {
        let mut now = Duration::ZERO;
        let mut guesses = Guesses::restored(0, now);
        for _ in 0..4 {
            guesses.charge(now);
            assert_eq!(guesses.locked(now), None);
        }
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            guesses.charge(now);
            assert_eq!(guesses.locked(now), Some(Duration::from_secs(minutes * 60)));
            now += Duration::from_secs(minutes * 60);
            assert_eq!(guesses.locked(now), None);
        }
    }

    #[test]
    fn a_restart_starts_the_pause_again() {
        assert_eq!(Guesses::restored(6, Duration::ZERO).locked(Duration::ZERO), Some(Duration::from_mins(2)));
        assert_eq!(Guesses::restored(4, Duration::ZERO).locked(Duration::ZERO), None);
        assert!(Guesses::restored(u32::MAX, Duration::ZERO).locked(Duration::ZERO).is_some());
    }

    #[test]
    fn a_success_starts_over() {
        let mut guesses = Guesses::restored(9, Duration::ZERO);
        assert!(guesses.clear());
        assert_eq!(guesses.locked(Duration::ZERO), None);
        assert!(!guesses.clear());
    }
}
