//! JSON as Python's `json` module writes it, byte for byte, because the existing software writes these files so.

use core::fmt::Write as _;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::record::json;
use crate::files::hexadecimal;
use provisioning_core::domain::{K2, Passphrase, Ssid};

/// A string as `json.dumps` writes it: ASCII only, with surrogate pairs for characters beyond the basic plane.
pub(super) fn string(text: &str) -> Zeroizing<String> {
    // At most six bytes per UTF-16 unit: the buffer never grows, so no copy of the text remains in freed memory.
    let mut quoted = Zeroizing::new(String::with_capacity(2 + 6 * text.len()));
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            ' '..='~' => quoted.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(quoted, "\\u{unit:04x}").expect("writing to a string does not fail");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

/// What is sealed in `wifi_credentials.enc`: `{"ssid": …, "password": …}`.
///
/// An SSID that is not UTF-8 is written with replacement characters, and again as `ssid_hex`.
pub(super) fn wifi_credentials(ssid: &Ssid, passphrase: &Passphrase) -> Zeroizing<String> {
    let bytes = ssid.as_bytes();
    let ssid = string(&ssid.to_string());
    let password = string(passphrase.expose());
    let mut json = Zeroizing::new(String::with_capacity(128 + ssid.len() + password.len()));
    json.push_str("{\"ssid\": ");
    json.push_str(&ssid);
    json.push_str(", \"password\": ");
    json.push_str(&password);
    if std::str::from_utf8(bytes).is_err() {
        json.push_str(", \"ssid_hex\": ");
        json.push_str(&string(&hexadecimal(bytes)));
    }
    json.push('}');
    json
}

/// `k2_metadata.json`: `kid` and `created_at`, indented by two.
pub(super) fn k2_metadata(k2: &K2) -> String {
    let (kid, created_at) = (string(&k2.kid), string(k2.created_at.as_str()));
    format!("{{\n  \"kid\": {},\n  \"created_at\": {}\n}}", *kid, *created_at)
}

/// Whether this has the form that [`wifi_credentials`] and the existing software write.
pub(super) fn is_wifi_credentials(content: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Stored {
        #[serde(rename = "ssid")]
        _ssid: String,
        #[serde(rename = "password")]
        _password: Zeroizing<String>,
    }
    json::<Stored>(content).map(drop)
}

/// Whether this has the form that [`k2_metadata`] and the existing software write.
pub(super) fn is_k2_metadata(content: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Stored {
        #[serde(rename = "kid")]
        _kid: String,
        #[serde(rename = "created_at")]
        _created_at: String,
    }
    json::<Stored>(content).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(ssid: &[u8], passphrase: &str) -> Zeroizing<String> {
        wifi_credentials(&Ssid::try_from(ssid).unwrap(), &Passphrase::try_from(passphrase.to_owned()).unwrap())
    }

    // What Python 3.12 prints for json.dumps(text) and json.dumps({"ssid": ..., "password": ...}).
    #[test]
    fn strings_are_those_of_python() {
        for (text, python) in [
            ("plain ~", r#""plain ~""#),
            ("a\"b\\c/d", r#""a\"b\\c/d""#),
            ("\0\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f}\u{7f}", r#""\u0000\u0001\b\t\n\u000b\f\r\u001f\u007f""#),
            ("café \u{80}\u{ff}\u{2028}", r#""caf\u00e9 \u0080\u00ff\u2028""#),
            ("☕😀", r#""\u2615\ud83d\ude00""#),
        ] {
            assert_eq!(string(text).as_str(), python);
        }
    }

    #[test]
    fn wifi_credentials_are_those_of_python() {
        let json = credentials("Café \"5G\" 😀".as_bytes(), r"p\ss wörd");
        assert_eq!(json.as_str(), r#"{"ssid": "Caf\u00e9 \"5G\" \ud83d\ude00", "password": "p\\ss w\u00f6rd"}"#);
    }

    #[test]
    fn an_ssid_that_is_not_utf_8_is_also_stored_in_hexadecimal() {
        let json = credentials(b"a\xff\x00", "");
        assert_eq!(json.as_str(), r#"{"ssid": "a\ufffd\u0000", "password": "", "ssid_hex": "61ff00"}"#);
    }
}
