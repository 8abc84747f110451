//! NetworkManager's constants, from `nm-dbus-interface.h`.
//!
//! A newer NetworkManager may use newer values: an unlisted one becomes [`Other`](DeviceState::Other), not an error.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use tracing::info;

macro_rules! open_enum {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)*
            /// An unlisted value.
            Other(u32),
        }

        impl $name {
            /// Every listed value.
            #[cfg(test)]
            #[allow(dead_code, reason = "the tests iterate over some tables only; remove when they iterate over all")]
            pub(super) const LISTED: &[Self] = &[$(Self::$variant,)*];

            /// Its number on the bus.
            #[cfg(test)]
            pub(super) const fn number(self) -> u32 {
                match self {
                    $(Self::$variant => $number,)*
                    Self::Other(number) => number,
                }
            }
        }

        impl From<u32> for $name {
            fn from(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    number => {
                        log_once(stringify!($name), number);
                        Self::Other(number)
                    }
                }
            }
        }

        /// NetworkManager's name and the number, for the log.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str(concat!($text, " (", $number, ")")),)*
                    Self::Other(number) => write!(f, "({number})"),
                }
            }
        }
    };
}

open_enum! {
    /// The state of a device.
    DeviceState {
        Unknown = 0 "UNKNOWN",
        Unmanaged = 10 "UNMANAGED",
        Unavailable = 20 "UNAVAILABLE",
        Disconnected = 30 "DISCONNECTED",
        Prepare = 40 "PREPARE",
        Config = 50 "CONFIG",
        NeedAuth = 60 "NEED_AUTH",
        IpConfig = 70 "IP_CONFIG",
        IpCheck = 80 "IP_CHECK",
        Secondaries = 90 "SECONDARIES",
        Activated = 100 "ACTIVATED",
        Deactivating = 110 "DEACTIVATING",
        Failed = 120 "FAILED",
    }
}

open_enum! {
    /// The reason of a device's state; those of Wi-Fi devices.
    DeviceReason {
        None = 0 "NONE",
        Unknown = 1 "UNKNOWN",
        NowManaged = 2 "NOW_MANAGED",
        NowUnmanaged = 3 "NOW_UNMANAGED",
        ConfigFailed = 4 "CONFIG_FAILED",
        IpConfigUnavailable = 5 "IP_CONFIG_UNAVAILABLE",
        IpConfigExpired = 6 "IP_CONFIG_EXPIRED",
        NoSecrets = 7 "NO_SECRETS",
        SupplicantDisconnect = 8 "SUPPLICANT_DISCONNECT",
        SupplicantConfigFailed = 9 "SUPPLICANT_CONFIG_FAILED",
        SupplicantFailed = 10 "SUPPLICANT_FAILED",
        SupplicantTimeout = 11 "SUPPLICANT_TIMEOUT",
        DhcpStartFailed = 15 "DHCP_START_FAILED",
        DhcpError = 16 "DHCP_ERROR",
        DhcpFailed = 17 "DHCP_FAILED",
        SharedStartFailed = 18 "SHARED_START_FAILED",
        SharedFailed = 19 "SHARED_FAILED",
        FirmwareMissing = 35 "FIRMWARE_MISSING",
        Removed = 36 "REMOVED",
        Sleeping = 37 "SLEEPING",
        ConnectionRemoved = 38 "CONNECTION_REMOVED",
        UserRequested = 39 "USER_REQUESTED",
        Carrier = 40 "CARRIER",
        ConnectionAssumed = 41 "CONNECTION_ASSUMED",
        SupplicantAvailable = 42 "SUPPLICANT_AVAILABLE",
        DependencyFailed = 50 "DEPENDENCY_FAILED",
        SsidNotFound = 53 "SSID_NOT_FOUND",
        SecondaryConnectionFailed = 54 "SECONDARY_CONNECTION_FAILED",
        NewActivation = 60 "NEW_ACTIVATION",
        IpAddressDuplicate = 64 "IP_ADDRESS_DUPLICATE",
        IpMethodUnsupported = 65 "IP_METHOD_UNSUPPORTED",
        DeviceHandlerFailed = 68 "DEVICE_HANDLER_FAILED",
        NetworkingOff = 78 "NETWORKING_OFF",
    }
}

impl DeviceReason {
    /// Whether the device is removed or unmanaged. 69 to 77 are detailed reasons for unmanaged devices (1.48).
    pub(super) const fn is_gone(self) -> bool {
        matches!(self, Self::NowUnmanaged | Self::FirmwareMissing | Self::Removed | Self::Other(69..=77))
    }
}

