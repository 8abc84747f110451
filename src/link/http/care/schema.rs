//! The bodies of answers, with the names and the order of the existing system.
//!
//! A key whose value is unknown is left out, and a list is never null.

use std::time::{SystemTime, UNIX_EPOCH};

use qrcode::{Color, QrCode};
use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::care::events::{Detail, Event, Kind};
use crate::care::port::{self, Saved, Seen};
use crate::label::pairing_text;
use crate::link::http::schema::security;
use provisioning_core::care::condition::Condition;
use provisioning_core::care::diagnosis::{Address, Association, Evidence, Finding, Gateway, Layer, Radio, Verdict, diagnose};
use provisioning_core::care::recovery::{Lock, Outcome};

#[derive(Serialize)]
pub(super) struct Done {
    pub(super) ok: bool,
}

#[derive(Serialize)]
pub(super) struct Failure<'a> {
    pub(super) error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct InStatus<'a> {
    pub(super) status: Status<'a>,
}

#[derive(Serialize)]
pub(super) struct InNetworks<N> {
    pub(super) networks: Vec<N>,
}

#[derive(Serialize)]
pub(super) struct InDiagnostics {
    pub(super) diagnostics: Diagnostics,
}

#[derive(Serialize)]
pub(super) struct Tested {
    pub(super) connected: bool,
    pub(super) diagnostics: Diagnostics,
}

/// A network in range.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SeenNetwork {
    ssid: String,
    signal: u8,
    security: &'static str,
    in_use: bool,
}

impl From<&Seen> for SeenNetwork {
    fn from(seen: &Seen) -> Self {
        let security = security(seen.security, "open");
        Self { ssid: seen.ssid.to_string(), signal: seen.signal.min(100), security, in_use: seen.in_use }
    }
}

/// A saved network.
#[derive(Serialize)]
pub(super) struct SavedNetwork<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'static str,
    autoconnect: bool,
    active: bool,
}

impl<'a> From<&'a Saved> for SavedNetwork<'a> {
    fn from(saved: &'a Saved) -> Self {
        Self {
            name: &saved.name,
            uuid: saved.uuid.as_deref(),
            kind: "802-11-wireless",
            autoconnect: saved.autoconnect,
            active: saved.active,
        }
    }
}

/// The pairing code.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PairingCode<'a> {
    code: &'a str,
    device_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    void: Option<String>,
}

impl<'a> From<&'a port::PairingCode> for PairingCode<'a> {
    fn from(pairing: &'a port::PairingCode) -> Self {
        Self { code: pairing.code.expose(), device_id: &pairing.device_id, void: None }
    }
}

impl<'a> PairingCode<'a> {
    /// After a renewal: also what no longer works.
    pub(super) fn renewed(pairing: &'a port::PairingCode) -> Self {
        Self { void: Some(pairing.void_label()), ..Self::from(pairing) }
    }
}

/// What the label shows for pairing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Label<'a> {
    name: &'a str,
    code: &'a str,
    pairing_qr: Zeroizing<String>,
    /// The QR code of that text, a text for each row: 1 is a dark module.
    modules: Vec<Zeroizing<String>>,
}

impl<'a> From<&'a port::Label> for Label<'a> {
    fn from(port::Label { name, pairing }: &'a port::Label) -> Self {
        let pairing_qr = Zeroizing::new(pairing_text(name, &pairing.secret));
        let row = |row: &[Color]| Zeroizing::new(row.iter().map(|color| color.select('1', '0')).collect());
        // Every name of a node fits; without the code there is still its text.
        let code = QrCode::new(pairing_qr.as_str()).ok();
        let modules = code.map_or_else(Vec::new, |code| code.to_colors().chunks(code.width()).map(row).collect());
        Self { name, code: pairing.code.expose(), pairing_qr, modules }
    }
}

