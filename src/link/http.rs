//! The HTTP link: the JSON API of the existing phone app, and the sealed representation at the same paths.
//!
//! It is a translation between requests and the loop, which it reaches through a [`Handle`] alone. What only shows how
//! the node stands is answered from the last [`View`](crate::daemon::View) and waits for nothing, so `/api/v1/status`
//! answers whatever else is going on; what waits for the loop has a deadline.
//!
//! | path | JSON | sealed |
//! |---|---|---|
//! | `/api/v1/info` | GET | GET, accepting [`PROTOBUF`](super::PROTOBUF) |
//! | `/api/v1/scan-networks` | GET | POST |
//! | `/api/v1/status` | GET | GET, POST |
//! | `/api/v1/provision`, `/api/v1/provision/k2` | POST | POST |
//! | `/api/v1/factory-reset` | POST | |
//! | `/api/v1/session` | | POST opens a link, DELETE closes it |
//! | `/api/v1/events` | | GET: what the node has said since |
//!
//! Anybody in radio range can connect, so every resource has a bound: the number of connections and of links, the time
//! and the size of a head and of a body, the time in which an answer is taken. A browser's requests from another site are
//! refused, and there are no CORS headers. No error repeats what was sent.

mod body;
mod captive;
mod connection;
mod json;
mod k2;
mod routes;
mod schema;
mod sealed;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use tokio::net::{TcpListener, TcpSocket};

use crate::daemon::Handle;
use provisioning_core::endpoint::Endpoint;
use provisioning_core::machine::Local;
use routes::Api;

/// An answer, whole: the largest is the schema.
type Reply = Response<Full<Bytes>>;

/// What an operator decides about the API.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where the JSON API takes secrets, which travel in clear. Elsewhere those endpoints answer 403; the sealed
    /// representation is always there.
    pub secrets: Secrets,
    /// What the JSON API calls a network without protection. The existing software has an empty text for a real radio,
    /// and `OPEN` in simulation.
    pub open_security: &'static str,
    /// The bounds on what a peer may use.
    pub limits: Limits,
}

/// Where the JSON API takes secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    /// Whichever address they are sent to: right in a simulation, and where the owner accepts it.
    Anywhere,
    /// Only if they are sent to this address of the node: the one that it has in its encrypted access point, and not
    /// the one that it has in somebody's network.
    SentTo(IpAddr),
    /// Not at all.
    #[default]
    Nowhere,
}

impl Secrets {
    fn taken_at(self, address: Option<IpAddr>) -> bool {
        match self {
            Self::Anywhere => true,
            Self::SentTo(expected) => address == Some(expected),
            Self::Nowhere => false,
        }
    }
}

/// The bounds on what a peer may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at one time. When a further one comes, the one that has been silent longest makes room.
    pub connections: usize,
    /// From the start of a connection, or from the answer before, to the end of a request's head. So long may a
    /// connection idle, too; the existing server waits as long.
    pub head: Duration,
    /// From the end of a request's head to the end of its body.
    pub body: Duration,
    /// How long a peer may leave an answer unread.
    pub write: Duration,
    /// How long the loop may take for its answer.
    pub answer: Duration,
    /// How long a link lives without a request.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let five = Duration::from_secs(5);
        Self { connections: 256, head: five, body: five, write: five, answer: five, idle: Duration::from_secs(90) }
    }
}

/// The sockets to answer on, from [`bind`].
#[derive(Debug, Default)]
pub struct Listeners {
    /// For the API: port 8080.
    pub api: Vec<TcpListener>,
    /// For what phones ask to find out whether there is an internet: port 80 of the access point.
    pub captive: Vec<TcpListener>,
}

/// Connections that may wait to be accepted. Linux drops what comes above that, and a phone whose first packet is dropped
/// tries again only after a second.
const BACKLOG: u32 = 1024;

/// What the machine is asked when this body is posted to an endpoint of the JSON API, or the body of the answer that says
/// why it is asked nothing: the first step of every such request, alone. Only [`Endpoint::Credentials`] and
/// [`Endpoint::K2`] take JSON. `content_type` is the value of that header, if there is one.
pub fn read_json(endpoint: Endpoint, content_type: Option<&str>, body: &[u8]) -> Result<Local, Bytes> {
    routes::read_json(endpoint, content_type, body)
}

/// Listens at an address. With port 0, at a free port.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A program that is started again need not wait for the connections of the one before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `shutdown` is ready; then requests under way are given a moment to end.
pub async fn serve(listeners: Listeners, config: Config, handle: Handle, shutdown: impl Future<Output = ()>) {
    let api = Arc::new(Api::new(config, handle));
    tokio::select! {
        () = connection::accept(listeners, &api, shutdown) => {}
        () = api.phones.reap() => {}
    }
}
