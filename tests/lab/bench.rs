//! The figures of the product, compared with the system's tools on the same radio.
//!
//! Compared figures are measured in one guest and one run, in turns, so that effects of emulation are the same for both.
//! Figures from other machines are compared only where the output says so.

// `bench` is the script in this folder, so there cannot be a folder of that name.
#[path = "bench_care.rs"]
mod care;
#[path = "bench_names.rs"]
mod names;
#[path = "bench_networks.rs"]
mod networks;
#[path = "bench_split.rs"]
mod split;
#[path = "bench_table.rs"]
mod table;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use jarvis_provisioning::network::Network;
use jarvis_provisioning::network::nm::{NetworkManager, Settings as Radio};
use mobile_test_harness::key;
use mobile_test_harness::link::Target;
use mobile_test_harness::phone::Phone;
use provisioning_core::domain::State;
use provisioning_core::fault::Fault;
use provisioning_core::wire::PublicStatus;
use tokio::time::{Instant, sleep};

use crate::air::{Controllers, connect, must, run, until};
use crate::device::{Device, PASSPHRASE, credentials, device_state, profiles, usage, with_password};
use crate::place::{AIR, CENTER_PORT, Home, PASSWORD, SSID, Settings, at_the_phone, there};
use crate::traffic::Capture;
use crate::units::{PACKAGES, Unit, apt_install, clean, configure};
use split::{Parts, Watch};
use table::{Samples, Table};

/// Fewer rounds on a virtual radio prove nothing: single ones take ten times as long as the others.
const ROUNDS: usize = 15;
/// The folder of additions to the node's unit.
const DROP_IN: &str = "/run/systemd/system/jarvis-provision.service.d";
/// Installations take half a minute each, and vary little.
const INSTALLATIONS: usize = 5;
/// A round that takes this many medians is shown with what the supplicant has logged.
const OUTLIER: f64 = 3.0;
/// What the node itself may need of credentials → PROVISIONED.
const OURS: Duration = Duration::from_millis(150);
const ATTEMPT: Duration = Duration::from_secs(150);
/// The polling interval: far shorter than the measured times.
const LOOK: Duration = Duration::from_millis(20);
/// Limit of one request in the access point. A phone outside of it gets no error, so it retries after this time.
const ASKING: Duration = Duration::from_millis(100);

/// After this time NetworkManager scans a radio once in a minute or two.
const RESTED: Duration = Duration::from_mins(1);

/// Limit of a join.
const GIVEN_UP: Duration = Duration::from_secs(30);

/// balena's wifi-connect in the same kind of guest, medians, seconds: from a wrong passphrase to the access point, which
/// reports no reason; and from a correct one to the connection.
const PEER_WRONG: f64 = 19.3;
const PEER_GOOD: f64 = 3.6;

/// On a busy machine the home's access point may abort a handshake before the emulated guest has answered, and then even
/// the correct passphrase fails. Such a round is repeated; more rounds than this fail the benchmark.
const SPOILED: usize = ROUNDS;

