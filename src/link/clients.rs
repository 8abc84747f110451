//! The protocols whose clients have no session: one table for every link that carries them.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use crate::daemon::{Handle, Stopping, View};
use provisioning_core::machine::Link;
use provisioning_core::secret::SecretBlob;
use provisioning_core::{improv, nymea};

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Improv,
    Nymea,
}

/// A characteristic of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Characteristic {
    Improv(improv::Characteristic),
    Nymea(nymea::Characteristic),
}

impl Characteristic {
    /// All characteristics of a protocol, in their order.
    pub(super) fn all(protocol: Protocol) -> Vec<Self> {
        match protocol {
            Protocol::Improv => improv::Characteristic::ALL.map(Self::Improv).into(),
            Protocol::Nymea => nymea::Characteristic::ALL.map(Self::Nymea).into(),
        }
    }

    /// The characteristic of a UUID.
    pub(super) fn from_uuid(uuid: u128) -> Option<Self> {
        let improv = improv::Characteristic::from_uuid(uuid).map(Self::Improv);
        improv.or_else(|| nymea::Characteristic::from_uuid(uuid).map(Self::Nymea))
    }

    pub(super) const fn protocol(self) -> Protocol {
        match self {
            Self::Improv(_) => Protocol::Improv,
            Self::Nymea(_) => Protocol::Nymea,
        }
    }

    /// The UUID of its service.
    pub(super) const fn service(self) -> u128 {
        match self {
            Self::Improv(_) => improv::SERVICE,
            Self::Nymea(characteristic) => characteristic.service(),
        }
    }

    pub(super) const fn uuid(self) -> u128 {
        match self {
            Self::Improv(characteristic) => characteristic.uuid(),
            Self::Nymea(characteristic) => characteristic.uuid(),
        }
    }

    pub(super) const fn is_read(self) -> bool {
        match self {
            Self::Improv(characteristic) => !matches!(characteristic, improv::Characteristic::Command),
            Self::Nymea(characteristic) => characteristic.is_read(),
        }
    }

    pub(super) const fn is_written(self) -> bool {
        match self {
            Self::Improv(characteristic) => matches!(characteristic, improv::Characteristic::Command),
            Self::Nymea(characteristic) => characteristic.is_written(),
        }
    }

    pub(super) const fn notifies(self) -> bool {
        match self {
            Self::Improv(characteristic) => characteristic.notifies(),
            Self::Nymea(characteristic) => characteristic.notifies(),
        }
    }

    /// The value that a client reads; `told` is the last one of which it was notified. None if it cannot be read.
    pub(super) fn value(self, view: &View, told: Option<Vec<u8>>) -> Option<Vec<u8>> {
        match self {
            Self::Improv(characteristic) => match characteristic {
                improv::Characteristic::State => Some(vec![view.improv?.state as u8]),
                improv::Characteristic::Error => Some(told.unwrap_or(vec![improv::Error::None as u8])),
                improv::Characteristic::Result => Some(told.unwrap_or_default()),
                improv::Characteristic::Capabilities => Some(vec![improv::CAPABILITIES]),
                improv::Characteristic::Command => None,
            },
            Self::Nymea(characteristic) => Some(vec![view.nymea?.value(characteristic)?]),
        }
    }
}

impl Protocol {
    /// A client has connected. It can be notified of values of so many bytes.
    pub(super) async fn opened(self, handle: &Handle, link: Link, room: usize) -> Result<(), Stopping> {
        match self {
            Self::Improv => handle.improv(link, improv::FromClient::Opened { room }).await,
            Self::Nymea => handle.nymea(link, nymea::FromClient::Opened).await,
        }
    }

    /// What a client is notified of by a message of the node: the values of one characteristic.
    pub(super) fn notified(self, message: &[u8]) -> Option<(Characteristic, Vec<Vec<u8>>)> {
        match self {
            Self::Improv => {
                let improv::Notice { characteristic, value } = improv::Notice::decode(message)?;
                Some((Characteristic::Improv(characteristic), vec![value]))
            }
            Self::Nymea => {
                let notice = nymea::Notice::decode(message)?;
                Some((Characteristic::Nymea(notice.characteristic), notice.pieces().map(<[u8]>::to_vec).collect()))
            }
        }
    }
}

/// A client has written a value to a characteristic.
pub(super) async fn written(
    handle: &Handle,
    link: Link,
    characteristic: Characteristic,
    value: SecretBlob,
    room: usize,
) -> Result<(), Stopping> {
    match characteristic {
        Characteristic::Improv(_) => handle.improv(link, improv::FromClient::Written { value, room }).await,
        Characteristic::Nymea(characteristic) => {
            handle.nymea(link, nymea::FromClient::Written { characteristic, value, address: own_address() }).await
        }
    }
}

/// The address from which the node reaches other networks; none without a route. Nothing is sent.
fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address for documentation (RFC 5737), to which no route of its own leads.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
