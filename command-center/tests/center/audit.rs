//! What the administrator does through the API is in the audit, which the API shows page by page.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Center, answer, on_both_databases, text, with};

on_both_databases!(
    actions_on_nodes_are_recorded_with_their_actor,
    what_is_refused_or_changes_nothing_is_not_recorded,
    what_users_do_is_not_recorded,
    pages_are_complete_and_free_of_repetitions,
    what_is_no_page_is_refused,
);

const ADMIN: (&str, &str) = ("x-api-key", ADMIN_KEY);

async fn ask(center: &Center, method: Method, path: &str, body: &Value, credential: (&str, &str)) -> StatusCode {
    answer(with(center.request(method, path), &[credential]).json(body)).await.0
}

/// What the audit has, the oldest first: action, subject and detail.
async fn recorded(center: &Center) -> Vec<[String; 3]> {
    let (status, page) = center.get("/api/v0/admin/audit?limit=1000", &[ADMIN]).await;
    assert_eq!((status, &page["next"]), (StatusCode::OK, &Value::Null));
    let actions = page["actions"].as_array().unwrap();
    assert!(actions.iter().all(|entry| entry["actor"] == "administrator" && entry["place"] == "127.0.0.1"), "{page}");
    let fields =
        |entry: &Value| ["action", "subject", "detail"].map(|field| entry[field].as_str().unwrap_or_default().to_owned());
    actions.iter().rev().map(fields).collect()
}

async fn actions_on_nodes_are_recorded_with_their_actor(center: Center) {
    let (node_id, token) = center.token().await;
    center.register(&node_id, &token).await;
    let made = json!({ "node_id": "made", "household_id": "next" });
    assert_eq!(ask(&center, Method::POST, "/api/v0/admin/nodes", &made, ADMIN).await, StatusCode::OK);
    let changed = json!({ "room": "attic", "name": "Lamp" });
    assert_eq!(ask(&center, Method::PATCH, "/api/v0/admin/nodes/made", &changed, ADMIN).await, StatusCode::OK);
    let reset = format!("/api/v0/admin/nodes/{node_id}/factory-reset");
    assert_eq!(ask(&center, Method::POST, &reset, &json!({}), ADMIN).await, StatusCode::OK);
    assert_eq!(ask(&center, Method::DELETE, "/api/v0/admin/nodes/made", &Value::Null, ADMIN).await, StatusCode::OK);
    let expected = [
        ["token created", &node_id, "home"],
        ["node created", "made", "next"],
        ["node changed", "made", "room “attic”, name “Lamp”"],
        ["node reset started", &node_id, ""],
        ["node revoked", "made", ""],
    ];
    assert_eq!(recorded(&center).await, expected.map(|entry| entry.map(str::to_owned)));
}

async fn what_is_refused_or_changes_nothing_is_not_recorded(center: Center) {
    let node = center.node().await;
    let path = format!("/api/v0/admin/nodes/{}", node.split(':').next().unwrap());
    let changed = json!({ "room": "attic" });
    ask(&center, Method::PATCH, &path, &changed, ADMIN).await;
    ask(&center, Method::POST, &format!("{path}/factory-reset"), &json!({}), ADMIN).await;
    ask(&center, Method::DELETE, &path, &Value::Null, ADMIN).await;
    let before = recorded(&center).await;
    assert_eq!(before.len(), 4);
    let again = json!({ "node_id": path.rsplit('/').next().unwrap(), "household_id": "home" });
    for (method, path, body) in [
        (Method::PATCH, path.as_str(), &changed),
        (Method::PATCH, "/api/v0/admin/nodes/nobody", &changed),
        (Method::DELETE, &path, &Value::Null),
        (Method::DELETE, "/api/v0/admin/nodes/nobody", &Value::Null),
        (Method::POST, &format!("{path}/factory-reset"), &json!({})),
        (Method::POST, "/api/v0/admin/nodes", &again),
        (Method::POST, "/api/v0/provisioning/token", &again),
    ] {
        ask(&center, method, path, body, ADMIN).await;
        ask(&center, Method::DELETE, path, body, ("x-api-key", "wrong")).await;
    }
    assert_eq!(recorded(&center).await, before);
}

async fn what_users_do_is_not_recorded(center: Center) {
    let node = center.node().await;
    let before = recorded(&center).await;
    let bearer = center.bearer(&["home"]);
    let user = ("authorization", bearer.as_str());
    let path = format!("/api/v0/admin/nodes/{}", node.split(':').next().unwrap());
    let household = json!({ "household_id": "home" });
    assert_eq!(ask(&center, Method::POST, "/api/v0/provisioning/token", &household, user).await, StatusCode::CREATED);
    assert_eq!(ask(&center, Method::POST, &format!("{path}/factory-reset"), &json!({}), user).await, StatusCode::OK);
    assert_eq!(ask(&center, Method::DELETE, &path, &Value::Null, user).await, StatusCode::OK);
    assert_eq!(recorded(&center).await, before);
}

async fn pages_are_complete_and_free_of_repetitions(center: Center) {
    for limit in [1, 4, 6, 50] {
        for _ in 0..6 {
            center.token().await;
        }
        let all = recorded(&center).await;
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let (_, page) = center.get(&format!("/api/v0/admin/audit?limit={limit}&after={after}"), &[ADMIN]).await;
            let actions = page["actions"].as_array().unwrap();
            assert!(!actions.is_empty() && actions.len() <= limit, "{page}");
            found.extend(actions.iter().map(|entry| text(entry, "subject")));
            // What is added meanwhile is on none of the pages that follow.
            center.token().await;
            let Some(next) = page["next"].as_str() else { break };
            next.clone_into(&mut after);
        }
        assert_eq!(found, all.iter().rev().map(|[_, subject, _]| subject.clone()).collect::<Vec<_>>(), "{limit}");
    }
}

async fn what_is_no_page_is_refused(center: Center) {
    for query in ["limit=0", "limit=1001", "limit=x", "after=x", "after=99999999999999999999"] {
        let (status, _) = center.get(&format!("/api/v0/admin/audit?{query}"), &[ADMIN]).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
    }
    let (status, page) = center.get("/api/v0/admin/audit?limit=&after=", &[ADMIN]).await;
    assert_eq!((status, page), (StatusCode::OK, json!({ "actions": [], "next": null })));
}
