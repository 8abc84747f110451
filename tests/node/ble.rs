//! The Bluetooth link over D-Bus, against a fake `BlueZ` with faults.

mod fake;
mod improv;
mod nymea;

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use fake::{ADAPTER, ADDRESS, Fake, World};
use futures_util::{FutureExt, StreamExt};
use jarvis_provisioning::daemon::{Ends, Event, Handle};
use jarvis_provisioning::link::ble::{self, Config, Services};
use provisioning_core::endpoint::{ENDPOINTS, Endpoint};
use provisioning_core::espressif;
use tempfile::TempDir;
use testing::bus::PrivateBus;
use testing::fake::Fault;
use testing::journal::Journal;
use testing_node::scripted::view;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zbus::{MatchRule, MessageStream, OwnedObjectPath, Variant};

/// Longer than any limit of the adapter.
const DEADLINE: Duration = Duration::from_mins(1);

/// The path of the application's objects.
const STATUS: &str = "/jarvis/provisioning/service/5";
/// The handshake of Espressif's apps.
const APP: &str = "/jarvis/provisioning/service_espressif/2";
const SCAN: &str = "/jarvis/provisioning/service/2";
const ADVERTISEMENT: &str = "/jarvis/advertisement";
const ADVERTISEMENT_INTERFACE: &str = "org.bluez.LEAdvertisement1";

