//! Factory resets that users start. The node shows the token of its reset before it erases anything, and reports the result
//! with it; a node that was reset loses its key.

use std::time::Duration;

use super::audit::{self, Action};
use super::caller::Caller;
use super::nodes::{check_right, end_key};
use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::store::{Connection, Error, Operation, Row, values};

/// How long a token is valid, and how long a node that is at work may be silent.
const LIFE: Duration = Duration::from_mins(5);

/// How long a reset is remembered, for a node that repeats its report.
const KEPT: Duration = Duration::from_hours(24);

/// How far a reset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The node has not said anything.
    Pending,
    /// The node is at work.
    InProgress,
    /// The node has forgotten everything.
    Success,
    /// The node could not.
    Failed,
}

impl State {
    /// Its name on the wire and in the database.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InProgress => "in_progress",
            Self::Success => "success",
            Self::Failed => "failed",
        }
    }

    /// The state that a node reports under this name.
    pub(crate) fn reported(name: &str) -> Option<Self> {
        [Self::InProgress, Self::Success, Self::Failed].into_iter().find(|state| state.name() == name)
    }

    const fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Failed)
    }
}

/// A reset.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) node_id: String,
    pub(crate) state: State,
    pub(crate) error_message: Option<String>,
    pub(crate) created_at: Moment,
    pub(crate) updated_at: Moment,
    pub(crate) finished_at: Option<Moment>,
    expires_at: Moment,
}

/// The columns of [`Task::from_row`], in its order.
macro_rules! task_columns {
    () => {
        "task_id, node_id, state, error_message, created_at, updated_at, finished_at, expires_at"
    };
}

impl Task {
    fn from_row(row: &Row) -> Result<Self, Error> {
        let state = State::reported(&row.column::<String>(2)?).unwrap_or(State::Pending);
        Ok(Self {
            id: row.column(0)?,
            node_id: row.column(1)?,
            state,
            error_message: row.column(3)?,
            created_at: Moment(row.column(4)?),
            updated_at: Moment(row.column(5)?),
            finished_at: row.column::<Option<i64>>(6)?.map(Moment),
            expires_at: Moment(row.column(7)?),
        })
    }

    /// The reset with this token, which is still valid, or whose end was reported with it.
    async fn find(connection: &mut Connection<'_>, token_hash: &str, now: Moment) -> Result<Option<Self>, Error> {
        let find = concat!("SELECT ", task_columns!(), " FROM node_resets WHERE token_hash = $1");
        let task = connection.row(find, values![token_hash]).await?.as_ref().map(Self::from_row).transpose()?;
        Ok(task.filter(|task| task.state.is_final() || task.expires_at > now))
    }

    /// Moves on, and ends the key of a node that was reset.
    async fn advance(
        mut self,
        connection: &mut Connection<'_>,
        state: State,
        error_message: Option<String>,
        now: Moment,
    ) -> Result<Self, Error> {
        self = Self {
            state,
            error_message,
            updated_at: now,
            finished_at: state.is_final().then_some(now),
            expires_at: now.after(LIFE),
            ..self
        };
        let change = "
            UPDATE node_resets SET state = $2, error_message = $3, updated_at = $4, finished_at = $5, expires_at = $6
             WHERE task_id = $1";
        let finished_at = self.finished_at.map(|moment| moment.0);
        let values = values![&self.id, state.name(), &self.error_message, now, finished_at, self.expires_at];
        connection.execute(change, values).await?;
        if state == State::Success {
            end_key(connection, &self.node_id, "reset", now).await?;
        }
        Ok(self)
    }
}

/// Starts the reset of a node.
pub(crate) struct Start {
    pub(crate) task_id: String,
    pub(crate) node_id: String,
    pub(crate) token_hash: String,
    pub(crate) caller: Caller,
    pub(crate) now: Moment,
}

impl Operation for Start {
    type Answer = ();

    fn subject(&self) -> Option<&str> {
        Some(&self.node_id)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let Self { task_id, node_id, token_hash, caller, now } = self;
        check_right(connection, node_id, caller).await?;
        let in_flight = concat!(
            "SELECT ",
            task_columns!(),
            " FROM node_resets WHERE node_id = $1 AND finished_at IS NULL AND expires_at > $2"
        );
        if let Some(row) = connection.row(in_flight, values![node_id, *now]).await? {
            let Task { id, state, .. } = Task::from_row(&row)?;
            return Err(Refusal::ResetInFlight { task_id: id, state: state.name().to_owned() }.into());
        }
        let start = "
            INSERT INTO node_resets (task_id, node_id, token_hash, state, created_at, updated_at, expires_at)
            VALUES ($1, $2, $3, $4, $5, $5, $6)";
        let values = values![task_id, node_id, token_hash, State::Pending.name(), *now, now.after(LIFE)];
        connection.execute(start, values).await?;
        if let Some(actor) = caller.operator() {
            audit::record(connection, actor, Action::ResetNode, node_id, None, *now).await?;
        }
        Ok(())
    }
}

/// Notes what a node reports of its reset. A report after the final one changes nothing.
pub(crate) struct Report {
    pub(crate) task_id: String,
    pub(crate) token_hash: String,
    pub(crate) state: State,
    pub(crate) error_message: Option<String>,
    pub(crate) now: Moment,
}

impl Operation for Report {
    type Answer = Task;

    fn subject(&self) -> Option<&str> {
        Some(&self.token_hash)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Task, Error> {
        let Self { task_id, token_hash, state, error_message, now } = self;
        let task = Task::find(connection, token_hash, *now).await?;
        let task = task.ok_or(Refusal::WrongResetToken { by_verification: false })?;
        if task.id != *task_id {
            return Err(Refusal::ResetNotFound.into());
        }
        if task.state.is_final() {
            return Ok(task);
        }
        task.advance(connection, *state, error_message.clone(), *now).await
    }
}

/// Checks the token for a node that knows no task and does not report: its reset counts as done.
pub(crate) struct Verify {
    pub(crate) node_id: String,
    pub(crate) token_hash: String,
    pub(crate) now: Moment,
}

impl Operation for Verify {
    type Answer = ();

    fn subject(&self) -> Option<&str> {
        Some(&self.token_hash)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let task = Task::find(connection, &self.token_hash, self.now).await?;
        let task = task.filter(|task| task.node_id == self.node_id && !task.state.is_final());
        let task = task.ok_or(Refusal::WrongResetToken { by_verification: true })?;
        task.advance(connection, State::Success, None, self.now).await?;
        Ok(())
    }
}

/// Deletes old resets.
pub(crate) struct ForgetResets {
    pub(crate) now: Moment,
}

impl Operation for ForgetResets {
    /// How many there were.
    type Answer = u64;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<u64, Error> {
        let before = self.now.before(KEPT);
        connection.execute("DELETE FROM node_resets WHERE expires_at <= $1", values![before]).await
    }
}
