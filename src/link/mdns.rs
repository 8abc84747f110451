//! mDNS: a provisioned node announces its HTTP API in its network (RFC 6762, RFC 6763).
//!
//! When provisioning succeeds, the access point closes, and the phone returns to its own network. There it finds the node by
//! the name of the access point, and queries the outcome. Nothing is announced before: phones know the node's address in
//! the access point. Nothing is announced, and no query answered, in any other network of the node, such as a VPN or a
//! container's: only at the interface that joined the owner's network.

use std::future::Future;

use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::daemon::{Handle, View};
use provisioning_core::domain::{RadioUse, State};
use provisioning_core::endpoint::MDNS_SERVICE;
use provisioning_core::fault::chain;

/// The property that holds the node's identity at the command center.
pub const NODE_ID: &str = "node_id";

/// The announcement.
#[derive(Clone, Debug)]
pub struct Config {
    /// The service's instance: the name that the node had before its registration, which phones know.
    pub name: String,
    /// The port of the HTTP API.
    pub port: u16,
    /// Which interface has joined the owner's network.
    pub radio: watch::Receiver<RadioUse>,
}

/// Announces the node while it is provisioned, until `shutdown` is ready.
pub async fn serve(config: Config, handle: Handle, shutdown: impl Future<Output = ()>) {
    let mut announced = None;
    tokio::select! {
        () = shutdown => {}
        () = follow(&config, &handle, &mut announced) => {}
    }
    withdraw(&mut announced).await;
}

/// Follows the node's state; ends with the loop.
async fn follow(config: &Config, handle: &Handle, announced: &mut Option<ServiceDaemon>) {
    let (mut views, mut radio) = (handle.views(), config.radio.clone());
    loop {
        let view = views.borrow_and_update().clone();
        let interface = radio.borrow_and_update().station().cloned();
        match (view.status.state() == State::Provisioned, interface, announced.is_some()) {
            (true, Some(interface), false) => {
                *announced = announce(config, &interface, &view)
                    .inspect(|_| info!(name = config.name, port = config.port, interface, "mDNS service announced"))
                    .inspect_err(|error| warn!("announcing the mDNS service failed: {}", chain(error)))
                    .ok();
            }
            (false, _, true) => withdraw(announced).await,
            _ => {}
        }
        // A failed announcement is retried when the node's state or the use of the radio changes.
        tokio::select! {
            changed = views.changed() => if changed.is_err() {
                return;
            },
            Ok(()) = radio.changed() => {}
        }
    }
}

fn announce(config: &Config, interface: &str, view: &View) -> mdns_sd::Result<ServiceDaemon> {
    let host = format!("{}.local.", config.name);
    let properties = [("txtvers", "1"), (NODE_ID, view.info.node_id.as_str())];
    let service = ServiceInfo::new(MDNS_SERVICE, &config.name, &host, (), config.port, &properties[..])?.enable_addr_auto();
    let daemon = ServiceDaemon::new()?;
    daemon.disable_interface(IfKind::All)?;
    daemon.enable_interface(interface)?;
    daemon.register(service)?;
    Ok(daemon)
}

/// Withdraws the announcement, so that phones forget the service at once.
async fn withdraw(announced: &mut Option<ServiceDaemon>) {
    let Some(daemon) = announced.take() else { return };
    if let Ok(ended) = daemon.shutdown() {
        // An error means that it has ended already.
        let _either_way = ended.recv_async().await;
    }
}
