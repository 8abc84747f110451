//! A factory reset deletes the networks too, and succeeds only when everything is deleted.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use jarvis_provisioning::care::port::Error;
use jarvis_provisioning::command_center::NoCommandCenter;
use jarvis_provisioning::daemon::{Daemon, Handle};
use jarvis_provisioning::link::http::{Config, Limits};
use jarvis_provisioning::network::nm::{NetworkManager, Settings};
use provisioning_core::fault::Fault;
use provisioning_core::machine::AccessPointPolicy;
use serde_json::{Value, json};
use testing::bus::PrivateBus;
use testing::fake::Fault as Answer;
use testing_node::files::{self, write_everything};
use testing_node::scripted::config as machine_config;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::care::over_networkmanager::{caretaker, office};
use crate::http::json::provision;
use crate::http::support::{Node, PATIENCE, config};
use crate::nm::fake::{AccessPoint, Fake, Play};
use crate::nm::keeping::{foreign, ours};

const OURS: &str = "6f0d9d4e-0000-4000-8000-000000000001";
const RESET: &str = "/api/v1/factory-reset";

/// A provisioned node, and the NetworkManager that has the profile of its network, and one of its owner.
struct Lab {
    fake: Fake,
    files: files::Node,
    bus: PrivateBus,
}

/// A node that serves HTTP.
struct Running {
    api: Node,
    daemon: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.daemon.abort();
    }
}

impl Lab {
    /// None if `dbus-daemon` is not installed.
    async fn start() -> Option<Self> {
        let bus = PrivateBus::start()?;
        let fake = Fake::start(&bus.address()).await;
        {
            let mut world = fake.world();
            world.add_profile(foreign("Theirs", &[]));
            let ours = world.add_profile(ours("HomeNetwork", OURS));
            world.activate(ours);
        }
        let files = files::Node::new();
        write_everything(&files.open());
        let certificates = files.paths().directory.join("certificates");
        fs::create_dir(&certificates).expect("a folder");
        fs::write(certificates.join(format!("{OURS}-identity.p12")), "a private key").expect("a file");
        Some(Self { fake, files, bus })
    }

    /// The node's program after a start, with a limit for the answers of its API.
    fn run(&self, answer: Duration) -> Running {
        self.run_with_network(answer).0
    }

    fn run_with_network(&self, answer: Duration) -> (Running, NetworkManager, Handle) {
        let dns_directory = self.files.root().into();
        let certificates = self.files.paths().directory.join("certificates");
        let settings = Settings { bus: Some(self.bus.address()), dns_directory, certificates, ..Settings::default() };
        let store = self.files.open();
        let mut boot = store.load().expect("the files are readable");
        boot.pending = None;
        let machine = machine_config(AccessPointPolicy::Never);
        let network = NetworkManager::start(settings);
        let (daemon, handle) = Daemon::new(machine, boot, network.clone(), NoCommandCenter, store);
        let daemon = tokio::spawn(async { _ = daemon.run(std::future::pending()).await });
        let config = Config { limits: Limits { answer, ..Limits::default() }, ..config() };
        (Running { api: Node::serving(config, handle.clone()), daemon }, network, handle)
    }

