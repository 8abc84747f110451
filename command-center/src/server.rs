//! The running server: start, connections, stop.

mod patient;
pub(crate) mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tower_service::Service as _;

use self::patient::Patient;
use self::tls::{Identity, TlsError};
use crate::api::auth::Peer;
use crate::api::metrics::Metrics;
use crate::api::{self, Center};
use crate::base::clock::Moment;
use crate::base::secret::ServerSecret;
use crate::config::{Config, Patience};
use crate::domain::accounts::Passwords;
use crate::domain::batch::Batches;
use crate::domain::guesses::ForgetGuesses;
use crate::domain::health::Health;
use crate::domain::opening::{OpenError, open};
use crate::domain::operator::Operator;
use crate::domain::registration::ForgetTokens;
use crate::store::Store;

/// How many connections are served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 8192;

/// The largest head of a request; a path and a bearer token fit several times.
const LARGEST_HEAD: usize = 32 * 1024;

/// How often expired rows are deleted.
const TIDY: Duration = Duration::from_hours(1);

/// Pause after accepting a connection failed, such as for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The database or its secret cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The certificate or its key cannot be used.
    #[error("preparing TLS")]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("listening on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A running server. Dropped, it stops at once; [`Server::stop`] lets running requests end.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<()>,
    identity: Option<Arc<Identity>>,
}

impl Server {
    /// Opens the database, listens, and serves until it is stopped.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let identity = config.tls.clone().map(Identity::load).transpose()?.map(Arc::new);
        let (store, secret) = open(&config).await?;
        let failed = |source| StartError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(serve(listener, config, identity.clone(), secret, store, stopped));
        Ok(Self { address, stop: Some(stop), running, identity })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reloads certificate and key for new connections. If they are not usable, the current ones stay in use.
    pub fn reload_certificate(&self) -> Result<(), TlsError> {
        self.identity.as_ref().map_or(Ok(()), |identity| identity.reload())
    }

    /// Stops accepting connections, waits for the running requests, and closes the database.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // Fails only if the server task has ended already.
            let _ended_already = stop.send(());
        }
        if let Err(error) = (&mut self.running).await {
            tracing::error!(%error, "server task failed");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn serve(
    listener: TcpListener,
    config: Config,
    identity: Option<Arc<Identity>>,
    secret: ServerSecret,
    store: Arc<Store>,
    mut stopped: oneshot::Receiver<()>,
) {
    let (clock, patience) = (config.clock.clone(), config.patience);
    let (node_beats, nodes_beating) = Batches::start(Arc::clone(&store), clock.clone());
    let (appliance_beats, appliances_beating) = Batches::start(Arc::clone(&store), clock.clone());
    let health = Health::default();
    let passwords = Passwords::new(&secret);
    let operator = Operator::beside(Arc::clone(&store), secret.clone(), clock.clone());
    let center = Arc::new(Center {
        config,
        store: Arc::clone(&store),
        secret,
        node_beats,
        appliance_beats,
        health,
        passwords,
        metrics: Metrics::default(),
        operator,
    });
    let router = api::router(Arc::clone(&center));
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    let mut tidy = tokio::time::interval(TIDY);
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
            _ = &mut stopped => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = tidy.tick() => {
                forget(&store, clock.now()).await;
                continue;
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            _ = &mut stopped => break,
        };
        match stream {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::trace!(%error, "connection closed by the client");
                    continue;
                }
                let (watcher, router, identity) = (graceful.watcher(), router.clone(), identity.clone());
                let (peer, center) = (Peer(peer.ip()), Arc::clone(&center));
                connections.spawn(async move {
                    let counted = center.metrics.connection();
                    match identity {
                        None => connect(stream, peer, router, patience, watcher).await,
                        Some(identity) => match tokio::time::timeout(patience.head, identity.accept(stream)).await {
                            Ok(Ok(stream)) => connect(stream, peer, router, patience, watcher).await,
                            Ok(Err(error)) => tracing::trace!(%error, "TLS handshake failed"),
                            Err(_) => tracing::trace!("TLS handshake timed out"),
                        },
                    }
                    drop((counted, place));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop((listener, router, center));
    if tokio::time::timeout(patience.stop, graceful.shutdown()).await.is_err() {
        tracing::warn!("stop timeout over: aborting the requests that still run");
    }
    connections.shutdown().await;
    for beating in [nodes_beating, appliances_beating] {
        if let Err(error) = beating.await {
            tracing::error!(%error, "heartbeat task failed");
        }
    }
    store.close().await;
    tracing::info!("stopped");
}

async fn connect(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: axum::Router,
    patience: Patience,
    watcher: Watcher,
) {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        // A router is always ready.
        router.clone().call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(Patient::new(stream, patience.answer)), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::trace!(%error, "connection failed");
    }
}

async fn forget(store: &Store, now: Moment) {
    let tokens = store.write(ForgetTokens { now }).await;
    let guesses = store.write(ForgetGuesses { now }).await;
    match (tokens, guesses) {
        (Ok(tokens), Ok(sources)) => tracing::debug!(tokens, sources, "deleted expired tokens and guess counters"),
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(error = %crate::base::chain(&error), "deleting expired tokens and guess counters failed");
        }
    }
}
