//! Hostile names of networks, and very many of them.

use std::sync::Arc;

use jarvis_provisioning::care::port::{Request, Status};
use provisioning_core::domain::Security;
use testing::random::Random;

use super::stream::Stream;
use super::{Caring, below, joins, seen, works};

/// Names that a stranger can send: HTML, control characters, line breaks, texts that end a frame or JSON, other encodings.
const NAMES: [&[u8]; 12] = [
    b"<script>alert(1)</script>",
    b"\"><img src=x onerror=alert(1)>",
    b"a\r\nevent: device\r\ndata: {}\r\n\r\n",
    b"\n\n: heartbeat\n\n",
    b"\"}]}{\"error\":\"x\"}",
    b"\x00\x01\x1b[2J\x7f",
    b"\xff\xfe\xfd",
    b"caf\xe9",
    "\u{202e}txet\u{2028}\u{2029}".as_bytes(),
    b"${jndi:ldap://x}'; DROP TABLE",
    b"\\u0000\\",
    b" ",
];

fn all_names(request: Request) {
    match request {
        Request::Scan(reply) => reply.send(Ok(NAMES.map(|name| seen(name, 50, Security::Wpa2, false)).to_vec())),
        request => works(request),
    }
}

#[tokio::test]
async fn hostile_names_are_texts_in_valid_json() {
    let caring = Caring::start(all_names);
    let reply = caring.get("networks").await;
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert!(reply.text().bytes().all(|byte| byte >= b' '), "control characters are escaped");
    let networks = reply.json()["networks"].clone();
    let shown: Vec<&str> = networks.as_array().expect("an array").iter().filter_map(|network| network["ssid"].as_str()).collect();
    assert_eq!(shown, NAMES.map(|name| String::from_utf8_lossy(name).into_owned()));
}

#[tokio::test]
async fn a_hostile_host_name_is_a_text_in_valid_json() {
    let caring = Caring::start(works);
    for name in NAMES {
        let name = String::from_utf8_lossy(name).into_owned();
        caring.status.send_modify(|status| *status = Arc::new(Status { hostname: name.clone(), ..Status::clone(status) }));
        let reply = caring.get("status").await;
        assert!(reply.text().bytes().all(|byte| byte >= b' '), "control characters are escaped");
        assert_eq!(reply.json()["status"]["hostname"], name);
    }
}

#[tokio::test]
async fn a_network_is_joined_by_the_name_that_was_shown() {
    let (joined, mut caretaker) = joins();
    let caring = Caring::start(move |request| match request {
        request @ Request::Scan(_) => all_names(request),
        request => caretaker(request),
    });
    let networks = caring.get("networks").await.json()["networks"].clone();
    for network in networks.as_array().expect("an array") {
        let body = serde_json::json!({ "ssid": network["ssid"] }).to_string();
        assert_eq!(caring.post("network/connect", body).await.status, 200, "{network}");
    }
    let joined: Vec<Vec<u8>> = joined.lock().expect("no panic").iter().map(|join| join.ssid.as_bytes().to_vec()).collect();
    assert_eq!(joined, NAMES.map(<[u8]>::to_vec));
}

#[tokio::test]
async fn a_hostile_name_in_an_event_ends_no_frame() {
    let caring = Caring::start(works);
    let mut stream = Stream::open(&caring, None).await;
    for name in NAMES {
        let name = String::from_utf8_lossy(name);
        caring.publish(format!("Connecting to {name}"));
        assert_eq!(stream.message().await, format!("Connecting to {name}"));
    }
}

#[tokio::test]
async fn ten_thousand_networks_are_one_answer() {
    let caring = Caring::start(|request| {
        let Request::Scan(reply) = request else { unreachable!("nothing else is requested") };
        let mut random = Random(3);
        let network = |_| {
            let name: Vec<u8> = (0..32).map(|_| u8::try_from(below(&mut random, 256)).expect("a byte")).collect();
            seen(name, 200, Security::Open, false)
        };
        reply.send(Ok((0..10_000).map(network).collect()));
    });
    let networks = caring.get("networks").await.json()["networks"].clone();
    let networks = networks.as_array().expect("an array");
    assert_eq!(networks.len(), 10_000);
    assert!(networks.iter().all(|network| network["signal"] == 100), "a percentage is at most 100");
    assert_eq!(caring.get("status").await.status, 200);
}
