//! Tokens and registrations: the guarantees for phones and nodes.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{ADMIN_KEY, Center, answer, on_both_databases, text};

on_both_databases!(
    a_minted_token_has_the_shape_that_phones_know,
    minting_needs_a_credential,
    an_api_key_takes_precedence,
    a_user_mints_for_their_own_household_only,
    a_request_without_household_is_malformed,
    a_token_registers_its_node_once_and_the_key_works_at_once,
    a_token_is_good_for_its_own_node_only,
    an_unknown_token_is_refused,
    a_token_ends_after_ten_minutes,
    the_room_is_the_bodys_then_the_tokens_then_the_default,
    a_refresh_keeps_the_node_and_ends_the_earlier_token,
    a_registered_node_cannot_be_refreshed,
    a_refresh_from_another_household_is_refused_and_changes_nothing,
    a_registration_can_be_repeated_until_the_key_is_used,
    a_repeat_after_the_tokens_end_still_gets_the_lost_answer,
    a_restart_changes_nothing,
    a_hundred_racing_registrations_make_one_node,
    a_hundred_racing_refreshes_leave_one_token,
    a_thousand_registrations_with_lost_answers_all_end_registered_once,
);

async fn a_minted_token_has_the_shape_that_phones_know(center: Center) {
    let (status, minted) = center.mint(&json!({ "household_id": "home", "room": "kitchen", "name": "Hal" })).await;
    assert_eq!(status, StatusCode::CREATED);
    let token = text(&minted, "token");
    let random = token.strip_prefix("prov_").unwrap();
    assert_eq!(random.len(), 43);
    assert!(random.chars().all(|character| character.is_ascii_alphanumeric() || character == '-' || character == '_'));
    assert_eq!(uuid::Uuid::parse_str(&text(&minted, "node_id")).unwrap().get_version_num(), 4);
    assert_eq!(minted["expires_at"], "2026-01-04T15:40:00.000000Z");
    assert_eq!(minted["expires_in"], 600);
}

