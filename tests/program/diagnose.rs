//! `jarvis-provision diagnose`.

use serde_json::Value;

use crate::center::Center;
use crate::place::Place;

/// A simulated network, and a command center at that address.
fn place(command_center: &str) -> Place {
    Place::new().with("JARVIS_SIMULATE_PROVISIONING", "1").with("COMMAND_CENTER_URL", command_center)
}

#[tokio::test]
async fn a_diagnosis_of_a_working_node_exits_with_0_and_creates_no_files() {
    let center = Center::start().await;
    let place = place(&center.url());
    let ended = place.run(&["diagnose", "--json"]).await;
    let object: Value = serde_json::from_str(&ended.output).expect("one JSON object");
    let layers = object["layers"].as_array().expect("a list");
    let verdict = |layer: &str| layers.iter().find(|entry| entry["layer"] == layer).expect("a layer")["verdict"].clone();
    assert_eq!((layers.len(), verdict("radio"), verdict("command_center")), (8, "ok".into(), "ok".into()), "{object}");
    // Whether the clock of the machine that runs the tests is synchronized does not matter here.
    assert_eq!(ended.status, Some(if verdict("clock") == "ok" { 0 } else { 8 }));
    assert!(!place.path("secrets").exists());
}

#[tokio::test]
async fn a_diagnosis_that_finds_a_failure_exits_with_8_and_says_what_to_do() {
    // Nothing listens there.
    let place = place("http://127.0.0.1:1");
    let ended = place.run(&["diagnose"]).await;
    assert_eq!(ended.status, Some(8), "{}", ended.errors);
    assert_eq!(ended.output.lines().filter(|line| line.starts_with("command center")).count(), 1, "{}", ended.output);
    assert!(!ended.output.contains('\u{1b}'), "no colours in a pipe");
}

#[tokio::test]
async fn an_invalid_page_for_the_check_of_the_internet_is_refused_by_name() {
    let place = place("");
    std::fs::write(place.path("settings.toml"), "[care]\ncheck_url = \"https://check.example\"").expect("a writable folder");
    let ended = place.run(&["diagnose", "--config", "settings.toml"]).await;
    assert_eq!(ended.status, Some(3));
    assert!(ended.errors.contains("care.check_url"), "{}", ended.errors);
    let ended = place.run(&["diagnose", "--json", "--config", "settings.toml"]).await;
    let object: Value = serde_json::from_str(&ended.output).expect("one JSON object");
    assert_eq!((ended.status, &object["ok"]), (Some(3), &Value::Bool(false)));
    assert!(object["error"].as_str().is_some_and(|error| error.contains("care.check_url")), "{object}");
}
