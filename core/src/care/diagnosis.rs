//! What is wrong with the node's network.
//!
//! [`diagnose`] turns [`Evidence`] into one [`Finding`] for each [`Layer`], from the radio to the command center. A layer is
//! *ok* if there is evidence for it, *failed* if it is the first one in its way that does not work, and *not reached* if a layer
//! below it has failed, or this user may not check it, so that nothing can be said about it. So the failed layers are the ones to
//! repair.

mod evidence;
mod seen;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

pub use evidence::{Address, Association, Clock, CommandCenter, Dns, Evidence, Gateway, Internet, Radio};
use seen::{Seen, see};

/// A layer, from the bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The Wi-Fi adapter and its software.
    Radio,
    /// The connection to an access point, or a cable.
    Association,
    /// An IPv4 address.
    Address,
    /// The router.
    Gateway,
    /// The resolution of names.
    Dns,
    /// Servers on the internet.
    Internet,
    /// The node's clock.
    Clock,
    /// The command center that the node is registered with.
    CommandCenter,
}

impl Layer {
    /// All of them, from the bottom.
    pub const ALL: [Self; 8] = [
        Self::Radio,
        Self::Association,
        Self::Address,
        Self::Gateway,
        Self::Dns,
        Self::Internet,
        Self::Clock,
        Self::CommandCenter,
    ];

    /// The name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Radio => "radio",
            Self::Association => "association",
            Self::Address => "address",
            Self::Gateway => "gateway",
            Self::Dns => "dns",
            Self::Internet => "internet",
            Self::Clock => "clock",
            Self::CommandCenter => "command_center",
        }
    }

    /// The layers without which this one cannot work.
    const fn needs(self, evidence: &Evidence) -> &'static [Self] {
        match self {
            Self::Radio => &[],
            Self::Association => &[Self::Radio],
            Self::Address => &[Self::Association],
            Self::Gateway => &[Self::Address],
            // A server in the node's own network needs no gateway.
            Self::Dns => &[Self::Address, Self::Gateway],
            Self::Internet | Self::Clock => &[Self::Dns, Self::Gateway],
            Self::CommandCenter if evidence.command_center_is_near => &[Self::Address, Self::Clock],
            Self::CommandCenter => &[Self::Internet, Self::Clock],
        }
    }
}

/// What was found out about a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Ok,
    /// It does not work, and everything that it needs does.
    Failed,
    /// Something that it needs does not work, or this user may not check it.
    NotReached,
}

impl Verdict {
    /// The name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::NotReached => "not_reached",
        }
    }
}

/// The diagnosis of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The layer.
    pub layer: Layer,
    /// Whether it works.
    pub verdict: Verdict,
    /// What was seen, for people.
    pub evidence: String,
    /// What to do, for people; only if it has failed, or to check what this user may not.
    pub advice: Option<Cow<'static, str>>,
}

/// Diagnoses all layers, from the bottom.
pub fn diagnose(evidence: &Evidence) -> [Finding; 8] {
    let mut verdicts: Vec<(Layer, Verdict)> = Vec::new();
    Layer::ALL.map(|layer| {
        let Seen { works, evidence: text, advice } = see(layer, evidence);
        let is_ok = |needed: &Layer| verdicts.contains(&(*needed, Verdict::Ok));
        let is_reached = layer.needs(evidence).iter().all(is_ok) || is_local_fault(layer, evidence);
        let verdict = match works {
            Some(true) => Verdict::Ok,
            Some(false) if is_reached => Verdict::Failed,
            _ => Verdict::NotReached,
        };
        verdicts.push((layer, verdict));
        Finding { layer, verdict, evidence: text, advice: advice.filter(|_| is_reached) }
    })
}

