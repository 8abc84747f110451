//! The output: plain text, or one JSON object.

use std::io::{self, Write};

use mobile_test_harness::link::Traffic;
use mobile_test_harness::phone::Progress;
use mobile_test_harness::terminal::{self, Style, Tone, printable};
use provisioning_core::domain::{
    CareEvent, CareReply, CommandCenterUrl, Credentials, EventLevel, EventPhase, Label, LayerReport, LayerVerdict, Network,
    RecoveryState, SavedNetwork, State,
};
use provisioning_core::fault::Fault;
use provisioning_core::secret::SecretText;
use provisioning_core::wire::{Info, PublicStatus, StatusReport};
use serde_json::{Value, json};

use crate::Failure;

/// Prints results.
#[derive(Clone, Copy)]
pub(crate) struct Report {
    json: bool,
    style: Style,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, style: if json { Style::plain() } else { Style::of(&io::stdout()) } }
    }

    /// One line; none with `--json`.
    pub(crate) fn line(self, text: impl AsRef<str>) {
        if !self.json {
            print(text.as_ref());
        }
    }

    /// The result: as JSON, or as lines.
    pub(crate) fn result(self, json: &Value, lines: impl IntoIterator<Item = String>) {
        if self.json {
            print(&json.to_string());
        } else {
            lines.into_iter().for_each(|line| print(&line));
        }
    }

    pub(crate) fn info(self, info: &Info) {
        let Info { node_id, name, firmware_version, hardware, capabilities, state, previously_provisioned, versions, country } =
            info;
        let json = json!({
            "node_id": node_id, "name": name, "firmware_version": firmware_version, "hardware": hardware,
            "capabilities": capabilities, "state": state.name(), "previously_provisioned": previously_provisioned,
            "versions": versions, "country": country,
        });
        let rows = [
            ("name", name.clone()),
            ("node id", node_id.clone()),
            ("hardware", hardware.clone()),
            ("firmware", firmware_version.clone()),
            ("capabilities", capabilities.join(", ")),
            ("country", country.clone()),
            ("state", state.name().to_owned()),
            ("provisioned before", if *previously_provisioned { "yes" } else { "no" }.to_owned()),
        ];
        let lines = rows
            .map(|(name, value)| format!("{}  {}", self.style.paint(Tone::Quiet, format_args!("{name:>18}")), printable(&value)));
        self.result(&json, lines);
    }

    pub(crate) fn networks(self, networks: &[Network]) {
        let listed: Vec<Value> = networks
            .iter()
            .map(|network| {
                json!({
                    "ssid": network.ssid.to_string(), "ssid_bytes": network.ssid.as_bytes(), "signal_dbm": network.signal,
                    "security": terminal::security(network.security), "frequency_mhz": network.frequency,
                })
            })
            .collect();
        let lines =
            if networks.is_empty() { vec!["No networks in range.".into()] } else { terminal::networks(networks, self.style) };
        self.result(&json!({ "networks": listed }), lines);
    }

    pub(crate) fn status(self, public: PublicStatus, status: Option<&StatusReport>) {
        let details = status.map(details);
        let json = json!({
            "state": public.state.name(), "progress_percent": public.progress, "fault": public.fault.map(Fault::name),
            "details": details,
        });
        let line = match status {
            Some(status) => self.progress(status.state, status.progress, &status.message),
            None => self.progress(public.state, public.progress, public.fault.map(Fault::text).unwrap_or_default()),
        };
        let fault = public.fault.map(|fault| self.style.paint(Tone::Bad, fault.name()));
        self.result(&json, std::iter::once(line).chain(fault));
    }

    /// The answer of network care.
    pub(crate) fn care(self, answer: &CareReply) {
        match answer {
            CareReply::Done => self.result(&json!({ "ok": true }), [self.style.paint(Tone::Good, "Done.")]),
            CareReply::Status(status) => {
                let ssid = status.ssid.as_ref().map(ToString::to_string);
                let address = status.address.map(|address| address.to_string());
                let json = json!({
                    "connected": status.connected, "ssid": ssid, "address": address, "internet": status.internet,
                    "hotspot": status.hotspot, "last_error": status.last_error,
                    "recovery": status.recovery.map(recovery),
                });
                let place = match (&ssid, status.hotspot) {
                    (Some(ssid), _) => format!("The device is in {}.", printable(ssid)),
                    (None, true) => "The device's hotspot is open.".into(),
                    (None, false) => "The device is in no network.".into(),
                };
                let internet = if status.internet { "The internet is reachable." } else { "The internet is not reachable." };
                self.result(&json, [place, internet.into()]);
            }
            CareReply::Saved(networks) => {
                let row = |network: &SavedNetwork| json!({ "name": network.name, "autoconnect": network.autoconnect, "active": network.active });
                let line =
                    |network: &SavedNetwork| format!("{} {}", if network.active { "*" } else { " " }, printable(&network.name));
                let json = json!({ "networks": networks.iter().map(row).collect::<Vec<_>>() });
                self.result(&json, networks.iter().map(line));
            }
            CareReply::Diagnosis(layers) => {
                let row = |report: &LayerReport| {
                    json!({
                        "layer": report.layer, "verdict": verdict(report.verdict), "evidence": report.evidence,
                        "advice": report.advice,
                    })
                };
                let line = |report: &LayerReport| {
                    format!("{:<16}{:<13}{}", report.layer, verdict(report.verdict), printable(&report.evidence))
                };
                self.result(&json!({ "layers": layers.iter().map(row).collect::<Vec<_>>() }), layers.iter().map(line));
            }
            CareReply::Events(new) => self.events(&new.events, new.gap),
            CareReply::Label(Label { name, code, pairing_qr, .. }) => {
                let [code, pairing_qr] = [code, pairing_qr].map(SecretText::expose);
                let lines = [("name", printable(name)), ("code", printable(code)), ("QR code", printable(pairing_qr))];
                let lines = lines.map(|(what, value)| format!("{what:<9}{value}"));
                self.result(&json!({ "name": name, "code": code, "pairing_qr": pairing_qr }), lines);
            }
        }
    }

    /// Events of network care, one for each line; a line before them if others can be lost.
    pub(crate) fn events(self, events: &[CareEvent], gap: bool) {
        if gap {
            self.result(&json!({ "gap": true }), ["Events are missing here: the device no longer has them.".into()]);
        }
        for CareEvent { id, level, message, action } in events {
            let (level, tone) = match level {
                EventLevel::Info => ("info", Tone::Quiet),
                EventLevel::Success => ("success", Tone::Good),
                EventLevel::Warning => ("warning", Tone::Warning),
                EventLevel::Error => ("error", Tone::Bad),
            };
            let phase = action.as_ref().map(|(_, phase)| match phase {
                EventPhase::Started => "started",
                EventPhase::Completed => "completed",
                EventPhase::Failed => "failed",
            });
            let action = action.as_ref().map(|(name, _)| name);
            let json = json!({ "id": id, "level": level, "message": message, "action": action, "phase": phase });
            let line =
                format!("{}  {}  {}", printable(id), self.style.paint(tone, format_args!("{level:<7}")), printable(message));
            self.result(&json, [line]);
        }
    }

    /// An event of an attempt.
    pub(crate) fn follow(self, progress: Progress<'_>) {
        self.line(match progress {
            Progress::Accepted => self.style.paint(Tone::Quiet, "The device has accepted the credentials."),
            Progress::Status(status) => self.progress(status.state, status.progress, &status.message),
            Progress::Lost => self.style.paint(Tone::Warning, "The link to the device was lost; reconnecting."),
            Progress::Back => self.style.paint(Tone::Good, "Connected again."),
        });
    }

    pub(crate) fn outcome(
        self,
        status: &StatusReport,
        credentials: &Credentials,
        kid: Option<&str>,
        traffic: Traffic,
        seconds: f64,
    ) {
        let node_id = credentials.node_id.as_str();
        let mut json = details(status);
        json["outcome"] = status.state.name().into();
        json["node_id"] = node_id.into();
        json["kid"] = kid.into();
        json["round_trips"] = traffic.round_trips.into();
        json["bytes_sent"] = traffic.sent.into();
        json["bytes_received"] = traffic.received.into();
        json["seconds"] = seconds.into();
        let line = if let Some(failure) = &status.failure {
            self.fault(failure.fault)
        } else {
            let done = self.style.paint(Tone::Good, "Provisioned.");
            format!("{done} The device is {node_id} ({seconds:.1} s, {} round trips).", traffic.round_trips)
        };
        let limited = status.limited_connectivity.then(|| {
            self.style
                .paint(Tone::Warning, "The network keeps the device from the internet: a portal, or a router without a line.")
        });
        let claimed = match (&status.failure, &credentials.provision_code, &status.appliance_id) {
            (None, Some(_), Some(appliance_id)) => Some(format!("The code was claimed: it is {}.", printable(appliance_id))),
            (None, Some(_), None) => {
                let text = "The device did not report the provision code: its software does not support such codes, or it was restarted.";
                Some(self.style.paint(Tone::Warning, text))
            }
            _ => None,
        };
        let next = status.next_url.as_ref().map(|url| format!("Continue at {}", url.as_str()));
        self.result(&json, std::iter::once(line).chain(claimed).chain(limited).chain(next));
    }

    /// A failure: with `--json` on standard output, otherwise on standard error.
    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            let error = json!({
                "fault": failure.fault.map(Fault::name), "message": failure.text, "retry_after_seconds": failure.retry_after,
            });
            return print(&json!({ "error": error }).to_string());
        }
        let style = Style::of(&io::stderr());
        let name = failure.fault.map(|fault| format!("{}: ", fault.name())).unwrap_or_default();
        let again = failure.retry_after.map(|seconds| format!("Try again in {seconds} seconds.\n")).unwrap_or_default();
        let text = format!("{} {name}{}\n{again}", style.paint(Tone::Bad, "error:"), failure.text);
        // If standard error is closed, there is no way to report that.
        let _unread = io::stderr().write_all(text.as_bytes());
    }

    fn fault(self, fault: Fault) -> String {
        format!("{} {}", self.style.paint(Tone::Bad, format_args!("{}:", fault.name())), fault.text())
    }

    fn progress(self, state: State, percent: u8, message: &str) -> String {
        let tone = match state {
            State::Provisioned | State::Online => Tone::Good,
            State::Error => Tone::Bad,
            _ => Tone::Strong,
        };
        let full = usize::from(percent.min(100)) / 5;
        let bar = format!("{}{}", "█".repeat(full), "░".repeat(20 - full));
        format!("{bar} {percent:>3} %  {}  {}", self.style.paint(tone, format_args!("{:<11}", state.name())), printable(message))
    }
}

