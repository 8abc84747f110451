//! The profiles of this program, and how they are distinguished from others.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use zbus::{OwnedVariant, Variant};

use super::cause::{Call, Cause};
use super::enterprise::Access;
use super::outcome::Mode;
use super::proxies::{Options, Profile, StoredProfile};
use super::subnet::PREFIX;
use crate::network::{ADDRESS_LIMIT, Error};
use provisioning_core::domain::{self, EapMethod, Passphrase, RadioUse, Security, Ssid};

/// A profile is ours if its id starts with this, and it has a UUID of [`NAME_SPACE`] or the [`MARKER`].
///
/// The id alone does not suffice, because an owner may give a profile a similar name; a profile that the owner has renamed is
/// the owner's.
const ID_PREFIX: &str = "jarvis-";
/// The first 64 bits of every UUID of this program: a UUID of version 8 (RFC 9562, 5.8), whose other bits are random.
///
/// A UUID survives wherever a profile is stored. A NetworkManager that stores its profiles with netplan loses [`MARKER`],
/// because netplan splits the name of a setting at its last dot.
const NAME_SPACE: u64 = 0x6a61_7276_6973_8001;
/// Key and value in `user.data`, which NetworkManager stores with the profile and never uses itself; it requires a dot in the
/// key.
const MARKER: (&str, &str) = ("org.jarvis.provisioning", "1");

/// NetworkManager's type of the connection.
const WIFI: &str = "802-11-wireless";
const WIFI_SECURITY: &str = "802-11-wireless-security";
const ENTERPRISE: &str = "802-1x";

/// How long other devices have to defend an address from DHCP before it is used, milliseconds. The default of older versions of
/// NetworkManager is to use it at once.
const CONFLICT_TIMEOUT: i32 = 200;
/// NetworkManager joins a stored network without a limit of failures. By default it pauses for five minutes after four, which a
/// router that is starting may cause.
const UNLIMITED: i32 = 0;
/// Disables protected management frames, because access points fail with them on drivers that cannot install the group's
/// integrity key, such as brcmfmac. `NM_SETTING_WIRELESS_SECURITY_PMF_DISABLE`.
const PMF_DISABLE: i32 = 1;
/// The version of NetworkManager that takes WPA3 out of a station's profile if it disables protected management frames.
pub(super) const LEAVES_OUT_SAE: (u32, u32) = (1, 56);

/// NetworkManager's `key-mgmt` of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::network) enum KeyManagement {
    /// No security.
    Open,
    /// WPA or WPA2; from NetworkManager 1.36 on also WPA3 where it is offered beside WPA2.
    WpaPsk,
    /// WPA3 only.
    Sae,
    /// Encryption without a passphrase.
    Owe,
    /// A login to an enterprise network.
    Eap,
}

impl KeyManagement {
    /// For a network whose stations have these securities.
    pub(super) fn choose(seen: &[Security], passphrase: &Passphrase) -> Result<Self, Cause> {
        let has = |security: Security| seen.contains(&security);
        let has_psk = has(Security::Wpa) || has(Security::Wpa2) || has(Security::Wpa2Wpa3);
        let has_sae = has(Security::Wpa3) || has(Security::Wpa2Wpa3);
        let is_open = has(Security::Open) || has(Security::Owe);
        match passphrase {
            none if none.is_empty() => match seen {
                [] => Ok(Self::Open),
                _ if has(Security::Owe) => Ok(Self::Owe),
                _ if is_open => Ok(Self::Open),
                _ if has_psk || has_sae => Err(Cause::NoPassphrase),
                [first, ..] => Err(Cause::Security(*first)),
            },
            other if !other.is_printable() => Err(Cause::Passphrase),
            psk if psk.fits_psk() && has_psk => Ok(Self::WpaPsk),
            key if key.is_key() && has_sae => Err(Cause::KeyForWpa3),
            _ if has_sae => Ok(Self::Sae),
            _ if has_psk => Err(Cause::Passphrase),
            _ if is_open => Err(Cause::Open),
            other => match seen {
                // An unseen network: the method that almost every protected network accepts.
                [] if other.fits_psk() => Ok(Self::WpaPsk),
                [] => Ok(Self::Sae),
                [first, ..] => Err(Cause::Security(*first)),
            },
        }
    }

