//! One try: one connection, one request, one answer.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{StatusCode, redirect, retry};
use serde::Serialize;
use url::Host;
use zeroize::Zeroizing;

use super::address::{AddressPolicy, is_own};
use super::answer;
use super::error::Error;
use super::names::{Gate, Names, Own, SystemNames};
use super::trust::Trust;
use provisioning_core::domain::{CommandCenterUrl, Registration};
use provisioning_core::machine::Refused;
use provisioning_core::secret::SecretText;

/// A client of command centers.
///
/// It holds nothing but its settings between tries: no connection, no certificates, no session to resume. A node
/// registers once in its life, and what is read anew at each try is never out of date.
#[derive(Clone)]
pub struct Client {
    policy: AddressPolicy,
    trust: Trust,
    limits: Limits,
    names: Arc<dyn Names>,
    own: Own,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From looking up the name until the connection is made, TLS included.
    pub connect: Duration,
    /// A registration, from start to end.
    pub register: Duration,
    /// A question for health, from start to end.
    pub health: Duration,
}

impl Default for Limits {
    /// A registration may take as long as the node's own software lets it: the command center asks another service
    /// meanwhile. A connection that takes a third of that will not come. Health is asked for while people wait.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), register: Duration::from_secs(30), health: Duration::from_secs(5) }
    }
}

/// An answer to [`Client::post`], whatever its status.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// When the server wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
    /// At most 64 KiB.
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Client {
    /// A client that speaks to the addresses of a policy, and believes those that are trusted.
    pub fn new(policy: AddressPolicy, trust: Trust) -> Self {
        Self { policy, trust, limits: Limits::default(), names: Arc::new(SystemNames), own: Arc::new(is_own) }
    }

    /// With other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// With other names than the system's.
    #[must_use]
    pub fn with_names(self, names: impl Names) -> Self {
        Self { names: Arc::new(names), ..self }
    }

    /// With another way to tell whether an address is one of the node's own than to ask the kernel.
    #[must_use]
    pub fn with_own(self, own: impl Fn(IpAddr) -> bool + Send + Sync + 'static) -> Self {
        Self { own: Arc::new(own), ..self }
    }

    async fn try_register(
        &self,
        command_center: &CommandCenterUrl,
        node_id: &str,
        token: &SecretText,
        room: &str,
    ) -> Result<Registration, Error> {
        let exchange = async {
            let request = self
                .connection(command_center)
                .await?
                .post(command_center.join("/api/v0/nodes/register"))
                .header(CONTENT_TYPE, "application/json")
                .body(Bytes::from_owner(body(node_id, token, room)));
            answer::read(request.send().await.map_err(Error::exchange)?).await
        };
        within(self.limits.register, exchange).await
    }

    async fn try_health(&self, command_center: &CommandCenterUrl) -> Result<(), Error> {
        let exchange = async {
            let request = self.connection(command_center).await?.get(command_center.join("/health"));
            match request.send().await.map_err(Error::exchange)?.status() {
                StatusCode::OK => Ok(()),
                status => Err(Error::Status { status, retry_after: None }),
            }
        };
        within(self.limits.health, exchange).await
    }

    /// One JSON request to a command center, and its answer.
    pub(crate) async fn post(
        &self,
        command_center: &CommandCenterUrl,
        path: &str,
        headers: HeaderMap,
        body: Zeroizing<Vec<u8>>,
        limit: Duration,
    ) -> Result<Answer, Error> {
        let exchange = async {
            let request = self
                .connection(command_center)
                .await?
                .post(command_center.join(path))
                .header(CONTENT_TYPE, "application/json")
                .headers(headers)
                .body(Bytes::from_owner(body));
            let response = request.send().await.map_err(Error::exchange)?;
            let status = response.status();
            let retry_after = answer::retry_after(status, response.headers());
            Ok(Answer { status, retry_after, body: answer::body(response).await? })
        };
        within(limit, exchange).await
    }

    /// The means for one exchange with one command center.
    async fn connection(&self, command_center: &CommandCenterUrl) -> Result<reqwest::Client, Error> {
        let url = command_center.url();
        let tls = url.scheme() == "https";
        let gate = Gate { policy: self.policy, own: self.own.clone(), names: self.names.clone(), tls };
        // Addresses are not looked up, so the gate does not see them on the way. However an IPv4 address was written,
        // the URL's parser has understood it as one (URL standard, "IPv4 parser").
        match url.host() {
            Some(Host::Ipv4(address)) => gate.check(address.into()).map_err(Error::Address)?,
            Some(Host::Ipv6(address)) => gate.check(address.into()).map_err(Error::Address)?,
            Some(Host::Domain(_)) | None => {}
        }
        let believed = if tls {
            let trust = self.trust.clone();
            tokio::task::spawn_blocking(move || trust.load()).await.map_err(Error::Stopped)??
        } else {
            Trust::nobody()
        };
        let connection = reqwest::Client::builder()
            .tls_backend_preconfigured(believed)
            .dns_resolver(gate)
            .connect_timeout(self.limits.connect)
            .no_proxy()
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .user_agent(concat!("jarvis-provision/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("the TLS configuration is of the kind that reqwest takes, and the user agent is plain ASCII");
        Ok(connection)
    }
}

impl Client {
    /// Registers with a command center: one try. The cause of a failure is logged.
    pub async fn register(
        &self,
        command_center: &CommandCenterUrl,
        node_id: &str,
        token: &SecretText,
        room: &str,
    ) -> Result<Registration, Refused> {
        self.try_register(command_center, node_id, token, room).await.map_err(|error| {
            let refused = error.refused();
            tracing::warn!(
                command_center = command_center.url().origin().ascii_serialization(),
                fault = refused.fault.name(),
                error = error.chain(),
                "could not register"
            );
            refused
        })
    }

    /// Whether `GET /health` answers 200 in time.
    pub async fn healthy(&self, command_center: &CommandCenterUrl) -> bool {
        let health = self.try_health(command_center).await;
        if let Err(error) = &health {
            tracing::debug!(
                command_center = command_center.url().origin().ascii_serialization(),
                error = error.chain(),
                "the command center is not healthy"
            );
        }
        health.is_ok()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, trust, limits, names, own: _ } = self;
        let mut shown = f.debug_struct("Client");
        shown.field("policy", policy).field("trust", trust).field("limits", limits).field("names", names);
        shown.finish_non_exhaustive()
    }
}

/// What a registration asks.
#[derive(Serialize)]
struct Request<'a> {
    node_id: &'a str,
    provisioning_token: &'a str,
    room: &'a str,
}

