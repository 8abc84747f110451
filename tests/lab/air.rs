//! The virtual radios: their owners, and events that scenarios cause.

use std::fmt::Debug;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use mobile_test_harness::bluez::{Adapter, Bluez};
use mobile_test_harness::link::Target;
use mobile_test_harness::link::ble::Bluetooth;
use mobile_test_harness::phone::Phone;
use tokio::time::Instant;
use zbus::Variant;

/// Limit of every wait, longer than any step takes under emulation; reached only if a scenario fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// What takes longer is printed.
const LONG: Duration = Duration::from_secs(1);

/// The controllers that `guest/start` creates.
const CONTROLLERS: usize = 2;

/// Waits until `condition` holds; `what` describes it in the failure.
pub(crate) async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    within(PATIENCE, what, condition).await;
}

/// The same with a limit that is a promise; returns how long it has taken.
pub(crate) async fn within(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    let wait = async {
        while !condition().await {
            // Most conditions start a program, and a guest whose clock skips idle time is busy with these alone.
            tokio::time::sleep((began.elapsed() / 10).clamp(Duration::from_millis(100), LONG)).await;
        }
    };
    assert!(tokio::time::timeout(limit, wait).await.is_ok(), "{what} did not happen in time");
    tell(what, began);
    began.elapsed()
}

/// Prints what has taken long, in the log of the scenario.
fn tell(what: &str, began: Instant) {
    if began.elapsed() >= LONG {
        eprintln!("{:.1} s: {what}", began.elapsed().as_secs_f64());
    }
}

/// After a connection ends, the node's kernel restarts its advertisement. A connection during that time breaks a virtual
/// controller permanently, unlike a real one, so the phone waits.
pub(crate) async fn breath() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// The Bluetooth controllers, by address. There is one phone, because a virtual controller gives every connection the same
/// handle and so supports one only.
pub(crate) struct Controllers {
    pub(crate) node: String,
    pub(crate) phone: String,
}

impl Controllers {
    /// Waits until `bluetoothd` has all controllers. Their names are in arbitrary order, so they are identified by address.
    pub(crate) async fn ready() -> Self {
        let mut addresses: Vec<String> = Vec::new();
        until("every controller is there", async || {
            addresses = adapters().await.unwrap_or_default().into_iter().map(|adapter| adapter.address).collect();
            addresses.len() == CONTROLLERS
        })
        .await;
        addresses.sort();
        let [node, phone] = addresses.try_into().expect("counted");
        Self { node, phone }
    }

    /// The same without the node's controller, which then has the name of the missing one. Chromium uses the first controller
    /// that it hears of, so it must start while there is only the phone's.
    pub(crate) async fn of_phone_alone() -> Self {
        Self::ready().await;
        Self::toggle();
        let mut left = Vec::new();
        until("the node's controller is gone", async || {
            left = adapters().await.unwrap_or_default();
            left.len() == 1
        })
        .await;
        let phone = left.remove(0);
        // The kernel gives the lowest free number.
        let node = if phone.path().ends_with("hci0") { "hci1" } else { "hci0" };
        Self { node: node.into(), phone: phone.address }
    }

    /// Plugs the node's controller in.
    pub(crate) async fn plug_in_the_nodes(&mut self) {
        Self::toggle();
        let Self { node, phone } = Self::ready().await;
        self.node = if phone == self.phone { node } else { phone };
    }

    /// Removes or creates one controller; see `guest/slow_controllers.py`.
    fn toggle() {
        must("systemctl", &["kill", "--signal=USR1", "--kill-who=main", "controllers"]);
    }

    /// Switches the phone's controller off, as if it were out of range. The next connection switches it on.
    pub(crate) async fn switch_phone_off(&self) {
        let adapter = self.phone_adapter().await.expect("BlueZ has it");
        adapter.set_powered(false).await.expect("it can be switched off");
    }

