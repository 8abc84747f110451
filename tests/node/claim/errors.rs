//! The errors that installers see, and which failures are retried.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use jarvis_provisioning::claim::{Error, RetryLimits, forget, needs_provisioning};
use serde_json::Value;
use tempfile::TempDir;
use testing::server::{Act, Server};
use tokio::net::TcpListener;

use crate::claim::server::{answer, claimed};
use crate::claim::{AMPLE, CODE, MAC, SHORT, claimant, config, failure, request, value};

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn the_request_is_that_of_an_appliance() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([claimed()]).await);
    claimant().provision(&request(&server.url(), "abcd-1234-efgh-5678", folder.path())).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 1, "a claim without a server's key is not acknowledged");
    assert!(requests[0].starts_with("POST /api/partners/claim HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].to_lowercase().contains("\r\nuser-agent: osiriscare-appliance/1.0\r\n"), "{}", requests[0]);
    let body = body(&requests[0]);
    assert_eq!(body["provision_code"], CODE);
    assert_eq!(body["mac_address"], MAC);
    assert_eq!(body["hostname"], "osiriscare-appliance");
    assert_eq!(body["claim_id"].as_str().map(str::len), Some(32));
}

#[tokio::test]
async fn without_a_key_from_the_server_the_device_generates_one() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([claimed()]).await);
    let appliance = claimant().provision(&request(&server.url(), CODE, folder.path())).await.unwrap();
    assert_eq!(appliance.appliance_id, "partner-clinic-abc123-84:3A:5B:91:B6:61");
    assert_eq!(appliance.brand_name, "NEPA IT Solutions");
    assert_eq!(value(folder.path(), "appliance_id"), appliance.appliance_id);
    assert_eq!(value(folder.path(), "api_key").len(), 43);
}