    /// The same for another adapter.
    pub(in crate::network) fn for_network(seen: &[Security], passphrase: &Passphrase) -> Result<Self, Error> {
        Self::choose(seen, passphrase).map_err(|cause| Error::because("choosing the protection", cause.fault(), cause))
    }

    /// The same with a login.
    pub(in crate::network) fn for_login(seen: &[Security], odd: bool) -> Result<Self, Error> {
        Self::choose_for_login(seen, odd).map_err(|cause| Error::because("choosing the protection", cause.fault(), cause))
    }

    /// For a network whose stations have these securities, with a login. `odd`: with a key management that NetworkManager does
    /// not tell, such as that of WPA3 for enterprises.
    pub(super) fn choose_for_login(seen: &[Security], odd: bool) -> Result<Self, Cause> {
        let is_enterprise = odd || seen.is_empty() || seen.contains(&Security::Enterprise);
        if is_enterprise { Ok(Self::Eap) } else { Err(Cause::NotEnterprise) }
    }

    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::WpaPsk => Some("wpa-psk"),
            Self::Sae => Some("sae"),
            Self::Owe => Some("owe"),
            Self::Eap => Some("wpa-eap"),
        }
    }
}

/// A planned connection of the radio.
#[derive(Clone, Debug)]
pub(super) enum Plan {
    /// The node joins a network.
    Station(Station),
    /// The node opens its access point.
    AccessPoint(AccessPoint),
}

/// A network to join.
#[derive(Clone, Debug)]
pub(super) struct Station {
    /// The profile's UUID.
    pub uuid: String,
    pub ssid: Ssid,
    /// Empty for an open network and for an enterprise network.
    pub passphrase: Passphrase,
    /// The login to an enterprise network.
    pub access: Option<Access>,
    /// The network does not broadcast its name.
    pub hidden: bool,
    pub key_management: KeyManagement,
    /// Do not use WPA3 where the network also offers WPA2. NetworkManager does so from [`LEAVES_OUT_SAE`] on.
    pub without_sae: bool,
    /// Join this station of the network only. Not stored: the network may get other stations.
    pub bssid: Option<[u8; 6]>,
}

/// The node's access point.
#[derive(Clone, Debug)]
pub(super) struct AccessPoint {
    /// The profile's UUID.
    pub uuid: String,
    pub ssid: Ssid,
    /// None for an open network.
    pub passphrase: Option<Passphrase>,
    /// The node's address in it.
    pub address: Ipv4Addr,
    /// On 2.4 GHz.
    pub channel: u32,
    /// The device's name.
    pub interface: String,
}

impl Plan {
    pub(super) fn uuid(&self) -> &str {
        match self {
            Self::Station(station) => &station.uuid,
            Self::AccessPoint(access_point) => &access_point.uuid,
        }
    }

    pub(super) const fn mode(&self) -> Mode {
        match self {
            Self::Station(_) => Mode::Station,
            Self::AccessPoint(_) => Mode::AccessPoint,
        }
    }

    /// How the node logs in to an enterprise network.
    pub(super) fn method(&self) -> Option<EapMethod> {
        match self {
            Self::Station(Station { access: Some(access), .. }) => Some(access.login().method),
            Self::Station(_) | Self::AccessPoint(_) => None,
        }
    }

    /// Writes the files that the profile names.
    pub(super) fn write_certificates(&self) -> std::io::Result<()> {
        match self {
            Self::Station(station) => station.write_certificates(),
            Self::AccessPoint(_) => Ok(()),
        }
    }

    /// What the radio is used for once it is activated.
    pub(super) fn radio_use(&self, interface: &str) -> RadioUse {
        let interface = interface.to_owned();
        match self {
            Self::Station(_) => RadioUse::Station { interface },
            Self::AccessPoint(AccessPoint { address, .. }) => {
                RadioUse::AccessPoint(domain::AccessPoint { interface, address: *address, prefix: PREFIX })
            }
        }
    }

