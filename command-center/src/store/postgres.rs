//! PostgreSQL: a pool of connections with a transaction per operation, and one for single statements that do not wait for the disk.

mod address;
mod password_file;
mod tls;

use std::io::{self, ErrorKind};
use std::time::Duration;

use deadpool_postgres::{Manager, Object, Pool, PoolError, Runtime, StatementCache};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::{Connection, Error, Operation, Value, migrations};
use crate::base::{Backoff, Jitter};
use address::{Address, AddressError};
use tls::TlsError;

/// Enough to keep a database of a few cores busy; PostgreSQL allows 100 in all by default.
const CONNECTIONS: usize = 16;

/// How long a request waits for a connection before it fails.
const ACQUIRE: Duration = Duration::from_secs(5);

/// Pauses between attempts to connect to a server that is starting.
const CONNECT: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1), Jitter::None);

/// How long a connection may be idle before it is closed.
const IDLE: Duration = Duration::from_mins(10);

/// How old a connection may become, so that the name of the host is resolved again.
const LIFE: Duration = Duration::from_mins(30);

/// How often idle and old connections are closed.
const TIDY: Duration = Duration::from_mins(1);

/// How often an operation is tried that PostgreSQL aborts because of a conflict.
const TRIES: u32 = 5;

/// The number of the lock that keeps two processes from changing the schema at once: "jarvis" in ASCII.
const MIGRATION_LOCK: i64 = 0x6a61_7276_6973;

/// Timeouts that the server enforces.
const LIMITS: &str = "-c statement_timeout=10s -c lock_timeout=5s -c idle_in_transaction_session_timeout=10s";

/// Enough for the statements of operations that are not durable: one runs while another one's answer is on its way.
const QUICK_CONNECTIONS: usize = 2;

/// Settings of these connections. Commits do not wait for the disk: `wal_writer_delay` bounds what a crash of PostgreSQL can undo.
/// A statement is planned once, and finds its rows by indexes, also in a table that was empty when it was planned.
const QUICK: &str = "-c synchronous_commit=off -c plan_cache_mode=force_generic_plan -c jit=off \
                     -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off";

/// Why PostgreSQL did not carry out an operation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The settings for TLS cannot be used.
    #[error("preparing TLS")]
    Tls(#[from] TlsError),
    /// The server refused. Only its message is kept: the details repeat values.
    #[error("{message}")]
    Refused {
        /// What kind of refusal it is.
        code: SqlState,
        /// What the server says about it.
        message: String,
    },
    /// The connection broke, or could not be opened.
    #[error(transparent)]
    Client(tokio_postgres::Error),
    /// A column does not have the type that the program reads it as.
    #[error("reading a column")]
    Column(#[source] tokio_postgres::Error),
    /// All connections are in use.
    #[error("no connection became free in time")]
    Busy,
    /// The pool is closed.
    #[error("the pool is closed")]
    Closed,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refused) => Self::Refused { code: refused.code().clone(), message: refused.message().to_owned() },
            None => Self::Client(error),
        }
    }
}

impl Failure {
    /// Whether a statement was wrong, as opposed to a database that could not carry it out.
    pub(super) fn is_fault_of_ours(&self) -> bool {
        match self {
            Self::Refused { code, .. } => [
                SqlState::UNIQUE_VIOLATION,
                SqlState::FOREIGN_KEY_VIOLATION,
                SqlState::NOT_NULL_VIOLATION,
                SqlState::CHECK_VIOLATION,
                SqlState::EXCLUSION_VIOLATION,
            ]
            .contains(code),
            Self::Column(_) => true,
            _ => false,
        }
    }

    /// Serialization failure or deadlock: the same operation, run again, is expected to succeed.
    fn is_conflict(&self) -> bool {
        self.has_code(&[SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED])
    }

    /// The server takes no changes any more: it was the primary, and has become a standby.
    fn is_standby(&self) -> bool {
        self.has_code(&[SqlState::READ_ONLY_SQL_TRANSACTION])
    }

