//! Provision codes: the guarantees for installers and appliances, and the limits for attackers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use command_center::audit::Actor;
use command_center::fleet::{Order, Query};
use command_center::operator::{CodeState, KeyChange, NewCodes, OperatorError, Partner};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::wire::{self, Wire};
use crate::support::{Center, answer, on_both_databases, text};

const FIRST: &str = "84:3A:5B:91:B6:61";
const SECOND: &str = "84:3A:5B:91:B6:62";

on_both_databases!(
    a_claim_makes_an_appliance_of_the_codes_site,
    the_partners_route_escapes_colons,
    a_code_may_be_typed_in_any_way,
    a_code_without_a_site_makes_one_of_the_host_name,
    codes_of_one_site_share_it,
    an_unknown_code_is_refused,
    a_body_without_code_is_reported_in_one_line,
    an_expired_code_is_refused_the_same_each_time,
    a_revoked_code_is_refused_in_the_words_of_each_route,
    another_device_learns_that_the_code_is_claimed,
    the_same_device_gets_a_lost_answer_again_until_it_uses_its_key,
    a_different_claim_id_is_a_different_device,
    a_device_that_claims_another_code_starts_over,
    a_claimed_code_cannot_be_revoked_but_its_appliance_can,
    validate_does_not_claim,
    a_restart_between_claim_and_repeat_changes_nothing,
    of_a_hundred_racing_clients_one_wins_each_of_a_thousand_codes,
    two_servers_on_one_database_give_each_code_once,
    a_thousand_claims_with_lost_answers_all_end_claimed_once,
    the_clock_of_the_appliance_is_ignored,
    progress_shows_in_the_list,
    only_the_key_authenticates_an_appliance,
    the_configuration_is_the_appliances_own,
);

fn claimed_already() -> (StatusCode, Value) {
    (StatusCode::BAD_REQUEST, json!({ "detail": "Provision code already claimed" }))
}

