//! Complete provisioning, from the first packet to the outcome.

use std::time::SystemTime;

use getrandom::SysRng;
use mobile_test_harness::key;
use mobile_test_harness::phone::{Error, Phone, Progress};
use provisioning_core::domain::State;
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Command, CommandCenterCommand, DiskCommand, RadioCommand};
use provisioning_core::secret::{SecretBytes, SecretText};
use provisioning_core::session::PhoneSecret;
use rand_core::UnwrapErr;
use testing::journal::{QR_SECRET, WRONG_PASSWORD};
use testing_node::sim_link::{Cable, NETWORKS, Node, PASSWORD, PATIENCE, SSID, credentials, secret};
use tokio::time::Instant;

fn new_key() -> provisioning_core::domain::K2 {
    key::new(SystemTime::UNIX_EPOCH, &mut UnwrapErr(SysRng))
}

async fn connected(node: &Node) -> Phone {
    Phone::connect(&node.target).await.expect("the node advertises")
}

/// A phone provisions the node, first with a wrong password.
async fn provision_with_a_wrong_password_first(mtu: u16) {
    let node = Node::start(mtu).await;
    let mut phone = connected(&node).await;
    assert_eq!(phone.name(), Some("jarvis-5b91b661"));
    let info = phone.info().await.expect("info is public");
    assert_eq!(info, node.handle.view().info);
    assert_eq!(phone.public_status().await.expect("the state is public").state, State::ApMode);

    phone.open_session(&secret()).await.expect("the right code");
    let networks = phone.scan(false).await.expect("a list");
    assert_eq!(networks.len(), NETWORKS);
    assert_eq!(networks[0].ssid.to_string(), SSID);
    let k2 = new_key();
    phone.send_k2(k2.clone()).await.expect("stored");
    assert_eq!(
        node.started(|command| matches!(command, Command::Disk(DiskCommand::SaveK2 { k2: stored, .. }) if *stored == k2)),
        1
    );

    let wrong = phone.bring_online(&credentials(WRONG_PASSWORD), PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!(wrong.failure.map(|failure| failure.fault), Some(Fault::WrongPassword));

    let right = credentials(PASSWORD);
    let mut seen = Vec::new();
    let outcome = phone
        .bring_online(&right, PATIENCE, |progress| {
            if let Progress::Status(outcome) = progress {
                seen.push(outcome.progress);
            }
        })
        .await
        .expect("an outcome");
    assert_eq!((outcome.state, outcome.request_id), (State::Provisioned, right.request_id));
    assert_eq!(seen, [10, 20, 35, 50, 70, 90, 100]);
    assert_eq!(node.started(|command| matches!(command, Command::Disk(DiskCommand::MarkProvisioned { .. }))), 1);
}

#[tokio::test]
async fn a_phone_provisions_a_node_at_the_smallest_mtu() {
    provision_with_a_wrong_password_first(23).await;
}

#[tokio::test]
async fn a_phone_provisions_a_node_at_a_usual_mtu() {
    provision_with_a_wrong_password_first(185).await;
}

#[tokio::test]
async fn a_phone_provisions_a_node_at_the_largest_mtu() {
    provision_with_a_wrong_password_first(517).await;
}

#[tokio::test]
async fn all_of_provisioning_takes_four_round_trips() {
    let node = Node::start(517).await;
    let mut phone = connected(&node).await;
    phone.open_session(&secret()).await.expect("the right code");
    phone.scan(false).await.expect("a list");
    phone.send_k2(new_key()).await.expect("stored");
    phone.bring_online(&credentials(PASSWORD), PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!(phone.traffic().round_trips, 4);
}

#[tokio::test]
async fn the_secret_of_the_qr_code_opens_a_session_without_an_attempt() {
    let node = Node::start(185).await;
    let mut phone = connected(&node).await;
    phone.open_session(&PhoneSecret::Qr(SecretBytes::new(QR_SECRET))).await.expect("the right secret");
    assert_eq!(phone.status().await.expect("an answer").state, State::ApMode);
    assert_eq!(node.started(|command| matches!(command, Command::Disk(DiskCommand::SaveGuesses { .. }))), 0);
}

#[tokio::test]
async fn a_wrong_code_is_counted_and_the_right_one_works_on_the_same_link() {
    let node = Node::start(185).await;
    let mut phone = connected(&node).await;
    let wrong = PhoneSecret::Code(SecretText::new("000000".into()));
    let error = phone.open_session(&wrong).await.expect_err("a wrong code");
    assert_eq!(error.fault(), Some(Fault::WrongCode));
    assert_eq!(node.started(|command| matches!(command, Command::Disk(DiskCommand::SaveGuesses { made: 1, .. }))), 1);
    phone.open_session(&secret()).await.expect("the right code");
    assert_eq!(phone.status().await.expect("an answer").state, State::ApMode);
    assert_eq!(node.started(|command| matches!(command, Command::Disk(DiskCommand::SaveGuesses { made: 0, .. }))), 1);
}

#[tokio::test]
async fn after_five_wrong_codes_the_refusal_has_the_time_of_the_retry() {
    let node = Node::start(185).await;
    let mut phone = connected(&node).await;
    for guess in 0..5 {
        let wrong = PhoneSecret::Code(SecretText::new(format!("00000{guess}")));
        assert_eq!(phone.open_session(&wrong).await.expect_err("a wrong code").fault(), Some(Fault::WrongCode));
    }
    match phone.open_session(&secret()).await {
        Err(Error::Refused(refusal)) => {
            assert_eq!(refusal.fault, Fault::Locked);
            assert!((1..=60).contains(&refusal.retry_after), "{} s", refusal.retry_after);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_second_phone_gets_busy_which_is_not_a_guess() {
    let node = Node::start(185).await;
    let mut first = connected(&node).await;
    first.open_session(&secret()).await.expect("the right code");
    first.status().await.expect("an answer");
    let counted = node.started(|command| matches!(command, Command::Disk(DiskCommand::SaveGuesses { .. })));

    let mut second = connected(&node).await;
    assert_eq!(second.open_session(&secret()).await.expect_err("busy").fault(), Some(Fault::Busy));
    assert_eq!(node.started(|command| matches!(command, Command::Disk(DiskCommand::SaveGuesses { .. }))), counted);
    assert_eq!(first.status().await.expect("the first session stays").state, State::ApMode);
}

#[tokio::test]
async fn the_next_phone_gets_the_session_after_the_first_has_left() {
    let node = Node::start(185).await;
    let mut first = connected(&node).await;
    first.open_session(&secret()).await.expect("the right code");
    drop(first);
    let mut second = connected(&node).await;
    let until = Instant::now() + PATIENCE;
    while let Err(error) = second.open_session(&secret()).await {
        // The node may process the second connection before the end of the first.
        assert!(error.fault() == Some(Fault::Busy) && Instant::now() < until, "{error}");
    }
    assert_eq!(second.status().await.expect("the session is free").state, State::ApMode);
}

/// The link is cut while the node executes the command that `hold` picks; the phone reconnects and gets the outcome.
async fn cut_during(hold: fn(&Command) -> bool) {
    let node = Node::start(185).await;
    let cable = Cable::to(&node.path(), None);
    node.hold(hold);
    let mut phone = Phone::connect(&cable.target).await.expect("the node advertises");
    phone.open_session(&secret()).await.expect("the right code");
    let credentials = credentials(PASSWORD);
    let (mut lost, mut back) = (0, 0);
    let following = phone.bring_online(&credentials, PATIENCE, |progress| match progress {
        Progress::Lost => lost += 1,
        Progress::Back => {
            back += 1;
            node.release();
        }
        _ => {}
    });
    let cutting = async {
        node.held().await;
        cable.cut();
    };
    let (outcome, ()) = tokio::join!(following, cutting);
    assert_eq!(outcome.expect("an outcome").state, State::Provisioned);
    assert_eq!((lost, back), (1, 1));
    assert_eq!(node.started(|command| matches!(command, Command::Radio(RadioCommand::Join { .. }))), 1);
}

#[tokio::test]
async fn a_link_cut_while_the_attempt_is_stored_can_ask_afterwards() {
    cut_during(|command| matches!(command, Command::Disk(DiskCommand::SavePending { .. }))).await;
}

#[tokio::test]
async fn a_link_cut_while_joining_can_ask_afterwards() {
    cut_during(|command| matches!(command, Command::Radio(RadioCommand::Join { .. }))).await;
}

#[tokio::test]
async fn a_link_cut_while_registering_can_ask_afterwards() {
    cut_during(|command| matches!(command, Command::CommandCenter(CommandCenterCommand::Register { .. }))).await;
}

#[tokio::test]
async fn a_link_cut_while_the_enrollment_is_stored_can_ask_afterwards() {
    cut_during(|command| matches!(command, Command::Disk(DiskCommand::SaveEnrollment { .. }))).await;
}

#[tokio::test]
async fn a_link_cut_while_the_marker_is_written_can_ask_afterwards() {
    cut_during(|command| matches!(command, Command::Disk(DiskCommand::MarkProvisioned { .. }))).await;
}

#[tokio::test]
async fn credentials_are_sent_again_until_they_are_accepted() {
    let node = Node::start(185).await;
    let cable = Cable::to(&node.path(), None);
    let mut phone = Phone::connect(&cable.target).await.expect("the node advertises");
    phone.open_session(&secret()).await.expect("the right code");
    let mut sent = credentials(WRONG_PASSWORD);
    let failed = phone.bring_online(&sent, PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!(failed.failure.map(|failure| failure.fault), Some(Fault::WrongPassword));
    // The status shows that failure under the same id while the next attempt is not on disk.
    sent.passphrase = credentials(PASSWORD).passphrase;
    cable.cut();
    let outcome = phone.bring_online(&sent, PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!(outcome.state, State::Provisioned);
    assert_eq!(node.started(|command| matches!(command, Command::Disk(DiskCommand::SavePending { .. }))), 2);
}

/// Restarts when the link fails before an attempt exists, like an app.
async fn provision_with_patience(cable: &Cable, credentials: &provisioning_core::domain::Credentials) -> Result<State, Error> {
    let mut phone = Phone::connect(&cable.target).await?;
    phone.open_session(&secret()).await?;
    phone.scan(false).await?;
    phone.send_k2(new_key()).await?;
    Ok(phone.bring_online(credentials, PATIENCE, |_| {}).await?.state)
}

#[tokio::test]
async fn a_link_cut_after_any_packet_delays_provisioning_and_nothing_else() {
    let mut packets = 0;
    loop {
        let node = Node::start(517).await;
        let cable = Cable::to(&node.path(), Some(packets));
        let credentials = credentials(PASSWORD);
        let mut state = provision_with_patience(&cable, &credentials).await;
        let whole = !cable.has_broken();
        let until = Instant::now() + PATIENCE;
        while let Err(error) = &state {
            // The node may process the second link before the end of the first.
            let expected = matches!(error, Error::Link(_)) || error.fault() == Some(Fault::Busy);
            assert!(expected && Instant::now() < until, "after {packets} packets: {error}");
            state = provision_with_patience(&cable, &credentials).await;
        }
        assert_eq!(state.expect("the cable breaks once"), State::Provisioned, "after {packets} packets");
        assert_eq!(
            node.started(|command| matches!(command, Command::CommandCenter(CommandCenterCommand::Register { .. }))),
            1,
            "after {packets} packets"
        );
        if whole {
            break;
        }
        packets += 1;
    }
    assert!(packets > 20, "the link was cut {packets} times");
}
