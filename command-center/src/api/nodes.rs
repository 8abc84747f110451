//! What registered nodes do, and what users see of them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Center;
use super::auth::{Caller, NodeKey};
use super::body::{Body, Fields, FromFields, Segment};
use crate::base::clock::Moment;
use crate::base::refusal::{BodyRefusals, Detail, Refusal, ValidationError};
use crate::domain::heartbeats::{NodeBeat, Report};
use crate::store::{Connection, Error, Operation, Row, values};

/// A node counts as online for this long after it was last heard of: three heartbeats of a node.
const ONLINE: Duration = Duration::from_mins(15);

/// At most this many nodes in one answer; `after` asks for more.
const PAGE: i64 = 10_000;

/// What a node tells of itself.
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
    /// What is not understood is passed over: a node must not seem dead because it tells more than this server knows.
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

/// Tells that a node is there. An answer means that it is committed.
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
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn mqtt_credentials(State(center): State<Arc<Center>>, key: NodeKey) -> Result<Json<MqttCredentials>, Refusal> {
    authenticate(&center, key).await?;
    let account = center.config.mqtt.as_ref();
    Ok(Json(MqttCredentials {
        username: account.map(|account| account.username.clone()),
        password: account.map(|account| account.password.expose().to_owned()),
    }))
}

/// Checks the key of a node, and takes note of its first use.
async fn authenticate(center: &Center, key: NodeKey) -> Result<(), Refusal> {
    let check = CheckKey(key.clone());
    match center.store.read(check).await.map_err(super::refuse)? {
        None => Err(Refusal::WrongNodeKey),
        Some(KeyState::Used) => Ok(()),
        Some(KeyState::Unused) => {
            let first_use = UseKey { key, now: center.config.clock.now() };
            center.store.write(first_use).await.map_err(super::refuse)
        }
    }
}

enum KeyState {
    Unused,
    Used,
}

struct CheckKey(NodeKey);

impl Operation for CheckKey {
    type Answer = Option<KeyState>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Option<KeyState>, Error> {
        // Hashes under a secret of the server's may be compared by the database: nobody outside can steer them.
        let check = "SELECT key_used_at FROM nodes WHERE node_id = $1 AND key_hash = $2 AND deactivated_at IS NULL";
        let Some(row) = connection.row(check, values![&self.0.node_id, &self.0.key_hash]).await? else { return Ok(None) };
        Ok(Some(if row.column::<Option<i64>>(0)?.is_some() { KeyState::Used } else { KeyState::Unused }))
    }
}

struct UseKey {
    key: NodeKey,
    now: Moment,
}

impl Operation for UseKey {
    type Answer = ();

