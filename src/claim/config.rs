//! `config.yaml`: the configuration of an appliance's agent.
//!
//! The file is written in a subset of YAML that all parsers read alike: one key per line, numbers and booleans unquoted, and every
//! text in double quotes and ASCII. In double quotes only `"` and `\` have a meaning (YAML 1.2, 7.3.1); both are escaped, like
//! everything that is not printable ASCII. So no value can end its line, become a number, a date or a boolean, or depend on the
//! encoding of the file. Only server and key are read back, in this subset or unquoted.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::answer::{self, Grant, Partner};
use super::device::Device;
use provisioning_core::domain::{CommandCenterUrl, CreatedAt};
use provisioning_core::secret::SecretText;

/// A comment for people who open the file.
const HEAD: &str = "\
# Configuration of this appliance, written when it claimed its provision code.
# It holds the appliance's key: keep it readable for its owner alone.
";

/// Random bytes of a key that the device generates: 43 characters.
const KEY_BYTES: usize = 32;

/// The file's content.
pub(super) fn content(grant: &Grant, api_key: &SecretText, device: &Device, folder: &Path, now: SystemTime) -> Zeroizing<String> {
    let Grant { site_id, appliance_id, api_key: _, api_endpoint, partner } = grant;
    let Partner { slug, brand_name, primary_color, logo_url } = partner;
    let folder = folder.to_string_lossy();
    let mut file = Yaml::for_texts(&[
        site_id,
        appliance_id,
        api_key.expose(),
        api_endpoint,
        &folder,
        slug,
        brand_name,
        primary_color,
        logo_url.as_deref().unwrap_or_default(),
        &device.hostname,
    ]);
    file.text("site_id", site_id);
    file.text("appliance_id", appliance_id);
    file.text("api_key", api_key.expose());
    file.text("api_endpoint", api_endpoint);
    // Seconds.
    file.bare("poll_interval", "60");
    file.bare("enable_drift_detection", "true");
    file.bare("enable_evidence_upload", "true");
    file.bare("enable_l1_sync", "true");
    file.bare("healing_enabled", "true");
    file.bare("healing_dry_run", "false");
    file.text("state_dir", &folder);
    file.text("log_level", "INFO");
    file.open("partner");
    file.text("  slug", slug);
    file.text("  brand_name", brand_name);
    file.text("  primary_color", primary_color);
    if let Some(logo_url) = logo_url {
        file.text("  logo_url", logo_url);
    }
    file.text("provisioned_at", &timestamp(now));
    file.text("mac_address", device.mac_address.as_str());
    file.text("hostname", &device.hostname);
    file.0
}

/// Where the appliance reports, and its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) endpoint: CommandCenterUrl,
    pub(super) api_key: SecretText,
}

impl Access {
    /// Reads them from the file's content; none if one is missing or is written in another way than [`content`] does.
    pub(super) fn read(content: &[u8]) -> Option<Self> {
        let content = std::str::from_utf8(content).ok()?;
        let endpoint = CommandCenterUrl::try_from(text_of(content, "api_endpoint")?.expose()).ok()?;
        let api_key = answer::key(text_of(content, "api_key")?).ok()?;
        Some(Self { endpoint, api_key })
    }
}

/// The text of a key at the beginning of a line. The escapes of [`Yaml::text`] for ASCII are those of JSON.
fn text_of(content: &str, key: &str) -> Option<SecretText> {
    let value = content.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?.trim();
    if value.starts_with('"') {
        return serde_json::from_str(value).ok().map(SecretText::new);
    }
    Some(SecretText::new(value.trim_matches('\'').into()))
}

/// A new random key: 43 characters that are safe in URLs and headers.
pub(super) fn random_key() -> io::Result<SecretText> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    getrandom::fill(&mut *bytes)?;
    Ok(SecretText::new(URL_SAFE_NO_PAD.encode(&bytes[..])))
}

/// ISO 8601 with its zone, for any value of the clock; a time out of range is replaced by 1970.
fn timestamp(now: SystemTime) -> String {
    let seconds = match now.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).ok(),
        Err(before) => i64::try_from(before.duration().as_secs()).ok().map(|seconds| -seconds),
    };
    let moment = seconds.and_then(|seconds| CreatedAt::try_from(seconds).ok());
    moment.unwrap_or_else(|| CreatedAt::try_from(0).expect("1970 is within range")).to_string()
}

/// Builds the file. Its buffer never grows, so that no part of a key remains in freed memory.
struct Yaml(Zeroizing<String>);

impl Yaml {
    fn for_texts(texts: &[&str]) -> Self {
        // An escape has at most six characters per byte; keys and fixed values need far less than the rest.
        let longest = 2048 + texts.iter().map(|text| 6 * text.len()).sum::<usize>();
        let mut file = Zeroizing::new(String::with_capacity(longest));
        file.push_str(HEAD);
        Self(file)
    }

    /// Begins a mapping; its keys follow, indented by two spaces.
    fn open(&mut self, key: &str) {
        self.0.push_str(key);
        self.0.push_str(":\n");
    }

    /// A number or a boolean.
    fn bare(&mut self, key: &str, value: &str) {
        self.0.push_str(key);
        self.0.push_str(": ");
        self.0.push_str(value);
        self.0.push('\n');
    }

