//! The connection to the system bus: calls to `BlueZ`, and its calls and signals.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;
use zbus::message::{Flags, Type as Kind};
use zbus::names::OwnedUniqueName;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant, Variant};

use super::Error;
use super::application::ADVERTISEMENT_INTERFACE;

/// `BlueZ`'s name on the bus.
const BLUEZ: &str = "org.bluez";
const ADAPTER: &str = "org.bluez.Adapter1";
const DEVICE: &str = "org.bluez.Device1";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// `BlueZ` answers within milliseconds, and within seconds while it starts or while the adapter is busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// How long `BlueZ` collects values for a phone that can take several in one packet.
const COLLECTING: Duration = Duration::from_millis(10);

/// A call or a signal, in the order in which it was sent.
#[derive(Debug)]
pub(super) enum BusEvent {
    /// `BlueZ` calls one of our objects.
    Call(Message),
    /// The process that owns the name of `BlueZ` has ended or started.
    Owner,
    /// An object was added, possibly an adapter.
    Added,
    /// An adapter was removed.
    Removed(OwnedObjectPath),
    /// An adapter was switched off.
    PoweredOff(OwnedObjectPath),
    /// The connection to a device has ended.
    Disconnected(OwnedObjectPath),
    /// The machine continues after a suspend.
    Resumed,
}

/// An adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Adapter {
    pub(super) path: OwnedObjectPath,
    pub(super) address: String,
}

impl Adapter {
    /// Such as `hci0`.
    pub(super) fn name(&self) -> &str {
        self.path.as_str().rsplit('/').next().unwrap_or_default()
    }

