//! Secrets in clear are accepted only through the listener at the access point's interface, from its subnet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use jarvis_provisioning::link::http::{Config, Secrets};
use provisioning_core::domain::RadioUse;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::http::json::provision;
use crate::http::support::{NODE_ID, Node, PATIENCE, Place, Reply, config, connect_from, request_over};

/// Where a request comes from, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// From the access point's subnet, through its listener.
    AccessPoint,
    /// From another network, through the access point's listener.
    Foreign,
    /// To another address of the node; its server sees the mapped form of both addresses.
    OtherAddress,
    /// Over IPv6.
    Ipv6,
}

impl Side {
    pub(super) const ALL: [Self; 4] = [Self::AccessPoint, Self::Foreign, Self::OtherAddress, Self::Ipv6];

    pub(super) fn from(self) -> IpAddr {
        match self {
            Self::AccessPoint | Self::OtherAddress => Ipv4Addr::LOCALHOST.into(),
            Self::Foreign => [127, 9, 9, 9].into(),
            Self::Ipv6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    pub(super) fn to(self, node: &Node) -> SocketAddr {
        let address = match self {
            Self::AccessPoint | Self::Foreign => Ipv4Addr::LOCALHOST.into(),
            Self::OtherAddress => [127, 0, 0, 2].into(),
            Self::Ipv6 => IpAddr::from(Ipv6Addr::LOCALHOST),
        };
        (address, node.api.port()).into()
    }
}

/// All addresses; the access point is 127.0.0.0/24. Needs IPv6 at the loopback.
pub(super) fn place() -> Place {
    Place { listen: Ipv6Addr::UNSPECIFIED.into(), prefix: 24 }
}

/// A node there.
pub(super) fn node() -> Node {
    Node::at(place(), Config { secrets: Secrets::InAccessPoint, ..config() })
}

/// The status of a factory reset; none if the listener was closed meanwhile.
async fn reset(node: &Node, side: Side) -> Option<u16> {
    let request =
        format!("POST /api/v1/factory-reset HTTP/1.1\r\nhost: {NODE_ID}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let mut stream = TcpStream::connect(side.to(node)).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    stream.read_to_end(&mut answer).await.ok()?;
    (!answer.is_empty()).then(|| Reply::read(&answer).status)
}

#[tokio::test]
async fn secrets_in_clear_are_refused_from_every_other_side() {
    let node = node();
    for side in Side::ALL {
        let stream = connect_from(side.from(), side.to(&node)).await;
        let headers = [("host", NODE_ID), ("content-type", "application/json")];
        let reply = request_over(stream, "POST", "/api/v1/provision", &headers, provision().to_string().as_bytes()).await;
        assert_eq!(reply.status, if side == Side::AccessPoint { 200 } else { 403 }, "{side:?}");
    }
}

#[tokio::test]
async fn the_listener_follows_the_access_point() {
    let node = node();
    for (radio, status) in [
        (RadioUse::Station { interface: "lo".into() }, 403),
        (RadioUse::AccessPoint(Place { prefix: 32, ..Place::default() }.access_point()), 200),
        (RadioUse::Idle, 403),
        (RadioUse::AccessPoint(Place::default().access_point()), 200),
    ] {
        node.radio.send_replace(radio.clone());
        let follows = async {
            while reset(&node, Side::AccessPoint).await != Some(status) {
                yield_now().await;
            }
        };
        timeout(PATIENCE, follows).await.unwrap_or_else(|_| panic!("{radio:?}"));
        assert_eq!(reset(&node, Side::OtherAddress).await, Some(403));
    }
}

#[tokio::test]
async fn captive_portal_probes_are_answered_in_the_access_point_only() {
    let node = node();
    let probe = || TcpStream::connect(node.captive);
    assert!(probe().await.is_ok());
    node.radio.send_replace(RadioUse::Idle);
    let closes = async {
        while probe().await.is_ok() {
            yield_now().await;
        }
    };
    timeout(PATIENCE, closes).await.expect("the port is closed with the access point");
}

#[tokio::test]
async fn two_nodes_cannot_listen_at_one_address() {
    let node = node();
    for address in [(Ipv4Addr::UNSPECIFIED, node.api.port()), (Ipv4Addr::LOCALHOST, node.api.port())] {
        let error = jarvis_provisioning::link::http::bind(address.into()).expect_err("the address is in use");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    }
}
