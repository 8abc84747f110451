//! Improv over Bluetooth: its D-Bus objects, and the links of its clients.
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

use super::application::{ADVERTISEMENT_TYPE, INTERVAL, Properties, uuid};
use super::apps::Answers;
use super::bus::Caller;
use crate::daemon::{Handle, Stopping};
use provisioning_core::gatt::{MTU_MINIMUM, multiple_value_size};
use provisioning_core::improv::{CAPABILITIES, Characteristic, Error, FromClient, Notice, SERVICE, SERVICE_DATA, Shown, Value};
use provisioning_core::machine::Link;

/// The service. `BlueZ` assigns handles in the order of the paths.
pub(super) const PATH: &str = "/jarvis/provisioning/service_improv";
/// The advertisement.
pub(super) const ADVERTISEMENT: &str = "/jarvis/advertisement_improv";
/// The first handle of the service: above those that the service of Espressif's apps has and can get.
pub(super) const FIRST_HANDLE: u16 = 0x01c0;

/// The path of a characteristic.
fn path_of(characteristic: Characteristic) -> String {
    format!("{PATH}/{}", characteristic as u8)
}

/// The characteristic at a path.
pub(super) fn characteristic_at(path: &str) -> Option<Characteristic> {
    Characteristic::ALL.into_iter().find(|characteristic| path_of(*characteristic) == path)
}

/// The characteristics, without the service that they belong to.
pub(super) fn characteristics() -> impl Iterator<Item = (String, Properties)> {
    Characteristic::ALL.into_iter().map(|characteristic| {
        let flags: Vec<&str> = match characteristic {
            Characteristic::State | Characteristic::Error | Characteristic::Result => vec!["read", "notify"],
            // Some clients write without a response, whatever they are told.
            Characteristic::Command => vec!["write", "write-without-response"],
            Characteristic::Capabilities => vec!["read"],
        };
        let mut properties = Properties::from([("UUID", uuid(characteristic.uuid()).into()), ("Flags", flags.into())]);
        if characteristic.notifies() {
            properties.insert("NotifyAcquired", false.into());
        }
        (path_of(characteristic), properties)
    })
}

/// The advertisement: flags, the service, and its data, which clients look for in one packet. These are all 31 bytes that it
/// has, so it has no name.
pub(super) fn advertisement(shown: Shown) -> Properties {
    Properties::from([
        ("Type", ADVERTISEMENT_TYPE.into()),
        ("ServiceUUIDs", vec![uuid(SERVICE)].into()),
        ("ServiceData", service_data(shown)),
        ("Discoverable", true.into()),
        ("MinInterval", INTERVAL.0.into()),
        ("MaxInterval", INTERVAL.1.into()),
    ])
}

/// The data by its UUID.
pub(super) fn service_data(shown: Shown) -> Variant<'static> {
    BTreeMap::from([(uuid(SERVICE_DATA), Variant::from(shown.service_data().to_vec()))]).into()
}

/// The value of a characteristic that a client reads; none if it cannot be read.
pub(super) fn value(characteristic: Characteristic, shown: Shown, answers: &Answers, phone: &OwnedObjectPath) -> Option<Vec<u8>> {
    let last = || answers.of(phone, characteristic as u16);
    match characteristic {
        Characteristic::State => Some(vec![shown.state as u8]),
        Characteristic::Error => Some(last().unwrap_or(vec![Error::None as u8])),
        Characteristic::Result => Some(last().unwrap_or_default()),
        Characteristic::Capabilities => Some(vec![CAPABILITIES]),
        Characteristic::Command => None,
    }
}

/// The clients, by the D-Bus object of their phone.
pub(super) struct Clients {
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
    pub(super) fn new(handle: Handle, bluez: Caller, answers: Answers) -> Self {
        Self { handle, bluez, answers, by_object: HashMap::new(), tasks: JoinSet::new() }
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
    pub(super) async fn written(&mut self, phone: OwnedObjectPath, value: Value, mtu: Option<u16>) -> Result<(), Stopping> {
        let client = self.client(phone, mtu).await?;
        let (link, room) = (client.link, client.room);
        self.handle.improv(link, FromClient::Written { value, room }).await
    }

    /// The client of a phone, which may be new.
    async fn client(&mut self, phone: OwnedObjectPath, mtu: Option<u16>) -> Result<&mut Client, Stopping> {
        if !self.by_object.contains_key(&phone) {
            let (link, outbound) = self.handle.open().await?;
            let room = multiple_value_size(mtu.unwrap_or(MTU_MINIMUM));
            info!(link = link.0, %phone, "a client of Improv's has connected");
            self.handle.improv(link, FromClient::Opened { room }).await?;
            let (subscriptions, subscribed) = mpsc::unbounded_channel();
            let bluez = self.bluez.clone();
            let carrying = carry(phone.clone(), self.answers.clone(), outbound, subscribed, move || bluez.clone().values_sent());
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
        loop {
            match self.tasks.join_next().await {
                Some(Ok(ended)) => return ended,
                // An aborted task belonged to a link that is closed already.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
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
        let Some(Notice { characteristic, value }) = Notice::decode(&message) else { continue };
        answers.set(phone.clone(), characteristic as u16, value.clone());
        let Some(socket) = sockets.get(&characteristic) else { continue };
        match socket.send(&value).await {
            Ok(_) => sent().await,
            Err(error) => {
                debug!(%phone, ?characteristic, %error, "it is no longer subscribed");
                sockets.remove(&characteristic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use provisioning_core::improv::State;

    #[test]
    fn the_advertisement_has_exactly_31_bytes() {
        let advertisement = advertisement(Shown { state: State::Authorized, advertised: true });
        let known = ["Type", "ServiceUUIDs", "ServiceData", "Discoverable", "MinInterval", "MaxInterval"];
        assert!(advertisement.keys().all(|key| known.contains(key)) && advertisement.len() == known.len());
        // The flags; the list of one UUID; the data, after its length, its type and its UUID.
        let data = Shown { state: State::Authorized, advertised: true }.service_data();
        assert_eq!(3 + (2 + 16) + (2 + 2 + data.len()), 31);
    }

    #[test]
    fn every_characteristic_has_its_path_in_the_order_of_the_uuids() {
        let paths: Vec<_> = characteristics().map(|(path, _)| path).collect();
        assert!(paths.is_sorted());
        assert_eq!(paths.iter().filter_map(|path| characteristic_at(path)).collect::<Vec<_>>(), Characteristic::ALL);
        assert_eq!(characteristic_at(PATH), None);
    }
}
