//! The operator's pages in a browser: accessible in every look, with no devices, with three, and with ten thousand.
//!
//! They need Chromium and packages that `cargo test` does not install, so they are ignored there. To run them: `npm ci` in `web/`,
//! then `cargo test --test center -- --ignored looks`.

use std::path::Path;
use std::process::Command;

use command_center::Database;
use command_center::audit::Actor;
use command_center::operator::KeyChange;
use serde_json::json;

use crate::page::screenshots;
use crate::support::{ADMIN_KEY, Center};

/// Visits pages in every look.
async fn visit(center: &Center, name: &str, paths: &[String]) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("node");
    command.arg(tests.join("tests/center/looks.mjs")).arg(tests.join("../web")).arg(center.url("")).arg(ADMIN_KEY);
    command.arg(screenshots()).arg(name).args(paths);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn lists() -> Vec<String> {
    ["/", "/appliances", "/nodes"].map(str::to_owned).into()
}

/// Inserts appliances and nodes directly: some silent, some new, some revoked.
fn insert(center: &Center, count: usize) {
    let Database::Sqlite(path) = &center.config.database else { panic!("the tests of looks use SQLite") };
    let now = center.clock.now().0;
    let fill = format!(
        "INSERT INTO sites (site_id, name, partner, created_at) VALUES ('north-clinic-0123456789ab', 'North Clinic', 'default', 0);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO provision_codes (code_hash, code_id, partner, created_at, expires_at, claimed_at, claimed_by)
         SELECT 'c' || i, printf('%016x', i * 7919), 'default', 0, 0, 0, 'filler' FROM n;
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO appliances (appliance_id, site_id, code_hash, key_hash, mac_address, hostname, claimed_at, status,
                                 progress_percent, revoked_at)
         SELECT printf('north-clinic-0123456789ab-02:00:00:00:%02X:%02X', i / 256, i % 256), 'north-clinic-0123456789ab', 'c' || i,
                'k' || i, printf('02:00:00:00:%02X:%02X', i / 256, i % 256), 'kiosk-' || i, i, 'active', i % 101,
                CASE WHEN i % 17 = 0 THEN i END FROM n;
         INSERT INTO appliance_presence (number, last_seen)
         SELECT number, {now} - CASE WHEN number % 7 = 0 THEN 86400000 ELSE 0 END FROM appliances WHERE number % 11 <> 0;
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
         INSERT INTO nodes (node_id, household_id, room, name, user_name, voice_mode, key_hash, registered_at, version)
         SELECT printf('%08x-1f2e-4b60-9f00-000000000000', i * 7919), 'home-' || i / 3, 'kitchen', 'Lamp ' || i, 'default', 'brief',
                'k' || i, i, '1.2.' || i % 4 FROM n;
         INSERT INTO node_presence (number, last_seen) SELECT number, {now} FROM nodes WHERE number % 3 > 0;"
    );
    rusqlite::Connection::open(path).unwrap().execute_batch(&fill).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `npm ci` in web/"]
async fn pages_without_devices_are_accessible_in_every_look() {
    visit(&Center::on_sqlite().await, "0", &lists()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `npm ci` in web/"]
async fn pages_with_three_devices_are_accessible_in_every_look() {
    let center = Center::on_sqlite().await;
    let (appliance_id, bearer) = center.appliance("84:3A:5B:91:B6:61").await;
    let body =
        json!({ "appliance_id": appliance_id, "status": "failed", "progress_percent": 40, "message": "no disk was found" });
    center.post("/api/provision/status", &[("authorization", &bearer)], &body).await;
    center.codes(Some("South Clinic"), 2).await;
    let node = center.node().await;
    center.heartbeat(&node).await;
    center.node().await;
    let operator = center.operator().await;
    let acting = operator.acting(Actor::at_the_command_line());
    acting.rename_appliance(&appliance_id, "Reception, left").await.unwrap();
    acting.change_appliance_key(&appliance_id, KeyChange::HandOver).await.unwrap();
    operator.find_silent().await.unwrap();
    let mut paths = lists();
    paths.push(format!("/appliances/{appliance_id}"));
    paths.push(format!("/appliances/{appliance_id}/take-back"));
    paths.push(format!("/appliances/{appliance_id}/rename?name=Reception"));
    paths.push("/codes/revoke?id=0123456789abcdef".into());
    paths.push("/sign-in".into());
    paths.push(format!("/nodes/{}", node.split(':').next().unwrap()));
    visit(&center, "3", &paths).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `npm ci` in web/"]
async fn pages_with_ten_thousand_devices_are_accessible_in_every_look() {
    let center = Center::on_sqlite().await;
    insert(&center, 10_000);
    center.operator().await.find_silent().await.unwrap();
    let mut paths = lists();
    paths.push("/appliances?state=silent&order=longest-silent".into());
    visit(&center, "10000", &paths).await;
}
