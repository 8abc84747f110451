//! The device's own panel: D-Bus, the light and buttons, with a scripted loop.

mod button;
mod dbus;
mod led;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jarvis_provisioning::care::events::Events;
use jarvis_provisioning::care::port::{self, Care};
use jarvis_provisioning::daemon::{Ends, Event, Handle, View};
use jarvis_provisioning::panel::{Diagnose, Panel};
use provisioning_core::domain::{AccessPoint, Failure, RadioUse, Ssid, Step};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Answer, LocalRequest};
use provisioning_core::panel::light::Connectivity;
use testing_node::caretaker::{evidence, status};
use testing_node::scripted::view;
use tokio::sync::watch;

/// Longer than any pause of the code under test.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// The other end of a panel: the loop of provisioning, the radio, and the caretaker.
pub(crate) struct Scene {
    pub(crate) panel: Panel,
    pub(crate) ends: Ends,
    pub(crate) radio: watch::Sender<RadioUse>,
    pub(crate) care: Option<port::Ends>,
}

impl Scene {
    /// A new node without network care.
    pub(crate) fn new() -> Self {
        Self::with(false, Arc::new(|| Box::pin(async { evidence() })))
    }

    /// The same with another diagnosis, and perhaps with network care.
    pub(crate) fn with(has_care: bool, diagnose: Diagnose) -> Self {
        let (handle, ends) = Handle::channel(64, view());
        let (radio, used) = watch::channel(RadioUse::Idle);
        let care = has_care.then(|| Care::channel(status(), Events::new(|| SystemTime::UNIX_EPOCH), handle.clone()));
        let (care, care_ends) = care.unzip();
        Self { panel: Panel::new(handle, care, used, diagnose), ends, radio, care: care_ends }
    }

    /// The loop of provisioning publishes another snapshot.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut View)) {
        self.ends.view.send_modify(|shown| change(Arc::make_mut(shown)));
    }

    /// The caretaker publishes another status.
    pub(crate) fn report(&self, change: impl FnOnce(&mut port::Status)) {
        self.care.as_ref().expect("it has network care").status.send_modify(|status| change(Arc::make_mut(status)));
    }

    /// Answers the next request for a reset.
    pub(crate) async fn answer_reset(&mut self, with: Answer) {
        match self.ends.events.recv().await.expect("the panel is there") {
            Event::LocalRequest { request: LocalRequest::Reset, answer } => {
                // The caller may be gone.
                let _unread = answer.send(with);
            }
            _ => panic!("another request than a reset"),
        }
    }
}

/// What is known about the connection: its state, the network, and the address.
fn connection(scene: &Scene) -> (Connectivity, String, String) {
    let shown = scene.panel.shown().last().clone();
    (shown.connectivity, shown.network, shown.address)
}

fn with_care() -> Scene {
    Scene::with(true, Arc::new(|| Box::pin(async { evidence() })))
}

#[test]
fn the_network_is_known_from_network_care_and_the_access_point_from_the_radio() {
    let scene = Scene::new();
    assert_eq!(connection(&scene), (Connectivity::Unknown, String::new(), String::new()));
    let address = Ipv4Addr::new(192, 168, 4, 1);
    scene.radio.send_replace(RadioUse::AccessPoint(AccessPoint { interface: "wlan0".into(), address, prefix: 24 }));
    assert_eq!(connection(&scene), (Connectivity::AccessPoint, String::new(), "192.168.4.1".into()));
    let scene = with_care();
    assert_eq!(connection(&scene), (Connectivity::Online, "HomeNetwork".into(), "192.168.1.7".into()));
    scene.report(|status| status.network.internet = false);
    assert_eq!(connection(&scene).0, Connectivity::Limited);
    scene.report(|status| status.network.connected = false);
    assert_eq!(connection(&scene), (Connectivity::Offline, String::new(), String::new()));
    scene.report(|status| status.network.hotspot_open = true);
    assert_eq!(connection(&scene).0, Connectivity::AccessPoint);
}

#[test]
fn a_network_name_reaches_a_screen_without_control_characters() {
    let scene = with_care();
    scene.report(|status| status.network.last_ssid = Ssid::try_from("\u{1b}[2Jhome\n").ok());
    assert_eq!(connection(&scene).1, "\u{fffd}[2Jhome\u{fffd}");
}

#[test]
fn the_name_of_a_sealed_attempt_is_not_shown_while_it_runs() {
    let scene = Scene::new();
    scene.publish(|view| {
        view.status.step = Step::Joining;
        view.status.ssid = Some("Lighthouse".into());
        view.status.ssid_bytes = Ssid::try_from("Lighthouse").ok();
        view.status.request_id = 7;
    });
    let shown = format!("{:?}", scene.panel.shown().last());
    assert!(shown.contains("Connecting") && !shown.contains("Lighthouse"), "{shown}");
}

#[tokio::test]
async fn the_last_outcome_stays_while_an_attempt_runs_and_ends_with_a_reset() {
    let scene = Scene::new();
    let mut changes = scene.panel.shown();
    assert_eq!(changes.last().last_outcome, "");
    for (step, failure, provisioned, outcome) in [
        (Step::Joining, Some(Fault::NoAddress), false, "NoAddress"),
        (Step::Registering, None, false, "NoAddress"),
        (Step::Done, None, true, "Succeeded"),
        // A restart after the success.
        (Step::Waiting, None, true, "Succeeded"),
        (Step::Waiting, None, false, ""),
    ] {
        scene.publish(|view| {
            view.status.step = step;
            view.status.failure = failure.map(Failure::from);
            view.info.previously_provisioned = provisioned;
        });
        assert_eq!(changes.next().await.expect("the loop runs").last_outcome, outcome, "{step:?}");
    }
}
