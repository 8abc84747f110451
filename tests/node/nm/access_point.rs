//! The node's own access point.

use super::fake::{AccessPoint, Bus, Play};
use super::keeping::{foreign, ours};
use super::{Lab, fault, journal, within};
use jarvis_provisioning::network::Network;
use provisioning_core::domain::{self, RadioUse};
use provisioning_core::fault::Fault;
use testing::fake::{Fake, Script, Service};
use zbus::{Message, ObjectPath};

/// The supplicant: when it was told to abort a scan.
struct Supplicant {
    script: Script,
    manager: Bus,
    /// How many activations NetworkManager was asked for before.
    aborted: Vec<usize>,
}

impl Service for Supplicant {
    const NAME: &'static str = "fi.w1.wpa_supplicant1";

    fn script(&mut self) -> &mut Script {
        &mut self.script
    }

    async fn answer(fake: &Fake<Self>, message: Message) {
        let header = message.header();
        if header.member().is_some_and(|member| member == "GetInterface") {
            let path = ObjectPath::try_from("/fi/w1/wpa_supplicant1/Interfaces/0").expect("a valid path");
            fake.connection.reply(&header, &path).await.expect("the bus is there");
            return;
        }
        let activations = fake.world().manager.world().script.calls_of("AddAndActivateConnection2");
        fake.world().aborted.push(activations);
        fake.connection.reply(&header, &()).await.expect("the bus is there");
    }
}

#[tokio::test]
async fn the_access_point_is_bound_to_the_daemon_and_ends_with_it() {
    let Some(lab) = Lab::start().await else { return };
    lab.open().await.expect("a radio that can");
    let client = {
        let world = lab.fake.world();
        let profile = world.profiles.values().next().expect("the access point");
        assert_eq!((profile.flags, profile.bound_to.as_ref()), (5, world.client.as_ref()));
        assert_eq!(profile.text("802-11-wireless", "mode").as_deref(), Some("ap"));
        assert_eq!(profile.text("802-11-wireless-security", "psk").as_deref(), Some("the label's passphrase"));
        world.client.clone().expect("it called")
    };
    assert_eq!(lab.dns_files(), 1);
    let bus = zbus::fdo::DBusProxy::new(&lab.fake.connection).await.expect("the bus is there");
    drop(lab.network);
    let gone = async {
        while bus.name_has_owner(client.as_str().try_into().expect("a name")).await.expect("the bus is there") {
            tokio::task::yield_now().await;
        }
    };
    within(gone).await;
    assert_eq!(std::fs::read_dir(lab.dns.path()).expect("the folder").count(), 0);
}

#[tokio::test]
async fn an_access_point_that_is_open_is_not_opened_again() {
    let Some(lab) = Lab::start().await else { return };
    lab.open().await.expect("a radio that can");
    lab.open().await.expect("it is open");
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 1);
}

#[tokio::test]
async fn the_access_point_does_not_wait_for_a_scan() {
    let Some(lab) = Lab::start().await else { return };
    let supplicant = Supplicant { script: Script::default(), manager: (*lab.fake).clone(), aborted: Vec::new() };
    let (supplicant, _running) = Fake::start(&lab.bus.address(), supplicant).await;
    lab.scan().await;
    lab.open().await.expect("a radio that can");
    let aborted = &supplicant.world().aborted;
    assert_eq!(aborted.iter().filter(|activations| **activations == 0).count(), 1, "before the activation: {aborted:?}");
    assert!(aborted.contains(&1), "one that began meanwhile: {aborted:?}");
}

#[tokio::test]
async fn the_use_of_the_radio_is_reported() {
    let Some(lab) = Lab::start().await else { return };
    let radio = lab.network.radio();
    let used = || radio.borrow().clone();
    assert_eq!(used(), RadioUse::Idle);
    lab.open().await.expect("a radio that can");
    let access_point = domain::AccessPoint { interface: "wlan0".into(), address: [192, 168, 4, 1].into(), prefix: 24 };
    assert_eq!(used(), RadioUse::AccessPoint(access_point.clone()));
    lab.fake.world().plays.push_back(Play::secured(&[(60, 8), (120, 7), (30, 0)]));
    assert_eq!(fault(lab.join("HomeNetwork").await), Some(Fault::WrongPassword));
    assert_eq!(used(), RadioUse::Idle);
    lab.open().await.expect("a radio that can");
    assert_eq!(used(), RadioUse::AccessPoint(access_point));
    lab.join("HomeNetwork").await.expect("a good passphrase");
    assert_eq!(used(), RadioUse::Station { interface: "wlan0".into() });
    within(lab.network.keep()).await.expect("it is joined");
    assert_eq!(used(), RadioUse::Station { interface: "wlan0".into() });
    within(lab.network.restore()).await.expect("there is no previous network");
    assert_eq!(used(), RadioUse::Idle);
}

