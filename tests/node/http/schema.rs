//! The published schema, compared with answers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::http::json::provision;
use crate::http::support::Node;

#[tokio::test]
async fn the_schema_is_served_and_lists_the_fields_of_live_answers() {
    let node = Node::start();
    let reply = node.get("/openapi.json").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let schemas = &reply.json()["components"]["schemas"];
    let fields = |object: &Value| object.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
    for (schema, live) in [
        ("NodeInfo", node.get("/api/v1/info").await),
        ("ProvisionStatus", node.get("/api/v1/status").await),
        ("ScanNetworksResponse", node.get("/api/v1/scan-networks").await),
        ("ProvisionResponse", node.post("/api/v1/provision", &provision()).await),
        ("FactoryResetResponse", node.post("/api/v1/factory-reset", &json!({})).await),
    ] {
        assert_eq!(fields(&live.json()), fields(&schemas[schema]["properties"]), "{schema}");
    }
    assert!(node.get("/docs").await.text().contains("/api/v1/provision/k2"));
}
