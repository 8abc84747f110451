//! The requests of a phone app to the command center, and those of an enrolled node.

use std::time::Duration;

use provisioning_core::domain::CommandCenterUrl;
use provisioning_core::secret::SecretText;
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

/// Longer than a reachable command center takes.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The credentials of an owner.
#[derive(Clone, Debug)]
pub enum Owner {
    /// A user's token, such as that of the phone app.
    User(SecretText),
    /// The administrator's key.
    Administrator(SecretText),
}

/// An order for one registration.
#[derive(Clone, Debug)]
pub struct Order {
    /// The identity that the command center assigned to the node.
    pub node_id: String,
    /// The provisioning token.
    pub token: SecretText,
    /// How long the token is valid.
    pub good_for: Duration,
}

/// Why a request to the command center failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The request could not be sent, or was not answered.
    #[error("sending a request to the command center")]
    Ask(#[source] reqwest::Error),
    /// The command center answered with an error status.
    #[error("the command center answered with HTTP status {status}{}", detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The command center's explanation.
        detail: Option<String>,
    },
    /// The answer could not be parsed.
    #[error("parsing the command center's answer")]
    Unreadable(#[source] reqwest::Error),
}

#[derive(Serialize)]
struct TokenRequest<'a> {
    household_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: String,
    node_id: String,
    #[serde(default)]
    expires_in: u64,
}

#[derive(Deserialize)]
struct Refusal {
    detail: Option<String>,
    message: Option<String>,
}

/// A client of a command center.
#[derive(Debug)]
pub struct CommandCenter {
    client: Client,
    url: CommandCenterUrl,
}

impl CommandCenter {
    /// The command center at `url`.
    pub fn new(url: CommandCenterUrl) -> Result<Self, Error> {
        install_cryptography();
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_LIMIT)
            .build()
            .map_err(Error::Ask)?;
        Ok(Self { client, url })
    }

    /// Requests an identity and a token for a new node.
    pub async fn order(&self, owner: &Owner, household_id: &str, room: Option<&str>) -> Result<Order, Error> {
        let request = self.client.post(self.url.join("/api/v0/provisioning/token")).json(&TokenRequest { household_id, room });
        let request = match owner {
            Owner::User(token) => request.bearer_auth(token.expose()),
            Owner::Administrator(key) => request.header("x-api-key", key.expose()),
        };
        let response = request.send().await.map_err(Error::Ask)?;
        let response = accepted(response).await?;
        let TokenAnswer { token, node_id, expires_in } = response.json().await.map_err(Error::Unreadable)?;
        Ok(Order { node_id, token: SecretText::new(token), good_for: Duration::from_secs(expires_in) })
    }

    /// Whether the command center accepts the node's key.
    pub async fn knows(&self, node_id: &str, node_key: &SecretText) -> Result<bool, Error> {
        let key = Zeroizing::new(format!("{node_id}:{}", node_key.expose()));
        let request = self.client.post(self.url.join("/api/v0/admin/nodes/heartbeat")).header("x-api-key", key.as_str());
        let response = request.json(&serde_json::json!({})).send().await.map_err(Error::Ask)?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Ok(false),
            _ => accepted(response).await.map(|_| true),
        }
    }
}

async fn accepted(response: reqwest::Response) -> Result<reqwest::Response, Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let detail = response.json::<Refusal>().await.ok().and_then(|refusal| refusal.detail.or(refusal.message));
    Err(Error::Refused { status: status.as_u16(), detail })
}

/// Installs the TLS implementation of the process, unless one is installed.
pub(crate) fn install_cryptography() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("a TLS implementation is installed already");
    }
}
