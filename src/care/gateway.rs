//! Whether the router is there, without the raw sockets that a ping needs.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use provisioning_core::care::diagnosis::Gateway;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The kernel gives up an address that does not answer ARP after three seconds.
pub(super) const LIMIT: Duration = Duration::from_secs(4);

/// The flag of a complete entry in the kernel's table of neighbours: `ATF_COM`.
const COMPLETE: u32 = 0x2;

/// Probes the router: a TCP connection to one of the ports is accepted or refused, or the router has answered ARP.
pub(super) async fn probe(address: Ipv4Addr, ports: &[u16], neighbours: &Path, limit: Duration) -> Gateway {
    let mut tries: FuturesUnordered<_> = ports.iter().map(|port| connect(SocketAddr::from((address, *port)))).collect();
    let first = async {
        while let Some(answer) = tries.next().await {
            if answer.is_some() {
                return answer;
            }
        }
        None
    };
    let how = timeout(limit, first).await.ok().flatten();
    // A router may drop everything but what it forwards; the attempts above have asked for its hardware address.
    let how = how.or_else(|| {
        let table = std::fs::read_to_string(neighbours).unwrap_or_default();
        is_neighbour(&table, address).then_some("answers ARP")
    });
    match how {
        Some(how) => Gateway::Answers(address.to_string(), how),
        None => Gateway::Silent(address.to_string()),
    }
}

/// How the router has answered; none if it has not.
async fn connect(address: SocketAddr) -> Option<&'static str> {
    match TcpStream::connect(address).await {
        Ok(_) => Some("accepts connections"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Some("refuses connections"),
        Err(_) => None,
    }
}

/// Whether the kernel knows the hardware address of a neighbour. `proc_net(5)`: IP address, hardware type, flags, …
fn is_neighbour(table: &str, address: Ipv4Addr) -> bool {
    let is_it = |line: &str| {
        let mut fields = line.split_whitespace();
        let found = fields.next()?.parse::<IpAddr>().ok()? == IpAddr::V4(address);
        let flags = u32::from_str_radix(fields.nth(1)?.trim_start_matches("0x"), 16).ok()?;
        Some(found && flags & COMPLETE != 0)
    };
    table.lines().any(|line| is_it(line).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
192.168.1.1      0x1         0x2         84:3a:5b:91:b6:61     *        wlan0
192.168.1.7      0x1         0x0         00:00:00:00:00:00     *        wlan0
192.168.1.9      0x1         0x6         84:3a:5b:91:b6:62     *        wlan0
";

    #[test]
    fn only_a_complete_entry_is_an_answer() {
        let is = |last| is_neighbour(TABLE, Ipv4Addr::new(192, 168, 1, last));
        assert_eq!([1, 7, 9, 10].map(is), [true, false, true, false]);
        assert!(!is_neighbour("192.168.1.1 0x1\n\n192.168.1.1 0x1 2x\n", Ipv4Addr::new(192, 168, 1, 1)));
    }
}
