//! The captive-portal probes that phones send in an access point automatically.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use crate::device::{Device, PASSPHRASE};
use crate::dns::{A, question};
use crate::place::{Wifi, at_the_phone};

/// Asks a DNS server for the address of a name (RFC 1035, 4); the answer's time to live, seconds, and its address.
pub(crate) async fn resolve(server: Ipv4Addr, name: &str) -> (u32, Ipv4Addr) {
    let question = question(name, A, true);
    let socket = UdpSocket::bind("0.0.0.0:0").await.expect("a free port");
    socket.send_to(&question, (server, 53)).await.expect("the server is there");
    let mut answer = [0; 512];
    let received = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut answer)).await;
    let length = received.expect("an answer in time").expect("an answer");
    assert_eq!(answer[..4], [0x12, 0x34, 0x85, 0x80], "an answer with authority, without an error");
    // One answer: a pointer to the name, type and class, the time to live, four bytes.
    let [ttl, address] = [answer[length - 10..length - 6].try_into(), answer[length - 4..length].try_into()];
    (u32::from_be_bytes(ttl.expect("four bytes")), Ipv4Addr::from(address.expect("four bytes") as [u8; 4]))
}

#[tokio::test]
async fn captive_portal_probes_of_phones_reach_the_node() {
    let device = Device::with("[access_point]\nopen = \"always\"\nportal = \"app\"\n").await;
    let _wifi = Wifi::join(&device.name, PASSPHRASE).await;
    at_the_phone(async || {
        let node = Ipv4Addr::new(192, 168, 4, 1);
        for (name, path, status, text) in [
            ("connectivitycheck.gstatic.com", "/generate_204", 204, ""),
            ("captive.apple.com", "/hotspot-detect.html", 200, "Success"),
            ("detectportal.firefox.com", "/success.txt", 200, "success"),
            ("www.msftconnecttest.com", "/connecttest.txt", 204, ""),
        ] {
            assert_eq!(resolve(node, name).await, (0, node), "{name} resolves to the node, with a time to live of 0");
            let mut stream = TcpStream::connect((node, 80)).await.expect("port 80 is open");
            let request = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("the node reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("the node answers");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(text), "{name}: {answer}");
        }
        // Phones also try https, and would wait for one that does not answer.
        let began = Instant::now();
        let refused = TcpStream::connect((node, 443)).await.expect_err("there is no server");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(began.elapsed() < Duration::from_secs(1), "refused at once: {:?}", began.elapsed());
    })
    .await;
}
