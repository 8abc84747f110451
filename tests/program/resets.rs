//! Factory resets by the command and over the JSON API, killed and completed.

use std::fs;

use serde_json::json;

use crate::commands::provisioned;
use crate::place::{Label, Place, files};
use testing::journal::{PASSWORD, encodings};

const RESET: [&str; 3] = ["reset", "--yes", "--simulate"];

#[tokio::test]
async fn a_reset_needs_confirmation_and_is_refused_while_the_node_runs() {
    let (mut place, _) = provisioned().await;
    let ended = place.run(&["reset"]).await;
    assert_eq!(ended.status, Some(2));
    assert!(ended.errors.contains("--yes"), "{}", ended.errors);
    place.set("JARVIS_SKIP_PROVISIONING_CHECK", "true");
    let node = place.start().await;
    let ended = place.run(&RESET).await;
    assert_eq!(ended.status, Some(2));
    assert!(ended.errors.contains("stop it first"), "{}", ended.errors);
    node.stop().await;
    assert_eq!(place.status().await["state"], "PROVISIONED");
}

/// Asserts that only the node's own files and the label remain, and none of the owner's data.
async fn assert_reset(place: &Place, label: &Label) {
    let mut names: Vec<_> = fs::read_dir(place.path("secrets"))
        .expect("the folder stays")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.retain(|name| name != "run.lock" && name != "ble.sock");
    names.sort();
    assert_eq!(names, ["pairing.json", "secrets.key", "state.json"]);
    let config = place.config();
    assert_eq!((&config["node_id"], &config["api_key"]), (&json!("your-node-id"), &json!("your_api_key_here")));
    let status = place.status().await;
    assert_eq!((&status["state"], &status["provisioned"]), (&json!("AP_MODE"), &json!(false)));
    assert_eq!(place.label().await.code, label.code, "the label remains valid");
}

#[tokio::test]
async fn a_reset_deletes_everything_and_can_be_repeated() {
    let (place, label) = provisioned().await;
    for _ in 0..2 {
        let ended = place.run(&RESET).await;
        assert_eq!(ended.status, Some(0), "{}", ended.errors);
        assert!(
            ended.output.starts_with("cleared provisioning_marker\ncleared k2_key\ncleared wifi_credentials\n"),
            "{}",
            ended.output
        );
        assert_reset(&place, &label).await;
    }
    let ended = place.run(&["run", "--simulate", "--help"]).await;
    assert_eq!(ended.status, Some(0));
}

#[tokio::test]
async fn a_reset_over_the_json_api_lists_what_it_cleared() {
    let (mut place, label) = provisioned().await;
    place.set("JARVIS_SKIP_PROVISIONING_CHECK", "true");
    let node = place.start().await;
    let reply = node.post("/api/v1/factory-reset", &json!({"ignored": true})).await;
    assert_eq!(
        reply.text(),
        r#"{"success":true,"cleared":["provisioning_marker","k2_key","wifi_credentials","config_credentials"],"error":null}"#
    );
    assert_eq!(node.get("/api/v1/info").await.json()["previously_provisioned"], false);
    assert_reset(&place, &label).await;
}

#[tokio::test]
async fn a_lost_k1_stops_a_node_until_the_operator_resets_it() {
    let (place, label) = provisioned().await;
    let key = fs::read(place.file("secrets.key")).expect("K1");
    fs::write(place.file("secrets.key"), &key[..20]).expect("the file can be written");
    for command in [&["run", "--simulate"][..], &["status"], &["reset", "--simulate"]] {
        let ended = place.run(command).await;
        assert!(matches!(ended.status, Some(2 | 4)), "{command:?}: {:?}", ended.status);
        assert!(ended.errors.contains("secrets.key") && ended.errors.contains("restore the key"), "{}", ended.errors);
    }
    assert_eq!(fs::read(place.file("secrets.key")).expect("K1"), key[..20]);
    let ended = place.run(&RESET).await;
    assert_eq!(ended.status, Some(0), "{}", ended.errors);
    assert_reset(&place, &label).await;
    assert_nothing_is_left(&place, &key[..20]);
}

/// A way to reset a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Command,
    JsonApi,
}

/// What a start of the node or another reset does after a reset was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Start,
    Command,
}

