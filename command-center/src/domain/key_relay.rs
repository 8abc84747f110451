//! The relay of a settings key (K2) from a user's app to a node.
//!
//! A key waits for its node for seconds, sealed with a key that is derived from the server's secret. The node fetches it once,
//! which erases it, and acknowledges it. There is one relay per node at a time; a new one replaces it.

use super::caller::Caller;
use super::nodes::check_right;
use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::store::{Connection, Error, Operation, values};

/// Leaves a key for a node.
pub(crate) struct Offer {
    pub(crate) node_id: String,
    pub(crate) caller: Caller,
    pub(crate) request_id: String,
    pub(crate) sealed: String,
    pub(crate) expires_at: Moment,
}

impl Operation for Offer {
    type Answer = ();

    fn subject(&self) -> Option<&str> {
        Some(&self.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        check_right(connection, &self.node_id, &self.caller).await?;
        let leave = "
            INSERT INTO relayed_keys (node_id, request_id, sealed, expires_at) VALUES ($1, $2, $3, $4)
            ON CONFLICT (node_id) DO UPDATE SET
                request_id = excluded.request_id, sealed = excluded.sealed, expires_at = excluded.expires_at,
                acknowledged_at = NULL, failure = NULL";
        connection.execute(leave, values![&self.node_id, &self.request_id, &self.sealed, self.expires_at]).await?;
        Ok(())
    }
}

/// Takes the key that waits for a node; the database forgets it.
pub(crate) struct Fetch {
    pub(crate) node_id: String,
    pub(crate) request_id: String,
    pub(crate) now: Moment,
}

impl Operation for Fetch {
    /// The sealed key.
    type Answer = String;

    fn subject(&self) -> Option<&str> {
        Some(&self.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<String, Error> {
        let find = "SELECT sealed FROM relayed_keys WHERE node_id = $1 AND request_id = $2 AND expires_at > $3";
        let row = connection.row(find, values![&self.node_id, &self.request_id, self.now]).await?;
        let sealed = row.map(|row| row.column::<Option<String>>(0)).transpose()?.flatten();
        connection
            .execute(
                "UPDATE relayed_keys SET sealed = NULL WHERE node_id = $1 AND request_id = $2",
                values![&self.node_id, &self.request_id],
            )
            .await?;
        sealed.ok_or_else(|| Refusal::NoKeyWaiting.into())
    }
}

/// Notes what a node says about its key. Late or repeated, it changes nothing.
pub(crate) struct Acknowledge {
    pub(crate) node_id: String,
    pub(crate) request_id: String,
    /// Without it the key is stored.
    pub(crate) failure: Option<String>,
    pub(crate) now: Moment,
}

impl Operation for Acknowledge {
    type Answer = ();

    fn subject(&self) -> Option<&str> {
        Some(&self.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let note = "
            UPDATE relayed_keys SET sealed = NULL, acknowledged_at = $3, failure = $4
             WHERE node_id = $1 AND request_id = $2 AND acknowledged_at IS NULL";
        connection.execute(note, values![&self.node_id, &self.request_id, self.now, &self.failure]).await?;
        Ok(())
    }
}

/// How far a relay is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The node has not acknowledged it.
    Waiting,
    /// The node has stored the key.
    Stored,
    /// The node could not store it; why, if it has said so.
    Failed(String),
    /// Another relay has replaced it.
    Replaced,
}

/// Reads how far a relay is.
#[derive(Clone)]
pub(crate) struct Look {
    pub(crate) node_id: String,
    pub(crate) request_id: String,
}

impl Operation for Look {
    type Answer = Outcome;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Outcome, Error> {
        let look = "SELECT acknowledged_at, failure FROM relayed_keys WHERE node_id = $1 AND request_id = $2";
        let row = connection.row(look, values![&self.node_id, &self.request_id]).await?;
        let Some(row) = row else { return Ok(Outcome::Replaced) };
        Ok(match (row.column::<Option<i64>>(0)?, row.column::<Option<String>>(1)?) {
            (None, _) => Outcome::Waiting,
            (Some(_), None) => Outcome::Stored,
            (Some(_), Some(failure)) => Outcome::Failed(failure),
        })
    }
}

/// Ends a relay, acknowledged or not.
pub(crate) struct End(pub(crate) Look);

impl Operation for End {
    /// How far it was.
    type Answer = Outcome;

    fn subject(&self) -> Option<&str> {
        Some(&self.0.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Outcome, Error> {
        let outcome = self.0.run(connection).await?;
        let Look { node_id, request_id } = &self.0;
        let end = "DELETE FROM relayed_keys WHERE node_id = $1 AND request_id = $2";
        connection.execute(end, values![node_id, request_id]).await?;
        Ok(outcome)
    }
}

/// Deletes keys that were not fetched in time.
pub(crate) struct ForgetKeys {
    pub(crate) now: Moment,
}

impl Operation for ForgetKeys {
    /// How many there were.
    type Answer = u64;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<u64, Error> {
        connection.execute("DELETE FROM relayed_keys WHERE expires_at <= $1", values![self.now]).await
    }
}
