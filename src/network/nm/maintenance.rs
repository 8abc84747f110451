//! The requests of network care.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};

use super::bus::{Event, ROOT};
use super::cause::{Call, Cause};
use super::device::Device;
use super::inspect::{self, MANAGER};
use super::join::ATTEMPT_LIMIT;
use super::profile::Plan;
use super::proxies::SystemdProxy;
use super::radio::{Caller, Held, Radio};
use super::survey::boot_seconds;
use super::values::DeviceState;
use crate::network::{Inspection, StoredNetwork};
use provisioning_core::care::diagnosis::Association;
use provisioning_core::care::recovery::Sighted;
use provisioning_core::domain::{RadioUse, Ssid};

/// Shorter than the limit that network care has for a scan, so that an unfinished scan is reported and not lost.
const SCAN_LIMIT: Duration = Duration::from_secs(11);
/// NetworkManager notices at once that the supplicant has left the bus.
const RESTART_LIMIT: Duration = Duration::from_secs(3);

/// NetworkManager is called again after this time, to notice that it hangs. If it answers, the inspection still holds.
const INSPECTION_HOLDS: Duration = Duration::from_mins(10);

/// systemd's main object.
const SYSTEMD: &str = "/org/freedesktop/systemd1";
/// The unit of the software that drives the radio.
const SUPPLICANT_UNIT: &str = "wpa_supplicant.service";

/// An inspection, and the number of signals before it.
pub(super) struct Inspected {
    seen: Inspection,
    signals: u64,
    until: Instant,
}

impl Radio {
    /// Inspects radio and connection. Only reads, so it may be cancelled anywhere. While no signal has arrived, the last
    /// inspection still holds: on an idle node each call to NetworkManager would wake the processor twice.
    pub(super) async fn inspect(&mut self, caller: &mut Caller) -> Inspection {
        if let Some(seen) = self.last_inspection() {
            return seen;
        }
        let inspecting = async {
            if let Some(seen) = self.renewed_inspection().await? {
                return Ok(seen);
            }
            self.connect().await?;
            let bus = self.bus()?;
            let signals = bus.signals();
            let seen = inspect::inspect(bus, self.settings.interface.as_deref()).await?;
            self.inspected = Some(Inspected { seen: seen.clone(), signals, until: Instant::now() + INSPECTION_HOLDS });
            Ok(seen)
        };
        let inspected = tokio::select! {
            biased;
            () = caller.abandoned() => Err(Cause::Abandoned),
            inspected = inspecting => inspected,
        };
        inspected.unwrap_or_else(Inspection::failed)
    }

    /// The last inspection of a working connection, if nothing has changed since then.
    fn last_inspection(&self) -> Option<Inspection> {
        let Inspected { seen, until, .. } = self.inspected.as_ref().filter(|inspected| self.still_holds(inspected))?;
        (*until > Instant::now()).then(|| seen.clone())
    }

    /// The same after its time, if NetworkManager answers: one call, and not all those of an inspection.
    async fn renewed_inspection(&mut self) -> Result<Option<Inspection>, Cause> {
        let Some(inspected) = self.inspected.take().filter(|inspected| self.still_holds(inspected)) else { return Ok(None) };
        self.bus()?.properties(&ROOT.try_into().expect("a valid path"), MANAGER).await?;
        let renewed = Inspected { until: Instant::now() + INSPECTION_HOLDS, ..inspected };
        Ok(Some(self.inspected.insert(renewed).seen.clone()))
    }

    fn still_holds(&self, Inspected { seen, signals, .. }: &Inspected) -> bool {
        let works = matches!(seen.association, Association::Joined { .. } | Association::Cable(_));
        works && self.bus.as_ref().is_some_and(|bus| !bus.is_closed() && bus.signals() == *signals)
    }

    /// The stored networks in range that are joined without a request.
    pub(super) async fn in_range(&mut self, caller: &mut Caller) -> Result<Sighted, Cause> {
        let device = self.ready(caller).await?;
        let finished = self.survey(&device, None, SCAN_LIMIT, caller).await?;
        let list = match finished {
            true => Some(self.read_list(&device).await?),
            false if device.is_access_point && !self.scans_as_access_point() => None,
            false => return Err(Cause::ScanSlow(SCAN_LIMIT)),
        };
        let now = boot_seconds();
        let mut networks: Vec<Ssid> = Vec::new();
        for (_, stored) in self.stored().await? {
            let Ok(ssid) = Ssid::try_from(stored.ssid.as_slice()) else { continue };
            let in_range = list.as_ref().is_none_or(|list| list.sighting(&ssid, now).is_some());
            if stored.autoconnect && in_range && !networks.contains(&ssid) {
                networks.push(ssid);
            }
        }
        Ok(Sighted { networks, hears: list.map(|list| !list.is_empty(now)) })
    }