async fn minting_needs_a_credential(center: Center) {
    let body = json!({ "household_id": "home" });
    let nothing = center.post("/api/v0/provisioning/token", &[], &body).await;
    assert_eq!(nothing, (StatusCode::UNAUTHORIZED, json!({ "detail": "Authentication required" })));
    let forged = center.post("/api/v0/provisioning/token", &[("authorization", "Bearer a.b.c")], &body).await;
    assert_eq!(forged, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid or expired JWT" })));
    let good = center.bearer(&["home"]);
    center.clock.advance(Duration::from_hours(1));
    let expired = center.post("/api/v0/provisioning/token", &[("authorization", &good)], &body).await;
    assert_eq!(expired, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid or expired JWT" })));
}

async fn an_api_key_takes_precedence(center: Center) {
    let headers = [("x-api-key", "wrong"), ("authorization", &center.bearer(&["home"]))];
    let refused = center.post("/api/v0/provisioning/token", &headers, &json!({ "household_id": "home" })).await;
    assert_eq!(refused, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid API key" })));
}

async fn a_user_mints_for_their_own_household_only(center: Center) {
    let bearer = center.bearer(&["home"]);
    let headers = [("authorization", bearer.as_str())];
    let (status, _) = center.post("/api/v0/provisioning/token", &headers, &json!({ "household_id": "home" })).await;
    assert_eq!(status, StatusCode::CREATED);
    let foreign = center.post("/api/v0/provisioning/token", &headers, &json!({ "household_id": "next door" })).await;
    assert_eq!(foreign, (StatusCode::FORBIDDEN, json!({ "detail": "User is not a member of this household" })));
}

async fn a_request_without_household_is_malformed(center: Center) {
    let refused = center.mint(&json!({ "room": "kitchen" })).await;
    let expected = json!({
        "error": "validation_error",
        "message": "Request validation failed. Please correct the highlighted fields.",
        "details": ["body -> household_id: Field required"],
    });
    assert_eq!(refused, (StatusCode::BAD_REQUEST, expected));
}

async fn a_token_registers_its_node_once_and_the_key_works_at_once(center: Center) {
    let (node_id, token) = center.token().await;
    let (status, registered) = center.register(&node_id, &token).await;
    assert_eq!(status, StatusCode::CREATED);
    let key = text(&registered, "node_key");
    let expected = json!({
        "node_id": node_id, "room": "default", "user": "default", "voice_mode": "brief", "node_key": key, "household_id": "home",
    });
    assert_eq!(registered, expected);

    let beat = center.heartbeat(&format!("{node_id}:{key}")).await;
    assert_eq!(beat, (StatusCode::OK, json!({ "status": "ok" })));

    let again = center.register(&node_id, &token).await;
    assert_eq!(again, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid or expired provisioning token" })));
    let (_, node) = center.get(&format!("/api/v0/admin/nodes/{node_id}"), &[("x-api-key", ADMIN_KEY)]).await;
    assert_eq!(node["household_id"], "home");
}

async fn a_token_is_good_for_its_own_node_only(center: Center) {
    let (_, token) = center.token().await;
    let (other, _) = center.token().await;
    let refused = center.register(&other, &token).await;
    assert_eq!(refused, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid or expired provisioning token" })));
}

async fn an_unknown_token_is_refused(center: Center) {
    let (node_id, _) = center.token().await;
    let refused = center.register(&node_id, "prov_unknown").await;
    assert_eq!(refused, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid or expired provisioning token" })));
}

async fn a_token_ends_after_ten_minutes(center: Center) {
    let (early, early_token) = center.token().await;
    let (late, late_token) = center.token().await;
    center.clock.advance(Duration::from_millis(599_999));
    assert_eq!(center.register(&early, &early_token).await.0, StatusCode::CREATED);
    center.clock.advance(Duration::from_millis(1));
    let refused = center.register(&late, &late_token).await;
    assert_eq!(refused, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid or expired provisioning token" })));
}

async fn the_room_is_the_bodys_then_the_tokens_then_the_default(center: Center) {
    for (of_token, of_body, expected) in [
        (json!("hall"), json!("kitchen"), "kitchen"),
        (json!("hall"), json!(null), "hall"),
        (json!(null), json!("kitchen"), "kitchen"),
        (json!(null), json!(null), "default"),
    ] {
        let (_, minted) = center.mint(&json!({ "household_id": "home", "room": of_token })).await;
        let body = json!({ "node_id": minted["node_id"], "provisioning_token": minted["token"], "room": of_body });
        let (_, registered) = center.post("/api/v0/nodes/register", &[], &body).await;
        assert_eq!(registered["room"], expected);
    }
}

async fn a_refresh_keeps_the_node_and_ends_the_earlier_token(center: Center) {
    let (node_id, first) = center.token().await;
    let (status, second) = center.mint(&json!({ "household_id": "home", "node_id": node_id })).await;
    assert_eq!((status, &second["node_id"]), (StatusCode::CREATED, &json!(node_id)));
    assert_eq!(center.register(&node_id, &first).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(center.register(&node_id, &text(&second, "token")).await.0, StatusCode::CREATED);
}

async fn a_registered_node_cannot_be_refreshed(center: Center) {
    let (node_id, token) = center.token().await;
    center.register(&node_id, &token).await;
    let refused = center.mint(&json!({ "household_id": "home", "node_id": node_id })).await;
    assert_eq!(refused, (StatusCode::BAD_REQUEST, json!({ "detail": "Node already registered" })));
}

async fn a_refresh_from_another_household_is_refused_and_changes_nothing(center: Center) {
    let (node_id, token) = center.token().await;
    let bearer = center.bearer(&["next door"]);
    let body = json!({ "household_id": "next door", "node_id": node_id });
    let refused = center.post("/api/v0/provisioning/token", &[("authorization", &bearer)], &body).await;
    assert_eq!(refused, (StatusCode::FORBIDDEN, json!({ "detail": "User is not a member of this household" })));
    assert_eq!(center.register(&node_id, &token).await.0, StatusCode::CREATED);
}

async fn a_registration_can_be_repeated_until_the_key_is_used(center: Center) {
    let (node_id, token) = center.token().await;
    let first = center.register(&node_id, &token).await;
    let second = center.register(&node_id, &token).await;
    assert_eq!(first, second);
    let credentials = format!("{node_id}:{}", text(&first.1, "node_key"));
    let credentials = [("x-api-key", credentials.as_str())];
    let (status, _) = center.get("/api/v0/node/mqtt-credentials", &credentials).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(center.register(&node_id, &token).await.0, StatusCode::UNAUTHORIZED);
}

async fn a_repeat_after_the_tokens_end_still_gets_the_lost_answer(center: Center) {
    let (node_id, token) = center.token().await;
    let first = center.register(&node_id, &token).await;
    center.clock.advance(Duration::from_hours(1));
    assert_eq!(center.register(&node_id, &token).await, first);
}

async fn a_restart_changes_nothing(mut center: Center) {
    let (node_id, token) = center.token().await;
    center.restart().await;
    let first = center.register(&node_id, &token).await;
    center.restart().await;
    let second = center.register(&node_id, &token).await;
    assert_eq!((first.0, &first), (StatusCode::CREATED, &second));
    center.restart().await;
    let beat = center.heartbeat(&format!("{node_id}:{}", text(&first.1, "node_key"))).await;
    assert_eq!(beat.0, StatusCode::OK);
    center.restart().await;
    assert_eq!(center.register(&node_id, &token).await.0, StatusCode::UNAUTHORIZED);
}

async fn a_hundred_racing_registrations_make_one_node(center: Center) {
    let (node_id, token) = center.token().await;
    let body = json!({ "node_id": node_id, "provisioning_token": token });
    let mut racing = JoinSet::new();
    for _ in 0..100 {
        racing.spawn(answer(center.request(Method::POST, "/api/v0/nodes/register").json(&body)));
    }
    let answers = racing.join_all().await;
    assert_eq!(answers.len(), 100);
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::CREATED));
    let keys = answers.iter().map(|(_, body)| text(body, "node_key")).collect::<HashSet<_>>();
    assert_eq!(keys.len(), 1);
    let (_, nodes) = center.get("/api/v0/admin/nodes", &[("x-api-key", ADMIN_KEY)]).await;
    assert_eq!(nodes.as_array().unwrap().len(), 1);
}

async fn a_hundred_racing_refreshes_leave_one_token(center: Center) {
    let (node_id, _) = center.token().await;
    let mut racing = JoinSet::new();
    for _ in 0..100 {
        let request = center.request(Method::POST, "/api/v0/provisioning/token").header("x-api-key", ADMIN_KEY);
        racing.spawn(answer(request.json(&json!({ "household_id": "home", "node_id": node_id }))));
    }
    let mut accepted = 0;
    for (status, minted) in racing.join_all().await {
        assert_eq!(status, StatusCode::CREATED);
        let (status, _) = center.register(&node_id, &text(&minted, "token")).await;
        accepted += u32::from(status == StatusCode::CREATED);
    }
    assert_eq!(accepted, 1);
}

async fn a_thousand_registrations_with_lost_answers_all_end_registered_once(center: Center) {
    let mut running = JoinSet::new();
    for index in 0_u32..1000 {
        let (node_id, token) = center.token().await;
        let body = json!({ "node_id": node_id, "provisioning_token": token });
        let request = center.request(Method::POST, "/api/v0/nodes/register").json(&body);
        running.spawn(async move {
            // Disconnects at a random point between before the request and after the answer.
            let lost = answer(request.try_clone().unwrap());
            drop(tokio::time::timeout(Duration::from_micros(u64::from(index) * 20), lost).await);
            answer(request).await
        });
    }
    let answers = running.join_all().await;
    assert!(answers.iter().all(|(status, _)| *status == StatusCode::CREATED));
    for (_, registered) in &answers {
        let credentials = format!("{}:{}", text(registered, "node_id"), text(registered, "node_key"));
        assert_eq!(center.heartbeat(&credentials).await.0, StatusCode::OK);
    }
    let (_, nodes) = center.get("/api/v0/admin/nodes", &[("x-api-key", ADMIN_KEY)]).await;
    assert_eq!(nodes.as_array().unwrap().len(), 1000);
}
