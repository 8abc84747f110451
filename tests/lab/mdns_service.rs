//! The node's mDNS service in its owner's network, queried by independent resolvers.

use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::air::{must, until};
use crate::device::profiles;
use crate::dns::{MDNS, PTR, question};
use crate::place::{PASSWORD, SSID, Wifi, at_the_phone};
use crate::scene::Scene;

/// Sends one query for a service, like a resolver without mDNS (RFC 6762, 6.7); none without an answer.
pub(crate) async fn browse(service: &str) -> Vec<u8> {
    let question = question(service, PTR, false);
    let socket = UdpSocket::bind("0.0.0.0:0").await.expect("a free port");
    socket.send_to(&question, MDNS).await.expect("the multicast group is routed");
    let mut answer = vec![0; 1500];
    let length = timeout(Duration::from_secs(2), socket.recv(&mut answer)).await.map_or(0, Result::unwrap_or_default);
    answer.truncate(length);
    answer
}

pub(crate) fn holds(answer: &[u8], bytes: &[u8]) -> bool {
    answer.windows(bytes.len()).any(|window| window == bytes)
}

#[tokio::test]
async fn a_provisioned_node_is_found_by_any_resolver_and_only_then() {
    let mut scene = Scene::set().await;
    let name = scene.device.name.clone();
    let _wifi = Wifi::join(SSID, PASSWORD).await;
    must("ip", &["-n", "phone", "route", "replace", "224.0.0.0/4", "dev", "wlan2"]);
    let service = provisioning_core::endpoint::MDNS_SERVICE;
    assert!(at_the_phone(move || browse(service)).await.is_empty(), "nothing is announced before");
    scene.provision().await;
    assert_eq!(profiles().len(), 1);
    let mut answer = Vec::new();
    until("the node answers", async || {
        answer = at_the_phone(move || browse(service)).await;
        !answer.is_empty()
    })
    .await;
    let label = |text: &str| [&[u8::try_from(text.len()).expect("a short label")], text.as_bytes()].concat();
    assert!(holds(&answer, &label(&name)), "its name, {name}: {answer:?}");
    assert!(holds(&answer, &[0, 0, 0, 0, 0x1f, 0x90]), "priority, weight and port 8080: {answer:?}");
    assert!(holds(&answer, format!("node_id={}", scene.order.node_id).as_bytes()), "its identity: {answer:?}");
    // An address of the home's network, of four bytes.
    assert!(holds(&answer, &[0, 4, 10, 20, 0]), "its address: {answer:?}");
}
