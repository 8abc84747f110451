//! The guarantees of the serving layer, for any behaviour of the service.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame};
use hyper::{Request, Response};
use jarvis_http::server::{
    Accepted, Endless, Limits, Listener, Plain, RequestBody, Service, Transport, Wait, WhenFull, bind, serve,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// A limit that a test runs into.
const SHORT: Duration = Duration::from_millis(300);
/// A limit that no test runs into.
const LONG: Duration = Duration::from_hours(1);

const LIMITS: Limits =
    Limits { connections: 16, when_full: WhenFull::Wait, head: LONG, head_size: 16 * 1024, write: LONG, stop: LONG };

/// Answers with the data of the connection. The paths `/hang` and `/wait` are never answered, and the answer at `/endless` has
/// no end.
#[derive(Default)]
struct Echo {
    refuses: bool,
    paths: Mutex<Vec<String>>,
    open: Arc<AtomicUsize>,
    most_open: AtomicUsize,
}

struct Known {
    text: String,
    open: Arc<AtomicUsize>,
}

impl Drop for Known {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body of one frame, after which nothing comes, not even its end.
struct Endlessly(Option<Bytes>);

impl Body for Endlessly {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |text| Poll::Ready(Some(Ok(Frame::data(text)))))
    }
}

impl Service for Echo {
    type Listener = &'static str;
    type Connection = Known;
    type Body = Either<Full<Bytes>, Endlessly>;

    fn connected(&self, Accepted { listener, local, peer }: &Accepted<'_, &'static str>) -> Option<Known> {
        if self.refuses {
            return None;
        }
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_open.fetch_max(open, Ordering::Relaxed);
        Some(Known { text: format!("{listener} {local} {peer}"), open: Arc::clone(&self.open) })
    }

    async fn answer(&self, connection: &Known, request: Request<RequestBody>) -> Response<Self::Body> {
        self.paths.lock().expect("no test panics with the lock").push(request.uri().path().to_owned());
        match request.uri().path() {
            "/hang" => pending().await,
            "/wait" => {
                let _waiting = request.extensions().get::<Wait>().expect("each request has it").begin();
                pending::<()>().await;
            }
            "/endless" => {
                let mut response = Response::new(Either::Right(Endlessly(Some(connection.text.clone().into()))));
                response.extensions_mut().insert(Endless);
                return response;
            }
            _ => {}
        }
        Response::new(Either::Left(Full::new(connection.text.clone().into())))
    }
}

struct Served {
    addresses: Vec<SocketAddr>,
    service: Arc<Echo>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

fn start<T: Transport>(listeners: &[&'static str], transport: T, limits: Limits, service: Echo) -> Served {
    let listen = |id: &&'static str| {
        let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        Listener { id: *id, socket }
    };
    let listeners: Vec<_> = listeners.iter().map(listen).collect();
    let addresses = listeners.iter().map(|listener| listener.socket.local_addr().expect("it is bound")).collect();
    let service = Arc::new(service);
    let (stop, stopped) = oneshot::channel();
    let served = serve(listeners, Arc::new(transport), limits, Arc::clone(&service), async {
        stopped.await.expect("the test stops the server");
    });
    Served { addresses, service, stop, task: tokio::spawn(served) }
}

async fn connect(to: SocketAddr) -> TcpStream {
    TcpStream::connect(to).await.expect("the server listens")
}

/// Connects from another loopback address: another peer.
async fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::from(from), 0).into()).expect("a loopback address");
    socket.connect(to).await.expect("the server listens")
}

async fn send(stream: &mut TcpStream, path: &str, rest: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{rest}\r\n");
    stream.write_all(request.as_bytes()).await.expect("the connection is open");
}

/// Reads until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is reset has ended, too.
    let _reset = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes the connection");
    String::from_utf8(bytes).expect("the response is text")
}

#[tokio::test]
async fn a_request_knows_its_listener_and_both_addresses() {
    let served = start(&["one", "two"], Plain, LIMITS, Echo::default());
    for (name, address) in ["one", "two"].into_iter().zip(&served.addresses) {
        let mut stream = connect(*address).await;
        send(&mut stream, "/", "connection: close\r\n").await;
        let own = stream.local_addr().expect("it is connected");
        assert!(rest(&mut stream).await.ends_with(&format!("\r\n\r\n{name} {address} {own}")));
    }
}

