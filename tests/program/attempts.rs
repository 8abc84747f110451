//! The limit on guesses of the pairing code: across phones, links and restarts.

use mobile_test_harness::link::Target;
use mobile_test_harness::phone::{Error, Phone};
use provisioning_core::fault::Fault;
use provisioning_core::session::PhoneSecret;
use tokio::time::Instant;

use crate::place::{Label, PATIENCE, Place};

/// Opens a session on a new link; retries while the node has not noticed that the previous phone has disconnected.
pub(crate) async fn open(target: &Target, secret: &PhoneSecret) -> Result<Phone, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut phone = Phone::connect_within(target, PATIENCE).await.expect("the node is there");
        match phone.open_session(secret).await {
            Err(error) if error.fault() == Some(Fault::Busy) && Instant::now() < until => phone.leave().await,
            result => return result.map(|()| phone),
        }
    }
}

async fn assert_locked(target: &Target, label: &Label) {
    match open(target, &label.by_code()).await {
        Err(Error::Refused(refusal)) => {
            assert_eq!(refusal.fault, Fault::Locked);
            assert!((1..=60).contains(&refusal.retry_after), "{} s", refusal.retry_after);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn after_five_wrong_codes_the_code_is_locked_on_all_links_and_across_restarts() {
    let place = Place::new();
    let node = place.start().await;
    let label = place.label().await;
    for attempt in 1..=5 {
        let refused = open(&node.over_bluetooth(), &label.wrong_code()).await.expect_err("a wrong code");
        assert_eq!(refused.fault(), Some(Fault::WrongCode));
        assert_eq!(place.status().await["pairing_attempts"], attempt, "counted on the disk before it was answered");
    }
    assert_locked(&node.over_bluetooth(), &label).await;
    assert_locked(&node.over_http(), &label).await;
    node.kill().await;

    let node = place.start().await;
    assert_eq!(place.status().await["pairing_locked"], true);
    assert_locked(&node.over_bluetooth(), &label).await;
    assert_locked(&node.over_http(), &label).await;
    node.stop().await;

    // A neighbour's guesses do not lock out an owner who has the QR code.
    let node = place.start().await;
    let mut phone = open(&node.over_http(), &label.by_qr()).await.expect("the secret of the QR code is not locked");
    phone.status().await.expect("an answer");
}

#[tokio::test]
async fn an_aborted_handshake_counts_and_the_right_code_clears_the_count() {
    let place = Place::new();
    let node = place.start().await;
    let label = place.label().await;
    let unproven = open(&node.over_bluetooth(), &label.by_code()).await.expect("the right code");
    assert_eq!(place.status().await["pairing_attempts"], 1, "nothing is proven yet");
    drop(unproven);
    let mut phone = open(&node.over_bluetooth(), &label.by_code()).await.expect("the right code");
    phone.status().await.expect("an answer");
    // Writes are executed in order, so after a later write the count is cleared on disk.
    let k2 = mobile_test_harness::key::new(std::time::SystemTime::UNIX_EPOCH, &mut rand_core::UnwrapErr(getrandom::SysRng));
    phone.send_k2(k2).await.expect("stored");
    assert_eq!(place.status().await["pairing_attempts"], 0);
}
