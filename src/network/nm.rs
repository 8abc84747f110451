//! The network through NetworkManager, over D-Bus.
//!
//! One task owns the radio and executes one request after another; the caller waits for the answer. If the caller stops
//! waiting, the task aborts the request where that is clean, and removes what it has created.
//!
//! ```text
//! scan, join, keep … ──▶ radio (one task) ──calls──▶ NetworkManager
//!                              ▲                          │
//!                              └── states of the device ──┘
//! ```
//!
//! A join is a *volatile* profile, which NetworkManager deletes when it fails, when it ends, and when the power is cut; only
//! [`keep`](Network::keep) stores it. A network that is joined and not yet stored, and an open access point, are held: they
//! are activated again when NetworkManager, the bus or the adapter returns, until the next request, or until another program
//! takes the radio.
//!
//! | module | contents |
//! |---|---|
//! | `radio` | the task: one request after another, and the held connection |
//! | `activation` | one activation, from the call to its outcome |
//! | `join`, `access_point`, `profiles`, `survey` | the requests |
//! | `inspect`, `stations` | the state of radio and connection, and the phones in the access point |
//! | `maintenance` | the requests of network care |
//! | `country` | the country of the radio |
//! | `enterprise` | logins to enterprise networks, and the files of their certificates |
//! | `supplicant` | what the supplicant tells beside NetworkManager |
//! | `watchdog` | the supplicant while the access point is open |
//! | `outcome`, `scan`, `profile`, `subnet`, `values` | pure: the meaning of numbers and properties |
//! | `device`, `bus`, `proxies` | the objects on the bus |

pub(in crate::network) mod access_point;
mod activation;
mod bus;
pub(in crate::network) mod cause;
pub(in crate::network) mod country;
mod device;
pub(in crate::network) mod enterprise;
mod inspect;
mod join;
mod maintenance;
pub(in crate::network) mod outcome;
pub(in crate::network) mod profile;
mod profiles;
mod proxies;
mod radio;
pub(in crate::network) mod scan;
pub(in crate::network) mod stations;
pub(in crate::network) mod subnet;
pub(in crate::network) mod supplicant;
pub(in crate::network) mod survey;
pub(in crate::network) mod values;
mod watchdog;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::network::{Error, Inspection, Maintenance, Network, StoredNetwork};
use cause::Cause;
use join::Key;
use provisioning_core::care::diagnosis;
use provisioning_core::care::recovery::Sighted;
use provisioning_core::domain::{self, Country, Enterprise, Passphrase, RadioUse, Ssid};
use provisioning_core::fault::chain;
use provisioning_core::machine::Joined;
use radio::{Caller, Job, Radio, Request};

/// The settings of the radio.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The D-Bus address of another bus than the system's.
    pub bus: Option<String>,
    /// The Wi-Fi interface, such as `wlan0`; none for the first one.
    pub interface: Option<String>,
    /// The access point's passphrase; none for an open one.
    pub passphrase: Option<Passphrase>,
    /// The node's address in its access point, with 254 addresses around it. Phone apps expect 192.168.4.1. It is another
    /// one if this network overlaps one of another interface.
    pub address: Ipv4Addr,
    /// The kernel's table of routes, where the packaged unit may read it: `/proc/self/net/route`.
    pub routes: PathBuf,
    /// The access point's channel: 1, 6 or 11, which every phone scans, and which need no radar detection. Phones scan 6
    /// among the first.
    pub channel: u32,
    /// The configuration folder of NetworkManager's DNS server for access points. It contains a file while the access
    /// point is open, so that every name resolves to the node.
    pub dns_directory: PathBuf,
    /// The socket of the helper that writes that file for a node without the rights of root; without the socket the node
    /// writes it itself.
    pub dns_helper: PathBuf,
    /// The socket of the helper that changes the supplicant's settings for a node without the rights of root; without the socket
    /// the node changes them itself.
    pub radio_helper: PathBuf,
    /// The folder of the certificates of enterprise networks. NetworkManager and the supplicant read them there.
    pub certificates: PathBuf,
    /// The kernel's radio switches.
    pub switches: PathBuf,
    /// The country that the kernel has, as [`NetworkManager::country`].
    pub country: fn() -> Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bus: None,
            interface: None,
            passphrase: None,
            address: Ipv4Addr::new(192, 168, 4, 1),
            routes: "/proc/self/net/route".into(),
            channel: 6,
            dns_directory: "/etc/NetworkManager/dnsmasq-shared.d".into(),
            dns_helper: "/run/jarvis-provisioning/names".into(),
            radio_helper: "/run/jarvis-provisioning/radio".into(),
            certificates: "/var/lib/jarvis/certificates".into(),
            switches: "/dev/rfkill".into(),
            country: stations::country,
        }
    }
}

/// The Wi-Fi radio, controlled by NetworkManager.
///
/// Clones share it. The access point ends when the last one is dropped; a joined network does not.
#[derive(Clone)]
pub struct NetworkManager {
    requests: mpsc::UnboundedSender<Job>,
    wanted: watch::Sender<u64>,
    radio: watch::Receiver<RadioUse>,
}

