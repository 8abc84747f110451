//! The date of a K2, read as leniently as the phone apps need and kept in Python's `isoformat`.

use core::fmt;

use crate::fault::Fault;

/// A point in time as Python's `datetime.isoformat()` writes it, because the existing software reads it so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedAt(String);

impl CreatedAt {
    /// The text for `k2_metadata.json`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for CreatedAt {
    type Error = Fault;

    fn try_from(text: &str) -> Result<Self, Fault> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for CreatedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
