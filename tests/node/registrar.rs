//! The client of the command center against real servers on this machine.

mod addresses;
mod answers;
mod health;
mod server;
mod tls;

use std::time::Duration;

use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::command_center::{Limits, Registrar};
use provisioning_core::domain::{CommandCenterUrl, Registration};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Refused;
use provisioning_core::secret::SecretText;

use testing::journal::{Journal, NODE_KEY, TOKEN};

/// A limit that even an overloaded machine meets.
const AMPLE: Limits = Limits { register: Duration::from_mins(1), health: Duration::from_mins(1) };

/// The same for a connection.
const CONNECT: Duration = Duration::from_mins(1);

/// The limit for an event that never occurs.
const SHORT: Duration = Duration::from_millis(100);

fn client() -> Client {
    Client::new(AddressPolicy::SIMULATION, Trust::System).with_connect_limit(CONNECT)
}

fn url(text: &str) -> CommandCenterUrl {
    CommandCenterUrl::try_from(text).expect("a plain URL")
}

fn registrar() -> Registrar {
    Registrar::new(client()).with_limits(AMPLE)
}

/// One try with ample limits, and its log.
async fn register(client: &Client, command_center: &str) -> (Result<Registration, Refused>, Journal) {
    register_once(&Registrar::new(client.clone()).with_limits(AMPLE), command_center).await
}

/// One try, and its log: a warning if and only if it failed.
async fn register_once(registrar: &Registrar, command_center: &str) -> (Result<Registration, Refused>, Journal) {
    let journal = Journal::start();
    let outcome = registrar.register(&url(command_center), "node-1", &SecretText::new(TOKEN.into()), "kitchen").await;
    let journal = journal.stop();
    assert_eq!(journal.warnings().count(), usize::from(outcome.is_err()), "{}", journal.text());
    (outcome, journal)
}

/// The fault of one try that must fail, and its log line.
async fn fault(client: &Client, command_center: &str) -> (Refused, String) {
    failed(register(client, command_center).await)
}

/// The same of a try that was made.
fn failed((outcome, journal): (Result<Registration, Refused>, Journal)) -> (Refused, String) {
    let refused = outcome.expect_err("a try that must fail");
    let line = journal.warnings().next().expect("counted above").to_owned();
    assert!(line.contains(refused.fault.name()), "{line}");
    (refused, line)
}

fn without_status(fault: Fault) -> Refused {
    Refused { fault, status: None, retry_after: None }
}

fn with_status(fault: Fault, status: u16) -> Refused {
    Refused { fault, status: Some(status), retry_after: None }
}
