//! A phone without Bluetooth: it joins the node's access point, and provisions over HTTP.

use std::time::Duration;

use jarvis_provisioning::domain::State;
use jarvis_provisioning::fault::Fault;
use mobile_test_harness::link::Target;
use mobile_test_harness::phone::Phone;

use crate::air::must;
use crate::device::{Device, PASSPHRASE, credentials, with_password};
use crate::place::{Home, Wifi, at_the_phone};

/// An attempt takes the access point down and, when it fails, up again.
const ATTEMPT: Duration = Duration::from_secs(180);

fn target() -> Target {
    "http://192.168.4.1:8080".parse().expect("a target")
}

#[tokio::test]
async fn wrong_password_then_right() {
    let home = Home::open().await;
    let device = Device::with("[access_point]\nopen = \"always\"\n").await;
    let _wifi = Wifi::join(&device.name, PASSPHRASE).await;
    let order = home.order().await;
    let right = credentials(&home, &order);
    let wrong = with_password("not the password", &right);
    let code = device.code();
    let told = at_the_phone(async move || {
        let mut phone = Phone::connect_within(&target(), ATTEMPT).await.expect("the node answers");
        phone.open_session(&code).await.expect("the code is right");
        phone.scan(false).await.expect("a list");
        let failed = phone.bring_online(&wrong, ATTEMPT, |_| {}).await.expect("an outcome");
        assert_eq!(failed.failure.map(|failure| failure.fault), Some(Fault::WrongPassword));
        // The access point is gone when the node succeeds: what is known here is that it was taken.
        phone.send_credentials(&right).await.expect("they are taken");
    });
    told.await;
    crate::air::until("the node is provisioned", async || device.is_provisioned()).await;
    device.assert_provisioned(&home, &order).await;
}

#[tokio::test]
async fn without_an_adapter_the_access_point_opens() {
    must("systemctl", &["stop", "controllers"]);
    let device = Device::with("[access_point]\nopen = \"when-quiet\"\nquiet_seconds = 3600\n").await;
    let _wifi = Wifi::join(&device.name, PASSPHRASE).await;
    let state = at_the_phone(async || {
        let mut phone = Phone::connect_within(&target(), ATTEMPT).await.expect("the node answers");
        phone.public_status().await.expect("its status").state
    })
    .await;
    assert_eq!(state, State::ApMode);
}
