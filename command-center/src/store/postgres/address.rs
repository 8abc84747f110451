//! The address of a PostgreSQL database: `postgres://USER:PASSWORD@HOST:PORT/NAME?OPTION=VALUE&…`.
//!
//! Parts that the address leaves out come from the environment variables of libpq, and the password also from its password
//! file. No error repeats a part of the address, because a mistyped one may have the password anywhere.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use thiserror::Error;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use url::Url;

use super::password_file;
use super::tls::{TlsSettings, Verify};

/// The port that PostgreSQL has by default.
const PORT: u16 = 5432;

/// The folders where a server on this machine has its socket.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Why an address cannot be used.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum AddressError {
    /// It is no URL.
    #[error("the database address is not a valid URL: {0}")]
    Url(#[from] url::ParseError),
    /// A part of it is not UTF-8.
    #[error("the database address contains a part that is not UTF-8")]
    NotUtf8,
    /// An option, or the environment variable for it, has a value that PostgreSQL does not know.
    #[error("the setting `{0}` of the database address has an invalid value")]
    InvalidValue(&'static str),
}

/// `sslmode`, as libpq has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Plain. `allow` is the same: a server that insists on TLS refuses.
    Disable,
    /// TLS if the server offers it, which any machine on the path can prevent.
    Prefer,
    /// TLS with any certificate.
    Require,
    /// TLS with a certificate that a trusted authority issued.
    VerifyCa,
    /// TLS with a certificate that a trusted authority issued for the host.
    VerifyFull,
}

impl FromStr for Mode {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "disable" | "allow" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-ca" => Ok(Self::VerifyCa),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(AddressError::InvalidValue("sslmode")),
        }
    }
}

/// How to connect to a database.
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) tls: TlsSettings,
}

/// The parts of an address, the later ones of which override the earlier ones.
#[derive(Default)]
struct Parts {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    name: Option<String>,
    mode: Option<Mode>,
    /// Options of the server, as on its command line.
    options: Vec<String>,
    tls: TlsSettings,
}

impl Address {
    /// Parses an address; `variable` returns an environment variable.
    pub(super) fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, AddressError> {
        let mut parts = Parts::from_environment(&variable)?;
        parts.read_url(&Url::parse(text)?)?;
        let port = parts.port.unwrap_or(PORT);
        let host = parts.host.unwrap_or_else(|| default_host(port));
        let user = parts.user.or_else(|| whoami::username().ok()).unwrap_or_else(|| "unknown".to_owned());
        let name = parts.name.as_deref().unwrap_or(&user);
        let wanted = password_file::Entry { host: &host, port, name, user: &user };
        let password = parts.password.or_else(|| password_file::find(&wanted, &variable));
        // `prefer` is no protection against an attacker on the path.
        let mode = parts.mode.unwrap_or(if is_local(&host) { Mode::Prefer } else { Mode::Require });

        let mut config = Config::new();
        config.host(&host).port(port).user(&user).dbname(name).options(parts.options.join(" "));
        if let Some(password) = password {
            config.password(password);
        }
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        });
        let verify = match mode {
            Mode::Disable | Mode::Prefer | Mode::Require => Verify::Nothing,
            Mode::VerifyCa => Verify::Issuer,
            Mode::VerifyFull => Verify::IssuerAndName,
        };
        Ok(Self { config, tls: TlsSettings { verify, ..parts.tls } })
    }
}

impl Parts {
    fn from_environment(variable: &impl Fn(&str) -> Option<String>) -> Result<Self, AddressError> {
        Ok(Self {
            host: variable("PGHOSTADDR").or_else(|| variable("PGHOST")),
            port: variable("PGPORT").map(|port| parse_port(&port)).transpose()?,
            user: variable("PGUSER"),
            password: variable("PGPASSWORD"),
            name: variable("PGDATABASE"),
            mode: variable("PGSSLMODE").map(|mode| mode.parse()).transpose()?,
            options: variable("PGOPTIONS").into_iter().collect(),
            tls: TlsSettings {
                root_certificates: variable("PGSSLROOTCERT"),
                client_certificate: variable("PGSSLCERT"),
                client_key: variable("PGSSLKEY"),
                ..TlsSettings::default()
            },
        })
    }

    fn read_url(&mut self, url: &Url) -> Result<(), AddressError> {
        if let Some(host) = url.host_str().filter(|host| !host.is_empty()) {
            // The URL has brackets around an IPv6 address, which the resolver does not take.
            self.host = Some(decode(host.trim_start_matches('[').trim_end_matches(']'))?);
        }
        self.port = url.port().or(self.port);
        if !url.username().is_empty() {
            self.user = Some(decode(url.username())?);
        }
        if let Some(password) = url.password() {
            self.password = Some(decode(password)?);
        }
        let name = url.path().trim_start_matches('/');
        if !name.is_empty() {
            self.name = Some(decode(name)?);
        }
        for (index, (key, value)) in url.query_pairs().enumerate() {
            let value = value.into_owned();
            match &*key {
                "sslmode" | "ssl-mode" => self.mode = Some(value.parse()?),
                "sslrootcert" | "ssl-root-cert" | "ssl-ca" => self.tls.root_certificates = Some(value),
                "sslcert" | "ssl-cert" => self.tls.client_certificate = Some(value),
                "sslkey" | "ssl-key" => self.tls.client_key = Some(value),
                "hostaddr" if value.parse::<IpAddr>().is_err() => return Err(AddressError::InvalidValue("hostaddr")),
                "host" | "hostaddr" => self.host = Some(value),
                "port" => self.port = Some(parse_port(&value)?),
                "dbname" => self.name = Some(value),
                "user" => self.user = Some(value),
                "password" => self.password = Some(value),
                "options" => self.options.push(value),
                key => match key.strip_prefix("options[").and_then(|key| key.strip_suffix(']')) {
                    Some(key) => self.options.push(format!("-c {key}={value}")),
                    // Its name may be a part of a password that has a question mark.
                    None => tracing::warn!(number = index + 1, "ignoring an unknown option of the database address"),
                },
            }
        }
        Ok(())
    }
}

