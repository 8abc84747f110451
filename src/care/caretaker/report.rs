//! What the caretaker tells: the status, and the news.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use provisioning_core::care::condition::Mode;
use provisioning_core::care::diagnosis::{Address, Association, Radio};
use provisioning_core::care::recovery::{self, BAD_CHECKS, COOLDOWN, Event, Link, Outage, Outcome};
use provisioning_core::domain::{Ssid, State};

use super::Settings;
use crate::care::events::{Action, Kind, Level, News, Phase};
use crate::care::port::{Error, NetworkStatus, RecoveryStatus, Status};
use crate::daemon::View;
use crate::network::Inspection;

/// The interface that is shown until the radio was seen.
const USUAL_INTERFACE: &str = "wlan0";

/// What is known beside the state of recovery.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own; goes when two of them exclude each other")]
pub(super) struct Facts {
    hotspot: String,
    hostname: String,
    recovery: bool,
    interface: Option<String>,
    seen: Option<Inspection>,
    last_ssid: Option<Ssid>,
    /// A recovery was announced, and not its end.
    recovering: bool,
    /// Something else than recovery has the radio.
    pub(super) paused: bool,
    /// The owner's request joins a network.
    pub(super) connecting: bool,
    /// A restart was requested, and has not failed.
    pub(super) restart_pending: bool,
    /// Why the last restart was requested.
    pub(super) last_restart_reason: Option<String>,
    /// Why the last request has failed.
    pub(super) last_error: Option<String>,
    /// Why the last recovery started or failed.
    pub(super) last_reason: Option<String>,
}

impl Facts {
    pub(super) fn new(hotspot: String, settings: &Settings) -> Self {
        Self {
            hotspot,
            hostname: settings.hostname.clone(),
            recovery: settings.recovery,
            interface: settings.interface.clone(),
            seen: None,
            last_ssid: None,
            recovering: false,
            paused: false,
            connecting: false,
            restart_pending: false,
            last_restart_reason: None,
            last_error: None,
            last_reason: None,
        }
    }

    /// What was seen last.
    pub(super) fn saw(&mut self, seen: Inspection) {
        if let Radio::Ready(interface) = &seen.radio {
            self.interface = Some(interface.clone());
        }
        if seen.joined.is_some() {
            self.last_ssid.clone_from(&seen.joined);
        }
        self.seen = Some(seen);
    }

    /// The network that the node is in.
    pub(super) fn joined(&self) -> Option<&Ssid> {
        self.seen.as_ref()?.joined.as_ref()
    }

    /// The state for readers; `now` and `clock` are the same moment.
    pub(super) fn status(&self, recovery: &recovery::Status, view: &View, now: Duration, clock: SystemTime) -> Status {
        let at = |moment: Duration| match moment.checked_sub(now) {
            Some(left) => clock + left,
            None => clock.checked_sub(now.saturating_sub(moment)).unwrap_or(SystemTime::UNIX_EPOCH),
        };
        let network = self.network(recovery, view);
        Status {
            mode: self.mode(recovery, view, &network),
            hostname: self.hostname.clone(),
            recovery: RecoveryStatus {
                enabled: self.recovery,
                threshold: BAD_CHECKS,
                cooldown: COOLDOWN,
                bad_checks: recovery.bad_checks,
                last_attempt: recovery.last_attempt.map(at),
                last_recovered: recovery.last_recovered.map(at),
                outcome: recovery.outcome,
                cooldown_until: recovery.cooldown_until.map(at),
                lock: recovery.lock,
                last_reason: self.last_reason.clone(),
            },
            restart_pending: self.restart_pending,
            last_restart_reason: self.last_restart_reason.clone(),
            network_manager: !self
                .seen
                .as_ref()
                .is_some_and(|seen| matches!(seen.radio, Radio::ServiceAbsent | Radio::ServiceSilent(_))),
            network,
        }
    }

    fn network(&self, recovery: &recovery::Status, view: &View) -> NetworkStatus {
        let seen = self.seen.as_ref();
        let active_connection = seen.and_then(|seen| match &seen.association {
            Association::Joined { network, .. } => seen.profile.clone().or_else(|| Some(network.clone())),
            Association::Cable(interface) => seen.profile.clone().or_else(|| Some(interface.clone())),
            Association::Hotspot => Some(self.hotspot.clone()),
            Association::Joining(_) | Association::None => None,
        });
        let connected = seen.is_some_and(|seen| {
            let has_address = seen.has_ipv6 || matches!(seen.address, Address::Assigned(_));
            has_address && matches!(seen.association, Association::Joined { .. } | Association::Cable(_))
        });
        let internet = seen.is_some_and(|seen| seen.internet.outage().is_none());
        // Recovery opens the hotspot without a look at it afterwards.
        let hotspot_open =
            if self.paused { seen.is_some_and(|seen| seen.phones.is_some()) } else { recovery.mode == recovery::Mode::Hotspot };
        NetworkStatus {
            provisioned: view.info.previously_provisioned,
            connected,
            last_ssid: self.last_ssid.clone(),
            hotspot_ssid: self.hotspot.clone(),
            hotspot_profile: self.hotspot.clone(),
            interface: self.interface.clone().unwrap_or_else(|| USUAL_INTERFACE.into()),
            hotspot_open,
            active_connection,
            ipv4_address: seen.and_then(|seen| ipv4(&seen.address)),
            gateway: seen.and_then(|seen| seen.gateway),
            internet: connected && internet,
            last_error: self.last_error.clone(),
        }
    }

