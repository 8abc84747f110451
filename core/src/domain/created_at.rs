//! The date of a K2, parsed leniently, as the phone apps require, and stored in Python's `isoformat`.

use alloc::format;
use alloc::string::String;
use core::fmt;

use crate::fault::Fault;

/// Numbers up to this are seconds since 1970, larger ones milliseconds: the year 2603 in the one, 1970 in the other.
const SECONDS_LIMIT: i64 = 20_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// A point in time as Python's `datetime.isoformat()` writes it, because the existing software reads it so.
///
/// It is made from a text in ISO 8601 or RFC 3339, with or without a time, a fraction and an offset; or from a time since
/// 1970, as a number or as its text: seconds, or milliseconds above 20,000,000,000. A time without an offset stays without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedAt(String);

impl CreatedAt {
    /// The text for `k2_metadata.json`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for CreatedAt {
    type Error = Fault;

    fn try_from(text: &str) -> Result<Self, Fault> {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let dots = digits.bytes().filter(|byte| *byte == b'.').count();
        if digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && dots <= 1 && digits.len() > dots {
            return match dots {
                0 => text.parse::<i64>().map_err(|_| Fault::InvalidK2).and_then(Self::try_from),
                _ => text.parse::<f64>().map_err(|_| Fault::InvalidK2).and_then(Self::try_from),
            };
        }
        iso(text.as_bytes()).map(Self).ok_or(Fault::InvalidK2)
    }
}

impl TryFrom<i64> for CreatedAt {
    type Error = Fault;

    /// A time since 1970, in seconds or milliseconds.
    fn try_from(timestamp: i64) -> Result<Self, Fault> {
        if (-SECONDS_LIMIT..=SECONDS_LIMIT).contains(&timestamp) {
            utc(timestamp, 0)
        } else {
            utc(timestamp.div_euclid(1000), timestamp.rem_euclid(1000) * 1000)
        }
    }
}

impl TryFrom<f64> for CreatedAt {
    type Error = Fault;

    /// A time since 1970, in seconds or milliseconds, to the microsecond.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "the range is checked before, and the constant is exact; remove when the standard library has a checked cast"
    )]
    fn try_from(timestamp: f64) -> Result<Self, Fault> {
        // Beyond every representable year, and within the range of the cast.
        if !timestamp.is_finite() || timestamp.abs() > 1e15 {
            return Err(Fault::InvalidK2);
        }
        let whole = libm::floor(timestamp);
        let fraction = timestamp - whole;
        let whole = whole as i64;
        if timestamp.abs() <= SECONDS_LIMIT as f64 {
            utc(whole, libm::round(fraction * 1e6) as i64)
        } else {
            utc(whole.div_euclid(1000), whole.rem_euclid(1000) * 1000 + libm::round(fraction * 1e3) as i64)
        }
    }
}

impl fmt::Display for CreatedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A time in UTC, from 0001-01-01 to 9999-12-31; `microseconds` may carry over.
fn utc(seconds: i64, microseconds: i64) -> Result<CreatedAt, Fault> {
    let seconds = seconds + microseconds.div_euclid(1_000_000);
    let microseconds = microseconds.rem_euclid(1_000_000);
    let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY));
    if !(1..=9999).contains(&year) {
        return Err(Fault::InvalidK2);
    }
    let second = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = fraction_text(&format!("{microseconds:06}"));
    Ok(CreatedAt(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}+00:00")))
}

/// The date of a day since 1970-01-01 in the Gregorian calendar: year, month, day.
///
/// Counted in eras of 400 years, which all have 146,097 days, and in years that begin in March, so that the leap day is
/// the last one.
const fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day = day.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

