//! The setup as a form without a script.

use jarvis_provisioning::daemon::{Handle, View};
use jarvis_provisioning::link::http::{Config, Secrets};
use provisioning_core::domain::{CommandCenterUrl, Security, Status, Step};
use provisioning_core::machine::{Command, DiskCommand, RadioCommand};
use testing::journal::CODE;
use testing_node::scripted::{self, network, success};

use crate::http::support::{Node, Reply, config, request};

const FORM: &str = "application/x-www-form-urlencoded";
const WRONG: &str = "999999";

fn node() -> Node {
    Node::with(Config { secrets: Secrets::InAccessPoint, ..config() }, Box::new(|command| Some(success(command))))
}

/// The text that the form carries.
async fn mark(node: &Node) -> String {
    let form = node.get("/form").await;
    assert_eq!(form.status, 200);
    let (_, after) = form.text().split_once("name=\"mark\" value=\"").expect("a form with its mark");
    after.split('"').next().expect("a value").to_owned()
}

fn filled(mark: &str, code: &str) -> String {
    format!(
        "mark={mark}&network=HomeNetwork&other=&password=correct+horse%26battery&code={code}&center=https%3A%2F%2Fcenter.example\
         &node=6d12708f-8c8c-4a5d-9c19-0e8c1f5a7b11&token=prov_0123&household=home&room=k%C3%BCche"
    )
}

async fn send(node: &Node, body: &str) -> Reply {
    request(node.api, "POST", "/form", &[("content-type", FORM)], body.as_bytes()).await
}

fn attempts(node: &Node) -> usize {
    node.commands().iter().filter(|command| matches!(command, Command::Disk(DiskCommand::SavePending { .. }))).count()
}

#[tokio::test]
async fn a_form_without_a_script_sets_up_a_node() {
    let node = node();
    let mark = mark(&node).await;
    let reply = send(&node, &filled(&mark, &format!("{}+{}", &CODE[..3], &CODE[3..]))).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/form/outcome")), "{}", reply.text());
    node.settled("PROVISIONED").await;
    let join = node.commands().into_iter().find_map(|command| match command {
        Command::Radio(RadioCommand::Join { ssid, passphrase, hidden, .. }) => Some((ssid, passphrase, hidden)),
        _ => None,
    });
    let (ssid, passphrase, hidden) = join.expect("the node joins");
    assert_eq!((ssid.to_string(), passphrase.expose(), hidden), ("HomeNetwork".into(), "correct horse&battery", false));
    let outcome = node.get("/form/outcome").await;
    assert!(outcome.text().contains("Your device is ready") && !outcome.text().contains("http-equiv"), "{}", outcome.text());
}

#[tokio::test]
async fn a_node_that_is_ready_leads_to_the_page_of_its_settings() {
    let link = "<a href=\"https://home.example/a&amp;b\" dir=\"ltr\" rel=\"noreferrer\">https://home.example/a&amp;b</a>";
    let next = CommandCenterUrl::try_from("https://home.example/a&b").expect("a plain URL");
    for next_url in [Some(next), None] {
        let is_set = next_url.is_some();
        let view = View { status: Status { step: Step::Done, ..Status::waiting() }, next_url, ..scripted::view() };
        let (handle, _ends) = Handle::channel(1, view);
        let node = Node::serving(Config { secrets: Secrets::InAccessPoint, ..config() }, handle);
        let outcome = node.get("/form/outcome").await;
        assert!(outcome.text().contains("Your device is ready"), "{}", outcome.text());
        assert_eq!((outcome.text().contains(link), outcome.text().contains("<a ")), (is_set, is_set), "{}", outcome.text());
    }
}

#[tokio::test]
async fn a_network_that_was_typed_is_joined_as_a_hidden_one() {
    let node = node();
    let body = filled(&mark(&node).await, CODE).replace("other=", "other=%3Cb%3E");
    assert_eq!(send(&node, &body).await.status, 303);
    node.settled("PROVISIONED").await;
    let is_it = |command: &Command| matches!(command, Command::Radio(RadioCommand::Join { ssid, hidden: true, .. }) if ssid.to_string() == "<b>");
    assert!(node.commands().iter().any(is_it));
}

#[tokio::test]
async fn wrong_codes_of_the_form_are_counted_and_then_locked() {
    let node = node();
    let mark = mark(&node).await;
    for _ in 0..5 {
        let reply = send(&node, &filled(&mark, WRONG)).await;
        assert_eq!(reply.status, 422);
        assert!(reply.text().contains("The pairing code is wrong."), "{}", reply.text());
    }
    let reply = send(&node, &filled(&mark, CODE)).await;
    assert!(reply.text().contains("Minutes left: 1."), "{}", reply.text());
    let counts = |command: &Command| matches!(command, Command::Disk(DiskCommand::SaveGuesses { .. }));
    assert_eq!((node.commands().iter().filter(|command| counts(command)).count(), attempts(&node)), (5, 0));
}

