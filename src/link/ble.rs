//! Bluetooth LE: a GATT server over `BlueZ`, and the advertisement that leads to it.
//!
//! One primary service has one characteristic per endpoint. A phone subscribes to `status`, and from then on it has a
//! link: what it writes is attributed to it by the address that `BlueZ` gives with every write, and everything that the
//! node says comes to it alone, through the socket of its own subscription, which closes with its connection.
//!
//! No attribute asks for encryption, so that no phone asks to pair. Whatever `BlueZ` or the adapter does (restart,
//! vanish, lose power), the server comes back as soon as they do.

mod application;
mod rfkill;

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use bluer::adv::{Advertisement, AdvertisementHandle};
use bluer::gatt::CharacteristicWriter;
use bluer::gatt::local::{CharacteristicControlEvent, ReqError};
use bluer::{Adapter, AdapterEvent, AdapterProperty, Address, Session, SessionEvent, Uuid};
use futures_util::StreamExt;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, info, warn};

use crate::daemon::{Handle, Stopping, chain};
use crate::fault::Fault;
use crate::link::{ENDPOINTS, SERVICE};
use crate::machine::Link;
use crate::wire::framing::{FramingError, Reassembler, frames};
use application::{Published, Written};

/// `BlueZ`'s name on the system bus.
const BLUEZ: &str = "org.bluez";

/// The first pause before `BlueZ` is tried again; asking for it starts it.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest pause, as each is twice the one before: an operator who turns a switch does not wait longer.
const RETRY_LIMIT: Duration = Duration::from_secs(8);

/// How long Bluetooth may be gone before the node counts on it no more: `BlueZ` needs a few seconds to start again.
const GRACE: Duration = Duration::from_secs(6);

/// How often the node advertises while it waits for a phone. Phones that look for devices listen a tenth of the time, so
/// this finds the node within about two seconds; `BlueZ` would take ten times as long.
const INTERVAL: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(150);

/// The longest name that fits a scan response: 31 bytes, less its length and its kind.
const NAME_LIMIT: usize = 29;

/// Which radio to use.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The adapter, by its name (`hci0`) or its address; the system's first one if none is named.
    pub adapter: Option<String>,
}

