//! A client on the phone's controller, over `BlueZ`: it finds a node by what its protocol advertises, and uses its characteristics.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram as StdSocket;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::time::timeout;
use uuid::Uuid;
use zbus::{Connection, ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

use crate::air::{Controllers, PATIENCE, breath, until};

const BLUEZ: &str = "org.bluez";
const CHARACTERISTIC: &str = "org.bluez.GattCharacteristic1";

type Objects = HashMap<OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>>;

/// The properties of a device.
pub(crate) type Device = HashMap<String, OwnedVariant>;

async fn objects(bus: &Connection) -> Objects {
    let answer = bus.call_method(Some(BLUEZ), "/", Some("org.freedesktop.DBus.ObjectManager"), "GetManagedObjects", &()).await;
    answer.expect("BlueZ answers").body().deserialize().expect("objects")
}

async fn call<B: serde::Serialize + zbus::DynamicType + Sync>(
    bus: &Connection,
    path: &str,
    interface: &str,
    member: &str,
    body: &B,
) -> zbus::Message {
    let called = timeout(PATIENCE, bus.call_method(Some(BLUEZ), path, Some(interface), member, body)).await;
    called.expect("in time").unwrap_or_else(|error| panic!("{member} of {path}: {error}"))
}

/// Whether a device has advertised a service.
pub(crate) fn advertises(device: &Device, service: u128) -> bool {
    format!("{:?}", device.get("UUIDs")).contains(&Uuid::from_u128(service).to_string())
}

/// The object of the node at an adapter, whether it exists or not.
fn node_at(adapter: &str, controllers: &Controllers) -> String {
    format!("{adapter}/dev_{}", controllers.node.replace(':', "_"))
}

/// Has the phone's `BlueZ` forget the node: it shows the services of the last connection in place of those that are advertised.
async fn forget_node(bus: &Connection, controllers: &Controllers) {
    let adapter = controllers.phone_adapter().await.expect("BlueZ has it");
    let device = node_at(adapter.path(), controllers);
    if objects(bus).await.keys().any(|known| known.as_str() == device) {
        let device = ObjectPath::try_from(device).expect("a valid path");
        call(bus, adapter.path(), "org.bluez.Adapter1", "RemoveDevice", &device).await;
    }
}

/// Runs a client of `tests/lab/guest` on the phone's controller; returns its result. It is given secrets, so they are no arguments.
pub(crate) async fn program(controllers: &Controllers, script: &str, arguments: &[&str], given: &Value) -> Value {
    let adapter = controllers.phone_adapter().await.expect("BlueZ has it");
    adapter.set_powered(true).await.expect("it can be switched on");
    forget_node(&Connection::system().await.expect("a bus"), controllers).await;
    let name = adapter.path().rsplit('/').next().expect("its name is last").to_owned();
    let mut command = Command::new("python3");
    command.args([&format!("/lab/guest/{script}"), &name, &controllers.node]).args(arguments);
    let client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
    let mut client = client.expect("the guest has Python");
    client.stdin.take().expect("a pipe").write_all(given.to_string().as_bytes()).await.expect("it reads");
    let output = client.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "the client has failed: {}", output.status);
    controllers.restart_phone().await;
    breath().await;
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A client that is connected to the node.
pub(crate) struct Central {
    bus: Connection,
    /// The objects of the characteristics, by their UUID.
    characteristics: HashMap<u128, String>,
}

impl Central {
    /// Finds a node by its advertisements, as at its first time, connects, and waits for these characteristics.
    pub(crate) async fn find(controllers: &Controllers, is_found: impl Fn(&Device) -> bool, wanted: &[u128]) -> Self {
        let bus = Connection::system().await.expect("a bus");
        let adapter = controllers.phone_adapter().await.expect("BlueZ has it");
        adapter.set_powered(true).await.expect("it can be switched on");
        let path = adapter.path().to_string();
        let device = node_at(&path, controllers);
        forget_node(&bus, controllers).await;
        call(&bus, &path, "org.bluez.Adapter1", "StartDiscovery", &()).await;
        until("the node is found by its advertisement", async || {
            let objects = objects(&bus).await;
            let found = objects.iter().find(|(found, _)| found.as_str() == device);
            found.and_then(|(_, interfaces)| interfaces.get("org.bluez.Device1")).is_some_and(&is_found)
        })
        .await;
        call(&bus, &path, "org.bluez.Adapter1", "StopDiscovery", &()).await;
        call(&bus, &device, "org.bluez.Device1", "Connect", &()).await;
        Self::attach(controllers, wanted).await
    }

    /// Uses a connection that is there, and waits for these characteristics.
    pub(crate) async fn attach(controllers: &Controllers, wanted: &[u128]) -> Self {
        let bus = Connection::system().await.expect("a bus");
        let adapter = controllers.phone_adapter().await.expect("BlueZ has it");
        let device = node_at(adapter.path(), controllers);
        let mut characteristics = HashMap::new();
        until("the services are known", async || {
            for (path, interfaces) in objects(&bus).await {
                let Some(properties) = interfaces.get(CHARACTERISTIC) else { continue };
                let Some(Variant::Str(uuid)) = properties.get("UUID").map(|uuid| &**uuid) else { continue };
                if path.as_str().starts_with(&device) {
                    let uuid = Uuid::parse_str(uuid.as_str()).expect("a UUID").as_u128();
                    characteristics.insert(uuid, path.to_string());
                }
            }
            wanted.iter().all(|uuid| characteristics.contains_key(uuid))
        })
        .await;
        Self { bus, characteristics }
    }

    async fn call<B: serde::Serialize + zbus::DynamicType + Sync>(&self, uuid: u128, member: &str, body: &B) -> zbus::Message {
        call(&self.bus, &self.characteristics[&uuid], CHARACTERISTIC, member, body).await
    }

    pub(crate) async fn read(&self, uuid: u128) -> Vec<u8> {
        let answer = self.call(uuid, "ReadValue", &(HashMap::<&str, Variant<'_>>::new(),)).await;
        answer.body().deserialize().expect("bytes")
    }

    /// Writes a value, and waits for its acknowledgement.
    pub(crate) async fn write(&self, uuid: u128, value: &[u8]) {
        self.call(uuid, "WriteValue", &(value, HashMap::from([("type", Variant::from("request"))]))).await;
    }

    /// Has `BlueZ` keep the last value of which it is notified.
    pub(crate) async fn subscribe(&self, uuid: u128) {
        self.call(uuid, "StartNotify", &()).await;
    }

    /// The socket of a subscription: it has every value.
    pub(crate) async fn notifications(&self, uuid: u128) -> UnixDatagram {
        let answer = self.call(uuid, "AcquireNotify", &(HashMap::<&str, Variant<'_>>::new(),)).await;
        let (socket, _): (zbus::OwnedFd, u16) = answer.body().deserialize().expect("a socket and the MTU");
        let socket = StdSocket::from(OwnedFd::from(socket));
        socket.set_nonblocking(true).expect("a socket");
        UnixDatagram::from_std(socket).expect("within a runtime")
    }

    /// Waits for the last value that this client was notified of.
    pub(crate) async fn told(&self, uuid: u128, value: &[u8]) {
        let interface = "org.freedesktop.DBus.Properties";
        until(&format!("{uuid:x} is {value:?}"), async || {
            let answer = call(&self.bus, &self.characteristics[&uuid], interface, "Get", &(CHARACTERISTIC, "Value")).await;
            answer.body().deserialize::<Variant<'_>>().is_ok_and(|told| told == Variant::from(value.to_vec()))
        })
        .await;
    }

    pub(crate) async fn leave(self, controllers: &Controllers) {
        controllers.restart_phone().await;
    }
}
