//! Lists of the fleet: filters, orders, pages, states and exports.

use std::collections::BTreeSet;
use std::time::Duration;

use command_center::Database;
use command_center::audit::Actor;
use command_center::fleet::{ApplianceEntry, Counts, Filter, Order, Query, State};
use command_center::operator::KeyChange;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::page::page_at;
use crate::support::{self, ADMIN_KEY, Center, on_both_databases, text};

const ADMIN: (&str, &str) = ("x-api-key", ADMIN_KEY);

on_both_databases!(
    every_filter_leaves_the_devices_that_fit,
    every_order_is_complete_and_free_of_repetitions_over_its_pages,
    a_rare_device_is_found_behind_many_others,
    a_device_is_silent_after_fifteen_minutes_until_it_is_heard_of,
    a_silent_device_changes_once,
    a_list_of_nodes_has_its_own_filters,
    counts_that_were_shown_are_counted_again,
    an_export_has_every_device_and_no_formula,
    what_is_no_query_is_refused,
);

/// Appliances `0`, `1` … at their sites; each reports its host name in a heartbeat.
async fn appliances(center: &Center, sites: &[&str]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (number, site) in sites.iter().enumerate() {
        let code = center.codes(Some(site), 1).await.remove(0);
        let (status, claimed) = center.claim(&code, &address(number)).await;
        assert_eq!(status, StatusCode::OK, "{claimed}");
        all.push((text(&claimed, "appliance_id"), format!("Bearer {}", text(&claimed, "api_key"))));
    }
    all
}

fn address(number: usize) -> String {
    format!("02:00:00:00:00:{number:02X}")
}

async fn beat(center: &Center, number: usize, bearer: &str, hostname: &str) {
    let body = json!({ "mac_address": address(number), "hostname": hostname });
    let (status, answer) = center.post("/api/provision/heartbeat", &[("authorization", bearer)], &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

/// The addresses of the appliances of a list, by their last digits.
async fn found(center: &Center, filter: Filter, order: Order) -> Vec<String> {
    let query = Query { filter, order, ..Query::default() };
    let operator = center.operator().await;
    let page = operator.appliances(&query).await.unwrap();
    operator.close().await;
    assert_eq!(page.next, None);
    page.entries.iter().map(|entry| entry.mac_address[15..].to_owned()).collect()
}

async fn every_filter_leaves_the_devices_that_fit(center: Center) {
    let all = appliances(&center, &["North", "North", "South"]).await;
    beat(&center, 0, &all[0].1, "Kiosk-1").await;
    let status = json!({ "appliance_id": all[1].0, "status": "testing" });
    center.post("/api/provision/status", &[("authorization", &all[1].1)], &status).await;
    let operator = center.operator().await;
    operator.acting(Actor::at_the_command_line()).change_appliance_key(&all[2].0, KeyChange::Revoke).await.unwrap();
    operator.find_silent().await.unwrap();
    let entries = operator.appliances(&Query::default()).await.unwrap().entries;
    let site = |number: &str| entries.iter().find(|entry| entry.mac_address.ends_with(number)).unwrap().site_id.clone();
    let none = Filter::default;
    let owned = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (none(), vec!["00", "01", "02"]),
        (Filter { place: Some(site("00")), ..none() }, vec!["00", "01"]),
        (Filter { place: owned("north"), ..none() }, vec![]),
        (Filter { partner: owned("default"), ..none() }, vec!["00", "01", "02"]),
        (Filter { partner: owned("another"), ..none() }, vec![]),
        (Filter { status: owned("testing"), ..none() }, vec!["01"]),
        (Filter { version: owned("1.0.0"), ..none() }, vec![]),
        (Filter { state: Some(State::Online), ..none() }, vec!["00", "01"]),
        (Filter { state: Some(State::Revoked), ..none() }, vec!["02"]),
        (Filter { state: Some(State::Silent), ..none() }, vec![]),
        (Filter { state: Some(State::Online), status: owned("claimed"), ..none() }, vec!["00"]),
        (Filter { seen_within: Some(Duration::from_hours(1)), ..none() }, vec!["00", "01"]),
        (Filter { text: owned("kIOSK"), ..none() }, vec!["00"]),
        (Filter { text: owned("02:00:00:00:00:01"), ..none() }, vec!["01"]),
        (Filter { text: owned("020000000001"), ..none() }, vec!["01"]),
        (Filter { text: owned("NORTH-"), ..none() }, vec!["00", "01"]),
        (Filter { text: owned("%"), ..none() }, vec![]),
    ] {
        assert_eq!(found(&center, filter.clone(), Order::Oldest).await, expected, "{filter:?}");
    }
}

/// Inserts many appliances of one site directly; every one of a hundred reports `failed`.
fn insert(center: &Center, count: usize) {
    let fill = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO provision_codes (code_hash, code_id, partner, created_at, expires_at, claimed_at, claimed_by)
         SELECT 'filler' || i, 'filler' || i, 'default', 0, 0, 0, 'filler' FROM n;
         INSERT INTO sites (site_id, name, partner, created_at) VALUES ('filler', 'Filler', 'default', 0);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO appliances (appliance_id, site_id, code_hash, key_hash, mac_address, claimed_at, status, progress_percent,
                                 silent_since)
         SELECT 'filler-' || (i * 7919 % {count}), 'filler', 'filler' || i, 'filler' || i, '04:00', i,
                CASE WHEN i % 100 = 0 THEN 'failed' ELSE 'active' END, 0, 1 + i % 1000 FROM n;
         INSERT INTO appliance_presence (number, last_seen) SELECT number, silent_since FROM appliances WHERE silent_since > 0;"
    );
    match &center.config.database {
        Database::Sqlite(path) => rusqlite::Connection::open(path).unwrap().execute_batch(&fill).unwrap(),
        Database::Postgres(_) => support::postgres::run_sql(&center.config.database, &fill),
    }
}

