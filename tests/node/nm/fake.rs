//! A scripted NetworkManager: the recorded state sequences of the real one, objects that disappear, and answers that are
//! missing, late or of the wrong type.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Deref;
use std::sync::Arc;

use rustix::time::{ClockId, clock_gettime};
use testing::fake::{Running, Script, Service};
use zbus::{Message, ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

pub(crate) const SERVICE: &str = "org.freedesktop.NetworkManager";
const ROOT: &str = "/org/freedesktop/NetworkManager";
pub(crate) const DEVICE: &str = "/org/freedesktop/NetworkManager/Devices/3";
/// The active connection of the cable.
const CABLE: u32 = 99;
const ADDRESS: &str = "02:00:00:00:00:00";

pub(crate) type Bus = testing::fake::Fake<World>;
pub(crate) type Settings = HashMap<String, HashMap<String, OwnedVariant>>;

/// The states and reasons of one activation, after the end of the previous one.
#[derive(Clone, Debug)]
pub(crate) struct Play {
    pub(crate) sequence: Vec<(u32, u32)>,
    /// Whether all state changes are sent before the call is answered.
    pub(crate) before_answer: bool,
}

impl Play {
    /// The usual states of a secured activation, followed by these.
    pub(crate) fn secured(rest: &[(u32, u32)]) -> Self {
        let sequence = [&[(40, 0), (50, 0), (60, 0), (40, 0), (50, 0)], rest].concat();
        Self { sequence, before_answer: false }
    }

    pub(crate) fn good() -> Self {
        Self::secured(&[(70, 0), (80, 0), (90, 0), (100, 0)])
    }
}

#[derive(Clone, Debug)]
pub(crate) struct AccessPoint {
    pub(crate) ssid: Vec<u8>,
    pub(crate) bssid: String,
    pub(crate) flags: u32,
    pub(crate) rsn: u32,
    pub(crate) strength: u8,
    /// Seconds since it was last seen.
    pub(crate) age: i32,
    pub(crate) mode: u32,
    /// Answers only probe requests with its name.
    pub(crate) hidden: bool,
}

impl AccessPoint {
    pub(crate) fn wpa2(ssid: &str) -> Self {
        Self::new(ssid, 0x188)
    }

    pub(crate) fn new(ssid: &str, rsn: u32) -> Self {
        let bssid =
            format!("02:{}", ssid.bytes().chain([0; 5]).take(5).map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"));
        Self { ssid: ssid.into(), bssid, flags: u32::from(rsn != 0), rsn, strength: 70, age: 1, mode: 2, hidden: false }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Profile {
    pub(crate) settings: Arc<Settings>,
    pub(crate) flags: u32,
    pub(crate) bound_to: Option<String>,
}

impl Profile {
    pub(crate) fn text(&self, section: &str, name: &str) -> Option<String> {
        self.settings.get(section)?.get(name).and_then(|value| String::try_from(value.try_clone().ok()?).ok())
    }

    pub(crate) fn has(&self, section: &str, name: &str) -> bool {
        self.settings.get(section).is_some_and(|section| section.contains_key(name))
    }
}

/// An IPv4 configuration.
#[derive(Clone, Debug)]
pub(crate) struct Ip4 {
    pub(crate) address: &'static str,
    pub(crate) gateway: &'static str,
    pub(crate) servers: Vec<&'static str>,
}

impl Ip4 {
    fn properties(&self) -> HashMap<&'static str, Variant<'static>> {
        let servers = self.servers.iter().map(|server| HashMap::from([("address", Variant::from(*server))]));
        HashMap::from([
            ("AddressData", vec![HashMap::from([("address", Variant::from(self.address)), ("prefix", 24_u32.into())])].into()),
            ("Gateway", self.gateway.into()),
            ("NameserverData", servers.collect::<Vec<_>>().into()),
        ])
    }
}

/// The state of the fake.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own; goes when two of them exclude each other")]
pub(crate) struct World {
    pub(crate) version: &'static str,
    pub(crate) wireless: bool,
    pub(crate) hardware: bool,
    /// None: no connectivity check is configured.
    pub(crate) connectivity: Option<u32>,
    pub(crate) state: u32,
    pub(crate) managed: bool,
    pub(crate) present: bool,
    pub(crate) capabilities: u32,
    pub(crate) in_the_air: Vec<AccessPoint>,
    /// Number of scans that complete without results before scans find networks.
    pub(crate) empty_scans: u32,
    /// Milliseconds since the boot.
    pub(crate) last_scan: i64,
    pub(crate) listed: Vec<AccessPoint>,
    uncovered: Vec<Vec<u8>>,
    pub(crate) profiles: BTreeMap<u32, Profile>,
    /// The IPv4 configuration of the active connection.
    pub(crate) ip4: Option<Ip4>,
    /// A cable is the primary connection, with the same configuration.
    pub(crate) cable: bool,
    /// The active connection: its number, and the profile's.
    pub(crate) active: Option<(u32, u32)>,
    pub(crate) plays: VecDeque<Play>,
    /// The settings of every call that added a profile.
    pub(crate) added: Vec<Arc<Settings>>,
    pub(crate) script: Script,
    pub(crate) client: Option<String>,
    /// Settings that NetworkManager adds to a new profile.
    pub(crate) completes_with: Vec<(&'static str, OwnedVariant)>,
    next: u32,
}

impl World {
    pub(crate) fn add_profile(&mut self, settings: Settings) -> u32 {
        self.next += 1;
        self.profiles.insert(self.next, Profile { settings: Arc::new(settings), flags: 0, bound_to: None });
        self.next
    }

    pub(crate) fn activate(&mut self, profile: u32) {
        self.next += 1;
        self.active = Some((self.next, profile));
        self.state = 100;
    }

    fn is_access_point(&self) -> bool {
        let profile = self.active.and_then(|(_, profile)| self.profiles.get(&profile));
        profile.is_some_and(|profile| profile.text("802-11-wireless", "mode").as_deref() == Some("ap"))
    }

    /// Deactivates the active connection; a volatile profile is deleted.
    fn deactivate(&mut self) {
        if let Some((_, profile)) = self.active.take()
            && self.profiles.get(&profile).is_some_and(|profile| profile.flags & 4 != 0)
        {
            self.profiles.remove(&profile);
        }
    }
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
    /// Starts on the bus at that address, with an idle Wi-Fi device.
    pub(crate) async fn start(address: &str) -> Self {
        let world = World {
            version: "1.42.4",
            wireless: true,
            hardware: true,
            connectivity: None,
            state: 30,
            managed: true,
            present: true,
            capabilities: 0x40 | 0x20 | 0x10,
            in_the_air: vec![AccessPoint::wpa2("HomeNetwork")],
            empty_scans: 0,
            last_scan: -1,
            listed: Vec::new(),
            uncovered: Vec::new(),
            profiles: BTreeMap::new(),
            ip4: None,
            cable: false,
            active: None,
            plays: VecDeque::new(),
            added: Vec::new(),
            script: Script::default(),
            client: None,
            completes_with: Vec::new(),
            next: 0,
        };
        let (bus, running) = Bus::start(address, world).await;
        Self { bus, _running: running }
    }

    /// Stops like a service: leaves the bus, and loses volatile profiles.
    pub(crate) async fn leave(&self) {
        {
            let mut world = self.world();
            world.deactivate();
            world.profiles.retain(|_, profile| profile.flags & 4 == 0);
            world.state = 30;
        }
        self.release_name().await;
    }

    /// Sends device states without an activation by the adapter.
    pub(crate) async fn play(&self, sequence: &[(u32, u32)]) {
        play_states(&self.bus, sequence).await;
    }

    /// Announces that properties of an interface have changed.
    pub(crate) async fn properties_changed(&self, interface: &str) {
        let body = (interface, HashMap::<&str, Variant<'_>>::new(), Vec::<&str>::new());
        self.emit(ROOT, "org.freedesktop.DBus.Properties", "PropertiesChanged", &body).await.expect("the bus is there");
    }

    /// The device is unplugged.
    pub(crate) async fn remove_device(&self) {
        {
            let mut world = self.world();
            world.deactivate();
            world.present = false;
            world.state = 30;
        }
        let device = ObjectPath::try_from(DEVICE).expect("a valid path");
        self.emit(ROOT, SERVICE, "DeviceRemoved", &device).await.expect("the bus is there");
    }
}

/// The answer to a call.
enum Answer {
    Objects(Vec<OwnedObjectPath>),
    Object(OwnedObjectPath),
    Properties(HashMap<&'static str, Variant<'static>>),
    Settings(Settings),
    Number(u32),
    Nothing,
    Extra,
    Added(OwnedObjectPath),
    Started(OwnedObjectPath, OwnedObjectPath, Play),
    Activated(OwnedObjectPath, Play),
    Error(&'static str, &'static str),
}

const UNKNOWN_OBJECT: Answer = Answer::Error("org.freedesktop.DBus.Error.UnknownMethod", "Object does not exist at path");

fn path(kind: &str, number: u32) -> OwnedObjectPath {
    OwnedObjectPath::try_from(format!("{ROOT}/{kind}/{number}")).expect("a valid path")
}

/// The value of a property that names an object, or none.
fn object(path: Option<OwnedObjectPath>) -> Variant<'static> {
    path.map_or_else(|| ObjectPath::try_from("/").expect("a valid path"), ObjectPath::from).into()
}

fn number(path: &str) -> u32 {
    path.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

impl Service for World {
    const NAME: &'static str = SERVICE;

    fn script(&mut self) -> &mut Script {
        &mut self.script
    }

    fn received(&mut self, message: &Message) {
        self.client = message.header().sender().map(ToString::to_string);
    }

    async fn answer(bus: &Bus, message: Message) {
        answer(bus, &message).await;
    }
}

async fn answer(bus: &Bus, message: &Message) {
    let header = message.header();
    let reply = |answer| async move {
        match answer {
            Answer::Objects(paths) => bus.connection.reply(&message.header(), &paths).await,
            Answer::Object(path) => bus.connection.reply(&message.header(), &path).await,
            Answer::Properties(properties) => bus.connection.reply(&message.header(), &properties).await,
            Answer::Settings(settings) => bus.connection.reply(&message.header(), &settings).await,
            Answer::Number(number) => bus.connection.reply(&message.header(), &number).await,
            Answer::Nothing => bus.connection.reply(&message.header(), &()).await,
            Answer::Extra => bus.connection.reply(&message.header(), &HashMap::<&str, Variant<'_>>::new()).await,
            Answer::Added(path) => bus.connection.reply(&message.header(), &(path, HashMap::<&str, Variant<'_>>::new())).await,
            Answer::Started(profile, active, _) => {
                bus.connection.reply(&message.header(), &(profile, active, HashMap::<&str, Variant<'_>>::new())).await
            }
            Answer::Activated(active, _) => bus.connection.reply(&message.header(), &active).await,
            Answer::Error(name, text) => bus.connection.reply_error(&message.header(), name, &text).await,
        }
        // The test may have ended the bus.
        .ok();
    };
    let replaced = bus.world().active.is_some();
    let answer = handle(bus, &header, message);
    let play = match &answer {
        Answer::Started(.., play) | Answer::Activated(_, play) => Some(play.clone()),
        _ => None,
    };
    let Some(play) = play else {
        reply(answer).await;
        if header.member().is_some_and(|member| member.as_str() == "RequestScan") {
            finish_scan(bus).await;
        }
        return;
    };
    let begin: &[(u32, u32)] = if replaced { &[(110, 60), (30, 60)] } else { &[] };
    let sequence = [begin, &play.sequence].concat();
    if play.before_answer {
        play_states(bus, &sequence).await;
        reply(answer).await;
    } else {
        reply(answer).await;
        play_states(bus, &sequence).await;
    }
}

async fn play_states(bus: &Bus, sequence: &[(u32, u32)]) {
    for &(new, reason) in sequence {
        let old = {
            let mut world = bus.world();
            // The new connection is active before the device leaves the previous one.
            if new == 120 || (new <= 30 && reason != 60) {
                world.deactivate();
            }
            std::mem::replace(&mut world.state, new)
        };
        let body = (new, old, reason);
        let interface = "org.freedesktop.NetworkManager.Device";
        bus.emit(DEVICE, interface, "StateChanged", &body).await.ok();
        bus.notify();
    }
}

async fn finish_scan(bus: &Bus) {
    let now = {
        let mut world = bus.world();
        let old = world.version.starts_with("1.36") && world.is_access_point();
        if old {
            return;
        }
        if world.empty_scans > 0 {
            world.empty_scans -= 1;
            world.listed.clear();
        } else {
            // A hidden network is listed without its name, and again with it after a probe request with its name.
            let uncovered = world.uncovered.clone();
            let (hidden, shown): (Vec<_>, Vec<_>) = world.in_the_air.clone().into_iter().partition(|station| station.hidden);
            let named = hidden.iter().filter(|station| uncovered.contains(&station.ssid)).cloned();
            world.listed = shown.into_iter().chain(named).collect();
            world.listed.extend(hidden.into_iter().map(|station| AccessPoint { ssid: Vec::new(), ..station }));
        }
        world.last_scan = milliseconds();
        world.last_scan
    };
    let changed = HashMap::from([("LastScan", Variant::from(now))]);
    let body = ("org.freedesktop.NetworkManager.Device.Wireless", changed, Vec::<&str>::new());
    bus.emit(DEVICE, "org.freedesktop.DBus.Properties", "PropertiesChanged", &body).await.ok();
}

fn handle(bus: &Bus, header: &zbus::message::Header<'_>, message: &Message) -> Answer {
    let body = message.body();
    let at = header.path().map(ToString::to_string).unwrap_or_default();
    let member = header.member().map(ToString::to_string).unwrap_or_default();
    let mut world = bus.world();
    match member.as_str() {
        "GetDevices" => {
            let mut devices = vec![path("Devices", 1), path("Devices", 2)];
            devices.extend(world.present.then(|| path("Devices", 3)));
            Answer::Objects(devices)
        }
        "GetAll" => properties(&world, &at, body.deserialize().expect("one interface")),
        "GetAllAccessPoints" => Answer::Objects(
            (0..world.listed.len()).map(|index| path("AccessPoint", u32::try_from(index).expect("few"))).collect(),
        ),
        "RequestScan" => {
            let mut options: HashMap<String, OwnedVariant> = body.deserialize().expect("options");
            if let Some(names) = options.remove("ssids") {
                world.uncovered = Vec::try_from(names).expect("names");
            }
            Answer::Nothing
        }
        "CheckConnectivity" => Answer::Number(world.connectivity.unwrap_or_default()),
        "AddAndActivateConnection2" => add_and_activate(&mut world, header, &body),
        "ActivateConnection" => {
            let (profile, _, specific): (OwnedObjectPath, OwnedObjectPath, OwnedObjectPath) =
                body.deserialize().expect("three paths");
            assert_eq!(specific.as_str(), "/");
            if !world.profiles.contains_key(&number(&profile)) {
                return Answer::Error("org.freedesktop.NetworkManager.UnknownConnection", "no such connection");
            }
            let play = world.plays.pop_front().unwrap_or_else(Play::good);
            world.deactivate();
            world.next += 1;
            world.active = Some((world.next, number(&profile)));
            Answer::Activated(path("ActiveConnection", world.next), play)
        }
        "ListConnections" => Answer::Objects(world.profiles.keys().map(|number| path("Settings", *number)).collect()),
        "GetConnectionByUuid" => {
            let uuid: String = body.deserialize().expect("a text");
            let found = world.profiles.iter().find(|(_, profile)| profile.text("connection", "uuid").as_deref() == Some(&uuid));
            found.map_or(
                Answer::Error(
                    "org.freedesktop.NetworkManager.Settings.InvalidConnection",
                    "No connection with the UUID was found.",
                ),
                |(number, _)| Answer::Object(path("Settings", *number)),
            )
        }
        "AddConnection2" => {
            let (settings, flags, _): (Settings, u32, HashMap<String, OwnedVariant>) = body.deserialize().expect("a profile");
            assert_eq!(flags, 1);
            let number = world.add_profile(settings);
            Answer::Added(path("Settings", number))
        }
        member @ ("GetSettings" | "Update2" | "Delete") => {
            let number = number(&at);
            let Some(profile) = world.profiles.get_mut(&number) else { return UNKNOWN_OBJECT };
            match member {
                "GetSettings" => {
                    let mut settings = copy(&profile.settings);
                    if let Some(security) = settings.get_mut("802-11-wireless-security") {
                        security.remove("psk");
                    }
                    Answer::Settings(settings)
                }
                "Update2" => {
                    let (settings, flags, _): (Settings, u32, HashMap<String, OwnedVariant>) =
                        body.deserialize().expect("a profile");
                    assert_eq!(flags, 1);
                    // Version 1.30 stores a profile without its secrets if no settings are passed.
                    assert!(!settings.is_empty(), "the passphrase is passed");
                    profile.settings = Arc::new(settings);
                    profile.flags = 0;
                    Answer::Extra
                }
                _ => {
                    world.profiles.remove(&number);
                    if world.active.is_some_and(|(_, active)| active == number) {
                        world.active = None;
                        world.state = 30;
                    }
                    Answer::Nothing
                }
            }
        }
        _ => UNKNOWN_OBJECT,
    }
}

fn copy(settings: &Settings) -> Settings {
    let section = |values: &HashMap<String, OwnedVariant>| {
        values.iter().map(|(name, value)| (name.clone(), value.try_clone().expect("no file descriptors"))).collect()
    };
    settings.iter().map(|(name, values)| (name.clone(), section(values))).collect()
}

fn add_and_activate(world: &mut World, header: &zbus::message::Header<'_>, body: &zbus::message::Body) -> Answer {
    type Arguments = (Settings, OwnedObjectPath, OwnedObjectPath, HashMap<String, OwnedVariant>);
    let (mut settings, device, specific, options): Arguments = body.deserialize().expect("a profile, two paths and options");
    assert_eq!((device.as_str(), specific.as_str()), (DEVICE, "/"));
    if world.state <= 20 {
        return Answer::Error(
            "org.freedesktop.NetworkManager.UnknownConnection",
            "not available because device is not available",
        );
    }
    let option = |name: &str| options.get(name).and_then(|value| <&str>::try_from(value).ok());
    assert_eq!(option("persist"), Some("volatile"));
    let bound_to =
        option("bind-activation").filter(|value| *value == "dbus-client").and(header.sender()).map(ToString::to_string);
    for (name, value) in &world.completes_with {
        let wifi = settings.get_mut("802-11-wireless").expect("a Wi-Fi profile");
        wifi.insert((*name).to_owned(), value.try_clone().expect("no file descriptors"));
    }
    let play = world.plays.pop_front().unwrap_or_else(Play::good);
    world.deactivate();
    world.next += 2;
    let (profile, active) = (world.next - 1, world.next);
    let settings = Arc::new(settings);
    world.added.push(Arc::clone(&settings));
    world.profiles.insert(profile, Profile { settings, flags: 5, bound_to });
    world.active = Some((active, profile));
    Answer::Started(path("Settings", profile), path("ActiveConnection", active), play)
}

fn properties(world: &World, at: &str, interface: &str) -> Answer {
    let number = number(at);
    let properties: HashMap<&'static str, Variant<'static>> = match interface.trim_start_matches(SERVICE) {
        "" => HashMap::from([
            ("Version", world.version.into()),
            ("WirelessEnabled", world.wireless.into()),
            ("WirelessHardwareEnabled", world.hardware.into()),
            ("Connectivity", world.connectivity.unwrap_or_default().into()),
            ("ConnectivityCheckAvailable", world.connectivity.is_some().into()),
            ("ConnectivityCheckEnabled", world.connectivity.is_some().into()),
            ("PrimaryConnection", object(world.cable.then(|| path("ActiveConnection", CABLE)))),
        ]),
        ".Device" if number == 3 => {
            let active = world.active.map(|(active, _)| path("ActiveConnection", active));
            HashMap::from([
                ("Interface", "wlan0".into()),
                ("DeviceType", 2_u32.into()),
                ("State", world.state.into()),
                ("ActiveConnection", object(active)),
                ("Ip4Config", object(world.ip4.as_ref().filter(|_| world.state == 100).map(|_| path("IP4Config", 1)))),
                ("Managed", world.managed.into()),
                ("FirmwareMissing", false.into()),
                ("HwAddress", ADDRESS.into()),
            ])
        }
        ".Device" if number == 4 => HashMap::from([("Interface", "eth0".into()), ("DeviceType", 1_u32.into())]),
        // A loopback device, and one of an unknown type.
        ".Device" => HashMap::from([("Interface", "lo".into()), ("DeviceType", if number == 1 { 32_u32 } else { 4711 }.into())]),
        ".Device.Wireless" => HashMap::from([
            ("HwAddress", ADDRESS.into()),
            ("Mode", if world.is_access_point() { 3_u32 } else { 2 }.into()),
            ("WirelessCapabilities", world.capabilities.into()),
            ("LastScan", world.last_scan.into()),
            ("ActiveAccessPoint", object(world.listed.first().filter(|_| world.state == 100).map(|_| path("AccessPoint", 0)))),
        ]),
        ".AccessPoint" => {
            let Some(access_point) = world.listed.get(usize::try_from(number).expect("small")) else { return UNKNOWN_OBJECT };
            let now = i32::try_from(milliseconds() / 1000).expect("the machine was started lately");
            HashMap::from([
                ("Ssid", access_point.ssid.clone().into()),
                ("HwAddress", access_point.bssid.clone().into()),
                ("Flags", access_point.flags.into()),
                ("WpaFlags", 0_u32.into()),
                ("RsnFlags", access_point.rsn.into()),
                ("Frequency", 2437_u32.into()),
                ("Strength", access_point.strength.into()),
                ("Mode", access_point.mode.into()),
                ("LastSeen", (now - access_point.age).into()),
            ])
        }
        ".IP4Config" => match &world.ip4 {
            Some(ip4) => ip4.properties(),
            None => return UNKNOWN_OBJECT,
        },
        ".Connection.Active" if number == CABLE => HashMap::from([
            ("Type", "802-3-ethernet".into()),
            ("Id", "Wired connection 1".into()),
            ("Devices", vec![ObjectPath::from(path("Devices", 4))].into()),
            ("Ip4Config", object(Some(path("IP4Config", 1)))),
        ]),
        ".Connection.Active" => match world.active {
            Some((active, profile)) if active == number => HashMap::from([
                (
                    "Id",
                    world.profiles.get(&profile).and_then(|profile| profile.text("connection", "id")).unwrap_or_default().into(),
                ),
                ("Connection", ObjectPath::from(path("Settings", profile)).into()),
                ("State", if world.state == 100 { 2_u32 } else { 1 }.into()),
            ]),
            _ => return UNKNOWN_OBJECT,
        },
        ".Settings.Connection" => match world.profiles.get(&number) {
            Some(profile) => HashMap::from([("Flags", profile.flags.into())]),
            None => return UNKNOWN_OBJECT,
        },
        _ => return UNKNOWN_OBJECT,
    };
    Answer::Properties(properties)
}

pub(crate) fn milliseconds() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}