/// A clock before the release of the program is wrong with or without a network.
const fn is_local_fault(layer: Layer, evidence: &Evidence) -> bool {
    matches!(layer, Layer::Clock) && evidence.clock.behind_release.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    /// Everything works.
    fn good() -> Evidence {
        Evidence {
            radio: Radio::Ready("wlan0".into()),
            association: Association::Joined { network: "home".into(), signal: Some(70) },
            address: Address::Assigned("192.168.1.20/24".into()),
            gateway: Gateway::Answers("192.168.1.1".into(), "answers"),
            dns: Dns::Resolves { server: "192.168.1.1".into(), name: "example.com".into() },
            internet: Internet::Reached("by NetworkManager's check".into()),
            clock: Clock { synchronized: Some(true), behind_release: None },
            command_center: CommandCenter::Healthy("https://center.example".into()),
            command_center_is_near: false,
        }
    }

    /// Nothing works above the radio.
    fn nothing() -> Evidence {
        Evidence {
            radio: Radio::Ready("wlan0".into()),
            association: Association::None,
            address: Address::None,
            gateway: Gateway::None,
            dns: Dns::NoServer,
            internet: Internet::Unchecked,
            clock: Clock { synchronized: Some(false), behind_release: None },
            command_center: CommandCenter::Unhealthy("https://center.example".into(), "no route".into()),
            command_center_is_near: false,
        }
    }

    /// One letter for each layer: ok, failed, or not reached.
    fn verdicts(evidence: &Evidence) -> String {
        let letter = |finding: Finding| match finding.verdict {
            Verdict::Ok => 'o',
            Verdict::Failed => 'F',
            Verdict::NotReached => '-',
        };
        diagnose(evidence).map(letter).into_iter().collect()
    }

    #[test]
    fn the_lowest_broken_layer_has_failed_and_those_above_it_are_not_reached() {
        let (good, mut evidence) = (good(), nothing());
        assert_eq!(verdicts(&good), "oooooooo");
        assert_eq!(verdicts(&evidence), "oF------");
        evidence.radio = Radio::SoftBlocked;
        assert_eq!(verdicts(&evidence), "F-------");
        evidence.radio = good.radio;
        evidence.association = good.association;
        assert_eq!(verdicts(&evidence), "ooF-----");
        evidence.address = good.address;
        assert_eq!(verdicts(&evidence), "oooF----");
        evidence.gateway = good.gateway;
        assert_eq!(verdicts(&evidence), "ooooF---");
        evidence.dns = good.dns;
        assert_eq!(verdicts(&evidence), "oooooFF-");
        evidence.internet = good.internet;
        assert_eq!(verdicts(&evidence), "ooooooF-");
        evidence.clock = good.clock;
        assert_eq!(verdicts(&evidence), "oooooooF");
    }

    #[test]
    fn a_layer_that_works_is_ok_whatever_is_below_it() {
        let evidence = Evidence { gateway: Gateway::Silent("192.168.1.1".into()), ..good() };
        assert_eq!(verdicts(&evidence), "oooFoooo");
    }

    #[test]
    fn a_command_center_in_the_network_needs_no_internet() {
        let broken = Evidence {
            internet: Internet::Unreachable("example.com".into(), "timed out".into()),
            command_center: CommandCenter::Unhealthy("http://192.168.1.5:7703".into(), "refused".into()),
            ..good()
        };
        assert_eq!(verdicts(&broken), "oooooFo-");
        assert_eq!(verdicts(&Evidence { command_center_is_near: true, ..broken }), "oooooFoF");
    }

    #[test]
    fn a_command_center_that_this_user_may_not_know_has_not_failed() {
        let unreadable = Evidence { command_center: CommandCenter::Unreadable, ..good() };
        assert_eq!(verdicts(&unreadable), "ooooooo-");
        let advice = |evidence: &Evidence| diagnose(evidence)[7].advice.clone();
        assert!(advice(&unreadable).is_some_and(|advice| advice.contains("sudo")));
        let lost = Evidence { command_center: CommandCenter::Unreadable, ..nothing() };
        assert_eq!((verdicts(&lost).as_str(), advice(&lost)), ("oF------", None));
    }

    #[test]
    fn a_clock_before_the_release_has_failed_with_and_without_a_network() {
        let clock = Clock { synchronized: Some(false), behind_release: Some(40 * 365 * 86_400) };
        assert_eq!(verdicts(&Evidence { clock, ..nothing() }), "oF----F-");
        let findings = diagnose(&Evidence { clock, ..good() });
        assert!(findings[6].evidence.contains("40 years"), "{findings:?}");
    }

    #[test]
    fn a_clock_of_unknown_synchronization_is_ok_if_it_is_plausible() {
        let clock = Clock { synchronized: None, behind_release: None };
        assert_eq!(verdicts(&Evidence { clock, ..good() }), "oooooooo");
    }

    #[test]
    fn a_node_with_a_cable_needs_no_radio() {
        let evidence = Evidence { radio: Radio::Missing, association: Association::Cable("eth0".into()), ..good() };
        assert_eq!(verdicts(&evidence), "oooooooo");
    }

    #[test]
    fn a_failed_layer_has_advice_and_the_others_have_none() {
        for evidence in [good(), nothing(), Evidence { dns: Dns::Silent(alloc::vec!["192.168.1.1".into()]), ..good() }] {
            for finding in diagnose(&evidence) {
                assert!(!finding.evidence.is_empty());
                assert_eq!(finding.advice.is_some(), finding.verdict == Verdict::Failed, "{finding:?}");
            }
        }
    }

    /// Each kind of failure, one at a time.
    fn failures() -> Vec<Evidence> {
        let text = || String::from("x");
        let radios = [
            Radio::Missing,
            Radio::SoftBlocked,
            Radio::HardBlocked,
            Radio::Unmanaged(text()),
            Radio::NoFirmware(text()),
            Radio::Unavailable(text()),
            Radio::ServiceAbsent,
            Radio::ServiceSilent(text()),
        ];
        let associations = [Association::Joining(text()), Association::Hotspot, Association::None];
        let resolvers = [
            Dns::Lies { server: text(), name: text(), address: text() },
            Dns::Refuses { server: text(), name: text(), error: text() },
            Dns::Silent(Vec::new()),
            Dns::NoServer,
        ];
        let internets = [Internet::Portal(text()), Internet::Unreachable(text(), text()), Internet::Unchecked];
        let clocks = [(None, Some(1)), (Some(false), None)];
        let centers = [CommandCenter::Unhealthy(text(), text()), CommandCenter::NotConfigured, CommandCenter::Unreadable];
        let mut failures: Vec<_> = radios.map(|radio| Evidence { radio, ..good() }).into();
        failures.extend(associations.map(|association| Evidence { association, ..good() }));
        failures.extend([Address::LinkLocal(text()), Address::None].map(|address| Evidence { address, ..good() }));
        failures.extend([Gateway::Silent(text()), Gateway::None].map(|gateway| Evidence { gateway, ..good() }));
        failures.extend(resolvers.map(|dns| Evidence { dns, ..good() }));
        failures.extend(internets.map(|internet| Evidence { internet, ..good() }));
        failures.extend(
            clocks.map(|(synchronized, behind_release)| Evidence { clock: Clock { synchronized, behind_release }, ..good() }),
        );
        failures.extend(centers.map(|command_center| Evidence { command_center, ..good() }));
        failures
    }

    #[test]
    fn the_page_of_network_care_translates_every_advice() {
        let translated: serde_json::Value =
            serde_json::from_str(include_str!("../../../web/page/care/advice.json")).expect("JSON");
        let translated: BTreeSet<&str> = translated.as_object().expect("a table").keys().map(String::as_str).collect();
        let findings: Vec<_> = failures().iter().flat_map(diagnose).collect();
        let given: BTreeSet<&str> = findings.iter().filter_map(|finding| finding.advice.as_deref()).collect();
        assert_eq!(given, translated);
    }

    #[test]
    fn names_of_networks_are_shown_without_control_characters() {
        let association = Association::Joined { network: "<b>\u{1b}[2J\n".into(), signal: None };
        let findings = diagnose(&Evidence { association, ..good() });
        assert!(!findings[1].evidence.contains(char::is_control), "{findings:?}");
    }
}