impl NetworkManager {
    /// Starts the task that owns the radio, on the current tokio runtime. NetworkManager may start later.
    pub fn start(settings: Settings) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let (wanted, wanted_receiver) = watch::channel(0);
        let (used, radio) = watch::channel(RadioUse::Idle);
        tokio::spawn(Radio::new(settings, receiver, wanted_receiver, used).run());
        Self { requests, wanted, radio }
    }

    /// The country by which the kernel chooses channels: two letters, or `00` if none is set; none if the kernel does not tell.
    pub fn country() -> Option<String> {
        stations::country()
    }

    /// Sets what the supplicant does not keep over a restart: the country, and both ways of WPA3 to derive its elements, which
    /// some networks need. Without a radio nothing is set.
    pub async fn prepare(&self, country: Option<Country>) {
        let asked = self.ask("preparing the radio".into(), |reply| Request::Prepare { country, reply }).await;
        if let Err(error) = asked {
            tracing::debug!("{}", chain(&error));
        }
    }

    /// What the radio is used for, and its changes.
    pub fn radio(&self) -> watch::Receiver<RadioUse> {
        self.radio.clone()
    }

    async fn ask<T>(
        &self,
        attempt: String,
        request: impl FnOnce(oneshot::Sender<Result<T, Cause>>) -> Request,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        // Lives as long as this future: its end abandons the request.
        let (_waiting, caller) = watch::channel(0);
        let job = Job { request: request(reply), caller: Caller::new(caller) };
        let takes_radio = job.request.takes_radio();
        let answer = async {
            self.requests.send(job).map_err(|_| Cause::Stopped)?;
            self.wanted.send_if_modified(|number| {
                *number += 1;
                takes_radio
            });
            answer.await.map_err(|_| Cause::Stopped)?
        };
        answer.await.map_err(|cause| Error { hung: cause.is_hung(), ..Error::because(attempt, cause.fault(), cause) })
    }
}

impl Network for NetworkManager {
    async fn scan(&self) -> Result<Vec<domain::Network>, Error> {
        self.ask("scanning for networks".into(), |reply| Request::Scan { reply }).await
    }

    async fn join(&self, ssid: &Ssid, passphrase: &Passphrase, hidden: bool) -> Result<Joined, Error> {
        let (ssid, key) = (ssid.clone(), Key::Passphrase(passphrase.clone()));
        // The journal does not contain the name, which may have come sealed.
        self.ask("joining the network".into(), |reply| Request::Join { ssid, key, hidden, reply }).await
    }

    async fn join_enterprise(&self, ssid: &Ssid, enterprise: &Enterprise, hidden: bool) -> Result<Joined, Error> {
        let (ssid, key) = (ssid.clone(), Key::Login(Arc::new(enterprise.clone())));
        self.ask("joining the enterprise network".into(), |reply| Request::Join { ssid, key, hidden, reply }).await
    }

    async fn set_country(&self, country: Country) -> Result<(), Error> {
        self.ask("setting the country of the radio".into(), |reply| Request::SetCountry { country, reply }).await
    }

    async fn may_use(&self, frequency: u32) -> bool {
        let asked = self.ask("asking for the radio's bands".into(), |reply| Request::MayUse { frequency, reply }).await;
        asked.unwrap_or(true)
    }

    async fn keep(&self) -> Result<(), Error> {
        self.ask("storing the joined network".into(), |reply| Request::Keep { reply }).await
    }

    async fn restore(&self) -> Result<(), Error> {
        self.ask("returning to the previous network".into(), |reply| Request::Restore { reply }).await
    }

    async fn open_access_point(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask(format!("opening the access point {name:?}"), |reply| Request::OpenAccessPoint { name, reply }).await
    }

    async fn forget(&self) -> Result<(), Error> {
        self.ask("deleting the stored networks".into(), |reply| Request::Forget { reply }).await
    }
}

impl Maintenance for NetworkManager {
    async fn inspect(&self) -> Inspection {
        let inspected = self.ask("inspecting the network".into(), |reply| Request::Inspect { reply }).await;
        inspected.unwrap_or_else(|error| Inspection::unconnected(diagnosis::Radio::ServiceSilent(chain(&error))))
    }

    async fn in_range(&self) -> Result<Sighted, Error> {
        self.ask("scanning for stored networks".into(), |reply| Request::InRange { reply }).await
    }

    async fn join_stored(&self, network: Option<&Ssid>) -> Result<(), Error> {
        let network = network.cloned();
        self.ask("joining a stored network".into(), |reply| Request::JoinStored { network, reply }).await
    }

    async fn close_access_point(&self) -> Result<(), Error> {
        self.ask("closing the access point".into(), |reply| Request::CloseAccessPoint { reply }).await
    }

    async fn restart_radio(&self) -> Result<(), Error> {
        self.ask("restarting the radio's software".into(), |reply| Request::RestartRadio { reply }).await
    }

    async fn stored(&self) -> Result<Vec<StoredNetwork>, Error> {
        self.ask("listing the stored networks".into(), |reply| Request::Stored { reply }).await
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask("deleting a stored network".into(), |reply| Request::Delete { name, reply }).await
    }
}
