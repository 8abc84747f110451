//! The serving layer: connections are accepted, bounded in number and time, and ended gracefully.
//!
//! A [`Service`] answers the requests. Each listener has an identity of the service's own type. [`Service::connected`] gets
//! it with the local and the peer's address of a new connection, and returns what the service needs to know of that
//! connection; every request on it comes with this value. It can also refuse the connection.
//!
//! | what | bound |
//! |---|---|
//! | connections | [`Limits::connections`], [`Limits::when_full`] |
//! | TLS handshake, head of a request, idle connection | [`Limits::head`], [`Limits::head_size`] |
//! | body | none: the service reads it, and knows its size and time |
//! | response that the peer does not read | [`Limits::write`] |
//! | [`Endless`] response | [`Limits::write`], and the room that others need |
//! | rest of a request after its response | 5 s and 32 MiB, then the connection is closed |
//! | graceful end | [`Limits::stop`] |

mod activity;
pub mod admission;
mod connection;
mod endless;
mod patient;

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes};
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use activity::{Activity, Clock};
pub use activity::{RequestBody, Wait, Waiting};
use admission::{Admission, Bounds, Peer, Slot, admit};
pub use endless::Endless;

/// Connections that may wait to be accepted. Linux drops further ones, and a client whose first packet is dropped repeats
/// it only after a second.
pub const BACKLOG: u32 = 1024;
/// Pause after a failure to accept, such as too many open files: until some of them are closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// Identifies a listener.
    type Listener: Send + Sync;
    /// What the service knows of a connection. It is dropped when the connection has ended, so it can count connections.
    type Connection: Send + Sync + 'static;
    /// The body of a response.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    /// A connection was accepted. `None` closes it before anything is read from it.
    fn connected(&self, accepted: &Accepted<'_, Self::Listener>) -> Option<Self::Connection>;

    /// Answers a request. Dropped without an answer if the connection ends before.
    fn answer(
        &self,
        connection: &Self::Connection,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted<'a, L> {
    /// The listener that it came to.
    pub listener: &'a L,
    /// The address that the peer connected to.
    pub local: SocketAddr,
    /// The peer's address.
    pub peer: SocketAddr,
}

/// A socket that accepts connections, and the identity by which the service tells it from others.
#[derive(Debug)]
pub struct Listener<L> {
    /// The identity.
    pub id: L,
    /// The socket, from [`bind`].
    pub socket: TcpListener,
}

/// Makes a stream of bytes from a TCP connection.
pub trait Transport: Send + Sync + 'static {
    /// The stream.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// Does the server's side of a handshake. Takes at most [`Limits::head`].
    fn accept(&self, stream: TcpStream) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// HTTP over plain TCP.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Transport for Plain {
    type Stream = TcpStream;

    async fn accept(&self, stream: TcpStream) -> io::Result<TcpStream> {
        Ok(stream)
    }
}

/// The bounds on what peers can use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at one time, those with a handshake under way included.
    pub connections: usize,
    /// What happens when there are as many.
    pub when_full: WhenFull,
    /// For a handshake; from the start of a connection, or from the response before, to the end of a request's head. An
    /// idle connection is closed after this time, too.
    pub head: Duration,
    /// The largest head of a request in bytes, which is also the size of the read buffer.
    pub head_size: usize,
    /// How long a peer may leave a response unread.
    pub write: Duration,
    /// How long requests under way may take when the server stops.
    pub stop: Duration,
}

/// What happens when a connection comes and there is no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// A connection of the peer that has most of them is closed: the one that has been silent longest, so that connections
    /// that are only held keep no request out. A request that [waits](Wait) counts as silence. A connection whose request
    /// is being answered is never closed. If all are, the new one is closed.
    CloseLongestSilent {
        /// Connections of one peer at one time. A further one replaces one of its own.
        per_peer: usize,
    },
    /// It waits in the kernel's queue until another connection has ended.
    Wait,
}