    /// Whether a device is one of this adapter's.
    pub(super) fn has(&self, device: &OwnedObjectPath) -> bool {
        device.as_str().strip_prefix(self.path.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Whether the configured name or address is that of this adapter.
    pub(super) fn is(&self, wanted: &str) -> bool {
        self.name() == wanted || self.address.eq_ignore_ascii_case(wanted)
    }
}

/// A connection to the bus. Messages are moved at once into an unbounded queue, because an unread stream would block every
/// answer of the connection.
pub(super) struct Bus {
    connection: Connection,
    messages: mpsc::UnboundedReceiver<Message>,
    /// The unique name of `BlueZ`, whose calls alone are answered; none before it was found.
    owner: Option<OwnedUniqueName>,
    _reader: JoinSet<()>,
}

impl Bus {
    /// Connects to the bus at an address, or to the system bus, and subscribes to the signals of [`BusEvent`].
    pub(super) async fn connect(address: Option<&str>) -> Result<Self, Error> {
        let builder = match address {
            Some(address) => zbus::connection::Builder::address(address),
            None => zbus::connection::Builder::system(),
        };
        let connection = builder.build().await?;
        let mut stream = MessageStream::from(&connection);
        let (sender, messages) = mpsc::unbounded_channel();
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let bus = zbus::fdo::DBusProxy::new(&connection).await?;
        for rule in rules()? {
            bus.add_match_rule(rule).await.map_err(zbus::Error::from)?;
        }
        Ok(Self { connection, messages, owner: None, _reader: reader })
    }

    /// The adapters, in the order of their names. Starts `BlueZ` if it does not run.
    pub(super) async fn adapters(&mut self) -> Result<Vec<Adapter>, Error> {
        type Objects = HashMap<OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>>;
        let caller = self.caller();
        let answer = caller.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &()).await?;
        let bus = zbus::fdo::DBusProxy::new(&self.connection).await?;
        self.owner = Some(bus.get_name_owner(BLUEZ.try_into()?).await.map_err(zbus::Error::from)?);
        let mut adapters = Vec::new();
        for (path, interfaces) in answer.body().deserialize::<Objects>()? {
            let address = interfaces.get(ADAPTER).and_then(|properties| properties.get("Address"));
            if let Some(Variant::Str(address)) = address.map(|address| &**address) {
                adapters.push(Adapter { path, address: address.as_str().to_owned() });
            }
        }
        adapters.sort_by(|one, other| one.path.as_str().cmp(other.path.as_str()));
        Ok(adapters)
    }

    /// Whether an adapter is switched on.
    pub(super) async fn powered(&self, adapter: &Adapter) -> Result<bool, Error> {
        let answer = self.caller().call(adapter.path.as_str(), PROPERTIES, "Get", &(ADAPTER, "Powered")).await?;
        Ok(answer.body().deserialize::<Variant<'_>>()? == Variant::from(true))
    }

    /// Switches an adapter on.
    pub(super) async fn switch_on(&self, adapter: &Adapter) -> Result<(), Error> {
        let body = (ADAPTER, "Powered", Variant::from(true));
        self.caller().call(adapter.path.as_str(), PROPERTIES, "Set", &body).await.map(drop)
    }

    /// A name of an adapter: its `Alias`, or its `Name`, which is the host's.
    pub(super) async fn name(&self, adapter: &Adapter, property: &str) -> Result<String, Error> {
        let answer = self.caller().call(adapter.path.as_str(), PROPERTIES, "Get", &(ADAPTER, property)).await?;
        match answer.body().deserialize::<Variant<'_>>()? {
            Variant::Str(name) => Ok(name.as_str().to_owned()),
            _ => Err(zbus::Error::InvalidReply.into()),
        }
    }

    /// Changes the name of an adapter.
    pub(super) async fn set_alias(&self, adapter: &Adapter, name: &str) -> Result<(), Error> {
        let body = (ADAPTER, "Alias", Variant::from(name));
        self.caller().call(adapter.path.as_str(), PROPERTIES, "Set", &body).await.map(drop)
    }

    /// Whether `BlueZ` runs.
    pub(super) async fn is_running(&self) -> Result<bool, Error> {
        let bus = zbus::fdo::DBusProxy::new(&self.connection).await?;
        Ok(bus.name_has_owner(BLUEZ.try_into()?).await.map_err(zbus::Error::from)?)
    }

    /// A caller, which tasks can own.
    pub(super) fn caller(&self) -> Caller {
        Caller(self.connection.clone())
    }

    /// Answers a call, unless its caller expects no answer: the bus rejects unexpected ones.
    pub(super) async fn answer(&self, call: &Message, answer: &Message) -> Result<(), Error> {
        if !call.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED) {
            self.connection.send(answer).await?;
        }
        Ok(())
    }

    /// Signals that a property of an advertisement has changed. `BlueZ` then sends all of it to the kernel, and the kernel to the
    /// controller, though it has the same content.
    pub(super) async fn advertisement_changed(&self, path: &str, name: &str, value: Variant<'static>) -> Result<(), Error> {
        let body = (ADVERTISEMENT_INTERFACE, HashMap::from([(name, value)]), Vec::<&str>::new());
        self.connection.emit_signal(None::<&str>, path, PROPERTIES, "PropertiesChanged", &body).await?;
        debug!(path, "sending an advertisement to the controller again");
        Ok(())
    }

    /// The next call or signal. Cancel safe.
    pub(super) async fn next_event(&mut self) -> Result<BusEvent, Error> {
        loop {
            let message = self.messages.recv().await.ok_or(Error::BusLost)?;
            if let Some(event) = self.parse(message) {
                return Ok(event);
            }
        }
    }

