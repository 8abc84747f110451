//! Every simulated failure, reported by its name over both links.

use mobile_test_harness::command_center::Order;
use provisioning_core::domain::State;
use provisioning_core::fault::Fault;
use serde_json::{Value, json};

use crate::attempts::open;
use crate::center::{self, Center, credentials};
use crate::place::{Node, PATIENCE, Place, bring_online, phone};
use crate::relay::{Plan, Relay};
use testing::journal::{PASSWORD, TOKEN};

/// The address of a command center that receives no request.
const NOWHERE: &str = "http://127.0.0.1:9";

fn unused_order() -> Order {
    Order {
        node_id: "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d".into(),
        token: provisioning_core::secret::SecretText::new(TOKEN.into()),
        good_for: std::time::Duration::from_mins(10),
    }
}

/// Makes an attempt over the JSON API; returns its final status.
async fn attempt(node: &Node, body: &Value) -> Value {
    let taken = node.post("/api/v1/provision", body).await;
    assert_eq!(taken.json()["success"], true, "{}", taken.text());
    node.status(|status| status["state"] == "ERROR" && status["retryable"] == true).await
}

#[tokio::test]
async fn a_failing_network_is_reported_by_fault_over_bluetooth_and_by_code_over_json() {
    // JSON is refused while a phone has the session.
    let (place, json_place) = (Place::new(), Place::new());
    let (node, json_node) = (place.start().await, json_place.start().await);
    let mut phone = phone(&node.over_bluetooth(), &place.label().await.by_code()).await;
    let networks = phone.scan(false).await.expect("a list");
    let failing = networks.iter().map(|network| network.ssid.to_string()).filter(|name| name != "Sim-NoInternet");
    let failing: Vec<String> = failing.filter(|name| name.starts_with("Sim-")).collect();
    assert_eq!(failing.len(), 10, "{failing:?}");
    for ssid in failing {
        let given = credentials(&ssid, PASSWORD, NOWHERE, &unused_order());
        let outcome = bring_online(&mut phone, &given).await;
        assert_eq!(outcome.state, State::Error);
        let fault = outcome.failure.expect("a failure").fault;
        assert_eq!(format!("Sim-{}", fault.name()), ssid);

        let status = attempt(&json_node, &center::json(&given)).await;
        assert_eq!(status["error_code"], "wifi_connect_failed", "{ssid}");
        assert_eq!(status["error"], format!("Failed to connect to {ssid}: {fault}"));
        assert_eq!((&status["registration_status"], &status["hotspot_restored"]), (&Value::Null, &json!(true)), "{ssid}");
        let kept = place.status().await;
        assert_eq!((&kept["state"], &kept["last_failure"]["fault"]), (&json!("ERROR"), &json!(fault.name())));
    }
}

#[tokio::test]
async fn a_network_without_internet_is_reported_and_the_attempt_succeeds() {
    let (place, center) = (Place::new(), Center::start().await);
    let node = place.start().await;
    let order = center.order(&place).await;
    let mut phone = phone(&node.over_http(), &place.label().await.by_code()).await;
    let outcome = bring_online(&mut phone, &credentials("Sim-NoInternet", "", &center.url(), &order)).await;
    assert!(outcome.state == State::Provisioned && outcome.limited_connectivity, "{outcome:?}");
}

#[tokio::test]
async fn after_a_rejected_token_a_new_one_works_in_the_same_session() {
    let (place, center) = (Place::new(), Center::start().await);
    let node = place.start().await;
    let mut phone = phone(&node.over_bluetooth(), &place.label().await.by_code()).await;
    let outcome = bring_online(&mut phone, &credentials("HomeNetwork", PASSWORD, &center.url(), &unused_order())).await;
    let failure = outcome.failure.expect("a failure");
    assert_eq!((failure.fault, failure.registration_status), (Fault::TokenRejected, Some(401)));
    let status = node.status(|status| status["retryable"] == true).await;
    assert_eq!(
        (&status["error"], &status["error_code"], &status["registration_status"]),
        (
            &json!(format!("Failed to register with command center: {}", Fault::TokenRejected)),
            &json!("registration_failed"),
            &json!(401)
        )
    );
    let order = center.order(&place).await;
    let outcome = bring_online(&mut phone, &credentials("HomeNetwork", PASSWORD, &center.url(), &order)).await;
    assert_eq!(outcome.state, State::Provisioned);
    center.assert_enrolled(&place, &order).await;
}

