//! The host names that the node answers to.
//!
//! The owner of a hostile name, or the DNS of the access point, can resolve that name to the node's address. A browser with a
//! page from that name then treats the node's answers as the page's own. The name is in `Host`, which a page
//! cannot change, so a request for a name that is not the node's is refused, reads included.

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Uri, Version};

/// The names of the node.
pub(super) struct Names<'a> {
    /// The name on the label, which the node advertises.
    pub(super) own: &'a str,
    /// The request came to the node's loopback address.
    pub(super) loopback: bool,
}

impl Names<'_> {
    /// Whether a request is for this node.
    pub(super) fn include_host_of(&self, head: &Parts) -> bool {
        let mut hosts = head.headers.get_all(HOST).iter();
        let is_own = match (hosts.next(), hosts.next()) {
            (Some(host), None) => authority(host).is_some_and(|host| self.include(host.host())),
            // A client of HTTP/1.0 may send none; browsers send one.
            (None, _) => head.version == Version::HTTP_10,
            _ => false,
        };
        is_own && head.uri.authority().is_none_or(|target| self.include(target.host()))
    }

    /// Whether a host is an address or a name of the node.
    fn include(&self, host: &str) -> bool {
        if is_address(host) {
            return true;
        }
        let host = host.to_ascii_lowercase();
        if host == "localhost" {
            return self.loopback;
        }
        let name = host.strip_suffix(".local").unwrap_or(&host);
        name.eq_ignore_ascii_case(self.own)
    }
}

fn is_address(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4()),
    }
}

/// Whether a browser sends this request for another site than the `Host`, which is one of the node's names.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
    if headers.get(SITE).is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok()).and_then(|uri| uri.into_parts().authority);
    origin.is_none() || origin != headers.get(HOST).and_then(authority)
}

fn authority(value: &HeaderValue) -> Option<Authority> {
    value.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_a_name_of_the_node_on_the_loopback_only() {
        for loopback in [true, false] {
            let names = Names { own: "jarvis-5b91b661", loopback };
            assert_eq!(names.include("LocalHost"), loopback);
            assert!(!names.include("localhost.local") && !names.include("localhost."));
        }
    }

    #[test]
    fn only_complete_addresses_are_addresses() {
        for address in ["192.168.4.1", "[::1]", "[fe80::1]", "[::ffff:192.168.4.1]"] {
            assert!(is_address(address), "{address}");
        }
        for name in ["", "192.168.4", "3232236545", "0x7f.1", "[192.168.4.1]", "[::1", "::1.evil"] {
            assert!(!is_address(name), "{name}");
        }
    }
}
