//! The relay of a settings key (K2) from a user's app to a node that the app cannot reach.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Center;
use super::auth::check_own;
use super::body::{Body, Fields, FromFields, Segment, Segments};
use super::refusal::{BodyRefusals, Detail, ValidationError};
use crate::base::refusal::Refusal;
use crate::base::secret::{Purpose, SecretText};
use crate::domain::caller::Caller;
use crate::domain::key_relay::{Acknowledge, End, Fetch, Look, Offer, Outcome};
use crate::domain::nodes::NodeKey;
use crate::domain::refuse;

/// How often the database is asked whether the node has answered; another server process may have taken its answer.
const POLL: Duration = Duration::from_millis(200);

/// The longest key and the longest other field, in characters. What a key must be is for the node to say.
const LONGEST: usize = 256;

/// The longest text of a node that is shown to a user, in characters.
const LONGEST_FAILURE: usize = 256;

/// What another node's key is answered with.
const NOT_OWN: &str = "Node mismatch";

/// A settings key for a node.
#[derive(Debug, ToSchema)]
pub(super) struct KeyRequest {
    /// The key, as the node expects it.
    #[schema(min_length = 1, max_length = 256, value_type = String)]
    k2: SecretText,
    /// The name of the key.
    #[schema(max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    kid: String,
    /// When it was made.
    #[schema(max_length = 256, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    created_at: String,
}

impl FromFields for KeyRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            k2: fields.secret("k2", 1..=LONGEST),
            kid: fields.short_text("kid", LONGEST),
            created_at: fields.short_text("created_at", LONGEST),
        }
    }
}

/// A node has stored its settings key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyAnswer {
    /// Always true.
    ok: bool,
    /// Which node.
    node_id: String,
    /// The name of the key.
    kid: String,
}

