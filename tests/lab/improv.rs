//! Improv over real `BlueZ`s: what a client finds in the air, and its way to a network.

use std::collections::{BTreeMap, HashMap};

use jarvis_provisioning::simulation::{GUARDED, PASSWORD};
use provisioning_core::domain::State as NodeState;
use provisioning_core::improv::{Characteristic, SERVICE, SERVICE_DATA, State};
use provisioning_core::machine::{Answer, LocalRequest};
use tokio::time::timeout;
use uuid::Uuid;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant};

use crate::air::{Controllers, PATIENCE, breath, until};
use crate::node::Node;

const BLUEZ: &str = "org.bluez";

type Objects = HashMap<OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>>;

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

/// A client on the phone's controller, connected to the node.
struct Client {
    bus: Connection,
    characteristics: HashMap<Characteristic, String>,
}

impl Client {
    /// Finds a node whose advertisement has this state, as clients do, and connects.
    async fn find(controllers: &Controllers, state: State) -> Self {
        let bus = Connection::system().await.expect("a bus");
        let adapter = controllers.phone_adapter().await.expect("BlueZ has it");
        adapter.set_powered(true).await.expect("it can be switched on");
        let path = adapter.path().to_string();
        call(&bus, &path, "org.bluez.Adapter1", "StartDiscovery", &()).await;
        let device = format!("{path}/dev_{}", controllers.node.replace(':', "_"));
        let data = vec![state as u8, 7, 0, 0, 0, 0];
        until("the node is found with its service data", async || {
            let objects = objects(&bus).await;
            let found = objects.iter().find(|(found, _)| found.as_str() == device);
            let Some(properties) = found.and_then(|(_, interfaces)| interfaces.get("org.bluez.Device1")) else { return false };
            let is = |name: &str, expected: Variant<'_>| properties.get(name).is_some_and(|value| **value == expected);
            let has_service = format!("{:?}", properties.get("UUIDs")).contains(&Uuid::from_u128(SERVICE).to_string());
            let expected = BTreeMap::from([(Uuid::from_u128(SERVICE_DATA).to_string(), Variant::from(data.clone()))]);
            has_service && is("ServiceData", expected.into())
        })
        .await;
        call(&bus, &path, "org.bluez.Adapter1", "StopDiscovery", &()).await;
        call(&bus, &device, "org.bluez.Device1", "Connect", &()).await;
        let mut characteristics = HashMap::new();
        until("the services are known", async || {
            for (path, interfaces) in objects(&bus).await {
                let Some(properties) = interfaces.get("org.bluez.GattCharacteristic1") else { continue };
                let Some(Variant::Str(uuid)) = properties.get("UUID").map(|uuid| &**uuid) else { continue };
                let number = Uuid::parse_str(uuid.as_str()).expect("a UUID").as_u128();
                if let Some(found) = Characteristic::from_uuid(number).filter(|_| path.as_str().starts_with(&device)) {
                    characteristics.insert(found, path.to_string());
                }
            }
            characteristics.len() == Characteristic::ALL.len()
        })
        .await;
        let client = Self { bus, characteristics };
        for characteristic in [Characteristic::Error, Characteristic::Result, Characteristic::State] {
            client.call(characteristic, "StartNotify", &()).await;
        }
        client
    }

    async fn call<B: serde::Serialize + zbus::DynamicType + Sync>(
        &self,
        characteristic: Characteristic,
        member: &str,
        body: &B,
    ) -> zbus::Message {
        call(&self.bus, &self.characteristics[&characteristic], "org.bluez.GattCharacteristic1", member, body).await
    }

    async fn read(&self, characteristic: Characteristic) -> Vec<u8> {
        let answer = self.call(characteristic, "ReadValue", &(HashMap::<&str, Variant<'_>>::new(),)).await;
        answer.body().deserialize().expect("bytes")
    }

    /// Waits for the last value that this client was notified of, which `BlueZ` keeps.
    async fn told(&self, characteristic: Characteristic, value: &[u8]) {
        let interface = "org.freedesktop.DBus.Properties";
        let body = ("org.bluez.GattCharacteristic1", "Value");
        until(&format!("{characteristic:?} is {value:?}"), async || {
            let answer = call(&self.bus, &self.characteristics[&characteristic], interface, "Get", &body).await;
            answer.body().deserialize::<Variant<'_>>().is_ok_and(|told| told == Variant::from(value.to_vec()))
        })
        .await;
    }

    async fn join(&self, passphrase: &str) {
        let length = |text: &str| u8::try_from(text.len()).expect("short");
        let data = [&[length(GUARDED)], GUARDED.as_bytes(), &[length(passphrase)], passphrase.as_bytes()].concat();
        let mut packet = vec![1, u8::try_from(data.len()).expect("short")];
        packet.extend(data);
        packet.push(packet.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
        let options = HashMap::from([("type", Variant::from("request"))]);
        self.call(Characteristic::Command, "WriteValue", &(packet, options)).await;
    }

    async fn leave(self, controllers: &Controllers) {
        controllers.restart_phone().await;
    }
}

#[tokio::test]
async fn a_client_finds_an_authorized_node_and_gives_it_its_network() {
    let controllers = Controllers::ready().await;
    let node = Node::with_improv(&controllers);
    let client = Client::find(&controllers, State::AuthorizationRequired).await;
    assert_eq!(client.read(Characteristic::State).await, [1]);
    assert_eq!(client.read(Characteristic::Capabilities).await, [7]);
    client.join(PASSWORD).await;
    client.told(Characteristic::Error, &[4]).await;
    assert_eq!(node.handle.ask_locally(LocalRequest::Authorize).await, Ok(Answer::Authorized));
    client.told(Characteristic::State, &[2]).await;
    client.join("wrong password").await;
    client.told(Characteristic::Error, &[3]).await;
    client.leave(&controllers).await;
    // After an error clients connect again.
    breath().await;
    assert_eq!(node.handle.ask_locally(LocalRequest::Authorize).await, Ok(Answer::Authorized));
    let client = Client::find(&controllers, State::Authorized).await;
    client.join(PASSWORD).await;
    client.told(Characteristic::State, &[4]).await;
    client.told(Characteristic::Result, &[1, 0, 1]).await;
    assert_eq!(node.handle.view().status.state(), NodeState::Online);
    client.leave(&controllers).await;
}
