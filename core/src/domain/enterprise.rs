//! The login to an enterprise network (802.1X): its parts, and what is checked of them before the network is joined.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::is_free_of_controls;
use crate::fault::Fault;
use crate::secret::{SecretBlob, SecretText};

/// The longest user name: that of RADIUS (RFC 2865, 5.1). Bytes.
const IDENTITY_LIMIT: usize = 253;
/// The longest password: that of `MSCHAPv2` (RFC 2759, 4). Bytes.
const PASSWORD_LIMIT: usize = 256;
/// The largest PKCS#12: a key of 4096 bits, its certificate and two above it. Bytes.
const CERTIFICATE_LIMIT: usize = 8192;
/// The largest authority: two certificates of 4096 bits in PEM. Bytes.
const AUTHORITY_LIMIT: usize = 4096;
/// The longest name of a host (RFC 1035, 2.3.4). Bytes.
const DOMAIN_LIMIT: usize = 253;

/// How the node proves itself to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EapMethod {
    /// A password by `MSCHAPv2`, in a tunnel.
    PeapMschapv2,
    /// A password in a tunnel.
    TtlsPap,
    /// A certificate.
    Tls,
}

/// The parts of a login, not checked yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// How the node proves itself.
    pub method: EapMethod,
    /// The user name.
    pub identity: String,
    /// What is sent in clear in place of the user name; empty for the user name itself.
    pub anonymous_identity: String,
    /// Empty with a certificate.
    pub password: SecretText,
    /// Certificate and private key of the node, PKCS#12; empty with a password.
    pub certificate: SecretBlob,
    /// The password of that PKCS#12; empty with a password.
    pub certificate_password: SecretText,
    /// Certificates that the server's must come from: one in DER, or some in PEM. Empty for those of the system.
    pub authority: Vec<u8>,
    /// The name of the server, or a domain that it is in; empty for any.
    pub domain: String,
    /// The owner wants no verification of the server.
    pub accept_unverified_server: bool,
}

/// For the log: nothing of an owner's login.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("method", &self.method).finish_non_exhaustive()
    }
}

/// The login to an enterprise network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enterprise(Login);

impl Enterprise {
    /// Its parts.
    pub const fn login(&self) -> &Login {
        &self.0
    }
}

impl TryFrom<Login> for Enterprise {
    type Error = Fault;

    /// Fails with the fault that names the part. Whether a PKCS#12 opens with its password is known only when it is used.
    fn try_from(login: Login) -> Result<Self, Fault> {
        let is_text = |text: &str, limit: usize| text.len() <= limit && is_free_of_controls(text);
        let is_secret = |secret: &SecretText| !secret.expose().is_empty() && is_text(secret.expose(), PASSWORD_LIMIT);
        let names = [&login.identity, &login.anonymous_identity];
        if login.identity.is_empty() || !names.into_iter().all(|name| is_text(name, IDENTITY_LIMIT)) {
            return Err(Fault::InvalidIdentity);
        }
        match login.method {
            EapMethod::PeapMschapv2 | EapMethod::TtlsPap => {
                let has_other = !login.certificate.expose().is_empty() || !login.certificate_password.expose().is_empty();
                if has_other || !is_secret(&login.password) {
                    return Err(Fault::InvalidEnterprise);
                }
            }
            EapMethod::Tls => {
                let is_whole = !login.certificate.expose().is_empty() && !login.certificate_password.expose().is_empty();
                if !login.password.expose().is_empty() || !is_whole {
                    return Err(Fault::InvalidEnterprise);
                }
                if !is_pkcs12(login.certificate.expose()) || !is_secret(&login.certificate_password) {
                    return Err(Fault::InvalidCertificate);
                }
            }
        }
        if !login.authority.is_empty() && !is_authority(&login.authority) {
            return Err(Fault::InvalidAuthority);
        }
        if !login.domain.is_empty() && !is_domain(&login.domain) {
            return Err(Fault::InvalidDomain);
        }
        // Anyone can have a certificate of a public authority, for a name of his own.
        let is_verified = !login.authority.is_empty() || !login.domain.is_empty();
        if is_verified == login.accept_unverified_server {
            return Err(Fault::ServerUnverifiable);
        }
        Ok(Self(login))
    }
}

/// Whether a text can be the name of a host, or the end of one.
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(is_part)
    };
    text.len() <= DOMAIN_LIMIT && text.split('.').all(is_label)
}

