//! Network care: the process that stays.

use jarvis_provisioning::simulation::{GUARDED, PASSWORD};
use provisioning_core::domain::{CareReply, CareRequest, EventPhase, NewEvents, Passphrase, Ssid, State};
use provisioning_core::fault::Fault;
use serde_json::json;

use crate::place::{Node, Place, phone};

#[tokio::test]
async fn with_network_care_a_provisioned_node_stays_and_without_it_ends() {
    let mut place = Place::new();
    place.label().await;
    std::fs::write(place.file(".provisioned"), b"").expect("a writable folder");
    assert!(place.start_unless_provisioned().await.is_none());
    place.set("MOONHUB_PROVISIONING_ENABLED", "1");
    let node = place.start().await;
    let info = node.get("/api/v1/info").await;
    assert_eq!(info.status, 200);
    assert_eq!(node.stop().await.0, Some(0));
}

/// The status of an answer of the API to this token.
async fn admitted(node: &Node, method: &str, path: &str, token: &str) -> u16 {
    let header = ("x-moonhub-provisioning-token", token);
    testing::http::request(node.address(), method, &format!("/api/provisioning/{path}"), &[header], b"").await.status
}

#[tokio::test]
async fn a_token_of_the_previous_owner_opens_nothing_after_a_reset_in_either_way() {
    const OLD: &str = "token-of-the-previous-owner";
    const NEW: &str = "token-of-the-next-owner";
    for over_the_api in [true, false] {
        let mut place = caring().await;
        place.set("MOONHUB_PROVISIONING_TOKEN", OLD);
        let node = place.start().await;
        assert_eq!(admitted(&node, "GET", "status", OLD).await, 200);
        if over_the_api {
            assert_eq!(admitted(&node, "POST", "factory-reset", OLD).await, 200);
            assert_eq!(admitted(&node, "GET", "status", OLD).await, 401, "at once");
        }
        node.stop().await;
        if !over_the_api {
            assert_eq!(place.run(&["reset", "--yes", "--simulate"]).await.status, Some(0));
        }
        let node = place.start().await;
        for path in ["status", "auth-code", "events"] {
            assert_eq!(admitted(&node, "GET", path, OLD).await, 401, "{path}");
        }
        assert!(place.log().contains("has made the token of network care void"));
        node.stop().await;
        place.set("MOONHUB_PROVISIONING_TOKEN", NEW);
        let node = place.start().await;
        assert_eq!(admitted(&node, "GET", "status", NEW).await, 200);
        assert_eq!(node.stop().await.0, Some(0));
    }
}

/// A provisioned node with network care.
async fn caring() -> Place {
    let mut place = Place::new();
    place.label().await;
    std::fs::write(place.file(".provisioned"), b"").expect("a writable folder");
    place.set("MOONHUB_PROVISIONING_ENABLED", "1");
    place
}

