//! The requests of network care.

use std::time::Duration;

use zbus::{Message, Variant};

use super::fake::{AccessPoint, Ip4, Play};
use super::keeping::{foreign, ours};
use super::{Lab, fault, journal, passphrase, ssid, within};
use jarvis_provisioning::network::{Inspection, Maintenance, Network};
use provisioning_core::care::diagnosis::{Address, Association, Radio};
use provisioning_core::care::recovery::Internet;
use provisioning_core::domain::{RadioUse, Ssid};
use provisioning_core::fault::Fault;
use testing::fake::{Fake, Script, Service};

/// The systemd of the node.
#[derive(Default)]
struct Systemd {
    script: Script,
    restarted: Vec<(String, String)>,
}

impl Service for Systemd {
    const NAME: &'static str = "org.freedesktop.systemd1";

    fn script(&mut self) -> &mut Script {
        &mut self.script
    }

    async fn answer(fake: &Fake<Self>, message: Message) {
        fake.world().restarted.push(message.body().deserialize().expect("a unit and a mode"));
        let job = zbus::ObjectPath::try_from("/org/freedesktop/systemd1/job/1").expect("a valid path");
        fake.connection.reply(&message.header(), &job).await.expect("the bus is there");
    }
}

/// A stored network that was used at that time.
fn used(name: &str, seconds: u64) -> super::fake::Settings {
    foreign(name, &[("connection", "timestamp", Variant::from(seconds))])
}

fn names(networks: &[Ssid]) -> Vec<String> {
    networks.iter().map(ToString::to_string).collect()
}

/// The network of the active profile.
fn active(lab: &Lab) -> Option<String> {
    let world = lab.fake.world();
    let (_, profile) = world.active?;
    world.profiles[&profile].text("connection", "id")
}

/// A lab with two stored networks in range, and others that are not to be joined.
async fn with_networks() -> Option<Lab> {
    let lab = Lab::start().await?;
    {
        let mut world = lab.fake.world();
        world.in_the_air = ["HomeNetwork", "Office", "Manual", "Repeater", "Unknown"].map(AccessPoint::wpa2).into();
        world.add_profile(used("Office", 100));
        world.add_profile(used("HomeNetwork", 200));
        world.add_profile(used("Gone", 300));
        world.add_profile(foreign("Manual", &[("connection", "autoconnect", Variant::from(false))]));
        world.add_profile(foreign("Repeater", &[("802-11-wireless", "mode", Variant::from("ap"))]));
    }
    Some(lab)
}

#[tokio::test]
async fn stored_networks_in_range_are_found_the_last_used_first() {
    let Some(lab) = with_networks().await else { return };
    let found = within(lab.network.in_range()).await.expect("a scan");
    assert_eq!((names(&found.networks), found.hears), (vec!["HomeNetwork".into(), "Office".into()], Some(true)));
    lab.fake.world().in_the_air.clear();
    let found = within(lab.network.in_range()).await.expect("a scan");
    assert_eq!((found.networks, found.hears), (vec![], Some(false)));
}

#[tokio::test]
async fn beside_the_hotspot_networks_are_found_and_it_stays_open() {
    let Some(lab) = with_networks().await else { return };
    lab.open().await.expect("a radio that can");
    let found = within(lab.network.in_range()).await.expect("a scan");
    assert_eq!((names(&found.networks), found.hears), (vec!["HomeNetwork".into(), "Office".into()], Some(true)));
    assert!(matches!(*lab.network.radio().borrow(), RadioUse::AccessPoint(_)));
}

#[tokio::test]
async fn a_radio_that_cannot_scan_beside_the_hotspot_may_be_in_range_of_every_network() {
    let Some(lab) = with_networks().await else { return };
    lab.fake.world().version = "1.36.6";
    lab.open().await.expect("a radio that can");
    let found = within(lab.network.in_range()).await.expect("no scan");
    assert_eq!(names(&found.networks), ["Gone", "HomeNetwork", "Office"]);
    assert_eq!(found.hears, None);
}