/// Listens at an address; at a free port if the port is 0.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted program can listen although connections of the process before it have not timed out.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `shutdown` is ready. Then it closes the listeners, gives requests under way [`Limits::stop`] to end, and
/// closes what is left.
pub async fn serve<S: Service, T: Transport>(
    listeners: Vec<Listener<S::Listener>>,
    transport: Arc<T>,
    limits: Limits,
    service: Arc<S>,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopping) = watch::channel(false);
    let clock = Clock::default();
    let mut connections = Connections::default();
    let mut shutdown = pin!(shutdown);
    loop {
        let is_accepting = limits.when_full != WhenFull::Wait || connections.live.len() < limits.connections;
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.tasks.join_next_with_id() => {
                connections.ended(&ended);
                continue;
            }
            accepted = poll_fn(|context| poll_accept(&listeners, context)), if is_accepting => accepted,
        };
        let (id, stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "accepting a connection failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let source = Peer::of(peer.ip());
        if let WhenFull::CloseLongestSilent { per_peer } = limits.when_full
            && !connections.admit(source, Bounds { all: limits.connections, per_peer }).await
        {
            debug!(%peer, "connection refused: every connection has a request under way");
            continue;
        }
        let accepted = stream.set_nodelay(true).and_then(|()| stream.local_addr());
        let accepted = accepted.map(|local| Accepted { listener: id, local, peer });
        let state = match accepted {
            Ok(accepted) => service.connected(&accepted),
            Err(error) => {
                debug!(%peer, %error, "connection ended");
                continue;
            }
        };
        let Some(state) = state else {
            debug!(%peer, "connection refused by the service");
            continue;
        };
        let activity = Arc::new(Activity::new(&clock));
        let connection = connection::Connection {
            service: Arc::clone(&service),
            state,
            limits,
            activity: Arc::clone(&activity),
            stopping: stopping.clone(),
        };
        let task = connections.tasks.spawn(connection.run(stream, Arc::clone(&transport)));
        connections.live.insert(task.id(), Live { task, peer: source, activity });
    }
    drop(listeners);
    stop.send_replace(true);
    let Connections { mut tasks, .. } = connections;
    if timeout(limits.stop, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        warn!(connections = tasks.len(), "closing connections whose requests did not end in time");
    }
    tasks.shutdown().await;
}

/// The connections that have not ended.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    live: HashMap<Id, Live>,
}

struct Live {
    task: AbortHandle,
    peer: Peer,
    activity: Arc<Activity>,
}

impl Connections {
    fn ended(&mut self, ended: &Result<(Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        self.live.remove(&id);
    }

    /// Admits a connection of a peer, and evicts another if necessary; false if each of those has a request in progress.
    async fn admit(&mut self, peer: Peer, bounds: Bounds) -> bool {
        if self.is_free(peer, bounds) {
            return true;
        }
        // Lets connections whose request has arrived start with it, so that they count as busy.
        tokio::task::yield_now().await;
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.ended(&ended);
        }
        match self.admission(peer, bounds) {
            Admission::Free => true,
            Admission::Evict(id) => {
                if let Some(live) = self.live.remove(&id) {
                    live.task.abort();
                }
                true
            }
            Admission::Full => false,
        }
    }

    fn is_free(&self, peer: Peer, bounds: Bounds) -> bool {
        let own = || self.live.values().filter(|live| live.peer == peer).count();
        self.live.len() < bounds.all && own() < bounds.per_peer
    }

    fn admission(&self, peer: Peer, bounds: Bounds) -> Admission<Id> {
        let slot = |(id, live): (&Id, &Live)| Slot { id: *id, peer: live.peer, silent_since: live.activity.silent_since() };
        admit(peer, bounds, &self.live.iter().map(slot).collect::<Vec<_>>())
    }
}

fn poll_accept<'a, L>(
    listeners: &'a [Listener<L>],
    context: &mut Context<'_>,
) -> Poll<io::Result<(&'a L, TcpStream, SocketAddr)>> {
    for Listener { id, socket } in listeners {
        if let Poll::Ready(accepted) = socket.poll_accept(context) {
            return Poll::Ready(accepted.map(|(stream, peer)| (id, stream, peer)));
        }
    }
    Poll::Pending
}
