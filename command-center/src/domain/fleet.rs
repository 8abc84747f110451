//! Lists of the fleet: filters, orders and pages, made for a million devices.
//!
//! No list reads the whole fleet. Each order and each filter has an index. If one of the filters leaves a few devices, these are
//! sorted. Otherwise a page is read in its order, and a device that another filter excludes is skipped; after 10,000
//! devices or a tenth of a second the page ends, with what was found and the place where the next one continues.
//!
//! When a device was last heard of is not in these indexes, because every heartbeat changes it. They have `silent_since`, which
//! changes when a device falls silent or is heard of again: see `presence`.

mod csv;
pub(crate) mod cursor;
pub(crate) mod device;
mod devices;
pub(crate) mod presence;
mod sql;
pub(crate) mod view;

use std::time::Duration;

pub use csv::{csv_heading, csv_line};
pub(crate) use devices::Device;
pub use devices::{ApplianceEntry, Entry, NodeEntry};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use super::history::Event;
use super::permissions::Scope;

/// The state of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It was heard of in the last fifteen minutes.
    Online,
    /// It was heard of, but not in the last fifteen minutes.
    Silent,
    /// It was never heard of.
    New,
    /// Its key is refused until an operator activates it again.
    Deactivated,
    /// It was released from its site, and may be claimed again.
    Released,
    /// Its key has been revoked.
    Revoked,
}

impl State {
    /// All states, in the order in which they are shown.
    pub const ALL: [Self; 6] = [Self::Online, Self::Silent, Self::New, Self::Deactivated, Self::Released, Self::Revoked];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Silent => "silent",
            Self::New => "new",
            Self::Deactivated => "deactivated",
            Self::Released => "released",
            Self::Revoked => "revoked",
        }
    }

    /// The state with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// The order of a list. Devices of the same time are in the order of their age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
    /// By id.
    Id,
    /// By id, backwards.
    IdBackwards,
    /// Those that are heard of first, then the silent ones, the last heard of first; then the new, the revoked, the
    /// deactivated and the released ones.
    LastSeen,
    /// The reverse of [`Order::LastSeen`].
    LongestSilent,
}

impl Order {
    /// All orders.
    pub const ALL: [Self; 6] = [Self::Newest, Self::Oldest, Self::Id, Self::IdBackwards, Self::LastSeen, Self::LongestSilent];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::Id => "id",
            Self::IdBackwards => "id-backwards",
            Self::LastSeen => "last-seen",
            Self::LongestSilent => "longest-silent",
        }
    }

    /// The order with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|order| order.word() == word)
    }
}

/// Which devices a list has: those that fit all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Whose devices the operator who asks may see.
    pub scope: Scope,
    /// The id of an appliance's site, or of a node's household.
    pub place: Option<String>,
    /// The partner of an appliance.
    pub partner: Option<String>,
    /// The state.
    pub state: Option<State>,
    /// What an appliance reports as its status.
    pub status: Option<String>,
    /// The version of a node.
    pub version: Option<String>,
    /// Heard of within this time. Devices that are heard of are; the time of others is exact.
    pub seen_within: Option<Duration>,
    /// Heard of once, but not within this time.
    pub silent_for: Option<Duration>,
    /// What an id, a display name, a hardware address or a host name of an appliance begins with, or an id, a display name, a
    /// name or a room of a node. Upper and lower case are the same.
    pub text: Option<String>,
}

/// A list, and which part of it to read.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Which devices it has.
    pub filter: Filter,
    /// Its order.
    pub order: Order,
    /// Where the part begins: [`Page::next`] of the part before.
    pub after: Option<String>,
    /// How many devices it has at most; [`Query::LARGEST`] and 0 are the same.
    pub limit: usize,
}

impl Query {
    /// How many devices a part has at most.
    pub const LARGEST: usize = 1000;
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<D> {
    /// The devices.
    pub entries: Vec<D>,
    /// Where the next page begins; none after the last one. A page may have fewer devices than fit, and another one follow.
    pub next: Option<String>,
}

/// How many devices there are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Counts {
    /// Heard of in the last fifteen minutes.
    pub online: i64,
    /// Heard of before.
    pub silent: i64,
    /// Never heard of.
    pub new: i64,
    /// Refused until they are activated.
    pub deactivated: i64,
    /// Released from their sites; nodes have none.
    pub released: i64,
    /// Refused for good.
    pub revoked: i64,
}

impl Counts {
    /// The number of devices in a state.
    pub const fn of(&self, state: State) -> i64 {
        match state {
            State::Online => self.online,
            State::Silent => self.silent,
            State::New => self.new,
            State::Deactivated => self.deactivated,
            State::Released => self.released,
            State::Revoked => self.revoked,
        }
    }

    /// All devices.
    pub const fn all(&self) -> i64 {
        self.online + self.silent + self.new + self.deactivated + self.released + self.revoked
    }
}
