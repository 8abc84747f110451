//! What a light shows: one pattern for each condition of the node.

use core::time::Duration;

use super::button::Press;
use crate::domain::State;

/// What is known about the node's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connectivity {
    /// Nothing: network care is not enabled.
    #[default]
    Unknown,
    /// The node is in no network.
    Offline,
    /// Its access point is open.
    AccessPoint,
    /// It is in a network without internet.
    Limited,
    /// It is in a network with internet.
    Online,
}

impl Connectivity {
    /// The name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Offline => "offline",
            Self::AccessPoint => "access_point",
            Self::Limited => "limited",
            Self::Online => "online",
        }
    }
}

/// What a light shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// The node waits for its first phone.
    Waiting,
    /// An attempt is in progress.
    Working,
    /// The last attempt failed.
    Failed,
    /// The node is provisioned, and nothing is known to be wrong.
    Ready,
    /// The node is provisioned, and in no network.
    Offline,
    /// The node is provisioned, and its access point is open.
    AccessPoint,
    /// The button is held: a release does nothing, a longer press resets the node.
    Held,
    /// The node is being reset.
    Resetting,
    /// A client asks which device this is.
    Identifying,
}

impl Indication {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::Working,
        Self::Failed,
        Self::Ready,
        Self::Offline,
        Self::AccessPoint,
        Self::Held,
        Self::Resetting,
        Self::Identifying,
    ];

    /// What is shown. A press comes first, because its owner looks at the light; then a search for the device, and an attempt.
    pub const fn of(state: State, is_provisioned: bool, connectivity: Connectivity, press: Press, is_identifying: bool) -> Self {
        match (press, state) {
            (Press::Reset, _) => Self::Resetting,
            (Press::Warned, _) => Self::Held,
            (Press::None, _) if is_identifying => Self::Identifying,
            (Press::None, State::Connecting | State::Registering) => Self::Working,
            (Press::None, State::Error) => Self::Failed,
            (Press::None, State::ApMode) if !is_provisioned => Self::Waiting,
            (Press::None, State::ApMode | State::Provisioned | State::Online) => match connectivity {
                Connectivity::Offline => Self::Offline,
                Connectivity::AccessPoint => Self::AccessPoint,
                Connectivity::Unknown | Connectivity::Limited | Connectivity::Online => Self::Ready,
            },
        }
    }

    /// Its pattern.
    pub const fn pattern(self) -> Pattern {
        match self {
            Self::Waiting => Pattern::milliseconds(1000, 1000),
            Self::Working => Pattern::milliseconds(200, 200),
            Self::Failed => Pattern::milliseconds(100, 900),
            Self::Ready => Pattern::milliseconds(1000, 0),
            Self::Offline => Pattern::milliseconds(100, 2900),
            Self::AccessPoint => Pattern::milliseconds(1800, 200),
            Self::Held => Pattern::milliseconds(50, 50),
            Self::Resetting => Pattern::milliseconds(400, 50),
            Self::Identifying => Pattern::milliseconds(100, 100),
        }
    }
}

/// A light that is on and off in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// How long it is on.
    pub on: Duration,
    /// How long it is off; zero if it never is.
    pub off: Duration,
}

impl Pattern {
    const fn milliseconds(on: u64, off: u64) -> Self {
        Self { on: Duration::from_millis(on), off: Duration::from_millis(off) }
    }

    /// Whether the light never changes.
    pub const fn is_steady(self) -> bool {
        self.off.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_indication_has_a_pattern_of_its_own() {
        for (index, one) in Indication::ALL.iter().enumerate() {
            assert!(Indication::ALL[index + 1..].iter().all(|other| other.pattern() != one.pattern()), "{one:?}");
        }
    }

    #[test]
    fn a_press_comes_before_an_attempt_and_an_attempt_before_the_network() {
        let shown = |state, provisioned, connectivity, press| Indication::of(state, provisioned, connectivity, press, false);
        let unknown = Connectivity::Unknown;
        assert_eq!(shown(State::Connecting, false, unknown, Press::Reset), Indication::Resetting);
        assert_eq!(shown(State::Connecting, false, unknown, Press::Warned), Indication::Held);
        let identifying = |press| Indication::of(State::Connecting, false, unknown, press, true);
        assert_eq!([identifying(Press::None), identifying(Press::Warned)], [Indication::Identifying, Indication::Held]);
        assert_eq!(shown(State::Registering, true, Connectivity::Offline, Press::None), Indication::Working);
        assert_eq!(shown(State::Error, true, Connectivity::Online, Press::None), Indication::Failed);
        assert_eq!(shown(State::ApMode, false, Connectivity::AccessPoint, Press::None), Indication::Waiting);
        assert_eq!(shown(State::ApMode, true, Connectivity::AccessPoint, Press::None), Indication::AccessPoint);
        assert_eq!(shown(State::Provisioned, true, Connectivity::Offline, Press::None), Indication::Offline);
        for fine in [Connectivity::Unknown, Connectivity::Limited, Connectivity::Online] {
            assert_eq!(shown(State::Provisioned, true, fine, Press::None), Indication::Ready);
            assert_eq!(shown(State::Online, false, fine, Press::None), Indication::Ready, "online and not enrolled");
        }
    }
}
