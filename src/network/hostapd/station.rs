//! Scanning, and joining networks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info};
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use super::address::{self, Client};
use super::bus::{Event, OURS, Values, take};
use super::cause::Cause;
use super::children::{Child, Rights, find};
use super::network::properties;
use super::outcome::{Tracker, Verdict};
use super::profiles::Profile;
use super::radio::{Radio, Station};
use crate::network::ADDRESS_LIMIT;
use crate::network::nm::enterprise::LoginTracker;
use crate::network::nm::outcome::Sighting;
use crate::network::nm::profile::KeyManagement;
use crate::network::nm::scan::{Entry, List, name};
use crate::network::nm::supplicant::{Change, lists_sae};
use crate::network::nm::survey::boot_seconds;
use crate::network::nm::values::{AP_802_1X, AP_OWE, AP_PAIRWISE_CCMP, AP_PAIRWISE_TKIP, AP_PRIVACY, AP_PSK, AP_SAE};
use provisioning_core::domain::{EapMethod, Network, RadioUse, Security, Ssid};
use provisioning_core::fault::{Fault, chain};
use provisioning_core::machine::Joined;

/// All channels take 4 s, or 14 s where every band is allowed.
pub(super) const SCAN_LIMIT: Duration = Duration::from_secs(15);
/// Scans by name before a network counts as absent.
const SCANS_BY_NAME: u8 = 3;
/// For the scan of the supplicant, authentication, association and handshake. A wrong key of WPA2 takes 4 s, because the access
/// point repeats its question.
const ASSOCIATION_LIMIT: Duration = Duration::from_secs(25);
/// A router advertises IPv6 within seconds. Then the network has it alone, or a slow DHCP server, for which nothing has to wait.
const IPV6_ALONE: Duration = Duration::from_secs(10);
/// A client of the system removes the addresses of the network before within this time: systemd-networkd waits 3 s for it to return.
const OLD_ADDRESS_LIMIT: Duration = Duration::from_secs(4);
/// How often the addresses are looked at during a join.
const LOOK: Duration = Duration::from_millis(100);

/// The known properties of a network before the join.
struct Found {
    sighting: Option<Sighting>,
    securities: Vec<Security>,
    hidden: bool,
}

impl Radio {
    /// The networks in range. While the access point is open, those of the last scan: `hostapd` has the radio.
    pub(super) async fn scan(&mut self) -> Result<Vec<Network>, Cause> {
        if self.hotspot.is_some() {
            return Ok(self.networks.clone());
        }
        let (_, radio) = self.ready().await?;
        let mut finished = self.survey(&radio, None).await?;
        if finished && self.list.is_empty(boot_seconds()) {
            // The first scan of a radio that was just switched on may be empty.
            finished = self.survey(&radio, None).await?;
        }
        if !finished && self.networks.is_empty() {
            return Err(Cause::ScanSlow(SCAN_LIMIT));
        }
        Ok(self.networks.clone())
    }

    /// Scans, and reads the list; false if the scan fails or exceeds its limit.
    pub(super) async fn survey(&mut self, radio: &OwnedObjectPath, name: Option<&Ssid>) -> Result<bool, Cause> {
        let until = Instant::now() + SCAN_LIMIT;
        let bus = self.bus.as_mut().ok_or(Cause::BusLost)?;
        bus.catch_up();
        match bus.scan(radio, name.map(Ssid::as_bytes)).await {
            Ok(()) => {}
            // It refuses during a scan of its own, which will end.
            Err(cause @ Cause::Call { .. }) => debug!("{}", chain(&cause)),
            Err(cause) => return Err(cause),
        }
        let finished = loop {
            match timeout_at(until, bus.event()).await {
                Ok(Some(Event::Scanned(finished))) => break finished,
                Ok(Some(Event::Service(false))) => return Err(Cause::Absent),
                Ok(Some(_)) => {}
                Ok(None) => return Err(Cause::BusLost),
                Err(_) => break false,
            }
        };
        if finished {
            let stations: Vec<OwnedObjectPath> = take(&mut bus.of_radio(radio).await?, "BSSs").unwrap_or_default();
            let bus = self.bus()?;
            let now = boot_seconds();
            // A station may disappear between the two calls.
            let read = join_all(stations.iter().map(async |path| bus.of_station(path).await.ok())).await;
            let list = List::new(read.into_iter().flatten().filter_map(|values| entry(values, now)).collect());
            self.networks = list.networks(now);
            self.list = list;
        }
        Ok(finished)
    }

