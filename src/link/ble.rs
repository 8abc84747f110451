//! Bluetooth LE: a GATT server over `BlueZ`, and the advertisement that leads to it.
//!
//! One primary service has one characteristic per endpoint. A phone subscribes to `status`, and from then on it has a
//! link: what it writes is attributed to it by the object that `BlueZ` names with every write, and everything that the
//! node says comes to it alone, through the socket of its own subscription, which closes with its connection.
//!
//! No attribute asks for encryption, so that no phone asks to pair. Whatever `BlueZ` or the adapter does (restart,
//! vanish, lose power), the server comes back as soon as they do.
//!
//! | module | what it holds |
//! |---|---|
//! | `application` | the objects that `BlueZ` calls |
//! | `phones` | the links of those who have subscribed |
//! | `bus`, `rfkill` | what is on the bus, and the kernel's switches |

mod application;
mod bus;
mod phones;
mod rfkill;

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};
use zbus::{ObjectPath, Variant};

use crate::daemon::{Handle, Stopping};
use application::{ADVERTISEMENT, Application, Meaning, ROOT};
use bus::{Adapter, Bus, Caller, Heard};
use phones::Phones;
use provisioning_core::backoff::{Backoff, Jitter};
use provisioning_core::fault::chain;

/// Pauses between tries to reach `BlueZ`; each try starts it. An operator who turns a switch waits at most the longest.
const RETRIES: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(8), Jitter::None);

/// How long Bluetooth may be gone before the node counts on it no more: `BlueZ` needs a few seconds to start again.
const GRACE: Duration = Duration::from_secs(6);

/// Which radio to use.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The D-Bus address of another bus than the system's.
    pub bus: Option<String>,
    /// The adapter, by its name (`hci0`) or its address; the system's first one if none is named.
    pub adapter: Option<String>,
}

