//! The values of provisioning. A value is checked when it is made, so every value is valid.

mod country;
pub mod created_at;
mod enterprise;
mod provision_code;
mod radio;
pub mod status;
mod text_field;
mod upkeep;

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use url::Url;

use crate::fault::Fault;
use crate::secret::{SecretBytes, SecretText};
pub use country::Country;
pub use created_at::CreatedAt;
pub use enterprise::{EapMethod, Enterprise, Login};
pub use provision_code::{FormatError, ProvisionCode};
pub use radio::{AccessPoint, RadioUse};
pub use status::{Failure, Outcome, State, Status, Step};
pub use text_field::{TextField, is_free_of_controls, printable};
pub use upkeep::{
    CareEvent, CareReply, CareRequest, CareStatus, EventLevel, EventPhase, Label, LayerReport, LayerVerdict, NewEvents,
    RecoveryState, SavedNetwork,
};

/// The longest text field that is accepted: room, kid, identifiers and URLs. Bytes.
pub const TEXT_LIMIT: usize = 512;

/// The longest passphrase that is accepted: WPA3 has no limit of its own. Bytes.
pub const PASSPHRASE_LIMIT: usize = 128;

/// A network's name: 1 to 32 bytes of any value (IEEE 802.11-2020, 9.4.2.2).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ssid(Vec<u8>);

impl Ssid {
    /// The bytes, as the access point sends them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Ssid {
    type Error = Fault;

    fn try_from(bytes: &[u8]) -> Result<Self, Fault> {
        match bytes.len() {
            1..=32 => Ok(Self(bytes.to_vec())),
            _ => Err(Fault::InvalidSsid),
        }
    }
}

impl TryFrom<&str> for Ssid {
    type Error = Fault;

    fn try_from(text: &str) -> Result<Self, Fault> {
        Self::try_from(text.as_bytes())
    }
}

/// For people: bytes that are not UTF-8 are replaced.
impl fmt::Display for Ssid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Ssid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// The secret of a Wi-Fi network; empty for an open network.
///
/// At most 128 bytes. What a network takes depends on its security, which is known only when it is seen: WPA2 takes what
/// [`fits_psk`](Passphrase::fits_psk), and WPA3 also shorter and longer passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passphrase(SecretText);

impl Passphrase {
    /// The text itself.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether it is empty, as for an open network.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }

    /// Whether WPA allows it: 8 to 63 printable ASCII characters, or a key of 64 hexadecimal digits
    /// (IEEE 802.11-2020, J.4.1).
    pub fn fits_wpa(&self) -> bool {
        let bytes = self.expose().as_bytes();
        match bytes.len() {
            8..=63 => bytes.iter().all(|byte| (0x20..0x7f).contains(byte)),
            64 => self.is_key(),
            _ => false,
        }
    }

    /// Whether WPA2 takes it: 8 to 63 bytes, which routers also accept in UTF-8, or a key.
    pub fn fits_psk(&self) -> bool {
        (8..=63).contains(&self.expose().len()) || self.is_key()
    }

    /// Whether it is a key of 64 hexadecimal digits, and no password.
    pub fn is_key(&self) -> bool {
        self.expose().len() == 64 && self.expose().bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// Whether it has no control characters, which supplicants refuse.
    pub fn is_printable(&self) -> bool {
        self.expose().bytes().all(|byte| byte >= 0x20 && byte != 0x7f)
    }
}

impl TryFrom<String> for Passphrase {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        let secret = SecretText::new(text);
        if secret.expose().len() <= PASSPHRASE_LIMIT { Ok(Self(secret)) } else { Err(Fault::InvalidPassphrase) }
    }
}

/// The security of a network, as far as a join depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Security {
    /// None.
    Open,
    /// WEP: not supported.
    Wep,
    /// WPA with a passphrase.
    Wpa,
    /// WPA2 with a passphrase, perhaps WPA as well.
    Wpa2,
    /// WPA2 or WPA3 with one passphrase.
    Wpa2Wpa3,
    /// WPA3 only (SAE).
    Wpa3,
    /// Opportunistic encryption; no passphrase (RFC 8110).
    Owe,
    /// 802.1X: takes a login.
    Enterprise,
}