#[expect(clippy::cast_precision_loss, reason = "memory has fewer KiB than a double has digits; goes with exact conversions")]
fn mebibytes(kibibytes: usize) -> f64 {
    kibibytes as f64 / 1024.0
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

/// Credentials → PROVISIONED, compared with `nmcli` and `curl`; traffic; start and memory.
#[tokio::test]
#[ignore = "takes minutes, and a guest for itself: `tests/lab/bench` runs it"]
async fn over_bluetooth() {
    let mut table = Table::default();
    // Twelve networks.
    let home = Home::with(Settings { neighbours: 11, ..Settings::default() }).await;
    let controllers = Controllers::ready().await;
    let mut ours = Samples::of("over Bluetooth: credentials sent → PROVISIONED");
    let mut theirs = Samples::of("  `nmcli device wifi connect` and `curl`, the same");
    let mut round_trips = Samples::of("over Bluetooth: write round trips, whole session");
    let mut bytes = Samples::of("  bytes of attribute protocol, both directions");
    let mut advertised = Samples::of("start → advertising");
    let mut idle = Samples::of("resident memory while it waits");
    let mut peak = Samples::of("resident memory at its peak");
    let mut parts = Parts::new();
    let mut watches = Vec::new();
    // The parts are read from the node's log.
    let _details = Details::logged();
    warm_lease().await;
    let mut spoiled = 0;
    while ours.count() < ROUNDS {
        let round = ours.count() + spoiled;
        let began = Instant::now();
        let device = Device::start(&controllers).await;
        controllers.until_node_advertises().await;
        let took = seconds(began);
        // By then the temporary allocations of the start are freed.
        sleep(Duration::from_secs(3)).await;
        let waiting = mebibytes(device.usage().resident);
        let order = home.order().await;
        let credentials = credentials(&order);
        let mut phone = connect(&controllers).await;
        let capture = Capture::start(&format!("round-{round}.snoop")).await;
        phone.info().await.expect("the node answers");
        phone.open_session(&Device::code()).await.expect("the code is right");
        look_around(&mut phone).await;
        let k2 = key::new(SystemTime::UNIX_EPOCH, &mut rand_core::UnwrapErr(getrandom::SysRng));
        phone.send_k2(k2).await.expect("it is stored");
        let watch = Watch::begin();
        let report = phone.bring_online(&credentials, ATTEMPT, |_| {}).await.expect("an outcome");
        let provisioned = watch.seconds();
        let (writes, octets) = capture.read();
        let most = mebibytes(device.usage().peak);
        phone.leave().await;
        if report.state != State::Provisioned {
            spoiled = spoil(spoiled, &format!("{report:?}"));
            drop(device);
            forget().await;
            continue;
        }
        device.assert_provisioned(&home, &order).await;
        parts.add(&watch, provisioned);
        watches.push((watch, provisioned));
        drop(device);
        forget().await;
        let (watch, by_hand) = loop {
            if let Some(by_hand) = by_hand(&home).await {
                break by_hand;
            }
            spoiled = spoil(spoiled, "nmcli");
            forget().await;
        };
        parts.add_by_hand(&watch, by_hand);
        forget().await;
        ours.add(provisioned);
        theirs.add(by_hand);
        round_trips.add(f64::from(writes));
        bytes.add(f64::from(octets));
        advertised.add(took);
        idle.add(waiting);
        peak.add(most);
    }
    table.figure(&ours, "s");
    parts.rows(&mut table, OURS);
    table.figure(&theirs, "s");
    parts.rows_by_hand(&mut table);
    table.target("  ratio", ours.median() / theirs.median(), 0.75);
    for (watch, took) in watches.iter().filter(|(_, took)| *took > OUTLIER * ours.median()) {
        eprintln!("a round of {took:.2} s:\n{}", watch.supplicant(*took));
    }
    table.figure(&round_trips, "");
    table.target("  round trips", round_trips.median(), 4.0);
    table.figure(&bytes, "B");
    table.figure(&advertised, "s");
    table.figure(&idle, "MiB");
    table.target("  MiB", idle.median(), 12.0);
    table.figure(&peak, "MiB");
    table.target("  MiB", peak.median(), 14.0);
    table.end();
}

/// The node logs in detail while this exists.
struct Details;

impl Details {
    fn logged() -> Self {
        fs::create_dir_all(DROP_IN).expect("root may");
        fs::write(format!("{DROP_IN}/bench.conf"), "[Service]\nEnvironment=RUST_LOG=jarvis_provisioning=debug,info\n")
            .expect("root may");
        must("systemctl", &["daemon-reload"]);
        Self
    }
}

impl Drop for Details {
    fn drop(&mut self) {
        _ = fs::remove_file(format!("{DROP_IN}/bench.conf"));
        run("systemctl", &["daemon-reload"]);
    }
}

fn spoil(spoiled: usize, why: &str) -> usize {
    eprintln!("repeating the round: {why}");
    assert!(spoiled < SPOILED, "too many rounds failed: {why}");
    spoiled + 1
}

/// A first lease takes seconds longer than later ones.
async fn warm_lease() {
    until("a lease", async || {
        rescan().await;
        run("nmcli", &["device", "wifi", "connect", SSID, "password", PASSWORD, "ifname", "wlan0"]).status.success()
    })
    .await;
    forget().await;
}

/// The same with the system's tools: join and registration, seconds, and the logs from its beginning on; none if the join failed.
async fn by_hand(home: &Home) -> Option<(Watch, f64)> {
    let order = home.order().await;
    rescan().await;
    let body = format!(r#"{{"node_id":"{}","provisioning_token":"{}","room":"kitchen"}}"#, order.node_id, order.token.expose());
    let url = format!("http://{AIR}:{CENTER_PORT}/api/v0/nodes/register");
    let watch = Watch::begin();
    let joined = run("nmcli", &["device", "wifi", "connect", SSID, "password", PASSWORD, "ifname", "wlan0"]);
    if !joined.status.success() {
        return None;
    }
    must("curl", &["--silent", "--fail", "--header", "content-type: application/json", "--data", &body, &url]);
    let took = watch.seconds();
    Some((watch, took))
}

/// Runs a scan until it is complete.
async fn rescan() {
    until("the home network is in range", async || {
        let listed =
            run("nmcli", &["--terse", "--fields", "SSID", "device", "wifi", "list", "ifname", "wlan0", "--rescan", "yes"]);
        String::from_utf8_lossy(&listed.stdout).lines().any(|ssid| ssid == SSID)
    })
    .await;
}

/// Leaves and deletes every network.
async fn forget() {
    for uuid in profiles() {
        run("nmcli", &["connection", "delete", "uuid", &uuid]);
    }
    radio_idle().await;
}

/// From the request for the access point to the answer over HTTP.
#[tokio::test]
#[ignore = "takes minutes, and a guest for itself: `tests/lab/bench` runs it"]
async fn access_point() {
    let mut table = Table::default();
    // As everywhere, there are networks in range.
    let _home = Home::open().await;
    let device = Device::with("[access_point]\nopen = \"never\"\n").await;
    let _wifi = Waiting::for_network(&device.name);
    let make = ["connection", "add", "type", "wifi", "ifname", "wlan0", "con-name", "by-hand", "autoconnect", "no", "ssid"];
    let rest = ["802-11-wireless.mode", "ap", "802-11-wireless.band", "bg", "802-11-wireless.channel", "6"];
    let security =
        ["wifi-sec.key-mgmt", "wpa-psk", "wifi-sec.proto", "rsn", "wifi-sec.pairwise", "ccmp", "wifi-sec.group", "ccmp"];
    let secret = ["wifi-sec.pmf", "disable", "wifi-sec.psk", PASSPHRASE];
    let address = ["ipv4.method", "shared", "ipv4.addresses", "192.168.4.1/24", "ipv6.method", "disabled"];
    must("nmcli", &[&make[..], &[&device.name], &rest, &security, &secret, &address].concat());
    let mut figures = [
        (
            None,
            [
                "access point, within half a minute after a network: request → HTTP answers a phone",
                "  NetworkManager's own, by `nmcli connection up`",
            ],
        ),
        (Some(RESTED), ["access point, the radio has been idle for a minute: the same", "  NetworkManager's own"]),
    ]
    .map(|(rest, names)| (rest, names.map(Samples::of)));
    // The first round warms caches.
    for (round, moment) in (0..=ROUNDS).zip((0..).step_by(2)) {
        for (rest, [ours, theirs]) in &mut figures {
            // NetworkManager scans again and again in that half minute, so the rounds begin at moments that are spread over it.
            let rest = rest.unwrap_or(Duration::from_secs(moment));
            let network = network();
            // Like the node after its start: connected to the bus, with a list of networks.
            network.scan().await.expect("a list");
            rest_radio(rest).await;
            // The phone polls during that time.
            let began = Instant::now();
            let answer = tokio::spawn(http_answers(began));
            network.open_access_point(&device.name).await.expect("the access point opens");
            let took = answer.await.expect("the phone's answer");
            drop(network);
            rest_radio(rest).await;
            let began = Instant::now();
            let answer = tokio::spawn(http_answers(began));
            let up = tokio::task::spawn_blocking(|| must("nmcli", &["connection", "up", "by-hand"]));
            up.await.expect("it can be brought up by hand");
            let by_hand = answer.await.expect("the phone's answer");
            must("nmcli", &["connection", "down", "by-hand"]);
            if round > 0 {
                ours.add(took);
                theirs.add(by_hand);
            }
        }
    }
    must("nmcli", &["connection", "delete", "by-hand"]);
    for (rest, [ours, theirs]) in &figures {
        table.figure(ours, "s");
        table.figure(theirs, "s");
        let ratio = ours.median() / theirs.median();
        // A radio that does not scan opens the access point at once, and there the node does the same as NetworkManager.
        if rest.is_some() { table.once("  ratio", ratio, "") } else { table.target("  ratio", ratio, 0.85) }
    }
    table.end();
}

/// Waits until the radio is in no network, and joins none.
async fn radio_idle() {
    until("the radio is idle", async || device_state("STATE").starts_with("30 ")).await;
}

/// Waits until the radio is in no network, and for that long then. NetworkManager scans most of the time after a radio has left a
/// network, and rarely after half a minute.
async fn rest_radio(rest: Duration) {
    radio_idle().await;
    sleep(rest).await;
}

fn network() -> NetworkManager {
    let passphrase = PASSPHRASE.to_owned().try_into().expect("a short passphrase");
    NetworkManager::start(Radio { interface: Some("wlan0".into()), passphrase: Some(passphrase), ..Radio::default() })
}

/// Seconds from `began` until the node answers over HTTP at the phone's place.
async fn http_answers(began: Instant) -> f64 {
    at_the_phone(move || async move {
        report(|_| true).await;
        seconds(began)
    })
    .await
}

/// The first public status for which a condition holds.
async fn report(holds: impl Fn(&PublicStatus) -> bool) -> PublicStatus {
    let target = target();
    loop {
        let asking = async { Phone::connect(&target).await?.public_status().await };
        match tokio::time::timeout(ASKING, asking).await {
            Ok(Ok(status)) if holds(&status) => return status,
            _ => Waiting::look(),
        }
        sleep(LOOK).await;
    }
}

fn target() -> Target {
    "http://192.168.4.1:8080".parse().expect("a target")
}

/// A phone that waits for a known network, with a fixed address, so that only the node is measured.
struct Waiting {
    _supplicant: tokio::process::Child,
}

impl Waiting {
    fn for_network(ssid: &str) -> Self {
        let file = std::env::temp_dir().join("waiting.conf");
        let network = format!(
            "ctrl_interface=/run/waiting\nnetwork={{\n ssid=\"{ssid}\"\n psk=\"{PASSPHRASE}\"\n scan_freq=2437\n freq_list=2437\n}}\n"
        );
        fs::write(&file, network).expect("its settings can be written");
        run("ip", &["-n", "phone", "addr", "flush", "dev", "wlan2"]);
        must("ip", &["-n", "phone", "addr", "add", "192.168.4.77/24", "dev", "wlan2"]);
        let mut supplicant = there("phone", "wpa_supplicant");
        supplicant.args(["-i", "wlan2", "-c"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let supplicant = supplicant.spawn().expect("wpa_supplicant can be started");
        let waiting = Self { _supplicant: supplicant };
        // Measures when the node is reachable, not when a phone happens to scan: it scans all the time, and resolves the
        // node's hardware address as often.
        must("ip", &["netns", "exec", "phone", "sh", "-c", "echo 50 >/proc/sys/net/ipv4/neigh/wlan2/retrans_time_ms"]);
        while Self::asks("PING").is_err() {
            std::thread::sleep(Duration::from_millis(100));
        }
        waiting
    }

    /// Scans at once if the phone has lost the network, and clears the supplicant's ignore list: otherwise it would not
    /// reconnect for ten seconds, which is not a property of the node.
    fn look() {
        let status = Self::asks("STATUS").expect("wpa_supplicant answers");
        if ["SCANNING", "DISCONNECTED", "INACTIVE"].iter().any(|state| status.contains(&format!("wpa_state={state}\n"))) {
            for command in ["BSSID_IGNORE clear", "ENABLE_NETWORK 0", "SCAN freq=2437"] {
                // Busy means that it is already scanning.
                Self::asks(command).expect("wpa_supplicant answers");
            }
        }
    }

    /// The answer of `wpa_supplicant` on its control interface. Starting `wpa_cli` each time would slow the measurement.
    fn asks(command: &str) -> std::io::Result<String> {
        let here = "/run/waiting-asks";
        _ = fs::remove_file(here);
        let socket = UnixDatagram::bind(here)?;
        socket.connect("/run/waiting/wlan2")?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.send(command.as_bytes())?;
        let mut answer = [0; 4096];
        let length = socket.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    }
}

/// From the access point: a wrong and a correct passphrase.
#[tokio::test]
#[ignore = "takes minutes, and a guest for itself: `tests/lab/bench` runs it"]
async fn from_the_access_point() {
    let mut table = Table::default();
    let home = Home::open().await;
    let _details = Details::logged();
    let mut wrong_took = Samples::of("from the access point: wrong password → back, with the reason");
    let mut good_took = Samples::of("from the access point: good password → connected");
    warm_lease().await;
    let mut spoiled = 0;
    while good_took.count() < ROUNDS {
        let device = Device::with("[access_point]\nopen = \"always\"\n").await;
        let _wifi = Waiting::for_network(&device.name);
        http_answers(Instant::now()).await;
        let order = home.order().await;
        let right = credentials(&order);
        let wrong = with_password("not the password", &right);
        let code = Device::code();
        let (wrong_sample, sent) = at_the_phone(async move || {
            let mut phone = Phone::connect_within(&target(), ATTEMPT).await.expect("the node answers");
            phone.open_session(&code).await.expect("the code is right");
            look_around(&mut phone).await;
            let sent = Instant::now();
            phone.send_credentials(&wrong).await.expect("they are taken");
            phone.leave().await;
            let status = report(|status| status.state == State::Error).await;
            assert_eq!(status.fault, Some(Fault::WrongPassword));
            let wrong_sample = seconds(sent);
            let mut phone = Phone::connect_within(&target(), ATTEMPT).await.expect("the node answers");
            phone.open_session(&code).await.expect("the code is right");
            look_around(&mut phone).await;
            let sent = Instant::now();
            phone.send_credentials(&right).await.expect("they are taken");
            (wrong_sample, sent)
        })
        .await;
        let mut good = None;
        while good.is_none() && sent.elapsed() < GIVEN_UP {
            good = has_address("10.20.0.").then(|| seconds(sent));
            sleep(LOOK).await;
        }
        match good {
            Some(good) => {
                until("the node is provisioned", async || device.is_provisioned()).await;
                device.assert_provisioned(&home, &order).await;
                wrong_took.add(wrong_sample);
                good_took.add(good);
            }
            None => spoiled = spoil(spoiled, "the node did not join"),
        }
        drop(device);
        forget().await;
    }
    table.figure(&wrong_took, "s");
    table.target("  beside wifi-connect's 19.3 s", wrong_took.median() / PEER_WRONG, 0.25);
    table.figure(&good_took, "s");
    table.target("  beside wifi-connect's 3.6 s", good_took.median() / PEER_GOOD, 0.35);
    table.end();
}

/// The package: from its installation and from a start of its unit to the advertisement; memory under the unit; sizes.
#[tokio::test]
#[ignore = "takes minutes, and a guest for itself: `tests/lab/bench` runs it"]
async fn installed() {
    const PACKAGE: &str = "jarvis-provisioning";
    let mut table = Table::default();
    let mut installed = Samples::of("`apt install` → advertising");
    let mut started = Samples::of("start of the unit → advertising");
    let mut idle = Samples::of("resident memory under the unit while it waits");
    for _ in 0..INSTALLATIONS {
        let controllers = Controllers::ready().await;
        clean(PACKAGE);
        configure(&controllers, "never");
        let began = Instant::now();
        apt_install(PACKAGE);
        Controllers::ready().await.until_node_advertises().await;
        installed.add(seconds(began));
        let unit = Unit::started("jarvis-provision.service");
        must("systemctl", &["stop", unit.name]);
        let began = Instant::now();
        must("systemctl", &["start", unit.name]);
        controllers.until_node_advertises().await;
        started.add(seconds(began));
        // By then the temporary allocations of the start are freed.
        sleep(Duration::from_secs(3)).await;
        idle.add(mebibytes(usage(&unit.property("MainPID")).resident));
    }
    clean(PACKAGE);
    table.figure(&installed, "s");
    table.figure(&started, "s");
    table.figure(&idle, "MiB");
    let mut packages: Vec<_> = fs::read_dir(PACKAGES).expect("the laboratory's packages").flatten().collect();
    packages.sort_by_key(fs::DirEntry::file_name);
    for package in packages {
        let name = package.file_name().to_string_lossy().into_owned();
        let size = package.metadata().expect("its size").len();
        let size = mebibytes(usize::try_from(size / 1024).expect("a small file"));
        table.once(&name, size, "MiB");
        if name.starts_with(&format!("{PACKAGE}_")) {
            table.target("  MiB", size, 2.5);
        }
    }
    table.end();
}

/// Waits until the node's list contains the home, as after the owner's choice from a fresh list.
async fn look_around(phone: &mut Phone) {
    until("the home is in the list", async || {
        let found = phone.scan(true).await.expect("a list");
        found.iter().any(|network| network.ssid.to_string() == SSID)
    })
    .await;
}

/// Whether the node's radio has an address with that prefix.
fn has_address(beginning: &str) -> bool {
    let shown = run("ip", &["-4", "-oneline", "address", "show", "dev", "wlan0"]);
    String::from_utf8_lossy(&shown.stdout).contains(&format!("inet {beginning}"))
}
