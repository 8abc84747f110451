//! Joining a network, and returning to the previous one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::bus::ROOT;
use super::cause::{Call, Cause};
use super::device::Device;
use super::enterprise::Access;
use super::outcome::Mode;
use super::profile::{KeyManagement, LEAVES_OUT_SAE, Plan, Station, new_uuid};
use super::proxies::ServiceProxy;
use super::radio::{Caller, Radio};
use super::supplicant::{self, Change};
use super::values::Connectivity;
use crate::network::ADDRESS_LIMIT;
use provisioning_core::domain::{EapMethod, Enterprise, Passphrase, RadioUse, Security, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Joined;

/// Association, limited to 25 s by NetworkManager, and DHCP, limited by the profile.
pub(super) const ATTEMPT_LIMIT: Duration = ADDRESS_LIMIT.saturating_add(Duration::from_secs(27));
/// All tries and their scans; shorter than the machine's limit.
const JOIN_LIMIT: Duration = Duration::from_secs(102);
/// NetworkManager's check may hang for half a minute in a portal.
const CONNECTIVITY_LIMIT: Duration = Duration::from_secs(5);

/// How many stations of a network are tried by their addresses, the strongest ones.
const STATIONS: usize = 3;

/// What a network takes.
#[derive(Clone)]
pub(super) enum Key {
    /// A passphrase; empty for an open network.
    Passphrase(Passphrase),
    /// A login, for an enterprise network.
    Login(Arc<Enterprise>),
}

/// How a network is joined: at first as it was seen, then in another way.
#[derive(Default)]
struct Way {
    key_management: Option<KeyManagement>,
    without_sae: bool,
    /// The stations that were tried by their addresses; the last one is this way's.
    stations: Vec<[u8; 6]>,
    /// It is the one retry for other reasons than a station's refusal.
    is_retry: bool,
    /// What was tried.
    was: Option<Tried>,
}

/// A try that has failed.
#[derive(Clone)]
struct Tried {
    key_management: KeyManagement,
    /// The network offers WPA3.
    sae: bool,
    /// The network hides its name, and its protection is not known.
    unseen: bool,
    /// The network's stations, the strongest one first.
    stations: Vec<[u8; 6]>,
}

impl Key {
    /// Empty for an enterprise network.
    fn passphrase(&self) -> Passphrase {
        match self {
            Self::Passphrase(passphrase) => passphrase.clone(),
            Self::Login(_) => Passphrase::try_from(String::new()).expect("an open network's passphrase"),
        }
    }

    fn login(&self) -> Option<Arc<Enterprise>> {
        match self {
            Self::Passphrase(_) => None,
            Self::Login(enterprise) => Some(Arc::clone(enterprise)),
        }
    }

    /// The cause of a failure, which follows from what the network was given.
    fn explain(&self, cause: Cause) -> Cause {
        match (self, cause.fault(), cause) {
            (Self::Passphrase(passphrase), Fault::ProbablyWrongPassword | Fault::Wpa3Failed, _) if passphrase.is_key() => {
                Cause::KeyForWpa3
            }
            (Self::Login(enterprise), _, Cause::Ended { ended, .. })
                if ended.lacks_secret() && enterprise.login().method == EapMethod::Tls =>
            {
                Cause::PrivateKey
            }
            // The supplicant tells a refusal, so the server did not answer.
            (Self::Login(_), Fault::WrongPassword | Fault::ProbablyWrongPassword, Cause::Ended { ended, .. }) => {
                Cause::NoLogin(ended)
            }
            (_, _, cause) => cause,
        }
    }
}

impl Way {
    /// Another way, after a failure that it may avoid.
    fn next(&self, cause: &Cause, version: Option<(u32, u32)>) -> Option<Self> {
        let was = self.was.as_ref().filter(|_| matches!(cause, Cause::Ended { mode: Mode::Station, .. }))?;
        // Another station of the network may have room, or another filter.
        if matches!(cause.fault(), Fault::RouterFull | Fault::RouterRefused) {
            return self.at_another(was);
        }
        if self.is_retry {
            return None;
        }
        let retry = Self { is_retry: true, ..Self::default() };
        let is_psk = was.key_management == KeyManagement::WpaPsk;
        match cause.fault() {
            // The network also offers WPA2, which old drivers and some access points do better.
            Fault::ProbablyWrongPassword | Fault::Wpa3Failed
                if is_psk && was.sae && !self.without_sae && version >= Some(LEAVES_OUT_SAE) =>
            {
                Some(Self { without_sae: true, ..retry })
            }
            // A hidden network, perhaps with WPA3 only, which older versions of NetworkManager try only if they are told.
            Fault::NetworkNotFound if is_psk && was.unseen => Some(Self { key_management: Some(KeyManagement::Sae), ..retry }),
            // A lost frame, and a scan that used up NetworkManager's time limit, have the same result.
            _ if cause.is_worth_a_retry() => Some(Self { is_retry: true, ..self.at_another(was).unwrap_or_default() }),
            _ => None,
        }
    }

    /// The same way at a station that was not tried by its address. The supplicant chooses the first one itself, and usually the
    /// strongest, so that comes last.
    fn at_another(&self, was: &Tried) -> Option<Self> {
        let [strongest, others @ ..] = &*was.stations else { return None };
        if others.is_empty() {
            return None;
        }
        let others = others.iter().take(STATIONS - 1).chain([strongest]);
        let next = others.copied().find(|station| !self.stations.contains(station))?;
        let stations = self.stations.iter().copied().chain([next]).collect();
        let Self { key_management, without_sae, is_retry, .. } = *self;
        Some(Self { key_management, without_sae, stations, is_retry, was: None })
    }
}

impl Radio {
    pub(super) async fn join(&mut self, ssid: &Ssid, key: &Key, hidden: bool, caller: &mut Caller) -> Result<Joined, Cause> {
        if matches!(key, Key::Passphrase(passphrase) if !passphrase.is_printable()) {
            return Err(Cause::Passphrase);
        }
        let until = Instant::now() + JOIN_LIMIT;
        let mut way = Way::default();
        loop {
            match self.join_once(ssid, key, hidden, &mut way, caller, until).await {
                Ok(()) => break,
                Err(cause) => match way.next(&cause, self.version) {
                    Some(next) => {
                        info!("retrying: {}", provisioning_core::fault::chain(&cause));
                        way = next;
                    }
                    None => return Err(cause),
                },
            }
        }
        Ok(Joined { limited_connectivity: self.is_limited().await })
    }

    async fn join_once(
        &mut self,
        ssid: &Ssid,
        key: &Key,
        hidden: bool,
        way: &mut Way,
        caller: &mut Caller,
        until: Instant,
    ) -> Result<(), Cause> {
        let device = self.ready(caller).await?;
        let found = self.look_for(&device, ssid, hidden, caller).await?;
        if found.absent {
            return Err(Cause::NotInList);
        }
        let sighting = found.sighting;
        let odd = sighting.is_some_and(|sighting| sighting.odd);
        let chosen = match key {
            Key::Passphrase(passphrase) => KeyManagement::choose(&found.securities, passphrase)?,
            Key::Login(_) => KeyManagement::choose_for_login(&found.securities, odd)?,
        };
        let key_management = way.key_management.unwrap_or(chosen);
        let sae = sighting.is_some_and(|sighting| sighting.sae) && key_management != KeyManagement::Eap;
        if key_management == KeyManagement::Sae || sae {
            if found.securities == [Security::Wpa3] && supplicant::has_sae(self.bus()?, &device).await == Some(false) {
                return Err(Cause::NoWpa3);
            }
            self.change_supplicant(&device, Change::BothElements).await;
        }
        way.was = Some(Tried { key_management, sae, unseen: hidden && found.securities.is_empty(), stations: found.stations });
        self.remember(&device).await;
        let station = Station {
            uuid: new_uuid()?,
            ssid: ssid.clone(),
            access: key.login().map(|enterprise| Access { enterprise, certificates: self.certificates() }),
            passphrase: key.passphrase(),
            // NetworkManager tries a network whose protection it does not know only if the network is hidden.
            hidden: found.hidden || odd,
            key_management,
            // SAE takes no key.
            without_sae: way.without_sae || sae && key.passphrase().is_key(),
            bssid: way.stations.last().copied(),
        };
        let limit = until.saturating_duration_since(Instant::now()).min(ATTEMPT_LIMIT);
        let joined = match self.activate(Plan::Station(station), &device, sighting, caller, limit).await {
            // The supplicant has scanned during the try.
            Err(Cause::Ended { ended, mode, sighting: None, refusal }) => {
                Err(Cause::Ended { ended, mode, sighting: self.sighting(&device, ssid).await, refusal })
            }
            result => result,
        };
        joined.map_err(|cause| key.explain(cause))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The stations that are tried after each other's refusals.
    fn tried(stations: &[[u8; 6]]) -> Vec<[u8; 6]> {
        let was = |stations: &[[u8; 6]]| Tried {
            key_management: KeyManagement::WpaPsk,
            sae: false,
            unseen: false,
            stations: stations.to_vec(),
        };
        let ways = std::iter::successors(Some(Way::default()), |way| way.at_another(&was(stations)));
        ways.last().map(|way| way.stations).unwrap_or_default()
    }

    #[test]
    fn every_station_that_may_have_room_is_tried_once_and_the_strongest_last() {
        let [a, b, c, d] = [1, 2, 3, 4].map(|last| [2, 0, 0, 0, 0, last]);
        assert_eq!(tried(&[a, b]), [b, a]);
        assert_eq!(tried(&[a, b, c, d]), [b, c, a], "three at most");
        assert!(tried(&[a]).is_empty() && tried(&[]).is_empty());
    }
}
