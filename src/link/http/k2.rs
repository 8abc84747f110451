//! K2 as the phone apps encode it: base64, decoded as leniently as Python's `urlsafe_b64decode`.

use zeroize::Zeroizing;

use provisioning_core::secret::SecretBytes;

/// Decodes 32 bytes. Padding is optional, both alphabets are accepted, and characters of neither are skipped. The error is
/// the text of the JSON API; it contains lengths and nothing else.
pub(super) fn read(text: &str) -> Result<SecretBytes<32>, String> {
    if !text.is_ascii() {
        return Err("Invalid base64url encoding: string argument should contain only ASCII characters".into());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
    let (mut bits, mut count, mut padding) = (0_u32, 0_usize, 0_usize);
    for character in text.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            // Padding that completes a group ends the text; anywhere else it is skipped.
            b'=' if count % 4 >= 2 && count % 4 + padding == 3 => break,
            b'=' => {
                padding += 1;
                continue;
            }
            _ => continue,
        };
        padding = 0;
        bits = bits << 6 | u32::from(value);
        count += 1;
        if count % 4 != 1 {
            // The group's remaining two, four or six bits belong to the next byte.
            bytes.push(u8::try_from(bits >> (6 - 2 * ((count - 1) % 4)) & 0xff).expect("masked to eight bits"));
        }
    }
    if count % 4 == 1 {
        return Err(format!(
            "Invalid base64url encoding: Invalid base64-encoded string: number of data characters ({count}) cannot be 1 more than a multiple of 4"
        ));
    }
    SecretBytes::try_from(bytes.as_slice()).map_err(|_| format!("K2 must be exactly 32 bytes, got {}", bytes.len()))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_is_read_in_both_alphabets_with_and_without_padding(key in any::<[u8; 32]>()) {
            for text in [STANDARD.encode(key), STANDARD_NO_PAD.encode(key), URL_SAFE.encode(key), URL_SAFE_NO_PAD.encode(key)] {
                prop_assert_eq!(read(&text), Ok(SecretBytes::new(key)));
            }
        }

        #[test]
        fn every_other_length_is_named(key in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assume!(key.len() != 32);
            prop_assert_eq!(read(&URL_SAFE_NO_PAD.encode(&key)), Err(format!("K2 must be exactly 32 bytes, got {}", key.len())));
        }

        #[test]
        fn foreign_characters_are_skipped(key in any::<[u8; 32]>(), at in 0_usize..43, foreign in "[ \n\t!.:,]{1,8}") {
            let mut text = URL_SAFE_NO_PAD.encode(key);
            text.insert_str(at, &foreign);
            prop_assert_eq!(read(&text), Ok(SecretBytes::new(key)));
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _either = read(&text);
        }
    }

    #[test]
    fn a_single_character_left_over_is_no_base64() {
        assert_eq!(
            read("AAAAA"),
            Err("Invalid base64url encoding: Invalid base64-encoded string: number of data characters (5) cannot be 1 more than a multiple of 4".into())
        );
        assert!(read("é").is_err_and(|error| error.starts_with("Invalid base64url encoding: ")));
    }

    #[test]
    fn what_follows_the_padding_is_not_read() {
        assert_eq!(read("AA==AAAA"), Err("K2 must be exactly 32 bytes, got 1".into()));
        assert_eq!(read("!!!!"), Err("K2 must be exactly 32 bytes, got 0".into()));
    }
}
