//! The link over D-Bus, against a fake `BlueZ`. The laboratory has the real one.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use provisioning_core::endpoint::ENDPOINTS;
use provisioning_core::fault::Fault as Reason;
use provisioning_core::wire::Refusal;
use provisioning_core::wire::framing::frames;
use testing::bus::PrivateBus;
use testing::fake::{Fake, Fault, Running, Script, Service};
use zbus::{Fd, Message, OwnedObjectPath, OwnedVariant, Variant};

use super::*;

const ADAPTERS: [(&str, &str); 2] = [("/org/bluez/hci0", "00:AA:01:00:00:42"), ("/org/bluez/hci1", "00:AA:01:01:00:43")];
const DEVICE: &str = "/org/bluez/hci1/dev_00_AA_01_00_00_42";
const NAME: &str = "jarvis-5b91b661";
const MTU: u16 = 185;
/// What every characteristic reads as.
const VALUE: [u8; 4] = [8, 2, 16, 100];

/// The fake's state.
#[derive(Default)]
struct World {
    discovering: bool,
    connected: bool,
    /// The list of services without ours that `BlueZ` holds for the node until the device is removed.
    outdated: bool,
    /// How often discovery stops by itself.
    stops: u32,
    /// The filter of the discovery.
    filter: HashMap<String, OwnedVariant>,
    /// Written values, with their path and their type.
    written: Vec<(String, Vec<u8>, String)>,
    /// The other end of the socket of the subscription.
    subscription: Option<UnixDatagram>,
    script: Script,
}

type Interfaces = HashMap<&'static str, HashMap<&'static str, Variant<'static>>>;

impl World {
    fn objects(&self) -> HashMap<OwnedObjectPath, Interfaces> {
        let path = |path: &str| OwnedObjectPath::try_from(path).expect("a path");
        let uuid = |uuid: u128| Variant::from(Uuid::from_u128(uuid).to_string());
        let mut objects: HashMap<OwnedObjectPath, Interfaces> = ADAPTERS
            .into_iter()
            .map(|(object, address)| {
                (path(object), HashMap::from([("org.bluez.Adapter1", HashMap::from([("Address", address.into())]))]))
            })
            .collect();
        let services = if self.outdated { Vec::new() } else { vec![SERVICE.to_string()] };
        let mut device = HashMap::from([
            ("Name", Variant::from(NAME)),
            ("UUIDs", Variant::from(services)),
            ("Connected", self.connected.into()),
            ("Paired", false.into()),
        ]);
        if self.discovering {
            device.insert("RSSI", Variant::from(-40_i16));
        }
        objects.insert(path(DEVICE), HashMap::from([("org.bluez.Device1", device)]));
        if self.connected {
            // A second service has characteristics of the same types.
            for (service, of) in [("service0010", endpoint::SERVICE), ("service0080", 0x180a)] {
                let service = format!("{DEVICE}/{service}");
                objects.insert(path(&service), HashMap::from([("org.bluez.GattService1", HashMap::from([("UUID", uuid(of))]))]));
                for row in &ENDPOINTS {
                    let interfaces =
                        HashMap::from([("org.bluez.GattCharacteristic1", HashMap::from([("UUID", uuid(row.uuid))]))]);
                    objects.insert(path(&format!("{service}/char00{:02x}", row.number)), interfaces);
                }
            }
        }
        objects
    }

    /// Carries out a call without an answer.
    fn obey(&mut self, call: &Message) {
        let (header, body) = (call.header(), call.body());
        match header.member().expect("a call has one").as_str() {
            "SetDiscoveryFilter" => self.filter = body.deserialize().expect("a filter"),
            "StartDiscovery" => self.discovering = true,
            "StopDiscovery" => self.discovering = false,
            "Connect" => self.connected = true,
            "Disconnect" => self.connected = false,
            "RemoveDevice" => self.outdated = false,
            "WriteValue" => {
                let (value, options): (Vec<u8>, HashMap<String, OwnedVariant>) = body.deserialize().expect("a value");
                let path = header.path().expect("a call has one").to_string();
                self.written.push((path, value, options["type"].downcast_ref::<&str>().expect("text").to_owned()));
            }
            "Set" => {}
            member => panic!("the phone calls {member}"),
        }
    }

