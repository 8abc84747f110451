//! What is wrong with the node's network.
//!
//! [`diagnose`] turns [`Evidence`] into one [`Finding`] for each [`Layer`], from the radio to the command center. A layer is
//! *ok* if there is evidence for it, *failed* if it is the first one in its way that does not work, and *not reached* if a layer
//! below it has failed, so that nothing can be said about it. So the failed layers are the ones to repair.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

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
    /// Something that it needs does not work.
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
    /// What to do, for people; only if it has failed.
    pub advice: Option<Cow<'static, str>>,
}

/// What was collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The Wi-Fi adapter.
    pub radio: Radio,
    /// The connection.
    pub association: Association,
    /// The address.
    pub address: Address,
    /// The router.
    pub gateway: Gateway,
    /// The resolution of names.
    pub dns: Dns,
    /// Servers on the internet.
    pub internet: Internet,
    /// The clock.
    pub clock: Clock,
    /// The command center.
    pub command_center: CommandCenter,
    /// The command center is in the node's network, so that it needs no internet.
    pub command_center_is_near: bool,
}

/// Evidence about the Wi-Fi adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Radio {
    /// It can be used; its interface.
    Ready(String),
    /// There is none, or another one than the settings name.
    Missing,
    /// Switched off by software.
    SoftBlocked,
    /// Switched off by a hardware switch.
    HardBlocked,
    /// NetworkManager does not manage it.
    Unmanaged(String),
    /// Its firmware is missing.
    NoFirmware(String),
    /// Its supplicant does not run, or no country is set.
    Unavailable(String),
    /// NetworkManager does not run.
    ServiceAbsent,
    /// NetworkManager runs, and does not answer; why.
    ServiceSilent(String),
    /// There is none; it is simulated.
    Simulated,
}

/// Evidence about the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Association {
    /// In this network.
    Joined {
        /// The network's name.
        network: String,
        /// The strength of its signal, percent, if known.
        signal: Option<u8>,
    },
    /// By this interface, which is not Wi-Fi.
    Cable(String),
    /// Connecting; NetworkManager's name of the state.
    Joining(String),
    /// The setup hotspot is open in place of a connection.
    Hotspot,
    /// There is none.
    None,
}

/// Evidence about the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// This one.
    Assigned(String),
    /// One that the node made itself, because no server assigned one.
    LinkLocal(String),
    /// There is none.
    None,
}

/// Evidence about the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// It has answered; its address, and how.
    Answers(String, &'static str),
    /// It has not; its address.
    Silent(String),
    /// There is none.
    None,
}

/// Evidence about the resolution of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dns {
    /// A server has resolved a name.
    Resolves {
        /// The server's address.
        server: String,
        /// The name.
        name: String,
    },
    /// A server gives addresses for names that do not exist.
    Lies {
        /// The server's address.
        server: String,
        /// The name.
        name: String,
        /// The address that it gave.
        address: String,
    },
    /// The servers have answered with an error, such as `NXDOMAIN` or `SERVFAIL`.
    Refuses {
        /// The server's address.
        server: String,
        /// The name.
        name: String,
        /// The error.
        error: String,
    },
    /// No server has answered; their addresses.
    Silent(Vec<String>),
    /// No server is configured.
    NoServer,
}

/// Evidence about the internet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Internet {
    /// A server has given the expected answer; which one, or NetworkManager's check.
    Reached(String),
    /// Another answer than expected came from there.
    Portal(String),
    /// There was no answer; from where, and why.
    Unreachable(String, String),
    /// It could not be checked, because the name of the server was not resolved.
    Unchecked,
}

/// Evidence about the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// It was set by a time server; none if unknown.
    pub synchronized: Option<bool>,
    /// Seconds by which it is before the release of this program, which it cannot be.
    pub behind_release: Option<u64>,
}

/// Evidence about the command center.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandCenter {
    /// It is healthy; its address.
    Healthy(String),
    /// It is not; its address, and why.
    Unhealthy(String, String),
    /// The node is not registered with one.
    NotConfigured,
    /// Its address is in a file that this user may not read.
    Unreadable,
}