    /// The settings on the bus. They contain the passphrase, which zbus copies into its message without erasing it later.
    pub(super) fn settings(&self) -> Profile<'_> {
        match self {
            Self::Station(station) => {
                let mut settings = station.settings();
                if let (Some(bssid), Some(wifi)) = (station.bssid, settings.get_mut(WIFI)) {
                    wifi.insert("bssid", bssid.to_vec().into());
                }
                settings
            }
            Self::AccessPoint(access_point) => access_point.settings(),
        }
    }

    /// Volatile: nothing is left after a failure, a crash or a power cut. The access point ends with this program's connection
    /// to the bus; a station does not, because a stopped daemon must not disconnect a working network.
    pub(super) fn options(&self) -> Options<'static> {
        let mut options = HashMap::from([("persist", Variant::from("volatile"))]);
        if self.mode() == Mode::AccessPoint {
            options.insert("bind-activation", Variant::from("dbus-client"));
        }
        options
    }

    /// The call that activates it, with the polkit action for a caller other than root.
    pub(super) const fn call(&self) -> Call {
        let action = match self {
            Self::Station(_) => "org.freedesktop.NetworkManager.network-control, and settings.modify.system",
            Self::AccessPoint(AccessPoint { passphrase: Some(_), .. }) => {
                "org.freedesktop.NetworkManager.wifi.share.protected, with network-control and settings.modify.system"
            }
            Self::AccessPoint(_) => {
                "org.freedesktop.NetworkManager.wifi.share.open, with network-control and settings.modify.system"
            }
        };
        Call { name: "AddAndActivateConnection2", action }
    }
}

impl Station {
    /// Writes the files that the profile names.
    pub(super) fn write_certificates(&self) -> std::io::Result<()> {
        self.access.as_ref().map_or(Ok(()), |access| access.write(&self.uuid))
    }

    /// The complete profile, as it is stored.
    pub(super) fn settings(&self) -> Profile<'_> {
        let mut wifi = HashMap::from([("ssid", ssid(&self.ssid)), ("mode", "infrastructure".into())]);
        if self.hidden {
            wifi.insert("hidden", true.into());
        }
        let mut connection = identity(&self.ssid, &self.uuid);
        connection.insert("autoconnect", true.into());
        connection.insert("autoconnect-retries", UNLIMITED.into());
        let seconds = i32::try_from(ADDRESS_LIMIT.as_secs()).expect("a short time");
        let ipv4 = HashMap::from([
            ("method", "auto".into()),
            ("dhcp-timeout", seconds.into()),
            ("dad-timeout", CONFLICT_TIMEOUT.into()),
        ]);
        let mut profile = HashMap::from([
            ("connection", connection),
            (WIFI, wifi),
            ("ipv4", ipv4),
            ("ipv6", HashMap::from([("method", "auto".into())])),
            ("user", marker()),
        ]);
        if let Some(name) = self.key_management.name() {
            let mut security = HashMap::from([("key-mgmt", name.into())]);
            if !self.passphrase.is_empty() {
                security.insert("psk", self.passphrase.expose().into());
            }
            if self.without_sae {
                security.insert("pmf", PMF_DISABLE.into());
            }
            profile.insert(WIFI_SECURITY, security);
        }
        if let Some(access) = &self.access {
            profile.insert(ENTERPRISE, access.settings(&self.uuid));
        }
        profile
    }
}

