//! Frequent requests, written many at a time.
//!
//! Those that arrive while one batch is being committed form the next. Each is answered when its batch is committed, so
//! the price of a commit is paid once for all of them, and a lone one does not wait.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock::{Clock, Moment};
use crate::refusal::Refusal;
use crate::store::Store;

/// How many one statement takes at most.
const BATCH: usize = 512;

/// How many may wait; more wait outside, at their connections.
const QUEUE: usize = 4096;

/// A request that is written together with its like.
pub(crate) trait Batched: Send + 'static {
    /// What one of them is told.
    type Answer: Send + 'static;

    /// Writes them; one answer for each, in their order.
    fn write(
        store: &Store,
        batch: Vec<Self>,
        now: Moment,
    ) -> impl Future<Output = Result<Vec<Result<Self::Answer, Refusal>>, Refusal>> + Send
    where
        Self: Sized;
}

struct Waiting<B: Batched> {
    request: B,
    answer_to: oneshot::Sender<Result<B::Answer, Refusal>>,
}

/// Where requests are handed in.
pub(crate) struct Batches<B: Batched>(mpsc::Sender<Waiting<B>>);

impl<B: Batched> std::fmt::Debug for Batches<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batches(..)")
    }
}

impl<B: Batched> Batches<B> {
    /// Starts the task that writes them. It ends when the handle is gone.
    pub(crate) fn start(store: Arc<Store>, clock: Clock) -> (Self, JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), tokio::spawn(write_batches(store, clock, receiver)))
    }

    /// Hands in one request; an answer means that it is committed, or that it was refused.
    pub(crate) async fn take(&self, request: B) -> Result<B::Answer, Refusal> {
        let (answer_to, answer) = oneshot::channel();
        self.0.send(Waiting { request, answer_to }).await.map_err(|_| Refusal::Unavailable)?;
        answer.await.map_err(|_| Refusal::Unavailable)?
    }
}

async fn write_batches<B: Batched>(store: Arc<Store>, clock: Clock, mut receiver: mpsc::Receiver<Waiting<B>>) {
    let mut batch = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        let (requests, askers): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|Waiting { request, answer_to }| (request, answer_to)).unzip();
        // Who asked may have hung up; what was asked counts all the same.
        match B::write(&store, requests, clock.now()).await {
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
