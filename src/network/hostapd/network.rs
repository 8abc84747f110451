//! The properties of a network for the supplicant. Pure.

use std::collections::HashMap;
use std::path::PathBuf;

use zbus::Variant;

use super::bus::OURS;
use super::profiles::Profile;
use crate::files::bytes_of;
use crate::network::nm::enterprise::Certificates;
use crate::network::nm::profile::KeyManagement;
use provisioning_core::domain::{EapMethod, Login};

/// Where a system has the certificates of public authorities, by their hashes.
const AUTHORITIES: &str = "/etc/ssl/certs";

/// The properties of a network for `AddNetwork`. The supplicant quotes strings, and not bytes.
pub(super) fn properties(
    profile: &Profile,
    method: KeyManagement,
    with_sae: bool,
    certificates: &Certificates,
) -> HashMap<&'static str, Variant<'static>> {
    let Profile { ssid, passphrase, enterprise, hidden } = profile;
    let mut network = HashMap::from([("ssid", Variant::from(ssid.as_bytes().to_vec()))]);
    if *hidden {
        network.insert("scan_ssid", 1_i32.into());
    }
    let text = || Variant::from(passphrase.expose().to_owned());
    let mut methods = match method {
        KeyManagement::Open => "NONE",
        KeyManagement::Owe => "OWE",
        KeyManagement::Sae => "SAE",
        KeyManagement::WpaPsk => "WPA-PSK WPA-PSK-SHA256",
        KeyManagement::Eap => "WPA-EAP WPA-EAP-SHA256",
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
    if let Some(enterprise) = enterprise {
        network.extend(of_login(enterprise.login(), certificates));
    }
    network
}

/// The properties of a login.
fn of_login(login: &Login, certificates: &Certificates) -> HashMap<&'static str, Variant<'static>> {
    let text = |text: &str| Variant::from(text.to_owned());
    let file = |path: PathBuf| Variant::from(path.to_string_lossy().into_owned());
    let (eap, inner) = match login.method {
        EapMethod::PeapMschapv2 => ("PEAP", Some("auth=MSCHAPV2")),
        EapMethod::TtlsPap => ("TTLS", Some("auth=PAP")),
        EapMethod::Tls => ("TLS", None),
    };
    let mut network = HashMap::from([("eap", eap.into()), ("identity", text(&login.identity))]);
    match inner {
        Some(inner) => network.extend([("phase2", inner.into()), ("password", text(login.password.expose()))]),
        None => network.extend([
            ("private_key", file(certificates.identity(OURS))),
            ("private_key_passwd", text(login.certificate_password.expose())),
        ]),
    }
    if !login.authority.is_empty() {
        network.insert("ca_cert", file(certificates.authority(OURS)));
    } else if !login.accept_unverified_server {
        network.insert("ca_path", AUTHORITIES.into());
    }
    for (name, value) in [("anonymous_identity", &login.anonymous_identity), ("domain_suffix_match", &login.domain)] {
        if !value.is_empty() {
            network.insert(name, text(value));
        }
    }
    network
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::network::nm::enterprise::tests::{with_certificate, with_password};
    use provisioning_core::domain::{Passphrase, Ssid};

    fn made(
        passphrase: &str,
        login: Option<Login>,
        method: KeyManagement,
        with_sae: bool,
    ) -> HashMap<&'static str, Variant<'static>> {
        let profile = Profile {
            ssid: Ssid::try_from("home").expect("short"),
            passphrase: Passphrase::try_from(passphrase.to_owned()).expect("short"),
            enterprise: login.map(|login| Arc::new(login.try_into().expect("a valid login"))),
            hidden: true,
        };
        properties(&profile, method, with_sae, &Certificates::new(Path::new("/certificates")))
    }

    #[test]
    fn a_network_has_the_secret_where_the_supplicant_expects_it() {
        let made = |text: &str, method, with_sae| {
            let network = made(text, None, method, with_sae);
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

    /// The properties of a network with a login, without those of every network.
    fn shown(login: Login) -> Vec<String> {
        let mut network = made("", Some(login), KeyManagement::Eap, false);
        network.retain(|name, _| !["ssid", "scan_ssid"].contains(name));
        let mut lines: Vec<_> = network.iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.sort();
        lines
    }

    #[test]
    fn every_method_has_its_properties() {
        let common = [
            "ca_cert=\"/certificates/jarvis-provision-authority.pem\"",
            "domain_suffix_match=\"example.org\"",
            "identity=\"anna\"",
            "ieee80211w=1",
            "key_mgmt=\"WPA-EAP WPA-EAP-SHA256\"",
        ];
        let with = |own: &[&str]| {
            let mut lines: Vec<_> = common.iter().chain(own).map(ToString::to_string).collect();
            lines.sort();
            lines
        };
        let inner = ["anonymous_identity=\"anonymous\"", "password=\"s3cret\""];
        let peap = ["eap=\"PEAP\"", "phase2=\"auth=MSCHAPV2\""];
        assert_eq!(shown(with_password()), with(&[&inner[..], &peap].concat()));
        let ttls = ["eap=\"TTLS\"", "phase2=\"auth=PAP\""];
        let login = Login { method: EapMethod::TtlsPap, ..with_password() };
        assert_eq!(shown(login), with(&[&inner[..], &ttls].concat()));
        let tls =
            ["eap=\"TLS\"", "private_key=\"/certificates/jarvis-provision-identity.p12\"", "private_key_passwd=\"opens it\""];
        assert_eq!(shown(with_certificate()), with(&tls));
    }

    #[test]
    fn a_server_is_unverified_only_if_the_owner_says_so() {
        let public = Login { authority: Vec::new(), ..with_password() };
        let unverified = Login { domain: String::new(), accept_unverified_server: true, ..public.clone() };
        let verifies = |login: Login, name: &str| shown(login).iter().any(|line| line.starts_with(name));
        assert!(verifies(public.clone(), "ca_path=\"/etc/ssl/certs\"") && !verifies(public, "ca_cert"));
        assert!(verifies(with_password(), "ca_cert=") && !verifies(with_password(), "ca_path"));
        assert!(!verifies(unverified, "ca_"));
    }
}
