//! The configuration of a server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use url::Url;

use crate::base::clock::Clock;
use crate::base::secret::SecretText;
use crate::store::Database;

/// The configuration of a server. [`Config::new`] sets the defaults.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The address to listen on; port 0 chooses a free port, which [`crate::Server::address`] returns.
    pub listen: SocketAddr,
    /// The database.
    pub database: Database,
    /// The file of the server's secret, created at the first start. Processes that share a database share this file's
    /// content. Without it, the file is `PATH.secret` beside the SQLite database at `PATH`.
    pub secret_file: Option<PathBuf>,
    /// The administrator's key. Without it no administrator is accepted.
    pub admin_key: Option<SecretText>,
    /// The key with which the auth service signs bearer tokens. Without it no user is accepted.
    pub jwt_secret: Option<SecretText>,
    /// Where the auth service publishes the public keys that it signs bearer tokens with. Without it only tokens that are
    /// signed with [`Config::jwt_secret`] are accepted.
    pub user_keys: Option<KeySource>,
    /// The MQTT account that nodes receive.
    pub mqtt: Option<MqttAccount>,
    /// The message broker that notifies nodes of pending keys, requests and resets, with the same account.
    pub broker: Option<BrokerAddress>,
    /// The server's certificate and key. Without them it speaks plain HTTP, for a proxy or for this machine alone.
    pub tls: Option<TlsFiles>,
    /// The URL of this server for clients, such as `https://center.example`; sent to claimed appliances. Without it they
    /// receive the host of their own request.
    pub public_url: Option<String>,
    /// Further names under which clients reach this server; the host of the public URL and the machine's name are known.
    pub host_names: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpAddr>,
    /// The source of the time.
    pub clock: Clock,
    /// How long clients may take.
    pub patience: Patience,
}

/// An account at the message broker.
#[derive(Clone, Debug)]
pub struct MqttAccount {
    /// Its name.
    pub username: String,
    /// Its password.
    pub password: SecretText,
}

/// Where a JSON Web Key Set is (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file.
    File(PathBuf),
    /// A URL: `https`, or `http` on this machine or a private network.
    Url(Url),
}

impl FromStr for KeySource {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return if text.is_empty() || text.contains("://") { Err(AddressError::Keys) } else { Ok(Self::File(text.into())) };
        }
        Url::parse(text).map(Self::Url).map_err(|_| AddressError::Keys)
    }
}

/// The address of a message broker, parsed from `mqtt://HOST:PORT` or `mqtts://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Its name or address.
    pub host: String,
    /// Its port; 1883 is the usual one, and 8883 with TLS.
    pub port: u16,
    /// Whether the connection is made with TLS.
    pub tls: bool,
}

impl FromStr for BrokerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let url = Url::parse(text).map_err(|_| AddressError::Broker)?;
        let (tls, usual) = match url.scheme() {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return Err(AddressError::Broker),
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        // The account has settings of its own, which are not arguments.
        let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        if host.is_empty() || !is_plain || !matches!(url.path(), "" | "/") {
            return Err(AddressError::Broker);
        }
        Ok(Self { host: host.to_owned(), port: url.port().unwrap_or(usual), tls })
    }
}

/// A text that is no address of the kind that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// No source of keys.
    #[error("a file, or a URL with http or https")]
    Keys,
    /// No message broker.
    #[error("`mqtt://HOST:PORT` or `mqtts://HOST:PORT`, without an account")]
    Broker,
}

/// The files of a server's identity, both in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain, the server's certificate first.
    pub certificate: PathBuf,
    /// The private key, readable by its owner only.
    pub key: PathBuf,
}

/// How long a client may take before it is disconnected.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a request's head, and between two requests on one connection. Long enough for a node on a bad link, short
    /// enough that a thousand silent connections end within seconds.
    pub head: Duration,
    /// For the body.
    pub body: Duration,
    /// For reading any part of an answer.
    pub answer: Duration,
    /// For running requests when the server stops.
    pub stop: Duration,
    /// How long the request of a user waits until the node has acknowledged the settings key that is relayed to it.
    pub relay: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs(10);
        Self { head: seconds, body: seconds, answer: seconds, stop: seconds, relay: Duration::from_secs(15) }
    }
}

impl Config {
    /// A server at `listen` with its data in `database`, which accepts no users and no administrator.
    pub fn new(listen: SocketAddr, database: Database) -> Self {
        Self {
            listen,
            database,
            secret_file: None,
            admin_key: None,
            jwt_secret: None,
            user_keys: None,
            mqtt: None,
            broker: None,
            tls: None,
            public_url: None,
            host_names: Vec::new(),
            trusted_proxies: Vec::new(),
            clock: Clock::system(),
            patience: Patience::default(),
        }
    }

    /// The file of the server's secret; none if the database is shared and no file is configured.
    pub(crate) fn secret_path(&self) -> Option<PathBuf> {
        self.secret_file.clone().or_else(|| match &self.database {
            Database::Sqlite(path) => {
                let mut name = path.clone().into_os_string();
                name.push(".secret");
                Some(PathBuf::from(name))
            }
            Database::Postgres(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_has_a_scheme_and_a_host_and_no_account() {
        let address = |host: &str, port, tls| Ok(BrokerAddress { host: host.into(), port, tls });
        assert_eq!("mqtt://broker.lan".parse(), address("broker.lan", 1883, false));
        assert_eq!("mqtts://broker.lan/".parse(), address("broker.lan", 8883, true));
        assert_eq!("mqtt://[::1]:1884".parse(), address("::1", 1884, false));
        for wrong in ["broker.lan", "http://broker.lan", "mqtt://", "mqtt://user:hunter2@broker.lan", "mqtt://broker.lan/topic"] {
            assert_eq!(wrong.parse::<BrokerAddress>(), Err(AddressError::Broker), "{wrong}");
        }
    }

    #[test]
    fn keys_are_in_a_file_or_at_a_url() {
        assert_eq!("keys.json".parse(), Ok(KeySource::File("keys.json".into())));
        assert!(matches!("https://auth.example/jwks".parse(), Ok(KeySource::Url(_))));
        for wrong in ["", "ftp://auth.example/jwks", "https://"] {
            assert_eq!(wrong.parse::<KeySource>(), Err(AddressError::Keys), "{wrong}");
        }
    }
}
