//! The search for secrets in the log detects them.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use testing::journal::{CODE, K2_KEY, PASSWORD, TOKEN, Watch};
use tracing::{debug, info, info_span, trace};
use tracing_subscriber::layer::SubscriberExt as _;

/// The number of lines with a canary that `log` writes.
fn found(log: impl FnOnce()) -> usize {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = lines.clone();
    let watch = Watch::new(move |line: &str| seen.lock().expect("no test panics while it holds this").push(line.to_owned()));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(watch), log);
    lines.lock().expect("no test panics while it holds this").len()
}

#[test]
fn a_secret_is_found_wherever_it_is_logged() {
    assert_eq!(found(|| info!("the token is {TOKEN}")), 1);
    assert_eq!(found(|| trace!(token = TOKEN, "registering")), 1);
    assert_eq!(found(|| debug!(request = ?format!("POST {{\"wifi_password\":\"{PASSWORD}\"}}"), "sent")), 1);
    assert_eq!(found(|| drop(info_span!("session", code = CODE))), 1);
    let later = || {
        info_span!("session", code = tracing::field::Empty).record("code", CODE);
    };
    assert_eq!(found(later), 1);
}

#[test]
fn a_secret_is_found_in_every_printed_form() {
    assert_eq!(found(|| info!("K2 is {:?}", K2_KEY)), 1);
    assert_eq!(found(|| info!("K2 is {}", STANDARD.encode(K2_KEY))), 1);
    assert_eq!(found(|| info!(frame = ?[&[0x12, 0x20][..], &K2_KEY].concat(), "sent")), 1);
    let digits: String = K2_KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found(|| info!("K2 is {digits}")), 1);
}

#[test]
fn a_longer_number_is_not_taken_for_a_code() {
    assert_eq!(found(|| info!("serial number 1{CODE}, at 0x{CODE}")), 0);
    assert_eq!(found(|| info!("code={CODE}")), 1);
}
