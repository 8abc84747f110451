//! The D-Bus objects that `BlueZ` calls: the service, its characteristics, and the advertisement.
//!
//! `BlueZ` assigns handles in the order in which characteristics are listed. They are listed in the order of the endpoints
//! and start at a fixed handle, because phones cache handles.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tracing::debug;
use uuid::Uuid;
use zbus::{DynamicType, Fd, Message, ObjectPath, OwnedObjectPath, Variant};

use super::apps::Answers;
use super::clients::{self, IMPROV_ADVERTISEMENT, NYMEA_ADVERTISEMENT};
use crate::daemon::Handle;
use crate::link::clients::{Characteristic, Protocol};
use provisioning_core::endpoint::{ENDPOINTS, Endpoint, SERVICE};
use provisioning_core::espressif;
use provisioning_core::gatt::peripheral::{Reads, check_subscribe, check_write};
use provisioning_core::gatt::{AttError, MTU_MAXIMUM, multiple_value_size, value_size};
use provisioning_core::nymea;
use provisioning_core::secret::SecretBlob;

/// The object whose children are the service and its characteristics.
pub(super) const ROOT: &str = "/jarvis/provisioning";
/// The service.
const SERVICE_PATH: &str = "/jarvis/provisioning/service";
/// The advertisement.
pub(super) const ADVERTISEMENT: &str = "/jarvis/advertisement";

pub(super) const ADVERTISEMENT_INTERFACE: &str = "org.bluez.LEAdvertisement1";
/// Phones can connect.
pub(super) const ADVERTISEMENT_TYPE: &str = "peripheral";

const SERVICE_INTERFACE: &str = "org.bluez.GattService1";
const CHARACTERISTIC_INTERFACE: &str = "org.bluez.GattCharacteristic1";

/// The first handle of the service: above those of the services that `BlueZ` itself can have.
const FIRST_HANDLE: u16 = 0x0100;

/// The smallest and largest advertising interval, milliseconds. Phones that scan listen a tenth of the time, so they find
/// the node within about two seconds; the default interval of `BlueZ` would take ten times as long.
pub(super) const INTERVAL: (u32, u32) = (100, 150);

/// The longest name that fits a scan response: 31 bytes, less one each for length and type.
const NAME_LIMIT: usize = 29;

/// The properties of one interface.
pub(super) type Properties = BTreeMap<&'static str, Variant<'static>>;

/// The service of Espressif's apps. Its handles are above those that the node's own service has and can get.
const APPS_PATH: &str = "/jarvis/provisioning/service_espressif";
const DESCRIPTOR_INTERFACE: &str = "org.bluez.GattDescriptor1";
const APPS_FIRST_HANDLE: u16 = 0x0180;
/// Characteristic User Description (Bluetooth Core 5.4, Vol 3, Part G, 3.3.3.2): these apps find endpoints by it.
const DESCRIPTION: &str = "2901";

/// The effect of a call on a link or on the advertisement.
pub(super) enum Effect {
    /// One of Espressif's apps wrote a message, whose answer must be there when the write is acknowledged.
    AppWritten { phone: OwnedObjectPath, endpoint: espressif::Endpoint, message: Vec<u8> },
    /// A client without a session wrote a value.
    ClientWritten { phone: OwnedObjectPath, characteristic: Characteristic, value: SecretBlob, mtu: Option<u16> },
    /// A client without a session has subscribed: it is notified of what is written to the socket.
    ClientSubscribed { phone: OwnedObjectPath, characteristic: Characteristic, socket: UnixDatagram, mtu: u16 },
    /// A phone wrote a value.
    Written { phone: OwnedObjectPath, endpoint: Endpoint, value: Vec<u8> },
    /// A phone has subscribed: it is notified of what is written to the socket.
    Subscribed { phone: OwnedObjectPath, socket: UnixDatagram, value_size: usize },
    /// `BlueZ` has stopped the advertisement at a path by itself.
    Released(String),
}

/// Why a call is refused: the end of the name of a D-Bus error, from which `BlueZ` chooses the ATT error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Failed,
    InvalidArguments,
    InvalidOffset,
    InvalidValueLength,
    NotSupported,
}

/// The answer to a call, and its effect.
type Called = zbus::Result<(Message, Option<Effect>)>;

