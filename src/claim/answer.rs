//! The server's answer to a claim.

use std::time::Duration;

use jarvis_http::client::{InvalidJson, decode, optional_secret};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Error, ServerRefusal};
use provisioning_core::domain::{CommandCenterUrl, TEXT_LIMIT};
use provisioning_core::secret::SecretText;

/// How much of an unknown answer is shown, characters.
const EXCERPT: usize = 100;

/// How much of a server's message is shown, characters.
const WORDS: usize = 300;

/// The defaults for a partner without branding.
const BRAND_NAME: &str = "OsirisCare";
const PRIMARY_COLOR: &str = "#2563EB";

/// A server's answer, with any status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// When the server allows the next request.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// A granted claim: the device's identity and site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) site_id: String,
    /// With colons, even if they are percent-encoded in the answer.
    pub(super) appliance_id: String,
    /// The key that the server issued; older servers issue none.
    pub(super) api_key: Option<SecretText>,
    pub(super) api_endpoint: String,
    pub(super) partner: Partner,
}

/// The partner whose brand an appliance shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Partner {
    pub(super) slug: String,
    pub(super) brand_name: String,
    pub(super) primary_color: String,
    pub(super) logo_url: Option<String>,
}

/// A claim that the server did not grant.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: Error,
    /// A retry may succeed.
    pub(super) is_passing: bool,
    /// When the server allows a retry.
    pub(super) retry_after: Option<Duration>,
}

/// Parses a server's answer; `requested` is the address that the request was sent to.
pub(super) fn read(answer: &Answer, requested: &CommandCenterUrl) -> Result<Grant, Refused> {
    if answer.status.is_success() {
        return grant(&answer.body, requested).map_err(|error| Refused { error, is_passing: false, retry_after: None });
    }
    // A proxy between a device and its server uses these statuses while the server is unavailable.
    let is_passing =
        matches!(answer.status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT);
    let error = Error::Refused(ServerRefusal::new(reason(answer.status, &answer.body)));
    Err(Refused { error, is_passing, retry_after: answer.retry_after })
}

/// The fields of an answer that are used here.
#[derive(Deserialize)]
struct Fields {
    status: Option<String>,
    message: Option<String>,
    site_id: Option<String>,
    appliance_id: Option<String>,
    #[serde(default, deserialize_with = "optional_secret")]
    api_key: Option<SecretText>,
    api_endpoint: Option<String>,
    partner: Option<PartnerFields>,
}

#[derive(Default, Deserialize)]
struct PartnerFields {
    slug: Option<String>,
    brand_name: Option<String>,
    primary_color: Option<String>,
    logo_url: Option<String>,
}

fn grant(body: &[u8], requested: &CommandCenterUrl) -> Result<Grant, Error> {
    let fields: Fields = decode(body).map_err(|invalid| {
        let what = match invalid {
            InvalidJson::Shape => "contains a field of the wrong type",
            InvalidJson::Syntax => "is not JSON",
        };
        Error::Unexpected(format!("the server's answer {what}"))
    })?;
    if fields.status.as_deref() != Some("claimed") {
        let message = fields.message.map(|message| shown(&message, WORDS)).filter(|message| !message.is_empty());
        return Err(Error::Refused(ServerRefusal::new(message.unwrap_or_else(|| "Unknown error".into()))));
    }
    let partner = fields.partner.unwrap_or_default();
    Ok(Grant {
        site_id: identifier("site_id", fields.site_id)?,
        appliance_id: identifier("appliance_id", fields.appliance_id)?.replace("%3A", ":").replace("%3a", ":"),
        api_key: fields.api_key.map(key).transpose()?,
        api_endpoint: endpoint(fields.api_endpoint, requested),
        partner: Partner {
            slug: partner.slug.unwrap_or_default(),
            brand_name: partner.brand_name.unwrap_or_else(|| BRAND_NAME.into()),
            primary_color: partner.primary_color.unwrap_or_else(|| PRIMARY_COLOR.into()),
            logo_url: partner.logo_url,
        },
    })
}

fn identifier(name: &str, text: Option<String>) -> Result<String, Error> {
    let text = text.ok_or_else(|| Error::Unexpected(format!("the server's answer has no {name}")))?;
    if text.is_empty() || text.len() > TEXT_LIMIT || text.chars().any(char::is_control) {
        return Err(Error::Unexpected(format!("the server's answer has an invalid {name}")));
    }
    Ok(text)
}

/// A key is sent in an HTTP header, so its characters are limited.
pub(super) fn key(key: SecretText) -> Result<SecretText, Error> {
    let text = key.expose();
    if text.is_empty() || text.len() > TEXT_LIMIT || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::Unexpected("the server's answer has an invalid api_key".into()));
    }
    Ok(key)
}

/// The agent's server. A server behind a proxy may not know that it is reached with TLS, so an address without TLS is
/// ignored if the claim used TLS.
fn endpoint(named: Option<String>, requested: &CommandCenterUrl) -> String {
    let Some(named) = named else { return requested.as_str().into() };
    match CommandCenterUrl::try_from(named.as_str()) {
        Ok(url) if url.url().scheme() == "https" || requested.url().scheme() == "http" => named,
        _ => {
            let (named, kept) = (shown(&named, EXCERPT), requested.as_str());
            tracing::warn!(
                named,
                kept,
                "the server returned an address that is invalid or without TLS: keeping the address of the claim"
            );
            kept.into()
        }
    }
}

