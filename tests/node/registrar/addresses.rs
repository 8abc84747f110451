//! Addresses that the node does not connect to, in every notation and from every source.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use jarvis_http::client::{AddressPolicy, Client, Lookup, Names, Trust};
use provisioning_core::domain::CommandCenterUrl;
use provisioning_core::fault::Fault;
use testing::server::{Act, Server, answer};
use tokio::net::TcpListener;

use crate::registrar::server::registered;
use crate::registrar::{CONNECT, SHORT, client, fault, register, without_status};

/// A resolver that answers each lookup with the next list.
#[derive(Clone, Debug)]
struct Scripted(Arc<Mutex<Vec<Vec<IpAddr>>>>);

impl Scripted {
    fn new(answers: &[&[&str]]) -> Self {
        let parsed = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        Self(Arc::new(Mutex::new(answers.iter().rev().map(parsed).collect())))
    }

    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Names for Scripted {
    fn lookup(&self, _name: &str) -> Lookup {
        let answer = self.0.lock().unwrap().pop();
        Box::pin(async { answer.ok_or_else(|| io::Error::other("no such name")) })
    }
}

/// A resolver that never answers.
#[derive(Debug)]
struct Silent;

impl Names for Silent {
    fn lookup(&self, _name: &str) -> Lookup {
        Box::pin(std::future::pending())
    }
}

fn device() -> Client {
    Client::new(AddressPolicy::DEVICE, Trust::System).with_connect_limit(CONNECT)
}

/// A non-canonical spelling is refused as a URL; its canonical form, if it has one, is refused as an address.
async fn address_is_refused(spelling: &str) {
    let taken = CommandCenterUrl::try_from(spelling);
    assert!(taken.is_ok() || taken == Err(Fault::InvalidUrl), "{spelling}");
    let Ok(normal) = url::Url::parse(spelling) else {
        assert_eq!(taken, Err(Fault::InvalidUrl), "{spelling}");
        return;
    };
    let (refused, line) = fault(&device(), normal.as_str()).await;
    assert_eq!(refused, without_status(Fault::AddressRefused), "{spelling}: {line}");
}

/// Two servers at one port: the first at a permitted address, the second where 0.0.0.0 connects to.
async fn good_and_bad() -> (Server, Server) {
    loop {
        let good = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let port = good.local_addr().unwrap().port();
        // Another process may use the same port at the other address.
        if let Ok(bad) = TcpListener::bind(("127.0.0.1", port)).await {
            let answer = Act::Send(answer("201 Created", &registered()).into());
            return (Server::on(good, [answer.clone()]), Server::on(bad, [answer]));
        }
    }
}

#[tokio::test]
async fn loopback_is_refused_in_every_spelling() {
    let server = Server::answering(answer("201 Created", &registered())).await;
    let port = server.address.port();
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.0.0.0x1",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "127.255.255.254",
        "localhost",
        "LocalHost",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[::ffff:0.0.0.0]",
    ] {
        for scheme in ["http", "https"] {
            address_is_refused(&format!("{scheme}://{host}:{port}")).await;
        }
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn other_forbidden_addresses_are_refused_before_a_connection() {
    for host in ["169.254.169.254", "2852039166", "[fe80::1]", "[::ffff:169.254.169.254]", "224.0.0.1", "255.255.255.255"] {
        address_is_refused(&format!("https://{host}")).await;
    }
}

#[tokio::test]
async fn http_to_a_public_address_is_refused_and_the_log_names_the_remedy() {
    let (refused, line) = fault(&device(), "http://1.1.1.1").await;
    assert_eq!(refused, without_status(Fault::AddressRefused));
    assert!(line.contains("use https"), "{line}");
}

#[tokio::test]
async fn http_to_a_name_with_a_public_address_is_refused() {
    let names = Scripted::new(&[&["1.1.1.1", "2606:4700::1111"]]);
    let (refused, line) = fault(&device().with_names(names), "http://center.example").await;
    assert_eq!(refused, without_status(Fault::AddressRefused));
    assert!(line.contains("1.1.1.1"), "{line}");
}

#[tokio::test]
async fn the_nodes_own_address_is_refused() {
    let (refused, line) = fault(&device().with_own(|_| true), "http://192.168.4.1:8080").await;
    assert_eq!(refused, without_status(Fault::AddressRefused));
    assert!(line.contains("own addresses"), "{line}");
}

#[tokio::test]
async fn a_strict_node_refuses_http_and_private_addresses() {
    let strict = Client::new(AddressPolicy::STRICT, Trust::System).with_connect_limit(CONNECT);
    for url in ["https://192.168.1.5", "https://[fd12::1]", "http://192.168.1.5", "http://1.1.1.1"] {
        assert_eq!(fault(&strict, url).await.0, without_status(Fault::AddressRefused), "{url}");
    }
}

#[tokio::test]
async fn a_name_with_forbidden_addresses_only_is_refused() {
    for (name, addresses) in [
        ("rebind.example", &["127.0.0.1", "::1", "0.0.0.0"][..]),
        ("localhost.", &["127.0.0.1"]),
        ("printer.local", &["fe80::1", "169.254.7.7"]),
        ("metadata.example", &["169.254.169.254"]),
    ] {
        let names = Scripted::new(&[addresses]);
        let (refused, line) = fault(&device().with_names(names), &format!("https://{name}")).await;
        assert_eq!(refused, without_status(Fault::AddressRefused), "{name}: {line}");
    }
}

#[tokio::test]
async fn of_a_good_and_a_bad_address_of_a_name_the_good_one_is_used() {
    let (good, bad) = good_and_bad().await;
    let names = Scripted::new(&[&["0.0.0.0", "127.0.0.2", "169.254.169.254"]]);
    let url = format!("http://center.example:{}", good.address.port());
    assert!(register(&client().with_names(names), &url).await.0.is_ok());
    assert_eq!(good.requests().len(), 1);
    assert!(bad.requests().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_checked_again() {
    let (good, bad) = good_and_bad().await;
    let names = Scripted::new(&[&["127.0.0.2"], &["0.0.0.0"]]);
    let client = client().with_names(names.clone());
    let url = format!("http://rebind.example:{}", good.address.port());
    assert!(register(&client, &url).await.0.is_ok());
    assert_eq!(names.left(), 1, "the checked address is the connected one: there is one lookup");
    assert_eq!(fault(&client, &url).await.0, without_status(Fault::AddressRefused), "the next try resolves and checks again");
    assert_eq!(good.requests().len(), 1);
    assert!(bad.requests().is_empty());
}

#[tokio::test]
async fn an_unknown_name_is_unreachable() {
    for names in [Scripted::new(&[]), Scripted::new(&[&[]])] {
        let (refused, line) = fault(&client().with_names(names), "https://center.example").await;
        assert_eq!(refused, without_status(Fault::CommandCenterUnreachable), "{line}");
    }
}

#[tokio::test]
async fn a_name_lookup_without_an_answer_ends_at_the_limit() {
    let client = client().with_names(Silent).with_connect_limit(SHORT);
    let (refused, _) = fault(&client, "http://center.example").await;
    assert_eq!(refused, without_status(Fault::CommandCenterUnreachable));
}
