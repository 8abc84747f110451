//! The places of a home and of a phone. Each has a network namespace and a radio.

use std::fmt::Write as _;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mobile_test_harness::command_center::{CommandCenter, Order, Owner};
use provisioning_core::domain::CommandCenterUrl;
use provisioning_core::secret::SecretText;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::air::{PATIENCE, must, run, until};

/// The home's network, and the passphrase of every protected network here.
pub(crate) const SSID: &str = "Lighthouse";
pub(crate) const PASSWORD: &str = "correct horse battery";

pub(crate) const HOUSEHOLD: &str = "6f2f3a0e-93f1-4f0c-8a3c-1b7a9d2c4e5f";

/// The home's other network, and the home's address in it.
pub(crate) const OTHER_SSID: &str = "Harbour";
const OTHER_AIR: &str = "10.21.0.1";

/// The home's address on Wi-Fi, and on the cable from the scenario.
pub(crate) const AIR: &str = "10.20.0.1";
const CABLE: &str = "10.30.0.2";

/// The command center's port.
pub(crate) const CENTER_PORT: u16 = 7703;
const ADMINISTRATOR: &str = "a key that only the laboratory has";

/// The protection of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    Open,
    Wpa2,
    Wpa3,
    Mixed,
}

/// The configuration of a home's access point.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) protection: Protection,
    pub(crate) hidden: bool,
    pub(crate) dhcp: bool,
    /// The number of neighbours' networks.
    pub(crate) neighbours: usize,
    /// The time between two beacons, in units of 1.024 ms. A scan listens at a channel for 60 ms, and hears few of many answers to it.
    pub(crate) beacon_interval: u16,
    /// Whether the home has a second network.
    pub(crate) other: bool,
    pub(crate) password: &'static str,
    /// The DNS server that DHCP names; 0.0.0.0 is the home itself, in the client's network.
    pub(crate) dns: Option<&'static str>,
    /// How long an address is valid; at least two minutes.
    pub(crate) lease_minutes: u32,
}

impl Settings {
    const fn name(&self) -> &'static str {
        match self.protection {
            Protection::Open => "Open Lighthouse",
            Protection::Wpa2 => SSID,
            Protection::Wpa3 => "New Lighthouse",
            Protection::Mixed => "Mixed Lighthouse",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            protection: Protection::Wpa2,
            hidden: false,
            dhcp: true,
            neighbours: 0,
            beacon_interval: 100,
            other: false,
            password: PASSWORD,
            dns: None,
            lease_minutes: 60,
        }
    }
}

/// A program that is killed when dropped.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    /// Starts a program that logs to standard error, which is its log file.
    pub(crate) fn quiet(mut command: Command, name: &str) -> Self {
        command.stdout(Stdio::null()).stderr(fs::File::create(log(name)).expect("the log can be written"));
        Self { child: command.spawn().unwrap_or_else(|error| panic!("starting {name}: {error}")) }
    }

    /// Its process id.
    pub(crate) fn process(&self) -> Pid {
        let number = self.child.id().and_then(|number| number.try_into().ok()).and_then(Pid::from_raw);
        number.expect("it has not been waited for")
    }

    /// Asks it to end, and waits until it has ended with success.
    pub(crate) async fn stop(mut self) {
        kill_process(self.process(), Signal::TERM).expect("it runs");
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("a status");
        assert!(status.success(), "{status}");
    }

    /// Suspends it: it stops answering, and its peers get no error.
    fn freeze(&self) {
        kill_process(self.process(), Signal::STOP).expect("it runs");
    }

    fn thaw(&self) {
        kill_process(self.process(), Signal::CONT).expect("it runs");
    }
}

