//! What the phone app reads and sets for a household.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Center, answer, on_both_databases, with};

on_both_databases!(
    the_configuration_of_a_household_lists_its_registered_nodes,
    what_the_app_sets_is_kept_for_the_household,
    a_household_is_for_its_members_only,
);

const CONFIG: &str = "/api/v0/households/home/smart-home/config";

async fn set(center: &Center, bearer: &str, body: &Value) -> (StatusCode, Value) {
    answer(with(center.request(Method::PUT, CONFIG), &[("authorization", bearer)]).json(body)).await
}

async fn the_configuration_of_a_household_lists_its_registered_nodes(center: Center) {
    let member = center.bearer(&["home"]);
    let fresh = json!({ "device_manager": "jarvis_direct", "primary_node_id": "", "use_external_devices": false, "nodes": [] });
    assert_eq!(center.get(CONFIG, &[("authorization", &member)]).await, (StatusCode::OK, fresh));
    let credentials = center.node().await;
    center.heartbeat(&credentials).await;
    let node_id = credentials.split(':').next().unwrap();
    let (_, config) = center.get(CONFIG, &[("authorization", &member)]).await;
    let seen = "2026-01-04T15:30:00.000000+00:00";
    assert_eq!(config["nodes"], json!([{ "node_id": node_id, "room": "default", "online": true, "last_seen": seen }]));
}

async fn what_the_app_sets_is_kept_for_the_household(mut center: Center) {
    let member = center.bearer(&["home", "next door"]);
    let (status, _) = set(&center, &member, &json!({ "device_manager": "home_assistant", "primary_node_id": "n" })).await;
    assert_eq!(status, StatusCode::OK);
    let (_, said) = set(&center, &member, &json!({ "use_external_devices": true })).await;
    center.restart().await;
    let (_, config) = center.get(CONFIG, &[("authorization", &member)]).await;
    let expected =
        json!({ "device_manager": "home_assistant", "primary_node_id": "n", "use_external_devices": true, "nodes": [] });
    assert_eq!((&said, &config), (&expected, &expected));
    let other = "/api/v0/households/next%20door/smart-home/config";
    assert_eq!(center.get(other, &[("authorization", &member)]).await.1["device_manager"], "jarvis_direct");
}

async fn a_household_is_for_its_members_only(center: Center) {
    let stranger = center.bearer(&["next door"]);
    let foreign = (StatusCode::FORBIDDEN, json!({ "detail": "User is not a member of this household" }));
    assert_eq!(center.get(CONFIG, &[("authorization", &stranger)]).await, foreign);
    assert_eq!(set(&center, &stranger, &json!({})).await, foreign);
}
