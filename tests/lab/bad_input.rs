//! Invalid input over real ATT: the node continues, and leaks nothing.

use getrandom::SysRng;
use mobile_test_harness::link::Error;
use mobile_test_harness::link::ble::Bluetooth;
use provisioning_core::domain::State;
use provisioning_core::endpoint::{ENDPOINTS, Endpoint};
use provisioning_core::fault::Fault;
use provisioning_core::wire::{Outbound, PublicStatus};
use rand_core::{Rng, UnwrapErr};
use tokio::time::Instant;

use crate::air::{PATIENCE, bare, breath, until};
use crate::att::Att;
use crate::device::Usage;
use crate::scene::Scene;

/// The writable characteristics.
const WRITABLE: [Endpoint; 5] = [Endpoint::Session, Endpoint::Scan, Endpoint::K2, Endpoint::Credentials, Endpoint::Status];

/// Permitted growth of a program's memory under load, KiB: pages that the allocator keeps. A leak of everything that these
/// scenarios send would exceed it.
const SLACK: usize = 1024;

/// Starts a scene and disconnects its phone, so that the radio is free for a raw link.
async fn set() -> (Scene, Bluetooth) {
    let mut scene = Scene::set().await;
    scene.goes().await;
    let link = bare(scene.controllers()).await;
    (scene, link)
}

/// The phone disconnects and reconnects.
async fn again(link: Bluetooth, scene: &Scene) -> Bluetooth {
    link.close().await;
    breath().await;
    bare(scene.controllers()).await
}

/// Afterwards the next phone can provision the node.
async fn goes_on(mut scene: Scene) {
    assert_eq!(scene.reconnect().await.state, State::ApMode);
    scene.provision().await;
    scene.assert_provisioned().await;
}

/// The node uses no more resources than before.
async fn assert_flat(scene: &Scene, before: Usage) {
    until("descriptors are closed", async || scene.device.usage().descriptors <= before.descriptors).await;
    let after = scene.device.usage();
    assert!(after.resident <= before.resident + SLACK, "grew from {before:?} to {after:?}");
}

/// Receives all messages that the node has sent so far.
async fn drain(link: &mut Bluetooth) -> Vec<Outbound> {
    let mut heard = Vec::new();
    while let Some(message) = link.receive(Instant::now()).await.expect("the link holds") {
        heard.push(message);
    }
    heard
}

#[tokio::test]
async fn random_bytes_on_every_characteristic() {
    let (scene, mut link) = set().await;
    let mut rng = UnwrapErr(SysRng);
    let mut before = None;
    for round in 0..20 {
        if link.subscribe().await.is_err() {
            // The node may end a link that sends only invalid data.
            link = again(link, &scene).await;
            link.subscribe().await.expect("a subscription");
        }
        for endpoint in WRITABLE {
            let mut value = vec![0; (rng.next_u32() % 496) as usize];
            rng.fill_bytes(&mut value);
            match link.write_value(endpoint, &value).await {
                Ok(()) => {}
                Err(Error::Lost(_)) => break,
                Err(error) => panic!("round {round}, {} bytes to {endpoint:?}: {error}", value.len()),
            }
        }
        assert!(link.write_value(Endpoint::Info, &[1]).await.is_err(), "info cannot be written");
        for message in drain(&mut link).await {
            let Outbound::Refusal(refusal) = message else { panic!("noise is answered with {message:?}") };
            assert!([Fault::Malformed, Fault::TooLarge, Fault::NotAuthenticated].contains(&refusal.fault), "{refusal:?}");
        }
        // The first round allocates what stays.
        before.get_or_insert_with(|| scene.device.usage());
    }
    assert_flat(&scene, before.expect("there were rounds")).await;
    link.close().await;
    goes_on(scene).await;
}