/// Why a server did not grant a claim: its own message, if it has one for people.
fn reason(status: StatusCode, body: &[u8]) -> String {
    let status = status.as_u16();
    let text = String::from_utf8_lossy(body);
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(answer)) => match answer.get("detail") {
            Some(Value::String(detail)) if !detail.trim().is_empty() => shown(detail, WORDS),
            Some(detail @ (Value::Array(_) | Value::Object(_))) => {
                format!("HTTP {status}: {}", shown(&detail.to_string(), EXCERPT))
            }
            _ => format!("HTTP {status}"),
        },
        _ if text.trim().is_empty() => format!("HTTP {status}"),
        _ => format!("HTTP {status}: {}", shown(text.trim(), EXCERPT)),
    }
}

/// Untrusted text for a terminal: at most that many characters, and no control characters.
fn shown(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMED: &str = r##"{"status":"claimed","site_id":"s-1","appliance_id":"s-1-84%3A3A%3a5B:91%3AB6%3A61",
        "partner":{"slug":"nepa-it","brand_name":"NEPA IT","primary_color":"#123456","logo_url":null},
        "api_endpoint":"https://api.example","message":"Appliance provisioned successfully"}"##;

    fn url(text: &str) -> CommandCenterUrl {
        CommandCenterUrl::try_from(text).expect("a plain URL")
    }

    fn granted(body: &str) -> Result<Grant, String> {
        grant(body.as_bytes(), &url("https://requested.example")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_escaped_appliance_id_is_written_with_colons() {
        let grant = granted(CLAIMED).unwrap();
        assert_eq!(grant.appliance_id, "s-1-84:3A:5B:91:B6:61");
        assert_eq!((grant.api_key, grant.partner.logo_url), (None, None));
        assert_eq!(grant.api_endpoint, "https://api.example");
    }

    #[test]
    fn an_answer_without_partner_and_endpoint_is_enough() {
        let grant = granted(r#"{"status":"claimed","site_id":"s","appliance_id":"a","api_key":"k"}"#).unwrap();
        assert_eq!(grant.partner.brand_name, "OsirisCare");
        assert_eq!(grant.api_endpoint, "https://requested.example");
        assert_eq!(grant.api_key, Some(SecretText::new("k".into())));
    }

    #[test]
    fn only_the_status_claimed_is_a_success() {
        assert_eq!(granted(r#"{"status":"pending","message":"Wait\u001b[2J"}"#), Err("Wait [2J".into()));
        assert_eq!(granted(r#"{"site_id":"s","appliance_id":"a"}"#), Err("Unknown error".into()));
        assert_eq!(granted("{}"), Err("Unknown error".into()));
    }

    #[test]
    fn an_invalid_answer_is_reported_without_its_content() {
        for body in [
            "",
            "canary",
            "[]",
            r#"{"status":7,"api_key":"canary"}"#,
            r#"{"status":"claimed","api_key":"canary"}"#,
            r#"{"status":"claimed","site_id":"s","appliance_id":"","api_key":"canary"}"#,
            r#"{"status":"claimed","site_id":"s","appliance_id":"canary\r\n"}"#,
            r#"{"status":"claimed","site_id":"s","appliance_id":"a","api_key":"canary\r\nx"}"#,
            r#"{"status":"claimed","site_id":"s","appliance_id":"a","api_key":""}"#,
            r#"{"status":"claimed","site_id":"s","appliance_id":"a","partner":"canary"}"#,
        ] {
            let reported = granted(body).expect_err(body);
            assert!(reported.starts_with("Unexpected error: the server's answer ") && !reported.contains("canary"), "{reported}");
        }
    }

    #[test]
    fn an_appliance_that_claimed_with_tls_keeps_using_it() {
        let requested = url("https://requested.example");
        for returned in ["http://requested.example", "https://", "not a url", "https://a:b@x", ""] {
            assert_eq!(endpoint(Some(returned.into()), &requested), "https://requested.example", "{returned}");
        }
        assert_eq!(endpoint(Some("http://10.0.0.3".into()), &url("http://10.0.0.2")), "http://10.0.0.3");
        assert_eq!(endpoint(Some("https://other.example".into()), &url("http://10.0.0.2")), "https://other.example");
    }

    #[test]
    fn a_refusal_is_reported_by_the_servers_message_or_its_status() {
        let long = "x".repeat(1000);
        for (body, reported) in [
            (r#"{"detail":"Provision code expired"}"#, "Provision code expired".to_owned()),
            (r#"{"detail":"two\nlines"}"#, "two lines".into()),
            (r#"{"detail":[{"loc":["body"]}]}"#, r#"HTTP 400: [{"loc":["body"]}]"#.into()),
            (r#"{"detail":null}"#, "HTTP 400".into()),
            (r#"{"error":"x"}"#, "HTTP 400".into()),
            ("", "HTTP 400".into()),
            ("<html>no\u{1b}</html>", "HTTP 400: <html>no </html>".into()),
            (&long, format!("HTTP 400: {}", "x".repeat(100))),
        ] {
            assert_eq!(reason(StatusCode::BAD_REQUEST, body.as_bytes()), reported);
        }
    }
}