    /// `jarvis-provision reset --yes`: its exit status, output and errors.
    async fn command(&self, bus: &str) -> (Option<i32>, String, String) {
        let paths = self.files.paths();
        let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis-provision"));
        command.args(["reset", "--yes"]).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        command.env("JARVIS_SECRET_DIRECTORY", &paths.directory).env("JARVIS_CLAIM_DIRECTORY", &paths.claim);
        command.env("CONFIG_PATH", self.files.config()).env("JARVIS_NODE_DB", &paths.database);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", bus);
        let output = timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// The SSIDs of the profiles that NetworkManager has.
    fn profiles(&self) -> Vec<String> {
        self.fake.world().profiles.values().filter_map(|profile| profile.text("connection", "id")).collect()
    }

    fn is_resetting(&self) -> bool {
        let state = fs::read(self.files.file("state.json")).expect("the state is there");
        serde_json::from_slice::<Value>(&state).expect("JSON")["resetting"] == true
    }

    /// Waits until the reset is complete, without another request.
    async fn completes(&self) {
        let wait = async {
            while self.is_resetting() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the reset completes by itself");
        self.assert_reset();
    }

    fn assert_reset(&self) {
        assert_eq!(self.profiles(), ["Theirs"]);
        assert_eq!(self.files.names().iter().filter(|name| *name != "run.lock").count(), 3, "{:?}", self.files.names());
        assert!(!self.is_resetting());
        assert!(!self.files.file("certificates").exists());
    }

    /// Asserts that the reset has begun, and that nothing is deleted before the networks are.
    fn assert_incomplete(&self) {
        assert!(self.is_resetting());
        assert_eq!(self.profiles(), ["Theirs", "jarvis-HomeNetwork"]);
        assert!(self.files.file("k2.enc").exists());
    }
}

#[tokio::test]
async fn a_reset_over_the_api_deletes_our_profiles_and_no_others() {
    let Some(lab) = Lab::start().await else { return };
    let node = lab.run(PATIENCE);
    let reply = node.api.post(RESET, &json!({})).await.json();
    assert_eq!((&reply["success"], &reply["error"]), (&json!(true), &Value::Null));
    lab.assert_reset();
}

#[tokio::test]
async fn a_reset_by_the_command_deletes_our_profiles_and_no_others() {
    let Some(lab) = Lab::start().await else { return };
    let (status, output, errors) = lab.command(&lab.bus.address()).await;
    assert_eq!(status, Some(0), "{errors}");
    assert!(output.contains("cleared wifi_credentials\n"), "{output}");
    lab.assert_reset();
}

#[tokio::test]
async fn a_reset_needs_no_wifi_adapter() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.remove_device().await;
    let (status, _, errors) = lab.command(&lab.bus.address()).await;
    assert_eq!(status, Some(0), "{errors}");
    lab.assert_reset();
}

#[tokio::test]
async fn without_networkmanager_a_reset_fails_and_completes_when_it_is_back() {
    let Some(lab) = Lab::start().await else { return };
    let node = lab.run(Duration::from_millis(100));
    lab.fake.leave().await;
    let reply = node.api.post(RESET, &json!({})).await.json();
    assert_eq!((&reply["success"], &reply["cleared"]), (&json!(false), &json!([])));
    lab.assert_incomplete();
    let refused = node.api.post("/api/v1/provision", &provision()).await.json();
    assert_eq!((&refused["success"], &refused["message"]), (&json!(false), &json!(Fault::Resetting.text())));
    lab.fake.come_back().await;
    lab.completes().await;
}

#[tokio::test]
async fn whatever_networkmanager_answers_a_reset_fails_and_then_completes() {
    for call in ["ListConnections", "GetSettings", "Delete"] {
        for answer in [Answer::WrongType, Answer::Error("org.freedesktop.NetworkManager.Failed", "not now")] {
            let Some(lab) = Lab::start().await else { return };
            let node = lab.run(PATIENCE);
            // The start reads profiles, too.
            node.api.scanned().await;
            lab.fake.world().script.faults.push_back((call, answer.clone()));
            let reply = node.api.post(RESET, &json!({})).await.json();
            assert_eq!(reply["success"], false, "{call} {answer:?}");
            let error = reply["error"].as_str().expect("a reason");
            assert!(error.starts_with("The reset is not complete."), "{error}");
            assert!(error.ends_with(Fault::NetworkUnavailable.text()), "{error}");
            lab.completes().await;
        }
    }
}

#[tokio::test]
async fn a_reset_waits_for_a_late_networkmanager() {
    let Some(lab) = Lab::start().await else { return };
    let node = lab.run(Duration::from_millis(100));
    lab.fake.world().script.faults.push_back(("Delete", Answer::Late));
    let reply = node.api.post(RESET, &json!({})).await.json();
    assert_eq!(reply["success"], false);
    lab.assert_incomplete();
    lab.fake.release();
    lab.completes().await;
}

#[tokio::test]
async fn a_command_without_networkmanager_says_so_and_the_next_start_completes_it() {
    let Some(lab) = Lab::start().await else { return };
    let (status, output, errors) = lab.command("unix:path=/nonexistent").await;
    assert_eq!((status, output.as_str()), (Some(5), ""), "{errors}");
    for words in ["the reset is not complete", "Start NetworkManager.service", "jarvis-provision run"] {
        assert!(errors.contains(words), "{errors}");
    }
    lab.assert_incomplete();
    let _node = lab.run(PATIENCE);
    lab.completes().await;
}

#[tokio::test]
async fn a_command_without_networkmanager_is_completed_by_the_next_command() {
    let Some(lab) = Lab::start().await else { return };
    assert_eq!(lab.command("unix:path=/nonexistent").await.0, Some(5));
    let (status, output, errors) = lab.command(&lab.bus.address()).await;
    assert_eq!(status, Some(0), "{errors}");
    assert!(output.starts_with("cleared provisioning_marker\ncleared k2_key\ncleared wifi_credentials\n"), "{output}");
    lab.assert_reset();
}

#[tokio::test]
async fn a_reset_stops_a_join_and_nothing_of_it_is_left() {
    let Some(lab) = Lab::start().await else { return };
    let node = lab.run(PATIENCE);
    // The join does not end.
    lab.fake.world().plays.push_back(Play { sequence: vec![(40, 0), (50, 0)], before_answer: false });
    node.api.post("/api/v1/provision", &provision()).await;
    lab.fake.until("the join is under way", |world| world.state == 50).await;
    let reply = node.api.post(RESET, &json!({})).await.json();
    assert_eq!(reply["success"], true, "{reply}");
    lab.assert_reset();
    let status = node.api.get("/api/v1/status").await.json();
    assert_eq!(status["state"], "AP_MODE");
}

#[tokio::test]
async fn a_reset_stops_a_join_of_network_care_and_nothing_of_it_is_left() {
    let Some(lab) = Lab::start().await else { return };
    let (node, network, handle) = lab.run_with_network(PATIENCE);
    let (caretaker, care) = caretaker(network, handle);
    let caretaker = tokio::spawn(caretaker.run(std::future::pending()));
    {
        let mut world = lab.fake.world();
        world.in_the_air.push(AccessPoint::wpa2("Office"));
        // The join does not end.
        world.plays.push_back(Play { sequence: vec![(40, 0), (50, 0)], before_answer: false });
    }
    let joining = tokio::spawn(async move { care.connect(office()).await });
    lab.fake.until("the join is under way", |world| world.state == 50).await;
    let reply = node.api.post(RESET, &json!({})).await.json();
    assert_eq!(reply["success"], true, "{reply}");
    assert_eq!(joining.await.expect("no panic"), Err(Error::Provisioning), "its client is told");
    lab.assert_reset();
    caretaker.abort();
}
