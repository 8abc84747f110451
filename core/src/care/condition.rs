//! The condition of the node, in the terms of the existing system: a mode, and the phase, health and warnings that follow
//! from it and from the network.

use alloc::vec::Vec;

/// What the node is for at the moment. It is stored; everything else here is derived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It waits for its first network.
    #[default]
    Provisioning,
    /// It joins a network.
    Connecting,
    /// It is in a network, and its owner has not finished the setup.
    Onboarding,
    /// It is in a network, and set up.
    Ready,
    /// Its owner works on it: nothing is checked or repaired.
    Maintenance,
    /// An operation has failed, and no other one repairs it.
    Error,
}

impl Mode {
    const ALL: [Self; 6] = [Self::Provisioning, Self::Connecting, Self::Onboarding, Self::Ready, Self::Maintenance, Self::Error];

    /// The name for programs and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Connecting => "connecting",
            Self::Onboarding => "onboarding",
            Self::Ready => "ready",
            Self::Maintenance => "maintenance",
            Self::Error => "error",
        }
    }

    /// The mode with a name; [`Self::Provisioning`] if there is none, as in the existing system.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|mode| mode.name() == name).unwrap_or_default()
    }
}

/// What the node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The mode says it.
    Mode(Mode),
    /// It is ready or being set up, and something does not work.
    Degraded,
    /// It restarts soon.
    Restarting,
}

impl Phase {
    /// The name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mode(mode) => mode.name(),
            Self::Degraded => "degraded",
            Self::Restarting => "restarting",
        }
    }
}

/// Whether the node works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ok,
    /// It does, with restrictions.
    Warning,
    /// It does not.
    Error,
}

impl Health {
    /// The name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What the condition is derived from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own; goes when two of them exclude each other")]
pub struct Facts {
    /// The mode.
    pub mode: Mode,
    /// A restart was requested and has not happened.
    pub restart_pending: bool,
    /// The node has been given a network.
    pub provisioned: bool,
    /// It is in a network.
    pub connected: bool,
    /// Its hotspot is open.
    pub hotspot: bool,
    /// The internet is reachable, as far as known.
    pub internet: bool,
    /// NetworkManager answers.
    pub network_manager: bool,
}

/// The condition of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What the node is doing.
    pub phase: Phase,
    /// Whether it works.
    pub health: Health,
    /// One sentence for people.
    pub summary: &'static str,
    /// What is wrong, for people; one sentence each.
    pub warnings: Vec<&'static str>,
}

impl From<Facts> for Condition {
    fn from(facts: Facts) -> Self {
        let phase = if facts.restart_pending { Phase::Restarting } else { Phase::Mode(facts.mode) };
        let warnings = warnings(facts, phase);
        let health = if phase == Phase::Mode(Mode::Error) || !facts.network_manager {
            Health::Error
        } else if warnings.is_empty() {
            Health::Ok
        } else {
            Health::Warning
        };
        let phase = match phase {
            Phase::Mode(Mode::Ready | Mode::Onboarding) if health != Health::Ok => Phase::Degraded,
            phase => phase,
        };
        Self { phase, health, summary: summary(phase, &warnings), warnings }
    }
}

fn warnings(facts: Facts, phase: Phase) -> Vec<&'static str> {
    [
        (phase == Phase::Restarting, "Restart is pending."),
        (phase == Phase::Mode(Mode::Error), "Device is in error mode."),
        (!facts.network_manager, "NetworkManager is unavailable."),
        (facts.provisioned && !facts.connected && !facts.hotspot, "Configured network is not connected."),
        (facts.connected && !facts.internet, "Internet connectivity is unavailable."),
    ]
    .into_iter()
    .filter_map(|(is_so, warning)| is_so.then_some(warning))
    .collect()
}

fn summary(phase: Phase, warnings: &[&'static str]) -> &'static str {
    match phase {
        Phase::Mode(Mode::Ready) => "Device is ready.",
        Phase::Degraded => warnings.first().copied().unwrap_or("Device needs attention."),
        Phase::Restarting => "Restart is pending.",
        Phase::Mode(Mode::Provisioning) => "Waiting for initial WiFi provisioning.",
        Phase::Mode(Mode::Connecting) => "Connecting to the configured WiFi.",
        Phase::Mode(Mode::Onboarding) => "Waiting for guided setup to finish.",
        Phase::Mode(Mode::Maintenance) => "Device is in maintenance mode.",
        Phase::Mode(Mode::Error) => "Device requires recovery.",
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// A node in a network that works.
    const WELL: Facts = Facts {
        mode: Mode::Ready,
        restart_pending: false,
        provisioned: true,
        connected: true,
        hotspot: false,
        internet: true,
        network_manager: true,
    };

    fn condition(facts: Facts) -> (&'static str, &'static str, &'static str, Vec<&'static str>) {
        let Condition { phase, health, summary, warnings } = facts.into();
        (phase.name(), health.name(), summary, warnings)
    }

    #[test]
    fn a_mode_has_its_name_and_an_unknown_name_is_provisioning() {
        for mode in Mode::ALL {
            assert_eq!(Mode::named(mode.name()), mode);
        }
        assert_eq!(["", "READY", "degraded"].map(Mode::named), [Mode::Provisioning; 3]);
    }

    #[test]
    fn without_warnings_the_phase_is_the_mode() {
        for (mode, summary) in [
            (Mode::Provisioning, "Waiting for initial WiFi provisioning."),
            (Mode::Connecting, "Connecting to the configured WiFi."),
            (Mode::Onboarding, "Waiting for guided setup to finish."),
            (Mode::Ready, "Device is ready."),
            (Mode::Maintenance, "Device is in maintenance mode."),
        ] {
            assert_eq!(condition(Facts { mode, ..WELL }), (mode.name(), "ok", summary, vec![]));
        }
        let error = condition(Facts { mode: Mode::Error, ..WELL });
        assert_eq!(error, ("error", "error", "Device requires recovery.", vec!["Device is in error mode."]));
    }

    #[test]
    fn a_pending_restart_comes_before_every_mode() {
        for mode in Mode::ALL {
            let (phase, health, summary, warnings) = condition(Facts { mode, restart_pending: true, ..WELL });
            assert_eq!((phase, health, summary), ("restarting", "warning", "Restart is pending."));
            assert_eq!(warnings, ["Restart is pending."]);
        }
    }

    #[test]
    fn a_node_that_is_ready_or_being_set_up_is_degraded_by_a_warning() {
        let lost = Facts { connected: false, internet: false, ..WELL };
        let warning = "Configured network is not connected.";
        for mode in [Mode::Ready, Mode::Onboarding] {
            assert_eq!(condition(Facts { mode, ..lost }), ("degraded", "warning", warning, vec![warning]));
        }
        assert_eq!(condition(Facts { mode: Mode::Maintenance, ..lost }).0, "maintenance");
        let offline = condition(Facts { internet: false, ..WELL });
        assert_eq!((offline.0, offline.2), ("degraded", "Internet connectivity is unavailable."));
    }

    #[test]
    fn the_network_is_not_missed_while_the_hotspot_is_open_or_before_there_is_one() {
        let lost = Facts { connected: false, internet: false, ..WELL };
        assert_eq!(condition(Facts { hotspot: true, ..lost }).1, "ok");
        assert_eq!(condition(Facts { provisioned: false, ..lost }).1, "ok");
    }

    #[test]
    fn without_networkmanager_the_health_is_error() {
        let (phase, health, _, warnings) = condition(Facts { network_manager: false, ..WELL });
        assert_eq!((phase, health, warnings), ("degraded", "error", vec!["NetworkManager is unavailable."]));
    }
}
