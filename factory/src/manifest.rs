//! The results of a run for the image builder: hashes and owners, no secrets.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::batch::{Outcome, Report};
use crate::image::{DEVICE_CONF, Layout};
use crate::ledger::timestamp;

/// The manifest of a run, as JSON: for each file its path in the image, hash, mode and owner.
pub fn manifest(api: &str, time: SystemTime, layout: &Layout, reports: &[Report]) -> String {
    let device = |report: &Report| {
        let files: Vec<Value> = files(layout, report)
            .into_iter()
            .map(|(path, hash)| {
                json!({
                    "path": path,
                    "sha256": hash,
                    "mode": "0600",
                    "uid": layout.owner.uid,
                    "gid": layout.owner.gid,
                })
            })
            .collect();
        let (outcome, reason) = match &report.outcome {
            Outcome::Created => ("created", None),
            Outcome::Updated => ("updated", None),
            Outcome::Already => ("already", None),
            Outcome::Failed(reason) => ("failed", Some(reason)),
            Outcome::NotTried => ("not_tried", None),
        };
        json!({
            "serial": report.device.serial.as_str(),
            "account": report.device.account,
            "node_id": layout.pairing.as_ref().map(|_| report.device.serial.node_id()),
            "rootfs": report.device.rootfs,
            "outcome": outcome,
            "reason": reason,
            "files": files,
        })
    };
    let manifest = json!({
        "schema": 1,
        "made_at": timestamp(time),
        "api": api,
        "devices": reports.iter().map(device).collect::<Vec<_>>(),
    });
    format!("{manifest:#}\n")
}

/// The owners and modes of the files, in the form that image builders read as a device table (`genext2fs -D`,
/// `mkfs.ubifs -D`, Buildroot's `makedevs`). The files are the same in every image.
pub fn device_table(layout: &Layout) -> String {
    let mut table = String::from("# path type mode uid gid major minor start increment count\n");
    let paths = [Some(Path::new(DEVICE_CONF)), layout.pairing.as_deref()];
    for path in paths.into_iter().flatten() {
        let path = path.strip_prefix("/").unwrap_or(path).display();
        writeln!(table, "/{path} f 600 {} {} - - - - -", layout.owner.uid, layout.owner.gid)
            .expect("writing to a String succeeds");
    }
    table
}

fn files<'a>(layout: &Layout, report: &'a Report) -> Vec<(PathBuf, &'a str)> {
    let in_image = |path: &Path| Path::new("/").join(path);
    let conf = report.device_conf.as_deref().map(|hash| (in_image(Path::new(DEVICE_CONF)), hash));
    let pairing = layout.pairing.as_deref().zip(report.pairing.as_deref()).map(|(path, hash)| (in_image(path), hash));
    conf.into_iter().chain(pairing).collect()
}
