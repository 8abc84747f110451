//! Improv and nymea's services over Bluetooth: their D-Bus objects, and the links of their clients.
//!
//! A client has a link from its first subscription or value on. A value is acknowledged at once, and everything that follows is
//! notified: each characteristic has a socket of its own for each subscriber.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::os::unix::net::UnixDatagram as StdSocket;

use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, info};
use zbus::{OwnedObjectPath, Variant};

use super::application::{ADVERTISEMENT_TYPE, INTERVAL, Properties, Services, uuid};
use super::apps::Answers;
use super::bus::Caller;
use super::next_ended;
use crate::daemon::{Handle, Stopping};
use crate::link::clients::{self, Characteristic, Protocol};
use provisioning_core::gatt::{MTU_MINIMUM, multiple_value_size};
use provisioning_core::machine::Link;
use provisioning_core::secret::SecretBlob;
use provisioning_core::{improv, nymea};

/// The advertisement of Improv.
pub(super) const IMPROV_ADVERTISEMENT: &str = "/jarvis/advertisement_improv";
/// The advertisement of nymea's service.
pub(super) const NYMEA_ADVERTISEMENT: &str = "/jarvis/advertisement_nymea";

/// A service.
pub(super) struct Service {
    protocol: Protocol,
    pub(super) uuid: u128,
    /// `BlueZ` assigns handles in the order of the paths.
    pub(super) path: &'static str,
    /// Above the handles that the services before it have and can get.
    pub(super) first_handle: u16,
}

/// The services, in the order of their paths and handles.
const SERVICES: [Service; 3] = [
    Service {
        protocol: Protocol::Improv,
        uuid: improv::SERVICE,
        path: "/jarvis/provisioning/service_improv",
        first_handle: 0x01c0,
    },
    Service {
        protocol: Protocol::Nymea,
        uuid: nymea::WIRELESS_SERVICE,
        path: "/jarvis/provisioning/service_nymea",
        first_handle: 0x0200,
    },
    Service {
        protocol: Protocol::Nymea,
        uuid: nymea::NETWORK_SERVICE,
        path: "/jarvis/provisioning/service_nymea_network",
        first_handle: 0x0240,
    },
];

/// The services that are offered.
pub(super) fn offered(services: Services) -> impl Iterator<Item = Service> {
    SERVICES.into_iter().filter(move |service| services.has(service.protocol))
}

impl Service {
    /// Its characteristics, in the order of their paths.
    pub(super) fn characteristics(&self) -> impl Iterator<Item = (String, Characteristic)> {
        let own = Characteristic::all(self.protocol).into_iter().filter(|characteristic| characteristic.service() == self.uuid);
        own.zip(1..).map(|(characteristic, number)| (format!("{}/{number}", self.path), characteristic))
    }
}

/// The characteristic at a path, if its service is offered.
pub(super) fn characteristic_at(path: &str, services: Services) -> Option<Characteristic> {
    offered(services).find_map(|service| service.characteristics().find(|(own, _)| own == path)).map(|(_, found)| found)
}

/// A characteristic, without the service that it belongs to.
pub(super) fn properties(characteristic: Characteristic) -> Properties {
    let mut flags = Vec::new();
    if characteristic.is_read() {
        flags.push("read");
    }
    if characteristic.is_written() {
        // Some clients write without a response, whatever they are told.
        flags.extend(["write", "write-without-response"]);
    }
    let mut properties = Properties::from([("UUID", uuid(characteristic.uuid()).into())]);
    if characteristic.notifies() {
        flags.push("notify");
        properties.insert("NotifyAcquired", false.into());
    }
    properties.insert("Flags", flags.into());
    properties
}

/// The advertisement of Improv: flags, the service, and its data, which clients look for in one packet. These are all 31 bytes that
/// it has, so it has no name.
pub(super) fn improv_advertisement(shown: improv::Shown) -> Properties {
    let mut advertisement = unnamed_advertisement(improv::SERVICE);
    advertisement.insert("ServiceData", service_data(shown));
    advertisement
}