#[tokio::test]
async fn each_answer_of_a_command_center_has_its_fault() {
    let place = Place::new();
    let node = place.start().await;
    let mut phone = phone(&node.over_bluetooth(), &place.label().await.by_code()).await;
    let nowhere = NOWHERE.trim_start_matches("http://").parse().expect("an address");
    for (answer, tries, fault) in [
        ("400 Bad Request", 1, Fault::CommandCenterRefused),
        ("302 Found", 1, Fault::CommandCenterRefused),
        ("201 Created", 1, Fault::CommandCenterAnswer),
        ("503 Service Unavailable", 3, Fault::CommandCenterFailed),
    ] {
        let mut relay = Relay::start(nowhere, &[Plan::Answer(answer); 8]).await;
        let outcome = bring_online(&mut phone, &credentials("HomeNetwork", PASSWORD, &relay.url(), &unused_order())).await;
        assert_eq!(outcome.failure.expect("a failure").fault, fault, "{answer}");
        assert_eq!(relay.seen(|_| true).await.connections, tries, "{answer}");
        let status = node.status(|status| status["retryable"] == true).await;
        assert_eq!(status["error_code"], "registration_failed", "{answer}");
    }
}

#[tokio::test]
async fn without_a_configuration_every_attempt_fails_with_the_reason() {
    let place = Place::new().with("CONFIG_PATH", "");
    let node = place.start().await;
    assert!(place.log().contains("CONFIG_PATH is not set"), "the operator is warned at the start");
    let mut phone = phone(&node.over_bluetooth(), &place.label().await.by_code()).await;
    let given = credentials("HomeNetwork", PASSWORD, NOWHERE, &unused_order());
    let refused = phone.send_credentials(&given).await.expect_err("an attempt that cannot be stored");
    assert_eq!(refused.fault(), Some(Fault::ConfigurationFailed));
    drop(node);
    let place = Place::new().with("CONFIG_PATH", "");
    let status = attempt(&place.start().await, &center::json(&given)).await;
    assert_eq!(
        (&status["error"], &status["error_code"]),
        (&json!("Failed to update configuration"), &json!("config_write_failed"))
    );
}

#[tokio::test]
async fn unusable_values_fail_as_an_attempt_over_json() {
    let place = Place::new();
    let node = place.start().await;
    let good = center::json(&credentials("HomeNetwork", PASSWORD, NOWHERE, &unused_order()));
    let long = "p".repeat(65);
    for (field, value, code) in [
        ("wifi_ssid", "", "wifi_connect_failed"),
        ("wifi_ssid", "an SSID of thirty-three bytes ....", "wifi_connect_failed"),
        ("wifi_password", long.as_str(), "wifi_connect_failed"),
        ("command_center_url", "ftp://center", "registration_failed"),
        ("command_center_url", "http://192.0.2.7@169.254.169.254", "registration_failed"),
        ("node_id", "", "internal_error"),
        ("provisioning_token", "", "internal_error"),
    ] {
        let mut body = good.clone();
        body[field] = json!(value);
        let status = attempt(&node, &body).await;
        assert_eq!(status["error_code"], code, "{field}: {value}");
    }
}

#[tokio::test]
async fn a_mistyped_address_is_cancelled_and_corrected_in_the_same_session() {
    let (place, center) = (Place::new(), Center::start().await);
    let node = place.start().await;
    let order = center.order(&place).await;
    for over in [node.over_bluetooth(), node.over_http()] {
        let mut phone = open(&over, &place.label().await.by_code()).await.expect("the right code");
        let mistyped = credentials("HomeNetwork", PASSWORD, NOWHERE, &order);
        phone.send_credentials(&mistyped).await.expect("accepted");
        let outcome = phone.cancel(mistyped.request_id, PATIENCE).await.expect("an outcome");
        assert_eq!(outcome.failure.expect("a failure").fault, Fault::Cancelled, "{over}");
        let again = phone.cancel(mistyped.request_id, PATIENCE).await.expect("the same outcome");
        assert_eq!(again.failure.expect("a failure").fault, Fault::Cancelled, "{over}");
        let unknown = phone.cancel(mistyped.request_id + 1, PATIENCE).await.expect_err("no such attempt");
        assert_eq!(unknown.fault(), Some(Fault::NoAttempt), "{over}");
        phone.leave().await;
    }
    let mut phone = open(&node.over_http(), &place.label().await.by_code()).await.expect("the right code");
    let outcome = bring_online(&mut phone, &credentials("HomeNetwork", PASSWORD, &center.url(), &order)).await;
    assert_eq!(outcome.state, State::Provisioned);
    center.assert_enrolled(&place, &order).await;
}

#[tokio::test]
async fn a_token_for_another_household_is_refused_and_serves_the_right_one() {
    let (place, center) = (Place::new(), Center::start().await);
    let node = place.start().await;
    let order = center.order(&place).await;
    let mut phone = phone(&node.over_bluetooth(), &place.label().await.by_code()).await;
    let right = credentials("HomeNetwork", PASSWORD, &center.url(), &order);
    let mut wrong = credentials("HomeNetwork", PASSWORD, &center.url(), &order);
    wrong.household_id = "other-house".into();
    let outcome = bring_online(&mut phone, &wrong).await;
    assert_eq!(outcome.failure.expect("a failure").fault, Fault::WrongHousehold);
    let outcome = bring_online(&mut phone, &right).await;
    assert_eq!(outcome.state, State::Provisioned);
    center.assert_enrolled(&place, &order).await;
}
