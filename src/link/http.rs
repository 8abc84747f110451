//! The HTTP link: the JSON API of the existing phone app, and the sealed representation at the same paths.
//!
//! It translates between requests and the loop, which it reaches only through a [`Handle`]. Requests that read the node's
//! state are answered from the last [`View`](crate::daemon::View), so `/api/v1/status` never waits for the loop. Requests
//! that wait for the loop have a deadline.
//!
//! | path | JSON | sealed |
//! |---|---|---|
//! | `/api/v1/info` | GET | GET, accepting [`PROTOBUF`](provisioning_core::endpoint::PROTOBUF) |
//! | `/api/v1/scan-networks` | GET | POST |
//! | `/api/v1/status` | GET | GET, POST |
//! | `/api/v1/provision`, `/api/v1/provision/k2` | POST | POST |
//! | `/api/v1/factory-reset` | POST | |
//! | `/api/v1/session` | | POST opens a link, DELETE closes it |
//! | `/api/v1/events` | | GET: the messages that the node has queued |
//!
//! Every device in radio range can connect, so every resource has a limit: the number of connections and of links, the size
//! of a head and of a body and the time for each, the time in which a peer reads a response. A browser's requests from
//! another site, and requests for a host name that is not the node's, are refused, and there are no CORS headers. No error repeats parts of the request.

mod body;
mod captive;
mod host;
mod json;
mod k2;
#[cfg(test)]
mod openapi;
mod routes;
mod schema;
mod sealed;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Response};
use jarvis_http::server::{self, Accepted, Plain, RequestBody, Service, WhenFull};
use tokio::net::TcpListener;

use crate::daemon::Handle;
use provisioning_core::endpoint::Endpoint;
use provisioning_core::machine::LocalRequest;
use routes::Api;

pub use schema::cleared_name;

/// A complete response; the largest is the schema.
type Reply = Response<Full<Bytes>>;

/// The largest head of a request, bytes.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long requests under way may take when the node stops.
const STOP: Duration = Duration::from_secs(2);

/// The settings of the API.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where the JSON API accepts secrets, which it transfers in clear. Elsewhere those endpoints answer 403; the sealed
    /// representation is always available.
    pub secrets: Secrets,
    /// The word of the JSON API for a network without protection. The existing software sends an empty text with a real
    /// radio, and `OPEN` in simulation.
    pub open_security: &'static str,
    /// The limits on what a peer can use.
    pub limits: Limits,
}

/// Where the JSON API accepts secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    /// At every address: for a simulation, and where the owner accepts it.
    Anywhere,
    /// Only at this address of the node: its address in its encrypted access point, not the one in another network.
    SentTo(IpAddr),
    /// Nowhere.
    #[default]
    Nowhere,
}

impl Secrets {
    fn taken_at(self, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::SentTo(expected) => address == expected,
            Self::Nowhere => false,
        }
    }
}

/// The limits on what a peer can use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at one time. A further one replaces the one that has been silent longest.
    pub connections: usize,
    /// From the start of a connection, or from the response before, to the end of a request's head. An idle connection is
    /// closed after this time, too, as by the existing server.
    pub head: Duration,
    /// From the end of a request's head to the end of its body.
    pub body: Duration,
    /// How long a peer may leave a response unread.
    pub write: Duration,
    /// How long the loop may take to answer.
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
    /// For the captive-portal probes of phones: port 80 of the access point.
    pub captive: Vec<TcpListener>,
}

/// Parses a JSON body into a request of the machine, or into the body of the 422 answer. Only [`Endpoint::Credentials`] and
/// [`Endpoint::K2`] take JSON. `content_type` is the value of that header, if there is one.
pub fn read_json(endpoint: Endpoint, content_type: Option<&str>, body: &[u8]) -> Result<LocalRequest, Bytes> {
    routes::read_json(endpoint, content_type, body)
}

/// Listens at an address; at a free port if the port is 0.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    server::bind(address)
}

/// Serves until `shutdown` is ready. Then requests under way get a moment to end.
pub async fn serve(listeners: Listeners, config: Config, handle: Handle, shutdown: impl Future<Output = ()>) {
    let listener = |id| move |socket| server::Listener { id, socket };
    let api_listeners = listeners.api.into_iter().map(listener(Port::Api));
    let listeners = api_listeners.chain(listeners.captive.into_iter().map(listener(Port::Captive))).collect();
    let limits = server::Limits {
        connections: config.limits.connections,
        when_full: WhenFull::CloseLongestSilent,
        head: config.limits.head,
        head_size: HEAD_LIMIT,
        write: config.limits.write,
        stop: STOP,
    };
    let api = Arc::new(Api::new(config, handle));
    tokio::select! {
        () = server::serve(listeners, Arc::new(Plain), limits, Arc::new(Link { api: Arc::clone(&api) }), shutdown) => {}
        () = api.phones.reap() => {}
    }
}

/// Which of the two ports a connection came to.
#[derive(Clone, Copy)]
enum Port {
    Api,
    Captive,
}

/// The state that all connections share.
struct Link {
    api: Arc<Api>,
}

/// How a connection came to the node.
struct Arrival {
    port: Port,
    /// The address of the node that it was made to.
    sent_to: IpAddr,
}

impl Service for Link {
    type Listener = Port;
    type Connection = Arrival;
    type Body = Full<Bytes>;

    fn connected(&self, accepted: &Accepted<'_, Port>) -> Option<Arrival> {
        Some(Arrival { port: *accepted.listener, sent_to: accepted.local.ip().to_canonical() })
    }

    async fn answer(&self, connection: &Arrival, request: Request<RequestBody>) -> Reply {
        match connection.port {
            Port::Api => routes::answer(&self.api, connection.sent_to, request).await,
            Port::Captive => captive::reply(request.method(), request.uri().path()),
        }
    }
}
