//! The list of networks in range. Pure: the properties of NetworkManager's access points in, a list out.

use super::bus::Properties;
use super::outcome::Sighting;
use super::values::{
    AP_802_1X, AP_CIPHERS, AP_KEY_MANAGEMENT, AP_OWE, AP_PAIRWISE_CCMP, AP_PRIVACY, AP_PSK, AP_SAE, AP_SUITE_B, MODE_ACCESS_POINT,
};
use provisioning_core::domain::{Network, Security, Ssid};

/// An access point that was not seen for this time may be out of range: NetworkManager lists it for several scans. Seconds.
pub(super) const FRESH: i64 = 60;

/// Answers and beacons that one scan receives from a station are not further apart. Seconds.
const ONE_SCAN: i64 = 3;

/// A station of a network, as NetworkManager lists it.
#[allow(clippy::struct_excessive_bools, reason = "independent observations of one station")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::network) struct Entry {
    /// None if it does not broadcast its name.
    pub ssid: Option<Ssid>,
    pub bssid: String,
    pub security: Security,
    /// It offers WPA3.
    pub sae: bool,
    /// It has no cipher that is younger than TKIP.
    pub outdated: bool,
    /// It has a key management that NetworkManager does not tell.
    pub odd: bool,
    /// MHz.
    pub frequency: u32,
    /// Percent.
    pub strength: u8,
    /// Seconds since the boot; −1 for never.
    pub last_seen: i64,
    /// It is this machine's own access point.
    pub own: bool,
    /// It does not broadcast its name.
    pub hidden: bool,
}

impl Entry {
    /// Reads an access point's properties. `device` is the hardware address of the device that lists it.
    pub(super) fn read(mut properties: Properties, device: &str) -> Option<Self> {
        let bssid: String = properties.take("HwAddress")?;
        let mut flag = |name| properties.take(name).unwrap_or_default();
        let protection = Self::protected(flag("Flags"), flag("WpaFlags"), flag("RsnFlags"));
        Some(Self {
            ssid: name(&properties.take::<Vec<u8>>("Ssid").unwrap_or_default()),
            frequency: properties.take("Frequency").unwrap_or_default(),
            strength: properties.take("Strength").unwrap_or_default(),
            last_seen: properties.take::<i32>("LastSeen").unwrap_or(-1).into(),
            own: bssid.eq_ignore_ascii_case(device) || properties.take("Mode") == Some(MODE_ACCESS_POINT),
            bssid,
            ..protection
        })
    }

    /// A station with that protection, in NetworkManager's flags; the rest is empty.
    pub(in crate::network) fn protected(flags: u32, wpa: u32, rsn: u32) -> Self {
        Self {
            ssid: None,
            bssid: String::new(),
            security: security(flags, wpa, rsn),
            sae: rsn & AP_SAE != 0,
            // A cipher that NetworkManager does not tell is a younger one.
            outdated: (wpa | rsn) & AP_CIPHERS != 0 && (wpa | rsn) & AP_PAIRWISE_CCMP == 0,
            odd: rsn != 0 && (wpa | rsn) & AP_KEY_MANAGEMENT == 0,
            frequency: 0,
            strength: 0,
            last_seen: -1,
            own: false,
            hidden: false,
        }
    }

    const fn is_fresh(&self, now: i64) -> bool {
        self.last_seen >= 0 && now - self.last_seen <= FRESH
    }
}

/// The list that answers scans.
#[derive(Clone, Debug, Default)]
pub(in crate::network) struct List {
    entries: Vec<Entry>,
}

impl List {
    /// Merges entries of the same station, and omits the node's own access point. After a directed scan a station that hides its
    /// name is listed with and without it: the merged one has the name, and the later time. The entry without a name of a station
    /// that no longer hides it stays, because the kernel keeps it, and becomes old.
    pub(in crate::network) fn new(entries: Vec<Entry>) -> Self {
        let (mut named, nameless): (Vec<_>, Vec<_>) =
            entries.into_iter().filter(|entry| !entry.own).partition(|entry| entry.ssid.is_some());
        for nameless in nameless {
            let is_same = |entry: &&mut Entry| entry.bssid == nameless.bssid && entry.last_seen <= nameless.last_seen + ONE_SCAN;
            if let Some(entry) = named.iter_mut().find(is_same) {
                entry.hidden = true;
                entry.last_seen = entry.last_seen.max(nameless.last_seen);
            }
        }
        Self { entries: named }
    }

    /// Whether nothing is in range at `now`, seconds since the boot.
    pub(in crate::network) fn is_empty(&self, now: i64) -> bool {
        !self.entries.iter().any(|entry| entry.is_fresh(now))
    }

