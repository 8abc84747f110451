//! The alerts and the dashboard of `packaging/monitoring`, with Prometheus' own tool and the server's own numbers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;
use serde_json::Value;

use crate::support::{ADMIN_KEY, Center, is_there};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/monitoring")
}

/// The names of the server's numbers in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| word.starts_with("jarvis_"))
}

/// The expressions of the dashboard's panels.
fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_slice(&fs::read(folder().join("dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let installed = Command::new("promtool").arg("--version").output().is_ok();
    if !is_there("promtool, which Debian's package prometheus has", installed) {
        return;
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alerts.yml");
    let output = Command::new("promtool").args(["test", "rules"]).arg(tests).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // The queries of the dashboard as rules, because that is what the tool checks.
    let queries = tempfile::NamedTempFile::new().unwrap();
    let rules = expressions().iter().fold(String::from("groups: [{name: dashboard, rules: [\n"), |rules, query| {
        let query = serde_json::to_string(&query.replace("$__rate_interval", "1m")).unwrap();
        rules + "{record: query, expr: " + &query + "},\n"
    });
    fs::write(queries.path(), rules + "]}]\n").unwrap();
    let output = Command::new("promtool").args(["check", "rules", "--lint=none"]).arg(queries.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn the_server_has_every_number_that_they_use() {
    let center = Center::on_sqlite().await;
    let bearer = format!("Bearer {ADMIN_KEY}");
    let read = async || {
        let response = center.request(Method::GET, "/metrics").header("authorization", &bearer).send().await.unwrap();
        response.text().await.unwrap()
    };
    // The first answer is counted after it was written.
    read().await;
    let text = read().await;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let known: BTreeSet<_> = samples.filter_map(|line| names(line).next()).collect();
    let used = fs::read_to_string(folder().join("alerts.yml")).unwrap() + &expressions().join("\n");
    assert!(names(&used).count() > 10, "{used}");
    for name in names(&used) {
        assert!(known.contains(name), "{name} is not in:\n{text}");
    }
    // The routes by which alerts count.
    let (_, description) = center.get("/openapi.json", &[("authorization", &bearer)]).await;
    for route in ["/api/provision/claim", "/api/partners/claim", "/api/v0/nodes/register"] {
        assert!(description["paths"][route].is_object(), "{route}");
    }
}
