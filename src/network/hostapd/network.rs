//! The properties of a network for the supplicant. Pure.

use std::collections::HashMap;

use zbus::Variant;

use crate::files::bytes_of;
use crate::network::nm::profile::KeyManagement;
use provisioning_core::domain::{Passphrase, Ssid};

/// The properties of a network for `AddNetwork`. The supplicant quotes strings, and not bytes.
pub(super) fn properties<'a>(
    ssid: &Ssid,
    passphrase: &Passphrase,
    hidden: bool,
    method: KeyManagement,
    with_sae: bool,
) -> HashMap<&'static str, Variant<'a>> {
    let mut network = HashMap::from([("ssid", Variant::from(ssid.as_bytes().to_vec()))]);
    if hidden {
        network.insert("scan_ssid", 1_i32.into());
    }
    let text = || Variant::from(passphrase.expose().to_owned());
    let mut methods = match method {
        KeyManagement::Open => "NONE",
        KeyManagement::Owe => "OWE",
        KeyManagement::Sae => "SAE",
        KeyManagement::WpaPsk => "WPA-PSK WPA-PSK-SHA256",
        KeyManagement::Eap => "WPA-EAP",
    }
    .to_owned();
    if method == KeyManagement::WpaPsk {
        let key = if passphrase.is_key() { bytes_of(passphrase.expose()) } else { None };
        network.insert("psk", key.map_or_else(text, Variant::from));
        if with_sae {
            methods.push_str(" SAE");
        }
    }
    if method == KeyManagement::Sae || with_sae {
        network.insert("sae_password", text());
    }
    // Protected management frames: WPA3 and OWE require them, and WPA2 uses them where the access point can.
    let protection = match method {
        KeyManagement::Open => 0_i32,
        KeyManagement::WpaPsk | KeyManagement::Eap => 1,
        KeyManagement::Sae | KeyManagement::Owe => 2,
    };
    network.insert("ieee80211w", protection.into());
    network.insert("key_mgmt", methods.into());
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_secret_where_the_supplicant_expects_it() {
        let ssid = Ssid::try_from("home").expect("short");
        let made = |text: &str, method, with_sae| {
            let passphrase = Passphrase::try_from(text.to_owned()).expect("short");
            let network = properties(&ssid, &passphrase, true, method, with_sae);
            ["psk", "sae_password", "key_mgmt"].map(|name| network.get(name).cloned())
        };
        let text = |text: &str| Some(Variant::from(text.to_owned()));
        let wpa = |text: &str| Some(Variant::from(format!("WPA-PSK WPA-PSK-SHA256{text}")));
        assert_eq!(made("\"a\" pass", KeyManagement::WpaPsk, false), [text("\"a\" pass"), None, wpa("")]);
        assert_eq!(made("password", KeyManagement::WpaPsk, true), [text("password"), text("password"), wpa(" SAE")]);
        assert_eq!(made("short", KeyManagement::Sae, true), [None, text("short"), text("SAE")]);
        assert_eq!(made(&"0A".repeat(32), KeyManagement::WpaPsk, false), [Some(Variant::from(vec![10_u8; 32])), None, wpa("")]);
        assert_eq!(made("", KeyManagement::Open, false), [None, None, text("NONE")]);
    }
}
