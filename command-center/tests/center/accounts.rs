//! Accounts: creation by the factory, login of devices, and limits on guesses.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use command_center::audit::Actor;

use crate::support::{self, ADMIN_KEY, Center, answer, on_both_databases, text};

const EMAIL: &str = "azaion-jetson-0042@azaion.com";
const PASSWORD: &str = "0123456789abcdef0123456789abcdef";

on_both_databases!(
    a_device_account_is_created_once_and_its_password_can_be_set,
    accounts_are_managed_by_the_administrator_or_their_role_only,
    the_last_password_logs_in_and_the_one_before_does_not,
    a_token_of_a_login_names_its_account_until_it_ends,
    rotated_keys_end_tokens_gracefully_or_at_once,
    unknown_accounts_and_wrong_passwords_get_the_same_answer,
    guessing_a_password_is_slowed_and_the_right_one_clears_the_count,
    guesses_of_a_refused_source_do_not_lock_the_account,
    malformed_accounts_are_refused_with_the_reason,
    no_password_is_in_the_database,
);

async fn create(center: &Center, email: &str, password: &str, role: &str) -> (StatusCode, Value) {
    let body = json!({ "email": email, "password": password, "role": role });
    center.post("/users", &[("x-api-key", ADMIN_KEY)], &body).await
}

async fn set_password(center: &Center, email: &str, password: &str) -> (StatusCode, Value) {
    let request = center.request(Method::PATCH, "/users/password").header("x-api-key", ADMIN_KEY);
    answer(request.json(&json!({ "email": email, "password": password }))).await
}

async fn login(center: &Center, email: &str, password: &str) -> (StatusCode, Value) {
    center.post("/login", &[], &json!({ "email": email, "password": password })).await
}

async fn bearer(center: &Center, email: &str, password: &str) -> String {
    let (status, answer) = login(center, email, password).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    format!("Bearer {}", text(&answer, "token"))
}

async fn a_device_account_is_created_once_and_its_password_can_be_set(center: Center) {
    let made = create(&center, EMAIL, PASSWORD, "CompanionPC").await;
    assert_eq!(made, (StatusCode::CREATED, json!({ "email": EMAIL, "role": "CompanionPC" })));
    let again = create(&center, &EMAIL.to_uppercase(), PASSWORD, "CompanionPC").await;
    assert_eq!(again, (StatusCode::CONFLICT, json!({ "detail": "User already exists" })));
    assert_eq!(set_password(&center, EMAIL, "another password").await, (StatusCode::NO_CONTENT, Value::Null));
    let unknown = set_password(&center, "nobody@azaion.com", PASSWORD).await;
    assert_eq!(unknown, (StatusCode::NOT_FOUND, json!({ "detail": "User not found" })));
}

async fn accounts_are_managed_by_the_administrator_or_their_role_only(center: Center) {
    create(&center, EMAIL, PASSWORD, "CompanionPC").await;
    create(&center, "admin@azaion.com", PASSWORD, "ApiAdmin").await;
    let device = bearer(&center, EMAIL, PASSWORD).await;
    let admin = bearer(&center, "admin@azaion.com", PASSWORD).await;
    let member = center.bearer(&["home"]);
    let body = json!({ "email": "new@azaion.com", "password": PASSWORD, "role": "CompanionPC" });
    for (headers, status, detail) in [
        (vec![], StatusCode::UNAUTHORIZED, "Authentication required"),
        (vec![("x-api-key", "wrong")], StatusCode::UNAUTHORIZED, "Invalid API key"),
        (vec![("authorization", member.as_str())], StatusCode::UNAUTHORIZED, "Invalid token"),
        (vec![("authorization", device.as_str())], StatusCode::FORBIDDEN, "Not allowed"),
    ] {
        assert_eq!(center.post("/users", &headers, &body).await, (status, json!({ "detail": detail })));
    }
    assert_eq!(center.post("/users", &[("authorization", &admin)], &body).await.0, StatusCode::CREATED);
}

