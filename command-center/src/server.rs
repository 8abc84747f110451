//! The running server: start, connections, stop.

mod mqtt;
pub(crate) mod tls;
mod user_keys;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use jarvis_http::server::{self, Accepted, Limits, Listener, Plain, RequestBody, WhenFull};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tower_service::Service as _;
use url::Url;

use self::mqtt::Broker;
use self::tls::{Identity, TlsError};
use crate::api::auth::Peer;
use crate::api::fleet::{LastCounts, RECOUNT};
use crate::api::host::Names;
use crate::api::live::Watchers;
use crate::api::metrics::{Metrics, OpenConnection};
use crate::api::{self, Center};
use crate::base::clock::{Clock, Moment};
use crate::base::secret::{SecretText, ServerSecret};
use crate::config::Config;
use crate::domain::accounts::Passwords;
use crate::domain::batch::Batches;
use crate::domain::config_pushes::ForgetPushes;
use crate::domain::fleet::presence::compare;
use crate::domain::fleet::{ApplianceEntry, NodeEntry};
use crate::domain::guesses::{ForgetGuesses, Guessers, SOURCES};
use crate::domain::health::Health;
use crate::domain::jwks::UserKeys;
use crate::domain::key_relay::ForgetKeys;
use crate::domain::notices::Notices;
use crate::domain::opening::{OpenError, open};
use crate::domain::operator::Operator;
use crate::domain::registration::ForgetTokens;
use crate::domain::resets::ForgetResets;
use crate::domain::retention::ForgetOldest;
use crate::domain::sessions::ForgetSessions;
use crate::domain::settings_requests::ForgetRequests;
use crate::domain::{audit, history};
use crate::store::{self, Store};

/// Connections at one time; more wait in the kernel's queue.
const CONNECTIONS: usize = 8192;

/// The largest head of a request, bytes; a path and a bearer token fit several times.
const HEAD_LIMIT: usize = 32 * 1024;

/// How often expired rows are deleted.
const TIDY: Duration = Duration::from_mins(1);

/// How often a part of the devices is compared for silence: small fleets have one part, a million devices pass in four minutes.
const COMPARE: Duration = Duration::from_secs(5);

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
        check_lengths(&config)?;
        check_public_url(&config)?;
        let identity = config.tls.clone().map(Identity::load).transpose()?.map(Arc::new);
        let (store, secret) = open(&config).await?;
        let failed = |source| StartError::Listen { address: config.listen, source };
        let listener = server::bind(config.listen).map_err(failed)?;
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

/// The shortest administrator's key, in bytes: 128 bits if it is random.
const SHORTEST_ADMIN_KEY: usize = 16;

/// The shortest secret for tokens, in bytes. RFC 7518 §3.2: a key of the size of the hash output or larger.
const SHORTEST_JWT_SECRET: usize = 32;

/// Refuses secrets that can be guessed.
fn check_lengths(config: &Config) -> Result<(), OpenError> {
    let is_short =
        |secret: &Option<SecretText>, least: usize| secret.as_ref().is_some_and(|secret| secret.expose().len() < least);
    if is_short(&config.admin_key, SHORTEST_ADMIN_KEY) {
        let text = "the administrator's key is shorter than 16 bytes: create one with `head -c 24 /dev/urandom | base64`";
        return Err(OpenError::Config(text));
    }
    if is_short(&config.jwt_secret, SHORTEST_JWT_SECRET) {
        let text = "the JWT secret is shorter than 32 bytes: create one with `head -c 48 /dev/urandom | base64`, \
                    and set it in the auth service too";
        return Err(OpenError::Config(text));
    }
    Ok(())
}