    fn property(&mut self, name: &str) -> bool {
        match name {
            "Discovering" if self.stops > 0 => {
                self.stops -= 1;
                false
            }
            "Discovering" => self.discovering,
            "Connected" | "ServicesResolved" => self.connected,
            _ => panic!("the phone reads {name}"),
        }
    }
}

impl Service for World {
    const NAME: &'static str = "org.bluez";

    fn script(&mut self) -> &mut Script {
        &mut self.script
    }

    async fn answer(bluez: &Fake<Self>, message: Message) {
        let header = message.header();
        let body = message.body();
        let bus = &bluez.connection;
        let member = header.member().expect("a call has one").to_string();
        let replied = match member.as_str() {
            "GetManagedObjects" => {
                let objects = bluez.world().objects();
                bus.reply(&header, &objects).await
            }
            "Get" => {
                let (_, name): (String, String) = body.deserialize().expect("a property");
                let value = bluez.world().property(&name);
                bus.reply(&header, &Variant::from(value)).await
            }
            "ReadValue" => {
                let options: HashMap<String, OwnedVariant> = body.deserialize().expect("options");
                let Variant::U16(offset) = *options["offset"] else { panic!("{options:?}") };
                bus.reply(&header, &VALUE[offset.into()..].to_vec()).await
            }
            "AcquireNotify" => {
                let (ours, theirs) = UnixDatagram::pair().expect("a pair of sockets");
                bluez.world().subscription = Some(ours);
                bus.reply(&header, &(Fd::from(OwnedFd::from(theirs)), MTU)).await
            }
            _ => {
                bluez.world().obey(&message);
                bus.reply(&header, &()).await
            }
        };
        replied.expect("the phone is there");
    }
}

/// A bus, a fake `BlueZ` on it, and a connection to it. Fields are dropped in this order.
struct Place {
    bluez: Bluez,
    fake: Fake<World>,
    _running: Running,
    _bus: PrivateBus,
}

impl Place {
    /// None if `dbus-daemon` is not installed.
    async fn with(world: World) -> Option<Self> {
        let bus = PrivateBus::start()?;
        let (fake, running) = Fake::start(&bus.address(), world).await;
        let bluez = Bluez::connect(Some(&bus.address())).await.expect("a connection");
        Some(Self { bluez, fake, _running: running, _bus: bus })
    }

    async fn link(&self) -> Bluetooth {
        Bluetooth::connect_over(&self.bluez, Some("00:aa:01:01:00:43")).await.expect("a node in range")
    }
}

#[tokio::test]
async fn a_message_is_written_in_acknowledged_values_after_the_subscription() {
    let Some(place) = Place::with(World::default()).await else { return };
    let mut link = place.link().await;
    assert_eq!(link.name(), NAME);
    let message = vec![7; 300];
    link.write(Endpoint::Scan, &message).await.expect("acknowledged");
    let world = place.fake.world();
    let values: Vec<_> = world.written.iter().map(|(_, value, _)| value.clone()).collect();
    assert_eq!(values, frames(&message, value_size(MTU)));
    let path = format!("{DEVICE}/service0010/char00{:02x}", Endpoint::Scan.row().number);
    assert!(world.written.iter().all(|(object, _, kind)| *object == path && kind == "request"), "{:?}", world.written);
    let position = |member: &str| world.script.calls.iter().position(|call| call == member);
    assert!(position("AcquireNotify") < position("WriteValue"));
}

