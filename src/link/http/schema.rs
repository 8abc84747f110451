//! The shapes of the JSON API, and the schema that is published of them.
//!
//! The schema is the one that the phone apps were written against. Live answers may have further fields, never fewer.

use std::sync::LazyLock;

use hyper::body::Bytes;
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};
use zeroize::Zeroizing;

use super::json::{Fields, Invalid};
use crate::daemon::View;
use provisioning_core::domain::{self, CreatedAt, Security, Status};
use provisioning_core::fault::Fault;
use provisioning_core::machine::ClearedItem;

/// What the node is.
#[derive(Serialize, ToSchema)]
pub(super) struct NodeInfo {
    node_id: String,
    firmware_version: String,
    hardware: String,
    mac_address: String,
    #[schema(required = false)]
    capabilities: Vec<String>,
    state: ProvisioningState,
    #[schema(required = false)]
    previously_provisioned: bool,
}

/// How far provisioning is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ProvisioningState {
    ApMode,
    Connecting,
    Registering,
    Provisioned,
    Error,
}

/// A network in range.
#[derive(Serialize, ToSchema)]
pub(super) struct NetworkInfo {
    ssid: String,
    /// dBm.
    signal_strength: i8,
    security: &'static str,
}

/// The networks in range.
#[derive(Serialize, ToSchema)]
pub(super) struct ScanNetworksResponse {
    #[schema(required = false)]
    networks: Vec<NetworkInfo>,
}

/// What brings the node online and enrolls it.
#[derive(ToSchema)]
pub(super) struct ProvisionRequest {
    pub(super) wifi_ssid: String,
    #[schema(value_type = String)]
    pub(super) wifi_password: Zeroizing<String>,
    pub(super) room: String,
    pub(super) command_center_url: String,
    pub(super) config_service_url: Option<String>,
    pub(super) household_id: String,
    pub(super) node_id: String,
    #[schema(value_type = String)]
    pub(super) provisioning_token: Zeroizing<String>,
}

/// Whether the attempt has begun.
#[derive(Serialize, ToSchema)]
pub(super) struct ProvisionResponse {
    pub(super) success: bool,
    pub(super) message: &'static str,
}

/// How an attempt stands.
#[derive(Serialize, ToSchema)]
pub(super) struct ProvisionStatus {
    state: ProvisioningState,
    message: String,
    /// 0 to 100.
    #[schema(required = false)]
    progress_percent: u8,
    error: Option<String>,
}

/// The live answer: what is published, and the fields of the existing software's later version.
#[derive(Serialize)]
pub(super) struct LiveStatus {
    #[serde(flatten)]
    published: ProvisionStatus,
    error_code: Option<&'static str>,
    registration_status: Option<u16>,
    retryable: bool,
    hotspot_restored: bool,
}

/// The key that phone and node share for settings.
#[derive(ToSchema)]
pub(super) struct K2ProvisionRequest {
    pub(super) node_id: String,
    pub(super) kid: String,
    /// 32 bytes in base64.
    #[schema(value_type = String)]
    pub(super) k2: Zeroizing<String>,
    #[schema(value_type = String, format = DateTime)]
    pub(super) created_at: CreatedAt,
}

/// Whether the key is stored. All four are always there.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct K2ProvisionResponse {
    pub(super) success: bool,
    pub(super) node_id: Option<String>,
    pub(super) kid: Option<String>,
    pub(super) error: Option<String>,
}

impl K2ProvisionResponse {
    /// The key is not stored, and why.
    pub(super) fn refused(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }
}

/// What a factory reset has cleared.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct FactoryResetResponse {
    pub(super) success: bool,
    #[schema(required = false)]
    pub(super) cleared: Vec<&'static str>,
    pub(super) error: Option<String>,
}

impl From<domain::State> for ProvisioningState {
    fn from(state: domain::State) -> Self {
        match state {
            domain::State::ApMode => Self::ApMode,
            domain::State::Connecting => Self::Connecting,
            domain::State::Registering => Self::Registering,
            domain::State::Provisioned => Self::Provisioned,
            domain::State::Error => Self::Error,
        }
    }
}

impl From<&View> for NodeInfo {
    fn from(View { info, identity, status, .. }: &View) -> Self {
        Self {
            node_id: identity.node_id.clone(),
            firmware_version: info.firmware_version.clone(),
            hardware: identity.hardware.clone(),
            mac_address: identity.mac_address.clone(),
            capabilities: info.capabilities.clone(),
            state: status.state().into(),
            previously_provisioned: info.previously_provisioned,
        }
    }
}

impl From<&Status> for LiveStatus {
    fn from(status: &Status) -> Self {
        Self {
            published: ProvisionStatus {
                state: status.state().into(),
                message: status.message(),
                progress_percent: status.progress(),
                error: error_text(status),
            },
            error_code: error_code(status),
            registration_status: status.failure.as_ref().and_then(|failure| failure.registration_status),
            retryable: status.retryable,
            hotspot_restored: status.access_point_restored,
        }
    }
}

