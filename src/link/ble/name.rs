//! The name in the GAP service (0x2A00), which phones show and cache once they have connected: that of the adapter.
//!
//! `BlueZ` stores the adapter's name, so it outlives this program. It is the node's only while the node serves phones; the next
//! start corrects it after a crash.

use std::time::Duration;

use tokio::time::timeout;
use tracing::{debug, info};

use super::bus::{Adapter, Bus};
use super::{Config, Error};
use provisioning_core::fault::chain;

/// An empty name stands for the host's.
const HOSTS: &str = "";
/// Limit of giving the name back. `BlueZ` answers within milliseconds; the program is about to exit.
const LIMIT: Duration = Duration::from_millis(1500);

/// Gives the adapter the node's name; returns the name that it had, if its owner has chosen one. A failure is logged, because
/// phones find the node without it.
pub(super) async fn take(bus: &Bus, adapter: &Adapter, name: &str) -> Option<String> {
    let taking = async {
        let (alias, host) = (bus.name(adapter, "Alias").await?, bus.name(adapter, "Name").await?);
        if alias == name {
            return Ok(None);
        }
        bus.set_alias(adapter, name).await?;
        Ok((alias != host).then_some(alias))
    };
    taking.await.unwrap_or_else(|error: Error| {
        info!("phones will show the host's name: {}", chain(&error));
        None
    })
}

/// Gives the adapters with the node's name their own again: `chosen`, or the host's. Does not start `BlueZ`.
pub(super) async fn give_back(config: &Config, name: &str, chosen: Option<&str>) {
    let giving = async {
        let mut bus = Bus::connect(config.bus.as_deref()).await?;
        if !bus.is_running().await? {
            return Ok(());
        }
        for adapter in bus.adapters().await? {
            if bus.name(&adapter, "Alias").await? == name {
                bus.set_alias(&adapter, chosen.unwrap_or(HOSTS)).await?;
                debug!(adapter = adapter.name(), "the adapter has its own name again");
            }
        }
        Ok::<_, Error>(())
    };
    match timeout(LIMIT, giving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("the adapter keeps the node's name: {}", chain(&error)),
        Err(_) => debug!("the adapter keeps the node's name: BlueZ does not answer"),
    }
}
