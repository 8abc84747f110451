//! Secrets appear only in the files that are meant to contain them.

use std::fs;

use provisioning_core::fault::Fault;
use serde_json::{Value, json};

use crate::center::{self, Center, credentials};
use crate::place::{Place, bring_online, files, phone};
use testing::journal::{PASSWORD, TOKEN};

/// The files that contain a secret in clear: K1, the label, and the node's key.
const MEANT: [&str; 3] = ["secrets.key", "pairing.json", "config.json"];

#[tokio::test]
async fn no_secret_is_visible_in_the_process_or_in_other_files() {
    let (place, center) = (Place::new(), Center::start().await);
    let node = place.start().await;
    let label = place.label().await;
    let order = center.order(&place).await;
    let mut phone = phone(&node.over_bluetooth(), &label.by_code()).await;
    let k2 = mobile_test_harness::key::new(std::time::SystemTime::UNIX_EPOCH, &mut rand_core::UnwrapErr(getrandom::SysRng));
    place.keep_secret(k2.key.expose());
    phone.send_k2(k2).await.expect("stored");
    bring_online(&mut phone, &credentials("Lighthouse", PASSWORD, &center.url(), &order)).await;
    center.assert_enrolled(&place, &order).await;
    place.keep_secret(fs::read_to_string(place.file("secrets.key")).expect("K1").as_bytes());

    // Any user may read the command line.
    place.assert_clean("cmdline", &node.shown("cmdline").expect("a command line"));
    match node.shown("environ") {
        Some(environment) => place.assert_clean("environ", &environment),
        None => eprintln!("the environment of the node is hidden from this user, as it should be"),
    }
    for file in files(&place.path("")) {
        let name = file.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        if !MEANT.contains(&name.as_str()) && file.is_file() {
            place.assert_clean(&name, &String::from_utf8_lossy(&fs::read(&file).expect("a file")));
        }
    }
    let config = place.config();
    let (token, password) = (order.token.expose(), PASSWORD);
    assert!(
        !config.to_string().contains(token) && !config.to_string().contains(password),
        "the configuration contains only the key"
    );
    place.assert_clean("the log", &place.log());
    assert!(place.log().contains("TRACE"), "the log includes trace level");
    let (_, printed) = node.stop().await;
    place.assert_clean("standard output", &printed.join("\n"));
}

#[tokio::test]
async fn the_name_of_a_sealed_attempt_is_not_in_the_journal_at_any_level() {
    let place = Place::new();
    let private = "Doctor Smith Private";
    place.keep_secret(private.as_bytes());
    let label = place.label().await;
    let order = mobile_test_harness::command_center::Order {
        node_id: "0e8c1f5a".into(),
        token: provisioning_core::secret::SecretText::new(TOKEN.into()),
        good_for: std::time::Duration::ZERO,
    };
    let node = place.start().await;
    let mut phone = phone(&node.over_bluetooth(), &label.by_code()).await;
    let outcome = bring_online(&mut phone, &credentials(private, PASSWORD, "http://127.0.0.1:9", &order)).await;
    assert_eq!(outcome.failure.map(|failure| failure.fault), Some(Fault::NetworkNotFound));
    node.stop().await;
    let node = place.start().await;
    node.status(|status| status["state"] == "ERROR").await;
    node.stop().await;
    assert!(place.log().contains("provisioning failed"), "the journal has the attempt");
    place.assert_clean("the journal", &place.log());
}

#[tokio::test]
async fn no_answer_repeats_what_was_sent() {
    let place = Place::new();
    let node = place.start().await;
    let order = mobile_test_harness::command_center::Order {
        node_id: "0e8c1f5a".into(),
        token: provisioning_core::secret::SecretText::new(TOKEN.into()),
        good_for: std::time::Duration::ZERO,
    };
    let good = center::json(&credentials("Lighthouse", PASSWORD, "http://127.0.0.1:9", &order));
    let mut bodies = vec![
        good.to_string().replace('}', ""),
        format!("[{good}]"),
        format!("\"{PASSWORD}\""),
        format!("{good}{good}"),
        good.to_string().replace("\"wifi_password\"", "wifi_password"),
    ];
    for (field, value) in [
        ("room", Value::Null),
        ("wifi_ssid", json!({ "wifi_password": PASSWORD })),
        ("wifi_password", json!([PASSWORD])),
        ("provisioning_token", json!({ TOKEN: TOKEN })),
    ] {
        let mut body = good.clone();
        body[field] = value;
        bodies.push(body.to_string());
    }
    for path in ["/api/v1/provision", "/api/v1/provision/k2"] {
        for body in &bodies {
            let headers = [("content-type", "application/json")];
            let reply = testing::http::request(node.address(), "POST", path, &headers, body.as_bytes()).await;
            assert_eq!(reply.status, 422, "{body}");
            assert!(reply.json()["detail"].is_array(), "{}", reply.text());
            place.assert_clean("a 422", reply.text());
        }
    }
    for (method, path, status) in [("PUT", "/api/v1/provision", 405), ("POST", "/api/v1/provisioning", 404)] {
        let reply = testing::http::request(node.address(), method, path, &[], good.to_string().as_bytes()).await;
        assert_eq!(reply.status, status);
        place.assert_clean("an error", reply.text());
    }
}
