//! SQLite: one writer that commits in batches, a few readers, and one connection that checkpoints the journal.
//!
//! SQLite operations wait for the disk only, so the writer is a thread that runs them one after the other: a transaction
//! costs one round trip to that thread, for any number of statements.

use std::fs::OpenOptions;
use std::future::Future;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rusqlite::{CachedStatement, Connection as Sqlite, OpenFlags};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{Connection, Error, Operation, Value, migrations};

/// How many operations share a transaction at most: enough that the `fsync` no longer dominates the cost, few enough that the
/// first of them does not wait noticeably for the last.
const BATCH: usize = 256;

/// How many operations may wait for the writer; more are a sign that the disk hangs, and wait outside.
const QUEUE: usize = 4096;

/// How long to wait for another process, such as the operator's command line, that writes to the same file.
const BUSY: Duration = Duration::from_secs(5);

/// The writer's page cache in KiB, negative as SQLite expects it: holds most pages that the heartbeats of a million
/// appliances touch, within the memory limit of the unit. It grows only as far as the database does.
const CACHE: i64 = -262_144;

/// How often the journal is checkpointed, in another thread than the writer's, so that no commit waits for it. A change that
/// is not durable is on the disk after this time.
const CHECKPOINT: Duration = Duration::from_secs(5);

/// How many pages the journal may have, 32 MiB, before the writer checkpoints it itself: while it never pauses,
/// only the writer can restart the journal.
const JOURNAL: i64 = 8192;

/// Enough for a machine with a few cores; each holds a file and a page cache.
const READERS: usize = 4;

/// A reader's page cache, as [`CACHE`]: lists of a large fleet visit some ten thousand pages.
const READERS_CACHE: i64 = -24_576;

/// How many prepared statements a connection caches: more than the program has.
const STATEMENTS: usize = 128;

/// The names of a statement's parameters.
const PARAMETERS: [&str; 40] = [
    "$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15", "$16", "$17", "$18", "$19",
    "$20", "$21", "$22", "$23", "$24", "$25", "$26", "$27", "$28", "$29", "$30", "$31", "$32", "$33", "$34", "$35", "$36", "$37",
    "$38", "$39", "$40",
];

#[derive(Debug)]
pub(crate) struct Store {
    /// Empty once the store is closed.
    jobs: RwLock<Option<mpsc::Sender<Box<dyn Job>>>>,
    readers: Readers,
    /// Dropped by the writer when it has ended.
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Store {
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || Self::open_now(path)).await.map_err(|_| Error::Stopping)?
    }

    fn open_now(path: PathBuf) -> Result<Self, Error> {
        // SQLite would create the file readable by all; the journals inherit the mode of the file.
        let made = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        made.map_err(|source| Error::Create { path: path.clone(), source })?;
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "cache_size", CACHE)?;
        connection.pragma_update(None, "wal_autocheckpoint", JOURNAL)?;
        statement(&connection, "BEGIN IMMEDIATE")?;
        run_now(migrations::run(&mut Connection::Sqlite(&mut connection)))?;
        statement(&connection, "COMMIT")?;
        let checkpointing = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let (jobs, waiting) = mpsc::channel(QUEUE);
        let (ends, ended) = oneshot::channel();
        let writer = Writer { connection, is_durable: true };
        let spawned = std::thread::Builder::new().name("writer".into()).spawn(move || {
            write_batches(writer, checkpointing, waiting);
            // `close` waits for this.
            drop(ends);
        });
        spawned.map_err(Error::Thread)?;
        Ok(Self { jobs: RwLock::new(Some(jobs)), readers: Readers::of(path), ended: Mutex::new(Some(ended)) })
    }

    pub(super) async fn write<O: Operation>(&self, operation: O) -> Result<O::Answer, Error> {
        let (answer_to, answer) = oneshot::channel();
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Stopping)?;
        let job = Box::new(Pending { operation, answer_to, outcome: None });
        jobs.send(job).await.map_err(|_| Error::Stopping)?;
        answer.await.map_err(|_| Error::Stopping)?
    }

    pub(super) async fn read<O: Operation>(&self, operation: O) -> Result<O::Answer, Error> {
        let read = move |connection: &mut Sqlite| {
            // A transaction, so that all statements of the operation see the same state.
            statement(connection, "BEGIN")?;
            let answer = run_now(operation.run(&mut Connection::Sqlite(connection)));
            roll_back(connection)?;
            answer
        };
        self.readers.with_one(read).await
    }

    pub(super) async fn copy_to(&self, path: &Path) -> Result<(), Error> {
        let path = path.to_owned();
        let copy = move |connection: &mut Sqlite| {
            let name = path.to_str().ok_or(Error::CopyName)?;
            let failed = |source| Error::Create { path: path.clone(), source };
            // SQLite accepts an existing empty file, so the copy is never readable by others.
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
            connection.execute("VACUUM INTO ?1", [name])?;
            let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            for written in [&path, folder] {
                std::fs::File::open(written).and_then(|file| file.sync_all()).map_err(failed)?;
            }
            Ok(())
        };
        self.readers.with_one(copy).await
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        drop(self.jobs.write().unwrap_or_else(PoisonError::into_inner).take());
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ended) = ended {
            // Nothing is ever sent: the other end is dropped.
            _ = ended.await;
        }
    }
}

