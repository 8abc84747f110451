//! When the node can be found: advertising, the access point, and the end of the program.

use core::time::Duration;

use super::run::Phase;
use super::{AccessPointPolicy, Command, Done, Instant, Machine, Op, Output};
use crate::domain::Step;

/// An access point that could not be opened is tried again after this time.
const ACCESS_POINT_RETRY: Duration = Duration::from_secs(30);

/// The node's access point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessPoint {
    /// The radio does something else, or nothing.
    Closed,
    /// It is being opened.
    Opening(Op),
    /// It is on the air.
    Open,
    /// Could not be opened; tried again at that time.
    Failed(Instant),
}

impl Machine {
    /// Brings visibility in line with everything else.
    pub(super) fn settle(&mut self, now: Instant) {
        let advertise = self.bluetooth && (self.wants_phone() || self.lingers());
        if advertise != self.advertising {
            self.advertising = advertise;
            self.outputs.push_back(Output::Advertise(advertise));
        }
        if self.access_point_due().is_some_and(|at| at <= now) {
            self.open_access_point();
        }
        self.settle_failure();
    }

    /// When the access point is to be opened; none while something else must come first.
    pub(super) fn access_point_due(&self) -> Option<Instant> {
        // The list is made before the access point takes the radio, which cannot look around well after that.
        let scanned = self.networks.is_some() || self.scan.is_none();
        if !scanned || self.restoring.is_some() || !matches!(self.phase, Phase::Idle) || !self.wants_phone() {
            return None;
        }
        let wanted = match self.config.access_point {
            AccessPointPolicy::Never => return None,
            AccessPointPolicy::Always => Instant::ZERO,
            AccessPointPolicy::WhenQuiet(_) if !self.bluetooth => Instant::ZERO,
            // It is not quiet while a phone is here, however long its owner looks for a password.
            AccessPointPolicy::WhenQuiet(_) if self.slot.is_some() => return None,
            AccessPointPolicy::WhenQuiet(quiet) => self.heard + quiet,
        };
        match self.access_point {
            AccessPoint::Closed => Some(wanted),
            AccessPoint::Failed(retry) => Some(wanted.max(retry)),
            AccessPoint::Opening(_) | AccessPoint::Open => None,
        }
    }

    /// When the program may end; none while a phone has the session or something is under way.
    pub(super) fn finish_due(&self) -> Option<Instant> {
        self.finish_at.filter(|_| self.slot.is_none() && matches!(self.phase, Phase::Idle))
    }

    /// Whether the node waits for somebody to give it credentials.
    fn wants_phone(&self) -> bool {
        self.status.step != Step::Done || self.status.failure.is_some()
    }

    /// Whether a phone may still ask how it ended: one that lost its link at the last moment has to find the node again.
    const fn lingers(&self) -> bool {
        self.finish_at.is_some() || self.config.linger.is_none()
    }

    pub(super) const fn opening_access_point(&self) -> bool {
        matches!(self.access_point, AccessPoint::Opening(_))
    }

    pub(super) fn open_access_point(&mut self) {
        let op = self.start(Command::OpenAccessPoint { name: self.identity.name() });
        self.access_point = AccessPoint::Opening(op);
    }

    pub(super) fn access_point_opened(&mut self, result: &Done, now: Instant) {
        self.access_point = match result {
            Done::Saved(Ok(())) => AccessPoint::Open,
            _ => AccessPoint::Failed(now + ACCESS_POINT_RETRY),
        };
    }

    /// After a failure: says when the setup network is back and a phone may send again.
    fn settle_failure(&mut self) {
        let underway = self.restoring.is_some() || self.opening_access_point();
        if self.status.failure.is_none() || !matches!(self.phase, Phase::Idle) || underway {
            return;
        }
        let restored = self.access_point == AccessPoint::Open;
        if !self.status.retryable || self.status.access_point_restored != restored {
            self.status.retryable = true;
            self.status.access_point_restored = restored;
            self.announce();
        }
    }
}
