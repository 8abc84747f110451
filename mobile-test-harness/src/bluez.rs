//! `BlueZ`, as a central uses it: adapters, the devices that an adapter knows, and the characteristics of a device.
//!
//! One call lists all objects with their properties. There are no subscriptions to signals: callers that wait for a change
//! list again.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as StdSocket;
use std::time::Duration;

use tokio::net::UnixDatagram;
use uuid::Uuid;
use zbus::{Connection, DynamicType, Message, OwnedObjectPath, OwnedVariant, Variant};

/// The name of `BlueZ` on the bus.
const BLUEZ: &str = "org.bluez";
const ADAPTER: &str = "org.bluez.Adapter1";
const DEVICE: &str = "org.bluez.Device1";
const SERVICE: &str = "org.bluez.GattService1";
const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The limit of a call: longer than the slowest, `Connect`, which `BlueZ` itself ends after 40 s.
const CALL_LIMIT: Duration = Duration::from_mins(1);

/// The properties of one interface of an object.
type Properties = HashMap<String, OwnedVariant>;
/// The interfaces of an object.
type Interfaces = HashMap<String, Properties>;

/// A connection to `BlueZ` over D-Bus.
#[derive(Clone, Debug)]
pub struct Bluez(Connection);

/// An object of `BlueZ`.
#[derive(Clone, Debug)]
struct Object {
    bluez: Bluez,
    path: OwnedObjectPath,
}

/// An adapter.
#[derive(Clone, Debug)]
pub struct Adapter {
    object: Object,
    /// Such as `00:AA:01:00:00:42`.
    pub address: String,
}

/// A device that an adapter knows, in range or not, with its properties at the time when it was listed.
#[derive(Clone, Debug)]
pub struct Device {
    object: Object,
    /// Its name, in the advertisement and in the GAP service; none before either was received.
    pub name: Option<String>,
    /// The services that it advertises, or after a connection those that it has.
    pub services: Vec<Uuid>,
    /// Whether it was received during the running discovery.
    pub in_range: bool,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether it is paired.
    pub paired: bool,
}

/// A characteristic of a connected device.
#[derive(Clone, Debug)]
pub struct Characteristic {
    object: Object,
    /// Its type.
    pub uuid: Uuid,
}

/// A subscription to a characteristic; ends when it is dropped.
#[derive(Debug)]
pub struct Notifications {
    socket: UnixDatagram,
    /// The ATT MTU of the connection, bytes.
    pub mtu: u16,
}

impl Bluez {
    /// Connects to the bus at an address, or to the system bus.
    pub async fn connect(address: Option<&str>) -> zbus::Result<Self> {
        let builder = match address {
            Some(address) => zbus::connection::Builder::address(address),
            None => zbus::connection::Builder::system(),
        };
        Ok(Self(builder.method_timeout(CALL_LIMIT).build().await?))
    }

    /// The adapters, in the order of their names. Starts `BlueZ` if it does not run.
    pub async fn adapters(&self) -> zbus::Result<Vec<Adapter>> {
        let adapters = self.objects("/").await?.into_iter().filter_map(|(object, interfaces)| {
            let address = text(interfaces.get(ADAPTER)?, "Address")?.to_owned();
            Some(Adapter { object, address })
        });
        Ok(adapters.collect())
    }

    /// The objects below a path, in the order of their paths.
    async fn objects(&self, below: &str) -> zbus::Result<Vec<(Object, Interfaces)>> {
        let answer = self.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &()).await?;
        let objects: HashMap<OwnedObjectPath, Interfaces> = answer.body().deserialize()?;
        let mut objects: Vec<_> = objects.into_iter().filter(|(path, _)| path.as_str().starts_with(below)).collect();
        objects.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        Ok(objects.into_iter().map(|(path, interfaces)| (Object { bluez: self.clone(), path }, interfaces)).collect())
    }

    async fn call<B>(&self, path: &str, interface: &str, member: &str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + DynamicType,
    {
        self.0.call_method(Some(BLUEZ), path, Some(interface), member, body).await
    }
}

