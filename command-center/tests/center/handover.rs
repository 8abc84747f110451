//! Appliances that are released from their site, for a new owner.

use command_center::operator::{KeyChange, OperatorError};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::actions::{act, answers, newest};
use crate::operator::{done, listed, run};
use crate::page::{page_at, submit};
use crate::support::{Center, on_both_databases, text};

const FIRST: &str = "84:3A:5B:91:B6:61";

on_both_databases!(
    a_released_appliance_learns_it_and_can_be_claimed_by_a_new_owner,
    an_appliance_is_taken_back_with_its_key,
    an_appliance_that_was_claimed_again_is_not_taken_back,
    a_released_appliance_is_revoked_and_not_deactivated,
    a_released_key_is_no_wrong_one,
    a_node_is_not_handed_over,
);

fn released() -> (StatusCode, Value) {
    let detail = "This appliance has been released from its site. It can be claimed with a new provision code.";
    (StatusCode::GONE, json!({ "detail": detail, "reason": "released" }))
}

/// Heartbeats with a credential, or without one.
async fn heartbeat(center: &Center, bearer: Option<&str>) -> (StatusCode, Value) {
    let headers = bearer.map(|bearer| ("authorization", bearer));
    center.post("/api/provision/heartbeat", headers.as_slice(), &json!({ "mac_address": FIRST })).await
}

/// The events of an appliance, the newest first.
async fn history(center: &Center, appliance_id: &str) -> Vec<String> {
    let operator = center.operator().await;
    let (_, events) = operator.appliance(appliance_id).await.unwrap();
    operator.close().await;
    events.into_iter().map(|event| event.event).collect()
}

