//! The operator's settings: a file, overridden by the environment.
//!
//! Every setting has a default that suits a node, so no file is needed. A file with an unknown setting is refused, because
//! a silently ignored setting is worse than an error.

mod care;
pub mod original;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

use provisioning_core::domain::{CommandCenterUrl, Country};
use provisioning_core::machine::AccessPointPolicy;

pub use self::care::Care;

/// Where the pairing secrets are on a device and in its image: the factory writes them there.
pub const PAIRING: &str = "boot/firmware/jarvis-pairing.json";

/// The settings file that is read if no other one is named: the package's.
pub const SETTINGS: &str = "/etc/jarvis/provision.toml";

/// An invalid setting; the message names it, its source and the remedy.
#[derive(Debug, Error)]
pub enum Error {
    /// The file is missing, or cannot be read.
    #[error("reading the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file with the token of the API is missing, or cannot be read.
    #[error("reading {}, the file of the setting care.token_file, which the user of this program must be able to read", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not TOML, or contains an unknown setting.
    #[error("parsing the configuration file {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause, with its line.
        source: Box<toml::de::Error>,
    },
    /// A variable has an invalid value.
    #[error("the variable {name} is {value:?}: {expected}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// The valid values.
        expected: &'static str,
    },
    /// A setting of the file has an invalid value.
    #[error("the setting {name} is invalid: {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// The valid values.
        expected: &'static str,
    },
}

/// Longest `firmware_version`, bytes. The whole of `info` must fit into a GATT attribute of 512 bytes.
const VERSION_LIMIT: usize = 64;

/// Most `capabilities`, and the longest of them in bytes; limited for the same reason.
const CAPABILITIES_LIMIT: (usize, usize) = (8, 32);

/// The port of the HTTP API that the text of a settings file sets, or the default one. The other settings are not checked; `path`
/// is for the error.
pub fn port_in(path: &Path, text: &str) -> Result<u16, Error> {
    #[derive(Deserialize)]
    struct Settings {
        port: Option<u16>,
    }
    let settings: Settings =
        toml::from_str(text).map_err(|source| Error::Parse { path: path.into(), source: Box::new(source) })?;
    Ok(settings.port.unwrap_or_else(|| Config::default().port))
}

/// All settings. [`Config::default`] has the defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address that the HTTP API listens on. All addresses by default, because the access point's exists only while it
    /// is open; loopback in simulation.
    pub listen: Option<IpAddr>,
    /// The port of the HTTP API: 8080, which the existing phone app uses.
    pub port: u16,
    /// How long a phone can query the outcome after a success, seconds. Five minutes: time to walk back to the phone.
    pub linger_seconds: u64,
    /// The firmware version that `info` reports. The existing node reports its API's version, 1.0.0.
    pub firmware_version: String,
    /// The capabilities that `info` reports, and that the handshake authenticates: by default those of the existing node.
    pub capabilities: Vec<String>,
    /// The ATT MTU of the simulated Bluetooth link, 23 to 517. 517 is what BlueZ agrees to.
    pub simulated_mtu: u16,
    /// The country of the radio, two letters, until a phone sends another one.
    pub country: Option<String>,
    /// Where phones send the owner after a success: a plain http or https URL.
    pub next_url: Option<String>,
    /// The software that drives the Wi-Fi radio.
    pub backend: Backend,
    /// The Wi-Fi interface, such as `wlan0`; the first one by default.
    pub interface: Option<String>,
    /// The Bluetooth adapter, by its name (`hci0`) or its address; the first one by default.
    pub adapter: Option<String>,
    /// The access point.
    pub access_point: AccessPoint,
    /// The command center.
    pub command_center: CommandCenter,
    /// The pairing secrets.
    pub pairing: Pairing,
    /// The node's files.
    pub files: Files,
    /// Network care.
    pub care: Care,
    /// Espressif's apps.
    pub espressif: Espressif,
    /// Improv's clients.
    pub improv: Improv,
    /// nymea's clients.
    pub nymea: Nymea,
    /// The light that shows the node's state.
    pub led: Led,
    /// The buttons whose long press resets the node.
    pub button: Vec<Button>,
    /// No radio: simulated networks, HTTP on loopback, Bluetooth on a socket. Set by `--simulate` or the environment.
    #[serde(skip)]
    pub simulate: bool,
    /// Start even if the node is provisioned. Set by the environment.
    #[serde(skip)]
    pub skip_check: bool,
}