/// Answers calls to the objects.
pub(super) struct Application {
    handle: Handle,
    reads: Reads<OwnedObjectPath>,
    services: Services,
    answers: Answers,
}

/// What is offered beside the node's own service.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own; goes when two of them exclude each other")]
pub struct Services {
    /// The service of Espressif's apps.
    pub espressif: bool,
    /// Its UUID is advertised in place of the node's own: the packet has room for one.
    pub advertise_espressif: bool,
    /// The service of Improv's clients, with an advertisement of its own.
    pub improv: bool,
    /// The services of nymea's clients, with an advertisement of their own.
    pub nymea: bool,
}

impl Services {
    pub(super) const fn has(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Improv => self.improv,
            Protocol::Nymea => self.nymea,
        }
    }
}

impl Application {
    pub(super) fn new(handle: Handle, services: Services, answers: Answers) -> Self {
        Self { handle, reads: Reads::default(), services, answers }
    }

    /// Handles a call; returns its answer and its effect.
    pub(super) fn call(&mut self, call: &Message) -> Called {
        let header = call.header();
        let path = header.path().map(ObjectPath::as_str).unwrap_or_default();
        let member = header.member().map(zbus::names::MemberName::as_str).unwrap_or_default();
        let endpoint = endpoint_at(path);
        let app = app_endpoint_at(path).filter(|_| self.services.espressif);
        let client = clients::characteristic_at(path, self.services);
        let refuse = |refusal: Refusal| {
            debug!(path, member, ?refusal, "refusing a call");
            Message::error(&header, format!("org.bluez.Error.{refusal:?}")).build(&"refused").map(|answer| (answer, None))
        };
        match (member, endpoint) {
            ("GetManagedObjects", _) if path == ROOT => Ok((answer(call, &objects(self.services))?, None)),
            ("GetAll", _) if path == ADVERTISEMENT => {
                Ok((answer(call, &advertisement(&self.handle.view().info.name, self.services))?, None))
            }
            ("GetAll", _) if path == IMPROV_ADVERTISEMENT => match self.handle.view().improv {
                Some(shown) => Ok((answer(call, &clients::improv_advertisement(shown))?, None)),
                None => refuse(Refusal::NotSupported),
            },
            ("GetAll", _) if path == NYMEA_ADVERTISEMENT => {
                Ok((answer(call, &clients::unnamed_advertisement(nymea::WIRELESS_SERVICE))?, None))
            }
            ("Release", _) if [ADVERTISEMENT, IMPROV_ADVERTISEMENT, NYMEA_ADVERTISEMENT].contains(&path) => {
                Ok((answer(call, &())?, Some(Effect::Released(path.to_owned()))))
            }
            (_, None) if client.is_some() => match client.map(|characteristic| self.call_client(call, member, characteristic)) {
                Some(Ok(called)) => called,
                Some(Err(refusal)) => refuse(refusal),
                None => refuse(Refusal::NotSupported),
            },
            ("ReadValue", None) if app.is_some() => match arguments(call).and_then(|options| self.read_app(app, &options)) {
                Ok(value) => Ok((answer(call, &value)?, None)),
                Err(refusal) => refuse(refusal),
            },
            ("WriteValue", None) if app.is_some() => {
                match arguments(call).and_then(|(value, options): (Vec<u8>, Options)| write_app(app, value, &options)) {
                    Ok(effect) => Ok((answer(call, &())?, effect)),
                    Err(refusal) => refuse(refusal),
                }
            }
            ("ReadValue", Some(endpoint)) => match arguments(call).and_then(|options| self.read(endpoint, &options)) {
                Ok(value) => Ok((answer(call, &value)?, None)),
                Err(refusal) => refuse(refusal),
            },
            ("WriteValue", Some(endpoint)) => {
                match arguments(call).and_then(|(value, options): (Vec<u8>, Options)| write(endpoint, value, &options)) {
                    Ok(effect) => Ok((answer(call, &())?, effect)),
                    Err(refusal) => refuse(refusal),
                }
            }
            ("AcquireNotify", Some(endpoint)) => match arguments(call).and_then(|options| subscribe(endpoint, &options)) {
                Ok((theirs, mtu, effect)) => Ok((answer(call, &(Fd::from(theirs), mtu))?, Some(effect))),
                Err(refusal) => refuse(refusal),
            },
            _ => refuse(Refusal::NotSupported),
        }
    }

