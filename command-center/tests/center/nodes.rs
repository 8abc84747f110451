//! Registered nodes, and what users see of them.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{ADMIN_KEY, Center, answer, on_both_databases};

on_both_databases!(
    a_heartbeat_needs_the_nodes_own_key,
    a_heartbeat_without_a_key_is_malformed,
    a_heartbeat_shows_in_the_list,
    a_heartbeat_keeps_what_it_does_not_mention,
    malformed_reports_do_not_make_a_node_seem_offline,
    a_node_is_offline_after_fifteen_minutes,
    heartbeats_of_one_batch_are_checked_one_by_one,
    mqtt_credentials_are_null_where_there_are_none,
    users_see_the_nodes_of_their_households_only,
    a_member_removes_a_node_and_its_key_becomes_invalid,
    the_administrator_creates_and_changes_nodes,
    nodes_cannot_be_listed_without_a_credential,
    the_server_reports_that_it_is_healthy,
    unknown_routes_and_methods_are_refused_in_json,
    a_body_of_ten_megabytes_is_refused_on_every_route,
);

async fn node_of(center: &Center, credentials: &str) -> Value {
    let node_id = credentials.split(':').next().unwrap();
    let (status, node) = center.get(&format!("/api/v0/admin/nodes/{node_id}"), &[("x-api-key", ADMIN_KEY)]).await;
    assert_eq!(status, StatusCode::OK);
    node
}

async fn beat(center: &Center, credentials: &str, report: &Value) {
    let (status, body) = center.post("/api/v0/admin/nodes/heartbeat", &[("x-api-key", credentials)], report).await;
    assert_eq!(status, StatusCode::OK, "{body}");
}

