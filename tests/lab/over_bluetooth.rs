//! A phone provisions a node over Bluetooth, into homes of every kind.

use std::time::Duration;

use jarvis_provisioning::domain::{Credentials, Ssid, State};
use jarvis_provisioning::fault::Fault;
use jarvis_provisioning::secret::SecretText;
use jarvis_provisioning::session::PhoneSecret;
use jarvis_provisioning::wire::Told;
use mobile_test_harness::command_center::Order;
use mobile_test_harness::link::Target;
use mobile_test_harness::phone::{Phone, new_request_id};

use crate::air::{Controllers, PATIENCE, must};
use crate::device::{Device, credentials, profiles, with_password};
use crate::place::{Home, PASSWORD, Protection, SSID, Settings};

/// Longer than any attempt takes, every limit of the node's included.
const ATTEMPT: Duration = Duration::from_secs(150);

/// A home, a device, and a phone that has opened a session.
struct Scene {
    home: Home,
    device: Device,
    phone: Phone,
    order: Order,
    credentials: Credentials,
}

impl Scene {
    async fn set() -> Self {
        Self::with(Settings::default()).await
    }

    async fn with(settings: Settings) -> Self {
        let controllers = Controllers::ready().await;
        let home = Home::with(settings).await;
        let device = Device::start(&controllers).await;
        let mut phone = Phone::connect_within(&controllers.phone(), PATIENCE).await.expect("the phone finds the node");
        phone.open_session(&device.code()).await.expect("the code is right");
        let order = home.order().await;
        let credentials = credentials(&home, &order);
        Self { home, device, phone, order, credentials }
    }

    /// Sends credentials; returns how it ended.
    async fn send(&mut self, credentials: &Credentials) -> Told {
        self.phone.bring_online(credentials, ATTEMPT, |_| {}).await.expect("an outcome")
    }

    async fn send_the_right_ones(&mut self) {
        let credentials = self.credentials.clone();
        let told = self.send(&credentials).await;
        assert_eq!((told.state, reason(&told)), (State::Provisioned, None));
    }

    async fn fails_with(&mut self, credentials: &Credentials, faults: &[Fault]) {
        let told = self.send(credentials).await;
        assert_eq!(told.state, State::Error);
        let fault = reason(&told).expect("a reason");
        assert!(faults.contains(&fault), "{fault:?} is none of {faults:?}");
        self.device.assert_not_provisioned().await;
    }

    async fn assert_provisioned(self) {
        self.device.assert_provisioned(&self.home, &self.order).await;
        assert_eq!(profiles().len(), 1, "one profile is kept");
        self.phone.leave().await;
    }
}

fn reason(told: &Told) -> Option<Fault> {
    told.failure.as_ref().map(|failure| failure.fault)
}