    fn text(&mut self, key: &str, text: &str) {
        let before = self.0.capacity();
        self.0.push_str(key);
        self.0.push_str(": \"");
        for character in text.chars() {
            match character {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                ' '..='~' => self.0.push(character),
                '\0'..='\u{ffff}' => write!(self.0, "\\u{:04X}", u32::from(character)).expect("writing to memory"),
                _ => write!(self.0, "\\U{:08X}", u32::from(character)).expect("writing to memory"),
            }
        }
        self.0.push_str("\"\n");
        debug_assert_eq!(self.0.capacity(), before, "the buffer must not grow");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::claim::MacAddress;

    fn grant() -> Grant {
        Grant {
            site_id: "partner-clinic-abc123".into(),
            appliance_id: "partner-clinic-abc123-84:3A:5B:91:B6:61".into(),
            api_key: None,
            api_endpoint: "https://api.osiriscare.net".into(),
            partner: Partner {
                slug: "nepa-it".into(),
                brand_name: "NEPA IT Solutions".into(),
                primary_color: "#2563EB".into(),
                logo_url: None,
            },
        }
    }

    fn written(grant: &Grant, hostname: &str) -> String {
        let mac_address = MacAddress::try_from("843A5B91B661").unwrap();
        let device = Device { mac_address, hostname: hostname.into() };
        let now = UNIX_EPOCH + Duration::from_secs(1_767_540_601);
        content(grant, &SecretText::new("k".repeat(43)), &device, Path::new("/var/lib/msp"), now).to_string()
    }

    #[test]
    fn the_file_has_every_field_in_its_order() {
        let expected = format!(
            r##"{HEAD}site_id: "partner-clinic-abc123"
appliance_id: "partner-clinic-abc123-84:3A:5B:91:B6:61"
api_key: "{}"
api_endpoint: "https://api.osiriscare.net"
poll_interval: 60
enable_drift_detection: true
enable_evidence_upload: true
enable_l1_sync: true
healing_enabled: true
healing_dry_run: false
state_dir: "/var/lib/msp"
log_level: "INFO"
partner:
  slug: "nepa-it"
  brand_name: "NEPA IT Solutions"
  primary_color: "#2563EB"
provisioned_at: "2026-01-04T15:30:01+00:00"
mac_address: "84:3A:5B:91:B6:61"
hostname: "osiriscare-appliance"
"##,
            "k".repeat(43)
        );
        assert_eq!(written(&grant(), "osiriscare-appliance"), expected);
    }

    #[test]
    fn no_value_can_leave_its_line() {
        let mut hostile = grant();
        hostile.partner.brand_name = "x\"\napi_endpoint: \"https://evil.example\"\r\u{85}\u{2028}# \\".into();
        hostile.partner.logo_url = Some("\u{1f600}\u{feff}\0".into());
        let file = written(&hostile, "h\nhealing_dry_run: true");
        let plain = written(&Grant { partner: Partner { logo_url: Some(String::new()), ..grant().partner }, ..grant() }, "h");
        let keys =
            |file: &str| file.lines().map(|line| line.split(':').next().unwrap_or_default().to_owned()).collect::<Vec<_>>();
        assert_eq!(keys(&file), keys(&plain));
        assert!(file.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{file}");
        assert!(
            file.contains(r#"brand_name: "x\"\u000Aapi_endpoint: \"https://evil.example\"\u000D\u0085\u2028# \\""#),
            "{file}"
        );
        assert!(file.contains(r#"logo_url: "\U0001F600\uFEFF\u0000""#), "{file}");
    }

    #[test]
    fn server_and_key_are_read_back() {
        let url = |text: &str| CommandCenterUrl::try_from(text).unwrap();
        let key = SecretText::new("a\"b\\c'#d".into());
        let device = Device { mac_address: MacAddress::try_from("843A5B91B661").unwrap(), hostname: "h\napi_key: x".into() };
        let file = content(&grant(), &key, &device, Path::new("/var/lib/msp"), UNIX_EPOCH);
        let access = Access::read(file.as_bytes());
        assert_eq!(access, Some(Access { endpoint: url("https://api.osiriscare.net"), api_key: key }));
        for (edited, read) in [
            ("api_key: 'k'\napi_endpoint: http://10.0.0.2", true),
            ("api_key: k", false),
            ("api_key: \napi_endpoint: http://10.0.0.2", false),
            ("api_key: \"k\napi_endpoint: http://10.0.0.2", false),
            ("api_key: |\n  k\napi_endpoint: no url", false),
        ] {
            let expected = read.then(|| Access { endpoint: url("http://10.0.0.2"), api_key: SecretText::new("k".into()) });
            assert_eq!(Access::read(edited.as_bytes()), expected, "{edited}");
        }
    }

    #[test]
    fn a_time_always_has_its_zone() {
        for (seconds, text) in [(0, "1970-01-01T00:00:00+00:00"), (4_102_444_800, "2100-01-01T00:00:00+00:00")] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(1)), "1969-12-31T23:59:59+00:00");
        assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(1 << 60)), "1970-01-01T00:00:00+00:00");
    }

    #[test]
    fn keys_have_43_url_safe_characters_and_differ() {
        let (one, other) = (random_key().unwrap(), random_key().unwrap());
        assert_eq!(one.expose().len(), 43);
        assert!(one.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_ne!(one, other);
    }
}