fn decode(text: &str) -> Result<String, AddressError> {
    percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned).map_err(|_| AddressError::NotUtf8)
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    text.parse().map_err(|_| AddressError::InvalidValue("port"))
}

fn default_host(port: u16) -> String {
    let socket = format!(".s.PGSQL.{port}");
    let folder = SOCKET_FOLDERS.into_iter().find(|folder| Path::new(folder).join(&socket).exists());
    folder.unwrap_or("localhost").to_owned()
}

/// Whether what is sent to the host does not leave this machine.
fn is_local(host: &str) -> bool {
    host.starts_with('/') || host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::Host;

    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        Address::parse(text, |_| None)
    }

    fn mode(text: &str) -> (SslMode, Verify) {
        let address = parse(text).unwrap();
        (address.config.get_ssl_mode(), address.tls.verify)
    }

    #[test]
    fn an_address_names_host_port_user_password_and_database() {
        let config = parse("postgres://us%40er:p%2Fw@db.example:5433/fleet").unwrap().config;
        assert_eq!(config.get_hosts(), [Host::Tcp("db.example".into())]);
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(config.get_user(), Some("us@er"));
        assert_eq!(config.get_password(), Some(&b"p/w"[..]));
        assert_eq!(config.get_dbname(), Some("fleet"));
    }

    #[test]
    fn options_override_the_parts_before_them() {
        let text = "postgresql://a@localhost/b?host=/run/pg&port=1&user=c&dbname=d&password=e&options[x]=y&options=-c%20z=1";
        let config = parse(text).unwrap().config;
        assert_eq!(config.get_hosts(), [Host::Unix("/run/pg".into())]);
        assert_eq!((config.get_ports(), config.get_user(), config.get_dbname()), (&[1][..], Some("c"), Some("d")));
        assert_eq!((config.get_password(), config.get_options()), (Some(&b"e"[..]), Some("-c x=y -c z=1")));
    }

    #[test]
    fn the_environment_supplies_what_the_address_leaves_out() {
        let variable = |name: &str| match name {
            "PGHOST" => Some("db.example".to_owned()),
            "PGPASSWORD" => Some("secret".to_owned()),
            "PGSSLMODE" => Some("verify-full".to_owned()),
            "PGUSER" => Some("jarvis".to_owned()),
            _ => None,
        };
        let address = Address::parse("postgres:///", variable).unwrap();
        assert_eq!(address.config.get_hosts(), [Host::Tcp("db.example".into())]);
        assert_eq!((address.config.get_user(), address.config.get_dbname()), (Some("jarvis"), Some("jarvis")));
        assert_eq!(address.config.get_password(), Some(&b"secret"[..]));
        assert_eq!(address.tls.verify, Verify::IssuerAndName);
    }

    #[test]
    fn another_machine_is_reached_over_tls_unless_stated_otherwise() {
        for remote in ["postgres://u@db.example/d", "postgres://u@10.0.0.1/d", "postgres://u@[2001:db8::1]/d"] {
            assert_eq!(mode(remote), (SslMode::Require, Verify::Nothing), "{remote}");
        }
        for local in ["postgres://u@localhost/d", "postgres://u@127.0.0.1/d", "postgres://u@[::1]/d", "postgres://%2Ftmp/d"] {
            assert_eq!(mode(local), (SslMode::Prefer, Verify::Nothing), "{local}");
        }
        for (stated, expected) in [
            ("disable", (SslMode::Disable, Verify::Nothing)),
            ("allow", (SslMode::Disable, Verify::Nothing)),
            ("prefer", (SslMode::Prefer, Verify::Nothing)),
            ("require", (SslMode::Require, Verify::Nothing)),
            ("verify-ca", (SslMode::Require, Verify::Issuer)),
            ("verify-full", (SslMode::Require, Verify::IssuerAndName)),
        ] {
            assert_eq!(mode(&format!("postgres://u@db.example/d?sslmode={stated}")), expected, "{stated}");
        }
    }

    #[test]
    fn an_error_repeats_no_part_of_the_address() {
        for wrong in [
            "postgres://user:hunter2@host:54x2/name",
            "postgres://user:hunter2@[::1/name",
            "postgres://user@host/name?port=hunter2",
            "postgres://user@host/name?sslmode=hunter2",
            "postgres://user:%ff%fehunter2@host/name",
        ] {
            let Err(error) = parse(wrong) else { panic!("{wrong}") };
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
