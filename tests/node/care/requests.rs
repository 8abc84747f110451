//! Requests of the owner to the caretaker.

use jarvis_provisioning::care::port::{Error, Join};
use provisioning_core::care::condition::Mode;
use provisioning_core::care::recovery::Internet;
use provisioning_core::domain::Passphrase;
use provisioning_core::fault::Fault;
use tokio::time::{Instant, sleep, timeout};

use super::house::{MINUTE, Node, SECOND, Use, ssid};

fn to(name: &str) -> Join {
    let passphrase = Passphrase::try_from("correct horse battery".to_owned()).expect("a short passphrase");
    Join { ssid: ssid(name), passphrase, hidden: false }
}

/// A node in its home, after its first check.
async fn at_home() -> Node {
    let node = Node::start();
    sleep(SECOND).await;
    node
}

async fn in_hotspot() -> Node {
    let node = at_home().await;
    node.house.lose("home");
    node.until(&Use::Hotspot).await;
    node
}

#[tokio::test(start_paused = true)]
async fn a_network_that_was_connected_is_stored() {
    let node = at_home().await;
    node.house.gain("office");
    node.care.connect(to("office")).await.expect("it accepts the node");
    assert_eq!(node.house.radio(), Use::Joined("office"));
    let saved = node.care.saved().await.expect("a list");
    let names: Vec<_> = saved.iter().map(|network| (network.name.as_str(), network.active)).collect();
    assert_eq!(names, [("office", true), ("home", false)]);
    assert_eq!(node.care.status().network.last_ssid, Some(ssid("office")));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_connected_is_ready_and_waits_for_no_further_setup() {
    let node = in_hotspot().await;
    assert_eq!(node.care.status().condition().phase.name(), "provisioning");
    node.house.gain("office");
    node.care.connect(to("office")).await.expect("it accepts the node");
    assert_eq!(node.care.status().condition().phase.name(), "ready");
    sleep(MINUTE).await;
    assert_eq!((node.care.status().mode, node.care.status().network.last_error.clone()), (Mode::Ready, None));
}

#[tokio::test(start_paused = true)]
async fn a_network_that_refuses_leads_back_to_the_old_one() {
    let node = at_home().await;
    assert_eq!(node.care.connect(to("refusing")).await, Err(Error::Failed(Fault::WrongPassword)));
    assert_eq!(node.house.radio(), Use::Joined("home"));
    assert_eq!(node.house.world().stored, ["home"]);
    let status = node.care.status();
    assert!(status.network.connected && status.network.last_error.is_some());
    let messages = node.messages().await;
    assert_eq!(messages.last().map(|message| message.starts_with("Connecting to a network failed")), Some(true), "{messages:?}");
}

#[tokio::test(start_paused = true)]
async fn a_network_that_refuses_leads_back_to_the_hotspot() {
    let node = in_hotspot().await;
    assert!(node.care.connect(to("refusing")).await.is_err());
    assert_eq!(node.house.radio(), Use::Hotspot);
    assert!(node.care.status().network.hotspot_open);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_refuses_leads_to_the_hotspot_if_the_old_one_is_gone() {
    let node = at_home().await;
    let connecting = tokio::spawn({
        let care = node.care.clone();
        async move { care.connect(to("refusing")).await }
    });
    sleep(SECOND).await;
    node.house.lose("home");
    assert!(connecting.await.expect("it does not panic").is_err());
    assert_eq!(node.house.radio(), Use::Hotspot);
}

#[tokio::test(start_paused = true)]
async fn a_network_without_internet_leads_back_to_the_old_one() {
    let node = at_home().await;
    node.house.gain("portal");
    node.house.world().limited = true;
    assert_eq!(node.care.connect(to("portal")).await, Err(Error::NoInternet));
    assert_eq!((node.house.radio(), node.house.world().stored.clone()), (Use::Joined("home"), vec!["home"]));
}

#[tokio::test(start_paused = true)]
async fn a_stored_network_is_joined_without_its_passphrase() {
    let node = at_home().await;
    node.house.gain("office");
    node.house.world().stored.insert(0, "office");
    let join = Join { passphrase: Passphrase::try_from(String::new()).expect("empty"), ..to("office") };
    node.care.connect(join).await.expect("it is stored");
    assert_eq!(node.house.radio(), Use::Joined("office"));
    assert_eq!(node.house.world().calls.last().map(|(_, call)| *call), Some("join_stored"));
}

#[tokio::test(start_paused = true)]
async fn a_stored_network_without_internet_leads_back() {
    let node = at_home().await;
    node.house.gain("portal");
    node.house.world().stored.insert(0, "portal");
    node.house.world().internet = Internet::Portal;
    let join = Join { passphrase: Passphrase::try_from(String::new()).expect("empty"), ..to("portal") };
    assert_eq!(node.care.connect(join.clone()).await, Err(Error::NoInternet));
    assert_eq!(node.house.radio(), Use::Joined("home"));
    node.care.hotspot(true).await.expect("a radio that can");
    assert_eq!(node.care.connect(join).await, Err(Error::NoInternet));
    assert_eq!(node.house.radio(), Use::Hotspot);
}

#[tokio::test(start_paused = true)]
async fn a_router_that_lets_a_new_client_through_after_a_few_seconds_has_internet() {
    let node = at_home().await;
    node.house.gain("office");
    node.house.world().internet = Internet::None;
    let connecting = tokio::spawn({
        let care = node.care.clone();
        async move { care.connect(to("office")).await }
    });
    sleep(SECOND * 4).await;
    node.house.world().internet = Internet::Full;
    assert_eq!(connecting.await.expect("it does not panic"), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn of_two_clients_that_change_things_at_once_one_wins_and_the_other_is_told() {
    let node = at_home().await;
    node.house.gain("office");
    let (connected, opened) = tokio::join!(node.care.connect(to("office")), node.care.hotspot(true));
    let outcomes = [connected.clone(), opened.clone()];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert!(outcomes.contains(&Err(Error::Busy)), "{outcomes:?}");
    let expected = if connected.is_ok() { Use::Joined("office") } else { Use::Hotspot };
    assert_eq!((node.house.radio(), node.house.world().overlap), (expected, 1));
}

#[tokio::test(start_paused = true)]
async fn a_second_request_meanwhile_is_refused_and_reads_are_not() {
    let node = at_home().await;
    let connecting = tokio::spawn({
        let care = node.care.clone();
        async move { care.connect(to("refusing")).await }
    });
    sleep(SECOND).await;
    assert_eq!(node.care.status().mode, Mode::Connecting);
    assert_eq!(node.care.hotspot(true).await, Err(Error::Busy));
    assert_eq!(node.care.forget("home".into()).await, Err(Error::Busy));
    assert_eq!(node.care.recover().await, Err(Error::Busy));
    assert_eq!(node.care.saved().await.map(|saved| saved.len()), Ok(1));
    assert!(connecting.await.expect("it does not panic").is_err());
    assert_eq!(node.house.radio(), Use::Joined("home"));
}

#[tokio::test(start_paused = true)]
async fn provisioning_ends_a_request_at_once() {
    let node = at_home().await;
    let connecting = tokio::spawn({
        let care = node.care.clone();
        async move { care.connect(to("refusing")).await }
    });
    sleep(SECOND).await;
    let before = Instant::now();
    node.provisioning(true);
    assert_eq!(connecting.await.expect("it does not panic"), Err(Error::Provisioning));
    assert!(before.elapsed() < SECOND);
    assert_eq!(node.care.connect(to("home")).await, Err(Error::Provisioning));
    assert_eq!(node.care.recover().await, Err(Error::Provisioning));
}

#[tokio::test(start_paused = true)]
async fn a_request_cancels_a_command_of_recovery_and_starts_after_it() {
    let node = at_home().await;
    node.house.lose("home");
    node.house.gain("office");
    let joining = |node: &Node| node.house.world().calls.last().is_some_and(|(_, call)| *call == "join_stored");
    while !joining(&node) {
        sleep(SECOND).await;
    }
    timeout(SECOND * 5, node.care.connect(to("office"))).await.expect("it waits for nothing").expect("it accepts the node");
    assert_eq!((node.house.radio(), node.house.world().overlap), (Use::Joined("office"), 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_completed_though_its_caller_no_longer_waits() {
    let node = at_home().await;
    assert!(timeout(SECOND, node.care.connect(to("refusing"))).await.is_err());
    assert_eq!(node.care.hotspot(true).await, Err(Error::Busy));
    node.until(&Use::Joined("home")).await;
}

#[tokio::test(start_paused = true)]
async fn a_hotspot_that_the_owner_has_opened_stays_for_a_while() {
    let node = at_home().await;
    node.care.hotspot(true).await.expect("a radio that can");
    assert!(node.care.status().network.hotspot_open);
    sleep(MINUTE * 9).await;
    assert_eq!(node.house.radio(), Use::Hotspot, "although the home is in range");
    assert!(node.until(&Use::Joined("home")).await <= MINUTE * 4);
}

#[tokio::test(start_paused = true)]
async fn a_hotspot_that_the_owner_closes_is_closed() {
    let node = at_home().await;
    node.care.hotspot(true).await.expect("a radio that can");
    node.care.hotspot(false).await.expect("it is open");
    assert_ne!(node.house.radio(), Use::Hotspot);
    assert!(!node.care.status().network.hotspot_open);
}

#[tokio::test(start_paused = true)]
async fn a_recovery_by_request_leaves_a_working_network_alone() {
    let node = at_home().await;
    node.care.recover().await.expect("nothing forbids it");
    assert_eq!(node.care.recover().await, Err(Error::RecoveryInProgress));
    sleep(SECOND * 5).await;
    assert!(matches!(node.care.recover().await, Err(Error::RecoveryCooldown(_))));
    assert!(node.house.world().calls.is_empty(), "{:?}", node.house.world().calls);
}

#[tokio::test(start_paused = true)]
async fn a_recovery_by_request_ends_a_hotspot_that_the_owner_has_opened() {
    let node = at_home().await;
    node.care.hotspot(true).await.expect("a radio that can");
    node.care.recover().await.expect("nothing forbids it");
    assert!(node.until(&Use::Joined("home")).await < MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_network_is_forgotten_by_its_name() {
    let node = at_home().await;
    assert_eq!(node.care.forget("office".into()).await, Err(Error::UnknownNetwork));
    node.care.forget("home".into()).await.expect("it is stored");
    assert!(node.care.saved().await.expect("a list").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rollback_opens_the_hotspot_and_shows_its_reason() {
    let node = at_home().await;
    node.care.rollback("the owner asked for it".into()).await.expect("a radio that can");
    let status = node.care.status();
    assert!(status.network.hotspot_open);
    assert_eq!((status.mode, status.network.last_error.as_deref()), (Mode::Provisioning, Some("the owner asked for it")));
}

#[tokio::test(start_paused = true)]
async fn a_scan_lists_networks_and_marks_the_one_in_use() {
    let node = at_home().await;
    let mut seen = node.care.scan().await.expect("a scan");
    seen.sort_by_key(|network| network.ssid.to_string());
    let short: Vec<_> = seen.iter().map(|network| (network.ssid.to_string(), network.in_use)).collect();
    assert_eq!(short, [("home".to_owned(), true), ("refusing".to_owned(), false)]);
}