/// The request's JSON, erased when it has been sent. What hyper and TLS copy into their buffers is not; those are freed
/// with the connection.
fn body(node_id: &str, token: &SecretText, room: &str) -> Zeroizing<Vec<u8>> {
    // An escaped character has at most six bytes for one. A buffer that grew would leave a copy behind.
    let longest = 64 + 6 * (node_id.len() + token.expose().len() + room.len());
    let mut body = Zeroizing::new(Vec::with_capacity(longest));
    serde_json::to_writer(&mut *body, &Request { node_id, provisioning_token: token.expose(), room })
        .expect("text is JSON, and memory takes it");
    debug_assert!(body.len() <= longest, "the buffer did not grow");
    body
}

/// The outcome of an exchange, if it comes in time.
async fn within<T>(limit: Duration, exchange: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(limit, exchange).await.unwrap_or(Err(Error::TimedOut(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_the_three_fields_and_fits_its_buffer() {
        let token = SecretText::new("prov_\u{1}\"\\\u{1f600}".into());
        let body = body("n", &token, &"\u{1}".repeat(512));
        let parsed: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(parsed["node_id"], "n");
        assert_eq!(parsed["provisioning_token"], token.expose());
        assert_eq!(parsed["room"], "\u{1}".repeat(512));
        assert_eq!(parsed.as_object().map(serde_json::Map::len), Some(3));
    }
}