    async fn look_for(&mut self, radio: &OwnedObjectPath, ssid: &Ssid, hidden: bool) -> Result<Found, Cause> {
        let mut finished = 0;
        while finished < SCANS_BY_NAME && self.survey(radio, Some(ssid)).await? {
            finished += 1;
            if self.list.sighting(ssid, boot_seconds()).is_some() {
                break;
            }
        }
        let now = boot_seconds();
        let sighting = self.list.sighting(ssid, now);
        if sighting.is_none() && !hidden && finished == SCANS_BY_NAME && !self.list.is_empty(now) {
            return Err(Cause::NotInList);
        }
        let hidden = hidden || !self.list.is_broadcast(ssid);
        Ok(Found { sighting, securities: self.list.securities(ssid), hidden })
    }

    /// Joins a network, in place of any other use of the radio.
    pub(super) async fn join(&mut self, profile: Profile, kept: bool) -> Result<Joined, Cause> {
        if !profile.passphrase.is_printable() {
            return Err(Cause::Passphrase);
        }
        self.close_hotspot().await;
        let mut without_sae = false;
        let mut again = true;
        loop {
            let Err(cause) = self.join_once(&profile, without_sae, kept).await else { break };
            let fault = cause.fault();
            self.leave().await;
            let is_wpa3s = matches!(fault, Fault::ProbablyWrongPassword | Fault::Wpa3Failed) && !without_sae;
            // Servers lock accounts after a few logins.
            let is_login = matches!(cause, Cause::Login { .. } | Cause::NoLogin(_));
            // The network may also offer WPA2; a lost frame has the same result as a refusal without a reason.
            if !again || is_login || !is_wpa3s && fault != Fault::AssociationFailed {
                self.report_use(RadioUse::Idle);
                return Err(cause);
            }
            info!("retrying once: {}", chain(&cause));
            (again, without_sae) = (false, is_wpa3s);
        }
        if let Some(station) = &mut self.station {
            station.ready = true;
        }
        Ok(Joined { limited_connectivity: false })
    }

    async fn join_once(&mut self, profile: &Profile, without_sae: bool, kept: bool) -> Result<(), Cause> {
        let (interface, radio) = self.ready().await?;
        let found = self.look_for(&radio, &profile.ssid, profile.hidden).await?;
        let profile = Profile { hidden: found.hidden, ..profile.clone() };
        let odd = found.sighting.is_some_and(|sighting| sighting.odd);
        let method = match profile.enterprise {
            Some(_) => KeyManagement::for_login(&found.securities, odd),
            None => KeyManagement::for_network(&found.securities, &profile.passphrase),
        };
        let method = method.map_err(Cause::Protection)?;
        let sae = method != KeyManagement::Eap && found.sighting.is_some_and(|sighting| sighting.sae);
        let has_sae = match self.bus()?.of_radio(&radio).await?.remove("Capabilities") {
            Some(capabilities) => lists_sae(capabilities),
            None => None,
        };
        if method == KeyManagement::Sae && has_sae == Some(false) {
            return Err(Cause::NoWpa3);
        }
        let with_sae = sae && !without_sae && !profile.passphrase.is_key() && has_sae != Some(false);
        if with_sae {
            self.change_supplicant(&interface, &radio, Change::BothElements).await;
        }
        self.leave().await;
        self.without_addresses(&interface).await?;
        self.report_use(RadioUse::Station { interface: interface.clone() });
        self.station = Some(Station { profile: profile.clone(), ready: false, kept });
        if let Some(enterprise) = &profile.enterprise {
            self.certificates().write(OURS, enterprise.login()).map_err(Cause::Certificates)?;
        }
        let network = properties(&profile, method, with_sae, &self.certificates());
        // WPA2 fails in another way than WPA3.
        let sighting = found.sighting.map(|sighting| Sighting { sae: with_sae || method == KeyManagement::Sae, ..sighting });
        let login = profile.enterprise.as_ref().map(|enterprise| enterprise.login().method);
        self.associate(&radio, network, sighting, login).await?;
        self.take_address(&interface).await
    }

