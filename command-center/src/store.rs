//! The database: one set of operations, run on SQLite or on PostgreSQL.
//!
//! An [`Operation`] is a transaction, written once against [`Connection`] in SQL that both databases understand. It takes
//! effect completely or not at all, and it may be run again after a failure, so it must not keep state between two runs.
//! A refusal rolls it back.
//!
//! SQLite has one writer, on a dedicated thread. All operations that wait while it commits share its next transaction and its
//! next `fsync`, and are answered after it: the price of durability is paid once per batch, and no answer is sent
//! that a power cut could undo.
//! Operations that are not [durable](Operation::is_durable) cause no `fsync`: they survive a crash of this process, and
//! reach the disk soon afterwards.
//! PostgreSQL does the same by itself, and commits asynchronously what is not durable; there, operations on one
//! [subject](Operation::subject) are serialized by an advisory lock, so that the rules hold across any number of server processes.

mod migrations;
mod postgres;
mod sqlite;
mod statement;

use core::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rusqlite::types::FromSql;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::base::refusal::Refusal;
pub(crate) use statement::Statement;

/// Which database, parsed from `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/NAME`.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file on this machine, created if missing.
    Sqlite(PathBuf),
    /// A server that any number of processes may share. The address may hold a password.
    Postgres(Zeroizing<String>),
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "Sqlite({})", path.display()),
            Self::Postgres(_) => f.write_str("Postgres(..)"),
        }
    }
}

/// A text that is no database address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a database is `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/NAME`")]
pub struct DatabaseError;

impl FromStr for Database {
    type Err = DatabaseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.starts_with(':') || path.contains('\0') {
                return Err(DatabaseError);
            }
            Ok(Self::Sqlite(PathBuf::from(path)))
        } else if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            Ok(Self::Postgres(Zeroizing::new(text.to_owned())))
        } else {
            Err(DatabaseError)
        }
    }
}

/// Why an operation failed.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The rules do not allow it.
    #[error("refused: {0:?}")]
    Refused(Refusal),
    /// PostgreSQL cannot be reached, cannot write, or gave up.
    #[error("the database failed")]
    Postgres(#[from] postgres::Failure),
    /// SQLite cannot read or write its file, or gave up.
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// A statement that always returns a row returned none.
    #[error("the database returned no row")]
    NoRow,
    /// The schema is newer than this program.
    #[error("the database has schema {found}, this program knows {known}: use the newer program")]
    Schema {
        /// What the database says.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// The file of the database, or of its copy, cannot be created.
    #[error("creating the file {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The writer of the database cannot be started.
    #[error("starting a thread for the database")]
    Thread(#[source] std::io::Error),
    /// The file of a copy has a name that the database cannot take.
    #[error("the name of the backup file must be UTF-8")]
    CopyName,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl Error {
    /// Whether a statement was wrong, as opposed to a database that could not carry it out.
    pub(crate) fn is_fault_of_ours(&self) -> bool {
        match self {
            Self::Postgres(failure) => failure.is_fault_of_ours(),
            Self::Sqlite(rusqlite::Error::SqliteFailure(cause, _)) => cause.code == rusqlite::ErrorCode::ConstraintViolation,
            Self::Sqlite(_) | Self::NoRow => true,
            _ => false,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Statements that take effect together or not at all.
pub(crate) trait Operation: Send + Sync + 'static {
    /// Its result.
    type Answer: Send + 'static;

    /// Operations with the same subject run one after the other, whichever process runs them.
    fn subject(&self) -> Option<&str> {
        None
    }

    /// Whether an answer promises that a power cut does not undo it. A change that is not durable survives a
    /// crash of this process, but not one of the machine or of PostgreSQL, where it is one statement and no transaction.
    fn is_durable(&self) -> bool {
        true
    }

    /// Runs the statements. May be called again after a failed transaction.
    fn run(&self, connection: &mut Connection<'_>) -> impl Future<Output = Result<Self::Answer, Error>> + Send;
}

/// An open database.
#[derive(Debug)]
pub(crate) enum Store {
    Sqlite(sqlite::Store),
    Postgres(postgres::Store),
}

impl Store {
    /// Opens the database and migrates its schema.
    pub(crate) async fn open(database: &Database) -> Result<Self, Error> {
        match database {
            Database::Sqlite(path) => sqlite::Store::open(path).await.map(Self::Sqlite),
            Database::Postgres(url) => postgres::Store::open(url).await.map(Self::Postgres),
        }
    }

    /// Runs an operation that changes something. When this returns, it would survive a power cut, if it is
    /// [durable](Operation::is_durable).
    pub(crate) async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer, Error> {
        match self {
            Self::Sqlite(store) => store.write(operation).await,
            Self::Postgres(store) => store.write(&operation).await,
        }
    }

    /// Runs an operation that only reads.
    pub(crate) async fn read<O: Operation>(&self, operation: O) -> Result<O::Answer, Error> {
        match self {
            Self::Sqlite(store) => store.read(operation).await,
            Self::Postgres(store) => store.read(&operation).await,
        }
    }

    /// Writes a copy of the database, as it is at one moment, to a new file. `None` for PostgreSQL, which has
    /// its own backup tools.
    pub(crate) async fn copy_to(&self, path: &Path) -> Option<Result<(), Error>> {
        match self {
            Self::Sqlite(store) => Some(store.copy_to(path).await),
            Self::Postgres(_) => None,
        }
    }

    /// Finishes the waiting operations and closes the connections.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close(),
        }
    }
}

/// The parameters of a statement, each turned into a [`Value`].
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::store::Value::from($value)),*] };
}
pub(crate) use values;

