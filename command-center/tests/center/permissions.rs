//! Every action of operators, tried by every role on what is its own and on what is another tenant's.

use std::collections::BTreeMap;
use std::time::Duration;

use command_center::audit::Actor;
use command_center::operator::{NewCodes, Partner};
use command_center::permissions::{Role, Tenant};
use reqwest::header::{CONTENT_TYPE, COOKIE, ORIGIN};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::operators::{add, browser, sign_in};
use crate::routes::{fits, routes};
use crate::support::{Center, on_both_databases, text};

on_both_databases!(
    every_action_is_allowed_to_its_roles_and_in_their_scope_only,
    what_is_of_another_tenant_is_in_no_list_count_or_export,
    an_installer_creates_codes_for_the_own_tenant_only,
);

/// What an operator gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// It is done, or refused for another reason than the operator's rights.
    Done,
    /// The same as for a device that does not exist.
    Unknown,
    /// 403.
    Refused,
}

use Answer::{Done, Refused, Unknown};

/// Who asks, by their names.
const VIEWER: &str = "viewer";
const OF_PARTNER: &str = "installer of the partner";
const OF_SITE: &str = "installer of the site";
const ADMINISTRATOR: &str = "administrator";

/// What each role gets for a route: the viewer, installers, and the administrator. Installers get [`Unknown`] for another tenant's
/// device where they get [`Done`] for their own. For all routes that are not here a session is no credential.
const TABLE: &[(&str, &str, [Answer; 3])] = &[
    ("GET", "/", [Done, Done, Done]),
    ("GET", "/appliances", [Done, Done, Done]),
    ("GET", "/nodes", [Done, Done, Done]),
    ("GET", "/api/v0/admin/audit", [Refused, Refused, Done]),
    ("GET", "/api/v0/admin/fleet", [Done, Done, Done]),
    ("GET", "/api/v0/admin/fleet/appliances", [Done, Done, Done]),
    ("GET", "/api/v0/admin/fleet/nodes", [Done, Done, Done]),
    ("GET", "/api/v0/admin/fleet/export/nodes.csv", [Done, Done, Done]),
    ("GET", "/api/v0/admin/fleet/appliances/APPLIANCE", [Done, Done, Done]),
    ("GET", "/api/v0/admin/fleet/appliances/APPLIANCE/live", [Done, Done, Done]),
    ("GET", "/api/v0/admin/fleet/nodes/NODE", [Done, Unknown, Done]),
    ("GET", "/api/v0/admin/fleet/nodes/NODE/live", [Done, Unknown, Done]),
    ("GET", "/appliances/APPLIANCE", [Done, Done, Done]),
    ("GET", "/nodes/NODE", [Done, Unknown, Done]),
    ("POST", "/codes", [Refused, Done, Done]),
    ("GET", "/codes/revoke", [Refused, Refused, Done]),
    ("POST", "/codes/revoke", [Refused, Refused, Done]),
    // A sign-out, after which a session is none, has tests of its own.
    ("POST", "/sign-out", [Done, Done, Done]),
];

/// What can be done to a device, with the roles that may.
const ACTIONS: &[(&str, [Answer; 3])] = &[
    ("rename", [Refused, Done, Done]),
    ("deactivate", [Refused, Done, Done]),
    ("activate", [Refused, Done, Done]),
    ("hand-over", [Refused, Refused, Done]),
    ("take-back", [Refused, Refused, Done]),
    ("revoke", [Refused, Refused, Done]),
];

/// The table with the actions in it.
fn table() -> Vec<(Method, String, [Answer; 3])> {
    let rows = TABLE.iter().map(|(method, path, answers)| (method.parse().unwrap(), (*path).to_owned(), *answers));
    let actions = ACTIONS.iter().flat_map(|(action, answers)| {
        let installer = if answers[1] == Done { Unknown } else { answers[1] };
        let on_nodes = [answers[0], installer, answers[2]];
        let has_node = !matches!(*action, "hand-over" | "take-back");
        let on_nodes = has_node.then(|| (format!("/nodes/NODE/{action}"), on_nodes));
        let on_both = [(format!("/appliances/APPLIANCE/{action}"), *answers)].into_iter().chain(on_nodes);
        on_both.flat_map(|(path, answers)| [Method::GET, Method::POST].map(|method| (method, path.clone(), answers)))
    });
    rows.chain(actions).collect()
}

