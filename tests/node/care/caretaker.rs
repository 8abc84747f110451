//! The caretaker's loop: recovery, carried out in virtual time.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use jarvis_provisioning::care::port::Error;
use provisioning_core::care::recovery::{CHECK_EVERY, COOLDOWN, FALLBACK_WITHIN, Internet, Outcome, RETURN_WITHIN};
use provisioning_core::machine::Link;
use tokio::time::sleep;

use super::house::{Away, House, MINUTE, Node, SECOND, Use};

/// Longer than a recovery with every limit.
const RECOVERY: u32 = 260;

#[tokio::test(start_paused = true)]
async fn a_home_that_is_gone_leads_to_the_hotspot_and_back_when_it_returns() {
    let node = Node::start();
    sleep(MINUTE).await;
    node.house.lose("home");
    let took = node.until(&Use::Hotspot).await;
    assert!(took <= FALLBACK_WITHIN, "{took:?}");
    sleep(MINUTE * 10).await;
    assert_eq!(node.house.radio(), Use::Hotspot);
    node.house.gain("home");
    let took = node.until(&Use::Joined("home")).await;
    assert!(took <= RETURN_WITHIN, "{took:?}");
    sleep(MINUTE).await;
    let status = node.care.status();
    assert!(status.network.connected && !status.network.hotspot_open);
    assert_eq!(status.recovery.outcome, Outcome::RejoinSucceeded);
    let messages = node.messages().await;
    assert!(messages.iter().any(|message| message.contains("fallback")), "{messages:?}");
    assert!(messages.iter().any(|message| message == "Back in home"), "{messages:?}");
    assert_eq!(node.house.world().overlap, 1, "one call at a time");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_internet_alone_leaves_the_radio_alone() {
    let node = Node::start();
    sleep(MINUTE).await;
    node.house.world().internet = Internet::None;
    sleep(MINUTE * 60).await;
    assert!(node.house.world().calls.is_empty(), "{:?}", node.house.world().calls);
    let status = node.care.status();
    assert!(status.network.connected && !status.network.internet);
    assert!(node.messages().await.iter().any(|message| message.contains("Internet")));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_renewed_is_told_and_the_network_joined_again() {
    let node = Node::start();
    sleep(MINUTE).await;
    node.house.world().has_lease = false;
    sleep(MINUTE * 3).await;
    let messages = node.messages().await;
    assert!(messages.iter().any(|message| message.contains("no longer renews")), "{messages:?}");
    assert!(messages.iter().any(|message| message.contains("back in home")), "{messages:?}");
    assert!(node.house.world().has_lease);
    assert_eq!(node.house.radio(), Use::Joined("home"));
    assert!(node.care.status().network.connected);
}

/// A part ends in every state of a recovery, and is back after 15 seconds.
async fn restarted_at_any_time(part: Away) {
    for second in (0..RECOVERY).step_by(10) {
        let node = Node::start();
        sleep(MINUTE).await;
        node.house.lose("home");
        sleep(SECOND * second).await;
        node.house.leave(part);
        sleep(SECOND * 15).await;
        node.house.world().away = None;
        let took = node.until(&Use::Hotspot).await;
        assert!(took <= FALLBACK_WITHIN * 2, "restarted after {second} s: {took:?}");
        node.house.gain("home");
        let took = node.until(&Use::Joined("home")).await;
        assert!(took <= RETURN_WITHIN, "restarted after {second} s: {took:?}");
        assert_eq!(node.house.world().overlap, 1, "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn networkmanager_may_restart_at_any_time_of_a_recovery() {
    restarted_at_any_time(Away::NetworkManager).await;
}

#[tokio::test(start_paused = true)]
async fn the_supplicant_may_restart_at_any_time_of_a_recovery() {
    restarted_at_any_time(Away::Supplicant).await;
}

#[tokio::test(start_paused = true)]
async fn the_bus_may_restart_at_any_time_of_a_recovery() {
    restarted_at_any_time(Away::Bus).await;
}

#[tokio::test(start_paused = true)]
async fn provisioning_takes_the_radio_at_any_time_of_a_recovery() {
    for second in (0..RECOVERY).step_by(10) {
        let node = Node::start();
        sleep(MINUTE).await;
        node.house.lose("home");
        sleep(SECOND * second).await;
        node.provisioning(true);
        // What was in progress has been cancelled by then.
        sleep(SECOND / 10).await;
        let calls = node.house.world().calls.len();
        sleep(MINUTE * 10).await;
        assert_eq!(node.house.world().calls.len(), calls, "after {second} s: nothing touches the radio of provisioning");
        node.provisioning(false);
        let took = node.until(&Use::Hotspot).await;
        assert!(took <= FALLBACK_WITHIN, "after {second} s: {took:?}");
        assert_eq!(node.house.world().overlap, 1, "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_time_of_a_recovery_leaves_nothing_stuck() {
    for second in (0..RECOVERY).step_by(10) {
        let node = Node::start();
        sleep(MINUTE).await;
        node.house.lose("home");
        sleep(SECOND * second).await;
        let node = node.crash().await;
        let took = node.until(&Use::Hotspot).await;
        assert!(took <= FALLBACK_WITHIN, "killed after {second} s: {took:?}");
        node.house.gain("home");
        let took = node.until(&Use::Joined("home")).await;
        assert!(took <= RETURN_WITHIN, "killed after {second} s: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_uses_the_hotspot_keeps_it_open() {
    let node = Node::start();
    sleep(MINUTE).await;
    node.house.lose("home");
    node.until(&Use::Hotspot).await;
    node.house.world().phones = 1;
    sleep(MINUTE).await;
    node.house.gain("home");
    for _ in 0..20 {
        sleep(MINUTE).await;
        node.handle.present(Link(1)).await.expect("the loop of provisioning");
    }
    assert_eq!(node.house.radio(), Use::Hotspot);
    // The phone stays associated, and sends nothing.
    assert!(node.until(&Use::Joined("home")).await <= MINUTE * 7);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_without_its_home_opens_the_hotspot() {
    let house = House::new();
    house.lose("home");
    let node = Node::start_in(house);
    assert!(node.until(&Use::Hotspot).await <= FALLBACK_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn without_recovery_the_network_is_watched_and_the_radio_left_alone() {
    let node = Node::start_with(House::new(), false);
    sleep(MINUTE).await;
    node.house.lose("home");
    sleep(MINUTE * 10).await;
    assert!(node.house.world().calls.is_empty(), "{:?}", node.house.world().calls);
    let status = node.care.status();
    assert!(!status.recovery.enabled && !status.network.connected);
    assert_eq!(node.care.recover().await, Err(Error::RecoveryDisabled));
}

thread_local! {
    /// By how many years the node's clock is wrong; of this test only, because its runtime has one thread.
    static WRONG_BY: Cell<i64> = const { Cell::new(0) };
}

/// A clock that is set while the node runs.
fn jumping() -> SystemTime {
    const YEAR: Duration = Duration::from_hours(8766);
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    let years = WRONG_BY.get();
    let wrong = YEAR * u32::try_from(years.unsigned_abs()).expect("a few");
    if years < 0 { now - wrong } else { now + wrong }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_ten_years_in_any_state_changes_nothing() {
    for (second, years) in (0..RECOVERY).step_by(10).zip([10, -10].into_iter().cycle()) {
        WRONG_BY.set(0);
        let node = Node::start_as(House::new(), |settings| settings.clock = jumping);
        sleep(MINUTE).await;
        node.house.lose("home");
        sleep(SECOND * second).await;
        WRONG_BY.set(years);
        let took = SECOND * second + node.until(&Use::Hotspot).await;
        // In the last states the hotspot is open already.
        assert!(took <= FALLBACK_WITHIN.max(SECOND * second), "after {second} s by {years} years: {took:?}");
        // The next check shows the times of the clock that was set.
        sleep(CHECK_EVERY + SECOND).await;
        let until = node.care.status().recovery.cooldown_until;
        let left = until.map_or(Duration::ZERO, |until| until.duration_since(jumping()).unwrap_or_default());
        assert!(left <= COOLDOWN, "{left:?} in the time of the clock that was set");
        WRONG_BY.set(-years);
        sleep(MINUTE).await;
        node.house.gain("home");
        let took = node.until(&Use::Joined("home")).await;
        assert!(took <= RETURN_WITHIN, "after {second} s by {years} years: {took:?}");
        WRONG_BY.set(years);
        sleep(MINUTE).await;
        let ids = node.ids().await;
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "clients resume by ids: {ids:?}");
        assert_eq!(node.house.world().overlap, 1);
    }
}
