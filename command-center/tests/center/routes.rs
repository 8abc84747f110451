//! Every route, requested without a credential, with wrong ones, and with those of others.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Center, answer, on_both_databases, text, with};

on_both_databases!(only_the_named_routes_answer_without_a_credential, a_credential_authorizes_its_owner_only,);

const OPEN: StatusCode = StatusCode::OK;
const NONE: StatusCode = StatusCode::UNAUTHORIZED;
const SHAPE: StatusCode = StatusCode::BAD_REQUEST;

/// All routes: what they answer without a credential.
pub(crate) fn routes(node_id: &str, appliance_id: &str) -> Vec<(Method, String, Value, StatusCode)> {
    let account = json!({ "email": "a@b", "password": "12345678", "role": "r" });
    let registration = json!({ "node_id": node_id, "provisioning_token": "wrong" });
    let claim = json!({ "provision_code": "0000111122223333", "mac_address": "020000000001" });
    let status = json!({ "appliance_id": appliance_id, "status": "active" });
    let known = json!({ "mac_address": "84:3A:5B:91:B6:61" });
    let configuration = json!({ "config_type": "t", "ciphertext": "", "nonce": "", "tag": "" });
    let snapshot = json!({
        "ciphertext": "", "nonce": "", "tag": "",
        "aad_schema_version": 1, "aad_commands_schema_version": 1, "aad_revision": 1,
    });
    let get = |path: &str, status| (Method::GET, path.to_owned(), Value::Null, status);
    let post = |path: &str, body: &Value, status| (Method::POST, path.to_owned(), body.clone(), status);
    vec![
        get("/health", OPEN),
        get("/api/v0/health", OPEN),
        get("/api/v0/ping", OPEN),
        post("/api/v0/provisioning/token", &json!({ "household_id": "home" }), NONE),
        // The token in the body is the credential.
        post("/api/v0/nodes/register", &registration, NONE),
        // A node without a key is malformed by the contract with nodes.
        post("/api/v0/admin/nodes/heartbeat", &json!({}), SHAPE),
        get("/api/v0/node/mqtt-credentials", SHAPE),
        get("/api/v0/admin/nodes", NONE),
        get(&format!("/api/v0/admin/nodes/{node_id}"), NONE),
        post("/api/v0/admin/nodes", &json!({ "node_id": "made", "household_id": "home" }), SHAPE),
        (Method::PATCH, format!("/api/v0/admin/nodes/{node_id}"), json!({ "room": "attic" }), SHAPE),
        get("/api/v0/households/home/smart-home/config", NONE),
        (Method::PUT, "/api/v0/households/home/smart-home/config".into(), json!({}), NONE),
        post(&format!("/api/v0/nodes/{node_id}/k2"), &json!({ "k2": "k", "kid": "k", "created_at": "" }), NONE),
        get(&format!("/api/v0/nodes/{node_id}/k2/provision/unknown"), SHAPE),
        post(&format!("/api/v0/nodes/{node_id}/k2/ack/unknown"), &json!({ "success": true }), SHAPE),
        post(&format!("/api/v0/nodes/{node_id}/settings/requests"), &Value::Null, NONE),
        get(&format!("/api/v0/nodes/{node_id}/settings/requests"), SHAPE),
        get(&format!("/api/v0/nodes/{node_id}/settings/requests/unknown"), SHAPE),
        (Method::PUT, format!("/api/v0/nodes/{node_id}/settings/requests/unknown/snapshot"), snapshot, SHAPE),
        get(&format!("/api/v0/nodes/{node_id}/settings/requests/unknown/result"), NONE),
        post(&format!("/api/v0/nodes/{node_id}/config/push"), &configuration, NONE),
        get(&format!("/api/v0/nodes/{node_id}/config/pending"), SHAPE),
        post(&format!("/api/v0/nodes/{node_id}/config/unknown/ack"), &Value::Null, SHAPE),
        post(&format!("/api/v0/admin/nodes/{node_id}/factory-reset"), &Value::Null, NONE),
        // The token of the reset is the credential.
        post("/api/v0/nodes/factory-reset/unknown/status", &json!({ "state": "success" }), NONE),
        post("/api/v0/nodes/verify-reset", &json!({ "node_id": node_id, "request_id": "wrong" }), StatusCode::NOT_FOUND),
        // The code in the body is the credential.
        post("/api/provision/claim", &claim, StatusCode::NOT_FOUND),
        post("/api/partners/claim", &claim, StatusCode::NOT_FOUND),
        post("/api/provision/validate", &claim, OPEN),
        get("/api/provision/validate/0000111122223333", OPEN),
        post("/api/provision/status", &status, NONE),
        post("/api/provision/heartbeat", &json!({ "mac_address": "020000000001" }), OPEN),
        post("/api/provision/heartbeat", &known, NONE),
        get(&format!("/api/provision/config/{appliance_id}"), NONE),
        get("/api/v0/admin/fleet", NONE),
        get("/api/v0/admin/fleet/appliances", NONE),
        get("/api/v0/admin/fleet/nodes", NONE),
        get("/api/v0/admin/fleet/export/nodes.csv", NONE),
        get(&format!("/api/v0/admin/fleet/appliances/{appliance_id}"), NONE),
        get(&format!("/api/v0/admin/fleet/nodes/{node_id}"), NONE),
        // Of devices that exist they would not end.
        get("/api/v0/admin/fleet/appliances/unknown/live", NONE),
        get("/api/v0/admin/fleet/nodes/unknown/live", NONE),
        get("/api/v0/admin/audit", NONE),
        get("/openapi.json", NONE),
        get("/metrics", NONE),
        get("/", NONE),
        get("/appliances", NONE),
        get("/nodes", NONE),
        get(&format!("/appliances/{appliance_id}"), NONE),
        get(&format!("/nodes/{node_id}"), NONE),
        get(&format!("/appliances/{appliance_id}/revoke"), NONE),
        post(&format!("/appliances/{appliance_id}/revoke"), &json!({}), NONE),
        get(&format!("/nodes/{node_id}/revoke"), NONE),
        post(&format!("/nodes/{node_id}/revoke"), &json!({}), NONE),
        get("/administrator", NONE),
        get("/sign-in", OPEN),
        // The password in the form is the credential, if the form is sent by the server's own page.
        post("/sign-in", &json!({}), StatusCode::FORBIDDEN),
        post("/sign-out", &json!({}), NONE),
        post("/codes", &json!({}), NONE),
        get("/codes/revoke?id=0123456789abcdef", NONE),
        post("/codes/revoke", &json!({}), NONE),
        post("/users", &account, NONE),
        (Method::PATCH, "/users/password".into(), account.clone(), NONE),
        get("/users/current", NONE),
        // The password in the body is the credential.
        post("/login", &json!({ "email": "nobody@b", "password": "12345678" }), NONE),
        // Last, because the node's key is invalid after it.
        (Method::DELETE, format!("/api/v0/admin/nodes/{node_id}"), Value::Null, NONE),
    ]
}