async fn provision_in(settings: Settings) {
    let mut scene = Scene::with(settings).await;
    scene.credentials.hidden = settings.hidden;
    if settings.protection == Protection::Open {
        scene.credentials = with_password("", &scene.credentials);
    }
    scene.send_the_right_ones().await;
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
    let found = scene.phone.scan(false).await.expect("a list");
    assert!(found.iter().any(|network| network.ssid.to_string() == SSID), "{found:?}");
    let wrong = with_password("not the password", &scene.credentials);
    scene.fails_with(&wrong, &[Fault::WrongPassword]).await;
    scene.send_the_right_ones().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn wrong_password_of_a_wpa3_network_then_right() {
    let mut scene = Scene::with(Settings { protection: Protection::Wpa3, ..Settings::default() }).await;
    let wrong = with_password("not the password", &scene.credentials);
    scene.fails_with(&wrong, &[Fault::WrongPassword, Fault::ProbablyWrongPassword]).await;
    scene.send_the_right_ones().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn network_not_found_then_the_right_one() {
    let mut scene = Scene::set().await;
    let mut absent = with_password(PASSWORD, &scene.credentials);
    absent.ssid = Ssid::try_from("Nowhere").expect("a short name");
    scene.fails_with(&absent, &[Fault::NetworkNotFound]).await;
    scene.send_the_right_ones().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn no_address() {
    let mut scene = Scene::with(Settings { dhcp: false, ..Settings::default() }).await;
    let credentials = scene.credentials.clone();
    scene.fails_with(&credentials, &[Fault::NoAddress]).await;
    scene.phone.leave().await;
}

#[tokio::test]
async fn no_command_center_then_it_is_back() {
    let mut scene = Scene::set().await;
    scene.home.close_command_center();
    let credentials = scene.credentials.clone();
    scene.fails_with(&credentials, &[Fault::CommandCenterUnreachable]).await;
    scene.home.open_command_center().await;
    scene.credentials.request_id = new_request_id();
    scene.send_the_right_ones().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn a_token_that_is_rejected_then_a_fresh_one() {
    let mut scene = Scene::set().await;
    let mut spent = credentials(&scene.home, &scene.order);
    spent.token = SecretText::new(format!("prov_{}", "t".repeat(43)));
    scene.fails_with(&spent, &[Fault::TokenRejected]).await;
    scene.send_the_right_ones().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn wrong_code_five_times_is_locked_over_http_and_after_a_restart() {
    let controllers = Controllers::ready().await;
    let mut device = Device::start(&controllers).await;
    let wrong = PhoneSecret::Code(SecretText::new("000000".into()));
    let mut phone = Phone::connect_within(&controllers.phone(), PATIENCE).await.expect("the phone finds the node");
    for attempt in 0..5 {
        let error = phone.open_session(&wrong).await.expect_err("the code is wrong");
        assert_eq!(error.fault(), Some(Fault::WrongCode), "attempt {attempt}");
    }
    let error = phone.open_session(&device.code()).await.expect_err("it is locked");
    assert_eq!(error.fault(), Some(Fault::Locked));
    phone.leave().await;
    for restarted in [false, true] {
        if restarted {
            device.kill();
            device.boot().await;
        }
        let target: Target = "http://127.0.0.1:8080".parse().expect("a target");
        let mut other = Phone::connect_within(&target, PATIENCE).await.expect("the node answers over HTTP");
        let error = other.open_session(&device.code()).await.expect_err("it is locked");
        assert_eq!(error.fault(), Some(Fault::Locked), "restarted: {restarted}");
        other.leave().await;
    }
}

/// Cuts the link in the moment when the node tells that state, and comes back.
async fn killed_when(state: State, kill: impl AsyncFn(&mut Device)) {
    let Scene { home, mut device, mut phone, order, credentials } = Scene::set().await;
    phone.send_credentials(&credentials).await.expect("they are taken");
    let until = tokio::time::Instant::now() + ATTEMPT;
    loop {
        match phone.next_change(until).await {
            Ok(told) if told.state == state => break,
            Ok(told) => assert_ne!(told.state, State::Error, "{:?}", reason(&told)),
            Err(error) => panic!("waiting for {state:?}: {error}"),
        }
    }
    kill(&mut device).await;
    let told = phone.bring_online(&credentials, ATTEMPT, |_| {}).await.expect("an outcome");
    assert_eq!((told.state, reason(&told)), (State::Provisioned, None));
    device.assert_provisioned(&home, &order).await;
    phone.leave().await;
}

async fn kill_bluetoothd(_: &mut Device) {
    must("systemctl", &["kill", "--signal=KILL", "bluetooth"]);
}

async fn kill_node(device: &mut Device) {
    device.kill();
    device.boot().await;
}

#[tokio::test]
async fn bluetoothd_killed_while_connecting() {
    killed_when(State::Connecting, kill_bluetoothd).await;
}

#[tokio::test]
async fn bluetoothd_killed_when_provisioned() {
    killed_when(State::Provisioned, kill_bluetoothd).await;
}

#[tokio::test]
async fn node_killed_while_connecting() {
    killed_when(State::Connecting, kill_node).await;
}

#[tokio::test]
async fn node_killed_while_registering() {
    killed_when(State::Registering, kill_node).await;
}

#[tokio::test]
async fn network_manager_killed_while_registering() {
    killed_when(State::Registering, async |_| {
        must("systemctl", &["kill", "--signal=KILL", "NetworkManager"]);
    })
    .await;
}

#[tokio::test]
async fn the_home_vanishes_while_the_node_joins() {
    let mut scene = Scene::set().await;
    let credentials = with_password(PASSWORD, &scene.credentials);
    scene.phone.send_credentials(&credentials).await.expect("they are taken");
    scene.home.close_access_point();
    let told = scene.phone.follow(credentials.request_id, ATTEMPT, |_| {}).await.expect("an outcome");
    assert_eq!(told.state, State::Error);
    assert!(reason(&told).is_some_and(Fault::retryable), "{:?}", reason(&told));
    scene.device.assert_not_provisioned().await;
    scene.home.open_access_point().await;
    scene.send_the_right_ones().await;
    scene.assert_provisioned().await;
}

#[tokio::test]
async fn sixty_networks_arrive_whole() {
    let mut scene = Scene::with(Settings { neighbours: 59, ..Settings::default() }).await;
    let mut found = scene.phone.scan(true).await.expect("a list");
    if found.len() < 60 {
        // The first scan of a radio may end before it has heard everybody.
        found = scene.phone.scan(true).await.expect("a list");
    }
    for neighbour in 0..59 {
        let name = format!("Neighbour {neighbour}");
        assert!(found.iter().any(|network| network.ssid.to_string() == name), "{name} is missing: {}", found.len());
    }
    scene.send_the_right_ones().await;
    scene.assert_provisioned().await;
}
