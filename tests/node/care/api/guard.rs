//! Who may use the API: the token, the side that a request comes from, and pages of other sites.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::Ordering;

use super::stream::Stream;
use super::{Caring, works};
use crate::http::support::{Place, Reply, config, connect_from, request, request_over};

const TOKEN: &str = "4cb1-a-token-of-network-care";
const OWN: &str = "x-moonhub-provisioning-token";
const REFUSED: (u16, &str) = (401, r#"{"error":"provisioning authentication required"}"#);

/// An address of this machine in a network; none, and a line on standard error, if it has only the loopback.
fn address_in_a_network() -> Option<IpAddr> {
    // Nothing is sent: the kernel selects the address with which it would reach this one (RFC 5737).
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    let address = socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).and_then(|()| socket.local_addr());
    let address = address.ok().map(|address| address.ip()).filter(|address| !address.is_loopback());
    if address.is_none() {
        eprintln!("SKIPPED: this machine has no address outside of the loopback");
    }
    address
}

fn everywhere(token: Option<&str>) -> Caring {
    Caring::at(Place { listen: Ipv4Addr::UNSPECIFIED.into(), prefix: 8 }, &config(), token, works)
}

async fn get(caring: &Caring, path: &str, headers: &[(&str, &str)]) -> Reply {
    request(caring.node.api, "GET", &format!("/api/provisioning/{path}"), headers, b"").await
}

/// A request to an address outside of the loopback.
async fn get_at(caring: &Caring, address: IpAddr, path: &str, headers: &[(&str, &str)]) -> Reply {
    let stream = connect_from(address, (address, caring.node.api.port()).into()).await;
    request_over(stream, "GET", &format!("/api/provisioning/{path}"), headers, b"").await
}

#[tokio::test]
async fn a_token_is_taken_from_its_header_or_as_bearer() {
    let caring = Caring::at(Place::default(), &config(), Some(TOKEN), works);
    let bearer = format!("Bearer {TOKEN}");
    let (lower, padded) = (format!("bearer {TOKEN}"), format!("  {TOKEN} "));
    for right in [
        &[(OWN, TOKEN)][..],
        &[(OWN, padded.as_str())],
        &[("authorization", bearer.as_str())],
        &[("authorization", lower.as_str())],
        &[(OWN, TOKEN), ("authorization", "Bearer wrong")],
        &[(OWN, ""), ("authorization", bearer.as_str())],
    ] {
        assert_eq!(get(&caring, "status", right).await.status, 200, "{right:?}");
    }
    let short = &TOKEN[..TOKEN.len() - 1];
    for wrong in [
        &[][..],
        &[(OWN, short)],
        &[(OWN, "wrong"), ("authorization", bearer.as_str())],
        &[("authorization", TOKEN)],
        &[("authorization", "Basic dXNlcjpwYXNz")],
        &[("cookie", TOKEN)],
    ] {
        for path in ["status", "events", "auth-code"] {
            let reply = get(&caring, path, wrong).await;
            assert_eq!((reply.status, reply.text()), REFUSED, "{wrong:?}");
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
    }
}

#[tokio::test]
async fn without_a_token_the_loopback_is_admitted_and_a_network_is_not() {
    let caring = everywhere(None);
    for path in ["status", "auth-code"] {
        assert_eq!(get(&caring, path, &[]).await.status, 200);
    }
    let Some(address) = address_in_a_network() else { return };
    for (path, headers) in
        [("status", &[][..]), ("auth-code", &[]), ("events", &[]), ("status", &[(OWN, "")]), ("status", &[(OWN, TOKEN)])]
    {
        let reply = get_at(&caring, address, path, headers).await;
        assert_eq!(reply.status, 403, "{path} {headers:?}");
        assert!(reply.text().starts_with(r#"{"error":"without a token"#), "{}", reply.text());
    }
}

#[tokio::test]
async fn with_a_token_every_side_needs_it() {
    let caring = everywhere(Some(TOKEN));
    assert_eq!(get(&caring, "auth-code", &[]).await.status, 401);
    assert_eq!(get(&caring, "auth-code", &[(OWN, TOKEN)]).await.status, 200);
    let Some(address) = address_in_a_network() else { return };
    assert_eq!(get_at(&caring, address, "auth-code", &[]).await.status, 401);
    assert_eq!(get_at(&caring, address, "auth-code", &[(OWN, TOKEN)]).await.status, 200);
}

#[tokio::test]
async fn a_token_that_was_stolen_before_a_factory_reset_opens_nothing_after_it() {
    let caring = everywhere(Some(TOKEN));
    let mut stream = Stream::with_token(&caring, TOKEN).await;
    caring.publish("before the reset");
    assert_eq!(stream.message().await, "before the reset");
    caring.is_void.store(true, Ordering::Relaxed);
    for (path, headers) in [("status", &[(OWN, TOKEN)][..]), ("auth-code", &[(OWN, TOKEN)]), ("status", &[])] {
        let reply = get(&caring, path, headers).await;
        assert_eq!((reply.status, reply.text()), REFUSED, "{path}");
    }
    caring.publish("after the reset");
    assert_eq!(stream.block().await, None, "the stream ends");
}

#[tokio::test]
async fn pages_of_other_sites_and_other_host_names_are_refused() {
    let caring = Caring::at(Place::default(), &config(), Some(TOKEN), works);
    let foreign = [
        ("host", "evil.example"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ];
    for header in foreign {
        for (method, path) in [("GET", "networks"), ("GET", "events"), ("POST", "factory-reset")] {
            let path = format!("/api/provisioning/{path}");
            let reply = request(caring.node.api, method, &path, &[header, (OWN, TOKEN)], b"").await;
            assert_eq!(reply.status, 403, "{method} {path} {header:?}");
        }
    }
    assert_eq!(get(&caring, "status", &[("sec-fetch-site", "same-origin"), (OWN, TOKEN)]).await.status, 200);
}
