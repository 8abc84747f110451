//! The configuration of a server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

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
    /// The MQTT account that nodes receive.
    pub mqtt: Option<MqttAccount>,
    /// The server's certificate and key. Without them it speaks plain HTTP, for a proxy or for this machine alone.
    pub tls: Option<TlsFiles>,
    /// The URL of this server for clients, such as `https://center.example`; sent to claimed appliances. Without it they
    /// receive the host of their own request.
    pub public_url: Option<String>,
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
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs(10);
        Self { head: seconds, body: seconds, answer: seconds, stop: seconds }
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
            mqtt: None,
            tls: None,
            public_url: None,
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