/// Relays a settings key to a node, and waits until the node has stored it.
///
/// The message broker notifies the node that a key is pending, and the node fetches it with its own key. The key is kept sealed,
/// for 15 seconds at most. It may be relayed again; the last one counts.
#[utoipa::path(
    post,
    path = "/api/v0/nodes/{node_id}/k2",
    tag = "nodes",
    params(("node_id" = String, Path, description = "Which node")),
    request_body = KeyRequest,
    security(("administrator" = []), ("user" = [])),
    responses(
        (status = 200, body = KeyAnswer),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The node is in a household that the user does not belong to", body = Detail),
        (status = 404, description = "There is no such node", body = Detail),
        (status = 502, description = "The node could not store the key, and says why", body = Detail),
        (status = 504, description = "The node has not stored the key in time", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn offer(
    State(center): State<Arc<Center>>,
    caller: Caller,
    Segment(node_id): Segment,
    Body(KeyRequest { k2, kid, created_at }): Body<KeyRequest>,
) -> Result<Json<KeyAnswer>, Refusal> {
    let request_id = Uuid::new_v4().to_string();
    let key = Key { k2: k2.expose().to_owned(), kid: kid.clone(), created_at };
    let text = Zeroizing::new(serde_json::to_string(&key).expect("texts are JSON"));
    let sealed = center.secret.seal(Purpose::RelayedKey, &[&node_id, &request_id], &text);
    let expires_at = center.config.clock.now().after(center.config.patience.relay);
    let offer = Offer { node_id: node_id.clone(), caller, request_id: request_id.clone(), sealed, expires_at };
    center.store.write(offer).await.map_err(refuse)?;
    let is_told = center.notices.tell(&node_id, "k2/provision", &json!({ "request_id": request_id })).await;
    let look = Look { node_id: node_id.clone(), request_id };
    if is_told {
        wait(&center, &look).await?;
    }
    match center.store.write(End(look)).await.map_err(refuse)? {
        Outcome::Stored => {
            tracing::info!(node_id, kid, "relayed a settings key");
            Ok(Json(KeyAnswer { ok: true, node_id, kid }))
        }
        Outcome::Failed(why) => Err(Refusal::KeyNotStored(Some(why).filter(|why| !why.is_empty()))),
        Outcome::Waiting | Outcome::Replaced if is_told => Err(Refusal::KeyNotAcknowledged),
        Outcome::Waiting | Outcome::Replaced => Err(Refusal::NoBroker),
    }
}

/// Waits until the node has answered, or has had its time.
async fn wait(center: &Center, look: &Look) -> Result<(), Refusal> {
    let end = Instant::now() + center.config.patience.relay;
    while center.store.read(look.clone()).await.map_err(refuse)? == Outcome::Waiting && Instant::now() < end {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// A settings key that waited for its node.
#[derive(Deserialize, Serialize, ToSchema, Zeroize, ZeroizeOnDrop)]
#[schema(as = RelayedKey)]
pub(super) struct Key {
    /// The key, as the app has sent it.
    k2: String,
    /// The name of the key.
    kid: String,
    /// When it was made.
    created_at: String,
}

/// Takes the settings key that waits for the node, once.
#[utoipa::path(
    get,
    path = "/api/v0/nodes/{node_id}/k2/provision/{request_id}",
    tag = "nodes",
    params(
        ("node_id" = String, Path, description = "Which node"),
        ("request_id" = String, Path, description = "Which relay, as the message broker has said"),
    ),
    security(("node" = [])),
    responses(
        (status = 200, body = Key),
        (status = 400, description = "No key, or the path is not text", body = ValidationError),
        (status = 401, description = "Not the node's key", body = Detail),
        (status = 403, description = "The path names another node", body = Detail),
        (status = 404, description = "Nothing waits under this id: it was fetched already, or too late", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn fetch(
    State(center): State<Arc<Center>>,
    key: NodeKey,
    Segments(node_id, request_id): Segments,
) -> Result<([(HeaderName, &'static str); 1], Json<Key>), Refusal> {
    check_own(&center, key, &node_id, NOT_OWN).await?;
    let parts = [node_id.clone(), request_id.clone()];
    let fetch = Fetch { node_id, request_id, now: center.config.clock.now() };
    let sealed = center.store.write(fetch).await.map_err(refuse)?;
    let text = center.secret.unseal(Purpose::RelayedKey, &[&parts[0], &parts[1]], &sealed);
    let key = text.and_then(|text| serde_json::from_slice(&text).ok());
    let key = key.ok_or_else(|| {
        tracing::error!("a relayed key in the database was not sealed by this server");
        Refusal::Internal
    })?;
    Ok(([(CACHE_CONTROL, "no-store")], Json(key)))
}

/// Whether a node has stored its settings key.
#[derive(Debug, ToSchema)]
pub(super) struct KeyAcknowledgement {
    /// Whether it has; everything but `true` means that it has not.
    #[schema(value_type = Option<bool>)]
    success: bool,
    /// Why not, for people.
    error: Option<String>,
}

impl FromFields for KeyAcknowledgement {
    /// Fields that are not understood do not matter: the user waits for the answer.
    fn from_fields(fields: &mut Fields) -> Self {
        let error = match fields.any("error") {
            Some(Value::String(text)) => Some(printable(&text)),
            _ => None,
        };
        Self { success: fields.any("success") == Some(Value::Bool(true)), error }
    }
}

/// As much of a text as is shown to a user.
fn printable(text: &str) -> String {
    text.chars().take(LONGEST_FAILURE).map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// An acknowledgement.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Acknowledged {
    /// Always `ok`.
    status: &'static str,
}

/// Says whether the node has stored its settings key. Late or repeated, it changes nothing.
#[utoipa::path(
    post,
    path = "/api/v0/nodes/{node_id}/k2/ack/{request_id}",
    tag = "nodes",
    params(
        ("node_id" = String, Path, description = "Which node"),
        ("request_id" = String, Path, description = "Which relay"),
    ),
    request_body = KeyAcknowledgement,
    security(("node" = [])),
    responses(
        (status = 200, body = Acknowledged),
        (status = 401, description = "Not the node's key", body = Detail),
        (status = 403, description = "The path names another node", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn acknowledge(
    State(center): State<Arc<Center>>,
    key: NodeKey,
    Segments(node_id, request_id): Segments,
    Body(KeyAcknowledgement { success, error }): Body<KeyAcknowledgement>,
) -> Result<Json<Acknowledged>, Refusal> {
    check_own(&center, key, &node_id, NOT_OWN).await?;
    let failure = (!success).then(|| error.unwrap_or_default());
    let acknowledge = Acknowledge { node_id, request_id, failure, now: center.config.clock.now() };
    center.store.write(acknowledge).await.map_err(refuse)?;
    Ok(Json(Acknowledged { status: "ok" }))
}