/// A command that runs in a place.
pub(crate) fn there(place: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", place, program]).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The folder of a scenario's logs.
pub(crate) fn log(name: &str) -> PathBuf {
    let folder = std::env::var_os("LAB_LOGS").map_or_else(std::env::temp_dir, PathBuf::from);
    folder.join(name)
}

/// Starts a program, and returns the first line of its output that contains `word`.
pub(crate) async fn start(mut command: Command, name: &str, word: &str) -> (Running, String) {
    let errors = fs::File::options().create(true).append(true).open(log(name)).expect("the log can be written");
    command.stdout(Stdio::piped()).stderr(errors.try_clone().expect("a file"));
    let mut child = command.spawn().unwrap_or_else(|error| panic!("starting {name}: {error}"));
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let wait = async {
        while let Some(line) = lines.next_line().await.expect("its output can be read") {
            if line.contains(word) {
                return line;
            }
        }
        panic!("{name} exited before it printed {word:?}; see its log");
    };
    let line = timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{name} did not print {word:?} in time"));
    tokio::spawn(async move {
        let mut errors = errors;
        while let Ok(Some(line)) = lines.next_line().await {
            std::io::Write::write_all(&mut errors, (line + "\n").as_bytes()).expect("the log can be written");
        }
    });
    (Running { child }, line)
}

/// A home: an access point, and behind it a command center.
pub(crate) struct Home {
    settings: Settings,
    files: TempDir,
    access_point: Option<Running>,
    dhcp: Option<Running>,
    center: Option<Running>,
}

impl Home {
    /// Opens a home with the default configuration.
    pub(crate) async fn open() -> Self {
        Self::with(Settings::default()).await
    }

    /// Opens a home.
    pub(crate) async fn with(settings: Settings) -> Self {
        let files = TempDir::new().expect("a temporary folder");
        silence("home", "wlan1");
        run("ip", &["-n", "home", "addr", "flush", "dev", "wlan1"]);
        let mut home = Self { settings, files, access_point: None, dhcp: None, center: None };
        home.open_access_point().await;
        must("ip", &["-n", "home", "addr", "add", &format!("{AIR}/24"), "dev", "wlan1"]);
        if settings.other {
            must("ip", &["-n", "home", "addr", "add", &format!("{OTHER_AIR}/24"), "dev", "other"]);
        }
        if settings.dhcp {
            let mut command = there("home", "dnsmasq");
            command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=wlan1", "--bind-interfaces"]);
            let lease = settings.lease_minutes;
            command.arg(format!("--dhcp-range=10.20.0.10,10.20.0.250,{lease}m"));
            command.args(["--dhcp-leasefile=/dev/null", "--no-ping"]);
            if let Some(server) = settings.dns {
                command.arg(format!("--dhcp-option=option:dns-server,{server}"));
            }
            if settings.other {
                command.args(["--interface=other", "--dhcp-range=10.21.0.10,10.21.0.250,1h"]);
            }
            command.args(["--dhcp-authoritative", "--log-dhcp", "--log-facility=-"]);
            home.dhcp = Some(Running::quiet(command, "dnsmasq"));
        }
        home.open_command_center().await;
        home
    }

    /// The name of its network. Radios cache the protection of a network by its name, so each kind of protection has a
    /// different name.
    pub(crate) const fn name(&self) -> &'static str {
        self.settings.name()
    }

    /// Starts the access point.
    pub(crate) async fn open_access_point(&mut self) {
        let file = self.files.path().join("hostapd.conf");
        fs::write(&file, hostapd(&self.settings)).expect("its settings can be written");
        let mut command = there("home", "hostapd");
        command.arg(&file);
        self.access_point = Some(start(command, "hostapd", "AP-ENABLED").await.0);
    }

    /// Restarts the access point with another passphrase.
    pub(crate) async fn change_password(&mut self, password: &'static str) {
        self.close_access_point();
        self.settings.password = password;
        self.open_access_point().await;
    }

    /// Suspends DHCP: clients wait for an address.
    pub(crate) fn suspend_dhcp(&self) {
        self.dhcp.as_ref().expect("this home has a DHCP server").freeze();
    }

    pub(crate) fn give_addresses(&self) {
        self.dhcp.as_ref().expect("this home has a DHCP server").thaw();
    }

    /// Suspends the command center: registrations wait.
    pub(crate) fn hold_registrations(&self) {
        self.center.as_ref().expect("it is open").freeze();
    }

    pub(crate) fn take_registrations(&self) {
        self.center.as_ref().expect("it is open").thaw();
    }

    /// Stops the access point.
    pub(crate) fn close_access_point(&mut self) {
        self.access_point = None;
        silence("home", "wlan1");
    }

    /// Starts the command center with its previous data.
    pub(crate) async fn open_command_center(&mut self) {
        let mut command = there("home", "jarvis-command-center");
        command.args(["serve", "--listen", &format!("0.0.0.0:{CENTER_PORT}"), "--database"]);
        command.arg(format!("sqlite:{}", self.files.path().join("center.db").display()));
        command.env("ADMIN_API_KEY", ADMINISTRATOR);
        self.center = Some(start(command, "command-center", "listening").await.0);
    }

    /// Stops the command center.
    pub(crate) fn close_command_center(&mut self) {
        self.center = None;
    }

    /// The command center's address for the node.
    pub(crate) fn command_center() -> CommandCenterUrl {
        CommandCenterUrl::try_from(&*format!("http://{AIR}:{CENTER_PORT}")).expect("a plain URL")
    }

    /// The command center's client for its administrator.
    fn administration() -> CommandCenter {
        let url = CommandCenterUrl::try_from(&*format!("http://{CABLE}:{CENTER_PORT}")).expect("a plain URL");
        CommandCenter::new(url).expect("a client can be made")
    }

    /// Requests a node id and a token.
    pub(crate) async fn order(&self) -> Order {
        let owner = Owner::Administrator(SecretText::new(ADMINISTRATOR.into()));
        Self::administration().order(&owner, HOUSEHOLD, Some("kitchen")).await.expect("the command center takes orders")
    }

    /// Whether the command center accepts a node's key.
    pub(crate) async fn knows(&self, node_id: &str, node_key: &str) -> bool {
        let node_key = SecretText::new(node_key.into());
        Self::administration().knows(node_id, &node_key).await.expect("the command center answers")
    }
}