async fn the_last_password_logs_in_and_the_one_before_does_not(center: Center) {
    create(&center, EMAIL, PASSWORD, "CompanionPC").await;
    assert_eq!(login(&center, EMAIL, PASSWORD).await.0, StatusCode::OK);
    set_password(&center, EMAIL, "another password").await;
    assert_eq!(login(&center, EMAIL, PASSWORD).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(login(&center, EMAIL, "another password").await.0, StatusCode::OK);
}

async fn a_token_of_a_login_names_its_account_until_it_ends(mut center: Center) {
    create(&center, EMAIL, PASSWORD, "CompanionPC").await;
    let token = bearer(&center, EMAIL, PASSWORD).await;
    center.restart().await;
    let current = center.get("/users/current", &[("authorization", &token)]).await;
    assert_eq!(current, (StatusCode::OK, json!({ "email": EMAIL, "role": "CompanionPC" })));
    center.clock.advance(Duration::from_hours(8));
    let expired = center.get("/users/current", &[("authorization", &token)]).await;
    assert_eq!(expired, (StatusCode::UNAUTHORIZED, json!({ "detail": "Token has expired" })));
}

async fn rotated_keys_end_tokens_gracefully_or_at_once(center: Center) {
    create(&center, EMAIL, PASSWORD, "CompanionPC").await;
    let first = bearer(&center, EMAIL, PASSWORD).await;
    let operator = center.operator().await;
    operator.acting(Actor::at_the_command_line()).rotate_keys(false).await.unwrap();
    assert_eq!(center.get("/users/current", &[("authorization", &first)]).await.0, StatusCode::OK);
    let second = bearer(&center, EMAIL, PASSWORD).await;
    operator.acting(Actor::at_the_command_line()).rotate_keys(true).await.unwrap();
    for token in [first, second] {
        assert_eq!(center.get("/users/current", &[("authorization", &token)]).await.0, StatusCode::UNAUTHORIZED);
    }
    let third = bearer(&center, EMAIL, PASSWORD).await;
    assert_eq!(center.get("/users/current", &[("authorization", &third)]).await.0, StatusCode::OK);
}

async fn unknown_accounts_and_wrong_passwords_get_the_same_answer(center: Center) {
    create(&center, EMAIL, PASSWORD, "CompanionPC").await;
    let wrong = login(&center, EMAIL, "wrong").await;
    assert_eq!(wrong, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid email or password" })));
    assert_eq!(login(&center, "nobody@azaion.com", "wrong").await, wrong);
}

async fn guessing_a_password_is_slowed_and_the_right_one_clears_the_count(mut center: Center) {
    create(&center, EMAIL, PASSWORD, "CompanionPC").await;
    for _ in 0..9 {
        assert_eq!(login(&center, EMAIL, "wrong").await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(login(&center, EMAIL, PASSWORD).await.0, StatusCode::OK);
    assert_eq!(login(&center, EMAIL, "wrong").await.0, StatusCode::UNAUTHORIZED);
    center.restart().await;
    // While it is locked no password is checked, so the right one gets the same answer.
    assert_eq!(login(&center, EMAIL, PASSWORD).await.0, StatusCode::TOO_MANY_REQUESTS);
    // The owner, at another address, is not locked out.
    let request = center.request(Method::POST, "/login").header("x-forwarded-for", "192.0.2.1");
    let (status, _) = answer(request.json(&json!({ "email": EMAIL, "password": PASSWORD }))).await;
    assert_eq!(status, StatusCode::OK);
    center.clock.advance(Duration::from_mins(15));
    assert_eq!(login(&center, EMAIL, PASSWORD).await.0, StatusCode::OK);
}

async fn guesses_of_a_refused_source_do_not_lock_the_account(center: Center) {
    create(&center, EMAIL, PASSWORD, "CompanionPC").await;
    for _ in 0..110 {
        login(&center, EMAIL, "wrong").await;
    }
    assert_eq!(login(&center, EMAIL, PASSWORD).await.0, StatusCode::TOO_MANY_REQUESTS);
    let request = center.request(Method::POST, "/login").header("x-forwarded-for", "192.0.2.1");
    let (status, _) = answer(request.json(&json!({ "email": EMAIL, "password": PASSWORD }))).await;
    assert_eq!(status, StatusCode::OK);
}

async fn malformed_accounts_are_refused_with_the_reason(center: Center) {
    let (status, refused) = create(&center, "no address", "short", "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let expected = json!([
        "body -> email: Input should be a valid email address",
        "body -> password: String should have from 8 to 1024 characters",
        "body -> role: String should have at least 1 character",
    ]);
    assert_eq!(refused["details"], expected);
}

async fn no_password_is_in_the_database(center: Center) {
    create(&center, EMAIL, PASSWORD, "CompanionPC").await;
    let dump = support::dump(&center.config.database);
    assert!(dump.contains("$argon2id$") && dump.contains(EMAIL));
    assert!(!dump.contains(PASSWORD));
}
