//! A plain HTTP client that sends exactly the given bytes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Limit of every wait; reached only by a failing test.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A parsed response.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Everything after the head.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of the first header of that name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// Parses a response that ended with its connection.
    pub fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        let head = std::str::from_utf8(&bytes[..end]).expect("the head is text");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let headers =
            lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_ascii_lowercase(), value.into()));
        Self { status: status.expect("a status"), headers: headers.collect(), body: bytes[end + 4..].to_vec() }
    }
}

/// Sends a request on a new connection.
pub async fn request(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    request_over(connect(to).await, method, path, headers, body).await
}

/// Sends the only request of a connection.
pub async fn request_over(stream: TcpStream, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let to = stream.peer_addr().expect("it is connected");
    let host = headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("host")).then(|| format!("host: {to}\r\n"));
    let mut head = format!("{method} {path} HTTP/1.1\r\n{}connection: close\r\n", host.unwrap_or_default());
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    if !body.is_empty() || method == "POST" {
        head.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
    }
    head += "\r\n";
    Reply::read(&exchange_over(stream, &[head.as_bytes(), body].concat()).await)
}

/// Sends a POST request with a JSON body.
pub async fn post_json(to: SocketAddr, path: &str, body: &[u8]) -> Reply {
    request(to, "POST", path, &[("content-type", "application/json")], body).await
}

/// Waits until the JSON at a path fits.
pub async fn poll_json(to: SocketAddr, path: &str, patience: Duration, fits: impl Fn(&Value) -> bool) -> Value {
    let wait = async {
        loop {
            let value = request(to, "GET", path, &[], b"").await.json();
            if fits(&value) {
                return value;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(patience, wait).await.expect("the JSON fits in time")
}

/// Sends bytes on a new connection, and reads until the server closes it.
pub async fn exchange(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    exchange_over(connect(to).await, bytes).await
}

/// Connects from an address of this machine, such as another one of the loopback: for the server this is another peer.
pub async fn connect_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.expect("a socket");
    socket.bind((from, 0).into()).expect("an address of this machine");
    socket.connect(to).await.expect("the node listens")
}

async fn connect(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).await.expect("the node listens")
}

async fn exchange_over(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let both = async {
        // A server that answers early may stop reading.
        let (_cut_off, read) = tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut answer));
        read
    };
    let read = timeout(PATIENCE, both).await.expect("an answer in time");
    read.expect("the connection is closed in order");
    answer
}