#[tokio::test]
async fn frames_that_never_finish() {
    let (scene, mut link) = set().await;
    let before = scene.device.usage();
    for _ in 0..3 {
        link.subscribe().await.expect("a subscription");
        for endpoint in WRITABLE {
            let limit = u16::try_from(endpoint.row().limit).expect("a small limit").to_be_bytes();
            link.write_value(endpoint, &[0x80, limit[0], limit[1], 7]).await.expect("the beginning of a message");
            link.write_value(endpoint, &[0x01, 7]).await.expect("more of it");
        }
        assert!(drain(&mut link).await.is_empty(), "there is nothing to answer yet");
        link = again(link, &scene).await;
    }
    assert_flat(&scene, before).await;
    link.close().await;
    goes_on(scene).await;
}

#[tokio::test]
async fn values_of_no_bytes_and_of_too_many() {
    let (scene, mut link) = set().await;
    link.subscribe().await.expect("a subscription");
    for endpoint in WRITABLE {
        link.write_value(endpoint, &[]).await.expect("it can be written");
        let answer = link.receive(Instant::now() + PATIENCE).await.expect("the link holds");
        let Some(Outbound::Refusal(refusal)) = answer else { panic!("{endpoint:?}: {answer:?}") };
        assert_eq!(refusal.fault, Fault::Malformed);
        // The largest possible attribute. Some versions of BlueZ lose it; others pass it to the node, which refuses it.
        if let Err(error) = link.write_value(endpoint, &[0x80; 512]).await {
            assert!(matches!(error, Error::Refused(_) | Error::Bluetooth { .. }), "{endpoint:?}: {error}");
        }
        assert!(drain(&mut link).await.is_empty(), "it does not reach the protocol");
    }
    link.close().await;
    goes_on(scene).await;
}

#[tokio::test]
async fn reads_at_odd_offsets() {
    let (scene, mut link) = set().await;
    let whole = link.read(Endpoint::Info).await.expect("info can be read");
    let length = u16::try_from(whole.len()).expect("a short value");
    for offset in [1, 2, 17, length - 1, length] {
        let part = link.read_from(Endpoint::Info, offset).await.expect("a part");
        assert_eq!(part, &whole[usize::from(offset)..], "from {offset}");
    }
    for offset in [length + 1, 511, 512, u16::MAX] {
        assert!(link.read_from(Endpoint::Info, offset).await.is_err(), "there is nothing at {offset}");
    }
    let status = link.read(Endpoint::Status).await.expect("the status can be read");
    assert_eq!(PublicStatus::decode(&status).expect("a status").state, State::ApMode);
    for row in ENDPOINTS.iter().filter(|row| !matches!(row.endpoint, Endpoint::Info | Endpoint::Status)) {
        assert!(link.read_from(row.endpoint, 3).await.is_err(), "{:?} cannot be read", row.endpoint);
    }
    link.close().await;
    goes_on(scene).await;
}

#[tokio::test]
async fn a_storm_of_subscriptions() {
    let mut scene = Scene::set().await;
    scene.goes().await;
    let mut att = Att::connect(scene.controllers()).await;
    let mut before = None;
    for _ in 0..100 {
        att.subscribe(true).await;
        att.subscribe(false).await;
        // The first round allocates what stays.
        before.get_or_insert_with(|| scene.device.usage());
    }
    // `BlueZ` may keep the socket of a subscription that ended while it was being established, until its phone disconnects.
    drop(att);
    assert_flat(&scene, before.expect("there were rounds")).await;
    goes_on(scene).await;
}

#[tokio::test]
async fn a_hundred_connections() {
    let mut scene = Scene::set().await;
    scene.goes().await;
    let mut att = Att::connect(scene.controllers()).await;
    let mut before = None;
    for _ in 0..100 {
        att.subscribe(true).await;
        // The first round allocates what stays.
        before.get_or_insert_with(|| scene.device.usage());
        att = att.again(scene.controllers()).await;
    }
    drop(att);
    assert_flat(&scene, before.expect("there were rounds")).await;
    goes_on(scene).await;
}
