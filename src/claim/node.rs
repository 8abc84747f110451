//! The claim of a code that came with a phone's credentials.

use std::path::PathBuf;
use std::time::SystemTime;

use super::{Claimant, Device, Error, RefusalReason, Request};
use provisioning_core::domain::{CommandCenterUrl, ProvisionCode};
use provisioning_core::fault::Fault;

/// Claims codes at the node's command center, for this device.
#[derive(Clone, Debug)]
pub struct NodeClaims {
    /// The exchange with the server.
    pub claimant: Claimant,
    /// Who claims.
    pub device: Device,
    /// Where the configuration is written. A phone that sends a code wants it claimed, so an existing configuration is replaced.
    pub folder: PathBuf,
    /// What the time is.
    pub clock: fn() -> SystemTime,
}

impl NodeClaims {
    /// Claims a code and stores what comes of it; the identity of the appliance. The same code, claimed again, has the same
    /// result. The cause of a failure is logged; the phone receives the fault.
    pub async fn claim(&self, command_center: &CommandCenterUrl, code: &ProvisionCode) -> Result<String, Fault> {
        let request = Request {
            code: code.clone(),
            device: self.device.clone(),
            endpoint: command_center.clone(),
            folder: self.folder.clone(),
            again: true,
            clock: self.clock,
        };
        match self.claimant.provision(&request).await {
            Ok(appliance) => Ok(appliance.appliance_id),
            Err(error) => {
                let fault = fault(&error);
                tracing::warn!(fault = fault.name(), "claiming the provision code: {}", provisioning_core::fault::chain(&error));
                Err(fault)
            }
        }
    }
}

/// The fault that the phone receives.
fn fault(error: &Error) -> Fault {
    match error {
        Error::Refused(refusal) => match refusal.reason {
            RefusalReason::AlreadyClaimed => Fault::ProvisionCodeClaimed,
            RefusalReason::Expired => Fault::ProvisionCodeExpired,
            RefusalReason::Invalid => Fault::ProvisionCodeRejected,
            RefusalReason::Other => Fault::CommandCenterRefused,
        },
        Error::TimedOut | Error::Unreachable(_) => Fault::CommandCenterUnreachable,
        // A claim that replaces a configuration never fails with the first.
        Error::AlreadyProvisioned | Error::Unexpected(_) => Fault::CommandCenterAnswer,
        Error::Files(_) => Fault::StorageFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::ServerRefusal;

    #[test]
    fn the_phone_is_told_why_a_code_is_refused() {
        for (words, expected) in [
            ("Invalid provision code", Fault::ProvisionCodeRejected),
            ("Provision code is revoked", Fault::ProvisionCodeRejected),
            ("Provision code already revoked", Fault::ProvisionCodeRejected),
            ("Provision code expired", Fault::ProvisionCodeExpired),
            ("Provision code is expired", Fault::ProvisionCodeExpired),
            ("Code already claimed", Fault::ProvisionCodeClaimed),
            ("Provision code already claimed", Fault::ProvisionCodeClaimed),
            ("Partner not found", Fault::CommandCenterRefused),
        ] {
            assert_eq!(fault(&Error::Refused(ServerRefusal::new(words.into()))), expected, "{words}");
        }
    }
}