    /// The server closed an idle connection; another connection may be good.
    fn is_disconnect(&self) -> bool {
        self.has_code(&[SqlState::ADMIN_SHUTDOWN]) || matches!(self, Self::Client(error) if error.is_closed())
    }

    /// The server is starting, has no free connection, or is a standby that may become the primary: it is expected to accept
    /// one soon.
    fn is_starting(&self) -> bool {
        // A standby is reported as an error of permission.
        let is_refused = |error: &io::Error| matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied);
        match self {
            Self::Client(error) => {
                std::error::Error::source(error).and_then(|cause| cause.downcast_ref()).is_some_and(is_refused)
            }
            _ => self.has_code(&[SqlState::TOO_MANY_CONNECTIONS, SqlState::CANNOT_CONNECT_NOW]),
        }
    }

    fn has_code(&self, codes: &[SqlState]) -> bool {
        matches!(self, Self::Refused { code, .. } if codes.contains(code))
    }
}

#[derive(Debug)]
pub(crate) struct Store {
    pool: Pool,
    /// For operations that are not durable.
    quick: Pool,
    /// Closes idle and old connections.
    tidying: JoinHandle<()>,
}

impl Store {
    pub(super) async fn open(url: &str) -> Result<Self, Error> {
        let Address { config, tls } = Address::parse(url, |name| std::env::var(name).ok()).map_err(Failure::from)?;
        let options = format!("{} {LIMITS}", config.get_options().unwrap_or_default());
        let connector = tls.connector().map_err(Failure::from)?;
        let of = |options: &str, connections| {
            let mut config = config.clone();
            config.application_name("jarvis-command-center").options(options.trim_start());
            let pool = Pool::builder(Manager::new(config, connector.clone())).max_size(connections).runtime(Runtime::Tokio1);
            pool.build().expect("a pool without timeouts needs nothing")
        };
        let pool = of(&options, CONNECTIONS);
        let quick = of(&format!("{options} {QUICK}"), QUICK_CONNECTIONS);
        // The first connection is not retried: the operator gets the reason at once.
        let mut client = pool.get().await.map_err(Failure::from)?;
        let transaction = client.transaction().await.map_err(Failure::from)?;
        let session = Session { client: transaction.client(), statements: &transaction.statement_cache };
        // The largest databases are migrated in minutes, while other servers wait for the lock.
        session.execute("SET LOCAL statement_timeout = 0", &[]).await?;
        session.execute("SET LOCAL lock_timeout = 0", &[]).await?;
        session.execute("SELECT pg_advisory_xact_lock($1)", &[Value::Integer(Some(MIGRATION_LOCK))]).await?;
        migrations::run(&mut Connection::Postgres(session)).await?;
        transaction.commit().await.map_err(Failure::from)?;
        drop(client);
        let tidying = tokio::spawn(tidy([pool.clone(), quick.clone()]));
        Ok(Self { pool, quick, tidying })
    }

    pub(super) async fn write<O: Operation>(&self, operation: &O) -> Result<O::Answer, Error> {
        for _ in 1..TRIES {
            match self.attempt(operation).await {
                Err(Error::Postgres(failure)) if failure.is_conflict() => {}
                Err(Error::Postgres(failure)) if failure.is_standby() => {
                    for pool in [&self.pool, &self.quick] {
                        pool.retain(|_, _| false);
                    }
                }
                other => return other,
            }
        }
        self.attempt(operation).await
    }

    async fn attempt<O: Operation>(&self, operation: &O) -> Result<O::Answer, Error> {
        if !operation.is_durable() {
            return Self::alone(&self.quick, operation).await;
        }
        for _ in 0..CONNECTIONS {
            let mut client = Self::acquire(&self.pool).await?;
            let transaction = match client.transaction().await.map_err(Failure::from) {
                // Nothing has been done yet.
                Err(failure) if failure.is_disconnect() => continue,
                begun => begun?,
            };
            let session = Session { client: transaction.client(), statements: &transaction.statement_cache };
            let mut connection = Connection::Postgres(session);
            if let Some(subject) = operation.subject() {
                connection.lock(subject).await?;
            }
            let answer = operation.run(&mut connection).await?;
            transaction.commit().await.map_err(Failure::from)?;
            return Ok(answer);
        }
        Err(Failure::Busy.into())
    }

