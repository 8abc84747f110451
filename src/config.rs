//! What the operator sets: a file, and the environment above it.
//!
//! Everything has a default that is right on a device, so that no file is needed. A file that names something unknown is
//! refused: a setting that is silently ignored is worse than none.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use provisioning_core::machine::AccessPointPolicy;

/// Where the pairing secrets are on a device and in its image: the factory writes them there.
pub const PAIRING: &str = "boot/firmware/jarvis-pairing.json";

/// A setting that cannot be used; says which, where, and what to do.
#[derive(Debug, Error)]
pub enum Error {
    /// The file is not there, or may not be read.
    #[error("reading the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not TOML, or names what there is not.
    #[error("understanding the configuration file {}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause, with its line.
        source: Box<toml::de::Error>,
    },
    /// A variable has a value that it cannot have.
    #[error("the variable {name} is {value:?}: {expected}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
}

/// What the program does where the file says nothing, and what the file may say.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address that the HTTP API listens on. Every address by default, because the access point's comes and goes;
    /// loopback in simulation.
    pub listen: Option<IpAddr>,
    /// The port of the HTTP API: 8080, where the existing phone app looks.
    pub port: u16,
    /// How long a phone can ask for the outcome after a success, seconds. Five minutes: time to walk back to the phone.
    pub linger_seconds: u64,
    /// The ATT MTU of the simulated Bluetooth link, 23 to 517. 517 is what BlueZ agrees to.
    pub simulated_mtu: u16,
    /// The Wi-Fi device, such as `wlan0`; the first that there is if none is named.
    pub interface: Option<String>,
    /// The Bluetooth adapter, by its name (`hci0`) or its address; the first that there is if none is named.
    pub adapter: Option<String>,
    /// The access point.
    pub access_point: AccessPoint,
    /// The command center.
    pub command_center: CommandCenter,
    /// The pairing secrets.
    pub pairing: Pairing,
    /// No radio: simulated networks, HTTP on loopback, Bluetooth on a socket. Set by `--simulate` or the environment.
    #[serde(skip)]
    pub simulate: bool,
    /// Begin even if the node is provisioned. Set by the environment.
    #[serde(skip)]
    pub skip_check: bool,
}

/// When and how the access point is opened.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessPoint {
    /// When it is opened.
    pub open: Open,
    /// With [`Open::WhenQuiet`]: after how long without a phone over Bluetooth, seconds. A minute: a phone that has
    /// Bluetooth finds the node within seconds.
    pub quiet_seconds: u64,
    /// Whether the JSON API takes secrets in clear on an access point that is not encrypted.
    pub secrets_in_clear: bool,
}

/// When the access point is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Open {
    /// From the start.
    Always,
    /// Without Bluetooth, or when no phone came for a while.
    WhenQuiet,
    /// Not at all.
    Never,
}

/// Which command centers a node talks to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandCenter {
    /// Certificates of a private authority, PEM; beside the system's.
    pub certificates: Option<PathBuf>,
    /// Only https, and no private addresses.
    pub strict: bool,
}

/// Where the pairing secrets come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pairing {
    /// A file of the owner's, on the boot partition; read once, when the node has no secrets of its own.
    pub file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: None,
            port: 8080,
            linger_seconds: 300,
            simulated_mtu: 517,
            interface: None,
            adapter: None,
            access_point: AccessPoint::default(),
            command_center: CommandCenter::default(),
            pairing: Pairing::default(),
            simulate: false,
            skip_check: false,
        }
    }
}

impl Default for AccessPoint {
    fn default() -> Self {
        Self { open: Open::WhenQuiet, quiet_seconds: 60, secrets_in_clear: false }
    }
}

impl Default for Pairing {
    /// Where the factory writes it.
    fn default() -> Self {
        Self { file: Some(Path::new("/").join(PAIRING)) }
    }
}

impl Config {
    /// The file's settings, or the defaults without a file, with the environment above them. `lookup` gives the value of
    /// a variable; an empty one counts as not set.
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
        // The words that the variables' users have always used; every other value means no.
        let yes = |name| lookup(name).is_some_and(|value| ["true", "1", "yes"].contains(&value.to_lowercase().as_str()));
        config.simulate = yes("JARVIS_SIMULATE_PROVISIONING");
        config.skip_check = yes("JARVIS_SKIP_PROVISIONING_CHECK");
        if let Some(value) = lookup("JARVIS_WIFI_BACKEND")
            && !config.simulate
            && value != "networkmanager"
        {
            let expected = match value.as_str() {
                "hostapd" => "there is no hostapd backend; unset it, or set it to networkmanager",
                _ => "unset it, or set it to networkmanager",
            };
            return Err(Error::Variable { name: "JARVIS_WIFI_BACKEND", value, expected });
        }
        Ok(config)
    }

    /// What the machine is told of the access point. The simulated one is there from the start.
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
    fn the_environment_stands_above_the_file() {
        let config = read("port = 1", &[("JARVIS_PROVISIONING_PORT", "2"), ("JARVIS_SIMULATE_PROVISIONING", "Yes")]);
        let config = config.expect("valid settings");
        assert_eq!((config.port, config.simulate), (2, true));
    }

    #[test]
    fn an_unknown_setting_is_refused_with_its_name() {
        let error = read("[access_point]\npassword = 1", &[]).expect_err("an unknown setting");
        assert!(provisioning_core::fault::chain(&error).contains("password"), "{error}");
    }

    #[test]
    fn hostapd_is_refused_with_what_to_do() {
        let error = read("", &[("JARVIS_WIFI_BACKEND", "hostapd")]).expect_err("no such backend");
        assert!(error.to_string().contains("networkmanager"));
        assert!(read("", &[("JARVIS_WIFI_BACKEND", "hostapd"), ("JARVIS_SIMULATE_PROVISIONING", "1")]).is_ok());
    }

    #[test]
    fn a_port_that_is_none_is_refused() {
        assert!(read("", &[("JARVIS_PROVISIONING_PORT", "http")]).is_err());
    }
}