/// A connection inside a transaction.
pub(crate) enum Connection<'c> {
    Sqlite(&'c mut rusqlite::Connection),
    Postgres(postgres::Session<'c>),
}

impl Connection<'_> {
    /// Runs one statement and returns its rows. Parameters are `$1`, `$2` …
    pub(crate) async fn rows(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        match self {
            Self::Sqlite(connection) => Ok(sqlite::rows(connection, sql, values)?.into_iter().map(Row::Sqlite).collect()),
            Self::Postgres(session) => Ok(session.rows(sql, values).await?.into_iter().map(Row::Postgres).collect()),
        }
    }

    /// Runs a statement that was put together and returns its rows.
    pub(crate) async fn query(&mut self, statement: &Statement<'_>) -> Result<Vec<Row>, Error> {
        let Statement { text, values } = statement;
        match self {
            Self::Sqlite(connection) => Ok(sqlite::rows(connection, text, values)?.into_iter().map(Row::Sqlite).collect()),
            Self::Postgres(session) => Ok(session.query(text, values).await?.into_iter().map(Row::Postgres).collect()),
        }
    }

    /// Runs one statement that returns at most one row.
    pub(crate) async fn row(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Option<Row>, Error> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Runs one statement that always returns a row.
    pub(crate) async fn one(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<Row, Error> {
        self.row(sql, values).await?.ok_or(Error::NoRow)
    }

    /// Runs one statement; how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, Error> {
        match self {
            Self::Sqlite(connection) => Ok(sqlite::execute(connection, sql, values)?),
            Self::Postgres(session) => Ok(session.execute(sql, values).await?),
        }
    }

    /// Waits until no other operation has locked the subject, and keeps it locked until this one has ended. SQLite's
    /// operations run one after the other anyway.
    pub(crate) async fn lock(&mut self, subject: &str) -> Result<(), Error> {
        if let Self::Postgres(session) = self {
            // At this isolation level each statement after the lock sees what the previous holder committed.
            session.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", values![subject]).await?;
        }
        Ok(())
    }
}

/// A parameter.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Text(Option<&'a str>),
    Integer(Option<i64>),
    /// An array, which only PostgreSQL has.
    Texts(&'a [Option<&'a str>]),
    /// As [`Value::Texts`].
    Integers(&'a [Option<i64>]),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(text: &'a Option<String>) -> Self {
        Self::Text(text.as_deref())
    }
}

impl From<i64> for Value<'_> {
    fn from(integer: i64) -> Self {
        Self::Integer(Some(integer))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(integer: Option<i64>) -> Self {
        Self::Integer(integer)
    }
}

impl<'a> From<&'a Vec<Option<&'a str>>> for Value<'a> {
    fn from(texts: &'a Vec<Option<&'a str>>) -> Self {
        Self::Texts(texts)
    }
}

impl<'a> From<&'a Vec<Option<i64>>> for Value<'a> {
    fn from(integers: &'a Vec<Option<i64>>) -> Self {
        Self::Integers(integers)
    }
}

impl From<crate::base::clock::Moment> for Value<'_> {
    fn from(moment: crate::base::clock::Moment) -> Self {
        Self::Integer(Some(moment.0))
    }
}

/// A row of an answer.
pub(crate) enum Row {
    Sqlite(Vec<rusqlite::types::Value>),
    Postgres(tokio_postgres::Row),
}

impl Row {
    /// The column at `index`, from 0.
    pub(crate) fn column<T>(&self, index: usize) -> Result<T, Error>
    where
        T: FromSql + for<'r> tokio_postgres::types::FromSql<'r>,
    {
        match self {
            Self::Sqlite(row) => {
                let value = row.get(index).ok_or(rusqlite::Error::InvalidColumnIndex(index))?;
                let failed = |error| rusqlite::Error::FromSqlConversionFailure(index, value.data_type(), Box::new(error));
                Ok(T::column_result(value.into()).map_err(failed)?)
            }
            Self::Postgres(row) => Ok(row.try_get(index).map_err(postgres::Failure::Column)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_a_file_or_an_address() {
        assert_eq!("sqlite:/tmp/a.db".parse(), Ok(Database::Sqlite("/tmp/a.db".into())));
        assert_eq!("sqlite:///tmp/a.db".parse(), Ok(Database::Sqlite("/tmp/a.db".into())));
        assert_eq!("sqlite:a.db".parse(), Ok(Database::Sqlite("a.db".into())));
        assert!(matches!("postgres://u:p@h/d".parse(), Ok(Database::Postgres(_))));
        for nothing in ["sqlite:", "sqlite::memory:", "mysql://h/d", "a.db", ""] {
            assert_eq!(nothing.parse::<Database>(), Err(DatabaseError), "{nothing}");
        }
    }

    #[test]
    fn a_password_of_the_database_is_not_shown() {
        let database: Database = "postgres://user:hunter2@host/name".parse().unwrap();
        assert_eq!(format!("{database:?}"), "Postgres(..)");
    }
}
