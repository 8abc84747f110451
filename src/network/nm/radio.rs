//! The task that owns the radio.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};
use zbus::OwnedObjectPath;

use super::Settings;
use super::access_point::DnsFile;
use super::bus::{Bus, Event, ROOT};
use super::cause::Cause;
use super::device::Device;
use super::enterprise::Certificates;
use super::join::Key;
use super::maintenance::Inspected;
use super::outcome::Change;
use super::profile::Plan;
use super::scan::List;
use super::values::{DeviceReason, DeviceState};
use super::watchdog::Watchdog;
use crate::network::{Inspection, StoredNetwork};
use provisioning_core::backoff::{Backoff, Jitter};
use provisioning_core::care::recovery::Sighted;
use provisioning_core::domain::{Country, Network, RadioUse, Ssid};
use provisioning_core::machine::Joined;

/// NetworkManager restarts within a few seconds; the adapter is available once the supplicant has started.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// Pauses between tries to activate a lost connection again.
const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), Jitter::None);

/// A request, and the sender for its answer.
pub(super) enum Request {
    Scan { reply: oneshot::Sender<Result<Vec<Network>, Cause>> },
    Join { ssid: Ssid, key: Key, hidden: bool, reply: oneshot::Sender<Result<Joined, Cause>> },
    SetCountry { country: Country, reply: oneshot::Sender<Result<(), Cause>> },
    Prepare { country: Option<Country>, reply: oneshot::Sender<Result<(), Cause>> },
    MayUse { frequency: u32, reply: oneshot::Sender<Result<bool, Cause>> },
    Keep { reply: oneshot::Sender<Result<(), Cause>> },
    Restore { reply: oneshot::Sender<Result<(), Cause>> },
    OpenAccessPoint { name: String, reply: oneshot::Sender<Result<(), Cause>> },
    Forget { reply: oneshot::Sender<Result<(), Cause>> },
    Inspect { reply: oneshot::Sender<Result<Inspection, Cause>> },
    InRange { reply: oneshot::Sender<Result<Sighted, Cause>> },
    JoinStored { network: Option<Ssid>, reply: oneshot::Sender<Result<(), Cause>> },
    CloseAccessPoint { reply: oneshot::Sender<Result<(), Cause>> },
    RestartRadio { reply: oneshot::Sender<Result<(), Cause>> },
    Stored { reply: oneshot::Sender<Result<Vec<StoredNetwork>, Cause>> },
    Delete { name: String, reply: oneshot::Sender<Result<(), Cause>> },
}

impl Request {
    /// Whether the request ends the retries to activate a lost connection. Others wait for the try in progress.
    pub(super) const fn takes_radio(&self) -> bool {
        !matches!(self, Self::Inspect { .. } | Self::Stored { .. })
    }
}

/// A request and its caller.
pub(super) struct Job {
    pub request: Request,
    pub caller: Caller,
}

/// The caller of a request.
pub(super) struct Caller(watch::Receiver<u64>);

impl Caller {
    /// The caller has abandoned the request when the sender is dropped, or sends.
    pub(super) const fn new(receiver: watch::Receiver<u64>) -> Self {
        Self(receiver)
    }

    /// Waits until the caller abandons the request.
    pub(super) async fn abandoned(&mut self) {
        // Dropping and sending have the same meaning.
        let _either = self.0.changed().await;
    }

    fn has_abandoned(&self) -> bool {
        self.0.has_changed().unwrap_or(true)
    }
}

/// The connection that was requested, and that is activated again if it is lost.
pub(super) struct Held {
    pub plan: Plan,
    pub device: OwnedObjectPath,
    /// If lost: the time of the next try, and its number.
    pub lost: Option<(Instant, u32)>,
}

/// The radio's state.
pub(super) struct Radio {
    pub(super) settings: Settings,
    requests: mpsc::UnboundedReceiver<Job>,
    wanted: watch::Receiver<u64>,
    pub(super) bus: Option<Bus>,
    /// NetworkManager's version, once known.
    pub(super) version: Option<(u32, u32)>,
    pub(super) held: Option<Held>,
    /// The UUID of the stored profile that was active before the first request.
    pub(super) previous: Option<String>,
    /// The last list from a time when the radio could scan.
    pub(super) list: List,
    /// The networks of the list that were in range at that time.
    pub(super) networks: Vec<Network>,
    /// Networks that were found only by a scan for their name. NetworkManager lists them like others after that.
    pub(super) found_by_name: BTreeSet<Ssid>,
    /// Consecutive scans without a result while the access point was open.
    pub(super) empty_scans_as_access_point: u8,
    pub(super) dns: Option<DnsFile>,
    /// The last inspection.
    pub(super) inspected: Option<Inspected>,
    pub(super) watchdog: Watchdog,
    /// The country that the node is in, as far as known.
    pub(super) country: Option<Country>,
    /// The country that was set at the supplicant.
    pub(super) in_country: Option<Country>,
    /// A soft block was lifted since the start.
    pub(super) has_lifted: bool,
    /// A soft block was just lifted, so NetworkManager is about to see it.
    pub(super) is_lifting: bool,
    used: watch::Sender<RadioUse>,
}

