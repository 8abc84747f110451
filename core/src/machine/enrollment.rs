//! Whether the node is provisioned, and whether its command center answers.

use super::command::{CommandCenterCommand, Op, kind};
use super::outbox::Outbox;
use crate::domain::CommandCenterUrl;

/// The node's relation to its command center.
pub(super) struct Enrollment {
    provisioned: bool,
    /// An attempt without a command center has joined a network that the node keeps.
    online: bool,
    /// The command center answered the last health check.
    healthy: bool,
    check: Option<Op<kind::CheckHealth>>,
}

impl Enrollment {
    pub(super) const fn new(provisioned: bool, online: bool) -> Self {
        Self { provisioned, online: online && !provisioned, healthy: false, check: None }
    }

    pub(super) const fn is_provisioned(&self) -> bool {
        self.provisioned
    }

    /// The node is online, and not enrolled.
    pub(super) const fn is_online(&self) -> bool {
        self.online
    }

    /// The node keeps a network: it is provisioned, or online and not enrolled.
    pub(super) const fn keeps_network(&self) -> bool {
        self.provisioned || self.online
    }

    /// An attempt without a command center has succeeded.
    pub(super) const fn is_online_now(&mut self) {
        self.online = true;
    }

    /// The node is provisioned, and its command center is in reach.
    pub(super) const fn is_healthy(&self) -> bool {
        self.provisioned && self.healthy
    }

    pub(super) fn check(&mut self, command_center: CommandCenterUrl, outbox: &mut Outbox) {
        let op = outbox.op();
        self.check = Some(op);
        outbox.start(CommandCenterCommand::CheckHealth { op, command_center });
    }

    pub(super) fn checked(&mut self, op: Op<kind::CheckHealth>, healthy: bool) {
        if self.check.take_if(|check| *check == op).is_some() {
            self.healthy = healthy;
        }
    }

    /// The command center has registered the node, so it answers.
    pub(super) const fn enrolled(&mut self) {
        self.provisioned = true;
        self.online = false;
        self.healthy = true;
    }

    pub(super) const fn reset(&mut self) {
        self.provisioned = false;
        self.online = false;
        self.healthy = false;
    }
}
