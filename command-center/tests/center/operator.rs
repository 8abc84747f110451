//! The operator's command line, beside a running server.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use command_center::Database;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{self, Center, on_both_databases, text};

const FIRST: &str = "84:3A:5B:91:B6:61";

on_both_databases!(
    a_code_from_the_command_line_can_be_claimed,
    codes_are_listed_with_their_state,
    a_code_is_revoked_by_its_id_or_by_itself,
    a_claimed_code_is_not_revoked,
    each_code_is_drawn_as_a_qr_code_that_only_its_owner_can_read,
    a_partner_is_added_once_and_shown_to_its_appliances,
    an_invalid_command_is_reported_with_its_exit_code,
    appliances_are_listed_and_their_keys_revoked,
    nodes_are_listed_with_their_last_heartbeat,
    a_nodes_key_is_revoked,
    a_list_longer_than_a_page_is_complete,
    a_backup_restores_keys_and_codes,
    a_backup_never_overwrites,
    neither_codes_nor_keys_are_in_the_database,
    actions_are_in_the_audit_and_what_changes_nothing_is_not,
);

/// The program, on the database of the server.
pub(crate) fn program(center: &Center, arguments: &[&str]) -> Command {
    let database = match &center.config.database {
        Database::Sqlite(path) => format!("sqlite:{}", path.display()),
        Database::Postgres(url) => url.to_string(),
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis-command-center"));
    command.env_clear().env("JARVIS_COMMAND_CENTER_DATABASE", database);
    command.arg("--secret-file").arg(center.config.secret_file.as_ref().unwrap());
    command.args(arguments).current_dir(center.place()).stdin(Stdio::null());
    command
}

pub(crate) fn run(center: &Center, arguments: &[&str]) -> Output {
    program(center, arguments).output().unwrap()
}

pub(crate) fn done(center: &Center, arguments: &[&str]) -> String {
    let output = run(center, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn listed(center: &Center, arguments: &[&str]) -> Vec<Value> {
    serde_json::from_str(&done(center, arguments)).unwrap()
}

async fn a_code_from_the_command_line_can_be_claimed(center: Center) {
    let made = done(&center, &["code", "create", "--site", "North Clinic"]);
    let lines = made.lines().collect::<Vec<_>>();
    assert!(lines[0].starts_with("CODE ") && lines[0].ends_with("EXPIRES"), "{made}");
    assert_eq!(lines.len(), 2);
    let code = lines[1].split_whitespace().next().unwrap();
    assert_eq!(code.len(), 19);
    assert_eq!(center.claim(code, FIRST).await.0, StatusCode::OK);
}

async fn codes_are_listed_with_their_state(center: Center) {
    let made = listed(&center, &["code", "create", "--count", "3", "--expires-in", "2d", "--json"]);
    assert_eq!(made.len(), 3);
    let (_, claimed) = center.claim(&text(&made[0], "code"), FIRST).await;
    done(&center, &["code", "revoke", &text(&made[1], "id")]);
    let list = listed(&center, &["code", "list", "--json"]);
    for (made, state) in made.iter().zip(["claimed", "revoked", "pending"]) {
        let entry = list.iter().find(|entry| entry["id"] == made["id"]).unwrap();
        assert_eq!(entry["state"], state);
        assert_eq!(entry["appliance_id"], if state == "claimed" { claimed["appliance_id"].clone() } else { Value::Null });
    }
    let pending = listed(&center, &["code", "list", "--json", "--state", "pending"]);
    assert_eq!(pending.len(), 1);
    let table = done(&center, &["code", "list"]);
    assert_eq!(table.lines().count(), 4);
    assert!(!table.contains(&text(&made[2], "code")), "a list never shows a code");
}

async fn a_code_is_revoked_by_its_id_or_by_itself(center: Center) {
    let made = listed(&center, &["code", "create", "--count", "2", "--json"]);
    done(&center, &["code", "revoke", &text(&made[0], "id")]);
    done(&center, &["code", "revoke", &text(&made[1], "code").to_lowercase()]);
    for made in made {
        assert_eq!(center.claim(&text(&made, "code"), FIRST).await.1["detail"], "Provision code is revoked");
    }
}

async fn a_claimed_code_is_not_revoked(center: Center) {
    let made = listed(&center, &["code", "create", "--json"]).remove(0);
    center.claim(&text(&made, "code"), FIRST).await;
    let output = run(&center, &["code", "revoke", &text(&made, "id")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("has been claimed by"));
}

async fn each_code_is_drawn_as_a_qr_code_that_only_its_owner_can_read(center: Center) {
    let made = listed(&center, &["code", "create", "--count", "2", "--qr", "labels", "--json"]);
    for made in &made {
        let path = center.place().join(text(made, "qr"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut reader = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let (width, height) = (info.width as usize, info.height as usize);
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| pixels[y * width + x]);
        let (_, content) = image.detect_grids()[0].decode().unwrap();
        assert_eq!(content, format!("osiris://{}", text(made, "code")));
    }
}

async fn a_partner_is_added_once_and_shown_to_its_appliances(center: Center) {
    let add = ["partner", "add", "nepa-it", "--name", "NEPA \"IT\" Solutions", "--color", "#123456"];
    done(&center, &add);
    done(&center, &add);
    let other = run(&center, &["partner", "add", "nepa-it", "--name", "Another"]);
    assert_eq!(other.status.code(), Some(1));
    let partners = listed(&center, &["partner", "list", "--json"]);
    assert_eq!(partners.iter().map(|partner| text(partner, "slug")).collect::<Vec<_>>(), ["default", "nepa-it"]);
    let made = listed(&center, &["code", "create", "--partner", "nepa-it", "--json"]).remove(0);
    let (_, claimed) = center.claim(&text(&made, "code"), FIRST).await;
    let expected =
        json!({ "slug": "nepa-it", "brand_name": "NEPA \"IT\" Solutions", "primary_color": "#123456", "logo_url": null });
    assert_eq!(claimed["partner"], expected);
}

async fn an_invalid_command_is_reported_with_its_exit_code(center: Center) {
    for (arguments, code, words) in [
        (vec!["code", "create", "--partner", "nobody"], 1, "there is no partner `nobody`"),
        (vec!["code", "revoke", "0123456789abcdef"], 1, "there is no such code"),
        (vec!["code", "create", "--expires-in", "tomorrow"], 2, "a number with s, m, h, d or w"),
        (vec!["code", "create", "--count", "0"], 2, "0 is not in"),
        (vec!["code", "create", "--site", "a\nb"], 2, "control character"),
        (vec!["partner", "add", "Not A Slug"], 2, "a slug has"),
        (vec!["partner", "add", "p", "--color", "red"], 2, "a colour is"),
        (vec!["partner", "add", "p", "--logo-url", "javascript:alert(1)"], 2, "https://"),
    ] {
        let output = run(&center, &arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert!(message.contains(words), "{arguments:?}: {message}");
        assert!(output.stdout.is_empty());
    }
}

async fn appliances_are_listed_and_their_keys_revoked(center: Center) {
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    let list = listed(&center, &["appliance", "list", "--json"]);
    assert_eq!((&list[0]["appliance_id"], &list[0]["site"]), (&json!(appliance_id), &json!("Clinic")));
    done(&center, &["appliance", "revoke", &appliance_id]);
    let path = format!("/api/provision/config/{appliance_id}");
    assert_eq!(center.get(&path, &[("authorization", &bearer)]).await.0, StatusCode::UNAUTHORIZED);
    assert!(done(&center, &["appliance", "list"]).contains("revoked"));
}

async fn nodes_are_listed_with_their_last_heartbeat(center: Center) {
    let credentials = center.node().await;
    center.heartbeat(&credentials).await;
    let list = listed(&center, &["node", "list", "--json"]);
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["last_seen"], "2026-01-04T15:30:00.000000+00:00");
    assert_eq!(listed(&center, &["node", "list", "--household", "nobody", "--json"]), Vec::<Value>::new());
    assert!(done(&center, &["node", "list"]).starts_with("NODE "));
}

async fn a_nodes_key_is_revoked(center: Center) {
    let credentials = center.node().await;
    let node_id = credentials.split(':').next().unwrap();
    done(&center, &["node", "revoke", node_id]);
    assert_eq!(center.heartbeat(&credentials).await.0, StatusCode::UNAUTHORIZED);
    let path = "/api/v0/node/mqtt-credentials";
    assert_eq!(center.get(path, &[("x-api-key", &credentials)]).await.0, StatusCode::UNAUTHORIZED);
    let list = listed(&center, &["node", "list", "--json"]);
    assert_eq!(list[0]["is_active"], false);
    assert_eq!(run(&center, &["node", "revoke", "nobody"]).status.code(), Some(1));
}

async fn a_list_longer_than_a_page_is_complete(center: Center) {
    let made = listed(&center, &["code", "create", "--count", "2500", "--json"]);
    let mut made = made.iter().map(|made| text(made, "id")).collect::<Vec<_>>();
    let list = listed(&center, &["code", "list", "--json"]);
    let mut list = list.iter().map(|entry| text(entry, "id")).collect::<Vec<_>>();
    made.sort();
    list.sort();
    assert_eq!(list, made);
}

/// Copies the database while its server runs, and starts another server on the copy.
async fn restored(center: &Center) -> Center {
    let mut config = center.config.clone();
    config.database = match &config.database {
        Database::Sqlite(_) => {
            done(center, &["backup", "copy.db"]);
            let copy = center.place().join("copy.db");
            assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
            Database::Sqlite(copy)
        }
        Database::Postgres(url) => {
            let empty = support::postgres::fresh_database().await;
            support::postgres::copy(url, &empty);
            empty
        }
    };
    center.twin_on(config).await
}

async fn a_backup_restores_keys_and_codes(center: Center) {
    let node = center.node().await;
    let (appliance_id, bearer) = center.appliance(FIRST).await;
    let code = center.code().await;
    let restored = restored(&center).await;
    assert_eq!(restored.heartbeat(&node).await.0, StatusCode::OK);
    let path = format!("/api/provision/config/{appliance_id}");
    assert_eq!(restored.get(&path, &[("authorization", &bearer)]).await.0, StatusCode::OK);
    assert_eq!(restored.claim(&code, "02:00:00:00:00:01").await.0, StatusCode::OK);
}

async fn a_backup_never_overwrites(center: Center) {
    if let Database::Sqlite(_) = center.config.database {
        done(&center, &["backup", "copy.db"]);
        let again = run(&center, &["backup", "copy.db"]);
        assert_eq!(again.status.code(), Some(3));
        assert!(String::from_utf8_lossy(&again.stderr).contains("copy.db"));
    } else {
        let refused = run(&center, &["backup", "copy.db"]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("pg_dump"));
    }
}

async fn neither_codes_nor_keys_are_in_the_database(center: Center) {
    let made = listed(&center, &["code", "create", "--count", "2", "--json"]);
    let code = text(&made[0], "code");
    let (_, claimed) = center.claim(&code, FIRST).await;
    let (node_id, token) = center.token().await;
    let (_, registered) = center.register(&node_id, &token).await;
    let dump = support::dump(&center.config.database);
    assert!(dump.contains(&node_id), "the dump has what is not secret");
    for secret in [code, text(&made[1], "code"), text(&claimed, "api_key"), token, text(&registered, "node_key")] {
        assert!(!dump.contains(&secret));
    }
}

async fn actions_are_in_the_audit_and_what_changes_nothing_is_not(center: Center) {
    let code = |made: &[Value]| text(&made[0], "code");
    done(&center, &["partner", "add", "nepa-it", "--name", "NEPA IT"]);
    done(&center, &["partner", "add", "nepa-it", "--name", "NEPA IT"]);
    let made = listed(&center, &["code", "create", "--site", "North Clinic", "--count", "2", "--json"]);
    let id = text(&made[1], "id");
    for _ in 0..2 {
        done(&center, &["code", "revoke", &id]);
    }
    let (_, claimed) = center.claim(&code(&made), FIRST).await;
    let appliance = text(&claimed, "appliance_id");
    for _ in 0..2 {
        done(&center, &["appliance", "revoke", &appliance]);
    }
    let key = done(&center, &["key", "rotate"]);
    let audit = listed(&center, &["audit", "--json"]);
    let shown = audit.iter().map(|entry| (text(entry, "action"), text(entry, "subject"))).collect::<Vec<_>>();
    let expected = [
        ("signing key rotated", key.trim()),
        ("appliance revoked", &appliance),
        ("code revoked", &id),
        ("codes created", "default"),
        ("partner added", "nepa-it"),
    ];
    assert_eq!(shown, expected.map(|(action, subject)| (action.to_owned(), subject.to_owned())));
    assert!(audit.iter().all(|entry| entry["place"] == "command line" && entry["actor"].is_string()));
    assert!(!audit.iter().any(|entry| entry.to_string().contains(&code(&made))), "codes are secret");
    let newest = done(&center, &["audit", "--limit", "1"]);
    assert!(newest.starts_with("WHEN ") && newest.lines().count() == 2, "{newest}");
}