/// Why the service is not on the air.
#[derive(Debug, Error)]
enum Error {
    #[error("asking the system bus about BlueZ")]
    Bus(#[from] zbus::Error),
    #[error("{attempt}")]
    Bluez {
        attempt: &'static str,
        #[source]
        source: bluer::Error,
    },
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

fn bluez(attempt: &'static str) -> impl FnOnce(bluer::Error) -> Error {
    move |source| Error::Bluez { attempt, source }
}

/// Serves phones until `shutdown` is ready, or until the loop has ended.
///
/// Values of one phone arrive in the order in which it wrote them only in a runtime of one thread.
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
    let mut pause = RETRY_FIRST;
    let mut reported = String::new();
    loop {
        let Err(error) = on_the_air(config, handle, serving).await;
        if serving.send_replace(false) {
            pause = RETRY_FIRST;
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
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LIMIT);
    }
}

/// Registers service and advertisement, and serves until something is in the way.
async fn on_the_air(config: &Config, handle: &Handle, serving: &watch::Sender<bool>) -> Result<Infallible, Error> {
    let bus = zbus::Connection::system().await?;
    let bus = zbus::fdo::DBusProxy::new(&bus).await?;
    let mut owners = bus.receive_name_owner_changed_with_args(&[(0, BLUEZ)]).await?;
    let session = Session::new().await.map_err(bluez("connecting to BlueZ"))?;
    let mut adapters = std::pin::pin!(session.events().await.map_err(bluez("watching for adapters"))?);
    let adapter = loop {
        if let Some(adapter) = find(&session, config.adapter.as_deref()).await? {
            break adapter;
        }
        debug!("waiting for a Bluetooth adapter");
        tokio::select! {
            _ = owners.next() => return Err(Error::Ended),
            event = adapters.next() => event.map(drop).ok_or(Error::Ended)?,
        }
    };
    power(&adapter).await?;
    let mut properties = std::pin::pin!(adapter.events().await.map_err(bluez("watching the adapter"))?);
    let Published { application, mut subscriptions, mut writes } = application::publish(handle);
    let _registered = adapter.serve_gatt_application(application).await.map_err(bluez("registering the service"))?;
    info!(adapter = adapter.name(), "the service is registered");
    serving.send_replace(true);

    let mut advertising = handle.advertising();
    let mut advertisement = None;
    let mut phones = Phones { handle, adapter: &adapter, subscribed: HashMap::new(), tasks: JoinSet::new() };
    let result = async {
        let wanted = *advertising.borrow_and_update();
        follow(&adapter, handle, wanted, &mut advertisement).await?;
        loop {
            // In this order: a phone subscribes before it writes, and `BlueZ` tells both through the same connection.
            tokio::select! {
                biased;
                event = subscriptions.next() => match event.ok_or(Error::Ended)? {
                    CharacteristicControlEvent::Notify(writer) => phones.subscribed(writer).await?,
                    CharacteristicControlEvent::Write(request) => request.reject(ReqError::NotSupported),
                },
                Some(written) = writes.recv() => phones.written(written).await?,
                Some(ended) = phones.tasks.join_next(), if !phones.tasks.is_empty() => {
                    // A task that was aborted belonged to a link that is closed already.
                    if let Ok(link) = ended {
                        phones.ended(link).await?;
                    }
                }
                changed = advertising.changed() => {
                    changed.map_err(|_| Stopping)?;
                    let wanted = *advertising.borrow_and_update();
                    follow(&adapter, handle, wanted, &mut advertisement).await?;
                }
                _ = owners.next() => return Err(Error::Ended),
                event = adapters.next() => match event.ok_or(Error::Ended)? {
                    SessionEvent::AdapterRemoved(name) if name == adapter.name() => return Err(Error::AdapterGone),
                    event => debug!(?event, "another adapter"),
                },
                event = properties.next() => {
                    if let AdapterEvent::PropertyChanged(AdapterProperty::Powered(false)) = event.ok_or(Error::AdapterGone)? {
                        return Err(Error::PoweredOff);
                    }
                }
            }
        }
    }
    .await;
    phones.close_all().await?;
    result
}

/// The adapter of that name or address, or the first one.
async fn find(session: &Session, wanted: Option<&str>) -> Result<Option<Adapter>, Error> {
    let attempt = "listing the adapters";
    let mut names = session.adapter_names().await.map_err(bluez(attempt))?;
    names.sort();
    for name in names {
        let adapter = session.adapter(&name).map_err(bluez(attempt))?;
        let found = match wanted {
            None => true,
            Some(wanted) if wanted == name => true,
            Some(wanted) => {
                let address = adapter.address().await.map_err(bluez(attempt))?;
                wanted.eq_ignore_ascii_case(&address.to_string())
            }
        };
        if found {
            return Ok(Some(adapter));
        }
    }
    Ok(None)
}

/// Lifts a soft block, and switches the adapter on.
async fn power(adapter: &Adapter) -> Result<(), Error> {
    rfkill::lift()?;
    let attempt = "switching the adapter on";
    if !adapter.is_powered().await.map_err(bluez(attempt))? {
        adapter.set_powered(true).await.map_err(bluez(attempt))?;
    }
    Ok(())
}

/// Advertises, or stops, as the loop wants it.
async fn follow(
    adapter: &Adapter,
    handle: &Handle,
    wanted: bool,
    advertisement: &mut Option<AdvertisementHandle>,
) -> Result<(), Error> {
    if !wanted {
        if advertisement.take().is_some() {
            info!("advertising no more");
        }
    } else if advertisement.is_none() {
        let name = handle.view().info.name.clone();
        let made = adapter.advertise(advertisement_of(&name)).await.map_err(bluez("advertising"))?;
        info!(name, adapter = adapter.name(), "advertising");
        *advertisement = Some(made);
    }
    Ok(())
}

/// Flags and the service in the advertisement, 21 bytes; the name, which `BlueZ` puts there, in the scan response. More
/// than 31 bytes in either would make an extended advertisement, which phones do not find by default.
fn advertisement_of(name: &str) -> Advertisement {
    Advertisement {
        service_uuids: BTreeSet::from([Uuid::from_u128(SERVICE)]),
        local_name: Some(name[..name.floor_char_boundary(NAME_LIMIT)].to_owned()),
        discoverable: Some(true),
        min_interval: Some(INTERVAL.start),
        max_interval: Some(INTERVAL.end),
        ..Advertisement::default()
    }
}

/// One phone that has subscribed.
struct Phone {
    link: Link,
    /// By endpoint: what was written of the next message.
    endpoints: [Reassembler; ENDPOINTS.len()],
    task: AbortHandle,
}

/// A link whose task has ended.
struct EndedLink {
    address: Address,
    link: Link,
    /// The node wants it to end; otherwise the phone has gone.
    by_node: bool,
}

/// The phones that have subscribed, by their address.
struct Phones<'a> {
    handle: &'a Handle,
    adapter: &'a Adapter,
    /// By their address.
    subscribed: HashMap<Address, Phone>,
    tasks: JoinSet<EndedLink>,
}

