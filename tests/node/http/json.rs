//! The JSON API of the existing phone app.

use std::time::Duration;

use jarvis_provisioning::daemon::{Event, Handle};
use jarvis_provisioning::link::http::{Config, Limits, Secrets};
use proptest::prelude::*;
use provisioning_core::domain::{Security, Step};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Command, CommandCenterCommand, DiskCommand, LocalRequest, RadioCommand, Refused};
use serde_json::{Value, json};

use crate::http::support::{NODE_ID, Node, config, network, request, success};
use testing::journal::PASSWORD;

/// The canary of K2, encoded as by the phone apps.
pub(crate) const K2: &str = "Y2FuYXJ5LXNldHRpbmdzLWtleS1vZi0zMi1ieXRlcyE";
const CANARY: &str = PASSWORD;

pub(crate) fn provision() -> Value {
    json!({
        "wifi_ssid": "HomeNetwork", "wifi_password": format!("{CANARY}-password"), "room": "kitchen",
        "command_center_url": "http://192.168.1.50:7703", "household_id": "h1", "node_id": "0e8c1f5a",
        "provisioning_token": format!("{CANARY}-token"),
    })
}

pub(crate) fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

pub(crate) fn without(mut body: Value, field: &str) -> Value {
    body.as_object_mut().expect("an object").remove(field);
    body
}

pub(crate) fn k2() -> Value {
    json!({"node_id": "0e8c1f5a", "kid": "k2-202602-abc123", "k2": K2, "created_at": "2026-02-01T13:00:00.123Z"})
}

/// The place and the type of each fault of a 422.
pub(crate) fn faults(reply: &crate::http::support::Reply) -> Vec<(Value, String)> {
    assert_eq!(reply.status, 422, "{}", reply.text());
    let body = reply.json();
    let fault = |fault: &Value| (fault["loc"].clone(), fault["type"].as_str().expect("a type").to_owned());
    body["detail"].as_array().expect("an array").iter().map(fault).collect()
}

#[tokio::test]
async fn info_has_the_fields_of_the_node() {
    let node = Node::start();
    let reply = node.get("/api/v1/info").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(
        reply.text(),
        r#"{"node_id":"jarvis-5b91b661","firmware_version":"1.0.0","hardware":"linux-aarch64","mac_address":"d8:3a:dd:5b:91:b6","capabilities":["voice","speaker"],"state":"AP_MODE","previously_provisioned":false}"#
    );
}

#[tokio::test]
async fn status_has_its_four_fields_and_the_later_ones() {
    let node = Node::start();
    assert_eq!(
        node.get("/api/v1/status").await.text(),
        r#"{"state":"AP_MODE","message":"Waiting for mobile app connection...","progress_percent":0,"error":null,"error_code":null,"registration_status":null,"retryable":false,"hotspot_restored":false}"#
    );
}

#[tokio::test]
async fn networks_are_listed_in_the_adapters_order_with_a_word_for_open() {
    let config = Config { open_security: "OPEN", ..config() };
    let node = Node::with(config, Box::new(|command| Some(success(command))));
    node.scanned().await;
    let list = node.get("/api/v1/scan-networks").await;
    assert_eq!(
        list.json(),
        json!({"networks": [
            {"ssid": "HomeNetwork", "signal_strength": -45, "security": "WPA2"},
            {"ssid": "CoffeeShop_Free", "signal_strength": -80, "security": "OPEN"},
            {"ssid": "caf\u{fffd}", "signal_strength": -60, "security": "WPA3"},
        ]})
    );
}

#[tokio::test]
async fn a_name_that_is_not_utf_8_can_be_chosen_as_it_was_listed() {
    let node = Node::start();
    node.scanned().await;
    node.post("/api/v1/provision", &with(provision(), "wifi_ssid", json!("caf\u{fffd}"))).await;
    node.settled("PROVISIONED").await;
    let expected = network(b"caf\xe9", 0, Security::Open).ssid;
    assert!(
        node.commands()
            .iter()
            .any(|command| matches!(command, Command::Radio(RadioCommand::Join { ssid, .. }) if *ssid == expected))
    );
}