    /// Has the supplicant join a network, and waits until it is in it. `method`: of the login to an enterprise network.
    async fn associate(
        &mut self,
        radio: &OwnedObjectPath,
        network: HashMap<&'static str, Variant<'_>>,
        sighting: Option<Sighting>,
        method: Option<EapMethod>,
    ) -> Result<(), Cause> {
        let bus = self.bus.as_mut().ok_or(Cause::BusLost)?;
        bus.catch_up();
        let path = bus.select(radio, network).await?;
        let until = Instant::now() + ASSOCIATION_LIMIT;
        let mut tracker = Tracker::new(sighting);
        let mut login = LoginTracker::default();
        loop {
            let verdict = match timeout_at(until, bus.event()).await {
                Ok(Some(Event::Changed(report))) => {
                    debug!(?report, "the supplicant reports");
                    tracker.observe(&report)
                }
                Ok(Some(Event::Mismatch)) => Verdict::Failed(Fault::WrongPassword),
                Ok(Some(Event::Login(status, parameter))) => {
                    // The supplicant would try again with the same.
                    if let (Some(method), Some(failure)) = (method, login.observe(&status, &parameter)) {
                        return Err(Cause::Login { method, failure });
                    }
                    Verdict::Pending
                }
                Ok(Some(Event::Service(false))) => return Err(Cause::Absent),
                Ok(Some(Event::Scanned(_) | Event::Service(true))) => Verdict::Pending,
                Ok(None) => return Err(Cause::BusLost),
                Err(_) => Verdict::Failed(tracker.late()),
            };
            match verdict {
                Verdict::Pending => {}
                Verdict::Joined => {
                    // Another network may have been completed at the moment of the call.
                    let current: Option<OwnedObjectPath> = take(&mut bus.of_radio(radio).await?, "CurrentNetwork");
                    if current.is_none_or(|current| current == path) {
                        return Ok(());
                    }
                }
                Verdict::Failed(_) if method.is_some() && login.has_begun() => {
                    return Err(Cause::NoLogin(format!("the supplicant reports {tracker:?}")));
                }
                Verdict::Failed(fault) => return Err(Cause::Refused(format!("the supplicant reports {tracker:?}"), fault)),
            }
        }
    }

    /// Tells a supplicant that has started again the network that the node was in.
    pub(super) async fn associate_again(&mut self, profile: &Profile) -> Result<(), Cause> {
        let (_, radio) = self.ready().await?;
        let method = match profile.enterprise {
            Some(_) => KeyManagement::Eap,
            None => {
                let securities = self.list.securities(&profile.ssid);
                KeyManagement::for_network(&securities, &profile.passphrase).map_err(Cause::Protection)?
            }
        };
        let network = properties(profile, method, false, &self.certificates());
        // It retries by itself.
        self.bus()?.select(&radio, network).await.map(drop)
    }

    /// Leaves the network of this program, if it is in one, or joins one.
    pub(super) async fn leave(&mut self) {
        self.station = None;
        if let Some(client) = self.client.take() {
            client.stop().await;
        }
        let leaving = async {
            let interface = self.device()?;
            let bus = self.bus()?;
            match bus.radio(&interface).await? {
                Some(radio) => bus.remove_ours(&radio).await,
                None => Ok(()),
            }
        };
        if let Err(cause) = leaving.await {
            debug!("leaving the network: {}", chain(&cause));
        }
        self.certificates().erase(OURS);
    }

