//! Diagnosis, with the fake NetworkManager, a DNS server, a web server and a router that fail one after another.

pub(crate) mod api;
mod caretaker;
mod health;
mod house;
pub(crate) mod over_networkmanager;
mod phones;
mod requests;
mod restart;

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::care::{self, CheckUrl, Configured};
use jarvis_provisioning::command_center::{Limits, Registrar};
use provisioning_core::care::diagnosis::{Finding, Layer, Verdict, diagnose};
use provisioning_core::domain::CommandCenterUrl;
use testing::bus::PrivateBus;
use testing::fake::Fault;
use testing::server::{Act, Server};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::nm::fake::{AccessPoint, Fake, Ip4};

/// The expected page.
const ONLINE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nNetworkManager is online\n";
const HEALTHY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const HOST: &str = "check.example";

/// What a DNS server answers.
#[derive(Clone, Copy)]
enum Answers {
    /// The loopback for the one name that exists.
    Honestly,
    /// The loopback for every name.
    Anything,
    /// An error code for every name.
    Error(u8),
    Nothing,
    /// Bytes that are no answer, before the answer.
    NoiseFirst,
}

/// A DNS server, which stops when it is dropped.
struct Dns {
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Dns {
    async fn start(answers: Answers) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = socket.local_addr().expect("it is bound").port();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                for packet in reply(answers, &buffer[..length]) {
                    socket.send_to(&packet, client).await.expect("the loopback");
                }
            }
        });
        Self { port, task }
    }
}

fn reply(answers: Answers, query: &[u8]) -> Vec<Vec<u8>> {
    let exists = query.windows(14).any(|part| part == b"\x05check\x07example");
    let head = |flags: [u8; 2], count: u8| {
        let mut packet = query.to_vec();
        packet[2..4].copy_from_slice(&flags);
        packet[7] = count;
        packet
    };
    let address = || [head([0x81, 0x80], 1), b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01".to_vec()].concat();
    let error = |code: u8| head([0x81, 0x80 | code], 0);
    let honest = || if exists { address() } else { error(3) };
    match answers {
        Answers::Honestly => vec![honest()],
        Answers::Anything => vec![address()],
        Answers::Error(code) => vec![error(code)],
        Answers::Nothing => Vec::new(),
        Answers::NoiseFirst => vec![b"noise".to_vec(), query.to_vec(), address()[..20].to_vec(), honest()],
    }
}

/// A node whose neighbours all work.
struct Scene {
    fake: Fake,
    bus: PrivateBus,
    dns: Dns,
    page: Server,
    center: Server,
    /// Listens at the port where the router is probed.
    router: Option<TcpListener>,
    router_port: u16,
    neighbours: tempfile::NamedTempFile,
}

impl Scene {
    /// None if `dbus-daemon` is not installed.
    async fn start() -> Option<Self> {
        let bus = PrivateBus::start()?;
        let fake = Fake::start(&bus.address()).await;
        {
            let mut world = fake.world();
            world.state = 100;
            world.listed = vec![AccessPoint::wpa2("HomeNetwork")];
            world.ip4 = Some(Ip4 { address: "192.168.1.20", gateway: "127.0.0.1", servers: vec!["127.0.0.1"] });
        }
        let router = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        Some(Self {
            fake,
            bus,
            dns: Dns::start(Answers::Honestly).await,
            page: Server::answering(ONLINE).await,
            center: Server::answering(HEALTHY).await,
            router_port: router.local_addr().expect("it is bound").port(),
            router: Some(router),
            neighbours: tempfile::NamedTempFile::new().expect("a temporary file"),
        })
    }

    fn set_ip4(&self, change: impl FnOnce(&mut Ip4)) {
        change(self.fake.world().ip4.as_mut().expect("a configuration"));
    }

    async fn diagnose(&self) -> [Finding; 8] {
        let center = CommandCenterUrl::try_from(format!("http://{}", self.center.address).as_str()).expect("a plain URL");
        let page = format!("http://{HOST}:{}/nm", self.page.address.port());
        let mut settings =
            care::Settings::new(Configured::At(center), SystemTime::UNIX_EPOCH + Duration::from_secs(u32::MAX.into()));
        settings.bus = Some(self.bus.address());
        settings.check = CheckUrl::try_from(page.as_str()).expect("a plain URL");
        settings.dns_port = self.dns.port;
        settings.gateway_ports = vec![self.router_port];
        settings.neighbours = self.neighbours.path().into();
        let limits = Limits { health: Duration::from_secs(5), ..Limits::default() };
        let registrar = Registrar::new(Client::new(AddressPolicy::SIMULATION, Trust::System)).with_limits(limits);
        let collected = timeout(care::LIMIT, care::collect(&settings, &registrar)).await.expect("within its limit");
        diagnose(&collected)
    }

    /// The diagnosis of one layer, of which it is the only failed one.
    async fn only_failed(&self, layer: Layer) -> String {
        let findings = self.diagnose().await;
        let failed: Vec<_> = findings.iter().filter(|finding| finding.verdict == Verdict::Failed).collect();
        assert!(failed.len() == 1 && failed[0].layer == layer, "{layer:?}: {findings:#?}");
        failed[0].evidence.clone()
    }
}

#[tokio::test]
async fn a_node_whose_neighbours_work_is_ok_in_every_layer() {
    let Some(scene) = Scene::start().await else { return };
    let findings = scene.diagnose().await;
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::Ok), "{findings:#?}");
    for (layer, expected) in [(1, "HomeNetwork"), (2, "192.168.1.20/24"), (3, "127.0.0.1"), (4, HOST), (5, HOST)] {
        assert!(findings[layer].evidence.contains(expected), "{:?}", findings[layer]);
    }
    let changes = ["RequestScan", "ActivateConnection", "AddAndActivateConnection2", "CheckConnectivity", "Update2"];
    assert!(changes.iter().all(|member| scene.fake.world().script.calls_of(member) == 0), "a diagnosis changes nothing");
}

