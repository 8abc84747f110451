//! What registered nodes do, and what users see of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Center;
use super::body::{Body, Fields, FromFields, Segment};
use super::refusal::{BodyRefusals, Detail, ValidationError};
use crate::base::refusal::Refusal;
use crate::domain::caller::Caller;
use crate::domain::heartbeats::{NodeBeat, Report};
use crate::domain::nodes::{ListNodes, NodeKey, NodeView, OneNode, authenticate};
use crate::domain::refuse;

/// What a node reports about itself.
#[derive(Debug, Default, ToSchema)]
pub(super) struct NodeHeartbeat {
    /// What runs on it; a lone text is the version.
    #[schema(value_type = Option<VersionInfo>)]
    version_info: VersionInfo,
    /// Whether it must not be updated.
    is_busy: Option<bool>,
}

/// What runs on a node.
#[derive(Debug, Default, ToSchema)]
pub(super) struct VersionInfo {
    /// Its version.
    version: Option<String>,
    /// The commit that it was built from.
    git_sha: Option<String>,
    /// How it was installed.
    install_mode: Option<String>,
}

impl FromFields for NodeHeartbeat {
    /// Fields that are not understood are ignored: a node must not seem offline because it reports more than this server
    /// knows.
    fn from_fields(fields: &mut Fields) -> Self {
        let understood = |value: Option<Value>| match value {
            Some(Value::String(text)) if text.len() <= 128 && !text.chars().any(char::is_control) => Some(text),
            _ => None,
        };
        let version_info = match fields.any("version_info") {
            Some(Value::Object(mut info)) => VersionInfo {
                version: understood(info.remove("version")),
                git_sha: understood(info.remove("git_sha")),
                install_mode: understood(info.remove("install_mode")),
            },
            other => VersionInfo { version: understood(other), ..VersionInfo::default() },
        };
        Self { version_info, is_busy: fields.optional_flag("is_busy") }
    }
}

impl From<NodeHeartbeat> for Report {
    fn from(NodeHeartbeat { version_info, is_busy }: NodeHeartbeat) -> Self {
        let VersionInfo { version, git_sha, install_mode } = version_info;
        Self { version, git_sha, install_mode, is_busy }
    }
}

/// An acknowledgement.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodeHeartbeatAnswer {
    /// Always `ok`.
    status: &'static str,
}

/// Reports that a node is alive. The answer is sent after the commit.
#[utoipa::path(
    post,
    path = "/api/v0/admin/nodes/heartbeat",
    tag = "nodes",
    request_body = NodeHeartbeat,
    security(("node" = [])),
    responses(
        (status = 200, body = NodeHeartbeatAnswer),
        (status = 401, description = "Not the node's key", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn heartbeat(
    State(center): State<Arc<Center>>,
    key: NodeKey,
    Body(beat): Body<NodeHeartbeat>,
) -> Result<Json<NodeHeartbeatAnswer>, Refusal> {
    let NodeKey { node_id, key_hash } = key;
    center.node_beats.take(NodeBeat { node_id, key_hash, report: beat.into() }).await?;
    Ok(Json(NodeHeartbeatAnswer { status: "ok" }))
}

/// The account of a node at the message broker; null where there is none.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MqttCredentials {
    /// Its name.
    username: Option<String>,
    /// Its password.
    password: Option<String>,
}

/// The account of a node at the message broker.
#[utoipa::path(
    get,
    path = "/api/v0/node/mqtt-credentials",
    tag = "nodes",
    security(("node" = [])),
    responses(
        (status = 200, body = MqttCredentials),
        (status = 400, description = "No key", body = ValidationError),
        (status = 401, description = "Not the node's key", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn mqtt_credentials(State(center): State<Arc<Center>>, key: NodeKey) -> Result<Json<MqttCredentials>, Refusal> {
    authenticate(&center.store, key, center.config.clock.now()).await?;
    let account = center.config.mqtt.as_ref();
    Ok(Json(MqttCredentials {
        username: account.map(|account| account.username.clone()),
        password: account.map(|account| account.password.expose().to_owned()),
    }))
}

/// Selects nodes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct NodeFilter {
    /// The nodes of one household; without it, of all that the caller may see.
    household_id: Option<String>,
    /// Also nodes whose keys are no longer valid.
    include_inactive: Option<bool>,
    /// Begins behind this id; an answer has at most 10,000 nodes of a household.
    after: Option<String>,
}

/// The nodes of one household, or of all that the caller may see.
#[utoipa::path(
    get,
    path = "/api/v0/admin/nodes",
    tag = "nodes",
    params(NodeFilter),
    security(("administrator" = []), ("user" = [])),
    responses(
        (status = 200, body = Vec<NodeView>),
        (status = 400, description = "The query is not understood", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The user does not belong to the household", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn list(
    State(center): State<Arc<Center>>,
    caller: Caller,
    filter: Result<Query<NodeFilter>, QueryRejection>,
) -> Result<Json<Vec<NodeView>>, Refusal> {
    let unclear = |_| Refusal::Malformed(vec!["query: Could not be understood".into()]);
    let Query(NodeFilter { household_id, include_inactive, after }) = filter.map_err(unclear)?;
    let households = match (household_id, caller) {
        (Some(household), caller) if !caller.may_act_for(&household) => return Err(Refusal::NotAMember),
        (Some(household), _) => Some(vec![household]),
        (None, Caller::Administrator) => None,
        (None, Caller::User(user)) => Some(user.households),
    };
    let (include_inactive, after) = (include_inactive.unwrap_or(false), after.unwrap_or_default());
    if [&after].into_iter().chain(households.iter().flatten()).any(|text| text.contains('\0')) {
        return Err(Refusal::Malformed(vec!["query: String should not contain control characters".into()]));
    }
    let nodes = ListNodes { households, include_inactive, after, now: center.config.clock.now() };
    center.store.read(nodes).await.map(Json).map_err(refuse)
}

/// One node.
#[utoipa::path(
    get,
    path = "/api/v0/admin/nodes/{node_id}",
    tag = "nodes",
    params(("node_id" = String, Path, description = "Which node")),
    security(("administrator" = []), ("user" = [])),
    responses(
        (status = 200, body = NodeView),
        (status = 400, description = "The path is not text", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The node is in a household that the user does not belong to", body = Detail),
        (status = 404, description = "There is no such node", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn one(
    State(center): State<Arc<Center>>,
    caller: Caller,
    Segment(node_id): Segment,
) -> Result<Json<NodeView>, Refusal> {
    let node = OneNode { node_id, now: center.config.clock.now() };
    let node = center.store.read(node).await.map_err(refuse)?;
    if caller.may_act_for(&node.household_id) { Ok(Json(node)) } else { Err(Refusal::NotAMember) }
}
