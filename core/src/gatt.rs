//! The rules of GATT that every link follows, over the air or simulated.
//!
//! | module | what it holds |
//! |---|---|
//! | [`peripheral`] | the node's rules: public values, permissions, reassembly of writes |
//! | [`central`] | the phone's rules: values of a message, long reads, reassembly of notifications |
//! | [`packets`] | the wire format of the simulated link |
//!
//! Both roles share the error codes and the sizes below. A link translates between them and its transport, and decides
//! nothing.

pub mod central;
pub mod packets;
pub mod peripheral;

use thiserror::Error;

use crate::wire::framing::VALUE_LIMIT;

/// The largest value that an attribute can have, bytes (Bluetooth Core 5.4, Vol 3, Part F, 3.2.9).
pub const ATTRIBUTE_LIMIT: usize = 512;

/// The smallest ATT MTU, and the one before any other is agreed on, bytes (Vol 3, Part G, 5.2.1).
pub const MTU_MINIMUM: u16 = 23;

/// The largest ATT MTU that is of use: an attribute of 512 bytes in one packet, bytes.
pub const MTU_MAXIMUM: u16 = 517;

/// The opcode and the handle of a write or a notification, bytes (Vol 3, Part F, 3.4.5.1 and 3.4.7.1).
const VALUE_HEADER: u16 = 3;

/// The opcode, the handle and the length of a notification of multiple values, bytes (Vol 3, Part F, 3.4.7.4).
const MULTIPLE_VALUE_HEADER: u16 = 5;

/// The opcode of a read response, bytes (Vol 3, Part F, 3.4.4.4).
const READ_HEADER: u16 = 1;

/// The largest value that is written or notified in one packet, bytes.
pub fn value_size(mtu: u16) -> usize {
    usize::from(mtu.saturating_sub(VALUE_HEADER)).min(VALUE_LIMIT)
}

/// The largest value that is notified, bytes, where the stack may send notifications of multiple values. `BlueZ` does so
/// to phones that support them.
pub fn multiple_value_size(mtu: u16) -> usize {
    usize::from(mtu.saturating_sub(MULTIPLE_VALUE_HEADER)).min(VALUE_LIMIT)
}

/// The largest part of a value that one read returns, bytes.
pub fn read_size(mtu: u16) -> usize {
    usize::from(mtu.saturating_sub(READ_HEADER))
}

/// Why a request is refused (Bluetooth Core 5.4, Vol 3, Part F, 3.4.1.1; the last one is from the Supplement, Part B,
/// 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[repr(u8)]
pub enum AttError {
    /// No such characteristic.
    #[error("there is no such characteristic")]
    InvalidHandle = 0x01,
    /// It cannot be read.
    #[error("the characteristic cannot be read")]
    ReadNotPermitted = 0x02,
    /// It cannot be written.
    #[error("the characteristic cannot be written")]
    WriteNotPermitted = 0x03,
    /// The packet does not have the format of its kind.
    #[error("the request is malformed")]
    InvalidPdu = 0x04,
    /// There is no such request, or not for this characteristic.
    #[error("the request is not supported")]
    NotSupported = 0x06,
    /// The offset is past the end of the value.
    #[error("the offset is past the end of the value")]
    InvalidOffset = 0x07,
    /// The value is larger than the link carries.
    #[error("the value is too long")]
    InvalidLength = 0x0d,
    /// The answer could not be delivered: the phone has not subscribed to `status`.
    #[error("the phone has not subscribed to the status")]
    NotSubscribed = 0xfd,
}

impl AttError {
    pub(crate) const ALL: [Self; 8] = [
        Self::InvalidHandle,
        Self::ReadNotPermitted,
        Self::WriteNotPermitted,
        Self::InvalidPdu,
        Self::NotSupported,
        Self::InvalidOffset,
        Self::InvalidLength,
        Self::NotSubscribed,
    ];

    /// The error of that code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|error| *error as u8 == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_fits_its_packet_and_the_limit_of_values() {
        for (mtu, value, multiple, read) in [(0, 0, 0, 0), (23, 20, 18, 22), (185, 182, 180, 184), (517, 495, 495, 516)] {
            assert_eq!((value_size(mtu), multiple_value_size(mtu), read_size(mtu)), (value, multiple, read), "{mtu}");
        }
    }

    #[test]
    fn every_error_is_found_by_its_code() {
        for error in AttError::ALL {
            assert_eq!(AttError::from_code(error as u8), Some(error));
        }
        assert_eq!(AttError::from_code(0), None);
    }
}
