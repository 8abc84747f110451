//! The stream of events.

use std::net::IpAddr;
use std::sync::Arc;

use jarvis_provisioning::care::events::{Action, KEPT, Level, News, Phase, REPLAYED};
use jarvis_provisioning::link::http::Limits;
use serde_json::Value;
use testing::random::Random;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::{Caring, NOW, below, status, works};
use crate::http::bounds::allow_many_files;
use crate::http::support::{PATIENCE, Place, config, connect_from, request};

/// A client that reads events.
pub(super) struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Opens a stream, and reads the head and the first frame.
    pub(super) async fn open(caring: &Caring, last: Option<&str>) -> Self {
        let connection = TcpStream::connect(caring.node.api).await.expect("the node listens");
        Self::over(connection, last).await
    }

    /// The same with a token.
    pub(super) async fn with_token(caring: &Caring, token: &str) -> Self {
        let connection = TcpStream::connect(caring.node.api).await.expect("the node listens");
        Self::asking(connection, &format!("authorization: Bearer {token}\r\n")).await
    }

    pub(super) async fn over(connection: TcpStream, last: Option<&str>) -> Self {
        Self::asking(connection, &last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default()).await
    }

    async fn asking(connection: TcpStream, headers: &str) -> Self {
        let mut stream = Self(BufReader::with_capacity(256, connection));
        stream.ask(headers).await;
        let head = stream.block().await.expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("content-type: text/event-stream\r\n") && head.contains("cache-control: no-cache\r\n"), "{head}");
        let connected = stream.block().await.expect("a first frame");
        assert_eq!(connected, format!("event: connected\ndata: {{\"ok\":true,\"ts\":{NOW}}}\n\n"));
        stream
    }

    async fn ask(&mut self, headers: &str) {
        let request = format!("GET /api/provisioning/events HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).await.expect("the node reads");
    }

    /// Everything up to an empty line, without comments; none at the end of the stream.
    pub(super) async fn block(&mut self) -> Option<String> {
        let mut block = String::new();
        loop {
            let start = block.len();
            let read = timeout(PATIENCE, self.0.read_line(&mut block)).await.expect("a line in time");
            match read {
                Ok(0) | Err(_) => return None,
                Ok(_) if block == ": heartbeat\n\n" => block.clear(),
                Ok(_) if matches!(&block[start..], "\n" | "\r\n") => return Some(block),
                Ok(_) => {}
            }
        }
    }

    /// The id and the data of the next event.
    pub(super) async fn event(&mut self) -> (String, Value) {
        let frame = self.block().await.expect("a frame");
        let lines: Vec<&str> = frame.lines().collect();
        let [id, "event: device", data, ""] = lines[..] else { panic!("not an event: {frame}") };
        let id = id.strip_prefix("id: ").expect("an id");
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!(data["id"], id);
        (id.to_owned(), data)
    }

    pub(super) fn into_inner(self) -> TcpStream {
        self.0.into_inner()
    }

    pub(super) async fn message(&mut self) -> String {
        self.event().await.1["message"].as_str().expect("a text").to_owned()
    }
}