open_enum! {
    /// The result of the connectivity check.
    Connectivity {
        Unknown = 0 "UNKNOWN",
        None = 1 "NONE",
        Portal = 2 "PORTAL",
        Limited = 3 "LIMITED",
        Full = 4 "FULL",
    }
}

/// `NM_DEVICE_TYPE_WIFI`, the only relevant one of over thirty types.
pub(super) const DEVICE_TYPE_WIFI: u32 = 2;
/// `NM_802_11_MODE_AP`.
pub(super) const MODE_ACCESS_POINT: u32 = 3;
/// `NM_WIFI_DEVICE_CAP_AP`.
pub(super) const CAPABLE_OF_ACCESS_POINT: u32 = 0x40;
/// `NM_WIFI_DEVICE_CAP_FREQ_5GHZ`.
pub(super) const CAPABLE_OF_5_GHZ: u32 = 0x400;
/// `NM_ACTIVE_CONNECTION_STATE_ACTIVATING`.
pub(super) const ACTIVE_ACTIVATING: u32 = 1;
/// `NM_ACTIVE_CONNECTION_STATE_ACTIVATED`.
pub(super) const ACTIVE_ACTIVATED: u32 = 2;
/// `NM_SETTINGS_CONNECTION_FLAG_VOLATILE`.
pub(super) const PROFILE_VOLATILE: u32 = 4;
/// `NM_SETTINGS_UPDATE2_FLAG_TO_DISK` and `NM_SETTINGS_ADD_CONNECTION2_FLAG_TO_DISK`.
pub(super) const TO_DISK: u32 = 0x1;

/// `NM_802_11_AP_FLAGS_PRIVACY`.
pub(in crate::network) const AP_PRIVACY: u32 = 0x1;
/// `NM_802_11_AP_SEC_PAIR_WEP40`, `_WEP104`, `_TKIP` and `_CCMP`.
pub(super) const AP_CIPHERS: u32 = 0xf;
/// `NM_802_11_AP_SEC_PAIR_TKIP`.
pub(in crate::network) const AP_PAIRWISE_TKIP: u32 = 0x4;
/// `NM_802_11_AP_SEC_PAIR_CCMP`.
pub(in crate::network) const AP_PAIRWISE_CCMP: u32 = 0x8;
/// Every `NM_802_11_AP_SEC_KEY_MGMT_…`.
pub(super) const AP_KEY_MANAGEMENT: u32 = AP_PSK | AP_802_1X | AP_SAE | AP_OWE | 0x1000 | AP_SUITE_B;
/// `NM_802_11_AP_SEC_KEY_MGMT_PSK`.
pub(in crate::network) const AP_PSK: u32 = 0x100;
/// `NM_802_11_AP_SEC_KEY_MGMT_802_1X`.
pub(in crate::network) const AP_802_1X: u32 = 0x200;
/// `NM_802_11_AP_SEC_KEY_MGMT_SAE`.
pub(in crate::network) const AP_SAE: u32 = 0x400;
/// `NM_802_11_AP_SEC_KEY_MGMT_OWE`.
pub(in crate::network) const AP_OWE: u32 = 0x800;
/// `NM_802_11_AP_SEC_KEY_MGMT_EAP_SUITE_B_192`.
pub(super) const AP_SUITE_B: u32 = 0x2000;

/// Logs an unlisted number once, because it shows that NetworkManager is newer than this list.
fn log_once(kind: &'static str, number: u32) {
    static LOGGED: Mutex<BTreeSet<(&str, u32)>> = Mutex::new(BTreeSet::new());
    if LOGGED.lock().unwrap_or_else(PoisonError::into_inner).insert((kind, number)) {
        info!(kind, number, "NetworkManager uses a value that is unknown here");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_value_reads_back() {
        for state in DeviceState::LISTED {
            assert_eq!(DeviceState::from(state.number()), *state);
        }
        for reason in DeviceReason::LISTED {
            assert_eq!(DeviceReason::from(reason.number()), *reason);
        }
    }

    #[test]
    fn an_unknown_value_is_kept_as_its_number() {
        assert_eq!(DeviceState::from(130), DeviceState::Other(130));
        assert_eq!(DeviceReason::from(4711).to_string(), "(4711)");
        assert_eq!(Connectivity::from(9).number(), 9);
    }

    #[test]
    fn a_reason_is_shown_as_networkmanager_writes_it() {
        assert_eq!(DeviceReason::SsidNotFound.to_string(), "SSID_NOT_FOUND (53)");
    }

    #[test]
    fn the_reasons_for_being_unmanaged_mean_that_the_device_is_gone() {
        assert!((69..=77).map(DeviceReason::from).all(DeviceReason::is_gone));
        assert!(!DeviceReason::from(68).is_gone());
        assert!(!DeviceReason::from(78).is_gone());
    }
}
