//! Missing, late and invalid answers, objects that disappear, and callers that cancel.

use std::time::Duration;

use super::fake::Play;
use super::{Lab, PASSPHRASE, fault, journal, passphrase, ssid, within};
use jarvis_provisioning::network::Network;
use provisioning_core::fault::Fault;
use testing::fake::Fault as Answered;
use tokio::time::timeout;

/// Drops a join as soon as the fake's state fulfils a condition.
async fn dropped(lab: &Lab, what: &str, condition: impl FnMut(&super::fake::World) -> bool) {
    let (ssid, passphrase) = (ssid("HomeNetwork"), passphrase(PASSPHRASE));
    tokio::select! {
        result = lab.network.join(&ssid, &passphrase, false) => panic!("it must not complete: {result:?}"),
        () = lab.fake.until(what, condition) => {}
    }
}

#[tokio::test]
async fn a_dropped_join_leaves_no_profile() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().plays.push_back(Play::secured(&[]));
    dropped(&lab, "the join is under way", |world| world.state == 50 && !world.profiles.is_empty()).await;
    lab.fake.until("the profile is gone", |world| world.profiles.is_empty()).await;
    lab.join("HomeNetwork").await.expect("the next join succeeds");
}

#[tokio::test]
async fn a_join_that_is_dropped_before_its_answer_leaves_no_profile() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().script.faults.push_back(("AddAndActivateConnection2", Answered::Late));
    dropped(&lab, "the call has been made", |world| world.script.calls_of("AddAndActivateConnection2") == 1).await;
    lab.fake.release();
    lab.fake.until("it was answered, and undone", |world| world.script.calls_of("Delete") > 0 && world.profiles.is_empty()).await;
}

#[tokio::test]
async fn an_activation_that_is_answered_too_late_is_undone() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().script.faults.push_back(("AddAndActivateConnection2", Answered::Late));
    let error = journal(lab.join("HomeNetwork").await);
    assert!(error.contains("AddAndActivateConnection2 was not answered"), "{error}");
    lab.fake.release();
    lab.fake.until("it was answered, and undone", |world| world.script.calls_of("Delete") > 0 && world.profiles.is_empty()).await;
}

#[tokio::test]
async fn answers_of_the_wrong_type_are_errors_and_block_nothing() {
    let Some(lab) = Lab::start().await else { return };
    for member in ["GetAll", "GetDevices", "GetAllAccessPoints", "AddAndActivateConnection2"] {
        lab.fake.world().script.faults.push_back((member, Answered::WrongType));
        let result = lab.join("HomeNetwork").await;
        assert_eq!(fault(result), Some(Fault::NetworkUnavailable), "{member}");
        lab.fake.until("nothing is left", |world| world.script.faults.is_empty()).await;
    }
    within(lab.network.restore()).await.expect("the activation with the invalid answer is undone");
    assert!(lab.fake.world().profiles.is_empty());
    lab.join("HomeNetwork").await.expect("a good passphrase");
}

#[tokio::test]
async fn a_call_without_permission_names_the_permission() {
    let Some(lab) = Lab::start().await else { return };
    let denied = Answered::Error("org.freedesktop.NetworkManager.PermissionDenied", "Not authorized to control networking.");
    lab.fake.world().script.faults.push_back(("AddAndActivateConnection2", denied));
    let error = journal(lab.join("HomeNetwork").await);
    assert!(error.contains("org.freedesktop.NetworkManager.network-control"), "{error}");
    assert!(!error.contains(PASSPHRASE), "{error}");
}

#[tokio::test]
async fn a_blocked_radio_and_a_missing_one_are_different_faults() {
    let Some(lab) = Lab::start().await else { return };
    {
        let mut world = lab.fake.world();
        world.state = 20;
        world.wireless = false;
    }
    let error = lab.join("HomeNetwork").await;
    assert_eq!(fault(error), Some(Fault::CountryMissing));
    assert!(journal(lab.open().await).contains("rfkill unblock wifi"));
    {
        let mut world = lab.fake.world();
        world.hardware = false;
    }
    assert!(journal(within(lab.network.scan()).await).contains("a hardware switch"));
    {
        let mut world = lab.fake.world();
        (world.state, world.managed, world.hardware, world.wireless) = (10, false, true, true);
    }
    assert_eq!(fault(lab.join("HomeNetwork").await), Some(Fault::AdapterGone));
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 0);
}