/// An advertisement of a service alone. Without a name, because clients merge the advertisements of one address.
pub(super) fn unnamed_advertisement(service: u128) -> Properties {
    Properties::from([
        ("Type", ADVERTISEMENT_TYPE.into()),
        ("ServiceUUIDs", vec![uuid(service)].into()),
        ("Discoverable", true.into()),
        ("MinInterval", INTERVAL.0.into()),
        ("MaxInterval", INTERVAL.1.into()),
    ])
}

/// The data by its UUID.
pub(super) fn service_data(shown: improv::Shown) -> Variant<'static> {
    BTreeMap::from([(uuid(improv::SERVICE_DATA), Variant::from(shown.service_data().to_vec()))]).into()
}

/// The clients, by the D-Bus object of their phone.
pub(super) struct Clients {
    protocol: Protocol,
    handle: Handle,
    bluez: Caller,
    answers: Answers,
    by_object: HashMap<OwnedObjectPath, Client>,
    tasks: JoinSet<(OwnedObjectPath, Link)>,
}

struct Client {
    link: Link,
    /// The largest value of which it can be notified, bytes.
    room: usize,
    subscriptions: mpsc::UnboundedSender<(Characteristic, UnixDatagram)>,
    task: AbortHandle,
}

impl Clients {
    pub(super) fn new(protocol: Protocol, handle: Handle, bluez: Caller, answers: Answers) -> Self {
        Self { protocol, handle, bluez, answers, by_object: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Whether no client has a link.
    pub(super) fn is_empty(&self) -> bool {
        self.by_object.is_empty()
    }

    /// A client has subscribed.
    pub(super) async fn subscribed(
        &mut self,
        phone: OwnedObjectPath,
        characteristic: Characteristic,
        socket: StdSocket,
        mtu: u16,
    ) -> Result<(), Stopping> {
        let client = self.client(phone, Some(mtu)).await?;
        match UnixDatagram::from_std(socket) {
            // The task ends with the client.
            Ok(socket) => drop(client.subscriptions.send((characteristic, socket))),
            Err(error) => debug!(%error, "using the socket of a subscription"),
        }
        Ok(())
    }

    /// A client has written a value.
    pub(super) async fn written(
        &mut self,
        phone: OwnedObjectPath,
        characteristic: Characteristic,
        value: SecretBlob,
        mtu: Option<u16>,
    ) -> Result<(), Stopping> {
        let client = self.client(phone, mtu).await?;
        let (link, room) = (client.link, client.room);
        clients::written(&self.handle, link, characteristic, value, room).await
    }

    /// The client of a phone, which may be new.
    async fn client(&mut self, phone: OwnedObjectPath, mtu: Option<u16>) -> Result<&mut Client, Stopping> {
        if !self.by_object.contains_key(&phone) {
            let (link, outbound) = self.handle.open().await?;
            let room = multiple_value_size(mtu.unwrap_or(MTU_MINIMUM));
            info!(link = link.0, %phone, protocol = ?self.protocol, "a client without a session has connected");
            self.protocol.opened(&self.handle, link, room).await?;
            let (subscriptions, subscribed) = mpsc::unbounded_channel();
            let bluez = self.bluez.clone();
            let sent = move || bluez.clone().values_sent();
            let carrying = carry(self.protocol, phone.clone(), self.answers.clone(), outbound, subscribed, sent);
            let ended = phone.clone();
            let task = self.tasks.spawn(async move {
                carrying.await;
                (ended, link)
            });
            self.by_object.insert(phone.clone(), Client { link, room, subscriptions, task });
        }
        let client = self.by_object.get_mut(&phone).expect("it is there now");
        // The two sides may agree on more after the first request.
        if let Some(mtu) = mtu {
            client.room = multiple_value_size(mtu);
        }
        Ok(client)
    }

    /// Waits until the node has closed a link. Cancel safe.
    pub(super) async fn ended(&mut self) -> (OwnedObjectPath, Link) {
        next_ended(&mut self.tasks).await
    }

    /// Ends a link that the node has closed; returns its phone, which is to be disconnected.
    pub(super) async fn close_ended(&mut self, phone: OwnedObjectPath, link: Link) -> Result<Option<OwnedObjectPath>, Stopping> {
        if self.by_object.get(&phone).is_none_or(|client| client.link != link) {
            return Ok(None);
        }
        self.left(&phone).await?;
        Ok(Some(phone))
    }

    /// Ends the link of a phone whose connection has ended.
    pub(super) async fn left(&mut self, phone: &OwnedObjectPath) -> Result<(), Stopping> {
        if let Some(client) = self.by_object.remove(phone) {
            self.answers.forget(phone);
            client.task.abort();
            self.handle.closed(client.link).await?;
        }
        Ok(())
    }

    /// Ends every link.
    pub(super) async fn close_all(&mut self) -> Result<(), Stopping> {
        for phone in self.by_object.keys().cloned().collect::<Vec<_>>() {
            self.left(&phone).await?;
        }
        Ok(())
    }
}

/// Notifies a client of everything that the node tells it, until the node closes the link. Waits for `sent` after each value.
async fn carry<S: Future<Output = ()>>(
    protocol: Protocol,
    phone: OwnedObjectPath,
    answers: Answers,
    mut outbound: mpsc::Receiver<Vec<u8>>,
    mut subscribed: mpsc::UnboundedReceiver<(Characteristic, UnixDatagram)>,
    sent: impl Fn() -> S,
) {
    let mut sockets = HashMap::new();
    loop {
        let message = tokio::select! {
            // A client subscribes before it writes, so its subscription comes before what follows from the value.
            biased;
            Some((characteristic, socket)) = subscribed.recv() => {
                sockets.insert(characteristic, socket);
                continue;
            }
            message = outbound.recv() => message,
        };
        let Some(message) = message else { return };
        let Some((characteristic, values)) = protocol.notified(&message) else { continue };
        if let (Characteristic::Improv(improv), [value]) = (characteristic, &values[..]) {
            answers.set(phone.clone(), improv as u16, value.clone());
        }
        for value in values {
            let Some(socket) = sockets.get(&characteristic) else { break };
            match socket.send(&value).await {
                Ok(_) => sent().await,
                Err(error) => {
                    debug!(%phone, ?characteristic, %error, "it is no longer subscribed");
                    sockets.remove(&characteristic);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advertisement_of_improv_has_exactly_31_bytes() {
        let shown = improv::Shown { state: improv::State::Authorized, advertised: true };
        let advertisement = improv_advertisement(shown);
        let known = ["Type", "ServiceUUIDs", "ServiceData", "Discoverable", "MinInterval", "MaxInterval"];
        assert!(advertisement.keys().all(|key| known.contains(key)) && advertisement.len() == known.len());
        // The flags; the list of one UUID; the data, after its length, its type and its UUID.
        assert_eq!(3 + (2 + 16) + (2 + 2 + shown.service_data().len()), 31);
    }

    #[test]
    fn every_characteristic_has_its_path_in_the_order_of_the_uuids() {
        let both = Services { improv: true, nymea: true, ..Services::default() };
        let all: Vec<_> = offered(both).flat_map(|service| service.characteristics().collect::<Vec<_>>()).collect();
        assert!(all.is_sorted_by_key(|(path, _)| path.clone()));
        for (path, characteristic) in &all {
            assert_eq!(characteristic_at(path, both), Some(*characteristic));
            assert_eq!(characteristic_at(path, Services::default()), None, "without its setting");
        }
        assert_eq!(all.len(), improv::Characteristic::ALL.len() + nymea::Characteristic::ALL.len());
        assert_eq!(characteristic_at(SERVICES[0].path, both), None);
    }

    #[test]
    fn no_service_can_reach_the_handles_of_the_next_one() {
        for (service, next) in SERVICES.iter().zip(&SERVICES[1..]) {
            // A service has two attributes for each characteristic, and BlueZ adds one or two.
            assert!(usize::from(next.first_handle - service.first_handle) > 1 + 4 * service.characteristics().count());
        }
    }
}