    /// Joins a stored network, or the one that was used last.
    pub(super) async fn join_stored(&mut self, network: Option<&Ssid>, caller: &mut Caller) -> Result<(), Cause> {
        let device = self.ready(caller).await?;
        let mut stored = self.stored().await?.into_iter();
        let wanted = stored.find(|(_, stored)| match network {
            Some(ssid) => stored.ssid == ssid.as_bytes(),
            None => stored.autoconnect,
        });
        let (path, _) = wanted.ok_or(Cause::NotStored)?;
        self.remember(&device).await;
        let joined = self.activate_stored(&path, &device, caller, ATTEMPT_LIMIT).await;
        if self.held.is_none() {
            // The access point has ended, and its DNS server with it.
            self.dns = None;
        }
        joined?;
        self.previous = None;
        Ok(())
    }

    /// Closes the access point of this program.
    pub(super) async fn close_access_point(&mut self, caller: &mut Caller) -> Result<(), Cause> {
        self.present(caller).await?;
        self.catch_up();
        match self.held.take() {
            Some(Held { plan: Plan::AccessPoint(access_point), .. }) => {
                self.report_use(RadioUse::Idle);
                self.dns = None;
                // NetworkManager chooses the next network, so a later failure must not lead back to an earlier one.
                self.previous = None;
                self.discard(&access_point.uuid).await;
                Ok(())
            }
            other => {
                self.held = other;
                let device = Device::find(self.bus()?, self.settings.interface.as_deref()).await?;
                if device.is_access_point { Err(Cause::ForeignAccessPoint) } else { Ok(()) }
            }
        }
    }

    /// Restarts the supplicant, and waits until the radio can be used.
    pub(super) async fn restart_radio(&mut self, caller: &mut Caller) -> Result<(), Cause> {
        self.present(caller).await?;
        self.catch_up();
        self.restart_supplicant().await?;
        tokio::select! {
            biased;
            () = caller.abandoned() => return Err(Cause::Abandoned),
            noticed = self.until_unavailable() => noticed?,
        }
        self.ready(caller).await.map(drop)
    }

    /// Has systemd restart the supplicant. A supplicant that hangs keeps its name on the bus, so NetworkManager cannot replace
    /// it.
    pub(super) async fn restart_supplicant(&self) -> Result<(), Cause> {
        let bus = self.bus()?;
        let systemd: SystemdProxy<'_> = bus.proxy(SYSTEMD.try_into().expect("a valid path")).await?;
        let call = Call { name: "RestartUnit", action: "org.freedesktop.systemd1.manage-units for wpa_supplicant.service" };
        bus.call(call, systemd.restart_unit(SUPPLICANT_UNIT, "replace")).await?;
        info!(unit = SUPPLICANT_UNIT, "restarting the software that drives the radio");
        Ok(())
    }

    /// Waits until NetworkManager has lost the supplicant, for [`RESTART_LIMIT`] at most.
    async fn until_unavailable(&mut self) -> Result<(), Cause> {
        let until = Instant::now() + RESTART_LIMIT;
        loop {
            match timeout_at(until, self.next_event()).await {
                Ok(Ok(Event::State { change, .. })) if change.new == DeviceState::Unavailable => return Ok(()),
                Ok(event) => drop(event?),
                Err(_) => {
                    debug!("NetworkManager has not noticed the restart");
                    return Ok(());
                }
            }
        }
    }

    /// The stored networks, for people.
    pub(super) async fn stored_networks(&mut self, caller: &mut Caller) -> Result<Vec<StoredNetwork>, Cause> {
        self.present(caller).await?;
        let active = match Device::find(self.bus()?, self.settings.interface.as_deref()).await {
            Ok(device) => self.active_profile(&device).await?.map(|profile| profile.stored.uuid),
            Err(Cause::NoDevice | Cause::NoSuchDevice(_)) => None,
            Err(cause) => return Err(cause),
        };
        let network = |stored: super::profile::Stored| {
            Some(StoredNetwork {
                name: stored.name(),
                ssid: Ssid::try_from(stored.ssid.as_slice()).ok()?,
                autoconnect: stored.autoconnect,
                active: active.as_ref() == Some(&stored.uuid),
                uuid: stored.uuid,
            })
        };
        Ok(self.stored().await?.into_iter().filter_map(|(_, stored)| network(stored)).collect())
    }
}
