//! The server's secret, and the keys and hashes that are derived from it.
//!
//! The server keeps one secret of 32 bytes in a file beside the database, never in it. The database stores of
//! tokens, codes and keys only hashes that are keyed with that secret, so a copy of the database alone grants no access and
//! cannot be used to test guesses. The keys of nodes are *derived* from it: when a request is repeated after a lost answer,
//! the server computes the same key without having stored it.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chacha20poly1305::aead::Aead as _;
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hmac::{Hmac, KeyInit as _, Mac as _};
pub use provisioning_core::secret::SecretText;
use sha2::Sha256;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Reads a secret from a file: the content without the white space around it.
pub fn read_secret(path: &Path) -> Result<SecretText, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(Error::Empty { path: path.to_owned() });
    }
    Ok(SecretText::new(trimmed.to_owned()))
}

/// Why a secret file cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// It cannot be read.
    #[error("reading the secret file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be made.
    #[error("creating the secret file {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("the secret file {} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It does not hold 43 characters of url-safe base64.
    #[error("the secret file {} does not hold 32 bytes in url-safe base64", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error("the secret file {} may be read by others; make it 0600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("reading random bytes from the system")]
    Random(#[source] getrandom::Error),
}

/// What a hash or a key is for. Each purpose has its own label, so that no value made for one is accepted for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Identifies the secret, so that a wrong file is detected at the start.
    Fingerprint,
    /// What the database keeps of a provisioning token.
    ProvisioningToken,
    /// The key of a node, derived from its id and its token.
    NodeKey,
    /// What the database keeps of a node's key.
    NodeKeyHash,
    /// What the database keeps of a provision code.
    ProvisionCode,
    /// The readable handle of a provision code, with which nothing can be claimed.
    ProvisionCodeId,
    /// The random part of a site's id.
    SiteId,
    /// Identifies a device that repeats its claim.
    ClaimingDevice,
    /// The key of an appliance, derived from its id, its code and its claim.
    ApplianceKey,
    /// What the database keeps of an appliance's key.
    ApplianceKeyHash,
    /// Where guesses come from.
    GuessSource,
    /// The pepper of password hashes.
    PasswordPepper,
    /// A key that bearer tokens are signed with.
    SigningKey,
    /// The key that seals one relayed settings key in the database.
    RelayedKey,
    /// What the database keeps of a reset token.
    ResetToken,
    /// What the database keeps of the token of an operator's session.
    SessionToken,
    /// The secret of an operator's second factor, derived from the operator's name and a salt.
    Totp,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Fingerprint => b"fingerprint",
            Self::ProvisioningToken => b"provisioning token",
            Self::NodeKey => b"node key",
            Self::NodeKeyHash => b"node key hash",
            Self::ProvisionCode => b"provision code",
            Self::ProvisionCodeId => b"provision code id",
            Self::SiteId => b"site id",
            Self::ClaimingDevice => b"claiming device",
            Self::ApplianceKey => b"appliance key",
            Self::ApplianceKeyHash => b"appliance key hash",
            Self::GuessSource => b"guess source",
            Self::PasswordPepper => b"password pepper",
            Self::SigningKey => b"signing key",
            Self::RelayedKey => b"relayed key",
            Self::ResetToken => b"reset token",
            Self::SessionToken => b"session token",
            Self::Totp => b"totp",
        }
    }
}

/// The server's secret.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct ServerSecret([u8; 32]);

impl fmt::Debug for ServerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerSecret(..)")
    }
}