const fn days_of(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Six digits as `isoformat` writes a fraction: with its dot, or not at all.
fn fraction_text(digits: &str) -> String {
    if digits.bytes().all(|digit| digit == b'0') { String::new() } else { format!(".{digits}") }
}

/// Reads a date, or a date and a time; writes it as `isoformat`.
fn iso(text: &[u8]) -> Option<String> {
    let (year, text) = number::<4>(text)?;
    let (month, text) = number::<2>(text.strip_prefix(b"-")?)?;
    let (day, text) = number::<2>(text.strip_prefix(b"-")?)?;
    if year == 0 || !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    let Some((separator, text)) = text.split_first() else { return Some(format!("{date}T00:00:00")) };
    if !b"Tt _".contains(separator) {
        return None;
    }
    let (hour, text) = number::<2>(text)?;
    let (minute, mut text) = number::<2>(text.strip_prefix(b":")?)?;
    let (mut second, mut fraction) = (0, String::new());
    if let Some(rest) = text.strip_prefix(b":") {
        (second, text) = number::<2>(rest)?;
        if let Some(rest) = text.strip_prefix(b".").or_else(|| text.strip_prefix(b",")) {
            let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (digits, rest) = rest.split_at(length);
            let digits = core::str::from_utf8(digits).ok().filter(|digits| !digits.is_empty())?;
            fraction = fraction_text(&format!("{:0<6}", &digits[..length.min(6)]));
            text = rest;
        }
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}{}", offset(text)?))
}

/// Reads the rest of a time: nothing, `Z`, or an offset below a day, which may have the minus sign U+2212.
fn offset(text: &[u8]) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    if text.eq_ignore_ascii_case(b"Z") {
        return Some("+00:00".into());
    }
    let (sign, text) = match text.strip_prefix(b"+") {
        Some(text) => ('+', text),
        None => ('-', text.strip_prefix(b"-").or_else(|| text.strip_prefix("\u{2212}".as_bytes()))?),
    };
    let (hour, text) = number::<2>(text)?;
    let (minute, text) = number::<2>(text.strip_prefix(b":").unwrap_or(text))?;
    let sign = if hour == 0 && minute == 0 { '+' } else { sign };
    (text.is_empty() && hour <= 23 && minute <= 59).then(|| format!("{sign}{hour:02}:{minute:02}"))
}