    /// The stations in range at `now` that broadcast their names, one entry each. The list is public, and the name of a hidden
    /// network is only in it because a phone has sent it, perhaps sealed.
    pub(in crate::network) fn networks(&self, now: i64) -> Vec<Network> {
        let fresh = self.entries.iter().filter(|entry| entry.is_fresh(now) && !entry.hidden);
        fresh
            .filter_map(|entry| {
                Some(Network {
                    ssid: entry.ssid.clone()?,
                    signal: dbm(entry.strength),
                    security: entry.security,
                    frequency: entry.frequency,
                })
            })
            .collect()
    }

    /// The protection of a network's stations, whenever they were seen.
    pub(in crate::network) fn securities(&self, ssid: &Ssid) -> Vec<Security> {
        self.of(ssid).map(|entry| entry.security).collect()
    }

    /// The stations of a network that were seen within the minute before `now`.
    fn fresh<'a>(&'a self, ssid: &'a Ssid, now: i64) -> Vec<&'a Entry> {
        self.of(ssid).filter(|entry| entry.is_fresh(now)).collect()
    }

    /// The network, if it was seen within the minute before `now`.
    pub(in crate::network) fn sighting(&self, ssid: &Ssid, now: i64) -> Option<Sighting> {
        let fresh = self.fresh(ssid, now);
        (!fresh.is_empty()).then(|| Sighting {
            sae: fresh.iter().any(|entry| entry.sae),
            outdated: fresh.iter().all(|entry| entry.outdated),
            odd: fresh.iter().all(|entry| entry.odd),
        })
    }

    /// The network's stations at `now`, the strongest one first.
    pub(super) fn stations(&self, ssid: &Ssid, now: i64) -> Vec<[u8; 6]> {
        let mut fresh = self.fresh(ssid, now);
        fresh.sort_by_key(|entry| std::cmp::Reverse(entry.strength));
        fresh.into_iter().filter_map(|entry| address(&entry.bssid)).collect()
    }

    /// Whether one of the network's stations broadcasts its name.
    pub(in crate::network) fn is_broadcast(&self, ssid: &Ssid) -> bool {
        self.of(ssid).any(|entry| !entry.hidden)
    }

    fn of<'a>(&'a self, ssid: &'a Ssid) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.ssid.as_ref() == Some(ssid))
    }
}

/// A broadcast name; none if it is hidden. Some routers replace a hidden name by NUL bytes.
pub(in crate::network) fn name(bytes: &[u8]) -> Option<Ssid> {
    Ssid::try_from(bytes).ok().filter(|ssid| ssid.as_bytes().iter().any(|byte| *byte != 0))
}

/// The protection of a station, from its three sets of flags.
pub(super) const fn security(flags: u32, wpa: u32, rsn: u32) -> Security {
    let either = wpa | rsn;
    if rsn & AP_PSK != 0 && rsn & AP_SAE != 0 {
        Security::Wpa2Wpa3
    } else if rsn & AP_PSK != 0 {
        Security::Wpa2
    } else if wpa & AP_PSK != 0 {
        Security::Wpa
    } else if rsn & AP_SAE != 0 {
        Security::Wpa3
    } else if rsn & AP_OWE != 0 {
        Security::Owe
    } else if either & (AP_802_1X | AP_SUITE_B) != 0 {
        Security::Enterprise
    } else if flags & AP_PRIVACY != 0 && either == 0 {
        Security::Wep
    } else if flags & AP_PRIVACY != 0 {
        // NetworkManager does not tell WPA2 with SHA-256 only, nor newer protections. They take a password, and do not count as
        // an open network.
        Security::Wpa2
    } else {
        Security::Open
    }
}

/// The bytes of a hardware address in text.
fn address(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> = text.split(':').map(|pair| u8::from_str_radix(pair, 16)).collect::<Result<_, _>>().ok()?;
    bytes.try_into().ok()
}

