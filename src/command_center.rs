//! The daemon's interface to the command center, and its implementation over HTTP.

mod answer;
mod error;
mod registrar;

use std::future::Future;

use crate::claim::NodeClaims;
use provisioning_core::domain::{CommandCenterUrl, ProvisionCode, Registration, UnixTime};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Refused;
use provisioning_core::secret::SecretText;

pub use registrar::{Limits, Registrar};

/// The command center as the node uses it.
///
/// An implementation logs the cause of a failure; the phone receives what it returns. `time` is a time that has passed, by the
/// phone's clock: certificates are not judged by an earlier one.
pub trait CommandCenter: Send + Sync + 'static {
    /// Registers the node; does not retry.
    fn register(
        &self,
        command_center: &CommandCenterUrl,
        node_id: &str,
        token: &SecretText,
        room: &str,
        time: Option<UnixTime>,
    ) -> impl Future<Output = Result<Registration, Refused>> + Send;

    /// Claims a provision code, stores the appliance's configuration and returns the appliance's identity. The same code,
    /// claimed again by this node, has the same result.
    fn claim(
        &self,
        command_center: &CommandCenterUrl,
        code: &ProvisionCode,
        time: Option<UnixTime>,
    ) -> impl Future<Output = Result<String, Fault>> + Send;

    /// Whether `GET /health` answers 200 in time.
    fn healthy(&self, command_center: &CommandCenterUrl) -> impl Future<Output = bool> + Send;

    /// Sends one request with the node's key. Whether the command center accepted it.
    fn confirm_key(
        &self,
        command_center: &CommandCenterUrl,
        registration: &Registration,
        time: Option<UnixTime>,
    ) -> impl Future<Output = bool> + Send;
}

/// The command center over HTTP.
#[derive(Clone, Debug)]
pub struct Client {
    /// Registers the node, and checks the command center's health.
    pub registrar: Registrar,
    /// Claims provision codes for this device.
    pub claims: NodeClaims,
}

impl CommandCenter for Client {
    async fn register(
        &self,
        command_center: &CommandCenterUrl,
        node_id: &str,
        token: &SecretText,
        room: &str,
        time: Option<UnixTime>,
    ) -> Result<Registration, Refused> {
        self.registrar.at_or_after(time).register(command_center, node_id, token, room).await
    }

    async fn claim(
        &self,
        command_center: &CommandCenterUrl,
        code: &ProvisionCode,
        time: Option<UnixTime>,
    ) -> Result<String, Fault> {
        self.claims.claim(command_center, code, time).await
    }

    async fn healthy(&self, command_center: &CommandCenterUrl) -> bool {
        self.registrar.healthy(command_center).await
    }

    async fn confirm_key(&self, command_center: &CommandCenterUrl, registration: &Registration, time: Option<UnixTime>) -> bool {
        self.registrar.at_or_after(time).confirm_key(command_center, registration).await
    }
}

/// No command center: every request fails. For a reset, which makes none.
#[derive(Clone, Copy, Debug)]
pub struct NoCommandCenter;

impl CommandCenter for NoCommandCenter {
    async fn register(
        &self,
        _: &CommandCenterUrl,
        _: &str,
        _: &SecretText,
        _: &str,
        _: Option<UnixTime>,
    ) -> Result<Registration, Refused> {
        Err(Refused::from(Fault::CommandCenterUnreachable))
    }

    async fn claim(&self, _: &CommandCenterUrl, _: &ProvisionCode, _: Option<UnixTime>) -> Result<String, Fault> {
        Err(Fault::CommandCenterUnreachable)
    }

    async fn healthy(&self, _: &CommandCenterUrl) -> bool {
        false
    }

    async fn confirm_key(&self, _: &CommandCenterUrl, _: &Registration, _: Option<UnixTime>) -> bool {
        false
    }
}