/// Connections that only read, opened on demand.
#[derive(Debug)]
struct Readers {
    path: PathBuf,
    free: Arc<Mutex<Vec<Sqlite>>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    fn of(path: PathBuf) -> Self {
        Self { path, free: Arc::default(), turns: Arc::new(Semaphore::new(READERS)) }
    }

    /// Runs `work` with one of them, on a thread that may block.
    async fn with_one<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Sqlite) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| Error::Stopping)?;
        let (path, free) = (self.path.clone(), Arc::clone(&self.free));
        // It continues when its caller is cancelled, and returns the connection.
        let working = tokio::task::spawn_blocking(move || {
            let kept = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = kept.map_or_else(|| open_reader(&path), Ok)?;
            let done = work(&mut connection);
            // One that is still in a transaction has failed, and is not used again.
            if connection.is_autocommit() {
                free.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            drop(turn);
            done
        });
        working.await.map_err(|_| Error::Stopping)?
    }

    /// Waits for the readers in use; afterwards none can be acquired.
    async fn close(&self) {
        let all = self.turns.acquire_many(u32::try_from(READERS).expect("a handful")).await;
        self.turns.close();
        drop(all);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// An operation with its type erased.
trait Job: Send {
    /// As [`Operation::is_durable`].
    fn is_durable(&self) -> bool;

    /// Runs it and keeps its result; an error means that the database failed.
    fn run(&mut self, connection: &mut Sqlite) -> Result<(), Error>;

    /// Sends the kept result, or the reason why it was not committed.
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

    fn run(&mut self, connection: &mut Sqlite) -> Result<(), Error> {
        self.outcome = None;
        statement(connection, "SAVEPOINT operation")?;
        match run_now(self.operation.run(&mut Connection::Sqlite(connection))) {
            Ok(answer) => self.outcome = Some(Ok(answer)),
            Err(Error::Refused(refusal)) => {
                statement(connection, "ROLLBACK TO operation")?;
                self.outcome = Some(Err(Error::Refused(refusal)));
            }
            Err(failed) => return Err(failed),
        }
        statement(connection, "RELEASE operation")
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let Self { answer_to, outcome, .. } = *self;
        let answer = committed.and_then(|()| outcome.expect("a transaction is committed after all its jobs have run"));
        // The caller may be cancelled; the change has been committed.
        drop(answer_to.send(answer));
    }
}

/// The only connection that changes anything.
struct Writer {
    connection: Sqlite,
    /// Whether its commits are on the disk when they return. In WAL mode the journal is synchronized by commits under FULL,
    /// with everything that was committed before, and by checkpoints.
    is_durable: bool,
}

fn write_batches(mut writer: Writer, checkpointing: Sqlite, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
    let (stop, stopped) = std::sync::mpsc::channel();
    let checkpoints =
        std::thread::Builder::new().name("checkpoints".into()).spawn(move || checkpoint_until(&stopped, checkpointing));
    if let Err(error) = &checkpoints {
        tracing::error!(%error, "starting the checkpoint thread failed; only a long journal is checkpointed");
    }
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.blocking_recv_many(&mut batch, BATCH) > 0 {
        let together = writer.transaction(&mut batch);
        if together.is_ok() {
            for job in batch.drain(..) {
                job.answer(Ok(()));
            }
            continue;
        }
        // One job failed, or the disk did: retry each job alone, so that only the failing ones get the error.
        for mut job in batch.drain(..) {
            let alone = writer.transaction(std::slice::from_mut(&mut job));
            if let Err(error) = &alone {
                tracing::error!(error = %crate::base::chain(error), "database write failed");
            }
            job.answer(alone);
        }
    }
    drop(stop);
    if checkpoints.is_ok_and(|checkpoints| checkpoints.join().is_err()) {
        tracing::error!("checkpoint thread failed");
    }
    // The last connection to be closed brings the rest of the journal into the file.
    close(writer.connection);
}

impl Writer {
    fn transaction(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Error> {
        let outcome = self.attempt(jobs);
        if outcome.is_err() {
            drop(roll_back(&self.connection));
        }
        outcome
    }

    fn attempt(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Error> {
        self.make_durable(jobs.iter().any(|job| job.is_durable()))?;
        statement(&self.connection, "BEGIN IMMEDIATE")?;
        for job in jobs {
            job.run(&mut self.connection)?;
        }
        statement(&self.connection, "COMMIT")
    }

    /// Not within a transaction, where it cannot be changed. Most transactions are like the one before.
    fn make_durable(&mut self, is_durable: bool) -> Result<(), Error> {
        if self.is_durable != is_durable {
            self.connection.pragma_update(None, "synchronous", if is_durable { "FULL" } else { "NORMAL" })?;
            self.is_durable = is_durable;
        }
        Ok(())
    }
}

/// Brings the journal into the file from time to time. Neither readers nor the writer wait for it.
fn checkpoint_until(stopped: &std::sync::mpsc::Receiver<()>, connection: Sqlite) {
    while stopped.recv_timeout(CHECKPOINT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(error = %crate::base::chain(&error), "checkpoint failed");
        }
    }
    close(connection);
}

/// Opens a connection to the file, which must exist.
fn connect(path: &Path, access: OpenFlags) -> Result<Sqlite, Error> {
    // Each connection is used by one thread at a time.
    let connection = Sqlite::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // With less than FULL a commit in WAL mode is not on the disk when it returns; see `Writer`.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn open_reader(path: &Path) -> Result<Sqlite, Error> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "cache_size", READERS_CACHE)?;
    Ok(connection)
}

fn close(connection: Sqlite) {
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "closing the database failed");
    }
}