impl Object {
    async fn call<B>(&self, interface: &str, member: &str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + DynamicType,
    {
        self.bluez.call(self.path.as_str(), interface, member, body).await
    }

    /// Whether a boolean property is set.
    async fn is(&self, interface: &str, property: &str) -> zbus::Result<bool> {
        let answer = self.call(PROPERTIES, "Get", &(interface, property)).await?;
        Ok(answer.body().deserialize::<Variant<'_>>()? == Variant::from(true))
    }

    /// The start of the paths of its children.
    fn below(&self) -> String {
        format!("{}/", self.path.as_str())
    }
}

impl Adapter {
    /// Such as `hci0`.
    pub fn name(&self) -> &str {
        self.object.path.as_str().rsplit('/').next().unwrap_or_default()
    }

    /// The path of its object.
    pub fn path(&self) -> &str {
        self.object.path.as_str()
    }

    /// Switches it on or off.
    pub async fn set_powered(&self, on: bool) -> zbus::Result<()> {
        self.object.call(PROPERTIES, "Set", &(ADAPTER, "Powered", Variant::from(on))).await.map(drop)
    }

    /// The devices that it knows, in range or not.
    pub async fn devices(&self) -> zbus::Result<Vec<Device>> {
        let devices = self.object.bluez.objects(&self.object.below()).await?.into_iter().filter_map(|(object, interfaces)| {
            let properties = interfaces.get(DEVICE)?;
            Some(Device {
                object,
                name: text(properties, "Name").map(ToOwned::to_owned),
                services: uuids(properties),
                in_range: properties.contains_key("RSSI"),
                connected: flag(properties, "Connected"),
                paired: flag(properties, "Paired"),
            })
        });
        Ok(devices.collect())
    }

    /// Removes a device, and disconnects it.
    pub async fn remove(&self, device: &Device) -> zbus::Result<()> {
        self.object.call(ADAPTER, "RemoveDevice", &(&device.object.path,)).await.map(drop)
    }

    /// Starts the discovery of LE devices that advertise a service. It ends with [`stop_discovery`](Self::stop_discovery),
    /// or with the connection to the bus.
    pub async fn start_discovery(&self, service: Uuid) -> zbus::Result<()> {
        let filter = HashMap::from([("UUIDs", Variant::from(vec![service.to_string()])), ("Transport", Variant::from("le"))]);
        self.object.call(ADAPTER, "SetDiscoveryFilter", &(filter,)).await?;
        self.object.call(ADAPTER, "StartDiscovery", &()).await.map(drop)
    }

    /// Stops the discovery.
    pub async fn stop_discovery(&self) -> zbus::Result<()> {
        self.object.call(ADAPTER, "StopDiscovery", &()).await.map(drop)
    }

    /// Whether it discovers. An adapter stops by itself if it is switched off.
    pub async fn is_discovering(&self) -> zbus::Result<bool> {
        self.object.is(ADAPTER, "Discovering").await
    }
}

impl Device {
    /// The path of its object, which ends with its address.
    pub fn path(&self) -> &str {
        self.object.path.as_str()
    }

    /// Connects. `BlueZ` then discovers its services.
    pub async fn connect(&self) -> zbus::Result<()> {
        self.object.call(DEVICE, "Connect", &()).await.map(drop)
    }

    /// Disconnects.
    pub async fn disconnect(&self) -> zbus::Result<()> {
        self.object.call(DEVICE, "Disconnect", &()).await.map(drop)
    }

    /// Whether it is connected at this time.
    pub async fn is_connected(&self) -> zbus::Result<bool> {
        self.object.is(DEVICE, "Connected").await
    }

    /// Whether `BlueZ` has discovered its services, on this connection.
    pub async fn is_resolved(&self) -> zbus::Result<bool> {
        self.object.is(DEVICE, "ServicesResolved").await
    }

    /// The characteristics of its services of a type, in the order of their handles.
    pub async fn characteristics(&self, service: Uuid) -> zbus::Result<Vec<Characteristic>> {
        let objects = self.object.bluez.objects(&self.object.below()).await?;
        let is_of = |interfaces: &Interfaces| interfaces.get(SERVICE).and_then(uuid) == Some(service);
        let parents: Vec<_> =
            objects.iter().filter(|(_, interfaces)| is_of(interfaces)).map(|(object, _)| object.below()).collect();
        let characteristics = objects.into_iter().filter_map(|(object, interfaces)| {
            let uuid = uuid(interfaces.get(CHARACTERISTIC)?)?;
            let is_child = parents.iter().any(|parent| object.path.as_str().starts_with(parent));
            is_child.then_some(Characteristic { object, uuid })
        });
        Ok(characteristics.collect())
    }
}

impl Characteristic {
    /// Reads the value from `offset` on. `BlueZ` joins the parts of a long one.
    pub async fn read(&self, offset: u16) -> zbus::Result<Vec<u8>> {
        let options = HashMap::from([("offset", Variant::from(offset))]);
        self.object.call(CHARACTERISTIC, "ReadValue", &(options,)).await?.body().deserialize()
    }

    /// Writes a value: a `request` is acknowledged by the peripheral, a `command` is not.
    pub async fn write(&self, value: &[u8], kind: &'static str) -> zbus::Result<()> {
        let options = HashMap::from([("offset", Variant::from(0_u16)), ("type", kind.into())]);
        self.object.call(CHARACTERISTIC, "WriteValue", &(value, options)).await.map(drop)
    }

    /// Subscribes.
    pub async fn subscribe(&self) -> zbus::Result<Notifications> {
        let options = HashMap::<&str, Variant<'_>>::new();
        let answer = self.object.call(CHARACTERISTIC, "AcquireNotify", &(options,)).await?;
        let (socket, mtu): (zbus::OwnedFd, u16) = answer.body().deserialize()?;
        let socket = StdSocket::from(OwnedFd::from(socket));
        socket.set_nonblocking(true)?;
        Ok(Notifications { socket: UnixDatagram::from_std(socket)?, mtu })
    }
}

impl Notifications {
    /// The next value; empty if the subscription has ended. Cancel safe.
    pub async fn next(&self) -> std::io::Result<Vec<u8>> {
        let mut value = vec![0; self.mtu.into()];
        let length = self.socket.recv(&mut value).await?;
        value.truncate(length);
        Ok(value)
    }
}

fn text<'a>(properties: &'a Properties, name: &str) -> Option<&'a str> {
    properties.get(name)?.downcast_ref().ok()
}

fn flag(properties: &Properties, name: &str) -> bool {
    properties.get(name).is_some_and(|value| **value == Variant::from(true))
}

fn uuid(properties: &Properties) -> Option<Uuid> {
    Uuid::try_parse(text(properties, "UUID")?).ok()
}

fn uuids(properties: &Properties) -> Vec<Uuid> {
    let Some(Variant::Array(uuids)) = properties.get("UUIDs").map(|value| &**value) else { return Vec::new() };
    uuids.inner().iter().filter_map(|uuid| Uuid::try_parse(uuid.downcast_ref().ok()?).ok()).collect()
}