/// A network in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub ssid: Ssid,
    /// Received strength, dBm.
    pub signal: i8,
    /// Its protection.
    pub security: Security,
    /// Channel, MHz; 0 if unknown.
    pub frequency: u32,
}

/// The key shared by phone and node for settings, with its name and its date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct K2 {
    /// The key.
    pub key: SecretBytes<32>,
    /// Its name, as the phone chose it.
    pub kid: String,
    /// When the phone made it.
    pub created_at: CreatedAt,
}

/// The URL of the command center or of its configuration service, as the owner entered it.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandCenterUrl {
    text: String,
    url: Url,
}

impl CommandCenterUrl {
    /// The text as it was entered; configuration files contain it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL of a path at the command center, such as `/health`.
    pub fn join(&self, path: &str) -> Url {
        let text = format!("{}{path}", self.url.as_str().trim_end_matches('/'));
        Url::parse(&text).expect("a path makes a longer URL of a plain one")
    }

    /// The parsed URL.
    pub const fn url(&self) -> &Url {
        &self.url
    }
}

impl TryFrom<&str> for CommandCenterUrl {
    type Error = Fault;

    /// `http` or `https`, a host, perhaps a port and a path; no user, no query and no fragment.
    ///
    /// The parser repairs what it can: it drops line breaks, inserts slashes and maps look-alike letters. A text that needed a
    /// repair is refused, because other programs read the stored text and could connect to another host.
    fn try_from(text: &str) -> Result<Self, Fault> {
        if text.len() > TEXT_LIMIT {
            return Err(Fault::InvalidUrl);
        }
        let url = Url::parse(text).map_err(|_| Fault::InvalidUrl)?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if plain && is_written_like(text, &url) { Ok(Self { text: text.to_owned(), url }) } else { Err(Fault::InvalidUrl) }
    }
}

/// Whether `text` is the serialization of `url`, apart from the case of scheme and host, a default port, and slashes at its end.
fn is_written_like(text: &str, url: &Url) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.to_ascii_lowercase();
    let default_port = if url.scheme() == "https" { ":443" } else { ":80" };
    scheme.eq_ignore_ascii_case(url.scheme())
        && authority.strip_suffix(default_port).unwrap_or(&authority) == url.authority()
        && path.trim_end_matches('/') == url.path().trim_end_matches('/')
}

impl fmt::Debug for CommandCenterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A time: seconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The time a while later.
    #[must_use]
    pub const fn after(self, elapsed: Duration) -> Self {
        Self(self.0.saturating_add(elapsed.as_secs()))
    }
}

/// The request of a phone to bring the node online and enroll it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The phone's name for this attempt; 0 if it came without one.
    pub request_id: u64,
    /// The network to join; none to enroll over the connection that the node has.
    pub ssid: Option<Ssid>,
    /// Its passphrase; empty without a network.
    pub passphrase: Passphrase,
    /// The login to an enterprise network; then the passphrase is empty.
    pub enterprise: Option<Box<Enterprise>>,
    /// The network does not broadcast its name.
    pub hidden: bool,
    /// The room that the node is in.
    pub room: String,
    /// The command center to register with; none to go online alone, with all fields below empty.
    pub command_center: Option<CommandCenterUrl>,
    /// The configuration service, stored for the node's normal operation.
    pub config_service: Option<CommandCenterUrl>,
    /// The owner's household: the one that the token must be for; empty for any.
    pub household_id: String,
    /// The identity that the command center made for this node.
    pub node_id: String,
    /// Proves that the owner authorized this registration; valid for one node.
    pub token: SecretText,
    /// A code to claim at the command center when the node is online.
    pub provision_code: Option<ProvisionCode>,
    /// The phone's time when it sent this, if the phone knows it.
    pub time: Option<UnixTime>,
    /// The country that the node is in, if the phone knows it.
    pub country: Option<Country>,
    /// The channel on which the phone sees the network, MHz; 0 if it does not know it.
    pub seen_frequency: u32,
}

