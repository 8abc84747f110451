//! Joining: outcomes, retries, and the checks before it.

use zbus::Variant;

use super::fake::{AccessPoint, Play};
use super::{Lab, PASSPHRASE, fault, journal, passphrase, ssid, within};
use jarvis_provisioning::network::Network;
use provisioning_core::domain::Security;
use provisioning_core::fault::Fault;

/// A key in place of a password.
const KEY: &str = "3b4f7c0d9e2a6185b4f7c0d9e2a6185b4f7c0d9e2a6185b4f7c0d9e2a61853b4";

/// The value of a number in the profile that was added last.
fn number(lab: &Lab, section: &str, name: &str) -> Option<i32> {
    let world = lab.fake.world();
    let settings = world.added.last()?.get(section)?;
    settings.get(name).and_then(|value| i32::try_from(value).ok())
}

#[tokio::test]
async fn a_mixed_network_whose_wpa3_fails_is_joined_with_wpa2_and_stays_so() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().version = "1.56.0";
    lab.fake.world().in_the_air.push(AccessPoint::new("Mixed", 0x588));
    lab.fake.world().plays.extend([Play::secured(&[(120, 53), (30, 0)]), Play::good()]);
    lab.join("Mixed").await.expect("the second way works");
    within(lab.network.keep()).await.expect("it is joined");
    assert_eq!(number(&lab, "802-11-wireless-security", "pmf"), Some(1));
    let world = lab.fake.world();
    let profile = world.profiles.values().next().expect("the kept network");
    assert!(profile.has("802-11-wireless-security", "pmf"));
}

#[tokio::test]
async fn a_version_that_cannot_leave_out_wpa3_is_not_asked_twice() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().in_the_air.push(AccessPoint::new("Mixed", 0x588));
    lab.fake.world().plays.push_back(Play::secured(&[(120, 53), (30, 0)]));
    assert_eq!(fault(lab.join("Mixed").await), Some(Fault::ProbablyWrongPassword));
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 1);
}

#[tokio::test]
async fn a_key_is_no_password_where_wpa3_comes_first() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().in_the_air.push(AccessPoint::new("Mixed", 0x588));
    lab.fake.world().plays.push_back(Play::secured(&[(120, 53), (30, 0)]));
    let refused = within(lab.network.join(&ssid("Mixed"), &passphrase(KEY), false)).await;
    assert_eq!(fault(refused), Some(Fault::Wpa3NeedsPassword));
    assert_eq!(number(&lab, "802-11-wireless-security", "pmf"), Some(1), "a newer NetworkManager leaves out WPA3");
}

#[tokio::test]
async fn the_other_station_of_a_name_is_tried_and_not_stored() {
    let Some(lab) = Lab::start().await else { return };
    let twin = AccessPoint { bssid: "02:00:00:00:00:0B".into(), strength: 40, ..AccessPoint::wpa2("HomeNetwork") };
    lab.fake.world().in_the_air.push(twin);
    lab.fake.world().plays.extend([Play::secured(&[(120, 53), (30, 0)]), Play::good()]);
    lab.join("HomeNetwork").await.expect("the other one lets it in");
    let bssid = lab
        .fake
        .world()
        .added
        .last()
        .and_then(|settings| Vec::<u8>::try_from(settings["802-11-wireless"].get("bssid")?.try_clone().ok()?).ok());
    assert_eq!(bssid, Some(vec![2, 0, 0, 0, 0, 0x0b]));
    within(lab.network.keep()).await.expect("it is joined");
    let world = lab.fake.world();
    assert!(!world.profiles.values().next().expect("the kept network").has("802-11-wireless", "bssid"));
}

#[tokio::test]
async fn a_network_with_an_unknown_key_management_is_tried_as_a_hidden_one() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().in_the_air.push(AccessPoint::new("Sha256", 0x88));
    lab.join("Sha256").await.expect("NetworkManager can join it");
    let world = lab.fake.world();
    assert!(world.profiles.values().all(|profile| profile.has("802-11-wireless", "hidden")));
}

