//! Registered nodes: their keys, and how users see them.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::audit::{self, Action, Actor};
use super::caller::Caller;
use super::ending::Ending;
use super::history::{self, Of};
use super::operator::quoted;
use super::refuse;
use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::store::{Connection, Error, Operation, Row, Store, values};

/// A device counts as online for this long after it was last heard of: three heartbeats of a node.
pub(crate) const ONLINE: Duration = Duration::from_mins(15);

/// At most this many nodes in one answer; `after` asks for more.
const PAGE: i64 = 10_000;

/// The credentials of a node: `X-API-Key: node_id:node_key`, the key already hashed. Whether it is right is for the
/// database to say.
#[derive(Clone, Debug)]
pub(crate) struct NodeKey {
    pub(crate) node_id: String,
    pub(crate) key_hash: String,
}

/// Checks the key of a node, and records its first use.
pub(crate) async fn authenticate(store: &Store, key: NodeKey, now: Moment) -> Result<(), Refusal> {
    match store.read(CheckKey(key.clone())).await.map_err(refuse)? {
        None => Err(Refusal::WrongNodeKey),
        Some(KeyState::Used) => Ok(()),
        Some(KeyState::Unused) => store.write(UseKey { key, now }).await.map_err(refuse),
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
        // The database may compare keyed hashes: they cannot be chosen without the server's secret, so timing reveals nothing.
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
#[schema(as = NodeResponse)]
#[expect(clippy::struct_excessive_bools, reason = "the shape that clients know")]
pub(crate) struct NodeView {
    /// Which node it is.
    pub(crate) node_id: String,
    /// The room that the node is in.
    pub(crate) room: String,
    /// What people call it.
    pub(crate) name: Option<String>,
    /// The user whose voice it answers to.
    pub(crate) user: String,
    /// How verbose its voice is.
    pub(crate) voice_mode: String,
    /// Which adaptation of the voice model it uses.
    pub(crate) adapter_hash: Option<String>,
    /// The household that it belongs to.
    pub(crate) household_id: String,
    /// Whether its key is valid.
    pub(crate) is_active: bool,
    /// Whether it was heard of in the last fifteen minutes.
    pub(crate) online: bool,
    /// When it was last heard of: UTC, with the zone.
    pub(crate) last_seen: Option<String>,
    /// Its version, as last reported.
    pub(crate) last_seen_version: Option<String>,
    /// The way in which it was installed.
    pub(crate) install_mode: Option<String>,
    /// The commit that it was built from.
    pub(crate) git_sha: Option<String>,
    /// Whether it must not be updated.
    pub(crate) is_busy: bool,
    /// Whether it still waits for its settings key.
    pub(crate) needs_k2: bool,
}

/// The columns of [`NodeView::from_row`], in its order.
macro_rules! node_fields {
    () => {
        "node_id, room, name, user_name, voice_mode, adapter_hash, household_id, deactivated_at, last_seen, version, install_mode,
         git_sha, is_busy"
    };
}
pub(super) use node_fields;

/// [`node_fields`] of all nodes.
macro_rules! node_columns {
    () => {
        concat!("SELECT ", node_fields!(), " FROM nodes LEFT JOIN node_presence USING (number)")
    };
}

impl NodeView {
    pub(super) fn from_row(row: &Row, now: Moment) -> Result<Self, Error> {
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
            // A phone that provisions a node gives it K2 directly; whether one is missing is for the app to know.
            needs_k2: false,
        })
    }
}

/// Makes a node without a token, for the administrator.
pub(crate) struct CreateNode {
    pub(crate) node_id: String,
    pub(crate) household_id: String,
    pub(crate) key_hash: String,
    pub(crate) room: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) voice_mode: Option<String>,
    pub(crate) actor: Actor,
    pub(crate) now: Moment,
}

impl Operation for CreateNode {
    type Answer = NodeView;