impl AccessPoint {
    fn settings(&self) -> Profile<'_> {
        let mut connection = identity(&self.ssid, &self.uuid);
        connection.insert("autoconnect", false.into());
        connection.insert("interface-name", self.interface.as_str().into());
        let wifi = HashMap::from([
            ("ssid", ssid(&self.ssid)),
            ("mode", "ap".into()),
            ("band", "bg".into()),
            ("channel", self.channel.into()),
            ("hidden", false.into()),
        ]);
        let address = HashMap::from([("address", Variant::from(self.address.to_string())), ("prefix", u32::from(PREFIX).into())]);
        let ipv4 = HashMap::from([
            ("method", "shared".into()),
            ("address-data", Variant::from(vec![address])),
            ("never-default", true.into()),
        ]);
        let mut profile = HashMap::from([
            ("connection", connection),
            (WIFI, wifi),
            ("ipv4", ipv4),
            ("ipv6", HashMap::from([("method", "disabled".into())])),
            ("user", marker()),
        ]);
        if let Some(passphrase) = &self.passphrase {
            let only = |value: &'static str| Variant::from(vec![value]);
            let security = HashMap::from([
                ("key-mgmt", "wpa-psk".into()),
                ("psk", passphrase.expose().into()),
                ("proto", only("rsn")),
                ("pairwise", only("ccmp")),
                ("group", only("ccmp")),
                ("pmf", PMF_DISABLE.into()),
            ]);
            profile.insert(WIFI_SECURITY, security);
        }
        profile
    }
}

/// The name for people of the profile with that id, whose network has that name, as [`Stored::name`].
pub(super) fn name_of(id: String, network: Option<&Ssid>) -> String {
    match network {
        Some(ssid) if id == id_of(ssid) => ssid.to_string(),
        _ => id,
    }
}

/// The id of a profile of this program.
fn id_of(ssid: &Ssid) -> String {
    let id = if ssid.as_bytes().starts_with(ID_PREFIX.as_bytes()) { ssid.to_string() } else { format!("{ID_PREFIX}{ssid}") };
    // An id is text, and text on the bus must not contain NUL.
    id.replace('\0', "\u{fffd}")
}

fn identity<'a>(ssid: &Ssid, uuid: &'a str) -> HashMap<&'a str, Variant<'a>> {
    HashMap::from([("id", id_of(ssid).into()), ("uuid", uuid.into()), ("type", WIFI.into())])
}

fn ssid(ssid: &Ssid) -> Variant<'static> {
    ssid.as_bytes().to_vec().into()
}

fn marker() -> HashMap<&'static str, Variant<'static>> {
    HashMap::from([("data", HashMap::from([MARKER]).into())])
}

/// The relevant settings of a stored profile.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own; goes when two of them exclude each other")]
pub(super) struct Stored {
    pub uuid: String,
    pub ssid: Vec<u8>,
    pub access_point: bool,
    /// It joins a network, unlike an access point.
    pub station: bool,
    /// It was created by this program.
    pub ours: bool,
    /// The name that it has in NetworkManager.
    pub id: String,
    /// NetworkManager activates it without a request.
    pub autoconnect: bool,
    /// When it was active last, seconds since 1970; zero for never.
    pub used: u64,
}

impl Stored {
    /// None if it is not a Wi-Fi profile.
    pub(super) fn read(settings: &StoredProfile) -> Option<Self> {
        let text = |section: &str, name: &str| text(settings.get(section)?.get(name)?);
        if text("connection", "type")? != WIFI {
            return None;
        }
        let id = text("connection", "id").unwrap_or_default();
        let uuid = text("connection", "uuid")?.to_owned();
        let value = |name: &str| settings.get("connection")?.get(name);
        let ssid = settings.get(WIFI)?.get("ssid")?.try_clone().ok()?;
        Some(Self {
            ours: id.starts_with(ID_PREFIX) && (is_in_name_space(&uuid) || has_marker(settings)),
            uuid,
            ssid: Vec::try_from(ssid).ok()?,
            access_point: text(WIFI, "mode") == Some("ap"),
            station: text(WIFI, "mode").is_none_or(|mode| mode == "infrastructure"),
            id: id.to_owned(),
            autoconnect: value("autoconnect").and_then(|value| bool::try_from(value).ok()).unwrap_or(true),
            used: value("timestamp").and_then(|value| u64::try_from(value).ok()).unwrap_or_default(),
        })
    }

    /// The name for people: that of the network for a profile of this program, that of the profile for another one.
    pub(super) fn name(&self) -> String {
        match Ssid::try_from(self.ssid.as_slice()) {
            Ok(ssid) if self.ours => ssid.to_string(),
            _ => self.id.clone(),
        }
    }
}

fn text(value: &OwnedVariant) -> Option<&str> {
    value.try_into().ok()
}