/// NetworkManager's percentage as dBm. The existing app shows bars by this formula.
pub(in crate::network) fn dbm(percent: u8) -> i8 {
    // At most 60, so it fits.
    -90 + i8::try_from(u32::from(percent.min(100)) * 6 / 10).expect("60 at most")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Sighting = Sighting { sae: false, outdated: false, odd: false };

    fn entry(ssid: &str, bssid: &str, last_seen: i64) -> Entry {
        Entry {
            ssid: Ssid::try_from(ssid).ok(),
            bssid: bssid.into(),
            security: Security::Wpa2,
            sae: false,
            outdated: false,
            odd: false,
            frequency: 2437,
            strength: 70,
            last_seen,
            own: false,
            hidden: false,
        }
    }

    #[test]
    fn security_follows_the_flags_that_were_measured() {
        for (case, flags, wpa, rsn, expected) in [
            ("open", 0, 0, 0, Security::Open),
            ("open with WPS", 2, 0, 0, Security::Open),
            ("open half of an OWE pair", 0, 0, 0x1000, Security::Open),
            ("WPA2", 1, 0, 0x188, Security::Wpa2),
            ("WPA and WPA2", 1, 0x144, 0x188, Security::Wpa2),
            ("WPA", 1, 0x144, 0, Security::Wpa),
            ("WPA3 only", 1, 0, 0x488, Security::Wpa3),
            ("WPA2/WPA3", 1, 0, 0x588, Security::Wpa2Wpa3),
            ("OWE", 1, 0, 0x888, Security::Owe),
            ("enterprise", 1, 0, 0x288, Security::Enterprise),
            ("enterprise, 192 bits", 1, 0, 0x2000, Security::Enterprise),
            ("WEP", 1, 0, 0, Security::Wep),
            ("WPA2 with SHA-256 only", 1, 0, 0x88, Security::Wpa2),
            ("something newer", 1, 0, 0x8000_0000, Security::Wpa2),
        ] {
            assert_eq!(security(flags, wpa, rsn), expected, "{case}");
        }
    }

    #[test]
    fn percent_becomes_dbm() {
        assert_eq!([0, 1, 50, 75, 99, 100, 255].map(dbm), [-90, -90, -60, -45, -31, -30, -30]);
    }

    #[test]
    fn a_vanished_network_is_not_listed_however_long_networkmanager_keeps_it() {
        let list = List::new(vec![entry("gone", "a", 39), entry("here", "b", 40), entry("never", "c", -1)]);
        let names: Vec<_> = list.networks(100).iter().map(|network| network.ssid.to_string()).collect();
        assert_eq!(names, ["here"]);
        assert_eq!(list.sighting(&Ssid::try_from("gone").expect("short"), 100), None);
    }

    #[test]
    fn a_hidden_name_that_was_uncovered_is_seen_when_its_station_is_and_not_listed() {
        let list = List::new(vec![entry("hidden", "a", 20), entry("", "a", 99), entry("", "b", 99)]);
        let hidden = Ssid::try_from("hidden").expect("short");
        assert_eq!(list.sighting(&hidden, 100), Some(SEEN));
        assert!(!list.is_broadcast(&hidden));
        assert_eq!(list.networks(100), []);
    }

    #[test]
    fn a_station_that_no_longer_hides_its_name_is_listed() {
        let hidden =
            |nameless, named| List::new(vec![entry("", "a", nameless), entry("home", "a", named)]).networks(100).is_empty();
        assert!(hidden(99, 98) && hidden(98, 99) && hidden(99, 60));
        assert!(!hidden(60, 99));
    }

    #[test]
    fn the_nodes_own_access_point_is_left_out() {
        let mut own = entry("jarvis-5b91b661", "a", 100);
        own.own = true;
        assert!(List::new(vec![own]).is_empty(100));
    }

    #[test]
    fn a_network_offers_wpa3_if_one_of_its_stations_does() {
        let mut other = entry("home", "b", 100);
        other.sae = true;
        let list = List::new(vec![entry("home", "a", 100), other]);
        assert_eq!(list.sighting(&Ssid::try_from("home").expect("short"), 100), Some(Sighting { sae: true, ..SEEN }));
    }

    #[test]
    fn the_stations_of_a_network_are_ordered_by_their_strength() {
        let station = |bssid: &str, strength| Entry { strength, ..entry("home", bssid, 100) };
        let stations = [("02:00:00:00:00:0C", 30), ("02:00:00:00:00:0B", 60), ("02:00:00:00:00:0A", 90)];
        let list = List::new(stations.iter().map(|(bssid, strength)| station(bssid, *strength)).collect());
        let home = Ssid::try_from("home").expect("short");
        assert_eq!(list.stations(&home, 100), [0x0a, 0x0b, 0x0c].map(|last| [2, 0, 0, 0, 0, last]));
        assert!(list.stations(&home, 200).is_empty(), "not seen any more");
    }

    #[test]
    fn a_network_is_outdated_or_odd_if_all_of_its_stations_are() {
        let read = |flags: [u32; 2]| {
            let [outdated, odd] = flags.map(|flag| flag != 0);
            Entry { outdated, odd, ..entry("home", "02:00:00:00:00:0A", 100) }
        };
        let seen = |stations: &[[u32; 2]]| {
            List::new(stations.iter().map(|flags| read(*flags)).collect()).sighting(&Ssid::try_from("home").expect("short"), 100)
        };
        assert_eq!(seen(&[[1, 1], [1, 1]]), Some(Sighting { outdated: true, odd: true, ..SEEN }));
        assert_eq!(seen(&[[1, 0], [0, 1]]), Some(SEEN));
    }

    #[test]
    fn a_network_has_one_entry_for_each_of_its_stations() {
        let list = List::new(vec![entry("home", "a", 100), entry("home", "b", 100)]);
        assert_eq!(list.networks(100).len(), 2);
    }
}
