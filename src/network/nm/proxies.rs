//! The called members of NetworkManager's interfaces, transcribed from its introspection, two calls of its supplicant, and one
//! of systemd.
//! Their results are interpreted elsewhere.
//!
//! Properties are read as a set with `org.freedesktop.DBus.Properties.GetAll`, and signals through match rules, so
//! neither is here.

use std::collections::HashMap;

use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

/// A profile that is sent, `a{sa{sv}}`.
pub(super) type Profile<'a> = HashMap<&'a str, HashMap<&'a str, Variant<'a>>>;

/// A profile that is received, `a{sa{sv}}`; without secrets.
pub(super) type StoredProfile = HashMap<String, HashMap<String, OwnedVariant>>;

/// Options of a call, `a{sv}`.
pub(super) type Options<'a> = HashMap<&'a str, Variant<'a>>;

/// Additional results of a call, `a{sv}`.
pub(super) type Extra = HashMap<String, OwnedVariant>;

#[zbus::proxy(
    interface = "org.freedesktop.NetworkManager",
    default_service = "org.freedesktop.NetworkManager",
    default_path = "/org/freedesktop/NetworkManager"
)]
pub(super) trait Service {
    fn get_devices(&self) -> zbus::Result<Vec<OwnedObjectPath>>;

    fn activate_connection(
        &self,
        connection: &ObjectPath<'_>,
        device: &ObjectPath<'_>,
        specific_object: &ObjectPath<'_>,
    ) -> zbus::Result<OwnedObjectPath>;

    /// Since 1.16. Returns the profile, the active connection and additional results, which are empty in all versions so far.
    #[zbus(name = "AddAndActivateConnection2")]
    fn add_and_activate_connection2(
        &self,
        connection: &Profile<'_>,
        device: &ObjectPath<'_>,
        specific_object: &ObjectPath<'_>,
        options: &Options<'_>,
    ) -> zbus::Result<(OwnedObjectPath, OwnedObjectPath, Extra)>;

    fn check_connectivity(&self) -> zbus::Result<u32>;
}

#[zbus::proxy(
    interface = "org.freedesktop.NetworkManager.Device.Wireless",
    default_service = "org.freedesktop.NetworkManager",
    assume_defaults = false
)]
pub(super) trait Wireless {
    fn get_all_access_points(&self) -> zbus::Result<Vec<OwnedObjectPath>>;

    /// The option `ssids`, `aay`, scans for names that are not broadcast.
    fn request_scan(&self, options: &Options<'_>) -> zbus::Result<()>;
}

#[zbus::proxy(
    interface = "org.freedesktop.NetworkManager.Settings",
    default_service = "org.freedesktop.NetworkManager",
    default_path = "/org/freedesktop/NetworkManager/Settings"
)]
pub(super) trait Settings {
    fn list_connections(&self) -> zbus::Result<Vec<OwnedObjectPath>>;

    fn get_connection_by_uuid(&self, uuid: &str) -> zbus::Result<OwnedObjectPath>;

    /// Since 1.20.
    #[zbus(name = "AddConnection2")]
    fn add_connection2(&self, settings: &Profile<'_>, flags: u32, args: &Options<'_>) -> zbus::Result<(OwnedObjectPath, Extra)>;
}

#[zbus::proxy(
    interface = "org.freedesktop.NetworkManager.Settings.Connection",
    default_service = "org.freedesktop.NetworkManager",
    assume_defaults = false
)]
pub(super) trait Connection {
    fn get_settings(&self) -> zbus::Result<StoredProfile>;

    /// Since 1.12. An empty profile keeps the current settings, including secrets.
    fn update2(&self, settings: &Profile<'_>, flags: u32, args: &Options<'_>) -> zbus::Result<Extra>;

    fn delete(&self) -> zbus::Result<()>;
}

#[zbus::proxy(
    interface = "fi.w1.wpa_supplicant1",
    default_service = "fi.w1.wpa_supplicant1",
    default_path = "/fi/w1/wpa_supplicant1"
)]
pub(super) trait Supplicant {
    fn get_interface(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
}

#[zbus::proxy(interface = "fi.w1.wpa_supplicant1.Interface", default_service = "fi.w1.wpa_supplicant1", assume_defaults = false)]
pub(super) trait SupplicantInterface {
    fn abort_scan(&self) -> zbus::Result<()>;
}

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub(super) trait Systemd {
    /// Returns the job, which may still be in progress.
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
}
