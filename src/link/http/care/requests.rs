//! The bodies of requests.
//!
//! Any content type is taken, as by the existing system: a page of another site is recognized by other headers.

use super::super::json::{Value, object};
use crate::care::port::{Join, Scope};
use provisioning_core::domain::{Passphrase, Ssid, TEXT_LIMIT, is_free_of_controls};
use provisioning_core::fault::Fault;
use zeroize::Zeroizing;

/// What is wrong with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    /// The field; none if the body is not an object.
    pub(super) field: Option<&'static str>,
    /// What is wrong, without the value.
    pub(super) reason: String,
}

impl Invalid {
    pub(super) fn of(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field: Some(field), reason: reason.into() }
    }
}

/// The network to join. A name of `unprintable` stands for the network that was shown with it.
pub(super) fn join(body: &[u8], unprintable: &[Ssid]) -> Result<Join, Invalid> {
    let [ssid, passphrase, hidden] = fields(body, ["ssid", "password", "hidden"])?;
    let ssid = required("ssid", ssid)?;
    let ssid = match unprintable.iter().find(|shown| shown.to_string() == *ssid) {
        Some(shown) => shown.clone(),
        None => Ssid::try_from(ssid.as_str()).map_err(|fault| Invalid::of("ssid", fault.text()))?,
    };
    let mut passphrase = text("password", passphrase)?;
    let passphrase = Passphrase::try_from(std::mem::take(&mut *passphrase))
        .ok()
        .filter(Passphrase::is_printable)
        .ok_or_else(|| Invalid::of("password", Fault::InvalidPassphrase.text()))?;
    let hidden = match hidden {
        Value::Missing | Value::Null => false,
        Value::Flag(hidden) => hidden,
        _ => return Err(Invalid::of("hidden", "it must be true or false")),
    };
    Ok(Join { ssid, passphrase, hidden })
}

/// The name of a saved network.
pub(super) fn name(body: &[u8]) -> Result<String, Invalid> {
    let [name] = fields(body, ["name"])?;
    required("name", name)
}

/// A reason, for people; empty if there is none.
pub(super) fn reason(body: &[u8]) -> Result<String, Invalid> {
    let [reason] = fields(body, ["reason"])?;
    line("reason", reason)
}

/// The reason for a restart, and its scope.
pub(super) fn restart(body: &[u8]) -> Result<(String, Scope), Invalid> {
    let [reason, scope] = fields(body, ["reason", "scope"])?;
    let scope = match text("scope", scope)?.as_str() {
        "" | "app" => Scope::Program,
        "device" => Scope::Device,
        _ => return Err(Invalid::of("scope", "it must be \"app\" or \"device\"")),
    };
    Ok((line("reason", reason)?, scope))
}

fn fields<const N: usize>(body: &[u8], names: [&'static str; N]) -> Result<[Value; N], Invalid> {
    object(body, names).ok_or_else(|| Invalid { field: None, reason: "the body must be a JSON object".into() })
}

/// A text; empty if it is missing.
fn text(field: &'static str, value: Value) -> Result<Zeroizing<String>, Invalid> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Missing | Value::Null => Ok(Zeroizing::default()),
        _ => Err(Invalid::of(field, "it must be a string")),
    }
}

/// A text that is not empty, nor longer than any name.
fn required(field: &'static str, value: Value) -> Result<String, Invalid> {
    let mut text = text(field, value)?;
    match text.len() {
        0 => Err(Invalid::of(field, "it is required")),
        1..=TEXT_LIMIT => Ok(std::mem::take(&mut *text)),
        _ => Err(Invalid::of(field, too_long())),
    }
}

/// One line for people.
fn line(field: &'static str, value: Value) -> Result<String, Invalid> {
    let mut text = text(field, value)?;
    if text.len() > TEXT_LIMIT {
        return Err(Invalid::of(field, too_long()));
    }
    if !is_free_of_controls(&text) {
        return Err(Invalid::of(field, "it must not contain control characters"));
    }
    Ok(std::mem::take(&mut *text))
}

fn too_long() -> String {
    format!("it must not be longer than {TEXT_LIMIT} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid<T: std::fmt::Debug>(result: Result<T, Invalid>) -> (Option<&'static str>, String) {
        let Invalid { field, reason } = result.expect_err("an invalid request");
        (field, reason)
    }

    #[test]
    fn a_network_needs_a_name_and_nothing_else() {
        let join = |body: &str| join(body.as_bytes(), &[]);
        let home = join(r#"{"ssid":"Home","other":[1]}"#).expect("a name suffices");
        assert_eq!((home.ssid.as_bytes(), home.passphrase.expose(), home.hidden), (&b"Home"[..], "", false));
        let full = join(r#"{"hidden":true,"password":"correct horse","ssid":"Home"}"#).expect("all fields");
        assert_eq!((full.passphrase.expose(), full.hidden), ("correct horse", true));
        assert_eq!(invalid(join(r#"{"password":"correct horse"}"#)), (Some("ssid"), "it is required".into()));
    }

    #[test]
    fn a_wrong_value_is_named_and_not_repeated() {
        for (body, field) in [
            (r#"{"ssid":""}"#, "ssid"),
            (r#"{"ssid":7}"#, "ssid"),
            (r#"{"ssid":"123456789012345678901234567890123"}"#, "ssid"),
            (r#"{"ssid":"Home","password":"secret\t7"}"#, "password"),
            (r#"{"ssid":"Home","password":{"secret":1}}"#, "password"),
            (r#"{"ssid":"Home","hidden":"secret"}"#, "hidden"),
        ] {
            let (found, reason) = invalid(join(body.as_bytes(), &[]));
            assert_eq!(found, Some(field), "{body}");
            assert!(!reason.contains("secret"), "{reason}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_the_one_that_was_shown() {
        let shown = Ssid::try_from(&b"caf\xe9"[..]).expect("four bytes");
        let body = serde_json::json!({ "ssid": shown.to_string() }).to_string();
        let join = join(body.as_bytes(), std::slice::from_ref(&shown)).expect("a network that was shown");
        assert_eq!(join.ssid, shown);
    }

    #[test]
    fn a_restart_is_of_the_program_unless_the_device_is_named() {
        let restart = |body: &str| restart(body.as_bytes());
        assert_eq!(restart("{}"), Ok((String::new(), Scope::Program)));
        assert_eq!(restart(r#"{"reason":"update","scope":"app"}"#), Ok(("update".into(), Scope::Program)));
        assert_eq!(restart(r#"{"scope":"device"}"#), Ok((String::new(), Scope::Device)));
        assert_eq!(invalid(restart(r#"{"scope":"world"}"#)).0, Some("scope"));
        assert_eq!(invalid(restart(r#"{"reason":"a\nb"}"#)).0, Some("reason"));
        assert_eq!(invalid(restart(&format!(r#"{{"reason":"{}"}}"#, "a".repeat(513)))).0, Some("reason"));
    }

    #[test]
    fn a_body_that_is_not_an_object_names_no_field() {
        for body in ["", "null", "[]", "\"ssid\"", "{", "{} {}"] {
            assert_eq!(invalid(name(body.as_bytes())).0, None, "{body:?}");
        }
    }
}