impl Phones<'_> {
    /// Opens a link. A phone that subscribes again begins anew.
    async fn subscribed(&mut self, writer: CharacteristicWriter) -> Result<(), Error> {
        let address = writer.device_address();
        self.close(address).await?;
        let (link, outbound) = self.handle.open().await?;
        info!(link = link.0, %address, value_size = writer.mtu(), "a phone has subscribed");
        let task = self.tasks.spawn(carry(writer, outbound, link));
        let endpoints = ENDPOINTS.map(|row| Reassembler::new(row.limit));
        self.subscribed.insert(address, Phone { link, endpoints, task });
        Ok(())
    }

    /// Answers the write at once: nothing that takes time may delay what comes after it on the same connection.
    async fn written(&mut self, written: Written) -> Result<(), Error> {
        let Written { address, endpoint, value, answer } = written;
        let Some(phone) = self.subscribed.get_mut(&address) else {
            debug!(%address, ?endpoint, "a phone writes that has not subscribed");
            if answer.send(Err(ReqError::NotPermitted)).is_err() {
                debug!("it does not wait for the answer either");
            }
            return Ok(());
        };
        if answer.send(Ok(())).is_err() {
            debug!(link = phone.link.0, "a write that nobody waits for");
        }
        match phone.endpoints[usize::from(endpoint.row().number)].push(&value) {
            Ok(None) => {}
            Ok(Some(message)) => self.handle.received(phone.link, endpoint, message).await?,
            Err(error) => {
                debug!(link = phone.link.0, ?endpoint, %error, "a value that continues no message");
                let fault = if error == FramingError::TooLarge { Fault::TooLarge } else { Fault::Malformed };
                self.handle.garbled(phone.link, fault).await?;
            }
        }
        Ok(())
    }

    async fn ended(&mut self, ended: EndedLink) -> Result<(), Error> {
        let EndedLink { address, link, by_node } = ended;
        if self.subscribed.get(&address).is_some_and(|phone| phone.link == link) {
            info!(link = link.0, %address, by_node, "a link has ended");
            self.close(address).await?;
        }
        if by_node && let Ok(device) = self.adapter.device(address) {
            // Beside the loop: `BlueZ` waits two seconds before it disconnects, for what is still to be sent.
            tokio::spawn(async move {
                if let Err(error) = device.disconnect().await {
                    debug!(%address, "disconnecting a phone: {error}");
                }
            });
        }
        Ok(())
    }

    async fn close(&mut self, address: Address) -> Result<(), Error> {
        if let Some(phone) = self.subscribed.remove(&address) {
            phone.task.abort();
            self.handle.closed(phone.link).await?;
        }
        Ok(())
    }

    async fn close_all(&mut self) -> Result<(), Error> {
        while let Some(&address) = self.subscribed.keys().next() {
            self.close(address).await?;
        }
        Ok(())
    }
}

/// Notifies a phone of everything that the node says to it, until one of them ends the link.
async fn carry(writer: CharacteristicWriter, mut outbound: mpsc::Receiver<Vec<u8>>, link: Link) -> EndedLink {
    let ended = |by_node| EndedLink { address: writer.device_address(), link, by_node };
    loop {
        let message = tokio::select! {
            message = outbound.recv() => message,
            closed = writer.closed() => match closed.and_then(|()| writer.is_closed()) {
                Ok(false) => continue,
                _ => return ended(false),
            },
        };
        let Some(message) = message else { return ended(true) };
        // The writer already holds back what the ATT header takes, and two bytes more.
        for value in frames(&message, writer.mtu()) {
            if let Err(error) = writer.send(&value).await {
                debug!(link = link.0, %error, "notifying");
                return ended(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_of_the_advertisement_fits() {
        let longest = "jarvis-".to_owned() + &"😀".repeat(8);
        for name in ["jarvis-5b91b661", &longest] {
            let advertisement = advertisement_of(name);
            assert!(advertisement.local_name.is_some_and(|name| name.len() + 2 <= 31 && name.starts_with("jarvis-")));
            // Flags take three bytes, each UUID 16, and their list two.
            assert_eq!(advertisement.service_uuids.len(), 1);
            assert!(advertisement.service_data.is_empty() && advertisement.manufacturer_data.is_empty());
        }
    }
}
