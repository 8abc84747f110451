//! `Retry-After`.

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// When a server wants the request again: after seconds, or at a date (RFC 9110 §10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// After that time.
    Delay(Duration),
    /// At a date.
    Date {
        /// The date, by the server's clock.
        at: SystemTime,
        /// When the server answered, by the same clock, if it said so.
        answered: Option<SystemTime>,
    },
}

impl RetryAfter {
    /// What the headers of an answer say; none if they say nothing that can be read.
    pub fn parse(headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
        let after = text(RETRY_AFTER)?;
        if let Ok(seconds) = after.parse() {
            return Some(Self::Delay(Duration::from_secs(seconds)));
        }
        let date = |text| httpdate::parse_http_date(text).ok();
        Some(Self::Date { at: date(after)?, answered: text(DATE).and_then(date) })
    }

    /// The pause by the server's own clock, for a client whose clock may never have been set. None for a date that is
    /// past, or that comes without the date of the answer.
    pub fn by_server_clock(self) -> Option<Duration> {
        match self {
            Self::Delay(pause) => Some(pause),
            Self::Date { at, answered } => at.duration_since(answered?).ok(),
        }
    }

    /// The pause by the client's clock. A date that is past needs no pause.
    pub fn by_clock(self, now: SystemTime) -> Duration {
        match self {
            Self::Delay(pause) => pause,
            Self::Date { at, .. } => at.duration_since(now).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(headers: &[(HeaderName, &str)]) -> Option<RetryAfter> {
        RetryAfter::parse(&headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a header value"))).collect())
    }

    fn by_server_clock(headers: &[(HeaderName, &str)]) -> Option<Duration> {
        parsed(headers).and_then(RetryAfter::by_server_clock)
    }

    #[test]
    fn a_server_asks_for_seconds() {
        for (text, seconds) in [("7", 7), ("0", 0), (" 3 ", 3)] {
            let after = parsed(&[(RETRY_AFTER, text)]);
            assert_eq!(after, Some(RetryAfter::Delay(Duration::from_secs(seconds))), "{text}");
            assert_eq!(after.and_then(RetryAfter::by_server_clock), Some(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn by_the_servers_clock_a_date_counts_from_the_answers_own_date() {
        let date = (DATE, "Thu, 01 Jan 1970 00:00:10 GMT");
        let minute = by_server_clock(&[date.clone(), (RETRY_AFTER, "Thu, 01 Jan 1970 00:01:10 GMT")]);
        assert_eq!(minute, Some(Duration::from_mins(1)));
        assert_eq!(by_server_clock(&[date, (RETRY_AFTER, "Thu, 01 Jan 1970 00:00:00 GMT")]), None);
        assert_eq!(by_server_clock(&[(RETRY_AFTER, "Thu, 01 Jan 1970 00:01:10 GMT")]), None);
    }

    #[test]
    fn a_date_is_relative_to_the_clients_clock_and_a_past_one_needs_no_pause() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let pause = |text| parsed(&[(RETRY_AFTER, text)]).map(|after| after.by_clock(now));
        assert_eq!(pause("7"), Some(Duration::from_secs(7)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn what_cannot_be_read_asks_for_nothing() {
        for text in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(parsed(&[(RETRY_AFTER, text)]), None, "{text}");
        }
        assert_eq!(parsed(&[]), None);
    }
}
