//! What passes between a user's app and a node after it is provisioned: K2, settings, configurations, factory resets.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::broker::Broker;
use crate::support::{ADMIN_KEY, Center, answer, dump, on_both_databases, text, with};

on_both_databases!(
    a_settings_key_reaches_its_node_and_nobody_else,
    a_relayed_key_is_not_readable_in_the_database,
    the_failure_of_a_node_is_told_to_the_user,
    a_key_that_is_not_acknowledged_in_time_is_gone,
    a_second_relay_to_a_node_replaces_the_first,
    a_key_passes_between_two_server_processes,
    a_key_is_relayed_by_members_of_the_household_only,
    without_a_broker_a_key_is_not_relayed,
    settings_are_requested_answered_and_read,
    a_settings_request_ends_after_five_minutes,
    settings_of_a_node_are_for_its_household_and_itself,
    the_number_of_settings_requests_of_a_node_is_bounded,
    a_configuration_waits_for_its_node_and_is_erased,
    configurations_are_bounded_in_number_and_age,
    a_reset_is_verified_once_and_ends_the_nodes_key,
    a_reset_is_reported_with_its_own_token,
    a_failed_reset_keeps_the_node,
    a_second_reset_of_a_node_is_a_conflict,
);

/// Nobody's request.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// A center whose notices go to a broker, and whose relays end soon if `patience` says so.
async fn with_broker(center: &mut Center, patience: Duration) -> Broker {
    let broker = Broker::start().await;
    center.config.broker = Some(broker.address());
    center.config.patience.relay = patience;
    center.restart().await;
    broker
}

const LONG: Duration = Duration::from_secs(30);

fn id(credentials: &str) -> String {
    credentials.split(':').next().unwrap().to_owned()
}

fn key() -> Value {
    json!({ "k2": "canary-of-a-settings-key", "kid": "k2-202601-abcdef", "created_at": "2026-01-04T15:30:00.000Z" })
}

/// Relays a key as a member of the household; the answer comes later.
fn relay(center: &Center, node: &str, key: &Value) -> JoinHandle<(StatusCode, Value)> {
    let request = center.request(Method::POST, &format!("/api/v0/nodes/{}/k2", id(node)));
    let request = request.header("authorization", center.bearer(&["home"])).json(key);
    tokio::spawn(answer(request))
}

/// The request that a broker was told of.
async fn told(broker: &mut Broker, node: &str, subject: &str) -> String {
    let (topic, notice) = broker.next().await;
    assert_eq!(topic, format!("jarvis/nodes/{}/{subject}", id(node)));
    text(&notice, "request_id")
}

async fn fetch(center: &Center, node: &str, request: &str) -> (StatusCode, Value) {
    center.get(&format!("/api/v0/nodes/{}/k2/provision/{request}", id(node)), &[("x-api-key", node)]).await
}

async fn acknowledge(center: &Center, node: &str, request: &str, body: &Value) -> (StatusCode, Value) {
    center.post(&format!("/api/v0/nodes/{}/k2/ack/{request}", id(node)), &[("x-api-key", node)], body).await
}

fn detail(text: &str) -> Value {
    json!({ "detail": text })
}

async fn a_settings_key_reaches_its_node_and_nobody_else(mut center: Center) {
    let mut broker = with_broker(&mut center, LONG).await;
    let (node, other) = (center.node().await, center.node().await);
    let relayed = relay(&center, &node, &key());
    let (topic, notice) = broker.next().await;
    assert_eq!(topic, format!("jarvis/nodes/{}/k2/provision", id(&node)));
    assert_eq!(notice.as_object().unwrap().len(), 1, "a notice has no key: {notice}");
    let request = text(&notice, "request_id");
    let path = format!("/api/v0/nodes/{}/k2/provision/{request}", id(&node));
    let foreign = center.get(&path, &[("x-api-key", &other)]).await;
    assert_eq!(foreign, (StatusCode::FORBIDDEN, detail("Node mismatch")));
    let wrong = center.get(&path, &[("x-api-key", &format!("{}:wrong", id(&node)))]).await;
    assert_eq!(wrong, (StatusCode::UNAUTHORIZED, detail("Invalid API Key")));
    assert_eq!(fetch(&center, &other, &request).await, (StatusCode::NOT_FOUND, detail("No pending K2 for this request")));
    assert_eq!(fetch(&center, &node, &request).await, (StatusCode::OK, key()));
    assert_eq!(fetch(&center, &node, &request).await, (StatusCode::NOT_FOUND, detail("No pending K2 for this request")));
    let stranger = format!("/api/v0/nodes/{}/k2/ack/{request}", id(&node));
    let stranger = center.post(&stranger, &[("x-api-key", &other)], &json!({ "success": false })).await;
    assert_eq!(stranger, (StatusCode::FORBIDDEN, detail("Node mismatch")));
    let said = acknowledge(&center, &node, &request, &json!({ "success": true })).await;
    assert_eq!(said, (StatusCode::OK, json!({ "status": "ok" })));
    let stored = json!({ "ok": true, "node_id": id(&node), "kid": "k2-202601-abcdef" });
    assert_eq!(relayed.await.unwrap(), (StatusCode::OK, stored));
    // Late and repeated acknowledgements change nothing.
    let late = acknowledge(&center, &node, &request, &json!({ "success": false })).await;
    assert_eq!(late, (StatusCode::OK, json!({ "status": "ok" })));
}

