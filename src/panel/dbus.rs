//! The object `org.jarvis.Provisioning1` on the system bus, for other software on the device: a screen, a light, a voice.
//!
//! Every user may read the properties and call `Diagnose`. The bus lets only root and administrators call the methods that
//! change something: the policy is in `packaging/jarvis-provisioning.dbus.conf`. `docs/dbus.md` is the reference.
//!
//! The node works without a bus, and while another process has the name: it tries again after a pause.

pub mod interface;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use zbus::fdo::{RequestNameFlags, RequestNameReply};
use zbus::message::{Flags, Type as Kind};
use zbus::{Connection, DynamicType, Message, MessageStream, Variant};

use super::{Changes, Error, Panel, Shown};
use interface::{ATTEMPT_ENDED, NAME, PATH, PROPERTIES, describe};
use provisioning_core::backoff::{Backoff, Jitter};
use provisioning_core::care::diagnosis::diagnose;
use provisioning_core::domain::State;
use provisioning_core::fault::chain;

/// Pauses between tries to serve. An hour of them wakes the device up sixty times.
const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1), Jitter::None);
/// The bus answers within milliseconds, unless the machine is starting.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Callers of `Diagnose` that may wait for the diagnosis in progress; each one is answered with the same.
const WAITING: usize = 64;
/// Operations that may be in progress; they are for administrators.
const OPERATIONS: usize = 16;

const PROPERTIES_INTERFACE: &str = "org.freedesktop.DBus.Properties";

/// Why the object is not on the bus.
#[derive(Debug, thiserror::Error)]
enum Unavailable {
    #[error("using the bus")]
    Bus(#[from] zbus::Error),
    #[error("the bus does not answer")]
    Late,
    #[error("another process has the name {NAME}")]
    Taken,
    #[error("the connection to the bus was lost")]
    Lost,
    #[error("the node is stopping")]
    Stopping,
}

/// Serves the object until `shutdown` is ready, or until the loop of provisioning has ended. `bus` is the address of another bus
/// than the system's.
pub async fn serve(panel: Panel, bus: Option<String>, shutdown: impl Future<Output = ()>) {
    tokio::select! {
        () = shutdown => {}
        () = retry(&panel, bus.as_deref()) => {}
    }
}

async fn retry(panel: &Panel, bus: Option<&str>) {
    let mut reported = String::new();
    let mut failed = 0;
    loop {
        let mut served = false;
        let Err(error) = serve_once(panel, bus, &mut served).await;
        if matches!(error, Unavailable::Stopping) {
            return;
        }
        if served {
            failed = 0;
            reported.clear();
        }
        // The same reason is logged once as a warning, not at every try.
        let text = chain(&error);
        if text == reported {
            debug!("still no object on the system bus: {text}");
        } else {
            warn!("other software on the device cannot see the node's state: {text}");
            reported = text;
        }
        failed += 1;
        sleep(RETRIES.nominal(failed)).await;
    }
}

/// Serves the object on one connection. `served` becomes true when it has the name.
async fn serve_once(panel: &Panel, bus: Option<&str>, served: &mut bool) -> Result<Infallible, Unavailable> {
    let (connection, mut calls) = timeout(ANSWER_LIMIT, connect(bus)).await.map_err(|_| Unavailable::Late)??;
    *served = true;
    info!("{NAME} is on the system bus");
    let mut changes = panel.shown();
    let mut tasks = Tasks { panel, diagnosing: JoinSet::new(), waiting: Vec::new(), operations: JoinSet::new() };
    loop {
        tokio::select! {
            call = calls.next() => {
                let call = call.ok_or(Unavailable::Lost)??;
                if call.message_type() == Kind::MethodCall
                    && let Some(answer) = tasks.call(call, changes.last())?
                {
                    connection.send(&answer).await?;
                }
            }
            changed = shown(&mut changes) => {
                let (before, now) = changed.ok_or(Unavailable::Stopping)?;
                announce(&connection, &before, now).await?;
            }
            Some(layers) = tasks.diagnosing.join_next() => {
                for call in std::mem::take(&mut tasks.waiting) {
                    let answer = match &layers {
                        Ok(layers) => Message::method_return(&call.header()).build(layers)?,
                        Err(_) => error(&call, "Failed", "the diagnosis has failed")?,
                    };
                    connection.send(&answer).await?;
                }
            }
            Some(Ok((call, result))) = tasks.operations.join_next() => {
                let answer = match result {
                    Ok(()) => Message::method_return(&call.header()).build(&())?,
                    Err(failure) => refused(&call, &failure)?,
                };
                if is_answered(&call) {
                    connection.send(&answer).await?;
                }
            }
        }
    }
}

/// Connects, and takes the name. Calls are received from before that on.
async fn connect(bus: Option<&str>) -> Result<(Connection, MessageStream), Unavailable> {
    let builder = match bus {
        Some(address) => zbus::connection::Builder::address(address),
        None => zbus::connection::Builder::system(),
    };
    let connection = builder.build().await?;
    let calls = MessageStream::from(&connection);
    match connection.request_name_with_flags(NAME, RequestNameFlags::DO_NOT_QUEUE).await {
        Ok(RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner) => Ok((connection, calls)),
        Ok(RequestNameReply::Exists | RequestNameReply::InQueue) | Err(zbus::Error::NameTaken) => Err(Unavailable::Taken),
        Err(error) => Err(error.into()),
    }
}

/// The value that was shown before, and the next one.
async fn shown(changes: &mut Changes) -> Option<(Shown, &Shown)> {
    let before = changes.last().clone();
    changes.next().await.map(|now| (before, now))
}

/// Signals what has changed.
async fn announce(connection: &Connection, before: &Shown, now: &Shown) -> zbus::Result<()> {
    let changed = properties(|property| property.value(before) != property.value(now), now);
    if !changed.is_empty() {
        let body = (NAME, changed, Vec::<&str>::new());
        connection.emit_signal(None::<&str>, PATH, PROPERTIES_INTERFACE, "PropertiesChanged", &body).await?;
    }
    if now.state != before.state && matches!(now.state, State::Provisioned | State::Online | State::Error) {
        let body = (now.last_outcome, now.failure);
        connection.emit_signal(None::<&str>, PATH, NAME, ATTEMPT_ENDED, &body).await?;
    }
    Ok(())
}

fn properties(wanted: impl Fn(&interface::Property) -> bool, shown: &Shown) -> BTreeMap<&'static str, Variant<'static>> {
    PROPERTIES.iter().filter(|property| wanted(property)).map(|property| (property.name, property.value(shown))).collect()
}

/// A layer, its verdict, the evidence, and what to do.
type Layers = Vec<(&'static str, &'static str, String, String)>;

/// The calls that are not answered at once.
struct Tasks<'a> {
    panel: &'a Panel,
    diagnosing: JoinSet<Layers>,
    waiting: Vec<Message>,
    operations: JoinSet<(Message, Result<(), Error>)>,
}

