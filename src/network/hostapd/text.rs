//! The configurations of `hostapd` and `dnsmasq`. Pure: settings in, text out.
//!
//! No value can begin another line: names are written as hexadecimal digits, and a passphrase has no control characters.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use zeroize::Zeroizing;

use super::cause::Cause;
use crate::files::hexadecimal;
use crate::network::nm::access_point::DnsFile;
use provisioning_core::domain::{Country, Passphrase, Ssid};

/// The first and the last address that phones get, in the node's network.
const RANGE: [u8; 2] = [10, 50];

/// An access point.
pub(super) struct AccessPoint<'a> {
    pub interface: &'a str,
    pub ssid: &'a Ssid,
    /// None for an open network.
    pub passphrase: Option<&'a Passphrase>,
    pub channel: u32,
    pub country: Option<Country>,
    /// The node's address, with 254 addresses around it.
    pub address: Ipv4Addr,
}

impl AccessPoint<'_> {
    /// `hostapd.conf`. WPA2 without protected management frames: some drivers cannot do both.
    pub(super) fn hostapd(&self) -> Result<Zeroizing<String>, Cause> {
        let Self { interface, channel, .. } = self;
        let name = hexadecimal(self.ssid.as_bytes());
        let mut text = Zeroizing::new(String::with_capacity(1024));
        _ = write!(text, "interface={interface}\ndriver=nl80211\nssid2={name}\nhw_mode=g\nchannel={channel}\n");
        text.push_str("ieee80211n=1\nwmm_enabled=1\nauth_algs=1\nignore_broadcast_ssid=0\n");
        if let Some(country) = self.country {
            _ = write!(text, "country_code={country}\nieee80211d=1\n");
        }
        if let Some(passphrase) = self.passphrase {
            text.push_str("wpa=2\nwpa_key_mgmt=WPA-PSK\nrsn_pairwise=CCMP\nieee80211w=0\n");
            let key = match passphrase.is_key() {
                true => "wpa_psk=",
                false if passphrase.fits_psk() && passphrase.is_printable() => "wpa_passphrase=",
                false => return Err(Cause::Passphrase),
            };
            for part in [key, passphrase.expose(), "\n"] {
                text.push_str(part);
            }
        }
        Ok(text)
    }

    /// The configuration of `dnsmasq`: DHCP, and every name for the node. It reads and writes no file of the system.
    pub(super) fn dnsmasq(&self) -> String {
        let Self { interface, address, .. } = self;
        let [first, last] = RANGE.map(|host| {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, host)
        });
        let names = DnsFile::options(*address);
        format!(
            "interface={interface}\nexcept-interface=lo\nbind-interfaces\nno-hosts\nno-poll\npid-file=\nleasefile-ro\n{names}\
             dhcp-authoritative\ndhcp-range={first},{last},255.255.255.0,12h\ndhcp-option=option:router,{address}\n\
             dhcp-option=option:dns-server,{address}\nno-ping\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::try_from(text.to_owned()).expect("short enough")
    }

    fn hostapd(name: &[u8], secret: Option<&Passphrase>) -> Result<String, Cause> {
        let ssid = Ssid::try_from(name).expect("1 to 32 bytes");
        let access_point = AccessPoint {
            interface: "wlan0",
            ssid: &ssid,
            passphrase: secret,
            channel: 6,
            country: Country::try_from("DE").ok(),
            address: Ipv4Addr::new(192, 168, 4, 1),
        };
        access_point.hostapd().map(|text| text.to_string())
    }

    #[test]
    fn no_name_and_no_passphrase_adds_a_line() {
        let usual = hostapd(b"jarvis-5b91b661", Some(&passphrase("on the label"))).expect("a valid configuration");
        assert!(usual.contains("\nwpa_passphrase=on the label\n") && usual.contains("\ncountry_code=DE\n"));
        for name in [&b"a\nwpa=0"[..], b"\"quoted\"", b"#comment", b"\0\0", b"\xff\r\n", b"P\"\\n\"", &[b'\n'; 32]] {
            let text = hostapd(name, Some(&passphrase("on the label"))).expect("a valid configuration");
            assert_eq!(text.lines().count(), usual.lines().count(), "{name:?}");
            assert!(text.contains(&format!("\nssid2={}\n", hexadecimal(name))));
        }
        for secret in ["a passphrase\nwpa=0", "a passphrase\r", "seven 7", "\0\0\0\0\0\0\0\0", ""] {
            assert!(matches!(hostapd(b"name", Some(&passphrase(secret))), Err(Cause::Passphrase)), "{secret:?}");
        }
        for secret in ["#12345678", " 12345678 ", "\"quoted\"", "Gr\u{fc}\u{df}e-vom-Haus"] {
            let text = hostapd(b"name", Some(&passphrase(secret))).expect("a valid passphrase");
            assert!(text.ends_with(&format!("\nwpa_passphrase={secret}\n")));
        }
    }

    #[test]
    fn a_key_is_no_passphrase_and_an_open_network_has_none() {
        let key = "0a".repeat(32);
        assert!(hostapd(b"name", Some(&passphrase(&key))).expect("a key").ends_with(&format!("\nwpa_psk={key}\n")));
        assert!(!hostapd(b"name", None).expect("open").contains("wpa"));
    }

    #[test]
    fn phones_get_addresses_and_names_of_the_nodes_network_only() {
        let ssid = Ssid::try_from("name").expect("short");
        let address = Ipv4Addr::new(172, 28, 184, 1);
        let text =
            AccessPoint { interface: "wlan0", ssid: &ssid, passphrase: None, channel: 6, country: None, address }.dnsmasq();
        for line in ["interface=wlan0", "bind-interfaces", "address=/#/172.28.184.1", "no-resolv", "pid-file=", "leasefile-ro"] {
            assert!(text.lines().any(|found| found == line), "{line}");
        }
        assert!(text.contains("dhcp-range=172.28.184.10,172.28.184.50,"));
    }
}