    /// The answer to an app's last message, or the name of an endpoint.
    fn read_app(&self, place: Option<AppPlace>, options: &Options) -> Result<Vec<u8>, Refusal> {
        let phone = options.device.clone().ok_or(Refusal::Failed)?;
        let value = match place.ok_or(Refusal::Failed)? {
            AppPlace::Value(endpoint) => self.answers.of(&phone, endpoint.row().id).unwrap_or_default(),
            AppPlace::Description(endpoint) => endpoint.row().name.as_bytes().to_vec(),
        };
        value.get(options.offset()..).map(<[u8]>::to_vec).ok_or(Refusal::InvalidOffset)
    }

    /// A call to a characteristic of a protocol whose clients have no session.
    fn call_client(&self, call: &Message, member: &str, characteristic: Characteristic) -> Result<Called, Refusal> {
        match member {
            "ReadValue" => {
                let options: Options = arguments(call)?;
                let phone = options.device.clone().ok_or(Refusal::Failed)?;
                let told = match characteristic {
                    Characteristic::Improv(improv) => self.answers.of(&phone, improv as u16),
                    Characteristic::Nymea(_) => None,
                };
                let value = characteristic.value(&self.handle.view(), told).ok_or(Refusal::NotSupported)?;
                let rest = value.get(options.offset()..).ok_or(Refusal::InvalidOffset)?.to_vec();
                Ok(answer(call, &rest).map(|answer| (answer, None)))
            }
            "WriteValue" if characteristic.is_written() => {
                let (value, options): (Vec<u8>, Options) = arguments(call)?;
                let value = SecretBlob::new(value);
                let phone = options.device.clone().ok_or(Refusal::Failed)?;
                if options.offset() != 0 {
                    return Err(Refusal::InvalidOffset);
                }
                let written = Effect::ClientWritten { phone, characteristic, value, mtu: options.mtu };
                let effect = (options.prepare_authorize != Some(true)).then_some(written);
                Ok(answer(call, &()).map(|answer| (answer, effect)))
            }
            "AcquireNotify" if characteristic.notifies() => {
                let options: Options = arguments(call)?;
                let phone = options.device.clone().ok_or(Refusal::Failed)?;
                let mtu = options.mtu.ok_or(Refusal::Failed)?;
                let (ours, theirs) = sockets()?;
                let effect = Effect::ClientSubscribed { phone, characteristic, socket: ours.into(), mtu };
                Ok(answer(call, &(Fd::from(theirs), mtu)).map(|answer| (answer, Some(effect))))
            }
            _ => Err(Refusal::NotSupported),
        }
    }

    fn read(&mut self, endpoint: Endpoint, options: &Options) -> Result<Vec<u8>, Refusal> {
        let phone = options.device.clone().ok_or(Refusal::Failed)?;
        let view = self.handle.view();
        let value = self.reads.read(phone, endpoint, options.offset(), &view.info, &view.status)?;
        Ok(value.to_vec())
    }
}

impl From<AttError> for Refusal {
    fn from(error: AttError) -> Self {
        match error {
            AttError::InvalidOffset => Self::InvalidOffset,
            AttError::InvalidLength => Self::InvalidValueLength,
            AttError::ReadNotPermitted | AttError::WriteNotPermitted | AttError::NotSupported => Self::NotSupported,
            AttError::InvalidHandle | AttError::InvalidPdu | AttError::NotSubscribed => Self::Failed,
        }
    }
}

/// The options that `BlueZ` passes with every call.
#[derive(Debug, Default, zbus::DeserializeDict, zbus::Type)]
#[zbus(signature = "dict")]
struct Options {
    device: Option<OwnedObjectPath>,
    offset: Option<u16>,
    mtu: Option<u16>,
    #[zbus(rename = "prepare-authorize")]
    prepare_authorize: Option<bool>,
}

impl Options {
    fn offset(&self) -> usize {
        self.offset.unwrap_or_default().into()
    }
}

/// The arguments of a call. Invalid arguments fail the call alone.
fn arguments<T: serde::de::DeserializeOwned + zbus::Type>(call: &Message) -> Result<T, Refusal> {
    call.body().deserialize().map_err(|error| {
        debug!(%error, "call with invalid arguments");
        Refusal::InvalidArguments
    })
}

