//! Which addresses a node connects to.
//!
//! | addresses | rule | why |
//! |---|---|---|
//! | public | TLS only | a third party on the path could read the token and the key |
//! | private: 10/8, 172.16/12, 192.168/16 (RFC 1918), 100.64/10 (RFC 6598), `fc00::/7` (RFC 4193) | if [`AddressPolicy::private`]; without TLS if [`PlainHttp::ToPrivate`] | a command center at home is legitimate, and existing ones have no certificate |
//! | loopback: 127/8, `::1` | if [`AddressPolicy::loopback`] | services of the node itself trust local clients |
//! | the node's own | like loopback | the same services under another address |
//! | this network: 0/8, `::` | never | Linux connects them to the node itself |
//! | link-local: 169.254/16, `fe80::/10` (RFC 3927, RFC 4291), `fec0::/10` | never | metadata services of clouds have such addresses, a command center has none |
//! | metadata services elsewhere | never | they give credentials to any client on the machine |
//! | multicast, broadcast, 240/4, 192.0.0/24 (RFC 6890) | never | no server has one |
//!
//! An IPv6 address that embeds an IPv4 address is treated as that address: mapped (`::ffff:0:0/96`), compatible (`::/96`),
//! translated (`::ffff:0:0:0/96`), NAT64 (`64:ff9b::/96`, RFC 6052) and 6to4 (`2002::/16`). Teredo (`2001::/32`) and NAT64
//! under a local prefix (`64:ff9b:1::/48`, RFC 8215) embed the address in ways that depend on the network, and are
//! never connected to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use thiserror::Error;
use url::{Host, Url};

/// Which addresses are permitted. The module's documentation has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPolicy {
    /// The node itself. For simulations, where everything runs on one machine.
    pub loopback: bool,
    /// Networks that are not routed on the internet.
    pub private: bool,
    /// Where HTTP without TLS may go.
    pub plain_http: PlainHttp,
}

/// Where HTTP without TLS may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// Nowhere: every command center needs a certificate.
    Never,
    /// To private addresses, and to loopback if that is permitted at all.
    ToPrivate,
}

impl AddressPolicy {
    /// For devices: TLS to anywhere, without it only on the local network.
    pub const DEVICE: Self = Self { loopback: false, private: true, plain_http: PlainHttp::ToPrivate };
    /// For fleets whose command center is on the internet: TLS, to public addresses.
    pub const STRICT: Self = Self { loopback: false, private: false, plain_http: PlainHttp::Never };
    /// For simulations: as for devices, and everything on one machine.
    pub const SIMULATION: Self = Self { loopback: true, ..Self::DEVICE };

    /// Checks an address for a connection with or without TLS. `own` returns whether an address is one of the node's own,
    /// as [`is_own`] does.
    pub fn check(self, address: IpAddr, tls: bool, own: impl Fn(IpAddr) -> bool) -> Result<(), Refusal> {
        let judged = meant(address).ok_or(Refusal::Hidden)?;
        let kind = match judged {
            IpAddr::V4(address) => kind_v4(address)?,
            IpAddr::V6(address) => kind_v6(address)?,
        };
        if METADATA.contains(&judged) {
            return Err(Refusal::Metadata);
        }
        if !self.loopback {
            if kind == Kind::Loopback {
                return Err(Refusal::Loopback);
            }
            if own(address) || (judged != address && own(judged)) {
                return Err(Refusal::Own);
            }
        }
        if kind == Kind::Private && !self.private {
            return Err(Refusal::Private);
        }
        match self.plain_http {
            _ if tls => Ok(()),
            PlainHttp::ToPrivate if kind != Kind::Public => Ok(()),
            PlainHttp::ToPrivate => Err(Refusal::PlainToPublic),
            PlainHttp::Never => Err(Refusal::Plain),
        }
    }
}

impl Default for AddressPolicy {
    fn default() -> Self {
        Self::DEVICE
    }
}

