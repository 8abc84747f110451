//! The subnet of the access point: one that no other network of the device overlaps, because the device would send what is
//! for a phone to that network.

use std::net::Ipv4Addr;

/// The prefix of the access point's network: 254 addresses suffice, and every phone accepts them.
pub(in crate::network) const PREFIX: u8 = 24;

/// The node's addresses in place of the usual one, of all three private ranges (RFC 1918). Rare as home networks.
pub(in crate::network) const OTHERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 168, 184, 1), Ipv4Addr::new(172, 28, 184, 1), Ipv4Addr::new(10, 184, 184, 1)];

/// A route to a larger part of all addresses is a default route in parts, as VPNs set it.
const SMALLEST_PREFIX: u32 = 8;

/// A directly or indirectly reachable network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Route {
    destination: u32,
    mask: u32,
}

impl Route {
    fn overlaps(self, address: Ipv4Addr) -> bool {
        let mask = self.mask & (u32::MAX << (32 - PREFIX));
        self.mask.leading_ones() >= SMALLEST_PREFIX && (self.destination ^ address.to_bits()) & mask == 0
    }
}

/// The node's address in an access point at an interface: `usual`, or another one if a route of another interface overlaps its
/// subnet. `table` is the kernel's table of routes (`/proc/self/net/route`).
pub(in crate::network) fn choose(table: &str, interface: &str, usual: Ipv4Addr) -> Ipv4Addr {
    let routes: Vec<_> = table.lines().skip(1).filter_map(|line| parse(line, interface)).collect();
    let is_free = |address: &Ipv4Addr| !routes.iter().any(|route| route.overlaps(*address));
    [usual].into_iter().chain(OTHERS).find(is_free).unwrap_or(usual)
}

/// A line of the table; none if it is a route of that interface. `proc(5)`: interface, destination, gateway, flags, three
/// numbers, mask; addresses in hexadecimal, in the machine's byte order.
fn parse(line: &str, except: &str) -> Option<Route> {
    let mut fields = line.split_whitespace();
    let interface = fields.next()?;
    let mut number = |skipped| u32::from_str_radix(fields.nth(skipped)?, 16).ok().map(u32::from_be);
    let route = Route { destination: number(0)?, mask: number(5)? };
    (interface != except).then_some(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 1);

    /// The kernel's table with these routes, each an interface and a network.
    fn table(routes: &[(&str, [u8; 4], u32)]) -> String {
        let line = |(interface, destination, prefix): &(&str, [u8; 4], u32)| {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or_default();
            let [destination, mask] = [u32::from_ne_bytes(*destination), mask.to_be()];
            format!("{interface}\t{destination:08X}\t00000000\t0001\t0\t0\t100\t{mask:08X}\t0\t0\t0")
        };
        let header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT".to_owned();
        let lines: Vec<String> = std::iter::once(header).chain(routes.iter().map(line)).collect();
        lines.join("\n")
    }

    #[test]
    fn the_usual_address_is_left_only_for_a_network_that_overlaps_it_elsewhere() {
        for (interface, destination, prefix, is_usual) in [
            ("eth0", [192, 168, 4, 0], 22, false),
            ("eth0", [192, 168, 4, 0], 24, false),
            ("eth0", [192, 168, 4, 128], 25, false),
            ("tun0", [192, 168, 0, 0], 16, false),
            ("tun0", [192, 168, 4, 1], 32, false),
            ("wlan0", [192, 168, 4, 0], 24, true),
            ("eth0", [192, 168, 5, 0], 24, true),
            ("eth0", [192, 168, 1, 0], 24, true),
            ("eth0", [10, 0, 0, 0], 8, true),
            ("eth0", [0, 0, 0, 0], 0, true),
            ("tun0", [128, 0, 0, 0], 1, true),
        ] {
            let chosen = choose(&table(&[(interface, destination, prefix)]), "wlan0", USUAL);
            assert_eq!(chosen == USUAL, is_usual, "{interface} {destination:?}/{prefix}: {chosen}");
        }
    }

    #[test]
    fn the_next_address_is_taken_that_nothing_overlaps() {
        let routes = [("eth0", [192, 168, 0, 0], 16), ("eth1", [172, 16, 0, 0], 12)];
        assert_eq!(choose(&table(&routes), "wlan0", USUAL), OTHERS[2]);
        let all = [routes[0], routes[1], ("eth2", [10, 0, 0, 0], 8)];
        assert_eq!(choose(&table(&all), "wlan0", USUAL), USUAL, "no address is better than the one that apps expect");
        assert_eq!(choose("", "wlan0", USUAL), USUAL);
        assert_eq!(choose("header\nshort\nwlan0 x y\n", "wlan0", USUAL), USUAL);
    }
}
