//! Factory resets of nodes: users start them, nodes verify and report them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::HeaderName;
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Center;
use super::body::{Body, Fields, FromFields, Segment};
use super::refusal::{BodyRefusals, Conflict, Detail, ValidationError};
use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::base::secret::Purpose;
use crate::domain::caller::Caller;
use crate::domain::refuse;
use crate::domain::resets::{Report, Start, State as ResetState, Task, Verify};

/// The header in which a node shows the token of its reset.
const TOKEN: HeaderName = HeaderName::from_static("x-reset-token");

/// A reset that was started.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResetAnswer {
    /// Which reset.
    task_id: String,
    /// With this the node verifies that the reset is wanted; good for five minutes.
    reset_token: String,
}

/// Starts the factory reset of a node, by a notice through the message broker.
#[utoipa::path(
    post,
    path = "/api/v0/admin/nodes/{node_id}/factory-reset",
    tag = "nodes",
    params(("node_id" = String, Path, description = "Which node")),
    security(("administrator" = []), ("user" = [])),
    responses(
        (status = 200, body = ResetAnswer),
        (status = 400, description = "The path is not text", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The node is in a household that the user does not belong to", body = Detail),
        (status = 404, description = "There is no such node", body = Detail),
        (status = 409, description = "A reset of the node is under way", body = Conflict),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn start(
    State(center): State<Arc<Center>>,
    caller: Caller,
    Segment(node_id): Segment,
) -> Result<([(HeaderName, &'static str); 1], Json<ResetAnswer>), Refusal> {
    let (task_id, reset_token) = (Uuid::new_v4().to_string(), Uuid::new_v4().simple().to_string());
    let token_hash = center.secret.hash(Purpose::ResetToken, &[&reset_token]);
    let now = center.config.clock.now();
    let start = Start { task_id: task_id.clone(), node_id: node_id.clone(), token_hash, caller, now };
    center.store.write(start).await.map_err(refuse)?;
    tracing::info!(node_id, task_id, "started a factory reset");
    let notice = json!({ "request_id": reset_token, "node_id": node_id, "task_id": task_id });
    center.notices.tell(&node_id, "factory-reset", &notice).await;
    Ok(([(CACHE_CONTROL, "no-store")], Json(ResetAnswer { task_id, reset_token })))
}

/// The token of a reset, hashed. Whether it is right is for the database to say.
#[derive(Debug)]
pub(super) struct ResetToken(String);

impl FromRequestParts<Arc<Center>> for ResetToken {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, center: &Arc<Center>) -> Result<Self, Refusal> {
        let token = parts.headers.get(TOKEN).and_then(|token| token.to_str().ok());
        let token = token.ok_or(Refusal::WrongResetToken { by_verification: false })?;
        Ok(Self(center.secret.hash(Purpose::ResetToken, &[token])))
    }
}

/// How far a node is with its reset.
#[derive(Debug, ToSchema)]
pub(super) struct ReportRequest {
    /// How far it is.
    #[schema(pattern = "^(in_progress|success|failed)$")]
    state: String,
    /// Why it has failed, for people.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    error_message: Option<String>,
}

impl FromFields for ReportRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self { state: fields.text("state"), error_message: fields.optional_text("error_message") }
    }
}

/// A reset, as it is known.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ResetTask)]
pub(super) struct TaskView {
    /// Which reset.
    id: String,
    /// Which node.
    node_id: String,
    /// Always `factory_reset`.
    kind: &'static str,
    /// Always null.
    target_version: Option<String>,
    /// `pending`, `in_progress`, `success` or `failed`.
    state: &'static str,
    /// Why it has failed, for people.
    error_message: Option<String>,
    /// When it was started: UTC, with the zone.
    created_at: String,
    /// When it last changed: UTC, with the zone.
    updated_at: String,
    /// When it ended: UTC, with the zone.
    finished_at: Option<String>,
}

impl From<Task> for TaskView {
    fn from(task: Task) -> Self {
        Self {
            id: task.id,
            node_id: task.node_id,
            kind: "factory_reset",
            target_version: None,
            state: task.state.name(),
            error_message: task.error_message,
            created_at: task.created_at.zoned(),
            updated_at: task.updated_at.zoned(),
            finished_at: task.finished_at.map(Moment::zoned),
        }
    }
}

/// Reports how far a node is with its reset. After `success` the node's key is invalid; a report after the final one changes
/// nothing.
#[utoipa::path(
    post,
    path = "/api/v0/nodes/factory-reset/{task_id}/status",
    tag = "nodes",
    params(
        ("task_id" = String, Path, description = "Which reset"),
        ("X-Reset-Token" = String, Header, description = "The token of the reset"),
    ),
    request_body = ReportRequest,
    responses(
        (status = 200, body = TaskView),
        (status = 401, description = "The token is missing, unknown or expired", body = Detail),
        (status = 404, description = "The token is another reset's", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn report(
    State(center): State<Arc<Center>>,
    ResetToken(token_hash): ResetToken,
    Segment(task_id): Segment,
    Body(ReportRequest { state, error_message }): Body<ReportRequest>,
) -> Result<Json<TaskView>, Refusal> {
    let state = ResetState::reported(&state).ok_or(Refusal::WrongResetState)?;
    let report = Report { task_id, token_hash, state, error_message, now: center.config.clock.now() };
    let task = center.store.write(report).await.map_err(refuse)?;
    tracing::info!(node_id = task.node_id, task_id = task.id, state = task.state.name(), "a factory reset was reported");
    Ok(Json(task.into()))
}

/// A reset of which the node was notified.
#[derive(Debug, ToSchema)]
pub(super) struct VerifyRequest {
    /// Which node.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    node_id: String,
    /// The token of the reset.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    request_id: String,
}

impl FromFields for VerifyRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self { node_id: fields.text("node_id"), request_id: fields.text("request_id") }
    }
}

/// The reset is wanted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerifyAnswer {
    /// Always true.
    verified: bool,
}

/// Verifies, once, that a reset is wanted, for a node that does not report. From then on the node's key is invalid.
#[utoipa::path(
    post,
    path = "/api/v0/nodes/verify-reset",
    tag = "nodes",
    request_body = VerifyRequest,
    responses(
        (status = 200, body = VerifyAnswer),
        (status = 404, description = "The token is unknown, expired, used, or another node's", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn verify(
    State(center): State<Arc<Center>>,
    Body(VerifyRequest { node_id, request_id }): Body<VerifyRequest>,
) -> Result<Json<VerifyAnswer>, Refusal> {
    let token_hash = center.secret.hash(Purpose::ResetToken, &[&request_id]);
    let verify = Verify { node_id: node_id.clone(), token_hash, now: center.config.clock.now() };
    center.store.write(verify).await.map_err(refuse)?;
    tracing::info!(node_id, "a factory reset was verified");
    Ok(Json(VerifyAnswer { verified: true }))
}
