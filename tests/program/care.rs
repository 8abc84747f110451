//! The commands of network care, with a node in this process whose caretaker is scripted.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jarvis_provisioning::care::events::{Events, Kind, Level, News};
use jarvis_provisioning::care::port::{Care, Ends, Error, Request};
use jarvis_provisioning::daemon::Handle;
use jarvis_provisioning::link::http::{self, Config, Listeners, bind};
use provisioning_core::fault::Fault;
use provisioning_core::secret::SecretText;
use serde_json::{Value, json};
use testing::journal::PASSWORD;
use testing_node::caretaker::{fails, status, works};
use testing_node::scripted::view;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader, Lines};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::place::{Ended, PATIENCE, Place};

/// A node with network care.
struct Caring {
    events: Events,
    port: u16,
    serving: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    /// The other end of the handle.
    _daemon: jarvis_provisioning::daemon::Ends,
}

impl Caring {
    fn start(token: Option<&str>, caretaker: impl FnMut(Request) + Send + 'static) -> Self {
        Self::at(0, || UNIX_EPOCH, token, caretaker)
    }

    /// At a port, with a clock for the events.
    fn at(
        port: u16,
        clock: fn() -> SystemTime,
        token: Option<&str>,
        mut caretaker: impl FnMut(Request) + Send + 'static,
    ) -> Self {
        let events = Events::new(clock);
        let (handle, daemon) = Handle::channel(16, view());
        let (care, Ends { mut requests, .. }) = Care::channel(status(), events.clone(), handle.clone());
        let listener = bind((Ipv4Addr::LOCALHOST, port).into()).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let token = token.map(|token| SecretText::new(token.into()).into());
        let config = Config { care: Some(http::Care { port: care, token }), ..Config::default() };
        let listeners = Listeners { api: vec![listener], access_point: None };
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(http::serve(listeners, config, handle, async move { _ = stopped.await }));
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                caretaker(request);
            }
        });
        Self { events, port: address.port(), serving, stop, _daemon: daemon }
    }

    /// Stops like a node that is restarted; returns its port.
    async fn stop(self) -> u16 {
        drop(self.stop);
        timeout(PATIENCE, self.serving).await.expect("it stops in time").expect("no panic");
        self.port
    }

    fn place(&self) -> Place {
        Place::new().with("JARVIS_PROVISIONING_PORT", &self.port.to_string()).with("RUST_LOG", "info")
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        self.place().run(arguments).await
    }

    fn publish(&self, message: &str) {
        self.events.publish(News::new(Kind::System, Level::Success, message));
    }
}

fn object(ended: &Ended) -> Value {
    serde_json::from_str(&ended.output).unwrap_or_else(|_| panic!("one JSON object: {ended:?}"))
}

#[tokio::test]
async fn networks_are_a_table_or_json() {
    let caring = Caring::start(None, works);
    let ended = caring.run(&["networks"]).await;
    let expected = "\
NETWORK          SIGNAL  SECURITY  IN USE
HomeNetwork      75 %    WPA2      yes
CoffeeShop_Free  16 %    open
";
    assert_eq!((ended.status, ended.output.as_str(), ended.errors.as_str()), (Some(0), expected, ""));
    let saved = caring.run(&["networks", "--saved"]).await;
    assert_eq!(saved.output, "NETWORK      AUTOMATIC  ACTIVE\nHomeNetwork  yes        yes\nAttic\n");
    assert_eq!(object(&caring.run(&["networks", "--json"]).await)["networks"][1]["security"], "open");
    assert_eq!(object(&caring.run(&["networks", "--saved", "--json"]).await)["networks"][0]["uuid"], "b3f0");
}