#[tokio::test]
async fn an_unseen_hidden_network_is_tried_with_wpa3_as_well() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().plays.extend([Play::secured(&[(120, 53), (30, 0)]), Play::good()]);
    within(lab.network.join(&ssid("Cellar"), &passphrase(PASSPHRASE), true)).await.expect("the second way works");
    let world = lab.fake.world();
    let profile = world.profiles.values().next().expect("the joined network");
    assert_eq!(profile.text("802-11-wireless-security", "key-mgmt").as_deref(), Some("sae"));
}

#[tokio::test]
async fn a_network_is_joined_with_a_volatile_a_volatile_profile() {
    let Some(lab) = Lab::start().await else { return };
    let joined = lab.join("HomeNetwork").await.expect("a good passphrase");
    assert!(!joined.limited_connectivity);
    let world = lab.fake.world();
    let profiles: Vec<_> = world.profiles.values().collect();
    assert_eq!(profiles.len(), 1);
    assert_eq!((profiles[0].flags, &profiles[0].bound_to), (5, &None));
    for (section, name, value) in [
        ("connection", "id", "jarvis-HomeNetwork"),
        ("802-11-wireless", "mode", "infrastructure"),
        ("802-11-wireless-security", "key-mgmt", "wpa-psk"),
        ("802-11-wireless-security", "psk", PASSPHRASE),
    ] {
        assert_eq!(profiles[0].text(section, name).as_deref(), Some(value), "{section}.{name}");
    }
}

#[tokio::test]
async fn every_failure_has_its_fault_and_leaves_no_profile() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().in_the_air.extend([AccessPoint::new("Third", 0x488), AccessPoint::new("Mixed", 0x588)]);
    for (name, rest, expected) in [
        ("HomeNetwork", &[(60, 8), (120, 7), (30, 0)][..], Fault::WrongPassword),
        ("Third", &[(120, 53), (30, 0)], Fault::ProbablyWrongPassword),
        ("Mixed", &[(120, 53), (30, 0)], Fault::ProbablyWrongPassword),
        ("Mixed", &[(60, 8), (120, 7), (30, 0)], Fault::WrongPassword),
        ("HomeNetwork", &[(70, 0), (120, 5), (30, 0)], Fault::NoAddress),
        ("HomeNetwork", &[(120, 9), (30, 0)], Fault::UnsupportedSecurity),
    ] {
        lab.fake.world().plays.push_back(Play::secured(rest));
        assert_eq!(fault(lab.join(name).await), Some(expected), "{name} {rest:?}");
        assert!(lab.fake.world().profiles.is_empty(), "{name} {rest:?}");
    }
}

#[tokio::test]
async fn an_activation_that_fails_before_its_call_is_answered_has_its_fault() {
    let Some(lab) = Lab::start().await else { return };
    let play = Play::secured(&[(60, 8), (120, 7), (30, 0)]);
    lab.fake.world().plays.push_back(Play { before_answer: true, ..play });
    assert_eq!(fault(lab.join("HomeNetwork").await), Some(Fault::WrongPassword));
}

#[tokio::test]
async fn a_failed_association_is_retried_once() {
    let Some(lab) = Lab::start().await else { return };
    let failing = Play::secured(&[(120, 53), (30, 0)]);
    lab.fake.world().plays.extend([failing.clone(), Play::good()]);
    assert!(lab.join("HomeNetwork").await.is_ok());
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 2);

    lab.fake.world().plays.extend([failing.clone(), failing]);
    assert_eq!(fault(lab.join("HomeNetwork").await), Some(Fault::AssociationFailed));
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 4);
}

#[tokio::test]
async fn a_wrong_password_is_not_retried() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().plays.push_back(Play::secured(&[(60, 8), (120, 7), (30, 0)]));
    assert_eq!(fault(lab.join("HomeNetwork").await), Some(Fault::WrongPassword));
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 1);
}