    /// Switches the phone's controller off and on: ends its connection at once, and recovers it after a failed connection.
    pub(crate) async fn restart_phone(&self) {
        let restarting = async {
            let adapter = self.phone_adapter().await?;
            adapter.set_powered(false).await?;
            adapter.set_powered(true).await
        };
        if let Err(error) = restarting.await {
            eprintln!("restarting the phone's controller: {error}");
        }
    }

    /// Waits until `BlueZ` advertises for the node.
    pub(crate) async fn until_node_advertises(&self) {
        let bus = zbus::Connection::system().await.expect("a connection to the bus");
        let property = ("org.bluez.LEAdvertisingManager1", "ActiveInstances");
        until("it advertises", async || {
            // An installation of the package has restarted BlueZ, which then finds its controllers again.
            let Ok(adapter) = self.node_adapter().await else { return false };
            let interface = Some("org.freedesktop.DBus.Properties");
            let answer = bus.call_method(Some("org.bluez"), adapter.path(), interface, "Get", &property).await;
            answer.is_ok_and(|answer| answer.body().deserialize().is_ok_and(|count| Variant::from(0_u8) < count))
        })
        .await;
    }

    /// The node's controller in `BlueZ`.
    pub(crate) async fn node_adapter(&self) -> zbus::Result<Adapter> {
        adapter(&self.node).await
    }

    /// The phone's controller in `BlueZ`.
    pub(crate) async fn phone_adapter(&self) -> zbus::Result<Adapter> {
        adapter(&self.phone).await
    }
}

/// Connects a phone.
pub(crate) async fn connect(controllers: &Controllers) -> Phone {
    patiently(controllers, async |target| Phone::connect(target).await).await
}

/// A phone's link without a session.
pub(crate) async fn bare(controllers: &Controllers) -> Bluetooth {
    patiently(controllers, async |target| {
        let Target::Bluetooth(adapter) = target else { unreachable!("the target that is made above") };
        Bluetooth::connect(adapter.as_deref()).await
    })
    .await
}

async fn patiently<T, E: Debug>(controllers: &Controllers, connect: impl AsyncFn(&Target) -> Result<T, E>) -> T {
    let mut connected = None;
    until("the phone finds the node", async || {
        match connect(&Target::Bluetooth(Some(controllers.phone.clone()))).await {
            Ok(link) => connected = Some(link),
            Err(error) => {
                eprintln!("retrying to connect: {error:?}");
                eprintln!("{}", what_is_known(&controllers.node));
                controllers.restart_phone().await;
            }
        }
        connected.is_some()
    })
    .await;
    connected.expect("that was waited for")
}

/// The state of a device in `BlueZ`, for the diagnosis of a failed scenario.
fn what_is_known(address: &str) -> String {
    let object = format!("dev_{}", address.replace(':', "_"));
    // The device may be missing, or disappear meanwhile; the scenario decides whether that is a failure.
    let ask = |arguments: &[&str]| String::from_utf8_lossy(&run("busctl", arguments).stdout).into_owned();
    let tree = ask(&["tree", "--list", "org.bluez"]);
    let paths = tree.lines().filter(|path| path.ends_with(&object));
    paths.map(|path| ask(&["introspect", "org.bluez", path, "org.bluez.Device1"])).collect()
}

async fn adapter(address: &str) -> zbus::Result<Adapter> {
    let found = adapters().await?.into_iter().find(|adapter| adapter.address == address);
    found.ok_or_else(|| zbus::Error::Failure(format!("there is no controller {address}")))
}

async fn adapters() -> zbus::Result<Vec<Adapter>> {
    Bluez::connect(None).await?.adapters().await
}

/// Runs a program of the guest until it exits.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    let began = Instant::now();
    // Interactive programs would wait for a terminal forever.
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    // Other arguments may be secrets.
    tell(&format!("{program} {}", arguments.first().unwrap_or(&"")), began);
    output.unwrap_or_else(|error| panic!("running {program}: {error}"))
}

/// Runs a program that must succeed; returns what it printed.
pub(crate) fn must(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