impl Radio {
    pub(super) fn new(
        settings: Settings,
        requests: mpsc::UnboundedReceiver<Job>,
        wanted: watch::Receiver<u64>,
        used: watch::Sender<RadioUse>,
    ) -> Self {
        // An earlier run may have been killed before it removed the file.
        DnsFile::remove_leftover(&settings);
        Self {
            settings,
            requests,
            wanted,
            bus: None,
            version: None,
            held: None,
            previous: None,
            list: List::default(),
            networks: Vec::new(),
            found_by_name: BTreeSet::new(),
            empty_scans_as_access_point: 0,
            dns: None,
            inspected: None,
            watchdog: Watchdog::new(),
            country: None,
            in_country: None,
            has_lifted: false,
            is_lifting: false,
            used,
        }
    }

    /// Tells the servers what the radio is used for.
    pub(super) fn report_use(&self, used: RadioUse) {
        self.used.send_if_modified(|reported| {
            let is_new = *reported != used;
            *reported = used;
            is_new
        });
    }

    /// Runs until all senders of requests are dropped.
    pub(super) async fn run(mut self) {
        loop {
            let again = self.held.as_ref().and_then(|held| held.lost);
            tokio::select! {
                biased;
                job = self.requests.recv() => match job {
                    Some(job) => self.serve(job).await,
                    None => return,
                },
                event = event(&mut self.bus) => {
                    self.heard(event.as_ref());
                    if event.as_ref().is_some_and(may_change_use) {
                        self.report_others().await;
                    }
                }
                () = sleep_until(again.map_or_else(Instant::now, |(at, _)| at)), if again.is_some() => self.hold_again().await,
                () = sleep_until(self.watchdog.next()), if self.is_watched() => self.check_supplicant().await,
            }
        }
    }

    async fn serve(&mut self, Job { request, mut caller }: Job) {
        if caller.has_abandoned() {
            return;
        }
        let caller = &mut caller;
        if !matches!(request, Request::Inspect { .. }) {
            self.inspected = None;
        }
        match request {
            Request::Scan { reply } => {
                let found = self.scan(caller).await;
                // The first answer may be what the access point waits for.
                self.report_others().await;
                answer(reply, found);
            }
            Request::Join { ssid, key, hidden, reply } => answer(reply, self.join(&ssid, &key, hidden, caller).await),
            Request::SetCountry { country, reply } => answer(reply, self.set_country(country, caller).await),
            Request::Prepare { country, reply } => answer(reply, self.prepare(country, caller).await),
            Request::MayUse { frequency, reply } => answer(reply, self.may_use(frequency, caller).await),
            Request::Keep { reply } => match self.keep(caller).await {
                Ok(station) => {
                    answer(reply, Ok(()));
                    self.delete_older(&station).await;
                }
                Err(cause) => answer(reply, Err(cause)),
            },
            Request::Restore { reply } => {
                let restored = self.restore(caller).await;
                self.report_others().await;
                answer(reply, restored);
            }
            Request::OpenAccessPoint { name, reply } => answer(reply, self.open_access_point(&name, caller).await),
            Request::Forget { reply } => answer(reply, self.forget(caller).await),
            Request::Inspect { reply } => answer(reply, Ok(self.inspect(caller).await)),
            Request::InRange { reply } => answer(reply, self.in_range(caller).await),
            Request::JoinStored { network, reply } => answer(reply, self.join_stored(network.as_ref(), caller).await),
            Request::CloseAccessPoint { reply } => answer(reply, self.close_access_point(caller).await),
            Request::RestartRadio { reply } => answer(reply, self.restart_radio(caller).await),
            Request::Stored { reply } => answer(reply, self.stored_networks(caller).await),
            Request::Delete { name, reply } => answer(reply, self.delete_named(&name, caller).await),
        }
    }

