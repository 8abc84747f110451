//! Connections: how many there are, how long they may take, and how they end.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Sleep, sleep, timeout};
use tracing::{debug, warn};

use super::routes::{self, Api};
use super::{Limits, Listeners, captive};

/// The largest head, bytes; also what is read ahead.
const HEAD_LIMIT: usize = 16 * 1024;
/// Requests under way may end after the server was told to stop.
const FAREWELL: Duration = Duration::from_secs(2);
/// After an answer to a request that was not read to its end: how long its rest is read over, so that the answer is not
/// lost with it (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(5);
/// The same as a number of bytes.
const LINGER_LIMIT: u64 = 32 << 20;
/// After a failure to accept, such as too many open files: until some of them are closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether a connection may make room for another one, and which of them first.
#[derive(Debug)]
struct Activity {
    /// Grows with everything that happens on any connection.
    clock: Arc<AtomicU64>,
    /// When the peer last got an answer; [`BUSY`] while one is made.
    silent_since: AtomicU64,
    /// The last request was answered before its body was read to the end.
    unread: AtomicBool,
}

const BUSY: u64 = u64::MAX;

impl Activity {
    fn new(clock: Arc<AtomicU64>) -> Self {
        let activity = Self { clock, silent_since: AtomicU64::new(0), unread: AtomicBool::new(false) };
        activity.silent();
        activity
    }

    /// The request is here, and its answer is being made: the connection stays.
    fn busy(&self) {
        self.silent_since.store(BUSY, Ordering::Relaxed);
    }

    /// It is the peer's turn.
    fn silent(&self) {
        self.silent_since.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Which server a connection is for.
#[derive(Clone, Copy)]
enum Server {
    Api,
    Captive,
}

/// Accepts connections until `shutdown` is ready. When there are as many as there may be, the one whose peer has been
/// silent longest makes room: whoever sends requests gets answers, however many only hold connections.
pub(super) async fn accept(listeners: Listeners, api: &Arc<Api>, shutdown: impl Future<Output = ()>) {
    let limits = api.config.limits;
    let api_sockets = listeners.api.into_iter().map(|listener| (Server::Api, listener));
    let sockets: Vec<_> = api_sockets.chain(listeners.captive.into_iter().map(|listener| (Server::Captive, listener))).collect();
    let (stop, stopping) = watch::channel(false);
    let clock = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let mut live: HashMap<Id, (AbortHandle, Arc<Activity>)> = HashMap::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = tasks.join_next_with_id() => {
                live.remove(&id(&ended));
                continue;
            }
            accepted = poll_fn(|context| any(&sockets, context)) => accepted,
        };
        let (server, stream) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "accepting a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if live.len() >= limits.connections {
            // Whose request has arrived, and was not looked at yet, goes first.
            tokio::task::yield_now().await;
            while let Some(ended) = tasks.try_join_next_with_id() {
                live.remove(&id(&ended));
            }
        }
        if live.len() >= limits.connections && !make_room(&mut live) {
            debug!("a connection is refused: as many requests as there may be are under way");
            continue;
        }
        let activity = Arc::new(Activity::new(Arc::clone(&clock)));
        let task = tasks.spawn(connection(stream, server, Arc::clone(api), Arc::clone(&activity), stopping.clone()));
        live.insert(task.id(), (task, activity));
    }
    drop(sockets);
    stop.send_replace(true);
    let farewell = timeout(FAREWELL, async { while tasks.join_next().await.is_some() {} });
    // What has not ended by now is cut off when the set is dropped.
    let _late = farewell.await;
}

fn id(ended: &Result<(Id, ()), JoinError>) -> Id {
    ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id)
}

fn any(sockets: &[(Server, TcpListener)], context: &mut Context<'_>) -> Poll<io::Result<(Server, TcpStream)>> {
    for (server, listener) in sockets {
        if let Poll::Ready(accepted) = listener.poll_accept(context) {
            return Poll::Ready(accepted.map(|(stream, _)| (*server, stream)));
        }
    }
    Poll::Pending
}

/// Ends the connection that has been silent longest; false if none is.
fn make_room(live: &mut HashMap<Id, (AbortHandle, Arc<Activity>)>) -> bool {
    let silent = live
        .iter()
        .map(|(id, (_, activity))| (activity.silent_since.load(Ordering::Relaxed), *id))
        .filter(|(since, _)| *since != BUSY)
        .min_by_key(|(since, _)| *since);
    let Some((task, _)) = silent.and_then(|(_, id)| live.remove(&id)) else { return false };
    task.abort();
    true
}

async fn connection(
    stream: TcpStream,
    server: Server,
    api: Arc<Api>,
    activity: Arc<Activity>,
    mut stopping: watch::Receiver<bool>,
) {
    let Limits { head, write, .. } = api.config.limits;
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "asking for packets to leave at once");
    }
    let sent_to = stream.local_addr().ok().map(|address| routes::SentTo(address.ip().to_canonical()));
    let service = service_fn(|mut request: Request<Incoming>| {
        if let Some(sent_to) = sent_to {
            request.extensions_mut().insert(sent_to);
        }
        let (api, activity) = (Arc::clone(&api), Arc::clone(&activity));
        Box::pin(async move {
            activity.unread.store(!request.body().is_end_stream(), Ordering::Relaxed);
            let reply = match server {
                Server::Api => {
                    // Only a POST's body is read.
                    let posted = request.method() == Method::POST;
                    let here = || {
                        activity.busy();
                        activity.unread.fetch_and(!posted, Ordering::Relaxed);
                    };
                    routes::answer(&api, request, here).await
                }
                Server::Captive => captive::reply(request.method(), request.uri().path()),
            };
            activity.silent();
            Ok::<_, std::convert::Infallible>(reply)
        })
    });
    let mut connection = http1::Builder::new()
        // Without a timer, hyper's limit on the time of a head does nothing.
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_header_size(HEAD_LIMIT)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(Patient { stream, limit: write, stalled: None }), service);
    let mut stopping = pin!(stopping.wait_for(|stopping| *stopping));
    let mut told = false;
    let ended = poll_fn(|context| {
        if !told && stopping.as_mut().poll(context).is_ready() {
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        connection.poll_without_shutdown(context)
    })
    .await;
    let more = match &ended {
        Ok(()) => activity.unread.load(Ordering::Relaxed),
        Err(error) => {
            debug!(%error, "a connection ended");
            !error.is_timeout()
        }
    };
    if more {
        Box::pin(linger(connection.into_parts().io.into_inner().stream)).await;
    }
}

/// Says goodbye, and reads over what the peer is still sending.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let rest = async {
            let mut rest = (&mut stream).take(LINGER_LIMIT);
            let mut buffer = [0; 4096];
            while rest.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
        };
        // Late or not, nothing more is said to this peer.
        let _late = timeout(LINGER, rest).await;
    }
}

/// A stream whose peer has to take what is written within a time.
struct Patient {
    stream: TcpStream,
    limit: Duration,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn within<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        self.within(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, data);
        self.within(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
