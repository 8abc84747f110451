//! A node that is killed at any point and restarted, as by a service manager, ends provisioned, with a key that its
//! command center accepts.

use std::time::SystemTime;

use getrandom::SysRng;
use mobile_test_harness::key;
use mobile_test_harness::link::Target;
use mobile_test_harness::phone::Phone;
use provisioning_core::domain::{Credentials, State};
use provisioning_core::wire::StatusReport;
use rand_core::UnwrapErr;

use crate::center::{self, Center, credentials};
use crate::place::{Label, PATIENCE, Place, bring_online, phone};
use crate::relay::{Plan, Relay};
use testing::journal::PASSWORD;

/// Kills the node when its first connection to the command center has reached the point that `plan` sets, and restarts it.
async fn killed_while_registering(plan: Plan, answered: usize) {
    let (place, center) = (Place::new(), Center::start().await);
    let mut relay = Relay::start(center.address(), &[plan]).await;
    let node = place.start().await;
    let order = center.order(&place).await;
    let mut phone = phone(&node.over_bluetooth(), &place.label().await.by_code()).await;
    let given = credentials("HomeNetwork", PASSWORD, &relay.url(), &order);
    let restarted = async {
        relay.seen(|seen| seen.connections == 1 && seen.answered == answered).await;
        node.kill().await;
        assert_eq!(place.status().await["state"], "INTERRUPTED");
        place.start().await
    };
    let (outcome, _node) = tokio::join!(bring_online(&mut phone, &given), restarted);
    assert_eq!((outcome.state, outcome.request_id), (State::Provisioned, given.request_id));
    center.assert_enrolled(&place, &order).await;
}

#[tokio::test]
async fn killed_before_the_command_center_has_answered_it_registers_again() {
    killed_while_registering(Plan::Silence, 0).await;
}

#[tokio::test]
async fn killed_after_the_command_center_has_answered_it_gets_the_same_answer_again() {
    killed_while_registering(Plan::HoldAnswer, 1).await;
}

#[tokio::test]
async fn killed_between_two_tries_it_retries() {
    killed_while_registering(Plan::HangUp, 0).await;
}

#[tokio::test]
async fn killed_after_success_was_reported_it_is_provisioned() {
    let (place, center) = (Place::new(), Center::start().await);
    let node = place.start().await;
    let order = center.order(&place).await;
    let mut phone = phone(&node.over_bluetooth(), &place.label().await.by_code()).await;
    let outcome = bring_online(&mut phone, &credentials("HomeNetwork", PASSWORD, &center.url(), &order)).await;
    node.kill().await;
    assert_eq!(outcome.state, State::Provisioned);
    center.assert_enrolled(&place, &order).await;
}

#[tokio::test]
async fn killed_too_often_it_gives_up_with_the_reason() {
    let (place, center) = (Place::new(), Center::start().await);
    let mut relay = Relay::start(center.address(), &[Plan::Silence; 8]).await;
    let mut node = place.start().await;
    let order = center.order(&place).await;
    let given = credentials("HomeNetwork", PASSWORD, &relay.url(), &order);
    node.post("/api/v1/provision", &center::json(&given)).await;
    for tries in 1..=4 {
        relay.seen(|seen| seen.connections == tries).await;
        node.kill().await;
        node = place.start().await;
    }
    let status = node.status(|status| status["state"] == "ERROR").await;
    assert_eq!(status["error"], "The device restarted before it was done. Try again.");
    assert_eq!(place.status().await["last_failure"]["fault"], "Interrupted");
}

/// Provisions a node as a phone, across restarts of the node.
async fn set_up(target: &Target, label: &Label, given: &Credentials) -> StatusReport {
    let k2 = key::new(SystemTime::UNIX_EPOCH, &mut UnwrapErr(SysRng));
    let mut phone = loop {
        let mut phone = Phone::connect_within(target, PATIENCE).await.expect("the node comes back");
        if phone.open_session(&label.by_code()).await.is_ok() && phone.send_k2(k2.clone()).await.is_ok() {
            break phone;
        }
    };
    bring_online(&mut phone, given).await
}

/// Provisions a node that is killed at the given occurrence of one of these system calls, and restarted. Returns whether
/// it was killed.
async fn killed_at(calls: &str, time: usize, center: &Center) -> bool {
    let place = Place::new();
    let order = center.order(&place).await;
    let label = place.label().await;
    let given = credentials("HomeNetwork", PASSWORD, &center.url(), &order);
    let target = Target::Simulated(place.file("ble.sock"));
    let kill = format!("inject={calls}:signal=KILL:when={time}");
    let mut node = place.start_traced(&["-e", &format!("trace={calls}"), "-e", &kill]).await;
    let mut done = std::pin::pin!(set_up(&target, &label, &given));
    let outlived = match &mut node {
        None => None,
        Some(node) => tokio::select! {
            outcome = &mut done => Some(outcome),
            _ = node.ended() => None,
        },
    };
    let died = outlived.is_none();
    let outcome = match outlived {
        Some(outcome) => Some(outcome),
        None => {
            node = place.start_unless_provisioned().await;
            // The attempt may have completed before its outcome was sent: then the node has exited, and the phone gets no status.
            if node.is_some() { Some(done.await) } else { None }
        }
    };
    assert!(outcome.is_none_or(|outcome| outcome.state == State::Provisioned), "killed at {calls} {time}");
    drop(node);
    center.assert_enrolled(&place, &order).await;
    died
}

/// Renaming a file commits it, and removing it deletes it, so these calls separate all states that a power cut can leave.
async fn killed_at_each(calls: &str, least: usize) {
    let center = Center::start().await;
    let mut kills = 0;
    while killed_at(calls, kills + 1, &center).await {
        kills += 1;
    }
    assert!(kills >= least, "the node was killed {kills} times");
}

#[tokio::test]
async fn killed_before_any_file_is_replaced_it_still_ends_provisioned() {
    killed_at_each("rename,renameat,renameat2", 10).await;
}

#[tokio::test]
async fn killed_before_any_file_is_removed_it_still_ends_provisioned() {
    killed_at_each("unlink,unlinkat", 4).await;
}
