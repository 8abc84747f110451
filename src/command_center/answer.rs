//! The command center's answer to a registration.

use jarvis_http::client::{Response, RetryAfter, decode, secret};
use reqwest::StatusCode;
use serde::Deserialize;

use super::error::Error;
use provisioning_core::domain::{Registration, TEXT_LIMIT, TextField, is_free_of_controls};
use provisioning_core::secret::SecretText;

/// Maximum size of an answer, bytes. A registration has a few hundred; the rest is room for fields of later versions.
const LIMIT: usize = 64 * 1024;

/// Parses a registration.
pub(super) async fn read(response: Response) -> Result<Registration, Error> {
    let status = response.status();
    if !matches!(status, StatusCode::OK | StatusCode::CREATED) {
        // The body of a refusal is ignored: its text is for the operator of the command center, and may contain the token.
        let retry_after = response.retry_after().and_then(RetryAfter::by_server_clock);
        return Err(Error::Status { status, retry_after });
    }
    parse(status, &response.body(LIMIT).await?)
}

/// The fields of an answer that are used here.
#[derive(Deserialize)]
struct Answer {
    node_id: String,
    #[serde(deserialize_with = "secret")]
    node_key: SecretText,
    /// Not sent by every command center.
    household_id: Option<String>,
}

fn parse(status: StatusCode, body: &[u8]) -> Result<Registration, Error> {
    let problem = |problem: &str| Error::Answer { status, problem: problem.into() };
    let Answer { node_id, node_key, household_id } = decode(body).map_err(|invalid| problem(&invalid.to_string()))?;
    TextField::NodeId.check(&node_id).map_err(|fault| problem(fault.text()))?;
    // It is written to HTTP headers and to files.
    let key = node_key.expose();
    if key.is_empty() || key.len() > TEXT_LIMIT || !is_free_of_controls(key) {
        return Err(problem("the key is empty, too long, or contains control characters"));
    }
    Ok(Registration { node_id, node_key, household_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use provisioning_core::fault::{Fault, chain};

    fn parsed(body: &str) -> Result<Registration, String> {
        parse(StatusCode::CREATED, body.as_bytes()).map_err(|error| chain(&error))
    }

    #[test]
    fn an_answer_may_contain_fields_beside_identity_and_key() {
        let registration = parsed(r#"{"node_id":"n","room":"den","user":"default","voice_mode":"brief","node_key":"k","x":[1]}"#);
        assert_eq!(
            registration,
            Ok(Registration { node_id: "n".into(), node_key: SecretText::new("k".into()), household_id: None })
        );
    }

    #[test]
    fn the_household_of_an_answer_is_read() {
        let household = |body: &str| parsed(body).map(|registration| registration.household_id);
        assert_eq!(household(r#"{"node_id":"n","node_key":"k","household_id":"home"}"#), Ok(Some("home".into())));
        assert_eq!(household(r#"{"node_id":"n","node_key":"k","household_id":null}"#), Ok(None));
    }

    #[test]
    fn a_node_id_that_breaks_the_label_or_the_access_point_is_refused() {
        for node_id in
            ["aa:bb:cc", "\u{1f3e0}\u{1f3e0}\u{1f3e0}\u{1f3e0}\u{1f3e0}\u{1f3e0}\u{1f3e0}\u{1f3e0}", "a b", &"n".repeat(65)]
        {
            let body = serde_json::json!({"node_id": node_id, "node_key": "k"}).to_string();
            let error = parse(StatusCode::CREATED, body.as_bytes()).expect_err(node_id);
            assert_eq!(error.refused().fault, Fault::CommandCenterAnswer, "{node_id}");
        }
    }

    #[test]
    fn an_answer_without_credentials_is_reported_without_its_content() {
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
            let reported = parsed(body).expect_err(body);
            assert!(!reported.contains("canary"), "{reported}");
        }
    }
}