#[tokio::test]
async fn each_state_of_the_radio_has_its_own_finding() {
    let Some(scene) = Scene::start().await else { return };
    scene.fake.world().state = 20;
    assert!(scene.only_failed(Layer::Radio).await.contains("not available"));
    scene.fake.world().wireless = false;
    assert!(scene.only_failed(Layer::Radio).await.contains("software"));
    scene.fake.world().hardware = false;
    assert!(scene.only_failed(Layer::Radio).await.contains("switch"));
    scene.fake.world().present = false;
    assert!(scene.only_failed(Layer::Radio).await.contains("no Wi-Fi adapter"));
    scene.fake.leave().await;
    assert!(scene.only_failed(Layer::Radio).await.contains("does not run"));
}

#[tokio::test]
async fn a_networkmanager_that_does_not_answer_is_the_failure_of_the_radio() {
    let Some(scene) = Scene::start().await else { return };
    scene.fake.world().script.faults.push_back(("GetDevices", Fault::Never));
    assert!(scene.only_failed(Layer::Radio).await.contains("does not answer"));
    scene.fake.world().script.faults.push_back(("GetDevices", Fault::WrongType));
    assert!(scene.only_failed(Layer::Radio).await.contains("does not answer"));
}

#[tokio::test]
async fn a_node_that_is_not_connected_and_one_that_connects_have_their_findings() {
    let Some(scene) = Scene::start().await else { return };
    for (state, expected) in [(30, "in no network"), (60, "NEED_AUTH"), (120, "in no network")] {
        scene.fake.world().state = state;
        assert!(scene.only_failed(Layer::Association).await.contains(expected), "{state}");
    }
}

#[tokio::test]
async fn a_cable_replaces_the_radio() {
    let Some(scene) = Scene::start().await else { return };
    {
        let mut world = scene.fake.world();
        (world.present, world.cable) = (false, true);
    }
    let findings = scene.diagnose().await;
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::Ok), "{findings:#?}");
    assert!(findings[1].evidence.contains("eth0"));
}

