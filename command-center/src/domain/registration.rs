//! Registration: the tokens that allow it, and the nodes that it makes.

use std::time::Duration;

use super::audit::{self, Action};
use super::caller::Caller;
use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::store::{Connection, Error, Operation, values};

/// How long a token may be used: long enough to walk to the node and type a Wi-Fi password.
pub(crate) const TOKEN_LIFE: Duration = Duration::from_mins(10);

/// How long a token is kept after its end, so that a registration whose answer was lost can be repeated.
pub(crate) const TOKEN_KEPT: Duration = Duration::from_hours(24);

/// Makes a permission to register one node.
pub(crate) struct Mint {
    pub(crate) token_hash: String,
    /// Whether it replaces the unused tokens of the node.
    pub(crate) is_refresh: bool,
    pub(crate) node_id: String,
    pub(crate) household_id: String,
    pub(crate) room: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) now: Moment,
    pub(crate) caller: Caller,
}

impl Operation for Mint {
    type Answer = ();

    fn subject(&self) -> Option<&str> {
        self.is_refresh.then_some(&self.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        if self.is_refresh {
            let node = "SELECT 1 FROM nodes WHERE node_id = $1";
            if connection.row(node, values![&self.node_id]).await?.is_some() {
                return Err(Refusal::NodeAlreadyRegistered.into());
            }
            // Otherwise a member of one household could take over what another is about to register.
            let owners = "SELECT DISTINCT household_id FROM provisioning_tokens WHERE node_id = $1 AND expires_at > $2";
            for row in connection.rows(owners, values![&self.node_id, self.now]).await? {
                if !self.caller.may_act_for(&row.column::<String>(0)?) {
                    return Err(Refusal::NotAMember.into());
                }
            }
            connection.execute("DELETE FROM provisioning_tokens WHERE node_id = $1", values![&self.node_id]).await?;
        }
        connection
            .execute(
                "INSERT INTO provisioning_tokens (token_hash, node_id, household_id, room, name, created_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
                values![
                    &self.token_hash,
                    &self.node_id,
                    &self.household_id,
                    &self.room,
                    &self.name,
                    self.now,
                    self.now.after(TOKEN_LIFE)
                ],
            )
            .await?;
        if let Some(actor) = self.caller.operator() {
            let household = Some(self.household_id.clone());
            audit::record(connection, actor, Action::CreateToken, &self.node_id, household, self.now).await?;
        }
        Ok(())
    }
}

/// Registers a node that shows a token.
pub(crate) struct Register {
    pub(crate) node_id: String,
    pub(crate) token_hash: String,
    pub(crate) key_hash: String,
    pub(crate) room: Option<String>,
    pub(crate) now: Moment,
}

/// A node that is registered.
pub(crate) struct Registered {
    pub(crate) node_id: String,
    pub(crate) room: String,
    pub(crate) user: String,
    pub(crate) voice_mode: String,
    pub(crate) household_id: String,
}

impl Operation for Register {
    type Answer = Registered;

    fn subject(&self) -> Option<&str> {
        Some(&self.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Registered, Error> {
        // One statement decides: it makes the node if the token allows it, finds the node that this very token made as
        // long as its key is unused, and in all other cases returns nothing.
        let decide = "
            INSERT INTO nodes (node_id, household_id, room, name, user_name, voice_mode, key_hash, token_hash, registered_at)
            SELECT t.node_id, t.household_id, COALESCE($3, t.room, 'default'), t.name, 'default', 'brief', $4, t.token_hash, $5
              FROM provisioning_tokens t
             WHERE t.token_hash = $1 AND t.node_id = $2
               AND (t.expires_at > $5
                    OR EXISTS (SELECT 1 FROM nodes n WHERE n.node_id = t.node_id AND n.token_hash = t.token_hash))
                ON CONFLICT (node_id) DO UPDATE SET token_hash = excluded.token_hash
             WHERE nodes.token_hash = excluded.token_hash
               AND nodes.key_used_at IS NULL AND nodes.deactivated_at IS NULL
            RETURNING node_id, room, user_name, voice_mode, household_id";
        let values = values![&self.token_hash, &self.node_id, &self.room, &self.key_hash, self.now];
        if let Some(row) = connection.row(decide, values).await? {
            // Once, also if the registration is repeated.
            let note = "
                INSERT INTO device_events (kind, device_id, at, event, detail)
                SELECT 'node', $1, $2, 'registered', $3
                 WHERE NOT EXISTS (SELECT 1 FROM device_events
                                    WHERE kind = 'node' AND device_id = $1 AND event = 'registered')";
            connection.execute(note, values![&self.node_id, self.now, &row.column::<String>(4)?]).await?;
            return Ok(Registered {
                node_id: row.column(0)?,
                room: row.column(1)?,
                user: row.column(2)?,
                voice_mode: row.column(3)?,
                household_id: row.column(4)?,
            });
        }
        // Only the holder of a valid token may learn that another token has registered the node.
        let taken = "
            SELECT 1 FROM provisioning_tokens t JOIN nodes n ON n.node_id = t.node_id
             WHERE t.token_hash = $1 AND t.node_id = $2 AND t.expires_at > $3
               AND (n.token_hash IS NULL OR n.token_hash <> t.token_hash)";
        match connection.row(taken, values![&self.token_hash, &self.node_id, self.now]).await? {
            Some(_) => Err(Refusal::NodeAlreadyRegistered.into()),
            None => Err(Refusal::WrongProvisioningToken.into()),
        }
    }
}

/// Deletes tokens that cannot be used again.
pub(crate) struct ForgetTokens {
    pub(crate) now: Moment,
}

impl Operation for ForgetTokens {
    /// How many there were.
    type Answer = u64;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<u64, Error> {
        let before = self.now.before(TOKEN_KEPT);
        connection.execute("DELETE FROM provisioning_tokens WHERE expires_at < $1", values![before]).await
    }
}