async fn a_released_appliance_learns_it_and_can_be_claimed_by_a_new_owner(center: Center) {
    let code = center.code().await;
    let (_, claimed) = center.claim(&code, FIRST).await;
    let (appliance_id, bearer) = (text(&claimed, "appliance_id"), format!("Bearer {}", text(&claimed, "api_key")));
    let other = center.appliance("84:3A:5B:91:B6:62").await;
    for _ in 0..2 {
        done(&center, &["appliance", "hand-over", &appliance_id]);
    }
    assert_eq!(newest(&center), ["appliance handed over", &appliance_id, ""]);
    assert_eq!(history(&center, &appliance_id).await, ["released", "claimed"]);
    assert!(answers(&center, &appliance_id, &bearer).await.iter().all(|answer| *answer == released()));
    // Without its key it is as any device that has not claimed.
    let (status, free) = heartbeat(&center, None).await;
    assert_eq!((status, &free["status"]), (StatusCode::OK, &json!("unknown")));
    // Those that arrive together get their own answers.
    let (key, body) = ([("authorization", other.1.as_str())], json!({ "mac_address": "84:3A:5B:91:B6:62" }));
    let ((quiet, _), (known, _), gone) = tokio::join!(
        heartbeat(&center, Some("Bearer wrong")),
        center.post("/api/provision/heartbeat", &key, &body),
        heartbeat(&center, Some(&bearer)),
    );
    assert_eq!((quiet, known, gone), (StatusCode::OK, StatusCode::OK, released()));
    assert_eq!(center.claim(&code, FIRST).await.1["detail"], "Provision code already claimed");
    let listed = listed(&center, &["appliance", "list", "--json", "--state", "released"]);
    assert_eq!((listed.len(), &listed[0]["appliance_id"], &listed[0]["revoked"]), (1, &json!(appliance_id), &json!(false)));

    let code = center.codes(Some("South Clinic"), 1).await.remove(0);
    let (status, claimed) = center.claim(&code, FIRST).await;
    assert_eq!(status, StatusCode::OK, "{claimed}");
    assert_ne!(claimed["appliance_id"], appliance_id);
    let fresh = format!("Bearer {}", text(&claimed, "api_key"));
    assert_eq!(heartbeat(&center, Some(&fresh)).await.1["appliance_id"], claimed["appliance_id"]);
    assert_eq!(heartbeat(&center, Some(&bearer)).await, released());
    assert_eq!(heartbeat(&center, None).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(history(&center, &appliance_id).await, ["released", "claimed"]);
}

async fn an_appliance_is_taken_back_with_its_key(center: Center) {
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    let page = format!("/appliances/{appliance_id}");
    assert!(page_at(&center, &page).await.contains("/hand-over\">Hand over</a>"));
    assert!(page_at(&center, &format!("{page}/hand-over")).await.contains("until it is claimed again"));
    act(&center, &page, "hand-over", "").await;
    assert_eq!(heartbeat(&center, Some(&bearer)).await, released());
    let shown = page_at(&center, &page).await;
    assert!(shown.contains("/take-back\">Take back</a>") && !shown.contains("/hand-over\">"), "{shown}");
    act(&center, &page, "take-back", "").await;
    assert_eq!(newest(&center), ["appliance taken back", &appliance_id, ""]);
    assert!(answers(&center, &appliance_id, &bearer).await.iter().all(|(status, _)| *status == StatusCode::OK));
    assert_eq!(history(&center, &appliance_id).await, ["status", "taken back", "released", "claimed"]);
    assert_eq!(run(&center, &["appliance", "take-back", &appliance_id]).status.code(), Some(1));
    done(&center, &["appliance", "hand-over", &appliance_id]);
    done(&center, &["appliance", "take-back", &appliance_id]);
    assert_eq!(heartbeat(&center, Some(&bearer)).await.0, StatusCode::OK);
}

async fn an_appliance_that_was_claimed_again_is_not_taken_back(center: Center) {
    for site in ["Clinic", "South Clinic"] {
        let (appliance_id, bearer) = center.appliance(FIRST).await;
        done(&center, &["appliance", "hand-over", &appliance_id]);
        let code = center.codes(Some(site), 1).await.remove(0);
        let (_, claimed) = center.claim(&code, FIRST).await;
        let taken = run(&center, &["appliance", "take-back", &appliance_id]);
        assert_eq!(taken.status.code(), Some(1), "{site}");
        assert!(String::from_utf8_lossy(&taken.stderr).contains("has been claimed again"));
        let answer = submit(&center, &format!("/appliances/{appliance_id}/take-back"), "").await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        let fresh = format!("Bearer {}", text(&claimed, "api_key"));
        assert_eq!(heartbeat(&center, Some(&fresh)).await.0, StatusCode::OK);
        assert_ne!(heartbeat(&center, Some(&bearer)).await.0, StatusCode::OK);
        assert_eq!(newest(&center)[0], "codes created");
    }
}

async fn a_released_appliance_is_revoked_and_not_deactivated(center: Center) {
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    done(&center, &["appliance", "deactivate", &appliance_id]);
    done(&center, &["appliance", "hand-over", &appliance_id]);
    for change in ["deactivate", "activate"] {
        let output = run(&center, &["appliance", change, &appliance_id]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("take it back first"));
    }
    assert_eq!(heartbeat(&center, Some(&bearer)).await, released());
    done(&center, &["appliance", "revoke", &appliance_id]);
    assert_eq!(heartbeat(&center, Some(&bearer)).await.0, StatusCode::UNAUTHORIZED);
    for change in ["take-back", "hand-over"] {
        assert_eq!(run(&center, &["appliance", change, &appliance_id]).status.code(), Some(1));
    }
}

async fn a_released_key_is_no_wrong_one(center: Center) {
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    done(&center, &["appliance", "hand-over", &appliance_id]);
    for _ in 0..120 {
        assert_eq!(heartbeat(&center, Some(&bearer)).await, released());
    }
    let (status, _) = center.get(&format!("/api/provision/config/{appliance_id}"), &[("authorization", "Bearer wrong")]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

async fn a_node_is_not_handed_over(center: Center) {
    let node = center.node().await;
    let node_id = node.split(':').next().unwrap();
    assert_eq!(submit(&center, &format!("/nodes/{node_id}/hand-over"), "").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(run(&center, &["node", "hand-over", node_id]).status.code(), Some(2));
    let operator = center.operator().await;
    let refused = operator.acting(command_center::audit::Actor::at_the_command_line());
    assert!(matches!(refused.change_node_key(node_id, KeyChange::HandOver).await, Err(OperatorError::Invalid(_))));
    assert!(!page_at(&center, &format!("/nodes/{node_id}")).await.contains("Hand over"));
    assert!(!page_at(&center, "/nodes").await.contains("state=released"));
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::OK);
}
