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
