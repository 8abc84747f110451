//! A phone provisions a node over Bluetooth, into homes of every kind.

use mobile_test_harness::command_center::Order;
use mobile_test_harness::link::Target;
use mobile_test_harness::phone::Phone;
use provisioning_core::domain::{Credentials, Ssid, State};
use provisioning_core::fault::Fault;
use provisioning_core::secret::SecretText;
use provisioning_core::session::PhoneSecret;

use crate::air::{Controllers, PATIENCE, connect, until};
use crate::device::{Device, credentials, until_in_network, with_password};
use crate::place::{OTHER_SSID, PASSWORD, Protection, SSID, Settings};
use crate::scene::{Scene, reason};

async fn provision_in(settings: Settings) {
    let mut scene = Scene::with(settings).await;
    scene.credentials.hidden = settings.hidden;
    if settings.protection == Protection::Open {
        scene.credentials = with_password("", &scene.credentials);
    }
    scene.provision().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn provision() {
    provision_in(Settings::default()).await;
}

#[tokio::test]
async fn provision_in_an_open_network() {
    provision_in(Settings { protection: Protection::Open, ..Settings::default() }).await;
}

#[tokio::test]
async fn provision_in_a_wpa3_network() {
    provision_in(Settings { protection: Protection::Wpa3, ..Settings::default() }).await;
}

#[tokio::test]
async fn provision_in_a_mixed_network() {
    provision_in(Settings { protection: Protection::Mixed, ..Settings::default() }).await;
}

#[tokio::test]
async fn provision_in_a_hidden_network() {
    provision_in(Settings { hidden: true, ..Settings::default() }).await;
}

#[tokio::test]
async fn wrong_password_then_right_in_one_session() {
    let mut scene = Scene::set().await;
    until("the home is heard", async || {
        let found = scene.phone().scan(true).await.expect("a list");
        found.iter().any(|network| network.ssid.to_string() == SSID)
    })
    .await;
    let wrong = scene.mistyped();
    scene.fails_with(&wrong, &[Fault::WrongPassword]).await;
    scene.provision().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn wrong_password_of_a_wpa3_network_then_right() {
    let mut scene = Scene::with(Settings { protection: Protection::Wpa3, ..Settings::default() }).await;
    let wrong = scene.mistyped();
    scene.fails_with(&wrong, &[Fault::WrongPassword, Fault::ProbablyWrongPassword]).await;
    scene.provision().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn wrong_password_of_a_mixed_network_then_right() {
    let mut scene = Scene::with(Settings { protection: Protection::Mixed, ..Settings::default() }).await;
    let wrong = scene.mistyped();
    scene.fails_with(&wrong, &[Fault::WrongPassword, Fault::ProbablyWrongPassword]).await;
    scene.provision().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn network_not_found_then_the_right_one() {
    let mut scene = Scene::set().await;
    let mut absent = with_password(PASSWORD, &scene.credentials);
    absent.ssid = Some(Ssid::try_from("Nowhere").expect("a short name"));
    scene.fails_with(&absent, &[Fault::NetworkNotFound]).await;
    scene.provision().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn no_address() {
    let mut scene = Scene::with(Settings { dhcp: false, ..Settings::default() }).await;
    let credentials = scene.credentials.clone();
    scene.fails_with(&credentials, &[Fault::NoAddress]).await;
    scene.ends().await;
}

#[tokio::test]
async fn no_command_center_then_it_is_back() {
    let mut scene = Scene::set().await;
    scene.home.close_command_center();
    let credentials = scene.credentials.clone();
    scene.fails_with(&credentials, &[Fault::CommandCenterUnreachable]).await;
    scene.home.open_command_center().await;
    scene.again();
    scene.provision().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn a_token_that_is_rejected_then_a_fresh_one() {
    let mut scene = Scene::set().await;
    let mut spent = credentials(&scene.order);
    spent.token = SecretText::new(format!("prov_{}", "t".repeat(43)));
    scene.fails_with(&spent, &[Fault::TokenRejected]).await;
    scene.provision().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn wrong_code_five_times_is_locked_over_http_and_after_a_restart() {
    let controllers = Controllers::ready().await;
    let mut device = Device::start(&controllers).await;
    let wrong = PhoneSecret::Code(SecretText::new("000000".into()));
    let mut phone = connect(&controllers).await;
    for attempt in 0..5 {
        let error = phone.open_session(&wrong).await.expect_err("the code is wrong");
        assert_eq!(error.fault(), Some(Fault::WrongCode), "attempt {attempt}");
    }
    let error = phone.open_session(&Device::code()).await.expect_err("it is locked");
    assert_eq!(error.fault(), Some(Fault::Locked));
    phone.leave().await;
    for restarted in [false, true] {
        if restarted {
            device.kill();
            device.boot().await;
        }
        let target: Target = "http://127.0.0.1:8080".parse().expect("a target");
        let mut other = Phone::connect_within(&target, PATIENCE).await.expect("the node answers over HTTP");
        let error = other.open_session(&Device::code()).await.expect_err("it is locked");
        assert_eq!(error.fault(), Some(Fault::Locked), "restarted: {restarted}");
        other.leave().await;
    }
}

#[tokio::test]
async fn sixty_networks_arrive_whole() {
    let mut scene = Scene::with(Settings { neighbours: 59, beacon_interval: 50, ..Settings::default() }).await;
    let mut missing = Vec::new();
    // A scan may end before it has received all beacons.
    until("all are in one list", async || {
        let found = scene.phone().scan(true).await.expect("a list");
        missing = (0..59).map(|neighbour| format!("Neighbour {neighbour}")).collect();
        missing.retain(|name| found.iter().all(|network| network.ssid.to_string() != *name));
        eprintln!("missing of {}: {missing:?}", found.len());
        missing.is_empty() && found.iter().any(|network| network.ssid.to_string() == SSID)
    })
    .await;
    scene.provision().await;
    scene.assert_provisioned().await;
}

/// The virtual controllers support one connection, so the second phone uses HTTP: both links share the single session.
#[tokio::test]
async fn two_phones_at_once() {
    let mut scene = Scene::set().await;
    let target: Target = "http://127.0.0.1:8080".parse().expect("a target");
    let mut second = Phone::connect_within(&target, PATIENCE).await.expect("the node answers over HTTP");
    let code = Device::code();
    let error = second.open_session(&code).await.expect_err("the other one is there");
    assert_eq!(error.fault(), Some(Fault::Busy));
    let credentials = scene.credentials.clone();
    scene.phone().send_credentials(&credentials).await.expect("they are taken");
    let error = second.open_session(&code).await.expect_err("the other one is still there");
    assert_eq!(error.fault(), Some(Fault::Busy));
    scene.hears(State::Provisioned).await;
    scene.goes().await;
    let mut report = None;
    until("the second phone is let in", async || {
        if second.open_session(&code).await.is_ok() {
            report = second.status().await.ok();
        }
        report.is_some()
    })
    .await;
    assert_eq!(report.map(|report| (report.state, report.request_id)), Some((State::Provisioned, credentials.request_id)));
    second.leave().await;
    scene.assert_provisioned().await;
}

/// Two networks, and a node that is provisioned in the first.
async fn provisioned_in_the_first() -> Scene {
    let mut scene = Scene::with(Settings { other: true, ..Settings::default() }).await;
    scene.provision().await;
    scene.device.assert_provisioned(&scene.home, &scene.order).await;
    scene
}

/// Credentials for the second network, and their order.
async fn of_the_second(scene: &Scene) -> (Credentials, Order) {
    let order = scene.home.order().await;
    let ssid = Ssid::try_from(OTHER_SSID).expect("a short name");
    (Credentials { ssid: Some(ssid), ..credentials(&order) }, order)
}

#[tokio::test]
async fn provisioned_again_in_a_second_network() {
    let mut scene = provisioned_in_the_first().await;
    let (second, order) = of_the_second(&scene).await;
    let report = scene.send(&second).await;
    assert_eq!((report.state, reason(&report)), (State::Provisioned, None));
    scene.device.assert_provisioned_in(OTHER_SSID, &scene.home, &order).await;
    scene.ends().await;
}

#[tokio::test]
async fn back_to_the_first_network_when_the_second_refuses() {
    let mut scene = provisioned_in_the_first().await;
    let (second, _) = of_the_second(&scene).await;
    let mistyped = with_password("not the password", &second);
    let report = scene.send(&mistyped).await;
    assert_eq!((report.state, reason(&report)), (State::Error, Some(Fault::WrongPassword)));
    until_in_network(SSID).await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn back_to_the_first_network_when_the_second_leads_nowhere() {
    let mut scene = provisioned_in_the_first().await;
    let (mut second, _) = of_the_second(&scene).await;
    second.token = SecretText::new(format!("prov_{}", "t".repeat(43)));
    let report = scene.send(&second).await;
    assert_eq!((report.state, reason(&report)), (State::Error, Some(Fault::TokenRejected)));
    until_in_network(SSID).await;
    scene.assert_provisioned().await;
}