    pub(super) async fn read<O: Operation>(&self, operation: &O) -> Result<O::Answer, Error> {
        Self::alone(&self.pool, operation).await
    }

    /// Runs an operation without a transaction: each of its statements is one. It may be run again after a disconnect.
    async fn alone<O: Operation>(pool: &Pool, operation: &O) -> Result<O::Answer, Error> {
        for _ in 1..CONNECTIONS {
            match Self::alone_once(pool, operation).await {
                Err(Error::Postgres(failure)) if failure.is_disconnect() => {}
                other => return other,
            }
        }
        Self::alone_once(pool, operation).await
    }

    async fn alone_once<O: Operation>(pool: &Pool, operation: &O) -> Result<O::Answer, Error> {
        let client = Self::acquire(pool).await?;
        let session = Session { client: &client, statements: &client.statement_cache };
        operation.run(&mut Connection::Postgres(session)).await
    }

    /// Waits for a free connection, and for a server that is starting.
    async fn acquire(pool: &Pool) -> Result<Object, Failure> {
        let mut last = Failure::Busy;
        let connecting = async {
            let mut failed = 0;
            loop {
                match pool.get().await.map_err(Failure::from) {
                    Err(failure) if failure.is_starting() => last = failure,
                    other => return other,
                }
                failed += 1;
                tokio::time::sleep(CONNECT.pause(failed, 0)).await;
            }
        };
        match tokio::time::timeout(ACQUIRE, connecting).await {
            Ok(done) => done,
            Err(_) => Err(last),
        }
    }

    pub(super) fn close(&self) {
        self.tidying.abort();
        self.pool.close();
        self.quick.close();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.tidying.abort();
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Closed => Self::Closed,
            PoolError::Timeout(_) | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => Self::Busy,
        }
    }
}

/// Closes connections that are idle or old.
async fn tidy(pools: [Pool; 2]) {
    let mut ticks = tokio::time::interval(TIDY);
    loop {
        ticks.tick().await;
        for pool in &pools {
            pool.retain(|_, metrics| metrics.last_used() < IDLE && metrics.age() < LIFE);
        }
    }
}

/// A connection that is in use, and the statements that are prepared on it.
pub(crate) struct Session<'c> {
    client: &'c Client,
    statements: &'c StatementCache,
}

impl Session<'_> {
    /// Runs one statement and returns its rows.
    pub(super) async fn rows(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Failure> {
        let statement = self.statements.prepare_typed(self.client, sql, &types(values)).await?;
        Ok(self.client.query(&statement, &parameters(values)).await?)
    }

    /// Runs one statement that is not kept: it is planned for its parameters.
    pub(super) async fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<Row>, Failure> {
        let typed = parameters(values).into_iter().zip(types(values)).collect::<Vec<_>>();
        Ok(self.client.query_typed(sql, &typed).await?)
    }

    /// Runs one statement; how many rows it changed.
    pub(super) async fn execute(&self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, Failure> {
        let statement = self.statements.prepare_typed(self.client, sql, &types(values)).await?;
        Ok(self.client.execute(&statement, &parameters(values)).await?)
    }
}

/// The types of the parameters, which the server would otherwise infer from the statement.
fn types(values: &[Value<'_>]) -> Vec<Type> {
    let of = |value: &Value<'_>| match value {
        Value::Text(_) => Type::TEXT,
        Value::Integer(_) => Type::INT8,
        Value::Texts(_) => Type::TEXT_ARRAY,
        Value::Integers(_) => Type::INT8_ARRAY,
    };
    values.iter().map(of).collect()
}

fn parameters<'v>(values: &'v [Value<'v>]) -> Vec<&'v (dyn ToSql + Sync)> {
    let of = |value: &'v Value<'v>| match value {
        Value::Text(text) => text as &(dyn ToSql + Sync),
        Value::Integer(integer) => integer,
        Value::Texts(texts) => texts,
        Value::Integers(integers) => integers,
    };
    values.iter().map(of).collect()
}
