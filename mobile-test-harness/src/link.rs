//! Connections to a node, over every transport.

pub mod access_point;
pub mod ble;
pub mod http;
pub mod simulated;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use provisioning_core::endpoint::Endpoint;
use provisioning_core::fault::Fault;
use provisioning_core::gatt::AttError;
use provisioning_core::wire::Outbound;
use thiserror::Error;
use tokio::time::Instant;

use access_point::{AccessPoint, Way};
use ble::Bluetooth;
use http::Http;
use simulated::Simulated;

/// The prefix of a node's name, in its advertisement and of its access point; the end of its identity follows.
const NAME_PREFIX: &str = "jarvis-";

/// How long to wait for an answer: the transaction timeout of the Attribute Protocol.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `ble` or `ble:ADAPTER`: an advertising node, over the system's first adapter or the given one (a name such as `hci0`,
    /// or an address).
    Bluetooth(Option<String>),
    /// `ap` or `ap:INTERFACE`: in its access point, which the phone joins with its first Wi-Fi device or the given one.
    AccessPoint(Way),
    /// `ble-sim:PATH`: at the Unix socket of the simulated Bluetooth link.
    Simulated(PathBuf),
    /// `http://HOST:PORT`: at its HTTP server.
    Http(reqwest::Url),
}

/// A text that is not a target.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is neither ble[:ADAPTER] nor ap[:INTERFACE] nor ble-sim:PATH nor http://HOST:PORT")]
pub struct BadTarget(String);

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let bad = || BadTarget(text.to_owned());
        if let Some(path) = text.strip_prefix("ble-sim:") {
            return if path.is_empty() { Err(bad()) } else { Ok(Self::Simulated(path.into())) };
        }
        if text == "ble" {
            return Ok(Self::Bluetooth(None));
        }
        if let Some(adapter) = text.strip_prefix("ble:") {
            return if adapter.is_empty() { Err(bad()) } else { Ok(Self::Bluetooth(Some(adapter.to_owned()))) };
        }
        if text == "ap" {
            return Ok(Self::AccessPoint(Way::default()));
        }
        if let Some(interface) = text.strip_prefix("ap:") {
            let way = Way { interface: Some(interface.to_owned()), ..Way::default() };
            return if interface.is_empty() { Err(bad()) } else { Ok(Self::AccessPoint(way)) };
        }
        let url = reqwest::Url::parse(text).map_err(|_| bad())?;
        let plain = url.scheme() == "http" && url.path() == "/" && url.query().is_none() && url.username().is_empty();
        if plain { Ok(Self::Http(url)) } else { Err(bad()) }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bluetooth(None) => f.write_str("ble"),
            Self::Bluetooth(Some(adapter)) => write!(f, "ble:{adapter}"),
            Self::AccessPoint(Way { interface: None, .. }) => f.write_str("ap"),
            Self::AccessPoint(Way { interface: Some(interface), .. }) => write!(f, "ap:{interface}"),
            Self::Simulated(path) => write!(f, "ble-sim:{}", path.display()),
            Self::Http(url) => f.write_str(url.as_str().trim_end_matches('/')),
        }
    }
}

/// Why an operation on a link failed.
#[derive(Debug, Error)]
pub enum Error {
    /// No node accepts connections there.
    #[error("connecting to the device")]
    Connect(#[source] io::Error),
    /// The HTTP request failed.
    #[error("sending an HTTP request to the device")]
    Http(#[source] reqwest::Error),
    /// A call to `BlueZ` failed.
    #[error("{attempt}")]
    Bluetooth {
        /// The operation.
        attempt: &'static str,
        /// The cause.
        #[source]
        source: zbus::Error,
    },
    /// The phone's Wi-Fi failed.
    #[error(transparent)]
    Wifi(#[from] crate::wifi::Error),
    /// The phone has no such adapter.
    #[error("there is no such Bluetooth adapter")]
    NoAdapter,
    /// The node does not advertise: it does not wait for a phone, or all its links are in use.
    #[error("the device is not advertising")]
    NotAdvertising,
    /// The link has ended.
    #[error("the link to the device was lost")]
    Lost(#[source] Option<io::Error>),
    /// The node did not answer in time.
    #[error("the device did not answer in time")]
    Silent,
    /// The node refused a read or a write.
    #[error("the device refused: {0}")]
    Refused(AttError),
    /// The node answered with an HTTP error status.
    #[error("the device answered with HTTP status {0}")]
    Status(u16),
    /// The node sent an invalid message.
    #[error("the device sent an invalid message: {0}")]
    InvalidMessage(Fault),
}

/// The traffic of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Over Bluetooth: acknowledged writes, including the subscription. Over HTTP: requests.
    pub round_trips: u32,
    /// Over Bluetooth: reads. Over HTTP, reads count as round trips.
    pub reads: u32,
    /// Bytes of values or bodies sent.
    pub sent: u64,
    /// Bytes of values or bodies received.
    pub received: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, more: Self) {
        self.round_trips += more.round_trips;
        self.reads += more.reads;
        self.sent += more.sent;
        self.received += more.received;
    }
}

/// A connection to a node. It carries bytes to and from endpoints and does not interpret them.
#[derive(Debug)]
pub enum Link {
    /// Over the air.
    Bluetooth(Box<Bluetooth>),
    /// Over HTTP, in the node's access point.
    AccessPoint(Box<AccessPoint>),
    /// Over the simulated Bluetooth link.
    Simulated(Box<Simulated>),
    /// Over HTTP.
    Http(Box<Http>),
}

impl Link {
    /// Connects.
    pub async fn connect(target: &Target) -> Result<Self, Error> {
        // Boxed, because the variants differ much in size and every future of a phone holds one.
        Ok(match target {
            Target::Bluetooth(adapter) => Self::Bluetooth(Box::new(Bluetooth::connect(adapter.as_deref()).await?)),
            Target::AccessPoint(way) => Self::AccessPoint(Box::new(Box::pin(AccessPoint::connect(way)).await?)),
            Target::Simulated(path) => Self::Simulated(Box::new(Simulated::connect(path).await?)),
            Target::Http(url) => Self::Http(Box::new(Http::new(url.clone()))),
        })
    }

    /// Connects again after a loss. The traffic continues to count.
    pub async fn reconnect(&mut self, target: &Target) -> Result<(), Error> {
        match (self, target) {
            (Self::Simulated(link), Target::Simulated(path)) => {
                let traffic = link.traffic();
                **link = Simulated::connect(path).await?;
                link.count(traffic);
            }
            // Keep the session's name: the node may still hold the session, and would refuse this phone as a second one.
            (Self::Http(link), Target::Http(_)) => link.forget_messages(),
            (Self::AccessPoint(link), Target::AccessPoint(_)) => Box::pin(link.reconnect()).await?,
            (link, target) => *link = Self::connect(target).await?,
        }
        Ok(())
    }

    /// The name that the node advertises, or that its access point has; none over HTTP.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Bluetooth(link) => Some(link.name()),
            Self::AccessPoint(link) => Some(link.name()),
            Self::Simulated(link) => Some(link.name()),
            Self::Http(_) => None,
        }
    }

