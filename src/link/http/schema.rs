//! The JSON bodies of the API.
//!
//! The published schema is made from these types and their comments, and is the one that the phone apps were written
//! against. Responses may have further fields, never fewer.

use serde::Serialize;
use zeroize::Zeroizing;

use super::json::{Fields, Invalid};
use super::names::NetworkNames;
use crate::daemon::View;
use provisioning_core::domain::{self, CreatedAt, Security, Status};
use provisioning_core::fault::Fault;
use provisioning_core::machine::ClearedItem;

/// The node's identity and capabilities.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct NodeInfo {
    node_id: String,
    firmware_version: String,
    hardware: String,
    mac_address: String,
    #[cfg_attr(test, schema(required = false))]
    capabilities: Vec<String>,
    state: ProvisioningState,
    #[cfg_attr(test, schema(required = false))]
    previously_provisioned: bool,
}

/// The state of provisioning.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum ProvisioningState {
    ApMode,
    Connecting,
    Registering,
    Provisioned,
    Error,
}

/// A network in range.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct NetworkInfo {
    ssid: String,
    /// dBm.
    signal_strength: i8,
    security: &'static str,
}

/// The networks in range.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ScanNetworksResponse {
    #[cfg_attr(test, schema(required = false))]
    networks: Vec<NetworkInfo>,
}

/// A request to bring the node online and enroll it.
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ProvisionRequest {
    pub(super) wifi_ssid: String,
    #[cfg_attr(test, schema(value_type = String))]
    pub(super) wifi_password: Zeroizing<String>,
    pub(super) room: String,
    pub(super) command_center_url: String,
    pub(super) config_service_url: Option<String>,
    pub(super) household_id: String,
    pub(super) node_id: String,
    #[cfg_attr(test, schema(value_type = String))]
    pub(super) provisioning_token: Zeroizing<String>,
}

/// Whether the attempt has begun.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ProvisionResponse {
    pub(super) success: bool,
    pub(super) message: &'static str,
}

/// The status of an attempt.
#[derive(Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct ProvisionStatus {
    state: ProvisioningState,
    message: String,
    /// 0 to 100.
    #[cfg_attr(test, schema(required = false))]
    progress_percent: u8,
    error: Option<String>,
    /// `wifi_connect_failed`, `registration_failed`, `config_write_failed`, `credentials_save_failed` or `internal_error`.
    error_code: Option<&'static str>,
    /// The HTTP status with which the command center refused.
    registration_status: Option<u16>,
    /// After a failure: the next attempt may start.
    #[cfg_attr(test, schema(required = false))]
    retryable: bool,
    /// After a failure: the access point is open again.
    #[cfg_attr(test, schema(required = false))]
    hotspot_restored: bool,
}

/// The key that phone and node share for settings.
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct K2ProvisionRequest {
    pub(super) node_id: String,
    pub(super) kid: String,
    /// 32 bytes in base64.
    #[cfg_attr(test, schema(value_type = String))]
    pub(super) k2: Zeroizing<String>,
    #[cfg_attr(test, schema(value_type = String, format = DateTime))]
    pub(super) created_at: CreatedAt,
}

/// Whether the key is stored. All four are always there.
#[derive(Default, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct K2ProvisionResponse {
    pub(super) success: bool,
    pub(super) node_id: Option<String>,
    pub(super) kid: Option<String>,
    pub(super) error: Option<String>,
}

impl K2ProvisionResponse {
    /// The key was not stored.
    pub(super) fn refused(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }
}

/// The items that a factory reset has cleared.
#[derive(Default, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(super) struct FactoryResetResponse {
    pub(super) success: bool,
    #[cfg_attr(test, schema(required = false))]
    pub(super) cleared: Vec<&'static str>,
    pub(super) error: Option<String>,
}

impl FactoryResetResponse {
    /// Nothing was reset, or not everything.
    pub(super) fn failed(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }
}

impl From<domain::State> for ProvisioningState {
    fn from(state: domain::State) -> Self {
        match state {
            // The apps know no other state; the message says that the node is online.
            domain::State::ApMode | domain::State::Online => Self::ApMode,
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

impl From<&Status> for ProvisionStatus {
    fn from(status: &Status) -> Self {
        Self {
            state: status.state().into(),
            message: status.public_message(),
            progress_percent: status.progress(),
            error: error_text(status),
            error_code: error_code(status),
            registration_status: status.failure.as_ref().and_then(|failure| failure.registration_status),
            retryable: status.retryable,
            hotspot_restored: status.access_point_restored,
        }
    }
}

/// The text of the existing software for an attempt that failed, which clients compare as a prefix, and the reason.
fn error_text(status: &Status) -> Option<String> {
    let fault = status.failure.as_ref()?.fault;
    let reason = fault.text();
    Some(match fault {
        Fault::CommandCenterAnswer | Fault::ConfigurationFailed => reason.into(),
        _ if fault.is_provision_code() => reason.into(),
        _ if fault.is_registration() => format!("Failed to register with command center: {reason}"),
        _ if fault.is_network() => format!("Failed to connect to {}: {reason}", status.public_ssid()),
        _ => reason.into(),
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
    /// The list in its order, with the first network of each name; `open` is the word for a network without protection.
    pub(super) fn new(networks: &[domain::Network], open: &'static str) -> Self {
        let info = |(ssid, network): (String, &domain::Network)| NetworkInfo {
            ssid,
            signal_strength: network.signal,
            security: security(network.security, open),
        };
        Self { networks: NetworkNames::new(networks).shown().map(info).collect() }
    }
}

/// The words of `nmcli`, which the existing servers pass on; they differ for an open network.
pub(super) const fn security(security: Security, open: &'static str) -> &'static str {
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
    /// Parses a body. A text field without control characters is valid; the attempt reports the values that are not usable.
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
            room: plain(fields.line()),
            command_center_url: plain(fields.text()),
            config_service_url: fields.optional_text().map(plain),
            household_id: plain(fields.line()),
            node_id: plain(fields.line()),
            provisioning_token: fields.line(),
        };
        fields.end().map(|()| request)
    }
}

impl K2ProvisionRequest {
    /// Parses a body.
    pub(super) fn read(content_type: Option<&[u8]>, body: &[u8]) -> Result<Self, Invalid> {
        let mut fields = Fields::read(content_type, body, ["node_id", "kid", "k2", "created_at"])?;
        let (node_id, kid, k2) = (plain(fields.line()), plain(fields.line()), fields.text());
        let created_at = fields.date();
        fields.end()?;
        let created_at = created_at.expect("a missing or invalid date is a fault, and there are no faults");
        Ok(Self { node_id, kid, k2, created_at })
    }
}

/// A text that is not secret.
fn plain(mut text: Zeroizing<String>) -> String {
    std::mem::take(&mut *text)
}

#[cfg(test)]
mod tests {
    use super::*;

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
