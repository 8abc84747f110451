//! What a node meets where it is used: a supplicant that hangs.

use std::time::Duration;

use tokio::time::Instant;

use crate::air::{must, run, until, within};
use crate::device::{Device, PASSPHRASE, device_state};
use crate::place::{Wifi, log};

/// How long a supplicant may hang at most.
const HANGS: Duration = Duration::from_mins(2);

/// Continues the supplicant when dropped, so that a failure is not the next scenario's.
struct Stopped;

impl Stopped {
    fn supplicant() -> Self {
        must("systemctl", &["kill", "--signal=STOP", "wpa_supplicant"]);
        Self
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        run("systemctl", &["kill", "--signal=CONT", "wpa_supplicant"]);
    }
}

/// The process of the supplicant; `0` if there is none.
fn supplicant() -> String {
    must("systemctl", &["show", "--value", "--property=MainPID", "wpa_supplicant"]).trim().to_owned()
}

#[tokio::test]
async fn a_supplicant_that_hangs_is_restarted_and_a_phone_can_join() {
    let device = Device::with("[access_point]\nopen = \"always\"\n").await;
    until("the access point is open", async || device_state("STATE").starts_with("100 ")).await;
    let hung = supplicant();
    let _stopped = Stopped::supplicant();
    within(HANGS, "it is restarted", async || ![hung.as_str(), "0"].contains(&supplicant().as_str())).await;
    let restarted = Instant::now();
    let _wifi = Wifi::join(&device.name, PASSPHRASE).await;
    assert!(restarted.elapsed() < Duration::from_mins(1), "{:?}", restarted.elapsed());
    let journal = std::fs::read_to_string(log("node")).expect("its log");
    assert!(journal.contains("wpa_supplicant does not answer"), "it is told");
}
