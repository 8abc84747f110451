//! Requests for the settings of a node: users request, the node answers with what it has encrypted with K2.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Center;
use super::auth::check_own;
use super::body::{Asked, Body, Fields, FromFields, Segment, Segments};
use super::refusal::{BodyRefusals, Detail, ValidationError};
use crate::base::refusal::Refusal;
use crate::domain::caller::Caller;
use crate::domain::nodes::NodeKey;
use crate::domain::refuse;
use crate::domain::settings_requests::{Answer, Create, Fulfil, One, Pending, Request, Snapshot, Stored};

/// The largest body with a snapshot: the settings of a node with a hundred commands, encrypted and in base64.
const LARGEST_SNAPSHOT: usize = 512 * 1024;

/// A request for the settings of a node.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SettingsRequest)]
pub(super) struct RequestView {
    /// Which request.
    request_id: String,
    /// Which node it is for.
    node_id: String,
    /// `pending` or `fulfilled`.
    status: &'static str,
    /// When it was made: UTC, with the zone.
    created_at: String,
    /// Until when the node may answer: UTC, with the zone.
    expires_at: String,
    /// Whether the node is to include the values of secrets.
    include_values: bool,
    /// The user who wants the settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<Value>,
}

impl From<Request> for RequestView {
    fn from(request: Request) -> Self {
        let Request { id, node_id, include_values, user_id, created_at, expires_at, is_fulfilled } = request;
        Self {
            request_id: id,
            node_id,
            status: if is_fulfilled { "fulfilled" } else { "pending" },
            created_at: created_at.zoned(),
            expires_at: expires_at.zoned(),
            include_values,
            user_id: user_id.map(user_value),
        }
    }
}

/// A user's id as nodes know it: the auth service numbers its users, and writes the number as a text into tokens.
fn user_value(id: String) -> Value {
    id.parse::<i64>().map_or(Value::String(id), Value::from)
}

/// What is wanted of a node.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Whether the node is to include the values of secrets.
    include_values: Option<bool>,
}