async fn all_pages(center: &Center, mut query: Query) -> Vec<ApplianceEntry> {
    let operator = center.operator().await;
    let mut all = Vec::new();
    loop {
        let page = operator.appliances(&query).await.unwrap();
        all.extend(page.entries);
        if page.next.is_none() {
            operator.close().await;
            return all;
        }
        query.after = page.next;
    }
}

async fn every_order_is_complete_and_free_of_repetitions_over_its_pages(center: Center) {
    insert(&center, 5000);
    let failed = Filter { status: Some("failed".into()), ..Filter::default() };
    let silent = Filter { state: Some(State::Silent), ..Filter::default() };
    for order in Order::ALL {
        for (filter, count) in [(Filter::default(), 5000), (failed.clone(), 50), (silent.clone(), 5000)] {
            let limit = if count > 100 { 700 } else { 7 };
            let list = all_pages(&center, Query { filter, order, limit, ..Query::default() }).await;
            let ids = list.iter().map(|entry| entry.appliance_id.as_str()).collect::<Vec<_>>();
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), count, "{order:?}");
            assert_eq!(ids.len(), count, "{order:?}");
            let key = |entry: &ApplianceEntry| match order {
                Order::Newest | Order::Oldest => entry.claimed_at.clone(),
                Order::Id | Order::IdBackwards => entry.appliance_id.clone(),
                Order::LastSeen | Order::LongestSilent => entry.last_seen.clone().unwrap(),
            };
            let keys = list.iter().map(key).collect::<Vec<_>>();
            let is_ascending = matches!(order, Order::Oldest | Order::Id | Order::LongestSilent);
            let in_order = |pair: &[String]| if is_ascending { pair[0] <= pair[1] } else { pair[0] >= pair[1] };
            assert!(keys.windows(2).all(in_order), "{order:?}");
        }
    }
}

