//! The phone's role on Bluetooth LE, over `BlueZ`.

use std::collections::HashMap;
use std::time::Duration;

use provisioning_core::endpoint::{self, Endpoint};
use provisioning_core::gatt::central::{self, Inbox};
use provisioning_core::gatt::{AttError, value_size};
use provisioning_core::wire::Outbound;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, trace};
use uuid::Uuid;

use super::{ANSWER_LIMIT, Error, NAME_PREFIX, Traffic};
use crate::bluez::{Adapter, Bluez, Characteristic, Device, Notifications};

/// The node's service.
const SERVICE: Uuid = Uuid::from_u128(endpoint::SERVICE);

/// How long to scan for a node. Under load, controllers start scanning late.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(30);

/// Discovery restarts after this time: some controllers report a device only once, and that report can be lost.
const DISCOVERY_ROUND: Duration = Duration::from_secs(3);

/// The interval at which the discovered devices, or the state of a new connection, are checked.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

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
    notifications: Option<Notifications>,
    inbox: Inbox,
    traffic: Traffic,
}

fn bluez(attempt: &'static str) -> impl FnOnce(zbus::Error) -> Error {
    move |source| Error::Bluetooth { attempt, source }
}

impl Bluetooth {
    /// Scans for an advertising node, and connects to it. `adapter` is a name or an address; the system's first adapter by
    /// default.
    pub async fn connect(adapter: Option<&str>) -> Result<Self, Error> {
        let bus = Bluez::connect(None).await.map_err(bluez("connecting to BlueZ"))?;
        Self::connect_over(&bus, adapter).await
    }

    async fn connect_over(bus: &Bluez, adapter: Option<&str>) -> Result<Self, Error> {
        let adapter = find_adapter(bus, adapter).await?;
        adapter.set_powered(true).await.map_err(bluez("switching the adapter on"))?;
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
        let name = device.name.clone().unwrap_or_default();
        if !device.is_connected().await.map_err(bluez(attempt))? {
            timeout(CONNECT_LIMIT, device.connect()).await.map_err(|_| Error::Silent)?.map_err(bluez(attempt))?;
        }
        let characteristics = timeout(ANSWER_LIMIT, characteristics(&device)).await.map_err(|_| Error::Silent)??;
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
        let value = match timeout(ANSWER_LIMIT, self.characteristic(endpoint)?.read(0)).await {
            Err(_) => return Err(Error::Silent),
            Ok(Err(error)) => return Err(self.refused("reading", AttError::ReadNotPermitted, error).await),
            Ok(Ok(value)) => value,
        };
        self.traffic.received += value.len() as u64;
        Ok(value)
    }

