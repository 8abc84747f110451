//! The probes of phones in the access point, in every mode of the portal: what leaves the node, byte for byte.

use std::net::{IpAddr, SocketAddr};

use jarvis_provisioning::config::Portal;
use jarvis_provisioning::link::http::Config;
use provisioning_core::domain::RadioUse;
use testing_node::scripted::success;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::http::support::{Node, PATIENCE, Place, config, connect_from, exchange, request, request_over};

/// What each system asks, and the answer of the internet: head and body.
const PROBES: [(&str, &str, &str, &str); 13] = [
    ("Android", "connectivitycheck.gstatic.com", "/generate_204", NOTHING),
    ("Android, fallback", "www.google.com", "/gen_204", NOTHING),
    ("Chrome OS", "clients3.google.com", "/generate_204", NOTHING),
    ("iOS, macOS", "captive.apple.com", "/hotspot-detect.html", APPLE),
    ("iOS, macOS, older", "www.apple.com", "/library/test/success.html", APPLE),
    ("Windows", "www.msftconnecttest.com", "/connecttest.txt", NOTHING),
    ("Windows, redirected", "www.msftconnecttest.com", "/redirect", NOTHING),
    ("Windows, older", "www.msftncsi.com", "/ncsi.txt", NOTHING),
    ("Firefox", "detectportal.firefox.com", "/success.txt?ipv4", FIREFOX),
    ("Firefox, page", "detectportal.firefox.com", "/canonical.html", NOTHING),
    ("GNOME", "nmcheck.gnome.org", "/check_network_status.txt", NOTHING),
    ("Debian", "network-test.debian.org", "/nm", NOTHING),
    ("a page of the owner", "example.com", "/", NOTHING),
];
const NOTHING: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n";
const APPLE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: 68\r\n\n\
                     <HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>";
const FIREFOX: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 7\r\n\nsuccess";

fn node(portal: Portal) -> Node {
    Node::with(Config { portal, ..config() }, Box::new(|command| Some(success(command))))
}

/// The whole answer on port 80, without the line of its date.
async fn answer(node: &Node, host: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let answer = String::from_utf8(exchange(node.captive, request.as_bytes()).await).expect("text");
    answer.split_inclusive('\n').filter(|line| !line.starts_with("date: ")).collect()
}

/// The same answer with the empty line after the head, which the table writes as a newline.
fn whole(expected: &str) -> String {
    match expected.split_once("\r\n\n") {
        Some((head, body)) => format!("{head}\r\n\r\n{body}"),
        None => format!("{expected}\r\n"),
    }
}

fn redirect(node: &Node) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nlocation: http://{}/\r\ncache-control: no-store\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        node.api
    )
}

#[tokio::test]
async fn for_the_app_every_probe_gets_the_answer_of_the_internet() {
    let node = node(Portal::App);
    for (system, host, path, expected) in PROBES {
        assert_eq!(answer(&node, host, path).await, whole(expected), "{system}");
    }
}

#[tokio::test]
async fn as_a_portal_every_probe_leads_to_the_setup_page() {
    for mode in [Portal::Portal, Portal::Auto] {
        let node = node(mode);
        for (system, host, path, _) in PROBES {
            assert_eq!(answer(&node, host, path).await, redirect(&node), "{system}, {mode:?}");
        }
        let refused = request(node.captive, "POST", "/generate_204", &[("host", "example.com")], b"").await;
        assert_eq!(refused.status, 501);
    }
}

#[tokio::test]
async fn after_a_call_of_the_app_that_phone_has_the_answers_of_the_internet() {
    let node = node(Portal::Auto);
    // The setup page, a probe, and what is no call of the API.
    for (path, headers) in [
        ("/", &[][..]),
        ("/docs", &[]),
        ("/generate_204", &[]),
        ("/api/v1/unknown", &[]),
        ("/api/v1/info", &[("jarvis-page", "1")]),
        ("/api/v1/info", &[("host", "evil.example")]),
    ] {
        request(node.api, "GET", path, headers, b"").await;
        assert_eq!(answer(&node, "example.com", "/").await, redirect(&node), "{path}");
    }
    node.get("/api/v1/info").await;
    for (system, host, path, expected) in PROBES {
        assert_eq!(answer(&node, host, path).await, whole(expected), "{system}");
    }
    // The owner who types the address, and another phone.
    assert_eq!(answer(&node, "127.0.0.1", "/").await, redirect(&node));
    let other = connect_from(IpAddr::from([127, 0, 0, 9]), node.captive).await;
    assert_eq!(request_over(other, "GET", "/generate_204", &[("host", "example.com")], b"").await.status, 302);
}

#[tokio::test]
async fn what_is_known_of_phones_is_forgotten_with_the_access_point() {
    let node = node(Portal::Auto);
    node.get("/api/v1/status").await;
    let probe = "GET /generate_204 HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n";
    assert!(exchange(node.captive, probe.as_bytes()).await.starts_with(b"HTTP/1.1 204 "));
    node.radio.send_replace(RadioUse::Idle);
    let is_open = |address: SocketAddr| async move { TcpStream::connect(address).await.is_ok() };
    let closes = async {
        while is_open(node.captive).await {
            yield_now().await;
        }
    };
    timeout(PATIENCE, closes).await.expect("the port is closed with the access point");
    node.radio.send_replace(RadioUse::AccessPoint(Place::default().access_point()));
    let opens = async {
        while !is_open(node.captive).await {
            yield_now().await;
        }
    };
    timeout(PATIENCE, opens).await.expect("the port is open again");
    assert!(exchange(node.captive, probe.as_bytes()).await.starts_with(b"HTTP/1.1 302 "));
}