    /// Reports whether another program's connection uses the radio. What this program uses it for is reported where it does.
    async fn report_others(&mut self) {
        if self.held.is_some() || self.bus.is_none() {
            return;
        }
        let other = self.other().await.unwrap_or_else(|cause| {
            debug!("the use of the radio is unknown: {}", provisioning_core::fault::chain(&cause));
            None
        });
        match other {
            Some(interface) => self.report_use(RadioUse::Other { interface }),
            None if self.used.borrow().other().is_some() => self.report_use(RadioUse::Idle),
            None => {}
        }
    }

    /// The interface of a connection that this program has not made, if there is one.
    async fn other(&self) -> Result<Option<String>, Cause> {
        let device = Device::find(self.bus()?, self.settings.interface.as_deref()).await?;
        let active = self.active_profile(&device).await?;
        Ok(active.filter(|profile| profile.is_up && !profile.stored.ours).map(|_| device.interface))
    }

    /// Updates the held connection after an event. None: the bus is lost.
    pub(super) fn heard(&mut self, event: Option<&Event>) {
        match event {
            None => {
                warn!("the connection to the system bus is lost");
                self.bus = None;
                self.version = None;
                self.lose();
            }
            Some(Event::Service { present: false }) => {
                warn!("NetworkManager has left the bus");
                self.version = None;
                // The supplicant forgets it with its last client.
                self.in_country = None;
                self.lose();
            }
            Some(Event::Service { present: true }) => {
                info!("NetworkManager is on the bus");
                if let Some(Held { lost: Some((at, _)), .. }) = &mut self.held {
                    *at = Instant::now();
                }
            }
            Some(Event::Removed { device }) if self.held.as_ref().is_some_and(|held| held.device == *device) => {
                warn!("the Wi-Fi device was removed");
                self.lose();
            }
            Some(Event::State { device, change }) if self.held.as_ref().is_some_and(|held| held.device == *device) => {
                self.held_changed(*change);
            }
            Some(Event::Removed { .. } | Event::State { .. } | Event::Scanned { .. }) => {}
        }
    }

    fn held_changed(&mut self, change: Change) {
        let Change { new, reason, .. } = change;
        let up = !matches!(
            new,
            DeviceState::Failed
                | DeviceState::Deactivating
                | DeviceState::Disconnected
                | DeviceState::Unavailable
                | DeviceState::Unmanaged
        );
        if up || self.held.as_ref().is_some_and(|held| held.lost.is_some()) {
            return;
        }
        if matches!(reason, DeviceReason::NewActivation | DeviceReason::UserRequested | DeviceReason::ConnectionRemoved) {
            // The owner, or another program, has activated another connection.
            info!(%reason, "another program has taken the radio");
            self.held = None;
            self.dns = None;
            self.report_use(RadioUse::Idle);
        } else {
            warn!(%reason, "the radio lost its connection");
            self.lose();
        }
    }

    fn lose(&mut self) {
        if let Some(held) = &mut self.held
            && held.lost.is_none()
        {
            held.lost = Some((Instant::now() + RETRIES.nominal(1), 1));
            self.report_use(RadioUse::Idle);
        }
    }

    /// Activates a lost connection again; any request takes precedence.
    async fn hold_again(&mut self) {
        let Some(Held { plan, lost: Some((_, tries)), device }) = self.held.take() else { return };
        // Earlier requests are already answered.
        self.wanted.mark_unchanged();
        let mut caller = Caller::new(self.wanted.clone());
        if let Err(cause) = self.activate_again(plan.clone(), &mut caller).await {
            let tries = tries.saturating_add(1);
            let pause = RETRIES.nominal(tries);
            debug!(again_in = ?pause, "{}", provisioning_core::fault::chain(&cause));
            self.held = Some(Held { plan, device, lost: Some((Instant::now() + pause, tries)) });
        }
    }

    /// The certificates of enterprise networks.
    pub(super) fn certificates(&self) -> Certificates {
        Certificates::new(&self.settings.certificates)
    }

    /// Waits for a usable device.
    pub(super) async fn ready(&mut self, caller: &mut Caller) -> Result<Device, Cause> {
        let until = Instant::now() + READY_LIMIT;
        tokio::select! {
            biased;
            () = caller.abandoned() => Err(Cause::Abandoned),
            ready = self.ready_until(until) => ready,
        }
    }

    /// Waits for NetworkManager.
    pub(super) async fn present(&mut self, caller: &mut Caller) -> Result<(), Cause> {
        let until = Instant::now() + READY_LIMIT;
        tokio::select! {
            biased;
            () = caller.abandoned() => Err(Cause::Abandoned),
            present = self.present_until(until) => present,
        }
    }

    async fn present_until(&mut self, until: Instant) -> Result<(), Cause> {
        self.connect().await?;
        while !self.bus()?.has_service().await? {
            let event = timeout_at(until, event(&mut self.bus)).await.map_err(|_| Cause::Absent)?;
            self.heard(event.as_ref());
        }
        Ok(())
    }

