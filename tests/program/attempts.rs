//! How often the code may be guessed: across phones, links and restarts.

use mobile_test_harness::link::Target;
use mobile_test_harness::phone::{Error, Phone};
use provisioning_core::fault::Fault;
use provisioning_core::session::PhoneSecret;
use tokio::time::Instant;

use crate::place::{Label, PATIENCE, Place};

/// What comes of opening a session on a new link; again while the node has not heard that the phone before has gone.
async fn open(target: &Target, secret: &PhoneSecret) -> Result<Phone, Error> {
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
async fn after_five_wrong_codes_the_right_one_is_refused_over_every_link_and_after_restarts() {
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
async fn a_handshake_that_is_broken_off_counts_and_the_right_code_clears_the_count() {
    let place = Place::new();
    let node = place.start().await;
    let label = place.label().await;
    let unproven = open(&node.over_bluetooth(), &label.by_code()).await.expect("the right code");
    assert_eq!(place.status().await["pairing_attempts"], 1, "nothing is proven yet");
    drop(unproven);
    let mut phone = open(&node.over_bluetooth(), &label.by_code()).await.expect("the right code");
    phone.status().await.expect("an answer");
    // The count is cleared on the disk by the time a later write is: they are carried out in order.
    let k2 = mobile_test_harness::key::new(std::time::SystemTime::UNIX_EPOCH, &mut rand_core::UnwrapErr(getrandom::SysRng));
    phone.send_k2(k2).await.expect("stored");
    assert_eq!(place.status().await["pairing_attempts"], 0);
}