/// The state of the device.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status<'a> {
    mode: &'static str,
    hostname: &'a str,
    network: Network<'a>,
    runtime: Runtime,
    recovery: Recovery<'a>,
    restart_pending: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_restart_reason: Option<&'a str>,
    services: Services,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the existing system's status; goes when that changes")]
struct Network<'a> {
    provisioned: bool,
    connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_ssid: Option<String>,
    hotspot_ssid: &'a str,
    hotspot_profile: &'a str,
    interface_name: &'a str,
    ap_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_connection: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    internet_reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a str>,
}

#[derive(Serialize)]
struct Runtime {
    phase: &'static str,
    health: &'static str,
    summary: &'static str,
    warnings: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recovery<'a> {
    enabled: bool,
    failure_threshold: u32,
    cooldown_ms: u64,
    degraded_network_streak: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_recovered_at: Option<u64>,
    last_result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown_until: Option<u64>,
    active_lock: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_reason: Option<&'a str>,
    in_cooldown: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Services {
    /// Always: the node controls NetworkManager without that program.
    nmcli_available: bool,
    network_manager_available: bool,
}

impl<'a> From<&'a port::Status> for Status<'a> {
    fn from(status: &'a port::Status) -> Self {
        let Condition { phase, health, summary, warnings } = status.condition();
        let network = &status.network;
        let recovery = &status.recovery;
        Self {
            mode: status.mode.name(),
            hostname: &status.hostname,
            network: Network {
                provisioned: network.provisioned,
                connected: network.connected,
                last_ssid: network.last_ssid.as_ref().map(ToString::to_string),
                hotspot_ssid: &network.hotspot_ssid,
                hotspot_profile: &network.hotspot_profile,
                interface_name: &network.interface,
                ap_enabled: network.hotspot_open,
                active_connection: network.active_connection.as_deref(),
                ipv4_address: network.ipv4_address.map(|address| address.to_string()),
                gateway: network.gateway.map(|address| address.to_string()),
                internet_reachable: network.internet,
                last_error: network.last_error.as_deref(),
            },
            runtime: Runtime { phase: phase.name(), health: health.name(), summary, warnings },
            recovery: Recovery {
                enabled: recovery.enabled,
                failure_threshold: recovery.threshold,
                cooldown_ms: u64::try_from(recovery.cooldown.as_millis()).unwrap_or(u64::MAX),
                degraded_network_streak: recovery.bad_checks,
                last_attempt_at: recovery.last_attempt.map(milliseconds),
                last_recovered_at: recovery.last_recovered.map(milliseconds),
                last_result: result(recovery.outcome),
                cooldown_until: recovery.cooldown_until.map(milliseconds),
                active_lock: lock(recovery.lock),
                last_reason: recovery.last_reason.as_deref(),
                in_cooldown: recovery.lock == Lock::Cooldown,
            },
            restart_pending: status.restart_pending,
            last_restart_reason: status.last_restart_reason.as_deref(),
            services: Services { nmcli_available: true, network_manager_available: status.network_manager },
        }
    }
}

const fn result(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Idle => "idle",
        Outcome::Pending => "pending",
        Outcome::HotspotRestored => "hotspot_restored",
        Outcome::RejoinSucceeded => "rejoin_succeeded",
        Outcome::RejoinFailed => "rejoin_failed",
        Outcome::Failed => "failed",
    }
}

const fn lock(lock: Lock) -> &'static str {
    match lock {
        Lock::None => "none",
        Lock::Cooldown => "cooldown",
        Lock::Recovery => "recovery",
    }
}

/// Milliseconds since 1970; 0 for a clock that is before that.
pub(super) fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What is wrong with the network.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Diagnostics {
    connected: bool,
    internet_reachable: bool,
    dns_resolved: bool,
    nmcli_state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<String>,
    /// One line for each layer, from the bottom.
    details: Vec<String>,
    /// The same for programs. The existing system has no such key.
    layers: Vec<LayerFinding>,
}

#[derive(Serialize)]
struct LayerFinding {
    layer: &'static str,
    verdict: &'static str,
    evidence: String,
    advice: Option<String>,
}

