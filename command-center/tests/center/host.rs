//! The names that the server answers to.

use reqwest::header::HOST;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{ADMIN_KEY, Center};

/// Names of others, among them those that a page can have resolved to this server.
const OTHERS: [&str; 6] =
    ["evil.example", "evil.local", "center.example.evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""];

async fn with_public_url() -> Center {
    let mut center = Center::on_sqlite().await;
    center.config.public_url = Some("https://Center.example:8443/".into());
    center.config.host_names = vec!["center.lan".into()];
    center.restart().await;
    center
}

/// The status of a request for the name.
async fn status(center: &Center, path: &str, host: &str, log_in: bool) -> StatusCode {
    let request = center.request(Method::GET, path).header(HOST, host);
    let request = if log_in { request.basic_auth("operator", Some(ADMIN_KEY)) } else { request };
    request.send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_public_url_other_names_are_refused_on_every_route() {
    let center = with_public_url().await;
    for path in ["/health", "/api/v0/ping", "/", "/metrics", "/openapi.json", "/api/v0/admin/nodes", "/nothing"] {
        for host in OTHERS {
            assert_eq!(status(&center, path, host, true).await, StatusCode::FORBIDDEN, "{path} of {host}");
        }
    }
    let response = center.request(Method::GET, "/health").header(HOST, "evil.example").send().await.unwrap();
    let refused = json!({ "detail": "This is not a name of the server. Use its public URL, or add the name with --host-name." });
    assert_eq!(response.json::<serde_json::Value>().await.unwrap(), refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_own_names_and_all_addresses_are_answered() {
    let center = with_public_url().await;
    let port = center.address().port();
    for host in ["center.example", "CENTER.EXAMPLE:8443", "center.lan", "localhost", "192.0.2.1:7703", "[2001:db8::1]:7703"] {
        for path in ["/health", "/", "/metrics"] {
            assert_eq!(status(&center, path, host, true).await, StatusCode::OK, "{path} of {host}");
        }
    }
    assert_eq!(status(&center, "/health", &format!("127.0.0.1:{port}"), false).await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_public_url_a_browsers_log_in_counts_under_own_names_only() {
    let center = Center::on_sqlite().await;
    for host in OTHERS.into_iter().filter(|host| !host.is_empty()) {
        // Nodes use the name that they were told.
        assert_eq!(status(&center, "/health", host, false).await, StatusCode::OK, "{host}");
        let listed = center.request(Method::GET, "/api/v0/admin/nodes").header(HOST, host).header("x-api-key", ADMIN_KEY);
        assert_eq!(listed.send().await.unwrap().status(), StatusCode::OK, "{host}");
        for path in ["/", "/metrics", "/openapi.json"] {
            for log_in in [true, false] {
                assert_eq!(status(&center, path, host, log_in).await, StatusCode::FORBIDDEN, "{path} of {host}");
            }
        }
    }
    for host in ["localhost", "127.0.0.1", "192.0.2.1"] {
        assert_eq!(status(&center, "/", host, true).await, StatusCode::OK, "{host}");
    }
}
