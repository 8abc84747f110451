//! The causes of failures, for the log, and their faults for the phone.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;

use crate::files::FileError;
use crate::network;
use crate::network::nm::cause::error_name;
use crate::network::nm::enterprise::LoginFailure;
use provisioning_core::domain::EapMethod;
use provisioning_core::fault::Fault;

/// The cause of a failure.
#[derive(Debug, Error)]
pub(super) enum Cause {
    #[error("connecting to the system bus")]
    Bus(#[source] zbus::Error),
    #[error("the connection to the system bus is lost")]
    BusLost,
    #[error("wpa_supplicant is not on the bus: start wpa_supplicant.service, or `wpa_supplicant -u`")]
    Absent,
    #[error("{call} was not answered within {} s", after.as_secs())]
    Late { call: &'static str, after: Duration },
    #[error("{call} is not permitted: install the D-Bus policy of this backend, see docs/images.md")]
    Denied { call: &'static str, source: Box<zbus::Error> },
    #[error("calling {call}")]
    Call { call: &'static str, source: Box<zbus::Error> },
    #[error("NetworkManager manages {0}: set `backend` to networkmanager, or run `systemctl disable --now NetworkManager`")]
    Managed(String),
    #[error("there is no Wi-Fi device")]
    NoDevice,
    #[error("there is no Wi-Fi device {0}")]
    NoSuchDevice(String),
    #[error("the radio is switched off by software: set the Wi-Fi country if there is none, then run `rfkill unblock wifi`")]
    SoftBlocked { needs_country: bool },
    #[error("the radio is switched off by a hardware switch")]
    HardBlocked,
    #[error("switching the radio on")]
    Lift(#[source] io::Error),
    #[error("asking the helper for a change of the supplicant")]
    Helper(#[source] io::Error),
    #[error("changing the address of the interface")]
    Address(#[source] Errno),
    #[error("writing {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("{program} cannot be started")]
    Start { program: &'static str, source: io::Error },
    #[error("{program} has ended: {said}")]
    Ended { program: &'static str, said: String },
    #[error("{program} was not ready within {} s", after.as_secs())]
    NotReady { program: &'static str, after: Duration },
    #[error("nothing gives the interface an address: start systemd-networkd or dhcpcd, or install udhcpc")]
    NoClient,
    #[error("no address within {} s", .0.as_secs())]
    NoAddress(Duration),
    #[error("choosing the protection")]
    Protection(#[source] network::Error),
    #[error("the passphrase has control characters, or a length that WPA2 does not allow")]
    Passphrase,
    #[error("the network needs WPA3, which this radio or its software does not support")]
    NoWpa3,
    #[error("a fresh list of networks does not contain it")]
    NotInList,
    #[error("{0}")]
    Refused(String, Fault),
    #[error("the login with {method:?} has failed: {failure:?}")]
    Login { method: EapMethod, failure: LoginFailure },
    #[error("the server of the network did not answer the login: {0}")]
    NoLogin(String),
    #[error("writing the certificates of the network")]
    Certificates(#[source] io::Error),
    #[error("the name of an access point must have 1 to 32 bytes")]
    Name,
    #[error("the scan did not complete within {} s, and there is no earlier list", .0.as_secs())]
    ScanSlow(Duration),
    #[error("there is no joined network to store")]
    NothingJoined,
    #[error("no such network is stored")]
    NotStored,
    #[error("the stored networks")]
    Files(#[from] FileError),
    #[error("the request was abandoned, or the radio's task has ended")]
    Stopped,
}

impl Cause {
    /// The fault for the phone.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::NoDevice | Self::NoSuchDevice(_) => Fault::AdapterGone,
            Self::SoftBlocked { needs_country: true } => Fault::CountryMissing,
            Self::SoftBlocked { .. } | Self::HardBlocked | Self::Lift(_) => Fault::RadioBlocked,
            Self::NoAddress(_) | Self::NoClient => Fault::NoAddress,
            Self::Protection(error) => error.fault,
            Self::Passphrase => Fault::InvalidPassphrase,
            Self::NoWpa3 => Fault::UnsupportedSecurity,
            Self::NotInList | Self::NotStored => Fault::NetworkNotFound,
            Self::Refused(_, fault) => *fault,
            Self::Login { method, failure } => failure.fault(*method),
            Self::NoLogin(_) => Fault::AssociationFailed,
            Self::Name => Fault::InvalidSsid,
            Self::ScanSlow(_) => Fault::ScanFailed,
            Self::Files(_) | Self::Certificates(_) => Fault::StorageFailed,
            // The values are valid, so a refused property is one that this build of the supplicant does not know.
            Self::Call { call: "AddNetwork", .. } if self.error_name() == Some("fi.w1.wpa_supplicant1.InvalidArgs") => {
                Fault::UnsupportedSecurity
            }
            Self::Bus(_)
            | Self::BusLost
            | Self::Absent
            | Self::Managed(_)
            | Self::Late { .. }
            | Self::Denied { .. }
            | Self::Call { .. }
            | Self::Helper(_)
            | Self::Address(_)
            | Self::Write(..)
            | Self::Start { .. }
            | Self::Ended { .. }
            | Self::NotReady { .. }
            | Self::NothingJoined
            | Self::Stopped => Fault::NetworkUnavailable,
        }
    }

    /// Whether the software that drives the radio did not react.
    pub(super) const fn is_hung(&self) -> bool {
        matches!(self, Self::Late { .. } | Self::ScanSlow(_))
    }

    /// The cause of a failed call; distinguishes missing permission and a missing supplicant.
    pub(super) fn of(call: &'static str, source: zbus::Error) -> Self {
        use zbus::fdo::Error as Standard;
        if let zbus::Error::FDO(error) = &source {
            match **error {
                Standard::ServiceUnknown(_) | Standard::NameHasNoOwner(_) => return Self::Absent,
                Standard::AccessDenied(_) => return Self::Denied { call, source: Box::new(source) },
                _ => {}
            }
        }
        match error_name(&source) {
            Some("org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner") => Self::Absent,
            Some("org.freedesktop.DBus.Error.AccessDenied") => Self::Denied { call, source: Box::new(source) },
            _ => Self::Call { call, source: Box::new(source) },
        }
    }

    /// The D-Bus name of the error answer, if zbus has no type for it.
    pub(super) fn error_name(&self) -> Option<&str> {
        match self {
            Self::Call { source, .. } => error_name(source),
            _ => None,
        }
    }
}