const fn recovery(recovery: RecoveryState) -> &'static str {
    match recovery {
        RecoveryState::Ready => "ready",
        RecoveryState::Disabled => "disabled",
        RecoveryState::Cooldown => "cooldown",
        RecoveryState::InProgress => "in_progress",
    }
}

const fn verdict(verdict: LayerVerdict) -> &'static str {
    match verdict {
        LayerVerdict::Ok => "ok",
        LayerVerdict::Failed => "failed",
        LayerVerdict::NotReached => "not_reached",
    }
}

fn details(status: &StatusReport) -> Value {
    json!({
        "state": status.state.name(), "progress_percent": status.progress, "message": status.message,
        "fault": status.failure.as_ref().map(|failure| failure.fault.name()),
        "registration_status": status.failure.as_ref().and_then(|failure| failure.registration_status),
        "retryable": status.retryable, "request_id": status.request_id,
        "ssid": status.ssid.as_ref().map(ToString::to_string), "limited_connectivity": status.limited_connectivity,
        "appliance_id": status.appliance_id, "next_url": status.next_url.as_ref().map(CommandCenterUrl::as_str),
    })
}

fn print(line: &str) {
    // The reader may have closed the pipe, as `head` does.
    let _unread = writeln!(io::stdout(), "{line}");
}
