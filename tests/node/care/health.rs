//! The caretaker's check of a connection, with a DNS server, a web server and a router that fail.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, SystemTime};

use jarvis_provisioning::care::health::{Found, Health};
use jarvis_provisioning::care::{self, CheckUrl, Configured};
use jarvis_provisioning::network::Inspection;
use provisioning_core::care::diagnosis::{Address, Radio};
use provisioning_core::care::recovery::Internet;
use testing::server::{Act, Server};
use tokio::time::timeout;

use super::{Answers, Dns, HOST, ONLINE};

/// What recovery waits for a check.
const CHECK_LIMIT: Duration = Duration::from_secs(5);
/// Checks that are one connection, after one that asks DNS.
const QUICK_CHECKS: usize = 10;

/// A connection whose router, DNS server and page all work.
struct Connection {
    dns: Dns,
    page: Server,
    router: TcpListener,
    neighbours: tempfile::NamedTempFile,
    seen: Inspection,
}

impl Connection {
    async fn new() -> Self {
        let seen = Inspection {
            address: Address::Assigned("192.168.1.20/24".into()),
            gateway: Some(Ipv4Addr::LOCALHOST),
            servers: vec![Ipv4Addr::LOCALHOST],
            ..Inspection::unconnected(Radio::Ready("wlan0".into()))
        };
        let router = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        router.set_nonblocking(true).expect("a socket");
        Self {
            dns: Dns::start(Answers::Honestly).await,
            page: Server::answering(ONLINE).await,
            router,
            neighbours: tempfile::NamedTempFile::new().expect("a temporary file"),
            seen,
        }
    }

    fn health(&self) -> Health {
        let page = format!("http://{HOST}:{}/nm", self.page.address.port());
        let router = self.router.local_addr().expect("it is bound").port();
        let mut probes = care::Settings::new(Configured::Nowhere, SystemTime::UNIX_EPOCH);
        probes.check = CheckUrl::try_from(page.as_str()).expect("a plain URL");
        probes.dns_port = self.dns.port;
        probes.gateway_ports = vec![router];
        probes.neighbours = self.neighbours.path().into();
        Health::new(probes)
    }

    async fn check(&self, health: &mut Health) -> Found {
        timeout(CHECK_LIMIT, health.check(&self.seen)).await.expect("within the limit of recovery")
    }

    async fn internet(&self) -> Internet {
        let found = self.check(&mut self.health()).await;
        assert!(found.router_answers);
        found.internet
    }
}

#[tokio::test]
async fn without_a_page_of_networkmanager_the_internet_is_checked_here() {
    let connection = Connection::new().await;
    assert_eq!(connection.internet().await, Internet::Full);
}

#[tokio::test]
async fn what_networkmanager_knows_is_not_checked_again() {
    let mut connection = Connection::new().await;
    connection.dns = Dns::start(Answers::Nothing).await;
    for known in [Internet::Full, Internet::Portal, Internet::None] {
        connection.seen.internet = known;
        assert_eq!(connection.internet().await, known);
    }
}

#[tokio::test]
async fn a_captive_portal_a_lying_and_a_silent_dns_server_are_told_apart() {
    let mut connection = Connection::new().await;
    connection.page = Server::answering("HTTP/1.1 200 OK\r\n\r\n<html>Welcome</html>").await;
    assert_eq!(connection.internet().await, Internet::Portal);
    connection.page = Server::acting([Act::Drop]).await;
    assert_eq!(connection.internet().await, Internet::None);
    connection.page = Server::acting([Act::Hold]).await;
    connection.dns = Dns::start(Answers::Anything).await;
    assert_eq!(connection.internet().await, Internet::Forged);
    connection.page = Server::answering(ONLINE).await;
    assert_eq!(connection.internet().await, Internet::Full, "the page itself is behind it");
    connection.dns = Dns::start(Answers::Nothing).await;
    assert_eq!(connection.internet().await, Internet::None);
}

#[tokio::test]
async fn a_connection_without_dns_servers_has_no_internet_unless_it_has_ipv6() {
    let mut connection = Connection::new().await;
    connection.seen.servers.clear();
    assert_eq!(connection.internet().await, Internet::None);
    connection.seen.has_ipv6 = true;
    assert_eq!(connection.internet().await, Internet::Unknown);
}

