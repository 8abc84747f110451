//! The settings of the existing system: `provisioning.json`, beside the node's `config.json`. It is read at each start, and
//! never written; a factory reset deletes it.
//!
//! | key | becomes |
//! |---|---|
//! | `device.recovery.enabled` | `care.recovery`, unless that is set |
//! | `device.network.interfaceName` | `interface`, unless that is set |
//!
//! Everything else stays behind. Mode, counters and results describe a state that the first check finds out. Threshold and
//! cooldown are bounds that tests assert. The hotspot's name and password are derived from the name of the host, and the
//! code has no limit of guesses, so the label replaces them. The device's identity is not unique.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use serde::Deserialize;
use thiserror::Error;

/// Longest file, bytes. The existing system writes about one thousand.
const LIMIT: u64 = 64 * 1024;

/// Longest name of an interface, bytes: Linux's `IFNAMSIZ` without the end.
const INTERFACE_LIMIT: usize = 15;

/// What is taken from the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Original {
    /// Whether a lost network is recovered.
    pub recovery: Option<bool>,
    /// The Wi-Fi interface.
    pub interface: Option<String>,
}

/// Why nothing is taken from the file. Its content is not repeated, because it has secrets.
#[derive(Debug, Error)]
pub enum Invalid {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It is longer than any that the existing system has written.
    #[error("it is longer than {LIMIT} bytes")]
    TooLong,
    /// It is incomplete, or has values of other types.
    #[error("it is not what the existing system writes: line {line}, column {column}")]
    Parse {
        /// The line of the first mistake.
        line: usize,
        /// Its column.
        column: usize,
    },
    /// The interface's name cannot be one.
    #[error("device.network.interfaceName is not the name of an interface")]
    Interface,
}

/// The file: an object of objects, or one object with the whole names of keys.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Content {
    device: Device,
    #[serde(rename = "device.recovery.enabled")]
    enabled: Option<bool>,
    #[serde(rename = "device.network.interfaceName")]
    interface_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Device {
    network: Network,
    recovery: Recovery,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Network {
    interface_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Recovery {
    enabled: Option<bool>,
}

/// Reads the file; none if there is none.
pub fn read(path: &Path) -> Result<Option<Original>, Invalid> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut text)) {
        Ok(_) => parse(&text).map(Some),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Invalid::Read(error)),
    }
}

fn parse(text: &[u8]) -> Result<Original, Invalid> {
    if text.len() as u64 > LIMIT {
        return Err(Invalid::TooLong);
    }
    let parsed = serde_json::from_slice::<Content>(text);
    let Content { device, enabled, interface_name } =
        parsed.map_err(|error| Invalid::Parse { line: error.line(), column: error.column() })?;
    let interface = device.network.interface_name.or(interface_name).filter(|name| !name.is_empty());
    match &interface {
        Some(name) if name.len() > INTERFACE_LIMIT || !name.bytes().all(is_in_a_name) => Err(Invalid::Interface),
        _ => Ok(Original { recovery: device.recovery.enabled.or(enabled), interface }),
    }
}

const fn is_in_a_name(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'/' && byte != b':'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the existing system writes it.
    const WHOLE: &str = r#"{
  "device": {
    "mode": "ready",
    "network": { "provisioned": true, "lastSsid": "Home", "interfaceName": "wlan1", "hotspotPassword": "MoonHub-VICE-wifi" },
    "recovery": { "enabled": false, "failureThreshold": 3, "cooldownMs": 120000, "activeLock": "recovery" },
    "auth": { "code": "123456", "deviceId": "YSHU-2025-ICE" }
  },
  "onboarding": { "completed": true }
}"#;

    #[test]
    fn the_recovery_and_the_interface_are_taken_in_either_form() {
        let expected = Original { recovery: Some(false), interface: Some("wlan1".into()) };
        assert_eq!(parse(WHOLE.as_bytes()).expect("valid"), expected);
        let flat = r#"{"device.recovery.enabled": false, "device.network.interfaceName": "wlan1", "device.mode": "ready"}"#;
        assert_eq!(parse(flat.as_bytes()).expect("valid"), expected);
        assert_eq!(parse(b"{}").expect("valid"), Original::default());
    }

    #[test]
    fn a_torn_file_is_reported_wherever_it_ends_and_never_by_its_content() {
        for length in 0..WHOLE.len() {
            let error = parse(&WHOLE.as_bytes()[..length]).expect_err("it is not complete");
            assert!(matches!(error, Invalid::Parse { .. }) && !error.to_string().contains("MoonHub"), "{error}");
        }
    }

    #[test]
    fn values_of_other_types_and_names_of_no_interface_are_reported() {
        for text in [r#"{"device": {"recovery": {"enabled": "no"}}}"#, r#"{"device": "ready"}"#, "7", "null", "\0"] {
            assert!(matches!(parse(text.as_bytes()), Err(Invalid::Parse { .. })), "{text}");
        }
        for name in ["../../wlan0", "wlan0 up", "a-name-that-is-too-long", "wlan0\\u0000"] {
            let text = format!(r#"{{"device": {{"network": {{"interfaceName": "{name}"}}}}}}"#);
            assert!(matches!(parse(text.as_bytes()), Err(Invalid::Interface)), "{name}");
        }
        assert!(matches!(parse(&vec![b' '; 65537]), Err(Invalid::TooLong)));
    }

    #[test]
    fn a_missing_file_is_no_mistake_and_an_unreadable_one_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(read(&folder.path().join("provisioning.json")).expect("no mistake"), None);
        assert!(matches!(read(folder.path()), Err(Invalid::Read(_))));
    }
}