async fn a_relayed_key_is_not_readable_in_the_database(mut center: Center) {
    let mut broker = with_broker(&mut center, LONG).await;
    let node = center.node().await;
    let relayed = relay(&center, &node, &key());
    let request = told(&mut broker, &node, "k2/provision").await;
    let stolen = dump(&center.config.database);
    assert!(stolen.contains(&request), "the relay is in the database");
    assert!(!stolen.contains("canary-of-a-settings-key"));
    acknowledge(&center, &node, &request, &json!({ "success": true })).await;
    assert_eq!(relayed.await.unwrap().0, StatusCode::OK);
}

async fn the_failure_of_a_node_is_told_to_the_user(mut center: Center) {
    let mut broker = with_broker(&mut center, LONG).await;
    let node = center.node().await;
    for (said, told_to_the_user) in [
        (json!({ "success": false, "error": "disk full" }), "disk full".to_owned()),
        (json!({ "success": false, "error": "two\nlines" }), "two lines".to_owned()),
        (json!({ "success": "yes", "error": "x".repeat(5000) }), "x".repeat(256)),
        (json!({}), "Node failed to store K2".to_owned()),
    ] {
        let relayed = relay(&center, &node, &key());
        let request = told(&mut broker, &node, "k2/provision").await;
        acknowledge(&center, &node, &request, &said).await;
        assert_eq!(relayed.await.unwrap(), (StatusCode::BAD_GATEWAY, detail(&told_to_the_user)));
    }
}

async fn a_key_that_is_not_acknowledged_in_time_is_gone(mut center: Center) {
    let mut broker = with_broker(&mut center, Duration::from_millis(300)).await;
    let node = center.node().await;
    let relayed = relay(&center, &node, &key());
    let request = told(&mut broker, &node, "k2/provision").await;
    let late = "Node did not acknowledge K2 — it may not be online yet. Try again in a few seconds.";
    assert_eq!(relayed.await.unwrap(), (StatusCode::GATEWAY_TIMEOUT, detail(late)));
    assert_eq!(fetch(&center, &node, &request).await.0, StatusCode::NOT_FOUND);
}

