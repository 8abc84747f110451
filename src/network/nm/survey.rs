//! Scanning for networks.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};
use zbus::Variant;

use super::bus::Event;
use super::cause::{Call, Cause};
use super::device::Device;
use super::outcome::Sighting;
use super::proxies::{Options, WirelessProxy};
use super::radio::{Caller, Radio};
use super::scan::{Entry, List};
use super::values::DeviceState;
use provisioning_core::domain::{Network, Security, Ssid};

/// All channels take 4 s, or 14 s where every band is allowed; NetworkManager may delay a scan by 8 s. Twice this is less
/// than a phone waits.
const SCAN_LIMIT: Duration = Duration::from_secs(14);
/// A younger scan makes a join as fast as a new scan, because the supplicant reuses its results. Milliseconds.
const RECENT: i64 = 5000;
/// NetworkManager before 1.34 refuses a scan for this time after the last one. Milliseconds.
const JUST_DONE: i64 = 10_000;
/// Scans by name before a network counts as absent. The first reported scan may have started before the request, and one
/// that collides with the supplicant's own scan is aborted and reported nevertheless.
const SCANS_BY_NAME: u8 = 3;
/// Scans without a result after which a driver counts as unable to scan while it is an access point.
const EMPTY_SCANS_LIMIT: u8 = 2;
/// NetworkManager scans in access point mode from this version on; before, the request waits until that mode ends.
const SCANS_AS_ACCESS_POINT: (u32, u32) = (1, 42);

/// The known properties of a network before the join.
#[derive(Debug)]
pub(super) struct Found {
    pub sighting: Option<Sighting>,
    pub securities: Vec<Security>,
    /// It does not broadcast its name, as far as known.
    pub hidden: bool,
    /// Other networks were seen, and this one was not.
    pub absent: bool,
    /// Its stations, the strongest one first.
    pub stations: Vec<[u8; 6]>,
}

impl Radio {
    pub(super) async fn scan(&mut self, caller: &mut Caller) -> Result<Vec<Network>, Cause> {
        let device = self.ready(caller).await?;
        let mut finished = self.survey(&device, None, SCAN_LIMIT, caller).await?;
        let mut list = self.read_list(&device).await?;
        if finished && list.is_empty(boot_seconds()) {
            // The first scan of a radio that was just switched on may be empty.
            debug!("the scan found no networks; retrying once");
            finished = self.survey(&device, None, SCAN_LIMIT, caller).await?;
            list = self.read_list(&device).await?;
        }
        let networks = list.networks(boot_seconds());
        if !networks.is_empty() || (finished && !device.is_access_point) {
            self.list = list;
            self.networks.clone_from(&networks);
            return Ok(networks);
        }
        if self.networks.is_empty() && !finished {
            // It may have been switched off meanwhile.
            self.usable_device().await?;
            return Err(Cause::ScanSlow(SCAN_LIMIT));
        }
        debug!("the radio cannot scan while the access point is open: answering with the previous list");
        Ok(self.networks.clone())
    }

    /// The known properties of a network, from a sufficiently recent scan.
    pub(super) async fn look_for(
        &mut self,
        device: &Device,
        ssid: &Ssid,
        hidden: bool,
        caller: &mut Caller,
    ) -> Result<Found, Cause> {
        let recent = device.last_scan >= 0 && boot_milliseconds() - device.last_scan <= RECENT;
        if !recent {
            self.survey(device, hidden.then_some(ssid), SCAN_LIMIT, caller).await?;
        }
        let mut list = self.read_list(device).await?;
        let mut finished = 0;
        // By name, because a hidden network answers only to its name.
        while finished < SCANS_BY_NAME && list.sighting(ssid, boot_seconds()).is_none() {
            self.found_by_name.insert(ssid.clone());
            if !self.survey(device, Some(ssid), SCAN_LIMIT, caller).await? {
                break;
            }
            finished += 1;
            list = self.read_list(device).await?;
        }
        let now = boot_seconds();
        let sighting = list.sighting(ssid, now);
        let absent = sighting.is_none() && !hidden && finished == SCANS_BY_NAME && !list.is_empty(now);
        // In access point mode an old list is better than an empty one.
        let known = if sighting.is_some() { &list } else { &self.list };
        // A broadcasting network marked as hidden is found nevertheless; a hidden one that is not marked would not be found.
        let hides = hidden || self.found_by_name.contains(ssid) || !known.is_broadcast(ssid);
        let securities = known.securities(ssid);
        let stations = list.stations(ssid, now);
        if !list.is_empty(now) {
            self.list = list;
        }
        Ok(Found { sighting, securities, hidden: hides, absent, stations })
    }

