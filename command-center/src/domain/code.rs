//! Provision codes and hardware addresses, as people type them and as they are kept.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::base::secret;

/// Crockford's base 32: digits and letters without I, L, O and U, which look like others or make words.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The prefix of a code in its QR code.
const SCHEME: &str = "osiris://";

/// A provision code: 16 characters, 80 bits. At ten thousand guesses a second against a million living codes, a year
/// finds one with a chance of three in ten million.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct ProvisionCode(String);

impl core::fmt::Debug for ProvisionCode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ProvisionCode(..)")
    }
}

impl ProvisionCode {
    /// The characters of a code.
    pub const LENGTH: usize = 16;

    /// A new random code.
    pub(crate) fn random() -> Result<Self, secret::Error> {
        let mut bytes = zeroize::Zeroizing::new([0_u8; Self::LENGTH]);
        secret::random(&mut *bytes)?;
        // 256 is a multiple of 32, so every character is equally likely.
        Ok(Self(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()))
    }

    /// Reads a code as it is typed or scanned: lower case, blanks and dashes are forgiven, and so are the letters that
    /// look like digits. `None` if it cannot be a code.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = match text.get(..SCHEME.len()) {
            Some(scheme) if scheme.eq_ignore_ascii_case(SCHEME) => &text[SCHEME.len()..],
            _ => text,
        };
        let mut code = String::with_capacity(Self::LENGTH);
        for character in text.chars() {
            match character.to_ascii_uppercase() {
                ' ' | '-' => continue,
                'O' => code.push('0'),
                'I' | 'L' => code.push('1'),
                letter if letter.is_ascii_alphanumeric() => code.push(letter),
                _ => return None,
            }
            if code.len() > Self::LENGTH {
                return None;
            }
        }
        (code.len() == Self::LENGTH).then_some(Self(code))
    }

    /// The 16 characters.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// For the eye: four groups of four.
    pub fn grouped(&self) -> String {
        [&self.0[0..4], &self.0[4..8], &self.0[8..12], &self.0[12..16]].join("-")
    }

    /// What its QR code holds.
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }
}

/// Reads a hardware address: twelve hexadecimal digits, with or without colons, dashes or dots; written in upper case with
/// colons. `None` if it is not one.
pub(crate) fn mac_address(text: &str) -> Option<String> {
    let mut digits = String::with_capacity(17);
    let mut count = 0;
    for character in text.trim().chars() {
        match character.to_ascii_uppercase() {
            ':' | '-' | '.' => {}
            digit if digit.is_ascii_hexdigit() && count < 12 => {
                if count > 0 && count % 2 == 0 {
                    digits.push(':');
                }
                digits.push(digit);
                count += 1;
            }
            _ => return None,
        }
    }
    (count == 12).then_some(digits)
}

/// Lower-case letters, digits and single dashes: the part of a site's id that people can read, at most 50 characters.
pub(crate) fn slug(text: &str) -> String {
    let mut slug = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == 50 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "site".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_may_be_typed_in_lower_case_with_dashes_and_blanks() {
        let code = ProvisionCode::parse("ABCD1234EFGH5678").unwrap();
        for typed in ["abcd-1234-efgh-5678", " AbCd 1234 EfGh 5678 ", "osiris://ABCD1234EFGH5678", "abcd-i234-efgh-5678"] {
            assert!(ProvisionCode::parse(typed).as_ref() == Some(&code), "{typed}");
        }
        assert_eq!(code.grouped(), "ABCD-1234-EFGH-5678");
        assert!(ProvisionCode::parse(&code.uri()) == Some(code));
    }

    #[test]
    fn a_code_has_sixteen_letters_or_digits() {
        for wrong in ["", "ABCD1234EFGH567", "ABCD1234EFGH56789", "ABCD1234EFGH567_", "ABCD1234EFGH567é", &"A".repeat(100_000)] {
            assert!(ProvisionCode::parse(wrong).is_none());
        }
    }

    #[test]
    fn a_fresh_code_reads_as_itself() {
        let code = ProvisionCode::random().unwrap();
        assert!(ProvisionCode::parse(code.expose()) == Some(code.clone()));
        assert!(code.expose().bytes().all(|byte| ALPHABET.contains(&byte)));
        assert!(ProvisionCode::random().unwrap() != code);
    }

    #[test]
    fn a_hardware_address_is_written_one_way() {
        for text in ["84:3A:5B:91:B6:61", "84-3a-5b-91-b6-61", "843a5b91b661", "843a.5b91.b661"] {
            assert_eq!(mac_address(text).as_deref(), Some("84:3A:5B:91:B6:61"));
        }
        for wrong in ["", "84:3A:5B:91:B6", "84:3A:5B:91:B6:61:00", "84:3A:5B:91:B6:6G", "../../etc/passwd"] {
            assert_eq!(mac_address(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_slug_is_safe_in_paths_and_short() {
        assert_eq!(slug("North Valley  Clinic, PA"), "north-valley-clinic-pa");
        assert_eq!(slug("../é"), "site");
        assert_eq!(slug(&"x".repeat(80)).len(), 50);
    }
}