#[tokio::test]
async fn a_stored_network_is_joined_by_name_or_the_last_used() {
    let Some(lab) = with_networks().await else { return };
    within(lab.network.join_stored(Some(&ssid("Office")))).await.expect("it is stored");
    assert_eq!(active(&lab).as_deref(), Some("Office"));
    within(lab.network.join_stored(None)).await.expect("it is stored");
    assert_eq!(active(&lab).as_deref(), Some("Gone"));
    within(lab.network.join_stored(Some(&ssid("Manual")))).await.expect("a request needs no autoconnect");
    assert_eq!(active(&lab).as_deref(), Some("Manual"));
    assert_eq!(fault(within(lab.network.join_stored(Some(&ssid("Unknown")))).await), Some(Fault::NetworkNotFound));
    let world = lab.fake.world();
    assert_eq!((world.profiles.len(), world.script.calls_of("Update2")), (5, 0), "no profile is changed");
}

#[tokio::test]
async fn a_stored_network_replaces_the_hotspot() {
    let Some(lab) = with_networks().await else { return };
    lab.open().await.expect("a radio that can");
    within(lab.network.join_stored(None)).await.expect("it is stored");
    assert_eq!((active(&lab).as_deref(), lab.dns_files()), (Some("Gone"), 0));
    assert_eq!(*lab.network.radio().borrow(), RadioUse::Idle);
}

#[tokio::test]
async fn a_stored_network_that_refuses_is_left_for_the_previous_one() {
    let Some(lab) = with_networks().await else { return };
    within(lab.network.join_stored(Some(&ssid("HomeNetwork")))).await.expect("it is stored");
    lab.fake.world().plays.push_back(Play::secured(&[(60, 8), (120, 7), (30, 0)]));
    let refused = within(lab.network.join_stored(Some(&ssid("Office")))).await;
    assert_eq!(fault(refused), Some(Fault::WrongPassword));
    within(lab.network.restore()).await.expect("it is in range");
    assert_eq!(active(&lab).as_deref(), Some("HomeNetwork"));
}

#[tokio::test]
async fn after_a_stored_network_worked_a_failed_join_returns_to_it_and_not_to_an_earlier_one() {
    let Some(lab) = with_networks().await else { return };
    within(lab.network.join_stored(Some(&ssid("HomeNetwork")))).await.expect("it is stored");
    lab.open().await.expect("a radio that can");
    within(lab.network.join_stored(Some(&ssid("Office")))).await.expect("it is stored");
    lab.fake.world().plays.push_back(Play::secured(&[(60, 8), (120, 7), (30, 0)]));
    let refused = within(lab.network.join(&ssid("Unknown"), &passphrase("not this one"), false)).await;
    assert_eq!(fault(refused), Some(Fault::WrongPassword));
    within(lab.network.restore()).await.expect("it is in range");
    assert_eq!(active(&lab).as_deref(), Some("Office"));
}

#[tokio::test]
async fn a_supplicant_that_does_not_react_is_told_from_a_network_that_refuses() {
    let Some(lab) = with_networks().await else { return };
    for (reason, hung) in [(10, true), (11, true), (7, false), (53, false)] {
        lab.fake.world().plays.push_back(Play::secured(&[(120, reason), (30, 0)]));
        let error = within(lab.network.join_stored(None)).await.expect_err("a failure");
        assert_eq!(error.hung, hung, "{reason}");
    }
}

#[tokio::test]
async fn the_hotspot_is_closed_and_stays_closed() {
    let Some(lab) = Lab::start().await else { return };
    within(lab.network.close_access_point()).await.expect("there is none");
    lab.open().await.expect("a radio that can");
    within(lab.network.close_access_point()).await.expect("it is open");
    assert_eq!((lab.fake.world().profiles.len(), lab.dns_files()), (0, 0));
    assert_eq!(*lab.network.radio().borrow(), RadioUse::Idle);
    lab.scan().await;
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 1);
}

#[tokio::test]
async fn another_programs_hotspot_is_not_closed() {
    let Some(lab) = with_networks().await else { return };
    {
        let mut world = lab.fake.world();
        let repeater = world.profiles.iter().find(|(_, profile)| profile.text("connection", "id").as_deref() == Some("Repeater"));
        let repeater = *repeater.expect("it is stored").0;
        world.activate(repeater);
    }
    assert_eq!(fault(within(lab.network.close_access_point()).await), Some(Fault::NetworkUnavailable));
    assert_eq!(active(&lab).as_deref(), Some("Repeater"));
}

