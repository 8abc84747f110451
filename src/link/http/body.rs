//! A request's body: read within its limits, and erased after use.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body, Bytes};
use zeroize::Zeroizing;

use super::Reply;
use super::json::problem;

/// The largest body, bytes: far above every valid request.
pub(super) const LIMIT: usize = 64 * 1024;

/// Why a body was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than [`LIMIT`].
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// It does not match its head, or the peer closed the connection.
    Broken,
}

/// Reads a body. It is refused before any of it is read if its announced length is above the limit, otherwise as soon as it
/// passes the limit.
///
/// The returned copy is erased when it is dropped. The connection's receive buffers are not.
pub(super) async fn read<B>(body: B, time: Duration) -> Result<Zeroizing<Vec<u8>>, Unread>
where
    B: Body<Data = Bytes> + Unpin,
{
    if body.size_hint().lower() > LIMIT as u64 {
        return Err(Unread::TooLarge);
    }
    tokio::time::timeout(time, collect(body)).await.unwrap_or(Err(Unread::TooSlow))
}

async fn collect<B>(mut body: B) -> Result<Zeroizing<Vec<u8>>, Unread>
where
    B: Body<Data = Bytes> + Unpin,
{
    // Reserve all of it at once: a buffer that grows leaves copies behind.
    let room = body.size_hint().upper().and_then(|upper| usize::try_from(upper).ok()).unwrap_or(LIMIT).min(LIMIT);
    let mut whole = Zeroizing::new(Vec::with_capacity(room));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unread::Broken)?;
        let Some(data) = frame.data_ref() else { continue };
        if whole.len() + data.len() > LIMIT {
            return Err(Unread::TooLarge);
        }
        whole.extend_from_slice(data);
    }
    Ok(whole)
}

impl From<Unread> for Reply {
    fn from(unread: Unread) -> Self {
        unread.answer(problem)
    }
}

impl Unread {
    /// The answer, made of a status and a text. The connection is closed, because the rest of the body follows on it, not a
    /// request.
    pub(super) fn answer(self, problem: impl FnOnce(StatusCode, &str) -> Reply) -> Reply {
        let mut reply = match self {
            Self::TooLarge => problem(StatusCode::PAYLOAD_TOO_LARGE, "Content Too Large"),
            Self::TooSlow => problem(StatusCode::REQUEST_TIMEOUT, "Request Timeout"),
            Self::Broken => problem(StatusCode::BAD_REQUEST, "There was an error parsing the body"),
        };
        reply.headers_mut().insert(hyper::header::CONNECTION, hyper::header::HeaderValue::from_static("close"));
        reply
    }
}
