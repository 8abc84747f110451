//! Guesses of codes: counted per source and in total, across restarts, without delaying a right code.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{self, Center, on_both_databases};

const FIRST: &str = "84:3A:5B:91:B6:61";

on_both_databases!(
    the_eleventh_wrong_code_is_limited,
    guess_counts_survive_a_restart,
    two_servers_on_one_database_count_together,
    another_source_is_not_limited,
    a_right_code_and_repeats_of_it_are_never_limited,
    a_malformed_code_is_not_counted_as_a_guess,
    many_sources_together_are_limited,
    one_source_that_keeps_guessing_does_not_limit_others,
    one_source_may_guess_a_hundred_credentials_of_any_kind,
    spraying_accounts_is_limited_by_source,
    a_window_in_the_future_does_not_lock_for_years,
);

/// One wrong guess from an address; the status, and how long to wait.
async fn guess(center: &Center, source: &str) -> (StatusCode, Option<u64>) {
    let body = json!({ "provision_code": "0000111122223333", "mac_address": FIRST });
    let request = center.request(Method::POST, "/api/provision/claim").header("x-forwarded-for", source);
    let response = request.json(&body).send().await.unwrap();
    let wait = response.headers().get(RETRY_AFTER).map(|wait| wait.to_str().unwrap().parse().unwrap());
    (response.status(), wait)
}

async fn exhaust(center: &Center, source: &str) {
    for _ in 0..10 {
        assert_eq!(guess(center, source).await, (StatusCode::NOT_FOUND, None));
    }
}

async fn the_eleventh_wrong_code_is_limited(center: Center) {
    exhaust(&center, "192.0.2.1").await;
    center.clock.advance(Duration::from_mins(5));
    assert_eq!(guess(&center, "192.0.2.1").await, (StatusCode::TOO_MANY_REQUESTS, Some(600)));
    let validate = center.request(Method::GET, "/api/provision/validate/0000111122223333");
    let validated = validate.header("x-forwarded-for", "192.0.2.1").send().await.unwrap();
    assert_eq!(validated.status(), StatusCode::TOO_MANY_REQUESTS);
    center.clock.advance(Duration::from_mins(10));
    assert_eq!(guess(&center, "192.0.2.1").await, (StatusCode::NOT_FOUND, None));
}

async fn guess_counts_survive_a_restart(mut center: Center) {
    for _ in 0..10 {
        assert_eq!(guess(&center, "192.0.2.1").await.0, StatusCode::NOT_FOUND);
        center.restart().await;
    }
    assert_eq!(guess(&center, "192.0.2.1").await.0, StatusCode::TOO_MANY_REQUESTS);
}

