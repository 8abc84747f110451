//! A node with a caretaker in virtual time: the networks in range, and a radio whose calls take as long as real ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::care::alarm::Alarm;
use jarvis_provisioning::care::caretaker::{Caretaker, Settings};
use jarvis_provisioning::care::events::Event;
use jarvis_provisioning::care::port::Care;
use jarvis_provisioning::care::{self, Configured};
use jarvis_provisioning::command_center::Registrar;
use jarvis_provisioning::daemon::{Ends, Handle, View};
use jarvis_provisioning::network::{Error, Inspection, Maintenance, Network, StoredNetwork};
use provisioning_core::care::diagnosis::{Address, Association, Radio};
use provisioning_core::care::recovery::{Internet, Sighted};
use provisioning_core::domain::{self, Passphrase, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Joined;
use testing_node::scripted;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_mins(1);

/// How long calls take.
const LOOK: Duration = Duration::from_millis(50);
const SCAN: Duration = Duration::from_secs(4);
const JOIN: Duration = Duration::from_secs(2);
const JOIN_FAILS: Duration = Duration::from_secs(24);
const SWITCH: Duration = Duration::from_secs(3);

pub(super) fn ssid(name: &str) -> Ssid {
    Ssid::try_from(name).expect("1 to 32 bytes")
}

/// What the radio does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Nothing,
    Joined(&'static str),
    Hotspot,
}

/// A part below the node that does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Away {
    NetworkManager,
    /// NetworkManager runs, and has no radio.
    Supplicant,
    /// No call has an answer.
    Bus,
}

pub(super) struct World {
    /// The networks in range, and whether they accept the node.
    pub(super) air: BTreeMap<&'static str, bool>,
    /// The last one is the one that was used last.
    pub(super) stored: Vec<&'static str>,
    pub(super) radio: Use,
    /// What does not work.
    pub(super) away: Option<Away>,
    pub(super) internet: Internet,
    pub(super) phones: u32,
    /// The network that the node is in has assigned it an address.
    pub(super) has_lease: bool,
    /// A network that was joined gives no access to the internet.
    pub(super) limited: bool,
    /// The calls, when they began; those that only look are left out.
    pub(super) calls: Vec<(Instant, &'static str)>,
    /// Calls in progress, and the most there ever were.
    running: u32,
    pub(super) overlap: u32,
    previous: Option<&'static str>,
}

/// The radio of a node. Clones share it.
#[derive(Clone)]
pub(super) struct House(Arc<Mutex<World>>);

/// A call in progress.
struct Call(House);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.world().running -= 1;
    }
}

impl House {
    /// A node in its home.
    pub(super) fn new() -> Self {
        let world = World {
            air: BTreeMap::from([("home", true), ("refusing", false)]),
            stored: vec!["home"],
            radio: Use::Joined("home"),
            away: None,
            internet: Internet::Full,
            phones: 0,
            has_lease: true,
            limited: false,
            calls: Vec::new(),
            running: 0,
            overlap: 0,
            previous: None,
        };
        Self(Arc::new(Mutex::new(world)))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().expect("no test panics while it holds this")
    }

    pub(super) fn radio(&self) -> Use {
        self.world().radio.clone()
    }

    /// A network leaves the air, and the node with it.
    pub(super) fn lose(&self, name: &'static str) {
        let mut world = self.world();
        world.air.remove(name);
        if world.radio == Use::Joined(name) {
            world.radio = Use::Nothing;
        }
    }

    pub(super) fn gain(&self, name: &'static str) {
        self.world().air.insert(name, true);
    }

    /// A part ends, and the connection or the hotspot with it.
    pub(super) fn leave(&self, part: Away) {
        let mut world = self.world();
        world.away = Some(part);
        world.radio = Use::Nothing;
    }

    fn begin(&self, name: &'static str) -> Call {
        let mut world = self.world();
        world.running += 1;
        world.overlap = world.overlap.max(world.running);
        if name != "look" {
            world.calls.push((Instant::now(), name));
        }
        Call(self.clone())
    }

    /// A change of the radio.
    async fn switch(&self, name: &'static str, takes: Duration, change: impl FnOnce(&mut World) + Send) -> Result<(), Error> {
        let _call = self.begin(name);
        self.present().await?;
        sleep(takes).await;
        self.present().await?;
        change(&mut self.world());
        Ok(())
    }

