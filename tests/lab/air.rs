//! The virtual radios: who has which, and what can happen to them.

use std::fmt::Debug;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use bluer::{Adapter, Session};
use mobile_test_harness::link::Target;
use mobile_test_harness::link::ble::Bluetooth;
use mobile_test_harness::phone::Phone;

/// Far longer than anything takes under emulation; reached only when a scenario fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// The controllers, as `guest/start` makes them.
const CONTROLLERS: usize = 2;

/// Waits until `condition` holds; `what` says what did not happen.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what} did not happen in time");
}

/// After the end of a connection the node's kernel switches its advertisement off and on. A virtual controller that is
/// connected to in between fails for good, which no real one does, so the phone leaves it the time.
pub(crate) async fn breath() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// The Bluetooth controllers, by address. There is one phone: a virtual controller gives every connection the same handle,
/// so that two at one end cannot be.
pub(crate) struct Controllers {
    pub(crate) node: String,
    pub(crate) phone: String,
}

impl Controllers {
    /// Waits until `bluetoothd` has taken all of them. Their names follow no order; their addresses do.
    pub(crate) async fn ready() -> Self {
        let mut addresses = Vec::new();
        until("every controller is there", async || {
            addresses = addresses_of_all().await.unwrap_or_default();
            addresses.len() == CONTROLLERS
        })
        .await;
        addresses.sort();
        let [node, phone] = addresses.try_into().expect("counted");
        Self { node, phone }
    }

    /// The phone forgets every device that it has met.
    pub(crate) async fn phone_forgets(&self) {
        let adapter = self.phone_adapter().await.expect("BlueZ has it");
        // The scenario before may have left it switched off, and then nothing can be removed.
        adapter.set_powered(true).await.expect("it can be switched on");
        for address in adapter.device_addresses().await.expect("a list") {
            adapter.remove_device(address).await.expect("it can be removed");
        }
    }

    /// Switches the phone's controller off, as when it goes out of range. It is switched on by the next connection.
    pub(crate) async fn switch_phone_off(&self) {
        let adapter = self.phone_adapter().await.expect("BlueZ has it");
        adapter.set_powered(false).await.expect("it can be switched off");
    }

    /// Switches the phone's controller off and on: its connection ends at once, and one whose connection failed answers again.
    pub(crate) async fn restart_phone(&self) {
        let restarting = async {
            let adapter = self.phone_adapter().await?;
            adapter.set_powered(false).await?;
            adapter.set_powered(true).await
        };
        if let Err(error) = restarting.await {
            eprintln!("restarting the phone's controller, which may be gone: {error}");
        }
    }

    async fn phone_adapter(&self) -> bluer::Result<Adapter> {
        let session = Session::new().await?;
        for name in session.adapter_names().await? {
            let adapter = session.adapter(&name)?;
            if adapter.address().await?.to_string() == self.phone {
                return Ok(adapter);
            }
        }
        Err(bluer::Error { kind: bluer::ErrorKind::NotFound, message: "the phone's controller".into() })
    }
}

/// Connects a phone.
pub(crate) async fn connect(controllers: &Controllers) -> Phone {
    patiently(controllers, async |target| Phone::connect(target).await).await
}

/// The bare link of a phone.
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
                eprintln!("connecting once more: {error:?}");
                eprintln!("{}", what_is_known(&controllers.node));
                controllers.restart_phone().await;
            }
        }
        connected.is_some()
    })
    .await;
    connected.expect("that was waited for")
}

/// What `BlueZ` says of a device, for whoever reads why a scenario failed.
fn what_is_known(address: &str) -> String {
    let object = format!("dev_{}", address.replace(':', "_"));
    // It may be gone, or go in between, which is for the scenario to judge.
    let ask = |arguments: &[&str]| String::from_utf8_lossy(&run("busctl", arguments).stdout).into_owned();
    let tree = ask(&["tree", "--list", "org.bluez"]);
    let paths = tree.lines().filter(|path| path.ends_with(&object));
    paths.map(|path| ask(&["introspect", "org.bluez", path, "org.bluez.Device1"])).collect()
}

async fn addresses_of_all() -> bluer::Result<Vec<String>> {
    let session = Session::new().await?;
    let mut addresses = Vec::new();
    for name in session.adapter_names().await? {
        addresses.push(session.adapter(&name)?.address().await?.to_string());
    }
    Ok(addresses)
}

/// Runs a program of the guest to its end.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    // Interactive programs would wait for a terminal for ever.
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("running {program}: {error}"))
}

/// Runs a program that must succeed; returns what it printed.
pub(crate) fn must(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
