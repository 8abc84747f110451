//! Heartbeats, written many at a time.
//!
//! Those that arrive while one batch is being committed form the next. Each is answered when its batch is committed, so
//! the price of a commit is paid once for all of them, and a lone one does not wait.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::heartbeats::{self, Beat};
use crate::base::clock::Clock;
use crate::base::refusal::Refusal;
use crate::store::Store;

/// How many one transaction takes at most.
const BATCH: usize = 512;

/// How many may wait; more wait outside, at their connections.
const QUEUE: usize = 4096;

struct Waiting<B: Beat> {
    beat: B,
    answer_to: oneshot::Sender<Result<B::Answer, Refusal>>,
}

/// The handle of the task.
pub(crate) struct Batches<B: Beat>(mpsc::Sender<Waiting<B>>);

impl<B: Beat> std::fmt::Debug for Batches<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batches(..)")
    }
}

impl<B: Beat> Batches<B> {
    /// Starts the task that writes them. It ends when the handle is dropped.
    pub(crate) fn start(store: Arc<Store>, clock: Clock) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), tokio::spawn(write_batches(store, clock, receiver)))
    }

    /// Submits one; the answer means that it is committed, or that it was refused.
    pub(crate) async fn take(&self, beat: B) -> Result<B::Answer, Refusal> {
        let (answer_to, answer) = oneshot::channel();
        self.0.send(Waiting { beat, answer_to }).await.map_err(|_| Refusal::Unavailable)?;
        answer.await.map_err(|_| Refusal::Unavailable)?
    }
}

async fn write_batches<B: Beat>(store: Arc<Store>, clock: Clock, mut receiver: mpsc::Receiver<Waiting<B>>) {
    let mut batch = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        let (beats, askers): (Vec<_>, Vec<_>) = batch.drain(..).map(|Waiting { beat, answer_to }| (beat, answer_to)).unzip();
        // The client may have disconnected; its heartbeat is written all the same.
        match heartbeats::write(&store, beats, clock.now()).await {
            Ok(answers) => {
                for (asker, answer) in askers.into_iter().zip(answers) {
                    drop(asker.send(answer));
                }
            }
            Err(refusal) => {
                for asker in askers {
                    drop(asker.send(Err(refusal.clone())));
                }
            }
        }
    }
}