    /// Waits for an event, at most so long.
    pub(super) async fn event_within(&mut self, limit: Duration, caller: &mut Caller) -> Result<(), Cause> {
        tokio::select! {
            biased;
            () = caller.abandoned() => Err(Cause::Abandoned),
            event = timeout(limit, event(&mut self.bus)) => {
                if let Ok(event) = event {
                    self.heard(event.as_ref());
                }
                Ok(())
            }
        }
    }

    /// Only reads, so it may be cancelled anywhere.
    async fn ready_until(&mut self, until: Instant) -> Result<Device, Cause> {
        self.connect().await?;
        loop {
            let device = if self.bus()?.has_service().await? { self.usable_device().await } else { Err(Cause::Absent) };
            // These causes are temporary while NetworkManager or the supplicant starts, and after an adapter was plugged in.
            // NetworkManager is on the bus before its objects are.
            let passes = match &device {
                Err(Cause::Absent | Cause::NoDevice | Cause::NoSuchDevice(_) | Cause::Unavailable(_)) => true,
                Err(Cause::SoftBlocked { .. }) => self.is_lifting,
                Err(cause) => cause.is_missing_object(),
                Ok(_) => false,
            };
            if !passes {
                return device;
            }
            match timeout_at(until, event(&mut self.bus)).await {
                Err(_) => return device,
                Ok(event) => {
                    self.heard(event.as_ref());
                    self.bus()?;
                }
            }
        }
    }

    pub(super) async fn usable_device(&mut self) -> Result<Device, Cause> {
        self.ask_version().await?;
        let bus = self.bus()?;
        if self.has_iwd().await? {
            return Err(Cause::Iwd);
        }
        let device = Device::find(bus, self.settings.interface.as_deref()).await?.usable(bus).await;
        match device {
            Err(Cause::SoftBlocked { .. }) => Err(Cause::SoftBlocked { needs_country: self.needs_country() }),
            device => device,
        }
    }

    pub(super) async fn connect(&mut self) -> Result<(), Cause> {
        if self.bus.as_ref().is_some_and(Bus::is_closed) {
            self.heard(None);
        }
        if self.bus.is_none() {
            self.bus = Some(Bus::connect(self.settings.bus.as_deref()).await?);
        }
        Ok(())
    }

    pub(super) fn bus(&self) -> Result<&Bus, Cause> {
        self.bus.as_ref().ok_or(Cause::BusLost)
    }

    /// Processes the events that have already arrived, before a new operation starts.
    pub(super) fn catch_up(&mut self) {
        while let Some(event) = self.bus.as_mut().and_then(Bus::past_event) {
            self.heard(Some(&event));
        }
    }

    /// The next event, after the held connection was updated. Fails if no further event can arrive.
    pub(super) async fn next_event(&mut self) -> Result<Event, Cause> {
        let event = event(&mut self.bus).await;
        self.heard(event.as_ref());
        match event {
            None => Err(Cause::BusLost),
            Some(Event::Service { present: false }) => Err(Cause::Exited),
            Some(event) => Ok(event),
        }
    }

    async fn ask_version(&mut self) -> Result<(), Cause> {
        if self.version.is_some() {
            return Ok(());
        }
        let mut properties =
            self.bus()?.properties(&ROOT.try_into().expect("a valid path"), "org.freedesktop.NetworkManager").await?;
        let version: String = properties.take("Version").unwrap_or_default();
        info!(version, "NetworkManager answers");
        let mut numbers = version.split('.').map_while(|number| number.parse().ok());
        self.version = Some((numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()));
        Ok(())
    }
}

/// Whether the use of the radio may be another one after an event.
fn may_change_use(event: &Event) -> bool {
    match event {
        Event::State { change, .. } => matches!(
            change.new,
            DeviceState::Prepare
                | DeviceState::Activated
                | DeviceState::Failed
                | DeviceState::Disconnected
                | DeviceState::Unavailable
        ),
        Event::Service { .. } | Event::Removed { .. } => true,
        Event::Scanned { .. } => false,
    }
}

fn answer<T>(reply: oneshot::Sender<Result<T, Cause>>, result: Result<T, Cause>) {
    if reply.send(result).is_err() {
        debug!("a request was abandoned");
    }
}

/// Cancel-safe: no event is lost.
async fn event(bus: &mut Option<Bus>) -> Option<Event> {
    match bus {
        Some(bus) => bus.event().await,
        None => std::future::pending().await,
    }
}