/// Requests the settings of a node, which has five minutes to answer.
#[utoipa::path(
    post,
    path = "/api/v0/nodes/{node_id}/settings/requests",
    tag = "nodes",
    params(("node_id" = String, Path, description = "Which node"), Wanted),
    security(("administrator" = []), ("user" = [])),
    responses(
        (status = 201, body = RequestView),
        (status = 400, description = "The path or the query is not understood", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The node is in a household that the user does not belong to", body = Detail),
        (status = 404, description = "There is no such node", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn create(
    State(center): State<Arc<Center>>,
    caller: Caller,
    Segment(node_id): Segment,
    Asked(Wanted { include_values }): Asked<Wanted>,
) -> Result<(StatusCode, Json<RequestView>), Refusal> {
    let create = Create {
        request_id: Uuid::new_v4().to_string(),
        node_id,
        caller,
        include_values: include_values.unwrap_or(false),
        now: center.config.clock.now(),
    };
    let request = RequestView::from(center.store.write(create).await.map_err(refuse)?);
    let mut notice = json!({ "request_id": request.request_id, "node_id": request.node_id });
    if request.include_values {
        notice["include_values"] = true.into();
    }
    if let Some(user_id) = &request.user_id {
        notice["user_id"] = user_id.clone();
    }
    // A node without the notice lists its requests.
    center.notices.tell(&request.node_id, "settings/request", &notice).await;
    Ok((StatusCode::CREATED, Json(request)))
}

/// The requests that wait for a node, oldest first.
#[utoipa::path(
    get,
    path = "/api/v0/nodes/{node_id}/settings/requests",
    tag = "nodes",
    params(("node_id" = String, Path, description = "Which node")),
    security(("node" = [])),
    responses(
        (status = 200, body = Vec<RequestView>),
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
) -> Result<Json<Vec<RequestView>>, Refusal> {
    check_own(&center, key, &node_id, "Cannot access other node's requests").await?;
    let pending = Pending { node_id, now: center.config.clock.now() };
    let requests = center.store.read(pending).await.map_err(refuse)?;
    Ok(Json(requests.into_iter().map(RequestView::from).collect()))
}

/// One request, for its node.
#[utoipa::path(
    get,
    path = "/api/v0/nodes/{node_id}/settings/requests/{request_id}",
    tag = "nodes",
    params(
        ("node_id" = String, Path, description = "Which node"),
        ("request_id" = String, Path, description = "Which request"),
    ),
    security(("node" = [])),
    responses(
        (status = 200, body = RequestView),
        (status = 400, description = "No key, or the path is not text", body = ValidationError),
        (status = 401, description = "Not the node's key", body = Detail),
        (status = 403, description = "The path names another node", body = Detail),
        (status = 404, description = "There is no such request", body = Detail),
        (status = 410, description = "The request is too old", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn one(
    State(center): State<Arc<Center>>,
    key: NodeKey,
    Segments(node_id, request_id): Segments,
) -> Result<Json<RequestView>, Refusal> {
    check_own(&center, key, &node_id, "Cannot access other node's requests").await?;
    let one = One { node_id, request_id, now: center.config.clock.now() };
    center.store.read(one).await.map(RequestView::from).map(Json).map_err(refuse)
}

/// The settings of a node, encrypted with K2 (AES-256-GCM).
#[derive(Debug, ToSchema)]
pub(super) struct SnapshotRequest {
    /// In base64.
    #[schema(pattern = "^[A-Za-z0-9+/_=-]*$")]
    ciphertext: String,
    /// In base64.
    #[schema(pattern = "^[A-Za-z0-9+/_=-]*$")]
    nonce: String,
    /// In base64.
    #[schema(pattern = "^[A-Za-z0-9+/_=-]*$")]
    tag: String,
    /// Authenticated with the settings.
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    aad_schema_version: i64,
    /// Authenticated with the settings.
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    aad_commands_schema_version: i64,
    /// Authenticated with the settings.
    #[schema(minimum = 0, maximum = 2_147_483_647)]
    aad_revision: i64,
}

impl FromFields for SnapshotRequest {
    const LARGEST: usize = LARGEST_SNAPSHOT;

    fn from_fields(fields: &mut Fields) -> Self {
        let versions = 0..=i64::from(i32::MAX);
        Self {
            ciphertext: fields.sealed("ciphertext"),
            nonce: fields.sealed("nonce"),
            tag: fields.sealed("tag"),
            aad_schema_version: fields.integer("aad_schema_version", versions.clone()),
            aad_commands_schema_version: fields.integer("aad_commands_schema_version", versions.clone()),
            aad_revision: fields.integer("aad_revision", versions),
        }
    }
}

/// A snapshot that was stored.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotAnswer {
    /// Which snapshot.
    snapshot_id: String,
    /// Whose settings they are.
    node_id: String,
    /// When it was stored: UTC, with the zone.
    created_at: String,
}

/// Answers a request with the node's settings, once.
#[utoipa::path(
    put,
    path = "/api/v0/nodes/{node_id}/settings/requests/{request_id}/snapshot",
    tag = "nodes",
    params(
        ("node_id" = String, Path, description = "Which node"),
        ("request_id" = String, Path, description = "Which request"),
    ),
    request_body = SnapshotRequest,
    security(("node" = [])),
    responses(
        (status = 201, body = SnapshotAnswer),
        (status = 401, description = "Not the node's key", body = Detail),
        (status = 403, description = "The path names another node", body = Detail),
        (status = 404, description = "There is no such request", body = Detail),
        (status = 409, description = "The request has been answered", body = Detail),
        (status = 410, description = "The request is too old", body = Detail),
        BodyRefusals<LARGEST_SNAPSHOT>,
    )
)]
pub(super) async fn fulfil(
    State(center): State<Arc<Center>>,
    key: NodeKey,
    Segments(node_id, request_id): Segments,
    Body(request): Body<SnapshotRequest>,
) -> Result<(StatusCode, Json<SnapshotAnswer>), Refusal> {
    check_own(&center, key, &node_id, "Cannot upload to other node's requests").await?;
    let (snapshot_id, now) = (Uuid::new_v4().to_string(), center.config.clock.now());
    let snapshot = Snapshot {
        ciphertext: request.ciphertext,
        nonce: request.nonce,
        tag: request.tag,
        schema_version: request.aad_schema_version,
        commands_schema_version: request.aad_commands_schema_version,
        revision: request.aad_revision,
    };
    let fulfil = Fulfil { node_id: node_id.clone(), request_id, snapshot_id: snapshot_id.clone(), snapshot, now };
    center.store.write(fulfil).await.map_err(refuse)?;
    Ok((StatusCode::CREATED, Json(SnapshotAnswer { snapshot_id, node_id, created_at: now.zoned() })))
}

/// A request whose node has not answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PendingAnswer {
    /// Always `pending`.
    status: &'static str,
    /// Which request.
    request_id: String,
    /// For people.
    message: &'static str,
}

/// A request that is answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResultAnswer {
    /// Always `fulfilled`.
    status: &'static str,
    /// Which request.
    request_id: String,
    /// What the node has sent.
    snapshot: SnapshotView,
}

