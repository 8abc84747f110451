//! The light, in a tree of files like the kernel's.

use std::fs;
use std::path::PathBuf;

use jarvis_provisioning::panel::led::serve;
use provisioning_core::domain::{Failure, Step};
use provisioning_core::fault::Fault;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{DEADLINE, Scene};

/// A light that shows the activity of a card, at full brightness. `timed` says whether the kernel can blink it.
struct Tree(TempDir);

impl Tree {
    fn new(timed: bool) -> Self {
        let tree = Self(tempfile::tempdir().expect("a temporary folder"));
        let times: &[_] = if timed { &["delay_on", "delay_off"] } else { &[] };
        for name in times {
            fs::write(tree.file(name), "").expect("our own folder");
        }
        for (name, value) in [("trigger", "none timer [mmc0] heartbeat\n"), ("brightness", "1\n"), ("max_brightness", "255\n")] {
            fs::write(tree.file(name), value).expect("our own folder");
        }
        tree
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).expect("it exists")
    }

    async fn shows(&self, what: &str, fits: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !fits(self) {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        assert!(timeout(DEADLINE, waiting).await.is_ok(), "not in time: {what}");
    }

    fn blinks(&self, on: &str, off: &str) -> bool {
        (self.read("trigger"), self.read("delay_on"), self.read("delay_off")) == ("timer".into(), on.into(), off.into())
    }
}

#[tokio::test]
async fn the_light_shows_the_state_and_then_what_it_showed_before() {
    let (tree, scene) = (Tree::new(true), Scene::new());
    let (stop, stopped) = oneshot::channel::<()>();
    let until = async {
        let _either = stopped.await;
    };
    let serving = tokio::spawn(serve(scene.panel.clone(), tree.0.path().to_owned(), until));
    tree.shows("waiting", |tree| tree.blinks("1000", "1000")).await;
    scene.publish(|view| view.status.step = Step::Joining);
    tree.shows("working", |tree| tree.blinks("200", "200")).await;
    scene.publish(|view| view.status.failure = Some(Failure::from(Fault::WrongPassword)));
    tree.shows("failed", |tree| tree.blinks("100", "900")).await;
    scene.publish(|view| {
        view.status.failure = None;
        view.status.step = Step::Done;
        view.info.previously_provisioned = true;
    });
    tree.shows("ready", |tree| tree.read("trigger") == "none" && tree.read("brightness") == "255").await;
    drop(stop);
    timeout(DEADLINE, serving).await.expect("it ends").expect("no panic");
    assert_eq!(tree.read("trigger"), "mmc0");
}

#[tokio::test]
async fn without_the_kernels_help_the_program_blinks() {
    let (tree, scene) = (Tree::new(false), Scene::new());
    let serving = tokio::spawn(serve(scene.panel.clone(), tree.0.path().to_owned(), std::future::pending()));
    for _ in 0..2 {
        tree.shows("on", |tree| tree.read("brightness") == "255").await;
        tree.shows("off", |tree| tree.read("brightness") == "0").await;
        // A change that the light does not show.
        scene.publish(|view| view.networks.clear());
        scene.publish(|view| view.info.node_id.push('x'));
    }
    assert_eq!(tree.read("trigger"), "none");
    serving.abort();
}

#[tokio::test]
async fn a_light_that_is_missing_is_no_reason_to_fail() {
    let scene = Scene::new();
    let serving = serve(scene.panel.clone(), "/nowhere/light".into(), std::future::pending());
    timeout(DEADLINE, serving).await.expect("it gives up");
}
