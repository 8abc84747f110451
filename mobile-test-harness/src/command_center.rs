//! What a phone app asks of the command center, and what a node asks once it is enrolled.

use std::time::Duration;

use provisioning_core::domain::CommandCenterUrl;
use provisioning_core::secret::SecretText;
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

/// Longer than a command center takes that is there.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How the owner proves who they are.
#[derive(Clone, Debug)]
pub enum Owner {
    /// A user's token, as the phone app has one.
    User(SecretText),
    /// The administrator's key.
    Administrator(SecretText),
}

/// An order for one registration.
#[derive(Clone, Debug)]
pub struct Order {
    /// The identity that the command center made for the node.
    pub node_id: String,
    /// The provisioning token.
    pub token: SecretText,
    /// How long it is good for.
    pub good_for: Duration,
}

/// Why the command center did not give what it was asked for.
#[derive(Debug, Error)]
pub enum Error {
    /// No answer.
    #[error("asking the command center")]
    Ask(#[source] reqwest::Error),
    /// An answer that says no.
    #[error("the command center answered with HTTP status {status}{}", detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the command center says about it.
        detail: Option<String>,
    },
    /// An answer that is not one.
    #[error("the command center's answer could not be read")]
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

/// A command center, as its clients see it.
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

    /// Orders the registration of a new node.
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

    /// Whether the command center knows the node by that key.
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

/// Chooses the implementation of TLS for the whole process; harmless when it is chosen already.
pub(crate) fn install_cryptography() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::trace!("an implementation of TLS was chosen before");
    }
}
