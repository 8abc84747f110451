//! The command center of a machine's world.

use std::collections::{BTreeMap, VecDeque};

use provisioning_core::domain::{ProvisionCode, Registration, UnixTime};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Refused;
use provisioning_core::secret::SecretText;

use crate::world::TOKEN;

/// A command center that repeats its answer to the same registration.
#[derive(Default)]
pub(crate) struct Center {
    pub(crate) nodes: BTreeMap<String, String>,
    /// The household of every token, if the command center names it.
    pub(crate) household: Option<String>,
    /// Codes that were claimed, and how often.
    pub(crate) claims: BTreeMap<String, u32>,
    /// The failures of the next claims.
    pub(crate) claim_failures: VecDeque<Fault>,
    /// The failures of the next registrations.
    pub(crate) failures: VecDeque<Refused>,
    /// How many of its answers are lost after it has registered the node.
    pub(crate) lost_answers: u32,
    pub(crate) requests: u32,
    pub(crate) times: Vec<Option<UnixTime>>,
}

impl Center {
    pub(crate) fn register(&mut self, node_id: &str, token: &str, time: Option<UnixTime>) -> Result<Registration, Refused> {
        self.requests += 1;
        self.times.push(time);
        if let Some(failure) = self.failures.pop_front() {
            return Err(failure);
        }
        if token != TOKEN {
            return Err(Refused { fault: Fault::TokenRejected, status: Some(401), retry_after: None });
        }
        let made = self.nodes.len();
        let key = self.nodes.entry(node_id.into()).or_insert_with(|| format!("key-{made}")).clone();
        if self.lost_answers > 0 {
            self.lost_answers -= 1;
            return Err(unreachable());
        }
        Ok(Registration { node_id: node_id.into(), node_key: SecretText::new(key), household_id: self.household.clone() })
    }

    pub(crate) fn claim(&mut self, code: &ProvisionCode, time: Option<UnixTime>) -> Result<String, Fault> {
        self.times.push(time);
        if let Some(fault) = self.claim_failures.pop_front() {
            return Err(fault);
        }
        *self.claims.entry(code.expose().into()).or_default() += 1;
        Ok(APPLIANCE.into())
    }
}

/// The identity of the appliance after a claim of [`CODE_OF_A_SITE`].
pub(crate) const APPLIANCE: &str = "clinic-1-84:3A:5B:91:B6:61";
pub(crate) const CODE_OF_A_SITE: &str = "ABCD1234EFGH5678";

pub(crate) fn unreachable() -> Refused {
    Refused { fault: Fault::CommandCenterUnreachable, status: None, retry_after: None }
}
