//! The profiles that NetworkManager stores. Only profiles of this program are changed or deleted.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{debug, info, warn};
use zbus::OwnedObjectPath;

use super::activation::{DELETE, GET_BY_UUID, SETTINGS};
use super::cause::{Call, Cause};
use super::device::Device;
use super::profile::{Plan, Station, Stored};
use super::proxies::{ConnectionProxy, SettingsProxy, StoredProfile};
use super::radio::{Caller, Radio};
use super::values::{ACTIVE_ACTIVATED, ACTIVE_ACTIVATING, PROFILE_VOLATILE, TO_DISK};

const ACTIVE: &str = "org.freedesktop.NetworkManager.Connection.Active";
const PROFILE: &str = "org.freedesktop.NetworkManager.Settings.Connection";
const MODIFY: &str = "org.freedesktop.NetworkManager.settings.modify.system";
const CONTROL: &str = "org.freedesktop.NetworkManager.network-control";

/// How long a joined network waits for a NetworkManager that restarts: on a slow device, and shorter than the machine's limit. The
/// registration is complete by then, and would be lost.
const KEEP_LIMIT: Duration = Duration::from_mins(1);
/// Between two tries, if nothing happens on the bus.
const KEEP_PAUSE: Duration = Duration::from_millis(500);

/// A profile and its state.
pub(super) struct ActiveProfile {
    pub stored: Stored,
    /// It is activated or activating.
    pub is_up: bool,
    volatile: bool,
}

impl ActiveProfile {
    /// Whether the profile ends with its connection, so that it cannot be activated again.
    pub(super) const fn is_temporary(&self) -> bool {
        self.volatile || self.stored.access_point
    }
}

impl Radio {
    /// Stores the joined network; returns it. Needs no adapter.
    pub(super) async fn keep(&mut self, caller: &mut Caller) -> Result<Station, Cause> {
        let Some(Plan::Station(station)) = self.held.as_ref().map(|held| held.plan.clone()) else {
            return Err(Cause::NothingJoined);
        };
        let until = Instant::now() + KEEP_LIMIT;
        while let Err(cause) = self.store(&station, caller).await {
            // NetworkManager may have ended before its answer. Its successor is on the bus before its objects are.
            if !cause.is_absence() || Instant::now() >= until {
                return Err(cause);
            }
            debug!("storing the network again: {}", provisioning_core::fault::chain(&cause));
            self.event_within(KEEP_PAUSE, caller).await?;
        }
        self.held = None;
        self.previous = None;
        Ok(station)
    }

    async fn store(&mut self, station: &Station, caller: &mut Caller) -> Result<(), Cause> {
        self.present(caller).await?;
        station.write_certificates().map_err(Cause::Certificates)?;
        match self.profile_path(&station.uuid).await? {
            Some(path) => self.promote(&path, station).await,
            // The link was lost, and the volatile profile with it. The new profile connects automatically.
            None => self.add(station).await,
        }
    }

    /// Makes a profile permanent, with its original settings.
    async fn promote(&self, path: &OwnedObjectPath, station: &Station) -> Result<(), Cause> {
        let bus = self.bus()?;
        let profile: ConnectionProxy<'_> = bus.proxy(path.as_ref()).await?;
        // Without settings NetworkManager stores those that it has. Some are its own: it marks an unseen network as hidden, and
        // ties one with a default name to that router. And version 1.30 stores them without the passphrase.
        let call = Call { name: "Update2", action: MODIFY };
        bus.call(call, profile.update2(&station.settings(), TO_DISK, &HashMap::new())).await?;
        Ok(())
    }

    async fn add(&self, station: &Station) -> Result<(), Cause> {
        info!("the joined network was lost meanwhile; creating its profile again");
        let bus = self.bus()?;
        let settings: SettingsProxy<'_> = bus.proxy(SETTINGS.try_into().expect("a valid path")).await?;
        let call = Call { name: "AddConnection2", action: MODIFY };
        bus.call(call, settings.add_connection2(&station.settings(), TO_DISK, &HashMap::new())).await?;
        Ok(())
    }

    /// Deletes this program's older profiles of the same network. The network is already stored, so a failure is only
    /// logged, and no caller waits for it.
    pub(super) async fn delete_older(&self, station: &Station) {
        let older =
            |stored: &Stored| !stored.access_point && stored.uuid != station.uuid && stored.ssid == station.ssid.as_bytes();
        if let Err(cause) = self.delete_ours(older).await {
            warn!("older profiles of the network could not be deleted: {}", provisioning_core::fault::chain(&cause));
        }
        self.sweep_certificates().await;
    }

    /// Deletes the certificates of profiles that no longer exist: others may have deleted them.
    pub(super) async fn sweep_certificates(&self) {
        match self.profiles().await {
            Ok(profiles) => {
                let is_known = |name: &str| profiles.iter().any(|(_, stored)| name.starts_with(&stored.uuid));
                self.certificates().erase_unless(is_known);
            }
            Err(cause) => debug!("the certificates stay: {}", provisioning_core::fault::chain(&cause)),
        }
    }

    /// Deletes every network of this program; an open access point stays. Needs no adapter.
    pub(super) async fn forget(&mut self, caller: &mut Caller) -> Result<(), Cause> {
        self.present(caller).await?;
        if self.held.as_ref().is_some_and(|held| matches!(held.plan, Plan::Station(_))) {
            self.held = None;
        }
        self.delete_ours(|stored| !stored.access_point).await?;
        self.certificates().erase_unless(|_| false);
        sync().await
    }