    /// The public value of an endpoint.
    pub async fn read(&mut self, endpoint: Endpoint) -> Result<Vec<u8>, Error> {
        match self {
            Self::Bluetooth(link) => link.read(endpoint).await,
            Self::Simulated(link) => link.read(endpoint).await,
            Self::AccessPoint(link) => link.http.read(endpoint).await,
            Self::Http(link) => link.read(endpoint).await,
        }
    }

    /// Writes a whole message. The node's answers come from [`receive`](Self::receive).
    pub async fn write(&mut self, endpoint: Endpoint, message: &[u8]) -> Result<(), Error> {
        match self {
            Self::Bluetooth(link) => link.write(endpoint, message).await,
            Self::Simulated(link) => link.write(endpoint, message).await,
            Self::AccessPoint(link) => link.http.write(endpoint, message).await,
            Self::Http(link) => link.write(endpoint, message).await,
        }
    }

    /// The same for a request whose reply the phone waits for in any case: over Bluetooth without an acknowledgement.
    pub async fn send(&mut self, endpoint: Endpoint, message: &[u8]) -> Result<(), Error> {
        match self {
            Self::Bluetooth(link) => link.send(endpoint, message).await,
            Self::Simulated(link) => link.send(endpoint, message).await,
            Self::AccessPoint(_) | Self::Http(_) => self.write(endpoint, message).await,
        }
    }

    /// The next message of the node, in order; none if no message arrives until `until`.
    pub async fn receive(&mut self, until: Instant) -> Result<Option<Outbound>, Error> {
        match self {
            Self::Bluetooth(link) => link.receive(until).await,
            Self::Simulated(link) => link.receive(until).await,
            Self::AccessPoint(link) => link.http.receive(until).await,
            Self::Http(link) => link.receive(until).await,
        }
    }

    /// The traffic so far.
    pub fn traffic(&self) -> Traffic {
        match self {
            Self::Bluetooth(link) => link.traffic(),
            Self::Simulated(link) => link.traffic(),
            Self::AccessPoint(link) => link.http.traffic(),
            Self::Http(link) => link.traffic(),
        }
    }

    /// Closes the link. Where the transport does not signal that to the node, it is sent a message.
    pub async fn close(self) {
        match self {
            Self::Bluetooth(link) => link.close().await,
            Self::AccessPoint(link) => Box::pin(link.close()).await,
            Self::Simulated(_) => {}
            Self::Http(mut link) => link.end_session().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_socket_or_a_server() {
        assert_eq!("ble".parse(), Ok(Target::Bluetooth(None)));
        assert_eq!("ble:hci1".parse(), Ok(Target::Bluetooth(Some("hci1".into()))));
        assert_eq!("ap".parse(), Ok(Target::AccessPoint(Way::default())));
        assert_eq!("ap:wlan1".parse::<Target>().map(|target| target.to_string()), Ok("ap:wlan1".into()));
        assert_eq!("ble-sim:/run/jarvis.sock".parse(), Ok(Target::Simulated("/run/jarvis.sock".into())));
        assert_eq!(
            "http://127.0.0.1:8080".parse::<Target>().map(|target| target.to_string()),
            Ok("http://127.0.0.1:8080".into())
        );
        for bad in [
            "",
            "ap:",
            "ble:",
            "ble-sim:",
            "127.0.0.1:8080",
            "https://node",
            "http://node/api",
            "http://me@node",
            "http://node/?x",
        ] {
            assert_eq!(bad.parse::<Target>(), Err(BadTarget(bad.into())));
        }
    }
}
