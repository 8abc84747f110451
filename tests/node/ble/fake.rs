//! A fake `BlueZ` with scripted faults: answers that are missing, late or of the wrong type, and adapters that are added and
//! removed.

use std::collections::HashMap;
use std::ops::Deref;
use std::time::Duration;

use testing::fake::{Running, Script, Service};
use tokio::time::timeout;
use zbus::{Connection, DynamicType, Message, ObjectPath, OwnedObjectPath, Variant};

pub(crate) const SERVICE: &str = "org.bluez";
pub(crate) const ADAPTER: &str = "/org/bluez/hci0";
pub(crate) const ADDRESS: &str = "00:AA:01:00:00:42";
const ADAPTER_INTERFACE: &str = "org.bluez.Adapter1";
/// Longer than any limit of the adapter.
const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) type Bus = testing::fake::Fake<World>;

/// The state of the fake, and the calls that it received.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own; goes when two of them exclude each other")]
pub(crate) struct World {
    /// Whether there is an adapter.
    pub(crate) present: bool,
    /// Whether it has an address, as every adapter that is ready.
    pub(crate) addressed: bool,
    pub(crate) powered: bool,
    /// The adapter's name; empty for the host's.
    pub(crate) alias: String,
    /// Every alias that was set.
    pub(crate) aliases: Vec<String>,
    pub(crate) advertised: bool,
    /// The paths of all advertisements, in their order.
    pub(crate) advertisements: Vec<String>,
    /// How many advertisements it takes.
    pub(crate) room: usize,
    /// The unique name of the last client that registered.
    pub(crate) client: Option<String>,
    pub(crate) script: Script,
}

pub(crate) struct Fake {
    bus: Bus,
    _running: Running,
}

impl Deref for Fake {
    type Target = Bus;

    fn deref(&self) -> &Bus {
        &self.bus
    }
}

impl Fake {
    /// Starts on the bus at that address, with an adapter that is switched off.
    pub(crate) async fn start(address: &str) -> Self {
        let world = World {
            present: true,
            addressed: true,
            powered: false,
            alias: String::new(),
            aliases: Vec::new(),
            advertised: false,
            advertisements: Vec::new(),
            room: 5,
            client: None,
            script: Script::default(),
        };
        let (bus, running) = Bus::start(address, world).await;
        Self { bus, _running: running }
    }

    /// Waits until the node advertises.
    pub(crate) async fn until_advertised(&self) {
        self.until("it advertises", |world| world.advertised).await;
    }

