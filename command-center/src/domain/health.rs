//! Whether the database takes changes.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::store::{Connection, Error, Operation, Store};

/// A database that takes longer for one statement is not healthy.
const DEADLINE: Duration = Duration::from_secs(2);

/// Writes to the database, because nodes cannot register with a database that is read-only.
struct Probe;

impl Operation for Probe {
    type Answer = ();

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        connection.execute("UPDATE server SET value = value WHERE name = 'fingerprint'", &[]).await?;
        Ok(())
    }
}

/// The result of the last probe. Health is public, and a probe costs a write to the disk, so the result is cached.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Option<(Instant, bool)>>);

/// How long a result is cached.
const FRESH: Duration = Duration::from_secs(1);

impl Health {
    pub(crate) async fn is_good(&self, store: &Store) -> bool {
        // Held while probing: concurrent callers share the answer.
        let mut last = self.0.lock().await;
        if let Some((at, good)) = *last
            && at.elapsed() < FRESH
        {
            return good;
        }
        let good = matches!(tokio::time::timeout(DEADLINE, store.write(Probe)).await, Ok(Ok(())));
        *last = Some((Instant::now(), good));
        good
    }
}
