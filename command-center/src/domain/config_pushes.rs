//! Configurations that users send to a node, encrypted with K2, which this server does not know.

use std::time::Duration;

use super::caller::Caller;
use super::nodes::check_right;
use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::store::{Connection, Error, Operation, values};

/// How long a configuration waits for its node.
const LIFE: Duration = Duration::from_hours(7 * 24);

/// How many configurations of one node are kept.
const PER_NODE: i64 = 32;

/// The type of configurations that hold tokens; nothing is kept of them.
const TOKENS: &str = "auth:";

/// A configuration, as the app has encrypted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) config_type: String,
    pub(crate) ciphertext: String,
    pub(crate) nonce: String,
    pub(crate) tag: String,
}

/// Leaves a configuration for a node.
pub(crate) struct Push {
    pub(crate) id: String,
    pub(crate) node_id: String,
    pub(crate) caller: Caller,
    pub(crate) sealed: Sealed,
    pub(crate) now: Moment,
}

impl Operation for Push {
    type Answer = ();

    fn subject(&self) -> Option<&str> {
        Some(&self.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let Self { id, node_id, caller, sealed: Sealed { config_type, ciphertext, nonce, tag }, now } = self;
        check_right(connection, node_id, caller).await?;
        let make_room = "
            DELETE FROM config_pushes WHERE push_id IN (
                SELECT push_id FROM config_pushes WHERE node_id = $1
                 ORDER BY created_at DESC, push_id LIMIT 1000 OFFSET $2)";
        connection.execute(make_room, values![node_id, PER_NODE - 1]).await?;
        let leave = "
            INSERT INTO config_pushes (push_id, node_id, config_type, ciphertext, nonce, tag, created_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let values = values![id, node_id, config_type, ciphertext, nonce, tag, *now, now.after(LIFE)];
        connection.execute(leave, values).await?;
        Ok(())
    }
}

/// A configuration that waits for its node.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) push_id: String,
    pub(crate) sealed: Sealed,
    pub(crate) created_at: Moment,
}

/// What waits for a node, oldest first.
pub(crate) struct Pending {
    pub(crate) node_id: String,
    pub(crate) now: Moment,
}

impl Operation for Pending {
    type Answer = Vec<Waiting>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Vec<Waiting>, Error> {
        let pending = "
            SELECT push_id, config_type, ciphertext, nonce, tag, created_at FROM config_pushes
             WHERE node_id = $1 AND consumed_at IS NULL AND expires_at > $2 ORDER BY created_at, push_id";
        let mut waiting = Vec::new();
        for row in connection.rows(pending, values![&self.node_id, self.now]).await? {
            let sealed =
                Sealed { config_type: row.column(1)?, ciphertext: row.column(2)?, nonce: row.column(3)?, tag: row.column(4)? };
            waiting.push(Waiting { push_id: row.column(0)?, sealed, created_at: Moment(row.column(5)?) });
        }
        Ok(waiting)
    }
}

/// What an acknowledgement has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consumed {
    /// The content is erased; that there was one is remembered.
    Now,
    /// As before.
    Before,
    /// Nothing is remembered.
    AndDeleted,
}

/// Notes that a node has applied a configuration, whose content is erased.
pub(crate) struct Acknowledge {
    pub(crate) node_id: String,
    pub(crate) push_id: String,
    pub(crate) now: Moment,
}

impl Operation for Acknowledge {
    type Answer = Consumed;

    fn subject(&self) -> Option<&str> {
        Some(&self.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Consumed, Error> {
        let Self { node_id, push_id, now } = self;
        let find = "SELECT config_type, consumed_at FROM config_pushes WHERE push_id = $1 AND node_id = $2";
        let Some(row) = connection.row(find, values![push_id, node_id]).await? else {
            return Err(Refusal::PushNotFound.into());
        };
        if row.column::<Option<i64>>(1)?.is_some() {
            return Ok(Consumed::Before);
        }
        if row.column::<String>(0)?.starts_with(TOKENS) {
            connection.execute("DELETE FROM config_pushes WHERE push_id = $1", values![push_id]).await?;
            return Ok(Consumed::AndDeleted);
        }
        let consume = "UPDATE config_pushes SET consumed_at = $2, ciphertext = '', nonce = '', tag = '' WHERE push_id = $1";
        connection.execute(consume, values![push_id, *now]).await?;
        Ok(Consumed::Now)
    }
}

/// Deletes configurations that no node has fetched in time.
pub(crate) struct ForgetPushes {
    pub(crate) now: Moment,
}

impl Operation for ForgetPushes {
    /// How many there were.
    type Answer = u64;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<u64, Error> {
        connection.execute("DELETE FROM config_pushes WHERE expires_at <= $1", values![self.now]).await
    }
}