impl Credentials {
    /// Whether this is the same request, perhaps sent again at another time.
    pub fn is_same(&self, other: &Self) -> bool {
        *self == Self { time: self.time, ..other.clone() }
    }
}

/// The command center's answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The node's identity from here on.
    pub node_id: String,
    /// The node's key at the command center.
    pub node_key: SecretText,
    /// The household that the node is part of, if the command center says so.
    pub household_id: Option<String>,
}

impl Registration {
    /// Whether the node is part of the household that a phone named; an empty name is any.
    pub fn is_for(&self, household_id: &str) -> bool {
        household_id.is_empty() || self.household_id.as_deref().is_none_or(|registered| registered == household_id)
    }
}

/// The two pairing secrets. A phone must know one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// Six digits, for typing.
    pub code: SecretText,
    /// 128 bits, for the QR code.
    pub secret: SecretBytes<16>,
}

/// The identity of the node, before and after its registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The registered identity, or the unregistered one.
    pub node_id: String,
    /// The identity without registration, from the image or made from the hardware address. It never changes.
    pub unregistered: String,
    /// The kind of hardware, such as `linux-aarch64`.
    pub hardware: String,
    /// Its hardware address, lower case with colons.
    pub mac_address: String,
}

impl Identity {
    /// The name that is advertised, and the access point's SSID: `jarvis-` and the last eight characters of the unregistered
    /// identity. It is on the label, so registration does not change it.
    pub fn name(&self) -> String {
        let skipped = self.unregistered.chars().count().saturating_sub(8);
        format!("jarvis-{}", self.unregistered.chars().skip(skipped).collect::<String>())
    }