#[tokio::test]
async fn a_connection_of_others_is_reported_while_it_lasts_and_ours_is_not() {
    let Some(lab) = Lab::start().await else { return };
    let mut radio = lab.network.radio();
    let other = RadioUse::Other { interface: "wlan0".into() };
    let theirs = {
        let mut world = lab.fake.world();
        let theirs = world.add_profile(foreign("Office", &[]));
        world.activate(theirs);
        theirs
    };
    lab.scan().await;
    assert_eq!(*radio.borrow(), other);
    lab.join("HomeNetwork").await.expect("a good passphrase");
    assert_eq!(*radio.borrow(), RadioUse::Station { interface: "wlan0".into() });
    within(lab.network.restore()).await.expect("it is still there");
    within(radio.wait_for(|used| *used == other)).await.expect("the adapter runs");
    lab.fake.play(&[(120, 8), (30, 0)]).await;
    within(radio.wait_for(|used| *used == RadioUse::Idle)).await.expect("the adapter runs");
    // NetworkManager connects again by itself.
    lab.fake.world().activate(theirs);
    lab.fake.play(&[(40, 0), (100, 0)]).await;
    within(radio.wait_for(|used| *used == other)).await.expect("the adapter runs");

    // A network that this program has stored is not another's.
    {
        let mut world = lab.fake.world();
        let ours = world.add_profile(ours("HomeNetwork", "6f0d9d4e-0000-4000-8000-000000000001"));
        world.activate(ours);
    }
    lab.fake.play(&[(40, 0), (100, 0)]).await;
    within(radio.wait_for(|used| *used == RadioUse::Idle)).await.expect("the adapter runs");
}

#[tokio::test]
async fn a_home_network_that_overlaps_the_access_points_moves_it() {
    let Some(lab) = Lab::start().await else { return };
    let radio = lab.network.radio();
    let address = || radio.borrow().access_point().expect("it is open").address;
    // 192.168.4.0/22 at a cable, as a little-endian kernel writes it.
    let overlapping = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
        eth0 0004A8C0 00000000 0001 0 0 100 00FCFFFF 0 0 0\n";
    if cfg!(target_endian = "little") {
        std::fs::write(lab.routes.path(), overlapping).expect("a temporary file");
    }
    lab.open().await.expect("a radio that can");
    let moved = address();
    assert!(moved.is_private() && moved.octets()[..3] != [192, 168, 4], "{moved}");
    let content = |name: &str| std::fs::read_to_string(lab.dns.path().join(name)).expect("the file");
    assert!(content("jarvis-provisioning.conf").contains(&format!("address=/#/{moved}\n")));
    let configured = || {
        let world = lab.fake.world();
        let profile = world.profiles.values().next().expect("the access point");
        let data = profile.settings["ipv4"]["address-data"].try_clone().expect("no file descriptors");
        data.to_string()
    };
    assert!(configured().contains(&moved.to_string()), "{}", configured());

    // The cable is gone when the access point opens again.
    std::fs::write(lab.routes.path(), "").expect("a temporary file");
    lab.fake.leave().await;
    lab.fake.come_back().await;
    lab.fake.until("it is open again", |world| world.state == 100).await;
    assert!(configured().contains("192.168.4.1"), "{}", configured());
}

#[tokio::test]
async fn a_lost_access_point_is_reported_as_idle_until_it_is_open_again() {
    let Some(lab) = Lab::start().await else { return };
    let mut radio = lab.network.radio();
    lab.open().await.expect("a radio that can");
    lab.fake.leave().await;
    within(radio.wait_for(|used| *used == RadioUse::Idle)).await.expect("the adapter runs");
    lab.fake.come_back().await;
    within(radio.wait_for(|used| used.access_point().is_some())).await.expect("the adapter runs");
}

#[tokio::test]
async fn an_access_point_that_fails_right_after_activation_is_an_error() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().plays.push_back(Play::secured(&[(70, 0), (80, 0), (90, 0), (100, 0), (120, 5), (30, 0)]));
    assert_eq!(fault(lab.open().await), Some(Fault::NetworkUnavailable));
    assert!(lab.fake.world().profiles.is_empty());
    assert_eq!(lab.dns_files(), 0);
}

#[tokio::test]
async fn on_a_radio_without_access_point_mode_no_activation_is_requested() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().capabilities = 0x30;
    let error = journal(lab.open().await);
    assert!(error.contains("no access point mode"), "{error}");
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 0);
}

