//! A link through a node's access point. The phone joins it for the duration of the link, and then returns to the network
//! where it was.
//!
//! The access point vanishes when the node tries to join the owner's network. If that fails, the access point returns under
//! the same name, and the phone joins it again. If it succeeds, the node announces itself by mDNS in the owner's network,
//! and the phone continues there.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mdns_sd::{ServiceDaemon, ServiceEvent};
use provisioning_core::endpoint::MDNS_SERVICE;
use provisioning_core::secret::SecretText;
use reqwest::Url;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use super::http::Http;
use super::{Error, NAME_PREFIX};
use crate::wifi::{self, Wifi};

/// The usual address of a node in its access point.
const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 1);
/// The port of its HTTP API.
const PORT: u16 = 8080;

/// How long to wait for a TCP connection to a node, which takes milliseconds.
const NEAR_LIMIT: Duration = Duration::from_secs(2);
/// mDNS queries are sent after 0, 1 and 3 s; a node that is there has answered by then.
const MDNS_LIMIT: Duration = Duration::from_secs(5);

/// Which access point to join, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The phone's Wi-Fi device; by default the first one that NetworkManager can use.
    pub interface: Option<String>,
    /// The access point's name; by default the only one in range.
    pub name: Option<String>,
    /// Its passphrase, from the label; none for an open one.
    pub passphrase: Option<SecretText>,
}

/// A connection to a node through its access point, and later in its owner's network.
#[derive(Debug)]
pub struct AccessPoint {
    wifi: Wifi,
    name: String,
    passphrase: SecretText,
    pub(super) http: Http,
}

impl AccessPoint {
    /// Joins the access point.
    pub async fn connect(way: &Way) -> Result<Self, Error> {
        let mut wifi = Wifi::open(way.interface.as_deref()).await?;
        let mut names = wifi.look_for(way.name.as_deref().unwrap_or(NAME_PREFIX)).await?;
        names.retain(|name| way.name.as_ref().is_none_or(|wanted| name == wanted));
        let name = match names.len() {
            0 => return Err(wifi::Error::NotInRange.into()),
            1 => names.remove(0),
            _ => return Err(wifi::Error::Several(names).into()),
        };
        let passphrase = way.passphrase.clone().unwrap_or_else(|| SecretText::new(String::new()));
        if let Err(error) = wifi.join(&name, &passphrase).await {
            back(&mut wifi).await;
            return Err(error.into());
        }
        debug!(name, "joined the access point");
        let http = Http::new(node(&wifi).await);
        Ok(Self { wifi, name, passphrase, http })
    }

    /// The access point's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Finds the node again: where it was, in its access point if that is back, or in the phone's own network.
    pub async fn reconnect(&mut self) -> Result<(), Error> {
        self.http.forget_messages();
        if self.wifi.is_joined().await? {
            if answers(&self.http.node()).await {
                return Ok(());
            }
            // Radios detect late that the access point is gone.
            debug!("the node does not answer in its access point");
        }
        if self.wifi.look_for(&self.name).await?.contains(&self.name) {
            self.wifi.join(&self.name, &self.passphrase).await?;
            self.http.move_to(node(&self.wifi).await);
            return Ok(());
        }
        self.wifi.go_back().await?;
        let found = in_the_network(&self.name).await.ok_or(Error::Lost(None))?;
        debug!(node = %found, "found in the network");
        self.http.move_to(found);
        Ok(())
    }

    /// Ends the session, and returns the phone's Wi-Fi to its previous network.
    pub async fn close(mut self) {
        self.http.end_session().await;
        back(&mut self.wifi).await;
    }
}

/// Returns to the previous network. A failure is logged and otherwise ignored, because the provisioning itself is done.
async fn back(wifi: &mut Wifi) {
    if let Err(error) = wifi.go_back().await {
        warn!("returning to the previous network failed: {}", crate::chain(&error));
    }
}

/// The node in the access point that was joined: the router, which is at another address if the node has another network that
/// overlaps the usual one.
async fn node(wifi: &Wifi) -> Url {
    let address = wifi.router().await.unwrap_or(NODE);
    Url::parse(&format!("http://{address}:{PORT}")).expect("a plain URL")
}

/// Whether a server accepts TCP connections there.
async fn answers(node: &Url) -> bool {
    let Ok(addresses) = node.socket_addrs(|| None) else { return false };
    matches!(timeout(NEAR_LIMIT, TcpStream::connect(&*addresses)).await, Ok(Ok(_)))
}

/// The address of the node of that name in the phone's network; none if it does not announce one, or is not reachable.
pub async fn in_the_network(name: &str) -> Option<Url> {
    let daemon = ServiceDaemon::new().inspect_err(|error| warn!(%error, "mDNS is not available")).ok()?;
    let url = match daemon.browse(MDNS_SERVICE) {
        Ok(events) => {
            let until = Instant::now() + MDNS_LIMIT;
            let mut found = None;
            while found.is_none()
                && let Ok(Ok(event)) = timeout_at(until, events.recv_async()).await
            {
                debug!(?event, "mDNS");
                let ServiceEvent::ServiceResolved(service) = event else { continue };
                if service.get_fullname().strip_suffix(MDNS_SERVICE).and_then(|instance| instance.strip_suffix('.')) != Some(name)
                {
                    continue;
                }
                for address in service.get_addresses_v4() {
                    let url = Url::parse(&format!("http://{}", SocketAddr::from((address, service.get_port())))).ok()?;
                    if answers(&url).await {
                        found = Some(url);
                    }
                }
            }
            found
        }
        Err(error) => {
            warn!(%error, "browsing by mDNS");
            None
        }
    };
    if let Ok(ended) = daemon.shutdown() {
        // An error means that it has ended already.
        let _either_way = ended.recv_async().await;
    }
    url
}
