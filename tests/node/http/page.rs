//! The setup page: its files, and what a browser lets it do.

use crate::care::api::{Caring, works};
use crate::http::support::{NODE_ID, Node, request};

const FILES: [(&str, &str); 2] = [("/", "text/html; charset=utf-8"), ("/page.js", "text/javascript; charset=utf-8")];

/// The two bytes with which every gzip file begins (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The page with everything that it loads, bytes.
const LIMIT: usize = 48 * 1024;

/// The style of the setup page, which has it in its document, for the page of network care and the form without a script.
const STYLE: (&str, &str) = ("/page.css", "text/css; charset=utf-8");

/// The files of the page of network care.
const CARE_FILES: [(&str, &str); 3] = [
    ("/care", "text/html; charset=utf-8"),
    ("/care.js", "text/javascript; charset=utf-8"),
    ("/care.css", "text/css; charset=utf-8"),
];

/// The same for the page of network care.
const CARE_LIMIT: usize = 16 * 1024;

#[tokio::test]
async fn the_setup_page_is_served_compressed_and_small() {
    let size = check(&Node::start(), &FILES).await;
    assert!(size <= LIMIT, "the page has {size} bytes");
    check(&Node::start(), &[STYLE]).await;
}

#[tokio::test]
async fn the_page_of_network_care_is_served_with_network_care_only() {
    let size = check(&Caring::start(works).node, &CARE_FILES).await;
    assert!(size <= CARE_LIMIT, "the page has {size} bytes");
    for (path, _) in CARE_FILES {
        assert_eq!(Node::start().get(path).await.status, 404, "{path}");
    }
}

/// Checks the files of a page; returns their size.
async fn check(node: &Node, files: &[(&str, &str)]) -> usize {
    let mut size = 0;
    for &(path, kind) in files {
        let reply = node.get(path).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(kind)), "{path}");
        assert_eq!((reply.header("content-encoding"), &reply.body[..2]), (Some("gzip"), &GZIP[..]), "{path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!((reply.header("set-cookie"), reply.header("referrer-policy")), (None, Some("no-referrer")), "{path}");
        assert!(reply.header("content-security-policy").is_some(), "{path}");
        size += reply.body.len();
    }
    size
}

#[tokio::test]
async fn a_browser_runs_only_the_pages_own_script_and_connects_only_to_the_node() {
    let node = Node::start();
    let reply = node.get("/").await;
    let policy = reply.header("content-security-policy").expect("a policy").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self' 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(policy.contains(&format!("; connect-src 'self' http://{NODE_ID}.local:*; ")), "{policy}");
    assert!(policy.ends_with("; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"), "{policy}");
}

#[tokio::test]
async fn the_setup_page_is_refused_for_the_name_of_another_host() {
    let node = Node::start();
    for (path, _) in FILES {
        assert_eq!(request(node.api, "GET", path, &[("host", "evil.example")], b"").await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn the_nodes_address_on_port_80_leads_to_the_setup_page() {
    let node = Node::start();
    let page = format!("http://{}/", node.api);
    for host in ["127.0.0.1", NODE_ID, &format!("{NODE_ID}.local")] {
        let reply = request(node.captive, "GET", "/", &[("host", host)], b"").await;
        assert_eq!((reply.status, reply.header("location"), reply.body.len()), (302, Some(page.as_str()), 0), "{host}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    assert_eq!(request(node.captive, "GET", "/generate_204", &[("host", "127.0.0.1")], b"").await.status, 204);
}