    async fn present(&self) -> Result<(), Error> {
        let away = self.world().away;
        match away {
            None => Ok(()),
            Some(Away::NetworkManager) => Err(Error::new("a call", Fault::NetworkUnavailable)),
            Some(Away::Supplicant) => Err(Error { hung: true, ..Error::new("a call", Fault::NetworkUnavailable) }),
            Some(Away::Bus) => std::future::pending().await,
        }
    }

    async fn join_named(&self, call: &'static str, name: &str) -> Result<&'static str, Error> {
        let _call = self.begin(call);
        self.present().await?;
        let found = {
            let mut world = self.world();
            if let Use::Joined(before) = world.radio {
                world.previous = Some(before);
            }
            // NetworkManager leaves what it was in as soon as it tries another network.
            world.radio = Use::Nothing;
            world.air.get_key_value(name).map(|(name, accepts)| (*name, *accepts))
        };
        match found {
            Some((name, true)) => {
                sleep(JOIN).await;
                self.present().await?;
                let mut world = self.world();
                if !world.air.contains_key(name) {
                    return Err(Error::new("joining", Fault::NetworkNotFound));
                }
                (world.radio, world.has_lease) = (Use::Joined(name), true);
                if call == "join_stored" {
                    world.previous = None;
                }
                Ok(name)
            }
            found => {
                sleep(JOIN_FAILS).await;
                Err(Error::new("joining", if found.is_some() { Fault::WrongPassword } else { Fault::NetworkNotFound }))
            }
        }
    }
}

impl Network for House {
    async fn scan(&self) -> Result<Vec<domain::Network>, Error> {
        self.switch("scan", SCAN, |_| {}).await?;
        let network = |name: &&str| scripted::network(name, -60, domain::Security::Wpa2);
        Ok(self.world().air.keys().map(network).collect())
    }

    async fn join(&self, ssid: &Ssid, _: &Passphrase, _: bool) -> Result<Joined, Error> {
        self.join_named("join", &ssid.to_string()).await?;
        Ok(Joined { limited_connectivity: self.world().limited })
    }

    async fn keep(&self) -> Result<(), Error> {
        let _call = self.begin("keep");
        let mut world = self.world();
        if let Use::Joined(name) = world.radio {
            world.stored.retain(|stored| *stored != name);
            world.stored.push(name);
        }
        Ok(())
    }

    async fn restore(&self) -> Result<(), Error> {
        let previous = self.world().previous;
        match previous {
            Some(name) => self.join_named("restore", name).await.map(drop),
            None => Ok(()),
        }
    }

    async fn open_access_point(&self, _: &str) -> Result<(), Error> {
        if self.radio() == Use::Hotspot {
            return Ok(());
        }
        self.switch("open", SWITCH, |world| world.radio = Use::Hotspot).await
    }

    async fn forget(&self) -> Result<(), Error> {
        unreachable!("the caretaker forgets networks by name")
    }
}

impl Maintenance for House {
    async fn inspect(&self) -> Inspection {
        let _call = self.begin("look");
        sleep(LOOK).await;
        let away = self.world().away;
        match away {
            None => {}
            Some(Away::NetworkManager) => return Inspection::unconnected(Radio::ServiceAbsent),
            Some(Away::Supplicant) => return Inspection::unconnected(Radio::Unavailable("wlan0".into())),
            Some(Away::Bus) => std::future::pending().await,
        }
        let world = self.world();
        let mut seen = Inspection::unconnected(Radio::Ready("wlan0".into()));
        seen.internet = world.internet;
        match world.radio {
            Use::Nothing => {}
            Use::Joined(name) => {
                seen.association = Association::Joined { network: name.into(), signal: Some(70) };
                seen.joined = Some(ssid(name));
                if world.has_lease {
                    seen.address = Address::Assigned("192.168.1.20/24".into());
                }
            }
            Use::Hotspot => {
                seen.association = Association::Hotspot;
                seen.phones = Some(world.phones);
            }
        }
        seen
    }

    async fn in_range(&self) -> Result<Sighted, Error> {
        self.switch("in_range", SCAN, |_| {}).await?;
        let world = self.world();
        let networks = world.stored.iter().rev().filter(|name| world.air.contains_key(**name)).map(|name| ssid(name)).collect();
        Ok(Sighted { networks, hears: Some(!world.air.is_empty()) })
    }

