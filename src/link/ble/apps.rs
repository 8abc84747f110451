//! The links of Espressif's apps over Bluetooth.
//!
//! An app has a link from its first message on. Each message is a write, whose answer the app reads when the write is
//! acknowledged: so a write is acknowledged when the node has answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, info};
use zbus::{Message, OwnedObjectPath};

use crate::daemon::{Handle, Stopping};
use provisioning_core::espressif::Endpoint;
use provisioning_core::machine::Link;

/// Longer than the machine lets an app wait for anything, and shorter than an app waits for a write.
const ANSWER: Duration = Duration::from_secs(25);

/// The answers that apps have not read, or read in parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers(Arc<Mutex<Table>>);

/// An answer, by its phone and the number of its endpoint or characteristic.
type Table = HashMap<(OwnedObjectPath, u16), Vec<u8>>;

impl Answers {
    /// The last answer to a phone at an endpoint or characteristic; none if there was none.
    pub(super) fn of(&self, phone: &OwnedObjectPath, number: u16) -> Option<Vec<u8>> {
        self.table().get(&(phone.clone(), number)).cloned()
    }

    pub(super) fn set(&self, phone: OwnedObjectPath, number: u16, answer: Vec<u8>) {
        self.table().insert((phone, number), answer);
    }

    pub(super) fn forget(&self, gone: &OwnedObjectPath) {
        self.table().retain(|(phone, _), _| phone != gone);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Each use leaves the table whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The apps that have written something, by the D-Bus object of their phone.
pub(super) struct Apps {
    handle: Handle,
    answers: Answers,
    by_object: HashMap<OwnedObjectPath, App>,
}

#[derive(Clone)]
struct App {
    link: Link,
    receiver: Arc<tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>>,
}

/// A write that was answered.
pub(super) struct Answered {
    call: Message,
    phone: OwnedObjectPath,
    link: Link,
    endpoint: Endpoint,
    /// Empty if the node refuses the message.
    answer: Vec<u8>,
}

impl Apps {
    pub(super) fn new(handle: Handle, answers: Answers) -> Self {
        Self { handle, answers, by_object: HashMap::new() }
    }

    /// Takes a message; the future ends with its answer.
    pub(super) async fn written(
        &mut self,
        phone: OwnedObjectPath,
        endpoint: Endpoint,
        message: Vec<u8>,
        call: Message,
    ) -> Result<impl Future<Output = Answered> + use<>, Stopping> {
        // The node has closed the link of an app that was silent for too long.
        let is_closed = |app: &App| app.receiver.try_lock().is_ok_and(|receiver| receiver.is_closed() && receiver.is_empty());
        if self.by_object.get(&phone).is_none_or(is_closed) {
            let (link, receiver) = self.handle.open().await?;
            info!(link = link.0, %phone, "an app of Espressif's writes");
            self.by_object.insert(phone.clone(), App { link, receiver: Arc::new(receiver.into()) });
        }
        let app = self.by_object[&phone].clone();
        let handle = self.handle.clone();
        Ok(async move {
            let answer = async {
                // One message at a time: each has one answer.
                let mut receiver = app.receiver.lock().await;
                handle.espressif(app.link, endpoint, message).await.ok()?;
                receiver.recv().await
            };
            let answer = timeout(ANSWER, answer).await.ok().flatten().unwrap_or_default();
            Answered { call, phone, link: app.link, endpoint, answer }
        })
    }

    /// Keeps the answer to a write until it is read; returns the call, and whether there is one. One to an app that has left is
    /// dropped, or it would stay for ever.
    pub(super) fn answered(&self, Answered { call, phone, link, endpoint, answer }: Answered) -> (Message, bool) {
        let is_accepted = !answer.is_empty();
        debug!(link = link.0, ?endpoint, is_accepted, "answered");
        if self.by_object.get(&phone).is_some_and(|app| app.link == link) {
            self.answers.set(phone, endpoint.row().id, answer);
        }
        (call, is_accepted)
    }

    /// Their owners may be typing.
    pub(super) async fn present(&self) -> Result<(), Stopping> {
        for app in self.by_object.values() {
            self.handle.present(app.link).await?;
        }
        Ok(())
    }

    /// Whether no app has a link.
    pub(super) fn is_empty(&self) -> bool {
        self.by_object.is_empty()
    }

    /// Ends the link of a phone whose connection has ended.
    pub(super) async fn left(&mut self, phone: &OwnedObjectPath) -> Result<(), Stopping> {
        self.answers.forget(phone);
        if let Some(app) = self.by_object.remove(phone) {
            self.handle.closed(app.link).await?;
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
