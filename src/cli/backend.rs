//! The radio through the software that the settings name.

use std::io;

use jarvis_provisioning::config::{self, Config};
use jarvis_provisioning::network::hostapd::{self, Hostapd};
use jarvis_provisioning::network::nm::{self, NetworkManager};
use jarvis_provisioning::network::{Error, Inspection, Maintenance, Network, StoredNetwork};
use provisioning_core::care::recovery::Sighted;
use provisioning_core::domain::{self, Country, Enterprise, Passphrase, RadioUse, Ssid};
use provisioning_core::fault::chain;
use provisioning_core::machine::Joined;
use tokio::sync::watch;
use tracing::info;

use super::{Failure, paths, variable};

/// The radio. One type for both adapters, so that what uses it is compiled once.
#[derive(Clone)]
pub(super) enum Backend {
    NetworkManager(NetworkManager),
    Hostapd(Hostapd),
}

/// Calls a method of either adapter.
macro_rules! either {
    ($backend:expr, $method:ident($($argument:expr),*)) => {
        match $backend {
            Backend::NetworkManager(network) => network.$method($($argument),*).await,
            Backend::Hostapd(network) => network.$method($($argument),*).await,
        }
    };
}

impl Backend {
    /// Starts the task that owns the radio. `passphrase` is that of the access point.
    pub(super) fn start(config: &Config, passphrase: Option<Passphrase>) -> Self {
        let interface = config.interface.clone();
        let folder = paths(config).directory;
        match config.backend {
            config::Backend::NetworkManager => {
                let certificates = folder.join("certificates");
                let settings = nm::Settings { interface, passphrase, certificates, ..nm::Settings::default() };
                Self::NetworkManager(NetworkManager::start(settings))
            }
            config::Backend::Hostapd => {
                let defaults = hostapd::Settings::default();
                // systemd makes the folder for the unit.
                let runtime = variable("RUNTIME_DIRECTORY").map_or_else(|| defaults.runtime.clone(), Into::into);
                Self::Hostapd(Hostapd::start(hostapd::Settings { interface, passphrase, profiles: folder, runtime, ..defaults }))
            }
        }
    }

    /// Refuses settings that this system cannot serve.
    pub(super) fn check(config: &Config) -> Result<(), Failure> {
        let missing = match config.backend {
            config::Backend::Hostapd if !config.simulate => Hostapd::missing(),
            config::Backend::Hostapd | config::Backend::NetworkManager => None,
        };
        let failure = |text| Failure::Resource {
            attempt: "preparing the network".into(),
            source: io::Error::new(io::ErrorKind::NotFound, text),
        };
        missing.map_or(Ok(()), |text| Err(failure(text)))
    }

    /// Sets what the radio's software does not keep over a restart.
    pub(super) async fn prepare(&self, country: Option<Country>) {
        either!(self, prepare(country));
    }

    /// What the radio is used for, and its changes.
    pub(super) fn radio(&self) -> watch::Receiver<RadioUse> {
        match self {
            Self::NetworkManager(network) => network.radio(),
            Self::Hostapd(network) => network.radio(),
        }
    }

    /// Joins the stored network that was used last, unless other software does.
    pub(super) async fn rejoin(&self) {
        if let Self::Hostapd(network) = self
            && let Err(error) = network.join_stored(None).await
        {
            info!("{}", chain(&error));
        }
    }

    /// Gives back what the program has taken from others, at its end.
    pub(super) async fn stop(&self) {
        if let Self::Hostapd(network) = self {
            network.stop().await;
        }
    }

    /// Whether this program must run for the node to stay in its network.
    pub(super) const fn holds_network(&self) -> bool {
        matches!(self, Self::Hostapd(_))
    }

    /// Keeps a provisioned node in its network; ends at once if other software does.
    pub(super) async fn hold(&self) {
        if let Self::Hostapd(network) = self {
            network.hold().await;
        }
    }
}

impl Network for Backend {
    async fn scan(&self) -> Result<Vec<domain::Network>, Error> {
        either!(self, scan())
    }

    async fn join(&self, ssid: &Ssid, passphrase: &Passphrase, hidden: bool) -> Result<Joined, Error> {
        either!(self, join(ssid, passphrase, hidden))
    }

    async fn join_enterprise(&self, ssid: &Ssid, enterprise: &Enterprise, hidden: bool) -> Result<Joined, Error> {
        either!(self, join_enterprise(ssid, enterprise, hidden))
    }

    async fn set_country(&self, country: Country) -> Result<(), Error> {
        either!(self, set_country(country))
    }

    async fn may_use(&self, frequency: u32) -> bool {
        either!(self, may_use(frequency))
    }

    async fn keep(&self) -> Result<(), Error> {
        either!(self, keep())
    }

    async fn restore(&self) -> Result<(), Error> {
        either!(self, restore())
    }

    async fn open_access_point(&self, name: &str) -> Result<(), Error> {
        either!(self, open_access_point(name))
    }

    async fn forget(&self) -> Result<(), Error> {
        either!(self, forget())
    }
}

impl Maintenance for Backend {
    async fn inspect(&self) -> Inspection {
        either!(self, inspect())
    }

    async fn in_range(&self) -> Result<Sighted, Error> {
        either!(self, in_range())
    }

    async fn join_stored(&self, network: Option<&Ssid>) -> Result<(), Error> {
        either!(self, join_stored(network))
    }

    async fn close_access_point(&self) -> Result<(), Error> {
        either!(self, close_access_point())
    }

    async fn restart_radio(&self) -> Result<(), Error> {
        either!(self, restart_radio())
    }

    async fn stored(&self) -> Result<Vec<StoredNetwork>, Error> {
        either!(self, stored())
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        either!(self, delete(name))
    }
}
