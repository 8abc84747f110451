//! Requests to servers.
//!
//! A token or a key goes to the server that answers at an address that somebody else chose, so most of this module is
//! about which server that is:
//!
//! - [`AddressPolicy`] says which addresses are connected to at all, and to which of them without TLS. It is applied to
//!   the addresses that are connected to, after names are resolved, so a name whose address changes between the check and
//!   the connection leads nowhere else.
//! - [`Trust`] says which certificate authorities are trusted. Old protocols, host names that do not match and expired
//!   certificates are always refused.
//! - A redirect is an answer like any other, not followed. Proxies of the environment are not used.
//!
//! Every exchange has a limit of time, and every body a limit of size. Nothing is retried here: callers know what a retry
//! means, and take the pauses from `provisioning_core::backoff`.

mod address;
mod error;
mod json;
mod names;
mod request;
mod retry_after;
mod trust;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{ClientBuilder, redirect, retry};
use rustls::ClientConfig;
use url::{Host, Url};

pub use address::{AddressPolicy, PlainHttp, Refusal, is_exposed, is_own};
pub use error::{AddressRefused, Error};
pub use json::{InvalidJson, decode, encode, optional_secret, secret};
pub use names::{Lookup, Names, SystemNames};
pub use request::{Request, Response};
pub use retry_after::RetryAfter;
pub use trust::{RELEASE, Trust};

use names::{Gate, Own};
use provisioning_core::domain::UnixTime;
use trust::Clock;

/// From looking up the name until the connection is made, TLS included. A connection that takes longer will not come.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// The clients' `User-Agent`.
const AGENT: &str = concat!("jarvis-provision/", env!("CARGO_PKG_VERSION"));

/// A client that makes one connection for each request.
///
/// Between requests it holds only its settings: no connection, no certificates, no session to resume. What is read again
/// for each request is never out of date.
#[derive(Clone)]
pub struct Client {
    policy: AddressPolicy,
    trust: Trust,
    connect_limit: Duration,
    names: Arc<dyn Names>,
    own: Own,
    clock: Clock,
}

impl Client {
    /// A client that connects to the addresses of a policy, and trusts these authorities.
    pub fn new(policy: AddressPolicy, trust: Trust) -> Self {
        Self {
            policy,
            trust,
            connect_limit: CONNECT_LIMIT,
            names: Arc::new(SystemNames),
            own: Arc::new(is_own),
            clock: Clock::new(None),
        }
    }

    /// With a time that has passed, by the clock of another device: certificates are judged by the latest of it, the system's
    /// time, and the time of the release.
    #[must_use]
    pub fn at_or_after(self, passed: Option<UnixTime>) -> Self {
        Self { clock: Clock::new(passed), ..self }
    }

    /// With another limit for making a connection than 10 seconds.
    #[must_use]
    pub fn with_connect_limit(self, connect_limit: Duration) -> Self {
        Self { connect_limit, ..self }
    }

    /// With another resolver than the system's.
    #[must_use]
    pub fn with_names(self, names: impl Names) -> Self {
        Self { names: Arc::new(names), ..self }
    }

    /// With another way to tell whether an address is one of the node's own than to ask the kernel.
    #[must_use]
    pub fn with_own(self, own: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self { own: Arc::new(own), ..self }
    }

    /// Sends a request. The answer's body is read by [`Response::body`].
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let connection = self.connection(request.url().clone());
        request.send_over(connection).await
    }

    /// The means for one exchange with the server of a URL.
    async fn connection(&self, url: Url) -> Result<reqwest::Client, Error> {
        let tls = url.scheme() == "https";
        let gate = Gate { policy: self.policy, own: self.own.clone(), names: self.names.clone(), tls };
        // An address in the URL is not resolved, so the gate does not see it. However an IPv4 address was written, the
        // URL's parser has recognized it as one (URL standard, "IPv4 parser").
        match url.host() {
            Some(Host::Ipv4(address)) => gate.check(address.into()).map_err(Error::Address)?,
            Some(Host::Ipv6(address)) => gate.check(address.into()).map_err(Error::Address)?,
            Some(Host::Domain(_)) | None => {}
        }
        let trusted = if tls {
            let (trust, clock) = (self.trust.clone(), self.clock);
            tokio::task::spawn_blocking(move || trust.load(clock)).await.map_err(Error::Stopped)??
        } else {
            Trust::none()
        };
        Ok(build(builder(trusted, self.connect_limit).dns_resolver(gate).pool_max_idle_per_host(0)))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, trust, connect_limit, names, clock, own: _ } = self;
        let mut shown = f.debug_struct("Client");
        shown.field("policy", policy).field("trust", trust).field("connect_limit", connect_limit).field("names", names);
        shown.field("clock", clock);
        shown.finish_non_exhaustive()
    }
}

/// A client that keeps its connections, for many requests to a server that its operator named. No address is refused.
#[derive(Clone, Debug)]
pub struct Pool(reqwest::Client);

impl Pool {
    /// A client that keeps so many connections.
    pub fn new(tls: ClientConfig, connections: usize) -> Self {
        Self(build(builder(tls, CONNECT_LIMIT).pool_max_idle_per_host(connections).tcp_nodelay(true)))
    }

    /// Sends a request. A connection is kept when its answer's body is read to the end.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        request.send_over(async { Ok(self.0.clone()) }).await
    }
}

fn builder(tls: ClientConfig, connect_limit: Duration) -> ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(connect_limit)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        .user_agent(AGENT)
}

fn build(builder: ClientBuilder) -> reqwest::Client {
    builder.build().expect("the TLS configuration is of the kind that reqwest takes, and the user agent is plain ASCII")
}