impl Tasks<'_> {
    /// Handles a call; returns its answer, unless the answer comes later or the caller expects none.
    fn call(&mut self, call: Message, shown: &Shown) -> zbus::Result<Option<Message>> {
        let header = call.header();
        let path = header.path().map(|path| path.as_str().to_owned()).unwrap_or_default();
        let interface = header.interface().map(|name| name.as_str().to_owned());
        let member = header.member().map(|name| name.as_str().to_owned()).unwrap_or_default();
        drop(header);
        let is_of = |name: &str| interface.as_deref().is_none_or(|interface| interface == name);
        if is_of("org.freedesktop.DBus.Peer") && member == "Ping" {
            return answer(&call, &());
        }
        if is_of("org.freedesktop.DBus.Introspectable") && member == "Introspect" {
            return match describe(&path) {
                Some(text) => answer(&call, &text),
                None => refuse(&call, "org.freedesktop.DBus.Error.UnknownObject", "there is no object at this path"),
            };
        }
        if path != PATH {
            return refuse(&call, "org.freedesktop.DBus.Error.UnknownObject", "there is no object at this path");
        }
        if is_of(PROPERTIES_INTERFACE) && ["Get", "GetAll", "Set"].contains(&member.as_str()) {
            return read(&call, &member, shown);
        }
        if is_of(NAME) {
            return self.operate(call, &member);
        }
        refuse(&call, UNKNOWN_METHOD, "there is no such method")
    }

    fn operate(&mut self, call: Message, member: &str) -> zbus::Result<Option<Message>> {
        if member == "Diagnose" {
            return self.diagnose(call);
        }
        if self.operations.len() >= OPERATIONS {
            return refuse(&call, &format!("{NAME}.Error.Busy"), "too many calls are in progress");
        }
        let panel = self.panel.clone();
        match member {
            "Reset" => drop(self.operations.spawn(async move { (call, panel.reset().await) })),
            "Authorize" => drop(self.operations.spawn(async move { (call, panel.authorize().await) })),
            "Recover" => drop(self.operations.spawn(async move { (call, panel.recover().await) })),
            "SetHotspot" => match call.body().deserialize::<bool>() {
                Ok(open) => drop(self.operations.spawn(async move { (call, panel.hotspot(open).await) })),
                Err(_) => return refuse(&call, INVALID, "the argument is a boolean"),
            },
            _ => return refuse(&call, UNKNOWN_METHOD, "there is no such method"),
        }
        Ok(None)
    }

    /// One diagnosis answers all that wait for it: every user may call it, and it sends packets.
    fn diagnose(&mut self, call: Message) -> zbus::Result<Option<Message>> {
        if self.waiting.len() >= WAITING {
            return refuse(&call, &format!("{NAME}.Error.Busy"), "too many calls are in progress");
        }
        if is_answered(&call) {
            self.waiting.push(call);
        }
        if self.diagnosing.is_empty() {
            let evidence = self.panel.diagnose();
            self.diagnosing.spawn(async move { layers(&evidence.await) });
        }
        Ok(None)
    }
}

