//! K1, and sealing with it: Fernet, the format of the existing software.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use fernet::Fernet;
use zeroize::Zeroizing;

use provisioning_core::secret::SecretText;

/// A time later than that of every token. The clock of a node without a battery is years behind after each boot, and must
/// still open older files. Not the highest number, because the library adds its tolerance.
const AFTER_ALL: u64 = u64::MAX / 2;

/// The key under which the node seals its files.
pub(super) struct Key {
    text: SecretText,
    fernet: Fernet,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// A new key.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes)?;
        let text = Zeroizing::new(URL_SAFE.encode(*bytes));
        Ok(Self::parse(text.as_bytes()).expect("32 bytes in the url-safe alphabet are a key"))
    }

    /// Parses the content of the key's file, without surrounding white space.
    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(content).map_err(|_| "does not contain a key")?.trim();
        let fernet = Fernet::new(text).ok_or("does not contain a key of 44 characters")?;
        Ok(Self { text: SecretText::new(text.to_owned()), fernet })
    }

    /// The content of the key's file: 44 characters, no line break.
    pub(super) fn content(&self) -> &[u8] {
        self.text.expose().as_bytes()
    }

    /// Seals; the result is text.
    pub(super) fn seal(&self, plain: &[u8]) -> String {
        #[allow(clippy::disallowed_methods, reason = "a Fernet token has the wall clock's time in it")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.fernet.encrypt_at_time(plain, now)
    }

    /// Opens a token that was sealed with this key at any time.
    pub(super) fn open(&self, token: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let opened =
            std::str::from_utf8(token).ok().and_then(|token| self.fernet.decrypt_at_time(token.trim(), None, AFTER_ALL).ok());
        opened.map(Zeroizing::new).ok_or_else(|| "is torn, or was sealed with another key".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_after_the_clock_was_set_back() {
        let key = Key::random().unwrap();
        let year_2100 = 4_102_444_800;
        let token = key.fernet.encrypt_at_time(b"sealed", year_2100);
        assert_eq!(key.open(token.as_bytes()).unwrap().as_slice(), b"sealed");
    }

    #[test]
    fn another_key_and_a_torn_token_do_not_open() {
        let key = Key::random().unwrap();
        let token = key.seal(b"sealed");
        assert!(Key::random().unwrap().open(token.as_bytes()).is_err());
        for length in 0..token.trim_end_matches('=').len() {
            assert!(key.open(&token.as_bytes()[..length]).is_err(), "cut to {length} characters");
        }
    }

    #[test]
    fn a_key_has_44_characters_and_may_end_with_a_line_break() {
        let key = Key::random().unwrap();
        assert_eq!(key.content().len(), 44);
        let line = [key.content(), b"\r\n"].concat();
        assert_eq!(Key::parse(&line).unwrap().content(), key.content());
        assert!(Key::parse(&key.content()[..40]).is_err());
        assert!(Key::parse(b"").is_err());
        assert!(Key::parse(&[0xff; 44]).is_err());
    }
}