/// Runs a future that only awaits SQLite, which never suspends it.
fn run_now<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("an operation awaits nothing but its connection"),
    }
}

/// Runs one statement without parameters.
fn statement(connection: &Sqlite, sql: &'static str) -> Result<(), Error> {
    connection.prepare_cached(sql)?.raw_execute()?;
    Ok(())
}

/// Ends a transaction without effect. Some errors, such as a full disk, end it by themselves; then there is nothing to do.
fn roll_back(connection: &Sqlite) -> Result<(), Error> {
    if connection.is_autocommit() { Ok(()) } else { statement(connection, "ROLLBACK") }
}

/// Runs one statement; how many rows it changed.
pub(super) fn execute(connection: &Sqlite, sql: &'static str, values: &[Value<'_>]) -> rusqlite::Result<u64> {
    let changed = bound(connection, sql, values)?.raw_execute()?;
    Ok(u64::try_from(changed).unwrap_or(u64::MAX))
}

/// Runs one statement and returns the columns of its rows.
pub(super) fn rows(connection: &Sqlite, sql: &str, values: &[Value<'_>]) -> rusqlite::Result<Vec<Vec<rusqlite::types::Value>>> {
    let mut statement = bound(connection, sql, values)?;
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push((0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<_>>()?);
    }
    Ok(all)
}

/// A statement with its parameters.
fn bound<'c>(connection: &'c Sqlite, sql: &str, values: &[Value<'_>]) -> rusqlite::Result<CachedStatement<'c>> {
    debug_assert!(values.len() <= PARAMETERS.len(), "a name for each");
    let mut statement = connection.prepare_cached(sql)?;
    for (value, name) in values.iter().zip(PARAMETERS) {
        let index = statement.parameter_index(name)?.ok_or_else(|| rusqlite::Error::InvalidParameterName(name.to_owned()))?;
        match value {
            Value::Text(text) => statement.raw_bind_parameter(index, text)?,
            Value::Integer(integer) => statement.raw_bind_parameter(index, integer)?,
            Value::Texts(_) | Value::Integers(_) => unreachable!("statements with arrays are for PostgreSQL"),
        }
    }
    Ok(statement)
}