#[tokio::test]
async fn the_radios_software_is_restarted_by_systemd() {
    let Some(lab) = Lab::start().await else { return };
    let (systemd, _running) = Fake::start(&lab.bus.address(), Systemd::default()).await;
    let restarting = lab.network.restart_radio();
    let effect = async {
        systemd.until("the unit is restarted", |systemd| !systemd.restarted.is_empty()).await;
        lab.fake.play(&[(20, 10), (30, 42)]).await;
    };
    let (restarted, ()) = tokio::join!(within(restarting), effect);
    restarted.expect("the radio can be used again");
    assert_eq!(systemd.world().restarted, [("wpa_supplicant.service".to_owned(), "replace".to_owned())]);
}

#[tokio::test]
async fn a_restart_that_is_not_permitted_names_the_action() {
    let Some(lab) = Lab::start().await else { return };
    let (systemd, _running) = Fake::start(&lab.bus.address(), Systemd::default()).await;
    let denied = testing::fake::Fault::Error("org.freedesktop.DBus.Error.AccessDenied", "Permission denied");
    systemd.world().script.faults.push_back(("RestartUnit", denied));
    let journal = journal(within(lab.network.restart_radio()).await);
    assert!(journal.contains("org.freedesktop.systemd1.manage-units"), "{journal}");
}

#[tokio::test]
async fn stored_networks_are_listed_and_deleted_by_their_names() {
    let Some(lab) = with_networks().await else { return };
    let mine = lab.fake.world().add_profile(ours("Cabin", "6f0d9d4e-0000-4000-8000-000000000001"));
    lab.fake.world().activate(mine);
    let listed = within(lab.network.stored()).await.expect("a list");
    let short: Vec<_> = listed.iter().map(|network| (network.name.as_str(), network.autoconnect, network.active)).collect();
    let expected = [
        ("Gone", true, false),
        ("HomeNetwork", true, false),
        ("Office", true, false),
        ("Manual", false, false),
        ("Cabin", true, true),
    ];
    assert_eq!(short, expected);
    assert_eq!(listed[4].uuid, "6f0d9d4e-0000-4000-8000-000000000001");
    for name in ["Gone", "Cabin"] {
        within(lab.network.delete(name)).await.expect("it is stored");
    }
    assert_eq!(fault(within(lab.network.delete("Gone")).await), Some(Fault::NetworkNotFound));
    assert_eq!(fault(within(lab.network.delete("Repeater")).await), Some(Fault::NetworkNotFound), "it is no network to join");
    let listed = within(lab.network.stored()).await.expect("a list");
    assert_eq!(listed.len(), 3);
}

#[tokio::test]
async fn a_network_that_was_joined_and_not_kept_is_not_stored() {
    let Some(lab) = Lab::start().await else { return };
    lab.join("HomeNetwork").await.expect("a good passphrase");
    assert!(within(lab.network.stored()).await.expect("a list").is_empty());
    assert_eq!(fault(within(lab.network.delete("HomeNetwork")).await), Some(Fault::NetworkNotFound));
}

/// Inspects until the adapter has received a signal, and what it sees fits.
async fn until(lab: &Lab, fits: impl Fn(&Inspection) -> bool) -> Inspection {
    loop {
        let seen = lab.network.inspect().await;
        if fits(&seen) {
            return seen;
        }
        tokio::task::yield_now().await;
    }
}

/// Joins a network, and inspects it until the signals of the join have arrived.
async fn inspected(lab: &Lab) -> Inspection {
    lab.join("HomeNetwork").await.expect("a good passphrase");
    lab.fake.world().ip4 = Some(Ip4 { address: "192.168.1.20", gateway: "192.168.1.1", servers: vec![] });
    within(async {
        loop {
            let seen = lab.network.inspect().await;
            let before = calls(lab);
            if lab.network.inspect().await == seen && calls(lab) == before {
                return seen;
            }
        }
    })
    .await
}

fn calls(lab: &Lab) -> usize {
    lab.fake.world().script.calls.len()
}

