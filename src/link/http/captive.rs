//! Captive-portal probes, answered so that phones open the setup page, or so that they stay on the access point.
//!
//! A phone that gets a redirect in place of the real server's answer shows the page behind it. A phone that gets the answer of
//! the real server assumes that it is online, shows no sign-in page, and does not switch to another network while the app is
//! in use.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{HeaderMap, Method, Response, StatusCode};
use jarvis_http::server::admission::Peer;

use super::Reply;
use crate::config::Portal;

const APPLE: &[u8] = b"<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>";
const FIREFOX: &[u8] = b"success";

/// The header with which the setup page marks its requests.
const PAGE: HeaderName = HeaderName::from_static("jarvis-page");

/// A probe, by the system that sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Android,
    Apple,
    Firefox,
}

/// The paths of the probes.
pub(super) const PROBES: [(&str, Probe); 4] = [
    ("/generate_204", Probe::Android),
    ("/hotspot-detect.html", Probe::Apple),
    ("/library/test/success.html", Probe::Apple),
    ("/success.txt", Probe::Firefox),
];

impl Probe {
    /// The answer on the API's port.
    pub(super) fn reply(self) -> Reply {
        const PLAIN: &str = "text/plain; charset=utf-8";
        match self {
            Self::Android => nothing(StatusCode::NO_CONTENT),
            Self::Apple => page(APPLE, PLAIN),
            Self::Firefox => page(FIREFOX, PLAIN),
        }
    }
}

/// The phones in the access point whose app has called the API, by their addresses. There is a table for each time that the
/// access point is open, because addresses are assigned again.
#[derive(Debug, Default)]
pub(super) struct Apps(Mutex<VecDeque<Peer>>);

impl Apps {
    /// More phones than the access point has addresses for. A further one replaces the first.
    const LIMIT: usize = 256;

    /// A phone has called the API. Calls of the setup page do not count: phones close the page as soon as their probes get
    /// the answers of the internet.
    pub(super) fn called(&self, peer: Peer, headers: &HeaderMap) {
        if headers.contains_key(PAGE) || self.include(peer) {
            return;
        }
        let mut peers = self.peers();
        peers.truncate(Self::LIMIT - 1);
        peers.push_front(peer);
    }

    fn include(&self, peer: Peer) -> bool {
        self.peers().contains(&peer)
    }

    fn peers(&self) -> MutexGuard<'_, VecDeque<Peer>> {
        // Each use leaves the table whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the probes of a phone lead to the setup page.
pub(super) fn is_portal(portal: Portal, apps: Option<&Apps>, peer: Peer) -> bool {
    match portal {
        Portal::Auto => !apps.is_some_and(|apps| apps.include(peer)),
        Portal::Portal => true,
        Portal::App => false,
    }
}

/// The answer on port 80, where every other path counts as a probe, too. Only GET is implemented there. With `leads_to`,
/// the answer is a redirect to the page at that address.
pub(super) fn reply(method: &Method, path: &str, leads_to: Option<SocketAddr>) -> Reply {
    if method != Method::GET {
        let mut reply = nothing(StatusCode::NOT_IMPLEMENTED);
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return reply;
    }
    if let Some(page) = leads_to {
        return redirect(page);
    }
    match PROBES.iter().find(|(known, _)| *known == path).map(|(_, probe)| probe) {
        Some(Probe::Apple) => page(APPLE, "text/html"),
        Some(Probe::Firefox) => page(FIREFOX, "text/plain"),
        Some(Probe::Android) | None => nothing(StatusCode::NO_CONTENT),
    }
}

fn page(content: &'static [u8], kind: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from_static(content)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

/// Not cached, because the next answer to the same probe is that of the internet.
fn redirect(page: SocketAddr) -> Reply {
    let mut reply = nothing(StatusCode::FOUND);
    let location = HeaderValue::try_from(format!("http://{page}/")).expect("an address is digits and punctuation");
    reply.headers_mut().insert(LOCATION, location);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn nothing(status: StatusCode) -> Reply {
    let mut reply = Response::default();
    *reply.status_mut() = status;
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn peer(number: u16) -> Peer {
        let [high, low] = number.to_be_bytes();
        Peer::of(IpAddr::from([10, 0, high, low]))
    }

    #[test]
    fn the_table_of_apps_is_bounded_and_keeps_the_newest() {
        let apps = Apps::default();
        for number in (0..1000).chain([999, 999]) {
            apps.called(peer(number), &HeaderMap::new());
        }
        assert_eq!(apps.peers().len(), Apps::LIMIT);
        assert!(apps.include(peer(999)) && apps.include(peer(744)) && !apps.include(peer(743)));
    }

    #[test]
    fn the_setup_page_is_no_app() {
        let apps = Apps::default();
        apps.called(peer(1), &HeaderMap::from_iter([(PAGE, HeaderValue::from_static("1"))]));
        assert!(is_portal(Portal::Auto, Some(&apps), peer(1)));
        apps.called(peer(1), &HeaderMap::new());
        assert!(!is_portal(Portal::Auto, Some(&apps), peer(1)) && is_portal(Portal::Auto, Some(&apps), peer(2)));
        assert!(is_portal(Portal::Portal, Some(&apps), peer(1)) && !is_portal(Portal::App, None, peer(1)));
    }
}
