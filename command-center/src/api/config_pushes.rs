//! Configurations for a node, which the app has encrypted with K2.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Center;
use super::auth::check_own;
use super::body::{Body, Fields, FromFields, Segment, Segments};
use super::refusal::{BodyRefusals, Detail, ValidationError};
use crate::base::refusal::Refusal;
use crate::domain::caller::Caller;
use crate::domain::config_pushes::{Acknowledge, Consumed, Pending, Push, Sealed, Waiting};
use crate::domain::nodes::NodeKey;
use crate::domain::refuse;

/// What another node's key is answered with.
const NOT_OWN: &str = "Cannot access other node's config";

/// A configuration, encrypted with K2 (AES-256-GCM).
#[derive(Debug, ToSchema)]
pub(super) struct PushRequest {
    /// What it configures; a type that begins with `auth:` has tokens.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    config_type: String,
    /// In base64.
    #[schema(pattern = "^[A-Za-z0-9+/_=-]*$")]
    ciphertext: String,
    /// In base64.
    #[schema(pattern = "^[A-Za-z0-9+/_=-]*$")]
    nonce: String,
    /// In base64.
    #[schema(pattern = "^[A-Za-z0-9+/_=-]*$")]
    tag: String,
}

impl FromFields for PushRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            config_type: fields.text("config_type"),
            ciphertext: fields.sealed("ciphertext"),
            nonce: fields.sealed("nonce"),
            tag: fields.sealed("tag"),
        }
    }
}

/// A configuration that was left for a node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PushAnswer {
    /// Which configuration.
    id: String,
    /// Which node it is for.
    node_id: String,
    /// What it configures.
    config_type: String,
    /// Always `pending`.
    status: &'static str,
    /// When it was left: UTC, with the zone.
    created_at: String,
}

/// Leaves a configuration for a node, for a week. The last 32 are kept.
#[utoipa::path(
    post,
    path = "/api/v0/nodes/{node_id}/config/push",
    tag = "nodes",
    params(("node_id" = String, Path, description = "Which node")),
    request_body = PushRequest,
    security(("administrator" = []), ("user" = [])),
    responses(
        (status = 201, body = PushAnswer),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The node is in a household that the user does not belong to", body = Detail),
        (status = 404, description = "There is no such node", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn push(
    State(center): State<Arc<Center>>,
    caller: Caller,
    Segment(node_id): Segment,
    Body(request): Body<PushRequest>,
) -> Result<(StatusCode, Json<PushAnswer>), Refusal> {
    let PushRequest { config_type, ciphertext, nonce, tag } = request;
    let (push_id, now) = (Uuid::new_v4().to_string(), center.config.clock.now());
    let sealed = Sealed { config_type: config_type.clone(), ciphertext, nonce, tag };
    let push = Push { id: push_id.clone(), node_id: node_id.clone(), caller, sealed, now };
    center.store.write(push).await.map_err(refuse)?;
    // A node without the notice finds it when it polls.
    let notice = json!({ "push_id": push_id, "config_type": config_type, "node_id": node_id });
    center.notices.tell(&node_id, "config/push", &notice).await;
    let answer = PushAnswer { id: push_id, node_id, config_type, status: "pending", created_at: now.zoned() };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// A configuration that waits for its node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PendingPush {
    /// Which configuration.
    id: String,
    /// What it configures.
    config_type: String,
    /// In base64.
    ciphertext: String,
    /// In base64.
    nonce: String,
    /// In base64.
    tag: String,
    /// When it was left: UTC, with the zone.
    created_at: String,
}

impl From<Waiting> for PendingPush {
    fn from(Waiting { push_id, sealed, created_at }: Waiting) -> Self {
        let Sealed { config_type, ciphertext, nonce, tag } = sealed;
        Self { id: push_id, config_type, ciphertext, nonce, tag, created_at: created_at.zoned() }
    }
}

/// The configurations that wait for a node, oldest first.
#[utoipa::path(
    get,
    path = "/api/v0/nodes/{node_id}/config/pending",
    tag = "nodes",
    params(("node_id" = String, Path, description = "Which node")),
    security(("node" = [])),
    responses(
        (status = 200, body = Vec<PendingPush>),
        (status = 400, description = "No key, or the path is not text", body = ValidationError),
        (status = 401, description = "Not the node's key", body = Detail),
        (status = 403, description = "The path names another node", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn pending(
    State(center): State<Arc<Center>>,
    key: NodeKey,
    Segment(node_id): Segment,
) -> Result<Json<Vec<PendingPush>>, Refusal> {
    check_own(&center, key, &node_id, NOT_OWN).await?;
    let waiting = center.store.read(Pending { node_id, now: center.config.clock.now() }).await.map_err(refuse)?;
    Ok(Json(waiting.into_iter().map(PendingPush::from).collect()))
}

/// What an acknowledgement has changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConsumedAnswer {
    /// `consumed`, `already_consumed`, or `consumed_and_deleted` for a type that begins with `auth:`.
    status: &'static str,
}

/// Says that the node has applied a configuration, whose content is then erased.
#[utoipa::path(
    post,
    path = "/api/v0/nodes/{node_id}/config/{push_id}/ack",
    tag = "nodes",
    params(
        ("node_id" = String, Path, description = "Which node"),
        ("push_id" = String, Path, description = "Which configuration"),
    ),
    security(("node" = [])),
    responses(
        (status = 200, body = ConsumedAnswer),
        (status = 400, description = "No key, or the path is not text", body = ValidationError),
        (status = 401, description = "Not the node's key", body = Detail),
        (status = 403, description = "The path names another node", body = Detail),
        (status = 404, description = "There is no such configuration", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn acknowledge(
    State(center): State<Arc<Center>>,
    key: NodeKey,
    Segments(node_id, push_id): Segments,
) -> Result<Json<ConsumedAnswer>, Refusal> {
    check_own(&center, key, &node_id, NOT_OWN).await?;
    let acknowledge = Acknowledge { node_id, push_id, now: center.config.clock.now() };
    let status = match center.store.write(acknowledge).await.map_err(refuse)? {
        Consumed::Now => "consumed",
        Consumed::Before => "already_consumed",
        Consumed::AndDeleted => "consumed_and_deleted",
    };
    Ok(Json(ConsumedAnswer { status }))
}
