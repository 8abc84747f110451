//! How phones find the node: advertising, the access point, and the end of the program.

use core::time::Duration;

use super::command::{Op, RadioCommand, kind};
use super::{AccessPointPolicy, Instant, Machine, Output};
use crate::domain::Step;
use crate::fault::Fault;

/// An access point that could not be opened is tried again after this time.
const ACCESS_POINT_RETRY: Duration = Duration::from_secs(30);

/// The ways in which phones can find the node.
pub(super) struct Visibility {
    access_point: AccessPoint,
    /// The previous network is being restored.
    restoring: Option<Op<kind::Switch>>,
    bluetooth: bool,
    /// Another program's connection uses the radio.
    taken: bool,
    advertising: bool,
    /// When a phone last wrote something.
    heard: Instant,
    /// When another program's connection last ended.
    released: Instant,
    /// Set by a success: when the linger time is over.
    finish_at: Option<Instant>,
}

/// The node's access point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AccessPoint {
    /// The radio does something else, or nothing.
    Closed,
    /// It is being opened.
    Opening(Op<kind::Switch>),
    /// It is open.
    Open,
    /// It could not be opened; retried at that time.
    Failed(Instant),
}

impl Visibility {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            access_point: AccessPoint::Closed,
            restoring: None,
            bluetooth: true,
            taken: false,
            advertising: false,
            heard: now,
            released: now,
            finish_at: None,
        }
    }

    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    pub(super) const fn set_bluetooth(&mut self, available: bool) {
        self.bluetooth = available;
    }

    pub(super) fn set_taken(&mut self, taken: bool, now: Instant) {
        if taken && self.access_point == AccessPoint::Open {
            self.access_point = AccessPoint::Closed;
        }
        // A connection that was lost may come back.
        if self.taken && !taken {
            self.released = now;
        }
        self.taken = taken;
    }

    /// Network care has opened the access point, or something has closed it. While the machine opens it, only the result of
    /// its command counts.
    pub(super) const fn access_point_is(&mut self, open: bool) {
        self.access_point = match (self.access_point, open) {
            (AccessPoint::Closed | AccessPoint::Failed(_), true) => AccessPoint::Open,
            (AccessPoint::Open, false) => AccessPoint::Closed,
            (unchanged, _) => unchanged,
        };
    }

    /// The station takes the radio from the access point.
    pub(super) const fn station_takes_radio(&mut self) {
        self.access_point = AccessPoint::Closed;
    }

    /// The access point is open, or being opened.
    pub(super) const fn is_access_point(&self) -> bool {
        matches!(self.access_point, AccessPoint::Open | AccessPoint::Opening(_))
    }

    /// The radio is being switched, and no attempt has it.
    pub(super) const fn is_switching(&self) -> bool {
        self.restoring.is_some() || matches!(self.access_point, AccessPoint::Opening(_))
    }

    /// The linger time after a success has begun.
    pub(super) const fn is_finishing(&self) -> bool {
        self.finish_at.is_some()
    }
}

impl Machine {
    /// Brings visibility in line with everything else.
    pub(super) fn settle(&mut self, now: Instant) {
        let advertise = self.visibility.bluetooth && (self.wants_phone() || self.lingers());
        if advertise != self.visibility.advertising {
            self.visibility.advertising = advertise;
            self.outbox.push(Output::Advertise(advertise));
        }
        if self.access_point_due().is_some_and(|at| at <= now) {
            self.open_access_point();
        }
        self.settle_failure();
    }

