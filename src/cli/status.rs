//! `jarvis-provision status`.

use std::io::Write;

use provisioning_core::domain::{CommandCenterUrl, State, Status};
use provisioning_core::machine::FREE_GUESSES;
use serde_json::json;

use super::{Failure, Settings, open_store};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let boot = open_store(&arguments.settings.read()?)?.load()?;
    let last = boot.outcome.map(Status::from);
    let fault = last.as_ref().and_then(|status| status.failure.as_ref()).map(|failure| failure.fault);
    let state = match (&boot.pending, fault) {
        _ if boot.resetting => "RESETTING",
        (Some(_), _) => "INTERRUPTED",
        (None, Some(_)) => "ERROR",
        (None, None) if boot.provisioned => "PROVISIONED",
        (None, None) if last.as_ref().is_some_and(|status| status.state() == State::Online) => State::Online.name(),
        (None, None) => "AP_MODE",
    };
    let mut out = std::io::stdout().lock();
    let written = if arguments.json {
        let object = json!({
            "state": state,
            "node_id": boot.identity.node_id,
            "name": boot.identity.name(),
            "hardware": boot.identity.hardware,
            "mac_address": boot.identity.mac_address,
            "provisioned": boot.provisioned,
            "command_center_url": boot.command_center.as_ref().map(CommandCenterUrl::as_str),
            "pairing_attempts": boot.guesses,
            "pairing_locked": boot.guesses >= FREE_GUESSES,
            "last_failure": last.as_ref().zip(fault).map(|(status, fault)| json!({
                "fault": fault.name(),
                "text": fault.text(),
                "ssid": status.ssid,
                "progress_percent": status.progress(),
            })),
        });
        writeln!(out, "{object}")
    } else {
        let mut lines = vec![
            ("State", state.to_owned()),
            ("Node", boot.identity.node_id.clone()),
            ("Name", boot.identity.name()),
            ("Hardware", boot.identity.hardware.clone()),
        ];
        if let Some(url) = &boot.command_center {
            lines.push(("Command center", url.as_str().to_owned()));
        }
        if let Some(fault) = fault {
            lines.push(("Last failure", format!("{}: {}", fault.name(), fault.text())));
        }
        if boot.guesses > 0 {
            let locked = if boot.guesses >= FREE_GUESSES { ", locked for a while" } else { "" };
            lines.push(("Wrong codes", format!("{}{locked}", boot.guesses)));
        }
        lines.iter().try_for_each(|(title, value)| writeln!(out, "{title:<15}{value}"))
    };
    Ok(written.map_err(anyhow::Error::from)?)
}
