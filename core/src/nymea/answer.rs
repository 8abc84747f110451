//! Answers.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::domain::{Network, Security};
use crate::fault::Fault;

/// The largest list, bytes. Its pieces leave within some seconds, and clients wait 15 for it.
const LIST_LIMIT: usize = 3072;

/// The result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Done.
    Success = 0,
    /// The command cannot be parsed, or the node does not have it.
    InvalidCommand = 1,
    /// A parameter is missing or wrong, such as the password.
    InvalidParameter = 2,
    /// The software that drives the radio does not answer.
    NetworkManagerNotAvailable = 3,
    /// There is no radio.
    WirelessNotAvailable = 4,
    /// Nobody has authorized the node.
    NetworkingDisabled = 5,
    /// The radio is switched off.
    WirelessDisabled = 6,
    /// Everything else.
    Unknown = 7,
}

impl From<Fault> for Code {
    /// The code that says most of a failure.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::WrongPassword
            | Fault::ProbablyWrongPassword
            | Fault::InvalidPassphrase
            | Fault::InvalidSsid
            | Fault::Wpa3NeedsPassword => Self::InvalidParameter,
            Fault::NetworkUnavailable => Self::NetworkManagerNotAvailable,
            Fault::AdapterGone => Self::WirelessNotAvailable,
            Fault::RadioBlocked | Fault::CountryMissing => Self::WirelessDisabled,
            _ => Self::Unknown,
        }
    }
}

/// The network that the node is in.
#[derive(Clone, Debug, Default)]
pub struct Connection<'a> {
    /// Its name; empty if there is none.
    pub name: &'a str,
    /// As the last scan has found it.
    pub network: Option<&'a Network>,
    /// The node's address.
    pub address: Option<Ipv4Addr>,
}

/// The answer to a command without parameters.
pub fn result(command: i64, code: Code) -> Vec<u8> {
    line(&json!({ "c": command, "r": code as u8 }))
}

/// The networks, strongest first. As many as fit; a name is listed once. Names that are no text are left out, and networks that a
/// client has no credentials for.
pub fn networks(command: i64, networks: &[Network]) -> Vec<u8> {
    let (mut listed, mut left) = (Vec::<Value>::new(), LIST_LIMIT);
    for network in networks.iter().filter(|network| network.security != Security::Enterprise) {
        let Ok(name) = core::str::from_utf8(network.ssid.as_bytes()) else { continue };
        let entry = described(name, Some(network));
        let size = format!("{entry},").len();
        // A shorter name may still fit.
        if size <= left && listed.iter().all(|known| known["e"] != name) {
            left -= size;
            listed.push(entry);
        }
    }
    line(&json!({ "c": command, "r": 0, "p": listed }))
}

/// The network that the node is in.
pub fn connection(command: i64, Connection { name, network, address }: &Connection<'_>) -> Vec<u8> {
    // nymea's app asks for a network without an address again at once, for ever.
    let known = address.filter(|_| !name.is_empty());
    let (name, network) = if known.is_some() { (*name, *network) } else { ("", None) };
    let mut described = described(name, network);
    described["i"] = known.map(|address| format!("{address}")).unwrap_or_default().into();
    line(&json!({ "c": command, "r": 0, "p": described }))
}

/// A network: its name, an address, its strength from 0 to 100, and whether it is protected.
fn described(name: &str, network: Option<&Network>) -> Value {
    let strength = network.map_or(0, |network| ((i16::from(network.signal) + 100) * 2).clamp(0, 100));
    let protected = network.is_some_and(|network| !matches!(network.security, Security::Open | Security::Owe));
    json!({ "e": name, "m": address_of(name), "s": strength, "p": u8::from(protected) })
}

/// The address by which clients tell networks apart. The node lists networks and not their access points, so it is made from the
/// name, and marked as locally administered, which no access point's own address is.
fn address_of(name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    let hash = Sha256::digest(name);
    format!("02:{:02X}:{:02X}:{:02X}:{:02X}:{:02X}", hash[0], hash[1], hash[2], hash[3], hash[4])
}