#[tokio::test]
async fn a_missing_address_and_one_that_no_server_assigned_are_failures() {
    let Some(scene) = Scene::start().await else { return };
    scene.set_ip4(|ip4| *ip4 = Ip4 { address: "169.254.7.7", gateway: "", servers: vec![] });
    assert!(scene.only_failed(Layer::Address).await.contains("169.254.7.7"));
    scene.fake.world().ip4 = None;
    assert!(scene.only_failed(Layer::Address).await.contains("no IPv4 address"));
}

#[tokio::test]
async fn a_router_is_there_if_it_accepts_refuses_or_answers_arp() {
    let Some(mut scene) = Scene::start().await else { return };
    let evidence = async |scene: &Scene| scene.diagnose().await[3].clone();
    assert!(evidence(&scene).await.evidence.contains("accepts"));
    scene.router = None;
    assert!(evidence(&scene).await.evidence.contains("refuses"));
    // The kernel refuses to connect to this address, as it does when ARP has no answer.
    scene.set_ip4(|ip4| ip4.gateway = "255.255.255.255");
    assert_eq!(evidence(&scene).await.verdict, Verdict::Failed);
    std::fs::write(scene.neighbours.path(), "255.255.255.255 0x1 0x2 84:3a:5b:91:b6:61 * wlan0\n").expect("a writable file");
    assert!(evidence(&scene).await.evidence.contains("ARP"));
    scene.set_ip4(|ip4| ip4.gateway = "");
    assert!(evidence(&scene).await.evidence.contains("no default route"));
}

#[tokio::test]
async fn dns_that_is_silent_broken_or_missing_is_a_failure_and_the_internet_is_not_reached() {
    let Some(mut scene) = Scene::start().await else { return };
    for (answers, expected) in [(Answers::Nothing, "no answer"), (Answers::Error(2), "SERVFAIL"), (Answers::Error(3), "NXDOMAIN")]
    {
        scene.dns = Dns::start(answers).await;
        assert!(scene.only_failed(Layer::Dns).await.contains(expected), "{expected}");
    }
    scene.set_ip4(|ip4| ip4.servers.clear());
    assert!(scene.only_failed(Layer::Dns).await.contains("no DNS server"));
}

#[tokio::test]
async fn noise_is_no_answer_of_a_dns_server() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.dns = Dns::start(Answers::NoiseFirst).await;
    assert_eq!(scene.diagnose().await[4].verdict, Verdict::Ok);
}

#[tokio::test]
async fn dns_that_resolves_names_that_do_not_exist_lies() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.dns = Dns::start(Answers::Anything).await;
    let evidence = scene.only_failed(Layer::Dns).await;
    assert!(evidence.contains("127.0.0.1 for ") && evidence.contains(".invalid"), "{evidence}");
}

#[tokio::test]
async fn a_captive_portal_that_answers_200_is_not_the_internet() {
    let Some(mut scene) = Scene::start().await else { return };
    for page in ["HTTP/1.1 200 OK\r\n\r\n<html>Welcome</html>", "HTTP/1.1 302 Found\r\nLocation: http://portal\r\n\r\n"] {
        scene.page = Server::answering(page).await;
        assert!(scene.only_failed(Layer::Internet).await.contains("another answer"), "{page}");
    }
}

#[tokio::test]
async fn an_upstream_that_drops_everything_is_the_failure_of_the_internet() {
    let Some(mut scene) = Scene::start().await else { return };
    for act in [Act::Drop, Act::Hold] {
        scene.page = Server::acting([act]).await;
        assert!(scene.only_failed(Layer::Internet).await.contains("no answer"));
    }
}

#[tokio::test]
async fn a_command_center_that_fails_is_the_only_failure() {
    let Some(mut scene) = Scene::start().await else { return };
    scene.center = Server::answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
    assert!(scene.only_failed(Layer::CommandCenter).await.contains("503"));
}

#[tokio::test]
async fn control_characters_in_a_networks_name_are_shown_as_escapes() {
    let Some(scene) = Scene::start().await else { return };
    scene.fake.world().listed = vec![AccessPoint::wpa2("\u{1b}[2J\n<b>")];
    let findings = scene.diagnose().await;
    assert!(findings[1].evidence.contains("<b>") && !findings[1].evidence.contains(char::is_control), "{:?}", findings[1]);
}