#[tokio::test]
async fn probes_get_the_answers_of_the_real_servers() {
    let node = Node::start();
    let apple = "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>";
    assert_eq!(apple.len(), 68);
    for (path, status, kind, body) in [
        ("/generate_204", 204, None, ""),
        ("/hotspot-detect.html", 200, Some("text/plain; charset=utf-8"), apple),
        ("/library/test/success.html", 200, Some("text/plain; charset=utf-8"), apple),
        ("/success.txt", 200, Some("text/plain; charset=utf-8"), "success"),
        ("/connecttest.txt", 404, Some("application/json"), r#"{"detail":"Not Found"}"#),
        ("/canonical.html", 404, Some("application/json"), r#"{"detail":"Not Found"}"#),
    ] {
        let reply = node.get(path).await;
        assert_eq!((reply.status, reply.header("content-type"), reply.text()), (status, kind, body), "{path}");
    }
}

#[tokio::test]
async fn port_80_answers_every_path() {
    let node = Node::start();
    for (path, status, kind, length) in [
        ("/generate_204", 204, None, 0),
        ("/hotspot-detect.html?x=1", 200, Some("text/html"), 68),
        ("/library/test/success.html", 200, Some("text/html"), 68),
        ("/success.txt", 200, Some("text/plain"), 7),
        ("/", 204, None, 0),
        ("/connecttest.txt", 204, None, 0),
        ("/api/v1/info", 204, None, 0),
    ] {
        let reply = request(node.captive, "GET", path, &[("host", "captive.apple.com")], b"").await;
        assert_eq!((reply.status, reply.header("content-type"), reply.body.len()), (status, kind, length), "{path}");
    }
    for method in ["POST", "HEAD", "PUT"] {
        assert_eq!(request(node.captive, method, "/generate_204", &[], b"").await.status, 501, "{method}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_404_and_a_wrong_method_405() {
    let node = Node::start();
    for path in ["/api", "/api/v1/infos", "/API/v1/info", "//api/v1/info", "/nothing/"] {
        let reply = node.get(path).await;
        assert_eq!((reply.status, reply.text()), (404, r#"{"detail":"Not Found"}"#), "{path}");
    }
    for (method, path, allow) in [
        ("POST", "/api/v1/info", "GET"),
        ("POST", "/api/v1/scan-networks", "GET"),
        ("POST", "/api/v1/status", "GET"),
        ("DELETE", "/api/v1/status", "GET"),
        ("OPTIONS", "/api/v1/info", "GET"),
        ("GET", "/api/v1/provision", "POST"),
        ("PUT", "/api/v1/provision/k2", "POST"),
        ("GET", "/api/v1/factory-reset", "POST"),
        ("OPTIONS", "/api/v1/provision", "POST"),
        ("POST", "/generate_204", "GET"),
        ("POST", "/openapi.json", "GET"),
        ("GET", "/api/v1/session", "POST, DELETE"),
    ] {
        let reply = request(node.api, method, path, &[], b"").await;
        assert_eq!(
            (reply.status, reply.text(), reply.header("allow")),
            (405, r#"{"detail":"Method Not Allowed"}"#, Some(allow)),
            "{method} {path}"
        );
    }
    let head = request(node.api, "HEAD", "/api/v1/info", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (405, 0));
}

#[tokio::test]
async fn a_trailing_slash_is_redirected() {
    let node = Node::start();
    let host = [("host", "192.168.4.1:8080")];
    for (method, path, location) in [
        ("GET", "/api/v1/info/", "http://192.168.4.1:8080/api/v1/info"),
        ("POST", "/api/v1/provision/", "http://192.168.4.1:8080/api/v1/provision"),
        ("GET", "/api/v1/status//?x=1", "http://192.168.4.1:8080/api/v1/status?x=1"),
    ] {
        let reply = request(node.api, method, path, &host, b"").await;
        assert_eq!((reply.status, reply.header("location"), reply.body.len()), (307, Some(location), 0));
    }
}

#[tokio::test]
async fn provisioning_is_accepted_and_succeeds() {
    let node = Node::start();
    let reply = node.post("/api/v1/provision", &provision()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text(), r#"{"success":true,"message":"Credentials received. Attempting connection..."}"#);
    let status = node.settled("PROVISIONED").await;
    assert_eq!(status["progress_percent"], 100);
    assert_eq!(status["message"], Step::Done.message(""));
    let info = node.get("/api/v1/info").await.json();
    assert_eq!((&info["node_id"], &info["previously_provisioned"]), (&json!("0e8c1f5a"), &json!(true)));
}

#[tokio::test]
async fn a_second_attempt_is_validated_and_then_answered_with_busy() {
    let node = Node::with(
        config(),
        Box::new(|command| (!matches!(command, Command::Radio(RadioCommand::Join { .. }))).then(|| success(command))),
    );
    node.post("/api/v1/provision", &provision()).await;
    let joining = node.status(|status| status["progress_percent"] == 35).await;
    assert_eq!((&joining["state"], &joining["message"]), (&json!("CONNECTING"), &json!("Connecting to HomeNetwork...")));
    let reply = node.post("/api/v1/provision", &provision()).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.text(), r#"{"success":false,"message":"Provisioning already in progress"}"#);
    assert_eq!(node.post("/api/v1/provision", &without(provision(), "room")).await.status, 422);
}

#[tokio::test]
async fn each_missing_field_is_named() {
    let node = Node::start();
    for field in ["wifi_ssid", "wifi_password", "room", "command_center_url", "household_id", "node_id", "provisioning_token"] {
        let reply = node.post("/api/v1/provision", &without(provision(), field)).await;
        assert_eq!(faults(&reply), [(json!(["body", field]), "missing".into())]);
        assert!(!reply.text().contains(CANARY));
    }
    for field in ["node_id", "kid", "k2", "created_at"] {
        let reply = node.post("/api/v1/provision/k2", &without(k2(), field)).await;
        assert_eq!(faults(&reply), [(json!(["body", field]), "missing".into())]);
        assert!(!reply.text().contains(K2));
    }
}

#[tokio::test]
async fn faults_come_in_the_order_of_the_fields_and_repeat_nothing() {
    let node = Node::start();
    let reply = node
        .post_text("/api/v1/provision", r#"{"provisioning_token":{"a":[1]},"wifi_password":12345678,"config_service_url":false}"#)
        .await;
    let fault = |field, kind: &str| (json!(["body", field]), kind.to_owned());
    assert_eq!(
        faults(&reply),
        [
            fault("wifi_ssid", "missing"),
            fault("wifi_password", "string_type"),
            fault("room", "missing"),
            fault("command_center_url", "missing"),
            fault("config_service_url", "string_type"),
            fault("household_id", "missing"),
            fault("node_id", "missing"),
            fault("provisioning_token", "string_type"),
        ]
    );
    assert_eq!(
        reply.json()["detail"][1],
        json!({"type": "string_type", "loc": ["body", "wifi_password"], "msg": "Input should be a valid string", "input": null})
    );
}

#[tokio::test]
async fn control_characters_are_a_422_that_names_the_field() {
    let node = Node::start();
    for field in ["room", "household_id", "node_id", "provisioning_token"] {
        let reply = node.post("/api/v1/provision", &with(provision(), field, json!(format!("{CANARY}\r\n")))).await;
        assert_eq!(faults(&reply), [(json!(["body", field]), "value_error".into())]);
        assert!(!reply.text().contains(CANARY));
    }
    for field in ["node_id", "kid"] {
        let reply = node.post("/api/v1/provision/k2", &with(k2(), field, json!("\u{1b}[2J"))).await;
        assert_eq!(faults(&reply), [(json!(["body", field]), "value_error".into())]);
    }
    assert_eq!(node.status(|_| true).await["state"], "AP_MODE");
}

#[tokio::test]
async fn numbers_booleans_and_null_are_not_texts() {
    let node = Node::start();
    for field in ["wifi_ssid", "wifi_password", "room", "command_center_url", "household_id", "node_id", "provisioning_token"] {
        for value in [json!(5), json!(5.5), json!(true), json!(null), json!([]), json!({})] {
            let reply = node.post("/api/v1/provision", &with(provision(), field, value.clone())).await;
            assert_eq!(faults(&reply), [(json!(["body", field]), "string_type".into())], "{value}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_not_an_object_is_422() {
    let node = Node::start();
    let reply = node.post_text("/api/v1/provision", "").await;
    assert_eq!(reply.text(), r#"{"detail":[{"type":"missing","loc":["body"],"msg":"Field required","input":null}]}"#);
    for body in ["[1]", "\"x\"", "5", "-5", "5.5", "null", "true", "[[[[[]]]]]"] {
        assert_eq!(
            faults(&node.post_text("/api/v1/provision", body).await),
            [(json!(["body"]), "model_attributes_type".into())],
            "{body}"
        );
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "json", ""] {
        let body = provision().to_string();
        let reply = request(node.api, "POST", "/api/v1/provision", &[("content-type", kind)], body.as_bytes()).await;
        assert_eq!(faults(&reply), [(json!(["body"]), "model_attributes_type".into())], "{kind}");
        assert!(!reply.text().contains(CANARY));
    }
}

#[tokio::test]
async fn broken_json_is_422_with_its_place() {
    let node = Node::start();
    for (body, offset) in [
        (&b"{"[..], 1),
        (b"{\"a\":", 5),
        (b"{\"a\":1,}", 7),
        (b"{} x", 3),
        (b"{a:1}", 1),
        (b"{\"a\" 1}", 5),
        (b" ", 1),
        (b"\n\n{\"a\":\n}", 8),
        (b"{\"wifi_ssid\":\"a\xff\"}", 15),
    ] {
        let reply = node.post_text("/api/v1/provision", body).await;
        let shown = String::from_utf8_lossy(body);
        assert_eq!(faults(&reply), [(json!(["body", offset]), "json_invalid".into())], "{shown} {}", reply.text());
        let fault = &reply.json()["detail"][0];
        assert_eq!((&fault["msg"], &fault["input"]), (&json!("JSON decode error"), &json!({})), "{shown}");
        assert!(fault["ctx"]["error"].is_string(), "{shown}");
    }
}

#[tokio::test]
async fn json_is_recognized_in_any_case_and_without_a_content_type() {
    let node = Node::start();
    let body = k2().to_string();
    for headers in [
        &[("content-type", "application/json; charset=utf-8")][..],
        &[("content-type", "APPLICATION/JSON")],
        &[("content-type", "application/vnd.jarvis+json")],
        &[],
    ] {
        let reply = request(node.api, "POST", "/api/v1/provision/k2", headers, body.as_bytes()).await;
        assert_eq!((reply.status, &reply.json()["success"]), (200, &json!(true)), "{headers:?}");
    }
    let marked = request(node.api, "POST", "/api/v1/provision/k2", &[], format!("\u{feff}{body}").as_bytes()).await;
    assert_eq!(marked.status, 200);
}

#[tokio::test]
async fn unknown_fields_are_ignored_and_of_duplicates_the_last_counts() {
    let node = Node::start();
    let body = k2().to_string().replacen('{', r#"{"kid":"first","more":{"deep":[[[1e400,"x"]]]},"#, 1);
    let reply = node.post_text("/api/v1/provision/k2", body).await;
    assert_eq!(reply.json()["kid"], "k2-202602-abc123");
}

#[tokio::test]
async fn every_name_of_1_to_32_bytes_is_joined_as_it_is() {
    let node = Node::start();
    let full = "a".repeat(32);
    for ssid in ["x", full.as_str(), "☕ café 🏠", "nul\0inside", "a:b\\:c\\\\d", "\"quoted\" 'name' $(reboot)", "../../etc", " "]
    {
        let reply = node.post("/api/v1/provision", &with(provision(), "wifi_ssid", json!(ssid))).await;
        assert_eq!(reply.json()["success"], true, "{ssid:?}");
        node.settled("PROVISIONED").await;
        let joined = node.commands().into_iter().rev().find_map(|command| match command {
            Command::Radio(RadioCommand::Join { ssid, .. }) => Some(ssid),
            _ => None,
        });
        assert_eq!(joined.expect("a join").as_bytes(), ssid.as_bytes());
    }
}

#[tokio::test]
async fn unusable_values_are_accepted_and_fail_as_an_attempt() {
    let node = Node::start();
    let long = "a".repeat(33);
    let network = |ssid: &str, fault: Fault| format!("Failed to connect to {ssid}: {fault}");
    let registration = format!("Failed to register with command center: {}", Fault::InvalidUrl);
    for (field, value, code, error) in [
        ("wifi_ssid", "", "wifi_connect_failed", network("", Fault::InvalidSsid).as_str()),
        ("wifi_ssid", long.as_str(), "wifi_connect_failed", &network(&long, Fault::InvalidSsid)),
        ("wifi_password", &"p".repeat(129), "wifi_connect_failed", &network("HomeNetwork", Fault::InvalidPassphrase)),
        ("command_center_url", "", "registration_failed", &registration),
        ("command_center_url", "ftp://x", "registration_failed", &registration),
        ("command_center_url", "http://user:pw@x", "registration_failed", &registration),
        ("command_center_url", "http://x\r\n.local", "registration_failed", &registration),
        ("config_service_url", "file:///etc/passwd", "internal_error", Fault::InvalidConfigServiceUrl.text()),
        ("config_service_url", "javascript:alert(1)", "internal_error", Fault::InvalidConfigServiceUrl.text()),
        ("config_service_url", "not a url", "internal_error", Fault::InvalidConfigServiceUrl.text()),
        ("provisioning_token", "", "internal_error", Fault::InvalidToken.text()),
        ("room", &"r".repeat(513), "internal_error", Fault::InvalidRoom.text()),
        ("household_id", &"h".repeat(513), "internal_error", Fault::InvalidHouseholdId.text()),
        ("node_id", "aa:bb:cc", "internal_error", Fault::InvalidNodeId.text()),
    ] {
        let reply = node.post("/api/v1/provision", &with(provision(), field, json!(value))).await;
        assert_eq!(reply.json()["success"], true, "{field}");
        let status = node.status(|status| status["state"] == "ERROR" && status["retryable"] == true).await;
        assert_eq!((&status["error"], &status["error_code"]), (&json!(error), &json!(code)), "{field}");
        assert_eq!((&status["message"], &status["progress_percent"]), (&json!("Provisioning failed"), &json!(10)));
        node.post("/api/v1/provision", &provision()).await;
        node.settled("PROVISIONED").await;
    }
}

#[tokio::test]
async fn without_a_name_and_a_password_the_node_enrolls_over_its_connection() {
    let node = Node::start();
    let body = with(with(provision(), "wifi_ssid", json!("")), "wifi_password", json!(""));
    let reply = node.post("/api/v1/provision", &body).await;
    assert_eq!(reply.json()["success"], true);
    node.settled("PROVISIONED").await;
    let commands = node.commands();
    assert!(!commands.iter().any(|command| matches!(command, Command::Radio(RadioCommand::Join { .. }))), "{commands:?}");
}

#[tokio::test]
async fn an_empty_password_is_for_an_open_network() {
    let node = Node::start();
    node.post("/api/v1/provision", &with(provision(), "wifi_password", json!(""))).await;
    node.settled("PROVISIONED").await;
    assert!(
        node.commands()
            .iter()
            .any(|command| matches!(command, Command::Radio(RadioCommand::Join { passphrase, .. }) if passphrase.is_empty()))
    );
}

#[tokio::test]
async fn a_failure_is_reported_and_a_new_attempt_accepted() {
    let mut refuse = true;
    let world = move |command: &Command| {
        Some(match command {
            Command::CommandCenter(CommandCenterCommand::Register { op, .. }) if std::mem::take(&mut refuse) => {
                op.done(Err(Refused { fault: Fault::TokenRejected, status: Some(401), retry_after: None }))
            }
            command => success(command),
        })
    };
    let node = Node::with(config(), Box::new(world));
    node.post("/api/v1/provision", &provision()).await;
    let status = node.status(|status| status["hotspot_restored"] == true).await;
    assert_eq!(
        status,
        json!({
            "state": "ERROR", "message": "Provisioning failed", "progress_percent": 70,
            "error": format!("Failed to register with command center: {}", Fault::TokenRejected), "error_code": "registration_failed",
            "registration_status": 401, "retryable": true, "hotspot_restored": true,
        })
    );
    assert_eq!(node.post("/api/v1/provision", &provision()).await.json()["success"], true);
    let status = node.settled("PROVISIONED").await;
    assert_eq!((&status["error"], &status["error_code"], &status["retryable"]), (&json!(null), &json!(null), &json!(false)));
}

#[tokio::test]
async fn a_factory_reset_lists_what_it_cleared_whatever_its_body() {
    let node = Node::start();
    node.post("/api/v1/provision", &provision()).await;
    node.settled("PROVISIONED").await;
    for body in ["", "{", "[]"] {
        let reply = node.post_text("/api/v1/factory-reset", body).await;
        assert_eq!(
            reply.text(),
            r#"{"success":true,"cleared":["provisioning_marker","k2_key","wifi_credentials"],"error":null}"#
        );
    }
    let status = node.get("/api/v1/status").await.json();
    assert_eq!((&status["state"], &status["progress_percent"]), (&json!("AP_MODE"), &json!(0)));
    assert_eq!(node.get("/api/v1/info").await.json()["node_id"], NODE_ID);
}

#[tokio::test]
async fn an_open_access_point_refuses_secrets_and_names_the_setting() {
    let node = Node::with(Config { secrets: Secrets::Nowhere, ..config() }, Box::new(|command| Some(success(command))));
    for path in ["/api/v1/provision", "/api/v1/provision/k2", "/api/v1/factory-reset"] {
        let reply = node.post(path, &provision()).await;
        assert_eq!(reply.status, 403);
        assert!(reply.json()["detail"].as_str().is_some_and(|detail| detail.contains("secrets_in_clear")));
    }
    for path in ["/api/v1/info", "/api/v1/scan-networks", "/api/v1/status"] {
        assert_eq!(node.get(path).await.status, 200);
    }
    assert!(
        node.commands()
            .iter()
            .all(|command| !matches!(command, Command::Disk(DiskCommand::BeginReset { .. } | DiskCommand::SaveK2 { .. })))
    );
}

#[tokio::test]
async fn a_page_of_another_site_can_change_nothing() {
    let node = Node::start();
    let own = "192.168.4.1:8080";
    for (headers, status) in [
        (&[("host", own), ("origin", "http://evil.example")][..], 403),
        (&[("host", own), ("origin", "null")], 403),
        (&[("host", own), ("origin", "http://192.168.4.1")], 403),
        // A name that its owner can make resolve to the node.
        (&[("host", "evil.example"), ("origin", "http://evil.example")], 403),
        (&[("host", own), ("sec-fetch-site", "cross-site")], 403),
        (&[("host", own), ("origin", "http://192.168.4.1:8080"), ("sec-fetch-site", "same-origin")], 200),
        (&[("host", "jarvis.local"), ("origin", "http://jarvis.local")], 403),
        (&[("host", "jarvis-5b91b661.local"), ("origin", "http://jarvis-5b91b661.local")], 200),
        (&[("host", own)], 200),
    ] {
        let reply = request(node.api, "POST", "/api/v1/factory-reset", headers, b"").await;
        assert_eq!(reply.status, status, "{headers:?}");
        assert!(reply.headers.iter().all(|(name, _)| !name.starts_with("access-control")));
    }
}

#[tokio::test]
async fn while_the_loop_hangs_the_status_is_served_and_requests_end() {
    let idle = Node::start();
    let view = idle.handle.view();
    let (handle, ends) = Handle::channel(1, (*view).clone());
    let limits = Limits { answer: Duration::from_millis(200), ..Limits::default() };
    let node = Node::serving(Config { limits, ..config() }, handle);
    let late = "The device did not answer in time. Try again.";
    assert_eq!(node.post("/api/v1/provision", &provision()).await.json(), json!({"success": false, "message": late}));
    assert_eq!(node.post("/api/v1/provision/k2", &k2()).await.json()["error"], late);
    assert_eq!(node.post_text("/api/v1/factory-reset", "").await.json(), json!({"success": false, "cleared": [], "error": late}));
    for path in ["/api/v1/info", "/api/v1/status", "/api/v1/scan-networks", "/api/v1/scan-networks"] {
        assert_eq!(node.get(path).await.status, 200);
    }
    drop(ends);
    assert_eq!(node.post("/api/v1/provision", &provision()).await.json()["message"], late);
}

#[tokio::test]
async fn a_request_for_networks_starts_one_scan_and_does_not_wait_for_it() {
    let idle = Node::start();
    let view = idle.handle.view();
    let (handle, mut ends) = Handle::channel(8, (*view).clone());
    let node = Node::serving(config(), handle);
    for _ in 0..5 {
        assert_eq!(node.get("/api/v1/scan-networks").await.status, 200);
    }
    let event = ends.events.recv().await.expect("the server is there");
    assert!(matches!(event, Event::ClearRequest { request: LocalRequest::Scan, .. }));
    assert!(ends.events.is_empty());
}

/// Bytes that are not JSON, almost JSON, and JSON of any shape around the fields.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        Just("wifi_ssid".to_owned()),
        Just("wifi_password".to_owned()),
        Just("created_at".to_owned()),
        Just("k2".to_owned()),
        Just("kid".to_owned()),
        Just("node_id".to_owned()),
        ".{0,8}",
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from)
    ];
    let tree = leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::hash_map(name.clone(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let text = tree.prop_map(|tree| tree.to_string().into_bytes());
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        text.clone(),
        (text, any::<proptest::sample::Index>(), any::<u8>()).prop_map(|(mut text, at, byte)| {
            let at = at.index(text.len());
            text[at] = byte;
            text
        }),
    ]
}

#[test]
fn no_body_is_answered_with_anything_but_200_or_422() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let node = {
        let _context = runtime.enter();
        Node::start()
    };
    proptest!(|(body in bodies(), k2: bool)| {
        let path = if k2 { "/api/v1/provision/k2" } else { "/api/v1/provision" };
        let reply = runtime.block_on(node.post_text(path, &body));
        prop_assert!(matches!(reply.status, 200 | 422), "{}", reply.status);
        if reply.status == 422 {
            prop_assert!(reply.json()["detail"].is_array());
        }
    });
}