/// Whether bytes have the outline of a PKCS#12 (RFC 7292, 4): version 3, and content.
fn is_pkcs12(bytes: &[u8]) -> bool {
    const VERSION_3: [u8; 3] = [INTEGER, 1, 3];
    let content = match bytes {
        // An indefinite length, as some programs write it.
        [SEQUENCE, 0x80, content @ .., 0, 0] => Some(content),
        _ => element(bytes).and_then(|(tag, content, rest)| (tag == SEQUENCE && rest.is_empty()).then_some(content)),
    };
    let content = content.and_then(|content| content.strip_prefix(&VERSION_3));
    bytes.len() <= CERTIFICATE_LIMIT && content.is_some_and(|content| content.first() == Some(&SEQUENCE))
}

/// Whether bytes are one certificate in DER, or certificates in PEM and nothing else that is secret or unknown.
fn is_authority(bytes: &[u8]) -> bool {
    if bytes.len() > AUTHORITY_LIMIT {
        return false;
    }
    if is_certificate(bytes) {
        return true;
    }
    let Ok(text) = core::str::from_utf8(bytes) else { return false };
    let mut blocks = text.split("-----BEGIN ");
    let _comment = blocks.next();
    let mut found = false;
    for block in blocks {
        let body = block.strip_prefix("CERTIFICATE-----").and_then(|block| block.split_once("-----END CERTIFICATE-----"));
        if !body.and_then(|(body, _)| base64(body)).is_some_and(|der| is_certificate(&der)) {
            return false;
        }
        found = true;
    }
    found
}

/// Whether bytes have the outline of a certificate (RFC 5280, 4.1): what is signed, the algorithm, the signature.
fn is_certificate(bytes: &[u8]) -> bool {
    let Some((SEQUENCE, content, [])) = element(bytes) else { return false };
    let Some((SEQUENCE, _, rest)) = element(content) else { return false };
    let Some((SEQUENCE, _, rest)) = element(rest) else { return false };
    matches!(element(rest), Some((BIT_STRING, _, [])))
}

