//! What the node's radio is used for, as far as its servers need to know.

use alloc::string::String;
use core::net::{IpAddr, Ipv4Addr};

/// The use of the radio.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RadioUse {
    /// Nothing of the node's.
    #[default]
    Idle,
    /// The node's access point is open, or being opened.
    AccessPoint(AccessPoint),
    /// The node has joined a network, or is joining it.
    Station {
        /// With this interface.
        interface: String,
    },
    /// Another program's connection, which is active or being activated. The node leaves it alone.
    Other {
        /// With this interface.
        interface: String,
    },
}

impl RadioUse {
    /// The node's access point, if it is open.
    pub const fn access_point(&self) -> Option<&AccessPoint> {
        match self {
            Self::AccessPoint(access_point) => Some(access_point),
            Self::Idle | Self::Station { .. } | Self::Other { .. } => None,
        }
    }

    /// The interface to the network that the node has joined.
    pub const fn station(&self) -> Option<&String> {
        match self {
            Self::Station { interface } => Some(interface),
            Self::Idle | Self::AccessPoint(_) | Self::Other { .. } => None,
        }
    }

    /// The interface of another program's connection.
    pub const fn other(&self) -> Option<&String> {
        match self {
            Self::Other { interface } => Some(interface),
            Self::Idle | Self::AccessPoint(_) | Self::Station { .. } => None,
        }
    }
}

/// The node's own network: where its JSON API takes secrets in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPoint {
    /// The interface, such as `wlan0`.
    pub interface: String,
    /// The node's address.
    pub address: Ipv4Addr,
    /// The number of leading bits that all addresses of the subnet share, 0 to 32.
    pub prefix: u8,
}

impl AccessPoint {
    /// Whether an address belongs to the subnet. IPv6 is not used in the access point, so no IPv6 address does, and neither
    /// does an IPv4 address that is mapped to IPv6.
    pub fn includes(&self, peer: IpAddr) -> bool {
        let IpAddr::V4(peer) = peer else { return false };
        let differing = peer.to_bits() ^ self.address.to_bits();
        differing.leading_zeros() >= u32::from(self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access_point(prefix: u8) -> AccessPoint {
        AccessPoint { interface: "wlan0".into(), address: Ipv4Addr::new(192, 168, 4, 1), prefix }
    }

    fn includes(prefix: u8, peer: &str) -> bool {
        access_point(prefix).includes(peer.parse().expect("an address"))
    }

    #[test]
    fn only_the_ipv4_addresses_of_the_subnet_are_in_the_access_point() {
        for peer in ["192.168.4.1", "192.168.4.2", "192.168.4.254"] {
            assert!(includes(24, peer), "{peer}");
        }
        for peer in ["192.168.5.2", "10.0.0.2", "127.0.0.1", "::1", "fe80::1", "::ffff:192.168.4.2", "64:ff9b::c0a8:402"] {
            assert!(!includes(24, peer), "{peer}");
        }
    }

    #[test]
    fn every_length_of_a_prefix_is_possible() {
        assert!(includes(0, "10.0.0.2") && includes(32, "192.168.4.1"));
        assert!(!includes(32, "192.168.4.2") && !includes(31, "192.168.4.2") && includes(30, "192.168.4.2"));
    }

    #[test]
    fn the_radio_has_one_use() {
        let open = RadioUse::AccessPoint(access_point(24));
        assert_eq!((open.access_point(), open.station()), (Some(&access_point(24)), None));
        let joined = RadioUse::Station { interface: "wlan0".into() };
        assert_eq!((joined.access_point(), joined.station()), (None, Some(&"wlan0".into())));
        let other = RadioUse::Other { interface: "wlan0".into() };
        assert_eq!((other.access_point(), other.station(), other.other()), (None, None, Some(&"wlan0".into())));
        assert_eq!((RadioUse::Idle.access_point(), RadioUse::Idle.station(), joined.other()), (None, None, None));
    }
}
