//! The port to the radio: what the daemon needs, and why it can fail.

pub mod hostapd;
pub mod nm;

use std::error::Error as StdError;
use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;

use thiserror::Error;

use provisioning_core::care::diagnosis::{Address, Association, Radio};
use provisioning_core::care::recovery::{Internet, Sighted};
use provisioning_core::domain::{self, Country, Enterprise, Passphrase, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Joined;

/// How long a DHCP server has for an address. NetworkManager's client asks about 2, 7, 15, 32 and 62 to 67 s after its first question,
/// and a port of a switch that looks for loops passes nothing for up to 50 s.
const ADDRESS_LIMIT: Duration = Duration::from_secs(70);

/// One Wi-Fi radio.
///
/// An implementation changes and deletes only what was created through this trait.
pub trait Network: Send + Sync + 'static {
    /// Scans for networks. The list contains neither the node's own access point nor hidden names.
    fn scan(&self) -> impl Future<Output = Result<Vec<domain::Network>, Error>> + Send;

    /// Joins a network without storing it, and stops any other use of the radio. Ends when the node has an address, or with
    /// the reason of the failure.
    fn join(&self, ssid: &Ssid, passphrase: &Passphrase, hidden: bool) -> impl Future<Output = Result<Joined, Error>> + Send;

    /// Joins an enterprise network, as [`join`](Network::join) does another one.
    fn join_enterprise(
        &self,
        _ssid: &Ssid,
        _enterprise: &Enterprise,
        _hidden: bool,
    ) -> impl Future<Output = Result<Joined, Error>> + Send {
        std::future::ready(Err(Error::new("joining an enterprise network", Fault::UnsupportedSecurity)))
    }

    /// Sets the country that the node is in, which decides about the channels. A radio that is off because it has no country is
    /// switched on, once.
    fn set_country(&self, _country: Country) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Whether the radio can be expected to use a channel, MHz.
    fn may_use(&self, _frequency: u32) -> impl Future<Output = bool> + Send {
        std::future::ready(true)
    }

    /// Stores the network that was joined last, so that it survives a restart.
    fn keep(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Leaves a network that was joined and not stored, and returns to the previous network, if there was one.
    fn restore(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Opens the node's access point with that name, and stops any other use of the radio. Keeps it open until the next
    /// request for the radio. An access point that is already open is unchanged.
    fn open_access_point(&self, name: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Deletes the profiles that were created through this trait, with or without a usable adapter. Ends only when their
    /// deletion survives a power cut.
    fn forget(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What network care needs of the radio, in addition to [`Network`].
///
/// Stored networks are all that the node can join by itself, including those that other programs have stored.
pub trait Maintenance: Network {
    /// The state of the radio and of the node's connection. Changes nothing, and sends nothing over the air.
    fn inspect(&self) -> impl Future<Output = Inspection> + Send;

    /// Scans for the stored networks in range that the node may join without a request; the one that was used last comes
    /// first. An open access point stays open. If the radio cannot scan beside it, every such network counts as in range.
    fn in_range(&self) -> impl Future<Output = Result<Sighted, Error>> + Send;

    /// Joins a stored network: this one, or the one that was used last. Stops any other use of the radio. Afterwards
    /// [`Network::restore`] returns to the previous network if this has failed.
    fn join_stored(&self, network: Option<&Ssid>) -> impl Future<Output = Result<(), Error>> + Send;

    /// Closes the node's access point. The node may join a stored network by itself afterwards.
    fn close_access_point(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Restarts the software that drives the radio, and waits until the radio can be used again.
    fn restart_radio(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// The stored networks; the one that was used last comes first.
    fn stored(&self) -> impl Future<Output = Result<Vec<StoredNetwork>, Error>> + Send;

    /// Deletes every stored network of this name, at the owner's request. Ends only when the deletion survives a power cut.
    fn delete(&self, name: &str) -> impl Future<Output = Result<(), Error>> + Send;
}

/// The state of the radio and of the node's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The Wi-Fi adapter.
    pub radio: Radio,
    /// The connection.
    pub association: Association,
    /// The network that the node is in.
    pub joined: Option<Ssid>,
    /// The name of the connection's profile, as [`StoredNetwork::name`].
    pub profile: Option<String>,
    /// The connection's address.
    pub address: Address,
    /// The connection has an IPv6 address from the network, with or without an IPv4 address.
    pub has_ipv6: bool,
    /// The router.
    pub gateway: Option<Ipv4Addr>,
    /// The DNS servers, in their order.
    pub servers: Vec<Ipv4Addr>,
    /// What NetworkManager knows about the internet.
    pub internet: Internet,
    /// The number of phones in the access point; none if it is not open.
    pub phones: Option<u32>,
}

impl Inspection {
    /// Nothing but the state of the radio is known.
    pub const fn unconnected(radio: Radio) -> Self {
        Self {
            radio,
            association: Association::None,
            joined: None,
            profile: None,
            address: Address::None,
            has_ipv6: false,
            gateway: None,
            servers: Vec::new(),
            internet: Internet::Unknown,
            phones: None,
        }
    }
}

/// A network that the node can join by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredNetwork {
    /// The name for people: that of the network for profiles of this program, that of the profile for others.
    pub name: String,
    /// The network.
    pub ssid: Ssid,
    /// The profile's UUID.
    pub uuid: String,
    /// The node joins it without a request.
    pub autoconnect: bool,
    /// The node is in it, or joins it.
    pub active: bool,
}

/// A failure: the fault for the phone, and the cause for the log.
#[derive(Debug, Error)]
#[error("{attempt}: {}", fault.name())]
pub struct Error {
    /// The failed operation, for the log.
    pub attempt: String,
    /// The fault for the phone.
    pub fault: Fault,
    /// The cause, if any.
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
    /// The software that drives the radio did not react.
    pub hung: bool,
}

impl Error {
    /// A failure without a cause.
    pub fn new(attempt: impl Into<String>, fault: Fault) -> Self {
        Self { attempt: attempt.into(), fault, source: None, hung: false }
    }

    /// A failure with its cause.
    pub fn because(attempt: impl Into<String>, fault: Fault, source: impl StdError + Send + Sync + 'static) -> Self {
        Self { attempt: attempt.into(), fault, source: Some(Box::new(source)), hung: false }
    }
}
