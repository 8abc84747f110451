//! The address of a PostgreSQL database: `postgres://USER:PASSWORD@HOST:PORT,…/NAME?OPTION=VALUE&…`.
//!
//! Several hosts are those of one database, of which one accepts changes at a time; each connection looks for that one.
//!
//! Parts that the address leaves out come from the environment variables of libpq, and the password also from its password
//! file. No error repeats a part of the address, because a mistyped one may have the password anywhere.

use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use thiserror::Error;
use tokio_postgres::Config;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use url::Url;

use super::password_file;
use super::tls::{TlsSettings, Verify};

/// The port that PostgreSQL has by default.
const PORT: u16 = 5432;

/// How long one of several hosts may take to accept a connection, before the next is tried: all of them within the time for
/// which a request waits.
const CONNECT: Duration = Duration::from_secs(2);

/// How long a host may leave data unacknowledged. One that has lost its power closes no connection.
const SILENT: Duration = Duration::from_secs(5);

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
    /// Each with its own port, if it has one.
    hosts: Vec<(String, Option<u16>)>,
    /// For the hosts without one: one for all, or one for each.
    ports: Vec<u16>,
    user: Option<String>,
    password: Option<String>,
    name: Option<String>,
    mode: Option<Mode>,
    target: Option<TargetSessionAttrs>,
    /// Options of the server, as on its command line.
    options: Vec<String>,
    tls: TlsSettings,
}

impl Address {
    /// Parses an address; `variable` returns an environment variable.
    pub(super) fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, AddressError> {
        let mut parts = Parts::from_environment(&variable)?;
        let (text, others) = split_hosts(text);
        parts.read_url(&Url::parse(&text)?, &others)?;
        let hosts = parts.hosts()?;
        let (host, port) = &hosts[0];
        let user = parts.user.or_else(|| whoami::username().ok()).unwrap_or_else(|| "unknown".to_owned());
        let name = parts.name.as_deref().unwrap_or(&user);
        let wanted = password_file::Entry { host, port: *port, name, user: &user };
        let password = parts.password.or_else(|| password_file::find(&wanted, &variable));
        // `prefer` is no protection against an attacker on the path.
        let are_local = hosts.iter().all(|(host, _)| is_local(host));
        let mode = parts.mode.unwrap_or(if are_local { Mode::Prefer } else { Mode::Require });

        let mut config = Config::new();
        config.user(&user).dbname(name).options(parts.options.join(" ")).tcp_user_timeout(SILENT);
        for (host, port) in &hosts {
            config.host(host).port(*port);
        }
        // A standby takes no changes.
        if hosts.len() > 1 {
            config.connect_timeout(CONNECT).target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if let Some(target) = parts.target {
            config.target_session_attrs(target);
        }
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
            hosts: variable("PGHOSTADDR").or_else(|| variable("PGHOST")).map(|hosts| list(&hosts)).unwrap_or_default(),
            ports: variable("PGPORT").map(|ports| parse_ports(&ports)).transpose()?.unwrap_or_default(),
            user: variable("PGUSER"),
            password: variable("PGPASSWORD"),
            name: variable("PGDATABASE"),
            mode: variable("PGSSLMODE").map(|mode| mode.parse()).transpose()?,
            target: variable("PGTARGETSESSIONATTRS").map(|target| parse_target(&target)).transpose()?,
            options: variable("PGOPTIONS").into_iter().collect(),
            tls: TlsSettings {
                root_certificates: variable("PGSSLROOTCERT"),
                client_certificate: variable("PGSSLCERT"),
                client_key: variable("PGSSLKEY"),
                ..TlsSettings::default()
            },
        })
    }

    /// The hosts with their ports; there is at least one.
    fn hosts(&self) -> Result<Vec<(String, u16)>, AddressError> {
        let port = |index: usize| match self.ports.as_slice() {
            [] => Ok(PORT),
            [port] => Ok(*port),
            ports if ports.len() == self.hosts.len() => Ok(ports[index]),
            _ => Err(AddressError::InvalidValue("port")),
        };
        if self.hosts.is_empty() {
            let port = port(0)?;
            return Ok(vec![(default_host(port), port)]);
        }
        let numbered = self.hosts.iter().enumerate();
        numbered.map(|(index, (host, own))| Ok((host.clone(), own.map_or_else(|| port(index), Ok)?))).collect()
    }

    /// Reads the address with its first host, and the hosts after it.
    fn read_url(&mut self, url: &Url, others: &[&str]) -> Result<(), AddressError> {
        let others = others.iter().map(|host| Url::parse(&format!("postgres://{host}"))).collect::<Result<Vec<_>, _>>()?;
        let named = [url].into_iter().chain(&others).filter_map(|url| Some((url.host_str()?, url.port())));
        let named = named.filter(|(host, _)| !host.is_empty());
        // The URL has brackets around an IPv6 address, which the resolver does not take.
        let host = |(host, port): (&str, _)| decode(host.trim_matches(['[', ']'])).map(|host| (host, port));
        let named = named.map(host).collect::<Result<Vec<_>, _>>()?;
        match url.port() {
            _ if !named.is_empty() => self.hosts = named,
            Some(port) => self.ports = vec![port],
            None => {}
        }
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
                "hostaddr" if value.split(',').any(|address| address.parse::<IpAddr>().is_err()) => {
                    return Err(AddressError::InvalidValue("hostaddr"));
                }
                "host" | "hostaddr" => self.hosts = list(&value),
                "port" => {
                    self.ports = parse_ports(&value)?;
                    self.hosts.iter_mut().for_each(|(_, own)| *own = None);
                }
                "target_session_attrs" => self.target = Some(parse_target(&value)?),
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

/// An address with its first host only, and the other hosts: a URL has one, an address of libpq any number.
fn split_hosts(text: &str) -> (String, Vec<&str>) {
    let start = text.find("://").map_or(0, |scheme| scheme + 3);
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |length| start + length);
    let start = text[start..end].rfind('@').map_or(start, |user| start + user + 1);
    let mut hosts = text[start..end].split(',');
    let first = hosts.next().unwrap_or_default();
    (format!("{}{first}{}", &text[..start], &text[end..]), hosts.collect())
}

