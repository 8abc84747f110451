//! Provision codes, as installers type or scan them.

use alloc::format;
use alloc::string::String;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::secret::SecretText;

/// The prefix of a code in its QR code.
const SCHEME: &str = "osiris://";

/// The characters of a code.
const LENGTH: usize = 16;

/// The text is not a code, so no server was contacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("Invalid provision code format. Expected 16 alphanumeric characters.")]
pub struct FormatError;

/// A provision code: 16 upper-case letters and digits. It is a secret until it is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisionCode(SecretText);

impl ProvisionCode {
    /// The 16 characters.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Enough characters to distinguish it from others: `ABCD...5678`.
    pub fn masked(&self) -> String {
        let code = self.expose();
        format!("{}...{}", &code[..4], &code[LENGTH - 4..])
    }
}

impl TryFrom<&str> for ProvisionCode {
    type Error = FormatError;

    /// As it was typed, in lower case, with blanks or dashes; or as it was scanned, with `osiris://` before it.
    fn try_from(text: &str) -> Result<Self, FormatError> {
        let text = text.trim();
        let text = match text.split_at_checked(SCHEME.len()) {
            Some((scheme, code)) if scheme.eq_ignore_ascii_case(SCHEME) => code,
            _ => text,
        };
        let mut code = Zeroizing::new(String::with_capacity(LENGTH));
        for character in text.chars().filter(|character| *character != '-' && !character.is_whitespace()) {
            if code.len() == LENGTH || !character.is_ascii_alphanumeric() {
                return Err(FormatError);
            }
            code.push(character.to_ascii_uppercase());
        }
        if code.len() == LENGTH { Ok(Self(SecretText::new(core::mem::take(&mut *code)))) } else { Err(FormatError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_may_be_typed_and_scanned_in_many_ways() {
        for text in [
            "ABCD1234EFGH5678",
            "abcd1234efgh5678\n",
            " AbCd-1234-EfGh-5678 ",
            "ABCD 1234 EFGH 5678",
            "osiris://ABCD1234EFGH5678",
            "OSIRIS://abcd1234efgh5678",
        ] {
            assert_eq!(ProvisionCode::try_from(text).unwrap().expose(), "ABCD1234EFGH5678", "{text}");
        }
    }

    #[test]
    fn text_without_exactly_16_letters_or_digits_is_refused() {
        let long = "A".repeat(100_000);
        for text in
            ["", "ABCD1234EFGH567", "ABCD1234EFGH56789", "ABCD1234EFGH567_", "ABCD1234EFGH567é", "ÀBCD1234EFGH5678", &long]
        {
            assert_eq!(ProvisionCode::try_from(text), Err(FormatError), "{text}");
        }
    }

    #[test]
    fn a_masked_code_hides_its_middle() {
        assert_eq!(ProvisionCode::try_from("ABCD1234EFGH5678").unwrap().masked(), "ABCD...5678");
    }

    #[test]
    fn a_code_is_not_printed_by_debug() {
        assert!(!format!("{:?}", ProvisionCode::try_from("ABCD1234EFGH5678")).contains("1234"));
    }
}