#[tokio::test]
async fn an_absent_network_is_refused_without_switching_the_radio() {
    let Some(lab) = Lab::start().await else { return };
    assert_eq!(fault(lab.join("HomeNetwrok").await), Some(Fault::NetworkNotFound));
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 0);
}

#[tokio::test]
async fn with_an_empty_list_a_join_is_tried_without_a_check() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().in_the_air.clear();
    lab.fake.world().plays.push_back(Play::secured(&[(120, 53), (30, 0)]));
    assert_eq!(fault(lab.join("HomeNetwork").await), Some(Fault::NetworkNotFound));
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 1);
}

#[tokio::test]
async fn a_hidden_network_is_probed_by_name_and_kept_as_hidden() {
    let Some(lab) = Lab::start().await else { return };
    let hidden = AccessPoint { hidden: true, ..AccessPoint::new("Cellar", 0x488) };
    lab.fake.world().in_the_air.push(hidden);
    for hidden in [true, false] {
        within(lab.network.join(&ssid("Cellar"), &passphrase(PASSPHRASE), hidden)).await.expect("it answers to its name");
        let world = lab.fake.world();
        let profile = world.profiles.values().next().expect("the joined network");
        assert!(profile.has("802-11-wireless", "hidden"));
        assert_eq!(profile.text("802-11-wireless-security", "key-mgmt").as_deref(), Some("sae"));
    }
}

#[tokio::test]
async fn a_hidden_network_that_was_joined_is_not_listed() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().in_the_air.push(AccessPoint { hidden: true, ..AccessPoint::wpa2("Cellar") });
    within(lab.network.join(&ssid("Cellar"), &passphrase(PASSPHRASE), true)).await.expect("it answers to its name");
    assert!(lab.fake.world().listed.iter().any(|station| station.ssid == b"Cellar"), "NetworkManager has its name");
    assert_eq!(lab.scan().await, ["HomeNetwork"]);
    assert!(lab.fake.world().listed.iter().any(|station| station.ssid == b"Cellar"), "NetworkManager keeps its name");
}

#[tokio::test]
async fn a_recent_scan_is_used_and_an_old_one_is_not() {
    let Some(lab) = Lab::start().await else { return };
    lab.scan().await;
    lab.join("HomeNetwork").await.expect("a good passphrase");
    assert_eq!(lab.fake.world().script.calls_of("RequestScan"), 1);
    lab.fake.world().last_scan -= 60_000;
    lab.join("HomeNetwork").await.expect("a good passphrase");
    assert_eq!(lab.fake.world().script.calls_of("RequestScan"), 2);
}

#[tokio::test]
async fn invalid_credentials_are_refused_without_using_the_radio() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().in_the_air.extend([
        AccessPoint { flags: 1, ..AccessPoint::new("Old", 0) },
        AccessPoint::new("Office", 0x288),
        AccessPoint::new("Third", 0x488),
        AccessPoint::new("Cafe", 0),
    ]);
    for (name, text, expected) in [
        ("HomeNetwork", "1234567", Fault::InvalidPassphrase),
        ("HomeNetwork", "", Fault::InvalidPassphrase),
        ("Old", PASSPHRASE, Fault::OutdatedSecurity),
        ("Third", KEY, Fault::Wpa3NeedsPassword),
        ("Office", PASSPHRASE, Fault::UnsupportedSecurity),
        ("Cafe", PASSPHRASE, Fault::WrongPassword),
    ] {
        let result = within(lab.network.join(&ssid(name), &passphrase(text), false)).await;
        assert_eq!(fault(result), Some(expected), "{name} with {text:?}");
    }
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 0);
}

#[tokio::test]
async fn an_open_network_is_joined_without_a_security_section() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().in_the_air.push(AccessPoint::new("Cafe", 0));
    within(lab.network.join(&ssid("Cafe"), &passphrase(""), false)).await.expect("it is open");
    let world = lab.fake.world();
    assert!(world.profiles.values().all(|profile| !profile.settings.contains_key("802-11-wireless-security")));
}

