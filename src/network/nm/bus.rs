//! The connection to the system bus, and its events.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_core::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;
use zbus::proxy::{CacheProperties, Defaults};
use zbus::{Connection, MatchRule, Message, MessageStream, ObjectPath, OwnedObjectPath, OwnedVariant, Variant, message};

use super::cause::{Call, Cause};
use super::outcome::Change;

/// NetworkManager's name on the bus.
const SERVICE: &str = "org.freedesktop.NetworkManager";
/// NetworkManager's main object.
pub(super) const ROOT: &str = "/org/freedesktop/NetworkManager";
/// NetworkManager answers within milliseconds, unless it waits for polkit or hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// The interfaces whose changes an inspection has to know. Those of the radio and of stations in range are left out: bit rate
/// and strengths change all the time, and each signal wakes the processor. A device that enters another network, or becomes
/// an access point, changes its state as well.
const WATCHED: [&str; 4] = [
    "org.freedesktop.NetworkManager",
    "org.freedesktop.NetworkManager.Device",
    "org.freedesktop.NetworkManager.IP4Config",
    "org.freedesktop.NetworkManager.IP6Config",
];

/// The interface that has the time of the last scan.
const WIRELESS: &str = "org.freedesktop.NetworkManager.Device.Wireless";

/// Concurrent calls: far below the bus's limit per connection.
const UNDER_WAY: usize = 16;

/// An event on the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A device changed its state.
    State { device: OwnedObjectPath, change: Change },
    /// A device finished a scan.
    Scanned { device: OwnedObjectPath },
    /// A device was removed.
    Removed { device: OwnedObjectPath },
    /// NetworkManager appeared on the bus, or left it.
    Service { present: bool },
}

/// A connection to the bus.
///
/// Subscribes to all events but scans at the start, so that no event of an activation is missed, and reads them at once into
/// an unbounded queue, because an unread stream would block every answer of the connection.
pub(super) struct Bus {
    connection: Connection,
    events: mpsc::UnboundedReceiver<Event>,
    /// The way into the queue of events, as long as a reader has it.
    event: mpsc::WeakUnboundedSender<Event>,
    /// Counts the signals that may change what an inspection reads.
    signals: Arc<AtomicU64>,
    _readers: JoinSet<()>,
}

/// A subscription to the ends of scans, until it is dropped.
pub(super) struct Scans {
    _reader: JoinSet<()>,
}

impl Bus {
    /// Connects to the bus at an address, or to the system's, and subscribes.
    pub(super) async fn connect(address: Option<&str>) -> Result<Self, Cause> {
        let connecting = async {
            let builder = match address {
                Some(address) => zbus::connection::Builder::address(address),
                None => zbus::connection::Builder::system(),
            };
            let connection = builder.build().await?;
            let (event, events) = mpsc::unbounded_channel();
            let signals = Arc::<AtomicU64>::default();
            let mut readers = JoinSet::new();
            for rule in rules()? {
                let stream = MessageStream::for_match_rule(rule, &connection, None).await?;
                readers.spawn(read(stream, event.clone(), Arc::clone(&signals)));
            }
            Ok(Self { connection, events, event: event.downgrade(), signals, _readers: readers })
        };
        timeout(ANSWER_LIMIT, connecting)
            .await
            .map_err(|_| Cause::Late { call: "the system bus", after: ANSWER_LIMIT })?
            .map_err(Cause::Bus)
    }

    /// Subscribes to the ends of scans, which then are events.
    pub(super) async fn scans(&self) -> Result<Scans, Cause> {
        let call = Call { name: "AddMatch", action: "" };
        let stream = self.call(call, self.changes_of(SERVICE, WIRELESS)).await?;
        let event = self.event.upgrade().ok_or(Cause::BusLost)?;
        let mut reader = JoinSet::new();
        // What a scan finds is in no inspection.
        reader.spawn(read(stream, event, Arc::default()));
        Ok(Scans { _reader: reader })
    }

    /// Whether the connection is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// How many signals have arrived that may change what an inspection reads.
    pub(super) fn signals(&self) -> u64 {
        self.signals.load(Ordering::Relaxed)
    }