impl ServerSecret {
    /// Reads the secret from `path`, which must not be readable by others; creates it if the file is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        match Self::read(path) {
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::create(path)?;
                // Read back, so that of two processes that begin at once both use what is in the file.
                Self::read(path)
            }
            other => other,
        }
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.permissions().mode() & 0o007 != 0 {
            return Err(Error::Exposed { path: path.to_owned() });
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(failed)?;
        let bytes =
            Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| Error::Malformed { path: path.to_owned() })?);
        let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| Error::Malformed { path: path.to_owned() })?;
        Ok(Self(bytes))
    }

    /// Writes a fresh secret beside `path` and links it to its name, so that the name never refers to an incomplete file.
    fn create(path: &Path) -> Result<(), Error> {
        let failed = |source| Error::Create { path: path.to_owned(), source };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        let mut bytes = Zeroizing::new([0_u8; 32]);
        random(&mut *bytes)?;
        let text = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*bytes));
        let temporary = directory.join(format!(".{}.new", uuid::Uuid::new_v4()));
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            match std::fs::hard_link(&temporary, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            }
        });
        let removed = std::fs::remove_file(&temporary);
        written.map_err(failed)?;
        removed.map_err(failed)?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)
    }

    /// HMAC-SHA256 over the purpose and the parts, each with its length before it.
    pub(crate) fn derive(&self, purpose: Purpose, parts: &[&str]) -> Zeroizing<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        let mut part = |bytes: &[u8]| {
            mac.update(&(bytes.len() as u64).to_be_bytes());
            mac.update(bytes);
        };
        part(purpose.label());
        for bytes in parts {
            part(bytes.as_bytes());
        }
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    /// What the database keeps of a secret: [`ServerSecret::derive`] in hexadecimal.
    pub(crate) fn hash(&self, purpose: Purpose, parts: &[&str]) -> String {
        hexadecimal(&*self.derive(purpose, parts))
    }

    /// The key of a node: 43 url-safe characters that only this server, given the node's id and token hash, can compute.
    pub(crate) fn node_key(&self, node_id: &str, token_hash: &str) -> SecretText {
        self.key(Purpose::NodeKey, &[node_id, token_hash])
    }

    /// [`ServerSecret::derive`] as a key for a client: 43 url-safe characters.
    pub(crate) fn key(&self, purpose: Purpose, parts: &[&str]) -> SecretText {
        SecretText::new(BASE64_URL_SAFE_NO_PAD.encode(*self.derive(purpose, parts)))
    }

    /// Encrypts a text for the database. The parts must be different for each text, because they determine key and nonce:
    /// a key seals one text only.
    pub(crate) fn seal(&self, purpose: Purpose, parts: &[&str], text: &str) -> String {
        let sealed = self.cipher(purpose, parts).encrypt(&Nonce::default(), text.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(sealed.expect("the text fits into memory twice"))
    }

    /// Decrypts what [`ServerSecret::seal`] has made of the same purpose and parts; `None` for anything else.
    pub(crate) fn unseal(&self, purpose: Purpose, parts: &[&str], sealed: &str) -> Option<Zeroizing<Vec<u8>>> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(sealed).ok()?;
        self.cipher(purpose, parts).decrypt(&Nonce::default(), sealed.as_slice()).ok().map(Zeroizing::new)
    }

    fn cipher(&self, purpose: Purpose, parts: &[&str]) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new((&*self.derive(purpose, parts)).into())
    }

    /// What the database keeps of a node's key.
    pub(crate) fn node_key_hash(&self, node_id: &str, node_key: &str) -> String {
        self.hash(Purpose::NodeKeyHash, &[node_id, node_key])
    }
}

/// Fills `bytes` from the system's generator.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(Error::Random)
}

/// 32 random bytes as 43 url-safe characters.
pub(crate) fn random_text() -> Result<SecretText, Error> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    random(&mut *bytes)?;
    Ok(SecretText::new(BASE64_URL_SAFE_NO_PAD.encode(*bytes)))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_created_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let first = ServerSecret::open(&path).unwrap();
        let second = ServerSecret::open(&path).unwrap();
        assert_eq!(first.0, second.0);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_file_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        ServerSecret::open(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(ServerSecret::open(&path), Err(Error::Exposed { .. })));
    }

    #[test]
    fn a_cut_off_secret_file_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap().write_all(b"abc").unwrap();
        assert!(matches!(ServerSecret::open(&path), Err(Error::Malformed { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
    }

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        let secret = ServerSecret([7; 32]);
        assert_ne!(secret.hash(Purpose::NodeKey, &["ab", "c"]), secret.hash(Purpose::NodeKey, &["a", "bc"]));
        assert_ne!(secret.hash(Purpose::NodeKey, &["a"]), secret.hash(Purpose::NodeKeyHash, &["a"]));
    }

    #[test]
    fn a_sealed_text_opens_for_its_own_purpose_and_parts_only() {
        let secret = ServerSecret([7; 32]);
        let sealed = secret.seal(Purpose::RelayedKey, &["node", "request"], "hunter2");
        assert!(!sealed.contains("hunter2"));
        let open = |secret: &ServerSecret, parts: &[&str]| secret.unseal(Purpose::RelayedKey, parts, &sealed);
        assert_eq!(open(&secret, &["node", "request"]).unwrap().as_slice(), b"hunter2");
        assert!(open(&secret, &["node", "another"]).is_none());
        assert!(open(&ServerSecret([8; 32]), &["node", "request"]).is_none());
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", ServerSecret([1; 32])), "ServerSecret(..)");
    }
}
