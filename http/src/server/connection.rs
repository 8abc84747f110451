//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use super::activity::{Activity, RequestBody, Wait};
use super::endless::{self, Endless};
use super::patient::Patient;
use super::{Limits, Service, Transport};

/// How long the rest of a request is read after its response was sent. If the connection was closed at once, the kernel would
/// reset it, and the peer would lose the response (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(5);
/// The same in bytes.
const LINGER_LIMIT: u64 = 32 << 20;

/// What serves a connection.
pub(super) struct Connection<S: Service> {
    pub(super) service: Arc<S>,
    pub(super) state: S::Connection,
    pub(super) limits: Limits,
    pub(super) activity: Arc<Activity>,
    /// Becomes true when the server stops.
    pub(super) stopping: watch::Receiver<bool>,
}

impl<S: Service> Connection<S> {
    pub(super) async fn run<T: Transport>(self, stream: TcpStream, transport: Arc<T>) {
        match timeout(self.limits.head, transport.accept(stream)).await {
            Ok(Ok(stream)) => self.serve(stream).await,
            Ok(Err(error)) => debug!(%error, "handshake failed"),
            Err(_) => debug!("handshake took too long"),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Self { service, state, limits, activity, stopping } = self;
        let state = Arc::new(state);
        // Boxed, so that what hyper needs is freed before an endless response is sent.
        let next = Box::pin(exchange(&service, &state, limits, &activity, stopping.clone(), stream)).await;
        match next {
            Next::Drop => {}
            Next::Shutdown(mut stream) => {
                if let Err(error) = stream.shutdown().await {
                    debug!(%error, "closing a connection failed");
                }
            }
            Next::Linger(stream) => Box::pin(linger(stream)).await,
            Next::Endless(stream, response) => endless::send(stream, response, stopping).await,
        }
    }
}

/// What is left to do on a connection.
enum Next<I, B> {
    /// Nothing: the peer does not read.
    Drop,
    /// Close it.
    Shutdown(I),
    /// Read what the peer is still sending, then close it.
    Linger(I),
    /// Send this response, then close it.
    Endless(I, Response<B>),
}

/// Answers requests until the connection ends, or until a response is [`Endless`].
async fn exchange<S: Service, I: AsyncRead + AsyncWrite + Unpin>(
    service: &Arc<S>,
    state: &Arc<S::Connection>,
    limits: Limits,
    activity: &Arc<Activity>,
    mut stopping: watch::Receiver<bool>,
    stream: I,
) -> Next<Patient<I>, S::Body> {
    let endless = &Mutex::new(None);
    // hyper holds room for the future of a request as long as the connection lasts, so it is boxed.
    let answer = service_fn(|request: Request<Incoming>| {
        let (service, state, activity) = (Arc::clone(service), Arc::clone(state), Arc::clone(activity));
        Box::pin(async move {
            let mut request = request.map(|body| RequestBody::new(body, Arc::clone(&activity)));
            request.extensions_mut().insert(Wait(Arc::clone(&activity)));
            let response = service.answer(&state, request).await;
            activity.falls_silent();
            if response.extensions().get::<Endless>().is_some() {
                *endless.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
                // hyper sends nothing, because it is dropped before this ends.
                return std::future::pending().await;
            }
            Ok::<_, Infallible>(response)
        })
    });
    let mut connection = http1::Builder::new()
        // Without a timer, hyper ignores the limit on the time of a head.
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(limits.head_size)
        .max_buf_size(limits.head_size)
        .serve_connection(TokioIo::new(Patient::new(stream, limits.write)), answer);
    let mut stopping = pin!(stopping.wait_for(|stopping| *stopping));
    let mut is_stopping = false;
    let ended = poll_fn(|context| {
        if !is_stopping && stopping.as_mut().poll(context).is_ready() {
            is_stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        let polled = connection.poll_without_shutdown(context);
        match endless.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(response) => Poll::Ready(Ok(Some(response))),
            None => polled.map_ok(|()| None),
        }
    })
    .await;
    let is_timeout = match &ended {
        Ok(_) => false,
        Err(error) => {
            debug!(%error, "connection ended");
            error.is_timeout()
        }
    };
    let stream = connection.into_parts().io.into_inner();
    match ended {
        _ if is_timeout || stream.is_stalled() => Next::Drop,
        Ok(Some(response)) => Next::Endless(stream, response),
        Ok(None) if !activity.is_unread() => Next::Shutdown(stream),
        _ => Next::Linger(stream),
    }
}

/// Closes the sending side, and reads what the peer is still sending.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let rest = async {
        if stream.shutdown().await.is_ok() {
            let mut rest = (&mut stream).take(LINGER_LIMIT);
            let mut buffer = [0; 4096];
            while rest.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
        }
    };
    // Whether the peer has stopped sending or not, the connection is closed.
    let _late = timeout(LINGER, rest).await;
}
