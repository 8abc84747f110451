//! Bluetooth LE: a GATT server over `BlueZ`, and the advertisement that leads to it.
//!
//! One primary service has one characteristic per endpoint. A phone has a link from its subscription to `status` on: writes
//! are attributed to it by the D-Bus object of the device that `BlueZ` passes with every write, and messages of the node
//! reach it alone, through the socket of its own subscription, which closes with its connection.
//!
//! No attribute requires encryption, so phones do not ask their user to pair. If `BlueZ` restarts, or the adapter vanishes or
//! loses power, the service is registered again as soon as they are back.
//!
//! An advertisement can be gone from the air although `BlueZ` and the kernel believe that it is active: after a connection, a
//! suspend, or a reset of the controller. The node cannot receive its own advertisement, so it has `BlueZ` send it to the
//! controller again after every connection and suspend, and every 30 s while a phone is expected. For that it signals a change of the
//! advertisement. It does not register another one: `BlueZ` keeps an advertisement for ever whose owner disconnects
//! before the registration is answered, and refuses all others once it has five, so registrations must be rare.
//!
//! | module | what it holds |
//! |---|---|
//! | `advertising` | which advertisements are in the air |
//! | `application` | the D-Bus objects that `BlueZ` calls |
//! | `apps` | the links of Espressif's apps |
//! | `clients` | the objects of Improv and of nymea's services, and the links of their clients |
//! | `phones` | the links of phones that have subscribed |
//! | `name` | the name of the adapter, which phones show |
//! | `bus`, `rfkill` | `BlueZ` on the system bus, and the kernel's radio switches |
//! | `retry` | when `BlueZ` is tried again |

mod advertising;
mod application;
mod apps;
mod bus;
mod clients;
mod name;
mod phones;
mod retry;
mod rfkill;

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{debug, info, warn};
use zbus::{Message, ObjectPath, OwnedObjectPath, Variant};

use crate::daemon::{Handle, PRESENCE, Stopping};
use crate::link::clients::Protocol;
use advertising::{Advertisements, Change, Instance};
pub use application::Services;
use application::{ADVERTISEMENT, ADVERTISEMENT_TYPE, Application, Effect, ROOT, acknowledged, failed};
use apps::{Answered, Answers, Apps};
use bus::{Adapter, Bus, BusEvent, Caller};
use clients::Clients;
use phones::Phones;
use provisioning_core::fault::chain;
use provisioning_core::machine::Link;

/// How long Bluetooth may be interrupted before the daemon treats it as unavailable: `BlueZ` takes a few seconds to restart.
const GRACE: Duration = Duration::from_secs(6);

/// How long an advertisement that the controller may have lost stays lost, at most. Sending it to the controller again
/// interrupts it for some milliseconds.
const RENEWAL: Duration = Duration::from_secs(30);
/// The same of a node that keeps its network, where a phone is rare, and every timer wakes the processor.
const RARE_RENEWAL: Duration = Duration::from_mins(10);

/// Limit of waiting for the last answers of `BlueZ`, which it gives within milliseconds.
const SETTLING: Duration = Duration::from_secs(2);

/// Which radio to use.
#[derive(Clone, Debug)]
pub struct Config {
    /// The D-Bus address of another bus than the system's.
    pub bus: Option<String>,
    /// The adapter, by its name (`hci0`) or its address; the system's first one by default.
    pub adapter: Option<String>,
    /// The services beside the node's own.
    pub services: Services,
    /// Where the kernel lists its radio switches: `/sys/class/rfkill`.
    pub switches: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { bus: None, adapter: None, services: Services::default(), switches: rfkill::SWITCHES.into() }
    }
}