/// Reads `N` digits.
fn number<const N: usize>(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_first_chunk::<N>()?;
    let value = digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + u32::from(digit - b'0')))?;
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<String> {
        CreatedAt::try_from(text).ok().map(|date| date.0)
    }

    #[test]
    fn texts_are_read_as_the_existing_software_reads_them() {
        for (text, expected) in [
            ("2026-02-01T13:00:00.123Z", "2026-02-01T13:00:00.123000+00:00"),
            ("2026-02-01T13:00:00Z", "2026-02-01T13:00:00+00:00"),
            ("2026-02-01T13:00:00+02:00", "2026-02-01T13:00:00+02:00"),
            ("2026-02-01T13:00:00-0530", "2026-02-01T13:00:00-05:30"),
            ("2026-02-01T13:00:00\u{2212}02:00", "2026-02-01T13:00:00-02:00"),
            ("2026-02-01T13:00:00-00:00", "2026-02-01T13:00:00+00:00"),
            ("2026-02-01T13:00:00-23:59", "2026-02-01T13:00:00-23:59"),
            ("2026-02-01T13:00:00", "2026-02-01T13:00:00"),
            ("2026-02-01 13:00:00", "2026-02-01T13:00:00"),
            ("2026-02-01_13:00:00", "2026-02-01T13:00:00"),
            ("2026-02-01t13:00:00z", "2026-02-01T13:00:00+00:00"),
            ("2026-02-01T13:00", "2026-02-01T13:00:00"),
            ("2026-02-01T13:00Z", "2026-02-01T13:00:00+00:00"),
            ("2026-02-01T13:00:00.1", "2026-02-01T13:00:00.100000"),
            ("2026-02-01T13:00:00,5Z", "2026-02-01T13:00:00.500000+00:00"),
            ("2026-02-01T13:00:00.1234567Z", "2026-02-01T13:00:00.123456+00:00"),
            ("2026-02-01T13:00:00.0000001Z", "2026-02-01T13:00:00+00:00"),
            ("2026-02-01", "2026-02-01T00:00:00"),
            ("2024-02-29", "2024-02-29T00:00:00"),
            ("0001-01-01T00:00:00+10:00", "0001-01-01T00:00:00+10:00"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999+00:00"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn times_since_1970_are_read_as_the_existing_software_reads_them() {
        for (text, expected) in [
            ("0", "1970-01-01T00:00:00+00:00"),
            ("-0", "1970-01-01T00:00:00+00:00"),
            ("+5", "1970-01-01T00:00:05+00:00"),
            ("2026", "1970-01-01T00:33:46+00:00"),
            ("1769950800", "2026-02-01T13:00:00+00:00"),
            ("1769950800123", "2026-02-01T13:00:00.123000+00:00"),
            ("-1", "1969-12-31T23:59:59+00:00"),
            ("20000000000", "2603-10-11T11:33:20+00:00"),
            ("20000000001", "1970-08-20T11:33:20.001000+00:00"),
            ("-20000000000", "1336-03-23T12:26:40+00:00"),
            ("-20000000001", "1969-05-14T12:26:39.999000+00:00"),
            ("253402300799999", "9999-12-31T23:59:59.999000+00:00"),
            ("-62135596800000", "0001-01-01T00:00:00+00:00"),
            ("1769950800.5", "2026-02-01T13:00:00.500000+00:00"),
            ("1769950800.1234567", "2026-02-01T13:00:00.123457+00:00"),
            ("-1.5", "1969-12-31T23:59:58.500000+00:00"),
            ("-0.0000001", "1970-01-01T00:00:00+00:00"),
            ("20000000000.5", "1970-08-20T11:33:20.000500+00:00"),
            ("19999999999.999", "2603-10-11T11:33:19.999001+00:00"),
            (".5", "1970-01-01T00:00:00.500000+00:00"),
            ("5.", "1970-01-01T00:00:05+00:00"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        let number = |number: f64| CreatedAt::try_from(number).map(|date| date.0);
        assert_eq!(number(1_769_950_800_123.5), Ok("2026-02-01T13:00:00.123500+00:00".into()));
        assert_eq!(number(253_402_300_799_999.9), Ok("9999-12-31T23:59:59.999906+00:00".into()));
        assert_eq!(number(1e-7), Ok("1970-01-01T00:00:00+00:00".into()));
    }

    #[test]
    fn invalid_times_are_refused() {
        for text in [
            "",
            "abc",
            ".",
            "-",
            "+-5",
            "1e3",
            "NaN",
            "inf",
            "1_000",
            " 1769950800",
            "1769950800 ",
            "1769950800Z",
            "20260201T130000Z",
            "2026-2-1",
            "2026-02-01T",
            "2026-02-01Z",
            "2026-02-01T13",
            "2026-02-01T1300",
            "2026-02-01T13:0",
            "2026-02-01T13:00:0",
            "2026-02-01T13:00:00 Z",
            "2026-02-01T13:00:00Z ",
            " 2026-02-01",
            "2026-02-01T13:00:00.Z",
            "2026-02-01T24:00:00",
            "2026-02-01T12:60",
            "2026-02-01T23:59:60Z",
            "2026-02-30",
            "2023-02-29",
            "1900-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-01-00",
            "0000-01-01",
            "10000-01-01",
            "2026-02-01T13:00:00+24:00",
            "2026-02-01T13:00:00+2",
            "2026-02-01T13:00:00+02",
            "2026-02-01T13:00:00+14:00:30",
            "253402300800000",
            "-62135596800001",
            "99999999999999999999",
            "1.5.5",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
        for number in [f64::NAN, f64::INFINITY, 1e300, -1e300, 253_402_300_800_000.0] {
            assert_eq!(CreatedAt::try_from(number), Err(Fault::InvalidK2), "{number}");
        }
        assert_eq!(CreatedAt::try_from(i64::MAX), Err(Fault::InvalidK2));
        assert_eq!(CreatedAt::try_from(i64::MIN), Err(Fault::InvalidK2));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_written_reads_back(text in ".{0,40}|[-+0-9.:TZ,_ ]{0,40}") {
            if let Ok(date) = CreatedAt::try_from(text.as_str()) {
                prop_assert_eq!(CreatedAt::try_from(date.as_str()), Ok(date));
            }
        }

        #[test]
        fn every_number_reads_back_or_is_refused(integer in any::<i64>(), float in any::<f64>(), near in -62_135_596_800_000..253_402_300_800_000_i64) {
            for date in [CreatedAt::try_from(integer), CreatedAt::try_from(float), CreatedAt::try_from(near)].into_iter().flatten() {
                prop_assert_eq!(CreatedAt::try_from(date.as_str()), Ok(date));
            }
        }

        #[test]
        fn a_number_and_its_text_are_the_same_time(number in any::<i64>()) {
            prop_assert_eq!(CreatedAt::try_from(number), CreatedAt::try_from(number.to_string().as_str()));
        }

        #[test]
        fn consecutive_days_have_consecutive_dates(day in -719_162..2_932_895_i64) {
            let ((year, month, number), next) = (date(day), date(day + 1));
            let length = days_of(u32::try_from(year).expect("from year 1"), u32::try_from(month).expect("1 to 12"));
            let expected = if number < i64::from(length) { (year, month, number + 1) }
                else if month < 12 { (year, month + 1, 1) }
                else { (year + 1, 1, 1) };
            prop_assert_eq!(next, expected);
        }
    }
}
