//! A scripted server: it reads complete requests and answers each with given bytes, with or without TLS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What the server does with a connection after it has read a request.
#[derive(Clone)]
pub enum Act {
    /// Sends these bytes and closes.
    Send(Vec<u8>),
    /// Sends these bytes and keeps the connection open, silently.
    SendAndHold(Vec<u8>),
    /// Sends the first bytes, then the second again and again until the client closes.
    Flood(Vec<u8>, &'static [u8]),
    /// Creates a folder at that path, then sends these bytes and closes.
    Block(PathBuf, Vec<u8>),
    /// Closes without an answer.
    Drop,
    /// Keeps the connection open and sends nothing.
    Hold,
}

/// A server on loopback, which stops when it is dropped. Each connection gets the next act; the last act repeats.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// A server that sends the same bytes to every request and closes.
    pub async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self::acting([Act::Send(answer.into())]).await
    }

    /// A server with these acts.
    pub async fn acting(acts: impl Into<Vec<Act>>) -> Self {
        Self::on(listener().await, acts)
    }

    /// A server with these acts on a given socket.
    pub fn on(listener: TcpListener, acts: impl Into<Vec<Act>>) -> Self {
        Self::wrapped(listener, acts.into(), |stream| async { Some(stream) })
    }

    /// A server with these acts behind TLS. Connections without a valid handshake are closed and not recorded.
    pub async fn over_tls(config: ServerConfig, acts: impl Into<Vec<Act>>) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::wrapped(listener().await, acts.into(), move |stream| {
            let accepting = acceptor.accept(stream);
            async { accepting.await.ok() }
        })
    }

    fn wrapped<S, F>(listener: TcpListener, acts: Vec<Act>, wrap: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let address = listener.local_addr().expect("the socket is bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let task = tokio::spawn(async move {
            let mut acts = acts.into_iter();
            let mut act = acts.next().expect("a server has at least one act");
            while let Ok((stream, _)) = listener.accept().await {
                let Some(stream) = wrap(stream).await else { continue };
                // A separate task, so that a held connection does not delay the next.
                tokio::spawn(exchange(stream, seen.clone(), act.clone()));
                act = acts.next().unwrap_or(act);
            }
        });
        Self { address, requests, task }
    }

    /// The address as a URL without TLS.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in order, each with its head and body.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no test panics while it holds this").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

/// Reads one request and acts. A client that closes early ends it.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: Arc<Mutex<Vec<String>>>, act: Act) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
            return;
        }
    }
    let request = String::from_utf8(request).expect("the clients under test send UTF-8");
    seen.lock().expect("no test panics while it holds this").push(request);
    match act {
        Act::Drop => {}
        Act::Hold => _ = stream.read(&mut [0]).await,
        Act::SendAndHold(answer) => {
            _ = stream.write_all(&answer).await;
            _ = stream.read(&mut [0]).await;
        }
        Act::Flood(answer, repeated) => {
            _ = stream.write_all(&answer).await;
            while stream.write_all(repeated).await.is_ok() {}
        }
        Act::Block(path, answer) => {
            std::fs::create_dir(path).expect("nothing is there yet");
            send(stream, &answer).await;
        }
        Act::Send(answer) => send(stream, &answer).await,
    }
}

async fn send(mut stream: impl AsyncWrite + Unpin, answer: &[u8]) {
    _ = stream.write_all(answer).await;
    _ = stream.shutdown().await;
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// A response with a JSON body. The status may carry further headers.
pub fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
}