#[tokio::test]
async fn each_change_is_requested_and_confirmed() {
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let told = Arc::clone(&requests);
    let caring = Caring::start(None, move |request| {
        let text = match &request {
            Request::Connect(join, _) => format!("connect {} {}", join.ssid, join.hidden),
            Request::Forget(name, _) => format!("forget {name}"),
            Request::Hotspot { open, .. } => format!("hotspot {open}"),
            Request::Recover(_) => "recover".into(),
            other => format!("{other:?}"),
        };
        told.lock().expect("no panic").push(text);
        works(request);
    });
    for (arguments, said, request) in [
        (&["connect", "HomeNetwork", "--hidden"][..], "The node is in the network HomeNetwork.\n", "connect HomeNetwork true"),
        (&["forget", "Attic"], "The node has forgotten the network Attic.\n", "forget Attic"),
        (&["hotspot", "on"], "The hotspot is open.\n", "hotspot true"),
        (&["hotspot", "off"], "The hotspot is closed.\n", "hotspot false"),
        (&["recover"], "A recovery has started. To see how it ends, run `jarvis-provision events --follow`.\n", "recover"),
    ] {
        let ended = caring.run(arguments).await;
        assert_eq!((ended.status, ended.output.as_str()), (Some(0), said), "{arguments:?}: {}", ended.errors);
        assert_eq!(requests.lock().expect("no panic").pop().as_deref(), Some(request));
        let json = caring.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!((json.status, json.output.as_str()), (Some(0), "{\"ok\":true}\n"), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_password_comes_from_standard_input_and_never_from_the_command_line() {
    let passwords = Arc::<Mutex<Vec<String>>>::default();
    let told = Arc::clone(&passwords);
    let caring = Caring::start(None, move |request| {
        if let Request::Connect(join, _) = &request {
            told.lock().expect("no panic").push(join.passphrase.expose().to_owned());
        }
        works(request);
    });
    let place = caring.place();
    let mut command = place.command(&["connect", "HomeNetwork", "--password-stdin"]);
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut input = process.stdin.take().expect("a pipe");
    input.write_all(format!("{PASSWORD}\nanother line\n").as_bytes()).await.expect("it reads");
    drop(input);
    let output = timeout(PATIENCE, process.wait_with_output()).await.expect("it ends").expect("it was started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(*passwords.lock().expect("no panic"), [PASSWORD]);
    for said in [output.stdout, output.stderr] {
        place.assert_clean("the output", &String::from_utf8_lossy(&said));
    }
    for arguments in [["connect", "HomeNetwork", "a-password"], ["connect", "HomeNetwork", "--password=a-password"]] {
        assert_eq!(place.run(&arguments).await.status, Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_failure_has_its_reason_and_its_exit_status() {
    for (error, status, reason) in [
        (Error::Failed(Fault::WrongPassword), 1, "The Wi-Fi password is wrong."),
        (Error::Busy, 7, "the device is busy with another request"),
        (Error::RecoveryInProgress, 7, "recovery already in progress"),
        (Error::Stopping, 7, "network care is stopping"),
    ] {
        let caring = Caring::start(None, fails(error));
        let ended = caring.run(&["connect", "HomeNetwork"]).await;
        assert_eq!((ended.status, ended.output.as_str()), (Some(status), ""));
        assert!(ended.errors.contains(reason), "{}", ended.errors);
        let ended = caring.run(&["recover", "--json"]).await;
        assert_eq!((ended.status, object(&ended)), (Some(status), json!({ "ok": false, "error": reason })));
    }
    let caring = Caring::start(None, works);
    let ended = caring.run(&["connect", "a name of more than thirty-two bytes"]).await;
    assert_eq!(ended.status, Some(2));
    assert!(ended.errors.contains("ssid: A network's name has 1 to 32 bytes."), "{}", ended.errors);
}

#[tokio::test]
async fn a_node_that_does_not_run_or_has_no_network_care_is_named() {
    let place = Place::new().with("JARVIS_PROVISIONING_PORT", "1");
    for arguments in [&["networks"][..], &["events"], &["recover"]] {
        let ended = place.run(arguments).await;
        assert_eq!((ended.status, ended.output.as_str()), (Some(9), ""), "{arguments:?}");
        assert!(ended.errors.contains("systemctl start jarvis-provision"), "{}", ended.errors);
        let ended = place.run(&[arguments, &["--json"]].concat()).await;
        assert_eq!((ended.status, ended.errors.as_str()), (Some(9), ""), "{arguments:?}");
        let answer = object(&ended);
        assert!(answer["error"].as_str().is_some_and(|error| error.contains("does not run")), "{answer}");
        assert_eq!(answer["ok"], false);
    }
    let place = Place::new();
    let node = place.start().await;
    let place = Place::new().with("JARVIS_PROVISIONING_PORT", &node.address().port().to_string());
    for arguments in [&["networks"][..], &["events"]] {
        let ended = place.run(arguments).await;
        assert_eq!(ended.status, Some(9), "{arguments:?}");
        assert!(ended.errors.contains("enabled = true") && ended.errors.contains("[care]"), "{}", ended.errors);
    }
}

#[tokio::test]
async fn the_token_comes_from_the_environment_or_from_the_file_of_the_settings() {
    let caring = Caring::start(Some("token-of-network-care"), works);
    let without = caring.run(&["networks"]).await;
    assert_eq!(without.status, Some(6));
    assert!(without.errors.contains("MOONHUB_PROVISIONING_TOKEN"), "{}", without.errors);
    let place = caring.place().with("MOONHUB_PROVISIONING_TOKEN", "token-of-network-care");
    assert_eq!(place.run(&["networks"]).await.status, Some(0));
    let place = caring.place();
    place.keep_secret(b"token-of-network-care");
    let file = place.path("token");
    std::fs::write(&file, "token-of-network-care\n").expect("a writable folder");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode");
    std::fs::write(place.path("settings.toml"), format!("[care]\ntoken_file = {file:?}\n")).expect("a writable folder");
    let ended = place.run(&["networks", "--config", "settings.toml"]).await;
    assert_eq!(ended.status, Some(0), "{}", ended.errors);
    place.assert_clean("the errors", &ended.errors);
    std::fs::remove_file(&file).expect("it is there");
    let ended = place.run(&["networks", "--config", "settings.toml"]).await;
    assert_eq!(ended.status, Some(3));
    assert!(ended.errors.contains("the file of the setting care.token_file"), "{}", ended.errors);
}

#[tokio::test]
async fn events_are_lines_and_the_last_ones_end_the_command() {
    let caring = Caring::start(None, works);
    caring.publish("Device manager started");
    caring.publish("Connected to \u{1b}[2Jevil\nWiFi");
    let ended = caring.run(&["events"]).await;
    let expected = "\
1970-01-01 00:00:00Z  success  Device manager started
1970-01-01 00:00:00Z  success  Connected to \\u{1b}[2Jevil\\u{a}WiFi
";
    assert_eq!((ended.status, ended.output.as_str()), (Some(0), expected), "{}", ended.errors);
    let ended = caring.run(&["events", "--json"]).await;
    let lines: Vec<Value> = ended.output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), &lines[1]["id"]), (2, &json!("19700101000000-000001")));
}

/// The next line of a program's output.
async fn line(lines: &mut Lines<BufReader<impl AsyncRead + Unpin>>) -> String {
    timeout(PATIENCE, lines.next_line()).await.expect("a line in time").expect("UTF-8").expect("it runs")
}

#[tokio::test]
async fn events_that_are_followed_come_when_they_happen() {
    let caring = Caring::start(None, works);
    caring.publish("before");
    let place = caring.place();
    let mut process = place.command(&["events", "--follow"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
    for message in ["before", "first", "second"] {
        let line = line(&mut lines).await;
        assert!(line.ends_with(message), "{line}");
        caring.publish(if message == "before" { "first" } else { "second" });
    }
    process.kill().await.expect("it runs");
}

#[tokio::test]
async fn events_are_followed_across_a_restart_of_the_node_until_it_refuses() {
    let later: fn() -> SystemTime = || UNIX_EPOCH + Duration::from_mins(1);
    let caring = Caring::start(None, works);
    caring.publish("before the restart");
    let place = caring.place();
    let mut command = place.command(&["events", "--follow"]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
    let mut errors = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    assert!(line(&mut lines).await.ends_with("before the restart"));

    let port = caring.stop().await;
    let notice = line(&mut errors).await;
    assert!(notice.contains("trying again") && notice.contains("does not run"), "{notice}");
    let caring = Caring::at(port, later, None, works);
    caring.publish("after the restart");
    assert_eq!(line(&mut lines).await, "1970-01-01 00:01:00Z  success  after the restart", "no event is repeated");

    let port = caring.stop().await;
    let _caring = Caring::at(port, later, Some("token-of-network-care"), works);
    let ended = timeout(PATIENCE, process.wait()).await.expect("it ends").expect("it was started");
    assert_eq!(ended.code(), Some(6));
}
