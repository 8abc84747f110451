//! A look at the radio and the node's connection, without a change of anything. Every user may do this.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant};

use super::bus::{Bus, Properties, ROOT};
use super::cause::Cause;
use super::device::Device;
use super::profile;
use super::stations;
use super::values::{Connectivity, DeviceState};
use crate::network::Inspection;
use provisioning_core::care::diagnosis::{Address, Association, Radio};
use provisioning_core::care::recovery::Internet;
use provisioning_core::domain::Ssid;
use provisioning_core::fault::chain;

const ACTIVE: &str = "org.freedesktop.NetworkManager.Connection.Active";
const DEVICE: &str = "org.freedesktop.NetworkManager.Device";
const IP4_CONFIG: &str = "org.freedesktop.NetworkManager.IP4Config";
const IP6_CONFIG: &str = "org.freedesktop.NetworkManager.IP6Config";
pub(super) const MANAGER: &str = "org.freedesktop.NetworkManager";
const STATION: &str = "org.freedesktop.NetworkManager.AccessPoint";
const WIRELESS: &str = "org.freedesktop.NetworkManager.Device.Wireless";
/// NetworkManager's type of a Wi-Fi connection.
const WIFI: &str = "802-11-wireless";

impl Inspection {
    /// Inspects the Wi-Fi interface of that name, or the first one, on the system's bus or on another one.
    pub async fn of(bus: Option<&str>, interface: Option<&str>) -> Self {
        let looking = async {
            let bus = Bus::connect(bus).await?;
            inspect(&bus, interface).await
        };
        looking.await.unwrap_or_else(Self::failed)
    }

    /// The inspection has failed: the cause is the state of the radio.
    pub(super) fn failed(cause: Cause) -> Self {
        Self::unconnected(radio(cause))
    }
}

/// Inspects the Wi-Fi interface of that name, or the first one.
pub(super) async fn inspect(bus: &Bus, interface: Option<&str>) -> Result<Inspection, Cause> {
    if bus.has_service().await? { look(bus, interface).await } else { Err(Cause::Absent) }
}

async fn look(bus: &Bus, interface: Option<&str>) -> Result<Inspection, Cause> {
    let (radio, wifi) = match Device::find(bus, interface).await {
        Ok(device) => match device.clone().usable(bus).await {
            Ok(usable) => (Radio::Ready(usable.interface), Some(device)),
            Err(cause) => (radio(cause), None),
        },
        Err(cause @ (Cause::NoDevice | Cause::NoSuchDevice(_))) => (radio(cause), None),
        Err(cause) => return Err(cause),
    };
    let root = ObjectPath::try_from(ROOT).expect("a valid path");
    let mut service = bus.properties(&root, MANAGER).await?;
    let mut seen = Inspection { internet: internet(&mut service), ..Inspection::unconnected(radio) };
    if let Some(device) = wifi {
        (seen.association, seen.joined) = wifi_association(bus, &device).await?;
        if device.is_access_point && device.state == DeviceState::Activated {
            seen.phones = Some(stations::count(&device.interface));
        }
        if matches!(seen.association, Association::Joined { .. }) {
            let mut properties = bus.properties(&device.path, DEVICE).await?;
            seen.profile = active_profile(bus, &mut properties, seen.joined.as_ref()).await;
            return with_addresses(bus, seen, Configs::of(&mut properties)).await;
        }
    }
    let Some(Cable { interface, profile, configs }) = cable(bus, &mut service).await? else { return Ok(seen) };
    seen.association = Association::Cable(interface);
    seen.profile = profile;
    with_addresses(bus, seen, configs).await
}

/// The result of NetworkManager's last check. It checks only if its configuration names a URI.
fn internet(service: &mut Properties) -> Internet {
    let checks =
        service.take("ConnectivityCheckAvailable") == Some(true) && service.take("ConnectivityCheckEnabled") == Some(true);
    match service.take::<u32>("Connectivity").filter(|_| checks).map(Connectivity::from) {
        Some(Connectivity::None) => Internet::None,
        Some(Connectivity::Portal) => Internet::Portal,
        Some(Connectivity::Limited) => Internet::Limited,
        Some(Connectivity::Full) => Internet::Full,
        Some(Connectivity::Unknown | Connectivity::Other(_)) | None => Internet::Unknown,
    }
}

/// The IP configurations of a device or of an active connection.
struct Configs {
    ip4: Option<OwnedObjectPath>,
    ip6: Option<OwnedObjectPath>,
}

impl Configs {
    fn of(properties: &mut Properties) -> Self {
        Self { ip4: object(properties, "Ip4Config"), ip6: object(properties, "Ip6Config") }
    }
}

/// The path in a property; none if there is no object.
fn object(properties: &mut Properties, name: &str) -> Option<OwnedObjectPath> {
    properties.take::<OwnedObjectPath>(name).filter(|path| path.as_str() != "/")
}

/// The association, and the network that the node is in.
async fn wifi_association(bus: &Bus, device: &Device) -> Result<(Association, Option<Ssid>), Cause> {
    let association = match device.state {
        _ if device.is_access_point => Association::Hotspot,
        // Without an address it is in the network all the same: the next layer tells what is missing.
        DeviceState::IpConfig | DeviceState::IpCheck | DeviceState::Secondaries | DeviceState::Activated => {
            let station = object(&mut bus.properties(&device.path, WIRELESS).await?, "ActiveAccessPoint");
            let mut properties = match station {
                // It may disappear between the two calls.
                Some(path) => bus.properties(&path, STATION).await.ok(),
                None => None,
            };
            let ssid = properties.as_mut().and_then(|station| station.take::<Vec<u8>>("Ssid"));
            let network = ssid.and_then(|bytes| Ssid::try_from(bytes.as_slice()).ok());
            let association = Association::Joined {
                network: network.as_ref().map(ToString::to_string).unwrap_or_default(),
                signal: properties.and_then(|mut station| station.take("Strength")),
            };
            return Ok((association, network.filter(|_| device.state == DeviceState::Activated)));
        }
        DeviceState::Unknown
        | DeviceState::Unmanaged
        | DeviceState::Unavailable
        | DeviceState::Disconnected
        | DeviceState::Deactivating
        | DeviceState::Failed => Association::None,
        state => Association::Joining(state.to_string()),
    };
    Ok((association, None))
}

