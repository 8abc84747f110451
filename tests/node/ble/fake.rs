//! A fake `BlueZ` with scripted faults: answers that are missing, late or of the wrong type, and adapters that are added and
//! removed.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zbus::message::Type;
use zbus::{Connection, DynamicType, Message, MessageStream, ObjectPath, OwnedObjectPath, Variant};

pub(crate) const SERVICE: &str = "org.bluez";
pub(crate) const ADAPTER: &str = "/org/bluez/hci0";
pub(crate) const ADDRESS: &str = "00:AA:01:00:00:42";
const ADAPTER_INTERFACE: &str = "org.bluez.Adapter1";
/// Longer than any limit of the adapter's own.
const DEADLINE: Duration = Duration::from_mins(1);

/// How a call is answered instead of properly.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Error,
    WrongType,
    /// Not before [`Fake::release`]; then properly.
    Late,
    Never,
}

/// The state of the fake, and the calls that it received.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own; goes when two of them exclude each other")]
pub(crate) struct World {
    /// There is an adapter.
    pub(crate) present: bool,
    /// It tells its address, as every adapter does that is ready.
    pub(crate) addressed: bool,
    pub(crate) powered: bool,
    pub(crate) advertised: bool,
    /// The unique name of the last client that registered.
    pub(crate) client: Option<String>,
    pub(crate) faults: VecDeque<(&'static str, Fault)>,
    /// Members that were called, in order.
    pub(crate) calls: Vec<String>,
    release: bool,
}

impl World {
    pub(crate) fn calls_of(&self, member: &str) -> usize {
        self.calls.iter().filter(|call| *call == member).count()
    }
}

pub(crate) struct Fake {
    pub(crate) connection: Connection,
    world: Arc<Mutex<World>>,
    changed: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// On the bus at that address, with an adapter that is switched off.
    pub(crate) async fn start(address: &str) -> Self {
        let connection = zbus::connection::Builder::address(address).build().await.expect("a bus");
        let world = World {
            present: true,
            addressed: true,
            powered: false,
            advertised: false,
            client: None,
            faults: VecDeque::new(),
            calls: Vec::new(),
            release: false,
        };
        let world = Arc::new(Mutex::new(world));
        let (changed, _) = watch::channel(());
        let server = Arc::new(Server { connection: connection.clone(), world: Arc::clone(&world), changed: changed.clone() });
        let mut stream = MessageStream::from(connection.clone());
        let task = tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if message.message_type() == Type::MethodCall {
                    Server::serve(&server, message).await;
                    server.changed.send_replace(());
                }
            }
        });
        connection.request_name(SERVICE).await.expect("the name is free");
        Self { connection, world, changed, task }
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics while it holds this")
    }

    /// Lets a late answer go.
    pub(crate) fn release(&self) {
        self.world().release = true;
        self.changed.send_replace(());
    }

    /// Waits until the world is as described.
    pub(crate) async fn until(&self, what: &str, mut condition: impl FnMut(&World) -> bool) {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            while !condition(&self.world()) {
                changed.changed().await.expect("the sender lives as long as this");
            }
        };
        assert!(timeout(DEADLINE, waiting).await.is_ok(), "not within {DEADLINE:?}: {what}; {:?}", self.world().calls);
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
        self.tell("InterfacesRemoved", &(ObjectPath::try_from(ADAPTER).expect("a path"), vec![ADAPTER_INTERFACE])).await;
    }

    /// A signal of the object manager.
    pub(crate) async fn tell<B: serde::Serialize + DynamicType>(&self, member: &str, body: &B) {
        let interface = "org.freedesktop.DBus.ObjectManager";
        self.connection.emit_signal(None::<&str>, "/", interface, member, body).await.expect("the bus is there");
    }

    /// A signal that properties of the object at `path` have changed; `body` is interface, changed properties, and invalidated properties.
    pub(crate) async fn tell_changed<B: serde::Serialize + DynamicType>(&self, path: &str, body: &B) {
        let interface = "org.freedesktop.DBus.Properties";
        let told = self.connection.emit_signal(None::<&str>, path, interface, "PropertiesChanged", body).await;
        told.expect("the bus is there");
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

    /// Leaves the bus, with everything that was registered.
    pub(crate) async fn leave(&self) {
        self.world().advertised = false;
        assert!(self.connection.release_name(SERVICE).await.expect("the bus is there"));
    }

    pub(crate) async fn come_back(&self) {
        self.connection.request_name(SERVICE).await.expect("the name is free");
    }
}

struct Server {
    connection: Connection,
    world: Arc<Mutex<World>>,
    changed: watch::Sender<()>,
}

impl Server {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no test panics while it holds this")
    }

    async fn serve(this: &Arc<Self>, message: Message) {
        let member = message.header().member().map(ToString::to_string).unwrap_or_default();
        let fault = {
            let mut world = this.world();
            world.calls.push(member.clone());
            if world.faults.front().is_some_and(|(of, _)| *of == member) { world.faults.pop_front() } else { None }
        };
        let server = Arc::clone(this);
        match fault.map(|(_, fault)| fault) {
            // `BlueZ` calls back before it answers, so an answer must not hold up others.
            None => _ = tokio::spawn(async move { server.answer(&message, &member).await }),
            Some(Fault::Never) => {}
            Some(Fault::WrongType) => this.connection.reply(&message.header(), &"what is this?").await.expect("the bus is there"),
            Some(Fault::Error) => {
                let header = message.header();
                this.connection.reply_error(&header, "org.bluez.Error.Failed", &"no").await.expect("the bus is there");
            }
            Some(Fault::Late) => {
                tokio::spawn(async move {
                    let mut changed = server.changed.subscribe();
                    while !server.world().release {
                        changed.changed().await.expect("the sender lives as long as this");
                    }
                    server.answer(&message, &member).await;
                });
            }
        }
    }

    async fn answer(&self, message: &Message, member: &str) {
        let header = message.header();
        let result = match member {
            "GetManagedObjects" => self.connection.reply(&header, &self.objects()).await,
            "Get" => {
                let powered = self.world().powered;
                self.connection.reply(&header, &Variant::from(powered)).await
            }
            "Set" => {
                self.world().powered = true;
                self.connection.reply(&header, &()).await
            }
            "RegisterApplication" => {
                self.world().client = header.sender().map(ToString::to_string);
                self.connection.reply(&header, &()).await
            }
            "RegisterAdvertisement" | "UnregisterAdvertisement" => {
                self.world().advertised = member == "RegisterAdvertisement";
                self.connection.reply(&header, &()).await
            }
            _ => self.connection.reply_error(&header, "org.freedesktop.DBus.Error.UnknownMethod", &"no such method").await,
        };
        // The node may have disconnected.
        result.ok();
        self.changed.send_replace(());
    }

    fn objects(&self) -> HashMap<OwnedObjectPath, HashMap<&'static str, HashMap<&'static str, Variant<'static>>>> {
        let world = self.world();
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
}
