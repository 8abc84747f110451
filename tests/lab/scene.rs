//! The common start of scenarios: a home, a device, and a phone with an open session.

use std::time::Duration;

use mobile_test_harness::command_center::Order;
use mobile_test_harness::phone::{Phone, new_request_id};
use provisioning_core::domain::{Credentials, Ssid, State};
use provisioning_core::fault::Fault;
use provisioning_core::wire::StatusReport;
use tokio::time::Instant;

use crate::air::{Controllers, breath, connect};
use crate::device::{Device, credentials, profiles, with_password};
use crate::place::{Home, Settings};

/// Longer than any attempt, including every limit of the node.
pub(crate) const ATTEMPT: Duration = Duration::from_mins(4);

/// A home, a device, and a phone that has opened a session over Bluetooth.
pub(crate) struct Scene {
    pub(crate) home: Home,
    pub(crate) device: Device,
    phone: Option<Phone>,
    pub(crate) order: Order,
    /// The right credentials.
    pub(crate) credentials: Credentials,
    controllers: Controllers,
}

impl Scene {
    pub(crate) async fn set() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let controllers = Controllers::ready().await;
        let home = Home::with(settings).await;
        let device = Device::start(&controllers).await;
        let phone = Some(connected(&controllers).await);
        let order = home.order().await;
        let mut credentials = credentials(&order);
        credentials.ssid = Some(Ssid::try_from(home.name()).expect("a short name"));
        Self { home, device, phone, order, credentials, controllers }
    }

    /// The phone.
    pub(crate) const fn phone(&mut self) -> &mut Phone {
        self.phone.as_mut().expect("it is absent only while it reconnects")
    }

    /// Sends credentials; returns the outcome.
    pub(crate) async fn send(&mut self, credentials: &Credentials) -> StatusReport {
        self.phone().bring_online(credentials, ATTEMPT, |_| {}).await.expect("an outcome")
    }

    pub(crate) async fn provision(&mut self) {
        let credentials = self.credentials.clone();
        let report = self.send(&credentials).await;
        assert_eq!((report.state, reason(&report)), (State::Provisioned, None));
    }

    /// Sends credentials that must fail with one of these faults.
    pub(crate) async fn fails_with(&mut self, credentials: &Credentials, faults: &[Fault]) {
        let report = self.send(credentials).await;
        assert_eq!(report.state, State::Error);
        let fault = reason(&report).expect("a reason");
        assert!(faults.contains(&fault), "{fault:?} is none of {faults:?}");
        self.device.assert_not_provisioned().await;
    }

    /// Waits until the node reports a state to the phone.
    pub(crate) async fn hears(&mut self, state: State) {
        let until = Instant::now() + ATTEMPT;
        loop {
            let report = self.phone().next_change(until).await.unwrap_or_else(|error| panic!("waiting for {state:?}: {error}"));
            if report.state == state {
                return;
            }
            assert_ne!(report.state, State::Error, "{:?}", reason(&report));
        }
    }

    /// The phone disconnects.
    pub(crate) async fn goes(&mut self) {
        if let Some(phone) = self.phone.take() {
            phone.leave().await;
            breath().await;
        }
    }

    /// The phone reconnects with a new link and a new session, and requests the status.
    pub(crate) async fn reconnect(&mut self) -> StatusReport {
        self.goes().await;
        self.phone = Some(connected(&self.controllers).await);
        self.phone().status().await.expect("the status")
    }

    /// The phone reconnects, and waits for the outcome of the attempt.
    pub(crate) async fn reconnect_for(&mut self, request_id: u64) -> StatusReport {
        let report = self.reconnect().await;
        assert_eq!(report.request_id, request_id, "the node remembers the attempt");
        if matches!(report.state, State::Provisioned | State::Error) {
            return report;
        }
        self.phone().follow(request_id, ATTEMPT, |_| {}).await.expect("an outcome")
    }

    /// The radios of the node and of the phone.
    pub(crate) const fn controllers(&self) -> &Controllers {
        &self.controllers
    }

    /// The phone goes out of range.
    pub(crate) async fn cut(&self) {
        self.controllers.switch_phone_off().await;
    }

    /// Asserts the success: node, phone and command center report the same.
    pub(crate) async fn assert_provisioned(self) {
        self.device.assert_provisioned(&self.home, &self.order).await;
        assert_eq!(profiles().len(), 1, "one profile is kept");
        self.ends().await;
    }

    /// Ends the scenario, and leaves no connection behind.
    pub(crate) async fn ends(self) {
        self.cut().await;
    }

    /// The same credentials with another password, as another request.
    pub(crate) fn mistyped(&self) -> Credentials {
        with_password("not the password", &self.credentials)
    }

    /// The right credentials, as another request.
    pub(crate) fn again(&mut self) {
        self.credentials.request_id = new_request_id();
    }
}

async fn connected(controllers: &Controllers) -> Phone {
    let mut phone = connect(controllers).await;
    phone.open_session(&Device::code()).await.expect("the code is right");
    phone
}

pub(crate) fn reason(report: &StatusReport) -> Option<Fault> {
    report.failure.as_ref().map(|failure| failure.fault)
}