    /// When the access point is to be opened; none while something else must come first.
    pub(super) fn access_point_due(&self) -> Option<Instant> {
        // The list is made before the access point takes the radio, which cannot scan well after that.
        if self.networks.is_first_scan() || self.visibility.restoring.is_some() {
            return None;
        }
        if !self.activity.is_idle() || !self.wants_phone() {
            return None;
        }
        if self.config.network_care && self.enrollment.is_provisioned() || self.enrollment.is_online() {
            return None;
        }
        let wanted = match self.config.access_point {
            AccessPointPolicy::Never => return None,
            AccessPointPolicy::Always => Instant::ZERO,
            AccessPointPolicy::WhenQuiet(_) if self.visibility.taken => return None,
            AccessPointPolicy::WhenQuiet(_) if !self.visibility.bluetooth => Instant::ZERO,
            // It is not quiet while a phone has the session, however long its owner looks for a password.
            AccessPointPolicy::WhenQuiet(_) if self.slot.is_some() => return None,
            AccessPointPolicy::WhenQuiet(quiet) => self.visibility.heard.max(self.visibility.released) + quiet,
        };
        match self.visibility.access_point {
            AccessPoint::Closed => Some(wanted),
            AccessPoint::Failed(retry) => Some(wanted.max(retry)),
            AccessPoint::Opening(_) | AccessPoint::Open => None,
        }
    }

    /// When the program may exit; none while a phone has the session or something is in progress.
    pub(super) fn finish_due(&self) -> Option<Instant> {
        self.visibility.finish_at.filter(|_| self.slot.is_none() && self.activity.is_idle())
    }

    pub(super) fn finish_timed_out(&mut self, now: Instant) {
        if self.finish_due().is_some_and(|at| at <= now) {
            self.visibility.finish_at = None;
            self.outbox.push(Output::Finished);
        }
    }

    /// From here on the outcome can be read for as long as the configuration says.
    pub(super) fn linger(&mut self, now: Instant) {
        self.visibility.finish_at = self.config.linger.map(|linger| now + linger);
    }

    /// Whether the node waits for credentials.
    fn wants_phone(&self) -> bool {
        self.status.step != Step::Done || self.status.failure.is_some()
    }

    /// Whether a phone may still read the outcome: one that lost its link at the last moment has to find the node again.
    const fn lingers(&self) -> bool {
        self.visibility.finish_at.is_some() || self.config.linger.is_none()
    }

    pub(super) fn open_access_point(&mut self) {
        let op = self.outbox.op();
        self.outbox.start(RadioCommand::OpenAccessPoint { op, name: self.identity.name() });
        self.visibility.access_point = AccessPoint::Opening(op);
    }

    pub(super) fn restore_network(&mut self) {
        let op = self.outbox.op();
        self.outbox.start(RadioCommand::RestoreNetwork { op });
        self.visibility.restoring = Some(op);
    }

    /// A change of the radio has ended: a network is restored or kept, networks are forgotten, or the access point is open.
    pub(super) fn switched(&mut self, op: Op<kind::Switch>, result: Result<(), Fault>, now: Instant) {
        if self.visibility.restoring == Some(op) {
            // Restored or not, a phone may try again.
            self.visibility.restoring = None;
        } else if self.visibility.access_point == AccessPoint::Opening(op) {
            self.visibility.access_point = match result {
                Ok(()) => AccessPoint::Open,
                Err(_) => AccessPoint::Failed(now + ACCESS_POINT_RETRY),
            };
        } else if self.activity.forgetting() == Some(op) {
            self.networks_forgotten(result, now);
        } else {
            self.network_kept(op, result);
        }
    }

    /// A reset stops what the radio does for visibility.
    pub(super) fn stop_opening(&mut self) {
        if let AccessPoint::Opening(op) = self.visibility.access_point {
            self.outbox.push(Output::Cancel { op: op.id() });
            self.visibility.access_point = AccessPoint::Open;
        }
    }

    /// After a reset: opens the access point again if the reset has closed it.
    pub(super) fn reopen_access_point(&mut self) {
        self.visibility.finish_at = None;
        if self.visibility.access_point == AccessPoint::Open {
            self.open_access_point();
        } else {
            self.visibility.access_point = AccessPoint::Closed;
        }
    }

    /// After a failure: announces when the access point is open again and a phone may send again.
    fn settle_failure(&mut self) {
        if self.status.failure.is_none() || !self.activity.is_idle() || self.visibility.is_switching() {
            return;
        }
        let restored = self.visibility.access_point == AccessPoint::Open;
        if !self.status.retryable || self.status.access_point_restored != restored {
            self.status.retryable = true;
            self.status.access_point_restored = restored;
            self.announce();
        }
    }
}