/// Why the service is not on the air.
#[derive(Debug, Error)]
enum Error {
    #[error("asking on the system bus")]
    Bus(#[from] zbus::Error),
    #[error("BlueZ gave no answer to {member} in time")]
    Late { member: &'static str },
    #[error("BlueZ refused {member}")]
    Refused {
        member: &'static str,
        #[source]
        source: zbus::Error,
    },
    #[error("the system bus is gone")]
    BusLost,
    #[error("Bluetooth is blocked by a switch of the device: turn it on")]
    HardBlocked,
    #[error("lifting the block of Bluetooth: run `rfkill unblock bluetooth`")]
    SoftBlocked(#[source] std::io::Error),
    #[error("BlueZ has ended")]
    Ended,
    #[error("the Bluetooth adapter is gone")]
    AdapterGone,
    #[error("the Bluetooth adapter was switched off")]
    PoweredOff,
    #[error(transparent)]
    Stopping(#[from] Stopping),
}

/// Serves phones until `shutdown` is ready, or until the loop has ended.
pub async fn serve(config: Config, handle: Handle, shutdown: impl Future<Output = ()>) {
    let (serving, watched) = watch::channel(false);
    tokio::select! {
        () = shutdown => {}
        () = again_and_again(&config, &handle, &serving) => {}
        Err(Stopping) = announce(&handle, watched) => {}
    }
}

/// Tells the loop whether there is Bluetooth, unless it comes back at once. The loop counts on it at the start.
async fn announce(handle: &Handle, mut serving: watch::Receiver<bool>) -> Result<Infallible, Stopping> {
    let mut told = true;
    loop {
        let is = *serving.borrow_and_update();
        if is != told && (is || tokio::time::timeout(GRACE, serving.wait_for(|is| *is)).await.is_err()) {
            handle.bluetooth(is).await?;
            told = is;
        }
        serving.changed().await.map_err(|_| Stopping)?;
    }
}

async fn again_and_again(config: &Config, handle: &Handle, serving: &watch::Sender<bool>) {
    let mut failed = 0;
    let mut reported = String::new();
    loop {
        let Err(error) = on_the_air(config, handle, serving).await;
        if serving.send_replace(false) {
            failed = 0;
            reported.clear();
        }
        if matches!(error, Error::Stopping(_)) {
            return;
        }
        // What stays as it is, is said once.
        let text = chain(&error);
        if text == reported {
            debug!("still no Bluetooth: {text}");
        } else {
            warn!("no Bluetooth: {text}");
            reported = text;
        }
        failed += 1;
        tokio::time::sleep(RETRIES.nominal(failed)).await;
    }
}

/// Registers service and advertisement, and serves until something is in the way.
async fn on_the_air(config: &Config, handle: &Handle, serving: &watch::Sender<bool>) -> Result<Infallible, Error> {
    let mut bus = Bus::connect(config.bus.as_deref()).await?;
    let adapter = adapter(&mut bus, config).await?;
    rfkill::lift()?;
    if !bus.powered(&adapter).await? {
        bus.switch_on(&adapter).await?;
    }
    let mut phones = Phones::new(handle.clone());
    let result = serve_phones(&mut bus, &adapter, handle, serving, &mut phones).await;
    phones.close_all().await?;
    result
}

/// The adapter, as soon as it is there.
async fn adapter(bus: &mut Bus, config: &Config) -> Result<Adapter, Error> {
    loop {
        let wanted = config.adapter.as_deref();
        let found = bus.adapters().await?.into_iter().find(|adapter| wanted.is_none_or(|wanted| adapter.is(wanted)));
        if let Some(adapter) = found {
            return Ok(adapter);
        }
        info!("waiting for a Bluetooth adapter");
        while !matches!(bus.heard().await?, Heard::Owner | Heard::Added) {}
    }
}

/// Something that `BlueZ` was asked for. It calls back before it answers, so nothing waits for the answer alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Register,
    Advertise,
    Hide,
    Disconnect,
}

/// How the advertisement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visible {
    No,
    /// `BlueZ` was asked, and has not answered.
    Changing,
    Yes,
}

async fn serve_phones(
    bus: &mut Bus,
    adapter: &Adapter,
    handle: &Handle,
    serving: &watch::Sender<bool>,
    phones: &mut Phones,
) -> Result<Infallible, Error> {
    let mut application = Application::new(handle.clone());
    let mut advertising = handle.advertising();
    // Nobody may be led to a service that is not there yet.
    let mut visible = Visible::Changing;
    let mut steps = JoinSet::new();
    steps.spawn(step(bus.caller(), Step::Register, adapter.path.as_str().to_owned()));
    loop {
        let wanted = *advertising.borrow_and_update();
        let next = match visible {
            Visible::No if wanted => Some(Step::Advertise),
            Visible::Yes if !wanted => Some(Step::Hide),
            _ => None,
        };
        if let Some(next) = next {
            visible = Visible::Changing;
            steps.spawn(step(bus.caller(), next, adapter.path.as_str().to_owned()));
        }
        tokio::select! {
            heard = bus.heard() => match heard? {
                Heard::Call(call) => {
                    let (answer, meaning) = application.call(&call)?;
                    // A write is answered before it is looked at, and a subscription counts before it is answered.
                    if let Some(Meaning::Subscribed { phone, socket, value_size }) = meaning {
                        phones.subscribed(phone, socket, value_size).await?;
                        bus.answer(&call, &answer).await?;
                    } else {
                        bus.answer(&call, &answer).await?;
                        match meaning {
                            Some(Meaning::Written { phone, endpoint, value }) => phones.written(&phone, endpoint, &value).await?,
                            Some(Meaning::Released) if visible == Visible::Yes => visible = Visible::No,
                            _ => {}
                        }
                    }
                }
                Heard::Owner => return Err(Error::Ended),
                Heard::Removed(path) if path == adapter.path => return Err(Error::AdapterGone),
                Heard::PoweredOff(path) if path == adapter.path => return Err(Error::PoweredOff),
                Heard::Disconnected(phone) => phones.left(&phone).await?,
                Heard::Added | Heard::Removed(_) | Heard::PoweredOff(_) => {}
            },
            Some(done) = steps.join_next() => {
                let (step, result) = done.expect("a step neither panics nor is aborted");
                debug!(?step, ?result, "done");
                match step {
                    Step::Register => {
                        result?;
                        info!(adapter = adapter.name(), "the service is registered");
                        serving.send_replace(true);
                        visible = Visible::No;
                    }
                    Step::Advertise => {
                        result?;
                        info!(adapter = adapter.name(), name = handle.view().info.name, "advertising");
                        visible = Visible::Yes;
                    }
                    Step::Hide => {
                        info!("advertising no more");
                        visible = Visible::No;
                    }
                    Step::Disconnect => {}
                }
            }
            ended = phones.ended() => if let Some(phone) = ended? {
                steps.spawn(step(bus.caller(), Step::Disconnect, phone.as_str().to_owned()));
            },
            changed = advertising.changed() => changed.map_err(|_| Stopping)?,
        }
    }
}

/// Asks the object at `path`.
async fn step(caller: Caller, step: Step, path: String) -> (Step, Result<(), Error>) {
    let options = std::collections::HashMap::<&str, Variant<'_>>::new();
    let object = |path: &'static str| ObjectPath::try_from(path).expect("the application's paths are paths");
    let advertising = "org.bluez.LEAdvertisingManager1";
    let result = match step {
        Step::Register => caller.call(&path, "org.bluez.GattManager1", "RegisterApplication", &(object(ROOT), options)).await,
        Step::Advertise => caller.call(&path, advertising, "RegisterAdvertisement", &(object(ADVERTISEMENT), options)).await,
        Step::Hide => caller.call(&path, advertising, "UnregisterAdvertisement", &object(ADVERTISEMENT)).await,
        Step::Disconnect => caller.call(&path, "org.bluez.Device1", "Disconnect", &()).await,
    };
    (step, result.map(drop))
}
