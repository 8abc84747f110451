//! Files that survive a power cut; used for the node's state and for an appliance's claim.

mod error;
mod folder;

pub use error::FileError;
pub(crate) use folder::{Folder, Lock, Owner, Staged};

/// Lower-case hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(DIGITS[usize::from(digit)])));
    }
    text
}