/// One sentence of the existing software for an attempt that failed.
fn error_text(status: &Status) -> Option<String> {
    let fault = status.failure.as_ref()?.fault;
    Some(match fault {
        Fault::CommandCenterAnswer | Fault::ConfigurationFailed => fault.text().into(),
        _ if fault.is_provision_code() => fault.text().into(),
        _ if fault.is_registration() => "Failed to register with command center".into(),
        _ if fault.is_network() => format!("Failed to connect to {}", status.ssid.as_deref().unwrap_or_default()),
        _ => fault.text().into(),
    })
}

/// The error code of the existing software's later version.
const fn error_code(status: &Status) -> Option<&'static str> {
    let Some(failure) = &status.failure else { return None };
    Some(match failure.fault {
        Fault::ConfigurationFailed => "config_write_failed",
        Fault::StorageFailed => "credentials_save_failed",
        fault if fault.is_registration() => "registration_failed",
        fault if fault.is_network() => "wifi_connect_failed",
        _ => "internal_error",
    })
}

/// The API's name of what a factory reset has cleared.
pub const fn cleared_name(item: ClearedItem) -> &'static str {
    match item {
        ClearedItem::ProvisioningMarker => "provisioning_marker",
        ClearedItem::K2 => "k2_key",
        ClearedItem::WifiCredentials => "wifi_credentials",
        ClearedItem::NodeDatabase => "node_database",
        ClearedItem::DatabaseKey => "db_key",
        ClearedItem::ConfigurationCredentials => "config_credentials",
        ClearedItem::ApplianceConfiguration => "appliance_config",
    }
}

impl ScanNetworksResponse {
    /// The list in its order, with the first of each name; `open` is the word for a network without protection.
    pub(super) fn new(networks: &[domain::Network], open: &'static str) -> Self {
        let mut names = std::collections::HashSet::new();
        let first = networks.iter().filter(|network| names.insert(&network.ssid));
        let info = |network: &domain::Network| NetworkInfo {
            ssid: network.ssid.to_string(),
            signal_strength: network.signal,
            security: security(network.security, open),
        };
        Self { networks: first.map(info).collect() }
    }
}

/// The words of `nmcli`, which the existing server passes on.
const fn security(security: Security, open: &'static str) -> &'static str {
    match security {
        Security::Open => open,
        Security::Wep => "WEP",
        Security::Wpa => "WPA1",
        Security::Wpa2 => "WPA2",
        Security::Wpa2Wpa3 => "WPA2 WPA3",
        Security::Wpa3 => "WPA3",
        Security::Owe => "OWE",
        Security::Enterprise => "WPA2 802.1X",
    }
}

impl ProvisionRequest {
    /// Reads a body. Any text is taken for any field: what cannot work is told by the attempt.
    pub(super) fn read(content_type: Option<&[u8]>, body: &[u8]) -> Result<Self, Invalid> {
        let names = [
            "wifi_ssid",
            "wifi_password",
            "room",
            "command_center_url",
            "config_service_url",
            "household_id",
            "node_id",
            "provisioning_token",
        ];
        let mut fields = Fields::read(content_type, body, names)?;
        let request = Self {
            wifi_ssid: plain(fields.text()),
            wifi_password: fields.text(),
            room: plain(fields.text()),
            command_center_url: plain(fields.text()),
            config_service_url: fields.optional_text().map(plain),
            household_id: plain(fields.text()),
            node_id: plain(fields.text()),
            provisioning_token: fields.text(),
        };
        fields.end().map(|()| request)
    }
}

impl K2ProvisionRequest {
    /// Reads a body.
    pub(super) fn read(content_type: Option<&[u8]>, body: &[u8]) -> Result<Self, Invalid> {
        let mut fields = Fields::read(content_type, body, ["node_id", "kid", "k2", "created_at"])?;
        let (node_id, kid, k2) = (plain(fields.text()), plain(fields.text()), fields.text());
        let created_at = fields.date();
        fields.end()?;
        let created_at = created_at.expect("a date that is not there is a fault, and there is none");
        Ok(Self { node_id, kid, k2, created_at })
    }
}

/// A text that is no secret.
fn plain(mut text: Zeroizing<String>) -> String {
    std::mem::take(&mut *text)
}

/// The published schema, as JSON.
pub(super) fn document() -> Bytes {
    static DOCUMENT: LazyLock<Bytes> =
        LazyLock::new(|| Bytes::from(serde_json::to_vec(&Document::openapi()).expect("a schema is JSON")));
    DOCUMENT.clone()
}

/// The endpoints, for people.
pub(super) fn page() -> Bytes {
    static PAGE: LazyLock<Bytes> = LazyLock::new(|| {
        use std::fmt::Write as _;
        let mut page =
            String::from("<!doctype html><title>Jarvis Node Provisioning</title><h1>Jarvis Node Provisioning</h1><ul>");
        for (path, item) in Document::openapi().paths.paths {
            let (method, operation) = item.get.map_or(("POST", item.post), |get| ("GET", Some(get)));
            let summary = operation.and_then(|operation| operation.summary).unwrap_or_default();
            write!(page, "<li><code>{method} {path}</code> {summary}").expect("writing to a text does not fail");
        }
        page.push_str("</ul><p><a href=\"/openapi.json\">openapi.json</a>");
        Bytes::from(page)
    });
    PAGE.clone()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Jarvis Node Provisioning", version = "1.0.0", description = "", license(name = "MIT OR Apache-2.0")),
    paths(paths::info, paths::scan_networks, paths::status, paths::provision, paths::provision_k2, paths::factory_reset)
)]
struct Document;