/// Resets a node and kills it at the given occurrence of one of these system calls, then completes the reset. Returns whether
/// the node was killed.
async fn reset_killed_at(way: Way, calls: &str, time: usize, then: Then) -> bool {
    let (mut place, label) = provisioned().await;
    place.set("JARVIS_SKIP_PROVISIONING_CHECK", "true");
    let key = fs::read(place.file("secrets.key")).expect("K1");
    let trace = format!("trace={calls}");
    let kill = format!("inject={calls}:signal=KILL:when={time}");
    let died = match way {
        Way::Command => {
            let mut killed = tokio::process::Command::new("strace");
            killed.args(["--quiet=all", "-f", "-e", &trace, "-e", &kill, "--output"]).arg(place.path("strace.log"));
            let reset = place.command(&RESET);
            killed.arg(reset.as_std().get_program()).args(reset.as_std().get_args()).env_clear().current_dir(place.path(""));
            killed.envs(reset.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
            !killed.output().await.expect("strace is installed").status.success()
        }
        Way::JsonApi => match place.start_traced(&["-e", &trace, "-e", &kill]).await {
            // It was killed while it started.
            None => true,
            Some(mut node) => {
                let address = node.address();
                let request = tokio::spawn(testing::http::exchange(
                    address,
                    b"POST /api/v1/factory-reset HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                ));
                // A node that is killed ends the connection without an answer.
                let reply = String::from_utf8(request.await.unwrap_or_default()).expect("text");
                assert!(reply.is_empty() || reply.contains("\"success\":true"), "{reply}");
                if reply.is_empty() {
                    node.ended().await;
                }
                reply.is_empty()
            }
        },
    };
    if died {
        let state = place.status().await["state"].as_str().expect("a state").to_owned();
        assert!(["PROVISIONED", "RESETTING", "AP_MODE"].contains(&state.as_str()), "killed at {calls} {time}: {state}");
        if state == "RESETTING" && then == Then::Start {
            // The next start completes the reset before it waits for a phone.
            let node = place.start().await;
            node.status(|status| status["state"] == "AP_MODE").await;
            while place.status().await["state"] == "RESETTING" {
                tokio::task::yield_now().await;
            }
            node.stop().await;
        } else {
            assert_eq!(place.run(&RESET).await.status, Some(0));
        }
    }
    assert_reset(&place, &label).await;
    assert_nothing_is_left(&place, &key);
    died
}

/// Asserts that no file contains what the owner gave, or the K1 that sealed it.
fn assert_nothing_is_left(place: &Place, key: &[u8]) {
    let secrets: Vec<_> = [PASSWORD.as_bytes(), b"HomeNetwork", key].into_iter().flat_map(encodings).collect();
    for file in files(&place.path("secrets")).into_iter().chain([place.path("config.json")]) {
        let content = String::from_utf8_lossy(&fs::read(&file).unwrap_or_default()).into_owned();
        let found = secrets.iter().find(|secret| content.contains(secret.as_str()));
        assert_eq!(found, None, "{}", file.display());
    }
}

async fn killed_everywhere(way: Way, then: Then, calls: &str, least: usize) {
    let mut kills = 0;
    while reset_killed_at(way, calls, kills + 1, then).await {
        kills += 1;
    }
    assert!(kills >= least, "the reset was killed {kills} times");
}

/// Renaming a file commits it.
const RENAMING: &str = "rename,renameat,renameat2";
/// Removing a file deletes it.
const REMOVING: &str = "unlink,unlinkat";

#[tokio::test]
async fn a_reset_that_is_killed_anywhere_is_completed_by_the_next_reset() {
    killed_everywhere(Way::Command, Then::Command, RENAMING, 3).await;
    killed_everywhere(Way::Command, Then::Command, REMOVING, 4).await;
}

#[tokio::test]
async fn a_reset_that_is_killed_anywhere_is_completed_by_the_next_start() {
    killed_everywhere(Way::Command, Then::Start, REMOVING, 4).await;
}

#[tokio::test]
async fn a_reset_over_the_json_api_that_is_killed_anywhere_is_completed_by_the_next_start() {
    killed_everywhere(Way::JsonApi, Then::Start, RENAMING, 4).await;
    killed_everywhere(Way::JsonApi, Then::Start, REMOVING, 4).await;
}
