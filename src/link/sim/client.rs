//! A client of a protocol without a session, on the simulated link.

use std::collections::{HashMap, HashSet};

use tokio::sync::mpsc;

use super::server::received;
use crate::daemon::{Handle, Stopping, View};
use crate::link::clients::{Characteristic, Protocol};
use provisioning_core::gatt::packets::FromNode;
use provisioning_core::machine::Link;

/// One client.
pub(super) struct Client {
    protocol: Protocol,
    /// From its first subscription or value on.
    opened: Option<(Link, mpsc::Receiver<Vec<u8>>)>,
    /// What it is notified of.
    subscribed: HashSet<Characteristic>,
    /// The last values of which it was notified.
    told: HashMap<Characteristic, Vec<u8>>,
}

impl Client {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self { protocol, opened: None, subscribed: HashSet::new(), told: HashMap::new() }
    }

    /// The link, if it has one.
    pub(super) fn into_link(self) -> Option<Link> {
        self.opened.map(|(link, _)| link)
    }

    /// The link, which may be new. The client can be notified of values of `room` bytes.
    pub(super) async fn link(&mut self, handle: &Handle, room: usize) -> Result<Link, Stopping> {
        if let Some((link, _)) = &self.opened {
            return Ok(*link);
        }
        let (link, _) = self.opened.insert(handle.open().await?);
        self.protocol.opened(handle, *link, room).await?;
        Ok(*link)
    }

    pub(super) fn subscribe(&mut self, characteristic: Characteristic) {
        self.subscribed.insert(characteristic);
    }

    /// The value that it reads; none if it cannot be read.
    pub(super) fn value(&self, characteristic: Characteristic, view: &View) -> Option<Vec<u8>> {
        characteristic.value(view, self.told.get(&characteristic).cloned())
    }

    /// The next message to it; none if the node has closed the link.
    pub(super) async fn message(&mut self) -> Option<Vec<u8>> {
        received(&mut self.opened).await
    }

    /// The notifications that a message makes.
    pub(super) fn notifications(&mut self, message: &[u8]) -> Vec<FromNode> {
        let Some((characteristic, values)) = self.protocol.notified(message) else { return Vec::new() };
        self.told.insert(characteristic, values.concat());
        if !self.subscribed.contains(&characteristic) {
            return Vec::new();
        }
        values.into_iter().map(|value| FromNode::Notification { characteristic: characteristic.uuid(), value }).collect()
    }
}