/// The routes of pages, from the source: only those of the API are in the OpenAPI document.
fn page_routes() -> Vec<(Method, String)> {
    let source = include_str!("../../src/api.rs");
    let pages = source.split("fn pages()").nth(1).unwrap().split("\n}\n").next().unwrap();
    let mut found = Vec::new();
    for route in pages.split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap();
        for (call, method) in [("get(", Method::GET), ("post(", Method::POST), ("put(", Method::PUT), ("delete(", Method::DELETE)]
        {
            if route.contains(call) {
                found.push((method, path.to_owned()));
            }
        }
    }
    found
}

/// The routes of the API for operators, from the OpenAPI document.
fn operators_routes() -> Vec<(Method, String)> {
    let description: Value = serde_json::from_str(&command_center::openapi()).unwrap();
    let routes = description["paths"].as_object().unwrap().iter().flat_map(|(path, operations)| {
        let operations = operations.as_object().unwrap().iter();
        let of_operators = operations.filter(|(_, operation)| {
            operation["security"].as_array().is_some_and(|all| all.iter().any(|one| one.get("operator").is_some()))
        });
        of_operators.map(|(method, _)| (method.to_uppercase().parse().unwrap(), path.clone()))
    });
    let routes: Vec<_> = routes.collect();
    assert!(routes.len() > 5, "{routes:?}");
    routes
}

#[test]
fn every_page_and_every_action_has_its_row() {
    let pages = page_routes();
    assert!(pages.len() > 10, "{pages:?}");
    let known = routes("node", "appliance");
    let table = table();
    for (method, template) in pages {
        let path = |path: &str| fits(path.split('?').next().unwrap(), &template);
        assert!(
            known.iter().any(|(other, known, ..)| *other == method && path(known)),
            "add {method} {template} to `routes`, and think about who may use it"
        );
        // Nobody has to be signed in to sign in.
        let is_open = matches!(template.as_str(), "/sign-in" | "/administrator");
        let has_row = table.iter().any(|(other, known, _)| *other == method && path(known));
        assert!(has_row != is_open, "add a row for {method} {template}, and think about which roles may use it");
    }
    for (method, template) in operators_routes() {
        let has_row = table.iter().any(|(other, path, _)| *other == method && fits(path, &template));
        assert!(has_row, "add a row for {method} {template}, and think about which roles may use it");
    }
    let source = include_str!("../../src/api/page/action.rs");
    let count = source.split("const ALL: [Self; ").nth(1).unwrap().split(']').next().unwrap();
    assert_eq!(count.parse(), Ok(ACTIONS.len()), "add a row for each action");
}

/// Two tenants with an appliance each, and an operator of each role; the installers are of the first tenant.
struct Fleet {
    own: Appliance,
    foreign: Appliance,
    node: String,
    sessions: BTreeMap<&'static str, String>,
}

struct Appliance {
    id: String,
    site: String,
    code: String,
}

async fn appliance(center: &Center, partner: &str, address: &str) -> Appliance {
    let operator = center.operator().await;
    let acting = operator.acting(Actor::at_the_command_line());
    let slug = partner.to_owned();
    let added = Partner { slug, brand_name: partner.into(), primary_color: "#000000".into(), logo_url: None };
    acting.add_partner(added).await.unwrap();
    let site = Some(format!("Clinic of {partner}"));
    let wanted = NewCodes { site, partner: partner.into(), expires_in: Duration::from_hours(24), count: 2 };
    let codes = acting.create_codes(&wanted, |_| {}).await.unwrap();
    operator.close().await;
    let (status, claimed) = center.claim(codes[0].code.expose(), address).await;
    assert_eq!(status, StatusCode::OK);
    Appliance { id: text(&claimed, "appliance_id"), site: text(&claimed, "site_id"), code: codes[1].id.clone() }
}

impl Fleet {
    async fn new(center: &Center) -> Self {
        let own = appliance(center, "north", "84:3A:5B:91:B6:61").await;
        let foreign = appliance(center, "south", "84:3A:5B:91:B6:62").await;
        let node = center.node().await.split(':').next().unwrap().to_owned();
        let mut sessions = BTreeMap::new();
        for (name, role) in [
            (VIEWER, Role::Viewer),
            (OF_PARTNER, Role::Installer(Tenant::Partner("north".into()))),
            (OF_SITE, Role::Installer(Tenant::Site(own.site.clone()))),
            (ADMINISTRATOR, Role::Administrator),
        ] {
            // The name of the key in the audit is nobody else's.
            let account = format!("the {name}");
            add(center, &account, role).await;
            sessions.insert(name, sign_in(center, &account).await);
        }
        Self { own, foreign, node, sessions }
    }
}