/// Diagnoses all layers, from the bottom.
pub fn diagnose(evidence: &Evidence) -> [Finding; 8] {
    let mut verdicts: Vec<(Layer, Verdict)> = Vec::new();
    Layer::ALL.map(|layer| {
        let Seen { works, evidence: text, advice } = see(layer, evidence);
        let is_ok = |needed: &Layer| verdicts.contains(&(*needed, Verdict::Ok));
        let verdict = if works {
            Verdict::Ok
        } else if layer.needs(evidence).iter().all(is_ok) || is_local_fault(layer, evidence) {
            Verdict::Failed
        } else {
            Verdict::NotReached
        };
        verdicts.push((layer, verdict));
        Finding { layer, verdict, evidence: text, advice: advice.filter(|_| verdict == Verdict::Failed) }
    })
}

/// A clock before the release of the program is wrong with or without a network.
const fn is_local_fault(layer: Layer, evidence: &Evidence) -> bool {
    matches!(layer, Layer::Clock) && evidence.clock.behind_release.is_some()
}

/// What the evidence says about a layer by itself.
struct Seen {
    works: bool,
    evidence: String,
    advice: Option<Cow<'static, str>>,
}

fn works(evidence: impl Into<String>) -> Seen {
    Seen { works: true, evidence: evidence.into(), advice: None }
}

fn fails(evidence: impl Into<String>, advice: impl Into<Cow<'static, str>>) -> Seen {
    Seen { works: false, evidence: evidence.into(), advice: Some(advice.into()) }
}

fn see(layer: Layer, evidence: &Evidence) -> Seen {
    match layer {
        Layer::Radio => see_radio(evidence),
        Layer::Association => see_association(&evidence.association),
        Layer::Address => see_address(&evidence.address),
        Layer::Gateway => see_gateway(&evidence.gateway),
        Layer::Dns => see_dns(&evidence.dns),
        Layer::Internet => see_internet(&evidence.internet),
        Layer::Clock => see_clock(evidence.clock),
        Layer::CommandCenter => see_command_center(&evidence.command_center),
    }
}

fn see_radio(evidence: &Evidence) -> Seen {
    if let (Association::Cable(cable), false) = (&evidence.association, matches!(evidence.radio, Radio::Ready(_))) {
        return works(format!("not needed: the device is connected by {cable}"));
    }
    match &evidence.radio {
        Radio::Ready(interface) => works(format!("{interface} is ready")),
        Radio::Simulated => works("simulated"),
        Radio::Missing => fails(
            "there is no Wi-Fi adapter",
            "Plug in the adapter; if it is there, see `dmesg` for its driver, and the setting `interface`.",
        ),
        Radio::SoftBlocked => fails(
            "the radio is switched off by software",
            "Set the Wi-Fi country (on Raspberry Pi OS: raspi-config), then run `rfkill unblock wifi`.",
        ),
        Radio::HardBlocked => fails("the radio is switched off by a switch", "Switch it on at the device."),
        Radio::Unmanaged(interface) => fails(
            format!("NetworkManager does not manage {interface}"),
            "Remove it from `unmanaged-devices` in NetworkManager's configuration, or run `nmcli device set`.",
        ),
        Radio::NoFirmware(interface) => {
            fails(format!("{interface} has no firmware"), "Install the package with the adapter's firmware, and restart.")
        }
        Radio::Unavailable(interface) => fails(
            format!("{interface} is not available"),
            "Run `systemctl restart wpa_supplicant`; if that does not help, set the Wi-Fi country.",
        ),
        Radio::ServiceAbsent => fails("NetworkManager does not run", "Run `systemctl start NetworkManager`."),
        Radio::ServiceSilent(why) => {
            fails(format!("NetworkManager does not answer: {why}"), "Run `systemctl restart NetworkManager`.")
        }
    }
}

fn see_association(association: &Association) -> Seen {
    match association {
        Association::Joined { network, signal: Some(signal) } => works(format!("joined {network:?}, signal {signal} %")),
        Association::Joined { network, signal: None } => works(format!("joined {network:?}")),
        Association::Cable(interface) => works(format!("connected by {interface}")),
        Association::Joining(state) => fails(
            format!("connecting ({state})"),
            "Wait half a minute. If it stays so, move the device closer to the router, or enter the password again.",
        ),
        Association::Hotspot => fails(
            "the setup hotspot is open, so the device is in no other network",
            "Connect a phone to the hotspot and enter the network again; or wait: the device joins its network when that returns.",
        ),
        Association::None => fails(
            "the device is in no network",
            "Check that the router is on and in range. If its name or password has changed, enter the network again.",
        ),
    }
}