/// The endpoints of the JSON API, as far as they are published; `routes` answers them.
mod paths {
    #![allow(dead_code, reason = "the derivation of the schema wants a function for each path, and reads only what is above it")]

    use super::{
        FactoryResetResponse, K2ProvisionRequest, K2ProvisionResponse, NodeInfo, ProvisionRequest, ProvisionResponse,
        ProvisionStatus, ScanNetworksResponse,
    };

    /// What the node is.
    #[utoipa::path(get, tag = "Provisioning", path = "/api/v1/info", responses((status = 200, body = NodeInfo)))]
    pub(super) const fn info() {}

    /// The networks in range.
    #[utoipa::path(get, tag = "Provisioning", path = "/api/v1/scan-networks", responses((status = 200, body = ScanNetworksResponse)))]
    pub(super) const fn scan_networks() {}

    /// How provisioning stands.
    #[utoipa::path(get, tag = "Provisioning", path = "/api/v1/status", responses((status = 200, body = ProvisionStatus)))]
    pub(super) const fn status() {}

    /// Bring the node online and enroll it.
    #[utoipa::path(post, tag = "Provisioning", path = "/api/v1/provision", request_body = ProvisionRequest, responses((status = 200, body = ProvisionResponse)))]
    pub(super) const fn provision() {}

    /// Hand over the settings key.
    #[utoipa::path(post, tag = "Provisioning", path = "/api/v1/provision/k2", request_body = K2ProvisionRequest, responses((status = 200, body = K2ProvisionResponse)))]
    pub(super) const fn provision_k2() {}

    /// Forget everything that the owner gave.
    #[utoipa::path(post, tag = "Provisioning", path = "/api/v1/factory-reset", responses((status = 200, body = FactoryResetResponse)))]
    pub(super) const fn factory_reset() {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn published() -> serde_json::Value {
        serde_json::from_slice(&document()).expect("the schema is JSON")
    }

    #[test]
    fn the_published_schema_is_the_one_that_the_apps_were_written_against() {
        let document = published();
        assert_eq!(document["info"]["title"], "Jarvis Node Provisioning");
        assert_eq!(document["info"]["version"], "1.0.0");
        assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
        let schemas = &document["components"]["schemas"];
        for (name, required, optional) in [
            ("NodeInfo", "node_id firmware_version hardware mac_address state", "capabilities previously_provisioned"),
            ("NetworkInfo", "ssid signal_strength security", ""),
            ("ScanNetworksResponse", "", "networks"),
            (
                "ProvisionRequest",
                "wifi_ssid wifi_password room command_center_url household_id node_id provisioning_token",
                "config_service_url",
            ),
            ("ProvisionResponse", "success message", ""),
            ("ProvisionStatus", "state message", "progress_percent error"),
            ("K2ProvisionRequest", "node_id kid k2 created_at", ""),
            ("K2ProvisionResponse", "success", "node_id kid error"),
        ] {
            let required: BTreeSet<&str> = required.split_whitespace().collect();
            let all: BTreeSet<&str> = required.iter().copied().chain(optional.split_whitespace()).collect();
            let schema = &schemas[name];
            let listed: BTreeSet<&str> =
                schema["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
            let properties: BTreeSet<&str> =
                schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            assert_eq!(listed, required, "{name}");
            assert_eq!(properties, all, "{name}");
        }
        assert_eq!(
            schemas["ProvisioningState"]["enum"],
            serde_json::json!(["AP_MODE", "CONNECTING", "REGISTERING", "PROVISIONED", "ERROR"])
        );
    }

    #[test]
    fn every_endpoint_of_the_json_api_is_published() {
        let paths = published();
        let paths: Vec<&str> = paths["paths"].as_object().into_iter().flatten().map(|(path, _)| path.as_str()).collect();
        for path in ["info", "scan-networks", "status", "provision", "provision/k2", "factory-reset"] {
            assert!(paths.contains(&format!("/api/v1/{path}").as_str()), "{path}");
        }
    }

    #[test]
    fn networks_keep_their_order_and_the_first_of_a_name() {
        let network = |ssid: &str, signal, security| domain::Network {
            ssid: domain::Ssid::try_from(ssid).expect("a valid name"),
            signal,
            security,
            frequency: 2412,
        };
        let list = [network("b", -40, Security::Wpa2), network("a", -30, Security::Open), network("b", -20, Security::Wpa3)];
        let shown = serde_json::to_value(ScanNetworksResponse::new(&list, "OPEN")).expect("JSON");
        assert_eq!(
            shown,
            serde_json::json!({"networks": [
                {"ssid": "b", "signal_strength": -40, "security": "WPA2"},
                {"ssid": "a", "signal_strength": -30, "security": "OPEN"},
            ]})
        );
    }
}