impl Diagnostics {
    pub(super) const fn internet_reachable(&self) -> bool {
        self.internet_reachable
    }
}

impl From<&Evidence> for Diagnostics {
    fn from(evidence: &Evidence) -> Self {
        let findings = diagnose(evidence);
        let is_ok = |layer| findings.iter().any(|finding| finding.layer == layer && finding.verdict == Verdict::Ok);
        let connected = is_ok(Layer::Association) && is_ok(Layer::Address);
        Self {
            connected,
            internet_reachable: is_ok(Layer::Internet),
            dns_resolved: is_ok(Layer::Dns),
            nmcli_state: state(evidence, connected, is_ok(Layer::Internet)),
            active_connection: match &evidence.association {
                Association::Joined { network: name, .. } | Association::Cable(name) => Some(name.clone()),
                Association::Joining(_) | Association::Hotspot | Association::None => None,
            },
            ipv4_address: match &evidence.address {
                Address::Assigned(address) | Address::LinkLocal(address) => Some(address.clone()),
                Address::None => None,
            },
            gateway: match &evidence.gateway {
                Gateway::Answers(address, _) | Gateway::Silent(address) => Some(address.clone()),
                Gateway::None => None,
            },
            details: findings.iter().map(line).collect(),
            layers: findings.into_iter().map(LayerFinding::from).collect(),
        }
    }
}

impl From<Finding> for LayerFinding {
    fn from(Finding { layer, verdict, evidence, advice }: Finding) -> Self {
        Self { layer: layer.name(), verdict: verdict.name(), evidence, advice: advice.map(Into::into) }
    }
}

fn line(finding: &Finding) -> String {
    let advice = finding.advice.as_ref().map(|advice| format!(". {advice}")).unwrap_or_default();
    let name = finding.layer.name().replace('_', " ");
    format!("{name}: {}: {}{advice}", finding.verdict.name().replace('_', " "), finding.evidence)
}

/// The state in the words of NetworkManager's command line.
const fn state(evidence: &Evidence, connected: bool, internet: bool) -> &'static str {
    match (&evidence.radio, &evidence.association) {
        (Radio::ServiceAbsent | Radio::ServiceSilent(_), _) => "unknown",
        (_, Association::Joining(_)) => "connecting",
        (_, Association::Joined { .. } | Association::Cable(_)) if connected && internet => "connected",
        (_, Association::Joined { .. } | Association::Cable(_)) if connected => "connected (site only)",
        (_, Association::Joined { .. } | Association::Cable(_) | Association::Hotspot) => "connected (local only)",
        (_, Association::None) => "disconnected",
    }
}

/// An event.
#[derive(Serialize)]
pub(super) struct DeviceEvent<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    level: &'static str,
    message: &'a str,
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty", serialize_with = "details")]
    details: &'a [(&'static str, Detail)],
}

impl<'a> From<&'a Event> for DeviceEvent<'a> {
    fn from(event: &'a Event) -> Self {
        let news = &event.news;
        let (kind, action, phase) = match news.kind {
            Kind::Status => ("status", None, None),
            Kind::Action(action, phase) => ("action", Some(action.name()), Some(phase.name())),
            Kind::System => ("system", None, None),
        };
        Self {
            id: &event.id,
            kind,
            level: news.level.name(),
            message: &news.message,
            timestamp: milliseconds(event.at),
            action,
            phase,
            status: news.status.as_deref().map(Status::from),
            details: &news.details,
        }
    }
}

/// The details as an object.
fn details<S: Serializer>(details: &[(&'static str, Detail)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Value<'a> {
        Text(&'a str),
        Number(u64),
        Flag(bool),
    }
    serializer.collect_map(details.iter().map(|(name, detail)| {
        let value = match detail {
            Detail::Text(text) => Value::Text(text),
            Detail::Number(number) => Value::Number(*number),
            Detail::Flag(flag) => Value::Flag(*flag),
        };
        (*name, value)
    }))
}