/// The software that drives the Wi-Fi radio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// `NetworkManager`.
    #[default]
    NetworkManager,
    /// `hostapd` and `dnsmasq` for the access point, `wpa_supplicant` for networks; for images without `NetworkManager`.
    Hostapd,
}

/// When and how the access point is opened.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessPoint {
    /// When the access point opens.
    pub open: Open,
    /// With [`Open::WhenQuiet`]: seconds without a phone over Bluetooth before it opens. A minute: a phone with
    /// Bluetooth finds the node within seconds.
    pub quiet_seconds: u64,
    /// Whether the JSON API accepts secrets in clear over an unencrypted access point.
    pub secrets_in_clear: bool,
    /// How phones' checks for the internet are answered.
    pub portal: Portal,
}

/// How phones' checks for the internet are answered in the access point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Portal {
    /// As a portal, until an app on that phone has called the API; then as the internet.
    #[default]
    Auto,
    /// As a portal: the phone opens the setup page by itself.
    Portal,
    /// As the internet: the phone assumes that it is online, and stays in the access point.
    App,
}

/// When the access point is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Open {
    /// From the start.
    Always,
    /// If Bluetooth is missing, or if no phone has connected for a while.
    WhenQuiet,
    /// Never.
    Never,
}

/// Which command centers the node connects to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandCenter {
    /// Certificates of a private authority, PEM; in addition to the system's.
    pub certificates: Option<PathBuf>,
    /// Only https, and no private addresses.
    pub strict: bool,
}

/// Where the pairing secrets come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pairing {
    /// The owner's file on the boot partition; read once, if the node has no secrets yet.
    pub file: Option<PathBuf>,
}

/// Where the node's files are, if the environment does not say it. `~` and variables are expanded as there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    /// The folder of keys and state, for `JARVIS_SECRET_DIRECTORY`.
    pub directory: Option<String>,
    /// The configuration of the node's normal operation, for `CONFIG_PATH`.
    pub configuration: Option<String>,
}

impl Files {
    /// The setting that stands for an environment variable.
    pub fn variable(&self, name: &str) -> Option<String> {
        match name {
            "JARVIS_SECRET_DIRECTORY" => self.directory.clone(),
            "CONFIG_PATH" => self.configuration.clone(),
            _ => None,
        }
    }
}

/// Whether Espressif's apps can bring the node online.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Espressif {
    /// Whether their protocol is served, over Bluetooth and in the access point. Off by default: it authenticates less than the
    /// node's own session, and gives the node no command center.
    pub enabled: bool,
    /// Whether the advertisement has the service of these apps in place of the node's own, which has room for one of them. The
    /// node's own clients find the node by its name then.
    pub advertise: bool,
    /// Whether a label has the QR code of these apps as well.
    pub label: bool,
}

/// Whether Improv's clients, such as Home Assistant, can bring the node online.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Improv {
    /// Whether their protocol is served over Bluetooth. Off by default: it neither encrypts nor authenticates. A person has to
    /// authorize the node before each use.
    pub enabled: bool,
}

/// Whether nymea's clients, such as Meshtastic's app, can bring the node online.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nymea {
    /// Whether their protocol is served over Bluetooth. Off by default: it neither encrypts nor authenticates. A person has to
    /// authorize the node before each use.
    pub enabled: bool,
}

/// The light that shows the node's state.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Led {
    /// Its name in `/sys/class/leds`; none by default.
    pub name: Option<String>,
}

/// A button whose long press resets the node: a key of an input device, or a line of a GPIO chip.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Button {
    /// The input device, such as `/dev/input/by-path/platform-button-event`.
    pub input: Option<PathBuf>,
    /// The code of its key, from `linux/input-event-codes.h`; `KEY_RESTART` by default.
    pub key: Option<u16>,
    /// The GPIO chip, such as `/dev/gpiochip0`.
    pub gpio: Option<PathBuf>,
    /// The number of its line.
    pub line: Option<u32>,
    /// The button connects the line to the supply, and not to the ground.
    pub active_high: bool,
}

impl Button {
    /// Whether it is either a key or a line.
    const fn is_valid(&self) -> bool {
        matches!(
            self,
            Self { input: Some(_), gpio: None, line: None, active_high: false, .. }
                | Self { input: None, key: None, gpio: Some(_), line: Some(_), .. }
        )
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: None,
            port: 8080,
            linger_seconds: 300,
            firmware_version: "1.0.0".into(),
            capabilities: vec!["voice".into(), "speaker".into()],
            simulated_mtu: 517,
            country: None,
            next_url: None,
            backend: Backend::default(),
            interface: None,
            adapter: None,
            access_point: AccessPoint::default(),
            command_center: CommandCenter::default(),
            pairing: Pairing::default(),
            files: Files::default(),
            care: Care::default(),
            espressif: Espressif::default(),
            improv: Improv::default(),
            nymea: Nymea::default(),
            led: Led::default(),
            button: Vec::new(),
            simulate: false,
            skip_check: false,
        }
    }
}

