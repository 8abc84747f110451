//! Notices for nodes: that something waits for them here. They travel through a message broker, which may be shared with
//! strangers, so they hold no secrets, and a node fetches everything else with its own key.

use std::fmt::Debug;
use std::pin::Pin;

use serde_json::Value;

/// A message broker.
pub(crate) trait Broker: Debug + Send + Sync {
    /// Hands a message over; whether the broker has confirmed it. The cause of a failure is logged.
    fn publish(&self, topic: String, payload: String) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

/// Tells nodes what waits for them.
#[derive(Debug)]
pub(crate) struct Notices(Option<Box<dyn Broker>>);

impl Notices {
    /// Without a broker nodes get no notices; they find what is pending when they poll.
    pub(crate) fn new(broker: Option<Box<dyn Broker>>) -> Self {
        Self(broker)
    }

    /// Tells a node; whether the notice is on its way.
    pub(crate) async fn tell(&self, node_id: &str, subject: &str, notice: &Value) -> bool {
        let Some(broker) = &self.0 else { return false };
        // These characters would make it a message for others.
        if node_id.contains(['/', '+', '#']) {
            tracing::warn!(node_id, "no notice is sent to a node with this id");
            return false;
        }
        broker.publish(format!("jarvis/nodes/{node_id}/{subject}"), notice.to_string()).await
    }
}
