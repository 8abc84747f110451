//! Servers that answer as they are told, byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::registrar::NODE_KEY;

/// A server on this machine; it ends with the value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// What a server does when it has sent its answer.
#[derive(Clone, Copy)]
pub(crate) enum Then {
    /// Closes the connection.
    Close,
    /// Keeps it open, in silence.
    Hold,
    /// Sends the same bytes until the client closes.
    Flood(&'static [u8]),
}

impl Server {
    /// Reads a request, sends an answer, and closes.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self::then(answer, Then::Close).await
    }

    /// Reads a request, sends an answer, and then goes on.
    pub(crate) async fn then(answer: impl Into<Vec<u8>>, then: Then) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), answer, then)
    }

    pub(crate) fn on(listener: TcpListener, answer: impl Into<Vec<u8>>, then: Then) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::wrapped(listener, answer, then, |stream| async { Some(stream) })
    }

    /// A server that speaks through what `wrap` makes of a connection.
    pub(crate) fn wrapped<S, F>(
        listener: TcpListener,
        answer: Arc<[u8]>,
        then: Then,
        wrap: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Some(stream) = wrap(stream).await {
                    exchange(stream, &seen, &answer, then).await;
                }
            }
        });
        Self { address, requests, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, as they came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request and its answer. A client that goes away ends it early.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: &Mutex<Vec<String>>, answer: &[u8], then: Then) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
            return;
        }
    }
    seen.lock().unwrap().push(String::from_utf8(request).unwrap());
    let _ = stream.write_all(answer).await;
    match then {
        Then::Close => _ = stream.shutdown().await,
        Then::Hold => _ = stream.read(&mut [0]).await,
        Then::Flood(bytes) => while stream.write_all(bytes).await.is_ok() {},
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// An answer of that status with a body.
pub(crate) fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// The body of a registration that worked.
pub(crate) fn registered() -> String {
    format!(r#"{{"node_id":"node-1","room":"kitchen","user":"default","voice_mode":"brief","node_key":"{NODE_KEY}"}}"#)
}
