//! Keeping, restoring and forgetting networks: which profiles are changed.

use std::collections::HashMap;
use std::sync::Arc;

use zbus::{OwnedVariant, Variant};

use super::fake::{Play, Settings, World};
use super::{Lab, PASSPHRASE, fault, within};
use jarvis_provisioning::network::Network;
use provisioning_core::fault::Fault;
use testing::fake::Fault as Answered;

fn owned(value: Variant<'_>) -> OwnedVariant {
    value.try_into_owned().expect("no file descriptors")
}

/// A stored profile of a network, with additional `sections`.
pub(crate) fn foreign(name: &str, sections: &[(&str, &str, Variant<'static>)]) -> Settings {
    let mut settings: Settings = HashMap::new();
    let uuid = format!(
        "00000000-0000-4000-8000-{:012x}",
        name.bytes().fold(0_u64, |sum, byte| sum * 31 + u64::from(byte)) & 0xffff_ffff
    );
    let usual = [
        ("connection", "id", Variant::from(name.to_owned())),
        ("connection", "uuid", Variant::from(uuid)),
        ("connection", "type", Variant::from("802-11-wireless")),
        ("802-11-wireless", "ssid", Variant::from(name.as_bytes().to_vec())),
    ];
    for (section, key, value) in usual.iter().chain(sections) {
        let value = owned(value.try_clone().expect("no file descriptors"));
        settings.entry((*section).to_owned()).or_default().insert((*key).to_owned(), value);
    }
    settings
}

/// A profile of this program.
pub(crate) fn ours(name: &str, uuid: &'static str) -> Settings {
    let marker = HashMap::from([("org.jarvis.provisioning", "1")]);
    foreign(
        name,
        &[
            ("connection", "id", Variant::from(format!("jarvis-{name}"))),
            ("connection", "uuid", Variant::from(uuid)),
            ("user", "data", Variant::from(marker)),
        ],
    )
}

#[tokio::test]
async fn a_kept_network_is_stored_with_its_passphrase() {
    let Some(lab) = Lab::start().await else { return };
    lab.join("HomeNetwork").await.expect("a good passphrase");
    within(lab.network.keep()).await.expect("it is joined");
    let world = lab.fake.world();
    let profile = world.profiles.values().next().expect("the kept network");
    assert_eq!(profile.flags, 0);
    assert_eq!(profile.text("802-11-wireless-security", "psk").as_deref(), Some(PASSPHRASE));
}

#[tokio::test]
async fn a_visible_network_that_networkmanager_marks_hidden_is_not_kept_as_hidden() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().completes_with = vec![("hidden", owned(true.into()))];
    lab.join("HomeNetwork").await.expect("a good passphrase");
    within(lab.network.keep()).await.expect("it is joined");
    let world = lab.fake.world();
    let profile = world.profiles.values().next().expect("the kept network");
    assert!(!profile.has("802-11-wireless", "hidden"));
    assert_eq!(profile.text("802-11-wireless-security", "psk").as_deref(), Some(PASSPHRASE));
}

#[tokio::test]
async fn keeping_deletes_our_older_profiles_of_the_same_network_and_nothing_else() {
    let Some(lab) = Lab::start().await else { return };
    let (theirs, other, older) = {
        let mut world = lab.fake.world();
        let theirs = world.add_profile(foreign("HomeNetwork", &[("connection", "id", Variant::from("jarvis-HomeNetwork"))]));
        let other = world.add_profile(ours("Office", "6f0d9d4e-0000-4000-8000-000000000001"));
        let older = world.add_profile(ours("HomeNetwork", "6f0d9d4e-0000-4000-8000-000000000002"));
        (theirs, other, older)
    };
    lab.join("HomeNetwork").await.expect("a good passphrase");
    assert!(lab.fake.world().profiles.contains_key(&older), "no profile is deleted before the new one is kept");
    within(lab.network.keep()).await.expect("it is joined");
    lab.fake.until("the older one is gone", |world| !world.profiles.contains_key(&older)).await;
    lab.scan().await;
    let world = lab.fake.world();
    assert!(world.profiles.contains_key(&theirs) && world.profiles.contains_key(&other));
    assert_eq!(world.profiles.len(), 3, "later calls are processed after every deletion");
}

/// What a NetworkManager that stores profiles with netplan leaves of them: `user.data` is lost.
fn store_with_netplan(world: &mut World) {
    for profile in world.profiles.values_mut() {
        let kept = profile.settings.iter().filter(|(section, _)| *section != "user");
        let copy = |(name, value): (&String, &OwnedVariant)| (name.clone(), value.try_clone().expect("no file descriptors"));
        profile.settings = Arc::new(kept.map(|(section, values)| (section.clone(), values.iter().map(copy).collect())).collect());
    }
}

#[tokio::test]
async fn a_network_that_netplan_stores_is_replaced_and_forgotten_like_others() {
    let Some(lab) = Lab::start().await else { return };
    let theirs = lab.fake.world().add_profile(foreign("Office", &[]));
    for _ in 0..2 {
        lab.join("HomeNetwork").await.expect("a good passphrase");
        within(lab.network.keep()).await.expect("it is joined");
        lab.fake.until("there is no twin", |world| world.profiles.len() == 2).await;
        store_with_netplan(&mut lab.fake.world());
    }
    within(lab.network.forget()).await.expect("it can be deleted");
    let world = lab.fake.world();
    assert_eq!(world.profiles.keys().collect::<Vec<_>>(), [&theirs]);
}

#[tokio::test]
async fn a_network_whose_profile_was_deleted_meanwhile_is_stored_again() {
    let Some(lab) = Lab::start().await else { return };
    lab.join("HomeNetwork").await.expect("a good passphrase");
    // Lost permanently: every reactivation fails.
    lab.fake.world().plays.extend(vec![Play::secured(&[(120, 11), (30, 0)]); 20]);
    lab.fake.play(&[(120, 8), (30, 0)]).await;
    assert!(lab.fake.world().profiles.is_empty());
    within(lab.network.keep()).await.expect("its credentials are known");
    let world = lab.fake.world();
    let profile = world.profiles.values().next().expect("the kept network");
    assert_eq!((profile.flags, world.script.calls_of("AddConnection2")), (0, 1));
    assert_eq!(profile.text("802-11-wireless-security", "psk").as_deref(), Some(PASSPHRASE));
}

#[tokio::test]
async fn a_joined_network_that_is_lost_before_it_is_kept_is_joined_again() {
    let Some(lab) = Lab::start().await else { return };
    lab.join("HomeNetwork").await.expect("a good passphrase");
    lab.fake.play(&[(120, 8), (30, 0)]).await;
    lab.fake.until("it is joined again", |world| world.state == 100 && world.active.is_some()).await;
    within(lab.network.keep()).await.expect("it is joined");
    assert_eq!(lab.fake.world().profiles.len(), 1);
}

#[tokio::test]
async fn a_joined_network_is_stored_by_a_networkmanager_that_restarts_meanwhile() {
    let Some(lab) = Lab::start().await else { return };
    lab.join("HomeNetwork").await.expect("a good passphrase");
    lab.fake.world().script.faults.extend([
        // What the bus answers for a service that ends.
        ("Update2", Answered::Error("org.freedesktop.DBus.Error.NoReply", "the service left the bus")),
        // And what a service answers that has not created its objects.
        ("GetConnectionByUuid", Answered::Error("org.freedesktop.DBus.Error.UnknownMethod", "no such object")),
        ("AddConnection2", Answered::Error("org.freedesktop.DBus.Error.UnknownMethod", "no such object")),
    ]);
    let restarting = async {
        lab.fake.until("it is stored", |world| world.script.calls_of("Update2") == 1).await;
        lab.fake.leave().await;
        lab.fake.come_back().await;
    };
    let (kept, ()) = tokio::join!(within(lab.network.keep()), restarting);
    kept.expect("it waits for NetworkManager");
    let world = lab.fake.world();
    let profile = world.profiles.values().next().expect("the kept network");
    assert_eq!((profile.flags, world.script.calls_of("AddConnection2")), (0, 2));
}

#[tokio::test]
async fn keeping_without_a_joined_network_is_an_error() {
    let Some(lab) = Lab::start().await else { return };
    assert_eq!(fault(within(lab.network.keep()).await), Some(Fault::NetworkUnavailable));
}

#[tokio::test]
async fn restoring_activates_the_previous_network_unchanged() {
    let Some(lab) = Lab::start().await else { return };
    let before = {
        let mut world = lab.fake.world();
        let before = world.add_profile(foreign("Office", &[]));
        world.activate(before);
        world.profiles[&before].clone()
    };
    lab.join("HomeNetwork").await.expect("a good passphrase");
    within(lab.network.restore()).await.expect("it is still there");
    let world = lab.fake.world();
    assert_eq!(world.profiles.values().collect::<Vec<_>>(), [&before]);
    let active = world.active.and_then(|(_, profile)| world.profiles.get(&profile));
    assert_eq!(active, Some(&before));
}

#[tokio::test]
async fn restoring_after_a_failed_join_activates_the_previous_network() {
    let Some(lab) = Lab::start().await else { return };
    let before = lab.fake.world().add_profile(foreign("Office", &[]));
    lab.fake.world().activate(before);
    lab.fake.world().plays.push_back(Play::secured(&[(60, 8), (120, 7), (30, 0)]));
    assert_eq!(fault(lab.join("HomeNetwork").await), Some(Fault::WrongPassword));
    within(lab.network.restore()).await.expect("it is still there");
    assert_eq!(lab.fake.world().active.map(|(_, profile)| profile), Some(before));
}

#[tokio::test]
async fn restoring_without_a_previous_network_disconnects() {
    let Some(lab) = Lab::start().await else { return };
    lab.join("HomeNetwork").await.expect("a good passphrase");
    within(lab.network.restore()).await.expect("nothing was there before");
    let world = lab.fake.world();
    assert!(world.profiles.is_empty() && world.active.is_none());
}

#[tokio::test]
async fn restoring_deletes_a_network_that_an_earlier_run_joined_but_did_not_keep() {
    let Some(lab) = Lab::start().await else { return };
    {
        let mut world = lab.fake.world();
        let left = world.add_profile(ours("HomeNetwork", "6f0d9d4e-0000-4000-8000-000000000003"));
        world.profiles.get_mut(&left).expect("just added").flags = 5;
        world.activate(left);
    }
    within(lab.network.restore()).await.expect("nothing was there before");
    assert!(lab.fake.world().profiles.is_empty());
}

#[tokio::test]
async fn forgetting_deletes_all_networks_of_the_node_but_not_the_access_point() {
    let Some(lab) = Lab::start().await else { return };
    let theirs = lab.fake.world().add_profile(foreign("Office", &[]));
    lab.fake.world().add_profile(ours("HomeNetwork", "6f0d9d4e-0000-4000-8000-000000000004"));
    lab.open().await.expect("a radio that can");
    within(lab.network.forget()).await.expect("they can be deleted");
    let world = lab.fake.world();
    assert!(world.profiles.contains_key(&theirs) && world.active.is_some());
    assert_eq!(world.profiles.len(), 2);
}
