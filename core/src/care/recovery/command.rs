//! What recovery has others do, and the results.
//!
//! A command carries an [`Op`] for its result, so a result of another kind than the command's does not compile:
//!
//! ```compile_fail
//! # use provisioning_core::care::recovery::{Done, Op, Sighted};
//! fn wrong(check: Op<provisioning_core::care::recovery::Observation>, sighted: Sighted) -> Done {
//!     check.done(sighted)
//! }
//! ```

use alloc::vec::Vec;
use core::marker::PhantomData;

use crate::domain::Ssid;

/// The number of a command; numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(u64);

impl OpId {
    pub(super) const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// A command in progress, whose result is a `T`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<T> {
    id: OpId,
    result: PhantomData<T>,
}

impl<T> Op<T> {
    pub(super) const fn new(id: OpId) -> Self {
        Self { id, result: PhantomData }
    }
}

impl Op<Observation> {
    /// The check has ended.
    pub const fn done(self, observation: Observation) -> Done {
        Done { op: self.id, result: Ended::Checked(observation) }
    }
}

impl Op<Sighted> {
    /// The scan has ended.
    pub const fn done(self, sighted: Sighted) -> Done {
        Done { op: self.id, result: Ended::Scanned(sighted) }
    }
}

impl Op<Result<(), Trouble>> {
    /// The change of the radio has ended.
    pub const fn done(self, result: Result<(), Trouble>) -> Done {
        Done { op: self.id, result: Ended::Switched(result) }
    }
}

/// A command. It is over when its result is handed in, or when it is cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Find out what works, without a change of anything.
    Check {
        /// The command.
        op: Op<Observation>,
    },
    /// Scan, and list the stored networks in range. The hotspot stays open.
    Scan {
        /// The command.
        op: Op<Sighted>,
    },
    /// Join the stored network that was used last, unless the node is in it. Closes the hotspot.
    Reconnect {
        /// The command.
        op: Op<Result<(), Trouble>>,
    },
    /// Join a stored network, unless the node is in it. Closes the hotspot.
    Connect {
        /// The command.
        op: Op<Result<(), Trouble>>,
        /// Its name.
        network: Ssid,
    },
    /// Restart the software that drives the radio.
    RestartRadio {
        /// The command.
        op: Op<Result<(), Trouble>>,
    },
    /// Open the hotspot, in place of whatever the radio does. An open one stays unchanged.
    OpenHotspot {
        /// The command.
        op: Op<Result<(), Trouble>>,
    },
    /// Close the hotspot.
    CloseHotspot {
        /// The command.
        op: Op<Result<(), Trouble>>,
    },
}

impl Command {
    /// The command's number.
    pub const fn id(&self) -> OpId {
        match self {
            Self::Check { op } => op.id,
            Self::Scan { op } => op.id,
            Self::Reconnect { op }
            | Self::Connect { op, .. }
            | Self::RestartRadio { op }
            | Self::OpenHotspot { op }
            | Self::CloseHotspot { op } => op.id,
        }
    }

    /// Whether it changes what the radio does.
    pub const fn switches_radio(&self) -> bool {
        !matches!(self, Self::Check { .. } | Self::Scan { .. })
    }

    /// The command's executor has ended without a result.
    pub const fn lost(&self) -> Done {
        Done { op: self.id(), result: Ended::Lost }
    }
}

/// A command that has ended, and its result. Made from its [`Op`].
#[derive(Clone, Debug)]
pub struct Done {
    op: OpId,
    result: Ended,
}

#[derive(Clone, Debug)]
enum Ended {
    Checked(Observation),
    Scanned(Sighted),
    Switched(Result<(), Trouble>),
    Lost,
}

impl Done {
    pub(super) const fn op(&self) -> OpId {
        self.op
    }

    /// The result of a check; none if it was lost.
    pub(super) fn observation(self) -> Option<Observation> {
        if let Ended::Checked(observation) = self.result { Some(observation) } else { None }
    }

    /// The result of a scan; none if it was lost.
    pub(super) fn sighted(self) -> Option<Sighted> {
        if let Ended::Scanned(sighted) = self.result { Some(sighted) } else { None }
    }

    /// Whether a change of the radio has succeeded.
    pub(super) const fn succeeded(&self) -> bool {
        matches!(self.result, Ended::Switched(Ok(())))
    }

    /// Whether the radio's software did not react.
    pub(super) const fn hung(&self) -> bool {
        matches!(self.result, Ended::Switched(Err(Trouble::Hung)))
    }
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The radio.
    pub radio: Radio,
    /// The best of the node's connections, a cable included.
    pub link: Link,
    /// What is known about the internet.
    pub internet: Internet,
    /// The Wi-Fi network that the node is in.
    pub joined: Option<Ssid>,
    /// How many phones are associated with the hotspot; none if it is not open.
    pub hotspot: Option<u32>,
}

impl Observation {
    /// Whether the node is in a network that works. The internet does not matter for this: if only that is missing, no other
    /// use of the radio helps, and the command center may be in the network.
    pub const fn works(&self) -> bool {
        matches!(self.link, Link::Up)
    }

    /// Whether the internet is there, as far as known.
    pub const fn has_internet(&self) -> bool {
        self.internet.outage().is_none()
    }
}

/// The radio and its software.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Radio {
    /// It reacts.
    Ready,
    /// Its software does not react.
    Hung,
    /// Switched off, unplugged, or not managed.
    Unusable,
}

/// The best of the node's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// There is none.
    Down,
    /// Connected, without an address.
    NoAddress,
    /// Connected with an address, and the gateway does not answer.
    GatewaySilent,
    /// Connected with an address, and the gateway answers or is unknown.
    Up,
}

/// What is known about the internet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Internet {
    /// Nothing checks it.
    Unknown,
    /// Not reachable.
    None,
    /// A captive portal answers in its place.
    Portal,
    /// Some of it.
    Limited,
    /// Not reachable, and the DNS server answers for names that do not exist.
    Forged,
    /// Reachable.
    Full,
}

impl Internet {
    /// Why it is not reachable; none if it is, as far as known.
    pub const fn outage(self) -> Option<Outage> {
        match self {
            Self::Unknown | Self::Full => None,
            Self::None | Self::Limited => Some(Outage::Unreachable),
            Self::Portal => Some(Outage::Portal),
            Self::Forged => Some(Outage::Forged),
        }
    }
}

/// Why the internet is not reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Nothing answers, or only some of it.
    Unreachable,
    /// A captive portal waits for somebody to log in.
    Portal,
    /// The DNS server answers for names that do not exist.
    Forged,
}

/// What a scan has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighted {
    /// The stored networks in range, without repetition; the one that was used last comes first.
    pub networks: Vec<Ssid>,
    /// Whether any network was heard, stored or not; none if the radio has not scanned.
    pub hears: Option<bool>,
}

/// Why a change of the radio failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The radio's software has reported a failure.
    Failed,
    /// It did not react.
    Hung,
}
