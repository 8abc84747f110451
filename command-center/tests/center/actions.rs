//! What operators do to devices, from the page and at the command line.

use reqwest::header::LOCATION;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::operator::{done, listed, run};
use crate::page::{as_operator, page_at, submit};
use crate::support::{ADMIN_KEY, Center, on_both_databases, text};

const FIRST: &str = "84:3A:5B:91:B6:61";

on_both_databases!(a_device_is_revoked_from_its_page_after_a_confirmation, an_action_that_is_none_or_of_another_page_is_refused,);

async fn heartbeat(center: &Center, bearer: &str) -> StatusCode {
    center.post("/api/provision/heartbeat", &[("authorization", bearer)], &json!({ "mac_address": FIRST })).await.0
}

/// Does it on the page of a device, as a browser would, which then shows that page again.
async fn act(center: &Center, page: &str, action: &str, form: &str) {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = client.post(center.url(&format!("{page}/{action}"))).basic_auth("operator", Some(ADMIN_KEY));
    let request = request.header("origin", center.url("")).header("content-type", "application/x-www-form-urlencoded");
    let response = request.body(form.to_owned()).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SEE_OTHER, "{action} {page}");
    let next = response.headers()[LOCATION].to_str().unwrap();
    assert_eq!(percent_encoding::percent_decode_str(next).decode_utf8().unwrap(), page);
}

async fn a_device_is_revoked_from_its_page_after_a_confirmation(center: Center) {
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    let node = center.node().await;
    let node_id = node.split(':').next().unwrap();
    for (page, id) in [(format!("/appliances/{appliance_id}"), appliance_id.as_str()), (format!("/nodes/{node_id}"), node_id)] {
        let shown = page_at(&center, &page).await;
        assert!(shown.contains("/revoke\">Revoke</a>"), "{shown}");
        let question = page_at(&center, &format!("{page}/revoke")).await;
        assert!(question.contains(&format!("<h2>Revoke {id}?</h2>")) && question.contains("cannot be undone"), "{question}");
    }
    assert_eq!((heartbeat(&center, &bearer).await, center.heartbeat(&node).await.0), (StatusCode::OK, StatusCode::OK));
    for (page, action) in [(format!("/appliances/{appliance_id}"), "appliance"), (format!("/nodes/{node_id}"), "node")] {
        act(&center, &page, "revoke", "").await;
        assert!(!page_at(&center, &page).await.contains("/revoke\">"));
        let newest = listed(&center, &["audit", "--json", "--limit", "1"]).remove(0);
        assert_eq!(text(&newest, "action"), format!("{action} revoked"));
        assert_eq!((&newest["actor"], &newest["place"]), (&json!("administrator"), &json!("127.0.0.1")));
    }
    assert_eq!(heartbeat(&center, &bearer).await, StatusCode::UNAUTHORIZED);
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::UNAUTHORIZED);
}

async fn an_action_that_is_none_or_of_another_page_is_refused(center: Center) {
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    let path = format!("/appliances/{appliance_id}/revoke");
    for request in [center.request(Method::GET, &path), center.request(Method::POST, &path)] {
        assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    let foreign = as_operator(&center, Method::POST, &path).header("origin", "http://evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    for path in [format!("/appliances/{appliance_id}/explode"), "/appliances/nobody/revoke".into(), "/nodes/nobody/revoke".into()]
    {
        let asked = as_operator(&center, Method::GET, &path).send().await.unwrap();
        let done = submit(&center, &path, "").await;
        assert_eq!((asked.status(), done.status()), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND), "{path}");
    }
    assert_eq!(run(&center, &["appliance", "revoke", "nobody"]).status.code(), Some(1));
    assert_eq!(heartbeat(&center, &bearer).await, StatusCode::OK);
    done(&center, &["appliance", "revoke", "--yes", &appliance_id]);
    assert_eq!(heartbeat(&center, &bearer).await, StatusCode::UNAUTHORIZED);
}
