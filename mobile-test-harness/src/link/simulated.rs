//! The phone's role on the simulated Bluetooth link.

use std::io;
use std::path::Path;

use provisioning_core::endpoint::{Endpoint, SERVICE};
use provisioning_core::fault::Fault;
use provisioning_core::gatt::central::{self, Inbox, LongRead};
use provisioning_core::gatt::packets::{FromNode, FromPhone, Packets};
use provisioning_core::wire::Outbound;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::trace;

use super::{ANSWER_LIMIT, Error, Traffic};

/// A connection to a simulated peripheral.
#[derive(Debug)]
pub struct Simulated {
    stream: UnixStream,
    packets: Packets,
    name: String,
    mtu: u16,
    subscribed: bool,
    inbox: Inbox,
    traffic: Traffic,
}

impl Simulated {
    /// Connects to the peripheral at `path`, and reads its advertisement and its MTU.
    pub async fn connect(path: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(path).await.map_err(Error::Connect)?;
        let mut link = Self {
            stream,
            packets: Packets::default(),
            name: String::new(),
            mtu: 0,
            subscribed: false,
            inbox: Inbox::default(),
            traffic: Traffic::default(),
        };
        match link.packet().await? {
            FromNode::Advertisement { name, service: SERVICE } => link.name = name,
            FromNode::Advertisement { .. } | FromNode::NotAdvertising => return Err(Error::NotAdvertising),
            _ => return Err(Error::InvalidMessage(Fault::Malformed)),
        }
        match link.packet().await? {
            FromNode::Mtu(mtu) => link.mtu = central::mtu(mtu).map_err(Error::InvalidMessage)?,
            _ => return Err(Error::InvalidMessage(Fault::Malformed)),
        }
        Ok(link)
    }

    /// The advertised name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ATT MTU, bytes.
    pub const fn mtu(&self) -> u16 {
        self.mtu
    }

    /// The traffic so far.
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Adds the traffic of an earlier link.
    pub(super) fn count(&mut self, earlier: Traffic) {
        self.traffic += earlier;
    }

    /// Reads a value, in parts that fit the MTU.
    pub async fn read(&mut self, endpoint: Endpoint) -> Result<Vec<u8>, Error> {
        let mut value = LongRead::new(self.mtu);
        loop {
            self.traffic.reads += 1;
            let request = FromPhone::Read { characteristic: endpoint.row().uuid, offset: value.offset() };
            let FromNode::Value(part) = self.transaction(&request).await? else {
                return Err(Error::InvalidMessage(Fault::Malformed));
            };
            self.traffic.received += part.len() as u64;
            if let Some(value) = value.push(&part).map_err(Error::InvalidMessage)? {
                return Ok(value);
            }
        }
    }

    /// Writes a message, value by value. Subscribes first, because the node answers by notification.
    pub async fn write(&mut self, endpoint: Endpoint, message: &[u8]) -> Result<(), Error> {
        if !self.subscribed {
            self.acknowledged(&FromPhone::Subscribe { characteristic: central::NOTIFYING.row().uuid }).await?;
            self.subscribed = true;
        }
        for value in central::values(message, self.mtu) {
            self.write_value(endpoint, value).await?;
        }
        Ok(())
    }

    /// Writes a message without acknowledgements, if it is one value; the node's reply shows that it has arrived.
    pub async fn send(&mut self, endpoint: Endpoint, message: &[u8]) -> Result<(), Error> {
        let Some(value) = central::only_value(message, self.mtu).filter(|_| self.subscribed) else {
            return self.write(endpoint, message).await;
        };
        self.traffic.sent += value.len() as u64;
        let command = FromPhone::WriteCommand { characteristic: endpoint.row().uuid, value };
        self.stream.write_all(&command.encode()).await.map_err(|error| Error::Lost(Some(error)))
    }

    /// Writes one value without framing.
    pub async fn write_value(&mut self, endpoint: Endpoint, value: Vec<u8>) -> Result<(), Error> {
        self.traffic.sent += value.len() as u64;
        self.acknowledged(&FromPhone::Write { characteristic: endpoint.row().uuid, value }).await
    }

    /// The next notified message; none if no message arrives until `until`.
    pub async fn receive(&mut self, until: Instant) -> Result<Option<Outbound>, Error> {
        loop {
            if let Some(message) = self.inbox.pop() {
                return Ok(Some(message));
            }
            match timeout_at(until, self.next_packet()).await {
                Err(_) => return Ok(None),
                Ok(packet) => self.notification(packet?)?,
            }
        }
    }

    async fn acknowledged(&mut self, request: &FromPhone) -> Result<(), Error> {
        self.traffic.round_trips += 1;
        match self.transaction(request).await? {
            FromNode::Written => Ok(()),
            _ => Err(Error::InvalidMessage(Fault::Malformed)),
        }
    }

    /// Sends a request and returns its response; keeps notifications that arrive before it.
    async fn transaction(&mut self, request: &FromPhone) -> Result<FromNode, Error> {
        self.stream.write_all(&request.encode()).await.map_err(|error| Error::Lost(Some(error)))?;
        loop {
            match self.packet().await? {
                FromNode::Error(error) => return Err(Error::Refused(error)),
                packet @ FromNode::Notification { .. } => self.notification(packet)?,
                response => return Ok(response),
            }
        }
    }

    fn notification(&mut self, packet: FromNode) -> Result<(), Error> {
        let FromNode::Notification { characteristic, value } = packet else {
            return Err(Error::InvalidMessage(Fault::Malformed));
        };
        if characteristic != central::NOTIFYING.row().uuid {
            return Err(Error::InvalidMessage(Fault::Malformed));
        }
        self.traffic.received += value.len() as u64;
        trace!(bytes = value.len(), "notified");
        self.inbox.push(&value).map_err(Error::InvalidMessage)
    }

    async fn packet(&mut self) -> Result<FromNode, Error> {
        timeout(ANSWER_LIMIT, self.next_packet()).await.map_err(|_| Error::Silent)?
    }

    /// The next packet. Cancel safe.
    async fn next_packet(&mut self) -> Result<FromNode, Error> {
        let mut bytes = [0; 1024];
        loop {
            if let Some(packet) = self.packets.take().map_err(|_| Error::InvalidMessage(Fault::Malformed))? {
                return FromNode::decode(&packet).ok_or(Error::InvalidMessage(Fault::Malformed));
            }
            match self.stream.read(&mut bytes).await {
                Ok(0) => return Err(Error::Lost(None)),
                Ok(count) => self.packets.push(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Lost(Some(error))),
            }
        }
    }
}