    /// Removes addresses of the network before, unless their client does. An address after that is of the new network.
    async fn without_addresses(&self, interface: &str) -> Result<(), Cause> {
        let until = Instant::now() + OLD_ADDRESS_LIMIT;
        loop {
            let old = address::list(interface)?.into_iter().filter_map(|(address, prefix)| match address {
                IpAddr::V4(address) => Some((address, prefix)),
                IpAddr::V6(_) => None,
            });
            let old: Vec<_> = old.collect();
            if old.is_empty() {
                return Ok(());
            }
            if Instant::now() >= until || self.system_client(interface).await.is_none() {
                return old.into_iter().try_for_each(|(address, prefix)| address::delete(interface, address, prefix));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The client of the system that gives the interface its addresses.
    async fn system_client(&self, interface: &str) -> Option<Client> {
        let run = &self.settings.run;
        if address::is_networkds(run, interface) && self.bus().ok()?.has("org.freedesktop.network1").await {
            return Some(Client::System("systemd-networkd"));
        }
        address::is_dhcpcds(run, interface).then_some(Client::System("dhcpcd"))
    }

    /// Waits for an address. IPv6 alone suffices after some time.
    async fn take_address(&mut self, interface: &str) -> Result<(), Cause> {
        let client = match self.system_client(interface).await {
            Some(client) => client,
            None if find("udhcpc").is_some() => Client::Own,
            None => return Err(Cause::NoClient),
        };
        info!(?client, "waiting for an address");
        if client == Client::Own {
            let arguments = ["-f", "-i", interface];
            self.client =
                Some(Child::start(&self.settings.launcher, "udhcpc", Rights::Kept, &arguments, "", ADDRESS_LIMIT).await?);
        }
        let began = Instant::now();
        loop {
            let waited = began.elapsed();
            let suffices = |address: &IpAddr| address::is_global(address) && (address.is_ipv4() || waited >= IPV6_ALONE);
            if address::list(interface)?.iter().any(|(address, _)| suffices(address)) {
                return Ok(());
            }
            if waited >= ADDRESS_LIMIT {
                return Err(Cause::NoAddress(ADDRESS_LIMIT));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A station of a network, from the supplicant's properties of it. `now`: seconds since the boot.
fn entry(mut values: Values, now: i64) -> Option<Entry> {
    let bssid: Vec<u8> = take(&mut values, "BSSID")?;
    let [wpa, rsn] = ["WPA", "RSN"].map(|name| flags(take(&mut values, name).unwrap_or_default()));
    let privacy = if take(&mut values, "Privacy") == Some(true) { AP_PRIVACY } else { 0 };
    let signal: i16 = take(&mut values, "Signal").unwrap_or(i16::MIN);
    let age: u32 = take(&mut values, "Age").unwrap_or_default();
    Some(Entry {
        ssid: name(&take::<Vec<u8>>(&mut values, "SSID").unwrap_or_default()),
        bssid: bssid.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"),
        frequency: take::<u16>(&mut values, "Frequency").unwrap_or_default().into(),
        strength: percent(signal),
        last_seen: now - i64::from(age),
        own: take::<String>(&mut values, "Mode").is_some_and(|mode| mode != "infrastructure"),
        ..Entry::protected(privacy, wpa, rsn)
    })
}

/// NetworkManager's percentage of a signal, dBm: the inverse of [`crate::network::nm::scan::dbm`].
pub(super) fn percent(dbm: i16) -> u8 {
    let above = (i32::from(dbm) + 90).clamp(0, 60);
    u8::try_from(above * 10 / 6 + i32::from(above * 10 % 6 != 0)).expect("100 at most")
}

/// The protection of a station in NetworkManager's flags, from the lists of its key managements and ciphers.
fn flags(mut element: HashMap<String, OwnedVariant>) -> u32 {
    let mut list = |name| element.remove(name).and_then(|list| Vec::<String>::try_from(list).ok()).unwrap_or_default();
    let (methods, ciphers) = (list("KeyMgmt"), list("Pairwise"));
    let method = |method: &String| match method.as_str() {
        sae if sae.contains("sae") => AP_SAE,
        psk if psk.contains("psk") => AP_PSK,
        "owe" => AP_OWE,
        eap if eap.contains("eap") || eap.contains("suite-b") => AP_802_1X,
        _ => 0,
    };
    let cipher = |cipher: &String| match cipher.as_str() {
        "tkip" => AP_PAIRWISE_TKIP,
        // Younger ones are at least as good.
        ccmp if !ccmp.contains("wep") && ccmp != "none" => AP_PAIRWISE_CCMP,
        _ => 0,
    };
    methods.iter().map(method).chain(ciphers.iter().map(cipher)).fold(0, |all, one| all | one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::nm::scan::dbm;

    fn owned<'a>(value: impl Into<Variant<'a>>) -> OwnedVariant {
        value.into().try_into_owned().expect("no file descriptors")
    }

    fn list(values: &[&str]) -> OwnedVariant {
        owned(values.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn station(rsn: &[(&str, &[&str])]) -> Values {
        let rsn: HashMap<String, Variant<'_>> =
            rsn.iter().map(|(name, values)| ((*name).to_owned(), list(values).into())).collect();
        HashMap::from([
            ("SSID".to_owned(), owned(b"home".to_vec())),
            ("BSSID".to_owned(), owned(vec![2_u8, 0, 0, 0, 1, 0xab])),
            ("Privacy".to_owned(), owned(true)),
            ("Mode".to_owned(), owned("infrastructure")),
            ("Frequency".to_owned(), owned(2437_u16)),
            ("Signal".to_owned(), owned(-54_i16)),
            ("Age".to_owned(), owned(3_u32)),
            ("RSN".to_owned(), owned(rsn)),
        ])
    }

    #[test]
    fn a_station_is_read_from_its_properties() {
        let protected: &[(&str, &[&str])] = &[("KeyMgmt", &["wpa-psk", "sae"]), ("Pairwise", &["ccmp"])];
        let entry = entry(station(protected), 100).expect("it has an address");
        assert_eq!((entry.bssid.as_str(), entry.last_seen, entry.frequency), ("02:00:00:00:01:AB", 97, 2437));
        assert_eq!((entry.security, entry.sae, entry.outdated, entry.odd), (Security::Wpa2Wpa3, true, false, false));
        assert_eq!(dbm(entry.strength), -54);
        assert_eq!(super::entry(HashMap::new(), 100), None);
    }

    #[test]
    fn the_protection_follows_methods_and_ciphers() {
        for (methods, ciphers, expected, outdated, odd) in [
            (&["wpa-psk"][..], &["ccmp"][..], Security::Wpa2, false, false),
            (&["wpa-psk-sha256"], &["ccmp"], Security::Wpa2, false, false),
            (&["wpa-ft-psk", "ft-sae"], &["ccmp"], Security::Wpa2Wpa3, false, false),
            (&["sae"], &["gcmp-256"], Security::Wpa3, false, false),
            (&["owe"], &["ccmp"], Security::Owe, false, false),
            (&["wpa-eap-sha256"], &["ccmp"], Security::Enterprise, false, false),
            (&["wpa-psk"], &["tkip"], Security::Wpa2, true, false),
            (&["something"], &["ccmp"], Security::Wpa2, false, true),
        ] {
            let entry = entry(station(&[("KeyMgmt", methods), ("Pairwise", ciphers)]), 100).expect("it has an address");
            assert_eq!((entry.security, entry.outdated, entry.odd), (expected, outdated, odd), "{methods:?} {ciphers:?}");
        }
    }

    #[test]
    fn a_signal_becomes_a_percentage_and_back() {
        for signal in -90..=-30 {
            assert_eq!(i16::from(dbm(percent(signal))), signal);
        }
        assert_eq!([i16::MIN, -100, 0, i16::MAX].map(percent), [0, 0, 100, 100]);
    }
}