async fn a_rare_device_is_found_behind_many_others(center: Center) {
    insert(&center, 25_000);
    // Both filters leave many, and both together one device, which is the last in the order.
    let status = "UPDATE appliances SET status = CASE WHEN number <= 2500 THEN 'rare' ELSE 'active' END, \
                  partner = CASE WHEN number > 2500 OR number = 1 THEN 'default' ELSE 'another' END";
    match &center.config.database {
        Database::Sqlite(path) => rusqlite::Connection::open(path).unwrap().execute_batch(status).unwrap(),
        Database::Postgres(_) => support::postgres::run_sql(&center.config.database, status),
    }
    let filter = Filter { status: Some("rare".into()), partner: Some("default".into()), ..Filter::default() };
    for order in Order::ALL {
        let list = all_pages(&center, Query { filter: filter.clone(), order, limit: 5, ..Query::default() }).await;
        assert_eq!(list.len(), 1, "{order:?}");
    }
    let unfinished = page_at(&center, "/appliances?status=rare&partner=default&order=id").await;
    assert!(unfinished.contains("None found so far") && unfinished.contains(">Continue the search</a>"), "{unfinished}");
    let full = page_at(&center, "/appliances?status=rare").await;
    assert!(!full.contains("so far") && full.contains(">Next page</a>"), "{full}");
}

async fn a_device_is_silent_after_fifteen_minutes_until_it_is_heard_of(center: Center) {
    let all = appliances(&center, &["North", "North"]).await;
    beat(&center, 0, &all[0].1, "a").await;
    let operator = center.operator().await;
    let count = async || {
        operator.find_silent().await.unwrap();
        operator.count_appliances().await.unwrap()
    };
    assert_eq!(count().await, Counts { online: 1, silent: 0, new: 1, ..Counts::default() });
    center.clock.advance(Duration::from_mins(16));
    assert_eq!(count().await, Counts { online: 0, silent: 1, new: 1, ..Counts::default() });
    let silent = |minutes| Filter { silent_for: Some(Duration::from_mins(minutes)), ..Filter::default() };
    assert_eq!(found(&center, silent(16), Order::Newest).await, ["00"]);
    assert_eq!(found(&center, silent(17), Order::Newest).await, Vec::<String>::new());
    beat(&center, 0, &all[0].1, "a").await;
    assert_eq!(count().await, Counts { online: 1, silent: 0, new: 1, ..Counts::default() });
    operator.acting(Actor::at_the_command_line()).change_appliance_key(&all[0].0, KeyChange::Revoke).await.unwrap();
    assert_eq!(count().await, Counts { new: 1, revoked: 1, ..Counts::default() });
}

/// The versions of the row of an appliance, on PostgreSQL: a change makes a new one in another place.
async fn a_silent_device_changes_once(center: Center) {
    let all = appliances(&center, &["North"]).await;
    beat(&center, 0, &all[0].1, "a").await;
    let operator = center.operator().await;
    operator.find_silent().await.unwrap();
    let url = match &center.config.database {
        Database::Sqlite(_) => return,
        Database::Postgres(url) => url.clone(),
    };
    let place = || {
        let dump = support::postgres::rows(&url, "SELECT ctid, xmin FROM appliances");
        assert!(!dump.is_empty());
        dump
    };
    let before = place();
    for _ in 0..3 {
        center.clock.advance(Duration::from_mins(10));
        beat(&center, 0, &all[0].1, "a").await;
        operator.find_silent().await.unwrap();
    }
    assert_eq!(place(), before);
    center.clock.advance(Duration::from_mins(20));
    operator.find_silent().await.unwrap();
    let silent = place();
    assert_ne!(silent, before);
    operator.find_silent().await.unwrap();
    assert_eq!(place(), silent);
}