    fn parse(&self, message: Message) -> Option<BusEvent> {
        let header = message.header();
        let path = || header.path().map(|path| OwnedObjectPath::from(path.to_owned()));
        match header.message_type() {
            Kind::MethodCall => {
                let authorized = header
                    .sender()
                    .is_some_and(|sender| self.owner.as_ref().is_some_and(|owner| owner.as_str() == sender.as_str()));
                if !authorized {
                    debug!(sender = ?header.sender(), "ignoring a call of another process");
                    return None;
                }
                drop(header);
                Some(BusEvent::Call(message))
            }
            Kind::Signal => match header.member()?.as_str() {
                "NameOwnerChanged" => Some(BusEvent::Owner),
                "InterfacesAdded" => Some(BusEvent::Added),
                "PrepareForSleep" => (message.body().deserialize::<bool>() == Ok(false)).then_some(BusEvent::Resumed),
                "InterfacesRemoved" => {
                    let body = message.body();
                    let (object, interfaces) = body.deserialize::<(OwnedObjectPath, Vec<String>)>().ok()?;
                    interfaces.iter().any(|interface| interface == ADAPTER).then_some(BusEvent::Removed(object))
                }
                "PropertiesChanged" => {
                    let body = message.body();
                    let (_, changed, _) = body.deserialize::<(&str, HashMap<&str, Variant<'_>>, Vec<&str>)>().ok()?;
                    let is_off = |property| changed.get(property) == Some(&Variant::from(false));
                    if is_off("Powered") {
                        path().map(BusEvent::PoweredOff)
                    } else if is_off("Connected") {
                        path().map(BusEvent::Disconnected)
                    } else {
                        None
                    }
                }
                _ => None,
            },
            Kind::MethodReturn | Kind::Error => None,
        }
    }
}

fn rules() -> zbus::Result<[MatchRule<'static>; 6]> {
    let signal = |sender: &'static str, interface: &'static str, member: &'static str| {
        MatchRule::builder().msg_type(Kind::Signal).sender(sender).interface(interface).member(member)
    };
    let objects = "org.freedesktop.DBus.ObjectManager";
    Ok([
        signal("org.freedesktop.DBus", "org.freedesktop.DBus", "NameOwnerChanged").arg(0, BLUEZ).build()?,
        signal(BLUEZ, objects, "InterfacesAdded").build()?,
        signal(BLUEZ, objects, "InterfacesRemoved").build()?,
        signal(BLUEZ, PROPERTIES, "PropertiesChanged").arg(0, ADAPTER).build()?,
        signal(BLUEZ, PROPERTIES, "PropertiesChanged").arg(0, DEVICE).build()?,
        signal("org.freedesktop.login1", "org.freedesktop.login1.Manager", "PrepareForSleep").build()?,
    ])
}

/// Calls `BlueZ`; clones share the connection.
#[derive(Clone, Debug)]
pub(super) struct Caller(Connection);

impl Caller {
    /// Calls a method, and waits for its answer for at most [`ANSWER_LIMIT`].
    pub(super) async fn call<B>(&self, path: &str, interface: &str, member: &'static str, body: &B) -> Result<Message, Error>
    where
        B: serde::Serialize + zbus::DynamicType + Sync,
    {
        match timeout(ANSWER_LIMIT, self.0.call_method(Some(BLUEZ), path, Some(interface), member, body)).await {
            Err(_) => Err(Error::Late { member }),
            Ok(Err(source)) => Err(Error::Refused { member, source }),
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    /// Waits until `BlueZ` has sent the value that was written to the socket of a subscription.
    ///
    /// For a phone that can take several values in one packet, `BlueZ` collects values from the first one on. Version 5.55 cuts
    /// off what exceeds the packet, and as a phone's stack it misreads all values but the first. It has read the value, which
    /// starts the time, when it answers the first call; it has sent the packet when it answers the second.
    pub(super) async fn values_sent(self) {
        self.ping().await;
        tokio::time::sleep(COLLECTING).await;
        self.ping().await;
    }

    /// Any answer shows that `BlueZ` has done what it had to do before. A `BlueZ` that does not answer sends nothing either.
    async fn ping(&self) {
        if let Err(error) = self.call("/", "org.freedesktop.DBus.Peer", "Ping", &()).await {
            debug!(%error, "waiting for a value to be sent");
        }
    }
}