fn layers(evidence: &provisioning_core::care::diagnosis::Evidence) -> Layers {
    let row = |finding: provisioning_core::care::diagnosis::Finding| {
        let advice = finding.advice.map(std::borrow::Cow::into_owned).unwrap_or_default();
        (finding.layer.name(), finding.verdict.name(), finding.evidence, advice)
    };
    diagnose(evidence).into_iter().map(row).collect()
}

const UNKNOWN_METHOD: &str = "org.freedesktop.DBus.Error.UnknownMethod";
const INVALID: &str = "org.freedesktop.DBus.Error.InvalidArgs";

/// A call of the interface of properties.
fn read(call: &Message, member: &str, shown: &Shown) -> zbus::Result<Option<Message>> {
    let body = call.body();
    match member {
        "Get" => match body.deserialize::<(&str, &str)>() {
            Ok((NAME | "", name)) => match PROPERTIES.iter().find(|property| property.name == name) {
                Some(property) => answer(call, &property.value(shown)),
                None => refuse(call, "org.freedesktop.DBus.Error.UnknownProperty", "there is no such property"),
            },
            Ok(_) => refuse(call, UNKNOWN_INTERFACE, "the object has no such interface"),
            Err(_) => refuse(call, INVALID, "the arguments are an interface and a property"),
        },
        "GetAll" => match body.deserialize::<&str>() {
            Ok(NAME | "") => answer(call, &properties(|_| true, shown)),
            // The standard interfaces have no properties.
            Ok(name) if name.starts_with("org.freedesktop.DBus.") => answer(call, &properties(|_| false, shown)),
            Ok(_) => refuse(call, UNKNOWN_INTERFACE, "the object has no such interface"),
            Err(_) => refuse(call, INVALID, "the argument is an interface"),
        },
        _ => refuse(call, "org.freedesktop.DBus.Error.PropertyReadOnly", "the properties can only be read"),
    }
}

const UNKNOWN_INTERFACE: &str = "org.freedesktop.DBus.Error.UnknownInterface";

/// Whether the caller expects an answer: the bus rejects others.
fn is_answered(call: &Message) -> bool {
    !call.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED)
}

fn answer<B: serde::Serialize + DynamicType>(call: &Message, body: &B) -> zbus::Result<Option<Message>> {
    is_answered(call).then(|| Message::method_return(&call.header()).build(body)).transpose()
}

fn refuse(call: &Message, name: &str, text: &str) -> zbus::Result<Option<Message>> {
    is_answered(call).then(|| Message::error(&call.header(), name.to_owned()).build(&text)).transpose()
}

fn error(call: &Message, name: &str, text: &str) -> zbus::Result<Message> {
    Message::error(&call.header(), format!("{NAME}.Error.{name}")).build(&text)
}

fn refused(call: &Message, failure: &Error) -> zbus::Result<Message> {
    let name = match failure {
        Error::Failed(_) => "Failed",
        Error::Care(_) => "Refused",
        Error::WithoutCare => "WithoutNetworkCare",
        Error::NothingToAuthorize => "NothingToAuthorize",
        Error::Stopping => "Stopping",
    };
    error(call, name, &failure.to_string())
}
