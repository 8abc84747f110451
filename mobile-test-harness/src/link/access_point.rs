//! A node's access point: joined for as long as the phone talks to it, and left as the phone was.
//!
//! The access point vanishes when the node tries the network that it was told. When it fails, the access point comes back
//! under the same name, and the phone with it. When it succeeds, the node is in the owner's network, says so by mDNS, and
//! the phone asks there.

use std::net::SocketAddr;
use std::time::Duration;

use mdns_sd::{ServiceDaemon, ServiceEvent};
use provisioning_core::endpoint::NETWORK_SERVICE;
use provisioning_core::secret::SecretText;
use reqwest::Url;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, warn};

use super::http::Http;
use super::{Error, NAME_PREFIX};
use crate::wifi::{self, Wifi};

/// Where a node's HTTP API is, in its access point.
const NODE: &str = "http://192.168.4.1:8080";

/// A node that is near answers within milliseconds.
const NEAR_LIMIT: Duration = Duration::from_secs(2);
/// Names are asked for after 0, 1 and 3 s; a node that is there has answered by then.
const MDNS_LIMIT: Duration = Duration::from_secs(5);

/// Which access point, and how to get in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// The phone's Wi-Fi device; the first one that NetworkManager can use if there is none.
    pub interface: Option<String>,
    /// The access point's name; the only one in range if there is none.
    pub name: Option<String>,
    /// Its passphrase, from the label; none for an open one.
    pub passphrase: Option<SecretText>,
}

/// A connection to a node by its access point, and later in its owner's network.
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
        debug!(name, "in the access point");
        Ok(Self { wifi, name, passphrase, http: Http::new(node()) })
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
            // Radios notice late that the other end is gone.
            debug!("the access point is silent");
        }
        if self.wifi.look_for(&self.name).await?.contains(&self.name) {
            self.wifi.join(&self.name, &self.passphrase).await?;
            self.http.move_to(node());
            return Ok(());
        }
        self.wifi.go_back().await?;
        let found = in_the_network(&self.name).await.ok_or(Error::Lost(None))?;
        debug!(node = %found, "found in the network");
        self.http.move_to(found);
        Ok(())
    }

    /// Ends the session, and leaves the phone's Wi-Fi as it was.
    pub async fn close(mut self) {
        self.http.end_session().await;
        back(&mut self.wifi).await;
    }
}

/// The phone's network is its owner's: what goes wrong is said, and ends nothing.
async fn back(wifi: &mut Wifi) {
    if let Err(error) = wifi.go_back().await {
        warn!("the phone's network before is not back: {}", crate::chain(&error));
    }
}

fn node() -> Url {
    Url::parse(NODE).expect("a plain URL")
}

/// Whether somebody answers there.
async fn answers(node: &Url) -> bool {
    let Ok(addresses) = node.socket_addrs(|| None) else { return false };
    matches!(timeout(NEAR_LIMIT, TcpStream::connect(&*addresses)).await, Ok(Ok(_)))
}

/// Where the node of that name is in the phone's network; none if it does not say so, or is not to be reached.
pub async fn in_the_network(name: &str) -> Option<Url> {
    let daemon = ServiceDaemon::new().inspect_err(|error| warn!(%error, "no mDNS")).ok()?;
    let url = match daemon.browse(NETWORK_SERVICE) {
        Ok(events) => {
            let until = Instant::now() + MDNS_LIMIT;
            let mut found = None;
            while found.is_none()
                && let Ok(Ok(event)) = timeout_at(until, events.recv_async()).await
            {
                debug!(?event, "mDNS");
                let ServiceEvent::ServiceResolved(service) = event else { continue };
                if service.get_fullname().strip_suffix(NETWORK_SERVICE).and_then(|instance| instance.strip_suffix('.'))
                    != Some(name)
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
            warn!(%error, "asking by mDNS");
            None
        }
    };
    if let Ok(ended) = daemon.shutdown() {
        // An error means that it has ended already.
        let _either_way = ended.recv_async().await;
    }
    url
}
