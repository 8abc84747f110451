//! A phone that tells its battery level to paired devices only, as iPhones do, and a device with a stock `BlueZ`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use futures_util::StreamExt;
use mobile_test_harness::bluez::{Adapter, Device as Peer};
use tokio::task::JoinSet;
use uuid::Uuid;
use zbus::{Connection, Message, MessageStream, ObjectPath, Variant};

use crate::air::{Controllers, connect, must, until};
use crate::device::Device;
use crate::place::log;
use crate::units::{Unit, clean, configure, install};

/// The objects of the phone's application.
const ROOT: &str = "/phone";
const SERVICE: &str = "/phone/battery";
const LEVEL: &str = "/phone/battery/level";

/// The Battery Service, and its level (Bluetooth Assigned Numbers).
const BATTERY: Uuid = Uuid::from_u128(0x0000_180f_0000_1000_8000_0080_5f9b_34fb);
const BATTERY_LEVEL: Uuid = Uuid::from_u128(0x0000_2a19_0000_1000_8000_0080_5f9b_34fb);

/// The Battery Service of a phone; ends when dropped.
struct Battery {
    _tasks: JoinSet<()>,
}

impl Battery {
    async fn serve(phone: &Adapter) -> Self {
        let bus = Connection::system().await.expect("a connection to the bus");
        let mut messages = MessageStream::from(&bus);
        let mut tasks = JoinSet::new();
        let answering = bus.clone();
        tasks.spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                answer(&answering, &message).await;
            }
        });
        let root = ObjectPath::try_from(ROOT).expect("a path");
        let arguments = (root, HashMap::<&str, Variant<'_>>::new());
        let manager = Some("org.bluez.GattManager1");
        let registered = bus.call_method(Some("org.bluez"), phone.path(), manager, "RegisterApplication", &arguments).await;
        registered.expect("BlueZ takes it");
        Self { _tasks: tasks }
    }
}

async fn answer(bus: &Connection, message: &Message) {
    let header = message.header();
    let answered = match header.member().map(zbus::names::MemberName::as_str) {
        Some("GetManagedObjects") => bus.reply(&header, &objects()).await,
        Some("ReadValue") => bus.reply(&header, &vec![50_u8]).await,
        _ => return,
    };
    answered.expect("the bus is there");
}

fn objects() -> BTreeMap<ObjectPath<'static>, BTreeMap<&'static str, BTreeMap<&'static str, Variant<'static>>>> {
    let path = |path: &'static str| ObjectPath::try_from(path).expect("a path");
    let service = BTreeMap::from([("UUID", BATTERY.to_string().into()), ("Primary", true.into())]);
    let level = BTreeMap::from([
        ("UUID", BATTERY_LEVEL.to_string().into()),
        ("Service", path(SERVICE).into()),
        ("Flags", vec!["encrypt-read"].into()),
    ]);
    BTreeMap::from([
        (path(SERVICE), BTreeMap::from([("org.bluez.GattService1", service)])),
        (path(LEVEL), BTreeMap::from([("org.bluez.GattCharacteristic1", level)])),
    ])
}

/// The phone, as the node's adapter knows it.
async fn phone_at_the_node(controllers: &Controllers) -> Option<Peer> {
    let devices = controllers.node_adapter().await.ok()?.devices().await.ok()?;
    devices.into_iter().find(|device| device.connected)
}

#[tokio::test]
async fn a_phone_is_not_asked_to_pair_by_a_stock_bluez() {
    clean("jarvis-provisioning");
    let controllers = Controllers::ready().await;
    configure(&controllers, "never");
    install(&["jarvis-provisioning"]);
    let _unit = Unit::started("jarvis-provision.service");
    let controllers = Controllers::ready().await;
    let _battery = Battery::serve(&controllers.phone_adapter().await.expect("BlueZ has it")).await;

    let mut phone = connect(&controllers).await;
    until("the node knows the phone's services", async || match phone_at_the_node(&controllers).await {
        Some(peer) => peer.services.contains(&BATTERY) && peer.is_resolved().await.unwrap_or(false),
        None => false,
    })
    .await;
    phone.open_session(&Device::code()).await.expect("the code is right");
    phone.scan(true).await.expect("a list");
    let capture = must("btmon", &["--read", log("btmon.snoop").to_str().expect("a plain name")]);
    assert!(capture.contains("ATT: "), "the capture has the connection");
    let pairing: Vec<_> = capture.lines().filter(|line| line.contains("SMP: ")).collect();
    assert!(pairing.is_empty(), "{pairing:?}");
    phone.leave().await;

    clean("jarvis-provisioning");
    let command = must("systemctl", &["show", "--value", "--property=ExecStart", "bluetooth"]);
    assert!(!command.contains("jarvis"), "{command}");
    assert!(!Path::new("/usr/lib/jarvis-provisioning").exists(), "nothing of the package is left");
    let process = must("systemctl", &["show", "--value", "--property=MainPID", "bluetooth"]);
    let running = fs::read_to_string(format!("/proc/{}/cmdline", process.trim())).expect("it runs");
    assert!(!running.contains("noplugin"), "{running}");
}
