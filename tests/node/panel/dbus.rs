//! The object on a private bus, which has the packaged policy.

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use jarvis_provisioning::panel::dbus::interface::{METHODS, NAME, PATH, PROPERTIES, SIGNALS};
use jarvis_provisioning::panel::dbus::serve;
use provisioning_core::domain::{Failure, Step};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Answer;
use testing::bus::PrivateBus;
use testing_node::caretaker::evidence;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedVariant, Variant};

use super::{DEADLINE, Scene};

const POLICY: &str = include_str!("../../../packaging/jarvis-provisioning.dbus.conf");
const PROPERTIES_INTERFACE: &str = "org.freedesktop.DBus.Properties";

/// A user who is no administrator, for `setpriv`.
const STRANGER: &[&str] = &["--reuid=65534", "--regid=65534", "--clear-groups"];
/// The same in the group `sudo`, which has the number 27 in every Debian.
const ADMINISTRATOR: &[&str] = &["--reuid=65534", "--regid=65534", "--groups=27"];

/// The object on a bus, and a client. Stops when it is dropped.
struct Served {
    client: Connection,
    serving: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Served {
    async fn start(bus: &PrivateBus, scene: &Scene) -> Self {
        let serving = tokio::spawn(serve(scene.panel.clone(), Some(bus.address()), std::future::pending()));
        let served = Self { client: client(bus).await, serving };
        served.appears().await;
        served
    }

    /// Waits until the object answers.
    async fn appears(&self) {
        let appears = async {
            while self.call("org.freedesktop.DBus.Peer", "Ping", &()).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, appears).await.expect("the object in time");
    }

    async fn call<B>(&self, interface: &str, member: &str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + zbus::DynamicType + Sync,
    {
        let call = self.client.call_method(Some(NAME), PATH, Some(interface), member, body);
        timeout(DEADLINE, call).await.expect("an answer in time")
    }

    async fn property(&self, name: &str) -> OwnedVariant {
        let answer = self.call(PROPERTIES_INTERFACE, "Get", &(NAME, name)).await.expect("a property");
        answer.body().deserialize::<OwnedVariant>().expect("a value")
    }

    /// The signals of the object from now on.
    async fn signals(&self) -> MessageStream {
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal).path(PATH).build().expect("a rule");
        MessageStream::for_match_rule(rule, &self.client, None).await.expect("a subscription")
    }
}

async fn client(bus: &PrivateBus) -> Connection {
    zbus::connection::Builder::address(bus.address().as_str()).build().await.expect("a bus")
}

fn text(value: &str) -> OwnedVariant {
    Variant::from(value.to_owned()).try_into().expect("a text")
}

async fn next(signals: &mut MessageStream) -> Message {
    timeout(DEADLINE, signals.next()).await.expect("a signal in time").expect("the bus is there").expect("a message")
}

fn error_name(result: zbus::Result<Message>) -> String {
    match result {
        Err(zbus::Error::MethodError(name, ..)) => name.as_str().to_owned(),
        Err(zbus::Error::FDO(error)) => zbus::DBusError::name(&*error).as_str().to_owned(),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn properties_follow_the_node_and_changes_are_signalled() {
    let Some(bus) = PrivateBus::start() else { return };
    let scene = Scene::new();
    let served = Served::start(&bus, &scene).await;
    assert_eq!(served.property("State").await, text("AP_MODE"));
    assert_eq!(served.property("LastOutcome").await, text(""));
    let mut signals = served.signals().await;
    scene.publish(|view| {
        view.status.step = Step::Joining;
        view.status.failure = Some(Failure::from(Fault::WrongPassword));
    });
    let changed = next(&mut signals).await;
    let body = changed.body();
    let (interface, values, invalidated) =
        body.deserialize::<(&str, HashMap<&str, OwnedVariant>, Vec<&str>)>().expect("the body of PropertiesChanged");
    assert_eq!((interface, invalidated.len()), (NAME, 0));
    assert_eq!((&values["State"], &values["LastOutcome"]), (&text("ERROR"), &text("WrongPassword")));
    assert_eq!(values["Failure"], text(Fault::WrongPassword.text()));
    assert!(!values.contains_key("Name"), "what has not changed is not sent");
    let ended = next(&mut signals).await;
    assert_eq!(ended.header().member().map(|member| member.as_str().to_owned()).as_deref(), Some("AttemptEnded"));
    let body = ended.body();
    assert_eq!(body.deserialize::<(&str, &str)>().expect("two texts"), ("WrongPassword", Fault::WrongPassword.text()));
    // The next attempt runs: the outcome of the last one stays.
    scene.publish(|view| {
        view.status.step = Step::Joining;
        view.status.failure = None;
    });
    next(&mut signals).await;
    assert_eq!(served.property("State").await, text("CONNECTING"));
    assert_eq!(served.property("LastOutcome").await, text("WrongPassword"));
    // An app without a command center has given it its network.
    scene.publish(|view| view.status.step = Step::Online);
    next(&mut signals).await;
    let ended = next(&mut signals).await;
    assert_eq!(ended.body().deserialize::<(&str, &str)>().expect("two texts").0, "Succeeded");
    assert_eq!(served.property("State").await, text("ONLINE"));
    assert_eq!(served.property("LastOutcome").await, text("Succeeded"));
}

#[tokio::test]
async fn the_object_describes_all_of_its_parts() {
    let Some(bus) = PrivateBus::start() else { return };
    let scene = Scene::new();
    let served = Served::start(&bus, &scene).await;
    let answer = served.call("org.freedesktop.DBus.Introspectable", "Introspect", &()).await.expect("a description");
    let description = answer.body().deserialize::<String>().expect("a text");
    let all = served.call(PROPERTIES_INTERFACE, "GetAll", &NAME).await.expect("all properties");
    let body = all.body();
    let values = body.deserialize::<HashMap<&str, OwnedVariant>>().expect("a dictionary");
    for property in &PROPERTIES {
        let line = format!("<property name=\"{}\" type=\"{}\" access=\"read\"/>", property.name, property.signature());
        assert!(description.contains(&line), "{description}");
        assert_eq!(values[property.name].value_signature().to_string(), property.signature());
    }
    for (kind, members) in [("method", &METHODS[..]), ("signal", &SIGNALS[..])] {
        for member in members {
            let argument = |direction, (name, signature): &(&str, &str)| {
                format!("      <arg name=\"{name}\" type=\"{signature}\" direction=\"{direction}\"/>\n")
            };
            let takes = member.takes.iter().map(|taken| argument("in", taken));
            let arguments: String = takes.chain(member.gives.iter().map(|given| argument("out", given))).collect();
            let described = format!("<{kind} name=\"{}\">\n{arguments}    </{kind}>\n", member.name);
            assert!(description.contains(&described), "{description}");
        }
    }
}

#[tokio::test]
async fn calls_that_are_wrong_are_refused_and_the_object_stays() {
    let Some(bus) = PrivateBus::start() else { return };
    let scene = Scene::new();
    let served = Served::start(&bus, &scene).await;
    let standard = "org.freedesktop.DBus.Error.";
    let set = served.call(PROPERTIES_INTERFACE, "Set", &(NAME, "State", Variant::from("PROVISIONED"))).await;
    assert_eq!(error_name(set), format!("{standard}PropertyReadOnly"));
    let get = served.call(PROPERTIES_INTERFACE, "Get", &(NAME, "Code")).await;
    assert_eq!(error_name(get), format!("{standard}UnknownProperty"));
    assert_eq!(error_name(served.call(PROPERTIES_INTERFACE, "Get", &7_u32).await), format!("{standard}InvalidArgs"));
    assert_eq!(error_name(served.call(NAME, "SetHotspot", &"open").await), format!("{standard}InvalidArgs"));
    assert_eq!(error_name(served.call(NAME, "Explode", &()).await), format!("{standard}UnknownMethod"));
    let elsewhere = served.client.call_method(Some(NAME), "/org/jarvis/Other", Some(NAME), "Reset", &()).await;
    assert_eq!(error_name(elsewhere), format!("{standard}UnknownObject"));
    assert_eq!(error_name(served.call(NAME, "Recover", &()).await), format!("{NAME}.Error.WithoutNetworkCare"));
    assert_eq!(served.property("State").await, text("AP_MODE"));
}

#[tokio::test]
async fn a_reset_is_answered_when_it_is_complete_or_has_failed() {
    let Some(bus) = PrivateBus::start() else { return };
    let mut scene = Scene::new();
    let served = Served::start(&bus, &scene).await;
    for (answer, refused) in [
        (Answer::Reset(Vec::new()), None),
        (Answer::Refused(Fault::StorageFailed), Some(Fault::StorageFailed.text())),
        (Answer::ResetIncomplete(Fault::NetworkUnavailable), Some(Fault::NetworkUnavailable.text())),
    ] {
        let (result, ()) = tokio::join!(served.call(NAME, "Reset", &()), scene.answer_reset(answer));
        match (result, refused) {
            (Ok(_), None) => {}
            (Err(zbus::Error::MethodError(name, detail, _)), Some(text)) => {
                assert_eq!((name.as_str(), detail.as_deref()), ("org.jarvis.Provisioning1.Error.Failed", Some(text)));
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn diagnoses_at_one_time_are_one_and_not_more_than_64_wait() {
    let Some(bus) = PrivateBus::start() else { return };
    let (started, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, wait) = (Arc::clone(&started), Arc::clone(&release));
    let scene = Scene::with(
        false,
        Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            let wait = Arc::clone(&wait);
            Box::pin(async move {
                wait.notified().await;
                evidence()
            })
        }),
    );
    let served = Served::start(&bus, &scene).await;
    let calls: Vec<_> = (0..65)
        .map(|_| {
            let client = served.client.clone();
            tokio::spawn(async move { client.call_method(Some(NAME), PATH, Some(NAME), "Diagnose", &()).await })
        })
        .collect();
    let mut ended = futures_util::stream::FuturesUnordered::from_iter(calls);
    let first = timeout(DEADLINE, ended.next()).await.expect("one is refused").expect("it is there").expect("no panic");
    assert_eq!(error_name(first), format!("{NAME}.Error.Busy"));
    release.notify_one();
    while let Some(answer) = timeout(DEADLINE, ended.next()).await.expect("answers in time") {
        let answer = answer.expect("no panic").expect("a diagnosis");
        let layers = answer.body().deserialize::<Vec<(String, String, String, String)>>().expect("a list");
        assert_eq!((layers.len(), layers[0].0.as_str(), layers[0].1.as_str()), (8, "radio", "ok"));
    }
    assert_eq!(started.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_object_appears_when_the_name_is_free_and_after_the_bus_has_restarted() {
    let Some(mut bus) = PrivateBus::start() else { return };
    let other = client(&bus).await;
    other.request_name(NAME).await.expect("the name is free");
    let scene = Scene::new();
    let serving = tokio::spawn(serve(scene.panel.clone(), Some(bus.address()), std::future::pending()));
    // The other process answers no call, so the name shows who has it.
    let mut owners = MessageStream::for_match_rule(
        MatchRule::builder().member("NameOwnerChanged").arg(0, NAME).build().expect("a rule"),
        &other,
        None,
    )
    .await
    .expect("a subscription");
    other.release_name(NAME).await.expect("the bus is there");
    next(&mut owners).await;
    let taken = next(&mut owners).await;
    let body = taken.body();
    let (_, _, owner) = body.deserialize::<(&str, &str, &str)>().expect("the body of NameOwnerChanged");
    assert!(!owner.is_empty());
    bus.stop();
    bus.restart();
    let served = Served { client: client(&bus).await, serving };
    served.appears().await;
    assert_eq!(served.property("State").await, text("AP_MODE"));
}

/// Calls a method of the object as another user; returns the output and the errors of `dbus-send`.
fn send_as(user: &[&str], bus: &PrivateBus, member: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("setpriv");
    command.args(user).args(["dbus-send", &format!("--bus={}", bus.address()), "--print-reply"]);
    command.args([&format!("--dest={NAME}"), PATH, member]).args(arguments);
    let output = command.output().expect("setpriv and dbus-send are installed");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_reads_and_only_administrators_change() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can be several users");
        return;
    }
    // The node's user may not exist here; the tests run as root, which may have the name as well.
    let policy = POLICY.replace("user=\"jarvis-provision\"", "user=\"daemon\"");
    let Some(bus) = PrivateBus::start_as_system(&policy) else { return };
    let mut scene = Scene::new();
    let _served = Served::start(&bus, &scene).await;
    let bus = Arc::new(bus);
    let call = |user: &'static [&'static str], member: &'static str, arguments: &'static [&'static str]| {
        let bus = Arc::clone(&bus);
        tokio::task::spawn_blocking(move || send_as(user, &bus, member, arguments))
    };
    for user in [STRANGER, ADMINISTRATOR] {
        let (works, output) =
            call(user, "org.freedesktop.DBus.Properties.Get", &["string:org.jarvis.Provisioning1", "string:State"])
                .await
                .expect("no panic");
        assert!(works && output.contains("AP_MODE"), "{output}");
        let (works, output) = call(user, "org.jarvis.Provisioning1.Diagnose", &[]).await.expect("no panic");
        assert!(works && output.contains("association"), "{output}");
    }
    for member in ["org.jarvis.Provisioning1.Reset", "org.jarvis.Provisioning1.Recover", "org.jarvis.Provisioning1.Authorize"] {
        let (works, output) = call(STRANGER, member, &[]).await.expect("no panic");
        assert!(!works && output.contains("AccessDenied"), "{member}: {output}");
    }
    let (works, output) = call(STRANGER, "org.jarvis.Provisioning1.SetHotspot", &["boolean:true"]).await.expect("no panic");
    assert!(!works && output.contains("AccessDenied"), "{output}");
    let reset = call(ADMINISTRATOR, "org.jarvis.Provisioning1.Reset", &[]);
    let (called, ()) = tokio::join!(reset, scene.answer_reset(Answer::Reset(Vec::new())));
    let (works, output) = called.expect("no panic");
    assert!(works, "{output}");
}

#[tokio::test]
async fn a_stranger_cannot_have_the_name() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can be several users");
        return;
    }
    let policy = POLICY.replace("user=\"jarvis-provision\"", "user=\"daemon\"");
    let Some(bus) = PrivateBus::start_as_system(&policy) else { return };
    let request = |user: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(user).args(["dbus-send", &format!("--bus={}", bus.address()), "--print-reply"]);
        command.args(["--dest=org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.RequestName"]);
        let output = command.args([format!("string:{NAME}").as_str(), "uint32:4"]).output().expect("setpriv and dbus-send");
        output.status.success()
    };
    assert!(!request(STRANGER));
    assert!(!request(ADMINISTRATOR), "administrators neither");
    assert!(request(&["--reuid=daemon", "--regid=daemon", "--clear-groups"]), "the user of the service");
}
