//! Pauses between tries.

use core::time::Duration;

/// Exponential back-off: each pause is twice the one before, up to a limit.
///
/// Without a clock and without randomness: the caller counts its failed tries, waits, and brings the random bits.
///
/// ```
/// use core::time::Duration;
/// use provisioning_core::backoff::{Backoff, Jitter};
///
/// const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15), Jitter::Half);
/// assert_eq!(RETRIES.nominal(3), Duration::from_secs(4));
/// assert_eq!(RETRIES.pause(3, 0), Duration::from_secs(2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    jitter: Jitter,
}

/// How much of a pause is random, so that clients that failed together do not retry together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// Nothing: only one client retries.
    None,
    /// A pause has between half of its nominal length and all of it.
    Half,
    /// A pause has between nothing and its nominal length.
    Full,
}

impl Backoff {
    /// The first pause and the longest one, both nominal.
    pub const fn new(first: Duration, longest: Duration, jitter: Jitter) -> Self {
        Self { first, longest, jitter }
    }

    /// The longest pause.
    pub const fn longest(self) -> Duration {
        self.longest
    }

    /// The pause after that many failed tries, before jitter. No failed try counts like one.
    pub fn nominal(self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }

    /// The pause after that many failed tries. `random` has 32 random bits; `u32::MAX` gives the nominal pause.
    pub fn pause(self, failed: u32, random: u32) -> Duration {
        let nominal = self.nominal(failed);
        let share = f64::from(random) / f64::from(u32::MAX);
        match self.jitter {
            Jitter::None => nominal,
            Jitter::Half => nominal.mul_f64(0.5 + share / 2.0),
            Jitter::Full => nominal.mul_f64(share),
        }
    }

    /// The same for a server that may have sent `Retry-After`: at least as long as it wants, within the limit.
    pub fn pause_after_answer(self, failed: u32, random: u32, retry_after: Option<Duration>) -> Duration {
        self.pause(failed, random).max(self.limited(retry_after.unwrap_or_default()))
    }

    /// A pause that somebody else chose, within the limit.
    pub fn limited(self, pause: Duration) -> Duration {
        pause.min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    const fn backoff(jitter: Jitter) -> Backoff {
        Backoff::new(SECOND, Duration::from_secs(15), jitter)
    }

    #[test]
    fn pauses_double_up_to_the_limit() {
        let pauses = [1, 2, 3, 4, 5, 6, 32, 33, 34, u32::MAX].map(|failed| backoff(Jitter::None).pause(failed, 0).as_secs());
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15, 15, 15, 15, 15]);
    }

    #[test]
    fn a_pause_before_the_first_failure_is_the_first_pause() {
        assert_eq!(backoff(Jitter::None).nominal(0), SECOND);
    }

    #[test]
    fn huge_pauses_do_not_overflow() {
        let backoff = Backoff::new(Duration::from_secs(u64::MAX / 2), Duration::MAX, Jitter::None);
        assert_eq!(backoff.nominal(u32::MAX), Duration::MAX);
    }

    #[test]
    fn half_jitter_keeps_at_least_half_of_the_pause() {
        let backoff = backoff(Jitter::Half);
        assert_eq!(backoff.pause(2, 0), SECOND);
        assert_eq!(backoff.pause(2, u32::MAX), 2 * SECOND);
        assert!((SECOND..2 * SECOND).contains(&backoff.pause(2, u32::MAX / 3)));
    }

    #[test]
    fn full_jitter_may_leave_no_pause() {
        let backoff = backoff(Jitter::Full);
        assert_eq!(backoff.pause(3, 0), Duration::ZERO);
        assert_eq!(backoff.pause(3, u32::MAX), 4 * SECOND);
    }

    #[test]
    fn a_server_can_ask_for_a_longer_pause_but_not_a_shorter_one() {
        let backoff = backoff(Jitter::Half);
        assert_eq!(backoff.pause_after_answer(1, 0, Some(12 * SECOND)), 12 * SECOND);
        assert_eq!(backoff.pause_after_answer(3, u32::MAX, Some(SECOND)), 4 * SECOND);
        assert_eq!(backoff.pause_after_answer(3, u32::MAX, None), 4 * SECOND);
    }

    #[test]
    fn a_server_cannot_ask_for_more_than_the_limit() {
        assert_eq!(backoff(Jitter::Full).pause_after_answer(1, 0, Some(Duration::MAX)), 15 * SECOND);
    }
}
