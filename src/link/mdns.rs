//! mDNS: a node announces its HTTP API in its network (RFC 6762, RFC 6763).
//!
//! When provisioning succeeds, the access point closes, and the phone returns to its own network. There it finds the node by
//! the name of the access point, and queries the outcome. Before, a node is announced only where its radio was in use when it
//! started: there it opens no access point, in which phones know its address. Nothing is announced, and no query answered, in
//! any other network of the node, such as a VPN or a container's: only at the interface of the radio.

use std::future::Future;

use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::daemon::Handle;
use provisioning_core::domain::{RadioUse, State};
use provisioning_core::endpoint::MDNS_SERVICE;
use provisioning_core::fault::chain;

/// The property that holds the node's identity at the command center.
pub const NODE_ID: &str = "node_id";

/// How often an interface is searched for other addresses, seconds. Each search wakes the processor, and an address that a
/// router has given seldom changes while the radio stays in its network. After a loss the node is announced again.
const ADDRESSES_EVERY: u32 = 300;

/// The announcement.
#[derive(Clone, Debug)]
pub struct Config {
    /// The service's instance: the name that the node had before its registration, which phones know.
    pub name: String,
    /// The port of the HTTP API.
    pub port: u16,
    /// The interface of the radio, and what it is used for.
    pub radio: watch::Receiver<RadioUse>,
}

/// An announcement that is being made.
struct Announced {
    daemon: ServiceDaemon,
    content: Content,
}

/// Where a node is announced, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    interface: String,
    node_id: String,
}

/// Announces the node until `shutdown` is ready.
pub async fn serve(config: Config, handle: Handle, shutdown: impl Future<Output = ()>) {
    let mut announced = None;
    tokio::select! {
        () = shutdown => {}
        () = follow(&config, &handle, &mut announced) => {}
    }
    withdraw(&mut announced).await;
}

/// Follows the node's state; ends with the loop.
async fn follow(config: &Config, handle: &Handle, announced: &mut Option<Announced>) {
    let (mut views, mut radio) = (handle.views(), config.radio.clone());
    // The network was lost since the announcement, and may give another address when it returns.
    let mut was_lost = false;
    loop {
        let view = views.borrow_and_update().clone();
        let is_provisioned = matches!(view.status.state(), State::Provisioned | State::Online);
        let interface = match &*radio.borrow_and_update() {
            RadioUse::Station { interface } if is_provisioned => Some(interface.clone()),
            RadioUse::Other { interface } => Some(interface.clone()),
            RadioUse::Station { .. } | RadioUse::AccessPoint(_) | RadioUse::Idle => None,
        };
        let wanted = interface.map(|interface| Content { interface, node_id: view.info.node_id.clone() });
        // After a success, a network that is lost for a moment ends nothing.
        let stays = is_provisioned && wanted.is_none();
        was_lost |= stays;
        let is_current = !was_lost && announced.as_ref().map(|announced| &announced.content) == wanted.as_ref();
        if !stays && !is_current {
            withdraw(announced).await;
            *announced = wanted.and_then(|content| announce(config, content));
            was_lost = false;
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

/// Makes an announcement. The reason of a failure is logged.
fn announce(config: &Config, content: Content) -> Option<Announced> {
    match daemon(config, &content) {
        Ok(daemon) => {
            info!(name = config.name, port = config.port, interface = content.interface, "mDNS service announced");
            Some(Announced { daemon, content })
        }
        Err(error) => {
            warn!("announcing the mDNS service failed: {}", chain(&error));
            None
        }
    }
}

fn daemon(config: &Config, content: &Content) -> mdns_sd::Result<ServiceDaemon> {
    let host = format!("{}.local.", config.name);
    let properties = [("txtvers", "1"), (NODE_ID, content.node_id.as_str())];
    let service = ServiceInfo::new(MDNS_SERVICE, &config.name, &host, (), config.port, &properties[..])?.enable_addr_auto();
    let daemon = ServiceDaemon::new()?;
    daemon.set_ip_check_interval(ADDRESSES_EVERY)?;
    daemon.disable_interface(IfKind::All)?;
    daemon.enable_interface(content.interface.as_str())?;
    daemon.register(service)?;
    Ok(daemon)
}

/// Withdraws the announcement, so that phones forget the service at once.
async fn withdraw(announced: &mut Option<Announced>) {
    let Some(Announced { daemon, .. }) = announced.take() else { return };
    if let Ok(ended) = daemon.shutdown() {
        // An error means that it has ended already.
        let _either_way = ended.recv_async().await;
    }
}