    fn mode(&self, recovery: &recovery::Status, view: &View, network: &NetworkStatus) -> Mode {
        match view.status.state() {
            _ if self.connecting => Mode::Connecting,
            State::Connecting | State::Registering if view.needs_radio => Mode::Connecting,
            _ if !network.provisioned => Mode::Provisioning,
            _ if network.connected => Mode::Ready,
            _ if network.hotspot_open => Mode::Provisioning,
            _ if recovery.outcome == Outcome::Failed => Mode::Error,
            _ => Mode::Ready,
        }
    }

    /// The news of an event; none for what is announced by its cause.
    pub(super) fn news(&mut self, event: &Event) -> Option<News> {
        let status = |level, message: String| News::new(Kind::Status, level, message);
        let of = |network: &Option<Ssid>| network.as_ref().map_or("the network".to_owned(), |network| format!("{network}"));
        Some(match event {
            Event::Paused | Event::Resumed => {
                self.recovering = false;
                return None;
            }
            Event::NetworkLost { network, link } => {
                self.last_reason = Some(format!("{BAD_CHECKS} bad checks in a row"));
                status(Level::Warning, format!("Lost {}{}", of(network), link.map_or("", symptom)))
            }
            Event::InternetLost { outage } => status(Level::Warning, because(*outage).into()),
            Event::InternetBack => status(Level::Success, "Internet connectivity is back.".into()),
            Event::RecoveryStarted => {
                self.recovering = true;
                News::action(Action::RecoveryStart, Phase::Started, Level::Info, "Network recovery started")
            }
            Event::RadioRestarted => {
                News::new(Kind::System, Level::Warning, "The radio's software did not react, and is restarted")
            }
            Event::Rejoined { network } => {
                self.recovered(None);
                let message = format!("Network recovery: back in {}", of(network));
                News::action(Action::RecoveryComplete, Phase::Completed, Level::Success, message)
            }
            Event::HotspotOpened if self.recovering => {
                let message = "Network recovery: hotspot enabled as fallback";
                self.recovered(Some(message));
                News::action(Action::RecoveryComplete, Phase::Completed, Level::Warning, message)
            }
            Event::HotspotDeaf => {
                let message = "The hotspot hears no other network any more, so its radio's software is restarted";
                News::new(Kind::System, Level::Warning, message)
            }
            Event::HotspotOpened => status(Level::Info, "The hotspot is open".into()),
            Event::RecoveryFailed => {
                let message = "Network recovery failed: neither a network nor the hotspot works";
                self.recovered(Some(message));
                self.last_reason = Some(message.into());
                News::action(Action::RecoveryFailed, Phase::Failed, Level::Error, message)
            }
            Event::ReturnStarted { network } => status(Level::Info, format!("{network} is in range again")),
            Event::Returned { network } => {
                self.last_error = None;
                status(Level::Success, format!("Back in {}", of(network)))
            }
            Event::ReturnFailed => status(Level::Warning, "The network is in range, and refuses the device".into()),
        })
    }

    /// A recovery has ended, with this error for people.
    fn recovered(&mut self, error: Option<&str>) {
        self.recovering = false;
        self.last_error = error.map(ToOwned::to_owned);
    }
}

/// What a lost network still does, for people.
const fn symptom(link: Link) -> &'static str {
    match link {
        Link::NoAddress => ": it assigns no address, or no longer renews the one that it has assigned",
        Link::GatewaySilent => ": its router does not answer",
        Link::Down | Link::Up => "",
    }
}

/// Why the internet is missing, for people.
const fn because(outage: Outage) -> &'static str {
    match outage {
        Outage::Unreachable => "Internet connectivity is unavailable.",
        Outage::Portal => {
            "Internet connectivity is unavailable: a captive portal waits for a login. Log in with a phone, or use another network."
        }
        Outage::Forged => {
            "Internet connectivity is unavailable: the DNS server answers for names that do not exist. Check the router."
        }
    }
}

/// The address in a text such as `192.168.1.20/24`.
fn ipv4(address: &Address) -> Option<Ipv4Addr> {
    let Address::Assigned(text) = address else { return None };
    text.split('/').next()?.parse().ok()
}

/// What people call an action.
const fn title(action: Action) -> &'static str {
    match action {
        Action::Connect => "Connecting to a network",
        Action::Forget => "Forgetting a network",
        Action::EnableHotspot => "Opening the hotspot",
        Action::DisableHotspot => "Closing the hotspot",
        Action::Restart => "Restarting",
        Action::FactoryReset => "Factory reset",
        Action::RecoveryStart | Action::RecoveryComplete | Action::RecoveryFailed => "Network recovery",
    }
}

/// The news of a request that has begun.
pub(super) fn started(action: Action) -> News {
    News::action(action, Phase::Started, Level::Info, format!("{} started", title(action)))
}

/// The news of a request that has ended.
pub(super) fn ended(action: Action, error: Option<&Error>) -> News {
    match error {
        None => News::action(action, Phase::Completed, Level::Success, format!("{} completed", title(action))),
        Some(error) => News::action(action, Phase::Failed, Level::Error, format!("{} failed: {error}", title(action))),
    }
}

/// Whether two states differ in nothing but the rounding of their times.
pub(super) fn same(shown: &Status, new: &Status) -> bool {
    let close = |one: Option<SystemTime>, other: Option<SystemTime>| match (one, other) {
        (Some(one), Some(other)) => one.duration_since(other).unwrap_or_else(|error| error.duration()) < Duration::from_secs(1),
        (one, other) => one == other,
    };
    let times = |status: &Status| {
        let RecoveryStatus { last_attempt, last_recovered, cooldown_until, .. } = status.recovery;
        [last_attempt, last_recovered, cooldown_until]
    };
    let alike = times(shown).into_iter().zip(times(new)).all(|(one, other)| close(one, other));
    let mut rounded = new.clone();
    [rounded.recovery.last_attempt, rounded.recovery.last_recovered, rounded.recovery.cooldown_until] = times(shown);
    alike && rounded == *shown
}
