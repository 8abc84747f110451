//! What registered nodes do, and what users see of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Serialize;
use serde_json::{Value, json};

use super::Center;
use super::auth::{Caller, NodeKey};
use super::body::{Body, Fields, FromFields};
use crate::clock::Moment;
use crate::heartbeats::{NodeBeat, Report};
use crate::refusal::Refusal;
use crate::store::{Connection, Error, Operation, Row, values};

/// A node counts as online for this long after it was last heard of: three heartbeats of a node.
const ONLINE: Duration = Duration::from_mins(15);

/// At most this many nodes in one answer; `after` asks for more.
const PAGE: i64 = 10_000;

impl FromFields for Report {
    /// What is not understood is passed over: a node must not seem dead because it tells more than this server knows.
    fn from_fields(fields: &mut Fields) -> Self {
        let mut report = match fields.any("version_info") {
            Some(Value::String(version)) => Self { version: Some(version), ..Self::default() },
            Some(Value::Object(mut info)) => {
                let mut text = |name: &str| match info.remove(name) {
                    Some(Value::String(text)) => Some(text),
                    _ => None,
                };
                Self { version: text("version"), git_sha: text("git_sha"), install_mode: text("install_mode"), is_busy: None }
            }
            _ => Self::default(),
        };
        for text in [&mut report.version, &mut report.git_sha, &mut report.install_mode] {
            if text.as_ref().is_some_and(|text| text.len() > 128 || text.chars().any(char::is_control)) {
                *text = None;
            }
        }
        report.is_busy = fields.optional_flag("is_busy");
        report
    }
}

/// `POST /api/v0/admin/nodes/heartbeat`
pub(super) async fn heartbeat(
    State(center): State<Arc<Center>>,
    key: NodeKey,
    Body(report): Body<Report>,
) -> Result<Json<Value>, Refusal> {
    let NodeKey { node_id, key_hash } = key;
    center.node_beats.take(NodeBeat { node_id, key_hash, report }).await?;
    Ok(Json(json!({ "status": "ok" })))
}

/// The account of a node at the message broker; null where there is none.
#[derive(Debug, Serialize)]
pub(super) struct MqttCredentials {
    username: Option<String>,
    password: Option<String>,
}

/// `GET /api/v0/node/mqtt-credentials`
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
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the shape that clients know")]
pub(crate) struct NodeResponse {
    pub(crate) node_id: String,
    pub(crate) room: String,
    pub(crate) name: Option<String>,
    pub(crate) user: String,
    pub(crate) voice_mode: String,
    pub(crate) adapter_hash: Option<String>,
    pub(crate) household_id: String,
    pub(crate) is_active: bool,
    pub(crate) online: bool,
    pub(crate) last_seen: Option<String>,
    pub(crate) last_seen_version: Option<String>,
    pub(crate) install_mode: Option<String>,
    pub(crate) git_sha: Option<String>,
    pub(crate) is_busy: bool,
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

/// `GET /api/v0/admin/nodes`: the nodes of one household, or of all that the caller may see.
pub(super) async fn list(
    State(center): State<Arc<Center>>,
    caller: Caller,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Vec<NodeResponse>>, Refusal> {
    let households = match (query.get("household_id"), caller) {
        (Some(household), caller) if !caller.may_act_for(household) => return Err(Refusal::NotAMember),
        (Some(household), _) => Some(vec![household.clone()]),
        (None, Caller::Administrator) => None,
        (None, Caller::User(user)) => Some(user.households),
    };
    let include_inactive = query.get("include_inactive").is_some_and(|word| ["true", "1", "yes", "on"].contains(&word.as_str()));
    let after = query.get("after").cloned().unwrap_or_default();
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

/// `GET /api/v0/admin/nodes/{node_id}`
pub(super) async fn one(
    State(center): State<Arc<Center>>,
    caller: Caller,
    Path(node_id): Path<String>,
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
