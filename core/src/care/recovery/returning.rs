//! When the node may leave the hotspot for a network that has returned.

use alloc::vec::Vec;

use super::{Duration, Instant};
use crate::backoff::{Backoff, Jitter};
use crate::domain::Ssid;

/// A phone that has sent no request for this time does not use the hotspot: phones stay associated with a hotspot that
/// they no longer use.
const PHONE_IDLE: Duration = Duration::from_mins(5);
/// A network that works for this time without a bad check after a return is stable. One that is available four
/// seconds out of five passes so many checks once in ten thousand times.
const STEADY: Duration = Duration::from_mins(20);
/// After a return to a network that was lost before it was steady, the hotspot stays open until an hour after that return.
/// So the node changes three times an hour at most, however unsteady the network is.
const HOLD: Duration = Duration::from_hours(1);
/// Pauses after a return that failed. A router may be on the air minutes before it assigns addresses; a changed password
/// stays wrong.
const RETRIES: Backoff = Backoff::new(Duration::from_mins(2), Duration::from_mins(30), Jitter::None);

/// Scans in a row that hear nothing, after one that has heard something, before the radio counts as deaf: two minutes.
const DEAF_SCANS: u32 = 4;
/// At most one restart of a deaf radio in this time. Where the only network in range is gone, silence is no defect.
const DEAF_PAUSE: Duration = Duration::from_hours(1);

/// The conditions of a return.
#[derive(Default)]
pub(super) struct Returning {
    /// The stored networks of the last scan beside the hotspot.
    seen: Vec<Ssid>,
    /// Phones associated with the hotspot.
    stations: u32,
    /// When a phone associated, or sent a request.
    active_at: Option<Instant>,
    /// The last return or the last bad check after it, until the network is steady.
    works_since: Option<Instant>,
    /// The hotspot stays open until then.
    hold_until: Option<Instant>,
    /// Returns that failed in a row.
    failures: u32,
    /// A scan beside the hotspot has heard a network, since the last restart of a deaf radio.
    has_heard: bool,
    /// Scans in a row that have heard nothing.
    silent: u32,
    /// When a deaf radio was restarted.
    restarted_at: Option<Instant>,
}

impl Returning {
    /// A phone has sent a request.
    pub(super) const fn phone_active(&mut self, now: Instant) {
        self.active_at = Some(now);
    }

    /// So many phones are associated with the hotspot.
    pub(super) const fn stations(&mut self, stations: u32, now: Instant) {
        if stations > self.stations {
            self.active_at = Some(now);
        }
        self.stations = stations;
    }

    /// Whether a phone uses the hotspot.
    pub(super) fn is_used(&self, now: Instant) -> bool {
        self.stations > 0 && self.active_at.is_some_and(|at| at + PHONE_IDLE > now)
    }

    /// Whether the node may leave the hotspot. Until then it does not scan either, because a scan interrupts phones for seconds.
    pub(super) fn may_leave(&self, now: Instant) -> bool {
        !self.is_used(now) && self.hold_until.is_none_or(|until| until <= now)
    }

    /// The stored networks that this scan and the one before have found, in the order of this scan. A network that was just
    /// switched on gets the time between two scans before it is joined.
    pub(super) fn found(&mut self, networks: Vec<Ssid>) -> Vec<Ssid> {
        let twice = networks.iter().filter(|network| self.seen.contains(network)).cloned().collect();
        self.seen = networks;
        twice
    }

    /// A scan has ended. Returns whether the radio has become deaf: then phones cannot reach the hotspot either.
    pub(super) fn is_deaf(&mut self, hears: Option<bool>, now: Instant) -> bool {
        match hears {
            Some(true) => (self.has_heard, self.silent) = (true, 0),
            Some(false) if self.has_heard => self.silent = self.silent.saturating_add(1),
            _ => {}
        }
        let may_restart = self.restarted_at.is_none_or(|at| at + DEAF_PAUSE <= now);
        let is_deaf = self.silent >= DEAF_SCANS && may_restart;
        if is_deaf {
            (self.has_heard, self.silent, self.restarted_at) = (false, 0, Some(now));
        }
        is_deaf
    }

    /// The hotspot was opened.
    pub(super) fn opened(&mut self) {
        self.seen.clear();
        self.stations = 0;
    }

    /// The node has returned to a network.
    pub(super) fn returned(&mut self, now: Instant) {
        *self = Self { works_since: Some(now), hold_until: Some(now + HOLD), ..Self::default() };
    }

    /// A return has failed.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let pause = now + RETRIES.nominal(self.failures);
        self.hold_until = Some(self.hold_until.map_or(pause, |until| until.max(pause)));
    }

    /// A good check.
    pub(super) fn works(&mut self, now: Instant) {
        if self.works_since.is_some_and(|since| since + STEADY <= now) {
            *self = Self::default();
        }
    }

    /// A bad check.
    pub(super) const fn fails(&mut self, now: Instant) {
        if let Some(since) = &mut self.works_since {
            *since = now;
        }
    }
}
