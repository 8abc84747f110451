//! Restarts of the program and of the device by request.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jarvis_provisioning::care::port::{Error, Scope};
use jarvis_provisioning::care::{self, Configured};
use testing::bus::PrivateBus;
use testing::fake::{Fake, Fault, Script, Service};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use zbus::Message;

use super::house::{House, MINUTE, Node, SECOND};

/// systemd-logind.
#[derive(Default)]
struct Logind {
    script: Script,
    /// The calls' `interactive`.
    reboots: Vec<bool>,
}

impl Service for Logind {
    const NAME: &'static str = "org.freedesktop.login1";

    fn script(&mut self) -> &mut Script {
        &mut self.script
    }

    async fn answer(fake: &Fake<Self>, message: Message) {
        assert_eq!(message.header().member().map(ToString::to_string).as_deref(), Some("Reboot"));
        fake.world().reboots.push(message.body().deserialize().expect("a flag"));
        fake.connection.reply(&message.header(), &()).await.expect("the bus is there");
    }
}

/// A node whose settings allow restarts, and the program's end of the requests.
fn restartable() -> (Node, mpsc::UnboundedReceiver<()>) {
    let (restart, restarts) = mpsc::unbounded_channel();
    (Node::start_as(House::new(), |settings| settings.restart = Some(restart)), restarts)
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_no_restart_is_accepted() {
    let node = Node::start();
    for scope in [Scope::Program, Scope::Device] {
        assert_eq!(node.care.restart("update".into(), scope).await, Err(Error::RestartForbidden));
    }
    let status = node.care.status();
    assert_eq!((status.restart_pending, status.last_restart_reason.clone()), (false, None));
}

#[tokio::test(start_paused = true)]
async fn the_program_is_restarted_after_its_answer_and_once() {
    let (node, mut restarts) = restartable();
    node.care.restart("update".into(), Scope::Program).await.expect("the settings allow it");
    let status = node.care.status();
    assert!(status.restart_pending);
    assert_eq!(status.last_restart_reason.as_deref(), Some("update"));
    assert_eq!(status.condition().phase.name(), "restarting");
    assert_eq!(restarts.recv().await, Some(()));
    assert_eq!(node.care.restart(String::new(), Scope::Program).await, Err(Error::Busy));
    assert!(restarts.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_does_not_happen_is_no_longer_pending() {
    let (node, _restarts) = restartable();
    node.care.restart(String::new(), Scope::Program).await.expect("the settings allow it");
    sleep(MINUTE * 3).await;
    assert!(!node.care.status().restart_pending);
    assert!(node.messages().await.iter().any(|message| message.starts_with("Restarting failed")));
    node.care.restart(String::new(), Scope::Program).await.expect("it may be requested again");
}

#[tokio::test(start_paused = true)]
async fn provisioning_is_not_interrupted_by_a_restart() {
    let (node, mut restarts) = restartable();
    node.provisioning(true);
    sleep(SECOND).await;
    assert_eq!(node.care.restart(String::new(), Scope::Program).await, Err(Error::Provisioning));
    assert!(restarts.try_recv().is_err());
    assert!(!node.care.status().restart_pending);
}

#[tokio::test(start_paused = true)]
async fn a_simulated_node_does_not_restart_the_computer_that_it_runs_on() {
    let (node, _restarts) = restartable();
    assert_eq!(node.care.restart(String::new(), Scope::Device).await, Err(Error::RestartForbidden));
}

#[tokio::test]
async fn the_device_is_restarted_by_logind_unless_it_refuses() {
    let Some(bus) = PrivateBus::start() else { return };
    let (logind, _running) = Fake::start(&bus.address(), Logind::default()).await;
    let denied = Fault::Error("org.freedesktop.DBus.Error.AccessDenied", "Permission denied");
    logind.world().script.faults.push_back(("Reboot", denied));
    let (restart, mut restarts) = mpsc::unbounded_channel();
    let node = Node::start_as(House::new(), |settings| {
        let address = bus.address();
        settings.simulated = false;
        settings.restart = Some(restart);
        settings.probes = Arc::new(move || {
            let probes = care::Settings::new(Configured::Nowhere, SystemTime::UNIX_EPOCH);
            care::Settings { bus: Some(address.clone()), ..probes }
        });
    });
    let request = async || timeout(Duration::from_mins(1), node.care.restart("power".into(), Scope::Device)).await;
    assert_eq!(request().await.expect("logind answers"), Err(Error::RestartRefused));
    assert!(!node.care.status().restart_pending);
    assert_eq!(request().await.expect("logind answers"), Ok(()));
    assert!(node.care.status().restart_pending);
    assert_eq!(logind.world().reboots, [false], "nobody is asked for a password");
    assert!(restarts.try_recv().is_err(), "systemd ends the program");
}