#[tokio::test]
async fn a_captive_portal_is_reported_and_the_join_succeeds() {
    let Some(lab) = Lab::start().await else { return };
    for (connectivity, limited) in
        [(Some(2), true), (Some(3), true), (Some(4), false), (Some(0), false), (Some(9), false), (None, false)]
    {
        lab.fake.world().connectivity = connectivity;
        let joined = lab.join("HomeNetwork").await.expect("a good passphrase");
        assert_eq!(joined.limited_connectivity, limited, "{connectivity:?}");
    }
}

#[tokio::test]
async fn unknown_states_and_reasons_are_ignored() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().plays.push_back(Play::secured(&[(75, 4711), (70, 9999), (130, 0), (100, 0)]));
    assert!(lab.join("HomeNetwork").await.is_ok());
    let unknown = Play::secured(&[(120, 4711), (30, 0)]);
    lab.fake.world().plays.extend([unknown.clone(), unknown]);
    let error = journal(lab.join("HomeNetwork").await);
    assert!(error.contains("reason (4711)"), "{error}");
}

#[tokio::test]
async fn a_join_fails_if_another_program_takes_the_radio() {
    let Some(lab) = Lab::start().await else { return };
    let foreign = lab.fake.world().add_profile(super::keeping::foreign("Other", &[]));
    lab.fake.world().plays.push_back(Play::secured(&[]));
    let joining = lab.join("HomeNetwork");
    let interrupting = async {
        lab.fake.until("the join is under way", |world| world.state == 50 && world.active.is_some()).await;
        lab.fake.world().activate(foreign);
        lab.fake.play(&[(110, 60), (30, 60), (40, 0)]).await;
    };
    let (joined, ()) = tokio::join!(joining, interrupting);
    assert_eq!(fault(joined), Some(Fault::AssociationFailed));
}

#[tokio::test]
async fn a_scan_lists_networks_with_strength_and_protection() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().in_the_air = vec![
        AccessPoint { strength: 75, ..AccessPoint::new("Mixed", 0x588) },
        AccessPoint { age: 90, ..AccessPoint::wpa2("Gone") },
        AccessPoint { hidden: true, ..AccessPoint::wpa2("Hidden") },
        AccessPoint { ssid: vec![0xff, 0x00, 0x27], ..AccessPoint::wpa2("odd") },
        AccessPoint { bssid: "02:00:00:00:00:00".into(), strength: 0, ..AccessPoint::wpa2("jarvis-5b91b661") },
    ];
    let networks = within(lab.network.scan()).await.expect("a scan");
    let shown: Vec<_> = networks.iter().map(|network| (network.ssid.as_bytes(), network.signal, network.security)).collect();
    assert_eq!(shown, [(&b"Mixed"[..], -45, Security::Wpa2Wpa3), (&[0xff, 0x00, 0x27], -48, Security::Wpa2)]);
}

#[tokio::test]
async fn a_scan_without_results_is_repeated_once() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().empty_scans = 1;
    assert_eq!(lab.scan().await, ["HomeNetwork"]);
    lab.fake.world().empty_scans = 2;
    assert_eq!(lab.scan().await, [""; 0]);
}

#[tokio::test]
async fn a_factory_default_name_is_not_tied_to_one_router() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().in_the_air.push(AccessPoint::wpa2("linksys"));
    lab.fake.world().completes_with =
        vec![("bssid", Variant::from(vec![2_u8; 6]).try_into_owned().expect("no file descriptors"))];
    lab.join("linksys").await.expect("a good passphrase");
    within(lab.network.keep()).await.expect("it is joined");
    let world = lab.fake.world();
    let profile = world.profiles.values().next().expect("the kept network");
    assert!(!profile.has("802-11-wireless", "bssid"));
    assert_eq!(profile.text("802-11-wireless-security", "psk").as_deref(), Some(PASSPHRASE));
}