#[tokio::test]
async fn a_restart_of_the_program_keeps_its_process_and_its_command_line() {
    let mut place = caring().await;
    let node = place.start().await;
    let refused = node.post("/api/provisioning/restart", &json!({ "scope": "app" })).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(node.stop().await.0, Some(0));

    place.set("MOONHUB_ALLOW_SYSTEM_CONTROL", "1");
    let mut node = place.start().await;
    let (id, line) = (node.id(), node.shown("cmdline"));
    let device = node.post("/api/provisioning/restart", &json!({ "scope": "device" })).await;
    assert_eq!(device.status, 403, "a simulated node does not restart its computer: {}", device.text());
    let reply = node.post("/api/provisioning/restart", &json!({ "reason": "update", "scope": "app" })).await;
    assert_eq!((reply.status, reply.text()), (200, r#"{"ok":true}"#));
    node.until_restarted().await;
    assert_eq!((node.id(), node.shown("cmdline")), (id, line));
    let status = node.get("/api/provisioning/status").await.json()["status"].clone();
    assert_eq!(status["restartPending"], false, "{status}");
    assert_eq!(node.stop().await.0, Some(0));
}

#[tokio::test]
async fn the_settings_of_the_existing_system_are_read_and_a_torn_file_disables_nothing() {
    let place = caring().await;
    let path = place.path("provisioning.json");
    for (content, recovers) in
        [(r#"{"device":{"recovery":{"enabled":false}}}"#, false), (r#"{"device":{"recovery":{"enabled":fal"#, true)]
    {
        std::fs::write(&path, content).expect("a writable folder");
        let node = place.start().await;
        let status = node.get("/api/provisioning/status").await.json()["status"].clone();
        assert_eq!(status["recovery"]["enabled"], recovers, "{content}");
        assert_eq!(node.stop().await.0, Some(0));
        assert_eq!(std::fs::read_to_string(&path).expect("it stays"), content, "it is never written");
    }
    assert!(place.log().contains("provisioning.json is ignored, and the defaults apply"));
}

#[tokio::test]
async fn a_phone_with_the_code_uses_network_care_without_its_token() {
    let mut place = Place::new();
    let label = place.label().await;
    std::fs::write(place.file(".provisioned"), b"").expect("a writable folder");
    place.set("MOONHUB_PROVISIONING_ENABLED", "1");
    place.set("MOONHUB_PROVISIONING_TOKEN", "the-token-of-the-api");
    let node = place.start().await;
    assert_eq!(node.get("/api/provisioning/status").await.status, 401);
    for target in [node.over_bluetooth(), node.over_http()] {
        let mut phone = phone(&target, &label.by_code()).await;
        let status = phone.care(CareRequest::Status).await.expect("the state of the network");
        assert!(matches!(status, CareReply::Status(_)), "{status:?}");
        let saved = phone.care(CareRequest::Saved).await.expect("a list");
        assert!(matches!(saved, CareReply::Saved(_)), "{saved:?}");
        let CareReply::Diagnosis(layers) = phone.care(CareRequest::Diagnose).await.expect("a diagnosis") else {
            panic!("another answer than a diagnosis")
        };
        assert_eq!((layers.len(), layers[0].layer.as_str()), (8, "radio"));
        // The phone leaves the radio to the caretaker, which keeps the hotspot open.
        assert_eq!(phone.care(CareRequest::Hotspot(true)).await.expect("the hotspot is open"), CareReply::Done);
        let CareReply::Status(status) = phone.care(CareRequest::Status).await.expect("the state of the network") else {
            panic!("another answer than the state")
        };
        assert!(status.hotspot);
        let new = phone.care(CareRequest::Events(String::new())).await.expect("the events");
        let CareReply::Events(NewEvents { events, gap: false }) = new else { panic!("the events are kept: {new:?}") };
        let opened = ("hotspot.enable".to_owned(), EventPhase::Completed);
        let event = events.iter().find(|event| event.action.as_ref() == Some(&opened)).expect("it was announced");
        let later = phone.care(CareRequest::Events(event.id.clone())).await.expect("the events");
        let CareReply::Events(later) = later else { panic!("another answer than the events") };
        assert!(later.events.iter().all(|later| later.id > event.id), "{later:?}");
        let CareReply::Label(shown) = phone.care(CareRequest::Label).await.expect("the label") else {
            panic!("another answer than the label")
        };
        assert_eq!(shown.code.expose(), label.code);
        assert_eq!(usize::try_from(shown.size * shown.size).expect("it is small").div_ceil(8), shown.modules.expose().len());
        phone.leave().await;
    }
    assert_eq!(node.stop().await.0, Some(0));
}

#[tokio::test]
async fn a_phone_with_the_code_joins_a_network_and_resets_the_node() {
    let mut place = Place::new();
    let label = place.label().await;
    std::fs::write(place.file(".provisioned"), b"").expect("a writable folder");
    place.set("MOONHUB_PROVISIONING_ENABLED", "1");
    let node = place.start().await;
    let mut phone = phone(&node.over_http(), &label.by_code()).await;
    let connect = |ssid: &str, passphrase: &str| CareRequest::Connect {
        ssid: Ssid::try_from(ssid).expect("a short name"),
        passphrase: Passphrase::try_from(passphrase.to_owned()).expect("a short one"),
        hidden: false,
    };
    let wrong = phone.care(connect(GUARDED, "not this one")).await.expect_err("another passphrase");
    assert_eq!(wrong.to_string(), Fault::WrongPassword.text());
    assert_eq!(phone.care(connect(GUARDED, PASSWORD)).await.expect("it joins"), CareReply::Done);
    let CareReply::Status(status) = phone.care(CareRequest::Status).await.expect("the state of the network") else {
        panic!("another answer than the state")
    };
    assert_eq!(status.ssid, Ssid::try_from(GUARDED).ok());

    assert_eq!(phone.care(CareRequest::Reset).await.expect("everything is deleted"), CareReply::Done);
    assert!(!place.file(".provisioned").exists());
    assert_eq!(phone.status().await.expect("the session continues").state, State::ApMode);
    phone.leave().await;
    assert_eq!(node.stop().await.0, Some(0));
}
