//! Complete provisioning, from the first packet to a registered node.

use std::fs;

use fernet::Fernet;
use mobile_test_harness::key;
use mobile_test_harness::link::Target;
use mobile_test_harness::phone::Phone;
use provisioning_core::domain::{Credentials, Passphrase, ProvisionCode, State};
use provisioning_core::fault::Fault;
use provisioning_core::session::PhoneSecret;
use serde_json::{Value, json};

use crate::center::{self, Center, credentials};
use crate::place::{Label, Node, PATIENCE, Place, bring_online, phone};
use crate::relay::{Plan, Relay};
use testing::http::post_json;
use testing::journal::{K2_KEY, PASSWORD, WRONG_PASSWORD};
use tokio::time::timeout;

/// A phone provisions the node, first with a wrong password.
async fn provision(over: fn(&Node) -> Target, secret: fn(&Label) -> PhoneSecret) {
    let (place, center) = (Place::new(), Center::start().await);
    let node = place.start().await;
    let label = place.label().await;
    let mut phone = Phone::connect_within(&over(&node), PATIENCE).await.expect("the node is there");
    let info = phone.info().await.expect("info is public");
    assert_eq!((info.name.as_str(), info.state), (node.name(), State::ApMode));
    phone.open_session(&secret(&label)).await.expect("the right secret");
    let networks = phone.scan(false).await.expect("a list");
    assert!(networks.iter().any(|network| network.ssid.to_string() == "Lighthouse"));
    assert!(networks.is_sorted_by_key(|network| -i16::from(network.signal)), "strongest first");
    let k2 = provisioning_core::domain::K2 {
        key: provisioning_core::secret::SecretBytes::new(K2_KEY),
        ..key::new(std::time::SystemTime::UNIX_EPOCH, &mut rand_core::UnwrapErr(getrandom::SysRng))
    };
    phone.send_k2(k2.clone()).await.expect("stored");

    let order = center.order(&place).await;
    let wrong = credentials("Lighthouse", WRONG_PASSWORD, &center.url(), &order);
    let outcome = bring_online(&mut phone, &wrong).await;
    assert_eq!(outcome.failure.map(|failure| failure.fault), Some(Fault::WrongPassword));
    let right = credentials("Lighthouse", PASSWORD, &center.url(), &order);
    assert_eq!(bring_online(&mut phone, &right).await.state, State::Provisioned);

    center.assert_enrolled(&place, &order).await;
    let k1 = fs::read_to_string(place.file("secrets.key")).expect("K1");
    place.keep_secret(k1.as_bytes());
    let k1 = Fernet::new(&k1).expect("a Fernet key");
    let open = |name| k1.decrypt(&fs::read_to_string(place.file(name)).expect("a file")).expect("sealed with K1");
    assert_eq!(open("k2.enc"), K2_KEY);
    assert_eq!(open("wifi_credentials.enc"), format!(r#"{{"ssid": "Lighthouse", "password": "{PASSWORD}"}}"#).as_bytes());
    let metadata: Value = serde_json::from_slice(&fs::read(place.file("k2_metadata.json")).expect("a file")).expect("JSON");
    assert_eq!(metadata["kid"], k2.kid);
    assert_eq!(node.stop().await.0, Some(0));
}

#[tokio::test]
async fn a_phone_provisions_a_node_over_bluetooth_with_the_code() {
    provision(Node::over_bluetooth, Label::by_code).await;
}

#[tokio::test]
async fn a_phone_provisions_a_node_over_bluetooth_with_the_qr_secret() {
    provision(Node::over_bluetooth, Label::by_qr).await;
}

#[tokio::test]
async fn a_phone_provisions_a_node_over_sealed_http_with_the_code() {
    provision(Node::over_http, Label::by_code).await;
}

#[tokio::test]
async fn a_node_that_is_online_enrolls_over_its_connection_in_three_ways() {
    for way in ["bluetooth", "sealed http", "json"] {
        let (place, center) = (Place::new(), Center::start().await);
        let node = place.start().await;
        let order = center.order(&place).await;
        let wired = Credentials {
            ssid: None,
            passphrase: Passphrase::try_from(String::new()).expect("empty"),
            ..credentials("Lighthouse", "", &center.url(), &order)
        };
        if way == "json" {
            let reply = node.post("/api/v1/provision", &center::json(&wired)).await;
            assert_eq!(reply.json()["success"], true);
            node.status(|status| status["state"] == "PROVISIONED").await;
        } else {
            let target = if way == "bluetooth" { node.over_bluetooth() } else { node.over_http() };
            let mut phone = phone(&target, &place.label().await.by_code()).await;
            assert_eq!(bring_online(&mut phone, &wired).await.state, State::Provisioned, "{way}");
        }
        center.assert_enrolled(&place, &order).await;
        assert!(!place.file("wifi_credentials.enc").exists(), "{way}");
    }
}

/// The calls of the existing phone app, in its order.
#[tokio::test]
async fn the_existing_phone_app_provisions_a_node() {
    let (place, center) = (Place::new(), Center::start().await);
    let node = place.start().await;
    let order = center.order(&place).await;

    let info = node.get("/api/v1/info").await;
    assert_eq!((info.status, &info.json()["state"]), (200, &json!("AP_MODE")));
    let networks = node.get("/api/v1/scan-networks").await.json();
    let network = |ssid, signal, security| json!({"ssid": ssid, "signal_strength": signal, "security": security});
    assert_eq!(networks["networks"][0], network("HomeNetwork", -45, "WPA2"));
    assert_eq!(networks["networks"][2], network("CoffeeShop_Free", -80, "OPEN"));
    let k2 = json!({
        "node_id": order.node_id, "kid": "k2-202602-abc123", "created_at": "2026-02-01T13:00:00.123Z",
        "k2": base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, K2_KEY),
    });
    let stored = node.post("/api/v1/provision/k2", &k2).await;
    assert_eq!(stored.json(), json!({"success": true, "node_id": order.node_id, "kid": "k2-202602-abc123", "error": null}));
    let body = center::json(&credentials("HomeNetwork", PASSWORD, &format!("{}/", center.url()), &order));
    let taken = node.post("/api/v1/provision", &body).await;
    assert_eq!(taken.text(), r#"{"success":true,"message":"Credentials received. Attempting connection..."}"#);

    let done = node.status(|status| status["state"] == "PROVISIONED").await;
    assert_eq!((&done["progress_percent"], &done["error"], &done["error_code"]), (&json!(100), &Value::Null, &Value::Null));
    let info = node.get("/api/v1/info").await.json();
    assert_eq!((&info["node_id"], &info["previously_provisioned"]), (&json!(order.node_id), &json!(true)));
    center.assert_enrolled(&place, &order).await;
    let config = place.config();
    assert_eq!(config["jarvis_command_center_api_url"], format!("{}/", center.url()), "the address is kept as it was given");
    assert_eq!(config["room"], "kitchen");

    let refused = node.post("/api/v1/provision/k2", &k2).await.json();
    assert_eq!(refused["error"], "Node is already provisioned. Re-enter pairing mode to update K2.");
}

#[tokio::test]
async fn a_registration_whose_answer_is_lost_is_repeated_with_the_same_answer() {
    let (place, center) = (Place::new(), Center::start().await);
    let mut relay = Relay::start(center.address(), &[Plan::LoseAnswer]).await;
    let node = place.start().await;
    let order = center.order(&place).await;
    let mut phone = phone(&node.over_bluetooth(), &place.label().await.by_code()).await;
    let outcome = bring_online(&mut phone, &credentials("HomeNetwork", PASSWORD, &relay.url(), &order)).await;
    assert_eq!(outcome.state, State::Provisioned);
    // The third is the first use of the node's key.
    relay.seen(|seen| seen.connections == 3).await;
    center.assert_enrolled(&place, &order).await;
}

#[tokio::test]
async fn a_token_is_worthless_once_its_node_is_provisioned() {
    let (place, center) = (Place::new(), Center::start().await);
    let node = place.start().await;
    let order = center.order(&place).await;
    let mut phone = phone(&node.over_bluetooth(), &place.label().await.by_code()).await;
    let outcome = bring_online(&mut phone, &credentials("HomeNetwork", PASSWORD, &center.url(), &order)).await;
    assert_eq!(outcome.state, State::Provisioned);
    let body = json!({"node_id": order.node_id, "provisioning_token": order.token.expose(), "room": "kitchen"}).to_string();
    let overheard = async { while post_json(center.address(), "/api/v0/nodes/register", body.as_bytes()).await.status != 401 {} };
    timeout(PATIENCE, overheard).await.expect("the node uses its key, and no answer contains it any more");
    center.assert_enrolled(&place, &order).await;
}

/// The texts in the configuration of an appliance: each is in double quotes on a separate line.
fn appliance_config(place: &Place) -> Value {
    let path = place.path("msp").join("config.yaml");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).expect("a configuration")) & 0o777, 0o600);
    let text = fs::read_to_string(path).expect("text");
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}: \""))).expect("the key is there");
        Value::from(line.trim_end_matches('"'))
    };
    json!({ "appliance_id": value("appliance_id"), "api_key": value("api_key"), "api_endpoint": value("api_endpoint") })
}

