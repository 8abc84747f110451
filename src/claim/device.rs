//! The device that claims a code.

use core::fmt;
use std::path::Path;

use thiserror::Error;

use crate::identity;

/// The name of a device without a host name.
const NAMELESS: &str = "osiriscare-appliance";

/// The kernel's name for a machine without a host name.
const UNSET: &str = "(none)";

/// The text is not a hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a hardware address has twelve hexadecimal digits, such as 84:3A:5B:91:B6:61")]
pub struct InvalidMacAddress;

/// A hardware address, in upper case with colons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacAddress(String);

impl MacAddress {
    /// The 17 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for MacAddress {
    type Error = InvalidMacAddress;

    /// Twelve hexadecimal digits, with or without colons, dashes or dots.
    fn try_from(text: &str) -> Result<Self, InvalidMacAddress> {
        let mut address = String::with_capacity(17);
        for digit in text.trim().chars().filter(|character| !":-.".contains(*character)) {
            if address.len() == 17 || !digit.is_ascii_hexdigit() {
                return Err(InvalidMacAddress);
            }
            if address.len() % 3 == 2 {
                address.push(':');
            }
            address.push(digit.to_ascii_uppercase());
        }
        if address.len() == 17 { Ok(Self(address)) } else { Err(InvalidMacAddress) }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a device sends about itself with a claim, and stores in its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Identifies the device across restarts.
    pub mac_address: MacAddress,
    /// Its host name.
    pub hostname: String,
}

impl Device {
    /// This machine, with the hardware address that names it. If that is none of Ethernet, it is derived from the machine's id,
    /// and marked as locally administered.
    pub fn this(mac_address: &str, machine_id: &Path) -> Self {
        // InfiniBand's is longer.
        let mac_address = MacAddress::try_from(mac_address).unwrap_or_else(|_| {
            let made = identity::mac_address("/nonexistent".as_ref(), machine_id);
            MacAddress::try_from(made.as_str()).expect("the derived address has six bytes")
        });
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let hostname = if name.is_empty() || name == UNSET { NAMELESS.into() } else { name };
        Self { mac_address, hostname }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_is_normalized() {
        for text in ["84:3A:5B:91:B6:61", "84-3a-5b-91-b6-61", "843a5b91b661", "843a.5b91.b661\n"] {
            assert_eq!(MacAddress::try_from(text).unwrap().as_str(), "84:3A:5B:91:B6:61");
        }
        for text in ["", "84:3A:5B:91:B6", "84:3A:5B:91:B6:61:00", "84:3A:5B:91:B6:6G", "../../etc/passwd", "é"] {
            assert_eq!(MacAddress::try_from(text), Err(InvalidMacAddress), "{text}");
        }
    }

    #[test]
    fn a_device_has_an_address_and_a_name() {
        let device = Device::this("b8:27:eb:5b:91:61", "/etc/machine-id".as_ref());
        assert_eq!(device.mac_address.as_str(), "B8:27:EB:5B:91:61");
        assert!(!device.hostname.is_empty());
    }

    #[test]
    fn an_address_of_another_length_is_replaced_by_one_that_stays() {
        let long = "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:00:10:39";
        let this = || Device::this(long, "/etc/machine-id".as_ref()).mac_address;
        assert_eq!((this().as_str().len(), this()), (17, this()));
    }
}
