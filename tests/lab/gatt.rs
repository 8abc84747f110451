//! Bluetooth alone: a node on a simulated network, and phones.

use jarvis_provisioning::network::Network;
use jarvis_provisioning::simulation::SimulatedNetwork;
use mobile_test_harness::phone::Phone;
use provisioning_core::domain::State;
use provisioning_core::endpoint::Endpoint;
use provisioning_core::fault::Fault;
use provisioning_core::wire::Outbound;
use tokio::time::Instant;

use crate::air::{Controllers, PATIENCE, bare, connect, must};
use crate::node::{Node, right, wrong};

async fn provision(phone: &mut Phone, node: &Node) {
    phone.open_session(&node.code()).await.expect("the code is right");
    let report = phone.bring_online(&right(), PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!(report.state, State::Provisioned);
}

#[tokio::test]
async fn wrong_password_then_right_in_one_session_over_the_air() {
    let controllers = Controllers::ready().await;
    let node = Node::start(&controllers);
    let mut phone = connect(&controllers).await;
    assert_eq!(phone.name(), Some(node.handle.view().info.name.as_str()));
    assert_eq!(phone.info().await.expect("info can be read"), node.handle.view().info);
    phone.open_session(&node.code()).await.expect("the code is right");
    let networks = phone.scan(false).await.expect("a list");
    assert_eq!(networks.len(), SimulatedNetwork.scan().await.expect("a simulated scan").len(), "{networks:?}");
    let report = phone.bring_online(&wrong(), PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!((report.state, report.failure.map(|failure| failure.fault)), (State::Error, Some(Fault::WrongPassword)));
    let report = phone.bring_online(&right(), PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!(report.state, State::Provisioned);
    assert_eq!(node.handle.view().status.state(), State::Provisioned);
    phone.leave().await;
}

#[tokio::test]
async fn a_write_before_the_subscription_gets_no_answer() {
    let controllers = Controllers::ready().await;
    let node = Node::start(&controllers);
    let mut link = bare(&controllers).await;
    link.write_value(Endpoint::Session, &[0x80, 0, 9, 1]).await.expect("BlueZ acknowledges every write");
    link.close().await;
    let mut phone = connect(&controllers).await;
    provision(&mut phone, &node).await;
    phone.leave().await;
}

#[tokio::test]
async fn an_invalid_message_is_refused_and_the_session_continues() {
    let controllers = Controllers::ready().await;
    let node = Node::start(&controllers);
    let mut link = bare(&controllers).await;
    link.subscribe().await.expect("a subscription");
    let values: [&[u8]; 5] = [&[0x80, 0, 4, 1, 2, 3, 4], &[0x01, 9], &[0xff; 495], &[0x80, 0xff, 0xff, 1], &[0x80, 0, 1]];
    for endpoint in [Endpoint::Session, Endpoint::Scan, Endpoint::K2, Endpoint::Credentials, Endpoint::Status] {
        for value in values {
            link.write_value(endpoint, value).await.expect("a value that can be written");
            let answer = link.receive(Instant::now() + PATIENCE).await.expect("the link holds");
            let Some(Outbound::Refusal(refusal)) = answer else { panic!("{endpoint:?} {value:?}: {answer:?}") };
            assert!([Fault::Malformed, Fault::TooLarge, Fault::NotAuthenticated].contains(&refusal.fault), "{refusal:?}");
        }
    }
    for endpoint in [Endpoint::Session, Endpoint::Credentials] {
        assert!(link.read(endpoint).await.is_err(), "{endpoint:?} cannot be read");
    }
    assert!(link.write_value(Endpoint::Info, &[1]).await.is_err(), "info cannot be written");
    link.close().await;
    let mut phone = connect(&controllers).await;
    provision(&mut phone, &node).await;
    phone.leave().await;
}

#[tokio::test]
async fn a_soft_block_is_lifted() {
    let controllers = Controllers::ready().await;
    let node = Node::start(&controllers);
    connect(&controllers).await.leave().await;
    must("rfkill", &["block", "bluetooth"]);
    let mut phone = connect(&controllers).await;
    provision(&mut phone, &node).await;
    phone.leave().await;
}

#[tokio::test]
async fn every_message_arrives_in_order() {
    let controllers = Controllers::ready().await;
    let node = Node::start(&controllers);
    let mut phone = connect(&controllers).await;
    phone.open_session(&node.code()).await.expect("the code is right");
    let expected = SimulatedNetwork.scan().await.expect("a simulated scan").len();
    for round in 0..40 {
        assert_eq!(phone.scan(false).await.expect("a list").len(), expected, "in round {round}");
    }
    phone.leave().await;
}