/// Whether a path is one of a template such as `/users/{id}`.
pub(crate) fn fits(path: &str, template: &str) -> bool {
    let (path, template) = (path.split('/').collect::<Vec<_>>(), template.split('/').collect::<Vec<_>>());
    path.len() == template.len() && path.iter().zip(template).all(|(part, wanted)| wanted.starts_with('{') || *part == wanted)
}

#[test]
fn every_route_has_its_row() {
    let rows = routes("node", "appliance");
    let description: Value = serde_json::from_str(&command_center::openapi()).unwrap();
    for (template, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let has_row =
                rows.iter().any(|(known, path, ..)| known.as_str().eq_ignore_ascii_case(method) && fits(path, template));
            assert!(has_row, "add a row for {method} {template}, and think about who may use it");
        }
    }
}

async fn ask(center: &Center, method: &Method, path: &str, body: &Value, headers: &[(&str, &str)]) -> StatusCode {
    let request = with(center.request(method.clone(), path), headers);
    // Each from a network of its own, so that the limit on wrong credentials does not decide the answer.
    let source = center.clock.now();
    center.clock.advance(std::time::Duration::from_millis(1));
    let request = request.header("x-forwarded-for", format!("2001:db8:0:{:x}::1", source.0 % 0x1_0000));
    answer(if body.is_null() { request } else { request.json(body) }).await.0
}

