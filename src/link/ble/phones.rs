//! The links of the phones that have subscribed.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::unix::net::UnixDatagram as StdSocket;

use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, info};
use zbus::OwnedObjectPath;

use super::bus::Caller;
use super::next_ended;
use crate::daemon::{Handle, Stopping};
use provisioning_core::endpoint::Endpoint;
use provisioning_core::gatt::peripheral::Inbox;
use provisioning_core::machine::Link;
use provisioning_core::wire::framing::frames;

/// One phone that has subscribed.
struct Phone {
    link: Link,
    inbox: Inbox,
    task: AbortHandle,
}

/// A link whose task has ended.
pub(super) struct Ended {
    phone: OwnedObjectPath,
    link: Link,
    /// The node has closed it; otherwise the phone has left.
    by_node: bool,
}

/// The phones that have subscribed, by their D-Bus object.
pub(super) struct Phones {
    handle: Handle,
    bluez: Caller,
    by_object: HashMap<OwnedObjectPath, Phone>,
    tasks: JoinSet<Ended>,
}

impl Phones {
    pub(super) fn new(handle: Handle, bluez: Caller) -> Self {
        Self { handle, bluez, by_object: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Whether any phone has a link.
    pub(super) fn are_present(&self) -> bool {
        !self.by_object.is_empty()
    }

    /// Opens a link. A phone that subscribes again gets a new one.
    pub(super) async fn subscribed(
        &mut self,
        phone: OwnedObjectPath,
        socket: StdSocket,
        value_size: usize,
    ) -> Result<(), Stopping> {
        self.close(&phone).await?;
        let socket = match UnixDatagram::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                debug!(%error, "using the socket of a subscription");
                return Ok(());
            }
        };
        let (link, outbound) = self.handle.open().await?;
        info!(link = link.0, %phone, value_size, "phone subscribed");
        let bluez = self.bluez.clone();
        let sent = move || bluez.clone().values_sent();
        let task = self.tasks.spawn(carry(phone.clone(), link, socket, value_size, outbound, sent));
        self.by_object.insert(phone, Phone { link, inbox: Inbox::default(), task });
        Ok(())
    }

    /// Takes a value. A value from a phone that has not subscribed is dropped, because it could not be answered.
    pub(super) async fn written(&mut self, phone: &OwnedObjectPath, endpoint: Endpoint, value: &[u8]) -> Result<(), Stopping> {
        let Some(known) = self.by_object.get_mut(phone) else {
            debug!(%phone, ?endpoint, "write without a subscription");
            return Ok(());
        };
        match known.inbox.push(endpoint, value) {
            Ok(None) => Ok(()),
            Ok(Some(message)) => self.handle.received(known.link, endpoint, message).await,
            Err(error) => {
                debug!(link = known.link.0, ?endpoint, %error, "invalid frame");
                self.handle.invalid_message(known.link, error.fault()).await
            }
        }
    }

    /// Reports that the phones are present.
    pub(super) async fn present(&self) -> Result<(), Stopping> {
        for phone in self.by_object.values() {
            self.handle.present(phone.link).await?;
        }
        Ok(())
    }

    /// Waits until the task of a link has ended. Cancel safe.
    pub(super) async fn ended(&mut self) -> Ended {
        next_ended(&mut self.tasks).await
    }

    /// Closes a link whose task has ended; returns its phone if the node has closed it and the phone must be disconnected.
    pub(super) async fn close_ended(&mut self, ended: Ended) -> Result<Option<OwnedObjectPath>, Stopping> {
        let Ended { phone, link, by_node } = ended;
        if self.by_object.get(&phone).is_some_and(|known| known.link == link) {
            info!(link = link.0, %phone, by_node, "link ended");
            self.close(&phone).await?;
        }
        Ok(by_node.then_some(phone))
    }

    /// Ends the link of a phone whose connection has ended. If a subscription is cancelled while it is set up, `BlueZ` keeps its
    /// socket, and requests no other one before that socket is closed.
    pub(super) async fn left(&mut self, phone: &OwnedObjectPath) -> Result<(), Stopping> {
        if let Some(known) = self.by_object.get(phone) {
            info!(link = known.link.0, %phone, "phone disconnected");
        }
        self.close(phone).await
    }

    /// Ends every link.
    pub(super) async fn close_all(&mut self) -> Result<(), Stopping> {
        for phone in self.by_object.keys().cloned().collect::<Vec<_>>() {
            self.close(&phone).await?;
        }
        Ok(())
    }

    async fn close(&mut self, phone: &OwnedObjectPath) -> Result<(), Stopping> {
        if let Some(known) = self.by_object.remove(phone) {
            known.task.abort();
            self.handle.closed(known.link).await?;
        }
        Ok(())
    }
}

/// Notifies a phone of every message of the node, until one of them ends the link. Waits for `sent` after each value.
async fn carry<S: Future<Output = ()>>(
    phone: OwnedObjectPath,
    link: Link,
    socket: UnixDatagram,
    value_size: usize,
    mut outbound: mpsc::Receiver<Vec<u8>>,
    sent: impl Fn() -> S,
) -> Ended {
    let by_node = loop {
        let message = tokio::select! {
            message = outbound.recv() => message,
            () = closed(&socket) => break false,
        };
        let Some(message) = message else { break true };
        if let Err(error) = notify(&socket, &message, value_size, &sent).await {
            debug!(link = link.0, %error, "notifying");
            break false;
        }
    };
    Ended { phone, link, by_node }
}

/// Sends a message as values of at most `value_size` bytes, one at a time.
async fn notify<S: Future<Output = ()>>(
    socket: &UnixDatagram,
    message: &[u8],
    value_size: usize,
    sent: impl Fn() -> S,
) -> io::Result<()> {
    for value in frames(message, value_size) {
        socket.send(&value).await?;
        sent().await;
    }
    Ok(())
}

/// Waits until the other end of the socket is closed. Phones send nothing over it.
async fn closed(socket: &UnixDatagram) {
    let mut nothing = [0];
    while matches!(socket.recv(&mut nothing).await, Ok(1..)) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use provisioning_core::wire::framing::Reassembler;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (UnixDatagram, UnixDatagram) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a pair of sockets");
        [one, other].map(|end| UnixDatagram::from_std(end.into()).expect("within a runtime")).into()
    }

    fn phone() -> OwnedObjectPath {
        OwnedObjectPath::try_from("/org/bluez/hci0/dev_1").expect("a path")
    }

    #[tokio::test]
    async fn a_message_arrives_in_values_that_the_connection_carries() {
        let (ours, theirs) = pair();
        let (sender, outbound) = mpsc::channel(1);
        let task = tokio::spawn(carry(phone(), Link(1), ours, 18, outbound, || std::future::ready(())));
        sender.send(vec![7; 100]).await.expect("it is carried");
        let mut reassembler = Reassembler::new(100);
        let message = loop {
            let mut value = [0; 512];
            let length = theirs.recv(&mut value).await.expect("a value");
            assert!(length <= 18);
            if let Some(message) = reassembler.push(&value[..length]).expect("in order") {
                break message;
            }
        };
        assert_eq!(message, [7; 100]);
        drop(sender);
        assert!(task.await.expect("it ends").by_node);
    }

    #[tokio::test]
    async fn a_link_ends_when_its_phone_unsubscribes() {
        let (ours, theirs) = pair();
        let (_sender, outbound) = mpsc::channel(1);
        let task = tokio::spawn(carry(phone(), Link(1), ours, 18, outbound, || std::future::ready(())));
        drop(theirs);
        assert!(!task.await.expect("it ends").by_node);
    }
}