fn hostapd(settings: &Settings) -> String {
    let (name, password) = (settings.name(), settings.password);
    let mut text = format!("interface=wlan1\ndriver=nl80211\nssid={name}\nhw_mode=g\nchannel=1\nieee80211n=1\nwmm_enabled=1\n");
    _ = writeln!(text, "beacon_int={}", settings.beacon_interval);
    if settings.hidden {
        text += "ignore_broadcast_ssid=1\n";
    }
    let pairwise = "wpa=2\nrsn_pairwise=CCMP\n";
    match settings.protection {
        Protection::Open => {}
        Protection::Wpa2 => _ = write!(text, "{pairwise}wpa_key_mgmt=WPA-PSK\nwpa_passphrase={password}\n"),
        Protection::Wpa3 => _ = write!(text, "{pairwise}wpa_key_mgmt=SAE\nieee80211w=2\nsae_password={password}\n"),
        Protection::Mixed => {
            _ = write!(text, "{pairwise}wpa_key_mgmt=WPA-PSK SAE\nieee80211w=1\nwpa_passphrase={password}\n");
            _ = writeln!(text, "sae_password={password}");
        }
    }
    if settings.other {
        _ = write!(text, "bss=other\nssid={OTHER_SSID}\n{pairwise}wpa_key_mgmt=WPA-PSK\nwpa_passphrase={PASSWORD}\n");
    }
    for neighbour in 0..settings.neighbours {
        _ = write!(text, "bss=near{neighbour}\nssid=Neighbour {neighbour}\n");
    }
    text
}

/// A socket that listens in a place, and whose connections this process accepts.
pub(crate) fn listen(place: &'static str, port: u16) -> std::net::TcpListener {
    let listening = std::thread::spawn(move || {
        enter(place);
        std::net::TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, port)).expect("a free port")
    });
    listening.join().expect("it does not panic")
}

/// Moves the current thread to a place, because a network namespace is per thread.
fn enter(place: &str) {
    let place = fs::File::open(Path::new("/run/netns").join(place)).expect("a place");
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&place), kind).expect("root may go there");
}

/// Runs a closure at the phone's place; see [`within`].
pub(crate) async fn at_the_phone<T, F>(work: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    within("phone", work).await
}

/// Runs a closure in a network namespace, on a separate thread, because a network namespace is per thread.
pub(crate) async fn within<T, F>(place: &str, work: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let place = place.to_owned();
    let (answer, result) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        enter(&place);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // The receiver is dropped only after a failure of the scenario.
        let _failed = answer.send(runtime.block_on(work()));
    });
    result.await.expect("the closure does not panic")
}

/// Switches a radio off, because it may continue what a killed program has started.
pub(crate) fn silence(place: &str, device: &str) {
    must("ip", &["-n", place, "link", "set", device, "down"]);
}

/// The phone's Wi-Fi.
pub(crate) struct Wifi {
    _supplicant: Running,
}

impl Wifi {
    /// Joins a WPA2 network when it appears, and gets an address by DHCP. Reconnects automatically.
    pub(crate) async fn join(ssid: &str, passphrase: &str) -> Self {
        let file: PathBuf = std::env::temp_dir().join("phone.conf");
        // The channels of the home and of the node only: a scan of all channels takes this kernel seconds.
        let channels = "scan_freq=2412 2437";
        let network = format!("network={{\n ssid=\"{ssid}\"\n psk=\"{passphrase}\"\n scan_ssid=1\n {channels}\n}}\n");
        fs::write(&file, network).expect("its settings can be written");
        run("ip", &["-n", "phone", "addr", "flush", "dev", "wlan2"]);
        let mut command = there("phone", "wpa_supplicant");
        command.args(["-i", "wlan2", "-c"]).arg(&file);
        let supplicant = start(command, "phone-supplicant", "CTRL-EVENT-CONNECTED").await.0;
        let wifi = Self { _supplicant: supplicant };
        until("the phone has an address", async || wifi.take_address().await).await;
        wifi
    }

    async fn take_address(&self) -> bool {
        let mut command = there("phone", "/usr/lib/klibc/bin/ipconfig");
        command.args(["-c", "dhcp", "-t", "10", "wlan2"]).stdout(Stdio::null()).stderr(Stdio::null());
        let ended = timeout(Duration::from_secs(15), command.status()).await;
        matches!(ended, Ok(Ok(status)) if status.success())
    }
}

impl Drop for Wifi {
    fn drop(&mut self) {
        run("ip", &["-n", "phone", "link", "set", "wlan2", "down"]);
    }
}

/// The content of a file that another program writes.
pub(crate) fn json(path: &Path) -> serde_json::Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("parsing {}: {error}", path.display()))
}
