//! Databases that older programs have written.

use std::os::unix::fs::OpenOptionsExt as _;

use command_center::Database;
use command_center::fleet::{Order, Query};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Center, postgres};

/// A database of version 6.
const OLD: &str = include_str!("schema_6.sql");

/// The secret with which its keys are hashed.
const SECRET: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

/// Starts a server on it.
async fn start(place: tempfile::TempDir, database: Database) -> Center {
    let secret = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(place.path().join("secret"));
    std::io::Write::write_all(&mut secret.unwrap(), SECRET.as_bytes()).unwrap();
    Center::start(place, database).await
}

async fn what_devices_reported_is_kept_and_their_keys_stay_valid(mut center: Center) {
    let seen = "2026-01-04T15:20:00.000000+00:00";
    for _ in 0..2 {
        let (_, nodes) = center.get("/api/v0/admin/nodes", &[("x-api-key", ADMIN_KEY)]).await;
        let shown = |node: &Value| json!([node["node_id"], node["room"], node["last_seen"], node["last_seen_version"]]);
        let nodes = nodes.as_array().unwrap().iter().map(shown).collect::<Vec<_>>();
        assert_eq!(nodes, [json!(["heard-of", "kitchen", seen, "1.2.3"]), json!(["silent", "hall", null, null])]);
        let operator = center.operator().await;
        let by_id = Query { order: Order::Id, ..Query::default() };
        let appliances = operator.appliances(&by_id).await.unwrap().entries;
        let shown = appliances.iter().map(|entry| (entry.appliance_id.as_str(), entry.last_seen.as_deref())).collect::<Vec<_>>();
        assert_eq!(shown, [("heard-of", Some(seen)), ("silent", None)]);
        operator.close().await;
        center.restart().await;
    }
    for id in ["heard-of", "silent"] {
        assert_eq!(center.heartbeat(&format!("{id}:key")).await.0, StatusCode::OK);
        assert_eq!(center.heartbeat(&format!("{id}:another key")).await.0, StatusCode::UNAUTHORIZED);
    }
    for (address, key) in [("02:00:00:00:00:01", "Bearer first key"), ("02:00:00:00:00:02", "Bearer second key")] {
        let body = json!({ "mac_address": address });
        let (status, known) = center.post("/api/provision/heartbeat", &[("authorization", key)], &body).await;
        assert_eq!((status, &known["status"], &known["site_id"]), (StatusCode::OK, &json!("known"), &json!("clinic")));
    }
    let now = "2026-01-04T15:30:00.000000+00:00";
    let appliances = center.operator().await.appliances(&Query::default()).await.unwrap().entries;
    assert!(appliances.iter().all(|entry| entry.last_seen.as_deref() == Some(now)));
    let (_, nodes) = center.get("/api/v0/admin/nodes", &[("x-api-key", ADMIN_KEY)]).await;
    assert!(nodes.as_array().unwrap().iter().all(|node| node["last_seen"] == now));
    // New devices get numbers of their own.
    let node = center.node().await;
    let (_, appliance) = center.appliance("02:00:00:00:00:03").await;
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::OK);
    let body = json!({ "mac_address": "02:00:00:00:00:03" });
    assert_eq!(center.post("/api/provision/heartbeat", &[("authorization", &appliance)], &body).await.0, StatusCode::OK);
    assert_eq!(center.operator().await.count_appliances().await.unwrap().all(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_what_devices_reported_is_kept_and_their_keys_stay_valid() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("center.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch(OLD).unwrap();
    what_devices_reported_is_kept_and_their_keys_stay_valid(start(place, Database::Sqlite(path)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres_what_devices_reported_is_kept_and_their_keys_stay_valid() {
    if !postgres::is_installed() {
        return;
    }
    let database = postgres::fresh_database().await;
    postgres::run_sql(&database, OLD);
    what_devices_reported_is_kept_and_their_keys_stay_valid(start(tempfile::tempdir().unwrap(), database).await).await;
}
