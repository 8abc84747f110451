//! A browser that uses the radios of the guest's phone.
//!
//! Chromium under emulation needs minutes for a page, so it runs on the host, where `web/lab` drives it. A virtual card leads to
//! the guest (see `guest/start`). The browser's connections pass a SOCKS proxy at the phone's place, which also resolves names
//! there, so they reach what the phone reaches in its network, and nothing else. For Bluetooth the browser uses the guest's system bus.
//!
//! A scenario writes a file with the scene, and the driver answers by a file with the outcome; both are in [`FOLDER`].

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use mobile_test_harness::command_center::Order;
use serde_json::{Value, json as value};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use tokio::time::{sleep, timeout};

use crate::air::{Controllers, must, until};
use crate::device::{CODE, Device, PASSPHRASE};
use crate::dns::{A, MDNS, address, question};
use crate::place::{HOUSEHOLD, Home, PASSWORD, SSID, Wifi, at_the_phone, json, within};

/// What the driver shares with the guest.
const FOLDER: &str = "/lab/browser";

/// The guest's address on the card to the host, and the ports to which `run` forwards those of the host.
const CARD: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const PROXY_PORT: u16 = 1080;
const BUS_PORT: u16 = 1055;

/// Limit for a browser's way through the setup.
const VISIT: Duration = Duration::from_mins(8);

/// Limit for a connection of the browser, as the phone's own.
const CONNECTION: Duration = Duration::from_secs(20);

/// A browser that the driver has been asked to start.
struct Browser {
    name: String,
}

impl Browser {
    /// Asks the driver to set up a device by the page (`page`) or by the site (`site`).
    fn sets_up(device: &Device, by: &str, order: &Order) -> Self {
        let browser = Self { name: format!("{by}-{}", process::id()) };
        let scene = value!({
            "by": by, "name": device.name, "code": CODE, "ssid": SSID, "password": PASSWORD,
            "order": {
                "commandCenterUrl": Home::command_center().as_str(), "householdId": HOUSEHOLD,
                "nodeId": order.node_id, "provisioningToken": order.token.expose(),
            },
        });
        assert!(Path::new(FOLDER).exists(), "the host has no browser: use tests/lab/run --browser");
        let part = browser.file("part");
        fs::write(&part, scene.to_string()).expect("the shared folder can be written");
        fs::rename(&part, browser.file("scene")).expect("the same folder");
        browser
    }

    fn file(&self, kind: &str) -> PathBuf {
        Path::new(FOLDER).join(format!("{}.{kind}", self.name))
    }

    fn outcome(&self) -> Option<Value> {
        let file = self.file("outcome");
        file.exists().then(|| json(&file))
    }

    /// Waits until a condition holds; fails as soon as the browser does.
    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                if let Some(outcome) = self.outcome() {
                    assert_eq!(outcome["error"], Value::Null, "{what}");
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        assert!(timeout(VISIT, wait).await.is_ok(), "{what} did not happen in time");
    }

    /// Waits until the browser has shown everything that it has to show, and prints its figures.
    async fn succeeds(&self) {
        self.until("the browser ends", || self.outcome().is_some()).await;
        let outcome = self.outcome().expect("that was waited for");
        assert_eq!(outcome["error"], Value::Null);
        eprintln!("figures of {}: {}", self.name, outcome["figures"]);
    }
}

/// Opens a port on the card to the host.
async fn port(number: u16) -> TcpListener {
    let open = move || async move { std::net::TcpListener::bind((CARD, number)).expect("the host's card is there") };
    let listener = within("host", open).await;
    listener.set_nonblocking(true).expect("a plain socket");
    TcpListener::from_std(listener).expect("a listener")
}

/// Serves a SOCKS proxy (RFC 1928) at the phone's place until the scenario ends.
fn proxy() {
    tokio::spawn(at_the_phone(async || {
        let listener = port(PROXY_PORT).await;
        loop {
            let (browser, _) = listener.accept().await.expect("a listener accepts");
            tokio::spawn(async move {
                if let Err(error) = forward(browser).await {
                    eprintln!("a connection of the browser: {error}");
                }
            });
        }
    }));
}

