//! What the evidence says about each layer, in words for people.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};

use super::Layer;
use super::evidence::{Address, Association, Clock, CommandCenter, Dns, Evidence, Gateway, Internet, Radio};

/// What the evidence says about a layer by itself.
pub(super) struct Seen {
    /// None if this user cannot find it out.
    pub(super) works: Option<bool>,
    pub(super) evidence: String,
    pub(super) advice: Option<Cow<'static, str>>,
}

fn works(evidence: impl Into<String>) -> Seen {
    Seen { works: Some(true), evidence: evidence.into(), advice: None }
}

fn fails(evidence: impl Into<String>, advice: impl Into<Cow<'static, str>>) -> Seen {
    Seen { works: Some(false), evidence: evidence.into(), advice: Some(advice.into()) }
}

/// What the evidence says about a layer.
pub(super) fn see(layer: Layer, evidence: &Evidence) -> Seen {
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
        CommandCenter::Unreadable => Seen {
            works: None,
            ..fails(
                "its address is in a file that this user may not read",
                "Run the command with sudo, or set COMMAND_CENTER_URL.",
            )
        },
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

    #[test]
    fn lengths_of_time_have_one_unit() {
        assert_eq!([1, 180, 7200, 200_000, 86_400 * 800].map(length), ["a minute", "3 minutes", "2 hours", "2 days", "2 years"]);
    }
}
