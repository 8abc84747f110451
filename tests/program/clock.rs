//! A command center whose certificate is not valid yet by the node's clock.

use std::fs;
use std::time::Duration;

use mobile_test_harness::command_center::Order;
use mobile_test_harness::phone::Progress;
use provisioning_core::domain::{Credentials, State, UnixTime};
use provisioning_core::secret::SecretText;
use provisioning_core::wire::StatusReport;
use testing::journal::{NODE_KEY, PASSWORD, TOKEN};
use testing::server::{Act, answer};
use testing::tls::{Authority, CertificateParams, date_time_ymd, valid_in};

use crate::center::credentials;
use crate::place::{PATIENCE, Place, phone};

const NODE_ID: &str = "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d";

/// Provisions a node at a command center with such a certificate; returns the outcome, and the messages before it.
async fn provision(time: Option<UnixTime>, change: impl FnOnce(&mut CertificateParams)) -> (StatusReport, Vec<String>) {
    let mut place = Place::new();
    let authority = Authority::new();
    let registered = answer("201 Created", &format!(r#"{{"node_id":"{NODE_ID}","node_key":"{NODE_KEY}"}}"#));
    let server = authority.server("127.0.0.1", [Act::Send(registered.into())], change).await;
    let settings = place.path("provision.toml");
    let certificates = authority.path();
    let certificates = certificates.to_str().expect("UTF-8");
    fs::write(&settings, format!("[command_center]\ncertificates = {certificates:?}\n")).expect("a writable folder");
    place.set("JARVIS_PROVISION_CONFIG", settings.to_str().expect("UTF-8"));

    let node = place.start().await;
    let mut phone = phone(&node.over_bluetooth(), &place.label().await.by_code()).await;
    let order = Order { node_id: NODE_ID.into(), token: SecretText::new(TOKEN.into()), good_for: Duration::ZERO };
    let url = format!("https://{}", server.address);
    let credentials = Credentials { time, ..credentials("Lighthouse", PASSWORD, &url, &order) };
    let mut told = Vec::new();
    let show = |progress: Progress<'_>| {
        if let Progress::Status(status) = progress {
            told.push(status.message.clone());
        }
    };
    let outcome = phone.bring_online(&credentials, PATIENCE, show).await.expect("an outcome");
    place.keep_secret(place.config()["api_key"].as_str().expect("a key").as_bytes());
    (outcome, told)
}

#[tokio::test]
async fn a_certificate_that_becomes_valid_in_ten_seconds_is_waited_for() {
    let (outcome, told) = provision(None, |params| valid_in(params, 10)).await;
    assert_eq!(outcome.state, State::Provisioned, "{outcome:?}");
    assert!(told.iter().any(|message| message.contains("clock")), "{told:?}");
}

#[tokio::test]
async fn a_node_without_a_clock_judges_certificates_by_the_phones_time() {
    let year_3001 = UnixTime(32_535_216_000);
    let (outcome, told) = provision(Some(year_3001), |params| params.not_before = date_time_ymd(3000, 1, 1)).await;
    assert_eq!(outcome.state, State::Provisioned, "{outcome:?}");
    assert!(!told.iter().any(|message| message.contains("clock")), "{told:?}");
}
