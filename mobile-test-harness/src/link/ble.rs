//! The phone's role on Bluetooth LE, over `BlueZ`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bluer::gatt::remote::{Characteristic, CharacteristicReadRequest, CharacteristicWriteRequest};
use bluer::gatt::{CharacteristicReader, WriteOp};
use bluer::{Adapter, Device, DiscoveryFilter, DiscoveryTransport, ErrorKind, Session, Uuid};
use futures_util::StreamExt;
use provisioning_core::endpoint::{Endpoint, SERVICE};
use provisioning_core::gatt::central::{self, Inbox};
use provisioning_core::gatt::{AttError, value_size};
use provisioning_core::wire::Outbound;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, trace};

use super::{ANSWER_LIMIT, Error, NAME_PREFIX, Traffic};

/// How long to scan for a node. Under load, controllers start scanning late.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(30);

/// Discovery restarts after this time: some controllers report a device only once, and that report can be lost.
const DISCOVERY_ROUND: Duration = Duration::from_secs(3);

/// The interval at which the discovered devices are checked.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long to wait for the name. It is in the scan response, which arrives after the advertisement, or never.
const NAME_LIMIT: Duration = Duration::from_secs(1);

/// The limit of one try to connect. That of `BlueZ` is four times as long.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How long the phone tries a known device before it scans for others.
const KNOWN_LIMIT: Duration = Duration::from_secs(5);

/// First tries often fail over the air, and the second one succeeds.
const CONNECT_TRIES: u32 = 3;

/// A connection to a node over the air.
#[derive(Debug)]
pub struct Bluetooth {
    device: Device,
    name: String,
    characteristics: HashMap<Endpoint, Characteristic>,
    /// Notifications of the node; from the first write on.
    notifications: Option<CharacteristicReader>,
    inbox: Inbox,
    traffic: Traffic,
}

fn bluez(attempt: &'static str) -> impl FnOnce(bluer::Error) -> Error {
    move |source| Error::Bluetooth { attempt, source }
}

