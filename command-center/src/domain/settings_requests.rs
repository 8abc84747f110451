//! Requests of users for the settings of a node. The node answers with a snapshot that it has encrypted with K2, which
//! this server does not know.

use std::time::Duration;

use super::caller::Caller;
use super::nodes::check_right;
use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::store::{Connection, Error, Operation, Row, values};

/// How long a node has to answer.
const LIFE: Duration = Duration::from_mins(5);

/// How long a request and its answer are kept afterwards, for a phone that was offline meanwhile.
const KEPT: Duration = Duration::from_hours(1);

/// How many requests of one node are kept; each may hold a snapshot.
const PER_NODE: i64 = 8;

/// A request for the settings of a node.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) node_id: String,
    /// Whether the node is to include the values of secrets.
    pub(crate) include_values: bool,
    /// The user who sent it; none for the administrator.
    pub(crate) user_id: Option<String>,
    pub(crate) created_at: Moment,
    pub(crate) expires_at: Moment,
    /// Whether the node has answered.
    pub(crate) is_fulfilled: bool,
}

/// The columns of [`Request::from_row`], in its order.
macro_rules! request_columns {
    () => {
        "request_id, node_id, include_values, user_id, created_at, expires_at, fulfilled_at"
    };
}

impl Request {
    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.column(0)?,
            node_id: row.column(1)?,
            include_values: row.column::<i64>(2)? != 0,
            user_id: row.column(3)?,
            created_at: Moment(row.column(4)?),
            expires_at: Moment(row.column(5)?),
            is_fulfilled: row.column::<Option<i64>>(6)?.is_some(),
        })
    }

    async fn find(connection: &mut Connection<'_>, node_id: &str, request_id: &str) -> Result<Self, Error> {
        let find = concat!("SELECT ", request_columns!(), " FROM settings_requests WHERE node_id = $1 AND request_id = $2");
        let row = connection.row(find, values![node_id, request_id]).await?;
        row.as_ref().map(Self::from_row).transpose()?.ok_or_else(|| Refusal::RequestNotFound.into())
    }
}

/// Requests the settings of a node.
pub(crate) struct Create {
    pub(crate) request_id: String,
    pub(crate) node_id: String,
    pub(crate) caller: Caller,
    pub(crate) include_values: bool,
    pub(crate) now: Moment,
}

impl Operation for Create {
    type Answer = Request;

    fn subject(&self) -> Option<&str> {
        Some(&self.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Request, Error> {
        let Self { request_id, node_id, caller, include_values, now } = self;
        check_right(connection, node_id, caller).await?;
        let make_room = "
            DELETE FROM settings_requests WHERE request_id IN (
                SELECT request_id FROM settings_requests WHERE node_id = $1
                 ORDER BY created_at DESC, request_id LIMIT 1000 OFFSET $2)";
        connection.execute(make_room, values![node_id, PER_NODE - 1]).await?;
        let create = "
            INSERT INTO settings_requests (request_id, node_id, include_values, user_id, created_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6)";
        let user_id = caller.user_id().map(str::to_owned);
        let values = values![request_id, node_id, i64::from(*include_values), &user_id, *now, now.after(LIFE)];
        connection.execute(create, values).await?;
        Request::find(connection, node_id, request_id).await
    }
}

/// The requests that wait for a node, oldest first.
pub(crate) struct Pending {
    pub(crate) node_id: String,
    pub(crate) now: Moment,
}

impl Operation for Pending {
    type Answer = Vec<Request>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Vec<Request>, Error> {
        let pending = concat!(
            "SELECT ",
            request_columns!(),
            " FROM settings_requests WHERE node_id = $1 AND fulfilled_at IS NULL AND expires_at > $2
              ORDER BY created_at, request_id"
        );
        let rows = connection.rows(pending, values![&self.node_id, self.now]).await?;
        rows.iter().map(Request::from_row).collect()
    }
}

/// One request, for its node.
pub(crate) struct One {
    pub(crate) node_id: String,
    pub(crate) request_id: String,
    pub(crate) now: Moment,
}

impl Operation for One {
    type Answer = Request;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Request, Error> {
        let request = Request::find(connection, &self.node_id, &self.request_id).await?;
        if request.expires_at <= self.now { Err(Refusal::RequestExpired.into()) } else { Ok(request) }
    }
}

/// The settings of a node, encrypted with K2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) ciphertext: String,
    pub(crate) nonce: String,
    pub(crate) tag: String,
    pub(crate) schema_version: i64,
    pub(crate) commands_schema_version: i64,
    pub(crate) revision: i64,
}

/// Answers a request.
pub(crate) struct Fulfil {
    pub(crate) node_id: String,
    pub(crate) request_id: String,
    pub(crate) snapshot_id: String,
    pub(crate) snapshot: Snapshot,
    pub(crate) now: Moment,
}

impl Operation for Fulfil {
    type Answer = ();

    fn subject(&self) -> Option<&str> {
        Some(&self.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let Self { node_id, request_id, snapshot_id, snapshot, now } = self;
        let request = Request::find(connection, node_id, request_id).await?;
        if request.expires_at <= *now {
            return Err(Refusal::RequestExpired.into());
        }
        if request.is_fulfilled {
            return Err(Refusal::RequestFulfilled.into());
        }
        let Snapshot { ciphertext, nonce, tag, schema_version, commands_schema_version, revision } = snapshot;
        let fulfil = "
            UPDATE settings_requests
               SET fulfilled_at = $2, snapshot_id = $3, ciphertext = $4, nonce = $5, tag = $6,
                   schema_version = $7, commands_schema_version = $8, revision = $9
             WHERE request_id = $1";
        let values =
            values![request_id, *now, snapshot_id, ciphertext, nonce, tag, *schema_version, *commands_schema_version, *revision];
        connection.execute(fulfil, values).await?;
        Ok(())
    }
}

/// A snapshot that was stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) snapshot_id: String,
    pub(crate) snapshot: Snapshot,
    pub(crate) created_at: Moment,
}

/// The answer to a request, for users.
pub(crate) struct Answer {
    pub(crate) node_id: String,
    pub(crate) request_id: String,
    pub(crate) caller: Caller,
    pub(crate) now: Moment,
}

impl Operation for Answer {
    /// None as long as the node has not answered.
    type Answer = Option<Stored>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Option<Stored>, Error> {
        check_right(connection, &self.node_id, &self.caller).await?;
        let request = Request::find(connection, &self.node_id, &self.request_id).await?;
        if !request.is_fulfilled {
            return if request.expires_at <= self.now { Err(Refusal::RequestExpired.into()) } else { Ok(None) };
        }
        let read = "
            SELECT snapshot_id, ciphertext, nonce, tag, schema_version, commands_schema_version, revision, fulfilled_at
              FROM settings_requests WHERE request_id = $1";
        let row = connection.one(read, values![&self.request_id]).await?;
        let snapshot = Snapshot {
            ciphertext: row.column(1)?,
            nonce: row.column(2)?,
            tag: row.column(3)?,
            schema_version: row.column(4)?,
            commands_schema_version: row.column(5)?,
            revision: row.column(6)?,
        };
        Ok(Some(Stored { snapshot_id: row.column(0)?, snapshot, created_at: Moment(row.column(7)?) }))
    }
}

/// Deletes old requests and their answers.
pub(crate) struct ForgetRequests {
    pub(crate) now: Moment,
}

impl Operation for ForgetRequests {
    /// How many there were.
    type Answer = u64;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<u64, Error> {
        let before = self.now.before(KEPT);
        connection.execute("DELETE FROM settings_requests WHERE expires_at <= $1", values![before]).await
    }
}
