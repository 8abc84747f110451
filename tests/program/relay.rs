//! A scripted proxy between a node and its command center.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::place::PATIENCE;

/// What the relay does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Forwards the answer.
    Pass,
    /// Forwards the request, and drops the answer.
    LoseAnswer,
    /// Forwards the request, and holds the answer back until the node exits.
    HoldAnswer,
    /// Never answers.
    Silence,
    /// Closes the connection at once.
    HangUp,
    /// Sends this answer; does not forward the request.
    Answer(&'static str),
}

/// Number of connections that have reached their final state: forwarded, dropped, or held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    /// How many of them the command center has answered.
    pub(crate) answered: usize,
}

/// A running relay; stops on drop.
pub(crate) struct Relay {
    address: SocketAddr,
    seen: watch::Receiver<Seen>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Handles the first connections by `plans`, in order; forwards all others.
    pub(crate) async fn start(to: SocketAddr, plans: &[Plan]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (seen, receiver) = watch::channel(Seen::default());
        let plans = Arc::new(Mutex::new(VecDeque::from(plans.to_vec())));
        let task = tokio::spawn(async move {
            while let Ok((node, _)) = listener.accept().await {
                let plan = plans.lock().expect("no test panics while it holds this").pop_front().unwrap_or(Plan::Pass);
                tokio::spawn(carry_out(plan, node, to, seen.clone()));
            }
        });
        Self { address, seen: receiver, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until the counts fulfil a condition.
    pub(crate) async fn seen(&mut self, fits: impl FnMut(&Seen) -> bool) -> Seen {
        let seen = timeout(PATIENCE, self.seen.wait_for(fits)).await.expect("the condition is fulfilled in time");
        *seen.expect("the relay runs")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry_out(plan: Plan, mut node: TcpStream, to: SocketAddr, seen: watch::Sender<Seen>) {
    seen.send_modify(|seen| seen.connections += 1);
    match plan {
        Plan::HangUp => return,
        Plan::Silence => return drained(&mut node).await,
        Plan::Answer(status) => {
            let mut request = vec![0; 64 * 1024];
            // On loopback one read returns the request; only that the node has written matters.
            let _read = node.read(&mut request).await;
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
            let _gone = node.write_all(answer.as_bytes()).await;
            return;
        }
        Plan::Pass | Plan::LoseAnswer | Plan::HoldAnswer => {}
    }
    let Ok(mut center) = TcpStream::connect(to).await else { return };
    if plan == Plan::Pass {
        // Either end may disconnect at any time.
        let _ended = tokio::io::copy_bidirectional(&mut node, &mut center).await;
        return;
    }
    let (mut from_node, _to_node) = node.split();
    let (mut from_center, mut to_center) = center.split();
    let mut answer = vec![0; 64 * 1024];
    let answered = tokio::select! {
        _ = tokio::io::copy(&mut from_node, &mut to_center) => false,
        read = from_center.read(&mut answer) => read.is_ok_and(|length| length > 0),
    };
    assert!(answered, "the command center answers before the node disconnects");
    seen.send_modify(|seen| seen.answered += 1);
    if plan == Plan::HoldAnswer {
        drained(&mut node).await;
    }
}

/// Reads until the peer disconnects.
async fn drained(stream: &mut TcpStream) {
    let mut nothing = [0; 1024];
    while matches!(stream.read(&mut nothing).await, Ok(1..)) {}
}
