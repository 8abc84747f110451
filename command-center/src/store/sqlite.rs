//! SQLite: one writer that commits in batches, a pool of readers, and one that brings the journal into the file.

use std::fs::OpenOptions;
use std::future::Future;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Connection, Error, Operation, migrations};

/// How many operations share a transaction at most: enough that the `fsync` is no longer what costs, few enough that the
/// first of them does not wait noticeably for the last.
const BATCH: usize = 256;

/// How many operations may wait for the writer; more are a sign that the disk hangs, and wait outside.
const QUEUE: usize = 4096;

/// How long to wait for another process, such as the operator's command line, that writes to the same file.
const BUSY: Duration = Duration::from_secs(5);

/// The writer's page cache in KiB, negative as SQLite wants it: holds most of what the heartbeats of a million appliances touch,
/// within what the unit allows. It grows only as far as the database does.
const CACHE: &str = "-262144";

/// How often the journal is brought into the file, beside the writer, so that no commit waits for it. What is not durable
/// is on the disk after as long.
const CHECKPOINT: Duration = Duration::from_secs(5);

/// How many pages the journal may have, 32 MiB, before the writer brings it into the file by itself: while it never pauses,
/// only it can begin the journal anew.
const JOURNAL: &str = "8192";

/// Enough for a machine with a few cores; each holds a file and a page cache.
const READERS: u32 = 4;

#[derive(Debug)]
pub(crate) struct Store {
    /// Empty once the store is closed.
    jobs: RwLock<Option<mpsc::Sender<Box<dyn Job>>>>,
    readers: SqlitePool,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        // SQLite would make the file readable by all; the journals take over the mode of the file.
        let made = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        made.map_err(|source| Error::Create { path: path.to_owned(), source })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // With less than FULL a commit in WAL mode is not on the disk when it returns; see `Writer`.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .foreign_keys(true)
            .disable_statement_logging();
        let writing = options.clone().pragma("cache_size", CACHE).pragma("wal_autocheckpoint", JOURNAL);
        let mut connection = SqliteConnection::connect_with(&writing).await?;
        execute(&mut connection, "BEGIN IMMEDIATE").await?;
        migrations::run(&mut Connection::Sqlite(&mut connection)).await?;
        execute(&mut connection, "COMMIT").await?;
        let checkpointing = SqliteConnection::connect_with(&options).await?;
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(options.read_only(true)).await?;
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let writer = Writer { connection, is_durable: true };
        let writer = tokio::spawn(write_batches(writer, checkpointing, waiting));
        Ok(Self { jobs: RwLock::new(Some(jobs)), readers, writer: Mutex::new(Some(writer)) })
    }

    pub(super) async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer, Error> {
        let (answer_to, answer) = oneshot::channel();
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Stopping)?;
        let job = Box::new(Pending { operation, answer_to, outcome: None });
        jobs.send(job).await.map_err(|_| Error::Stopping)?;
        answer.await.map_err(|_| Error::Stopping)?
    }

    pub(super) async fn read<O: Operation>(&self, operation: &O) -> Result<O::Answer, Error> {
        // A transaction, so that all statements of the operation see the same state.
        let mut transaction = self.readers.begin().await?;
        let answer = operation.run(&mut Connection::Sqlite(&mut transaction)).await;
        transaction.rollback().await?;
        answer
    }

    pub(super) async fn copy_to(&self, path: &Path) -> Result<(), Error> {
        let name = path.to_str().ok_or(Error::CopyName)?;
        let failed = |source| Error::Create { path: path.to_owned(), source };
        // An empty file is taken as it is, so the copy is never readable by others.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let mut connection = self.readers.acquire().await?;
        sqlx::query("VACUUM INTO $1").bind(name.to_owned()).execute(&mut *connection).await?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        for written in [path, folder] {
            std::fs::File::open(written).and_then(|file| file.sync_all()).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        drop(self.jobs.write().unwrap_or_else(PoisonError::into_inner).take());
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the writer of the database did not end well");
        }
    }
}

type Work<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// An operation whose type the writer need not know.
trait Job: Send {
    /// As [`Operation::is_durable`].
    fn is_durable(&self) -> bool;

    /// Runs it and keeps what comes of it; an error says that the database failed.
    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> Work<'a>;