/// Why the service is not available over the air.
#[derive(Debug, Error)]
enum Error {
    #[error("calling the system bus")]
    Bus(#[from] zbus::Error),
    #[error("BlueZ did not answer {member} in time")]
    Late { member: &'static str },
    #[error("BlueZ refused {member}")]
    Refused {
        member: &'static str,
        #[source]
        source: zbus::Error,
    },
    #[error("the connection to the system bus was lost")]
    BusLost,
    #[error("Bluetooth is blocked by a hardware switch: turn it on")]
    HardBlocked,
    #[error("unblocking Bluetooth: run `rfkill unblock bluetooth`")]
    SoftBlocked(#[source] std::io::Error),
    #[error("BlueZ has exited")]
    Ended,
    #[error("the Bluetooth adapter was removed")]
    AdapterGone,
    #[error("the Bluetooth adapter was switched off")]
    PoweredOff,
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Serves phones until `shutdown` is ready, or until the daemon's loop has ended.
pub async fn serve(config: Config, handle: Handle, shutdown: impl Future<Output = ()>) {
    let (serving, watched) = watch::channel(false);
    let (mut chosen, mut session) = (None, None);
    tokio::select! {
        () = shutdown => {}
        () = run_with_reconnect(&config, &handle, &serving, &mut chosen, &mut session) => {}
        Err(Stopping) = announce(&handle, watched) => {}
    }
    end(&mut session).await;
    name::give_back(&config, &handle.view().info.name, chosen.as_deref()).await;
}

/// Corrects the name of an adapter that has the node's, because the program was killed while it served phones.
pub async fn give_back_name(config: &Config, name: &str) {
    name::give_back(config, name, None).await;
}

/// Reports to the daemon's loop when Bluetooth becomes available or unavailable. Interruptions shorter than [`GRACE`] are not
/// reported. The loop assumes at the start that it is available.
async fn announce(handle: &Handle, mut serving: watch::Receiver<bool>) -> Result<Infallible, Stopping> {
    let mut reported = true;
    loop {
        let is = *serving.borrow_and_update();
        if is != reported && (is || tokio::time::timeout(GRACE, serving.wait_for(|is| *is)).await.is_err()) {
            handle.bluetooth(is).await?;
            reported = is;
        }
        serving.changed().await.map_err(|_| Stopping)?;
    }
}

/// `chosen` becomes the name that the adapter's owner has chosen for it, if there is one.
async fn run_with_reconnect(
    config: &Config,
    handle: &Handle,
    serving: &watch::Sender<bool>,
    chosen: &mut Option<String>,
    session: &mut Option<Session>,
) {
    let mut failed = 0;
    let mut reported = String::new();
    loop {
        let Err(error) = serve_once(config, handle, serving, chosen, session).await;
        end(session).await;
        if serving.send_replace(false) {
            failed = 0;
            reported.clear();
        }
        if matches!(error, Error::Stopping(_)) {
            return;
        }
        // The same error is logged once as a warning, not at every retry.
        let text = chain(&error);
        if text == reported {
            debug!("still no Bluetooth: {text}");
        } else {
            warn!("no Bluetooth: {text}");
            reported = text;
        }
        failed += 1;
        retry::pause(handle.views(), |view| view.needs_radio, failed).await;
    }
}

/// Registers service and advertisement, and serves phones until an error occurs.
async fn serve_once(
    config: &Config,
    handle: &Handle,
    serving: &watch::Sender<bool>,
    chosen: &mut Option<String>,
    session: &mut Option<Session>,
) -> Result<Infallible, Error> {
    let mut bus = Bus::connect(config.bus.as_deref()).await?;
    let adapter = adapter(&mut bus, config).await?;
    rfkill::lift(&config.switches)?;
    if !bus.powered(&adapter).await? {
        bus.switch_on(&adapter).await?;
    }
    if let Some(name) = name::take(&bus, &adapter, &handle.view().info.name).await {
        *chosen = Some(name);
    }
    let mut phones = Phones::new(handle.clone(), bus.caller());
    let answers = Answers::default();
    let mut apps = Apps::new(handle.clone(), answers.clone());
    let clients = |protocol| Clients::new(protocol, handle.clone(), bus.caller(), answers.clone());
    let (mut improv, mut nymea) = (clients(Protocol::Improv), clients(Protocol::Nymea));
    let application = Application::new(handle.clone(), config.services, answers);
    let session = session.insert(Session { bus, application, steps: JoinSet::new() });
    let links = Links { phones: &mut phones, apps: &mut apps, improv: &mut improv, nymea: &mut nymea };
    let result = serve_phones(session, &adapter, handle, serving, links).await;
    phones.close_all().await?;
    apps.close_all().await?;
    improv.close_all().await?;
    nymea.close_all().await?;
    result
}

/// Waits for the adapter.
async fn adapter(bus: &mut Bus, config: &Config) -> Result<Adapter, Error> {
    loop {
        let wanted = config.adapter.as_deref();
        let found = bus.adapters().await?.into_iter().find(|adapter| wanted.is_none_or(|wanted| adapter.is(wanted)));
        if let Some(adapter) = found {
            return Ok(adapter);
        }
        info!("waiting for a Bluetooth adapter");
        while !matches!(bus.next_event().await?, BusEvent::Owner | BusEvent::Added) {}
    }
}

/// A request to `BlueZ`. It calls the application back before it answers, so the loop must serve calls while one is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Register,
    Change(Change),
    Disconnect,
}

/// What is left to do after a call.
enum Served<F> {
    Answered,
    /// The call is answered when this has ended.
    Later(F),
    /// `BlueZ` has stopped the advertisement at this path by itself.
    Released(String),
}

/// A link that has ended.
enum Ended {
    Phone(phones::Ended),
    Client(Protocol, OwnedObjectPath, Link),
}

/// What the next task of a link returns that ends by itself. An aborted one belonged to a link that is closed already. Cancel safe.
async fn next_ended<T: 'static>(tasks: &mut JoinSet<T>) -> T {
    loop {
        match tasks.join_next().await {
            Some(Ok(ended)) => return ended,
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }
}

/// Everyone who is connected.
struct Links<'a> {
    phones: &'a mut Phones,
    apps: &'a mut Apps,
    improv: &'a mut Clients,
    nymea: &'a mut Clients,
}

impl Links<'_> {
    /// Whether nobody is.
    fn are_none(&self) -> bool {
        !self.phones.are_present() && self.apps.is_empty() && self.improv.is_empty() && self.nymea.is_empty()
    }

    const fn clients(&mut self, protocol: Protocol) -> &mut Clients {
        match protocol {
            Protocol::Improv => self.improv,
            Protocol::Nymea => self.nymea,
        }
    }

    /// Serves a call of `BlueZ`.
    async fn serve(
        &mut self,
        bus: &Bus,
        application: &mut Application,
        call: Message,
    ) -> Result<Served<impl Future<Output = Answered> + use<>>, Error> {
        let (answer, effect) = application.call(&call)?;
        // Acknowledge a write before processing it; register a subscription before acknowledging it.
        match effect {
            Some(Effect::Subscribed { phone, socket, value_size }) => {
                self.phones.subscribed(phone, socket, value_size).await?;
                bus.answer(&call, &answer).await?;
            }
            Some(Effect::ClientSubscribed { phone, characteristic, socket, mtu }) => {
                self.clients(characteristic.protocol()).subscribed(phone, characteristic, socket, mtu).await?;
                bus.answer(&call, &answer).await?;
            }
            Some(Effect::AppWritten { phone, endpoint, message }) => {
                return Ok(Served::Later(self.apps.written(phone, endpoint, message, call).await?));
            }
            Some(Effect::Written { phone, endpoint, value }) => {
                bus.answer(&call, &answer).await?;
                self.phones.written(&phone, endpoint, &value).await?;
            }
            Some(Effect::ClientWritten { phone, characteristic, value, mtu }) => {
                bus.answer(&call, &answer).await?;
                self.clients(characteristic.protocol()).written(phone, characteristic, value, mtu).await?;
            }
            Some(Effect::Released(path)) => {
                bus.answer(&call, &answer).await?;
                return Ok(Served::Released(path));
            }
            None => bus.answer(&call, &answer).await?,
        }
        Ok(Served::Answered)
    }

    /// Whether anyone is connected whose presence has to be reported.
    fn need_presence(&self) -> bool {
        self.phones.are_present() || !self.apps.is_empty()
    }

    /// Reports who is present.
    async fn present(&self) -> Result<(), Stopping> {
        self.phones.present().await?;
        self.apps.present().await
    }

    /// Waits until a link has ended. Cancel safe.
    async fn ended(&mut self) -> Ended {
        tokio::select! {
            ended = self.phones.ended() => Ended::Phone(ended),
            (phone, link) = self.improv.ended() => Ended::Client(Protocol::Improv, phone, link),
            (phone, link) = self.nymea.ended() => Ended::Client(Protocol::Nymea, phone, link),
        }
    }

    /// Closes a link that has ended; returns the phone that is to be disconnected, if there is one.
    async fn close_ended(&mut self, ended: Ended) -> Result<Option<OwnedObjectPath>, Stopping> {
        match ended {
            Ended::Phone(ended) => self.phones.close_ended(ended).await,
            Ended::Client(protocol, phone, link) => self.clients(protocol).close_ended(phone, link).await,
        }
    }

    /// The connection to a phone has ended.
    async fn left(&mut self, phone: &OwnedObjectPath) -> Result<(), Stopping> {
        self.phones.left(phone).await?;
        self.apps.left(phone).await?;
        self.improv.left(phone).await?;
        self.nymea.left(phone).await
    }
}

/// A connection to `BlueZ`, and the requests that it has not answered.
struct Session {
    bus: Bus,
    application: Application,
    steps: JoinSet<(Step, Result<(), Error>)>,
}

impl Session {
    /// Waits until every request is answered, and answers the calls that `BlueZ` makes meanwhile.
    async fn settle(&mut self) -> Result<(), Error> {
        while !self.steps.is_empty() {
            tokio::select! {
                event = self.bus.next_event() => if let BusEvent::Call(call) = event? {
                    let (answer, _) = self.application.call(&call)?;
                    self.bus.answer(&call, &answer).await?;
                },
                Some(done) = self.steps.join_next() => debug!(?done, "settled"),
            }
        }
        Ok(())
    }
}

/// Ends a connection to `BlueZ`, whereupon it forgets service and advertisement.
async fn end(session: &mut Option<Session>) {
    if let Some(session) = session {
        match timeout(SETTLING, session.settle()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!("BlueZ has not answered: {}", chain(&error)),
            Err(_) => debug!("BlueZ does not answer"),
        }
    }
    *session = None;
}

async fn serve_phones(
    Session { bus, application, steps }: &mut Session,
    adapter: &Adapter,
    handle: &Handle,
    serving: &watch::Sender<bool>,
    mut links: Links<'_>,
) -> Result<Infallible, Error> {
    let mut presence = interval(PRESENCE);
    presence.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answering = JoinSet::new();
    let (mut advertising, mut views) = (handle.advertising(), handle.views());
    let mut advertisements = Advertisements::default();
    // Advertise only after the service is registered.
    let mut registered = false;
    // What the advertisement of Improv says.
    let mut said = None;
    let mut renewed = Instant::now();
    steps.spawn(step(bus.caller(), Step::Register, adapter.path.as_str().to_owned()));
    loop {
        let wanted = *advertising.borrow_and_update();
        let (improv, nymea, needs_radio) = {
            let view = views.borrow_and_update();
            (view.improv, view.nymea, view.needs_radio)
        };
        let is_wanted = |instance| match instance {
            Instance::Own => wanted,
            Instance::Improv => wanted && improv.is_some_and(|shown| shown.advertised),
            Instance::Nymea => wanted && nymea.is_some_and(|shown| shown.advertised),
        };
        let is_expecting = needs_radio || is_wanted(Instance::Improv) || is_wanted(Instance::Nymea);
        if let Some(change) = registered.then(|| advertisements.next(is_wanted)).flatten() {
            if change == Change::Advertise(Instance::Improv) {
                said = improv;
            }
            steps.spawn(step(bus.caller(), Step::Change(change), adapter.path.as_str().to_owned()));
        }
        if let Some(shown) = improv.filter(|_| advertisements.shows(Instance::Improv) && improv != said) {
            said = improv;
            bus.advertisement_changed(Instance::Improv.path(), "ServiceData", clients::service_data(shown)).await?;
        }
        // The kernel does not advertise while a phone is connected.
        let idle = advertisements.shows(Instance::Own) && links.are_none();
        let mut doubtful = false;
        tokio::select! {
            event = bus.next_event() => match event? {
                BusEvent::Call(call) => match links.serve(bus, application, call).await? {
                    Served::Answered => {}
                    Served::Later(answer) => drop(answering.spawn(answer)),
                    Served::Released(path) => advertisements.released(&path),
                },
                BusEvent::Owner => return Err(Error::Ended),
                BusEvent::Removed(path) if path == adapter.path => return Err(Error::AdapterGone),
                BusEvent::PoweredOff(path) if path == adapter.path => return Err(Error::PoweredOff),
                BusEvent::Disconnected(phone) => {
                    links.left(&phone).await?;
                    doubtful = adapter.has(&phone);
                }
                BusEvent::Resumed => doubtful = true,
                BusEvent::Added | BusEvent::Removed(_) | BusEvent::PoweredOff(_) => {}
            },
            Some(done) = steps.join_next() => {
                let (step, result) = done.expect("a step neither panics nor is aborted");
                debug!(?step, ?result, "done");
                match step {
                    Step::Register => {
                        result?;
                        info!(adapter = adapter.name(), "GATT service registered");
                        serving.send_replace(true);
                        registered = true;
                    }
                    Step::Change(change @ Change::Advertise(instance)) => match result {
                        Err(error) if instance != Instance::Own => advertisements.left_out(instance, &error),
                        result => {
                            result?;
                            info!(adapter = adapter.name(), name = handle.view().info.name, ?instance, "advertising");
                            advertisements.done(change);
                            renewed = Instant::now();
                        }
                    },
                    Step::Change(change @ Change::Hide(instance)) => {
                        info!(?instance, "stopped advertising");
                        advertisements.done(change);
                    }
                    Step::Disconnect => {}
                }
            }
            Some(answered) = answering.join_next() => {
                let (call, is_accepted) = links.apps.answered(answered.expect("it neither panics nor is aborted"));
                let answer = if is_accepted { acknowledged(&call) } else { failed(&call) };
                bus.answer(&call, &answer?).await?;
            }
            // Without phones no timer runs, so that an idle node sleeps.
            _ = presence.tick(), if links.need_presence() => links.present().await?,
            ended = links.ended() => if let Some(phone) = links.close_ended(ended).await? {
                steps.spawn(step(bus.caller(), Step::Disconnect, phone.as_str().to_owned()));
            },
            changed = advertising.changed() => changed.map_err(|_| Stopping)?,
            changed = views.changed() => changed.map_err(|_| Stopping)?,
            // Without an advertisement no timer runs.
            () = sleep_until(renewed + if is_expecting { RENEWAL } else { RARE_RENEWAL }), if idle => {
                renewed = Instant::now();
                doubtful = true;
                advertisements.retry();
            }
        }
        if doubtful && advertisements.shows(Instance::Own) && links.are_none() {
            send_again(bus, &advertisements).await?;
            renewed = Instant::now();
        }
    }
}

/// Has `BlueZ` send the advertisements to the controller again.
async fn send_again(bus: &Bus, advertisements: &Advertisements) -> Result<(), Error> {
    for instance in Instance::ALL.into_iter().filter(|instance| advertisements.shows(*instance)) {
        bus.advertisement_changed(instance.path(), "Type", ADVERTISEMENT_TYPE.into()).await?;
    }
    Ok(())
}

/// Calls the object at `path`.
async fn step(caller: Caller, step: Step, path: String) -> (Step, Result<(), Error>) {
    let options = std::collections::HashMap::<&str, Variant<'_>>::new();
    let object = |path: &'static str| ObjectPath::try_from(path).expect("the application's paths are paths");
    let advertising = "org.bluez.LEAdvertisingManager1";
    let result = match step {
        Step::Register => caller.call(&path, "org.bluez.GattManager1", "RegisterApplication", &(object(ROOT), options)).await,
        Step::Change(Change::Advertise(instance)) => {
            caller.call(&path, advertising, "RegisterAdvertisement", &(object(instance.path()), options)).await
        }
        Step::Change(Change::Hide(instance)) => {
            caller.call(&path, advertising, "UnregisterAdvertisement", &object(instance.path())).await
        }
        Step::Disconnect => caller.call(&path, "org.bluez.Device1", "Disconnect", &()).await,
    };
    (step, result.map(drop))
}
