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
    /// This machine, as `/sys` describes it. Without a network interface the address is derived from the machine's id, and
    /// marked as locally administered.
    pub fn this(sysfs: &Path, machine_id: &Path) -> Self {
        let address = identity::mac_address(sysfs, machine_id);
        // Not every interface has an Ethernet address: InfiniBand's is longer.
        let mac_address = MacAddress::try_from(address.as_str()).unwrap_or_else(|_| {
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
    fn this_machine_has_an_address_and_a_name() {
        let this = || Device::this("/nonexistent".as_ref(), "/etc/machine-id".as_ref());
        let device = this();
        assert_eq!(device.mac_address, this().mac_address);
        assert!(!device.hostname.is_empty());
    }

    #[test]
    fn an_address_of_another_length_is_not_a_hardware_address() {
        let folder = tempfile::tempdir().unwrap();
        let interface = folder.path().join("class/net/eth0");
        std::fs::create_dir_all(&interface).unwrap();
        std::fs::write(interface.join("address"), "80:00:02:08:fe:80:00:00:00:00:00:00:00:02:c9:03:00:00:10:39\n").unwrap();
        let device = Device::this(folder.path(), "/etc/machine-id".as_ref());
        assert_eq!(device.mac_address.as_str().len(), 17);
    }
}
