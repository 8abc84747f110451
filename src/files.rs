//! Files that survive a power cut; used for the node's state and for an appliance's claim.

mod error;
mod folder;

use std::path::Path;

pub use error::FileError;
pub(crate) use folder::{Folder, Lock, Owner, Staged};

/// Puts a file with this content at `path` that only this user can read. An existing file is replaced by a new one, so a
/// process that has it open does not see the content. A link is refused.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let (folder, name) = Folder::of(path)?;
    folder.replaceable(&name)?;
    folder.stage(&name, content, Owner::this_user())?.commit()
}

/// Lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
    }
    text
}

/// The bytes of hexadecimal digits, two for each; none if there are other characters.
pub fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    // One allocation, so that no copy of a secret remains in freed memory.
    let mut bytes = Vec::with_capacity(digits.len().div_ceil(2));
    for pair in digits.as_bytes().chunks(2) {
        bytes.push(u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?);
    }
    Some(bytes)
}
