//! The claim of a code that came with a phone's credentials.

use std::path::PathBuf;
use std::time::SystemTime;

use super::{Claimant, Device, Error, RefusalReason, Request};
use provisioning_core::domain::{CommandCenterUrl, ProvisionCode, UnixTime};
use provisioning_core::fault::Fault;

/// Claims codes at the node's command center, for this device.
#[derive(Clone, Debug)]
pub struct NodeClaims {
    /// The client of the server.
    pub claimant: Claimant,
    /// The device that claims.
    pub device: Device,
    /// The folder for the configuration. A phone that sends a code wants it claimed, so an existing configuration is replaced.
    pub folder: PathBuf,
    /// The current time.
    pub clock: fn() -> SystemTime,
}

impl NodeClaims {
    /// Claims a code, stores the configuration, and returns the identity of the appliance. Claiming the same code again has
    /// the same result. The cause of a failure is logged; the phone receives the fault.
    ///
    /// `time` has passed; certificates are not judged by an earlier one.
    pub async fn claim(
        &self,
        command_center: &CommandCenterUrl,
        code: &ProvisionCode,
        time: Option<UnixTime>,
    ) -> Result<String, Fault> {
        let request = Request {
            code: code.clone(),
            device: self.device.clone(),
            endpoint: command_center.clone(),
            folder: self.folder.clone(),
            again: true,
            clock: self.clock,
        };
        match self.claimant.at_or_after(time).provision(&request).await {
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
        // Not returned by a claim that replaces the configuration.
        Error::AlreadyProvisioned | Error::Unexpected(_) => Fault::CommandCenterAnswer,
        Error::Files(_) => Fault::StorageFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::ServerRefusal;

    #[test]
    fn the_phone_receives_the_reason_of_a_refused_code() {
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