/// Forwards a connection, whose target the browser names first.
async fn forward(mut browser: TcpStream) -> io::Result<()> {
    let [_, methods] = read(&mut browser).await?;
    browser.read_exact(&mut vec![0; usize::from(methods)]).await?;
    // No authentication.
    browser.write_all(&[5, 0]).await?;
    let [_, _, _, kind] = read(&mut browser).await?;
    let name = match kind {
        1 => Ipv4Addr::from(read::<4>(&mut browser).await?).to_string(),
        3 => {
            let [length] = read(&mut browser).await?;
            let mut name = vec![0; usize::from(length)];
            browser.read_exact(&mut name).await?;
            String::from_utf8(name).map_err(io::Error::other)?
        }
        _ => return Err(io::Error::other(format!("a target of type {kind}"))),
    };
    let port = u16::from_be_bytes(read(&mut browser).await?);
    let connected = timeout(CONNECTION, connect(&name, port)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    // Succeeded, or host unreachable; the address that was bound is not told.
    let code = if connected.is_ok() { 0 } else { 4 };
    browser.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    let mut target = connected.map_err(|error| io::Error::other(format!("{name}:{port}: {error}")))?;
    copy_bidirectional(&mut browser, &mut target).await.map(drop)
}

async fn read<const LENGTH: usize>(browser: &mut TcpStream) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    browser.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn connect(name: &str, port: u16) -> io::Result<TcpStream> {
    let address = match name.parse() {
        Ok(address) => address,
        Err(_) => resolve(name).await?,
    };
    TcpStream::connect((address, port)).await
}

/// Resolves a name as phones do: by mDNS, or by the DNS server that came with the phone's address.
async fn resolve(name: &str) -> io::Result<Ipv4Addr> {
    let is_local = name.strip_suffix(".local").is_some();
    let server = if is_local { MDNS } else { (name_server()?, 53) };
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.send_to(&question(name, A, !is_local), server).await?;
    let mut answer = [0; 1500];
    let length = timeout(Duration::from_secs(5), socket.recv(&mut answer)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    address(&answer[..length]).ok_or_else(|| io::Error::other("the name has no address"))
}

/// The first DNS server of the phone's lease.
fn name_server() -> io::Result<Ipv4Addr> {
    let lease = fs::read_to_string("/run/net-wlan2.conf")?;
    let value = lease.lines().find_map(|line| line.strip_prefix("IPV4DNS0="));
    value.and_then(|value| value.trim_matches(['\'', '"']).parse().ok()).ok_or_else(|| io::Error::other("no DNS server"))
}

/// Gives the host the guest's system bus until the scenario ends. The browser is root's, as this process is, and both tell the bus.
async fn share_bus() {
    let listener = port(BUS_PORT).await;
    tokio::spawn(async move {
        loop {
            let (mut browser, _) = listener.accept().await.expect("a listener accepts");
            tokio::spawn(async move {
                let mut bus = UnixStream::connect("/run/dbus/system_bus_socket").await.expect("the bus is there");
                if let Err(error) = copy_bidirectional(&mut browser, &mut bus).await {
                    eprintln!("the browser's connection to the bus: {error}");
                }
            });
        }
    });
}

#[tokio::test]
async fn the_portal_leads_to_the_page_which_sets_up_the_device() {
    let home = Home::open().await;
    let device = Device::with("[access_point]\nopen = \"always\"\n").await;
    proxy();
    let order = home.order().await;
    let access_point = Wifi::join(&device.name, PASSPHRASE).await;
    let browser = Browser::sets_up(&device, "page", &order);
    browser.until("the device is set up", || device.is_provisioned()).await;
    // The access point is closed, and the phone returns to its own network.
    drop(access_point);
    let _wifi = Wifi::join(SSID, PASSWORD).await;
    must("ip", &["-n", "phone", "route", "replace", "224.0.0.0/4", "dev", "wlan2"]);
    browser.succeeds().await;
    device.assert_provisioned(&home, &order).await;
}

/// A race in `bluetoothd` can fail this where both ends are of one daemon, in trixie more often than in bookworm. After `Connect`, the kernel
/// first tells that the device is connected, and once the controller has read the features of the other one, the attribute protocol's
/// socket is connected. A real radio needs some connection events for that, a virtual one no time. If both wait when the daemon wakes
/// up, it handles the socket first, whose watch has the higher priority (`connect_add` in `btio/btio.c`), and marks the device as connected
/// without a signal (`att_connect_cb` in `src/device.c`). It then takes the kernel's event for a second connection, and returns before it
/// emits `Connected` (`device_add_connection`). Chromium, which waits for that signal, disconnects. The code is the same in 5.66, 5.82 and 5.87.
/// So the controllers of a guest with a browser take a moment for the features, as real ones do (`guest/slow_controllers.py`).
#[tokio::test]
async fn the_site_sets_up_the_device_over_bluetooth() {
    let mut controllers = Controllers::of_phone_alone().await;
    let home = Home::open().await;
    let device = Device::start(&controllers).await;
    share_bus().await;
    let order = home.order().await;
    let browser = Browser::sets_up(&device, "site", &order);
    browser.until("the browser has the phone's controller", || browser.file("available").exists()).await;
    controllers.plug_in_the_nodes().await;
    browser.succeeds().await;
    until("the device is set up", async || device.is_provisioned()).await;
    device.assert_provisioned(&home, &order).await;
    controllers.switch_phone_off().await;
}
