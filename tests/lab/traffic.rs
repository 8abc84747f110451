//! What goes over the air: captures of the Attribute Protocol.

use std::path::PathBuf;
use std::process::Stdio;

use mobile_test_harness::key;
use provisioning_core::domain::State;
use tokio::process::{Child, Command};

use crate::air::{Controllers, PATIENCE, connect, must, until};
use crate::node::{Node, right};
use crate::place::log;

/// A capture that runs until it is read.
pub(crate) struct Capture {
    path: PathBuf,
    monitor: Child,
}

impl Capture {
    /// Starts; the file of that name is kept with the logs of a scenario that fails.
    pub(crate) async fn start(name: &str) -> Self {
        let path = log(name);
        let mut monitor = Command::new("btmon");
        monitor.arg("--write").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let monitor = monitor.kill_on_drop(true).spawn().expect("btmon can be started");
        until("btmon listens", async || std::fs::metadata(&path).is_ok_and(|file| file.len() > 16)).await;
        Self { path, monitor }
    }

    /// The acknowledged writes, and the bytes of all values and headers of the Attribute Protocol. Every packet is captured at
    /// both ends; it counts at its sender.
    pub(crate) fn read(self) -> (u32, u32) {
        drop(self.monitor);
        let text = must("btmon", &["--read", &self.path.display().to_string()]);
        let (mut writes, mut bytes, mut sent) = (0, 0, false);
        for line in text.lines() {
            if line.starts_with('<') || line.starts_with('>') {
                sent = line.starts_with("< ACL");
            }
            let Some(attribute) = line.trim().strip_prefix("ATT: ") else { continue };
            if !sent {
                continue;
            }
            if attribute.starts_with("Write Request (0x12)") {
                writes += 1;
            }
            let length = attribute.rsplit_once("len ").and_then(|(_, length)| length.parse::<u32>().ok());
            // The length excludes the operation.
            bytes += length.expect("btmon says the length") + 1;
        }
        (writes, bytes)
    }
}

#[tokio::test]
async fn a_whole_provisioning_takes_four_write_requests() {
    let controllers = Controllers::ready().await;
    let node = Node::start(&controllers);
    let mut phone = connect(&controllers).await;
    let capture = Capture::start("provisioning.snoop").await;
    phone.info().await.expect("info can be read");
    phone.open_session(&node.code()).await.expect("the code is right");
    phone.scan(false).await.expect("a list");
    let k2 = key::new(std::time::SystemTime::UNIX_EPOCH, &mut rand_core::UnwrapErr(getrandom::SysRng));
    phone.send_k2(k2).await.expect("it is stored");
    let report = phone.bring_online(&right(), PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!(report.state, State::Provisioned);
    let (writes, bytes) = capture.read();
    assert_eq!((writes, phone.traffic().round_trips), (4, 4), "the subscription, the handshake, the scan, the credentials");
    assert!(bytes > 0);
    phone.leave().await;
}