/// Sends a request as a browser does; the status, and the page unless it does not end.
async fn send(center: &Center, method: &Method, path: &str, form: &str, cookie: Option<&str>) -> (StatusCode, String) {
    let mut request = browser().request(method.clone(), center.url(path));
    if let Some(cookie) = cookie {
        request = request.header(COOKIE, cookie);
    }
    if method != Method::GET {
        request = request.header(ORIGIN, center.url("")).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        request = request.body(form.to_owned());
    }
    let response = request.send().await.unwrap();
    let status = response.status();
    let is_endless = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    (status, if is_endless { String::new() } else { response.text().await.unwrap() })
}

async fn every_action_is_allowed_to_its_roles_and_in_their_scope_only(center: Center) {
    let fleet = Fleet::new(&center).await;
    for (method, path, answers) in table() {
        for (who, session) in &fleet.sessions {
            let answer = answers[match *who {
                VIEWER => 0,
                ADMINISTRATOR => 2,
                _ => 1,
            }];
            let form = match path.as_str() {
                "/codes" => "partner=north&days=1&count=1".to_owned(),
                "/codes/revoke" => format!("id={}", fleet.own.code),
                _ => "name=Hall".to_owned(),
            };
            let at = |appliance: &str, node: &str| {
                let path = path.replace("APPLIANCE", appliance).replace("NODE", node);
                if path == "/codes/revoke" { format!("{path}?{form}") } else { path }
            };
            if path == "/sign-out" {
                continue;
            }
            let unknown = send(&center, &method, &at("unknown", "unknown"), &form, Some(session)).await;
            let own = send(&center, &method, &at(&fleet.own.id, &fleet.node), &form, Some(session)).await;
            let foreign = send(&center, &method, &at(&fleet.foreign.id, &fleet.node), &form, Some(session)).await;
            let is_scoped = path.contains("APPLIANCE") && matches!(*who, OF_PARTNER | OF_SITE);
            let expected_foreign = if is_scoped && answer == Done { Unknown } else { answer };
            for (got, expected, whose) in [(own, answer, "own"), (foreign, expected_foreign, "foreign")] {
                let line = format!("{method} {path} on {whose} as {who}: {}", got.0);
                match expected {
                    Done => {
                        let is_other_reason = matches!(got.0, StatusCode::SEE_OTHER | StatusCode::BAD_REQUEST);
                        assert!(got.0.is_success() || is_other_reason, "{line}");
                    }
                    Unknown => assert!(got.0 == StatusCode::NOT_FOUND && got == unknown, "{line}"),
                    Refused => assert!(got.0 == StatusCode::FORBIDDEN && got == unknown, "{line}"),
                }
            }
        }
    }
    // Everywhere else a session is no credential.
    let table = table();
    for (method, path, body, _) in routes(&fleet.node, &fleet.own.id) {
        let bare = path.split('?').next().unwrap();
        let row = |known: &str| {
            let names = [("APPLIANCE", fleet.own.id.as_str()), ("NODE", fleet.node.as_str())];
            names.iter().any(|(place, id)| known.replace(place, id) == bare || known.replace(place, "unknown") == bare)
        };
        if table.iter().any(|(other, known, _)| *other == method && row(known)) {
            continue;
        }
        let ask = async |cookie: Option<&String>| {
            let mut request = browser().request(method.clone(), center.url(&path));
            if let Some(cookie) = cookie {
                request = request.header(COOKIE, cookie);
            }
            if !body.is_null() {
                request = request.json(&body);
            }
            request.send().await.unwrap().status()
        };
        let without = ask(None).await;
        for (who, session) in &fleet.sessions {
            assert_eq!(ask(Some(session)).await, without, "{method} {path} as {who}");
        }
    }
}