#[tokio::test]
async fn a_refusal_is_reported_with_the_servers_message_and_not_retried() {
    for (status, words) in [
        ("404 Not Found", "Invalid provision code"),
        ("400 Bad Request", "Provision code expired"),
        ("400 Bad Request", "Provision code already claimed"),
        ("400 Bad Request", "Provision code already revoked"),
        ("500 Internal Server Error", "Partner not found"),
        ("429 Too Many Requests", "Too many wrong attempts. Try again later."),
    ] {
        let server = Server::acting([answer(status, &format!(r#"{{"detail":"{words}"}}"#))]).await;
        let folder = TempDir::new().unwrap();
        assert_eq!(failure(&claimant(), &request(&server.url(), CODE, folder.path())).await, words);
        assert_eq!(server.requests().len(), 1, "{words}");
        assert!(needs_provisioning(folder.path()).unwrap());
    }
}

#[tokio::test]
async fn an_answer_without_a_message_is_reported_by_its_status() {
    for (act, error) in [
        (answer("418 I'm a teapot", ""), "HTTP 418"),
        (answer("302 Found\r\nlocation: http://127.0.0.1:1/", ""), "HTTP 302"),
        (answer("500 Internal Server Error", "<html>oops"), "HTTP 500: <html>oops"),
        (answer("422 Unprocessable Entity", r#"{"detail":[{"loc":["body"]}]}"#), r#"HTTP 422: [{"loc":["body"]}]"#),
        (answer("200 OK", r#"{"status":"pending"}"#), "Unknown error"),
        (answer("200 OK", "claimed"), "Unexpected error: the server's answer is not JSON"),
        (answer("200 OK", r#"{"status":"claimed"}"#), "Unexpected error: the server's answer has no site_id"),
        (Act::Send(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), "Unexpected error: what answers is not an HTTP server"),
    ] {
        let (folder, server) = (TempDir::new().unwrap(), Server::acting([act]).await);
        assert_eq!(failure(&claimant(), &request(&server.url(), CODE, folder.path())).await, error);
        assert_eq!(server.requests().len(), 1, "{error}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let folder = TempDir::new().unwrap();
    let server = Server::acting([answer("200 OK", &"x".repeat(100_000))]).await;
    let error = failure(&claimant(), &request(&server.url(), CODE, folder.path())).await;
    assert!(error.starts_with("Unexpected error: ") && error.contains("65536 bytes"), "{error}");
}

#[tokio::test]
async fn a_silent_server_is_reported_as_a_timeout_after_all_tries() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([Act::Hold]).await);
    let claimant = claimant().with_limits(RetryLimits { answer: SHORT, tries: 2, ..AMPLE });
    assert_eq!(failure(&claimant, &request(&server.url(), CODE, folder.path())).await, "Connection timed out");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_claim_over_its_time_limit_is_not_retried() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([Act::Hold]).await);
    let claimant = claimant().with_limits(RetryLimits { answer: SHORT, longest: SHORT / 2, ..AMPLE });
    assert_eq!(failure(&claimant, &request(&server.url(), CODE, folder.path())).await, "Connection timed out");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_is_reported_with_its_reason() {
    let folder = TempDir::new().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = failure(&claimant(), &request(&format!("http://{closed}"), CODE, folder.path())).await;
    assert!(error.starts_with("Failed to connect to server: Connection refused"), "{error}");
}

#[tokio::test]
async fn a_name_without_an_address_is_reported_with_its_reason() {
    let folder = TempDir::new().unwrap();
    let error = failure(&claimant(), &request("http://center.invalid", CODE, folder.path())).await;
    assert!(error.starts_with("Failed to connect to server: "), "{error}");
}

#[tokio::test]
async fn a_public_server_without_tls_is_not_connected_to() {
    let folder = TempDir::new().unwrap();
    let error = failure(&claimant(), &request("http://1.1.1.1", CODE, folder.path())).await;
    assert!(
        error.starts_with("Failed to connect to server: not connecting to 1.1.1.1") && error.contains("use https"),
        "{error}"
    );
}

#[tokio::test]
async fn after_a_lost_answer_the_request_is_repeated_with_the_same_claim_id() {
    let Act::Send(whole) = claimed() else { panic!("an answer") };
    let away = answer("503 Service Unavailable\r\nretry-after: 0", r#"{"detail":"Database unavailable"}"#);
    let acts = [Act::Drop, Act::Send(whole[..whole.len() / 2].to_vec()), away, claimed()];
    let (folder, server) = (TempDir::new().unwrap(), Server::acting(acts).await);
    claimant().provision(&request(&server.url(), CODE, folder.path())).await.unwrap();
    let bodies: Vec<Value> = server.requests().iter().map(|request| body(request)).collect();
    assert_eq!(bodies.len(), 4);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

#[tokio::test]
async fn the_claim_id_is_stored_until_the_claim_is_complete() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([Act::Drop]).await);
    let once = claimant().with_limits(RetryLimits { tries: 1, ..AMPLE });
    for _ in 0..2 {
        failure(&once, &request(&server.url(), CODE, folder.path())).await;
    }
    let bodies: Vec<Value> = server.requests().iter().map(|request| body(request)).collect();
    assert_eq!(bodies[0]["claim_id"], bodies[1]["claim_id"]);
    let number = fs::read_to_string(folder.path().join("claim-id")).unwrap();
    assert_eq!(bodies[0]["claim_id"], number.as_str());
    assert_eq!(fs::metadata(folder.path().join("claim-id")).unwrap().permissions().mode() & 0o777, 0o600);

    let server = Server::acting([claimed()]).await;
    claimant().provision(&request(&server.url(), CODE, folder.path())).await.unwrap();
    assert_eq!(body(&server.requests()[0])["claim_id"], number.as_str());
    assert!(!folder.path().join("claim-id").exists());
}

#[tokio::test]
async fn a_torn_claim_id_is_set_aside() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([claimed()]).await);
    fs::write(folder.path().join("claim-id"), "0123").unwrap();
    claimant().provision(&request(&server.url(), CODE, folder.path())).await.unwrap();
    assert!(folder.path().join("claim-id.unreadable-1").exists());
    assert_ne!(body(&server.requests()[0])["claim_id"], "0123");
}

#[tokio::test]
async fn without_a_writable_folder_nothing_is_claimed() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([claimed()]).await);
    fs::create_dir(config(folder.path())).unwrap();
    let mut request = request(&server.url(), CODE, folder.path());
    request.again = true;
    let refused = claimant().provision(&request).await;
    assert!(matches!(refused, Err(Error::Files(_))), "{refused:?}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_result_that_cannot_be_stored_is_not_acknowledged_and_can_be_reclaimed() {
    let folder = TempDir::new().unwrap();
    let keyed = r#"{"status":"claimed","site_id":"s","appliance_id":"a","api_key":"the-key-of-the-server"}"#;
    let Act::Send(bytes) = answer("200 OK", keyed) else { panic!("an answer") };
    // A folder with the file's name represents any disk failure that occurs while the server processes the request.
    let server = Server::acting([Act::Block(config(folder.path()), bytes), answer("200 OK", keyed)]).await;
    let request = request(&server.url(), CODE, folder.path());
    let failed = claimant().provision(&request).await;
    assert!(matches!(failed, Err(Error::Files(_))), "{failed:?}");
    assert_eq!(server.requests().len(), 1, "nothing was acknowledged");

    fs::remove_dir(config(folder.path())).unwrap();
    claimant().provision(&request).await.unwrap();
    assert_eq!(value(folder.path(), "api_key"), "the-key-of-the-server");
    let requests = server.requests();
    assert_eq!(body(&requests[0]), body(&requests[1]));
    assert!(requests[2].starts_with("POST /api/provision/status HTTP/1.1\r\n"), "{}", requests[2]);
    assert!(requests[2].contains("authorization: Bearer the-key-of-the-server\r\n"), "{}", requests[2]);
    assert_eq!(body(&requests[2])["appliance_id"], "a");
}

#[tokio::test]
async fn a_lost_or_refused_acknowledgement_is_not_an_error() {
    let keyed = answer("200 OK", r#"{"status":"claimed","site_id":"s","appliance_id":"a","api_key":"k"}"#);
    for (act, requests) in [(Act::Drop, 1 + 4), (answer("404 Not Found", ""), 1 + 1), (answer("401 Unauthorized", ""), 1 + 1)] {
        let (folder, server) = (TempDir::new().unwrap(), Server::acting([keyed.clone(), act]).await);
        claimant().provision(&request(&server.url(), CODE, folder.path())).await.unwrap();
        assert_eq!(server.requests().len(), requests);
    }
}

#[tokio::test]
async fn a_device_that_is_provisioned_claims_nothing() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([claimed()]).await);
    fs::write(config(folder.path()), "site_id: mine\n").unwrap();
    let mut request = request(&server.url(), CODE, folder.path());
    assert!(matches!(claimant().provision(&request).await, Err(Error::AlreadyProvisioned)));
    assert!(server.requests().is_empty());
    assert_eq!(value(folder.path(), "site_id"), "mine");

    request.again = true;
    claimant().provision(&request).await.unwrap();
    assert_eq!(value(folder.path(), "site_id"), "partner-clinic-abc123");
}

#[tokio::test]
async fn the_folder_and_the_file_are_accessible_to_their_owner_only() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([claimed()]).await);
    let place = folder.path().join("var/lib/msp");
    assert!(needs_provisioning(&place).unwrap());
    claimant().provision(&request(&server.url(), CODE, &place)).await.unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(place.clone()), mode(config(&place))), (0o700, 0o600));
    assert!(!needs_provisioning(&place).unwrap());
    let mut names: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["claimed.json", "config.yaml"], "no other file remains");
    let record = place.join("claimed.json");
    assert_eq!(mode(record.clone()), 0o600);
    assert!(!fs::read_to_string(record).unwrap().contains(CODE));
}

#[tokio::test]
async fn a_code_that_this_device_has_claimed_is_not_claimed_again() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([claimed(), claimed()]).await);
    let mut request = request(&server.url(), CODE, folder.path());
    let appliance = claimant().provision(&request).await.unwrap();
    let before = server.requests().len();
    request.again = true;
    assert_eq!(claimant().provision(&request).await.unwrap(), appliance);
    assert_eq!(server.requests().len(), before);

    // An unreadable record counts as missing, and a missing configuration is written again.
    fs::write(folder.path().join("claimed.json"), "{").unwrap();
    claimant().provision(&request).await.unwrap();
    assert!(server.requests().len() > before);
}

#[tokio::test]
async fn forgetting_deletes_all_files_of_a_claim() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([claimed()]).await);
    let place = folder.path().join("msp");
    assert!(!forget(&place).unwrap());
    assert!(!place.exists());
    claimant().provision(&request(&server.url(), CODE, &place)).await.unwrap();
    assert!(forget(&place).unwrap());
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    assert!(!forget(&place).unwrap());
}