#[tokio::test]
async fn what_is_wrong_is_named_and_the_rest_is_kept_without_the_secrets() {
    let node = node();
    let body = filled(&mark(&node).await, CODE).replace("correct+horse%26battery", "short1").replace("room=k", "room=%22%3Ek");
    let reply = send(&node, &body).await;
    let html = reply.text();
    assert_eq!(reply.status, 422);
    assert!(html.contains("A Wi-Fi password has 8 to 63 characters"), "{html}");
    assert!(html.contains("value=\"https://center.example\"") && html.contains("value=\"&quot;&gt;k\u{fc}che\""), "{html}");
    for secret in ["short1", CODE, "prov_0123"] {
        assert!(!html.contains(secret), "{secret}");
    }
    let counts = |command: &Command| matches!(command, Command::Disk(DiskCommand::SaveGuesses { .. }));
    assert!(!node.commands().iter().any(counts), "no guess is spent");
}

#[tokio::test]
async fn another_site_cannot_send_the_form() {
    let node = node();
    let body = filled(&mark(&node).await, CODE);
    let headers = |extra| [("content-type", FORM), extra];
    for foreign in [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        assert_eq!(request(node.api, "POST", "/form", &headers(foreign), body.as_bytes()).await.status, 403, "{foreign:?}");
    }
    for mark in ["", "00000000000000000000000000000000"] {
        assert_eq!(send(&node, &filled(mark, CODE)).await.status, 403, "{mark:?}");
    }
    assert_eq!(request(node.api, "POST", "/form", &[("content-type", "text/plain")], body.as_bytes()).await.status, 415);
    assert_eq!(attempts(&node), 0);
    let own = format!("http://{}", node.api);
    assert_eq!(request(node.api, "POST", "/form", &headers(("origin", &own)), body.as_bytes()).await.status, 303);
}

#[tokio::test]
async fn without_an_encrypted_access_point_there_is_no_form() {
    let node = Node::with(Config { secrets: Secrets::Nowhere, ..config() }, Box::new(|command| Some(success(command))));
    for path in ["/form", "/form/outcome"] {
        let reply = node.get(path).await;
        assert_eq!(reply.status, 403);
        assert!(reply.text().contains("Not available here"), "{}", reply.text());
    }
    assert_eq!(send(&node, &filled("", CODE)).await.status, 403);
}

#[tokio::test]
async fn the_form_runs_no_script_and_sends_to_the_node_only() {
    let node = Node::with(
        Config { secrets: Secrets::InAccessPoint, ..config() },
        Box::new(|command| match command {
            Command::Radio(RadioCommand::Scan { op, .. }) => {
                let names = ["</option><script>x</script>", "a\u{202e}b", "\"'"];
                let networks = (-60..).zip(names).map(|(signal, name)| network(name, signal, Security::Wpa2));
                Some(op.done(Ok(networks.collect())))
            }
            command => Some(success(command)),
        }),
    );
    node.scanned().await;
    let reply = node.get("/form").await;
    let policy = reply.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; ") && policy.contains("form-action 'self'") && !policy.contains("script"));
    assert_eq!((reply.header("cache-control"), reply.header("referrer-policy")), (Some("no-store"), Some("same-origin")));
    let html = reply.text();
    assert!(
        !html.contains("<script") && html.contains("&lt;/option&gt;&lt;script&gt;") && html.contains(">a\\u{202e}b<"),
        "{html}"
    );
}

#[tokio::test]
async fn the_outcome_says_why_and_reloads_while_it_is_open() {
    let node = Node::with(
        Config { secrets: Secrets::InAccessPoint, ..config() },
        Box::new(|command| match command {
            Command::Radio(RadioCommand::Join { .. }) => None,
            command => Some(success(command)),
        }),
    );
    send(&node, &filled(&mark(&node).await, CODE)).await;
    node.status(|status| status["progress_percent"] == 35).await;
    let outcome = node.get("/form/outcome").await;
    assert!(outcome.text().contains("Joins the network") && outcome.text().contains("http-equiv=\"refresh\""));
    let busy = send(&node, &filled(&mark(&node).await, CODE)).await;
    assert!(busy.text().contains("Another phone is setting up this device."), "{}", busy.text());
}

#[tokio::test]
async fn the_form_speaks_the_browsers_language() {
    let node = node();
    let ask = async |path, language| request(node.api, "GET", path, &[("accept-language", language)], b"").await;
    for (language, html, title) in [
        ("de-CH,de;q=0.9,en;q=0.8", "<html lang=\"de\" dir=\"ltr\">", "<h1>Gerät einrichten</h1>"),
        ("ar", "<html lang=\"ar\" dir=\"rtl\">", "<h1>إعداد جهازك</h1>"),
        ("fr", "<html lang=\"en\" dir=\"ltr\">", "<h1>Set up your device</h1>"),
    ] {
        for path in ["/form", "/form/outcome"] {
            let reply = ask(path, language).await;
            assert!(reply.text().contains(html) && reply.text().contains(title), "{language}: {}", reply.text());
            assert_eq!(reply.header("vary"), Some("accept-language"));
        }
    }
    let body = filled(&mark(&node).await, WRONG);
    let reply = request(node.api, "POST", "/form", &[("content-type", FORM), ("accept-language", "de")], body.as_bytes()).await;
    assert!(reply.text().contains("Der Kopplungscode ist falsch."), "{}", reply.text());
}
