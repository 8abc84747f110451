//! The network through NetworkManager, over D-Bus.
//!
//! One task owns the radio and does one thing after another; whoever asks waits for its answer. A question that nobody
//! waits for any more is given up where that leaves nothing behind: the task takes away what it had begun itself.
//!
//! ```text
//! scan, join, keep … ──▶ radio (one task) ──calls──▶ NetworkManager
//!                              ▲                          │
//!                              └── states of the device ──┘
//! ```
//!
//! A join is a *volatile* profile, which NetworkManager drops when it fails, when it ends, and when the power is cut; only
//! [`keep`](Network::keep) stores it. What was joined and not yet kept, and an open access point, are held: they come back
//! when NetworkManager, the bus or the adapter does, until something else is asked for, or somebody else takes the radio.
//!
//! | module | what it holds |
//! |---|---|
//! | `radio` | the task: one request after another, and what is held |
//! | `activation` | one activation, from the call to its outcome |
//! | `join`, `access_point`, `profiles`, `survey` | what the requests do |
//! | `outcome`, `scan`, `profile`, `values` | pure: what numbers and properties mean |
//! | `device`, `bus`, `proxies` | what is on the bus |

mod access_point;
mod activation;
mod bus;
mod cause;
mod device;
mod join;
mod outcome;
mod profile;
mod profiles;
mod proxies;
mod radio;
mod scan;
mod survey;
mod values;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot, watch};

use crate::network::{Error, Network};
use cause::Cause;
use provisioning_core::domain::{self, Passphrase, Ssid};
use provisioning_core::machine::Joined;
use radio::{Asked, Caller, Radio, Request};

/// How the radio is used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The D-Bus address of another bus than the system's.
    pub bus: Option<String>,
    /// The Wi-Fi device, such as `wlan0`; none for the first that there is.
    pub interface: Option<String>,
    /// The access point's passphrase; none for an open one.
    pub passphrase: Option<Passphrase>,
    /// The node's address in its access point, with 254 addresses around it. Phone apps know 192.168.4.1.
    pub address: Ipv4Addr,
    /// The access point's channel: 1, 6 or 11, where every phone looks, and where no radar has to be waited for. 6 has
    /// always been among the first that phones try.
    pub channel: u32,
    /// Where NetworkManager's DNS server for access points looks for configuration. A file is there while the access
    /// point is open, so that every name leads to the node.
    pub dns_directory: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bus: None,
            interface: None,
            passphrase: None,
            address: Ipv4Addr::new(192, 168, 4, 1),
            channel: 6,
            dns_directory: "/etc/NetworkManager/dnsmasq-shared.d".into(),
        }
    }
}

/// The Wi-Fi radio that NetworkManager drives.
///
/// The access point ends when this is dropped; a joined network does not.
pub struct NetworkManager {
    requests: mpsc::UnboundedSender<Asked>,
    wanted: watch::Sender<u64>,
}

impl NetworkManager {
    /// Starts the task that owns the radio, on the current tokio runtime. NetworkManager need not be there yet.
    pub fn start(settings: Settings) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let (wanted, wanted_receiver) = watch::channel(0);
        tokio::spawn(Radio::new(settings, receiver, wanted_receiver).run());
        Self { requests, wanted }
    }

    async fn ask<T>(
        &self,
        attempt: String,
        request: impl FnOnce(oneshot::Sender<Result<T, Cause>>) -> Request,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        // Lives as long as this future: with it, the caller is gone.
        let (_waiting, caller) = watch::channel(0);
        let asked = Asked { request: request(reply), caller: Caller::new(caller) };
        let answer = async {
            self.requests.send(asked).map_err(|_| Cause::Stopped)?;
            self.wanted.send_modify(|number| *number += 1);
            answer.await.map_err(|_| Cause::Stopped)?
        };
        answer.await.map_err(|cause| Error::because(attempt, cause.fault(), cause))
    }
}

impl Network for NetworkManager {
    async fn scan(&self) -> Result<Vec<domain::Network>, Error> {
        self.ask("looking for networks".into(), |reply| Request::Scan { reply }).await
    }

    async fn join(&self, ssid: &Ssid, passphrase: &Passphrase, hidden: bool) -> Result<Joined, Error> {
        let (attempt, ssid, passphrase) = (format!("joining {ssid:?}"), ssid.clone(), passphrase.clone());
        self.ask(attempt, |reply| Request::Join { ssid, passphrase, hidden, reply }).await
    }

    async fn keep(&self) -> Result<(), Error> {
        self.ask("keeping the joined network".into(), |reply| Request::Keep { reply }).await
    }

    async fn restore(&self) -> Result<(), Error> {
        self.ask("going back to the network before".into(), |reply| Request::Restore { reply }).await
    }

    async fn open_access_point(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask(format!("opening the access point {name:?}"), |reply| Request::OpenAccessPoint { name, reply }).await
    }

    async fn forget(&self) -> Result<(), Error> {
        self.ask("forgetting the networks that were kept".into(), |reply| Request::Forget { reply }).await
    }
}