/// Hosts that are separated by commas.
fn list(hosts: &str) -> Vec<(String, Option<u16>)> {
    hosts.split(',').map(|host| (host.to_owned(), None)).collect()
}

fn parse_ports(text: &str) -> Result<Vec<u16>, AddressError> {
    text.split(',').map(|port| port.parse().map_err(|_| AddressError::InvalidValue("port"))).collect()
}

/// A server that takes changes, or any: the command center has no use for one that takes none.
fn parse_target(text: &str) -> Result<TargetSessionAttrs, AddressError> {
    match text {
        "any" => Ok(TargetSessionAttrs::Any),
        "read-write" | "primary" => Ok(TargetSessionAttrs::ReadWrite),
        _ => Err(AddressError::InvalidValue("target_session_attrs")),
    }
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
    fn several_hosts_are_searched_for_the_one_that_takes_changes() {
        let tcp = |names: &[&str]| names.iter().map(|name| Host::Tcp((*name).into())).collect::<Vec<_>>();
        for (text, ports) in [
            ("postgres://u:p@a.example:1,b.example:2,[::1]/d", [1, 2, 5432]),
            ("postgres://u:p@a.example:1,b.example:2,[::1]/d?port=7", [7, 7, 7]),
            ("postgres:///d?user=u&password=p&host=a.example,b.example,::1&port=1,2,3", [1, 2, 3]),
        ] {
            let Address { config, tls: _ } = parse(text).unwrap();
            assert_eq!(config.get_hosts(), tcp(&["a.example", "b.example", "::1"]), "{text}");
            assert_eq!(config.get_ports(), ports, "{text}");
            assert_eq!((config.get_user(), config.get_password()), (Some("u"), Some(&b"p"[..])));
            assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
            assert_eq!(config.get_ssl_mode(), SslMode::Require);
        }
        let target = |text: &str| parse(text).map(|address| address.config.get_target_session_attrs());
        assert_eq!(target("postgres://u@a/d"), Ok(TargetSessionAttrs::Any));
        assert_eq!(target("postgres://u@a,b/d?target_session_attrs=any"), Ok(TargetSessionAttrs::Any));
        assert_eq!(target("postgres://u@a/d?target_session_attrs=primary"), Ok(TargetSessionAttrs::ReadWrite));
        let unusable = Err(AddressError::InvalidValue("target_session_attrs"));
        assert_eq!(target("postgres://u@a/d?target_session_attrs=standby"), unusable);
        assert_eq!(target("postgres:///d?host=a,b,c&port=1,2"), Err(AddressError::InvalidValue("port")));
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
            "postgres://user:hunter2@host,host:54x2/name",
            "postgres://user@host/name?sslmode=hunter2",
            "postgres://user:%ff%fehunter2@host/name",
        ] {
            let Err(error) = parse(wrong) else { panic!("{wrong}") };
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