impl Bluetooth {
    /// Scans for an advertising node, and connects to it. `adapter` is a name or an address; the system's first adapter by
    /// default.
    pub async fn connect(adapter: Option<&str>) -> Result<Self, Error> {
        let session = Session::new().await.map_err(bluez("connecting to BlueZ"))?;
        let adapter = find_adapter(&session, adapter).await?;
        adapter.set_powered(true).await.map_err(bluez("switching the adapter on"))?;
        let filter = DiscoveryFilter {
            uuids: HashSet::from([Uuid::from_u128(SERVICE)]),
            transport: DiscoveryTransport::Le,
            ..DiscoveryFilter::default()
        };
        adapter.set_discovery_filter(filter).await.map_err(bluez("setting the discovery filter"))?;
        // A node that the phone was just connected to needs no scan.
        for device in known(&adapter).await? {
            match timeout(KNOWN_LIMIT, Self::try_connect(device)).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => debug!(%error, "known device not reachable; scanning"),
                Err(_) => debug!("known device does not answer; scanning"),
            }
        }
        let mut tries = CONNECT_TRIES;
        loop {
            tries -= 1;
            let device = discover(&adapter).await?;
            match Self::try_connect(device).await {
                Err(error) if tries > 0 => debug!(%error, "connecting again"),
                result => return result,
            }
        }
    }

    async fn try_connect(device: Device) -> Result<Self, Error> {
        let attempt = "connecting to the device";
        // Before the connection: after it, `BlueZ` replaces the advertised name by the machine's name.
        let name = device.name().await.map_err(bluez(attempt))?.unwrap_or_default();
        if !device.is_connected().await.map_err(bluez(attempt))? {
            timeout(CONNECT_LIMIT, device.connect()).await.map_err(|_| Error::Silent)?.map_err(bluez(attempt))?;
        }
        let found = timeout(ANSWER_LIMIT, characteristics(&device)).await.map_err(|_| Error::Silent)?;
        let characteristics = found.map_err(bluez("looking for the service"))?;
        if !central::is_complete(|endpoint| characteristics.contains_key(&endpoint)) {
            // The node is starting or stopping.
            device.disconnect().await.map_err(bluez(attempt))?;
            return Err(Error::NotAdvertising);
        }
        Ok(Self { device, name, characteristics, notifications: None, inbox: Inbox::default(), traffic: Traffic::default() })
    }

    /// The advertised name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The traffic so far.
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Reads a value. `BlueZ` joins the parts of a long one.
    pub async fn read(&mut self, endpoint: Endpoint) -> Result<Vec<u8>, Error> {
        self.traffic.reads += 1;
        let value = match timeout(ANSWER_LIMIT, self.characteristic(endpoint)?.read()).await {
            Err(_) => return Err(Error::Silent),
            Ok(Err(error)) => return Err(self.refused("reading", AttError::ReadNotPermitted, error).await),
            Ok(Ok(value)) => value,
        };
        self.traffic.received += value.len() as u64;
        Ok(value)
    }

    /// Reads a part of a value, from `offset` on.
    pub async fn read_from(&mut self, endpoint: Endpoint, offset: u16) -> Result<Vec<u8>, Error> {
        let request = CharacteristicReadRequest { offset, ..CharacteristicReadRequest::default() };
        match timeout(ANSWER_LIMIT, self.characteristic(endpoint)?.read_ext(&request)).await {
            Err(_) => Err(Error::Silent),
            Ok(Err(error)) => Err(self.refused("reading", AttError::ReadNotPermitted, error).await),
            Ok(Ok(value)) => Ok(value),
        }
    }

    /// Writes a message, value by value. Subscribes first, because the node answers by notification.
    pub async fn write(&mut self, endpoint: Endpoint, message: &[u8]) -> Result<(), Error> {
        self.subscribe().await?;
        for value in central::values(message, self.mtu()) {
            self.write_value(endpoint, &value).await?;
        }
        Ok(())
    }

    /// Subscribes once; returns the largest value that the connection carries, bytes.
    pub async fn subscribe(&mut self) -> Result<usize, Error> {
        if self.notifications.is_none() {
            self.traffic.round_trips += 1;
            let reader = match timeout(ANSWER_LIMIT, self.characteristic(central::NOTIFYING)?.notify_io()).await {
                Err(_) => return Err(Error::Silent),
                Ok(Err(error)) => return Err(self.refused("subscribing", AttError::NotSupported, error).await),
                Ok(Ok(reader)) => reader,
            };
            debug!(mtu = reader.mtu(), "subscribed");
            self.notifications = Some(reader);
        }
        Ok(value_size(self.mtu()))
    }

    /// The ATT MTU, bytes; 0 before the subscription, because `BlueZ` reports it with the subscription.
    fn mtu(&self) -> u16 {
        let mtu = self.notifications.as_ref().map_or(0, CharacteristicReader::mtu);
        u16::try_from(mtu).unwrap_or(u16::MAX)
    }

    /// Unsubscribes.
    pub fn unsubscribe(&mut self) {
        self.notifications = None;
    }

    /// Writes one value without framing.
    pub async fn write_value(&mut self, endpoint: Endpoint, value: &[u8]) -> Result<(), Error> {
        self.traffic.round_trips += 1;
        self.traffic.sent += value.len() as u64;
        let request = CharacteristicWriteRequest { op_type: WriteOp::Request, ..CharacteristicWriteRequest::default() };
        match timeout(ANSWER_LIMIT, self.characteristic(endpoint)?.write_ext(value, &request)).await {
            Err(_) => Err(Error::Silent),
            Ok(Err(error)) => Err(self.refused("writing", AttError::WriteNotPermitted, error).await),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// The next notified message; none if no message arrives until `until`.
    pub async fn receive(&mut self, until: Instant) -> Result<Option<Outbound>, Error> {
        loop {
            if let Some(message) = self.inbox.pop() {
                return Ok(Some(message));
            }
            let notifications = self.notifications.as_ref().ok_or(Error::Lost(None))?;
            let value = match timeout_at(until, notifications.recv()).await {
                Err(_) => return Ok(None),
                Ok(Err(error)) => return Err(Error::Lost(Some(error))),
                // The socket's end: a notification is never empty.
                Ok(Ok(value)) if value.is_empty() => return Err(Error::Lost(None)),
                Ok(Ok(value)) => value,
            };
            self.traffic.received += value.len() as u64;
            trace!(bytes = value.len(), "notified");
            self.inbox.push(&value).map_err(Error::InvalidMessage)?;
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        if let Err(error) = self.device.disconnect().await {
            debug!(%error, "disconnecting");
        }
    }

    fn characteristic(&self, endpoint: Endpoint) -> Result<&Characteristic, Error> {
        self.characteristics.get(&endpoint).ok_or(Error::Refused(AttError::InvalidHandle))
    }

    /// Translates an error of `BlueZ`, which does not tell a refusal of the node from a lost connection.
    async fn refused(&self, attempt: &'static str, refusal: AttError, error: bluer::Error) -> Error {
        match error.kind {
            _ if !self.device.is_connected().await.unwrap_or(false) => Error::Lost(None),
            ErrorKind::NotPermitted | ErrorKind::NotSupported => Error::Refused(refusal),
            ErrorKind::InvalidLength => Error::Refused(AttError::InvalidLength),
            _ => Error::Bluetooth { attempt, source: error },
        }
    }
}

async fn find_adapter(session: &Session, wanted: Option<&str>) -> Result<Adapter, Error> {
    let attempt = "looking for the Bluetooth adapter";
    let Some(wanted) = wanted else { return session.default_adapter().await.map_err(bluez(attempt)) };
    for name in session.adapter_names().await.map_err(bluez(attempt))? {
        let adapter = session.adapter(&name).map_err(bluez(attempt))?;
        let address = adapter.address().await.map_err(bluez(attempt))?;
        if wanted == name || wanted.eq_ignore_ascii_case(&address.to_string()) {
            return Ok(adapter);
        }
    }
    Err(Error::NoAdapter)
}

/// The first device with the service that is connected already, or that is in range.
async fn discover(adapter: &Adapter) -> Result<Device, Error> {
    let until = Instant::now() + DISCOVERY_LIMIT;
    while Instant::now() < until {
        let round = timeout_at(until.min(Instant::now() + DISCOVERY_ROUND), listen(adapter));
        match round.await {
            Ok(Ok(Some(device))) => return Ok(device),
            // The adapter has stopped discovery by itself, or the round is over.
            Ok(Ok(None)) | Err(_) => debug!("no node found; restarting discovery"),
            Ok(Err(error)) => return Err(error),
        }
    }
    Err(Error::NotAdvertising)
}

/// The devices with the service that the adapter knows, in range or not.
async fn known(adapter: &Adapter) -> Result<Vec<Device>, Error> {
    let attempt = "listing the known devices";
    let mut known = Vec::new();
    for address in adapter.device_addresses().await.map_err(bluez(attempt))? {
        let device = adapter.device(address).map_err(bluez(attempt))?;
        if has_service(&device).await {
            known.push(device);
        }
    }
    Ok(known)
}

/// Removes nodes in range for which `BlueZ` has cached a list of services without ours: it discovered their services while
/// their program was stopping, and prefers its cache to their advertisement. It discovers them again a moment later.
async fn forget_outdated(adapter: &Adapter) -> Result<(), Error> {
    let attempt = "listing the known devices";
    for address in adapter.device_addresses().await.map_err(bluez(attempt))? {
        let device = adapter.device(address).map_err(bluez(attempt))?;
        // A device that vanishes meanwhile needs no removal.
        let is_node = device.name().await.ok().flatten().is_some_and(|name| name.starts_with(NAME_PREFIX));
        let is_in_range = device.rssi().await.is_ok_and(|rssi| rssi.is_some());
        let is_in_use = device.is_connected().await.unwrap_or(true) || device.is_paired().await.unwrap_or(true);
        if is_node && is_in_range && !is_in_use && !has_service(&device).await {
            debug!(%address, "removing a device with outdated services");
            adapter.remove_device(address).await.map_err(bluez("removing a device"))?;
        }
    }
    Ok(())
}

async fn has_service(device: &Device) -> bool {
    matches!(device.uuids().await, Ok(Some(uuids)) if uuids.contains(&Uuid::from_u128(SERVICE)))
}

/// Runs discovery until a device with the service is in range; none if the adapter stops discovery.
async fn listen(adapter: &Adapter) -> Result<Option<Device>, Error> {
    let attempt = "looking for devices";
    // Discovery runs as long as this stream exists, so not while the phone connects.
    let mut events = std::pin::pin!(adapter.discover_devices().await.map_err(bluez(attempt))?);
    let mut nameless_until = None;
    loop {
        forget_outdated(adapter).await?;
        for device in known(adapter).await? {
            // A device that vanishes meanwhile cannot be connected to.
            if matches!(device.rssi().await, Ok(Some(_))) || device.is_connected().await.unwrap_or(false) {
                let until = *nameless_until.get_or_insert_with(|| Instant::now() + NAME_LIMIT);
                if Instant::now() < until && !matches!(device.name().await, Ok(Some(_))) {
                    continue;
                }
                debug!(address = %device.address(), "found");
                return Ok(Some(device));
            }
        }
        // A device that was known before causes no event.
        if let Ok(None) = timeout(LOOK_AGAIN, events.next()).await {
            return Ok(None);
        }
    }
}

/// The service's characteristics, by endpoint.
async fn characteristics(device: &Device) -> bluer::Result<HashMap<Endpoint, Characteristic>> {
    let mut found = HashMap::new();
    for service in device.services().await? {
        if service.uuid().await? != Uuid::from_u128(SERVICE) {
            continue;
        }
        for characteristic in service.characteristics().await? {
            if let Some(endpoint) = Endpoint::from_uuid(characteristic.uuid().await?.as_u128()) {
                found.insert(endpoint, characteristic);
            }
        }
    }
    Ok(found)
}