    /// Deletes the stored networks of this name. Needs no adapter.
    pub(super) async fn delete_named(&mut self, name: &str, caller: &mut Caller) -> Result<(), Cause> {
        self.present(caller).await?;
        let mut networks = self.stored().await?;
        networks.retain(|(_, stored)| stored.name() == name || stored.id == name);
        if networks.is_empty() {
            return Err(Cause::NotStored);
        }
        for (path, stored) in networks {
            self.delete(&path).await?;
            self.certificates().erase(&stored.uuid);
            info!(uuid = stored.uuid, "deleted a stored network");
        }
        sync().await
    }

    /// Deletes networks that were joined and never stored, also by an earlier run.
    pub(super) async fn sweep(&self) -> Result<(), Cause> {
        for (path, stored) in self.ours().await? {
            if !stored.access_point && self.is_volatile(&path).await? {
                self.delete(&path).await?;
                self.certificates().erase(&stored.uuid);
            }
        }
        Ok(())
    }

    async fn delete_ours(&self, which: impl Fn(&Stored) -> bool) -> Result<(), Cause> {
        for (path, stored) in self.ours().await? {
            if which(&stored) {
                self.delete(&path).await?;
                self.certificates().erase(&stored.uuid);
                info!(uuid = stored.uuid, "deleted a profile of this program");
            }
        }
        Ok(())
    }

    async fn delete(&self, path: &OwnedObjectPath) -> Result<(), Cause> {
        let bus = self.bus()?;
        let profile: ConnectionProxy<'_> = bus.proxy(path.as_ref()).await?;
        match bus.call(DELETE, profile.delete()).await {
            Err(cause) if cause.is_missing_object() => Ok(()),
            result => result,
        }
    }

    /// The profiles of this program.
    async fn ours(&self) -> Result<Vec<(OwnedObjectPath, Stored)>, Cause> {
        let mut profiles = self.profiles().await?;
        profiles.retain(|(_, stored)| stored.ours);
        Ok(profiles)
    }

    /// The networks that this user may see and that are not temporary; the one that was used last comes first.
    pub(super) async fn stored(&self) -> Result<Vec<(OwnedObjectPath, Stored)>, Cause> {
        let mut networks = Vec::new();
        for (path, stored) in self.profiles().await? {
            if stored.station && !self.is_volatile(&path).await? {
                networks.push((path, stored));
            }
        }
        networks.sort_by_key(|(_, stored)| std::cmp::Reverse(stored.used));
        Ok(networks)
    }

    /// The Wi-Fi profiles that this user may see.
    async fn profiles(&self) -> Result<Vec<(OwnedObjectPath, Stored)>, Cause> {
        let bus = self.bus()?;
        let settings: SettingsProxy<'_> = bus.proxy(SETTINGS.try_into().expect("a valid path")).await?;
        let mut profiles = Vec::new();
        for path in bus.call(Call { name: "ListConnections", action: CONTROL }, settings.list_connections()).await? {
            if let Some(stored) = self.settings_of(&path).await?.as_ref().and_then(Stored::read) {
                profiles.push((path, stored));
            }
        }
        Ok(profiles)
    }

    /// A profile's settings; none if it no longer exists, or belongs to another user.
    async fn settings_of(&self, path: &OwnedObjectPath) -> Result<Option<StoredProfile>, Cause> {
        let bus = self.bus()?;
        let profile: ConnectionProxy<'_> = bus.proxy(path.as_ref()).await?;
        match bus.call(Call { name: "GetSettings", action: CONTROL }, profile.get_settings()).await {
            Ok(settings) => Ok(Some(settings)),
            Err(cause @ Cause::Denied { .. }) => {
                debug!("{}", provisioning_core::fault::chain(&cause));
                Ok(None)
            }
            Err(cause) if cause.is_missing_object() => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    pub(super) async fn profile_path(&self, uuid: &str) -> Result<Option<OwnedObjectPath>, Cause> {
        let bus = self.bus()?;
        let settings: SettingsProxy<'_> = bus.proxy(SETTINGS.try_into().expect("a valid path")).await?;
        match bus.call(GET_BY_UUID, settings.get_connection_by_uuid(uuid)).await {
            Ok(path) => Ok(Some(path)),
            Err(cause) if cause.is_missing_object() => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    async fn is_volatile(&self, path: &OwnedObjectPath) -> Result<bool, Cause> {
        match self.bus()?.properties(path, PROFILE).await {
            Ok(mut properties) => Ok(properties.take::<u32>("Flags").is_some_and(|flags| flags & PROFILE_VOLATILE != 0)),
            Err(cause) if cause.is_missing_object() => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    /// The device's current profile.
    pub(super) async fn active_profile(&self, device: &Device) -> Result<Option<ActiveProfile>, Cause> {
        let bus = self.bus()?;
        let Some(active) = device.active_now(bus).await? else { return Ok(None) };
        let mut properties = match bus.properties(&active, ACTIVE).await {
            Err(cause) if cause.is_missing_object() => return Ok(None),
            properties => properties?,
        };
        let state: u32 = properties.take("State").unwrap_or_default();
        let path: OwnedObjectPath = properties.need("Connection")?;
        let Some(stored) = self.settings_of(&path).await?.as_ref().and_then(Stored::read) else { return Ok(None) };
        let is_up = [ACTIVE_ACTIVATING, ACTIVE_ACTIVATED].contains(&state);
        Ok(Some(ActiveProfile { stored, is_up, volatile: self.is_volatile(&path).await? }))
    }
}

/// NetworkManager removes the file of a profile and does not sync its folder, which this user may not open.
async fn sync() -> Result<(), Cause> {
    spawn_blocking(rustix::fs::sync).await.map_err(|_| Cause::Stopped)
}
