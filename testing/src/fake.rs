//! The base of fake D-Bus services: the connection, the record of calls, and scripted faults.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use zbus::message::Type;
use zbus::{Connection, DynamicType, Message, MessageStream};

/// Longer than any limit of the code under test.
const DEADLINE: Duration = Duration::from_mins(1);

/// A fault of the answer to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A D-Bus error with that name and text.
    Error(&'static str, &'static str),
    /// A value of the wrong type.
    WrongType,
    /// A correct answer, but not before [`Fake::release`].
    Late,
    /// No answer.
    Never,
}

/// The scripted faults, and the received calls.
#[derive(Debug, Default)]
pub struct Script {
    /// Members whose next call is answered with a fault, in order.
    pub faults: VecDeque<(&'static str, Fault)>,
    /// Members that were called, in order.
    pub calls: Vec<String>,
    release: bool,
}

impl Script {
    /// How often a member was called.
    pub fn calls_of(&self, member: &str) -> usize {
        self.calls.iter().filter(|call| *call == member).count()
    }
}

/// A faked service: its state and its answers.
pub trait Service: Send + Sized + 'static {
    /// The name on the bus.
    const NAME: &'static str;

    /// The script within the state.
    fn script(&mut self) -> &mut Script;

    /// Records a call before it is answered.
    fn received(&mut self, _message: &Message) {}

    /// Answers a call. The next call is not read before this returns; a service that calls back spawns a task.
    fn answer(fake: &Fake<Self>, message: Message) -> impl Future<Output = ()> + Send;
}

/// A fake service on a bus. Clones share its state.
pub struct Fake<S> {
    /// The service's connection.
    pub connection: Connection,
    state: Arc<Mutex<S>>,
    changed: watch::Sender<()>,
}

/// Stops the fake on drop.
pub struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<S> Clone for Fake<S> {
    fn clone(&self) -> Self {
        Self { connection: self.connection.clone(), state: Arc::clone(&self.state), changed: self.changed.clone() }
    }
}

impl<S: Service> Fake<S> {
    /// Starts the service on the bus at that address.
    pub async fn start(address: &str, state: S) -> (Self, Running) {
        let connection = zbus::connection::Builder::address(address).build().await.expect("a bus");
        let (changed, _) = watch::channel(());
        let fake = Self { connection, state: Arc::new(Mutex::new(state)), changed };
        let mut calls = MessageStream::from(fake.connection.clone());
        let serving = fake.clone();
        let task = tokio::spawn(async move {
            while let Some(Ok(message)) = calls.next().await {
                if message.message_type() == Type::MethodCall {
                    serving.serve(message).await;
                }
                serving.notify();
            }
        });
        fake.connection.request_name(S::NAME).await.expect("the name is free");
        (fake, Running(task))
    }

    /// The state, locked.
    pub fn world(&self) -> MutexGuard<'_, S> {
        self.state.lock().expect("no test panics while it holds this")
    }

    /// Wakes all waiters for a change of the state.
    pub fn notify(&self) {
        self.changed.send_replace(());
    }

    /// Sends the answers that [`Fault::Late`] holds back.
    pub fn release(&self) {
        self.world().script().release = true;
        self.notify();
    }

    /// Waits until the state fulfils a condition.
    pub async fn until(&self, what: &str, mut fits: impl FnMut(&S) -> bool) {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            while !fits(&self.world()) {
                changed.changed().await.expect("the sender lives as long as this");
            }
        };
        let waited = timeout(DEADLINE, waiting).await;
        assert!(waited.is_ok(), "not within {DEADLINE:?}: {what}; {:?}", self.world().script().calls);
    }

    /// Emits a signal.
    pub async fn emit<B>(&self, path: &str, interface: &str, member: &str, body: &B) -> zbus::Result<()>
    where
        B: Serialize + DynamicType,
    {
        self.connection.emit_signal(None::<&str>, path, interface, member, body).await
    }

    /// Releases the bus name, like a stopped service.
    pub async fn release_name(&self) {
        assert!(self.connection.release_name(S::NAME).await.expect("the bus is there"));
    }

    /// Requests the bus name again, like a restarted service.
    pub async fn come_back(&self) {
        self.connection.request_name(S::NAME).await.expect("the name is free");
    }

    async fn serve(&self, message: Message) {
        let header = message.header();
        let member = header.member().map(ToString::to_string).unwrap_or_default();
        let fault = {
            let mut world = self.world();
            world.received(&message);
            let script = world.script();
            script.calls.push(member.clone());
            if script.faults.front().is_some_and(|(of, _)| *of == member) { script.faults.pop_front() } else { None }
        };
        match fault.map(|(_, fault)| fault) {
            None => S::answer(self, message).await,
            Some(Fault::Never) => {}
            Some(Fault::WrongType) => self.connection.reply(&header, &"a wrong type").await.expect("the bus is there"),
            Some(Fault::Error(name, text)) => {
                self.connection.reply_error(&header, name, &text).await.expect("the bus is there");
            }
            Some(Fault::Late) => {
                let fake = self.clone();
                tokio::spawn(async move {
                    let mut changed = fake.changed.subscribe();
                    while !fake.world().script().release {
                        changed.changed().await.expect("the sender lives as long as this");
                    }
                    S::answer(&fake, message).await;
                    fake.notify();
                });
            }
        }
    }
}