async fn what_is_of_another_tenant_is_in_no_list_count_or_export(center: Center) {
    let fleet = Fleet::new(&center).await;
    let operator = center.operator().await;
    operator.find_silent().await.unwrap();
    let read = async |who: &str, path: &str| {
        let (status, text) = send(&center, &Method::GET, path, "", Some(&fleet.sessions[who])).await;
        assert_eq!(status, StatusCode::OK, "{path} as {who}");
        text
    };
    let fleet_api = "/api/v0/admin/fleet";
    for who in [OF_PARTNER, OF_SITE] {
        for (path, sees_own) in [
            ("/".to_owned(), true),
            ("/appliances".to_owned(), true),
            ("/appliances?order=id".to_owned(), true),
            ("/appliances?state=new".to_owned(), true),
            (format!("/appliances?site={}", fleet.foreign.site), false),
            ("/appliances?partner=south".to_owned(), false),
            ("/appliances?text=84:3A".to_owned(), true),
            (format!("{fleet_api}/appliances?order=longest-silent"), true),
            (format!("{fleet_api}/export/appliances.csv"), true),
            (format!("{fleet_api}/export/appliances.jsonl"), true),
            ("/nodes".to_owned(), false),
            (format!("{fleet_api}/nodes?household=home"), false),
            (format!("{fleet_api}/export/nodes.csv"), false),
            (format!("{fleet_api}/export/nodes.jsonl"), false),
        ] {
            let shown = read(who, &path).await;
            // What was typed into the form is shown in the form.
            let filters = path.split_once('?').map_or("", |(_, query)| query);
            for foreign in [&fleet.foreign.id, &fleet.foreign.code, &fleet.node, "Clinic of south"] {
                assert!(!shown.contains(foreign), "{foreign} at {path} as {who}");
            }
            assert!(filters.contains("south") || !shown.contains("south"), "{path} as {who}");
            assert_eq!(shown.contains(&fleet.own.id), sees_own, "{path} as {who}");
        }
        let counts: Value = serde_json::from_str(&read(who, fleet_api).await).unwrap();
        assert_eq!((counts["appliances"]["new"].as_i64(), counts["nodes"]["new"].as_i64()), (Some(1), Some(0)));
        assert!(read(who, "/appliances").await.contains("<strong>1</strong> all"));
        let page = read(who, "/").await;
        assert!(page.contains(&fleet.own.code) && !page.contains("Newest actions") && !page.contains("href=\"/nodes\""));
    }
    for who in [VIEWER, ADMINISTRATOR] {
        let shown = read(who, "/appliances").await + &read(who, "/").await + &read(who, "/nodes").await;
        for seen in [&fleet.own.id, &fleet.foreign.id, &fleet.foreign.code, &fleet.node] {
            assert!(shown.contains(seen), "{seen} as {who}");
        }
        assert_eq!(shown.contains("Newest actions"), who == ADMINISTRATOR);
        let counts: Value = serde_json::from_str(&read(who, fleet_api).await).unwrap();
        assert_eq!((counts["appliances"]["new"].as_i64(), counts["nodes"]["new"].as_i64()), (Some(2), Some(1)));
    }
    // Only what the operator may do is offered.
    let device = format!("/appliances/{}", fleet.own.id);
    for (who, offered) in [(VIEWER, 0), (OF_PARTNER, 2), (OF_SITE, 2), (ADMINISTRATOR, 4)] {
        let page = read(who, &device).await;
        let actions = ["/rename\"", "/deactivate\"", "/hand-over\"", "/revoke\""];
        assert_eq!(actions.iter().filter(|action| page.contains(**action)).count(), offered, "{who}");
    }
}

async fn an_installer_creates_codes_for_the_own_tenant_only(center: Center) {
    let fleet = Fleet::new(&center).await;
    let create = async |who: &str, site: &str, partner: &str| {
        let form = format!("site={}&partner={partner}&days=1&count=1", site.replace(' ', "+"));
        send(&center, &Method::POST, "/codes", &form, Some(&fleet.sessions[who])).await
    };
    for (who, site, partner) in [
        (OF_PARTNER, "", "south"),
        (OF_PARTNER, "Clinic of south", "south"),
        (OF_SITE, "", "south"),
        (OF_SITE, "Another clinic", "north"),
        (OF_SITE, "Clinic of south", "south"),
    ] {
        let (status, page) = create(who, site, partner).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{who} {site} {partner}");
        assert!(page.contains(&format!("there is no partner `{partner}`")) && !page.contains("New codes"), "{page}");
        let unknown = create(who, site, "nobody").await.1;
        assert_eq!(page.replace(&format!("`{partner}`"), "`nobody`"), unknown, "as if it did not exist");
    }
    let sites = async || center.operator().await.codes(None).await.unwrap().into_iter().map(|code| code.site);
    assert_eq!(sites().await.count(), 4);
    for (who, site, expected) in
        [(OF_PARTNER, "", None), (OF_PARTNER, "Another clinic", Some("Another clinic")), (OF_SITE, "", Some("Clinic of north"))]
    {
        // Codes are listed in the order of their age.
        center.clock.advance(Duration::from_secs(1));
        let (status, page) = create(who, site, "north").await;
        assert!(status == StatusCode::OK && page.contains("New codes"), "{who} {site}");
        assert_eq!(sites().await.next_back().unwrap().as_deref(), expected, "{who} {site}");
    }
}