/// Tags of DER (X.690, 8.1.2).
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// The first element in DER: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 | 0x82 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// Decodes base64 (RFC 4648, 4), with white space between the digits.
fn base64(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.trim_end_matches(|letter: char| letter == '=' || letter.is_ascii_whitespace()).bytes() {
        if letter.is_ascii_whitespace() {
            continue;
        }
        let digit = DIGITS.iter().position(|digit| *digit == letter)?;
        bits = bits << 6 | u32::try_from(digit).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outlines of a certificate and of a PKCS#12.
    const CERTIFICATE: &[u8] = &[SEQUENCE, 7, SEQUENCE, 0, SEQUENCE, 0, BIT_STRING, 1, 0];
    const PKCS12: &[u8] = &[SEQUENCE, 5, INTEGER, 1, 3, SEQUENCE, 0];
    const PEM: &str = "-----BEGIN CERTIFICATE-----\r\nMAcwAD\nAAAwEA\n-----END CERTIFICATE-----\n";

    fn with_password() -> Login {
        Login {
            method: EapMethod::PeapMschapv2,
            identity: "anna@example.org".into(),
            anonymous_identity: "anonymous@example.org".into(),
            password: SecretText::new("s3cret".into()),
            certificate: SecretBlob::default(),
            certificate_password: SecretText::new(String::new()),
            authority: CERTIFICATE.to_vec(),
            domain: "radius.example.org".into(),
            accept_unverified_server: false,
        }
    }

    fn with_certificate() -> Login {
        Login {
            method: EapMethod::Tls,
            password: SecretText::new(String::new()),
            certificate: SecretBlob::new(PKCS12.to_vec()),
            certificate_password: SecretText::new("opens it".into()),
            ..with_password()
        }
    }

    #[test]
    fn a_login_has_the_parts_of_its_method_and_a_way_to_verify_the_server() {
        let pem = PEM.as_bytes().to_vec();
        for login in [
            with_password(),
            Login { method: EapMethod::TtlsPap, anonymous_identity: String::new(), ..with_password() },
            Login { domain: String::new(), authority: pem.clone(), ..with_password() },
            Login { authority: [&b"Root of the example\n"[..], &pem, &pem].concat(), ..with_password() },
            Login { authority: Vec::new(), ..with_password() },
            Login { authority: Vec::new(), domain: String::new(), accept_unverified_server: true, ..with_password() },
            with_certificate(),
        ] {
            assert!(Enterprise::try_from(login.clone()).is_ok(), "{:?} {:?}", login.domain, login.authority);
        }
    }

    #[test]
    fn every_bad_part_is_refused_by_its_name() {
        let text = |text: &str| SecretText::new(text.into());
        let blob = |bytes: &[u8]| SecretBlob::new(bytes.to_vec());
        let authority = |bytes: &[u8]| Login { authority: bytes.to_vec(), ..with_password() };
        let domain = |domain: &str| Login { domain: domain.into(), ..with_password() };
        let certificate = |bytes: &[u8]| Login { certificate: blob(bytes), ..with_certificate() };
        let large = [&[SEQUENCE, 0x82, 0x1f, 0xfd, INTEGER, 1, 3, SEQUENCE][..], &[0; 0x1ff9]].concat();
        let key = PEM.replace("CERTIFICATE", "PRIVATE KEY");
        for (login, fault) in [
            (Login { identity: String::new(), ..with_password() }, Fault::InvalidIdentity),
            (Login { identity: "a".repeat(254), ..with_password() }, Fault::InvalidIdentity),
            (Login { identity: "a\nb".into(), ..with_certificate() }, Fault::InvalidIdentity),
            (Login { anonymous_identity: "\u{7f}".into(), ..with_password() }, Fault::InvalidIdentity),
            (Login { password: text(""), ..with_password() }, Fault::InvalidEnterprise),
            (Login { password: text(&"a".repeat(257)), ..with_password() }, Fault::InvalidEnterprise),
            (Login { password: text("a\0"), ..with_password() }, Fault::InvalidEnterprise),
            (Login { certificate: blob(PKCS12), ..with_password() }, Fault::InvalidEnterprise),
            (Login { certificate_password: text("a"), ..with_password() }, Fault::InvalidEnterprise),
            (Login { method: EapMethod::Tls, ..with_password() }, Fault::InvalidEnterprise),
            (Login { password: text("a"), ..with_certificate() }, Fault::InvalidEnterprise),
            (certificate(b""), Fault::InvalidEnterprise),
            (Login { certificate_password: text(""), ..with_certificate() }, Fault::InvalidEnterprise),
            (certificate(CERTIFICATE), Fault::InvalidCertificate),
            (certificate(PEM.as_bytes()), Fault::InvalidCertificate),
            (certificate(&PKCS12[..6]), Fault::InvalidCertificate),
            (certificate(&[PKCS12, &[0]].concat()), Fault::InvalidCertificate),
            (certificate(&large), Fault::InvalidCertificate),
            (Login { certificate_password: text("\t"), ..with_certificate() }, Fault::InvalidCertificate),
            (authority(b"a"), Fault::InvalidAuthority),
            (authority(PKCS12), Fault::InvalidAuthority),
            (authority(&CERTIFICATE[..8]), Fault::InvalidAuthority),
            (authority(&[CERTIFICATE, CERTIFICATE].concat()), Fault::InvalidAuthority),
            (authority(key.as_bytes()), Fault::InvalidAuthority),
            (authority((key + PEM).as_bytes()), Fault::InvalidAuthority),
            (authority(PEM.replace("MAcw", "M+cw").as_bytes()), Fault::InvalidAuthority),
            (authority(PEM.replace("MAcw", "MA*w").as_bytes()), Fault::InvalidAuthority),
            (authority(PEM.split_once("-----END").expect("an end").0.as_bytes()), Fault::InvalidAuthority),
            (authority(PEM.repeat(60).as_bytes()), Fault::InvalidAuthority),
            (domain("example\0.org"), Fault::InvalidDomain),
            (domain("a b"), Fault::InvalidDomain),
            (domain("*.example.org"), Fault::InvalidDomain),
            (domain("example..org"), Fault::InvalidDomain),
            (domain("m\u{fc}nchen.example"), Fault::InvalidDomain),
            (domain(&"a.".repeat(130)), Fault::InvalidDomain),
            (Login { authority: Vec::new(), domain: String::new(), ..with_password() }, Fault::ServerUnverifiable),
            (Login { accept_unverified_server: true, ..with_password() }, Fault::ServerUnverifiable),
        ] {
            assert_eq!(Enterprise::try_from(login.clone()), Err(fault), "{login:?}");
        }
    }

    #[test]
    fn a_pkcs12_of_an_indefinite_length_is_one() {
        assert!(is_pkcs12(&[SEQUENCE, 0x80, INTEGER, 1, 3, SEQUENCE, 0x80, 0, 0, 0, 0]));
        assert!(!is_pkcs12(&[SEQUENCE, 0x80, INTEGER, 1, 3]));
    }

    #[test]
    fn debug_shows_nothing_of_a_login() {
        let shown = alloc::format!("{:?}", Enterprise::try_from(with_certificate()));
        assert_eq!(shown, "Ok(Enterprise(Login { method: Tls, .. }))");
    }
}
