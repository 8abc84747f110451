//! Espressif's unified provisioning, Security 2, so that Espressif's apps can bring the node online.
//!
//! The session is SRP-6a and AES-256-GCM as Espressif's clients compute them, which differs from RFC 5054 in what is hashed
//! ([`srp`]). One message is answered by one message:
//!
//! ```text
//! app  → node   prov-session  user name, A
//! node → app                  B, salt
//! app  → node   prov-session  M1
//! node → app                  M2, first nonce
//! app  → node   prov-scan, prov-config, prov-ctrl, jarvis   sealed, each with its sealed answer
//! ```
//!
//! The caller of [`Handshake::answer`] has counted the guess on disk before, because the answer leads to a proof that is
//! one guess of the password. There is no test of a guess that needs no run with the node.

mod session;
pub mod srp;

use alloc::format;
use alloc::string::String;

use zeroize::Zeroizing;

use crate::domain::Pairing;
pub use session::{Handshake, NotAuthentic, Session};

/// The user name with which an app proves the six digits.
const CODE_USER: &[u8] = b"wifiprov";
/// The user name with which an app proves the 128 bits of the QR code, written as 32 hexadecimal digits.
const QR_USER: &[u8] = b"wifiprov-qr";

/// The service, if it is found by its characteristics.
pub const SERVICE: u128 = 0x1775_244d_6b43_439b_877c_060f_2d9b_ed07;

/// An endpoint of Espressif's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// The versions, in clear.
    Version,
    /// The handshake.
    Session,
    /// Networks in range.
    Scan,
    /// The network to join.
    Config,
    /// Another try.
    Control,
    /// This project's own: the settings key and the fields of the command center, as messages of its own protocol.
    Custom,
}

/// One endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Its name: the user description of its characteristic, and its HTTP path after the slash.
    pub name: &'static str,
    /// The 16 bits that are its own in the UUID of its characteristic.
    pub id: u16,
    /// The largest message that may be written, bytes.
    pub limit: usize,
}

impl Row {
    /// The UUID of the characteristic: that of the service with these 16 bits.
    pub const fn uuid(&self) -> u128 {
        SERVICE & !(0xffff << 96) | (self.id as u128) << 96
    }
}

/// A message fits an attribute; what is not in the session is smaller.
const LIMIT: usize = 512;

/// Every endpoint, in the order of the characteristics. The order and the numbers never change, because phones cache handles.
pub const ENDPOINTS: [Row; 6] = [
    Row { endpoint: Endpoint::Control, name: "prov-ctrl", id: 0xff4f, limit: LIMIT },
    Row { endpoint: Endpoint::Scan, name: "prov-scan", id: 0xff50, limit: LIMIT },
    Row { endpoint: Endpoint::Session, name: "prov-session", id: 0xff51, limit: LIMIT },
    Row { endpoint: Endpoint::Config, name: "prov-config", id: 0xff52, limit: LIMIT },
    Row { endpoint: Endpoint::Version, name: "proto-ver", id: 0xff53, limit: LIMIT },
    Row { endpoint: Endpoint::Custom, name: "jarvis", id: 0xff54, limit: LIMIT },
];

impl Endpoint {
    /// Its row.
    pub fn row(self) -> &'static Row {
        ENDPOINTS.iter().find(|row| row.endpoint == self).expect("every endpoint has a row")
    }

    /// The endpoint at an HTTP path.
    pub fn from_path(path: &str) -> Option<Self> {
        let name = path.strip_prefix('/')?;
        ENDPOINTS.iter().find(|row| row.name == name).map(|row| row.endpoint)
    }

    /// The endpoint of a characteristic.
    pub fn from_uuid(uuid: u128) -> Option<Self> {
        ENDPOINTS.iter().find(|row| row.uuid() == uuid).map(|row| row.endpoint)
    }
}

/// The answer of [`Endpoint::Version`] to any message.
pub fn version(firmware: &str) -> String {
    // Only characters that need no escape in JSON.
    let firmware: String = firmware.chars().filter(|letter| letter.is_ascii_alphanumeric() || ".-+~".contains(*letter)).collect();
    format!(
        r#"{{"prov":{{"ver":"netprov-v1.2","sec_ver":2,"sec_patch_ver":1,"cap":["wifi_prov","wifi_scan"]}},"jarvis":{{"ver":"{firmware}","cap":["k2","credentials"]}}}}"#
    )
}

/// The secret that a user name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The six digits: each handshake is a guess.
    Code,
    /// The 128 bits, which cannot be guessed.
    Qr,
}

impl User {
    /// The user of a name; none if it is unknown.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Code, Self::Qr].into_iter().find(|user| user.name() == name)
    }

    /// The name.
    pub const fn name(self) -> &'static [u8] {
        match self {
            Self::Code => CODE_USER,
            Self::Qr => QR_USER,
        }
    }

    /// The password: the proof of possession that is typed or scanned.
    pub fn password(self, pairing: &Pairing) -> Zeroizing<String> {
        use core::fmt::Write as _;
        match self {
            Self::Code => Zeroizing::new(pairing.code.expose().into()),
            Self::Qr => {
                let mut digits = Zeroizing::new(String::with_capacity(32));
                for byte in pairing.secret.expose() {
                    write!(digits, "{byte:02x}").expect("writing to memory");
                }
                digits
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{SecretBytes, SecretText};

    #[test]
    fn characteristics_differ_from_the_service_in_their_number() {
        assert_eq!(Endpoint::Control.row().uuid(), 0x1775_ff4f_6b43_439b_877c_060f_2d9b_ed07);
        for row in &ENDPOINTS {
            assert_eq!(Endpoint::from_uuid(row.uuid()), Some(row.endpoint));
            assert_eq!(Endpoint::from_path(&format!("/{}", row.name)), Some(row.endpoint));
        }
        assert_eq!(Endpoint::from_path("/proto"), None);
        assert_eq!(Endpoint::from_uuid(SERVICE), None);
    }

    #[test]
    fn each_user_has_its_secret() {
        let pairing = Pairing { code: SecretText::new("042137".into()), secret: SecretBytes::new([0xa5; 16]) };
        assert_eq!(
            User::from_name(b"wifiprov").map(|user| user.password(&pairing)).as_deref().map(String::as_str),
            Some("042137")
        );
        assert_eq!(*User::Qr.password(&pairing), "a5".repeat(16));
        assert_eq!(User::from_name(b"wifiprov\0"), None);
        assert_eq!(User::from_name(b""), None);
    }

    #[test]
    fn the_version_is_json_whatever_the_firmware_is_called() {
        for firmware in ["1.0.0", "1.0~rc1\"},{\\", ""] {
            let value: serde_json::Value = serde_json::from_str(&version(firmware)).expect("JSON");
            assert_eq!(value["prov"]["sec_ver"], 2);
            assert_eq!(value["prov"]["sec_patch_ver"], 1);
        }
    }
}