fn write(endpoint: Endpoint, value: Vec<u8>, options: &Options) -> Result<Option<Effect>, Refusal> {
    if options.prepare_authorize == Some(true) {
        return Ok(None);
    }
    // BlueZ itself refuses what is over the MTU of the connection.
    check_write(endpoint, options.offset(), value.len(), value_size(MTU_MAXIMUM))?;
    let phone = options.device.clone().ok_or(Refusal::Failed)?;
    Ok(Some(Effect::Written { phone, endpoint, value }))
}

/// The acknowledgement of a write.
pub(super) fn acknowledged(call: &Message) -> zbus::Result<Message> {
    answer(call, &())
}

/// The error of a write whose message the node refuses without an answer, as Espressif's devices do.
pub(super) fn failed(call: &Message) -> zbus::Result<Message> {
    Message::error(&call.header(), format!("org.bluez.Error.{:?}", Refusal::Failed)).build(&"refused")
}

/// These apps write a message as one value: a long one arrives whole.
fn write_app(place: Option<AppPlace>, message: Vec<u8>, options: &Options) -> Result<Option<Effect>, Refusal> {
    if options.prepare_authorize == Some(true) {
        return Ok(None);
    }
    let Some(AppPlace::Value(endpoint)) = place else { return Err(Refusal::NotSupported) };
    if options.offset() != 0 {
        return Err(Refusal::InvalidOffset);
    }
    if message.len() > endpoint.row().limit {
        return Err(Refusal::InvalidValueLength);
    }
    let phone = options.device.clone().ok_or(Refusal::Failed)?;
    Ok(Some(Effect::AppWritten { phone, endpoint, message }))
}

fn subscribe(endpoint: Endpoint, options: &Options) -> Result<(OwnedFd, u16, Effect), Refusal> {
    check_subscribe(endpoint)?;
    let phone = options.device.clone().ok_or(Refusal::Failed)?;
    let mtu = options.mtu.ok_or(Refusal::Failed)?;
    let (ours, theirs) = sockets()?;
    let value_size = multiple_value_size(mtu);
    Ok((theirs, mtu, Effect::Subscribed { phone, socket: ours.into(), value_size }))
}

/// The two ends of the socket of a subscription.
fn sockets() -> Result<(OwnedFd, OwnedFd), Refusal> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(|error| {
        debug!(%error, "creating the socket of a subscription");
        Refusal::Failed
    })
}

fn answer<B: serde::Serialize + DynamicType>(call: &Message, body: &B) -> zbus::Result<Message> {
    Message::method_return(&call.header()).build(body)
}

fn path_of(endpoint: Endpoint) -> String {
    format!("{SERVICE_PATH}/{}", endpoint.row().number)
}

fn endpoint_at(path: &str) -> Option<Endpoint> {
    ENDPOINTS.iter().map(|row| row.endpoint).find(|endpoint| path_of(*endpoint) == path)
}

/// What an object of the service of Espressif's apps stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AppPlace {
    Value(espressif::Endpoint),
    Description(espressif::Endpoint),
}

/// `BlueZ` assigns handles in the order of the paths.
fn app_path_of(endpoint: espressif::Endpoint) -> String {
    let number = espressif::ENDPOINTS.iter().position(|row| row.endpoint == endpoint).expect("every endpoint has a row");
    format!("{APPS_PATH}/{number}")
}

fn app_endpoint_at(path: &str) -> Option<AppPlace> {
    espressif::ENDPOINTS.iter().map(|row| row.endpoint).find_map(|endpoint| {
        let rest = path.strip_prefix(&app_path_of(endpoint))?;
        match rest {
            "" => Some(AppPlace::Value(endpoint)),
            "/name" => Some(AppPlace::Description(endpoint)),
            _ => None,
        }
    })
}

/// A UUID as text.
pub(super) fn uuid(value: u128) -> String {
    Uuid::from_u128(value).to_string()
}