async fn only_the_named_routes_answer_without_a_credential(center: Center) {
    let node = center.node().await;
    let (appliance_id, _) = center.appliance("84:3A:5B:91:B6:61").await;
    let routes = routes(node.split(':').next().unwrap(), &appliance_id);
    for (method, path, body, expected) in &routes {
        assert_eq!(ask(&center, method, path, body, &[]).await, *expected, "{method} {path}");
    }
    // What opens without a credential opens with a wrong one; nothing else does.
    for wrong in [("x-api-key", "wrong"), ("x-api-key", "wrong:wrong"), ("authorization", "Bearer a.b.c")] {
        for (method, path, body, expected) in &routes {
            let status = ask(&center, method, path, body, &[wrong]).await;
            assert!(status == *expected || status.is_client_error(), "{method} {path}: {status}");
            assert!(*expected == OPEN || !status.is_success(), "{method} {path}: {status}");
        }
    }
}

async fn a_credential_authorizes_its_owner_only(center: Center) {
    let node = center.node().await;
    let other_node = center.node().await;
    let (appliance_id, appliance) = center.appliance("84:3A:5B:91:B6:61").await;
    let (_, other_appliance) = center.appliance("84:3A:5B:91:B6:62").await;
    let account = json!({ "email": "device@factory", "password": "12345678", "role": "CompanionPC" });
    center.post("/users", &[("x-api-key", ADMIN_KEY)], &account).await;
    let (_, login) = center.post("/login", &[], &account).await;
    let (device, stranger) = (format!("Bearer {}", text(&login, "token")), center.bearer(&["next door"]));
    let node_id = node.split(':').next().unwrap();
    let swapped = format!("{node_id}:{}", other_node.split(':').nth(1).unwrap());
    let credentials = [
        ("x-api-key", node.as_str()),
        ("x-api-key", swapped.as_str()),
        ("authorization", appliance.as_str()),
        ("authorization", other_appliance.as_str()),
        ("authorization", device.as_str()),
        ("authorization", stranger.as_str()),
        ("x-api-key", ADMIN_KEY),
    ];
    // Which of the credentials above may do it.
    let may = |method: &Method, path: &str| match path {
        "/api/v0/admin/nodes/heartbeat" | "/api/v0/node/mqtt-credentials" => vec![0],
        // A stranger's list is empty.
        "/api/v0/admin/nodes" if method == Method::GET => vec![5, 6],
        "/api/v0/admin/nodes"
        | "/api/v0/admin/audit"
        | "/api/v0/households/home/smart-home/config"
        | "/api/v0/provisioning/token"
        | "/users"
        | "/users/password"
        | "/openapi.json"
        | "/metrics"
        | "/"
        | "/administrator"
        | "/appliances"
        | "/nodes" => vec![6],
        path if path.ends_with("/unknown/live") => vec![],
        path if path.starts_with("/api/v0/admin/fleet") => vec![6],
        path if method == Method::GET && ["/appliances/", "/nodes/", "/codes/"].iter().any(|page| path.starts_with(page)) => {
            vec![6]
        }
        path if path.starts_with("/api/v0/admin/nodes/") || path.ends_with("/config/push") => vec![6],
        path if path.ends_with("/config/pending") || path.ends_with("/k2/ack/unknown") => vec![0],
        path if path.ends_with("/settings/requests") => vec![if method == Method::GET { 0 } else { 6 }],
        "/api/provision/status" | "/api/provision/heartbeat" => vec![2],
        path if path.starts_with("/api/provision/config/") => vec![2],
        "/users/current" => vec![4],
        // The administrator too is refused if the form is not sent by the server's own page, and nobody gets what is not there.
        _ => vec![],
    };
    for (method, path, body, without) in routes(node_id, &appliance_id) {
        if without == OPEN {
            continue;
        }
        for (index, credential) in credentials.iter().enumerate() {
            let status = ask(&center, &method, &path, &body, &[*credential]).await;
            let is_allowed = may(&method, &path).contains(&index);
            assert_eq!(status.is_success(), is_allowed, "{method} {path} with {index}: {status}");
        }
    }
}
