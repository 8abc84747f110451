//! PostgreSQL: a pool of connections, a transaction per operation.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};

use super::{Connection, Error, Operation, migrations};

/// Enough to keep a database of a few cores busy; PostgreSQL allows 100 in all by default.
const CONNECTIONS: u32 = 16;

/// How long a request waits for a connection before it is told that the database is gone.
const ACQUIRE: Duration = Duration::from_secs(5);

/// How often an operation is tried that PostgreSQL chose as the victim of a conflict.
const TRIES: u32 = 5;

/// The number of the lock that keeps two processes from changing the schema at once: "jarvis" in ASCII.
const MIGRATION_LOCK: i64 = 0x6a61_7276_6973;

#[derive(Debug)]
pub(crate) struct Store {
    pool: PgPool,
}

impl Store {
    pub(super) async fn open(url: &str) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)?
            .application_name("jarvis-command-center")
            .options([("statement_timeout", "10s"), ("lock_timeout", "5s"), ("idle_in_transaction_session_timeout", "10s")])
            .disable_statement_logging();
        // The pool would only say that it waited; a single connection says why.
        options.connect().await?.close().await?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(ACQUIRE).connect_with(options).await?;
        let mut transaction = pool.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK).execute(&mut *transaction).await?;
        migrations::run(&mut Connection::Postgres(&mut transaction)).await?;
        transaction.commit().await?;
        Ok(Self { pool })
    }

    pub(super) async fn write<O: Operation>(&self, operation: &O) -> Result<O::Answer, Error> {
        for _ in 1..TRIES {
            match self.attempt(operation).await {
                Err(Error::Postgres(error)) if is_conflict(&error) => {}
                other => return other,
            }
        }
        self.attempt(operation).await
    }

    async fn attempt<O: Operation>(&self, operation: &O) -> Result<O::Answer, Error> {
        let mut transaction = self.pool.begin().await?;
        let mut connection = Connection::Postgres(&mut transaction);
        if let Some(subject) = operation.subject() {
            connection.lock(subject).await?;
        }
        let answer = operation.run(&mut connection).await?;
        transaction.commit().await?;
        Ok(answer)
    }

    pub(super) async fn read<O: Operation>(&self, operation: &O) -> Result<O::Answer, Error> {
        let mut connection = self.pool.acquire().await?;
        operation.run(&mut Connection::Postgres(&mut connection)).await
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// Serialization failure or deadlock: the same operation, run again, is expected to succeed.
fn is_conflict(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "40001" || code == "40P01")
}