/// Refuses a public URL that has no host: clients could not use it, and the server would not know its own name.
fn check_public_url(config: &Config) -> Result<(), OpenError> {
    let is_usable = |url: &String| Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match &config.public_url {
        Some(url) if !is_usable(url) => Err(OpenError::Config("the public URL is not of the form `https://HOST`")),
        _ => Ok(()),
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
    stopped: oneshot::Receiver<()>,
) {
    let (clock, patience) = (config.clock.clone(), config.patience);
    let (node_beats, nodes_beating) = Batches::start(Arc::clone(&store), clock.clone());
    let (appliance_beats, appliances_beating) = Batches::start(Arc::clone(&store), clock.clone());
    let health = Health::default();
    let passwords = Passwords::new(&secret);
    let user_keys = UserKeys::new(config.user_keys.clone().map(user_keys::source));
    let broker = config.broker.clone().map(|address| Broker::new(address, config.mqtt.clone()));
    let notices = Notices::new(broker.map(|broker| Box::new(broker) as _));
    let names = Names::new(&config, rustix::system::uname().nodename().to_str().unwrap_or_default());
    let operator = Operator::beside(Arc::clone(&store), secret.clone(), clock.clone());
    let center = Arc::new(Center {
        config,
        store: Arc::clone(&store),
        secret,
        node_beats,
        appliance_beats,
        health,
        passwords,
        guessers: Guessers::default(),
        user_keys,
        notices,
        names,
        metrics: Metrics::default(),
        operator,
        counts: LastCounts::default(),
        watchers: Watchers::default(),
    });
    let service = Arc::new(Service { router: api::router(Arc::clone(&center)), center: Arc::clone(&center) });
    let limits = Limits {
        connections: CONNECTIONS,
        when_full: WhenFull::Wait,
        head: patience.head,
        head_size: HEAD_LIMIT,
        write: patience.answer,
        stop: patience.stop,
    };
    let listeners = vec![Listener { id: (), socket: listener }];
    let counted = Arc::clone(&center);
    // Dropped with the stopped server, as what keeps the heartbeats' tasks running.
    let stopped = async move {
        // An error means that the sender was dropped, which stops the server, too.
        let _either_way = stopped.await;
        center.watchers.stop();
    };
    let served = async {
        match identity {
            None => server::serve(listeners, Arc::new(Plain), limits, service, stopped).await,
            Some(identity) => server::serve(listeners, identity, limits, service, stopped).await,
        }
    };
    tokio::select! {
        () = served => {}
        () = tidy(&store, &clock) => {}
        () = find_silent(&store, &clock) => {}
        () = count(counted) => {}
    }
    for beating in [nodes_beating, appliances_beating] {
        if let Err(error) = beating.await {
            tracing::error!(%error, "heartbeat task failed");
        }
    }
    store.close().await;
    tracing::info!("stopped");
}

/// Answers requests with the router.
struct Service {
    router: axum::Router,
    center: Arc<Center>,
}

/// What requests know of their connection.
struct Client {
    peer: Peer,
    _counted: OpenConnection,
}

impl server::Service for Service {
    type Listener = ();
    type Connection = Client;
    type Body = Body;

    fn connected(&self, accepted: &Accepted<'_, ()>) -> Option<Client> {
        Some(Client { peer: Peer(accepted.peer.ip()), _counted: self.center.metrics.connection() })
    }

    async fn answer(&self, client: &Client, mut request: Request<RequestBody>) -> Response<Body> {
        request.extensions_mut().insert(client.peer);
        // A router is always ready.
        let Ok(response) = self.router.clone().call(request).await;
        response
    }
}

/// Removes expired rows at the start and once per [`TIDY`]; never ends.
async fn tidy(store: &Store, clock: &Clock) {
    let mut interval = tokio::time::interval(TIDY);
    loop {
        interval.tick().await;
        forget(store, clock.now()).await;
    }
}

/// Finds devices that have fallen silent or are heard of again, a part of them at a time; never ends.
async fn find_silent(store: &Store, clock: &Clock) {
    let mut interval = tokio::time::interval(COMPARE);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut appliances, mut nodes) = (0, 0);
    loop {
        interval.tick().await;
        let now = clock.now();
        appliances = after(appliances, compare::<ApplianceEntry>(store, appliances, now).await);
        nodes = after(nodes, compare::<NodeEntry>(store, nodes, now).await);
    }
}

/// Keeps the counts of devices fresh; never ends. It is dropped with what keeps the heartbeats' tasks running.
async fn count(center: Arc<Center>) {
    let mut interval = tokio::time::interval(RECOUNT);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        center.counts.refresh(&center).await;
    }
}

/// Where the next part begins; the same one again after a failure.
fn after(part: i64, compared: Result<i64, store::Error>) -> i64 {
    compared.unwrap_or_else(|error| {
        tracing::warn!(error = %crate::base::chain(&error), "comparing when devices were last heard of failed");
        part
    })
}

async fn forget(store: &Store, now: Moment) {
    let deleted = [
        ("tokens", store.write(ForgetTokens { now }).await),
        ("guess counters", store.write(ForgetGuesses { now, most: SOURCES }).await),
        ("relayed keys", store.write(ForgetKeys { now }).await),
        ("settings requests", store.write(ForgetRequests { now }).await),
        ("configurations", store.write(ForgetPushes { now }).await),
        ("resets", store.write(ForgetResets { now }).await),
        ("sessions", store.write(ForgetSessions { now }).await),
        ("events", store.write(ForgetOldest { retention: &history::RETENTION, now }).await),
        ("audit records", store.write(ForgetOldest { retention: &audit::RETENTION, now }).await),
    ];
    for (what, deleted) in deleted {
        match deleted {
            Ok(count) => tracing::debug!(what, count, "deleted expired rows"),
            Err(error) => tracing::warn!(what, error = %crate::base::chain(&error), "deleting expired rows failed"),
        }
    }
}
