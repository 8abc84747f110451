//! A look at the radio and the node's connection, and the requests of network care.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use provisioning_core::care::diagnosis::{self, Address, Association};
use provisioning_core::care::recovery::Sighted;
use provisioning_core::domain::Ssid;
use provisioning_core::fault::chain;

use super::address::{self, Assigned};
use super::bus::take;
use super::cause::Cause;
use super::profiles::Profile;
use super::radio::Radio;
use super::station::percent;
use crate::network::nm::scan::name;
use crate::network::nm::stations;
use crate::network::nm::survey::boot_seconds;
use crate::network::{Inspection, StoredNetwork};

/// `RTF_UP` and `RTF_GATEWAY` of `linux/route.h`.
const BY_ROUTER: u32 = 0x3;

impl Radio {
    /// Inspects radio and connection. Only reads.
    pub(super) async fn inspect(&mut self) -> Inspection {
        let interface = match self.usable() {
            Ok(interface) => interface,
            Err(cause) => return Inspection::unconnected(radio(&cause)),
        };
        let mut seen = Inspection::unconnected(diagnosis::Radio::Ready(interface.clone()));
        if self.hotspot.is_some() {
            seen.association = Association::Hotspot;
            seen.phones = Some(stations::count(&interface));
        } else {
            match self.association(&interface).await {
                Ok((association, joined)) => (seen.association, seen.joined) = (association, joined),
                Err(cause) => return Inspection::unconnected(radio(&cause)),
            }
        }
        let table = fs::read_to_string(&self.settings.routes).unwrap_or_default();
        let routers = routers(&table);
        let is_joined = matches!(seen.association, Association::Joined { .. });
        let used = match routers.iter().find(|(name, _)| *name != interface).filter(|_| !is_joined) {
            Some((cable, _)) => {
                seen.association = Association::Cable((*cable).to_owned());
                cable
            }
            None if is_joined => interface.as_str(),
            None => return seen,
        };
        let addresses = address::list(used).unwrap_or_default();
        seen.address = assigned(&addresses);
        seen.has_ipv6 = addresses.iter().any(|(address, _)| address.is_ipv6() && address::is_global(address));
        seen.gateway = routers.iter().find(|(name, _)| *name == used).map(|(_, router)| *router);
        seen.servers = servers(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
        seen.profile = seen.joined.as_ref().map(ToString::to_string);
        seen
    }

    /// The association, and the network that the node is in.
    async fn association(&mut self, interface: &str) -> Result<(Association, Option<Ssid>), Cause> {
        self.connect().await?;
        let bus = self.bus()?;
        let Some(radio) = bus.radio(interface).await? else { return Ok((Association::None, None)) };
        let mut values = bus.of_radio(&radio).await?;
        let state: String = take(&mut values, "State").unwrap_or_default();
        Ok(match state.as_str() {
            "completed" => {
                let station: Option<zbus::OwnedObjectPath> = take(&mut values, "CurrentBSS");
                let mut station = match station {
                    // It may disappear between the two calls.
                    Some(path) => bus.of_station(&path).await.unwrap_or_default(),
                    None => super::bus::Values::default(),
                };
                let joined = name(&take::<Vec<u8>>(&mut station, "SSID").unwrap_or_default());
                let network = joined.as_ref().map(ToString::to_string).unwrap_or_default();
                (Association::Joined { network, signal: take(&mut station, "Signal").map(percent) }, joined)
            }
            "authenticating" | "associating" | "associated" | "4way_handshake" | "group_handshake" => {
                (Association::Joining(state), None)
            }
            _ => (Association::None, None),
        })
    }

    /// The stored networks in range. While the access point is open, all of them count as in range: `hostapd` has the radio.
    pub(super) async fn in_range(&mut self) -> Result<Sighted, Cause> {
        let mut networks: Vec<Ssid> = self.profiles.load()?.into_iter().map(|profile| profile.ssid).collect();
        if self.hotspot.is_some() {
            return Ok(Sighted { networks, hears: None });
        }
        let (_, radio) = self.ready().await?;
        if !self.survey(&radio, None).await? {
            return Err(Cause::ScanSlow(super::station::SCAN_LIMIT));
        }
        let now = boot_seconds();
        networks.retain(|ssid| self.list.sighting(ssid, now).is_some());
        Ok(Sighted { networks, hears: Some(!self.list.is_empty(now)) })
    }

    /// The stored network of that name, or the one that was used last.
    pub(super) fn stored_profile(&self, network: Option<&Ssid>) -> Result<Profile, Cause> {
        let mut stored = self.profiles.load()?.into_iter();
        stored.find(|profile| network.is_none_or(|ssid| profile.ssid == *ssid)).ok_or(Cause::NotStored)
    }

    /// Joins a stored network.
    pub(super) async fn join_stored(&mut self, network: Option<&Ssid>) -> Result<(), Cause> {
        let profile = self.stored_profile(network)?;
        self.join(profile.clone(), true).await?;
        self.profiles.store(&profile)
    }

    /// Stores the network that was joined last.
    pub(super) fn keep(&mut self) -> Result<(), Cause> {
        let station = self.station.as_mut().filter(|station| station.ready).ok_or(Cause::NothingJoined)?;
        self.profiles.store(&station.profile)?;
        station.kept = true;
        Ok(())
    }

    /// Leaves a network that is not stored, closes the access point, and returns to a stored network.
    pub(super) async fn restore(&mut self) -> Result<(), Cause> {
        self.close_hotspot().await;
        if self.station.as_ref().is_some_and(|station| station.ready && station.kept) {
            return Ok(());
        }
        self.leave().await;
        match self.join_stored(None).await {
            Ok(()) => Ok(()),
            Err(Cause::NotStored) => self.return_to_system().await,
            Err(cause) => Err(cause),
        }
    }

    /// Lets the supplicant join what the system's configuration names: it disabled these networks when one was selected.
    async fn return_to_system(&mut self) -> Result<(), Cause> {
        let interface = self.usable()?;
        self.connect().await?;
        self.take_from_supplicant(&interface).await?;
        self.give_to_supplicant(&interface).await?;
        self.report_others().await;
        Ok(())
    }

    /// Closes the access point, and joins the network that was used last, if it is there.
    pub(super) async fn close_and_rejoin(&mut self) -> Result<(), Cause> {
        if self.hotspot.is_none() {
            return Ok(());
        }
        self.close_hotspot().await;
        match self.join_stored(None).await {
            Err(Cause::NotStored) => self.report_others().await,
            Err(cause) => tracing::info!("no stored network is joined: {}", chain(&cause)),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Takes the radio from the supplicant and gives it back, so that it starts over.
    pub(super) async fn restart_radio(&mut self) -> Result<(), Cause> {
        let interface = self.usable()?;
        self.connect().await?;
        self.station = None;
        self.take_from_supplicant(&interface).await?;
        self.ready().await.map(drop)
    }

    /// Deletes all stored networks, also at the supplicant.
    pub(super) async fn forget(&mut self) -> Result<(), Cause> {
        // Their folder is in that of the stored networks, which is synced afterwards.
        self.certificates().erase_unless(|_| false);
        self.profiles.forget()?;
        // Without a supplicant, nothing has the networks.
        if let Err(cause) = self.connect().await {
            tracing::debug!("{}", chain(&cause));
        }
        self.leave().await;
        if self.hotspot.is_none() {
            self.report_others().await;
        }
        Ok(())
    }

    /// The stored networks, for people.
    pub(super) fn stored(&self) -> Result<Vec<StoredNetwork>, Cause> {
        let current = self.station.as_ref().filter(|station| station.ready).map(|station| &station.profile.ssid);
        let network = |profile: Profile| StoredNetwork {
            name: profile.ssid.to_string(),
            uuid: crate::files::hexadecimal(profile.ssid.as_bytes()),
            autoconnect: true,
            active: current == Some(&profile.ssid),
            ssid: profile.ssid,
        };
        Ok(self.profiles.load()?.into_iter().map(network).collect())
    }

    /// Deletes the stored networks of that name, and leaves them.
    pub(super) async fn delete(&mut self, name: &str) -> Result<(), Cause> {
        if !self.profiles.delete(name)? {
            return Err(Cause::NotStored);
        }
        if self.station.as_ref().is_some_and(|station| station.profile.ssid.to_string() == name) {
            self.connect().await?;
            self.leave().await;
            self.report_others().await;
        }
        Ok(())
    }
}

/// What a failure says about the radio.
fn radio(cause: &Cause) -> diagnosis::Radio {
    match cause {
        Cause::NoDevice | Cause::NoSuchDevice(_) => diagnosis::Radio::Missing,
        Cause::SoftBlocked { .. } => diagnosis::Radio::SoftBlocked,
        Cause::HardBlocked => diagnosis::Radio::HardBlocked,
        cause => diagnosis::Radio::ServiceSilent(chain(cause)),
    }
}

fn assigned(addresses: &[Assigned]) -> Address {
    let ip4 = || addresses.iter().filter(|(address, _)| address.is_ipv4());
    let text = |(address, prefix): &Assigned| format!("{address}/{prefix}");
    match (ip4().find(|(address, _)| address::is_global(address)), ip4().next()) {
        (Some(address), _) => Address::Assigned(text(address)),
        (None, Some(own)) => Address::LinkLocal(text(own)),
        (None, None) => Address::None,
    }
}

/// The default routes in the kernel's table, `/proc/self/net/route`: interface and router. proc(5): interface, destination,
/// gateway and flags, in hexadecimal and in the machine's byte order.
fn routers(table: &str) -> Vec<(&str, Ipv4Addr)> {
    let route = |line: &'_ str| -> Option<(usize, Ipv4Addr)> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let is_default = number(1)? == 0 && number(7)? == 0 && number(3)? & BY_ROUTER == BY_ROUTER;
        is_default.then_some((fields[0].len(), Ipv4Addr::from(number(2)?.to_ne_bytes())))
    };
    table.lines().skip(1).filter_map(|line| route(line).map(|(length, router)| (&line[..length], router))).collect()
}

/// The DNS servers of resolv.conf(5).
fn servers(text: &str) -> Vec<Ipv4Addr> {
    let server = |line: &str| line.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok();
    let ip4 = |address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    text.lines().filter_map(server).filter_map(ip4).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_of_each_interface_is_in_the_kernels_table() {
        let [router, none] = [[192, 168, 1, 1], [0; 4]].map(u32::from_ne_bytes);
        let table = format!(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t{router:08X}\t0003\t0\t0\t0\t00000000\n\
             wlan0\t0004A8C0\t{none:08X}\t0001\t0\t0\t0\t00FFFFFF\nbroken line\n"
        );
        assert_eq!(routers(&table), [("eth0", Ipv4Addr::new(192, 168, 1, 1))]);
        assert_eq!(routers(""), []);
    }

    #[test]
    fn servers_are_read_and_other_lines_passed_over() {
        let text = "# nameserver 1.1.1.1\nsearch home\nnameserver 192.168.1.1\nnameserver fe80::1%wlan0\nnameserver x\n";
        assert_eq!(servers(text), [Ipv4Addr::new(192, 168, 1, 1)]);
    }

    #[test]
    fn an_address_of_the_nodes_own_is_told_as_such() {
        let of = |texts: &[&str]| {
            assigned(&texts.iter().map(|text| (text.parse().expect("an address"), 24)).collect::<Vec<Assigned>>())
        };
        assert_eq!(of(&["fd00::1", "169.254.1.2", "10.20.0.7"]), Address::Assigned("10.20.0.7/24".into()));
        assert_eq!(of(&["169.254.1.2"]), Address::LinkLocal("169.254.1.2/24".into()));
        assert_eq!(of(&["fd00::1"]), Address::None);
    }
}
