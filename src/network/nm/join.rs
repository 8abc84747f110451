//! Joining a network, and returning to the previous one.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::bus::ROOT;
use super::cause::{Call, Cause};
use super::device::Device;
use super::profile::{KeyManagement, Plan, Station, new_uuid};
use super::proxies::ServiceProxy;
use super::radio::{Caller, Radio};
use super::values::Connectivity;
use provisioning_core::domain::{Passphrase, RadioUse, Ssid};
use provisioning_core::machine::Joined;

/// Association, limited to 25 s by NetworkManager, and DHCP, limited to 25 s by the profile.
const ATTEMPT_LIMIT: Duration = Duration::from_mins(1);
/// Both tries and their scans; shorter than the machine's limit.
const JOIN_LIMIT: Duration = Duration::from_secs(100);
/// NetworkManager's check may hang for half a minute in a portal.
const CONNECTIVITY_LIMIT: Duration = Duration::from_secs(5);

impl Radio {
    pub(super) async fn join(
        &mut self,
        ssid: &Ssid,
        passphrase: &Passphrase,
        hidden: bool,
        caller: &mut Caller,
    ) -> Result<Joined, Cause> {
        if !passphrase.is_empty() && !passphrase.fits_wpa() {
            // NetworkManager would report a missing passphrase.
            return Err(Cause::Passphrase);
        }
        let until = Instant::now() + JOIN_LIMIT;
        let mut again = true;
        loop {
            match self.join_once(ssid, passphrase, hidden, caller, until).await {
                Ok(()) => break,
                // A lost frame, and a scan that used up NetworkManager's time limit, have the same result.
                Err(cause) if again && cause.is_worth_a_retry() => {
                    info!("retrying once: {}", provisioning_core::fault::chain(&cause));
                    again = false;
                }
                Err(cause) => return Err(cause),
            }
        }
        Ok(Joined { limited_connectivity: self.is_limited().await })
    }

    async fn join_once(
        &mut self,
        ssid: &Ssid,
        passphrase: &Passphrase,
        hidden: bool,
        caller: &mut Caller,
        until: Instant,
    ) -> Result<(), Cause> {
        let device = self.ready(caller).await?;
        let found = self.look_for(&device, ssid, hidden, caller).await?;
        if found.absent {
            return Err(Cause::NotInList);
        }
        let key_management = KeyManagement::choose(&found.securities, passphrase)?;
        self.remember(&device).await;
        let station = Station {
            uuid: new_uuid()?,
            ssid: ssid.clone(),
            passphrase: passphrase.clone(),
            hidden: found.hidden,
            key_management,
        };
        let limit = until.saturating_duration_since(Instant::now()).min(ATTEMPT_LIMIT);
        match self.activate(Plan::Station(station), &device, found.sighting, caller, limit).await {
            // The supplicant has scanned during the try.
            Err(Cause::Ended { ended, mode, sighting: None }) => {
                Err(Cause::Ended { ended, mode, sighting: self.sighting(&device, ssid).await })
            }
            result => result,
        }
    }

    /// Activates a lost connection again. Without diagnosis: after a failure it is retried later.
    pub(super) async fn activate_again(&mut self, mut plan: Plan, caller: &mut Caller) -> Result<(), Cause> {
        let device = self.ready(caller).await?;
        self.discard(plan.uuid()).await;
        match &mut plan {
            Plan::AccessPoint(access_point) => {
                access_point.interface.clone_from(&device.interface);
                access_point.address = self.address(&device.interface);
                self.raise(access_point.clone(), &device, caller).await
            }
            Plan::Station(_) => self.activate(plan, &device, None, caller, ATTEMPT_LIMIT).await,
        }
    }

    /// Records the active profile as the one to return to: the first one before any request.
    pub(super) async fn remember(&mut self, device: &Device) {
        if self.previous.is_some() {
            return;
        }
        match self.active_profile(device).await {
            Ok(Some(profile)) if !profile.is_temporary() => {
                debug!(uuid = profile.stored.uuid, "recorded the previous network");
                self.previous = Some(profile.stored.uuid);
            }
            Ok(_) => {}
            Err(cause) => warn!("the previous network cannot be determined: {}", provisioning_core::fault::chain(&cause)),
        }
    }

    pub(super) async fn restore(&mut self, caller: &mut Caller) -> Result<(), Cause> {
        let held = self.held.take();
        self.report_use(RadioUse::Idle);
        let device = self.ready(caller).await?;
        let restored = match self.previous.clone() {
            Some(previous) => self.go_back(&previous, &device, caller).await,
            None => Ok(()),
        };
        // The previous network replaces the joined one, whose profile NetworkManager then deletes. Without a previous network,
        // deleting the profile makes NetworkManager choose among its stored ones.
        if let Some(held) = held {
            self.discard(held.plan.uuid()).await;
        }
        self.sweep().await?;
        self.dns = None;
        restored?;
        self.previous = None;
        Ok(())
    }

    async fn go_back(&mut self, uuid: &str, device: &Device, caller: &mut Caller) -> Result<(), Cause> {
        if self.active_profile(device).await?.is_some_and(|profile| profile.stored.uuid == uuid && profile.is_up) {
            return Ok(());
        }
        let Some(path) = self.profile_path(uuid).await? else {
            info!("the profile of the previous network no longer exists");
            return Ok(());
        };
        self.activate_stored(&path, device, caller, ATTEMPT_LIMIT).await
    }

    /// Whether NetworkManager found a portal, or no internet. It checks only if its configuration names a URI.
    async fn is_limited(&self) -> bool {
        let checking = async {
            let bus = self.bus()?;
            let root = ROOT.try_into().expect("a valid path");
            let mut properties = bus.properties(&root, "org.freedesktop.NetworkManager").await?;
            let checks = properties.take("ConnectivityCheckAvailable").unwrap_or(false)
                && properties.take("ConnectivityCheckEnabled").unwrap_or(false);
            if !checks {
                return Ok(Connectivity::Unknown);
            }
            let service: ServiceProxy<'_> = bus.proxy(root).await?;
            let call = Call { name: "CheckConnectivity", action: "org.freedesktop.NetworkManager.network-control" };
            bus.call(call, service.check_connectivity()).await.map(Connectivity::from)
        };
        match timeout(CONNECTIVITY_LIMIT, checking).await {
            Ok(Ok(found)) => {
                debug!(%found, "connectivity");
                matches!(found, Connectivity::Portal | Connectivity::Limited)
            }
            Ok(Err(cause)) => {
                debug!("connectivity is unknown: {}", provisioning_core::fault::chain(&cause));
                false
            }
            Err(_) => {
                debug!("connectivity is unknown after {} s", CONNECTIVITY_LIMIT.as_secs());
                false
            }
        }
    }
}