#[tokio::test]
async fn while_the_page_answers_dns_is_asked_every_five_minutes() {
    let mut connection = Connection::new().await;
    let mut health = connection.health();
    assert_eq!(connection.check(&mut health).await.internet, Internet::Full);
    // Its port stays the one that the check knows, and nothing listens there.
    connection.dns = Dns::start(Answers::Nothing).await;
    for _ in 0..QUICK_CHECKS {
        assert_eq!(connection.check(&mut health).await.internet, Internet::Full);
    }
    assert_eq!(connection.check(&mut health).await.internet, Internet::None);
}

#[tokio::test]
async fn a_portal_that_comes_back_is_noticed_within_two_checks() {
    let connection = Connection::new().await;
    let page = [ONLINE, "HTTP/1.1 302 Found\r\n\r\n"];
    let page = Server::acting(page.map(|answer| Act::Send(answer.into()))).await;
    let connection = Connection { page, ..connection };
    let mut health = connection.health();
    assert_eq!(connection.check(&mut health).await.internet, Internet::Full);
    assert_eq!(connection.check(&mut health).await.internet, Internet::Full, "it is the router's turn");
    assert_eq!(connection.check(&mut health).await.internet, Internet::Portal);
}

/// Each connection wakes an idle device.
#[tokio::test]
async fn while_everything_works_a_check_is_one_connection_to_the_router_or_to_the_page() {
    let connection = Connection::new().await;
    let mut health = connection.health();
    connection.check(&mut health).await;
    let counts = || {
        let accepted = std::iter::from_fn(|| connection.router.accept().ok());
        (accepted.count(), connection.page.requests().len())
    };
    counts();
    let (mut at_the_router, before) = (0, connection.page.requests().len());
    for check in 0..QUICK_CHECKS {
        assert!(connection.check(&mut health).await.router_answers);
        let (routers, pages) = counts();
        at_the_router += routers;
        assert_eq!((at_the_router, pages - before), (check / 2 + 1, check.div_ceil(2)));
    }
}

#[tokio::test]
async fn in_another_connection_and_on_request_everything_is_checked() {
    let mut connection = Connection::new().await;
    let mut health = connection.health();
    assert_eq!(connection.check(&mut health).await.internet, Internet::Full);
    let before = connection.page.requests().len();
    connection.seen.address = Address::Assigned("192.168.1.21/24".into());
    assert_eq!(connection.check(&mut health).await.internet, Internet::Full);
    assert_eq!(connection.page.requests().len(), before + 1, "another network may have no internet");
    health.forget();
    assert_eq!(connection.check(&mut health).await.internet, Internet::Full);
    assert_eq!(connection.page.requests().len(), before + 2);
}

/// Its end may come much later, and is not waited for.
#[tokio::test]
async fn a_page_is_read_as_far_as_it_has_to_be() {
    let mut connection = Connection::new().await;
    connection.page = Server::acting([Act::SendAndHold(ONLINE.into())]).await;
    assert_eq!(connection.internet().await, Internet::Full);
}

#[tokio::test]
async fn a_router_that_is_silent_is_noticed_although_the_page_was_reached_before() {
    let mut connection = Connection::new().await;
    let mut health = connection.health();
    assert!(connection.check(&mut health).await.router_answers);
    // The kernel refuses to connect to this address, as it does when ARP has no answer.
    connection.seen.gateway = Some(Ipv4Addr::BROADCAST);
    connection.page = Server::acting([Act::Drop]).await;
    let found = connection.check(&mut health).await;
    assert_eq!(found, Found { router_answers: false, internet: Internet::None });
}

#[tokio::test]
async fn a_router_that_forwards_and_answers_nothing_itself_counts_as_answering() {
    let mut connection = Connection::new().await;
    connection.seen.gateway = Some(Ipv4Addr::BROADCAST);
    let mut health = connection.health();
    for _ in 0..3 {
        let found = connection.check(&mut health).await;
        assert_eq!(found, Found { router_answers: true, internet: Internet::Full });
    }
}
