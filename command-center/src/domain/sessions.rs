//! Sessions of operators' browsers.

use std::time::Duration;

use super::audit::{self, Action, Actor};
use super::operators::{Known, find};
use super::permissions::Role;
use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::store::{Connection, Error, Operation, values};

/// A working day: then the operator signs in again.
pub(crate) const LIFE: Duration = Duration::from_hours(12);

/// After this time without a request the session has ended.
const IDLE: Duration = Duration::from_mins(30);

/// How exactly the time of the last request is kept, so that most requests write nothing.
const EXACTLY: Duration = Duration::from_mins(1);

/// Starts a session for an operator whose password and code were right.
pub(crate) struct StartSession {
    /// The operator as it was when they were compared. If anything of it has changed since, the sign-in is refused.
    pub(crate) known: Known,
    /// The time step of the code, if the operator has a second factor. Its code is not accepted again.
    pub(crate) totp_step: Option<i64>,
    pub(crate) token_hash: String,
    pub(crate) actor: Actor,
    pub(crate) now: Moment,
}

impl Operation for StartSession {
    type Answer = ();

    /// So that two sign-ins with the same code are one after the other.
    fn subject(&self) -> Option<&str> {
        Some(&self.known.name)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let name = &self.known.name;
        if find(connection, name).await?.as_ref() != Some(&self.known) {
            return Err(Refusal::WrongLogin.into());
        }
        if let Some(step) = self.totp_step {
            connection.execute("UPDATE operators SET totp_step = $2 WHERE name = $1", values![name, step]).await?;
        }
        let start = "INSERT INTO operator_sessions (token_hash, operator, started_at, used_at) VALUES ($1, $2, $3, $3)";
        connection.execute(start, values![&self.token_hash, name, self.now]).await?;
        audit::record(connection, &self.actor, Action::SignIn, name, None, self.now).await
    }
}

/// Finds out whose session it is.
pub(crate) struct FindSession {
    pub(crate) token_hash: String,
    pub(crate) now: Moment,
}

/// A session that has not ended.
pub(crate) struct Session {
    /// The name of its operator.
    pub(crate) operator: String,
    pub(crate) role: Role,
    /// Whether the time of its last request should be noted.
    pub(crate) is_to_be_noted: bool,
}

impl Operation for FindSession {
    type Answer = Option<Session>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Option<Session>, Error> {
        // A session from the future was written by a clock that was wrong.
        let look = "
            SELECT o.name, o.role, o.partner, o.site_id, s.used_at FROM operator_sessions s JOIN operators o ON o.name = s.operator
             WHERE s.token_hash = $1 AND s.started_at > $2 AND s.started_at <= $4 AND s.used_at > $3";
        let values = values![&self.token_hash, self.now.before(LIFE), self.now.before(IDLE), self.now];
        let Some(row) = connection.row(look, values).await? else { return Ok(None) };
        let role = Role::read(&row.column::<String>(1)?, row.column(2)?, row.column(3)?);
        let (operator, is_to_be_noted) = (row.column(0)?, row.column::<i64>(4)? <= self.now.before(EXACTLY).0);
        Ok(role.map(|role| Session { operator, role, is_to_be_noted }))
    }
}

/// Notes the time of a request.
pub(crate) struct NoteUse {
    pub(crate) token_hash: String,
    pub(crate) now: Moment,
}

impl Operation for NoteUse {
    type Answer = ();

    /// A crash may cost the last minute, after which the session ends earlier.
    fn is_durable(&self) -> bool {
        false
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let note = "UPDATE operator_sessions SET used_at = $2 WHERE token_hash = $1 AND used_at < $2";
        connection.execute(note, values![&self.token_hash, self.now]).await?;
        Ok(())
    }
}

/// Ends a session.
pub(crate) struct EndSession {
    pub(crate) token_hash: String,
    pub(crate) actor: Actor,
    pub(crate) now: Moment,
}

impl Operation for EndSession {
    type Answer = ();

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let ended = connection.execute("DELETE FROM operator_sessions WHERE token_hash = $1", values![&self.token_hash]).await?;
        if ended > 0 {
            audit::record(connection, &self.actor, Action::SignOut, &self.actor.name, None, self.now).await?;
        }
        Ok(())
    }
}

/// Ends all sessions of an operator, in the transaction that has the reason.
pub(crate) async fn end_all(connection: &mut Connection<'_>, operator: &str) -> Result<(), Error> {
    connection.execute("DELETE FROM operator_sessions WHERE operator = $1", values![operator]).await?;
    Ok(())
}

/// Deletes sessions that have ended.
pub(crate) struct ForgetSessions {
    pub(crate) now: Moment,
}

impl Operation for ForgetSessions {
    /// How many there were.
    type Answer = u64;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<u64, Error> {
        let ended = "DELETE FROM operator_sessions WHERE started_at <= $1 OR used_at <= $2";
        connection.execute(ended, values![self.now.before(LIFE), self.now.before(IDLE)]).await
    }
}
