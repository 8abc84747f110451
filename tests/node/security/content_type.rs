//! A body that a path does not take is answered with 415; 405 means that the method is wrong.

use crate::http::support::{Node, request};

#[tokio::test]
async fn a_wrong_content_type_is_415_where_only_sealed_messages_are_posted() {
    let node = Node::start();
    for path in ["/api/v1/scan-networks", "/api/v1/status", "/api/v1/session"] {
        for kind in ["application/json", "application/octet-stream", "text/plain", "application/x-protobuf2", ""] {
            let reply = request(node.api, "POST", path, &[("content-type", kind)], b"{}").await;
            assert_eq!((reply.status, reply.text()), (415, r#"{"detail":"Unsupported Media Type"}"#), "{path} {kind}");
            assert_eq!(reply.header("allow"), None);
        }
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_whatever_the_content_type() {
    let node = Node::start();
    for (method, path) in [
        ("POST", "/api/v1/info"),
        ("POST", "/api/v1/events"),
        ("POST", "/docs"),
        ("PUT", "/api/v1/status"),
        ("DELETE", "/api/v1/status"),
        ("GET", "/api/v1/provision"),
    ] {
        for kind in ["application/json", "application/octet-stream", "application/x-protobuf"] {
            let reply = request(node.api, method, path, &[("content-type", kind)], b"{}").await;
            assert_eq!(reply.status, 405, "{method} {path} {kind}");
            assert!(reply.header("allow").is_some());
        }
    }
}