/// A bus, a fake `BlueZ` on it, and the link under test. Fields are dropped in this order.
struct Lab {
    serving: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
    ends: Ends,
    fake: Fake,
    bus: PrivateBus,
    /// In place of the kernel's list of radio switches.
    switches: TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Lab {
    /// Starts with a loop that advertises, and with faults from the first call on. None if `dbus-daemon` is not
    /// installed.
    async fn start(faults: &[(&'static str, Fault)]) -> Option<Self> {
        Self::start_with(|world| world.script.faults.extend(faults.iter().cloned())).await
    }

    /// The same with another state of the fake.
    async fn start_with(prepare: impl FnOnce(&mut World)) -> Option<Self> {
        let bus = PrivateBus::start()?;
        let fake = Fake::start(&bus.address()).await;
        prepare(&mut fake.world());
        let (handle, ends) = Handle::channel(64, view());
        ends.advertising.send_replace(true);
        let switches = tempfile::tempdir().expect("a folder");
        let config = Config {
            bus: Some(bus.address()),
            adapter: Some(ADDRESS.to_lowercase()),
            services: Services { espressif: true, advertise_espressif: false, improv: true, nymea: true },
            switches: switches.path().to_owned(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(ble::serve(config, handle, async {
            // Dropping it stops as well.
            let _either = stopped.await;
        }));
        Some(Self { serving, stop: Some(stop), ends, fake, bus, switches })
    }

    /// Stops the node like a service manager.
    async fn stop(&mut self) {
        self.stop = None;
        timeout(DEADLINE, &mut self.serving).await.expect("it ends").expect("it does not panic");
    }

    /// The next event, except that a phone is still present: that one depends on time.
    async fn event(&mut self) -> Event {
        loop {
            let event = timeout(DEADLINE, self.ends.events.recv()).await.expect("an event in time").expect("the link is there");
            if !matches!(event, Event::Present { .. }) {
                return event;
            }
        }
    }

    /// Waits until these are advertised, in this order, and nothing else.
    async fn until_advertised(&self, paths: &[&str]) {
        let advertised = |world: &World| world.advertisements.iter().map(String::as_str).eq(paths.iter().copied());
        self.fake.until("other advertisements", advertised).await;
    }

    /// Subscribes a phone to a characteristic; returns the socket and the MTU.
    async fn subscribe(&self, path: &str, phone: &str) -> (UnixDatagram, u16) {
        let answer = self.fake.call(&self.fake.connection, path, "AcquireNotify", &(options(phone),)).await.expect("a socket");
        let (socket, mtu): (zbus::OwnedFd, u16) = answer.body().deserialize().expect("a socket and the MTU");
        let socket = UnixDatagram::from(OwnedFd::from(socket));
        socket.set_nonblocking(false).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket");
        (socket, mtu)
    }

    /// The value of a characteristic; none if it is refused.
    async fn read(&self, path: &str, phone: &str) -> Option<Vec<u8>> {
        let read = self.fake.call(&self.fake.connection, path, "ReadValue", &(options(phone),)).await;
        read.ok().map(|value| value.body().deserialize().expect("bytes"))
    }
}

/// The options that `BlueZ` passes with every call.
fn options(phone: &str) -> HashMap<&'static str, Variant<'static>> {
    let phone = OwnedObjectPath::try_from(format!("{ADAPTER}/{phone}")).expect("a path");
    HashMap::from([("device", Variant::from(phone)), ("mtu", 517_u16.into())])
}

#[tokio::test]
async fn the_adapter_has_the_nodes_name_while_it_serves_and_its_own_afterwards() {
    let name = view().info.name;
    // By default it is the host's; its owner may have chosen another; a killed node has left its own.
    for (before, after) in [("", ""), ("Kitchen", "Kitchen"), (name.as_str(), "")] {
        let Some(mut lab) = Lab::start_with(|world| world.alias = before.to_owned()).await else { return };
        lab.fake.until_advertised().await;
        assert_eq!(lab.fake.world().alias, name, "before it advertises");
        lab.stop().await;
        assert_eq!(lab.fake.world().alias, after, "it was {before:?}");
    }
}

#[tokio::test]
async fn the_name_is_that_of_the_node_again_after_bluez_has_restarted() {
    let Some(mut lab) = Lab::start_with(|world| world.alias = "Kitchen".to_owned()).await else { return };
    lab.fake.until_advertised().await;
    lab.fake.leave().await;
    lab.fake.come_back().await;
    lab.fake.until_advertised().await;
    assert_eq!(lab.fake.world().alias, view().info.name);
    lab.stop().await;
    assert_eq!(lab.fake.world().alias, "Kitchen");
}

#[tokio::test]
async fn a_name_that_a_killed_node_has_left_is_corrected_and_no_other_is() {
    let Some(bus) = PrivateBus::start() else { return };
    let fake = Fake::start(&bus.address()).await;
    let config = Config { bus: Some(bus.address()), ..Config::default() };
    for (left, after) in [("jarvis-5b91b661", ""), ("Kitchen", "Kitchen"), ("jarvis-00000000", "jarvis-00000000")] {
        fake.world().alias = left.to_owned();
        ble::give_back_name(&config, "jarvis-5b91b661").await;
        assert_eq!(fake.world().alias, after);
    }
}

#[tokio::test]
async fn an_adapter_whose_name_cannot_be_changed_advertises() {
    let refused = Fault::Error("org.bluez.Error.Failed", "no");
    // The first call of each is about the power.
    let Some(lab) = Lab::start_with(|world| {
        world.powered = true;
        world.script.faults.extend([("Set", refused)]);
    })
    .await
    else {
        return;
    };
    lab.fake.until_advertised().await;
    assert_eq!(lab.fake.world().alias, "");
}

#[tokio::test]
async fn an_answer_of_the_wrong_type_is_retried() {
    for member in ["GetManagedObjects", "Get"] {
        let Some(lab) = Lab::start(&[(member, Fault::WrongType)]).await else { return };
        lab.fake.until_advertised().await;
        assert!(lab.fake.world().script.calls_of(member) >= 2, "{member} was called again");
    }
}

#[tokio::test]
async fn a_refusal_is_retried() {
    for member in ["GetManagedObjects", "Get", "Set", "RegisterApplication", "RegisterAdvertisement"] {
        let Some(lab) = Lab::start(&[(member, Fault::Error("org.bluez.Error.Failed", "no"))]).await else { return };
        lab.fake.until_advertised().await;
        assert!(lab.fake.world().script.calls_of(member) >= 2, "{member} was called again");
    }
}

#[tokio::test]
async fn a_missing_answer_is_retried() {
    let Some(lab) = Lab::start(&[("RegisterApplication", Fault::Never)]).await else { return };
    lab.fake.until_advertised().await;
    assert_eq!(lab.fake.world().script.calls_of("RegisterApplication"), 2);
}

#[tokio::test]
async fn a_late_answer_is_waited_for() {
    let Some(lab) = Lab::start(&[("RegisterApplication", Fault::Late)]).await else { return };
    lab.fake.until("it has called", |world| world.script.calls_of("RegisterApplication") == 1).await;
    assert_eq!(lab.fake.world().script.calls_of("RegisterAdvertisement"), 0, "advertises only after the service is registered");
    lab.fake.release();
    lab.fake.until_advertised().await;
    assert_eq!(lab.fake.world().script.calls_of("RegisterApplication"), 1);
}

#[tokio::test]
async fn an_adapter_that_is_not_ready_is_waited_for() {
    let Some(lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    lab.fake.unplug().await;
    lab.fake.world().addressed = false;
    lab.fake.world().present = true;
    let calls = lab.fake.world().script.calls_of("GetManagedObjects");
    lab.fake.tell_added().await;
    lab.fake.until("it has listed the objects", |world| world.script.calls_of("GetManagedObjects") > calls).await;
    lab.fake.world().addressed = true;
    lab.fake.tell_added().await;
    lab.fake.until_advertised().await;
}

#[tokio::test]
async fn signals_of_the_wrong_type_are_ignored() {
    let Some(lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    lab.fake.tell("InterfacesRemoved", &"what is this?").await;
    lab.fake.tell("InterfacesRemoved", &(ADAPTER, 7_u32)).await;
    for interface in ["org.bluez.Adapter1", "org.bluez.Device1"] {
        lab.fake.tell_changed(ADAPTER, &(interface, vec![1_u8])).await;
        lab.fake
            .tell_changed(ADAPTER, &(interface, HashMap::from([("Powered", 0_u32), ("Connected", 0)]), Vec::<&str>::new()))
            .await;
    }
    // The answer is sent after the signals were processed.
    let read = lab.fake.call(&lab.fake.connection, STATUS, "ReadValue", &(options("dev_1"),)).await;
    assert!(read.is_ok(), "{read:?}");
    assert_eq!(lab.fake.world().script.calls_of("RegisterApplication"), 1);
}

#[tokio::test]
async fn calls_with_invalid_arguments_are_refused_and_the_link_stays() {
    let Some(mut lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    let connection = lab.fake.connection.clone();
    let subscribed = lab.fake.call(&connection, STATUS, "AcquireNotify", &(options("dev_1"),)).await.expect("a socket");
    // The test keeps the loop's end of the link open, because the link ends with it.
    let opened = lab.event().await;
    assert!(matches!(opened, Event::Opened { .. }), "{opened:?}");
    for endpoint in ENDPOINTS.map(|row| row.number) {
        let path = format!("/jarvis/provisioning/service/{endpoint}");
        for member in ["ReadValue", "WriteValue", "AcquireNotify", "StartNotify", "Confirm"] {
            let refused = lab.fake.call(&connection, &path, member, &"what is this?").await;
            assert!(refused.is_err(), "{member} of {path}");
            let refused = lab.fake.call(&connection, &path, member, &(7_u32, HashMap::<&str, Variant<'_>>::new())).await;
            assert!(refused.is_err(), "{member} of {path}");
        }
    }
    let absent = lab.fake.call(&connection, "/jarvis/none", "ReadValue", &(options("dev_1"),)).await;
    assert!(absent.is_err(), "there is no such object");
    // The link is still open.
    let written = (vec![0x80_u8, 0, 1, 7], options("dev_1"));
    lab.fake.call(&connection, SCAN, "WriteValue", &written).await.expect("a whole message is taken");
    while !matches!(lab.event().await, Event::Received { endpoint: Endpoint::Scan, .. }) {}
    assert_eq!(lab.fake.world().script.calls_of("RegisterApplication"), 1);
    drop((opened, subscribed));
}

#[tokio::test]
async fn a_message_of_an_app_is_acknowledged_when_its_answer_can_be_read() {
    let Some(mut lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    let connection = lab.fake.connection.clone();
    let (fake, events) = (&lab.fake, &mut lab.ends.events);
    let mut outbound = None;
    for answer in [(0..=255).collect::<Vec<u8>>(), Vec::new()] {
        // A long write arrives whole.
        let body = (vec![7_u8; 406], options("dev_1"));
        let write = fake.call(&connection, APP, "WriteValue", &body);
        let serve = async {
            loop {
                match events.recv().await.expect("an event") {
                    Event::Opened { outbound: opened, .. } => outbound = Some(opened),
                    Event::Espressif { endpoint: espressif::Endpoint::Session, message, .. } => {
                        assert_eq!(message, [7; 406]);
                        let early = fake.call(&connection, APP, "ReadValue", &(options("dev_2"),)).await.expect("a value");
                        assert!(early.body().deserialize::<Vec<u8>>().expect("bytes").is_empty(), "another phone's");
                        break outbound.as_ref().expect("it was opened").send(answer.clone()).await.expect("the link is there");
                    }
                    _ => {}
                }
            }
        };
        let (written, ()) = timeout(DEADLINE, async { tokio::join!(write, serve) }).await.expect("an answer");
        assert_eq!(written.is_ok(), !answer.is_empty(), "without an answer the message is refused");
        for offset in [0, 22, answer.len()] {
            let mut options = options("dev_1");
            options.insert("offset", u16::try_from(offset).expect("short").into());
            let read = fake.call(&connection, APP, "ReadValue", &(options,)).await;
            let value = read.ok().map(|value| value.body().deserialize::<Vec<u8>>().expect("bytes"));
            assert_eq!(value.as_deref(), answer.get(offset..), "from {offset}");
        }
    }
    let name = fake.call(&connection, &format!("{APP}/name"), "ReadValue", &(options("dev_1"),)).await.expect("a name");
    assert_eq!(name.body().deserialize::<Vec<u8>>().expect("bytes"), b"prov-session");
    let unwritable = fake.call(&connection, &format!("{APP}/name"), "WriteValue", &(vec![1_u8], options("dev_1"))).await;
    let long = fake.call(&connection, APP, "WriteValue", &(vec![1_u8; 513], options("dev_1"))).await;
    assert!(unwritable.is_err() && long.is_err());
}

#[tokio::test]
async fn an_answer_that_comes_after_its_app_has_left_is_not_there_when_it_comes_back() {
    let Some(mut lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    let connection = lab.fake.connection.clone();
    let (fake, events) = (&lab.fake, &mut lab.ends.events);
    let body = (vec![7_u8; 406], options("dev_1"));
    let write = fake.call(&connection, APP, "WriteValue", &body);
    let leave = async {
        let mut outbound = None;
        loop {
            match events.recv().await.expect("an event") {
                Event::Opened { outbound: opened, .. } => outbound = Some(opened),
                Event::Espressif { .. } => {
                    let changed = HashMap::from([("Connected", Variant::from(false))]);
                    let left = format!("{ADAPTER}/dev_1");
                    fake.tell_changed(&left, &("org.bluez.Device1", &changed, Vec::<&str>::new())).await;
                }
                Event::Closed { .. } => {
                    break outbound.expect("it was opened").send(vec![9; 416]).await.expect("the future waits");
                }
                _ => {}
            }
        }
    };
    timeout(DEADLINE, async { tokio::join!(write, leave) }).await.expect("an answer").0.expect("BlueZ has it");
    let read = fake.call(&connection, APP, "ReadValue", &(options("dev_1"),)).await.expect("a value");
    assert!(read.body().deserialize::<Vec<u8>>().expect("bytes").is_empty());
}

/// `BlueZ` joins values that it gets within 10 ms, and the other end of version 5.55 reads only the first one.
#[tokio::test]
async fn a_value_is_sent_only_after_bluez_has_sent_the_one_before() {
    let Some(mut lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    let connection = lab.fake.connection.clone();
    let answer = lab.fake.call(&connection, STATUS, "AcquireNotify", &(options("dev_1"),)).await.expect("a socket");
    let (socket, _): (zbus::OwnedFd, u16) = answer.body().deserialize().expect("a socket and the MTU");
    let socket = UnixDatagram::from(OwnedFd::from(socket));
    let opened = lab.event().await;
    let Event::Opened { outbound, .. } = opened else { panic!("{opened:?}") };
    lab.fake.world().script.faults.push_back(("Ping", Fault::Late));
    for message in [1_u8, 2] {
        outbound.send(vec![message]).await.expect("the link is there");
    }
    let mut value = [0; 512];
    lab.fake.until("it waits for the first value", |world| world.script.calls_of("Ping") == 1).await;
    let length = socket.recv(&mut value).expect("the first value");
    assert_eq!(value[length - 1], 1);
    let early = socket.recv(&mut value).expect_err("the second value waits");
    assert_eq!(early.kind(), ErrorKind::WouldBlock);
    lab.fake.release();
    // One more call for the first value, and one for the second.
    lab.fake.until("it waits for the second value", |world| world.script.calls_of("Ping") >= 3).await;
    let length = socket.recv(&mut value).expect("the second value");
    assert_eq!(value[length - 1], 2);
}

#[tokio::test]
async fn a_link_ends_with_its_connection_even_if_its_socket_stays_open() {
    let Some(mut lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    let connection = lab.fake.connection.clone();
    let kept = lab.fake.call(&connection, STATUS, "AcquireNotify", &(options("dev_1"),)).await.expect("a socket");
    let opened = lab.event().await;
    assert!(matches!(opened, Event::Opened { .. }), "{opened:?}");
    let changed = HashMap::from([("Connected", Variant::from(false))]);
    let left = |phone| format!("{ADAPTER}/{phone}");
    lab.fake.tell_changed(&left("dev_2"), &("org.bluez.Device1", &changed, Vec::<&str>::new())).await;
    let written = (vec![0x80_u8, 0, 1, 7], options("dev_1"));
    lab.fake.call(&connection, SCAN, "WriteValue", &written).await.expect("a whole message is taken");
    let received = lab.event().await;
    assert!(matches!(received, Event::Received { .. }), "another phone has left: {received:?}");
    lab.fake.tell_changed(&left("dev_1"), &("org.bluez.Device1", &changed, Vec::<&str>::new())).await;
    let closed = lab.event().await;
    assert!(matches!(closed, Event::Closed { .. }), "{closed:?}");
    drop((opened, kept));
}

/// The changes of the node's own advertisement that a client of the bus hears, as `BlueZ` does.
async fn changes(lab: &Lab) -> MessageStream {
    changes_of(lab, ADVERTISEMENT).await
}

/// The same of any advertisement.
async fn changes_of(lab: &Lab, path: &'static str) -> MessageStream {
    let bus = zbus::connection::Builder::address(&*lab.bus.address()).build().await.expect("a bus");
    let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).member("PropertiesChanged");
    let rule = rule.path(path).build().expect("a path");
    MessageStream::for_match_rule(rule, &bus, None).await.expect("the bus is there")
}

/// Waits for a change of the advertisement, which has to have the same content.
async fn changed(changes: &mut MessageStream) {
    let change =
        timeout(DEADLINE, changes.next()).await.expect("a change in time").expect("the bus is there").expect("a message");
    let body = change.body();
    let (interface, properties, _) = body.deserialize::<(&str, HashMap<&str, Variant<'_>>, Vec<&str>)>().expect("a change");
    assert_eq!((interface, properties), (ADVERTISEMENT_INTERFACE, HashMap::from([("Type", "peripheral".into())])));
}

/// Signals that the connection to a device has ended.
async fn leaves(lab: &Lab, phone: &str) {
    let properties = HashMap::from([("Connected", Variant::from(false))]);
    let body = ("org.bluez.Device1", properties, Vec::<&str>::new());
    lab.fake.tell_changed(&format!("/org/bluez/{phone}"), &body).await;
}

#[tokio::test]
async fn the_advertisement_is_sent_to_the_controller_again_after_every_connection_and_registered_once() {
    let Some(lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    let mut changes = changes(&lab).await;
    for _ in 0..100 {
        leaves(&lab, "hci1/dev_1").await;
        leaves(&lab, "hci0/dev_1").await;
        changed(&mut changes).await;
    }
    // After the answer every signal before is processed.
    lab.fake.call(&lab.fake.connection, ADVERTISEMENT, "GetAll", &(ADVERTISEMENT_INTERFACE,)).await.expect("it answers");
    assert!(changes.next().now_or_never().is_none(), "other adapters' connections do not count");
    assert_eq!(lab.fake.world().script.calls_of("RegisterAdvertisement"), 1);
}

#[tokio::test]
async fn the_advertisement_is_sent_to_the_controller_again_after_a_suspend() {
    let Some(lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    let mut changes = changes(&lab).await;
    let logind = zbus::connection::Builder::address(&*lab.bus.address()).build().await.expect("a bus");
    logind.request_name("org.freedesktop.login1").await.expect("the name is free");
    let (path, interface) = ("/org/freedesktop/login1", "org.freedesktop.login1.Manager");
    for asleep in [true, false] {
        logind.emit_signal(None::<&str>, path, interface, "PrepareForSleep", &asleep).await.expect("the bus is there");
    }
    changed(&mut changes).await;
    lab.fake.call(&lab.fake.connection, ADVERTISEMENT, "GetAll", &(ADVERTISEMENT_INTERFACE,)).await.expect("it answers");
    assert!(changes.next().now_or_never().is_none(), "once");
}

/// Otherwise `BlueZ` keeps the advertisement.
#[tokio::test]
async fn a_node_that_stops_waits_until_its_advertisement_is_registered() {
    let Some(mut lab) = Lab::start(&[("RegisterAdvertisement", Fault::Late)]).await else { return };
    lab.fake.until("it has called", |world| world.script.calls_of("RegisterAdvertisement") == 1).await;
    lab.stop = None;
    // BlueZ reads the advertisement before it answers.
    for _ in 0..20 {
        lab.fake.call(&lab.fake.connection, ADVERTISEMENT, "GetAll", &(ADVERTISEMENT_INTERFACE,)).await.expect("it answers");
    }
    assert!(!lab.serving.is_finished());
    lab.fake.release();
    lab.stop().await;
    assert!(lab.fake.world().advertised);
}

#[tokio::test]
async fn calls_of_other_processes_are_not_answered() {
    let Some(mut lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    let stranger = zbus::connection::Builder::address(&*lab.bus.address()).build().await.expect("a bus");
    let client = lab.fake.world().client.clone().expect("it has registered");
    let call = zbus::Message::method_call(STATUS, "AcquireNotify").destination(&*client);
    let call = call.build(&(options("dev_1"),)).expect("a message");
    stranger.send(&call).await.expect("the bus is there");
    // The bus processes messages in order, so it has delivered the call when it answers this one.
    zbus::fdo::DBusProxy::new(&stranger).await.expect("a proxy").get_id().await.expect("the bus is there");
    let connection = lab.fake.connection.clone();
    lab.fake.call(&connection, STATUS, "AcquireNotify", &(options("dev_2"),)).await.expect("a socket");
    let mut opened = 0;
    lab.fake.leave().await;
    while let Ok(Some(event)) = timeout(Duration::from_secs(8), lab.ends.events.recv()).await {
        opened += usize::from(matches!(event, Event::Opened { .. }));
        if matches!(event, Event::Bluetooth { available: false }) {
            break;
        }
    }
    assert_eq!(opened, 1, "the stranger has no link");
}

#[tokio::test]
async fn the_node_registers_again_after_a_restart_of_bluez() {
    let Some(lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    lab.fake.leave().await;
    lab.fake.come_back().await;
    lab.fake.until_advertised().await;
    assert_eq!(lab.fake.world().script.calls_of("RegisterApplication"), 2);
}

#[tokio::test]
async fn a_lost_bus_connection_is_restored() {
    let Some(mut lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    lab.bus.stop();
    lab.bus.restart();
    lab.fake = Fake::start(&lab.bus.address()).await;
    lab.fake.until_advertised().await;
}

#[tokio::test]
async fn a_hardware_switch_is_told_and_bluetooth_is_back_when_it_is_turned() {
    let journal = Journal::start();
    let Some(mut lab) = Lab::start(&[]).await else { return };
    lab.fake.until_advertised().await;
    let switch = lab.switches.path().join("rfkill0");
    fs::create_dir(&switch).expect("a folder for the switch");
    for (attribute, value) in [("type", "bluetooth"), ("soft", "0"), ("hard", "1")] {
        fs::write(switch.join(attribute), value).expect("an attribute");
    }
    lab.fake.world().advertised = false;
    lab.fake
        .tell_changed(ADAPTER, &("org.bluez.Adapter1", HashMap::from([("Powered", Variant::from(false))]), Vec::<&str>::new()))
        .await;
    // The access point may open in place of Bluetooth.
    let told = lab.event().await;
    assert!(matches!(told, Event::Bluetooth { available: false }), "{told:?}");
    fs::write(switch.join("hard"), "0").expect("an attribute");
    lab.fake.until_advertised().await;
    let journal = journal.stop();
    let switches: Vec<_> = journal.warnings().filter(|line| line.contains("blocked by a hardware switch: turn it on")).collect();
    assert_eq!(switches.len(), 1, "{}", journal.text());
}