impl Default for AccessPoint {
    fn default() -> Self {
        Self { open: Open::WhenQuiet, quiet_seconds: 60, secrets_in_clear: false, portal: Portal::default() }
    }
}

impl Default for Pairing {
    /// Where the factory writes it.
    fn default() -> Self {
        Self { file: Some(Path::new("/").join(PAIRING)) }
    }
}

impl Config {
    /// The file's settings, or the defaults without a file, overridden by the environment. `lookup` returns the value of
    /// a variable; an empty value counts as unset.
    pub fn read(file: Option<&Path>, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut config = match file {
            None => Self::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })?;
                toml::from_str(&text).map_err(|source| Error::Parse { path: path.into(), source: Box::new(source) })?
            }
        };
        let lookup = |name| lookup(name).filter(|value| !value.is_empty());
        if let Some(value) = lookup("JARVIS_PROVISIONING_PORT") {
            let expected = "set it to a port, 0 to 65535";
            config.port = value.parse().map_err(|_| Error::Variable { name: "JARVIS_PROVISIONING_PORT", value, expected })?;
        }
        // The values that the existing software accepts; every other value means no.
        let yes = |name| lookup(name).is_some_and(|value| ["true", "1", "yes"].contains(&value.to_lowercase().as_str()));
        config.simulate = yes("JARVIS_SIMULATE_PROVISIONING");
        config.skip_check = yes("JARVIS_SKIP_PROVISIONING_CHECK");
        config.care.enabled |= yes("MOONHUB_PROVISIONING_ENABLED");
        config.care.restart |= yes("MOONHUB_ALLOW_SYSTEM_CONTROL");
        if let Some(value) = lookup("JARVIS_WIFI_BACKEND").filter(|_| !config.simulate) {
            config.backend = match value.as_str() {
                "networkmanager" => Backend::NetworkManager,
                "hostapd" => Backend::Hostapd,
                _ => {
                    let expected = "unset it, or set it to networkmanager or hostapd";
                    return Err(Error::Variable { name: "JARVIS_WIFI_BACKEND", value, expected });
                }
            };
        }
        if let Some(value) = lookup("MOONHUB_PROVISIONING_TOKEN").map(Zeroizing::new) {
            // The error does not show the value.
            let expected = "set it to 1 to 512 ASCII characters without spaces";
            let invalid = Error::Setting { name: "MOONHUB_PROVISIONING_TOKEN", expected };
            config.care.token = Some(care::token(value.trim()).ok_or(invalid)?);
        }
        config.check()?;
        Ok(config)
    }

    /// Takes what the existing system's settings say and these do not.
    pub fn adopt(&mut self, original: original::Original) {
        self.care.recovery = self.care.recovery.or(original.recovery);
        self.interface = self.interface.take().or(original.interface);
    }

    /// Checks what the types do not.
    fn check(&self) -> Result<(), Error> {
        if self.firmware_version.is_empty() || self.firmware_version.len() > VERSION_LIMIT {
            return Err(Error::Setting { name: "firmware_version", expected: "set it to 1 to 64 bytes of text" });
        }
        let (number, length) = CAPABILITIES_LIMIT;
        if self.capabilities.len() > number || self.capabilities.iter().any(|name| name.is_empty() || name.len() > length) {
            return Err(Error::Setting { name: "capabilities", expected: "list at most 8 names of 1 to 32 bytes" });
        }
        if self.country.as_deref().is_some_and(|text| Country::try_from(text).is_err()) {
            return Err(Error::Setting { name: "country", expected: "set it to two letters, such as \"DE\"" });
        }
        if self.next_url.is_some() && self.next_url().is_none() {
            let expected = "set it to an http or https URL of at most 512 bytes without user, query and fragment";
            return Err(Error::Setting { name: "next_url", expected });
        }
        // The name becomes a part of a path.
        if self.led.name.as_ref().is_some_and(|name| name.is_empty() || name.contains('/') || name.starts_with('.')) {
            return Err(Error::Setting { name: "led.name", expected: "set it to a name in /sys/class/leds" });
        }
        if !self.button.iter().all(Button::is_valid) {
            let expected = "give each button either input, and perhaps key, or gpio and line, and perhaps active_high";
            return Err(Error::Setting { name: "button", expected });
        }
        Ok(())
    }

    /// Where phones send the owner after a success.
    pub fn next_url(&self) -> Option<CommandCenterUrl> {
        self.next_url.as_deref().and_then(|text| CommandCenterUrl::try_from(text).ok())
    }

    /// The access point's policy for the machine. The simulated access point is open from the start.
    pub const fn access_point_policy(&self) -> AccessPointPolicy {
        match self.access_point.open {
            Open::Never => AccessPointPolicy::Never,
            Open::WhenQuiet if !self.simulate => {
                AccessPointPolicy::WhenQuiet(Duration::from_secs(self.access_point.quiet_seconds))
            }
            Open::Always | Open::WhenQuiet => AccessPointPolicy::Always,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("writing it");
        let variables = variables.to_vec();
        Config::read(Some(file.path()), |name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = read("", &[]).expect("an empty file");
        assert_eq!((config.port, config.linger_seconds, config.access_point.open), (8080, 300, Open::WhenQuiet));
    }

    #[test]
    fn the_port_of_a_device_is_read_from_its_settings_alone() {
        let port = |text| port_in(Path::new("provision.toml"), text);
        assert_eq!(port("").expect("the default"), Config::default().port);
        assert_eq!(port("from_a_later_version = 1\nport = 80").expect("a port"), 80);
        assert!(matches!(port("port = 65536"), Err(Error::Parse { path, .. }) if path.ends_with("provision.toml")));
    }

    #[test]
    fn the_portal_has_three_modes() {
        let portal = |text: &str| read(text, &[]).expect("valid settings").access_point.portal;
        assert_eq!(portal(""), Portal::Auto);
        for (word, mode) in [("auto", Portal::Auto), ("portal", Portal::Portal), ("app", Portal::App)] {
            assert_eq!(portal(&format!("[access_point]\nportal = \"{word}\"")), mode);
        }
    }

    #[test]
    fn the_next_url_is_a_plain_page() {
        let next = |text: &str| read(&format!("next_url = {text}"), &[]).map(|config| config.next_url());
        for (text, url) in [
            ("\"https://home.example/devices\"", "https://home.example/devices"),
            ("\"http://192.168.1.5:7703\"", "http://192.168.1.5:7703"),
        ] {
            let found = next(text).expect("a plain URL").expect("a setting");
            assert_eq!(found.as_str().trim_end_matches('/'), url);
        }
        let long = format!("\"https://home.example/{}\"", "a".repeat(512));
        for hostile in [
            "\"\"",
            "\"javascript:alert(1)\"",
            "\"data:text/html,x\"",
            "\"file:///etc/passwd\"",
            "\"//home.example/\"",
            "\"home.example\"",
            "\"https://\"",
            "\"https://user:secret@home.example/\"",
            "\"https://home.example/\\u0000\"",
            "\"https://home.example/\\nx\"",
            "\" https://home.example/\"",
            "\"java\\tscript:alert(1)\"",
            &long,
        ] {
            let error = next(hostile).expect_err(hostile).to_string();
            assert!(error.contains("next_url") && !error.contains("secret"), "{hostile}: {error}");
        }
    }

    #[test]
    fn a_button_is_a_key_or_a_line_and_a_light_has_a_plain_name() {
        let key = "[[button]]\ninput = \"/dev/input/event0\"\n";
        let line = "[[button]]\ngpio = \"/dev/gpiochip0\"\nline = 17\n";
        let both = read(&format!("{key}{line}[led]\nname = \"green:status\""), &[]).expect("valid settings");
        assert_eq!((both.button.len(), both.led.name.as_deref()), (2, Some("green:status")));
        let neither = "[[button]]\n".to_owned();
        let no_line = "[[button]]\ngpio = \"/dev/gpiochip0\"".to_owned();
        for invalid in
            [neither, no_line, format!("{key}line = 17"), format!("{line}key = 408"), format!("{key}active_high = true")]
        {
            assert!(matches!(read(&invalid, &[]), Err(Error::Setting { name: "button", .. })), "{invalid}");
        }
        for name in ["", "..", "../../etc", "a/b"] {
            let read = read(&format!("[led]\nname = \"{name}\""), &[]);
            assert!(matches!(read, Err(Error::Setting { name: "led.name", .. })), "{name}");
        }
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let config = read("port = 1", &[("JARVIS_PROVISIONING_PORT", "2"), ("JARVIS_SIMULATE_PROVISIONING", "Yes")]);
        let config = config.expect("valid settings");
        assert_eq!((config.port, config.simulate), (2, true));
    }

    #[test]
    fn network_care_is_enabled_by_the_file_or_by_the_environment() {
        let enabled = |text, variables| read(text, variables).expect("valid settings").care.enabled;
        assert!(!enabled("", &[]));
        assert!(!enabled("", &[("MOONHUB_PROVISIONING_ENABLED", "0")]));
        assert!(enabled("", &[("MOONHUB_PROVISIONING_ENABLED", "1")]));
        assert!(enabled("[care]\nenabled = true", &[]));
    }

    #[test]
    fn an_unknown_setting_is_refused_with_its_name() {
        let error = read("[access_point]\npassword = 1", &[]).expect_err("an unknown setting");
        assert!(provisioning_core::fault::chain(&error).contains("password"), "{error}");
    }

    #[test]
    fn the_backend_is_networkmanager_unless_file_or_environment_name_the_other() {
        let backend = |text, variables| read(text, variables).expect("valid settings").backend;
        assert_eq!(backend("", &[]), Backend::NetworkManager);
        assert_eq!(backend("", &[("JARVIS_WIFI_BACKEND", "hostapd")]), Backend::Hostapd);
        assert_eq!(backend("backend = \"hostapd\"", &[]), Backend::Hostapd);
        assert_eq!(backend("backend = \"hostapd\"", &[("JARVIS_WIFI_BACKEND", "networkmanager")]), Backend::NetworkManager);
    }

    #[test]
    fn another_backend_is_refused_with_a_remedy() {
        let error = read("", &[("JARVIS_WIFI_BACKEND", "iwd")]).expect_err("no such backend");
        assert!(error.to_string().contains("networkmanager or hostapd"));
        assert!(read("backend = \"iwd\"", &[]).is_err());
        assert!(read("", &[("JARVIS_WIFI_BACKEND", "iwd"), ("JARVIS_SIMULATE_PROVISIONING", "1")]).is_ok());
    }

    #[test]
    fn firmware_version_and_capabilities_are_those_of_the_existing_node_by_default() {
        let config = read("", &[]).expect("an empty file");
        assert_eq!((config.firmware_version.as_str(), config.capabilities), ("1.0.0", vec!["voice".into(), "speaker".into()]));
    }

    #[test]
    fn a_firmware_version_or_capability_too_long_for_info_is_refused_by_name() {
        for (text, name) in [
            (format!("firmware_version = {:?}", "1".repeat(65)), "firmware_version"),
            ("firmware_version = \"\"".to_owned(), "firmware_version"),
            (format!("capabilities = [{:?}]", "x".repeat(33)), "capabilities"),
            (format!("capabilities = {:?}", ["x"; 9]), "capabilities"),
        ] {
            let error = read(&text, &[]).expect_err("too long");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn the_files_stand_for_the_variables() {
        let config = read("[files]\ndirectory = \"/var/lib/jarvis\"", &[]).expect("valid settings");
        assert_eq!(config.files.variable("JARVIS_SECRET_DIRECTORY").as_deref(), Some("/var/lib/jarvis"));
        assert_eq!(config.files.variable("CONFIG_PATH"), None);
    }

    #[test]
    fn the_packaged_settings_are_valid_and_name_the_services_files() {
        let config = read(include_str!("../packaging/provision.toml"), &[]).expect("valid settings");
        assert_eq!(config.files.variable("JARVIS_SECRET_DIRECTORY").as_deref(), Some("/var/lib/jarvis"));
        assert_eq!(config.files.variable("CONFIG_PATH").as_deref(), Some("/var/lib/jarvis/config.json"));
        assert_eq!(config.pairing.file, Config::default().pairing.file);
    }

    #[test]
    fn an_invalid_token_is_refused_and_not_shown() {
        let error = read("", &[("MOONHUB_PROVISIONING_TOKEN", "tok en")]).expect_err("a space").to_string();
        assert!(error.contains("MOONHUB_PROVISIONING_TOKEN") && !error.contains("tok en"), "{error}");
        assert!(read("", &[]).expect("no token").care.api_token().expect("none").is_none());
    }

    #[test]
    fn an_invalid_port_is_refused() {
        assert!(read("", &[("JARVIS_PROVISIONING_PORT", "http")]).is_err());
    }
}
