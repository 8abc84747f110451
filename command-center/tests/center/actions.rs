//! What operators do to devices, from the page and at the command line.

use command_center::fleet::Counts;
use reqwest::header::LOCATION;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::operator::{done, listed, run};
use crate::page::{as_operator, page_at, submit};
use crate::support::{ADMIN_KEY, Center, on_both_databases, text};

const FIRST: &str = "84:3A:5B:91:B6:61";

on_both_databases!(
    a_device_is_revoked_from_its_page_after_a_confirmation,
    an_action_that_is_none_or_of_another_page_is_refused,
    a_renamed_device_is_found_and_exported_by_its_name,
    a_device_does_not_learn_its_display_name,
    a_device_is_renamed_from_its_page_after_a_confirmation,
    what_is_no_name_is_refused,
    a_deactivated_device_is_refused_until_it_is_activated,
    what_is_revoked_stays_revoked,
    an_owner_who_removes_a_deactivated_node_does_so_for_good,
);

async fn heartbeat(center: &Center, bearer: &str) -> StatusCode {
    center.post("/api/provision/heartbeat", &[("authorization", bearer)], &json!({ "mac_address": FIRST })).await.0
}

/// Does it on the page of a device, as a browser would, which then shows that page again.
pub(crate) async fn act(center: &Center, page: &str, action: &str, form: &str) {
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

/// How many actions on a device the audit has.
fn recorded(center: &Center, kind: &str, id: &str) -> usize {
    let is_of_it = |entry: &&Value| entry["subject"] == id && text(entry, "action").starts_with(kind);
    listed(center, &["audit", "--json"]).iter().filter(is_of_it).count()
}

/// The newest action with its detail.
pub(crate) fn newest(center: &Center) -> [String; 3] {
    let entry = listed(center, &["audit", "--json", "--limit", "1"]).remove(0);
    ["action", "subject", "detail"].map(|field| entry[field].as_str().unwrap_or_default().to_owned())
}

async fn a_renamed_device_is_found_and_exported_by_its_name(center: Center) {
    let (appliance_id, _) = center.appliance(FIRST).await;
    center.appliance("84:3A:5B:91:B6:62").await;
    let node = center.node().await;
    center.node().await;
    let node_id = node.split(':').next().unwrap().to_owned();
    for (kind, id) in [("appliance", &appliance_id), ("node", &node_id)] {
        let rename = |name: &str| done(&center, &[kind, "rename", id, name]);
        let detail = |detail: &str| [format!("{kind} renamed"), id.clone(), detail.to_owned()];
        rename(" Reception, left ");
        assert_eq!(newest(&center), detail("from no name to “Reception, left”"));
        rename("Entrance, left");
        rename("Entrance, left");
        assert_eq!(newest(&center), detail("from “Reception, left” to “Entrance, left”"));
        assert_eq!(recorded(&center, kind, id), 2);
        for (text, found) in [("entrance", 1), ("ENTRANCE, LEFT", 1), ("left", 0), ("reception", 0)] {
            assert_eq!(listed(&center, &[kind, "list", text, "--json"]).len(), found, "{text}");
        }
        assert!(done(&center, &[kind, "list"]).contains("  Entrance, left  "));
        assert!(done(&center, &[kind, "list", "--csv"]).contains(",\"Entrance, left\"\r\n"));
        let list = page_at(&center, &format!("/{kind}s?text=entrance")).await;
        assert!(list.contains(&format!(">Entrance, left</a><div class=\"quiet\">{id}</div></th>")), "{list}");
        assert!(page_at(&center, &format!("/{kind}s/{id}")).await.contains("<h2>Entrance, left</h2>"));
        let (_, shown) = center.get(&format!("/api/v0/admin/fleet/{kind}s/{id}"), &[("x-api-key", ADMIN_KEY)]).await;
        assert_eq!(shown["display_name"], "Entrance, left");
        rename("");
        assert_eq!(newest(&center), detail("from “Entrance, left” to no name"));
        assert_eq!(listed(&center, &[kind, "list", "entrance", "--json"]).len(), 0);
    }
}

async fn a_device_does_not_learn_its_display_name(center: Center) {
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    let node = center.node().await;
    let node_id = node.split(':').next().unwrap();
    let answers = async || {
        let bearer = [("authorization", bearer.as_str())];
        let (_, configuration) = center.get(&format!("/api/provision/config/{appliance_id}"), &bearer).await;
        let (_, known) = center.post("/api/provision/heartbeat", &bearer, &json!({ "mac_address": FIRST })).await;
        let (_, answer) = center.heartbeat(&node).await;
        let (_, nodes) = center.get("/api/v0/admin/nodes", &[("x-api-key", ADMIN_KEY)]).await;
        let (_, one) = center.get(&format!("/api/v0/admin/nodes/{node_id}"), &[("x-api-key", ADMIN_KEY)]).await;
        json!([configuration, known, answer, nodes, one]).to_string()
    };
    answers().await;
    let before = answers().await;
    done(&center, &["appliance", "rename", &appliance_id, "Entrance"]);
    done(&center, &["node", "rename", node_id, "Entrance"]);
    assert_eq!(answers().await, before);
    // A device that starts over at its site is still the same to its operator.
    center.claim(&center.code().await, FIRST).await;
    assert_eq!(listed(&center, &["appliance", "list", "entrance", "--json"]).len(), 1);
}

async fn a_device_is_renamed_from_its_page_after_a_confirmation(center: Center) {
    let (appliance_id, _) = center.appliance(FIRST).await;
    let page = format!("/appliances/{appliance_id}");
    let shown = page_at(&center, &page).await;
    assert!(shown.contains("<label class=\"wide\">Display name<input name=\"name\" value=\"\""), "{shown}");
    let question = page_at(&center, &format!("{page}/rename?name=%3Cb%3E+Hall")).await;
    assert!(question.contains("<p>From no name to “&lt;b&gt; Hall”.</p>"), "{question}");
    assert!(question.contains("<input type=\"hidden\" name=\"name\" value=\"&lt;b&gt; Hall\">"), "{question}");
    assert!(!page_at(&center, &page).await.contains("Hall"));
    act(&center, &page, "rename", "name=%3Cb%3E+Hall").await;
    assert!(page_at(&center, &page).await.contains("<h2>&lt;b&gt; Hall</h2>"));
    assert_eq!(newest(&center), ["appliance renamed", &appliance_id, "from no name to “<b> Hall”"]);
    act(&center, &page, "rename", "name=").await;
    assert_eq!(newest(&center)[2], "from “<b> Hall” to no name");
    let node = center.node().await;
    let page = format!("/nodes/{}", node.split(':').next().unwrap());
    act(&center, &page, "rename", "name=Attic").await;
    assert!(page_at(&center, &page).await.contains("<h2>Attic</h2>"));
}

async fn what_is_no_name_is_refused(center: Center) {
    let (appliance_id, _) = center.appliance(FIRST).await;
    let page = format!("/appliances/{appliance_id}/rename");
    for (name, form) in [("a\u{7}b", "name=a%07b"), (&"ü".repeat(201), &format!("name={}", "%C3%BC".repeat(201)))] {
        let output = run(&center, &["appliance", "rename", &appliance_id, name]);
        assert_eq!(output.status.code(), Some(2));
        let answer = submit(&center, &page, form).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert!(answer.text().await.unwrap().contains("role=\"alert\">a name has 1 to 200 characters"));
    }
    assert_eq!(submit(&center, &page, "").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(run(&center, &["node", "rename", "nobody", "Hall"]).status.code(), Some(1));
    assert!(listed(&center, &["audit", "--json"]).iter().all(|entry| entry["action"] == "codes created"));
    done(&center, &["appliance", "rename", &appliance_id, &"ü".repeat(200)]);
}

/// What an appliance gets for its key: to a heartbeat, a report, and a request for its configuration.
pub(crate) async fn answers(center: &Center, appliance_id: &str, bearer: &str) -> Vec<(StatusCode, Value)> {
    let bearer = [("authorization", bearer)];
    let report = json!({ "appliance_id": appliance_id, "status": "active" });
    vec![
        center.post("/api/provision/heartbeat", &bearer, &json!({ "mac_address": FIRST })).await,
        center.post("/api/provision/status", &bearer, &report).await,
        center.get(&format!("/api/provision/config/{appliance_id}"), &bearer).await,
    ]
}

/// The states of the devices that are listed for a state.
fn states(center: &Center, kind: &str, state: &str) -> Vec<String> {
    listed(center, &[kind, "list", "--json", "--state", state]).iter().map(|entry| text(entry, "state")).collect()
}

async fn a_deactivated_device_is_refused_until_it_is_activated(center: Center) {
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    let node = center.node().await;
    let node_id = node.split(':').next().unwrap();
    let is_accepted = async || {
        let answers = answers(&center, &appliance_id, &bearer).await;
        assert!(answers.windows(2).all(|pair| pair[0].0 == pair[1].0), "{answers:?}");
        (answers[0].0 == StatusCode::OK, center.heartbeat(&node).await.0 == StatusCode::OK)
    };
    assert_eq!(is_accepted().await, (true, true));
    let operator = center.operator().await;
    for (kind, id) in [("appliance", appliance_id.as_str()), ("node", node_id)] {
        for _ in 0..2 {
            done(&center, &[kind, "deactivate", id]);
        }
        assert_eq!(newest(&center), [format!("{kind} deactivated").as_str(), id, ""]);
        let page = format!("/{kind}s/{id}");
        let shown = page_at(&center, &page).await;
        assert!(shown.contains("/activate\">Activate</a>") && !shown.contains("/deactivate\">"), "{shown}");
        operator.find_silent().await.unwrap();
        assert_eq!(states(&center, kind, "deactivated"), ["deactivated"]);
        assert!(["online", "silent", "new", "revoked"].iter().all(|state| states(&center, kind, state).is_empty()));
    }
    assert_eq!(is_accepted().await, (false, false));
    let unknown =
        center.post("/api/provision/heartbeat", &[("authorization", "Bearer x")], &json!({ "mac_address": FIRST })).await;
    assert!(answers(&center, &appliance_id, &bearer).await.iter().all(|answer| *answer == unknown));
    let expected = Counts { deactivated: 1, ..Counts::default() };
    let counted = (operator.count_appliances().await.unwrap(), operator.count_nodes().await.unwrap());
    assert_eq!(counted, (expected, expected));
    for (kind, id) in [("appliance", appliance_id.as_str()), ("node", node_id)] {
        act(&center, &format!("/{kind}s/{id}"), "activate", "").await;
        assert_eq!(newest(&center), [format!("{kind} activated").as_str(), id, ""]);
    }
    assert_eq!(is_accepted().await, (true, true));
    for (kind, id) in [("appliance", appliance_id.as_str()), ("node", node_id)] {
        let (_, shown) = center.get(&format!("/api/v0/admin/fleet/{kind}s/{id}"), &[("x-api-key", ADMIN_KEY)]).await;
        assert_eq!(shown["state"], "online");
        let events = shown["events"].as_array().unwrap().iter().map(|event| text(event, "event"));
        assert_eq!(events.filter(|event| event.ends_with("activated")).collect::<Vec<_>>(), ["activated", "deactivated"]);
        assert_eq!(recorded(&center, kind, id), 2);
    }
}

async fn what_is_revoked_stays_revoked(center: Center) {
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    for change in ["deactivate", "revoke"] {
        done(&center, &["appliance", change, &appliance_id]);
    }
    for change in ["deactivate", "activate"] {
        let output = run(&center, &["appliance", change, &appliance_id]);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("has been revoked, which cannot be undone"));
        let answer = submit(&center, &format!("/appliances/{appliance_id}/{change}"), "").await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert!(answer.text().await.unwrap().contains("role=\"alert\">its key has been revoked"));
    }
    assert_eq!(newest(&center)[0], "appliance revoked");
    assert_eq!(heartbeat(&center, &bearer).await, StatusCode::UNAUTHORIZED);
    assert_eq!(run(&center, &["node", "deactivate", "nobody"]).status.code(), Some(1));
    // It may start over, and is as any other then.
    let (_, bearer) = center.appliance(FIRST).await;
    assert_eq!(heartbeat(&center, &bearer).await, StatusCode::OK);
    done(&center, &["appliance", "deactivate", &appliance_id]);
    let (_, bearer) = center.appliance(FIRST).await;
    assert_eq!(heartbeat(&center, &bearer).await, StatusCode::OK);
    done(&center, &["appliance", "revoke", &appliance_id]);
    assert_eq!(run(&center, &["appliance", "activate", &appliance_id]).status.code(), Some(1));
}

async fn an_owner_who_removes_a_deactivated_node_does_so_for_good(center: Center) {
    let node = center.node().await;
    let node_id = node.split(':').next().unwrap();
    done(&center, &["node", "deactivate", node_id]);
    let bearer = center.bearer(&["home"]);
    let remove = center.request(Method::DELETE, &format!("/api/v0/admin/nodes/{node_id}")).header("authorization", bearer);
    assert_eq!(remove.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(run(&center, &["node", "activate", node_id]).status.code(), Some(1));
    assert_eq!(center.heartbeat(&node).await.0, StatusCode::UNAUTHORIZED);
}