    /// Hands over what was kept, or why it did not last.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

struct Pending<O: Operation> {
    operation: O,
    answer_to: oneshot::Sender<Result<O::Answer, Error>>,
    outcome: Option<Result<O::Answer, Error>>,
}

impl<O: Operation> Job for Pending<O> {
    fn is_durable(&self) -> bool {
        self.operation.is_durable()
    }

    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> Work<'a> {
        Box::pin(async move {
            self.outcome = None;
            execute(connection, "SAVEPOINT operation").await?;
            match self.operation.run(&mut Connection::Sqlite(connection)).await {
                Ok(answer) => self.outcome = Some(Ok(answer)),
                Err(Error::Refused(refusal)) => {
                    execute(connection, "ROLLBACK TO operation").await?;
                    self.outcome = Some(Err(Error::Refused(refusal)));
                }
                Err(failed) => return Err(failed),
            }
            execute(connection, "RELEASE operation").await
        })
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let Self { answer_to, outcome, .. } = *self;
        let answer = committed.and_then(|()| outcome.expect("a transaction is committed after all its jobs have run"));
        // The asker may have gone away; what it asked for has happened.
        drop(answer_to.send(answer));
    }
}

/// The only connection that changes anything.
struct Writer {
    connection: SqliteConnection,
    /// Whether its commits are on the disk when they return. In WAL mode the journal is synchronized by commits under FULL,
    /// with everything that was committed before, and by checkpoints.
    is_durable: bool,
}

async fn write_batches(mut writer: Writer, checkpointing: SqliteConnection, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
    let (stop, stopped) = oneshot::channel();
    let checkpoints = tokio::spawn(checkpoint_until(stopped, checkpointing));
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let together = writer.transaction(&mut batch).await;
        if together.is_ok() {
            for job in batch.drain(..) {
                job.answer(Ok(()));
            }
            continue;
        }
        // One of them failed, or the disk did: each has a second chance alone, and only the guilty are told.
        for mut job in batch.drain(..) {
            let alone = writer.transaction(std::slice::from_mut(&mut job)).await;
            if let Err(error) = &alone {
                tracing::error!(error = %crate::chain(error), "the database did not take a change");
            }
            job.answer(alone);
        }
    }
    drop(stop);
    if let Err(error) = checkpoints.await {
        tracing::error!(%error, "bringing the journal into the database did not end well");
    }
    // The last connection to be closed brings the rest of the journal into the file.
    if let Err(error) = writer.connection.close().await {
        tracing::warn!(%error, "closing the database");
    }
}

impl Writer {
    async fn transaction(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Error> {
        let is_durable = jobs.iter().any(|job| job.is_durable());
        self.make_durable(is_durable).await?;
        let connection = &mut self.connection;
        let outcome = async {
            execute(connection, "BEGIN IMMEDIATE").await?;
            for job in jobs {
                job.run(connection).await?;
            }
            execute(connection, "COMMIT").await
        }
        .await;
        if outcome.is_err() {
            // Some errors, such as a full disk, end the transaction by themselves; then there is nothing to roll back.
            drop(execute(connection, "ROLLBACK").await);
        }
        outcome
    }

    /// Not within a transaction, where it cannot be changed. Most transactions are like the one before, and every statement is
    /// a way to the database's thread and back.
    async fn make_durable(&mut self, is_durable: bool) -> Result<(), Error> {
        if self.is_durable != is_durable {
            let statement = if is_durable { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
            execute(&mut self.connection, statement).await?;
            self.is_durable = is_durable;
        }
        Ok(())
    }
}

/// Brings the journal into the file from time to time. Neither readers nor the writer wait for it.
async fn checkpoint_until(mut stopped: oneshot::Receiver<()>, mut connection: SqliteConnection) {
    while tokio::time::timeout(CHECKPOINT, &mut stopped).await.is_err() {
        if let Err(error) = execute(&mut connection, "PRAGMA wal_checkpoint(PASSIVE)").await {
            tracing::warn!(error = %crate::chain(&error), "bringing the journal into the database");
        }
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "closing the database");
    }
}

async fn execute(connection: &mut SqliteConnection, statement: &'static str) -> Result<(), Error> {
    sqlx::query(statement).execute(connection).await?;
    Ok(())
}
