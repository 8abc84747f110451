//! The time, as an input: tests of rules that depend on it move the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// A moment, in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// This moment and `duration`; saturates at the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment less `duration`; saturates at the beginning of time.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    fn date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// ISO 8601 in UTC without a zone, with microseconds.
    fn naive(self) -> String {
        let moment = self.date_time();
        let (date, time) = (moment.date(), moment.time());
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}",
            date.year(),
            u8::from(date.month()),
            date.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.microsecond()
        )
    }

    /// ISO 8601 in UTC, with the zone as `Z`: the only format that all clients of the token route read as UTC.
    pub fn utc(self) -> String {
        format!("{}Z", self.naive())
    }

    /// ISO 8601 in UTC, with the zone as an offset: the format of every other answer.
    pub fn zoned(self) -> String {
        format!("{}+00:00", self.naive())
    }
}

/// A number and its unit, such as `30d`; at least a second and at most ten years.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        'w' => 7 * 24 * 3600,
        _ => return None,
    };
    let number = text[..text.len() - unit.len_utf8()].parse::<u64>().ok()?;
    let ten_years = 10 * 366 * 24 * 3600;
    number.checked_mul(seconds).filter(|seconds| (1..=ten_years).contains(seconds)).map(Duration::from_secs)
}

/// The source of the time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The clock of the machine.
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that only [`Clock::advance`] moves; copies of it show the same time.
    pub fn manual(start: Moment) -> Self {
        Self(Some(Arc::new(AtomicI64::new(start.0))))
    }

    /// Moves a manual clock; the machine's cannot be moved.
    pub fn advance(&self, duration: Duration) {
        if let Some(manual) = &self.0 {
            manual.store(self.now().after(duration).0, Ordering::SeqCst);
        }
    }

    /// The time.
    #[expect(clippy::disallowed_methods, reason = "the one place where the server reads the clock")]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Some(manual) => Moment(manual.load(Ordering::SeqCst)),
            // A clock before 1970 counts as 1970.
            None => Moment(0).after(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_with_its_zone() {
        let moment = Moment(1_767_540_600_123);
        assert_eq!(moment.utc(), "2026-01-04T15:30:00.123000Z");
        assert_eq!(moment.zoned(), "2026-01-04T15:30:00.123000+00:00");
    }

    #[test]
    fn a_time_is_a_number_with_its_unit() {
        assert_eq!(parse_duration("30d"), Some(Duration::from_hours(720)));
        assert_eq!(parse_duration("1w"), Some(Duration::from_hours(168)));
        for wrong in ["", "d", "30", "0d", "-1d", "1.5h", "99999999999999999999d", "400000w", "30é"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Moment(5));
        let copy = clock.clone();
        clock.advance(Duration::from_secs(1));
        assert_eq!(copy.now(), Moment(1005));
    }
}
