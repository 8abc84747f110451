//! Captive-portal probes, answered so that phones stay on the access point, or so that they open the setup page.
//!
//! The answers are those of the real servers: a phone that gets them assumes that it is online, shows no sign-in page, and
//! does not switch to another network while the app is in use. A phone that gets a redirect in their place shows the page
//! behind it.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{Method, Response, StatusCode};

use super::Reply;

const APPLE: &[u8] = b"<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>";
const FIREFOX: &[u8] = b"success";

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