/// Why an address is refused, for the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// 127/8 or `::1`.
    #[error("it is a loopback address")]
    Loopback,
    /// An interface of this node has it.
    #[error("it is one of the node's own addresses")]
    Own,
    /// 0/8 or `::`.
    #[error("it is an unspecified address")]
    Unspecified,
    /// 169.254/16, `fe80::/10` or `fec0::/10`.
    #[error("it is a link-local address")]
    LinkLocal,
    /// A metadata service of a cloud.
    #[error("it is the address of a metadata service")]
    Metadata,
    /// An address of several machines.
    #[error("it is a multicast or broadcast address")]
    Multicast,
    /// An address that is not assigned to machines.
    #[error("it is a reserved address")]
    Reserved,
    /// An IPv6 address that embeds an unknown IPv4 address.
    #[error("it embeds an unknown IPv4 address")]
    Hidden,
    /// A private address, which the policy does not permit.
    #[error("it is a private address, and the configuration allows none")]
    Private,
    /// A public address without TLS.
    #[error("it is a public address, and the URL is http: use https")]
    PlainToPublic,
    /// A connection without TLS, which the policy requires.
    #[error("the URL is http, and the configuration allows https only")]
    Plain,
}

/// Whether an interface of this machine has the address. Sends nothing.
///
/// The kernel binds a socket only to such an address. Where it is set to bind to any (`ip_nonlocal_bind`), an address
/// is taken for the machine's own if it is its own source, which holds for the first of each interface.
pub fn is_own(address: IpAddr) -> bool {
    let binds = |address: IpAddr| UdpSocket::bind((address, 0)).is_ok();
    let (any, nobodys): (IpAddr, IpAddr) = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(203, 0, 113, 1).into()),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    };
    let source = || -> io::Result<IpAddr> {
        let socket = UdpSocket::bind((any, 0))?;
        // Any port would do; 9 is the discard port.
        socket.connect((address, 9))?;
        Ok(socket.local_addr()?.ip())
    };
    binds(address) && (!binds(nobodys) || source().is_ok_and(|source| source == address))
}

/// Services that give a cloud machine's credentials to any client on it, outside the link-local ranges:
/// Amazon over IPv6, Alibaba, Azure.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// The kinds of addresses that some policy permits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Loopback,
    Private,
    Public,
}

