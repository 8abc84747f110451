//! The addresses of an interface, over route netlink (`linux/rtnetlink.h`, `linux/if_addr.h`), and what gives it addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::netdevice;

use super::cause::Cause;
use crate::network::nm::stations::{DUMP, REQUEST, attribute, exchange, open, packet};

/// `RTM_NEWADDR`.
const NEW: u16 = 20;
/// `RTM_DELADDR`.
const DELETE: u16 = 21;
/// `RTM_GETADDR`.
const GET: u16 = 22;
/// `IFA_ADDRESS`.
const ADDRESS: u16 = 1;
/// `IFA_LOCAL`.
const LOCAL: u16 = 2;
/// `NLM_F_ACK`.
const ACKNOWLEDGE: u16 = 0x4;
/// `NLM_F_CREATE` and `NLM_F_REPLACE`.
const CREATE: u16 = 0x500;
/// `IFA_F_TENTATIVE` and `IFA_F_DADFAILED`: an address that another host may have.
const UNSURE: u8 = 0x48;
/// `AF_INET`.
const INTERNET: u8 = 2;
/// The length of `struct ifaddrmsg`: family, prefix, flags, scope; and the number of the interface, 32 bits.
const HEADER: usize = 8;

/// An address and its prefix.
pub(super) type Assigned = (IpAddr, u8);

/// The addresses of an interface that can be used.
pub(super) fn list(interface: &str) -> Result<Vec<Assigned>, Cause> {
    let asking = || {
        let socket = open(None)?;
        let index = netdevice::name_to_index(&socket, interface)?;
        let mut found = Vec::new();
        exchange(&socket, &packet(GET, REQUEST | DUMP, &[0; HEADER], &[]), |kind, body| {
            found.extend(read(body, index).filter(|_| kind == NEW));
        })?;
        Ok(found)
    };
    asking().map_err(Cause::Address)
}

/// An address in an answer, if it is one of that interface.
fn read(body: &[u8], index: u32) -> Option<Assigned> {
    let (header, attributes) = body.split_at_checked(HEADER)?;
    let [_, prefix, flags, _, number @ ..] = <[u8; HEADER]>::try_from(header).ok()?;
    if u32::from_ne_bytes(number) != index || flags & UNSURE != 0 {
        return None;
    }
    let value = attribute(attributes, LOCAL).or_else(|| attribute(attributes, ADDRESS))?;
    let four = || <[u8; 4]>::try_from(value).ok().map(|bytes| IpAddr::from(Ipv4Addr::from(bytes)));
    let address = four().or_else(|| <[u8; 16]>::try_from(value).ok().map(|bytes| IpAddr::from(Ipv6Addr::from(bytes))))?;
    Some((address, prefix))
}

/// Gives an interface an address; one that it has already stays.
pub(super) fn add(interface: &str, address: Ipv4Addr, prefix: u8) -> Result<(), Cause> {
    change(NEW, CREATE, interface, address, prefix).map_err(Cause::Address)
}

/// Takes an address away; one that it does not have is no error.
pub(super) fn delete(interface: &str, address: Ipv4Addr, prefix: u8) -> Result<(), Cause> {
    match change(DELETE, 0, interface, address, prefix) {
        Ok(()) | Err(Errno::ADDRNOTAVAIL | Errno::NODEV) => Ok(()),
        Err(error) => Err(Cause::Address(error)),
    }
}

fn change(kind: u16, flags: u16, interface: &str, address: Ipv4Addr, prefix: u8) -> Result<(), Errno> {
    let socket = open(None)?;
    let index = netdevice::name_to_index(&socket, interface)?;
    let mut header = vec![INTERNET, prefix, 0, 0];
    header.extend(index.to_ne_bytes());
    let value = address.octets();
    let request = packet(kind, REQUEST | ACKNOWLEDGE | flags, &header, &[(LOCAL, &value), (ADDRESS, &value)]);
    exchange(&socket, &request, |_, _| {})
}

