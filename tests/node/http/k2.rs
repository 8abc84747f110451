//! K2 over the JSON API: keys, names and dates.

use provisioning_core::fault::Fault;
use provisioning_core::machine::{Command, CommandCenterCommand, DiskCommand};
use serde_json::json;

use crate::http::json::{K2, faults, k2, with};
use crate::http::support::{Node, config, success};
use testing::journal::K2_KEY;

#[tokio::test]
async fn k2_is_stored_and_echoed_with_all_four_keys() {
    let node = Node::start();
    for body in [k2(), with(k2(), "k2", json!(format!("{K2}="))), with(k2(), "kid", json!(""))] {
        let reply = node.post("/api/v1/provision/k2", &body).await;
        let kid = &body["kid"];
        assert_eq!(reply.text(), format!(r#"{{"success":true,"node_id":"0e8c1f5a","kid":{kid},"error":null}}"#));
    }
    let stored = node.commands().into_iter().find_map(|command| match command {
        Command::Disk(DiskCommand::SaveK2 { k2, .. }) => Some(k2),
        _ => None,
    });
    let stored = stored.expect("K2 is stored");
    assert_eq!(stored.created_at.as_str(), "2026-02-01T13:00:00.123000+00:00");
    assert_eq!(*stored.key.expose(), K2_KEY);
}

#[tokio::test]
async fn an_invalid_k2_is_refused_with_the_reason() {
    let node = Node::start();
    let (short, long) = ("A".repeat(42), "A".repeat(44));
    for (key, error) in [
        (short.as_str(), "K2 must be exactly 32 bytes, got 31"),
        (&long, "K2 must be exactly 32 bytes, got 33"),
        ("", "K2 must be exactly 32 bytes, got 0"),
    ] {
        let reply = node.post("/api/v1/provision/k2", &with(k2(), "k2", json!(key))).await;
        assert_eq!(reply.json(), json!({"success": false, "node_id": null, "kid": null, "error": error}));
    }
    let reply = node.post("/api/v1/provision/k2", &with(k2(), "k2", json!("A".repeat(41)))).await;
    assert!(reply.json()["error"].as_str().is_some_and(|error| error.starts_with("Invalid base64url encoding: ")));
}

#[tokio::test]
async fn a_k2_body_in_camel_case_is_422() {
    let node = Node::start();
    let body = json!({"nodeId": "n", "kid": "k", "k2": K2, "createdAt": "2026-02-01T13:00:00Z"});
    let reply = node.post("/api/v1/provision/k2", &body).await;
    assert_eq!(
        faults(&reply),
        [(json!(["body", "node_id"]), "missing".into()), (json!(["body", "created_at"]), "missing".into())]
    );
}

#[tokio::test]
async fn dates_are_parsed_in_every_form_or_refused_by_name() {
    let node = Node::start();
    for date in
        [json!("2026-02-01"), json!("2026-02-01T13:00:00+02:00"), json!(1_769_950_800), json!("1769950800123"), json!(1.5)]
    {
        let reply = node.post("/api/v1/provision/k2", &with(k2(), "created_at", date.clone())).await;
        assert_eq!((reply.status, &reply.json()["success"]), (200, &json!(true)), "{date}");
    }
    for (date, expected) in [
        (json!("yesterday"), "datetime_from_date_parsing"),
        (json!("2026-02-30"), "datetime_from_date_parsing"),
        (json!(1e300), "datetime_parsing"),
        (json!(i64::MAX), "datetime_parsing"),
        (json!(true), "datetime_type"),
        (json!(null), "datetime_type"),
        (json!([]), "datetime_type"),
    ] {
        let reply = node.post("/api/v1/provision/k2", &with(k2(), "created_at", date)).await;
        assert_eq!(faults(&reply), [(json!(["body", "created_at"]), expected.into())]);
    }
}

#[tokio::test]
async fn k2_is_refused_once_provisioned_and_healthy() {
    let node = Node::booted(config(), Box::new(|command| Some(success(command))), Some("http://192.168.1.50:7703"));
    let reply = node.post("/api/v1/provision/k2", &k2()).await;
    assert_eq!(
        reply.json(),
        json!({"success": false, "node_id": null, "kid": null, "error": "Node is already provisioned. Re-enter pairing mode to update K2."})
    );
}

#[tokio::test]
async fn k2_is_accepted_while_the_command_center_of_a_moved_node_does_not_answer() {
    let world = |command: &Command| {
        if matches!(command, Command::CommandCenter(CommandCenterCommand::CheckHealth { .. })) {
            None
        } else {
            Some(success(command))
        }
    };
    let node = Node::booted(config(), Box::new(world), Some("http://192.168.1.50:7703"));
    assert_eq!(node.post("/api/v1/provision/k2", &k2()).await.json()["success"], true);
}

#[tokio::test]
async fn k2_that_cannot_be_stored_is_a_failure() {
    let world = |command: &Command| {
        Some(match command {
            Command::Disk(DiskCommand::SaveK2 { op, .. }) => op.done(Err(Fault::StorageFailed)),
            command => success(command),
        })
    };
    let node = Node::with(config(), Box::new(world));
    let reply = node.post("/api/v1/provision/k2", &k2()).await;
    assert_eq!(reply.json(), json!({"success": false, "node_id": null, "kid": null, "error": Fault::StorageFailed.text()}));
}