fn see_address(address: &Address) -> Seen {
    match address {
        Address::Assigned(address) => works(address.clone()),
        Address::LinkLocal(address) => fails(
            format!("no server has assigned an address; the device uses {address}"),
            "Restart the router; its DHCP server does not answer.",
        ),
        Address::None => fails("there is no IPv4 address", "Restart the router; its DHCP server does not answer."),
    }
}

fn see_gateway(gateway: &Gateway) -> Seen {
    match gateway {
        Gateway::Answers(address, how) => works(format!("{address} {how}")),
        Gateway::Silent(address) => fails(format!("{address} does not answer"), "Restart the router."),
        Gateway::None => fails(
            "there is no default route",
            "The router's DHCP server names no gateway: check its settings, or use another network.",
        ),
    }
}

fn see_dns(dns: &Dns) -> Seen {
    match dns {
        Dns::Resolves { server, name } => works(format!("{server} resolves {name}")),
        Dns::Lies { server, name, address } => fails(
            format!("{server} answers {address} for {name}, which is wrong"),
            "A sign-in page may be waiting: open any http page with a phone in the same network. Otherwise set another DNS server.",
        ),
        Dns::Refuses { server, name, error } => fails(
            format!("{server} does not resolve {name}: {error}"),
            "Restart the router; if that does not help, set another DNS server in it.",
        ),
        Dns::Silent(servers) => fails(
            format!("no answer from {}", servers.join(", ")),
            "Restart the router; if that does not help, set another DNS server in it.",
        ),
        Dns::NoServer => fails("no DNS server is configured", "Set one in the router, or in the network's profile."),
    }
}

fn see_internet(internet: &Internet) -> Seen {
    match internet {
        Internet::Reached(by) => works(format!("reached, {by}")),
        Internet::Portal(by) => fails(
            format!("another answer than expected, {by}"),
            "The network has a sign-in page: sign in with a phone, or use another network.",
        ),
        Internet::Unreachable(by, why) => {
            fails(format!("no answer, {by}: {why}"), "Check the router's connection to the internet.")
        }
        Internet::Unchecked => fails("not checked, because no name was resolved", "Repair the resolution of names first."),
    }
}

fn see_clock(clock: Clock) -> Seen {
    match clock {
        Clock { behind_release: Some(seconds), .. } => fails(
            format!("the clock is {} before the release of this program", length(seconds)),
            "Set the clock: `timedatectl set-ntp true`. Certificates are not valid with a wrong clock.",
        ),
        Clock { synchronized: Some(false), .. } => fails(
            "the clock is not synchronized",
            "Wait a minute. If it stays so, run `timedatectl set-ntp true`, and check that the network lets NTP through.",
        ),
        Clock { synchronized: Some(true), .. } => works("synchronized"),
        Clock { synchronized: None, .. } => works("plausible; whether it is synchronized is unknown"),
    }
}

fn see_command_center(command_center: &CommandCenter) -> Seen {
    match command_center {
        CommandCenter::Healthy(url) => works(format!("{url} is healthy")),
        CommandCenter::Unhealthy(url, why) => {
            fails(format!("{url}: {why}"), "Check that the command center runs, and that its address is right.")
        }
        CommandCenter::NotConfigured => fails(
            "no command center is configured",
            "Provision the device with the phone app. If it is provisioned, set CONFIG_PATH to its configuration file.",
        ),
        CommandCenter::Unreadable => {
            fails("its address is in a file that this user may not read", "Run the command with sudo, or set COMMAND_CENTER_URL.")
        }
    }
}

/// A length of time in its largest unit.
fn length(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(365 * 86_400, "years"), (86_400, "days"), (3600, "hours"), (60, "minutes")];
    let fits = UNITS.iter().find(|(unit, _)| seconds >= 2 * unit);
    fits.map_or_else(|| "a minute".to_string(), |(unit, name)| format!("{} {name}", seconds / unit))
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

    #[test]
    fn lengths_of_time_have_one_unit() {
        assert_eq!([1, 180, 7200, 200_000, 86_400 * 800].map(length), ["a minute", "3 minutes", "2 hours", "2 days", "2 years"]);
    }
}
