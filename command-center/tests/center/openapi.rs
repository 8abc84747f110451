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
