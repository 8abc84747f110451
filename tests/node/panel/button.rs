//! Input devices that are none. Real ones are in the laboratory.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::time::Duration;

use jarvis_provisioning::daemon::Event;
use jarvis_provisioning::panel::button::{Source, serve};
use provisioning_core::machine::{Answer, LocalRequest};
use provisioning_core::panel::button::Press;
use tokio::time::{Instant, advance, pause, timeout};

use super::{DEADLINE, Scene};

/// `KEY_RESTART`.
const KEY: u16 = 408;

/// A pipe with a name, which is read like a device.
fn pipe(folder: &tempfile::TempDir) -> std::path::PathBuf {
    let path = folder.path().join("event0");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo is installed").success());
    path
}

/// An event as the kernel writes it.
fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
    let time = [0; 2 * size_of::<usize>()];
    [&time[..], &kind.to_ne_bytes(), &code.to_ne_bytes(), &value.to_ne_bytes()].concat()
}

/// Waits until the shown press fits.
async fn until_pressed(scene: &Scene, expected: Press) {
    let mut changes = scene.panel.shown();
    let waiting = async {
        while changes.last().press != expected {
            changes.next().await.expect("the loop runs");
        }
    };
    timeout(DEADLINE, waiting).await.expect("in time");
}

#[tokio::test]
async fn a_long_press_resets_the_node_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let device = pipe(&folder);
    let mut scene = Scene::new();
    // Open at both ends, so that opening and writing wait for nobody.
    let mut end = OpenOptions::new().read(true).write(true).custom_flags(0o4000).open(&device).expect("a pipe");
    pause();
    let serving = tokio::spawn(serve(scene.panel.clone(), Source::Input { device, key: KEY }, std::future::pending()));
    let start = Instant::now();
    end.write_all(&[event(1, KEY, 1), event(0, 0, 0), event(1, KEY, 2)].concat()).expect("room");
    until_pressed(&scene, Press::Warned).await;
    assert!(start.elapsed() >= Duration::from_secs(3));
    until_pressed(&scene, Press::Reset).await;
    assert!(start.elapsed() >= Duration::from_secs(10));
    scene.answer_reset(Answer::Reset(Vec::new())).await;
    until_pressed(&scene, Press::None).await;
    // It is stuck.
    advance(Duration::from_hours(1)).await;
    assert!(scene.ends.events.try_recv().is_err(), "one reset");
    end.write_all(&event(1, KEY, 0)).expect("room");
    advance(Duration::from_secs(1)).await;
    serving.abort();
}

#[tokio::test]
async fn a_device_that_sends_something_else_does_nothing_and_is_tried_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let device = pipe(&folder);
    let mut scene = Scene::new();
    let mut end = OpenOptions::new().read(true).write(true).custom_flags(0o4000).open(&device).expect("a pipe");
    pause();
    let source = Source::Input { device, key: KEY };
    let serving = tokio::spawn(serve(scene.panel.clone(), source, std::future::pending()));
    // A press, and a part of an event: the device is none, so the press ends.
    end.write_all(&[event(1, KEY, 1), vec![0xff; 5]].concat()).expect("room");
    while rustix::io::ioctl_fionread(&end).expect("a pipe") > 0 {
        advance(Duration::from_secs(1)).await;
    }
    advance(Duration::from_mins(5)).await;
    assert!(scene.ends.events.try_recv().is_err(), "no reset");
    assert_eq!(scene.panel.shown().last().press, Press::None);
    // The next try reads a whole event.
    end.write_all(&event(1, KEY, 1)).expect("room");
    until_pressed(&scene, Press::Reset).await;
    assert!(matches!(scene.ends.events.recv().await, Some(Event::LocalRequest { .. })));
    serving.abort();
}

#[tokio::test]
async fn a_short_press_authorizes_the_node_and_resets_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let device = pipe(&folder);
    let mut scene = Scene::new();
    let mut end = OpenOptions::new().read(true).write(true).custom_flags(0o4000).open(&device).expect("a pipe");
    pause();
    let serving = tokio::spawn(serve(scene.panel.clone(), Source::Input { device, key: KEY }, std::future::pending()));
    for answered in [Answer::Authorized, Answer::NothingToAuthorize] {
        end.write_all(&event(1, KEY, 1)).expect("room");
        while rustix::io::ioctl_fionread(&end).expect("a pipe") > 0 {
            advance(Duration::from_millis(10)).await;
        }
        advance(Duration::from_millis(500)).await;
        end.write_all(&event(1, KEY, 0)).expect("room");
        let asked = timeout(DEADLINE, scene.ends.events.recv()).await.expect("in time");
        let Some(Event::LocalRequest { request: LocalRequest::Authorize, answer }) = asked else { panic!("{asked:?}") };
        answer.send(answered).expect("it waits");
    }
    advance(Duration::from_hours(1)).await;
    assert!(scene.ends.events.try_recv().is_err(), "and nothing else");
    serving.abort();
}

#[tokio::test]
async fn files_that_are_no_devices_are_no_buttons() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, event(1, KEY, 1)).expect("our own folder");
    let mut scene = Scene::new();
    pause();
    let gpio = |chip: &str| Source::Gpio { chip: chip.into(), line: 17, active_high: false };
    let sources = [
        Source::Input { device: file.clone(), key: KEY },
        Source::Input { device: "/nowhere".into(), key: KEY },
        Source::Input { device: "/dev/null".into(), key: KEY },
        gpio("/dev/null"),
        gpio("/nowhere"),
    ];
    let serving: Vec<_> = sources.map(|source| tokio::spawn(serve(scene.panel.clone(), source, std::future::pending()))).into();
    for _ in 0..600 {
        advance(Duration::from_secs(1)).await;
    }
    assert!(scene.ends.events.try_recv().is_err());
    for task in serving {
        assert!(!task.is_finished(), "it tries again");
        task.abort();
    }
}
