//! Generation of K2, the key that phone and node share for settings.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use provisioning_core::domain::{CreatedAt, K2};
use provisioning_core::secret::SecretBytes;
use rand_core::CryptoRng;
use serde_json::Value;
use time::UtcDateTime;
use zeroize::Zeroizing;

/// Generates a key: 32 random bytes, with the key id `k2-YYYYMM-xxxxxx` from its month and four more random bytes.
pub fn new(now: SystemTime, rng: &mut impl CryptoRng) -> K2 {
    let date = iso_milliseconds(now);
    let mut name = [0; 4];
    rng.fill_bytes(&mut name);
    let mut key = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut *key);
    K2 {
        key: SecretBytes::new(*key),
        kid: format!("k2-{}{}-{}", &date[..4], &date[5..7], &URL_SAFE_NO_PAD.encode(name)),
        created_at: CreatedAt::try_from(date.as_str()).expect("the date is in a format that nodes parse"),
    }
}

/// The key in the format of phone apps: URL-safe base64 without padding.
pub fn export(k2: &K2, node_id: &str) -> Zeroizing<String> {
    let key = Zeroizing::new(URL_SAFE_NO_PAD.encode(k2.key.expose()));
    let [node_id, kid, created_at] = [node_id, &k2.kid, k2.created_at.as_str()].map(|text| Value::from(text).to_string());
    Zeroizing::new(format!(r#"{{"node_id":{node_id},"kid":{kid},"k2":"{}","created_at":{created_at}}}"#, key.as_str()))
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, as JavaScript writes a date.
fn iso_milliseconds(time: SystemTime) -> String {
    let time = UtcDateTime::from(time);
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second, millisecond) = time.as_hms_milli();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use getrandom::SysRng;
    use rand_core::UnwrapErr;

    fn at(seconds: u64, milliseconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(milliseconds)
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(iso_milliseconds(at(0, 0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso_milliseconds(at(951_782_400, 5)), "2000-02-29T00:00:00.005Z");
        assert_eq!(iso_milliseconds(at(1_769_950_800, 123)), "2026-02-01T13:00:00.123Z");
        assert_eq!(iso_milliseconds(at(4_107_542_399, 999)), "2100-02-28T23:59:59.999Z");
        assert_eq!(iso_milliseconds(at(4_107_542_400, 0)), "2100-03-01T00:00:00.000Z");
        assert_eq!(iso_milliseconds(at(1_798_761_599, 0)), "2026-12-31T23:59:59.000Z");
    }

    #[test]
    fn a_key_is_named_after_its_month() {
        let k2 = new(at(1_769_950_800, 123), &mut UnwrapErr(SysRng));
        assert!(k2.kid.starts_with("k2-202602-") && k2.kid.len() == 16, "{}", k2.kid);
        assert_eq!(k2.created_at.as_str(), "2026-02-01T13:00:00.123000+00:00");
    }

    #[test]
    fn two_keys_differ() {
        let [one, other] = [0; 2].map(|_| new(at(0, 0), &mut UnwrapErr(SysRng)));
        assert_ne!(one.key, other.key);
        assert_ne!(one.kid, other.kid);
    }

    #[test]
    fn an_exported_key_has_43_characters() {
        let k2 = new(at(0, 0), &mut UnwrapErr(SysRng));
        let export: Value = serde_json::from_str(&export(&k2, "jarvis-5b91b661")).expect("JSON");
        assert_eq!(export["k2"].as_str().map(str::len), Some(43));
        assert_eq!(export["kid"], k2.kid);
        assert_eq!(export["node_id"], "jarvis-5b91b661");
    }
}
