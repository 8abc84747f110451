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
//! | `/proto-ver`, `/prov-session`, … | | POST in the access point, if Espressif's apps are served, see `espressif` |
//! | `/api/provisioning/…` | if network care is enabled, see `care` | |
//! | `/api/provisioning/authorize` | POST | |
//!
//! `/` is the setup page, which uses the sealed representation; `/form` is the setup without a script, and `/care` the page of
//! network care.
//!
//! Every device in radio range can connect, so every resource has a limit: the number of connections and of links, in all and
//! for each peer, the size of a head and of a body and the time for each, the time in which a peer reads a response. A browser's requests from
//! another site, and requests for a host name that is not the node's, are refused, and there are no CORS headers. No error repeats parts of the request.

mod access_point;
mod body;
mod captive;
mod care;
mod espressif;
mod form;
mod host;
mod json;
mod k2;
mod names;
#[cfg(test)]
mod openapi;
mod routes;
mod schema;
mod sealed;
mod setup;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::{Request, Response};
use jarvis_http::server::admission::Peer;
use jarvis_http::server::{self, Accepted, Plain, RequestBody, Service, WhenFull};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Portal;
use crate::daemon::Handle;
use captive::Apps;
use provisioning_core::domain::{AccessPoint, RadioUse};
use provisioning_core::endpoint::{Endpoint, Method};
use provisioning_core::machine::LocalRequest;
use routes::Api;

pub use care::{Care, Token};
pub use schema::cleared_name;

/// A complete response; the largest is the schema.
type Reply = Response<Full<Bytes>>;

/// A complete response, or a stream of events.
type Answered = Either<Reply, Response<care::EventStream>>;

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
    /// How phones' probes for the internet are answered on port 80 of the access point.
    pub portal: Portal,
    /// Whether Espressif's apps are served in the access point.
    pub espressif: bool,
    /// The limits on what a peer can use.
    pub limits: Limits,
    /// Network care, if it is enabled. Without it, its paths do not exist.
    pub care: Option<Care>,
}

/// Where the JSON API accepts secrets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    /// At every address: for a simulation, and where the owner accepts it.
    Anywhere,
    /// Only in the node's encrypted access point: through the listener at its interface, from an address of its subnet.
    InAccessPoint,
    /// Nowhere.
    #[default]
    Nowhere,
}

impl Secrets {
    const fn are_taken_from(self, arrival: &Arrival) -> bool {
        match self {
            Self::Anywhere => true,
            Self::InAccessPoint => arrival.in_access_point,
            Self::Nowhere => false,
        }
    }
}

/// The limits on what a peer can use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at one time; those in the access point are counted separately. A further one replaces one of the peer
    /// that has most: the one that has been silent longest.
    pub connections: usize,
    /// Connections of one peer at one time. A further one replaces one of its own. A phone uses up to six.
    pub per_peer: usize,
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
        Self { connections: 256, per_peer: 64, head: five, body: five, write: five, answer: five, idle: Duration::from_secs(90) }
    }
}

/// The sockets to answer on.
#[derive(Debug, Default)]
pub struct Listeners {
    /// For the API at the node's own addresses, from [`bind`].
    pub api: Vec<TcpListener>,
    /// For the access point, while it is open.
    pub access_point: Option<InAccessPoint>,
}

/// Where to listen in the access point.
#[derive(Clone, Debug)]
pub struct InAccessPoint {
    /// Whether the access point is open, and its interface.
    pub radio: watch::Receiver<RadioUse>,
    /// The port of the API: 8080.
    pub api: u16,
    /// The port for the captive-portal probes of phones, and for an owner who types the node's address: 80. None if the API
    /// has that port, or in simulation.
    pub captive: Option<u16>,
}

/// Parses a JSON body into a request of the machine, or into the body of the 422 answer. Only [`Endpoint::Credentials`] and
/// [`Endpoint::K2`] take JSON. `content_type` is the value of that header, if there is one.
pub fn read_json(endpoint: Endpoint, content_type: Option<&str>, body: &[u8]) -> Result<LocalRequest, Bytes> {
    routes::read_json(endpoint, content_type, body)
}

/// What a request can ask of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The path.
    pub path: &'static str,
    /// The method.
    pub method: Method,
    /// The body is a message of the sealed representation.
    pub sealed: bool,
}

