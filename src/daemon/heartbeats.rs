//! The heartbeats of an appliance, and its reset when its server has released it.

use std::time::Duration;

use provisioning_core::fault::chain;
use provisioning_core::machine::{Answer, LocalRequest};
use tracing::{debug, info, warn};

use super::Handle;
use crate::claim::{NodeClaims, Standing};

/// When heartbeats are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeats {
    /// From the start of the program to the first one, when the network may be there.
    pub first: Duration,
    /// From each one to the next, a tenth more or less, so that devices that lost the same server come back at different times.
    pub interval: Duration,
}

impl Default for Heartbeats {
    /// An operator sees within minutes that a device is silent, and a device soon learns that it was released.
    fn default() -> Self {
        Self { first: Duration::from_secs(10), interval: Duration::from_mins(5) }
    }
}

impl Handle {
    /// Reports to its server that the appliance is alive, if the device has claimed a code, and resets the device if the server
    /// has released it from its site. Runs until the loop has ended.
    pub async fn report_appliance(self, claims: NodeClaims, heartbeats: Heartbeats) {
        tokio::time::sleep(heartbeats.first).await;
        loop {
            match claims.heartbeat().await {
                Ok(Some(Standing::Released)) => {
                    warn!("an operator has released this appliance from its site: deleting what it has of its owner");
                    match self.ask_locally(LocalRequest::Reset).await {
                        Ok(Answer::Reset(_)) => info!("the device is reset, and can be claimed with a new code"),
                        Ok(answer) => warn!(?answer, "the reset is not complete"),
                        Err(_stopping) => return,
                    }
                }
                Ok(standing) => debug!(?standing, "sent a heartbeat"),
                Err(error) => debug!(error = chain(&error), "sending a heartbeat"),
            }
            tokio::time::sleep(heartbeats.interval.mul_f64(0.9 + 0.2 * share())).await;
        }
    }
}

/// A random number from 0 to 1, for a pause.
fn share() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}