/// The service and its characteristics, in order.
fn objects(services: Services) -> BTreeMap<ObjectPath<'static>, BTreeMap<&'static str, Properties>> {
    let path = |path: String| ObjectPath::try_from(path).expect("the paths above are paths");
    let service = Properties::from([("UUID", uuid(SERVICE).into()), ("Primary", true.into()), ("Handle", FIRST_HANDLE.into())]);
    let mut objects = BTreeMap::from([(path(SERVICE_PATH.into()), BTreeMap::from([(SERVICE_INTERFACE, service)]))]);
    for row in &ENDPOINTS {
        let mut flags = Vec::new();
        if row.readable {
            flags.push("read");
        }
        if row.writable {
            flags.extend(["write", "write-without-response"]);
        }
        let mut properties = Properties::from([("UUID", uuid(row.uuid).into()), ("Service", path(SERVICE_PATH.into()).into())]);
        if row.notifies {
            flags.push("notify");
            // With this property, `BlueZ` requests a socket for each subscriber.
            properties.insert("NotifyAcquired", false.into());
        }
        properties.insert("Flags", flags.into());
        objects.insert(path(path_of(row.endpoint)), BTreeMap::from([(CHARACTERISTIC_INTERFACE, properties)]));
    }
    if services.espressif {
        let service = [("UUID", uuid(espressif::SERVICE).into()), ("Primary", true.into()), ("Handle", APPS_FIRST_HANDLE.into())];
        objects.insert(path(APPS_PATH.into()), BTreeMap::from([(SERVICE_INTERFACE, Properties::from(service))]));
        for row in &espressif::ENDPOINTS {
            let own = app_path_of(row.endpoint);
            let properties = Properties::from([
                ("UUID", uuid(row.uuid()).into()),
                ("Service", path(APPS_PATH.into()).into()),
                ("Flags", vec!["read", "write"].into()),
            ]);
            let description = Properties::from([
                ("UUID", DESCRIPTION.into()),
                ("Characteristic", path(own.clone()).into()),
                ("Flags", vec!["read"].into()),
            ]);
            objects.insert(path(format!("{own}/name")), BTreeMap::from([(DESCRIPTOR_INTERFACE, description)]));
            objects.insert(path(own), BTreeMap::from([(CHARACTERISTIC_INTERFACE, properties)]));
        }
    }
    for offered in clients::offered(services) {
        let service = [("UUID", uuid(offered.uuid).into()), ("Primary", true.into()), ("Handle", offered.first_handle.into())];
        objects.insert(path(offered.path.into()), BTreeMap::from([(SERVICE_INTERFACE, Properties::from(service))]));
        for (own, characteristic) in offered.characteristics() {
            let mut properties = clients::properties(characteristic);
            properties.insert("Service", path(offered.path.into()).into());
            objects.insert(path(own), BTreeMap::from([(CHARACTERISTIC_INTERFACE, properties)]));
        }
    }
    objects
}

