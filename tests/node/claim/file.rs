//! `config.yaml` as another program parses it.

use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use jarvis_provisioning::claim::{Device, MacAddress};
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::server::Server;

use crate::claim::server::answer;
use crate::claim::{CODE, claimant, config, noon, request};

/// Parses the file as agents do, and prints it as JSON. A value without JSON equivalent fails.
const READER: &str = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1], encoding='ascii')), sys.stdout)";

/// The file as `PyYAML` parses it; none if `PyYAML` is not installed, which fails in CI.
fn read(folder: &TempDir) -> Option<Value> {
    // The system's python3 may have PyYAML even if the first in the path has not.
    let imports =
        |python: &&str| Command::new(python).args(["-c", "import yaml"]).output().is_ok_and(|output| output.status.success());
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(imports) else {
        assert!(std::env::var_os("CI").is_none(), "CI has python3 with PyYAML");
        eprintln!("SKIPPED: python3 has no PyYAML; config.yaml was not read by another program");
        return None;
    };
    let output = Command::new(python).args(["-c", READER]).arg(config(folder.path())).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn claimed(brand_name: &str, slug: &str) -> Value {
    json!({
        "status": "claimed", "site_id": "null", "appliance_id": "0x1F", "api_key": "1e9",
        "partner": { "slug": slug, "brand_name": brand_name, "primary_color": "#2563EB", "logo_url": null },
        "api_endpoint": "https://api.osiriscare.net",
    })
}

#[tokio::test]
async fn every_text_is_parsed_unchanged() {
    let brand_name = "x\"\napi_endpoint: https://evil.example\n'&*!|>%@` # \\ é \u{85}\u{2028}\u{feff}\u{1f600}\u{7f}\0\u{1b}[2J";
    let hostname = "host: {healing_dry_run: true}\n---\nstate_dir: /";
    let (folder, server) =
        (TempDir::new().unwrap(), Server::acting([answer("200 OK", &claimed(brand_name, "yes").to_string())]).await);
    let mut request = request(&server.url(), CODE, folder.path());
    // Unquoted, it would be a number in base 60.
    request.device = Device { mac_address: MacAddress::try_from("101112131415").unwrap(), hostname: hostname.into() };
    claimant().provision(&request).await.unwrap();
    let Some(read) = read(&folder) else { return };
    assert_eq!(
        read,
        json!({
            "site_id": "null",
            "appliance_id": "0x1F",
            "api_key": "1e9",
            // The request did not use TLS, so the server may return any address.
            "api_endpoint": "https://api.osiriscare.net",
            "poll_interval": 60,
            "enable_drift_detection": true,
            "enable_evidence_upload": true,
            "enable_l1_sync": true,
            "healing_enabled": true,
            "healing_dry_run": false,
            "state_dir": folder.path(),
            "log_level": "INFO",
            "partner": { "slug": "yes", "brand_name": brand_name, "primary_color": "#2563EB" },
            "provisioned_at": "2026-01-04T15:30:01+00:00",
            "mac_address": "10:11:12:13:14:15",
            "hostname": hostname,
        })
    );
}

#[tokio::test]
async fn a_clock_of_1970_or_2100_does_not_stop_a_claim() {
    for (clock, expected) in [
        ((|| UNIX_EPOCH) as fn() -> _, "1970-01-01T00:00:00+00:00"),
        (|| UNIX_EPOCH + Duration::from_secs(4_102_444_801), "2100-01-01T00:00:01+00:00"),
        (noon, "2026-01-04T15:30:01+00:00"),
    ] {
        let (folder, server) =
            (TempDir::new().unwrap(), Server::acting([answer("200 OK", &claimed("b", "s").to_string())]).await);
        let mut request = request(&server.url(), CODE, folder.path());
        request.clock = clock;
        claimant().provision(&request).await.unwrap();
        assert_eq!(crate::claim::value(folder.path(), "provisioned_at"), expected);
    }
}
