//! How long a phone waits for the DNS server of the access point.

use std::net::Ipv4Addr;
use std::{fs, io};

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout};

use super::table::Table;
use super::{GIVEN_UP, ROUNDS, Waiting, http_answers, seconds};
use crate::air::until;
use crate::device::Device;
use crate::dns::question;
use crate::place::at_the_phone;

/// The types of records that phones and their libraries ask for.
const TYPES: [(u8, &str); 9] =
    [(1, "A"), (28, "AAAA"), (65, "HTTPS"), (64, "SVCB"), (16, "TXT"), (15, "MX"), (6, "SOA"), (12, "PTR"), (33, "SRV")];
/// A phone that waits longer for one type delays all of its connections.
const LIMIT: f64 = 50.0;

const RESOLVERS: &str = "/etc/resolv.conf";
/// A resolver of the node that never answers. What waits for it has no answer in time.
const SILENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Every type, while the node has a resolver and while it has none.
#[tokio::test]
#[ignore = "takes minutes, and a guest for itself: `tests/lab/bench` runs it"]
async fn names() {
    let mut table = Table::default();
    let _silent = UdpSocket::bind((SILENT, 53)).await.expect("an address of the loopback");
    let usual = fs::read(RESOLVERS).expect("the guest has resolvers");
    let device = Device::with("[access_point]\nopen = \"always\"\n").await;
    let _wifi = Waiting::for_network(&device.name);
    http_answers(Instant::now()).await;
    until("the DNS server answers", async || at_the_phone(|| async { ask(&socket().await, TYPES[0].0).await.is_ok() }).await)
        .await;
    for (uplink, resolvers) in [("with", format!("nameserver {SILENT}\n")), ("without", String::new())] {
        fs::write(RESOLVERS, resolvers).expect("a file of the guest");
        for (kind, name) in TYPES {
            let longest = at_the_phone(move || longest(kind)).await;
            table.target(&format!("DNS {name}, {uplink} an uplink: longest of {ROUNDS}, ms"), longest, LIMIT);
        }
    }
    fs::write(RESOLVERS, usual).expect("a file of the guest");
    table.end();
}

/// The longest time until an answer to a query of this type, milliseconds.
async fn longest(kind: u8) -> f64 {
    let socket = socket().await;
    let mut longest = 0.0_f64;
    // The first round resolves the node's hardware address.
    for round in 0..=ROUNDS {
        let began = Instant::now();
        ask(&socket, kind).await.expect("an answer");
        if round > 0 {
            longest = longest.max(1000.0 * seconds(began));
        }
    }
    longest
}

/// A socket of the phone to the DNS server of the access point.
async fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").await.expect("a free port");
    socket.connect("192.168.4.1:53").await.expect("a route");
    socket
}

/// Sends a query, and waits for its answer.
async fn ask(socket: &UdpSocket, kind: u8) -> io::Result<()> {
    socket.send(&question("connectivitycheck.gstatic.com", kind, true)).await?;
    timeout(GIVEN_UP, socket.recv(&mut [0; 512])).await??;
    Ok(())
}
