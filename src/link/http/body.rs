//! A request's body: read within its bounds, and erased after use.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::{Body, Bytes};
use zeroize::Zeroizing;

use super::Reply;
use super::json::problem;

/// The largest body, bytes: far above every request there is.
pub(super) const LIMIT: usize = 64 * 1024;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is larger than [`LIMIT`].
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// It is not what its head announces, or the peer has gone.
    Broken,
}

/// Reads a body. One that announces more than the limit is refused before any of it is read, another one as soon as it
/// passes the limit.
///
/// The copy that is returned is erased when it is dropped. The receive buffers of the connection below are not.
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
    // Room for all of it from the start: a buffer that grows leaves copies behind.
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
    /// The connection is closed: what follows on it is the rest of the body, and no request.
    fn from(unread: Unread) -> Self {
        let mut reply = match unread {
            Unread::TooLarge => problem(StatusCode::PAYLOAD_TOO_LARGE, "Content Too Large"),
            Unread::TooSlow => problem(StatusCode::REQUEST_TIMEOUT, "Request Timeout"),
            Unread::Broken => problem(StatusCode::BAD_REQUEST, "There was an error parsing the body"),
        };
        reply.headers_mut().insert(hyper::header::CONNECTION, hyper::header::HeaderValue::from_static("close"));
        reply
    }
}
