//! Network care: the evidence for a diagnosis. What it means is decided by `provisioning_core::care`.
//!
//! [`collect`] asks NetworkManager for the connection, then probes gateway, DNS and internet, clock and command center at the
//! same time. Each probe has a limit, so that all of it ends within [`LIMIT`]. Nothing is changed, and no permission is needed.
//!
//! [`port`] is the way to the caretaker, which watches and repairs the network; [`events`] is what it announces, and
//! [`health`] its check; an [`alarm`] wakes it. [`phones`] serves the phones that have a session.

pub mod alarm;
pub mod caretaker;
mod clock;
mod dns;
pub mod events;
mod gateway;
pub mod health;
mod internet;
pub mod phones;
pub mod port;
mod restart;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use provisioning_core::care::diagnosis::{Address, Association, CommandCenter, Dns, Evidence, Gateway, Internet, Radio};
use provisioning_core::domain::CommandCenterUrl;
use tokio::time::timeout;
use url::Host;

use crate::command_center::Registrar;
use crate::network::{Inspection, hostapd};
pub use internet::{CheckUrl, InvalidCheckUrl};

/// The limit of [`collect`]. NetworkManager has three seconds; DNS, two; the internet, three.
pub const LIMIT: Duration = Duration::from_secs(9);

/// NetworkManager answers within milliseconds, unless it hangs.
const INSPECTION_LIMIT: Duration = Duration::from_secs(3);

/// What is probed, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The D-Bus address of another bus than the system's.
    pub bus: Option<String>,
    /// The Wi-Fi interface; none for the first one.
    pub interface: Option<String>,
    /// Whether `hostapd` and `wpa_supplicant` drive it, and not NetworkManager.
    pub hostapd: bool,
    /// The page whose content shows that the internet is there.
    pub check: CheckUrl,
    /// The port of DNS servers: 53, except in tests.
    pub dns_port: u16,
    /// Ports at which a router may answer. Any answer shows that it is there, a refusal included.
    pub gateway_ports: Vec<u16>,
    /// The kernel's table of neighbours, where the packaged unit may read it: `/proc/self/net/arp`.
    pub neighbours: PathBuf,
    /// The command center.
    pub command_center: Configured,
    /// The time of the node's clock.
    pub now: SystemTime,
}

/// The configured command center.
#[derive(Clone, Debug)]
pub enum Configured {
    /// At this address.
    At(CommandCenterUrl),
    /// None.
    Nowhere,
    /// The configuration may not be read.
    Unreadable,
}

impl Settings {
    /// The settings of a node.
    pub fn new(command_center: Configured, now: SystemTime) -> Self {
        Self {
            bus: None,
            interface: None,
            hostapd: false,
            check: CheckUrl::default(),
            dns_port: 53,
            gateway_ports: vec![53, 80, 443],
            neighbours: "/proc/self/net/arp".into(),
            command_center,
            now,
        }
    }
}

/// Collects the evidence.
pub async fn collect(settings: &Settings, registrar: &Registrar) -> Evidence {
    let looking = async {
        let (bus, interface) = (settings.bus.as_deref(), settings.interface.as_deref());
        if settings.hostapd { hostapd::inspect(bus, interface).await } else { Inspection::of(bus, interface).await }
    };
    let silent = || Inspection::unconnected(Radio::ServiceSilent("no answer within 3 s".into()));
    let seen = timeout(INSPECTION_LIMIT, looking).await.unwrap_or_else(|_| silent());
    let names = async {
        let (dns, addresses) = dns::probe(&seen.servers, settings.dns_port, settings.check.host()).await;
        (dns, internet::probe(&settings.check, &addresses).await)
    };
    let router = async {
        match seen.gateway {
            Some(address) => gateway::probe(address, &settings.gateway_ports, &settings.neighbours, gateway::LIMIT).await,
            None => Gateway::None,
        }
    };
    let ((dns, internet), gateway, clock, (command_center, command_center_is_near)) = tokio::join!(
        names,
        router,
        clock::probe(settings.bus.as_deref(), settings.now),
        health(&settings.command_center, registrar),
    );
    let Inspection { radio, association, address, .. } = seen;
    Evidence { radio, association, address, gateway, dns, internet, clock, command_center, command_center_is_near }
}

/// The evidence of a simulated network; clock and command center are real.
pub async fn collect_simulated(settings: &Settings, registrar: &Registrar) -> Evidence {
    let (clock, (command_center, _)) =
        tokio::join!(clock::probe(settings.bus.as_deref(), settings.now), health(&settings.command_center, registrar));
    let loopback = || Ipv4Addr::LOCALHOST.to_string();
    Evidence {
        radio: Radio::Simulated,
        association: Association::Joined { network: "simulated".into(), signal: None },
        address: Address::Assigned(loopback()),
        gateway: Gateway::Answers(loopback(), "is simulated"),
        dns: Dns::Resolves { server: loopback(), name: settings.check.host().into() },
        internet: Internet::Reached("simulated".into()),
        clock,
        command_center,
        command_center_is_near: true,
    }
}

/// Checks the command center; also whether it is in the node's network.
async fn health(configured: &Configured, registrar: &Registrar) -> (CommandCenter, bool) {
    let url = match configured {
        Configured::At(url) => url,
        Configured::Nowhere => return (CommandCenter::NotConfigured, false),
        Configured::Unreadable => return (CommandCenter::Unreadable, false),
    };
    let text = url.as_str().to_owned();
    let health = match registrar.why_unhealthy(url).await {
        None => CommandCenter::Healthy(text),
        Some(why) => CommandCenter::Unhealthy(text, why),
    };
    (health, is_near(url))
}

/// Whether a command center is in the node's network, as far as its address tells.
fn is_near(url: &CommandCenterUrl) -> bool {
    match url.url().host() {
        Some(Host::Ipv4(address)) => address.is_private() || address.is_link_local() || address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_unique_local() || address.is_unicast_link_local() || address.is_loopback(),
        Some(Host::Domain(name)) => name.rsplit_once('.').is_none_or(|(_, domain)| domain == "local"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_address_and_a_local_name_are_near() {
        for (url, near) in [
            ("http://192.168.1.5:7703", true),
            ("http://[fd00::1]", true),
            ("http://center.local", true),
            ("http://center", true),
            ("https://center.example", false),
            ("https://203.0.113.1", false),
            ("https://[2001:db8::1]", false),
        ] {
            assert_eq!(is_near(&CommandCenterUrl::try_from(url).expect("a plain URL")), near, "{url}");
        }
    }
}