    async fn join_stored(&self, network: Option<&Ssid>) -> Result<(), Error> {
        let name = {
            let world = self.world();
            world.stored.iter().rev().find(|stored| network.is_none_or(|network| *network == ssid(stored))).copied()
        };
        let name = name.ok_or_else(|| Error::new("joining", Fault::NetworkNotFound))?;
        self.join_named("join_stored", name).await.map(drop)
    }

    async fn close_access_point(&self) -> Result<(), Error> {
        self.switch("close", SECOND, |world| world.radio = Use::Nothing).await
    }

    async fn restart_radio(&self) -> Result<(), Error> {
        self.switch("restart", SWITCH, |_| {}).await
    }

    async fn stored(&self) -> Result<Vec<StoredNetwork>, Error> {
        let world = self.world();
        let network = |name: &&'static str| StoredNetwork {
            name: (*name).into(),
            ssid: ssid(name),
            uuid: format!("uuid of {name}"),
            autoconnect: true,
            active: world.radio == Use::Joined(name),
        };
        Ok(world.stored.iter().rev().map(network).collect())
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let _call = self.begin("delete");
        let mut world = self.world();
        let before = world.stored.len();
        world.stored.retain(|stored| *stored != name);
        if world.stored.len() == before { Err(Error::new("deleting", Fault::NetworkNotFound)) } else { Ok(()) }
    }
}

/// A running caretaker, which ends when this is dropped.
pub(super) struct Node {
    pub(super) house: House,
    pub(super) care: Care,
    pub(super) handle: Handle,
    daemon: Ends,
    task: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
}

impl Node {
    /// A provisioned node in its home.
    pub(super) fn start() -> Self {
        Self::start_in(House::new())
    }

    pub(super) fn start_in(house: House) -> Self {
        Self::start_with(house, true)
    }

    /// The same, with or without recovery.
    pub(super) fn start_with(house: House, recovery: bool) -> Self {
        Self::start_as(house, |settings| settings.recovery = recovery)
    }

    /// The same with other settings.
    pub(super) fn start_as(house: House, change: impl FnOnce(&mut Settings)) -> Self {
        let mut view = View { needs_radio: false, ..scripted::view() };
        view.info.previously_provisioned = true;
        let (handle, daemon) = Handle::channel(64, view);
        let mut settings = Settings {
            probes: Arc::new(|| care::Settings::new(Configured::Nowhere, clock())),
            recovery: true,
            simulated: true,
            interface: None,
            hostname: "node".into(),
            clock,
            alarm: Alarm::of_tokio(),
            restart: None,
        };
        change(&mut settings);
        let registrar = Registrar::new(Client::new(AddressPolicy::SIMULATION, Trust::System));
        let (caretaker, care) = Caretaker::new(settings, house.clone(), registrar, handle.clone());
        let task = tokio::spawn(caretaker.run(std::future::pending()));
        Self { house, care, handle, daemon, task }
    }

    /// The process is killed and starts again. Its hotspot ends with it.
    pub(super) async fn crash(self) -> Self {
        let house = self.house.clone();
        self.task.abort();
        drop(self);
        {
            let mut world = house.world();
            if world.radio == Use::Hotspot {
                world.radio = Use::Nothing;
            }
        }
        sleep(SECOND).await;
        Self::start_in(house)
    }

    /// Provisioning needs the radio, or no longer needs it.
    pub(super) fn provisioning(&self, needs_radio: bool) {
        self.daemon.view.send_modify(|view| *view = Arc::new(View { needs_radio, ..View::clone(view) }));
    }

    /// Waits until the radio is used so; returns how long it took.
    pub(super) async fn until(&self, wanted: &Use) -> Duration {
        let start = Instant::now();
        let waiting = async {
            while self.house.radio() != *wanted {
                sleep(SECOND / 10).await;
            }
        };
        let waited = timeout(MINUTE * 60, waiting).await;
        assert!(waited.is_ok(), "not {wanted:?} within an hour; {:?}", self.house.world().calls);
        start.elapsed()
    }

    /// The messages of the last events.
    pub(super) async fn messages(&self) -> Vec<String> {
        self.events().await.iter().map(|event| event.news.message.clone()).collect()
    }

    /// The ids of the last events.
    pub(super) async fn ids(&self) -> Vec<String> {
        self.events().await.iter().map(|event| event.id.clone()).collect()
    }

    async fn events(&self) -> Vec<Arc<Event>> {
        let mut reader = self.care.events().read();
        let mut events = Vec::new();
        while let Ok(event) = timeout(Duration::ZERO, reader.next()).await {
            events.push(event.expect("not behind"));
        }
        events
    }
}