    fn subject(&self) -> Option<&str> {
        Some(&self.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<NodeView, Error> {
        let Self { node_id, household_id, key_hash, room, name, user, voice_mode, actor, now } = self;
        let create = "
            INSERT INTO nodes (node_id, household_id, room, name, user_name, voice_mode, key_hash, registered_at)
            VALUES ($1, $2, COALESCE($3, 'default'), $4, COALESCE($5, 'default'), COALESCE($6, 'brief'), $7, $8)
            ON CONFLICT (node_id) DO NOTHING";
        let values = values![node_id, household_id, room, name, user, voice_mode, key_hash, *now];
        if connection.execute(create, values).await? == 0 {
            return Err(Refusal::NodeAlreadyRegistered.into());
        }
        history::record(connection, (Of::Node, node_id), "registered", Some(household_id), *now).await?;
        audit::record(connection, actor, Action::CreateNode, node_id, Some(household_id.clone()), *now).await?;
        OneNode { node_id: node_id.clone(), now: *now }.run(connection).await
    }
}

/// Changes what is known of a node; absent fields stay as they are.
pub(crate) struct ChangeNode {
    pub(crate) node_id: String,
    pub(crate) room: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) voice_mode: Option<String>,
    pub(crate) adapter_hash: Option<String>,
    pub(crate) actor: Actor,
    pub(crate) now: Moment,
}

impl ChangeNode {
    /// What is changed, for the audit.
    fn detail(&self) -> String {
        let Self { room, name, user, voice_mode, adapter_hash, .. } = self;
        let fields = [("room", room), ("name", name), ("user", user), ("voice mode", voice_mode), ("adapter hash", adapter_hash)];
        let given = fields.iter().filter_map(|(field, value)| Some(format!("{field} {}", quoted(Some(value.as_deref()?)))));
        given.collect::<Vec<_>>().join(", ")
    }
}

impl Operation for ChangeNode {
    type Answer = NodeView;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<NodeView, Error> {
        let Self { node_id, room, name, user, voice_mode, adapter_hash, actor, now } = self;
        let change = "
            UPDATE nodes
               SET room = COALESCE($2, room), name = COALESCE($3, name), user_name = COALESCE($4, user_name),
                   voice_mode = COALESCE($5, voice_mode), adapter_hash = COALESCE($6, adapter_hash)
             WHERE node_id = $1
               AND (room <> COALESCE($2, room) OR name IS DISTINCT FROM COALESCE($3, name)
                    OR user_name <> COALESCE($4, user_name) OR voice_mode <> COALESCE($5, voice_mode)
                    OR adapter_hash IS DISTINCT FROM COALESCE($6, adapter_hash))";
        if connection.execute(change, values![node_id, room, name, user, voice_mode, adapter_hash]).await? > 0 {
            audit::record(connection, actor, Action::ChangeNode, node_id, Some(self.detail()), *now).await?;
        }
        OneNode { node_id: node_id.clone(), now: *now }.run(connection).await
    }
}

/// Refuses a caller who may not act for a node, and any for a node that is not active.
pub(super) async fn check_right(connection: &mut Connection<'_>, node_id: &str, caller: &Caller) -> Result<(), Error> {
    let owner = "SELECT household_id FROM nodes WHERE node_id = $1 AND deactivated_at IS NULL";
    let Some(row) = connection.row(owner, values![node_id]).await? else { return Err(Refusal::NodeNotFound.into()) };
    if caller.may_act_for(&row.column::<String>(0)?) { Ok(()) } else { Err(Refusal::NotAMember.into()) }
}

/// Ends the key of a node. Repeated, it changes nothing.
pub(crate) struct DeleteNode {
    pub(crate) node_id: String,
    pub(crate) caller: Caller,
    pub(crate) now: Moment,
}

impl Operation for DeleteNode {
    type Answer = ();

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let owner = "SELECT household_id FROM nodes WHERE node_id = $1";
        let Some(row) = connection.row(owner, values![&self.node_id]).await? else {
            return Err(Refusal::NodeNotFound.into());
        };
        if !self.caller.may_act_for(&row.column::<String>(0)?) {
            return Err(Refusal::NotAMember.into());
        }
        let has_ended = end_key(connection, &self.node_id, "revoked", self.now).await?;
        if let Some(actor) = self.caller.operator().filter(|_| has_ended) {
            audit::record(connection, actor, Action::RevokeNode, &self.node_id, None, self.now).await?;
        }
        Ok(())
    }
}

/// Ends the key of a node for good, and records why. Repeated, it changes nothing, which it returns as false.
pub(super) async fn end_key(connection: &mut Connection<'_>, node_id: &str, event: &str, now: Moment) -> Result<bool, Error> {
    // An operator who activates the node meanwhile must not undo it.
    connection.lock(node_id).await?;
    let end = "UPDATE nodes SET deactivated_at = $2, ending = $3 WHERE node_id = $1 AND (deactivated_at IS NULL OR ending <> $3)";
    let has_ended = connection.execute(end, values![node_id, now, Ending::Revoked.number()]).await? > 0;
    if has_ended {
        history::record(connection, (Of::Node, node_id), event, None, now).await?;
    }
    Ok(has_ended)
}

/// Nodes in the order of their ids.
pub(crate) struct ListNodes {
    /// The households of the nodes; all without it.
    pub(crate) households: Option<Vec<String>>,
    pub(crate) include_inactive: bool,
    /// Begins behind this id.
    pub(crate) after: String,
    pub(crate) now: Moment,
}

impl Operation for ListNodes {
    type Answer = Vec<NodeView>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Vec<NodeView>, Error> {
        let inactive = i64::from(self.include_inactive);
        let mut rows = Vec::new();
        match &self.households {
            None => {
                let all = concat!(
                    node_columns!(),
                    " WHERE node_id > $1 AND (deactivated_at IS NULL OR $2 = 1) ORDER BY node_id LIMIT $3"
                );
                rows = connection.rows(all, values![&self.after, inactive, PAGE]).await?;
            }
            Some(households) => {
                let of_one = concat!(
                    node_columns!(),
                    " WHERE household_id = $4 AND node_id > $1 AND (deactivated_at IS NULL OR $2 = 1)
                      ORDER BY node_id LIMIT $3"
                );
                for household in households {
                    rows.extend(connection.rows(of_one, values![&self.after, inactive, PAGE, household]).await?);
                }
            }
        }
        rows.iter().map(|row| NodeView::from_row(row, self.now)).collect()
    }
}

/// One node, by its id.
pub(crate) struct OneNode {
    pub(crate) node_id: String,
    pub(crate) now: Moment,
}

impl Operation for OneNode {
    type Answer = NodeView;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<NodeView, Error> {
        let one = concat!(node_columns!(), " WHERE node_id = $1");
        match connection.row(one, values![&self.node_id]).await? {
            Some(row) => NodeView::from_row(&row, self.now),
            None => Err(Refusal::NodeNotFound.into()),
        }
    }
}