async fn a_claim_makes_an_appliance_of_the_codes_site(center: Center) {
    let operator = center.operator().await;
    let partner = Partner {
        slug: "nepa-it".into(),
        brand_name: "NEPA IT Solutions".into(),
        primary_color: "#123456".into(),
        logo_url: None,
    };
    operator.acting(Actor::at_the_command_line()).add_partner(partner).await.unwrap();
    let site = Some("North Clinic".to_owned());
    let wanted = NewCodes { site, partner: "nepa-it".into(), expires_in: Duration::from_hours(1), count: 1 };
    let code = operator.acting(Actor::at_the_command_line()).create_codes(&wanted, |_| {}).await.unwrap().remove(0).code;
    let (status, claimed) = center.claim(code.expose(), "84-3a-5b-91-b6-61").await;
    assert_eq!(status, StatusCode::OK);
    let site_id = text(&claimed, "site_id");
    let random = site_id.strip_prefix("north-clinic-").unwrap();
    assert!(random.len() == 12 && random.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_eq!(text(&claimed, "api_key").len(), 43);
    let expected = json!({
        "status": "claimed",
        "site_id": site_id,
        "appliance_id": format!("{site_id}-{FIRST}"),
        "partner": {
            "slug": "nepa-it",
            "brand_name": "NEPA IT Solutions",
            "primary_color": "#123456",
            "logo_url": null,
        },
        "api_endpoint": format!("http://{}", center.address()),
        "api_key": claimed["api_key"],
        "config": {},
        "message": "Appliance provisioned successfully. Run initial discovery.",
    });
    assert_eq!(claimed, expected);
}

async fn the_partners_route_escapes_colons(center: Center) {
    let body = json!({ "provision_code": center.code().await, "mac_address": FIRST, "hostname": "appliance" });
    let (status, claimed) = center.post("/api/partners/claim", &[], &body).await;
    assert_eq!((status, &claimed["status"]), (StatusCode::OK, &json!("claimed")));
    let appliance_id = text(&claimed, "appliance_id");
    assert!(appliance_id.ends_with("-84%3A3A%3A5B%3A91%3AB6%3A61"), "{appliance_id}");
    assert_eq!(claimed["message"], "Appliance provisioned successfully");
    // The appliance uses the id as it was given.
    let bearer = format!("Bearer {}", text(&claimed, "api_key"));
    let body = json!({ "appliance_id": appliance_id, "status": "active" });
    assert_eq!(center.post("/api/provision/status", &[("authorization", &bearer)], &body).await.0, StatusCode::OK);
}

async fn a_code_may_be_typed_in_any_way(center: Center) {
    let code = center.code().await.to_lowercase();
    let typed = format!(" {}-{} {}-{}", &code[..4], &code[4..8], &code[8..12], &code[12..]);
    assert_eq!(center.claim(&typed, FIRST).await.0, StatusCode::OK);
}

async fn a_code_without_a_site_makes_one_of_the_host_name(center: Center) {
    let code = center.codes(None, 1).await.remove(0);
    let (_, claimed) = center.claim(&code, FIRST).await;
    assert!(text(&claimed, "site_id").starts_with("appliance-"), "{claimed}");
}

async fn codes_of_one_site_share_it(center: Center) {
    let codes = center.codes(Some("Clinic"), 2).await;
    let (_, first) = center.claim(&codes[0], FIRST).await;
    let (_, second) = center.claim(&codes[1], SECOND).await;
    assert_eq!(first["site_id"], second["site_id"]);
    assert_ne!(first["api_key"], second["api_key"]);
}

async fn an_unknown_code_is_refused(center: Center) {
    let expected = (StatusCode::NOT_FOUND, json!({ "detail": "Invalid provision code" }));
    for wrong in ["", "SHORT", "ABCD1234EFGH56789", "ABCD1234EFGH567!", "ABCD1234EFGH5678"] {
        assert_eq!(center.claim(wrong, FIRST).await, expected, "{wrong}");
    }
}

async fn a_body_without_code_is_reported_in_one_line(center: Center) {
    let refused = center.post("/api/provision/claim", &[], &json!({ "mac_address": "x" })).await;
    let detail = "provision_code: Field required; mac_address: Input should be a valid hardware address";
    assert_eq!(refused, (StatusCode::UNPROCESSABLE_ENTITY, json!({ "detail": detail })));
}

async fn an_expired_code_is_refused_the_same_each_time(center: Center) {
    let code = center.code().await;
    center.clock.advance(Duration::from_hours(24));
    for _ in 0..2 {
        let refused = center.claim(&code, FIRST).await;
        assert_eq!(refused, (StatusCode::BAD_REQUEST, json!({ "detail": "Provision code expired" })));
    }
}

async fn a_revoked_code_is_refused_in_the_words_of_each_route(center: Center) {
    let code = center.code().await;
    let operator = center.operator().await;
    operator.acting(Actor::at_the_command_line()).revoke_code(&code.to_lowercase()).await.unwrap();
    operator.acting(Actor::at_the_command_line()).revoke_code(&code).await.unwrap();
    let refused = center.claim(&code, FIRST).await;
    assert_eq!(refused, (StatusCode::BAD_REQUEST, json!({ "detail": "Provision code is revoked" })));
    let body = json!({ "provision_code": code, "mac_address": FIRST });
    let refused = center.post("/api/partners/claim", &[], &body).await;
    assert_eq!(refused, (StatusCode::BAD_REQUEST, json!({ "detail": "Provision code already revoked" })));
}

async fn another_device_learns_that_the_code_is_claimed(center: Center) {
    let code = center.code().await;
    assert_eq!(center.claim(&code, FIRST).await.0, StatusCode::OK);
    assert_eq!(center.claim(&code, SECOND).await, claimed_already());
}

async fn the_same_device_gets_a_lost_answer_again_until_it_uses_its_key(center: Center) {
    let code = center.code().await;
    let first = center.claim(&code, FIRST).await;
    assert_eq!(first.0, StatusCode::OK);
    center.clock.advance(Duration::from_hours(48));
    assert_eq!(center.claim(&code, FIRST).await, first);
    let bearer = format!("Bearer {}", text(&first.1, "api_key"));
    let body = json!({ "appliance_id": first.1["appliance_id"], "status": "configuring" });
    assert_eq!(center.post("/api/provision/status", &[("authorization", &bearer)], &body).await.0, StatusCode::OK);
    assert_eq!(center.claim(&code, FIRST).await, claimed_already());
}

async fn a_different_claim_id_is_a_different_device(center: Center) {
    let code = center.code().await;
    let mut body = json!({ "provision_code": code, "mac_address": FIRST, "claim_id": "a" });
    let first = center.post("/api/provision/claim", &[], &body).await;
    assert_eq!(first.0, StatusCode::OK);
    assert_eq!(center.post("/api/provision/claim", &[], &body).await, first);
    body["claim_id"] = json!("b");
    assert_eq!(center.post("/api/provision/claim", &[], &body).await, claimed_already());
}

async fn a_device_that_claims_another_code_starts_over(center: Center) {
    let codes = center.codes(Some("Clinic"), 2).await;
    let (_, first) = center.claim(&codes[0], FIRST).await;
    let (status, second) = center.claim(&codes[1], FIRST).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(first["appliance_id"], second["appliance_id"]);
    assert_ne!(first["api_key"], second["api_key"]);
    let path = format!("/api/provision/config/{}", text(&first, "appliance_id"));
    let with = |claimed: &Value| format!("Bearer {}", text(claimed, "api_key"));
    assert_eq!(center.get(&path, &[("authorization", &with(&first))]).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(center.get(&path, &[("authorization", &with(&second))]).await.0, StatusCode::OK);
    // The first code does not bring the first key back.
    assert_eq!(center.claim(&codes[0], FIRST).await, claimed_already());
    assert_eq!(center.get(&path, &[("authorization", &with(&second))]).await.0, StatusCode::OK);
}

async fn a_claimed_code_cannot_be_revoked_but_its_appliance_can(center: Center) {
    let code = center.code().await;
    let (_, claimed) = center.claim(&code, FIRST).await;
    let appliance_id = text(&claimed, "appliance_id");
    let operator = center.operator().await;
    match operator.acting(Actor::at_the_command_line()).revoke_code(&code).await {
        Err(OperatorError::CodeClaimed(by)) => assert_eq!(by, appliance_id),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        operator.acting(Actor::at_the_command_line()).change_appliance_key("nobody", KeyChange::Revoke).await,
        Err(OperatorError::UnknownAppliance)
    ));
    operator.acting(Actor::at_the_command_line()).change_appliance_key(&appliance_id, KeyChange::Revoke).await.unwrap();
    let bearer = format!("Bearer {}", text(&claimed, "api_key"));
    let body = json!({ "mac_address": FIRST });
    let refused = center.post("/api/provision/heartbeat", &[("authorization", &bearer)], &body).await;
    assert_eq!(refused, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid API key" })));
    assert_eq!(center.claim(&code, FIRST).await, claimed_already());
}

async fn validate_does_not_claim(center: Center) {
    let code = center.code().await;
    let valid = json!({
        "valid": true,
        "client_name": "Clinic",
        "partner": { "brand_name": "Jarvis", "primary_color": "#2563EB" },
    });
    assert_eq!(center.get(&format!("/api/provision/validate/{code}"), &[]).await, (StatusCode::OK, valid.clone()));
    let body = json!({ "provision_code": code });
    assert_eq!(center.post("/api/provision/validate", &[], &body).await, (StatusCode::OK, valid));
    assert_eq!(center.claim(&code, FIRST).await.0, StatusCode::OK);
    for (code, error) in [(code.as_str(), "Provision code already claimed"), ("short", "Invalid provision code")] {
        let invalid = center.get(&format!("/api/provision/validate/{code}"), &[]).await;
        assert_eq!(invalid, (StatusCode::OK, json!({ "valid": false, "error": error })));
    }
}

async fn a_restart_between_claim_and_repeat_changes_nothing(mut center: Center) {
    let code = center.code().await;
    center.restart().await;
    let (status, first) = center.claim(&code, FIRST).await;
    assert_eq!(status, StatusCode::OK);
    center.restart().await;
    let (_, second) = center.claim(&code, FIRST).await;
    assert_eq!(first["api_key"], second["api_key"]);
    center.restart().await;
    assert_eq!(center.claim(&code, SECOND).await, claimed_already());
}

async fn of_a_hundred_racing_clients_one_wins_each_of_a_thousand_codes(center: Center) {
    const CLIENTS: usize = 100;
    let codes = Arc::new(center.codes(Some("Clinic"), 1000).await);
    let line = Arc::new(Barrier::new(CLIENTS));
    let mut racing = JoinSet::new();
    for client in 0..CLIENTS {
        let (codes, line, address) = (Arc::clone(&codes), Arc::clone(&line), center.address());
        racing.spawn(async move {
            let mut wire = Wire::connect(address).await;
            let mut won = Vec::new();
            for (index, code) in codes.iter().enumerate() {
                let body = json!({ "provision_code": code, "mac_address": format!("02:00:00:00:00:{client:02}") });
                // Each has its own address, like appliances, because the server counts a losing claim as a guess.
                let request = wire::post("/api/provision/claim", &format!("192.0.2.{client}"), &body);
                line.wait().await;
                match wire.ask(&request).await {
                    (200, claimed) => won.push((index, claimed)),
                    (400, refused) => assert_eq!(refused["detail"], "Provision code already claimed"),
                    (429, refused) => assert!(refused["detail"].is_string()),
                    other => panic!("{other:?}"),
                }
            }
            won
        });
    }
    let mut won = racing.join_all().await.concat();
    won.sort_by_key(|(index, _)| *index);
    assert!(won.iter().map(|(index, _)| *index).eq(0..codes.len()), "one winner each: {:?}", won.len());
    let keys = won.iter().map(|(_, claimed)| text(claimed, "api_key")).collect::<HashSet<_>>();
    assert_eq!(keys.len(), codes.len());
    assert_eq!(states(&center).await, HashMap::from([(CodeState::Claimed, codes.len())]));
}

/// How many codes are in each state.
async fn states(center: &Center) -> HashMap<CodeState, usize> {
    let operator = center.operator().await;
    let (mut states, mut last) = (HashMap::new(), None);
    loop {
        let page = operator.codes(last.as_ref()).await.unwrap();
        let Some(entry) = page.last() else { return states };
        for entry in &page {
            *states.entry(entry.state).or_default() += 1;
        }
        last = Some(entry.clone());
    }
}

async fn two_servers_on_one_database_give_each_code_once(center: Center) {
    let twin = center.twin().await;
    for code in center.codes(Some("Clinic"), 10).await {
        let mut racing = JoinSet::new();
        for device in 0..40 {
            let server = if device % 2 == 0 { &center } else { &twin };
            let body = json!({ "provision_code": code, "mac_address": format!("02:00:00:00:00:{device:02}") });
            racing.spawn(answer(server.request(Method::POST, "/api/provision/claim").json(&body)));
        }
        let answers = racing.join_all().await;
        assert_eq!(answers.iter().filter(|(status, _)| *status == StatusCode::OK).count(), 1);
        assert!(answers.iter().all(|(status, _)| status.is_success() || status.is_client_error()));
    }
}

async fn a_thousand_claims_with_lost_answers_all_end_claimed_once(center: Center) {
    let codes = center.codes(Some("Clinic"), 1000).await;
    let mut running = JoinSet::new();
    for (index, code) in codes.iter().enumerate() {
        let mac_address = format!("02:00:00:00:{:02X}:{:02X}", index / 256, index % 256);
        let body = json!({ "provision_code": code, "mac_address": mac_address });
        let request = wire::post("/api/provision/claim", "192.0.2.1", &body);
        let address = center.address();
        running.spawn(async move {
            // Some disconnect during the request, some after it, some twice.
            let mut chance = index.wrapping_mul(2_654_435_761) >> 7;
            for _ in 0..chance % 3 {
                chance /= 3;
                let sent = if chance.is_multiple_of(4) { chance % request.len() } else { request.len() };
                Wire::connect(address).await.lose(&request[..sent]).await;
            }
            Wire::connect(address).await.ask(&request).await
        });
    }
    let mut appliances = HashSet::new();
    for (status, claimed) in running.join_all().await {
        assert_eq!(status, 200, "{claimed}");
        let path = format!("/api/provision/config/{}", text(&claimed, "appliance_id"));
        let bearer = format!("Bearer {}", text(&claimed, "api_key"));
        assert_eq!(center.get(&path, &[("authorization", &bearer)]).await.0, StatusCode::OK);
        appliances.insert(text(&claimed, "appliance_id"));
    }
    assert_eq!(appliances.len(), codes.len());
    assert_eq!(center.operator().await.count_appliances().await.unwrap().all(), 1000);
    assert_eq!(states(&center).await, HashMap::from([(CodeState::Claimed, codes.len())]));
}

async fn the_clock_of_the_appliance_is_ignored(center: Center) {
    for (date, mac_address) in [("Thu, 01 Jan 1970 00:00:00 GMT", FIRST), ("Fri, 01 Jan 2100 00:00:00 GMT", SECOND)] {
        let body = json!({ "provision_code": center.code().await, "mac_address": mac_address });
        let (status, _) = center.post("/api/provision/claim", &[("date", date)], &body).await;
        assert_eq!(status, StatusCode::OK, "{date}");
    }
}

async fn progress_shows_in_the_list(center: Center) {
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    let headers = [("authorization", bearer.as_str())];
    let body = json!({ "appliance_id": appliance_id, "status": "testing", "progress_percent": 40, "message": "disk" });
    let updated = center.post("/api/provision/status", &headers, &body).await;
    let expected = json!({ "status": "updated", "appliance_id": appliance_id, "new_status": "testing" });
    assert_eq!(updated, (StatusCode::OK, expected));
    let appliance = center.operator().await.appliances(&Query::default()).await.unwrap().entries.remove(0);
    assert_eq!((appliance.status.as_str(), appliance.progress_percent), ("testing", 40));
    assert_eq!(appliance.message.as_deref(), Some("disk"));
    let body = json!({ "appliance_id": appliance_id, "status": "testing", "progress_percent": 101 });
    let refused = center.post("/api/provision/status", &headers, &body).await;
    let detail = "progress_percent: Input should be an integer from 0 to 100";
    assert_eq!(refused, (StatusCode::UNPROCESSABLE_ENTITY, json!({ "detail": detail })));
}

async fn only_the_key_authenticates_an_appliance(center: Center) {
    let body = json!({ "mac_address": FIRST.to_lowercase(), "hostname": "box", "ip_address": "10.0.0.7" });
    let unknown = center.post("/api/provision/heartbeat", &[], &body).await;
    let message = "Appliance not provisioned. Use provision code to claim.";
    assert_eq!(unknown, (StatusCode::OK, json!({ "status": "unknown", "message": message })));

    let (appliance_id, bearer) = center.appliance(FIRST).await;
    let (_, other) = center.appliance(SECOND).await;
    for headers in [vec![], vec![("authorization", "Bearer wrong")], vec![("authorization", other.as_str())]] {
        let refused = center.post("/api/provision/heartbeat", &headers, &body).await;
        assert_eq!(refused, (StatusCode::UNAUTHORIZED, json!({ "detail": "Invalid API key" })));
    }
    let first = Query { order: Order::Oldest, ..Query::default() };
    assert_eq!(center.operator().await.appliances(&first).await.unwrap().entries[0].last_seen, None);

    let (status, known) = center.post("/api/provision/heartbeat", &[("authorization", &bearer)], &body).await;
    assert_eq!((status, &known["status"], &known["appliance_id"]), (StatusCode::OK, &json!("known"), &json!(appliance_id)));
    let seen = center.operator().await.appliances(&first).await.unwrap().entries.remove(0);
    assert_eq!(seen.last_seen.as_deref(), Some("2026-01-04T15:30:00.000000+00:00"));
    assert_eq!(seen.hostname.as_deref(), Some("box"));
}

async fn the_configuration_is_the_appliances_own(center: Center) {
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    let (_, other) = center.appliance(SECOND).await;
    let path = format!("/api/provision/config/{appliance_id}");
    let (status, configuration) = center.get(&path, &[("authorization", &bearer)]).await;
    assert_eq!((status, &configuration["clinic_name"]), (StatusCode::OK, &json!("Clinic")));
    assert_eq!(configuration["config"]["appliance_id"], appliance_id);
    let (status, _) = center.get(&path.replace(':', "%3A"), &[("authorization", &bearer)]).await;
    assert_eq!(status, StatusCode::OK);
    let foreign = center.get(&path, &[("authorization", &other)]).await;
    assert_eq!(foreign, (StatusCode::NOT_FOUND, json!({ "detail": "Appliance not found" })));
    let unknown = center.get("/api/provision/config/nobody", &[("authorization", &bearer)]).await;
    assert_eq!(unknown, (StatusCode::NOT_FOUND, json!({ "detail": "Appliance not found" })));
}