    /// The identity for other systems, which no registration, renaming or reset changes: the one from the image, or `jarvis-`
    /// and the whole hardware address. The name has only its last 32 bits, which two of a hundred thousand devices share.
    pub fn device_id(&self) -> String {
        let digits: String = self.mac_address.chars().filter(|letter| *letter != ':').collect();
        let is_of_the_address = self.unregistered.strip_prefix("jarvis-").is_some_and(|end| digits.ends_with(end));
        if is_of_the_address { format!("jarvis-{digits}") } else { self.unregistered.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ssid_has_1_to_32_bytes_of_any_value() {
        assert_eq!(Ssid::try_from(&b""[..]), Err(Fault::InvalidSsid));
        assert!(Ssid::try_from(&[0_u8][..]).is_ok());
        assert!(Ssid::try_from("☕:\\ café").is_ok());
        assert!(Ssid::try_from(&[0xff_u8; 32][..]).is_ok());
        assert_eq!(Ssid::try_from(&[b'a'; 33][..]), Err(Fault::InvalidSsid));
    }

    fn identity(node_id: &str, unregistered: &str, mac_address: &str) -> Identity {
        let [node_id, unregistered, mac_address] = [node_id, unregistered, mac_address].map(String::from);
        Identity { node_id, unregistered, hardware: String::new(), mac_address }
    }

    #[test]
    fn a_device_id_is_the_hardware_address_or_comes_from_the_image() {
        let id = |unregistered| identity("registered", unregistered, "d8:3a:dd:5b:91:b6").device_id();
        assert_eq!(id("jarvis-dd5b91b6"), "jarvis-d83add5b91b6");
        assert_eq!(id("kitchen-7"), "kitchen-7");
        assert_eq!(id("jarvis-1c0ffee1"), "jarvis-1c0ffee1");
    }

    #[test]
    fn a_million_devices_have_a_million_ids() {
        let ids: alloc::collections::BTreeSet<String> = (0..1_000_000_u64)
            .map(|index| {
                // Sixteen manufacturers, each with addresses whose last 32 bits are those of the others.
                let digits = format!("{:012x}", ((index % 16) << 40) | (index / 16));
                let pairs: Vec<&str> = (0..6).map(|pair| &digits[2 * pair..2 * pair + 2]).collect();
                identity("", &format!("jarvis-{}", &digits[4..]), &pairs.join(":")).device_id()
            })
            .collect();
        assert_eq!(ids.len(), 1_000_000);
    }

    #[test]
    fn a_wpa_passphrase_has_8_to_63_characters_or_64_digits() {
        let fits = |text: &str| Passphrase::try_from(text.to_owned()).is_ok_and(|passphrase| passphrase.fits_wpa());
        assert!(!fits(&"a".repeat(7)));
        assert!(fits(&"a".repeat(8)));
        assert!(fits(&"a".repeat(63)));
        assert!(fits(&"a".repeat(64)));
        assert!(!fits(&"g".repeat(64)));
        assert!(!fits(&"a".repeat(65)));
        assert!(!fits("12345678\n"));
    }

    #[test]
    fn a_passphrase_in_utf_8_fits_wpa2_by_its_bytes() {
        let passphrase = |text: &str| Passphrase::try_from(text.to_owned()).expect("a short one");
        for (text, fits) in [
            ("Gr\u{fc}\u{df}e-vom-Haus", true),
            ("\u{fc}\u{fc}\u{fc}\u{fc}", true),
            ("\u{fc}\u{fc}\u{fc}", false),
            (&"f".repeat(64), true),
        ] {
            assert_eq!(passphrase(text).fits_psk(), fits, "{text}");
        }
        assert!(passphrase(&"0Af".repeat(22)[..64]).is_key() && !passphrase(&"g".repeat(64)).is_key());
        assert!(passphrase("Gr\u{fc}\u{df}e").is_printable() && !passphrase("a\0b").is_printable());
        assert!(Passphrase::try_from("a".repeat(PASSPHRASE_LIMIT + 1)).is_err());
    }

    #[test]
    fn a_command_center_url_is_plain() {
        assert!(CommandCenterUrl::try_from("https://center.example").is_ok());
        assert!(CommandCenterUrl::try_from("http://192.168.1.5:7703/").is_ok());
        for bad in ["", "center.example", "ftp://x", "https://a:b@x", "https://x/#f", "https://x/?q", "file:///etc/passwd"] {
            assert_eq!(CommandCenterUrl::try_from(bad), Err(Fault::InvalidUrl), "{bad}");
        }
    }

    #[test]
    fn a_url_that_the_parser_had_to_mend_is_refused() {
        for bad in [
            "http://127.0.\r\n0.1:18211",
            "\thttp://host ",
            " http://host",
            "http:host",
            "http:/host",
            "http:///host",
            "http:\\\\host",
            "http://host\\path",
            "http://\u{24db}ocalhost",
            "http://b\u{fc}cher.example",
            "http://%6cocalhost",
            "http://0x7f.1",
            "http://2130706433",
            "http://host:",
            "http://host:080",
            "http://@host",
            "http://host/a/../b",
            "http://host/a b",
            "http://host/\n",
            "http://host/?",
            "http://host/#",
        ] {
            assert_eq!(CommandCenterUrl::try_from(bad), Err(Fault::InvalidUrl), "{bad:?}");
        }
    }

    #[test]
    fn a_url_is_stored_as_it_was_given() {
        for good in [
            "http://host",
            "HTTP://Center.Local:80/",
            "https://center.example:443/api//",
            "http://host:443",
            "http://[fe80::1]:7703",
            "https://xn--bcher-kva.example/%20",
        ] {
            assert_eq!(CommandCenterUrl::try_from(good).as_ref().map(CommandCenterUrl::as_str), Ok(good));
        }
    }

    #[test]
    fn trailing_slashes_are_stripped_only_in_use() {
        let url = CommandCenterUrl::try_from("http://10.0.0.2:7703//").expect("a plain URL");
        assert_eq!(url.as_str(), "http://10.0.0.2:7703//");
        assert_eq!(url.join("/health").as_str(), "http://10.0.0.2:7703/health");
    }

    #[test]
    fn the_name_ends_like_the_identity_on_the_label() {
        let identity = |unregistered: &str| Identity {
            node_id: "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d".into(),
            unregistered: unregistered.into(),
            hardware: String::new(),
            mac_address: String::new(),
        };
        assert_eq!(identity("jarvis-5b91b661").name(), "jarvis-5b91b661");
        assert_eq!(identity("unit-0042-line-7").name(), "jarvis-2-line-7");
        assert_eq!(identity("abc").name(), "jarvis-abc");
    }
}