#[tokio::test]
async fn a_node_in_range_is_found_and_discovery_ends_before_the_connection() {
    // The first round ends by itself.
    let Some(place) = Place::with(World { outdated: true, stops: 1, ..World::default() }).await else { return };
    let link = place.link().await;
    {
        let world = place.fake.world();
        assert_eq!(*world.filter["Transport"], Variant::from("le"));
        assert_eq!(*world.filter["UUIDs"], Variant::from(vec![SERVICE.to_string()]));
        let calls = ["StartDiscovery", "StopDiscovery", "RemoveDevice", "Connect"];
        let called: Vec<_> = world.script.calls.iter().filter(|call| calls.contains(&call.as_str())).collect();
        let expected = ["StartDiscovery", "StopDiscovery", "StartDiscovery", "RemoveDevice", "StopDiscovery", "Connect"];
        assert_eq!(called, expected);
    }
    link.close().await;
    assert!(!place.fake.world().connected);
}

#[tokio::test]
async fn values_are_read_and_notified() {
    let Some(place) = Place::with(World::default()).await else { return };
    let mut link = place.link().await;
    assert_eq!(link.read(Endpoint::Status).await.expect("a value"), VALUE);
    assert_eq!(link.read_from(Endpoint::Status, 1).await.expect("the rest"), VALUE[1..]);
    assert_eq!(link.subscribe().await.expect("a subscription"), value_size(MTU));
    let sent = Outbound::Refusal(Refusal { fault: Reason::Busy, retry_after: 0 });
    for frame in frames(&sent.encode(), 3) {
        place.fake.world().subscription.as_ref().expect("subscribed").send(&frame).expect("the phone reads");
    }
    let received = link.receive(Instant::now() + ANSWER_LIMIT).await.expect("the link holds");
    assert_eq!(received, Some(sent));
}

#[tokio::test]
async fn a_damaged_value_is_a_lost_link() {
    let Some(place) = Place::with(World::default()).await else { return };
    let mut link = place.link().await;
    link.subscribe().await.expect("a subscription");
    // The end of a message, without its beginning.
    let damaged = &frames(&[7; 300], 200)[1];
    place.fake.world().subscription.as_ref().expect("subscribed").send(damaged).expect("the phone reads");
    let error = link.receive(Instant::now() + ANSWER_LIMIT).await.expect_err("an invalid value");
    assert!(matches!(error, Error::Lost(Some(_))), "{error:?}");
}

#[tokio::test]
async fn a_refusal_is_told_from_a_lost_connection_and_from_a_failure() {
    let Some(place) = Place::with(World::default()).await else { return };
    let mut link = place.link().await;
    let fail = |name| place.fake.world().script.faults.push_back(("WriteValue", Fault::Error(name, "no")));
    for (name, refusal) in [
        ("org.bluez.Error.NotPermitted", AttError::WriteNotPermitted),
        ("org.bluez.Error.NotSupported", AttError::WriteNotPermitted),
        ("org.bluez.Error.InvalidLength", AttError::InvalidLength),
    ] {
        fail(name);
        let error = link.write_value(Endpoint::Info, &[1]).await.expect_err("refused");
        assert!(matches!(error, Error::Refused(found) if found == refusal), "{name}: {error:?}");
    }
    fail("org.bluez.Error.Failed");
    let error = link.write_value(Endpoint::Scan, &[1]).await.expect_err("failed");
    assert!(matches!(error, Error::Bluetooth { attempt: "writing", .. }), "{error:?}");
    place.fake.world().connected = false;
    fail("org.bluez.Error.NotPermitted");
    let error = link.write_value(Endpoint::Scan, &[1]).await.expect_err("failed");
    assert!(matches!(error, Error::Lost(None)), "{error:?}");
}

#[tokio::test]
async fn an_adapter_is_chosen_by_name_or_address() {
    let Some(place) = Place::with(World::default()).await else { return };
    for (wanted, found) in [(None, "hci0"), (Some("hci1"), "hci1"), (Some("00:aa:01:01:00:43"), "hci1")] {
        assert_eq!(find_adapter(&place.bluez, wanted).await.expect("it is there").name(), found);
    }
    assert!(matches!(find_adapter(&place.bluez, Some("hci2")).await, Err(Error::NoAdapter)));
}
