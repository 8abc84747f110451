//! The node as a client of its command center.

use std::future::Future;

use crate::domain::{CommandCenterUrl, Registration};
use crate::machine::Refused;
use crate::secret::SecretText;

/// A command center that a node can register with.
pub trait Registrar: Send + Sync + 'static {
    /// One try to register. The cause of a failure is in the journal; what comes back is what the phone is told.
    fn register(
        &self,
        command_center: &CommandCenterUrl,
        node_id: &str,
        token: &SecretText,
        room: &str,
    ) -> impl Future<Output = Result<Registration, Refused>> + Send;

    /// Whether `GET /health` answers 200 in time.
    fn healthy(&self, command_center: &CommandCenterUrl) -> impl Future<Output = bool> + Send;
}
