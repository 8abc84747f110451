//! mDNS: after a success the node says in its new network where its HTTP API is.
//!
//! A phone that was in the access point has lost it by then, and comes back to its own network. There it finds the node
//! by the name that the access point had, and asks how it ended (RFC 6762, RFC 6763). Nothing is said before: in the
//! access point the node's address is known, and in somebody's network it has no business until it is in it.

use std::future::Future;

use mdns_sd::{ServiceDaemon, ServiceInfo};
use tracing::{info, warn};

use crate::daemon::{Handle, View};
use provisioning_core::domain::State;
use provisioning_core::endpoint::MDNS_SERVICE;
use provisioning_core::fault::chain;

/// The property that holds the node's identity, by which the command center knows it.
pub const NODE_ID: &str = "node_id";

/// What is announced.
#[derive(Clone, Debug)]
pub struct Config {
    /// The service's instance: the name by which phones have met the node. It has another one once it is registered.
    pub name: String,
    /// The port of the HTTP API.
    pub port: u16,
}

/// Announces the node for as long as it is provisioned and still answers, until `shutdown` is ready.
pub async fn serve(config: Config, handle: Handle, shutdown: impl Future<Output = ()>) {
    let mut announced = None;
    tokio::select! {
        () = shutdown => {}
        () = follow(&config, &handle, &mut announced) => {}
    }
    withdraw(&mut announced).await;
}

/// Follows how the node stands; ends with the loop.
async fn follow(config: &Config, handle: &Handle, announced: &mut Option<ServiceDaemon>) {
    let mut views = handle.views();
    loop {
        let view = views.borrow_and_update().clone();
        match (view.status.state() == State::Provisioned, announced.is_some()) {
            (true, false) => {
                *announced = announce(config, &view)
                    .inspect(|_| info!(name = config.name, port = config.port, "announced in the network"))
                    .inspect_err(|error| warn!("phones will not find the node in its network: {}", chain(error)))
                    .ok();
            }
            (false, true) => withdraw(announced).await,
            _ => {}
        }
        // What could not be announced is tried again only when the node stands differently.
        if views.changed().await.is_err() {
            return;
        }
    }
}

fn announce(config: &Config, view: &View) -> mdns_sd::Result<ServiceDaemon> {
    let host = format!("{}.local.", config.name);
    let properties = [("txtvers", "1"), (NODE_ID, view.info.node_id.as_str())];
    let service = ServiceInfo::new(MDNS_SERVICE, &config.name, &host, (), config.port, &properties[..])?.enable_addr_auto();
    let daemon = ServiceDaemon::new()?;
    daemon.register(service)?;
    Ok(daemon)
}

/// Says goodbye, so that nobody looks for the node any more.
async fn withdraw(announced: &mut Option<ServiceDaemon>) {
    let Some(daemon) = announced.take() else { return };
    if let Ok(ended) = daemon.shutdown() {
        // An error means that it has ended already.
        let _either_way = ended.recv_async().await;
    }
}