    /// Signals that an object was added.
    pub(crate) async fn tell_added(&self) {
        let interfaces = HashMap::from([(ADAPTER_INTERFACE, HashMap::<&str, Variant<'_>>::new())]);
        self.tell("InterfacesAdded", &(ObjectPath::try_from(ADAPTER).expect("a path"), interfaces)).await;
    }

    /// Unplugs the adapter.
    pub(crate) async fn unplug(&self) {
        (self.world().present, self.world().advertised) = (false, false);
        self.world().advertisements.clear();
        self.tell("InterfacesRemoved", &(ObjectPath::try_from(ADAPTER).expect("a path"), vec![ADAPTER_INTERFACE])).await;
    }

    /// Sends a signal of the object manager.
    pub(crate) async fn tell<B: serde::Serialize + DynamicType>(&self, member: &str, body: &B) {
        let interface = "org.freedesktop.DBus.ObjectManager";
        self.emit("/", interface, member, body).await.expect("the bus is there");
    }

    /// Signals changed properties of the object at `path`; `body` is interface, changed properties and invalidated ones.
    pub(crate) async fn tell_changed<B: serde::Serialize + DynamicType>(&self, path: &str, body: &B) {
        let interface = "org.freedesktop.DBus.Properties";
        let sent = self.emit(path, interface, "PropertiesChanged", body).await;
        sent.expect("the bus is there");
    }

    /// Calls an object of the node's application.
    pub(crate) async fn call<B>(&self, from: &Connection, path: &str, member: &str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + DynamicType,
    {
        let client = self.world().client.clone().expect("it has registered");
        let calling = from.call_method(Some(client.as_str()), path, None::<&str>, member, body);
        timeout(DEADLINE, calling).await.unwrap_or_else(|_| panic!("{member} hangs"))
    }

    /// Leaves the bus, and loses all registrations.
    pub(crate) async fn leave(&self) {
        self.world().advertised = false;
        self.world().advertisements.clear();
        self.release_name().await;
    }
}

/// The name of the machine, which the adapter has by default.
pub(crate) const HOST: &str = "raspberrypi";

impl World {
    fn property(&self, name: &str) -> Variant<'static> {
        match name {
            "Alias" if !self.alias.is_empty() => self.alias.clone().into(),
            "Alias" | "Name" => HOST.into(),
            _ => self.powered.into(),
        }
    }

    /// An advertisement is registered or unregistered; false if there is no room for it.
    fn advertises(&mut self, path: String, registers: bool) -> bool {
        self.advertisements.retain(|known| *known != path);
        if registers && self.advertisements.len() >= self.room {
            return false;
        }
        if registers {
            self.advertisements.push(path);
        }
        self.advertised = self.advertisements.iter().any(|path| path == "/jarvis/advertisement");
        true
    }

    fn set(&mut self, name: &str, value: &Variant<'_>) {
        match (name, value) {
            ("Alias", Variant::Str(alias)) => {
                alias.as_str().clone_into(&mut self.alias);
                self.aliases.push(self.alias.clone());
            }
            _ => self.powered = true,
        }
    }
}

impl Service for World {
    const NAME: &'static str = SERVICE;

    fn script(&mut self) -> &mut Script {
        &mut self.script
    }

    async fn answer(bus: &Bus, message: Message) {
        let bus = bus.clone();
        // BlueZ calls back before it answers, so an answer must not delay others.
        tokio::spawn(async move {
            let member = message.header().member().map(ToString::to_string).unwrap_or_default();
            answer(&bus, &message, &member).await;
        });
    }
}

async fn answer(bus: &Bus, message: &Message, member: &str) {
    let header = message.header();
    let result = match member {
        "GetManagedObjects" => bus.connection.reply(&header, &objects(bus)).await,
        "Get" => {
            let body = message.body();
            let (_, property) = body.deserialize::<(&str, &str)>().expect("an interface and a property");
            let value = bus.world().property(property);
            bus.connection.reply(&header, &value).await
        }
        "Set" => {
            let body = message.body();
            let (_, property, value) = body.deserialize::<(&str, &str, Variant<'_>)>().expect("a property and its value");
            bus.world().set(property, &value);
            bus.connection.reply(&header, &()).await
        }
        "Ping" => bus.connection.reply(&header, &()).await,
        "RegisterApplication" => {
            bus.world().client = header.sender().map(ToString::to_string);
            bus.connection.reply(&header, &()).await
        }
        "RegisterAdvertisement" | "UnregisterAdvertisement" => {
            let path = object(message, member == "RegisterAdvertisement");
            let fits = bus.world().advertises(path, member == "RegisterAdvertisement");
            if fits {
                bus.connection.reply(&header, &()).await
            } else {
                bus.connection.reply_error(&header, "org.bluez.Error.NotPermitted", &"Maximum advertisements reached").await
            }
        }
        _ => bus.connection.reply_error(&header, "org.freedesktop.DBus.Error.UnknownMethod", &"no such method").await,
    };
    // The node may have disconnected.
    result.ok();
    bus.notify();
}

/// The advertisement that a call names.
fn object(message: &Message, has_options: bool) -> String {
    let body = message.body();
    let path = if has_options {
        body.deserialize::<(ObjectPath<'_>, HashMap<&str, Variant<'_>>)>().map(|(path, _)| path.to_string())
    } else {
        body.deserialize::<ObjectPath<'_>>().map(|path| path.to_string())
    };
    path.expect("the path of an advertisement")
}

fn objects(bus: &Bus) -> HashMap<OwnedObjectPath, HashMap<&'static str, HashMap<&'static str, Variant<'static>>>> {
    let world = bus.world();
    let mut properties = HashMap::from([("Powered", Variant::from(world.powered))]);
    if world.addressed {
        properties.insert("Address", ADDRESS.into());
    }
    let adapter = HashMap::from([(ADAPTER_INTERFACE, properties)]);
    let path = |path: &str| OwnedObjectPath::try_from(path).expect("a path");
    let mut objects = HashMap::from([(path("/org/bluez"), HashMap::from([("org.bluez.AgentManager1", HashMap::new())]))]);
    if world.present {
        objects.insert(path(ADAPTER), adapter);
    }
    objects
}