fn line(answer: &Value) -> Vec<u8> {
    format!("{answer}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Ssid;

    fn network(name: &[u8], signal: i8, security: Security) -> Network {
        Network { ssid: Ssid::try_from(name).expect("short"), signal, security, frequency: 2412 }
    }

    /// An answer, after the checks that clients make.
    fn parsed(line: &[u8]) -> Value {
        let (last, text) = line.split_last().expect("not empty");
        assert!(*last == b'\n' && !text.contains(&b'\n'));
        serde_json::from_slice(text).expect("JSON")
    }

    #[test]
    fn a_list_has_each_name_once_and_only_what_a_client_can_join() {
        let list = [
            network(b"home", -45, Security::Wpa3),
            network(b"home", -60, Security::Wpa),
            network(&[0xff, 0xfe], -61, Security::Open),
            network(b"office", -62, Security::Enterprise),
            network("caf\u{e9} \"1\"\n".as_bytes(), -63, Security::Owe),
            network(b"far", -128, Security::Wep),
            network(b"near", -3, Security::Open),
        ];
        let answer = parsed(&networks(0, &list));
        assert_eq!((&answer["c"], &answer["r"]), (&json!(0), &json!(0)));
        let entries = answer["p"].as_array().expect("a list");
        let told: Vec<_> = entries.iter().map(|entry| (entry["e"].clone(), entry["s"].clone(), entry["p"].clone())).collect();
        let expected = [("home", 100, 1), ("caf\u{e9} \"1\"\n", 74, 0), ("far", 0, 1), ("near", 100, 0)];
        assert_eq!(told, expected.map(|(name, strength, protected)| (json!(name), json!(strength), json!(protected))));
        let mut addresses: Vec<_> = entries.iter().map(|entry| entry["m"].as_str().expect("a text")).collect();
        assert!(addresses.iter().all(|address| address.len() == 17 && address.starts_with("02:")));
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), entries.len(), "one for each network");
        assert_eq!(parsed(&networks(0, &[]))["p"], json!([]));
    }

    #[test]
    fn a_list_is_cut_after_whole_networks() {
        let crowd: Vec<_> = (0..100_u8).map(|index| network(format!("{index:032}").as_bytes(), -40, Security::Wpa2)).collect();
        let line = networks(0, &crowd);
        assert!(line.len() <= LIST_LIMIT + 32, "{} bytes", line.len());
        assert_eq!(parsed(&line)["p"].as_array().expect("a list").len(), 38);
    }

    #[test]
    fn a_connection_has_an_address_or_no_name() {
        let home = network(b"home", -45, Security::Wpa2);
        let address = Some(Ipv4Addr::new(192, 168, 1, 20));
        let told = |name, network, address| parsed(&connection(5, &Connection { name, network, address }))["p"].clone();
        let expected = json!({ "e": "home", "m": address_of("home"), "s": 100, "p": 1, "i": "192.168.1.20" });
        assert_eq!(told("home", Some(&home), address), expected);
        let none = json!({ "e": "", "m": "", "s": 0, "p": 0, "i": "" });
        assert_eq!(told("home", Some(&home), None), none);
        assert_eq!(told("", None, address), none);
    }

    #[test]
    fn the_code_of_a_fault_says_what_the_protocol_can() {
        for (fault, code) in [
            (Fault::WrongPassword, 2),
            (Fault::InvalidPassphrase, 2),
            (Fault::NetworkNotFound, 7),
            (Fault::NetworkUnavailable, 3),
            (Fault::AdapterGone, 4),
            (Fault::RadioBlocked, 6),
            (Fault::StorageFailed, 7),
        ] {
            assert_eq!(Code::from(fault) as u8, code, "{fault:?}");
        }
        assert_eq!(result(1, Code::NetworkingDisabled), b"{\"c\":1,\"r\":5}\n");
    }
}