#[tokio::test]
async fn a_code_sent_with_the_credentials_is_claimed_when_the_node_is_online() {
    let (place, center) = (Place::new(), Center::start().await);
    let node = place.start().await;
    let order = center.order(&place).await;
    let code = center.code(&place).await;
    let mut phone = phone(&node.over_bluetooth(), &place.label().await.by_code()).await;
    let plain = credentials("HomeNetwork", PASSWORD, &center.url(), &order);
    let wrong =
        Credentials { provision_code: Some(ProvisionCode::try_from("0000111122223333").expect("a code")), ..plain.clone() };
    let outcome = bring_online(&mut phone, &wrong).await;
    assert_eq!(outcome.failure.map(|failure| failure.fault), Some(Fault::ProvisionCodeRejected));
    assert!(!place.file(".provisioned").exists());
    assert!(!place.path("msp").join("config.yaml").exists());

    let right = Credentials { request_id: plain.request_id + 1, provision_code: Some(code), ..plain };
    let outcome = bring_online(&mut phone, &right).await;
    assert_eq!(outcome.state, State::Provisioned);
    let config = appliance_config(&place);
    place.keep_secret(config["api_key"].as_str().expect("a key").as_bytes());
    assert_eq!(outcome.appliance_id.as_deref(), config["appliance_id"].as_str());
    assert_eq!(center.appliances().await, [config["appliance_id"].as_str().expect("an id")]);
    assert_eq!(config["api_endpoint"], center.url());
    center.assert_enrolled(&place, &order).await;
    let own = format!("/api/provision/config/{}", config["appliance_id"].as_str().expect("an id"));
    let key = format!("Bearer {}", config["api_key"].as_str().expect("a key"));
    let known = testing::http::request(center.address(), "GET", &own, &[("authorization", &key)], b"").await;
    assert_eq!(known.status, 200, "the command center accepts the key in the appliance's file");
    assert_eq!(node.stop().await.0, Some(0));

    let reset = place.run(&["reset", "--yes", "--simulate"]).await;
    assert!(reset.output.contains("cleared appliance_config\n"), "{}", reset.output);
    assert!(!place.path("msp").join("config.yaml").exists() && !place.path("msp").join("claimed.json").exists());
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_repeated_with_the_same_answer() {
    let (place, center) = (Place::new(), Center::start().await);
    // The first connection registers.
    let relay = Relay::start(center.address(), &[Plan::Pass, Plan::LoseAnswer]).await;
    let node = place.start().await;
    let order = center.order(&place).await;
    let code = center.code(&place).await;
    let mut phone = phone(&node.over_bluetooth(), &place.label().await.by_code()).await;
    let plain = credentials("HomeNetwork", PASSWORD, &relay.url(), &order);
    let outcome = bring_online(&mut phone, &Credentials { provision_code: Some(code), ..plain }).await;
    assert_eq!(outcome.state, State::Provisioned);
    assert_eq!(outcome.appliance_id.map(|appliance_id| vec![appliance_id]), Some(center.appliances().await));
}

#[tokio::test]
async fn a_provisioned_node_keeps_its_setup_until_a_new_attempt_succeeds() {
    let mut place = Place::new();
    let (center, other) = (Center::start().await, Center::start().await);
    let node = place.start().await;
    let label = place.label().await;
    let order = center.order(&place).await;
    let mut first = phone(&node.over_bluetooth(), &label.by_code()).await;
    let given = credentials("HomeNetwork", PASSWORD, &center.url(), &order);
    assert_eq!(bring_online(&mut first, &given).await.state, State::Provisioned);
    let before = place.config();
    node.stop().await;

    place.set("JARVIS_SKIP_PROVISIONING_CHECK", "true");
    let node = place.start().await;
    let again = other.order(&place).await;
    let mut second = phone(&node.over_bluetooth(), &label.by_code()).await;
    let wrong = credentials("Lighthouse", WRONG_PASSWORD, &other.url(), &again);
    assert_eq!(bring_online(&mut second, &wrong).await.state, State::Error);
    assert_eq!(place.config(), before);
    let right = credentials("Lighthouse", PASSWORD, &other.url(), &again);
    assert_eq!(bring_online(&mut second, &right).await.state, State::Provisioned);
    other.assert_enrolled(&place, &again).await;
}

#[tokio::test]
async fn a_second_phone_gets_busy_over_either_link() {
    let place = Place::new();
    let node = place.start().await;
    let label = place.label().await;
    let mut first = phone(&node.over_bluetooth(), &label.by_code()).await;
    first.status().await.expect("an answer");
    for target in [node.over_bluetooth(), node.over_http()] {
        let mut second = Phone::connect_within(&target, PATIENCE).await.expect("the node is there");
        let refused = second.open_session(&label.by_code()).await.expect_err("another phone has the session");
        assert_eq!(refused.fault(), Some(Fault::Busy));
    }
    assert_eq!(place.status().await["pairing_attempts"], 0, "Busy is not an attempt");
    first.status().await.expect("the first session continues");
}
