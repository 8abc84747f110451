//! The mistakes of the existing system, each as a test that it is not repeated.

use std::sync::Arc;
use std::time::Duration;

use jarvis_provisioning::care::port::{Error, Reply as Waiting, Request};
use testing_node::scripted::NEW_CODE;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::stream::Stream;
use super::{Caring, disconnected, fails, status, works};
use crate::http::sealed::Phone;
use crate::http::support::{PATIENCE, request};

#[tokio::test]
async fn bad_input_is_400_with_field_and_reason_and_never_500() {
    let caring = Caring::start(works);
    let long = format!(r#"{{"name":"{}"}}"#, "a".repeat(513));
    for (path, body, field) in [
        ("network/connect", r#"{"ssid":""}"#, "ssid"),
        ("network/connect", "{}", "ssid"),
        ("network/connect", r#"{"ssid":7}"#, "ssid"),
        ("network/connect", r#"{"ssid":["a"]}"#, "ssid"),
        ("network/connect", r#"{"ssid":"this name is longer than 32 bytes"}"#, "ssid"),
        ("network/connect", r#"{"ssid":"Home","password":"a\tpassword"}"#, "password"),
        ("network/connect", r#"{"ssid":"Home","password":12345678}"#, "password"),
        ("network/connect", r#"{"ssid":"Home","hidden":"yes"}"#, "hidden"),
        ("network/forget", r#"{"name":""}"#, "name"),
        ("network/forget", "{}", "name"),
        ("network/forget", r#"{"name":true}"#, "name"),
        ("network/forget", &long, "name"),
        ("restart", r#"{"scope":"world"}"#, "scope"),
        ("restart", r#"{"scope":1}"#, "scope"),
        ("restart", r#"{"reason":{}}"#, "reason"),
        ("rollback", r#"{"reason":"a\u0000b"}"#, "reason"),
    ] {
        let reply = caring.post(path, body).await;
        let answer = reply.json();
        assert_eq!((reply.status, answer["error"].as_str()), (400, Some("invalid request body")), "{body}");
        assert_eq!(answer["field"], field, "{body}");
        assert!(answer["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{body}");
    }
    for path in ["network/connect", "network/forget", "restart", "rollback"] {
        for body in ["", "null", "[]", "{", "{} {}", "ssid=Home", "\u{0}"] {
            let reply = caring.post(path, body).await;
            let expected = r#"{"error":"invalid request body","reason":"the body must be a JSON object"}"#;
            assert_eq!((reply.status, reply.text()), (400, expected), "{path} {body:?}");
        }
    }
}

#[tokio::test]
async fn a_body_of_more_than_64_kib_is_refused_in_the_same_envelope() {
    let caring = Caring::start(works);
    let body = |length: usize| format!("{{\"reason\":\"\"}}{}", " ".repeat(length - 13));
    assert_eq!(caring.post("rollback", body(64 * 1024)).await.status, 200);
    let reply = caring.post("rollback", body(64 * 1024 + 1)).await;
    assert_eq!((reply.status, reply.text()), (413, r#"{"error":"Content Too Large"}"#));
}

#[tokio::test]
async fn a_result_that_does_not_come_in_time_is_a_failure_with_a_reason() {
    let (started, mut requests) = mpsc::unbounded_channel();
    let caring = Caring::start(move |request| match request {
        Request::Saved(reply) => started.send(reply).expect("the test waits"),
        request => works(request),
    });
    let api = caring.node.api;
    let asking = tokio::spawn(async move { request(api, "GET", "/api/provisioning/networks/saved", &[], b"").await });
    let late = timeout(PATIENCE, requests.recv()).await.expect("a request in time").expect("the caretaker has it");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(10)).await;
    tokio::time::resume();
    let answer = asking.await.expect("no panic");
    let expected = r#"{"error":"network operation failed","reason":"there is no result after 10 s; it may still come"}"#;
    assert_eq!((answer.status, answer.text()), (500, expected));
    late.send(Ok(Vec::new()));
    assert_eq!(caring.get("status").await.status, 200);
}

#[tokio::test]
async fn a_network_that_is_not_saved_is_bad_input() {
    let caring = Caring::start(fails(Error::UnknownNetwork));
    let reply = caring.post("network/forget", r#"{"name":"Attic"}"#).await;
    let expected = r#"{"error":"invalid request body","field":"name","reason":"no saved network has this name"}"#;
    assert_eq!((reply.status, reply.text()), (400, expected));
}

#[tokio::test]
async fn disconnected_is_not_connected() {
    let caring = Caring::start(|request| {
        let Request::Diagnose(reply) = request else { unreachable!("nothing else is requested") };
        reply.send(Ok(Box::new(disconnected())));
    });
    let diagnostics = caring.get("network/diagnostics").await.json()["diagnostics"].clone();
    assert_eq!(diagnostics["nmcliState"], "disconnected");
    assert_eq!(diagnostics["connected"], false);
    for missing in ["activeConnection", "ipv4Address", "gateway"] {
        assert!(diagnostics.get(missing).is_none(), "{missing}");
    }
    assert_eq!(caring.post("network/test", "").await.json()["connected"], false);
}

#[tokio::test]
async fn a_join_goes_on_when_its_client_is_gone() {
    let (started, mut joins) = mpsc::unbounded_channel::<Waiting<()>>();
    let caring = Caring::start(move |request| match request {
        Request::Connect(_, reply) => started.send(reply).expect("the test waits"),
        request => works(request),
    });
    let mut client = TcpStream::connect(caring.node.api).await.expect("the node listens");
    let body = r#"{"ssid":"HomeNetwork"}"#;
    let head =
        format!("POST /api/provisioning/network/connect HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n\r\n", body.len());
    client.write_all(format!("{head}{body}").as_bytes()).await.expect("the node reads");
    let reply = timeout(PATIENCE, joins.recv()).await.expect("a request in time").expect("the caretaker has it");
    drop(client);
    // Others are served, and the caretaker ends the join whenever it wants.
    assert_eq!(caring.get("networks").await.status, 200);
    reply.send(Ok(()));
    assert_eq!(caring.get("status").await.status, 200);
}

#[tokio::test]
async fn the_code_that_is_shown_is_the_one_that_is_checked() {
    let caring = Caring::start(works);
    let code = caring.get("auth-code").await.json()["code"].as_str().expect("a code").to_owned();
    assert!(Phone::opens_with(&caring.node, &code).await);
    assert_eq!(caring.post("auth-code/regenerate", "").await.json()["code"], NEW_CODE);
    assert!(!Phone::opens_with(&caring.node, &code).await, "the old code is void");
    assert!(Phone::opens_with(&caring.node, NEW_CODE).await);
}

#[tokio::test]
async fn the_device_id_depends_neither_on_the_host_name_nor_on_the_code() {
    let caring = Caring::start(works);
    let before = caring.get("auth-code").await.json()["deviceId"].clone();
    let renamed = status();
    caring.status.send_replace(Arc::new(jarvis_provisioning::care::port::Status { hostname: "attic".into(), ..renamed }));
    let after = caring.post("auth-code/regenerate", "").await.json()["deviceId"].clone();
    assert_eq!(before, "jarvis-5b91b661");
    assert_eq!(after, before);
}

#[tokio::test]
async fn readers_that_leave_while_events_are_sent_disturb_nobody() {
    let caring = Caring::start(works);
    let mut stays = Stream::open(&caring, None).await;
    for round in 0..50 {
        let leaves = Stream::open(&caring, None).await;
        caring.publish(format!("{round}"));
        drop(leaves);
        assert_eq!(stays.message().await, format!("{round}"));
    }
}

#[tokio::test]
async fn a_refused_recovery_says_why() {
    let caring = Caring::start(fails(Error::RecoveryInProgress));
    let reply = caring.post("recovery/trigger", "").await;
    assert_eq!((reply.status, reply.text()), (409, r#"{"error":"recovery already in progress"}"#));
}

#[tokio::test]
async fn a_factory_reset_is_announced_even_if_its_client_is_gone() {
    let caring = Caring::start(works);
    let mut events = Stream::open(&caring, None).await;
    let mut client = TcpStream::connect(caring.node.api).await.expect("the node listens");
    let request = "POST /api/provisioning/factory-reset HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n";
    client.write_all(request.as_bytes()).await.expect("the node reads");
    assert_eq!(events.message().await, "Factory reset started");
    drop(client);
    assert_eq!(events.message().await, "Factory reset completed");
}