/// Whether it reaches beyond the interface's own network.
pub(super) const fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

/// What gives the interface its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// A service of the system, by its name.
    System(&'static str),
    /// A child of this program.
    Own,
}

/// Whether systemd-networkd, which runs, manages an interface: its file about it says so (`networkctl(1)`).
pub(super) fn is_networkds(run: &Path, interface: &str) -> bool {
    let index = open(None).and_then(|socket| netdevice::name_to_index(socket, interface));
    let file = index.map(|index| run.join(format!("systemd/netif/links/{index}")));
    let text = file.ok().and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let state = text.lines().find_map(|line| line.strip_prefix("ADMIN_STATE="));
    state.is_some_and(|state| state != "unmanaged")
}

/// Whether dhcpcd runs, for that interface or for all: it has a file with its number.
pub(super) fn is_dhcpcds(run: &Path, interface: &str) -> bool {
    let files = ["dhcpcd.pid", "dhcpcd/pid", &format!("dhcpcd-{interface}.pid"), &format!("dhcpcd/{interface}.pid")]
        .map(|file| run.join(file));
    files.iter().any(|file| file.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn the_loopback_has_its_address() {
        assert!(list("lo").expect("the kernel answers").contains(&(LOOPBACK, 8)));
        assert!(matches!(list("none"), Err(Cause::Address(Errno::NODEV))));
    }

    #[test]
    fn an_address_of_another_interface_and_an_unsure_one_are_left_out() {
        let body = |index: u32, flags: u8, kind: u16, value: &[u8]| {
            let header = [&[INTERNET, 24, flags, 0][..], &index.to_ne_bytes()].concat();
            // Without the header of the message, 16 bytes.
            packet(NEW, 0, &header, &[(kind, value)]).split_off(16)
        };
        let ours = IpAddr::V4(Ipv4Addr::new(10, 20, 0, 7));
        assert_eq!(read(&body(3, 0x80, LOCAL, &[10, 20, 0, 7]), 3), Some((ours, 24)));
        assert_eq!(read(&body(4, 0x80, LOCAL, &[10, 20, 0, 7]), 3), None);
        assert_eq!(read(&body(3, 0x40, ADDRESS, &[0xfd; 16]), 3), None, "tentative");
        assert_eq!(read(&body(3, 0, ADDRESS, &[0xfd; 16]), 3), Some((IpAddr::from([0xfd_u8; 16]), 24)));
        assert_eq!(read(&body(3, 0, LOCAL, &[10, 20]), 3), None, "too short");
        assert_eq!(read(&[INTERNET], 3), None);
    }

    #[test]
    fn addresses_that_a_host_makes_itself_are_not_global() {
        for (text, expected) in [("192.168.1.7", true), ("169.254.3.4", false), ("fe80::1", false), ("fd00::1", true)] {
            assert_eq!(is_global(&text.parse().expect("an address")), expected, "{text}");
        }
    }

    #[test]
    fn a_client_of_the_system_is_known_by_its_files() {
        let run = tempfile::tempdir().expect("a temporary folder");
        assert!(!is_networkds(run.path(), "lo") && !is_dhcpcds(run.path(), "lo"));
        let links = run.path().join("systemd/netif/links");
        std::fs::create_dir_all(&links).expect("a writable folder");
        for (state, expected) in [("configured", true), ("unmanaged", false)] {
            std::fs::write(links.join("1"), format!("# comment\nADMIN_STATE={state}\nOPER_STATE=routable\n")).expect("a file");
            assert_eq!(is_networkds(run.path(), "lo"), expected, "{state}");
        }
        std::fs::write(run.path().join("dhcpcd-lo.pid"), "7").expect("a file");
        assert!(is_dhcpcds(run.path(), "lo") && !is_dhcpcds(run.path(), "wlan0"));
    }
}