async fn a_second_relay_to_a_node_replaces_the_first(mut center: Center) {
    let mut broker = with_broker(&mut center, LONG).await;
    let node = center.node().await;
    let first = relay(&center, &node, &key());
    let first_request = told(&mut broker, &node, "k2/provision").await;
    let second = relay(&center, &node, &key());
    let second_request = told(&mut broker, &node, "k2/provision").await;
    assert_eq!(first.await.unwrap().0, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(fetch(&center, &node, &first_request).await.0, StatusCode::NOT_FOUND);
    assert_eq!(fetch(&center, &node, &second_request).await.0, StatusCode::OK);
    acknowledge(&center, &node, &second_request, &json!({ "success": true })).await;
    assert_eq!(second.await.unwrap().0, StatusCode::OK);
}

async fn a_key_passes_between_two_server_processes(mut center: Center) {
    let mut broker = with_broker(&mut center, LONG).await;
    let node = center.node().await;
    let twin = center.twin().await;
    let relayed = relay(&center, &node, &key());
    let request = told(&mut broker, &node, "k2/provision").await;
    assert_eq!(fetch(&twin, &node, &request).await, (StatusCode::OK, key()));
    acknowledge(&twin, &node, &request, &json!({ "success": true })).await;
    assert_eq!(relayed.await.unwrap().0, StatusCode::OK);
}

async fn a_key_is_relayed_by_members_of_the_household_only(mut center: Center) {
    let _broker = with_broker(&mut center, LONG).await;
    let node = center.node().await;
    let path = format!("/api/v0/nodes/{}/k2", id(&node));
    let stranger = center.bearer(&["next door"]);
    let refused = center.post(&path, &[("authorization", &stranger)], &key()).await;
    assert_eq!(refused, (StatusCode::FORBIDDEN, detail("User is not a member of this household")));
    let member = center.bearer(&["home"]);
    let nobody = center.post("/api/v0/nodes/nobody/k2", &[("authorization", &member)], &key()).await;
    assert_eq!(nobody, (StatusCode::NOT_FOUND, detail("Node not found")));
    for wrong in [json!({ "kid": "k", "created_at": "" }), json!({ "k2": "x".repeat(257), "kid": "k", "created_at": "" })] {
        assert_eq!(center.post(&path, &[("authorization", &member)], &wrong).await.0, StatusCode::BAD_REQUEST);
    }
    answer(with(center.request(Method::DELETE, &format!("/api/v0/admin/nodes/{}", id(&node))), &[("x-api-key", ADMIN_KEY)]))
        .await;
    assert_eq!(center.post(&path, &[("authorization", &member)], &key()).await.0, StatusCode::NOT_FOUND);
}

async fn without_a_broker_a_key_is_not_relayed(mut center: Center) {
    let node = center.node().await;
    let refused = relay(&center, &node, &key()).await.unwrap();
    assert_eq!(refused, (StatusCode::SERVICE_UNAVAILABLE, detail("MQTT not available")));
    // One that is configured and does not answer is as good as none.
    let address = Broker::start().await.address();
    center.config.broker = Some(address);
    center.restart().await;
    assert_eq!(relay(&center, &node, &key()).await.unwrap().0, StatusCode::SERVICE_UNAVAILABLE);
}

fn snapshot() -> Value {
    json!({
        "ciphertext": "Y2lwaGVydGV4dA", "nonce": "bm9uY2U", "tag": "dGFn",
        "aad_schema_version": 1, "aad_commands_schema_version": 2, "aad_revision": 3,
    })
}

async fn put(center: &Center, path: &str, node: &str, body: &Value) -> (StatusCode, Value) {
    answer(with(center.request(Method::PUT, path), &[("x-api-key", node)]).json(body)).await
}

async fn settings_are_requested_answered_and_read(mut center: Center) {
    let mut broker = with_broker(&mut center, LONG).await;
    let node = center.node().await;
    let requests = format!("/api/v0/nodes/{}/settings/requests", id(&node));
    let member = center.bearer(&["home"]);
    let (status, made) =
        center.post(&format!("{requests}?include_values=true"), &[("authorization", &member)], &Value::Null).await;
    let request = text(&made, "request_id");
    let expected = json!({
        "request_id": request,
        "node_id": id(&node),
        "status": "pending",
        "created_at": "2026-01-04T15:30:00.000000+00:00",
        "expires_at": "2026-01-04T15:35:00.000000+00:00",
        "include_values": true,
        "user_id": 7,
    });
    assert_eq!((status, &made), (StatusCode::CREATED, &expected));
    let (topic, notice) = broker.next().await;
    assert_eq!(topic, format!("jarvis/nodes/{}/settings/request", id(&node)));
    assert_eq!(notice, json!({ "request_id": request, "node_id": id(&node), "include_values": true, "user_id": 7 }));
    // A node that was not told finds it too.
    assert_eq!(center.get(&requests, &[("x-api-key", &node)]).await, (StatusCode::OK, json!([expected])));
    let one = format!("{requests}/{request}");
    assert_eq!(center.get(&one, &[("x-api-key", &node)]).await, (StatusCode::OK, expected));
    let result = format!("{one}/result");
    let waiting = json!({ "status": "pending", "request_id": request, "message": "Waiting for node response" });
    assert_eq!(center.get(&result, &[("authorization", &member)]).await, (StatusCode::ACCEPTED, waiting));
    let path = format!("{one}/snapshot");
    assert_eq!(put(&center, &path, &node, &json!({ "ciphertext": "?" })).await.0, StatusCode::BAD_REQUEST);
    let (status, stored) = put(&center, &path, &node, &snapshot()).await;
    assert_eq!((status, &stored["node_id"]), (StatusCode::CREATED, &json!(id(&node))));
    let again = put(&center, &path, &node, &snapshot()).await;
    assert_eq!(again, (StatusCode::CONFLICT, detail("Request already fulfilled")));
    // A second phone of the household reads it too, and so does one that asks again.
    for _ in 0..2 {
        let aad = json!({
            "node_id": id(&node), "schema_version": 1, "commands_schema_version": 2, "revision": 3, "request_id": request,
        });
        let (status, read) = center.get(&result, &[("authorization", &center.bearer(&["home"]))]).await;
        let expected = json!({
            "status": "fulfilled",
            "request_id": request,
            "snapshot": {
                "snapshot_id": stored["snapshot_id"], "ciphertext": "Y2lwaGVydGV4dA", "nonce": "bm9uY2U", "tag": "dGFn",
                "aad": aad, "created_at": "2026-01-04T15:30:00.000000+00:00",
            },
        });
        assert_eq!((status, read), (StatusCode::OK, expected));
    }
    assert_eq!(center.get(&requests, &[("x-api-key", &node)]).await.1, json!([]));
}

async fn request_settings(center: &Center, node: &str) -> String {
    let path = format!("/api/v0/nodes/{}/settings/requests", id(node));
    let (status, made) = center.post(&path, &[("authorization", &center.bearer(&["home"]))], &Value::Null).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    format!("{path}/{}", text(&made, "request_id"))
}

async fn a_settings_request_ends_after_five_minutes(center: Center) {
    let node = center.node().await;
    let one = request_settings(&center, &node).await;
    center.clock.advance(Duration::from_mins(5));
    let gone = (StatusCode::GONE, detail("Request expired"));
    assert_eq!(center.get(&one, &[("x-api-key", &node)]).await, gone);
    assert_eq!(put(&center, &format!("{one}/snapshot"), &node, &snapshot()).await, gone);
    assert_eq!(center.get(&format!("{one}/result"), &[("authorization", &center.bearer(&["home"]))]).await, gone);
}

async fn settings_of_a_node_are_for_its_household_and_itself(center: Center) {
    let (node, other) = (center.node().await, center.node().await);
    let one = request_settings(&center, &node).await;
    let stranger = center.bearer(&["next door"]);
    let foreign = (StatusCode::FORBIDDEN, detail("User is not a member of this household"));
    assert_eq!(center.get(&format!("{one}/result"), &[("authorization", &stranger)]).await, foreign);
    let requests = format!("/api/v0/nodes/{}/settings/requests", id(&node));
    assert_eq!(center.post(&requests, &[("authorization", &stranger)], &Value::Null).await, foreign);
    let read = (StatusCode::FORBIDDEN, detail("Cannot access other node's requests"));
    assert_eq!(center.get(&requests, &[("x-api-key", &other)]).await, read);
    assert_eq!(center.get(&one, &[("x-api-key", &other)]).await, read);
    let upload = (StatusCode::FORBIDDEN, detail("Cannot upload to other node's requests"));
    assert_eq!(put(&center, &format!("{one}/snapshot"), &other, &snapshot()).await, upload);
    // A request of one node does not exist for another.
    let elsewhere = one.replace(&id(&node), &id(&other));
    assert_eq!(center.get(&elsewhere, &[("x-api-key", &other)]).await.1, detail("Request not found"));
    let unknown = format!("{requests}/{NOBODY}/result");
    let unknown = center.get(&unknown, &[("authorization", &center.bearer(&["home"]))]).await;
    assert_eq!(unknown, (StatusCode::NOT_FOUND, detail("Request not found")));
}

async fn the_number_of_settings_requests_of_a_node_is_bounded(center: Center) {
    let node = center.node().await;
    let mut last = String::new();
    for _ in 0..20 {
        last = request_settings(&center, &node).await;
        center.clock.advance(Duration::from_millis(1));
    }
    let path = format!("/api/v0/nodes/{}/settings/requests", id(&node));
    let (_, pending) = center.get(&path, &[("x-api-key", &node)]).await;
    let pending = pending.as_array().unwrap();
    assert_eq!(pending.len(), 8);
    assert!(last.ends_with(&text(pending.last().unwrap(), "request_id")), "the newest is kept");
    let large = json!({ "ciphertext": "A".repeat(400 * 1024) });
    let mut body = snapshot();
    body["ciphertext"] = large["ciphertext"].clone();
    assert_eq!(put(&center, &format!("{last}/snapshot"), &node, &body).await.0, StatusCode::CREATED);
    body["ciphertext"] = "A".repeat(600 * 1024).into();
    assert_eq!(put(&center, &format!("{last}/snapshot"), &node, &body).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

async fn push(center: &Center, node: &str, kind: &str) -> String {
    let body = json!({ "config_type": kind, "ciphertext": "Y2FuYXJ5", "nonce": "bm9uY2U", "tag": "dGFn" });
    let path = format!("/api/v0/nodes/{}/config/push", id(node));
    let (status, made) = center.post(&path, &[("authorization", &center.bearer(&["home"]))], &body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    text(&made, "id")
}

async fn a_configuration_waits_for_its_node_and_is_erased(mut center: Center) {
    let mut broker = with_broker(&mut center, LONG).await;
    let (node, other) = (center.node().await, center.node().await);
    let first = push(&center, &node, "wake_word").await;
    let (topic, notice) = broker.next().await;
    assert_eq!(topic, format!("jarvis/nodes/{}/config/push", id(&node)));
    assert_eq!(notice, json!({ "push_id": first, "config_type": "wake_word", "node_id": id(&node) }));
    center.clock.advance(Duration::from_millis(1));
    let second = push(&center, &node, "auth:calendar").await;
    let pending = format!("/api/v0/nodes/{}/config/pending", id(&node));
    let (status, waiting) = center.get(&pending, &[("x-api-key", &node)]).await;
    assert_eq!((status, waiting.as_array().unwrap().len()), (StatusCode::OK, 2));
    let expected = json!({
        "id": first, "config_type": "wake_word", "ciphertext": "Y2FuYXJ5", "nonce": "bm9uY2U", "tag": "dGFn",
        "created_at": "2026-01-04T15:30:00.000000+00:00",
    });
    assert_eq!(waiting[0], expected);
    let foreign = (StatusCode::FORBIDDEN, detail("Cannot access other node's config"));
    assert_eq!(center.get(&pending, &[("x-api-key", &other)]).await, foreign);
    let acknowledge = async |push: &str| {
        let path = format!("/api/v0/nodes/{}/config/{push}/ack", id(&node));
        assert_eq!(center.post(&path, &[("x-api-key", &other)], &Value::Null).await, foreign);
        center.post(&path, &[("x-api-key", &node)], &Value::Null).await
    };
    assert_eq!(acknowledge(&first).await, (StatusCode::OK, json!({ "status": "consumed" })));
    assert_eq!(acknowledge(&first).await, (StatusCode::OK, json!({ "status": "already_consumed" })));
    assert_eq!(acknowledge(&second).await, (StatusCode::OK, json!({ "status": "consumed_and_deleted" })));
    let gone = (StatusCode::NOT_FOUND, detail("Config push not found"));
    assert_eq!(acknowledge(&second).await, gone);
    assert_eq!(acknowledge(NOBODY).await, gone);
    assert_eq!(center.get(&pending, &[("x-api-key", &node)]).await.1, json!([]));
    let path = format!("/api/v0/nodes/{}/config/push", id(&node));
    let body = json!({ "config_type": "x", "ciphertext": "", "nonce": "", "tag": "" });
    let refused = center.post(&path, &[("authorization", &center.bearer(&["next door"]))], &body).await;
    assert_eq!(refused, (StatusCode::FORBIDDEN, detail("User is not a member of this household")));
}

async fn configurations_are_bounded_in_number_and_age(center: Center) {
    let node = center.node().await;
    let mut last = String::new();
    for _ in 0..40 {
        last = push(&center, &node, "wake_word").await;
        center.clock.advance(Duration::from_millis(1));
    }
    let pending = format!("/api/v0/nodes/{}/config/pending", id(&node));
    let (_, waiting) = center.get(&pending, &[("x-api-key", &node)]).await;
    assert_eq!((waiting.as_array().unwrap().len(), &waiting[31]["id"]), (32, &json!(last)));
    center.clock.advance(Duration::from_hours(7 * 24));
    assert_eq!(center.get(&pending, &[("x-api-key", &node)]).await.1, json!([]));
}

/// Starts a reset; the task and its token.
async fn reset(center: &Center, node: &str) -> (String, String) {
    let path = format!("/api/v0/admin/nodes/{}/factory-reset", id(node));
    let (status, started) = center.post(&path, &[("authorization", &center.bearer(&["home"]))], &Value::Null).await;
    assert_eq!(status, StatusCode::OK, "{started}");
    (text(&started, "task_id"), text(&started, "reset_token"))
}

async fn report(center: &Center, task: &str, token: &str, body: &Value) -> (StatusCode, Value) {
    center.post(&format!("/api/v0/nodes/factory-reset/{task}/status"), &[("x-reset-token", token)], body).await
}

async fn verify(center: &Center, node_id: &str, token: &str) -> (StatusCode, Value) {
    center.post("/api/v0/nodes/verify-reset", &[], &json!({ "node_id": node_id, "request_id": token })).await
}

async fn a_reset_is_verified_once_and_ends_the_nodes_key(mut center: Center) {
    let mut broker = with_broker(&mut center, LONG).await;
    let node = center.node().await;
    let (task, token) = reset(&center, &node).await;
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
    let (topic, notice) = broker.next().await;
    assert_eq!(topic, format!("jarvis/nodes/{}/factory-reset", id(&node)));
    assert_eq!(notice, json!({ "request_id": token, "node_id": id(&node), "task_id": task }));
    assert!(!dump(&center.config.database).contains(&token));
    let wrong = (StatusCode::NOT_FOUND, detail("Invalid or expired reset token"));
    assert_eq!(verify(&center, "another", &token).await, wrong);
    assert_eq!(verify(&center, &id(&node), NOBODY).await, wrong);
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::OK);
    assert_eq!(verify(&center, &id(&node), &token).await, (StatusCode::OK, json!({ "verified": true })));
    assert_eq!(verify(&center, &id(&node), &token).await, wrong);
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::UNAUTHORIZED);
}

async fn a_reset_is_reported_with_its_own_token(center: Center) {
    let (node, other) = (center.node().await, center.node().await);
    let (task, token) = reset(&center, &node).await;
    let (other_task, other_token) = reset(&center, &other).await;
    let wrong = (StatusCode::UNAUTHORIZED, detail("Invalid or expired reset token"));
    let done = json!({ "state": "success" });
    assert_eq!(report(&center, &task, "wrong", &done).await, wrong);
    let without = center.post(&format!("/api/v0/nodes/factory-reset/{task}/status"), &[], &done).await;
    assert_eq!(without, wrong);
    let foreign = (StatusCode::NOT_FOUND, detail("Factory-reset task not found"));
    assert_eq!(report(&center, &task, &other_token, &done).await, foreign);
    let (status, _) = report(&center, &task, &token, &json!({ "state": "pending" })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    // A node at work may take longer than the token lives.
    for _ in 0..3 {
        center.clock.advance(Duration::from_mins(4));
        assert_eq!(report(&center, &task, &token, &json!({ "state": "in_progress" })).await.1["state"], "in_progress");
    }
    let (status, ended) = report(&center, &task, &token, &done).await;
    assert_eq!((status, &ended["state"], &ended["id"]), (StatusCode::OK, &json!("success"), &json!(task)));
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(report(&center, &task, &token, &json!({ "state": "failed" })).await, (StatusCode::OK, ended));
    assert_eq!(report(&center, &other_task, &other_token, &done).await, wrong, "it has expired");
}

async fn a_failed_reset_keeps_the_node(center: Center) {
    let node = center.node().await;
    let (task, token) = reset(&center, &node).await;
    let failed = json!({ "state": "failed", "error_message": "disk full" });
    let (_, ended) = report(&center, &task, &token, &failed).await;
    assert_eq!((&ended["state"], &ended["error_message"]), (&json!("failed"), &json!("disk full")));
    assert_eq!(verify(&center, &id(&node), &token).await.0, StatusCode::NOT_FOUND);
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::OK);
    reset(&center, &node).await;
}

async fn a_second_reset_of_a_node_is_a_conflict(center: Center) {
    let node = center.node().await;
    let (task, _) = reset(&center, &node).await;
    let path = format!("/api/v0/admin/nodes/{}/factory-reset", id(&node));
    let stranger = center.bearer(&["next door"]);
    assert_eq!(center.post(&path, &[("authorization", &stranger)], &Value::Null).await.0, StatusCode::FORBIDDEN);
    let refused = center.post(&path, &[("authorization", &center.bearer(&["home"]))], &Value::Null).await;
    let text = "A factory reset is already in flight for this node.";
    let expected = json!({ "detail": { "message": text, "task_id": task, "state": "pending" } });
    assert_eq!(refused, (StatusCode::CONFLICT, expected));
    center.clock.advance(Duration::from_mins(5));
    reset(&center, &node).await;
}