/// The address that is embedded, or the address itself; none if it is unknown.
fn meant(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return Some(address) };
    let low = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
    };
    match v6.segments() {
        // `::` and `::1` are addresses of their own (RFC 4291 §2.5.2, §2.5.3).
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => Some(address),
        [0, 0, 0, 0, 0, 0xffff | 0, a, b]
        | [0, 0, 0, 0, 0xffff, 0, a, b]
        | [0x64, 0xff9b, 0, 0, 0, 0, a, b]
        | [0x2002, a, b, ..] => low(a, b),
        [0x64, 0xff9b, ..] | [0x2001, 0, ..] => None,
        _ => Some(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> Result<Kind, Refusal> {
    match address.octets() {
        [0, ..] => Err(Refusal::Unspecified),
        [127, ..] => Ok(Kind::Loopback),
        [169, 254, ..] => Err(Refusal::LinkLocal),
        [224..=239, ..] | [255, 255, 255, 255] => Err(Refusal::Multicast),
        [240..=255, ..] | [192, 0, 0, _] => Err(Refusal::Reserved),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Ok(Kind::Private),
        _ => Ok(Kind::Public),
    }
}

fn kind_v6(address: Ipv6Addr) -> Result<Kind, Refusal> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Err(Refusal::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Ok(Kind::Loopback),
        [0xfe80..=0xfeff, ..] => Err(Refusal::LinkLocal),
        [0xff00..=0xffff, ..] => Err(Refusal::Multicast),
        [0xfc00..=0xfdff, ..] => Ok(Kind::Private),
        // All unicast addresses that are routed begin with 001 (RFC 4291 §2.4, IANA's IPv6 unicast registry).
        [0x2000..=0x3fff, ..] => Ok(Kind::Public),
        _ => Err(Refusal::Reserved),
    }
}

/// Whether others could read what is sent to a web address, or answer in its place: it has no TLS, and is not this machine.
pub fn is_exposed(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "http" && !is_here
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(policy: AddressPolicy, address: &str, tls: bool) -> Result<(), Refusal> {
        policy.check(address.parse().expect("an address"), tls, |_| false)
    }

    #[test]
    fn a_device_uses_tls_to_public_and_private_addresses() {
        for address in [
            "1.1.1.1",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
            "2002:101:101::1",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.5",
            "100.64.0.1",
            "fd12:3456::1",
            "::ffff:192.168.1.5",
        ] {
            assert_eq!(checked(AddressPolicy::DEVICE, address, true), Ok(()), "{address}");
        }
    }

    #[test]
    fn a_device_uses_plain_http_only_to_private_addresses() {
        for address in ["10.0.0.1", "172.16.0.1", "192.168.1.5", "100.127.0.1", "fd12::1", "::ffff:10.0.0.1"] {
            assert_eq!(checked(AddressPolicy::DEVICE, address, false), Ok(()), "{address}");
        }
        for address in ["1.1.1.1", "192.169.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"] {
            assert_eq!(checked(AddressPolicy::DEVICE, address, false), Err(Refusal::PlainToPublic), "{address}");
        }
    }

    #[test]
    fn no_policy_permits_addresses_that_no_command_center_has() {
        for (address, why) in [
            ("0.0.0.0", Refusal::Unspecified),
            ("0.1.2.3", Refusal::Unspecified),
            ("::", Refusal::Unspecified),
            ("::ffff:0.0.0.0", Refusal::Unspecified),
            ("169.254.0.1", Refusal::LinkLocal),
            ("169.254.169.254", Refusal::LinkLocal),
            ("::ffff:169.254.169.254", Refusal::LinkLocal),
            ("::169.254.169.254", Refusal::LinkLocal),
            ("::ffff:0:169.254.169.254", Refusal::LinkLocal),
            ("64:ff9b::169.254.169.254", Refusal::LinkLocal),
            ("2002:a9fe:a9fe::", Refusal::LinkLocal),
            ("fe80::1", Refusal::LinkLocal),
            ("febf::1", Refusal::LinkLocal),
            ("fec0::1", Refusal::LinkLocal),
            ("fd00:ec2::254", Refusal::Metadata),
            ("100.100.100.200", Refusal::Metadata),
            ("64:ff9b::100.100.100.200", Refusal::Metadata),
            ("168.63.129.16", Refusal::Metadata),
            ("224.0.0.251", Refusal::Multicast),
            ("239.255.255.255", Refusal::Multicast),
            ("255.255.255.255", Refusal::Multicast),
            ("ff02::fb", Refusal::Multicast),
            ("240.0.0.1", Refusal::Reserved),
            ("192.0.0.8", Refusal::Reserved),
            ("100::1", Refusal::Reserved),
            ("64:ff9b:1::1.1.1.1", Refusal::Hidden),
            ("2001:0:1:1::1", Refusal::Hidden),
        ] {
            for policy in [AddressPolicy::DEVICE, AddressPolicy::STRICT, AddressPolicy::SIMULATION] {
                for tls in [true, false] {
                    assert_eq!(checked(policy, address, tls), Err(why), "{address} {policy:?}");
                }
            }
        }
    }

    #[test]
    fn only_a_simulation_connects_to_loopback() {
        for address in ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1"] {
            for tls in [true, false] {
                assert_eq!(checked(AddressPolicy::DEVICE, address, tls), Err(Refusal::Loopback), "{address}");
                assert_eq!(checked(AddressPolicy::STRICT, address, tls), Err(Refusal::Loopback), "{address}");
                assert_eq!(checked(AddressPolicy::SIMULATION, address, tls), Ok(()), "{address}");
            }
        }
    }

    #[test]
    fn the_strict_policy_permits_only_tls_to_public_addresses() {
        assert_eq!(checked(AddressPolicy::STRICT, "1.1.1.1", true), Ok(()));
        assert_eq!(checked(AddressPolicy::STRICT, "1.1.1.1", false), Err(Refusal::Plain));
        assert_eq!(checked(AddressPolicy::STRICT, "192.168.1.5", true), Err(Refusal::Private));
        assert_eq!(checked(AddressPolicy::STRICT, "100.64.0.1", true), Err(Refusal::Private));
        assert_eq!(checked(AddressPolicy::STRICT, "fd12::1", true), Err(Refusal::Private));
    }

    #[test]
    fn the_nodes_own_addresses_are_refused_in_every_notation() {
        let own = |address: IpAddr| address == IpAddr::from([192, 168, 4, 1]);
        for address in ["192.168.4.1", "::ffff:192.168.4.1", "64:ff9b::192.168.4.1"] {
            let address = address.parse().expect("an address");
            assert_eq!(AddressPolicy::DEVICE.check(address, true, own), Err(Refusal::Own), "{address}");
        }
        assert_eq!(AddressPolicy::DEVICE.check([192, 168, 4, 2].into(), true, own), Ok(()));
    }

    #[test]
    fn the_kernel_knows_its_own_addresses() {
        assert!(is_own([127, 0, 0, 1].into()));
        assert!(is_own([127, 1, 2, 3].into()));
        // Reserved for documentation (RFC 5737), so no machine has it.
        assert!(!is_own([203, 0, 113, 1].into()));
    }
}
