//! Failures of one part during provisioning, in each state.
//!
//! A scenario holds a state as long as needed: the node stays CONNECTING while the home's DHCP server is suspended, and
//! REGISTERING while the command center is suspended.

use provisioning_core::domain::State;
use provisioning_core::fault::Fault;

use crate::air::{Controllers, must, until};
use crate::device::{device_state, until_in_network};
use crate::place::SSID;
use crate::scene::{ATTEMPT, Scene, reason};

/// The part that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailingPart {
    /// The phone goes out of range.
    Link,
    Bluetoothd,
    NetworkManager,
    /// The node's program; it is restarted.
    Node,
    /// The node's Bluetooth adapter; it is plugged in again, together with the phone's.
    Adapter,
}

impl FailingPart {
    async fn fail(self, scene: &mut Scene) {
        match self {
            Self::Link => scene.cut().await,
            Self::Bluetoothd => _ = must("systemctl", &["kill", "--signal=KILL", "bluetooth"]),
            Self::NetworkManager => _ = must("systemctl", &["kill", "--signal=KILL", "NetworkManager"]),
            Self::Node => {
                scene.device.kill();
                scene.device.boot().await;
            }
            Self::Adapter => {
                must("systemctl", &["stop", "controllers"]);
                must("systemd-run", &["--quiet", "--unit=controllers", "--collect", "btvirt", "-L", "-l2"]);
                Controllers::ready().await;
            }
        }
    }
}

/// Before the phone has sent credentials: it reconnects, and provisions.
async fn while_waiting(part: FailingPart) {
    let mut scene = Scene::set().await;
    part.fail(&mut scene).await;
    assert_eq!(scene.reconnect().await.state, State::ApMode);
    scene.provision().await;
    scene.assert_provisioned().await;
}

/// The node is in the network, and not still in that of the scenario before.
async fn until_asking_for_an_address() {
    until("the node asks for an address", async || device_state("STATE").starts_with("70 ")).await;
}

/// While the node joins the network: the phone reconnects, learns the outcome, and provisions the node.
async fn while_connecting(part: FailingPart) {
    let mut scene = Scene::set().await;
    let credentials = scene.credentials.clone();
    scene.home.suspend_dhcp();
    scene.phone().send_credentials(&credentials).await.expect("they are taken");
    scene.hears(State::Connecting).await;
    until_asking_for_an_address().await;
    part.fail(&mut scene).await;
    scene.home.give_addresses();
    let report = scene.reconnect_for(credentials.request_id).await;
    assert_eq!((report.state, reason(&report)), (State::Provisioned, None));
    scene.assert_provisioned().await;
}

/// While the node registers.
async fn while_registering(part: FailingPart) {
    let mut scene = Scene::set().await;
    let credentials = scene.credentials.clone();
    scene.home.hold_registrations();
    scene.phone().send_credentials(&credentials).await.expect("they are taken");
    scene.hears(State::Registering).await;
    part.fail(&mut scene).await;
    scene.home.take_registrations();
    let report = scene.reconnect_for(credentials.request_id).await;
    assert_eq!((report.state, reason(&report)), (State::Provisioned, None));
    // A NetworkManager that was restarted joins the network by itself.
    until_in_network(SSID).await;
    scene.assert_provisioned().await;
}

/// After a success.
async fn when_provisioned(part: FailingPart) {
    let mut scene = Scene::set().await;
    let credentials = scene.credentials.clone();
    scene.phone().send_credentials(&credentials).await.expect("they are taken");
    scene.hears(State::Provisioned).await;
    part.fail(&mut scene).await;
    let report = scene.reconnect_for(credentials.request_id).await;
    assert_eq!((report.state, reason(&report)), (State::Provisioned, None));
    until_in_network(SSID).await;
    scene.assert_provisioned().await;
}

/// After a failure: the phone reconnects, learns the reason, and provisions the node.
async fn when_failed(part: FailingPart) {
    let mut scene = Scene::set().await;
    let mistyped = scene.mistyped();
    scene.fails_with(&mistyped, &[Fault::WrongPassword]).await;
    part.fail(&mut scene).await;
    let report = scene.reconnect_for(mistyped.request_id).await;
    assert_eq!((report.state, reason(&report)), (State::Error, Some(Fault::WrongPassword)));
    scene.provision().await;
    scene.assert_provisioned().await;
}

macro_rules! in_each_state {
    ($($module:ident: $part:ident in $($state:ident)*;)*) => {$(
        mod $module {
            $(#[tokio::test]
            async fn $state() {
                super::$state(super::FailingPart::$part).await;
            })*
        }
    )*};
}

in_each_state! {
    link_cut: Link in while_waiting while_connecting while_registering when_provisioned when_failed;
    bluetoothd_killed: Bluetoothd in while_waiting while_connecting while_registering when_provisioned when_failed;
    network_manager_killed: NetworkManager in while_waiting while_registering when_provisioned when_failed;
    node_killed: Node in while_waiting while_connecting while_registering when_failed;
    adapter_unplugged: Adapter in while_waiting while_registering;
}

/// The join ends with NetworkManager, so the failure is reported to the phone at once, and the phone retries.
#[tokio::test]
async fn network_manager_killed_while_connecting() {
    let mut scene = Scene::set().await;
    let credentials = scene.credentials.clone();
    scene.home.suspend_dhcp();
    scene.phone().send_credentials(&credentials).await.expect("they are taken");
    until_asking_for_an_address().await;
    FailingPart::NetworkManager.fail(&mut scene).await;
    let report = scene.phone().follow(credentials.request_id, ATTEMPT, |_| {}).await.expect("an outcome");
    assert_eq!((report.state, reason(&report)), (State::Error, Some(Fault::NetworkUnavailable)));
    scene.device.assert_not_provisioned().await;
    scene.home.give_addresses();
    scene.again();
    scene.provision().await;
    scene.assert_provisioned().await;
}

/// The program of a provisioned node exits, and reports the reason.
#[tokio::test]
async fn a_node_killed_when_provisioned_is_provisioned() {
    let mut scene = Scene::set().await;
    scene.provision().await;
    scene.device.kill();
    let said = scene.device.runs_to_its_end().await;
    assert!(said.contains("is provisioned already") && said.contains(&scene.order.node_id), "{said}");
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn the_home_vanishes_while_the_node_joins() {
    let mut scene = Scene::set().await;
    let credentials = scene.credentials.clone();
    scene.home.suspend_dhcp();
    scene.phone().send_credentials(&credentials).await.expect("they are taken");
    until_asking_for_an_address().await;
    scene.home.close_access_point();
    let report = scene.phone().follow(credentials.request_id, ATTEMPT, |_| {}).await.expect("an outcome");
    assert_eq!(report.state, State::Error);
    assert!(reason(&report).is_some_and(Fault::retryable), "{:?}", reason(&report));
    scene.device.assert_not_provisioned().await;
    scene.home.give_addresses();
    scene.home.open_access_point().await;
    scene.again();
    scene.provision().await;
    scene.assert_provisioned().await;
}