    /// The next event; none when the connection is closed. Cancel-safe.
    pub(super) async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// An event that has already arrived.
    pub(super) fn past_event(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// Whether NetworkManager is on the bus.
    pub(super) async fn has_service(&self) -> Result<bool, Cause> {
        self.has(SERVICE).await
    }

    /// Whether a name is on the bus.
    pub(super) async fn has(&self, name: &str) -> Result<bool, Cause> {
        let call = Call { name: "NameHasOwner", action: "" };
        let asking = async {
            let proxy = zbus::fdo::DBusProxy::new(&self.connection).await?;
            Ok(proxy.name_has_owner(name.try_into()?).await?)
        };
        self.call(call, asking).await
    }

    /// A proxy of one of NetworkManager's objects.
    pub(super) async fn proxy<'a, P>(&self, path: ObjectPath<'a>) -> Result<P, Cause>
    where
        P: From<zbus::Proxy<'a>> + Defaults,
    {
        // A cache would need a task and a subscription per object.
        let builder = zbus::proxy::Builder::new(&self.connection).path(path).cache_properties(CacheProperties::No);
        builder.build().await.map_err(|source| Cause::of(Call { name: "a proxy", action: "" }, source))
    }

    /// Waits for an answer, with a time limit.
    pub(super) async fn call<T>(&self, call: Call, answer: impl Future<Output = zbus::Result<T>>) -> Result<T, Cause> {
        match timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) if self.is_closed() => Err(Cause::BusLost),
            Ok(Err(source)) => Err(Cause::of(call, source)),
            Err(_) => Err(Cause::Late { call: call.name, after: ANSWER_LIMIT }),
        }
    }

    /// The changes of properties of an interface of another service.
    pub(super) async fn changes_of(&self, service: &'static str, interface: &'static str) -> zbus::Result<MessageStream> {
        let rule = MatchRule::builder().msg_type(message::Type::Signal).interface("org.freedesktop.DBus.Properties");
        let rule = rule.sender(service).member("PropertiesChanged").arg(0, interface).build()?;
        MessageStream::for_match_rule(rule, &self.connection, None).await
    }

    /// A signal of an interface of another service: of that object, or of every one.
    pub(super) async fn signals_of(
        &self,
        service: &'static str,
        object: Option<&OwnedObjectPath>,
        interface: &'static str,
        member: &'static str,
    ) -> zbus::Result<MessageStream> {
        let rule = MatchRule::builder().msg_type(message::Type::Signal).sender(service).interface(interface).member(member);
        let rule = match object {
            Some(object) => rule.path(object.as_str()),
            None => rule,
        };
        MessageStream::for_match_rule(rule.build()?, &self.connection, None).await
    }

    /// Sets a property of another service.
    pub(super) async fn set(
        &self,
        service: &'static str,
        path: &ObjectPath<'_>,
        interface: &'static str,
        name: &'static str,
        value: Variant<'_>,
    ) -> zbus::Result<()> {
        let proxy = self.properties_of(service, path).await?;
        Ok(proxy.set(interface.try_into()?, name, &value).await?)
    }

    /// Reads a property of another service.
    pub(super) async fn get(
        &self,
        service: &'static str,
        path: &ObjectPath<'_>,
        interface: &'static str,
        name: &'static str,
    ) -> zbus::Result<OwnedVariant> {
        let proxy = self.properties_of(service, path).await?;
        Ok(proxy.get(interface.try_into()?, name).await?)
    }

    async fn properties_of<'a>(
        &self,
        service: &'static str,
        path: &'a ObjectPath<'_>,
    ) -> zbus::Result<zbus::fdo::PropertiesProxy<'a>> {
        let builder = zbus::fdo::PropertiesProxy::builder(&self.connection).destination(service).path(path);
        builder.cache_properties(CacheProperties::No).build().await
    }

    /// All properties of an interface of an object.
    pub(super) async fn properties(&self, path: &ObjectPath<'_>, interface: &'static str) -> Result<Properties, Cause> {
        let call = Call { name: interface, action: "" };
        let asking = async {
            let proxy = self.properties_of(SERVICE, path).await?;
            Ok(proxy.get_all(interface.try_into()?).await?)
        };
        Ok(Properties { interface, values: self.call(call, asking).await? })
    }

    /// The same of many objects, in their order. The calls run concurrently, because sequential calls take longer than all
    /// processing of their answers.
    pub(super) async fn properties_of_all<'a>(
        &self,
        paths: &'a [OwnedObjectPath],
        interface: &'static str,
    ) -> Vec<(&'a OwnedObjectPath, Result<Properties, Cause>)> {
        let mut read = Vec::with_capacity(paths.len());
        for paths in paths.chunks(UNDER_WAY) {
            let asking = paths.iter().map(async |path| (path, self.properties(path, interface).await));
            read.extend(futures_util::future::join_all(asking).await);
        }
        read
    }
}