/// Every operation that the API answers with something else than a refusal of the method.
pub fn operations() -> impl Iterator<Item = Operation> {
    routes::operations()
}

/// Listens at an address; at a free port if the port is 0.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = server::bind(address)?;
    // The listener in the access point has the same port. Set only now, so that two programs cannot listen at one address.
    rustix::net::sockopt::set_socket_reuseport(&listener, true)?;
    Ok(listener)
}

/// Serves until `shutdown` is ready. Then requests under way get a moment to end.
///
/// In an access point that is open already the node listens when this returns, before the future is polled.
pub fn serve(
    listeners: Listeners,
    config: Config,
    handle: Handle,
    shutdown: impl Future<Output = ()> + Send,
) -> impl Future<Output = ()> + Send {
    // Readers of events take no room from other requests.
    let readers = if config.care.is_some() { care::READERS } else { 0 };
    let limits = server::Limits {
        connections: config.limits.connections + readers,
        when_full: WhenFull::CloseLongestSilent { per_peer: config.limits.per_peer },
        head: config.limits.head,
        head_size: HEAD_LIMIT,
        write: config.limits.write,
        stop: STOP,
    };
    let link = Arc::new(Link { api: Arc::new(Api::new(config, handle)) });
    let (stop, stopped) = watch::channel(false);
    let access_point = listeners.access_point.map(|place| access_point::Server::new(place, Arc::clone(&link), limits));
    let listener = |socket| server::Listener { id: Entrance { port: Port::Api, inside: None }, socket };
    let listeners = listeners.api.into_iter().map(listener).collect();
    async move {
        let stopping = async {
            shutdown.await;
            stop.send_replace(true);
        };
        let elsewhere = server::serve(listeners, Arc::new(Plain), limits, Arc::clone(&link), until(stopped.clone()));
        let in_access_point = async {
            if let Some(server) = access_point {
                server.run(stopped.clone()).await;
            }
        };
        tokio::select! {
            _ = async { tokio::join!(stopping, elsewhere, in_access_point) } => {}
            () = link.api.phones.reap() => {}
        }
    }
}

/// Waits until the server stops.
async fn until(mut stopped: watch::Receiver<bool>) {
    // Without its sender the server has ended.
    let _either_way = stopped.wait_for(|stopped| *stopped).await;
}

/// A listener.
#[derive(Clone)]
struct Entrance {
    port: Port,
    /// The access point that it is in.
    inside: Option<Inside>,
}

/// An access point that is open.
#[derive(Clone)]
struct Inside {
    access_point: AccessPoint,
    apps: Arc<Apps>,
}

/// Which of the two ports a connection came to.
#[derive(Clone, Copy)]
enum Port {
    Api,
    /// Port 80, beside the API at this port.
    Captive {
        api: u16,
    },
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
    peer: Peer,
    /// It came through the access point's listener, from an address of its subnet.
    in_access_point: bool,
    /// The phones with an app in the access point whose listener it came through.
    apps: Option<Arc<Apps>>,
    /// Both of its ends are on this device.
    on_loopback: bool,
}

impl Service for Link {
    type Listener = Entrance;
    type Connection = Arrival;
    type Body = Either<Full<Bytes>, care::EventStream>;

    fn connected(&self, accepted: &Accepted<'_, Entrance>) -> Option<Arrival> {
        let peer = accepted.peer.ip();
        let inside = accepted.listener.inside.as_ref();
        Some(Arrival {
            port: accepted.listener.port,
            sent_to: accepted.local.ip().to_canonical(),
            peer: Peer::of(peer),
            on_loopback: [accepted.local, accepted.peer].iter().all(|end| end.ip().to_canonical().is_loopback()),
            in_access_point: inside.is_some_and(|inside| inside.access_point.includes(peer)),
            apps: inside.map(|inside| Arc::clone(&inside.apps)),
        })
    }

    async fn answer(&self, connection: &Arrival, request: Request<RequestBody>) -> Response<Self::Body> {
        let answered = match connection.port {
            Port::Api => routes::answer(&self.api, connection, request).await,
            Port::Captive { api } => Either::Left(routes::answer_captive(&self.api, connection, api, request).await),
        };
        match answered {
            Either::Left(reply) => reply.map(Either::Left),
            Either::Right(stream) => stream.map(Either::Right),
        }
    }
}
