//! What registered nodes do, and what users see of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Center;
use super::auth::NodesAdministrator;
use super::body::{Asked, Body, Fields, FromFields, Segment};
use super::refusal::{BodyRefusals, Detail, ValidationError};
use crate::base::refusal::Refusal;
use crate::base::secret;
use crate::domain::caller::Caller;
use crate::domain::heartbeats::{NodeBeat, Report};
use crate::domain::nodes::{ChangeNode, CreateNode, DeleteNode, ListNodes, NodeKey, NodeView, OneNode, authenticate};
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
    /// The way in which it was installed.
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

/// The account of a node at the message broker; null without one.
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
    Asked(NodeFilter { household_id, include_inactive, after }): Asked<NodeFilter>,
) -> Result<Json<Vec<NodeView>>, Refusal> {
    let households = match (household_id, caller) {
        (Some(household), caller) if !caller.may_act_for(&household) => return Err(Refusal::NotAMember),
        (Some(household), _) => Some(vec![household]),
        (None, Caller::Administrator(_)) => None,
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

/// A node to be made.
#[derive(Debug, ToSchema)]
pub(super) struct CreateNodeRequest {
    /// Which node it is.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^:\x00-\x1f\x7f-\x9f]*$")]
    node_id: String,
    /// The household that it belongs to.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^:\x00-\x1f\x7f-\x9f]*$")]
    household_id: String,
    /// The room that the node is in.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    room: Option<String>,
    /// What people call it.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    name: Option<String>,
    /// The user whose voice it answers to.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    user: Option<String>,
    /// How verbose its voice is.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    voice_mode: Option<String>,
}

impl FromFields for CreateNodeRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            node_id: fields.id("node_id"),
            household_id: fields.id("household_id"),
            room: fields.optional_text("room"),
            name: fields.optional_text("name"),
            user: fields.optional_text("user"),
            voice_mode: fields.optional_text("voice_mode"),
        }
    }
}

/// A node that was made, and its key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CreateNodeAnswer {
    /// The node.
    #[serde(flatten)]
    node: NodeView,
    /// Its key: 43 url-safe characters; shown once.
    node_key: String,
}

/// Makes a node that needs no token.
#[utoipa::path(
    post,
    path = "/api/v0/admin/nodes",
    tag = "nodes",
    request_body = CreateNodeRequest,
    security(("administrator" = [])),
    responses(
        (status = 200, body = CreateNodeAnswer),
        (status = 401, description = "Not the administrator's key", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn create(
    State(center): State<Arc<Center>>,
    NodesAdministrator(actor): NodesAdministrator,
    Body(request): Body<CreateNodeRequest>,
) -> Result<Json<CreateNodeAnswer>, Refusal> {
    let node_key = secret::random_text().map_err(|error| {
        tracing::error!(error = %crate::base::chain(&error), "creating a node key failed");
        Refusal::Internal
    })?;
    let CreateNodeRequest { node_id, household_id, room, name, user, voice_mode } = request;
    let key_hash = center.secret.node_key_hash(&node_id, node_key.expose());
    let now = center.config.clock.now();
    let create = CreateNode { node_id, household_id, key_hash, room, name, user, voice_mode, actor, now };
    let node = center.store.write(create).await.map_err(refuse)?;
    tracing::info!(node_id = node.node_id, "created a node");
    Ok(Json(CreateNodeAnswer { node, node_key: node_key.expose().to_owned() }))
}

/// Changes to a node; absent fields stay as they are.
#[derive(Debug, ToSchema)]
pub(super) struct ChangeNodeRequest {
    /// The room that the node is in.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    room: Option<String>,
    /// What people call it.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    name: Option<String>,
    /// The user whose voice it answers to.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    user: Option<String>,
    /// How verbose its voice is.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    voice_mode: Option<String>,
    /// Which adaptation of the voice model it uses.
    #[schema(max_length = 1024, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    adapter_hash: Option<String>,
}

impl FromFields for ChangeNodeRequest {
    fn from_fields(fields: &mut Fields) -> Self {
        Self {
            room: fields.optional_text("room"),
            name: fields.optional_text("name"),
            user: fields.optional_text("user"),
            voice_mode: fields.optional_text("voice_mode"),
            adapter_hash: fields.optional_text("adapter_hash"),
        }
    }
}

/// Changes what is known of a node.
#[utoipa::path(
    patch,
    path = "/api/v0/admin/nodes/{node_id}",
    tag = "nodes",
    params(("node_id" = String, Path, description = "Which node")),
    request_body = ChangeNodeRequest,
    security(("administrator" = [])),
    responses(
        (status = 200, body = NodeView),
        (status = 401, description = "Not the administrator's key", body = Detail),
        (status = 404, description = "There is no such node", body = Detail),
        BodyRefusals,
    )
)]
pub(super) async fn change(
    State(center): State<Arc<Center>>,
    NodesAdministrator(actor): NodesAdministrator,
    Segment(node_id): Segment,
    Body(request): Body<ChangeNodeRequest>,
) -> Result<Json<NodeView>, Refusal> {
    let ChangeNodeRequest { room, name, user, voice_mode, adapter_hash } = request;
    let change = ChangeNode { node_id, room, name, user, voice_mode, adapter_hash, actor, now: center.config.clock.now() };
    center.store.write(change).await.map(Json).map_err(refuse)
}

/// What was done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeleteAnswer {
    /// Always `Deleted`.
    message: &'static str,
}

/// Removes a node from its household: its key is invalid from here on.
#[utoipa::path(
    delete,
    path = "/api/v0/admin/nodes/{node_id}",
    tag = "nodes",
    params(("node_id" = String, Path, description = "Which node")),
    security(("administrator" = []), ("user" = [])),
    responses(
        (status = 200, body = DeleteAnswer),
        (status = 400, description = "The path is not text", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The node is in a household that the user does not belong to", body = Detail),
        (status = 404, description = "There is no such node", body = Detail),
        (status = 429, description = "Too many wrong credentials; `Retry-After` says when to try again", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn delete(
    State(center): State<Arc<Center>>,
    caller: Caller,
    Segment(node_id): Segment,
) -> Result<Json<DeleteAnswer>, Refusal> {
    let delete = DeleteNode { node_id: node_id.clone(), caller, now: center.config.clock.now() };
    center.store.write(delete).await.map_err(refuse)?;
    tracing::info!(node_id, "deactivated a node");
    Ok(Json(DeleteAnswer { message: "Deleted" }))
}