    /// Reads a part of a value, from `offset` on.
    pub async fn read_from(&mut self, endpoint: Endpoint, offset: u16) -> Result<Vec<u8>, Error> {
        match timeout(ANSWER_LIMIT, self.characteristic(endpoint)?.read(offset)).await {
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

    /// Writes a message without acknowledgements, if it is one value; the node's reply shows that it has arrived.
    pub async fn send(&mut self, endpoint: Endpoint, message: &[u8]) -> Result<(), Error> {
        self.subscribe().await?;
        let Some(value) = central::only_value(message, self.mtu()) else { return self.write(endpoint, message).await };
        self.traffic.sent += value.len() as u64;
        self.write_typed(endpoint, &value, "command").await
    }

    /// Subscribes once; returns the largest value that the connection carries, bytes.
    pub async fn subscribe(&mut self) -> Result<usize, Error> {
        if self.notifications.is_none() {
            self.traffic.round_trips += 1;
            let notifications = match timeout(ANSWER_LIMIT, self.characteristic(central::NOTIFYING)?.subscribe()).await {
                Err(_) => return Err(Error::Silent),
                Ok(Err(error)) => return Err(self.refused("subscribing", AttError::NotSupported, error).await),
                Ok(Ok(notifications)) => notifications,
            };
            debug!(mtu = notifications.mtu, "subscribed");
            self.notifications = Some(notifications);
        }
        Ok(value_size(self.mtu()))
    }

    /// The ATT MTU, bytes; 0 before the subscription, because `BlueZ` reports it with the subscription.
    fn mtu(&self) -> u16 {
        self.notifications.as_ref().map_or(0, |notifications| notifications.mtu)
    }

    /// Unsubscribes.
    pub fn unsubscribe(&mut self) {
        self.notifications = None;
    }

    /// Writes one value without framing.
    pub async fn write_value(&mut self, endpoint: Endpoint, value: &[u8]) -> Result<(), Error> {
        self.traffic.round_trips += 1;
        self.traffic.sent += value.len() as u64;
        self.write_typed(endpoint, value, "request").await
    }

    async fn write_typed(&self, endpoint: Endpoint, value: &[u8], kind: &'static str) -> Result<(), Error> {
        match timeout(ANSWER_LIMIT, self.characteristic(endpoint)?.write(value, kind)).await {
            Err(_) => Err(Error::Silent),
            Ok(Err(error)) => Err(self.refused("writing", AttError::WriteNotPermitted, error).await),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// The next notified message; none if no message arrives until `until`. The link is lost with the first invalid value.
    pub async fn receive(&mut self, until: Instant) -> Result<Option<Outbound>, Error> {
        loop {
            if let Some(message) = self.inbox.pop() {
                return Ok(Some(message));
            }
            let notifications = self.notifications.as_ref().ok_or(Error::Lost(None))?;
            let value = match timeout_at(until, notifications.next()).await {
                Err(_) => return Ok(None),
                Ok(Err(error)) => return Err(Error::Lost(Some(error))),
                // The socket's end: a notification is never empty.
                Ok(Ok(value)) if value.is_empty() => return Err(Error::Lost(None)),
                Ok(Ok(value)) => value,
            };
            self.traffic.received += value.len() as u64;
            trace!(bytes = value.len(), "notified");
            // `BlueZ` 5.55 damages values that follow one another closely. What they said is known after a new connection.
            self.inbox.push(&value).map_err(|fault| Error::Lost(Some(std::io::Error::other(fault.to_string()))))?;
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
    async fn refused(&self, attempt: &'static str, refusal: AttError, source: zbus::Error) -> Error {
        if !self.device.is_connected().await.unwrap_or(false) {
            return Error::Lost(None);
        }
        let name = if let zbus::Error::MethodError(name, ..) = &source { name.as_str() } else { "" };
        match name {
            "org.bluez.Error.NotPermitted" | "org.bluez.Error.NotSupported" => Error::Refused(refusal),
            "org.bluez.Error.InvalidLength" => Error::Refused(AttError::InvalidLength),
            _ => Error::Bluetooth { attempt, source },
        }
    }
}

/// The adapter with that name or address; by default the first one.
async fn find_adapter(bus: &Bluez, wanted: Option<&str>) -> Result<Adapter, Error> {
    let adapters = bus.adapters().await.map_err(bluez("looking for the Bluetooth adapter"))?;
    let is_wanted =
        |adapter: &Adapter| wanted.is_none_or(|wanted| wanted == adapter.name() || wanted.eq_ignore_ascii_case(&adapter.address));
    adapters.into_iter().find(is_wanted).ok_or(Error::NoAdapter)
}

/// The first device with the service that is connected already, or that is in range.
async fn discover(adapter: &Adapter) -> Result<Device, Error> {
    let until = Instant::now() + DISCOVERY_LIMIT;
    while Instant::now() < until {
        adapter.start_discovery(SERVICE).await.map_err(bluez("looking for devices"))?;
        let found = timeout_at(until.min(Instant::now() + DISCOVERY_ROUND), listen(adapter)).await;
        // A scan would take radio time from the connection. It is an error if discovery has ended by itself.
        if let Err(error) = adapter.stop_discovery().await {
            debug!(%error, "stopping discovery");
        }
        match found {
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
    let mut devices = adapter.devices().await.map_err(bluez("listing the known devices"))?;
    devices.retain(|device| device.services.contains(&SERVICE));
    Ok(devices)
}

/// Runs during discovery until a device with the service is in range; none if the adapter stops discovery.
async fn listen(adapter: &Adapter) -> Result<Option<Device>, Error> {
    let mut nameless_until = None;
    while adapter.is_discovering().await.map_err(bluez("looking for devices"))? {
        for device in adapter.devices().await.map_err(bluez("listing the known devices"))? {
            if !device.services.contains(&SERVICE) {
                forget_if_outdated(adapter, &device).await?;
            } else if device.in_range || device.connected {
                let until = *nameless_until.get_or_insert_with(|| Instant::now() + NAME_LIMIT);
                if device.name.is_some() || Instant::now() >= until {
                    debug!(device = device.path(), "found");
                    return Ok(Some(device));
                }
            }
        }
        sleep(LOOK_AGAIN).await;
    }
    Ok(None)
}

/// Removes a node in range for which `BlueZ` has cached a list of services without ours: it discovered its services while
/// its program was stopping, and prefers its cache to the advertisement. It discovers the node again a moment later.
async fn forget_if_outdated(adapter: &Adapter, device: &Device) -> Result<(), Error> {
    let is_node = device.name.as_ref().is_some_and(|name| name.starts_with(NAME_PREFIX));
    if is_node && device.in_range && !device.connected && !device.paired {
        debug!(device = device.path(), "removing a device with outdated services");
        adapter.remove(device).await.map_err(bluez("removing a device"))?;
    }
    Ok(())
}

/// The service's characteristics, by endpoint, after `BlueZ` has discovered them.
async fn characteristics(device: &Device) -> Result<HashMap<Endpoint, Characteristic>, Error> {
    let attempt = "looking for the service";
    while !device.is_resolved().await.map_err(bluez(attempt))? {
        if !device.is_connected().await.map_err(bluez(attempt))? {
            return Err(Error::Lost(None));
        }
        sleep(LOOK_AGAIN).await;
    }
    let found = device.characteristics(SERVICE).await.map_err(bluez(attempt))?;
    let endpoint = |found: &Characteristic| Endpoint::from_uuid(found.uuid.as_u128());
    Ok(found.into_iter().filter_map(|found| Some((endpoint(&found)?, found))).collect())
}

#[cfg(test)]
mod tests;
