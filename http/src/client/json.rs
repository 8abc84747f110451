//! JSON that holds secrets.

use std::io::{self, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use provisioning_core::secret::SecretText;

/// A body that is not what it should be. The parser's own message is not kept, because it quotes the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidJson {
    /// Not JSON at all.
    #[error("it is not JSON")]
    Syntax,
    /// JSON of another shape.
    #[error("a field is missing or of another type")]
    Shape,
}

/// Parses a body.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, InvalidJson> {
    serde_json::from_slice(body).map_err(|error| if error.is_data() { InvalidJson::Shape } else { InvalidJson::Syntax })
}

/// JSON in memory that is erased. The content must be of texts, numbers and the like, which JSON can always hold.
///
/// The length is counted before the buffer is made: one that grew would leave a copy of a secret behind.
pub fn encode(content: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, content).expect("texts and numbers are JSON");
    let mut body = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *body, content).expect("it was written once already, and memory takes it");
    debug_assert_eq!(body.len(), length.0, "the buffer did not grow");
    body
}

/// For `deserialize_with`: a text that is a secret.
pub fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretText, D::Error> {
    String::deserialize(deserializer).map(SecretText::new)
}

/// For `default` and `deserialize_with`: a text that is a secret, and may be missing or null.
pub fn optional_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretText>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(SecretText::new))
}

/// Counts what is written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_fits_its_buffer_exactly() {
        let body = encode(&["prov_\u{1}\"\\\u{1f600}", &"\u{1}".repeat(512)]);
        assert_eq!(body.capacity(), body.len());
        assert_eq!(decode::<[String; 2]>(&body).map(|texts| texts[1].len()), Ok(512));
    }

    #[test]
    fn what_is_wrong_with_a_body_is_told_without_its_content() {
        assert_eq!(decode::<[String; 1]>(b"canary"), Err(InvalidJson::Syntax));
        assert_eq!(decode::<[String; 1]>(b"[7]"), Err(InvalidJson::Shape));
        assert_eq!(decode::<[String; 1]>(b"[\"canary\"] x"), Err(InvalidJson::Syntax));
    }

    #[test]
    fn a_secret_may_be_missing_or_null() {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default, deserialize_with = "optional_secret")]
            key: Option<SecretText>,
        }
        let key = |body: &[u8]| decode::<Answer>(body).map(|answer| answer.key);
        assert_eq!(key(br#"{"key":"k"}"#), Ok(Some(SecretText::new("k".into()))));
        assert_eq!(key(br#"{"key":null}"#), Ok(None));
        assert_eq!(key(b"{}"), Ok(None));
    }
}