#[tokio::test]
async fn every_frame_is_that_of_the_existing_system() {
    let caring = Caring::start(works);
    caring.publish("Device manager started");
    caring.events.publish(
        News::action(Action::Connect, Phase::Failed, Level::Error, "Connecting to \"Home\nNetwork\" failed")
            .with_status(Arc::new(status()))
            .with("ssid", "Home\nNetwork")
            .with("tries", 3_u64)
            .with("hidden", false),
    );
    let mut stream = Stream::open(&caring, None).await;
    let first = stream.block().await.expect("a frame");
    let expected = concat!(
        "id: 20260228235959-000000\nevent: device\n",
        r#"data: {"id":"20260228235959-000000","type":"system","level":"info","message":"Device manager started","#,
        r#""timestamp":1772323199123}"#,
        "\n\n",
    );
    assert_eq!(first, expected);
    let second = stream.block().await.expect("a frame");
    let start = concat!(
        "id: 20260228235959-000001\nevent: device\n",
        r#"data: {"id":"20260228235959-000001","type":"action","level":"error","#,
        r#""message":"Connecting to \"Home\nNetwork\" failed","timestamp":1772323199123,"action":"network.connect","#,
        r#""phase":"failed","status":{"mode":"ready","#,
    );
    let end = concat!(r#""details":{"ssid":"Home\nNetwork","tries":3,"hidden":false}}"#, "\n\n");
    assert!(second.starts_with(start) && second.ends_with(end), "{second}");
}

#[tokio::test]
async fn the_last_25_are_replayed_and_then_events_are_live() {
    let caring = Caring::start(works);
    for number in 0..40 {
        caring.publish(number.to_string());
    }
    let mut stream = Stream::open(&caring, None).await;
    for number in 40 - REPLAYED..40 {
        assert_eq!(stream.message().await, number.to_string());
    }
    caring.publish("live");
    assert_eq!(stream.message().await, "live");
}

#[tokio::test]
async fn a_client_that_does_not_follow_gets_the_replay_and_the_end() {
    let caring = Caring::start(works);
    for number in 0..3 {
        caring.publish(number.to_string());
    }
    let reply = request(caring.node.api, "GET", "/api/provisioning/events?follow=false", &[], b"").await;
    assert_eq!((reply.status, reply.text().matches("event: device").count()), (200, 3));
}

#[tokio::test]
async fn a_reconnect_repeats_no_event_and_loses_none() {
    let caring = Caring::start(works);
    let mut random = Random(7);
    let (mut published, mut read, mut last) = (0, 0, None::<String>);
    for _ in 0..40 {
        // Fewer than are kept, so that nothing can be lost.
        while published < read + KEPT / 2 {
            caring.publish(published.to_string());
            published += 1;
        }
        let mut stream = Stream::open(&caring, last.as_deref()).await;
        if last.is_none() {
            // A new client gets a replay only.
            read = published - REPLAYED;
        }
        for _ in 0..=below(&mut random, KEPT / 2) {
            if read == published {
                caring.publish(published.to_string());
                published += 1;
            }
            let (id, event) = stream.event().await;
            assert_eq!(event["message"], read.to_string());
            read += 1;
            last = Some(id);
        }
    }
}

#[tokio::test]
async fn a_slow_reader_is_dropped_with_a_notice() {
    let limits = Limits { write: PATIENCE, ..Limits::default() };
    let caring = Caring::at(Place::default(), &jarvis_provisioning::link::http::Config { limits, ..config() }, None, works);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let connection = socket.connect(caring.node.api).await.expect("the node listens");
    let mut stream = Stream::over(connection, None).await;
    // More than the buffers of both ends hold, and then more events than are kept.
    for number in 0..400 {
        caring.publish(format!("{number} {}", "x".repeat(64 * 1024)));
        for _ in 0..50 {
            yield_now().await;
        }
    }
    let mut read = 0_u64;
    let notice = loop {
        let frame = stream.block().await.expect("the notice comes before the end");
        if frame.starts_with("event: dropped") {
            break frame;
        }
        let start = format!("\"message\":\"{read} xxx");
        assert!(frame.contains(&start), "the event {read} is missing");
        read += 1;
    };
    let missed = 400 - KEPT as u64 - read;
    assert_eq!(notice, format!("event: dropped\ndata: {{\"missed\":{missed}}}\n\n"));
    assert_eq!(stream.block().await, None, "the notice is the last frame");
    // It can come back for what is kept.
    let mut again = Stream::open(&caring, None).await;
    let first = 400 - REPLAYED;
    assert!(again.message().await.starts_with(&format!("{first} ")));
}

#[tokio::test]
async fn a_stream_ends_when_the_node_stops() {
    let mut caring = Caring::start(works);
    let mut stream = Stream::open(&caring, None).await;
    caring.node.stop().await;
    assert_eq!(stream.block().await, None);
}

#[tokio::test]
async fn what_a_client_sends_into_a_stream_is_not_a_request() {
    let caring = Caring::start(works);
    let mut stream = Stream::open(&caring, None).await;
    let request = b"POST /api/provisioning/factory-reset HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n";
    stream.0.get_mut().write_all(request).await.expect("it is taken");
    caring.publish("only this");
    assert_eq!(stream.message().await, "only this");
    assert!(caring.node.commands().iter().all(|command| !format!("{command:?}").contains("BeginReset")));
}

#[tokio::test]
async fn a_thousand_streams_keep_no_request_out_and_their_number_is_bounded() {
    allow_many_files();
    let caring = Caring::start(works);
    let mut streams = Vec::new();
    let (mut served, mut refused) = (0, 0);
    for index in 0..1000_u16 {
        // Each peer has at most 64 connections.
        let from: IpAddr = [127, 0, 1, u8::try_from(1 + index / 50).expect("at most 21")].into();
        let connection = connect_from(from, caring.node.api).await;
        let mut stream = Stream(BufReader::with_capacity(256, connection));
        stream.ask("").await;
        let head = stream.block().await.expect("a head");
        match &head[..12] {
            "HTTP/1.1 200" => served += 1,
            "HTTP/1.1 503" => {
                refused += 1;
                assert!(head.contains("retry-after: 30\r\n"), "{head}");
            }
            _ => panic!("{head}"),
        }
        streams.push(stream);
    }
    assert_eq!((served, refused), (512, 488));
    for _ in 0..10 {
        assert_eq!(caring.get("status").await.status, 200);
    }
    drop(streams);
    let frees_a_place = async {
        loop {
            let reply = request(caring.node.api, "GET", "/api/provisioning/events?follow=false", &[], b"").await;
            if reply.status == 200 {
                return;
            }
            yield_now().await;
        }
    };
    timeout(PATIENCE, frees_a_place).await.expect("streams that are closed free their places");
}
