//! The Wi-Fi device.

use tracing::debug;
use zbus::OwnedObjectPath;

use super::bus::{Bus, Properties, ROOT};
use super::cause::{Call, Cause};
use super::proxies::ServiceProxy;
use super::values::{CAPABLE_OF_5_GHZ, CAPABLE_OF_ACCESS_POINT, DEVICE_TYPE_WIFI, DeviceState, MODE_ACCESS_POINT};

const DEVICE: &str = "org.freedesktop.NetworkManager.Device";
const WIRELESS: &str = "org.freedesktop.NetworkManager.Device.Wireless";

/// A snapshot of the Wi-Fi device.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own; goes when two of them exclude each other")]
pub(super) struct Device {
    pub path: OwnedObjectPath,
    /// For example `wlan0`.
    pub interface: String,
    pub address: String,
    /// It is an access point.
    pub is_access_point: bool,
    /// Its driver supports that mode.
    pub can_be_access_point: bool,
    /// It has the band at 5 GHz.
    pub has_5_ghz: bool,
    /// The time of its last scan, milliseconds since boot; negative if none.
    pub last_scan: i64,
    pub state: DeviceState,
    managed: bool,
    firmware_missing: bool,
}

impl Device {
    /// The device of that name, or the first Wi-Fi device that NetworkManager manages.
    pub(super) async fn find(bus: &Bus, interface: Option<&str>) -> Result<Self, Cause> {
        let service: ServiceProxy<'_> = bus.proxy(ROOT.try_into().expect("a valid path")).await?;
        let call = Call { name: "GetDevices", action: "org.freedesktop.NetworkManager.network-control" };
        let mut first = None;
        let paths = bus.call(call, service.get_devices()).await?;
        for (path, properties) in bus.properties_of_all(&paths, DEVICE).await {
            let mut properties = match properties {
                Ok(properties) => properties,
                // Devices may disappear meanwhile, and ours may be another one.
                Err(cause @ Cause::Call { .. }) => {
                    debug!(%path, "{}", provisioning_core::fault::chain(&cause));
                    continue;
                }
                Err(cause) => return Err(cause),
            };
            if properties.take("DeviceType") != Some(DEVICE_TYPE_WIFI) {
                continue;
            }
            let device = Self::read(bus, path.clone(), properties).await?;
            match interface {
                Some(interface) if device.interface == interface => return Ok(device),
                None if device.managed => return Ok(device),
                Some(_) => {}
                None => first = first.or(Some(device)),
            }
        }
        first.ok_or_else(|| interface.map_or(Cause::NoDevice, |interface| Cause::NoSuchDevice(interface.into())))
    }

    async fn read(bus: &Bus, path: OwnedObjectPath, mut properties: Properties) -> Result<Self, Cause> {
        let mut wireless = bus.properties(&path, WIRELESS).await?;
        let capabilities: Option<u32> = wireless.take("WirelessCapabilities");
        let state = DeviceState::from(properties.need::<u32>("State")?);
        Ok(Self {
            interface: properties.need("Interface")?,
            address: wireless.take("HwAddress").or_else(|| properties.take("HwAddress")).unwrap_or_default(),
            is_access_point: wireless.take("Mode") == Some(MODE_ACCESS_POINT),
            // If the property is missing, try it.
            can_be_access_point: capabilities.is_none_or(|flags| flags & CAPABLE_OF_ACCESS_POINT != 0),
            has_5_ghz: capabilities.is_none_or(|flags| flags & CAPABLE_OF_5_GHZ != 0),
            last_scan: wireless.take("LastScan").unwrap_or(-1),
            managed: properties.take("Managed").unwrap_or(state != DeviceState::Unmanaged),
            firmware_missing: properties.take("FirmwareMissing").unwrap_or(false),
            state,
            path,
        })
    }

    /// The time of its last scan, read again.
    pub(super) async fn last_scan(&self, bus: &Bus) -> Result<i64, Cause> {
        Ok(bus.properties(&self.path, WIRELESS).await?.take("LastScan").unwrap_or(-1))
    }

    /// Its current active connection.
    pub(super) async fn active_now(&self, bus: &Bus) -> Result<Option<OwnedObjectPath>, Cause> {
        let path: Option<OwnedObjectPath> = bus.properties(&self.path, DEVICE).await?.take("ActiveConnection");
        Ok(path.filter(|path| path.as_str() != "/"))
    }

    /// Fails with the reason if the device is not usable.
    pub(super) async fn usable(self, bus: &Bus) -> Result<Self, Cause> {
        if self.firmware_missing {
            return Err(Cause::NoFirmware(self.interface));
        }
        if !matches!(self.state, DeviceState::Unavailable | DeviceState::Unmanaged | DeviceState::Unknown) {
            return Ok(self);
        }
        let mut service = bus.properties(&ROOT.try_into().expect("a valid path"), "org.freedesktop.NetworkManager").await?;
        if service.take("WirelessHardwareEnabled") == Some(false) {
            Err(Cause::HardBlocked)
        } else if service.take("WirelessEnabled") == Some(false) {
            Err(Cause::SoftBlocked { needs_country: false })
        } else if self.managed {
            Err(Cause::Unavailable(self.interface))
        } else {
            Err(Cause::Unmanaged(self.interface))
        }
    }
}
