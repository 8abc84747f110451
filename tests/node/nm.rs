//! The NetworkManager adapter over D-Bus, against a fake that reproduces the recorded behaviour of the real NetworkManager.

mod access_point;
mod country;
mod enterprise;
pub(crate) mod fake;
mod joining;
pub(crate) mod keeping;
mod maintenance;
mod names;
mod trouble;

use std::time::Duration;

use fake::Fake;
use jarvis_provisioning::network::nm::{NetworkManager, Settings};
use jarvis_provisioning::network::{Error, Network};
use provisioning_core::domain::{Passphrase, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Joined;
use testing::bus::PrivateBus;
use tokio::time::timeout;

/// The passphrase of every protected network in these tests.
const PASSPHRASE: &str = "correct horse battery";
/// Longer than any limit of the adapter.
const DEADLINE: Duration = Duration::from_secs(150);

/// A bus, a fake NetworkManager on it, and the network under test. Fields are dropped in this order.
struct Lab {
    network: NetworkManager,
    fake: Fake,
    dns: tempfile::TempDir,
    /// In place of the kernel's table of routes; empty.
    routes: tempfile::NamedTempFile,
    /// The kernel's radio switches, and the helper's socket.
    place: tempfile::TempDir,
    bus: PrivateBus,
}

impl Lab {
    /// None if `dbus-daemon` is not installed.
    async fn start() -> Option<Self> {
        let bus = PrivateBus::start()?;
        let fake = Fake::start(&bus.address()).await;
        let dns = tempfile::tempdir().expect("a temporary folder");
        let routes = tempfile::NamedTempFile::new().expect("a temporary file");
        let place = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(place.path().join("rfkill"), "").expect("a file in place of the device");
        let settings = Settings {
            radio_helper: place.path().join("radio"),
            country: || None,
            certificates: place.path().join("certificates"),
            switches: place.path().join("rfkill"),
            bus: Some(bus.address()),
            passphrase: Some(passphrase("the label's passphrase")),
            dns_directory: dns.path().into(),
            routes: routes.path().into(),
            ..Settings::default()
        };
        Some(Self { network: NetworkManager::start(settings), fake, dns, routes, place, bus })
    }

    async fn join(&self, name: &str) -> Result<Joined, Error> {
        within(self.network.join(&ssid(name), &passphrase(PASSPHRASE), false)).await
    }

    async fn scan(&self) -> Vec<String> {
        let networks = within(self.network.scan()).await.expect("a scan");
        networks.iter().map(|network| network.ssid.to_string()).collect()
    }

    async fn open(&self) -> Result<(), Error> {
        within(self.network.open_access_point("jarvis-5b91b661")).await
    }

    /// The names of the files with certificates.
    fn certificates(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.place.path().join("certificates")).into_iter().flatten().flatten();
        let mut names: Vec<_> = files.map(|file| file.file_name().into_string().expect("a name in ASCII")).collect();
        names.sort();
        names
    }

    fn dns_files(&self) -> usize {
        std::fs::read_dir(self.dns.path()).expect("the folder").count()
    }
}

fn ssid(name: &str) -> Ssid {
    Ssid::try_from(name).expect("a short name")
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::try_from(text.to_owned()).expect("a short passphrase")
}

fn fault<T>(result: Result<T, Error>) -> Option<Fault> {
    result.err().map(|error| error.fault)
}

/// The error with its causes, as it is logged.
fn journal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    provisioning_core::fault::chain(&result.expect_err("a failure"))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("nothing hangs")
}