async fn a_heartbeat_needs_the_nodes_own_key(center: Center) {
    let first = center.node().await;
    let second = center.node().await;
    let (first_id, _) = first.split_once(':').unwrap();
    let (_, second_key) = second.split_once(':').unwrap();
    for wrong in
        [format!("{first_id}:{second_key}"), format!("{first_id}:"), "nobody:x".into(), first_id.into(), ADMIN_KEY.into()]
    {
        let refused = center.heartbeat(&wrong).await;
        assert_eq!(refused, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid API Key" })), "{wrong}");
    }
    assert_eq!(node_of(&center, &first).await["last_seen"], Value::Null);
}

async fn a_heartbeat_without_a_key_is_malformed(center: Center) {
    let (status, refused) = center.post("/api/v0/admin/nodes/heartbeat", &[], &json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(refused["details"], json!(["header -> x-api-key: Field required"]));
}

async fn a_heartbeat_shows_in_the_list(center: Center) {
    let credentials = center.node().await;
    let before = node_of(&center, &credentials).await;
    assert_eq!((&before["online"], &before["last_seen"]), (&json!(false), &Value::Null));
    let version = json!({ "version": "1.2.3", "git_sha": "abc", "install_mode": "package" });
    beat(&center, &credentials, &json!({ "version_info": version, "is_busy": true, "thread_status": {} })).await;
    let node = node_of(&center, &credentials).await;
    let (node_id, _) = credentials.split_once(':').unwrap();
    let expected = json!({
        "node_id": node_id,
        "room": "default",
        "name": null,
        "user": "default",
        "voice_mode": "brief",
        "adapter_hash": null,
        "household_id": "home",
        "is_active": true,
        "online": true,
        "last_seen": "2026-01-04T15:30:00.000000+00:00",
        "last_seen_version": "1.2.3",
        "install_mode": "package",
        "git_sha": "abc",
        "is_busy": true,
        "needs_k2": false,
    });
    assert_eq!(node, expected);
    let (_, nodes) = center.get("/api/v0/admin/nodes", &[("x-api-key", ADMIN_KEY)]).await;
    assert_eq!(nodes, json!([expected]));
}

async fn a_heartbeat_keeps_what_it_does_not_mention(center: Center) {
    let credentials = center.node().await;
    beat(&center, &credentials, &json!({ "version_info": { "version": "1" }, "is_busy": true })).await;
    beat(&center, &credentials, &json!({ "version_info": { "git_sha": "abc" } })).await;
    let node = node_of(&center, &credentials).await;
    assert_eq!((&node["last_seen_version"], &node["git_sha"], &node["is_busy"]), (&json!("1"), &json!("abc"), &json!(true)));
}

async fn malformed_reports_do_not_make_a_node_seem_offline(center: Center) {
    let credentials = center.node().await;
    for report in [
        json!({ "version_info": 7 }),
        json!({ "version_info": { "version": 7 } }),
        json!({ "version_info": { "version": "\u{0}" } }),
        json!({ "version_info": { "version": "v".repeat(5000) } }),
        json!({ "version_info": "2", "unknown": [1, 2, 3] }),
    ] {
        beat(&center, &credentials, &report).await;
    }
    assert_eq!(node_of(&center, &credentials).await["last_seen_version"], "2");
}

async fn a_node_is_offline_after_fifteen_minutes(center: Center) {
    let credentials = center.node().await;
    beat(&center, &credentials, &json!({})).await;
    center.clock.advance(Duration::from_mins(15));
    assert_eq!(node_of(&center, &credentials).await["online"], true);
    center.clock.advance(Duration::from_millis(1));
    assert_eq!(node_of(&center, &credentials).await["online"], false);
}

async fn heartbeats_of_one_batch_are_checked_one_by_one(center: Center) {
    let credentials = center.node().await;
    let (node_id, _) = credentials.split_once(':').unwrap();
    let mut beating = JoinSet::new();
    for index in 0..200 {
        let key = if index % 2 == 0 { credentials.clone() } else { format!("{node_id}:wrong{index}") };
        let request = center.request(Method::POST, "/api/v0/admin/nodes/heartbeat").header("x-api-key", key);
        beating.spawn(async move { (index, answer(request.json(&json!({}))).await.0) });
    }
    for (index, status) in beating.join_all().await {
        assert_eq!(status, if index % 2 == 0 { StatusCode::OK } else { StatusCode::UNAUTHORIZED }, "{index}");
    }
}

async fn mqtt_credentials_are_null_where_there_are_none(center: Center) {
    let credentials = center.node().await;
    let answer = center.get("/api/v0/node/mqtt-credentials", &[("x-api-key", &credentials)]).await;
    assert_eq!(answer, (StatusCode::OK, json!({ "username": null, "password": null })));
    let refused = center.get("/api/v0/node/mqtt-credentials", &[("x-api-key", "nobody:x")]).await;
    assert_eq!(refused, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid API Key" })));
}

async fn users_see_the_nodes_of_their_households_only(center: Center) {
    let credentials = center.node().await;
    let (node_id, _) = credentials.split_once(':').unwrap();
    let (member, stranger) = (center.bearer(&["home"]), center.bearer(&["next door"]));
    let foreign = json!({ "detail": "User is not a member of this household" });
    let path = format!("/api/v0/admin/nodes/{node_id}");
    assert_eq!(center.get(&path, &[("authorization", &member)]).await.0, StatusCode::OK);
    assert_eq!(center.get(&path, &[("authorization", &stranger)]).await, (StatusCode::FORBIDDEN, foreign.clone()));
    let list = "/api/v0/admin/nodes?household_id=home";
    assert_eq!(center.get(list, &[("authorization", &member)]).await.1.as_array().unwrap().len(), 1);
    assert_eq!(center.get(list, &[("authorization", &stranger)]).await, (StatusCode::FORBIDDEN, foreign));
    let own = center.get("/api/v0/admin/nodes", &[("authorization", &stranger)]).await;
    assert_eq!(own, (StatusCode::OK, json!([])));
    let unknown = center.get("/api/v0/admin/nodes/nobody", &[("authorization", &member)]).await;
    assert_eq!(unknown, (StatusCode::NOT_FOUND, json!({ "detail": "Node not found" })));
}

async fn a_member_removes_a_node_and_its_key_becomes_invalid(center: Center) {
    let credentials = center.node().await;
    let (node_id, _) = credentials.split_once(':').unwrap();
    let path = format!("/api/v0/admin/nodes/{node_id}");
    let delete =
        async |bearer: &str, path: &str| answer(center.request(Method::DELETE, path).header("authorization", bearer)).await;
    let (member, stranger) = (center.bearer(&["home"]), center.bearer(&["next door"]));
    assert_eq!(delete(&stranger, &path).await.0, StatusCode::FORBIDDEN);
    assert_eq!(center.heartbeat(&credentials).await.0, StatusCode::OK);
    for _ in 0..2 {
        assert_eq!(delete(&member, &path).await, (StatusCode::OK, json!({ "message": "Deleted" })));
    }
    assert_eq!(center.heartbeat(&credentials).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(center.get("/api/v0/admin/nodes", &[("authorization", &member)]).await.1, json!([]));
    let unknown = delete(&member, "/api/v0/admin/nodes/nobody").await;
    assert_eq!(unknown, (StatusCode::NOT_FOUND, json!({ "detail": "Node not found" })));
}

async fn the_administrator_creates_and_changes_nodes(center: Center) {
    let send = async |method: Method, path: &str, key: &str, body: Value| {
        answer(center.request(method, path).header("x-api-key", key).json(&body)).await
    };
    let body = json!({ "node_id": "made", "household_id": "home", "room": "attic" });
    let refused = send(Method::POST, "/api/v0/admin/nodes", "wrong", body.clone()).await;
    assert_eq!(refused, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid Admin API Key" })));
    let (status, made) = send(Method::POST, "/api/v0/admin/nodes", ADMIN_KEY, body.clone()).await;
    assert_eq!((status, &made["room"], &made["voice_mode"]), (StatusCode::OK, &json!("attic"), &json!("brief")), "{made}");
    let credentials = format!("made:{}", made["node_key"].as_str().unwrap());
    assert_eq!(center.heartbeat(&credentials).await.0, StatusCode::OK);
    let again = send(Method::POST, "/api/v0/admin/nodes", ADMIN_KEY, body).await;
    assert_eq!(again, (StatusCode::BAD_REQUEST, json!({ "detail": "Node already registered" })));

    let path = "/api/v0/admin/nodes/made";
    let (status, changed) = send(Method::PATCH, path, ADMIN_KEY, json!({ "voice_mode": "chatty", "name": "Al" })).await;
    let expected = (&json!("attic"), &json!("chatty"), &json!("Al"));
    assert_eq!((status, (&changed["room"], &changed["voice_mode"], &changed["name"])), (StatusCode::OK, expected));
    assert_eq!(send(Method::PATCH, path, "wrong", json!({})).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(send(Method::PATCH, "/api/v0/admin/nodes/nobody", ADMIN_KEY, json!({})).await.0, StatusCode::NOT_FOUND);
}

async fn nodes_cannot_be_listed_without_a_credential(center: Center) {
    let credentials = center.node().await;
    for (headers, detail) in [
        (vec![], "Missing or invalid Authorization header"),
        (vec![("authorization", "Basic abc")], "Missing or invalid Authorization header"),
        (vec![("authorization", "Bearer abc")], "Invalid token"),
        (vec![("x-api-key", credentials.as_str())], "Invalid API key"),
    ] {
        let refused = center.get("/api/v0/admin/nodes", &headers).await;
        assert_eq!(refused, (StatusCode::UNAUTHORIZED, json!({ "detail": detail })));
    }
}

async fn the_server_reports_that_it_is_healthy(center: Center) {
    for path in ["/health", "/api/v0/health"] {
        let (status, health) = center.get(path, &[]).await;
        assert_eq!((status, &health["status"]), (StatusCode::OK, &json!("healthy")));
        assert_eq!(health["service"], "jarvis-command-center");
    }
    assert_eq!(center.get("/api/v0/ping", &[]).await, (StatusCode::OK, json!({ "message": "pong" })));
}

async fn unknown_routes_and_methods_are_refused_in_json(center: Center) {
    assert_eq!(center.get("/nothing", &[]).await, (StatusCode::NOT_FOUND, json!({ "detail": "Not Found" })));
    let wrong = answer(center.request(Method::DELETE, "/health")).await;
    assert_eq!(wrong, (StatusCode::METHOD_NOT_ALLOWED, json!({ "detail": "Method Not Allowed" })));
}

async fn a_body_of_ten_megabytes_is_refused_on_every_route(center: Center) {
    let node = center.node().await;
    let body = json!({ "household_id": "x".repeat(10_000_000) }).to_string();
    for (path, key) in [
        ("/api/v0/provisioning/token", ADMIN_KEY),
        ("/api/v0/nodes/register", ""),
        ("/api/v0/admin/nodes/heartbeat", &node),
        ("/api/provision/claim", ""),
        ("/api/partners/claim", ""),
        ("/api/provision/validate", ""),
        ("/api/provision/heartbeat", ""),
        ("/users", ADMIN_KEY),
        ("/login", ""),
    ] {
        let request = center.request(Method::POST, path).header("x-api-key", key);
        // The server may close before the client has sent everything; either way the body is not taken.
        match request.body(body.clone()).send().await {
            Ok(response) => assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}"),
            Err(error) => assert!(error.is_request(), "{path}: {error}"),
        }
    }
    assert_eq!(center.get("/health", &[]).await.0, StatusCode::OK);
}
