//! The country of the radio.

use alloc::string::String;
use core::fmt;

use crate::fault::Fault;

/// The country that the node is in, which decides about the channels of its radio: two letters (ISO 3166-1 alpha-2).
///
/// Whether there is such a country is left to the kernel, whose list changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Country([u8; 2]);

impl Country {
    /// Parses a field that is empty if there is no country.
    pub fn parse(text: &str) -> Result<Option<Self>, Fault> {
        if text.is_empty() { Ok(None) } else { Self::try_from(text).map(Some) }
    }

    /// The two capital letters.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("two ASCII letters")
    }

    /// The two capital letters.
    pub fn into_string(self) -> String {
        self.as_str().into()
    }
}

impl TryFrom<&str> for Country {
    type Error = Fault;

    /// Two letters, upper or lower case.
    fn try_from(text: &str) -> Result<Self, Fault> {
        match *text.as_bytes() {
            [first, second] if first.is_ascii_alphabetic() && second.is_ascii_alphabetic() => {
                Ok(Self([first.to_ascii_uppercase(), second.to_ascii_uppercase()]))
            }
            _ => Err(Fault::InvalidCountry),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_country_has_two_letters() {
        assert_eq!(Country::try_from("de").map(Country::into_string), Ok("DE".into()));
        assert_eq!(Country::parse(""), Ok(None));
        for bad in ["0", "00", "D", "DEU", "D\u{c4}", "\u{e9}", "D "] {
            assert_eq!(Country::try_from(bad), Err(Fault::InvalidCountry), "{bad}");
        }
    }
}