/// The name of the profile that a device uses.
async fn active_profile(bus: &Bus, device: &mut Properties, network: Option<&Ssid>) -> Option<String> {
    let active = object(device, "ActiveConnection")?;
    // It may disappear between the two calls.
    let id: String = bus.properties(&active, ACTIVE).await.ok()?.take("Id")?;
    Some(profile::name_of(id, network))
}

/// A connection that is not Wi-Fi.
struct Cable {
    interface: String,
    profile: Option<String>,
    configs: Configs,
}

/// The primary connection, if it is not Wi-Fi.
async fn cable(bus: &Bus, service: &mut Properties) -> Result<Option<Cable>, Cause> {
    let Some(primary) = object(service, "PrimaryConnection") else { return Ok(None) };
    let mut active = bus.properties(&primary, ACTIVE).await?;
    if active.take::<String>("Type").is_none_or(|kind| kind == WIFI) {
        return Ok(None);
    }
    let devices: Vec<OwnedObjectPath> = active.take("Devices").unwrap_or_default();
    let interface: Option<String> = match devices.first() {
        Some(device) => bus.properties(device, DEVICE).await?.take("Interface"),
        None => None,
    };
    Ok(Some(Cable { interface: interface.unwrap_or_default(), profile: active.take("Id"), configs: Configs::of(&mut active) }))
}

async fn with_addresses(bus: &Bus, mut seen: Inspection, configs: Configs) -> Result<Inspection, Cause> {
    if let Some(config) = configs.ip6 {
        // It may disappear between the two calls.
        seen.has_ipv6 = bus.properties(&config, IP6_CONFIG).await.is_ok_and(|mut config| has_ipv6(&mut config));
    }
    let Some(config) = configs.ip4 else { return Ok(seen) };
    let mut properties = bus.properties(&config, IP4_CONFIG).await?;
    let addresses = listed(&mut properties, "AddressData");
    let gateway: Option<String> = properties.take("Gateway");
    Ok(Inspection {
        address: address(&addresses),
        gateway: gateway.and_then(|gateway| gateway.parse().ok()),
        servers: listed(&mut properties, "NameserverData").into_iter().map(|(server, _)| server).collect(),
        ..seen
    })
}

/// The addresses of a property of type `aa{sv}`, with their prefixes.
fn listed(properties: &mut Properties, name: &str) -> Vec<(Ipv4Addr, Option<u32>)> {
    let entries: Vec<HashMap<String, OwnedVariant>> = properties.take(name).unwrap_or_default();
    let entry = |mut entry: HashMap<String, OwnedVariant>| {
        let address = String::try_from(entry.remove("address")?).ok()?.parse().ok()?;
        Some((address, entry.remove("prefix").and_then(|prefix| u32::try_from(prefix).ok())))
    };
    entries.into_iter().filter_map(entry).collect()
}

/// Whether a configuration has an address that the node did not make by itself.
fn has_ipv6(properties: &mut Properties) -> bool {
    let entries: Vec<HashMap<String, OwnedVariant>> = properties.take("AddressData").unwrap_or_default();
    let address =
        |mut entry: HashMap<String, OwnedVariant>| String::try_from(entry.remove("address")?).ok()?.parse::<Ipv6Addr>().ok();
    entries.into_iter().filter_map(address).any(|address| !address.is_unicast_link_local())
}

/// The best of the addresses: one that a server has assigned, if there is one.
fn address(addresses: &[(Ipv4Addr, Option<u32>)]) -> Address {
    let assigned = addresses.iter().find(|(address, _)| !address.is_link_local());
    match (assigned, addresses.first()) {
        (Some((address, Some(prefix))), _) => Address::Assigned(format!("{address}/{prefix}")),
        (Some((address, None)), _) => Address::Assigned(address.to_string()),
        (None, Some((address, _))) => Address::LinkLocal(address.to_string()),
        (None, None) => Address::None,
    }
}

/// What a cause says about the radio.
fn radio(cause: Cause) -> Radio {
    match cause {
        Cause::NoDevice | Cause::NoSuchDevice(_) => Radio::Missing,
        Cause::SoftBlocked { .. } => Radio::SoftBlocked,
        Cause::HardBlocked => Radio::HardBlocked,
        Cause::Unmanaged(interface) => Radio::Unmanaged(interface),
        Cause::NoFirmware(interface) => Radio::NoFirmware(interface),
        Cause::Unavailable(interface) => Radio::Unavailable(interface),
        Cause::Absent => Radio::ServiceAbsent,
        cause => Radio::ServiceSilent(chain(&cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assigned_address_is_preferred_to_one_that_the_node_made() {
        let link_local = (Ipv4Addr::new(169, 254, 3, 4), Some(16));
        let assigned = (Ipv4Addr::new(192, 168, 1, 20), Some(24));
        assert_eq!(address(&[link_local, assigned]), Address::Assigned("192.168.1.20/24".into()));
        assert_eq!(address(&[link_local]), Address::LinkLocal("169.254.3.4".into()));
        assert_eq!(address(&[]), Address::None);
    }
}