    fn subject(&self) -> Option<&str> {
        Some(&self.key.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let note = "UPDATE nodes SET key_used_at = COALESCE(key_used_at, $3)
                     WHERE node_id = $1 AND key_hash = $2 AND deactivated_at IS NULL";
        match connection.execute(note, values![&self.key.node_id, &self.key.key_hash, self.now]).await? {
            0 => Err(Refusal::WrongNodeKey.into()),
            _ => Ok(()),
        }
    }
}

/// A node, as users see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "the shape that clients know")]
pub(crate) struct NodeResponse {
    /// Which node it is.
    pub(crate) node_id: String,
    /// Where it stands.
    pub(crate) room: String,
    /// What people call it.
    pub(crate) name: Option<String>,
    /// Whose voice it answers to.
    pub(crate) user: String,
    /// How much it says.
    pub(crate) voice_mode: String,
    /// Which adaptation of the voice model it uses.
    pub(crate) adapter_hash: Option<String>,
    /// Whose node it is.
    pub(crate) household_id: String,
    /// Whether its key is good.
    pub(crate) is_active: bool,
    /// Whether it was heard of in the last fifteen minutes.
    pub(crate) online: bool,
    /// When it was last heard of: UTC, with the zone.
    pub(crate) last_seen: Option<String>,
    /// Its version, when it last told.
    pub(crate) last_seen_version: Option<String>,
    /// How it was installed.
    pub(crate) install_mode: Option<String>,
    /// The commit that it was built from.
    pub(crate) git_sha: Option<String>,
    /// Whether it must not be updated.
    pub(crate) is_busy: bool,
    /// Whether it still waits for its settings key.
    pub(crate) needs_k2: bool,
}

/// The columns of [`NodeResponse::from_row`], in its order.
macro_rules! node_columns {
    () => {
        "node_id, room, name, user_name, voice_mode, adapter_hash, household_id, deactivated_at, last_seen, version,
         install_mode, git_sha, is_busy"
    };
}

impl NodeResponse {
    fn from_row(row: &Row, now: Moment) -> Result<Self, Error> {
        let last_seen = row.column::<Option<i64>>(8)?.map(Moment);
        Ok(Self {
            node_id: row.column(0)?,
            room: row.column(1)?,
            name: row.column(2)?,
            user: row.column(3)?,
            voice_mode: row.column(4)?,
            adapter_hash: row.column(5)?,
            household_id: row.column(6)?,
            is_active: row.column::<Option<i64>>(7)?.is_none(),
            online: last_seen.is_some_and(|seen| seen >= now.before(ONLINE)),
            last_seen: last_seen.map(Moment::zoned),
            last_seen_version: row.column(9)?,
            install_mode: row.column(10)?,
            git_sha: row.column(11)?,
            is_busy: row.column::<i64>(12)? != 0,
            // K2 goes from the phone to the node directly; nothing is relayed here, so nothing can be missing.
            needs_k2: false,
        })
    }
}

/// Which nodes are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct NodeFilter {
    /// The nodes of one household; without it, of all that the caller may see.
    household_id: Option<String>,
    /// Also nodes whose keys are not good any more.
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
        (status = 200, body = Vec<NodeResponse>),
        (status = 400, description = "The query is not understood", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The user does not belong to the household", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn list(
    State(center): State<Arc<Center>>,
    caller: Caller,
    filter: Result<Query<NodeFilter>, QueryRejection>,
) -> Result<Json<Vec<NodeResponse>>, Refusal> {
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
    center.store.read(nodes).await.map(Json).map_err(super::refuse)
}

/// Nodes in the order of their ids.
pub(crate) struct ListNodes {
    /// Whose nodes; everybody's without it.
    pub(crate) households: Option<Vec<String>>,
    pub(crate) include_inactive: bool,
    /// Begins behind this id.
    pub(crate) after: String,
    pub(crate) now: Moment,
}

impl Operation for ListNodes {
    type Answer = Vec<NodeResponse>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Vec<NodeResponse>, Error> {
        let inactive = i64::from(self.include_inactive);
        let mut rows = Vec::new();
        match &self.households {
            None => {
                let all = concat!(
                    "SELECT ",
                    node_columns!(),
                    " FROM nodes WHERE node_id > $1 AND (deactivated_at IS NULL OR $2 = 1) ORDER BY node_id LIMIT $3"
                );
                rows = connection.rows(all, values![&self.after, inactive, PAGE]).await?;
            }
            Some(households) => {
                let of_one = concat!(
                    "SELECT ",
                    node_columns!(),
                    " FROM nodes WHERE household_id = $4 AND node_id > $1 AND (deactivated_at IS NULL OR $2 = 1)
                      ORDER BY node_id LIMIT $3"
                );
                for household in households {
                    rows.extend(connection.rows(of_one, values![&self.after, inactive, PAGE, household]).await?);
                }
            }
        }
        rows.iter().map(|row| NodeResponse::from_row(row, self.now)).collect()
    }
}

/// The nodes that registered last.
pub(crate) struct NewestNodes {
    /// How many.
    pub(crate) count: i64,
    pub(crate) now: Moment,
}

impl Operation for NewestNodes {
    type Answer = Vec<NodeResponse>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Vec<NodeResponse>, Error> {
        let newest = concat!("SELECT ", node_columns!(), " FROM nodes ORDER BY registered_at DESC, node_id LIMIT $1");
        let rows = connection.rows(newest, values![self.count]).await?;
        rows.iter().map(|row| NodeResponse::from_row(row, self.now)).collect()
    }
}

/// One node.
#[utoipa::path(
    get,
    path = "/api/v0/admin/nodes/{node_id}",
    tag = "nodes",
    params(("node_id" = String, Path, description = "Which node")),
    security(("administrator" = []), ("user" = [])),
    responses(
        (status = 200, body = NodeResponse),
        (status = 400, description = "The path is not text", body = ValidationError),
        (status = 401, description = "No credential, or a wrong one", body = Detail),
        (status = 403, description = "The node is in a household that the user does not belong to", body = Detail),
        (status = 404, description = "There is no such node", body = Detail),
        (status = 503, description = "The database cannot be reached", body = Detail),
    )
)]
pub(super) async fn one(
    State(center): State<Arc<Center>>,
    caller: Caller,
    Segment(node_id): Segment,
) -> Result<Json<NodeResponse>, Refusal> {
    let node = OneNode { node_id, now: center.config.clock.now() };
    let node = center.store.read(node).await.map_err(super::refuse)?;
    if caller.may_act_for(&node.household_id) { Ok(Json(node)) } else { Err(Refusal::NotAMember) }
}

struct OneNode {
    node_id: String,
    now: Moment,
}

impl Operation for OneNode {
    type Answer = NodeResponse;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<NodeResponse, Error> {
        let one = concat!("SELECT ", node_columns!(), " FROM nodes WHERE node_id = $1");
        match connection.row(one, values![&self.node_id]).await? {
            Some(row) => NodeResponse::from_row(&row, self.now),
            None => Err(Refusal::NodeNotFound.into()),
        }
    }
}
