//! Names of networks in the JSON API, where a name is text: bytes that are not UTF-8 are shown by the replacement character,
//! as the existing software does.
//!
//! Two names that differ only in such bytes would have one text. Then these bytes are written as `\xNN`, so that the app shows
//! two networks, and sends back which one its owner has chosen.

use std::collections::HashMap;
use std::fmt::Write as _;

use provisioning_core::domain::{Network, Ssid};
use provisioning_core::fault::Fault;

/// The names of the networks in range, each once, with their texts; in the order of the list.
pub(super) struct NetworkNames<'a> {
    shown: Vec<(String, &'a Network)>,
}

impl<'a> NetworkNames<'a> {
    /// Of several networks of one name, it has the first.
    pub(super) fn new(networks: &'a [Network]) -> Self {
        let mut first: Vec<(String, &Network)> = Vec::new();
        let mut known = std::collections::HashSet::new();
        first.extend(
            networks.iter().filter(|network| known.insert(&network.ssid)).map(|network| (network.ssid.to_string(), network)),
        );
        let mut uses: HashMap<String, u32> = HashMap::new();
        for (text, _) in &first {
            *uses.entry(text.clone()).or_default() += 1;
        }
        for (text, network) in &mut first {
            if uses[text] > 1 {
                *text = escaped(&network.ssid);
            }
        }
        Self { shown: first }
    }

    /// The networks with their texts.
    pub(super) fn shown(self) -> impl Iterator<Item = (String, &'a Network)> {
        self.shown.into_iter()
    }

    /// The name that a text stands for: the name of these bytes, else the one that is shown so. A text of several names, as an
    /// earlier list may have shown one of them, is refused.
    pub(super) fn find(&self, text: &str) -> Result<Ssid, Fault> {
        let exact = Ssid::try_from(text);
        let is_exact = |network: &Network| exact.as_ref().is_ok_and(|exact| *exact == network.ssid);
        if self.shown.iter().any(|(_, network)| is_exact(network)) {
            return exact;
        }
        if let Some((_, network)) = self.shown.iter().find(|(shown, _)| shown == text) {
            return Ok(network.ssid.clone());
        }
        if self.shown.iter().any(|(_, network)| network.ssid.to_string() == text) { Err(Fault::NetworkNotFound) } else { exact }
    }
}

/// The text of a name, with bytes that are not UTF-8 as `\xNN`.
fn escaped(ssid: &Ssid) -> String {
    let mut text = String::new();
    for chunk in ssid.as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            write!(text, "\\x{byte:02x}").expect("writing to a string does not fail");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use provisioning_core::domain::Security;

    use super::*;

    fn networks(names: &[&[u8]]) -> Vec<Network> {
        let network = |name: &&[u8]| Network {
            ssid: Ssid::try_from(*name).expect("1 to 32 bytes"),
            signal: -50,
            security: Security::Wpa2,
            frequency: 2412,
        };
        names.iter().map(network).collect()
    }

    fn texts(names: &[&[u8]]) -> Vec<String> {
        NetworkNames::new(&networks(names)).shown().map(|(text, _)| text).collect()
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_shown_as_before_while_no_other_looks_the_same() {
        assert_eq!(texts(&[b"home", b"caf\xe9", b"home"]), ["home", "caf\u{fffd}"]);
    }

    #[test]
    fn names_that_look_the_same_are_shown_and_found_apart() {
        let replacement = "caf\u{fffd}".as_bytes();
        let names: [&[u8]; 4] = [b"caf\xe9", b"caf\xe8", replacement, b"home"];
        assert_eq!(texts(&names), ["caf\\xe9", "caf\\xe8", "caf\u{fffd}", "home"]);
        let networks = networks(&names);
        for (text, name) in texts(&names).iter().zip(names) {
            assert_eq!(NetworkNames::new(&networks).find(text).as_ref().map(Ssid::as_bytes), Ok(name), "{text}");
        }
    }

    #[test]
    fn a_text_of_two_names_is_refused() {
        let networks = networks(&[b"caf\xe9", b"caf\xe8"]);
        assert_eq!(NetworkNames::new(&networks).find("caf\u{fffd}"), Err(Fault::NetworkNotFound));
    }

    #[test]
    fn a_name_that_is_not_listed_is_taken_as_it_is() {
        let networks = networks(&[b"caf\xe9"]);
        let names = NetworkNames::new(&networks);
        assert_eq!(names.find("attic").as_ref().map(Ssid::as_bytes), Ok(&b"attic"[..]));
        assert_eq!(names.find("caf\u{fffd}").as_ref().map(Ssid::as_bytes), Ok(&b"caf\xe9"[..]));
        assert_eq!(names.find(""), Err(Fault::InvalidSsid));
        assert_eq!(names.find(&"a".repeat(33)), Err(Fault::InvalidSsid));
    }
}
