//! The names that this server answers to.
//!
//! A browser that loads a page from a hostile name resolves that name to this server's address if the name's owner says so, and
//! then treats the server's answers as the page's own. The name is in `Host`, which a page cannot change.
//!
//! - Addresses are always accepted: a page cannot make one its own. `localhost` is accepted from this machine.
//! - The names of the configuration and of the machine are accepted.
//! - With a public URL all other names are refused. Without one the server cannot know its names, so it refuses other names only
//!   where a browser's log-in would count, which is all that a page in a browser has: programs send tokens and keys of their
//!   own.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::Version;
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::uri::Authority;

use super::Center;
use super::auth::peer_of;
use crate::base::refusal::Refusal;
use crate::config::Config;

/// The names of a server.
#[derive(Debug)]
pub(crate) struct Names {
    own: Vec<String>,
    /// Whether no other name is accepted for anything.
    are_complete: bool,
}

impl Names {
    /// The names of a configuration and of the machine.
    pub(crate) fn new(config: &Config, machine: &str) -> Self {
        let public = config.public_url.as_deref().and_then(|url| url::Url::parse(url).ok()?.host_str().map(str::to_owned));
        let are_complete = public.is_some();
        let machine = [machine.to_owned(), format!("{machine}.local")].into_iter().filter(|_| !machine.is_empty());
        let own = public.into_iter().chain(config.host_names.iter().cloned()).chain(machine);
        Self { own: own.map(|name| name.to_ascii_lowercase()).collect(), are_complete }
    }

    /// Whether a request names this server.
    fn are_asked_for(&self, parts: &Parts) -> bool {
        let is_from_here = peer_of(parts).to_canonical().is_loopback();
        let mut hosts = parts.headers.get_all(HOST).iter();
        let is_own = match (hosts.next(), hosts.next()) {
            (Some(host), None) => {
                let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
                host.is_some_and(|host| self.include(host.host(), is_from_here))
            }
            // A client of HTTP/1.0 may send none; browsers send one.
            (None, _) => parts.version == Version::HTTP_10,
            _ => false,
        };
        is_own && parts.uri.authority().is_none_or(|target| self.include(target.host(), is_from_here))
    }

    fn include(&self, host: &str, is_from_here: bool) -> bool {
        let host = host.to_ascii_lowercase();
        is_address(&host) || (host == "localhost" && is_from_here) || self.own.contains(&host)
    }
}

fn is_address(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()),
    }
}

/// Refuses requests for other servers, if the names of this one are known.
pub(super) fn limit(parts: &Parts, center: &Center) -> Result<(), Refusal> {
    if center.names.are_complete { check(parts, center) } else { Ok(()) }
}

/// Refuses a browser that uses a name which may be somebody else's.
pub(super) fn check(parts: &Parts, center: &Center) -> Result<(), Refusal> {
    if center.names.are_asked_for(parts) { Ok(()) } else { Err(Refusal::WrongHost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(public_url: Option<&str>) -> Names {
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), "sqlite:/tmp/center.db".parse().unwrap());
        config.public_url = public_url.map(str::to_owned);
        config.host_names = vec!["Center.lan".into()];
        Names::new(&config, "machine")
    }

    #[test]
    fn the_names_are_those_of_the_configuration_and_of_the_machine() {
        let names = names(Some("https://Center.Example:8443/path"));
        assert!(names.are_complete);
        for own in ["center.example", "CENTER.example", "center.lan", "machine", "machine.local", "192.0.2.1", "[2001:db8::1]"] {
            assert!(names.include(own, false), "{own}");
        }
        for other in ["evil.example", "center.example.evil", "center.example.", "", "3221225985", "[::1", "localhost"] {
            assert!(!names.include(other, false), "{other}");
        }
        assert!(names.include("localhost", true));
    }

    #[test]
    fn without_a_public_url_the_names_are_not_complete() {
        assert!(!names(None).are_complete);
    }

    #[test]
    fn a_machine_without_a_name_adds_none() {
        let config = Config::new("127.0.0.1:0".parse().unwrap(), "sqlite:/tmp/center.db".parse().unwrap());
        assert!(Names::new(&config, "").own.is_empty());
    }
}