#[tokio::test]
async fn a_radio_that_is_switched_off_during_a_scan_is_told() {
    let Some(lab) = Lab::start().await else { return };
    let refused = Answered::Error("org.freedesktop.NetworkManager.Device.NotAllowed", "Scanning not allowed while unavailable");
    lab.fake.world().script.faults.push_back(("RequestScan", refused));
    let switching = async {
        lab.fake.until("it scans", |world| world.script.calls_of("RequestScan") == 1).await;
        lab.fake.world().wireless = false;
        lab.fake.play(&[(20, 0)]).await;
    };
    let (scanned, ()) = tokio::join!(within(lab.network.scan()), switching);
    assert_eq!(fault(scanned), Some(Fault::CountryMissing));
}

#[tokio::test]
async fn without_a_wifi_device_the_adapter_is_gone() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().present = false;
    assert_eq!(fault(lab.join("HomeNetwork").await), Some(Fault::AdapterGone));
}

#[tokio::test]
async fn an_adapter_that_is_unplugged_while_joining_is_reported() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().plays.push_back(Play::secured(&[]));
    let unplugging = async {
        lab.fake.until("the join is under way", |world| world.state == 50 && !world.profiles.is_empty()).await;
        lab.fake.remove_device().await;
    };
    let (joined, ()) = tokio::join!(lab.join("HomeNetwork"), unplugging);
    assert_eq!(fault(joined), Some(Fault::AdapterGone));
}

#[tokio::test]
async fn a_join_fails_when_networkmanager_stops_and_succeeds_after_its_restart() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().plays.push_back(Play::secured(&[]));
    let stopping = async {
        lab.fake.until("the join is under way", |world| world.state == 50 && !world.profiles.is_empty()).await;
        lab.fake.leave().await;
    };
    let (joined, ()) = tokio::join!(lab.join("HomeNetwork"), stopping);
    assert_eq!(fault(joined), Some(Fault::NetworkUnavailable));
    // The call waits for the service to start.
    let (joined, ()) = tokio::join!(lab.join("HomeNetwork"), lab.fake.come_back());
    assert!(joined.is_ok(), "{joined:?}");
}

#[tokio::test]
async fn a_lost_bus_is_reported_and_a_new_one_is_used() {
    let Some(mut lab) = Lab::start().await else { return };
    lab.scan().await;
    lab.bus.stop();
    assert_eq!(fault(lab.join("HomeNetwork").await), Some(Fault::NetworkUnavailable));
    lab.bus.restart();
    lab.fake = super::Fake::start(&lab.bus.address()).await;
    lab.join("HomeNetwork").await.expect("a good passphrase");
}

#[tokio::test]
async fn a_scan_without_end_times_out_and_a_dropped_one_does_not_block() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().script.faults.push_back(("RequestScan", Answered::Never));
    tokio::select! {
        result = lab.network.scan() => panic!("it must not complete: {result:?}"),
        () = lab.fake.until("it scans", |world| world.script.calls_of("RequestScan") == 1) => {}
    }
    assert_eq!(lab.scan().await, ["HomeNetwork"]);
}

#[tokio::test]
async fn a_scan_that_an_older_networkmanager_refuses_returns_its_list() {
    let Some(lab) = Lab::start().await else { return };
    lab.scan().await;
    let refused = Answered::Error(
        "org.freedesktop.NetworkManager.Device.NotAllowed",
        "Scanning not allowed immediately following previous scan",
    );
    lab.fake.world().script.faults.push_back(("RequestScan", refused));
    let networks = timeout(Duration::from_secs(5), lab.network.scan()).await.expect("it need not wait for another scan");
    assert_eq!(networks.expect("the list is there").len(), 1);
}
