//! Heartbeats: by far the most frequent request, so they are written many at a time.
//!
//! Those that arrive while one batch is being committed form the next. One statement checks every key and takes every
//! report of a batch; each node is answered when its batch is on the disk.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::api;
use crate::clock::{Clock, Moment};
use crate::refusal::Refusal;
use crate::store::{Connection, Error, Operation, Store, values};

/// How many heartbeats one statement takes at most.
const BATCH: usize = 512;

/// How many may wait; more wait outside, at their connections.
const QUEUE: usize = 4096;

/// What a node tells of itself; what is absent stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) version: Option<String>,
    pub(crate) git_sha: Option<String>,
    pub(crate) install_mode: Option<String>,
    pub(crate) is_busy: Option<bool>,
}

/// A heartbeat whose key has not been checked.
#[derive(Clone, Debug)]
pub(crate) struct Beat {
    pub(crate) node_id: String,
    pub(crate) key_hash: String,
    pub(crate) report: Report,
}

struct Waiting {
    beat: Beat,
    answer_to: oneshot::Sender<Result<(), Refusal>>,
}

/// Where heartbeats are handed in.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeats(mpsc::Sender<Waiting>);

impl Heartbeats {
    /// Starts the task that writes them. It ends when every copy of the handle is gone.
    pub(crate) fn start(store: Arc<Store>, clock: Clock) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), tokio::spawn(write_batches(store, clock, receiver)))
    }

    /// Takes one heartbeat: an answer means that it is on the disk, or that the key is wrong.
    pub(crate) async fn beat(&self, beat: Beat) -> Result<(), Refusal> {
        let (answer_to, answer) = oneshot::channel();
        self.0.send(Waiting { beat, answer_to }).await.map_err(|_| Refusal::Unavailable)?;
        answer.await.map_err(|_| Refusal::Unavailable)?
    }
}

async fn write_batches(store: Arc<Store>, clock: Clock, mut receiver: mpsc::Receiver<Waiting>) {
    let mut batch = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        let beats = batch.iter().map(|waiting| waiting.beat.clone()).collect::<Vec<_>>();
        let taken = store.write(Take { beats: reports(&beats), now: clock.now() }).await.map_err(api::refuse);
        for Waiting { beat, answer_to } in batch.drain(..) {
            let answer = match &taken {
                Ok(taken) if taken.contains(&(beat.node_id, beat.key_hash)) => Ok(()),
                Ok(_) => Err(Refusal::WrongNodeKey),
                Err(refusal) => Err(refusal.clone()),
            };
            // The node may have hung up; its heartbeat counts all the same.
            drop(answer_to.send(answer));
        }
    }
}

fn reports(beats: &[Beat]) -> String {
    let list = beats.iter().map(|Beat { node_id, key_hash, report }| {
        json!({
            "i": node_id,
            "k": key_hash,
            "v": report.version,
            "g": report.git_sha,
            "m": report.install_mode,
            "b": report.is_busy.map(i64::from),
        })
    });
    serde_json::Value::Array(list.collect()).to_string()
}

struct Take {
    /// A JSON array, which both databases can join with a table.
    beats: String,
    now: Moment,
}

impl Operation for Take {
    /// The nodes and key hashes that were right.
    type Answer = HashSet<(String, String)>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        let statement = connection.either(
            "UPDATE nodes
                SET last_seen = $1,
                    key_used_at = COALESCE(nodes.key_used_at, $1),
                    version = COALESCE(beat.value ->> 'v', nodes.version),
                    git_sha = COALESCE(beat.value ->> 'g', nodes.git_sha),
                    install_mode = COALESCE(beat.value ->> 'm', nodes.install_mode),
                    is_busy = COALESCE(beat.value ->> 'b', nodes.is_busy)
               FROM json_each($2) AS beat
              WHERE nodes.node_id = beat.value ->> 'i' AND nodes.key_hash = beat.value ->> 'k'
                AND nodes.deactivated_at IS NULL
             RETURNING node_id, key_hash",
            "UPDATE nodes
                SET last_seen = $1,
                    key_used_at = COALESCE(nodes.key_used_at, $1),
                    version = COALESCE(beat.v, nodes.version),
                    git_sha = COALESCE(beat.g, nodes.git_sha),
                    install_mode = COALESCE(beat.m, nodes.install_mode),
                    is_busy = COALESCE(beat.b, nodes.is_busy)
               FROM json_to_recordset($2::json) AS beat(i text, k text, v text, g text, m text, b bigint)
              WHERE nodes.node_id = beat.i AND nodes.key_hash = beat.k
                AND nodes.deactivated_at IS NULL
             RETURNING node_id, key_hash",
        );
        let rows = connection.rows(statement, values![self.now, &self.beats]).await?;
        rows.iter().map(|row| Ok((row.column(0)?, row.column(1)?))).collect()
    }
}
