//! Peers that hold connections, polls and links do not keep an honest phone out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use jarvis_provisioning::link::http::Limits;
use provisioning_core::endpoint::{PROTOBUF, SESSION_HEADER};
use provisioning_core::session::{Opening, PhoneSecret};
use provisioning_core::wire::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::timeout;

use getrandom::SysRng;
use rand_core::UnwrapErr;

use crate::http::bounds::allow_many_files;
use crate::http::sealed::{Phone, open};
use crate::http::support::{CODE, NODE_ID, Node, PATIENCE, connect_from, request};

/// Polls for events until it is dropped; connects again whenever the node closes the connection.
async fn poll(from: IpAddr, to: SocketAddr, link: String) {
    let request = format!("GET /api/v1/events HTTP/1.1\r\nhost: {to}\r\n{SESSION_HEADER}: {link}\r\n\r\n");
    loop {
        let mut stream = connect_from(from, to).await;
        let mut buffer = [0; 1024];
        while stream.write_all(request.as_bytes()).await.is_ok() && stream.read(&mut buffer).await.is_ok_and(|length| length > 0)
        {
        }
    }
}

#[tokio::test]
async fn three_hundred_polls_do_not_delay_an_honest_request() {
    allow_many_files();
    for polling in [[127, 0, 0, 2], [127, 0, 0, 1]] {
        let node = Node::start();
        let (_, reply) = open(&node, CODE, &[]).await;
        let link = reply.header(SESSION_HEADER).expect("a link").to_owned();
        let mut polls = JoinSet::new();
        for _ in 0..300 {
            polls.spawn(poll(polling.into(), node.api, link.clone()));
        }
        for number in 0..33 {
            let reply = timeout(PATIENCE, node.get("/api/v1/status")).await.expect("an answer in time");
            assert_eq!(reply.status, 200, "request {number} beside polls from {polling:?}");
        }
    }
}

#[test]
fn the_protocol_document_has_the_limits_of_the_code() {
    let Limits { connections, per_peer, .. } = Limits::default();
    let row =
        format!("| connections over HTTP | {per_peer} of a peer, {connections} in the access point, {connections} elsewhere |");
    assert!(include_str!("../../../docs/protocol.md").contains(&row), "{row}");
}

/// A first message with a wrong secret, on a link of its own.
async fn junk(node: &Node) -> u16 {
    let secret = PhoneSecret::Qr(provisioning_core::secret::SecretBytes::new([9; 16]));
    let (_, message) = Opening::new(NODE_ID, &secret, &mut UnwrapErr(SysRng));
    request(node.api, "POST", "/api/v1/session", &[("content-type", PROTOBUF)], &message.encode()).await.status
}

#[tokio::test]
async fn junk_does_not_end_the_session_of_an_owner_who_is_typing() {
    let node = Node::start();
    let mut phone = Phone::connect(&node).await;
    phone.ask(&Request::Status).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(1)).await;
    tokio::time::resume();
    for _ in 0..50 {
        assert_eq!(junk(&node).await, 200);
    }
    assert_eq!(phone.ask(&Request::Status).await.status, 200);
}

#[tokio::test]
async fn empty_messages_hold_no_link() {
    let node = Node::start();
    for _ in 0..50 {
        let reply = request(node.api, "POST", "/api/v1/session", &[("content-type", PROTOBUF)], b"").await;
        assert_eq!((reply.status, reply.header(SESSION_HEADER)), (200, None));
    }
    let mut phone = Phone::connect(&node).await;
    assert_eq!(phone.ask(&Request::Status).await.status, 200);
}

#[tokio::test]
async fn a_peer_with_many_connections_loses_its_own() {
    allow_many_files();
    let node = Node::start();
    let head = b"GET /api/v1/info HTTP/1.1\r\nx: ";
    let mut owner = connect_from(Ipv4Addr::LOCALHOST.into(), node.api).await;
    owner.write_all(head).await.expect("the node reads");
    let mut crowd = Vec::new();
    for _ in 0..400 {
        crowd.push(connect_from([127, 0, 0, 2].into(), node.api).await);
    }
    owner.write_all(b"y\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").await.expect("the connection is open");
    let mut answer = Vec::new();
    timeout(PATIENCE, owner.read_to_end(&mut answer)).await.expect("an answer in time").expect("the connection is open");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
}