#[tokio::test]
async fn a_connection_that_the_service_refuses_is_closed() {
    let served = start(&["one"], Plain, LIMITS, Echo { refuses: true, ..Echo::default() });
    let mut stream = connect(served.addresses[0]).await;
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_connection_waits_until_there_is_room() {
    let served = start(&["one"], Plain, Limits { connections: 1, ..LIMITS }, Echo::default());
    let mut first = connect(served.addresses[0]).await;
    let mut second = connect(served.addresses[0]).await;
    send(&mut second, "/second", "connection: close\r\n").await;
    send(&mut first, "/first", "connection: close\r\n").await;
    assert!(rest(&mut first).await.starts_with("HTTP/1.1 200 "));
    assert!(rest(&mut second).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(*served.service.paths.lock().expect("no test panics with the lock"), ["/first", "/second"]);
    assert_eq!(served.service.most_open.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_longest_silent_connection_makes_room_and_a_busy_one_does_not() {
    let limits = Limits { connections: 2, when_full: WhenFull::CloseLongestSilent { per_peer: 2 }, ..LIMITS };
    let served = start(&["one"], Plain, limits, Echo::default());
    let mut busy = connect(served.addresses[0]).await;
    send(&mut busy, "/hang", "").await;
    let mut silent = connect(served.addresses[0]).await;
    let mut third = connect(served.addresses[0]).await;
    send(&mut third, "/third", "connection: close\r\n").await;
    assert!(rest(&mut third).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(rest(&mut silent).await, "");
    assert_eq!(busy.try_read(&mut [0]).expect_err("it is open").kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_request_that_waits_makes_room() {
    let limits = Limits { connections: 2, when_full: WhenFull::CloseLongestSilent { per_peer: 2 }, ..LIMITS };
    let served = start(&["one"], Plain, limits, Echo::default());
    let mut waiting = [connect(served.addresses[0]).await, connect(served.addresses[0]).await];
    for stream in &mut waiting {
        send(stream, "/wait", "").await;
    }
    let arrived = async {
        while served.service.paths.lock().expect("no test panics with the lock").len() < waiting.len() {
            yield_now().await;
        }
    };
    timeout(PATIENCE, arrived).await.expect("the requests arrive");
    let mut third = connect(served.addresses[0]).await;
    send(&mut third, "/third", "connection: close\r\n").await;
    assert!(rest(&mut third).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(rest(&mut waiting[0]).await, "");
    assert_eq!(waiting[1].try_read(&mut [0]).expect_err("it is open").kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn one_peer_takes_only_its_own_connections() {
    let limits = Limits { when_full: WhenFull::CloseLongestSilent { per_peer: 4 }, ..LIMITS };
    let served = start(&["one"], Plain, limits, Echo::default());
    let mut owner = connect(served.addresses[0]).await;
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(connect_from([127, 0, 0, 2], served.addresses[0]).await);
    }
    for stream in &mut crowd[..36] {
        assert_eq!(rest(stream).await, "");
    }
    send(&mut owner, "/", "connection: close\r\n").await;
    assert!(rest(&mut owner).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_handshake_has_a_time_limit() {
    struct Hangs;

    impl Transport for Hangs {
        type Stream = TcpStream;

        async fn accept(&self, _: TcpStream) -> io::Result<TcpStream> {
            pending().await
        }
    }

    let served = start(&["one"], Hangs, Limits { head: SHORT, ..LIMITS }, Echo::default());
    let mut stream = connect(served.addresses[0]).await;
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn the_response_to_a_body_that_is_not_read_arrives() {
    let served = start(&["one"], Plain, LIMITS, Echo::default());
    let mut stream = connect(served.addresses[0]).await;
    send(&mut stream, "/", "content-length: 8388608\r\n").await;
    stream.write_all(&vec![b'a'; 8 << 20]).await.expect("the server reads the rest");
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_when_the_server_stops() {
    let Served { addresses, service, stop, task } = start(&["one"], Plain, Limits { stop: SHORT, ..LIMITS }, Echo::default());
    let mut stream = connect(addresses[0]).await;
    send(&mut stream, "/hang", "").await;
    // The request has arrived when a later one is answered.
    let mut later = connect(addresses[0]).await;
    send(&mut later, "/", "connection: close\r\n").await;
    assert!(rest(&mut later).await.starts_with("HTTP/1.1 200 "));
    stop.send(()).expect("the server runs");
    timeout(PATIENCE, task).await.expect("the server ends").expect("it does not panic");
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(service.open.load(Ordering::Relaxed), 0);
    assert!(TcpStream::connect(addresses[0]).await.is_err());
}

/// Reads until the text of the connection has come.
async fn first_frame(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let own = format!("{}", stream.local_addr().expect("it is connected"));
    let read = async {
        while !String::from_utf8_lossy(&bytes).ends_with(&own) {
            assert!(stream.read_buf(&mut bytes).await.expect("the connection is open") > 0);
        }
    };
    timeout(PATIENCE, read).await.expect("a frame in time");
    String::from_utf8(bytes).expect("the response is text")
}

#[tokio::test]
async fn an_endless_response_has_no_length_and_its_connection_ends_with_the_peer() {
    let served = start(&["one"], Plain, LIMITS, Echo::default());
    let mut stream = connect(served.addresses[0]).await;
    send(&mut stream, "/endless", "").await;
    let response = first_frame(&mut stream).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\none "), "{response}");
    send(&mut stream, "/ignored", "").await;
    assert_eq!(served.service.open.load(Ordering::Relaxed), 1);
    drop(stream);
    let closes = async {
        while served.service.open.load(Ordering::Relaxed) > 0 {
            yield_now().await;
        }
    };
    timeout(PATIENCE, closes).await.expect("the connection ends");
    assert_eq!(*served.service.paths.lock().expect("no test panics with the lock"), ["/endless"]);
}

#[tokio::test]
async fn an_endless_response_ends_at_once_when_the_server_stops() {
    let Served { addresses, stop, task, .. } = start(&["one"], Plain, LIMITS, Echo::default());
    let mut stream = connect(addresses[0]).await;
    send(&mut stream, "/endless", "").await;
    first_frame(&mut stream).await;
    stop.send(()).expect("the server runs");
    assert_eq!(rest(&mut stream).await, "");
    timeout(PATIENCE, task).await.expect("it does not wait for the limit").expect("no panic");
}

#[tokio::test]
async fn an_endless_response_makes_room_for_another_connection() {
    let limits = Limits { connections: 1, when_full: WhenFull::CloseLongestSilent { per_peer: 1 }, ..LIMITS };
    let served = start(&["one"], Plain, limits, Echo::default());
    let mut endless = connect(served.addresses[0]).await;
    send(&mut endless, "/endless", "").await;
    first_frame(&mut endless).await;
    let mut other = connect(served.addresses[0]).await;
    send(&mut other, "/", "connection: close\r\n").await;
    assert!(rest(&mut other).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(rest(&mut endless).await, "");
}
