//! Limits for peers: bytes, time and connections.

use std::net::SocketAddr;
use std::time::Duration;

use jarvis_provisioning::link::http::{Config, Limits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::support::{Node, PATIENCE, Reply, config, exchange, request, success};

/// Short enough for a test, long enough for a valid request on a busy machine.
const SHORT: Duration = Duration::from_millis(700);

/// Both ends of each of a thousand connections are in this process.
pub(crate) fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, raised).expect("a process may raise its own limit to what it is allowed");
}

fn with_limits(limits: impl FnOnce(&mut Limits)) -> Node {
    let mut config = config();
    limits(&mut config.limits);
    Node::with(config, Box::new(|command| Some(success(command))))
}

async fn connect(to: SocketAddr, sent: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.expect("the node listens");
    stream.write_all(sent).await.expect("the node reads");
    stream
}

/// Reads until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A connection that is reset has ended, too.
    let _cut_off = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes the connection");
    bytes
}

/// Sends a byte at intervals until the server closes the connection; returns what the server sent.
async fn drip(mut stream: TcpStream, byte: u8) -> Vec<u8> {
    let mut said = Vec::new();
    let dripping = async {
        loop {
            let mut buffer = [0; 1024];
            match timeout(SHORT / 10, stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(length)) => said.extend_from_slice(&buffer[..length]),
                Err(_) => {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    timeout(PATIENCE, dripping).await.expect("the server closes the connection");
    said
}

#[tokio::test]
async fn ten_megabytes_of_json_are_413() {
    let node = Node::start();
    let body = format!("{{\"wifi_ssid\":\"{}\"}}", "a".repeat(10 << 20));
    let reply = node.post_text("/api/v1/provision", body).await;
    assert_eq!((reply.status, reply.text()), (413, r#"{"detail":"Content Too Large"}"#));
    assert_eq!(reply.header("connection"), Some("close"));
}

#[tokio::test]
async fn ten_megabytes_in_chunks_are_413() {
    let node = Node::start();
    let head = "POST /api/v1/provision HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut request = head.as_bytes().to_vec();
    for _ in 0..160 {
        request.extend_from_slice(format!("10000\r\n{}\r\n", "a".repeat(0x1_0000)).as_bytes());
    }
    assert_eq!(Reply::read(&exchange(node.api, &request).await).status, 413);
}

#[tokio::test]
async fn a_gigabyte_is_refused_before_it_is_sent() {
    let node = Node::start();
    let head = "POST /api/v1/provision HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\ncontent-length: 1073741824\r\n\r\n";
    let mut stream = connect(node.api, head.as_bytes()).await;
    assert_eq!(Reply::read(&rest(&mut stream).await).status, 413);
}

#[tokio::test]
async fn a_body_of_exactly_64_kib_is_read() {
    let node = Node::start();
    let body = |length: usize| [b"{}", b" ".repeat(length - 2).as_slice()].concat();
    assert_eq!(node.post_text("/api/v1/provision", body(64 * 1024)).await.status, 422);
    assert_eq!(node.post_text("/api/v1/provision", body(64 * 1024 + 1)).await.status, 413);
}

#[tokio::test]
async fn heads_have_a_size_and_a_number_of_fields() {
    let node = Node::start();
    let long = format!("x: {}\r\n", "a".repeat(64 * 1024));
    for fields in ["x: 1\r\n".repeat(10_000), "x: 1\r\n".repeat(200), long] {
        let request = format!("GET /api/v1/info HTTP/1.1\r\nhost: 127.0.0.1\r\n{fields}\r\n");
        assert_eq!(Reply::read(&exchange(node.api, request.as_bytes()).await).status, 431);
    }
    let target = format!("GET /{} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", "a".repeat(16 * 1024));
    assert!(matches!(Reply::read(&exchange(node.api, target.as_bytes()).await).status, 414 | 431));
}

#[tokio::test]
async fn bytes_that_are_not_http_are_400() {
    let node = Node::start();
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"] {
        assert_eq!(Reply::read(&exchange(node.api, bytes).await).status, 400);
    }
    assert_eq!(node.get("/api/v1/status").await.status, 200);
}

#[tokio::test]
async fn a_body_that_contradicts_its_head_is_400_and_cannot_smuggle_a_request() {
    let node = Node::start();
    let both = "POST /api/v1/factory-reset HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n";
    assert_eq!(Reply::read(&exchange(node.api, both.as_bytes()).await).status, 400);
}

#[tokio::test]
async fn slow_heads_are_cut_off() {
    let node = with_limits(|limits| limits.head = SHORT);
    let silent = connect(node.api, b"").await;
    let slow = connect(node.api, b"GET /api/v1/info HTTP/1.1\r\nx: ").await;
    let (silent, slow) = tokio::join!(drip(silent, b'\r'), drip(slow, b'a'));
    assert!(silent.is_empty() && slow.is_empty());
}

#[tokio::test]
async fn slow_bodies_are_408() {
    let node = with_limits(|limits| limits.body = SHORT);
    let plain = "POST /api/v1/provision HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000\r\n\r\n{";
    let chunked = "POST /api/v1/provision HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n400\r\n{";
    for head in [plain, chunked] {
        let stream = connect(node.api, head.as_bytes()).await;
        assert_eq!(Reply::read(&drip(stream, b' ').await).status, 408);
    }
}

#[tokio::test]
async fn a_connection_serves_several_requests_and_is_closed_when_idle() {
    let node = with_limits(|limits| limits.head = SHORT);
    let mut stream = connect(node.api, &b"GET /api/v1/info HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".repeat(3)).await;
    let said = rest(&mut stream).await;
    let answers = said.windows(17).filter(|window| window == b"HTTP/1.1 200 OK\r\n").count();
    assert_eq!(answers, 3);
}

#[tokio::test]
async fn a_client_that_does_not_read_responses_is_disconnected() {
    let node = with_limits(|limits| limits.write = SHORT);
    let mut stream = connect(node.api, b"").await;
    // More responses than the buffers of both ends can hold.
    let requests = b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".repeat(100);
    let flood = async { while stream.write_all(&requests).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("the server gives up");
}

#[tokio::test]
async fn a_thousand_silent_connections_do_not_block_other_clients() {
    allow_many_files();
    // No time limit closes them: other clients are served because silent connections make room.
    let hour = Duration::from_hours(1);
    let node = with_limits(|limits| *limits = Limits { head: hour, body: hour, write: hour, ..*limits });
    let mut held = Vec::new();
    for index in 0..1000 {
        let sent: &[u8] = match index % 4 {
            0 => b"",
            1 => b"GET /api/v1/info HTTP/1.1\r\nx: ",
            2 => b"POST /api/v1/provision HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000\r\n\r\n{",
            _ => b"GET /api/v1/info HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
        };
        held.push(connect(node.api, sent).await);
        if index % 10 == 9 {
            let status = timeout(PATIENCE, node.get("/api/v1/status")).await.expect("silent connections do not delay it");
            assert_eq!(status.status, 200);
        }
    }
    // The first ones made room; the last ones are still open.
    let limit = Limits::default().per_peer;
    for stream in &mut held[..1000 - limit] {
        rest(stream).await;
    }
    let last = held.last_mut().expect("a thousand");
    last.write_all(b"GET /api/v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").await.expect("it is open");
    assert!(rest(last).await.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_thousand_requests_at_once_are_all_answered_or_closed() {
    allow_many_files();
    let node = Node::start();
    let requests: Vec<_> = (0..1000)
        .map(|_| {
            let to = node.api;
            tokio::spawn(async move {
                let mut stream =
                    connect(to, b"GET /api/v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").await;
                rest(&mut stream).await
            })
        })
        .collect();
    let mut answered = 0;
    for request in requests {
        let said = request.await.expect("a client does not panic");
        answered += usize::from(said.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
    assert!(answered >= Limits::default().per_peer, "{answered} were answered");
    assert_eq!(node.get("/api/v1/status").await.status, 200);
}

#[tokio::test]
async fn requests_under_way_are_answered_when_the_server_stops() {
    let mut node = with_limits(|_| {});
    let head = b"POST /api/v1/factory-reset HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    let mut stream = connect(node.api, head).await;
    let mut go_on = [0; 25];
    timeout(PATIENCE, stream.read_exact(&mut go_on))
        .await
        .expect("the server requests the body")
        .expect("the connection is open");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let to = node.api;
    let ((), reply) = tokio::join!(node.stop(), async {
        stream.write_all(b"abcd").await.expect("the connection is open");
        Reply::read(&rest(&mut stream).await)
    });
    assert_eq!(reply.status, 200);
    assert!(TcpStream::connect(to).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn http_1_0_is_answered() {
    let node = Node::start();
    let reply = Reply::read(&exchange(node.api, b"GET /api/v1/info HTTP/1.0\r\n\r\n").await);
    assert_eq!(reply.status, 200);
    let redirected = Reply::read(&exchange(node.api, b"GET /api/v1/info/ HTTP/1.0\r\n\r\n").await);
    assert_eq!((redirected.status, redirected.header("location")), (307, Some("/api/v1/info")));
}

#[tokio::test]
async fn the_captive_port_has_the_same_bounds() {
    let node = Node::with(
        Config { limits: Limits { head: SHORT, ..Limits::default() }, ..config() },
        Box::new(|command| Some(success(command))),
    );
    let slow = connect(node.captive, b"GET /generate_204 HTTP/1.1\r\nx: ").await;
    assert!(drip(slow, b'a').await.is_empty());
    assert_eq!(request(node.captive, "GET", "/generate_204", &[], b"").await.status, 204);
}