fn has_marker(settings: &StoredProfile) -> bool {
    let data = settings.get("user").and_then(|user| user.get("data")?.try_clone().ok());
    let data = data.and_then(|data| HashMap::<String, String>::try_from(data).ok()).unwrap_or_default();
    data.get(MARKER.0).is_some_and(|value| value == MARKER.1)
}

/// A new UUID of this program.
pub(super) fn new_uuid() -> Result<String, Cause> {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).map_err(Cause::Random)?;
    random[0] = random[0] & 0x3f | 0x80;
    let number = u128::from(NAME_SPACE) << 64 | u128::from(u64::from_be_bytes(random));
    let groups = [(96, 8), (80, 4), (64, 4), (48, 4), (0, 12)];
    let text = groups.map(|(shift, digits)| format!("{:0digits$x}", (number >> shift) & ((1 << (4 * digits)) - 1)));
    Ok(text.join("-"))
}

/// Whether a UUID was made by [`new_uuid`].
fn is_in_name_space(uuid: &str) -> bool {
    let digits: String = uuid.chars().filter(|digit| *digit != '-').collect();
    digits.len() == 32 && u128::from_str_radix(&digits, 16).is_ok_and(|number| number >> 64 == u128::from(NAME_SPACE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use provisioning_core::fault::Fault;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::try_from(text.to_owned()).expect("a short passphrase")
    }

    fn station(name: &[u8]) -> Station {
        Station {
            uuid: new_uuid().expect("random numbers"),
            ssid: Ssid::try_from(name).expect("a short name"),
            passphrase: passphrase("correct horse"),
            access: None,
            hidden: false,
            key_management: KeyManagement::WpaPsk,
            without_sae: false,
            bssid: None,
        }
    }

    fn stored(profile: &Profile<'_>) -> StoredProfile {
        let owned = |value: &Variant<'_>| value.try_to_owned().expect("no file descriptors");
        profile
            .iter()
            .map(|(section, values)| {
                ((*section).to_owned(), values.iter().map(|(name, value)| ((*name).to_owned(), owned(value))).collect())
            })
            .collect()
    }

    #[test]
    fn the_key_management_follows_what_was_seen() {
        use Security::{Enterprise, Open, Owe, Wep, Wpa, Wpa2, Wpa2Wpa3, Wpa3};
        let chosen =
            |seen: &[Security], text: &str| KeyManagement::choose(seen, &passphrase(text)).map_err(|cause| cause.fault());
        let (umlauts, key, long) = ("Gr\u{fc}\u{df}e-vom-Haus", &"0a".repeat(32), &"long ".repeat(20));
        let table: &[(&[Security], &str, Result<KeyManagement, Fault>)] = &[
            (&[Wpa2], "12345678", Ok(KeyManagement::WpaPsk)),
            (&[Wpa], "12345678", Ok(KeyManagement::WpaPsk)),
            (&[Wpa2Wpa3], "12345678", Ok(KeyManagement::WpaPsk)),
            (&[Wpa3], "12345678", Ok(KeyManagement::Sae)),
            (&[Wpa3, Wpa2], "12345678", Ok(KeyManagement::WpaPsk)),
            (&[Open], "", Ok(KeyManagement::Open)),
            (&[Owe], "", Ok(KeyManagement::Owe)),
            (&[Open, Wpa2], "12345678", Ok(KeyManagement::WpaPsk)),
            (&[], "12345678", Ok(KeyManagement::WpaPsk)),
            (&[], "", Ok(KeyManagement::Open)),
            (&[Open], "12345678", Err(Fault::WrongPassword)),
            (&[Wpa2], "", Err(Fault::InvalidPassphrase)),
            (&[Wpa2], "1234567", Err(Fault::InvalidPassphrase)),
            (&[Wpa2], "1234567\n", Err(Fault::InvalidPassphrase)),
            (&[Wep], "12345678", Err(Fault::OutdatedSecurity)),
            (&[Enterprise], "12345678", Err(Fault::UnsupportedSecurity)),
            (&[Enterprise], "", Err(Fault::UnsupportedSecurity)),
            (&[Wpa2], umlauts, Ok(KeyManagement::WpaPsk)),
            (&[Wpa3], umlauts, Ok(KeyManagement::Sae)),
            (&[Wpa3], "short", Ok(KeyManagement::Sae)),
            (&[Wpa2Wpa3], "short", Ok(KeyManagement::Sae)),
            (&[Wpa3], long, Ok(KeyManagement::Sae)),
            (&[Wpa2], long, Err(Fault::InvalidPassphrase)),
            (&[], "short", Ok(KeyManagement::Sae)),
            (&[Wpa2], key, Ok(KeyManagement::WpaPsk)),
            (&[Wpa2Wpa3], key, Ok(KeyManagement::WpaPsk)),
            (&[Wpa3], key, Err(Fault::Wpa3NeedsPassword)),
            (&[], key, Ok(KeyManagement::WpaPsk)),
        ];
        for (seen, text, expected) in table {
            assert_eq!(chosen(seen, text), *expected, "{seen:?} with {text:?}");
        }
    }

    #[test]
    fn a_login_is_for_enterprise_networks_only() {
        use Security::{Enterprise, Open, Wpa2};
        for (seen, odd, joins) in [
            (&[Enterprise][..], false, true),
            (&[Wpa2, Enterprise], false, true),
            (&[], false, true),
            (&[Wpa2], true, true),
            (&[Wpa2], false, false),
            (&[Open], false, false),
        ] {
            let chosen = KeyManagement::choose_for_login(seen, odd).map_err(|cause| cause.fault());
            let expected = if joins { Ok(KeyManagement::Eap) } else { Err(Fault::NotEnterprise) };
            assert_eq!(chosen, expected, "{seen:?} {odd}");
        }
    }

    fn value(value: impl Into<Variant<'static>>) -> OwnedVariant {
        value.into().try_into_owned().expect("no file descriptors")
    }

    #[test]
    fn a_profile_of_ours_is_known_by_its_id_and_its_uuid_or_marker() {
        let station = station(b"HomeNetwork");
        let mut profile = stored(&station.settings());
        let set = |profile: &mut StoredProfile, name: &str, text: &'static str| {
            profile.get_mut("connection").expect("there").insert(name.into(), value(text));
        };
        let is_ours = |profile: &StoredProfile| Stored::read(profile).expect("a Wi-Fi profile").ours;
        assert!(is_ours(&profile));
        // Older versions used random UUIDs.
        set(&mut profile, "uuid", "6f0d9d4e-0000-4000-8000-000000000001");
        assert!(is_ours(&profile));
        let marker = profile.remove("user").expect("the marker");
        assert!(!is_ours(&profile));
        set(&mut profile, "uuid", "6a617276-6973-8001-8000-000000000001");
        assert!(is_ours(&profile));
        profile.insert("user".into(), marker);
        set(&mut profile, "id", "Home");
        assert!(!is_ours(&profile));
    }

    /// The relevant settings of a keyfile, as NetworkManager reads it.
    fn keyfile(text: &str) -> StoredProfile {
        let mut profile = StoredProfile::new();
        let mut group = "";
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[') {
                group = name.trim_end_matches(']');
                continue;
            }
            let (name, text) = line.split_once('=').expect("a key and its value");
            let (group, name, value) = match (group, name) {
                ("connection", "type") => ("connection", "type", value(WIFI)),
                ("connection", name) => ("connection", name, value(text.to_owned())),
                ("wifi", "ssid") => (WIFI, "ssid", value(text.as_bytes().to_vec())),
                ("user", name) => ("user", "data", value(HashMap::from([(name.to_owned(), text.to_owned())]))),
                _ => continue,
            };
            profile.entry(group.to_owned()).or_default().insert(name.to_owned(), value);
        }
        profile
    }

    #[test]
    fn a_profile_of_ours_is_known_after_netplan_has_stored_it() {
        let ours = keyfile(include_str!("../../../tests/node/nm/netplan/before.nmconnection"));
        let stored = keyfile(include_str!("../../../tests/node/nm/netplan/after.nmconnection"));
        assert!(has_marker(&ours) && !has_marker(&stored), "netplan loses the marker");
        assert_eq!(Stored::read(&stored), Stored::read(&ours));
        assert!(Stored::read(&stored).expect("a Wi-Fi profile").ours);
    }

    #[test]
    fn a_name_of_any_bytes_makes_a_profile() {
        let station = station(&[0xff, 0x00, 0x27, 0x40]);
        let read = Stored::read(&stored(&station.settings())).expect("a Wi-Fi profile");
        assert_eq!((read.ssid, read.ours), (vec![0xff, 0x00, 0x27, 0x40], true));
    }

    #[test]
    fn one_station_is_only_for_the_join_and_a_join_without_wpa3_is_stored() {
        let station = Station { bssid: Some([2, 0, 0, 0, 0, 9]), without_sae: true, ..station(b"HomeNetwork") };
        let stored = station.settings();
        assert!(!stored[WIFI].contains_key("bssid"));
        assert_eq!(stored[WIFI_SECURITY]["pmf"].to_string(), "1");
        assert_eq!(Plan::Station(station.clone()).settings()[WIFI]["bssid"].value_signature().to_string(), "ay");
    }

    #[test]
    fn an_open_network_has_no_security_section() {
        let mut station = station(b"CoffeeShop");
        station.key_management = KeyManagement::Open;
        assert!(!station.settings().contains_key(WIFI_SECURITY));
    }

    #[test]
    fn the_access_point_has_exactly_what_works_everywhere() {
        let access_point = AccessPoint {
            uuid: new_uuid().expect("random numbers"),
            ssid: Ssid::try_from("jarvis-5b91b661").expect("a short name"),
            passphrase: Some(passphrase("a long passphrase")),
            address: Ipv4Addr::new(192, 168, 4, 1),
            channel: 6,
            interface: "wlan0".into(),
        };
        let settings = access_point.settings();
        let shown = |section: &str, name: &str| settings[section][name].to_string();
        for (section, name, value) in [
            ("connection", "id", "\"jarvis-5b91b661\""),
            ("connection", "autoconnect", "false"),
            ("connection", "interface-name", "\"wlan0\""),
            (WIFI, "mode", "\"ap\""),
            (WIFI, "band", "\"bg\""),
            (WIFI, "channel", "uint32 6"),
            (WIFI, "hidden", "false"),
            (WIFI_SECURITY, "key-mgmt", "\"wpa-psk\""),
            (WIFI_SECURITY, "proto", "[\"rsn\"]"),
            (WIFI_SECURITY, "pairwise", "[\"ccmp\"]"),
            (WIFI_SECURITY, "group", "[\"ccmp\"]"),
            (WIFI_SECURITY, "pmf", "1"),
            ("ipv4", "method", "\"shared\""),
            ("ipv4", "never-default", "true"),
            ("ipv6", "method", "\"disabled\""),
        ] {
            assert_eq!(shown(section, name), value, "{section}.{name}");
        }
        assert_eq!(settings["ipv4"]["address-data"].value_signature().to_string(), "aa{sv}");
        let options = Plan::AccessPoint(access_point).options();
        assert_eq!(options["persist"].to_string(), "\"volatile\"");
        assert_eq!(options["bind-activation"].to_string(), "\"dbus-client\"");
    }

    #[test]
    fn a_station_is_volatile_and_not_bound_to_the_daemon() {
        let options = Plan::Station(station(b"HomeNetwork")).options();
        assert_eq!(options.len(), 1);
        assert_eq!(options["persist"].to_string(), "\"volatile\"");
    }

    #[test]
    fn a_uuid_is_version_8_of_the_name_space_and_unique() {
        let uuid = new_uuid().expect("random numbers");
        let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(uuid.starts_with("6a617276-6973-8001-") && ["8", "9", "a", "b"].contains(&&uuid[19..20]), "{uuid}");
        assert!(is_in_name_space(&uuid) && is_in_name_space(&uuid.to_uppercase()));
        assert_ne!(uuid, new_uuid().expect("random numbers"));
        for other in ["", "6a617276-6973-8001", "6a617276-6973-4001-8000-000000000001", "x"] {
            assert!(!is_in_name_space(other), "{other}");
        }
    }
}
