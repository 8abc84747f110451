//! Registration and health check. Each try uses a new connection; the state machine decides about retries.

use std::time::Duration;

use jarvis_http::client::{Client, Request, encode};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use zeroize::Zeroizing;

use super::answer;
use super::error::Error;
use provisioning_core::domain::{CommandCenterUrl, Registration, UnixTime};
use provisioning_core::fault::chain;
use provisioning_core::machine::Refused;
use provisioning_core::secret::SecretText;

/// Registers a node with command centers, and checks their health.
#[derive(Clone, Debug)]
pub struct Registrar {
    client: Client,
    limits: Limits,
}

/// The time limits of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Limit of a whole registration.
    pub register: Duration,
    /// Limit of a whole check of health, or of the node's key.
    pub health: Duration,
}

impl Default for Limits {
    /// The limit of a registration is that of the existing software, because the command center calls another service
    /// meanwhile. The health check is short, because people wait for it.
    fn default() -> Self {
        Self { register: Duration::from_secs(30), health: Duration::from_secs(5) }
    }
}

impl Registrar {
    /// A registrar that uses the given client, with its address policy and trusted authorities.
    pub fn new(client: Client) -> Self {
        Self { client, limits: Limits::default() }
    }

    /// Replaces the limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// A registrar that knows a time that has passed, for judging certificates.
    #[must_use]
    pub fn at_or_after(&self, passed: Option<UnixTime>) -> Self {
        Self { client: self.client.clone().at_or_after(passed), limits: self.limits }
    }

    async fn try_register(
        &self,
        command_center: &CommandCenterUrl,
        node_id: &str,
        token: &SecretText,
        room: &str,
    ) -> Result<Registration, Error> {
        let url = command_center.join("/api/v0/nodes/register");
        let request = Request::json(Method::POST, url, body(node_id, token, room), self.limits.register);
        answer::read(self.client.send(request).await?).await
    }

    async fn try_key(&self, command_center: &CommandCenterUrl, registration: &Registration) -> Result<(), Error> {
        let Registration { node_id, node_key, .. } = registration;
        let url = command_center.join(&format!("/api/v0/nodes/{node_id}/config/pending"));
        let key = Zeroizing::new(format!("{node_id}:{}", node_key.expose()));
        let mut header = HeaderValue::from_bytes(key.as_bytes()).expect("neither contains control characters");
        header.set_sensitive(true);
        let request = Request::get(url, self.limits.health).with_header(HeaderName::from_static("x-api-key"), header);
        match self.client.send(request).await?.status() {
            StatusCode::OK => Ok(()),
            status => Err(Error::Status { status, retry_after: None }),
        }
    }

    async fn try_health(&self, command_center: &CommandCenterUrl) -> Result<(), Error> {
        let request = Request::get(command_center.join("/health"), self.limits.health);
        match self.client.send(request).await?.status() {
            StatusCode::OK => Ok(()),
            status => Err(Error::Status { status, retry_after: None }),
        }
    }
}

impl Registrar {
    /// Registers with a command center; does not retry. The cause of a failure is logged.
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
                error = chain(&error),
                "could not register"
            );
            refused
        })
    }

    /// Why `GET /health` does not answer 200 in time, for people; none if it does.
    pub async fn why_unhealthy(&self, command_center: &CommandCenterUrl) -> Option<String> {
        self.try_health(command_center).await.err().map(|error| chain(&error))
    }

    /// Whether `GET /health` answers 200 in time.
    pub async fn healthy(&self, command_center: &CommandCenterUrl) -> bool {
        let health = self.try_health(command_center).await;
        if let Err(error) = &health {
            tracing::debug!(
                command_center = command_center.url().origin().ascii_serialization(),
                error = chain(error),
                "the command center is not healthy"
            );
        }
        health.is_ok()
    }

    /// Sends a request that changes nothing, `GET /api/v0/nodes/{node_id}/config/pending`, with the node's key. Whether the answer is
    /// 200; command centers without this path answer 404.
    pub async fn confirm_key(&self, command_center: &CommandCenterUrl, registration: &Registration) -> bool {
        let confirmed = self.try_key(command_center, registration).await;
        if let Err(error) = &confirmed {
            tracing::debug!(
                command_center = command_center.url().origin().ascii_serialization(),
                error = chain(error),
                "the command center did not accept the node's key"
            );
        }
        confirmed.is_ok()
    }
}

/// The body of a registration.
#[derive(Serialize)]
struct Fields<'a> {
    node_id: &'a str,
    provisioning_token: &'a str,
    room: &'a str,
}

fn body(node_id: &str, token: &SecretText, room: &str) -> Zeroizing<Vec<u8>> {
    encode(&Fields { node_id, provisioning_token: token.expose(), room })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_three_fields() {
        let token = SecretText::new("prov_\u{1}\"\\\u{1f600}".into());
        let body = body("n", &token, &"\u{1}".repeat(512));
        let parsed: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(parsed["node_id"], "n");
        assert_eq!(parsed["provisioning_token"], token.expose());
        assert_eq!(parsed["room"], "\u{1}".repeat(512));
        assert_eq!(parsed.as_object().map(serde_json::Map::len), Some(3));
    }
}