/// The properties of an object, read at once.
pub(super) struct Properties {
    interface: &'static str,
    values: HashMap<String, OwnedVariant>,
}

impl Properties {
    /// A property; none if it is missing, as in an older NetworkManager, or has another type.
    pub(super) fn take<T: TryFrom<OwnedVariant>>(&mut self, name: &str) -> Option<T> {
        T::try_from(self.values.remove(name)?).ok()
    }

    /// A property that every version has.
    pub(super) fn need<T: TryFrom<OwnedVariant>>(&mut self, member: &'static str) -> Result<T, Cause> {
        self.take(member).ok_or(Cause::Answer { call: self.interface, member })
    }
}

/// The subscribed signals.
fn rules() -> zbus::Result<Vec<MatchRule<'static>>> {
    let signal = |interface: &'static str, member: &'static str| {
        MatchRule::builder().msg_type(message::Type::Signal).interface(interface).member(member)
    };
    let mut rules = vec![
        signal("org.freedesktop.NetworkManager.Device", "StateChanged").sender(SERVICE).build()?,
        signal("org.freedesktop.NetworkManager", "DeviceRemoved").sender(SERVICE).build()?,
        signal("org.freedesktop.DBus", "NameOwnerChanged").sender("org.freedesktop.DBus").arg(0, SERVICE).build()?,
    ];
    for interface in WATCHED {
        let changed = signal("org.freedesktop.DBus.Properties", "PropertiesChanged");
        rules.push(changed.sender(SERVICE).arg(0, interface).build()?);
    }
    Ok(rules)
}

async fn next(stream: &mut MessageStream) -> Option<zbus::Result<Message>> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// Counts the signals of a stream, and queues those that are events, until the connection or the queue is closed.
async fn read(mut stream: MessageStream, event: mpsc::UnboundedSender<Event>, signals: Arc<AtomicU64>) {
    while let Some(message) = next(&mut stream).await {
        signals.fetch_add(1, Ordering::Relaxed);
        let Some(heard) = message.ok().as_ref().and_then(understand) else { continue };
        if event.send(heard).is_err() {
            break;
        }
    }
}

/// Parses a signal; none if it is irrelevant or malformed.
fn understand(message: &Message) -> Option<Event> {
    let header = message.header();
    let body = message.body();
    let path = || header.path().map(|path| OwnedObjectPath::from(path.to_owned()));
    let event = match header.member()?.as_str() {
        "StateChanged" => body.deserialize::<(u32, u32, u32)>().map(|(new, old, reason)| {
            let change = Change { new: new.into(), old: old.into(), reason: reason.into() };
            path().map(|device| Event::State { device, change })
        }),
        "DeviceRemoved" => body.deserialize::<OwnedObjectPath>().map(|device| Some(Event::Removed { device })),
        "NameOwnerChanged" => {
            body.deserialize::<(&str, &str, &str)>().map(|(_, _, owner)| Some(Event::Service { present: !owner.is_empty() }))
        }
        "PropertiesChanged" => body.deserialize::<(&str, HashMap<&str, Variant<'_>>, Vec<&str>)>().map(|(_, changed, _)| {
            let device = path().filter(|_| changed.contains_key("LastScan"));
            device.map(|device| Event::Scanned { device })
        }),
        _ => Ok(None),
    };
    event.unwrap_or_else(|error| {
        debug!(%error, member = ?header.member(), "NetworkManager sent a signal of an unexpected type");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_node_is_not_woken_by_a_new_bit_rate_or_strength() {
        for rule in rules().expect("valid rules") {
            let rule = rule.to_string();
            assert!(!rule.contains("Wireless") && !rule.contains("AccessPoint"), "{rule}");
            assert!(!rule.contains("PropertiesChanged") || rule.contains("arg0"), "{rule}");
        }
    }
}