async fn two_servers_on_one_database_count_together(center: Center) {
    let twin = center.twin().await;
    for _ in 0..5 {
        assert_eq!(guess(&center, "192.0.2.1").await.0, StatusCode::NOT_FOUND);
        assert_eq!(guess(&twin, "192.0.2.1").await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(guess(&center, "192.0.2.1").await.0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(guess(&twin, "192.0.2.1").await.0, StatusCode::TOO_MANY_REQUESTS);
}

async fn another_source_is_not_limited(center: Center) {
    exhaust(&center, "192.0.2.1").await;
    // Only the last place was written by the proxy.
    assert_eq!(guess(&center, "192.0.2.1, 192.0.2.2").await.0, StatusCode::NOT_FOUND);
    assert_eq!(guess(&center, "192.0.2.2, 192.0.2.1").await.0, StatusCode::TOO_MANY_REQUESTS);
    // A host has all addresses of its IPv6 network.
    for host in 0..10 {
        assert_eq!(guess(&center, &format!("2001:db8::{host}")).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(guess(&center, "2001:db8::99").await.0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(guess(&center, "2001:db8:0:1::1").await.0, StatusCode::NOT_FOUND);
}

async fn a_right_code_and_repeats_of_it_are_never_limited(center: Center) {
    let code = center.code().await;
    for _ in 0..11 {
        guess(&center, "127.0.0.1").await;
    }
    assert_eq!(center.get(&format!("/api/provision/validate/{code}"), &[]).await.0, StatusCode::OK);
    let first = center.claim(&code, FIRST).await;
    assert_eq!(first.0, StatusCode::OK);
    for _ in 0..20 {
        assert_eq!(center.claim(&code, FIRST).await, first);
    }
}

async fn a_malformed_code_is_not_counted_as_a_guess(center: Center) {
    for _ in 0..20 {
        assert_eq!(center.claim("TYPING", FIRST).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(guess(&center, "127.0.0.1").await.0, StatusCode::NOT_FOUND);
}

async fn many_sources_together_are_limited(center: Center) {
    for index in 0..1000 {
        assert_eq!(guess(&center, &format!("10.0.{}.{}", index / 250, index % 250)).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(guess(&center, "192.0.2.1").await.0, StatusCode::TOO_MANY_REQUESTS);
    let code = center.code().await;
    assert_eq!(center.claim(&code, FIRST).await.0, StatusCode::OK);
}

async fn one_source_that_keeps_guessing_does_not_limit_others(center: Center) {
    for _ in 0..1100 {
        guess(&center, "192.0.2.1").await;
    }
    assert_eq!(guess(&center, "192.0.2.1").await.0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(guess(&center, "192.0.2.2").await.0, StatusCode::NOT_FOUND);
}

async fn one_source_may_guess_a_hundred_credentials_of_any_kind(center: Center) {
    let node = center.node().await;
    let (_, appliance) = center.appliance(FIRST).await;
    let ask = async |method: Method, path: &str, headers: &[(&str, &str)], source: &str| {
        let request = support::with(center.request(method, path), headers).header("x-forwarded-for", source);
        support::answer(request.json(&json!({ "household_id": "home", "mac_address": FIRST }))).await.0
    };
    let guesses = [
        (Method::POST, "/api/v0/provisioning/token", ("x-api-key", "a wrong key of some length")),
        (Method::GET, "/", ("authorization", "Basic b3BlcmF0b3I6d3Jvbmc=")),
        (Method::GET, "/metrics", ("authorization", "Bearer wrong")),
        (Method::POST, "/api/v0/admin/nodes/heartbeat", ("x-api-key", "node:wrong")),
        (Method::POST, "/api/provision/heartbeat", ("authorization", "Bearer wrong")),
    ];
    for (method, path, header) in guesses.iter().cycle().take(100) {
        assert_eq!(ask(method.clone(), path, &[*header], "192.0.2.1").await, StatusCode::UNAUTHORIZED, "{path}");
    }
    for (method, path, header) in &guesses {
        assert_eq!(ask(method.clone(), path, &[*header], "192.0.2.1").await, StatusCode::TOO_MANY_REQUESTS, "{path}");
    }
    // The administrator's key is not compared, so the right one gets the same answer; elsewhere it is accepted.
    let administrator = [("x-api-key", support::ADMIN_KEY)];
    assert_eq!(ask(Method::GET, "/metrics", &administrator, "192.0.2.1").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(ask(Method::GET, "/metrics", &administrator, "192.0.2.2").await, StatusCode::OK);
    // The keys of nodes and appliances have 256 bits; the right one is not delayed by neighbours.
    let heartbeat = "/api/v0/admin/nodes/heartbeat";
    assert_eq!(ask(Method::POST, heartbeat, &[("x-api-key", &node)], "192.0.2.1").await, StatusCode::OK);
    let heartbeat = "/api/provision/heartbeat";
    assert_eq!(ask(Method::POST, heartbeat, &[("authorization", &appliance)], "192.0.2.1").await, StatusCode::OK);
    center.clock.advance(Duration::from_mins(15));
    assert_eq!(ask(Method::GET, "/metrics", &administrator, "192.0.2.1").await, StatusCode::OK);
}

async fn spraying_accounts_is_limited_by_source(center: Center) {
    let guess = async |account: usize, source: &str| {
        let request = center.request(Method::POST, "/login").header("x-forwarded-for", source);
        let body = json!({ "email": format!("device-{account}@factory"), "password": "wrong" });
        support::answer(request.json(&body)).await.0
    };
    for account in 0..100 {
        assert_eq!(guess(account, "192.0.2.1").await, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(guess(100, "192.0.2.1").await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(guess(100, "192.0.2.2").await, StatusCode::UNAUTHORIZED);
}

async fn a_window_in_the_future_does_not_lock_for_years(mut center: Center) {
    let true_clock = center.clock.clone();
    let wrong = command_center::Clock::manual(support::START.after(Duration::from_hours(24 * 365 * 74)));
    center.config.clock = wrong;
    center.restart().await;
    exhaust(&center, "192.0.2.1").await;
    center.config.clock = true_clock;
    center.restart().await;
    assert_eq!(guess(&center, "192.0.2.1").await.0, StatusCode::NOT_FOUND);
}
