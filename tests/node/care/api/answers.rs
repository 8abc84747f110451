//! Every answer, byte for byte.

use jarvis_provisioning::care::port::{Error, NetworkStatus, RecoveryStatus, Request, Status};
use provisioning_core::care::condition::Mode;
use provisioning_core::care::recovery::{Lock, Outcome};
use provisioning_core::fault::Fault;
use testing::journal::CODE;
use testing_node::scripted::NEW_CODE;

use super::{Caring, disconnected, evidence, fails, status, time, works};
use crate::http::support::{Node, Reply, request};

const OK: (u16, &str) = (200, r#"{"ok":true}"#);

fn said(reply: &Reply) -> (u16, &str) {
    assert_eq!(reply.header("content-type"), Some("application/json"));
    (reply.status, reply.text())
}

#[tokio::test]
async fn the_status_of_a_node_that_works() {
    let expected = concat!(
        r#"{"status":{"mode":"ready","hostname":"kitchen","network":{"provisioned":true,"connected":true,"#,
        r#""lastSsid":"HomeNetwork","hotspotSsid":"jarvis-5b91b661","hotspotProfile":"jarvis-hotspot","interfaceName":"wlan0","#,
        r#""apEnabled":false,"activeConnection":"HomeNetwork","ipv4Address":"192.168.1.7","gateway":"192.168.1.1","#,
        r#""internetReachable":true},"runtime":{"phase":"ready","health":"ok","summary":"Device is ready.","warnings":[]},"#,
        r#""recovery":{"enabled":true,"failureThreshold":3,"cooldownMs":120000,"degradedNetworkStreak":0,"lastResult":"idle","#,
        r#""activeLock":"none","inCooldown":false},"restartPending":false,"#,
        r#""services":{"nmcliAvailable":true,"networkManagerAvailable":true}}}"#,
    );
    assert_eq!(said(&Caring::start(works).get("status").await), (200, expected));
}

#[tokio::test]
async fn the_status_of_a_node_that_has_lost_its_network() {
    let caring = Caring::start(works);
    let lost = status();
    caring.status.send_replace(std::sync::Arc::new(Status {
        mode: Mode::Provisioning,
        network: NetworkStatus {
            provisioned: false,
            connected: false,
            last_ssid: None,
            hotspot_open: true,
            active_connection: None,
            ipv4_address: None,
            gateway: None,
            internet: false,
            last_error: Some("Network recovery: hotspot enabled as fallback".into()),
            ..lost.network
        },
        recovery: RecoveryStatus {
            bad_checks: 3,
            last_attempt: Some(time(1)),
            last_recovered: Some(time(2)),
            outcome: Outcome::HotspotRestored,
            cooldown_until: Some(time(120_002)),
            lock: Lock::Cooldown,
            last_reason: Some("no network in range".into()),
            ..lost.recovery
        },
        restart_pending: true,
        last_restart_reason: Some("update".into()),
        network_manager: false,
        ..lost
    }));
    let expected = concat!(
        r#"{"status":{"mode":"provisioning","hostname":"kitchen","network":{"provisioned":false,"connected":false,"#,
        r#""hotspotSsid":"jarvis-5b91b661","hotspotProfile":"jarvis-hotspot","interfaceName":"wlan0","apEnabled":true,"#,
        r#""lastError":"Network recovery: hotspot enabled as fallback"},"runtime":{"phase":"restarting","health":"error","#,
        r#""summary":"Restart is pending.","warnings":["Restart is pending.","NetworkManager is unavailable."]},"#,
        r#""recovery":{"enabled":true,"failureThreshold":3,"cooldownMs":120000,"degradedNetworkStreak":3,"lastAttemptAt":1,"#,
        r#""lastRecoveredAt":2,"lastResult":"hotspot_restored","cooldownUntil":120002,"activeLock":"cooldown","#,
        r#""lastReason":"no network in range","inCooldown":true},"restartPending":true,"lastRestartReason":"update","#,
        r#""services":{"nmcliAvailable":true,"networkManagerAvailable":false}}}"#,
    );
    assert_eq!(said(&caring.get("status").await), (200, expected));
}

#[tokio::test]
async fn networks_in_range_and_saved_ones() {
    let caring = Caring::start(works);
    let expected = concat!(
        r#"{"networks":[{"ssid":"HomeNetwork","signal":75,"security":"WPA2","inUse":true},"#,
        r#"{"ssid":"CoffeeShop_Free","signal":16,"security":"open","inUse":false}]}"#,
    );
    assert_eq!(said(&caring.get("networks").await), (200, expected));
    let expected = concat!(
        r#"{"networks":[{"name":"HomeNetwork","uuid":"b3f0","type":"802-11-wireless","autoconnect":true,"active":true},"#,
        r#"{"name":"Attic","type":"802-11-wireless","autoconnect":false,"active":false}]}"#,
    );
    assert_eq!(said(&caring.get("networks/saved").await), (200, expected));
}

#[tokio::test]
async fn an_empty_list_is_an_array() {
    let caring = Caring::start(|request| match request {
        Request::Scan(reply) => reply.send(Ok(Vec::new())),
        Request::Saved(reply) => reply.send(Ok(Vec::new())),
        _ => unreachable!("nothing else is requested"),
    });
    for path in ["networks", "networks/saved"] {
        assert_eq!(said(&caring.get(path).await), (200, r#"{"networks":[]}"#));
    }
}

#[tokio::test]
async fn diagnostics_of_a_network_that_works() {
    let caring = Caring::start(works);
    let start = concat!(
        r#"{"diagnostics":{"connected":true,"internetReachable":true,"dnsResolved":true,"nmcliState":"connected","#,
        r#""activeConnection":"HomeNetwork","ipv4Address":"192.168.1.7","gateway":"192.168.1.1","#,
        r#""details":["radio: ok: wlan0 is ready","#,
    );
    let diagnostics = caring.get("network/diagnostics").await;
    assert!(diagnostics.text().starts_with(start), "{}", diagnostics.text());
    let object = diagnostics.json();
    assert_eq!(object["diagnostics"]["details"].as_array().map(Vec::len), Some(8));
    assert_eq!(object["diagnostics"]["layers"][7]["layer"], "command_center");
    let tested = caring.post("network/test", "").await;
    assert_eq!(tested.json()["connected"], true);
    assert_eq!(tested.json()["diagnostics"], object["diagnostics"]);
}

#[tokio::test]
async fn the_existing_systems_words_for_the_state_of_the_network() {
    use provisioning_core::care::diagnosis::{Association, Evidence, Internet, Radio};
    for (evidence, state) in [
        (evidence(), "connected"),
        (Evidence { internet: Internet::Portal("x".into()), ..evidence() }, "connected (site only)"),
        (Evidence { association: Association::Hotspot, ..disconnected() }, "connected (local only)"),
        (Evidence { association: Association::Joining("config".into()), ..disconnected() }, "connecting"),
        (disconnected(), "disconnected"),
        (Evidence { radio: Radio::ServiceAbsent, ..disconnected() }, "unknown"),
    ] {
        let caring = Caring::start(move |request| {
            let Request::Diagnose(reply) = request else { unreachable!("nothing else is requested") };
            reply.send(Ok(Box::new(evidence.clone())));
        });
        assert_eq!(caring.get("network/diagnostics").await.json()["diagnostics"]["nmcliState"], state);
    }
}

#[tokio::test]
async fn operations_without_a_result_are_ok() {
    let caring = Caring::start(works);
    for (path, body) in [
        ("network/connect", r#"{"ssid":"HomeNetwork","password":"correct horse","hidden":false}"#),
        ("network/forget", r#"{"name":"Attic"}"#),
        ("hotspot/enable", ""),
        ("hotspot/disable", "{}"),
        ("restart", r#"{"reason":"update","scope":"device"}"#),
        ("rollback", r#"{"reason":"moved"}"#),
        ("recovery/trigger", ""),
        ("factory-reset", ""),
    ] {
        assert_eq!(said(&caring.post(path, body).await), OK, "{path}");
    }
}

#[tokio::test]
async fn the_pairing_code_is_shown_and_renewed() {
    let caring = Caring::start(works);
    let shown = |code: &str| format!(r#"{{"code":"{code}","deviceId":"jarvis-5b91b661"}}"#);
    let code = caring.get("auth-code").await;
    assert_eq!(said(&code), (200, shown(CODE).as_str()));
    assert_eq!(code.header("cache-control"), Some("no-store"));
    let renewed = caring.post("auth-code/regenerate", "").await;
    let expected = format!(r#"{{"code":"{NEW_CODE}","deviceId":"jarvis-5b91b661","void":"The label of jarvis-5b91b661 is void:"#);
    assert!(renewed.text().starts_with(&expected), "{}", renewed.text());
    assert_eq!(caring.get("auth-code").await.text(), shown(NEW_CODE));
}

#[tokio::test]
async fn the_label_is_shown_with_its_qr_code() {
    let reply = Caring::start(works).get("label").await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")));
    let label = reply.json();
    assert_eq!((&label["name"], &label["code"]), (&"jarvis-5b91b661".into(), &CODE.into()));
    let text = label["pairingQr"].as_str().expect("a text");
    assert!(text.starts_with("JARVIS:1:jarvis-5b91b661:") && text.len() == 57, "{text}");
    let rows = label["modules"].as_array().expect("rows");
    // A code of 57 bytes has 33 rows, and a finder pattern in its corner (ISO/IEC 18004, 6.3.3).
    assert!(rows.len() == 33 && rows.iter().all(|row| row.as_str().is_some_and(|row| row.len() == 33)), "{label}");
    assert!(rows[0].as_str().is_some_and(|row| row.starts_with("11111110")));
}

#[tokio::test]
async fn a_failure_has_the_existing_systems_text_and_a_reason() {
    let caring = Caring::start(fails(Error::Failed(Fault::WrongPassword)));
    let join = r#"{"ssid":"HomeNetwork"}"#;
    let network = r#"{"error":"network operation failed","reason":"The Wi-Fi password is wrong."}"#;
    let other = r#"{"error":"operation failed","reason":"The Wi-Fi password is wrong."}"#;
    for (path, body, expected) in [
        ("network/connect", join, network),
        ("network/forget", r#"{"name":"Attic"}"#, network),
        ("network/test", "", network),
        ("hotspot/enable", "", network),
        ("hotspot/disable", "", network),
        ("rollback", "{}", network),
        ("restart", "{}", other),
        ("recovery/trigger", "", other),
    ] {
        assert_eq!(said(&caring.post(path, body).await), (500, expected), "{path}");
    }
    for path in ["networks", "networks/saved", "network/diagnostics"] {
        assert_eq!(said(&caring.get(path).await), (500, network), "{path}");
    }
}

#[tokio::test]
async fn a_refusal_has_its_own_text_and_status() {
    let until = Error::RecoveryCooldown(time(1_772_323_200_000));
    for (error, status, text) in [
        (Error::RecoveryDisabled, 409, "recovery is disabled"),
        (until, 409, "recovery is in cooldown until 1772323200000"),
        (Error::RecoveryInProgress, 409, "recovery already in progress"),
        (Error::Busy, 409, "the device is busy with another request"),
        (
            Error::Provisioning,
            409,
            "provisioning has the radio: provision the device first, or wait until its phone has finished",
        ),
        (Error::RestartForbidden, 403, "restarts are not allowed by the device's settings"),
        (Error::Stopping, 503, "network care is stopping"),
    ] {
        let caring = Caring::start(fails(error));
        let expected = format!(r#"{{"error":"{text}"}}"#);
        assert_eq!(said(&caring.post("recovery/trigger", "").await), (status, expected.as_str()));
    }
    let caring = Caring::start(fails(Error::NoInternet));
    let expected = concat!(
        r#"{"error":"network operation failed","#,
        r#""reason":"connected to WiFi but internet access is not available"}"#,
    );
    assert_eq!(said(&caring.post("network/connect", r#"{"ssid":"HomeNetwork"}"#).await), (500, expected));
}

#[tokio::test]
async fn another_method_is_405_and_names_the_right_one() {
    let caring = Caring::start(works);
    for (method, path, allowed) in [
        ("POST", "status", "GET"),
        ("DELETE", "events", "GET"),
        ("HEAD", "networks", "GET"),
        ("GET", "factory-reset", "POST"),
        ("OPTIONS", "network/connect", "POST"),
        ("PUT", "auth-code/regenerate", "POST"),
    ] {
        let reply = request(caring.node.api, method, &format!("/api/provisioning/{path}"), &[], b"").await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some(allowed)), "{method} {path}");
        if method != "HEAD" {
            assert_eq!(reply.text(), r#"{"error":"method not allowed"}"#);
        }
    }
}

#[tokio::test]
async fn without_network_care_there_are_no_such_paths() {
    let node = Node::start();
    for path in ["status", "events", "auth-code"] {
        let reply = node.get(&format!("/api/provisioning/{path}")).await;
        assert_eq!((reply.status, reply.text()), (404, r#"{"detail":"Not Found"}"#));
    }
    assert_eq!(Caring::start(works).get("unknown").await.status, 404);
}
