//! What has happened to devices: recorded, bounded, and shown as it happens.

use std::time::Duration;

use command_center::audit::Actor;
use command_center::fleet::Event;
use command_center::operator::KeyChange;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Center, on_both_databases, text};

const ADMIN: (&str, &str) = ("x-api-key", ADMIN_KEY);
const FIRST: &str = "84:3A:5B:91:B6:61";

on_both_databases!(
    an_appliance_has_its_claims_and_outcomes,
    a_node_has_its_registration_versions_and_end,
    the_events_of_a_device_are_bounded,
    old_events_are_deleted,
    a_page_shows_a_device_and_its_history,
    a_watcher_is_told_of_changes_until_the_server_stops,
);

/// Event and detail, the oldest first.
fn told(events: &[Event]) -> Vec<(&str, &str)> {
    events.iter().rev().map(|event| (event.event.as_str(), event.detail.as_deref().unwrap_or_default())).collect()
}

async fn report(center: &Center, (appliance_id, bearer): &(String, String), status: &str, message: Option<&str>) {
    let body = json!({ "appliance_id": appliance_id, "status": status, "message": message });
    let (status, _) = center.post("/api/provision/status", &[("authorization", bearer)], &body).await;
    assert_eq!(status, StatusCode::OK);
}

async fn an_appliance_has_its_claims_and_outcomes(center: Center) {
    let code = center.code().await;
    for _ in 0..2 {
        // The answer to the first was lost.
        assert_eq!(center.claim(&code, FIRST).await.0, StatusCode::OK);
    }
    let (_, claimed) = center.claim(&code, FIRST).await;
    let appliance = (text(&claimed, "appliance_id"), format!("Bearer {}", text(&claimed, "api_key")));
    for (status, message) in [("testing", None), ("testing", None), ("failed", Some("no disk")), ("active", None)] {
        report(&center, &appliance, status, message).await;
    }
    let operator = center.operator().await;
    for _ in 0..2 {
        operator.acting(Actor::at_the_command_line()).change_appliance_key(&appliance.0, KeyChange::Revoke).await.unwrap();
    }
    center.claim(&center.code().await, FIRST).await;
    let (_, events) = operator.appliance(&appliance.0).await.unwrap();
    let site = text(&claimed, "site_id");
    let expected = [
        ("claimed", site.as_str()),
        ("status", "testing"),
        ("status", "failed: no disk"),
        ("status", "active"),
        ("revoked", ""),
        ("claimed", &site),
    ];
    assert_eq!(told(&events), expected);
    assert_eq!(events[0].at, "2026-01-04T15:30:00.000000+00:00");
}

async fn a_node_has_its_registration_versions_and_end(center: Center) {
    let (node_id, token) = center.token().await;
    center.register(&node_id, &token).await;
    let (_, registered) = center.register(&node_id, &token).await;
    let key = format!("{node_id}:{}", text(&registered, "node_key"));
    for version in ["1.0.0", "1.0.0", "1.1.0"] {
        let body = json!({ "version_info": { "version": version } });
        let (status, _) = center.post("/api/v0/admin/nodes/heartbeat", &[("x-api-key", &key)], &body).await;
        assert_eq!(status, StatusCode::OK);
        // One that reports nothing new, and one with a wrong key.
        center.heartbeat(&key).await;
        let wrong = format!("{node_id}:wrong");
        center.post("/api/v0/admin/nodes/heartbeat", &[("x-api-key", &wrong)], &json!({ "version_info": "9" })).await;
    }
    let operator = center.operator().await;
    operator.acting(Actor::at_the_command_line()).change_node_key(&node_id, KeyChange::Revoke).await.unwrap();
    let (_, events) = operator.node(&node_id).await.unwrap();
    assert_eq!(told(&events), [("registered", "home"), ("version", "1.0.0"), ("version", "1.1.0"), ("revoked", "")]);
}

