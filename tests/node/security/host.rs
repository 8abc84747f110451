//! A page that a hostile name serves cannot reach the node: the node answers only to an address and to its own name.

use provisioning_core::machine::Command;

use crate::http::json::provision;
use crate::http::support::{NODE_ID, Node, Reply, exchange, request};

/// Names that resolve to the node if an attacker, or the DNS of the access point, says so.
const FOREIGN: [&str; 12] = [
    "evil.example",
    "evil.example:8080",
    "evil.local",
    "evil",
    "jarvis.local",
    "jarvis-5b91b661.evil.example",
    "jarvis-5b91b661.local.evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "user@evil.example",
    "127.1",
    "",
];
const OWN: [&str; 8] = [
    "127.0.0.1",
    "192.168.4.1:8080",
    "[::1]:8080",
    "[fe80::1]",
    NODE_ID,
    "jarvis-5b91b661.local",
    "JARVIS-5B91B661.Local:8080",
    "localhost:8080",
];
const READS: [&str; 7] =
    ["/api/v1/info", "/api/v1/scan-networks", "/api/v1/status", "/api/v1/events", "/openapi.json", "/docs", "/api/v1/status/"];
const WRITES: [&str; 6] = [
    "/api/v1/session",
    "/api/v1/scan-networks",
    "/api/v1/status",
    "/api/v1/provision",
    "/api/v1/provision/k2",
    "/api/v1/factory-reset",
];
const REFUSED: &str = r#"{"detail":"This host name is not the device's."}"#;

async fn sent(node: &Node, bytes: &str) -> u16 {
    Reply::read(&exchange(node.api, bytes.as_bytes()).await).status
}

#[tokio::test]
async fn a_foreign_host_name_reads_nothing() {
    let node = Node::start();
    for host in FOREIGN {
        for path in READS {
            let reply = request(node.api, "GET", path, &[("host", host)], b"").await;
            assert_eq!((reply.status, reply.text()), (403, REFUSED), "{host} {path}");
        }
    }
}

#[tokio::test]
async fn a_foreign_host_name_changes_nothing() {
    let node = Node::start();
    for host in FOREIGN {
        for path in WRITES {
            for kind in ["application/json", "application/x-protobuf"] {
                let headers = [("host", host), ("content-type", kind)];
                let reply = request(node.api, "POST", path, &headers, provision().to_string().as_bytes()).await;
                assert_eq!((reply.status, reply.text()), (403, REFUSED), "{host} {path}");
            }
        }
    }
    assert!(node.commands().iter().all(|command| !matches!(command, Command::Disk(_))), "{:?}", node.commands());
}

#[tokio::test]
async fn an_address_and_the_own_name_are_answered_with_and_without_origin() {
    let node = Node::start();
    for host in OWN {
        assert_eq!(request(node.api, "GET", "/api/v1/status", &[("host", host)], b"").await.status, 200, "{host}");
        let origin = format!("http://{host}");
        for (origin, status) in [(origin.as_str(), 200), ("http://evil.local", 403)] {
            let headers = [("host", host), ("origin", origin)];
            let reply = request(node.api, "POST", "/api/v1/factory-reset", &headers, b"").await;
            assert_eq!(reply.status, status, "{host} {origin}");
        }
    }
}

#[tokio::test]
async fn a_request_without_one_host_is_refused() {
    let node = Node::start();
    for head in [
        "GET /api/v1/status HTTP/1.1\r\n",
        "GET /api/v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil.example\r\n",
        "GET http://evil.example/api/v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\n",
        "GET /api/v1/status HTTP/1.1\r\nhost: \u{e9}vil\r\n",
    ] {
        assert_eq!(sent(&node, &format!("{head}connection: close\r\n\r\n")).await, 403, "{head:?}");
    }
}

#[tokio::test]
async fn captive_portal_probes_are_answered_for_every_host() {
    let node = Node::start();
    for (path, status) in
        [("/generate_204", 204), ("/hotspot-detect.html", 200), ("/library/test/success.html", 200), ("/success.txt", 200)]
    {
        for host in ["captive.apple.com", "connectivitycheck.gstatic.com"] {
            assert_eq!(request(node.api, "GET", path, &[("host", host)], b"").await.status, status, "{path}");
        }
    }
}

#[tokio::test]
async fn the_name_on_the_label_is_answered_after_registration() {
    let node = Node::start();
    node.post("/api/v1/provision", &provision()).await;
    node.settled("PROVISIONED").await;
    for (host, status) in [("jarvis-5b91b661.local", 200), ("jarvis-0e8c1f5a.local", 403)] {
        assert_eq!(request(node.api, "GET", "/api/v1/status", &[("host", host)], b"").await.status, status, "{host}");
    }
}