async fn a_list_of_nodes_has_its_own_filters(center: Center) {
    let node = center.node().await;
    let other = center.node().await;
    let report = json!({ "version_info": { "version": "2.0.0" } });
    center.post("/api/v0/admin/nodes/heartbeat", &[("x-api-key", &node)], &report).await;
    let id = node.split(':').next().unwrap();
    let path = format!("/api/v0/admin/nodes/{id}");
    let named = center.request(Method::PATCH, &path).header(ADMIN.0, ADMIN.1).json(&json!({ "name": "Attic" }));
    assert!(named.send().await.unwrap().status().is_success());
    let operator = center.operator().await;
    operator.find_silent().await.unwrap();
    let other = other.split(':').next().unwrap();
    let both = vec![id, other];
    for (query, expected) in [
        ("order=oldest", both.clone()),
        ("household=home&order=oldest", both),
        ("household=next", vec![]),
        ("version=2.0.0", vec![id]),
        ("state=online", vec![id]),
        ("state=new", vec![other]),
        ("text=att", vec![id]),
        (&format!("text={}", &other[..20]), vec![other]),
        ("state=&version=&text=&after=&order=oldest&limit=1", vec![id]),
    ] {
        let (status, page) = center.get(&format!("/api/v0/admin/fleet/nodes?{query}"), &[ADMIN]).await;
        assert_eq!(status, StatusCode::OK, "{query}: {page}");
        let found = page["nodes"].as_array().unwrap().iter().map(|node| node["node_id"].as_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(found, expected, "{query}");
    }
    let (_, counts) = center.get("/api/v0/admin/fleet", &[ADMIN]).await;
    assert_eq!(counts["nodes"], json!({ "online": 1, "silent": 0, "new": 1, "deactivated": 0, "released": 0, "revoked": 0 }));
}

async fn counts_that_were_shown_are_counted_again(center: Center) {
    let new = async || {
        let (_, counts) = center.get("/api/v0/admin/fleet", &[ADMIN]).await;
        counts["nodes"]["new"].as_i64().unwrap()
    };
    center.node().await;
    assert_eq!(new().await, 1);
    center.node().await;
    // The clock stands still, so no request counts.
    let counted = async { while new().await < 2 {} };
    tokio::time::timeout(Duration::from_secs(30), counted).await.expect("the server counts by itself");
}

async fn an_export_has_every_device_and_no_formula(center: Center) {
    insert(&center, 2500);
    let all = appliances(&center, &["North, \"Clinic\""]).await;
    beat(&center, 0, &all[0].1, "=HYPERLINK(\"http://evil\")").await;
    let export = async |file: &str| {
        let request = center.request(Method::GET, &format!("/api/v0/admin/fleet/export/{file}")).header(ADMIN.0, ADMIN.1);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.text().await.unwrap()
    };
    let csv = export("appliances.csv").await;
    let lines = csv.split_terminator("\r\n").collect::<Vec<_>>();
    assert_eq!(lines.len(), 2502);
    assert!(lines[0].starts_with("appliance_id,site_id,site,"));
    assert!(lines[1].contains(",\"North, \"\"Clinic\"\"\","), "{}", lines[1]);
    assert!(lines[1].contains(",\"'=HYPERLINK(\"\"http://evil\"\")\","), "{}", lines[1]);
    let json = export("appliances.jsonl").await;
    let entries = json.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    assert_eq!(entries.len(), 2501);
    assert_eq!(entries[0]["hostname"], "=HYPERLINK(\"http://evil\")");
    assert_eq!(export("appliances.csv?status=failed").await.lines().count(), 26);
}

async fn what_is_no_query_is_refused(center: Center) {
    for query in [
        "state=gone",
        "order=random",
        "seen_within=soon",
        "limit=0",
        "limit=1001",
        "after=x",
        "after=1~a",
        "text=a%00b",
        "version=1",
    ] {
        let (status, answer) = center.get(&format!("/api/v0/admin/fleet/appliances?{query}"), &[ADMIN]).await;
        assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("validation_error")), "{query}: {answer}");
        let page =
            center.request(Method::GET, &format!("/appliances?{query}")).basic_auth("", Some(ADMIN_KEY)).send().await.unwrap();
        assert_eq!(page.status(), StatusCode::BAD_REQUEST, "{query}");
    }
    assert_eq!(center.get("/api/v0/admin/fleet/export/secrets.csv", &[ADMIN]).await.0, StatusCode::NOT_FOUND);
    // A mistake is found before the answer begins.
    let wrong = center.get("/api/v0/admin/fleet/export/nodes.jsonl?after=x", &[ADMIN]).await;
    assert_eq!(wrong.0, StatusCode::BAD_REQUEST);
}
