//! `wpa_supplicant` on the bus: its calls and its signals.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream as _;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zbus::wire::DynamicDeserialize;
use zbus::{Connection, DynamicType, MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant, Variant, message};

use super::cause::Cause;
use super::outcome::Report;
use crate::network::nm::supplicant::{INTERFACE, ROOT, SERVICE, of_login};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const NETWORK: &str = "fi.w1.wpa_supplicant1.Network";
const STATION: &str = "fi.w1.wpa_supplicant1.BSS";
/// The supplicant answers within milliseconds; on a slow board the bus may have to start it.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The `id_str` of the network that this program gives the supplicant, and the beginning of the names of its files.
pub(super) const OURS: &str = "jarvis-provision";

/// Properties of an object.
pub(super) type Values = HashMap<String, OwnedVariant>;

/// What the supplicant tells by itself.
#[derive(Debug)]
pub(super) enum Event {
    /// Properties of a radio have changed.
    Changed(Report),
    /// A scan has ended; false if it failed.
    Scanned(bool),
    /// A key does not match, which versions since 2.11 tell.
    Mismatch,
    /// A status of a login, and its parameter.
    Login(String, String),
    /// It appeared on the bus, or left it.
    Service(bool),
}

/// A connection to the bus.
///
/// Reads all signals at once into an unbounded queue, because an unread stream would block every answer of the connection.
pub(super) struct Bus {
    connection: Connection,
    events: mpsc::UnboundedReceiver<Event>,
    _readers: JoinSet<()>,
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
            let mut readers = JoinSet::new();
            for rule in rules()? {
                let mut stream = MessageStream::for_match_rule(rule, &connection, None).await?;
                let event = event.clone();
                readers.spawn(async move {
                    while let Some(message) = poll_fn(|context| Pin::new(&mut stream).poll_next(context)).await {
                        let Some(heard) = message.ok().as_ref().and_then(understand) else { continue };
                        if event.send(heard).is_err() {
                            break;
                        }
                    }
                });
            }
            Ok(Self { connection, events, _readers: readers })
        };
        let late = Cause::Late { call: "the system bus", after: ANSWER_LIMIT };
        timeout(ANSWER_LIMIT, connecting).await.map_err(|_| late)?.map_err(Cause::Bus)
    }

    /// Whether the connection is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// The next event; none when the connection is closed. Cancel-safe.
    pub(super) async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Passes over what was told before.
    pub(super) fn catch_up(&mut self) {
        while self.events.try_recv().is_ok() {}
    }

    async fn ask<B: Serialize + DynamicType>(
        &self,
        path: &str,
        interface: &'static str,
        method: &'static str,
        body: &B,
    ) -> Result<Message, Cause> {
        match timeout(ANSWER_LIMIT, self.connection.call_method(Some(SERVICE), path, Some(interface), method, body)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) if self.is_closed() => Err(Cause::BusLost),
            Ok(Err(source)) => Err(Cause::of(method, source)),
            Err(_) => Err(Cause::Late { call: method, after: ANSWER_LIMIT }),
        }
    }

    async fn call<R>(
        &self,
        path: &str,
        interface: &'static str,
        method: &'static str,
        body: &(impl Serialize + DynamicType),
    ) -> Result<R, Cause>
    where
        R: for<'d> DynamicDeserialize<'d>,
    {
        let answer = self.ask(path, interface, method, body).await?;
        answer.body().deserialize().map_err(|source| Cause::of(method, source))
    }

    /// The properties of the radio, of a network or of a station.
    async fn values(&self, path: &str, interface: &'static str) -> Result<Values, Cause> {
        self.call(path, PROPERTIES, "GetAll", &(interface,)).await
    }

    /// Whether a name is on the bus.
    pub(super) async fn has(&self, name: &str) -> bool {
        let asking = async {
            let proxy = zbus::fdo::DBusProxy::new(&self.connection).await?;
            Ok::<_, zbus::Error>(proxy.name_has_owner(name.try_into()?).await?)
        };
        matches!(timeout(ANSWER_LIMIT, asking).await, Ok(Ok(true)))
    }

    /// Whether NetworkManager runs, and manages an interface.
    pub(super) async fn has_network_manager(&self, interface: &str) -> bool {
        const NAME: &str = "org.freedesktop.NetworkManager";
        if !self.has(NAME).await {
            return false;
        }
        let asking = async {
            let path = "/org/freedesktop/NetworkManager";
            let answer = self.connection.call_method(Some(NAME), path, Some(NAME), "GetDeviceByIpIface", &(interface,)).await?;
            let device: OwnedObjectPath = answer.body().deserialize()?;
            let property = ("org.freedesktop.NetworkManager.Device", "Managed");
            let answer = self.connection.call_method(Some(NAME), &device, Some(PROPERTIES), "Get", &property).await?;
            let managed: OwnedVariant = answer.body().deserialize()?;
            Ok::<_, zbus::Error>(bool::try_from(managed).unwrap_or(true))
        };
        // It does not know an interface that it does not manage, perhaps.
        matches!(timeout(ANSWER_LIMIT, asking).await, Ok(Ok(true)))
    }

    /// The object of a radio; none if the supplicant does not have it.
    pub(super) async fn radio(&self, interface: &str) -> Result<Option<OwnedObjectPath>, Cause> {
        match self.call(ROOT, SERVICE, "GetInterface", &(interface,)).await {
            Ok(path) => Ok(Some(path)),
            Err(cause) if cause.error_name() == Some("fi.w1.wpa_supplicant1.InterfaceUnknown") => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// Gives the supplicant a radio, with a configuration of the system. Only root may.
    pub(super) async fn create(&self, interface: &str, file: Option<&str>) -> Result<(), Cause> {
        let mut options = HashMap::from([("Ifname", Variant::from(interface))]);
        options.extend(file.map(|file| ("ConfigFile", Variant::from(file))));
        let made: Result<OwnedObjectPath, Cause> = self.call(ROOT, SERVICE, "CreateInterface", &(options,)).await;
        match made {
            Err(cause) if cause.error_name() == Some("fi.w1.wpa_supplicant1.InterfaceExists") => Ok(()),
            made => made.map(drop),
        }
    }

    /// Takes a radio from the supplicant. Only root may.
    pub(super) async fn remove(&self, radio: &OwnedObjectPath) -> Result<(), Cause> {
        self.ask(ROOT, SERVICE, "RemoveInterface", &(radio,)).await.map(drop)
    }

    /// Changes a setting of a radio. Only root may.
    pub(super) async fn set(&self, radio: &str, name: &'static str, value: Variant<'_>) -> Result<(), Cause> {
        self.ask(radio, PROPERTIES, "Set", &(INTERFACE, name, value)).await.map(drop)
    }

    /// The properties of a radio.
    pub(super) async fn of_radio(&self, radio: &str) -> Result<Values, Cause> {
        self.values(radio, INTERFACE).await
    }

    /// The properties of a station.
    pub(super) async fn of_station(&self, station: &str) -> Result<Values, Cause> {
        self.values(station, STATION).await
    }

    /// Starts a scan: for all names, and for one that is not broadcast.
    pub(super) async fn scan(&self, radio: &str, name: Option<&[u8]>) -> Result<(), Cause> {
        let mut options = HashMap::from([("Type", Variant::from("active"))]);
        // The empty name asks for all.
        options.extend(name.map(|name| ("SSIDs", Variant::from(vec![name.to_vec(), Vec::new()]))));
        self.ask(radio, INTERFACE, "Scan", &(options,)).await.map(drop)
    }

    /// Adds a network, and joins it in place of all others.
    pub(super) async fn select(&self, radio: &str, mut network: HashMap<&str, Variant<'_>>) -> Result<OwnedObjectPath, Cause> {
        network.insert("id_str", OURS.into());
        let path: OwnedObjectPath = self.call(radio, INTERFACE, "AddNetwork", &(network,)).await?;
        self.ask(radio, INTERFACE, "SelectNetwork", &(&path,)).await?;
        Ok(path)
    }

    /// Removes the networks of this program, also those of an earlier run.
    pub(super) async fn remove_ours(&self, radio: &str) -> Result<(), Cause> {
        let networks: Vec<OwnedObjectPath> = take(&mut self.of_radio(radio).await?, "Networks").unwrap_or_default();
        for network in networks {
            let properties: Option<HashMap<String, OwnedVariant>> =
                take(&mut self.values(&network, NETWORK).await.unwrap_or_default(), "Properties");
            let id: Option<String> = properties.and_then(|mut properties| take(&mut properties, "id_str"));
            if id.is_some_and(|id| id.trim_matches('"') == OURS) {
                self.ask(radio, INTERFACE, "RemoveNetwork", &(&network,)).await?;
            }
        }
        Ok(())
    }
}

/// A property; none if it is missing, or has another type.
pub(super) fn take<T: TryFrom<OwnedVariant>>(values: &mut Values, name: &str) -> Option<T> {
    T::try_from(values.remove(name)?).ok()
}

/// The subscribed signals.
fn rules() -> zbus::Result<Vec<MatchRule<'static>>> {
    let signal = || MatchRule::builder().msg_type(message::Type::Signal);
    Ok(vec![
        signal().sender(SERVICE).interface(PROPERTIES).member("PropertiesChanged").arg(0, INTERFACE).build()?,
        signal().sender(SERVICE).interface(INTERFACE).member("ScanDone").build()?,
        signal().sender(SERVICE).interface(INTERFACE).member("PskMismatch").build()?,
        signal().sender(SERVICE).interface(INTERFACE).member("EAP").build()?,
        signal().sender("org.freedesktop.DBus").member("NameOwnerChanged").arg(0, SERVICE).build()?,
    ])
}

/// Parses a signal; none if it is irrelevant or malformed.
fn understand(message: &Message) -> Option<Event> {
    let body = message.body();
    match message.header().member()?.as_str() {
        "PropertiesChanged" => {
            let (_, changed, _): (String, Values, Vec<String>) = body.deserialize().ok()?;
            let report = Report::read(changed);
            (report != Report::default()).then_some(Event::Changed(report))
        }
        "ScanDone" => body.deserialize().ok().map(Event::Scanned),
        "PskMismatch" => Some(Event::Mismatch),
        "EAP" => of_login(message).map(|(status, parameter)| Event::Login(status, parameter)),
        "NameOwnerChanged" => {
            let (_, _, owner): (String, String, String) = body.deserialize().ok()?;
            Some(Event::Service(!owner.is_empty()))
        }
        _ => None,
    }
}
