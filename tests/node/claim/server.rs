//! A server that does as it is told, one connection after the other.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to one connection, after its request was read.
#[derive(Clone)]
pub(crate) enum Act {
    /// These bytes, and the end.
    Send(Vec<u8>),
    /// A folder at that path, then these bytes, and the end.
    Block(PathBuf, Vec<u8>),
    /// The end, without a byte.
    Drop,
    /// Silence.
    Hold,
}

/// A server; it ends with the value. After the last act it does the same again.
pub(crate) struct Server {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn acting(acts: impl Into<Vec<Act>>) -> Self {
        Self::wrapped(acts, |stream| async { Some(stream) }).await
    }

    /// A server that speaks through what `wrap` makes of a connection.
    pub(crate) async fn wrapped<S, F>(acts: impl Into<Vec<Act>>, wrap: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, acts) = (requests.clone(), acts.into());
        let task = tokio::spawn(async move {
            let mut acts = acts.into_iter();
            let mut act = acts.next().expect("a server does something");
            while let Ok((stream, _)) = listener.accept().await {
                let Some(stream) = wrap(stream).await else { continue };
                // What is held is held while others are served.
                tokio::spawn(exchange(stream, seen.clone(), act.clone()));
                act = acts.next().unwrap_or(act);
            }
        });
        Self { port, requests, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
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

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, seen: Arc<Mutex<Vec<String>>>, act: Act) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if !matches!(stream.read_buf(&mut request).await, Ok(1..)) {
            return;
        }
    }
    seen.lock().unwrap().push(String::from_utf8(request).unwrap());
    match act {
        Act::Drop => {}
        Act::Hold => _ = stream.read(&mut [0]).await,
        Act::Block(path, answer) => {
            std::fs::create_dir(path).unwrap();
            send(stream, &answer).await;
        }
        Act::Send(answer) => send(stream, &answer).await,
    }
}

/// A client that goes away ends it early.
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

/// An answer of that status with a body.
pub(crate) fn answer(status: &str, body: &str) -> Act {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n", body.len());
    Act::Send(format!("{head}\r\n{body}").into_bytes())
}

/// The answer of a server that makes no keys.
pub(crate) fn claimed() -> Act {
    answer(
        "200 OK",
        r##"{"status":"claimed","site_id":"partner-clinic-abc123","appliance_id":"partner-clinic-abc123-84%3A3A%3A5B%3A91%3AB6%3A61",
            "partner":{"slug":"nepa-it","brand_name":"NEPA IT Solutions","primary_color":"#2563EB","logo_url":null},
            "api_endpoint":"https://api.osiriscare.net","message":"Appliance provisioned successfully"}"##,
    )
}