#[tokio::test]
async fn while_nothing_has_changed_an_inspection_calls_nothing() {
    let Some(lab) = Lab::start().await else { return };
    let seen = inspected(&lab).await;
    assert_eq!(seen.address, Address::Assigned("192.168.1.20/24".into()));
    lab.fake.world().ip4 = None;
    lab.fake.properties_changed("org.freedesktop.NetworkManager.IP4Config").await;
    let seen = within(until(&lab, |seen| seen.address == Address::None)).await;
    assert_eq!(seen.joined, Some(ssid("HomeNetwork")), "a lease that was not renewed");
    lab.fake.leave().await;
    within(until(&lab, |seen| seen.radio == Radio::ServiceAbsent)).await;
}

/// Time passes for the adapter, and not for the bus.
async fn later() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_mins(10)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn after_ten_minutes_one_call_shows_that_networkmanager_answers() {
    let Some(lab) = Lab::start().await else { return };
    let seen = inspected(&lab).await;
    let before = calls(&lab);
    for renewals in 1..3 {
        later().await;
        for _ in 0..2 {
            assert_eq!(within(lab.network.inspect()).await, seen);
            assert_eq!(calls(&lab), before + renewals);
        }
    }
    let hangs = testing::fake::Fault::Error("org.freedesktop.DBus.Error.NoReply", "it hangs");
    lab.fake.world().script.faults.push_back(("GetAll", hangs));
    later().await;
    let seen = within(lab.network.inspect()).await;
    assert!(matches!(seen.radio, Radio::ServiceSilent(_)), "{seen:?}");
}

#[tokio::test]
async fn an_inspection_sees_radio_network_address_and_internet() {
    let Some(lab) = Lab::start().await else { return };
    let seen = within(lab.network.inspect()).await;
    assert_eq!((&seen.radio, &seen.association), (&Radio::Ready("wlan0".into()), &Association::None));
    lab.join("HomeNetwork").await.expect("a good passphrase");
    lab.fake.world().ip4 = Some(Ip4 { address: "192.168.1.20", gateway: "192.168.1.1", servers: vec!["192.168.1.1"] });
    for (connectivity, internet) in [
        (None, Internet::Unknown),
        (Some(0), Internet::Unknown),
        (Some(1), Internet::None),
        (Some(2), Internet::Portal),
        (Some(3), Internet::Limited),
        (Some(4), Internet::Full),
        (Some(5), Internet::Unknown),
    ] {
        lab.fake.world().connectivity = connectivity;
        lab.fake.properties_changed(super::fake::SERVICE).await;
        let seen = within(until(&lab, |seen| seen.internet == internet)).await;
        assert_eq!((seen.internet, seen.joined.as_ref()), (internet, Some(&ssid("HomeNetwork"))), "{connectivity:?}");
        assert_eq!((seen.address, seen.phones), (Address::Assigned("192.168.1.20/24".into()), None));
        assert_eq!(seen.profile.as_deref(), Some("HomeNetwork"), "the name by which it is saved");
    }
    let office = lab.fake.world().add_profile(foreign("Office", &[("connection", "id", Variant::from("my work"))]));
    lab.fake.world().activate(office);
    lab.fake.properties_changed("org.freedesktop.NetworkManager.Device").await;
    let seen = within(until(&lab, |seen| seen.profile.as_deref() == Some("my work"))).await;
    assert_eq!(seen.profile.as_deref(), Some("my work"));
    lab.open().await.expect("a radio that can");
    let seen = within(lab.network.inspect()).await;
    assert_eq!((seen.association, seen.joined, seen.phones), (Association::Hotspot, None, Some(0)));
    assert_eq!(lab.fake.world().script.calls_of("CheckConnectivity"), 0, "an inspection sends nothing");
}

#[tokio::test]
async fn an_inspection_without_networkmanager_or_adapter_says_so() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.remove_device().await;
    assert_eq!(within(lab.network.inspect()).await.radio, Radio::Missing);
    lab.fake.leave().await;
    assert_eq!(within(lab.network.inspect()).await.radio, Radio::ServiceAbsent);
    lab.fake.come_back().await;
    lab.fake.world().present = true;
    assert_eq!(within(lab.network.inspect()).await.radio, Radio::Ready("wlan0".into()));
}
