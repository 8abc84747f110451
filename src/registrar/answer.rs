//! What a command center answers to a registration.

use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::error::Error;
use provisioning_core::domain::{Registration, TEXT_LIMIT};
use provisioning_core::secret::SecretText;

/// The longest answer that is read. Bytes. A registration has a few hundred; the rest is room for fields that a later
/// command center adds.
const LIMIT: usize = 64 * 1024;

/// Reads a registration, or why there is none.
pub(super) async fn read(response: Response) -> Result<Registration, Error> {
    let status = response.status();
    if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
        // The body of a refusal is not read: its text is for the operator of the command center, and may repeat the token.
        return Err(Error::Status { status, retry_after: retry_after(status, response.headers()) });
    }
    parse(status, &body(response).await?)
}

/// The body, up to the limit. The buffer never grows, so no part of a key is left in memory that is not erased.
pub(super) async fn body(mut response: Response) -> Result<Zeroizing<Vec<u8>>, Error> {
    let status = response.status();
    let mut body = Zeroizing::new(Vec::with_capacity(LIMIT));
    while let Some(chunk) = response.chunk().await.map_err(Error::exchange)? {
        if body.len() + chunk.len() > LIMIT {
            return Err(Error::TooLarge { status, limit: LIMIT });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What is read of an answer; other fields are for other readers.
#[derive(Deserialize)]
struct Answer {
    node_id: String,
    #[serde(deserialize_with = "secret")]
    node_key: SecretText,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretText, D::Error> {
    String::deserialize(deserializer).map(SecretText::new)
}

fn parse(status: StatusCode, body: &[u8]) -> Result<Registration, Error> {
    let problem = |problem| Error::Answer { status, problem };
    // The parser's own message quotes the body.
    let Answer { node_id, node_key } = serde_json::from_slice(body)
        .map_err(|error| problem(if error.is_data() { "a field is missing or of another type" } else { "it is not JSON" }))?;
    // Both become parts of an HTTP header, and lines of files.
    for text in [&node_id, node_key.expose()] {
        if text.is_empty() {
            return Err(problem("a field is empty"));
        }
        if text.len() > TEXT_LIMIT || text.chars().any(char::is_control) {
            return Err(problem("a field is too long, or holds control characters"));
        }
    }
    Ok(Registration { node_id, node_key })
}

/// When a command center that is overloaded or failed wants to be asked again: seconds or a date (RFC 9110 §10.2.3).
///
/// A date counts from the answer's own `Date`, because the clock of a new device may stand anywhere.
pub(super) fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
        return None;
    }
    let text = |name: HeaderName| headers.get(name)?.to_str().ok();
    let after = text(RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let answered = httpdate::parse_http_date(text(DATE)?).ok()?;
    httpdate::parse_http_date(after).ok()?.duration_since(answered).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(body: &str) -> Result<Registration, String> {
        parse(StatusCode::CREATED, body.as_bytes()).map_err(|error| error.chain())
    }

    fn waits(status: u16, headers: &[(HeaderName, &str)]) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a header value"))).collect();
        retry_after(StatusCode::from_u16(status).expect("a status"), &headers)
    }

    #[test]
    fn an_answer_holds_identity_and_key_among_other_fields() {
        let registration = parsed(r#"{"node_id":"n","room":"den","user":"default","voice_mode":"brief","node_key":"k","x":[1]}"#);
        assert_eq!(registration, Ok(Registration { node_id: "n".into(), node_key: SecretText::new("k".into()) }));
    }

    #[test]
    fn an_answer_without_credentials_is_told_without_its_content() {
        let long = format!(r#"{{"node_id":"n","node_key":"{}"}}"#, "canary".repeat(100));
        for body in [
            "",
            "canary",
            "<html>canary</html>",
            "[]",
            "null",
            "{}",
            r#""canary""#,
            r#"{"node_id":"canary"}"#,
            r#"{"node_key":"canary"}"#,
            r#"{"node_id":"n","node_key":null,"c":"canary"}"#,
            r#"{"node_id":7,"node_key":"canary"}"#,
            r#"{"node_id":"","node_key":"canary"}"#,
            r#"{"node_id":"canary","node_key":""}"#,
            r#"{"node_id":"n","node_key":"canary\r\nX-Other: 1"}"#,
            r#"{"node_id":"n","node_key":"canary"#,
            r#"{"node_id":"n","node_key":"canary"}}"#,
            &long,
        ] {
            let told = parsed(body).expect_err(body);
            assert!(!told.contains("canary"), "{told}");
        }
    }

    #[test]
    fn patience_is_asked_for_in_seconds() {
        assert_eq!(waits(429, &[(RETRY_AFTER, "7")]), Some(Duration::from_secs(7)));
        assert_eq!(waits(503, &[(RETRY_AFTER, "0")]), Some(Duration::ZERO));
    }

    #[test]
    fn patience_until_a_date_counts_from_the_answers_own_date() {
        let date = (DATE, "Thu, 01 Jan 1970 00:00:10 GMT");
        assert_eq!(waits(503, &[date.clone(), (RETRY_AFTER, "Thu, 01 Jan 1970 00:01:10 GMT")]), Some(Duration::from_mins(1)));
        assert_eq!(waits(503, &[date, (RETRY_AFTER, "Thu, 01 Jan 1970 00:00:00 GMT")]), None);
        assert_eq!(waits(503, &[(RETRY_AFTER, "Thu, 01 Jan 1970 00:01:10 GMT")]), None);
    }

    #[test]
    fn patience_that_cannot_be_read_is_not_asked_for() {
        for text in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(waits(503, &[(RETRY_AFTER, text)]), None, "{text}");
        }
        assert_eq!(waits(503, &[]), None);
    }

    #[test]
    fn a_refusal_asks_for_no_patience() {
        assert_eq!(waits(400, &[(RETRY_AFTER, "7")]), None);
        assert_eq!(waits(302, &[(RETRY_AFTER, "7")]), None);
    }
}