/// The settings of a node, encrypted with K2.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotView {
    /// Which snapshot.
    snapshot_id: String,
    /// In base64.
    ciphertext: String,
    /// In base64.
    nonce: String,
    /// In base64.
    tag: String,
    /// What is authenticated with the settings.
    aad: Authenticated,
    /// When it was stored: UTC, with the zone.
    created_at: String,
}

/// What is authenticated with the settings of a node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Authenticated {
    /// Whose settings they are.
    node_id: String,
    /// As the node has sent it.
    schema_version: i64,
    /// As the node has sent it.
    commands_schema_version: i64,
    /// As the node has sent it.
    revision: i64,
    /// Which request they answer.
    request_id: String,
}

/// The answer to a request, for its user. It is kept for an hour.
#[utoipa::path(
    get,
    path = "/api/v0/nodes/{node_id}/settings/requests/{request_id}/result",
    tag = "nodes",
    params(
        ("node_id" = String, Path, description = "Which node"),
        ("request_id" = String, Path, description = "Which request"),
    ),
    security(("administrator" = []), ("user" = [])),
    responses(
        (status = 200, body = ResultAnswer),
        (status = 202, description = "The node has not answered", body = PendingAnswer),
        (status = 400, description = "The path is not text", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The node is in a household that the user does not belong to", body = Detail),
        (status = 404, description = "There is no such node, or no such request", body = Detail),
        (status = 410, description = "The node has not answered in time", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn result(
    State(center): State<Arc<Center>>,
    caller: Caller,
    Segments(node_id, request_id): Segments,
) -> Result<Response, Refusal> {
    let now = center.config.clock.now();
    let answer = Answer { node_id: node_id.clone(), request_id: request_id.clone(), caller, now };
    let Some(Stored { snapshot_id, snapshot, created_at }) = center.store.read(answer).await.map_err(refuse)? else {
        let pending = PendingAnswer { status: "pending", request_id, message: "Waiting for node response" };
        return Ok((StatusCode::ACCEPTED, Json(pending)).into_response());
    };
    let Snapshot { ciphertext, nonce, tag, schema_version, commands_schema_version, revision } = snapshot;
    let aad = Authenticated { node_id, schema_version, commands_schema_version, revision, request_id: request_id.clone() };
    let snapshot = SnapshotView { snapshot_id, ciphertext, nonce, tag, aad, created_at: created_at.zoned() };
    Ok(Json(ResultAnswer { status: "fulfilled", request_id, snapshot }).into_response())
}
