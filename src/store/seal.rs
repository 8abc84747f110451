//! K1, and sealing with it: Fernet, the format of the existing software.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use fernet::Fernet;
use zeroize::Zeroizing;

use provisioning_core::secret::SecretText;

/// A time later than that of every token. The clock of a node without a battery is years behind after each boot, and must
/// still open older files. Not the highest number, because the library adds its tolerance.
const AFTER_ALL: u64 = u64::MAX / 2;

const NOT_A_KEY: &str = "does not contain a key of 32 bytes in base64";

/// Decodes a key, whose padding is already removed. Python's decoder ignores the unused bits of the last character.
const UNPADDED: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireNone).with_decode_allow_trailing_bits(true),
);

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
        Ok(Self::from_bytes(&bytes))
    }

    /// Parses the content of the key's file as Python's Fernet does: both alphabets of base64 (RFC 4648, 4 and 5), white
    /// space anywhere; also without padding.
    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        let mut text = Zeroizing::new(Vec::with_capacity(content.len()));
        text.extend(content.iter().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            byte => *byte,
        }));
        let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
        let bytes = UNPADDED.decode(&text[..text.len() - padding]).map(Zeroizing::new).map_err(|_| NOT_A_KEY)?;
        let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| NOT_A_KEY)?;
        Ok(Self::from_bytes(bytes))
    }

    fn from_bytes(bytes: &[u8; 32]) -> Self {
        let text = SecretText::new(URL_SAFE.encode(bytes));
        let fernet = Fernet::new(text.expose()).expect("32 bytes in the url-safe alphabet are a key");
        Self { text, fernet }
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
    fn a_key_is_read_in_both_alphabets_with_and_without_padding_and_white_space() {
        // Contains every character that the alphabets do not share.
        let bytes = [0xfb, 0xef, 0xff].repeat(11)[..32].try_into().expect("32 bytes");
        let key = Key::from_bytes(&bytes);
        let url_safe = std::str::from_utf8(key.content()).expect("text").to_owned();
        let standard = url_safe.replace('-', "+").replace('_', "/");
        assert!(url_safe.len() == 44 && standard.contains('+') && standard.contains('/'), "{url_safe}");
        let token = key.seal(b"sealed");
        for text in [url_safe, standard] {
            let bare = text.trim_end_matches('=');
            let (first, second) = bare.split_at(20);
            for written in
                [text.clone(), bare.to_owned(), format!("{text}\r\n"), format!("\t {bare}\n\n"), format!("{first}\n{second}=\n")]
            {
                let read = Key::parse(written.as_bytes()).unwrap_or_else(|what| panic!("{written:?} {what}"));
                assert_eq!(read.content(), key.content(), "{written:?}");
                assert_eq!(read.open(token.as_bytes()).expect("the same key").as_slice(), b"sealed", "{written:?}");
            }
        }
    }

    #[test]
    fn a_torn_key_and_other_content_are_no_key() {
        let key = Key::random().unwrap();
        for length in 0..43 {
            assert!(Key::parse(&key.content()[..length]).is_err(), "cut to {length} characters");
        }
        let with_null = [key.content(), b"\0"].concat();
        for other in [&[0xff; 44][..], b"=", &with_null, &[b'A'; 45], &[b'A'; 100]] {
            assert!(Key::parse(other).is_err(), "{other:?}");
        }
    }
}
