//! The causes of failures, for the log, and their faults for the phone.

use std::time::Duration;

use thiserror::Error;

use super::enterprise::LoginFailure;
use super::outcome::{Ended, Mode, Sighting};
use super::supplicant::Refusal;
use provisioning_core::domain::{EapMethod, Security};
use provisioning_core::fault::Fault;

/// A method, and the polkit action that a caller other than root needs for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub name: &'static str,
    pub action: &'static str,
}

/// The cause of a failure.
#[derive(Debug, Error)]
pub(super) enum Cause {
    #[error("connecting to the system bus")]
    Bus(#[source] zbus::Error),
    #[error("the connection to the system bus is lost")]
    BusLost,
    #[error("NetworkManager is not running: start NetworkManager.service")]
    Absent,
    #[error("NetworkManager stopped during the operation")]
    Exited,
    #[error("{call} was not answered within {} s", after.as_secs())]
    Late { call: &'static str, after: Duration },
    #[error("{call} is not permitted: it needs the polkit action {action}")]
    Denied { call: &'static str, action: &'static str, source: Box<zbus::Error> },
    #[error("calling {call}")]
    Call { call: &'static str, source: Box<zbus::Error> },
    #[error("the answer of {call} has no usable {member}")]
    Answer { call: &'static str, member: &'static str },
    #[error("there is no Wi-Fi device")]
    NoDevice,
    #[error("there is no Wi-Fi device {0}")]
    NoSuchDevice(String),
    #[error("NetworkManager does not manage the Wi-Fi device {0}: see its unmanaged-devices setting")]
    Unmanaged(String),
    #[error("the Wi-Fi device {0} has no firmware: install its firmware package")]
    NoFirmware(String),
    #[error(
        "the radio is switched off by software: set the Wi-Fi country if there is none (on Raspberry Pi OS: raspi-config), then run `rfkill unblock wifi`"
    )]
    SoftBlocked { needs_country: bool },
    #[error("switching the radio on")]
    Lift(#[source] std::io::Error),
    #[error("changing a setting of the supplicant")]
    Helper(#[source] std::io::Error),
    #[error("the radio is switched off by a hardware switch")]
    HardBlocked,
    #[error("the Wi-Fi device {0} is not available: is wpa_supplicant installed, and a country set?")]
    Unavailable(String),
    #[error("{ended}{refusal}")]
    Ended { ended: Ended, mode: Mode, sighting: Option<Sighting>, refusal: Refusal },
    #[error("NetworkManager's server for port {port} did not start, because another program uses the port: {ended}")]
    PortTaken { port: u16, ended: Ended },
    #[error("another program took the radio for another connection")]
    Superseded,
    #[error("the connection was not activated within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("a fresh list of networks does not contain it")]
    NotInList,
    #[error("its security is {0:?}")]
    Security(Security),
    #[error("the network takes no passphrase of this length, or it has control characters")]
    Passphrase,
    #[error("the network takes passwords only, and a key of 64 digits was given")]
    KeyForWpa3,
    #[error("the network needs WPA3, which this radio or its software does not support")]
    NoWpa3,
    #[error("the network takes no login")]
    NotEnterprise,
    #[error("the login with {method:?} has failed: {failure:?}")]
    Login { method: EapMethod, failure: LoginFailure },
    #[error("the PKCS#12 does not open with its password")]
    PrivateKey,
    #[error("the server of the network did not answer the login: {0}")]
    NoLogin(Ended),
    #[error("writing the certificates of the network")]
    Certificates(#[source] std::io::Error),
    #[error("NetworkManager drives the radio with iwd: set wifi.backend=wpa_supplicant in NetworkManager.conf")]
    Iwd,
    #[error("the network is protected and no passphrase was given")]
    NoPassphrase,
    #[error("the network is open, and a passphrase was given: an open network of that name may be an impostor")]
    Open,
    #[error("the Wi-Fi device {0} has no access point mode")]
    NoAccessPointMode(String),
    #[error("the name of an access point must have 1 to 32 bytes")]
    Name,
    #[error("the scan did not complete within {} s, and there is no earlier list", .0.as_secs())]
    ScanSlow(Duration),
    #[error("there is no joined network to store")]
    NothingJoined,
    #[error("no such network is stored")]
    NotStored,
    #[error("the open access point belongs to another program")]
    ForeignAccessPoint,
    #[error("generating the UUID of a profile")]
    Random(#[source] getrandom::Error),
    #[error("the request was abandoned")]
    Abandoned,
    #[error("the radio's task has ended")]
    Stopped,
}

impl Cause {
    /// The fault for the phone.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::NoDevice | Self::NoSuchDevice(_) | Self::Unmanaged(_) | Self::NoFirmware(_) => Fault::AdapterGone,
            Self::SoftBlocked { needs_country: true } => Fault::CountryMissing,
            Self::SoftBlocked { .. } | Self::HardBlocked | Self::Lift(_) | Self::Unavailable(_) => Fault::RadioBlocked,
            Self::Ended { ended, mode, sighting, refusal } => ended.fault(*mode, *sighting, *refusal),
            Self::Superseded | Self::NoLogin(_) => Fault::AssociationFailed,
            Self::Slow(_) => Fault::NetworkTimeout,
            Self::NotInList | Self::NotStored => Fault::NetworkNotFound,
            Self::Security(Security::Wep) => Fault::OutdatedSecurity,
            Self::Security(_) | Self::NoWpa3 => Fault::UnsupportedSecurity,
            Self::KeyForWpa3 => Fault::Wpa3NeedsPassword,
            Self::NotEnterprise => Fault::NotEnterprise,
            Self::Login { method, failure } => failure.fault(*method),
            Self::PrivateKey => Fault::InvalidCertificate,
            Self::Certificates(_) => Fault::StorageFailed,
            Self::Passphrase | Self::NoPassphrase => Fault::InvalidPassphrase,
            Self::Open => Fault::WrongPassword,
            Self::Name => Fault::InvalidSsid,
            Self::ScanSlow(_) => Fault::ScanFailed,
            // The values are valid, so a refused property is one that this version of NetworkManager does not know.
            Self::Call { .. } if self.error_name().is_some_and(|name| REFUSED_SETTINGS.contains(&name)) => {
                Fault::UnsupportedSecurity
            }
            Self::Bus(_)
            | Self::BusLost
            | Self::Absent
            | Self::Exited
            | Self::Late { .. }
            | Self::Denied { .. }
            | Self::Call { .. }
            | Self::Answer { .. }
            | Self::Iwd
            | Self::Helper(_)
            | Self::PortTaken { .. }
            | Self::NoAccessPointMode(_)
            | Self::NothingJoined
            | Self::ForeignAccessPoint
            | Self::Random(_)
            | Self::Abandoned
            | Self::Stopped => Fault::NetworkUnavailable,
        }
    }

    /// Whether the software that drives the radio did not react.
    pub(super) const fn is_hung(&self) -> bool {
        match self {
            Self::Late { .. } | Self::Unavailable(_) | Self::ScanSlow(_) => true,
            Self::Ended { ended, .. } => ended.is_supplicants(),
            _ => false,
        }
    }

    /// The D-Bus name of the error answer, if zbus has no type for it.
    pub(super) fn error_name(&self) -> Option<&str> {
        match self {
            Self::Call { source, .. } | Self::Denied { source, .. } => error_name(source),
            _ => None,
        }
    }

    /// Whether the called object no longer exists.
    pub(super) fn is_missing_object(&self) -> bool {
        let Self::Call { source, .. } = self else { return false };
        let missing = |name: &str| {
            name == "org.freedesktop.NetworkManager.Settings.InvalidConnection" || name.ends_with(".UnknownConnection")
        };
        match &**source {
            zbus::Error::FDO(error) => matches!(**error, zbus::fdo::Error::UnknownObject(_) | zbus::fdo::Error::UnknownMethod(_)),
            source => error_name(source).is_some_and(missing),
        }
    }

    /// Whether NetworkManager was not there, or only in part, as while it restarts.
    pub(super) fn is_absence(&self) -> bool {
        match self {
            Self::BusLost | Self::Absent | Self::Exited => true,
            Self::Call { source, .. } => {
                let is_ended = matches!(&**source, zbus::Error::FDO(error) if matches!(
                    **error,
                    zbus::fdo::Error::NoReply(_) | zbus::fdo::Error::ServiceUnknown(_) | zbus::fdo::Error::NameHasNoOwner(_)
                ));
                is_ended || self.is_missing_object()
            }
            _ => false,
        }
    }

    /// Whether a second try may succeed.
    pub(super) fn is_worth_a_retry(&self) -> bool {
        let Self::Ended { mode: Mode::Station, ended, .. } = self else { return false };
        self.fault() == Fault::AssociationFailed || ended.is_silence()
    }

    /// The cause of a failed call; distinguishes missing permission.
    pub(super) fn of(call: Call, source: zbus::Error) -> Self {
        let denied = match &source {
            zbus::Error::FDO(error) => matches!(**error, zbus::fdo::Error::AccessDenied(_)),
            source => error_name(source).is_some_and(|name| name.ends_with(".PermissionDenied")),
        };
        let source = Box::new(source);
        if denied {
            Self::Denied { call: call.name, action: call.action, source }
        } else {
            Self::Call { call: call.name, source }
        }
    }
}

/// A setting that NetworkManager refuses.
const REFUSED_SETTINGS: [&str; 3] = [
    "org.freedesktop.NetworkManager.Settings.Connection.InvalidProperty",
    "org.freedesktop.NetworkManager.Settings.Connection.InvalidSetting",
    "org.freedesktop.NetworkManager.Settings.Connection.MissingProperty",
];

/// The D-Bus name of an error answer, if zbus has no type for it.
pub(in crate::network) fn error_name(error: &zbus::Error) -> Option<&str> {
    match error {
        zbus::Error::MethodError(name, ..) => Some(name.as_str()),
        _ => None,
    }
}