#[tokio::test]
async fn a_join_replaces_the_access_point_without_taking_it_down_first() {
    let Some(lab) = Lab::start().await else { return };
    lab.open().await.expect("a radio that can");
    lab.join("HomeNetwork").await.expect("a good passphrase");
    let world = lab.fake.world();
    assert_eq!((world.script.calls_of("DeactivateConnection"), world.script.calls_of("Delete"), world.profiles.len()), (0, 0, 1));
    drop(world);
    assert_eq!(lab.dns_files(), 0);
}

#[tokio::test]
async fn after_a_wrong_password_the_same_access_point_can_be_opened_at_once() {
    let Some(lab) = Lab::start().await else { return };
    lab.open().await.expect("a radio that can");
    lab.fake.world().plays.push_back(Play::secured(&[(60, 8), (120, 7), (30, 0)]));
    assert_eq!(fault(lab.join("HomeNetwork").await), Some(Fault::WrongPassword));
    lab.open().await.expect("a radio that can");
    let world = lab.fake.world();
    assert_eq!(world.profiles.len(), 1);
    assert_eq!(world.profiles.values().next().and_then(|profile| profile.text("802-11-wireless", "mode")).as_deref(), Some("ap"));
    drop(world);
    assert_eq!(lab.dns_files(), 1);
}

#[tokio::test]
async fn the_access_point_opens_again_after_a_restart_of_networkmanager() {
    let Some(lab) = Lab::start().await else { return };
    lab.open().await.expect("a radio that can");
    lab.fake.leave().await;
    lab.fake.until("the profile is gone", |world| world.profiles.is_empty()).await;
    lab.fake.come_back().await;
    lab.fake.until("the access point is open again", |world| world.profiles.len() == 1 && world.state == 100).await;
}

#[tokio::test]
async fn the_access_point_opens_again_after_a_restart_of_the_bus() {
    let Some(mut lab) = Lab::start().await else { return };
    lab.open().await.expect("a radio that can");
    lab.bus.stop();
    lab.bus.restart();
    lab.fake = super::Fake::start(&lab.bus.address()).await;
    lab.fake.until("the access point is open again", |world| world.profiles.len() == 1 && world.state == 100).await;
}

#[tokio::test]
async fn the_access_point_opens_again_with_its_adapter() {
    let Some(lab) = Lab::start().await else { return };
    lab.open().await.expect("a radio that can");
    lab.fake.remove_device().await;
    assert_eq!(lab.fake.world().profiles.len(), 0);
    lab.fake.world().present = true;
    lab.fake.until("the access point is open again", |world| world.profiles.len() == 1 && world.state == 100).await;
}

#[tokio::test]
async fn the_access_point_yields_to_a_network_that_the_owner_activates() {
    let Some(lab) = Lab::start().await else { return };
    lab.open().await.expect("a radio that can");
    let theirs = lab.fake.world().add_profile(super::keeping::foreign("Office", &[]));
    lab.fake.world().activate(theirs);
    lab.fake.play(&[(110, 60), (30, 60), (40, 0), (100, 0)]).await;
    // A scan is processed after all earlier signals.
    lab.scan().await;
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 1);
    assert_eq!(lab.dns_files(), 0);
}

#[tokio::test]
async fn a_scan_while_the_access_point_is_open_leaves_it_out() {
    let Some(lab) = Lab::start().await else { return };
    lab.open().await.expect("a radio that can");
    let own = AccessPoint { bssid: "02:00:00:00:00:00".into(), ..AccessPoint::wpa2("jarvis-5b91b661") };
    lab.fake.world().in_the_air.push(own);
    assert_eq!(lab.scan().await, ["HomeNetwork"]);
}

#[tokio::test]
async fn an_older_networkmanager_is_not_requested_to_scan_with_an_access_point() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().version = "1.36.6";
    assert_eq!(lab.scan().await, ["HomeNetwork"]);
    lab.open().await.expect("a radio that can");
    lab.fake.world().in_the_air.clear();
    lab.fake.world().empty_scans = 1;
    assert_eq!(lab.scan().await, ["HomeNetwork"]);
    assert_eq!(lab.fake.world().script.calls_of("RequestScan"), 1);
}

#[tokio::test]
async fn without_a_folder_for_dns_the_access_point_still_opens() {
    let Some(lab) = Lab::start().await else { return };
    std::fs::remove_dir(lab.dns.path()).expect("an empty folder");
    lab.open().await.expect("a radio that can");
}

#[tokio::test]
async fn an_invalid_network_name_is_refused() {
    let Some(lab) = Lab::start().await else { return };
    assert_eq!(fault(within(lab.network.open_access_point(&"a".repeat(33))).await), Some(Fault::InvalidSsid));
}
