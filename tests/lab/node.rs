//! A node in the scenario's process, on a simulated network: sufficient for tests of Bluetooth.

use jarvis_provisioning::command_center::CommandCenter;
use jarvis_provisioning::daemon::{Daemon, Handle};
use jarvis_provisioning::link::ble;
use jarvis_provisioning::simulation::{GUARDED, PASSWORD, SimulatedNetwork};
use jarvis_provisioning::store::{Paths, Store};
use provisioning_core::domain::{CommandCenterUrl, Credentials, Pairing, ProvisionCode, Registration, Ssid, UnixTime};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{AccessPointPolicy, Config, Refused};
use provisioning_core::secret::SecretText;
use provisioning_core::session::PhoneSecret;
use tempfile::TempDir;
use testing_node::scripted::config;
use testing_node::sim_link;
use tokio::task::JoinSet;

use crate::air::Controllers;

/// A command center that accepts every node.
struct Agreeable;

impl CommandCenter for Agreeable {
    async fn register(
        &self,
        _: &CommandCenterUrl,
        node_id: &str,
        _: &SecretText,
        _: &str,
        _: Option<UnixTime>,
    ) -> Result<Registration, Refused> {
        Ok(Registration { node_id: node_id.to_owned(), node_key: SecretText::new("key".into()), household_id: None })
    }

    async fn confirm_key(&self, _: &CommandCenterUrl, _: &Registration, _: Option<UnixTime>) -> bool {
        true
    }

    async fn healthy(&self, _: &CommandCenterUrl) -> bool {
        true
    }

    async fn claim(&self, _: &CommandCenterUrl, _: &ProvisionCode, _: Option<UnixTime>) -> Result<String, Fault> {
        Ok("appliance".into())
    }
}

/// A node; stops when dropped.
pub(crate) struct Node {
    pub(crate) handle: Handle,
    pairing: Pairing,
    _files: TempDir,
    _tasks: JoinSet<()>,
}

impl Node {
    /// Starts a new node.
    pub(crate) fn start(controllers: &Controllers) -> Self {
        Self::with(controllers, ble::Services::default())
    }

    /// The same with further services.
    pub(crate) fn with(controllers: &Controllers, services: ble::Services) -> Self {
        let files = TempDir::new().expect("a temporary folder");
        let paths = Paths { config: Some(files.path().join("config.json")), ..Paths::new(files.path().join("secrets")) };
        let store = Store::open(paths).expect("a new folder can be used");
        let boot = store.load().expect("a new folder holds nothing that cannot be read");
        let pairing = boot.pairing.clone();
        let machine = Config { improv: services.improv, nymea: services.nymea, ..config(AccessPointPolicy::Never) };
        let (daemon, handle) = Daemon::new(machine, boot, SimulatedNetwork, Agreeable, store);
        let mut tasks = JoinSet::new();
        tasks.spawn(async {
            daemon.run(std::future::pending()).await;
        });
        let config = ble::Config { adapter: Some(controllers.node.clone()), services, ..ble::Config::default() };
        tasks.spawn(ble::serve(config, handle.clone(), std::future::pending()));
        Self { handle, pairing, _files: files, _tasks: tasks }
    }

    /// The six digits of its label.
    pub(crate) fn digits(&self) -> &str {
        self.pairing.code.expose()
    }

    /// The secret in its QR code, hexadecimal.
    pub(crate) fn secret(&self) -> String {
        self.pairing.secret.expose().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The content of its label.
    pub(crate) fn code(&self) -> PhoneSecret {
        PhoneSecret::Code(self.pairing.code.clone())
    }
}

/// Credentials for the simulated network that checks its passphrase.
pub(crate) fn right() -> Credentials {
    credentials(PASSWORD)
}

/// The same with another passphrase.
pub(crate) fn wrong() -> Credentials {
    credentials("not the password")
}

fn credentials(passphrase: &str) -> Credentials {
    Credentials { ssid: Some(Ssid::try_from(GUARDED).expect("a short name")), ..sim_link::credentials(passphrase) }
}
