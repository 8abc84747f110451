//! The virtual radios: who has which, and what can happen to them.

use std::process::{Command, Output};
use std::time::Duration;

use bluer::Session;
use mobile_test_harness::link::Target;

/// Far longer than anything takes under emulation; reached only when a scenario fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

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

/// The Bluetooth controllers, by address. There is one phone: a virtual controller gives every connection the same handle,
/// so that two at one end cannot be.
pub(crate) struct Controllers {
    pub(crate) node: String,
    phone: String,
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

    /// How a phone reaches the node.
    pub(crate) fn phone(&self) -> Target {
        Target::Bluetooth(Some(self.phone.clone()))
    }
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
    Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("running {program}: {error}"))
}

/// Runs a program that must succeed; returns what it printed.
pub(crate) fn must(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
