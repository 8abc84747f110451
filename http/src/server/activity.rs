//! Which connections are busy, and which has been silent longest.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

/// Orders what happens on all connections of a server. It counts, because only the order matters.
pub(super) type Clock = Arc<AtomicU64>;

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    clock: Clock,
    /// When the last response was made, or when a request began to wait; [`BUSY`] while a response is being made.
    silent_since: AtomicU64,
    /// The body of the last request has not been read to its end.
    unread: AtomicBool,
}

const BUSY: u64 = u64::MAX;

impl Activity {
    pub(super) fn new(clock: &Clock) -> Self {
        let activity = Self { clock: Arc::clone(clock), silent_since: AtomicU64::new(0), unread: AtomicBool::new(false) };
        activity.falls_silent();
        activity
    }

    /// When the peer became silent, or when its request began to wait; `None` while a complete request is being answered.
    pub(super) fn silent_since(&self) -> Option<u64> {
        Some(self.silent_since.load(Ordering::Relaxed)).filter(|since| *since != BUSY)
    }

    /// Whether the last request was answered before its body was read to the end.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// The response was made, and it is the peer's turn; or the response has to wait.
    pub(super) fn falls_silent(&self) {
        self.silent_since.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    fn body_begins(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// The request is complete: the connection is not closed before it is answered.
    fn body_ends(&self) {
        self.unread.store(false, Ordering::Relaxed);
        self.becomes_busy();
    }

    fn becomes_busy(&self) {
        self.silent_since.store(BUSY, Ordering::Relaxed);
    }
}

/// Tells the server that the answer to a request waits for something, such as a message for a peer that polls. Meanwhile the
/// connection may be closed to make room for another. It is among the extensions of each request.
#[derive(Clone, Debug)]
pub struct Wait(pub(super) Arc<Activity>);

impl Wait {
    /// The answer waits until the returned value is dropped.
    pub fn begin(&self) -> Waiting<'_> {
        self.0.falls_silent();
        Waiting(&self.0)
    }
}

/// See [`Wait::begin`].
#[derive(Debug)]
pub struct Waiting<'a>(&'a Activity);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.becomes_busy();
    }
}

/// The body of a request. The server knows from it whether the request has arrived completely.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    activity: Arc<Activity>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, activity: Arc<Activity>) -> Self {
        if incoming.is_end_stream() {
            activity.body_ends();
        } else {
            activity.body_begins();
        }
        Self { incoming, activity }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.incoming).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || matches!(frame, Poll::Ready(Some(Ok(_)))) && self.incoming.is_end_stream() {
            self.activity.body_ends();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
