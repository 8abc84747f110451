//! Network care: the process that stays.

use crate::place::Place;

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

/// A provisioned node with network care.
async fn caring() -> Place {
    let mut place = Place::new();
    place.label().await;
    std::fs::write(place.file(".provisioned"), b"").expect("a writable folder");
    place.set("MOONHUB_PROVISIONING_ENABLED", "1");
    place
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
