//! The description of the interface.

use std::path::Path;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Center};

#[test]
fn the_checked_in_description_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == command_center::openapi(),
        "the interface has changed: jarvis-command-center openapi >command-center/openapi.json"
    );
}

#[tokio::test]
async fn the_description_is_served_to_the_administrator() {
    let center = Center::on_sqlite().await;
    let refused = center.get("/openapi.json", &[]).await;
    assert_eq!(refused, (StatusCode::UNAUTHORIZED, json!({ "detail": "Authentication required" })));
    let (status, served) = center.get("/openapi.json", &[("x-api-key", ADMIN_KEY)]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(served, serde_json::from_str::<Value>(&command_center::openapi()).unwrap());
}

#[tokio::test]
async fn every_described_route_is_answered() {
    let center = Center::on_sqlite().await;
    let description: Value = serde_json::from_str(&command_center::openapi()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    assert!(paths.len() >= 20);
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let status = center.request(method.clone(), path).send().await.unwrap().status();
            assert!(![StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status), "{method} {path}: {status}");
        }
    }
}

/// The largest body of an operation, by its description.
fn described_limit(operation: &Value) -> Option<usize> {
    let text = operation["responses"]["413"]["description"].as_str()?;
    let kib = text.strip_prefix("The body is larger than ")?.strip_suffix(" KiB.")?;
    Some(kib.parse::<usize>().expect("a number") * 1024)
}

#[tokio::test]
async fn a_body_may_be_as_large_as_is_described() {
    let center = Center::on_sqlite().await;
    let node = center.node().await;
    let id = node.split(':').next().expect("an id");
    let description: Value = serde_json::from_str(&command_center::openapi()).unwrap();
    let mut limits = Vec::new();
    for (method, path) in [
        ("post", "/api/v0/admin/nodes/heartbeat"),
        ("post", "/api/provision/claim"),
        ("put", "/api/v0/nodes/{node_id}/settings/requests/{request_id}/snapshot"),
    ] {
        let limit = described_limit(&description["paths"][path][method]).unwrap_or_else(|| panic!("{path} has no limit"));
        limits.push(limit);
        for (length, is_refused) in [(limit, false), (limit + 1, true)] {
            let path = path.replace("{node_id}", id).replace("{request_id}", "unknown");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let request = center.request(method, &path).header("x-api-key", &node).body(" ".repeat(length));
            let status = request.send().await.unwrap().status();
            assert_eq!(status == StatusCode::PAYLOAD_TOO_LARGE, is_refused, "{path}: {length} bytes: {status}");
        }
    }
    assert_eq!(limits, [64 * 1024, 64 * 1024, 512 * 1024]);
}
