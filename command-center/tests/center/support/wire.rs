//! A minimal HTTP client that sends requests as bytes, and can disconnect at any point.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One connection.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A `POST` of JSON, as a client behind the proxy at `source` sends it.
pub(crate) fn post(path: &str, source: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: center\r\nx-forwarded-for: {source}\r\ncontent-length: {length}\r\n\r\n{body}").into()
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(4096) }
    }

    /// Sends a request, or a part of one, and disconnects without reading the answer.
    pub(crate) async fn lose(mut self, request: &[u8]) {
        self.stream.write_all(request).await.unwrap();
    }

    /// The status of the answer, and its body.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> (u16, Value) {
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        loop {
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "the server hung up");
            let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.buffer[..end]).unwrap().to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let length = end + 4 + length.parse::<usize>().unwrap();
            if self.buffer.len() < length {
                continue;
            }
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return (status, serde_json::from_slice(&self.buffer[end + 4..length]).unwrap());
        }
    }
}
