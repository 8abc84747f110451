//! A watchdog for the supplicant while the node's access point is open.
//!
//! A supplicant that hangs stays on the bus, and the kernel continues to send the access point's beacons: phones see the access
//! point and cannot join it, and NetworkManager reports no change.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::cause::{Call, Cause};
use super::profile::Plan;
use super::proxies::SupplicantProxy;
use super::radio::{Held, Radio};
use super::supplicant;
use provisioning_core::fault::chain;

/// The pause between two checks.
const PERIOD: Duration = Duration::from_secs(10);
/// The limit of an answer. The supplicant answers within milliseconds, and on a busy board within a second.
const LIMIT: Duration = Duration::from_secs(5);
/// The number of consecutive checks without an answer after which the supplicant is restarted.
const PATIENCE: u8 = 2;

/// The state of the watchdog.
pub(super) struct Watchdog {
    next: Instant,
    unanswered: u8,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        Self { next: Instant::now(), unanswered: 0 }
    }

    /// The time of the next check.
    pub(super) const fn next(&self) -> Instant {
        self.next
    }

    /// Records a check. Returns whether the supplicant hangs.
    fn checked(&mut self, answered: bool) -> bool {
        self.next = Instant::now() + PERIOD;
        self.unanswered = if answered { 0 } else { self.unanswered + 1 };
        let hangs = self.unanswered == PATIENCE;
        if hangs {
            self.unanswered = 0;
        }
        hangs
    }
}

impl Radio {
    /// Whether the supplicant is watched: while the access point is open, or lost and about to open again.
    pub(super) const fn is_watched(&self) -> bool {
        matches!(&self.held, Some(Held { plan: Plan::AccessPoint(_), .. }))
    }

    /// Checks the supplicant, and restarts it if it hangs. The access point then opens again like any other that is lost.
    pub(super) async fn check_supplicant(&mut self) {
        let answered = self.supplicant_answers().await.unwrap_or_else(|cause| {
            debug!("the supplicant was not checked: {}", chain(&cause));
            true
        });
        if !self.watchdog.checked(answered) {
            return;
        }
        warn!("wpa_supplicant does not answer, so no phone can join: restarting it and the access point");
        if let Err(cause) = self.restart_supplicant().await {
            warn!("wpa_supplicant was not restarted: {}", chain(&cause));
        }
    }

    /// Whether the supplicant answers, with whatever. Without one, as with another program in its place, nothing hangs.
    async fn supplicant_answers(&self) -> Result<bool, Cause> {
        let bus = self.bus()?;
        if !bus.has(supplicant::SERVICE).await? {
            return Ok(true);
        }
        let supplicant: SupplicantProxy<'_> = bus.proxy(supplicant::ROOT.try_into().expect("a valid path")).await?;
        let interface = self.settings.interface.as_deref().unwrap_or_default();
        let call = Call { name: "GetInterface", action: "" };
        Ok(timeout(LIMIT, bus.call(call, supplicant.get_interface(interface))).await.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_missing_answer_is_no_hang_and_two_in_a_row_are() {
        let mut watchdog = Watchdog::new();
        let verdicts = [false, true, false, false, false, true].map(|answered| watchdog.checked(answered));
        assert_eq!(verdicts, [false, false, false, true, false, false]);
        assert!(watchdog.next() > Instant::now());
    }
}