/// The advertising data holds flags and the service, 21 bytes; `BlueZ` puts the name into the scan response. More than 31
/// bytes in either would make it an extended advertisement, which phones do not find by default.
fn advertisement(name: &str, services: Services) -> Properties {
    let advertised = if services.espressif && services.advertise_espressif { espressif::SERVICE } else { SERVICE };
    Properties::from([
        ("Type", ADVERTISEMENT_TYPE.into()),
        ("ServiceUUIDs", vec![uuid(advertised)].into()),
        ("LocalName", name[..name.floor_char_boundary(NAME_LIMIT)].to_owned().into()),
        ("Discoverable", true.into()),
        ("MinInterval", INTERVAL.0.into()),
        ("MaxInterval", INTERVAL.1.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_of_the_advertisement_fits() {
        for name in ["jarvis-5b91b661".to_owned(), "jarvis-".to_owned() + &"😀".repeat(8)] {
            let advertisement =
                advertisement(&name, Services { espressif: true, advertise_espressif: true, ..Services::default() });
            // Flags take three bytes, a UUID 16, and its list two. Other properties would take more.
            let known = ["Type", "ServiceUUIDs", "LocalName", "Discoverable", "MinInterval", "MaxInterval"];
            assert!(advertisement.keys().all(|key| known.contains(key)));
            let Variant::Str(local_name) = &advertisement["LocalName"] else { panic!("a name is a text") };
            assert!(local_name.len() + 2 <= 31 && name.starts_with(local_name.as_str()));
        }
    }

    #[test]
    fn characteristics_are_listed_in_the_order_of_the_endpoints() {
        let listed: Vec<_> = objects(Services::default()).keys().skip(1).map(|path| endpoint_at(path.as_str())).collect();
        assert_eq!(listed, ENDPOINTS.map(|row| Some(row.endpoint)));
    }

    #[test]
    fn no_service_moves_anything_of_the_others() {
        let of = |objects: &BTreeMap<ObjectPath<'static>, _>, service: &str| {
            let own = format!("{service}/");
            let is_part = |path: &&ObjectPath<'static>| path.as_str() == service || path.as_str().starts_with(&own);
            objects.keys().filter(is_part).cloned().collect::<Vec<_>>()
        };
        let all = objects(Services { espressif: true, advertise_espressif: false, improv: true, nymea: true });
        let offers: Vec<_> = clients::offered(Services { improv: true, nymea: true, ..Services::default() }).collect();
        for switches in 0..8 {
            let [espressif, improv, nymea] = [1, 2, 4].map(|switch| switches & switch != 0);
            let objects = objects(Services { espressif, advertise_espressif: false, improv, nymea });
            assert_eq!(of(&objects, SERVICE_PATH), of(&all, SERVICE_PATH));
            let paths = [(espressif, APPS_PATH), (improv, offers[0].path), (nymea, offers[1].path), (nymea, offers[2].path)];
            for (_, path) in paths.into_iter().filter(|(is_offered, _)| *is_offered) {
                assert_eq!(of(&objects, path), of(&all, path), "the same objects, in the same order");
                let place = |objects: &BTreeMap<ObjectPath<'static>, BTreeMap<&str, Properties>>| {
                    objects[&ObjectPath::try_from(path.to_owned()).expect("a path")][SERVICE_INTERFACE].clone()
                };
                assert_eq!(place(&objects), place(&all), "at the same handle");
            }
            let count: usize = paths.iter().filter(|(is_offered, _)| *is_offered).map(|(_, path)| of(&all, path).len()).sum();
            assert_eq!(objects.len(), of(&all, SERVICE_PATH).len() + count, "and nothing else");
        }
        assert!(usize::from(offers[0].first_handle - APPS_FIRST_HANDLE) > 1 + 4 * espressif::ENDPOINTS.len());
        // A service has two attributes for each characteristic and one for each descriptor, of which BlueZ adds one.
        assert!(usize::from(APPS_FIRST_HANDLE - FIRST_HANDLE) > 1 + 4 * ENDPOINTS.len());
    }

    #[test]
    fn every_characteristic_of_espressifs_apps_is_named_and_can_be_read_and_written() {
        let objects = objects(Services { espressif: true, advertise_espressif: true, ..Services::default() });
        let added: Vec<_> = objects.iter().filter(|(path, _)| path.as_str().starts_with(APPS_PATH)).collect();
        assert_eq!(added.len(), 1 + 2 * espressif::ENDPOINTS.len(), "and nothing else");
        for row in &espressif::ENDPOINTS {
            let own = app_path_of(row.endpoint);
            let characteristic = &objects[&ObjectPath::try_from(own.as_str()).expect("a path")][CHARACTERISTIC_INTERFACE];
            assert_eq!(characteristic["Flags"], vec!["read", "write"].into());
            assert_eq!(app_endpoint_at(&own), Some(AppPlace::Value(row.endpoint)));
            let name = format!("{own}/name");
            assert!(objects.contains_key(&ObjectPath::try_from(name.as_str()).expect("a path")));
            assert_eq!(app_endpoint_at(&name), Some(AppPlace::Description(row.endpoint)));
        }
    }

    #[test]
    fn a_uuid_is_written_in_five_groups() {
        assert_eq!(uuid(SERVICE), "6a617276-0000-4b32-9d5e-70c04e7f1a00");
    }

    #[test]
    fn a_value_at_an_offset_is_refused_and_so_is_one_that_is_too_long() {
        let options = |offset| Options {
            device: Some(OwnedObjectPath::try_from("/org/bluez/hci0/dev_1").expect("a path")),
            offset: Some(offset),
            ..Options::default()
        };
        assert_eq!(write(Endpoint::Scan, vec![1], &options(1)).err(), Some(Refusal::InvalidOffset));
        assert_eq!(write(Endpoint::Scan, vec![1; 496], &options(0)).err(), Some(Refusal::InvalidValueLength));
        assert_eq!(write(Endpoint::Info, vec![1], &options(0)).err(), Some(Refusal::NotSupported));
        assert!(matches!(write(Endpoint::Scan, vec![1; 495], &options(0)), Ok(Some(Effect::Written { .. }))));
    }
}
