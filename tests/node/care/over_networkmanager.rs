//! The caretaker over the fake NetworkManager, in real time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::care::alarm::Alarm;
use jarvis_provisioning::care::caretaker::{Caretaker, Settings};
use jarvis_provisioning::care::port::{Care, Error, Join};
use jarvis_provisioning::care::{self, Configured};
use jarvis_provisioning::command_center::Registrar;
use jarvis_provisioning::daemon::{Ends, Event, Handle, View};
use jarvis_provisioning::network::nm::{NetworkManager, Settings as NmSettings};
use provisioning_core::domain::{Passphrase, Ssid};
use provisioning_core::fault::Fault;
use testing::bus::PrivateBus;
use testing_node::scripted;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::nm::fake::{AccessPoint, Fake, Ip4, Play};
use crate::nm::keeping::foreign;

/// Longer than any limit of the code under test.
const DEADLINE: Duration = Duration::from_mins(2);

/// A caretaker that checks nothing but the radio's network.
pub(crate) fn caretaker(network: NetworkManager, handle: Handle) -> (Caretaker<NetworkManager>, Care) {
    let clock = || SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
    let settings = Settings {
        probes: Arc::new(move || care::Settings::new(Configured::Nowhere, clock())),
        recovery: true,
        simulated: true,
        interface: None,
        hostname: "node".into(),
        clock,
        alarm: Alarm::of_kernel().expect("a timer"),
        restart: None,
    };
    let registrar = Registrar::new(Client::new(AddressPolicy::SIMULATION, Trust::System));
    Caretaker::new(settings, network, registrar, handle)
}

/// A node in its home. Fields are dropped in this order.
struct Node {
    care: Care,
    daemon: Ends,
    _tasks: JoinSet<()>,
    fake: Fake,
    home: u32,
    _dns: tempfile::TempDir,
    _bus: PrivateBus,
}

impl Node {
    /// None if `dbus-daemon` is not installed.
    async fn start() -> Option<Self> {
        let bus = PrivateBus::start()?;
        let fake = Fake::start(&bus.address()).await;
        let home = {
            let mut world = fake.world();
            world.in_the_air.push(AccessPoint::wpa2("Office"));
            world.listed = vec![AccessPoint::wpa2("HomeNetwork"), AccessPoint::wpa2("Office")];
            world.ip4 = Some(Ip4 { address: "192.168.1.20", gateway: "", servers: Vec::new() });
            let home = world.add_profile(foreign("HomeNetwork", &[]));
            world.activate(home);
            home
        };
        let dns = tempfile::tempdir().expect("a temporary folder");
        let passphrase = Passphrase::try_from("the label's passphrase".to_owned()).expect("a short passphrase");
        let network = NetworkManager::start(NmSettings {
            bus: Some(bus.address()),
            passphrase: Some(passphrase),
            dns_directory: dns.path().into(),
            dns_helper: dns.path().join("none"),
            certificates: dns.path().join("certificates"),
            ..NmSettings::default()
        });
        let mut view = View { needs_radio: false, ..scripted::view() };
        view.info.previously_provisioned = true;
        let (handle, daemon) = Handle::channel(64, view);
        let mut tasks = JoinSet::new();
        tasks.spawn(handle.clone().follow_access_point(network.radio()));
        let (caretaker, care) = caretaker(network, handle);
        tasks.spawn(caretaker.run(std::future::pending()));
        Some(Self { care, daemon, _tasks: tasks, fake, home, _dns: dns, _bus: bus })
    }

    fn is_home(&self) -> bool {
        let world = self.fake.world();
        world.state == 100 && world.active.is_some_and(|(_, profile)| profile == self.home)
    }
}

pub(crate) fn office() -> Join {
    let passphrase = Passphrase::try_from("correct horse battery".to_owned()).expect("a short passphrase");
    Join { ssid: Ssid::try_from("Office").expect("a short name"), passphrase, hidden: false }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("nothing hangs")
}

#[tokio::test]
async fn the_first_check_finds_the_home() {
    let Some(node) = Node::start().await else { return };
    let mut changes = node.care.changes();
    let status = within(changes.wait_for(|status| status.network.connected)).await.expect("it runs");
    assert_eq!(status.network.ipv4_address.map(|address| address.to_string()).as_deref(), Some("192.168.1.20"));
    assert_eq!((status.network.interface.as_str(), status.network_manager), ("wlan0", true));
    assert_eq!(status.network.last_ssid.as_ref().map(ToString::to_string).as_deref(), Some("HomeNetwork"));
}

#[tokio::test]
async fn a_wrong_passphrase_leads_back_to_the_untouched_home() {
    let Some(node) = Node::start().await else { return };
    node.fake.world().plays.push_back(Play::secured(&[(60, 8), (120, 7), (30, 0)]));
    assert_eq!(within(node.care.connect(office())).await, Err(Error::Failed(Fault::WrongPassword)));
    assert!(node.is_home());
    let world = node.fake.world();
    assert_eq!((world.profiles.len(), world.script.calls_of("Update2"), world.script.calls_of("Delete")), (1, 0, 0));
}

#[tokio::test]
async fn a_good_passphrase_leaves_the_home_stored() {
    let Some(node) = Node::start().await else { return };
    within(node.care.connect(office())).await.expect("a good passphrase");
    let saved = within(node.care.saved()).await.expect("a list");
    let names: Vec<_> = saved.iter().map(|network| (network.name.as_str(), network.active)).collect();
    assert!(names.contains(&("Office", true)) && names.contains(&("HomeNetwork", false)), "{names:?}");
}

#[tokio::test]
async fn a_wrong_passphrase_leads_back_to_the_hotspot() {
    let Some(node) = Node::start().await else { return };
    within(node.care.hotspot(true)).await.expect("a radio that can");
    node.fake.world().plays.push_back(Play::secured(&[(60, 8), (120, 7), (30, 0)]));
    assert!(within(node.care.connect(office())).await.is_err());
    assert!(node.care.status().network.hotspot_open);
    assert_eq!(node.fake.world().script.calls_of("AddAndActivateConnection2"), 3);
}

#[tokio::test]
async fn the_hotspot_returns_with_networkmanager_and_provisioning_learns_of_it() {
    let Some(mut node) = Node::start().await else { return };
    within(node.care.hotspot(true)).await.expect("a radio that can");
    node.fake.leave().await;
    node.fake.come_back().await;
    node.fake.until("the hotspot is open again", |world| world.script.calls_of("AddAndActivateConnection2") == 2).await;
    let mut told = Vec::new();
    while told.len() < 3 {
        if let Event::AccessPoint { open } = within(node.daemon.events.recv()).await.expect("the handle lives") {
            told.push(open);
        }
    }
    assert_eq!(told, [true, false, true]);
}

#[tokio::test]
async fn a_network_is_forgotten_at_the_request_of_its_owner() {
    let Some(node) = Node::start().await else { return };
    within(node.care.forget("HomeNetwork".into())).await.expect("it is stored");
    assert!(node.fake.world().profiles.is_empty());
    assert_eq!(within(node.care.forget("HomeNetwork".into())).await, Err(Error::UnknownNetwork));
}
