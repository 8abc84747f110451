//! The events of recovery, and the last of them.

use alloc::collections::VecDeque;

use super::Instant;
use super::command::{Link, Outage};
use crate::domain::Ssid;

/// How many events are kept: what a client of the existing system is shown when it connects.
pub const HISTORY: usize = 25;

/// An event and its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Increases by one with each event, from 1.
    pub number: u64,
    /// When it happened.
    pub at: Instant,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Provisioning has the radio; nothing is checked.
    Paused,
    /// Provisioning has given the radio back.
    Resumed,
    /// The network does not work.
    NetworkLost {
        /// The network that the node was in, if it was in one.
        network: Option<Ssid>,
        /// What the last check has found; none if it was lost.
        link: Option<Link>,
    },
    /// The network works, and the internet is missing, or missing for another reason than before.
    InternetLost {
        /// The reason.
        outage: Outage,
    },
    /// The network works, and the internet is there.
    InternetBack,
    /// A recovery has started.
    RecoveryStarted,
    /// The radio's software did not react and is restarted.
    RadioRestarted,
    /// A recovery has ended in a network.
    Rejoined {
        /// This one, if known.
        network: Option<Ssid>,
    },
    /// The hotspot is open.
    HotspotOpened,
    /// The radio of the open hotspot hears no other network any more; its software is restarted.
    HotspotDeaf,
    /// Neither a network nor the hotspot works; the next recovery follows after the cooldown.
    RecoveryFailed,
    /// A stored network was seen beside the hotspot, and is joined.
    ReturnStarted {
        /// This one.
        network: Ssid,
    },
    /// The node has left the hotspot for a network.
    Returned {
        /// This one; none for a cable.
        network: Option<Ssid>,
    },
    /// The network refused the node; the hotspot is open again.
    ReturnFailed,
}

/// The last events.
#[derive(Default)]
pub(super) struct History {
    last: u64,
    entries: VecDeque<Entry>,
}

impl History {
    pub(super) fn add(&mut self, event: Event, at: Instant) -> Entry {
        self.last += 1;
        let entry = Entry { number: self.last, at, event };
        if self.entries.len() == HISTORY {
            self.entries.pop_front();
        }
        self.entries.push_back(entry.clone());
        entry
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}