    /// The network, if NetworkManager has seen it recently; without a scan.
    pub(super) async fn sighting(&self, device: &Device, ssid: &Ssid) -> Option<Sighting> {
        self.read_list(device).await.ok()?.sighting(ssid, boot_seconds())
    }

    /// Scans, and waits for the end; false if the scan fails or exceeds its limit.
    pub(super) async fn survey(
        &mut self,
        device: &Device,
        name: Option<&Ssid>,
        limit: Duration,
        caller: &mut Caller,
    ) -> Result<bool, Cause> {
        if device.is_access_point && !self.scans_as_access_point() {
            return Ok(false);
        }
        self.catch_up();
        let bus = self.bus()?;
        let _scans = bus.scans().await?;
        let before = device.last_scan(bus).await?;
        let wireless: WirelessProxy<'_> = bus.proxy(device.path.as_ref()).await?;
        let names = name.map(|ssid| vec![ssid.as_bytes().to_vec()]);
        let options: Options<'_> = names.into_iter().map(|names| ("ssids", Variant::from(names))).collect();
        let call = Call { name: "RequestScan", action: "org.freedesktop.NetworkManager.wifi.scan" };
        match bus.call(call, wireless.request_scan(&options)).await {
            Ok(()) => {}
            // NetworkManager before 1.34 refuses during a scan, which will end, and just after one.
            Err(cause) if cause.error_name().is_some_and(|name| name.ends_with(".NotAllowed")) => {
                debug!("{}", provisioning_core::fault::chain(&cause));
                if before >= 0 && boot_milliseconds() - before <= JUST_DONE {
                    return Ok(true);
                }
            }
            Err(cause) => return Err(cause),
        }
        let until = Instant::now() + limit;
        let finished = loop {
            tokio::select! {
                biased;
                () = caller.abandoned() => return Err(Cause::Abandoned),
                event = self.next_event() => match event? {
                    Event::Scanned { device: scanned } if scanned == device.path => break true,
                    // It was switched off.
                    Event::State { device: changed, change } if changed == device.path && change.new == DeviceState::Unavailable => {
                        break false;
                    }
                    _ => {}
                },
                () = sleep_until(until) => break device.last_scan(self.bus()?).await? != before,
            }
        };
        if device.is_access_point {
            self.empty_scans_as_access_point = if finished { 0 } else { self.empty_scans_as_access_point + 1 };
            if self.empty_scans_as_access_point == EMPTY_SCANS_LIMIT {
                info!("this radio does not scan while it is an access point");
            }
        }
        Ok(finished)
    }

    /// Whether the radio can scan while it is an access point, as far as known.
    pub(super) fn scans_as_access_point(&self) -> bool {
        let is_old = self.version.is_some_and(|version| version < SCANS_AS_ACCESS_POINT);
        !is_old && self.empty_scans_as_access_point < EMPTY_SCANS_LIMIT
    }

    pub(super) async fn read_list(&self, device: &Device) -> Result<List, Cause> {
        let bus = self.bus()?;
        let wireless: WirelessProxy<'_> = bus.proxy(device.path.as_ref()).await?;
        let call = Call { name: "GetAllAccessPoints", action: "org.freedesktop.NetworkManager.network-control" };
        let mut entries = Vec::new();
        let paths = bus.call(call, wireless.get_all_access_points()).await?;
        for (path, properties) in bus.properties_of_all(&paths, "org.freedesktop.NetworkManager.AccessPoint").await {
            match properties {
                Ok(properties) => entries.extend(Entry::read(properties, &device.address)),
                // It has disappeared meanwhile.
                Err(cause @ Cause::Call { .. }) => debug!(%path, "{}", provisioning_core::fault::chain(&cause)),
                Err(cause) => return Err(cause),
            }
        }
        Ok(List::new(entries))
    }
}

/// The clock of `LastSeen`.
pub(in crate::network) fn boot_seconds() -> i64 {
    clock_gettime(ClockId::Boottime).tv_sec
}

/// The clock of `LastScan`.
fn boot_milliseconds() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}