async fn the_events_of_a_device_are_bounded(center: Center) {
    let quiet = center.appliance("84:3A:5B:91:B6:62").await;
    let loud = center.appliance(FIRST).await;
    for number in 0..120 {
        report(&center, &loud, &format!("{number}"), None).await;
    }
    let operator = center.operator().await;
    let (_, events) = operator.appliance(&loud.0).await.unwrap();
    assert_eq!(events.len(), 100);
    assert_eq!(told(&events)[99], ("status", "119"));
    assert_eq!(operator.appliance(&quiet.0).await.unwrap().1.len(), 1);
}

async fn old_events_are_deleted(mut center: Center) {
    let old = center.appliance(FIRST).await;
    center.clock.advance(Duration::from_hours(399 * 24));
    report(&center, &old, "active", None).await;
    center.restart().await;
    let operator = center.operator().await;
    assert_eq!(operator.appliance(&old.0).await.unwrap().1.len(), 2);
    center.clock.advance(Duration::from_hours(2 * 24));
    // A server deletes when it starts.
    center.restart().await;
    let deleted = async {
        while operator.appliance(&old.0).await.unwrap().1.len() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), deleted).await.expect("the older event is deleted");
    assert_eq!(told(&operator.appliance(&old.0).await.unwrap().1), [("status", "active")]);
}

async fn a_page_shows_a_device_and_its_history(center: Center) {
    let appliance = center.appliance(FIRST).await;
    let hostile = "<script>1</script>";
    report(&center, &appliance, "failed", Some(hostile)).await;
    let get =
        async |path: String| center.request(Method::GET, &path).basic_auth("operator", Some(ADMIN_KEY)).send().await.unwrap();
    let path = format!("/appliances/{}", appliance.0.replace(':', "%3A").replace('-', "%2D"));
    let list = get("/appliances".into()).await.text().await.unwrap();
    assert!(list.contains(&format!("href=\"{path}\"")), "{list}");
    let page = get(path).await.text().await.unwrap();
    assert!(page.contains("<td>status</td><td>failed: &lt;script&gt;1&lt;/script&gt;</td>"), "{page}");
    assert_eq!(page.matches("<script>").count(), 1);
    assert_eq!(get("/appliances/nobody".into()).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(get("/nodes/nobody".into()).await.status(), StatusCode::NOT_FOUND);
}

/// The data of the next event; none at the end.
async fn next(stream: &mut Response, buffer: &mut String) -> Option<Value> {
    let reading = async {
        loop {
            if let Some(end) = buffer.find("\n\n") {
                let event: String = buffer.drain(..end + 2).collect();
                let data = event.strip_prefix("data: ").map(|data| serde_json::from_str(data).unwrap());
                if data.is_some() {
                    return data;
                }
            } else {
                buffer.push_str(std::str::from_utf8(&stream.chunk().await.ok()??).unwrap());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("an event or the end")
}

async fn a_watcher_is_told_of_changes_until_the_server_stops(center: Center) {
    let appliance = center.appliance(FIRST).await;
    let path = format!("/api/v0/admin/fleet/appliances/{}/live", appliance.0);
    let mut stream = center.request(Method::GET, &path).header(ADMIN.0, ADMIN.1).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut buffer = String::new();
    assert_eq!(next(&mut stream, &mut buffer).await.unwrap()["status"], "claimed");
    report(&center, &appliance, "active", None).await;
    let told = next(&mut stream, &mut buffer).await.unwrap();
    assert_eq!((&told["status"], &told["events"][0]["detail"]), (&json!("active"), &json!("active")));
    let path = "/api/v0/admin/fleet/appliances/nobody/live";
    assert_eq!(center.get(path, &[ADMIN]).await.0, StatusCode::NOT_FOUND);
    let ((), ended) = tokio::join!(center.stop(), next(&mut stream, &mut buffer));
    assert_eq!(ended, None);
}
