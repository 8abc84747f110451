//! The task that owns the radio, and what it shares between stations and access point.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};
use zbus::{OwnedObjectPath, Variant};

use super::Settings;
use super::access_point::Hotspot;
use super::address;
use super::bus::{Bus, Event, OURS, take};
use super::cause::Cause;
use super::children::Child;
use super::profiles::{Profile, Profiles};
use crate::network::nm::country::{HELPER_LIMIT, ask_helper, lift};
use crate::network::nm::enterprise::Certificates;
use crate::network::nm::scan::List;
use crate::network::nm::subnet::PREFIX;
use crate::network::nm::supplicant::Change;
use provisioning_core::backoff::{Backoff, Jitter};
use provisioning_core::domain::{Country, Network, RadioUse};
use provisioning_core::fault::chain;

/// The supplicant restarts within a few seconds.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// Pauses between tries to open a lost access point again, or to join a stored network.
const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), Jitter::None);
/// How often an open access point is checked: another program may have removed its address.
const LOOK: Duration = Duration::from_secs(2);

/// A request; it answers by itself.
pub(super) type Job = Box<dyn for<'a> FnOnce(&'a mut Radio) -> BoxFuture<'a, ()> + Send>;

/// The network that was joined last, or is being joined.
pub(super) struct Station {
    pub profile: Profile,
    /// The network has let the node in, and it has an address.
    pub ready: bool,
    /// It is stored.
    pub kept: bool,
}

/// The radio's state.
pub(super) struct Radio {
    pub(super) settings: Settings,
    pub(super) profiles: Profiles,
    pub(super) bus: Option<Bus>,
    pub(super) country: Option<Country>,
    /// The last list, and the networks that were in range at that time.
    pub(super) list: List,
    pub(super) networks: Vec<Network>,
    pub(super) hotspot: Option<Hotspot>,
    /// The name of an access point that was lost, and when it is opened again.
    lost: Option<(String, Instant, u32)>,
    pub(super) station: Option<Station>,
    /// The client for an address, if the system has none.
    pub(super) client: Option<Child>,
    has_lifted: bool,
    used: watch::Sender<RadioUse>,
}

/// What the task waits for beside requests.
enum Occasion {
    Ended(&'static str),
    Event(Option<Event>),
    Retry,
    Look,
}

impl Radio {
    pub(super) fn new(settings: Settings, used: watch::Sender<RadioUse>) -> Self {
        Self {
            profiles: Profiles(settings.profiles.clone()),
            settings,
            bus: None,
            country: None,
            list: List::default(),
            networks: Vec::new(),
            hotspot: None,
            lost: None,
            station: None,
            client: None,
            has_lifted: false,
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
    pub(super) async fn run(mut self, mut jobs: mpsc::UnboundedReceiver<Job>) {
        loop {
            let occasion = tokio::select! {
                biased;
                job = jobs.recv() => match job {
                    Some(job) => {
                        job(&mut self).await;
                        continue;
                    }
                    None => break,
                },
                occasion = self.occasion() => occasion,
            };
            match occasion {
                Occasion::Ended(program) => self.lose(program),
                Occasion::Event(None) => self.bus = None,
                Occasion::Event(Some(Event::Service(true))) => self.rejoin().await,
                Occasion::Event(Some(Event::Service(false))) => self.wake().await,
                // A network of the system's configuration is joined, or lost.
                Occasion::Event(Some(Event::Changed(report))) if report.state.is_some() => self.report_others().await,
                Occasion::Event(_) => {}
                Occasion::Look => self.look(),
                Occasion::Retry => {
                    let Some((name, _, tries)) = self.lost.take() else { continue };
                    // A request takes precedence, and ends the access point or opens it itself.
                    let reopened = tokio::select! {
                        biased;
                        job = jobs.recv() => match job {
                            Some(job) => {
                                self.close_hotspot().await;
                                job(&mut self).await;
                                continue;
                            }
                            None => break,
                        },
                        reopened = self.open_hotspot(&name) => reopened,
                    };
                    if let Err(cause) = reopened {
                        let tries = tries.saturating_add(1);
                        let pause = RETRIES.nominal(tries);
                        warn!(again_in = ?pause, "opening the access point again: {}", chain(&cause));
                        self.lost = Some((name, Instant::now() + pause, tries));
                    }
                }
            }
        }
        self.close_hotspot().await;
    }

    async fn occasion(&mut self) -> Occasion {
        let again = self.lost.as_ref().map(|(_, at, _)| *at);
        let is_open = self.hotspot.is_some();
        let hotspot = &mut self.hotspot;
        let bus = &mut self.bus;
        tokio::select! {
            program = async {
                match hotspot {
                    Some(hotspot) => hotspot.ended().await,
                    None => std::future::pending().await,
                }
            } => Occasion::Ended(program),
            event = async {
                match bus {
                    Some(bus) => bus.event().await,
                    None => std::future::pending().await,
                }
            } => Occasion::Event(event),
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => Occasion::Retry,
            () = tokio::time::sleep(LOOK), if is_open => Occasion::Look,
        }
    }

    /// A program of the access point has ended.
    fn lose(&mut self, program: &'static str) {
        let Some(hotspot) = self.hotspot.take() else { return };
        warn!(program, "it has ended, and the access point with it");
        self.lost = Some((hotspot.name.clone(), Instant::now() + RETRIES.nominal(1), 1));
        self.report_use(RadioUse::Idle);
    }

    /// A program that configures the interface as a station, such as systemd-networkd, may remove the address.
    fn look(&self) {
        let Some(Hotspot { interface, address, .. }) = &self.hotspot else { return };
        let is_there = address::list(interface).is_ok_and(|all| all.iter().any(|(found, _)| found == address));
        if !is_there {
            match address::add(interface, *address, PREFIX) {
                Ok(()) => warn!(interface, "another program has taken the access point's address, and it was given again"),
                Err(cause) => debug!("{}", chain(&cause)),
            }
        }
    }

    /// The supplicant has ended: a call has the bus start it, if it can. The call may fail.
    async fn wake(&mut self) {
        if self.station.is_some() {
            warn!("the supplicant has ended");
            if let (Ok(interface), Ok(bus)) = (self.device(), self.bus()) {
                let _not_started = bus.radio(&interface).await;
            }
        }
    }

    /// The supplicant has started again, and knows nothing.
    async fn rejoin(&mut self) {
        let Some(Station { profile, ready: true, .. }) = &self.station else { return };
        let profile = profile.clone();
        info!("the supplicant has started again");
        if let Err(cause) = self.associate_again(&profile).await {
            warn!("joining the network again: {}", chain(&cause));
        }
    }

    /// Ends what a request has begun that was abandoned.
    pub(super) async fn abandon(&mut self) {
        if self.station.as_ref().is_some_and(|station| !station.ready) {
            self.leave().await;
        }
        if self.hotspot.is_none() && self.station.is_none() {
            self.report_use(RadioUse::Idle);
        }
    }

    /// Forgets that an access point is to be opened again.
    pub(super) fn stop_retrying(&mut self) {
        self.lost = None;
    }

    /// The interface of the radio.
    pub(super) fn device(&self) -> Result<String, Cause> {
        let folder = &self.settings.devices;
        let is_wifi = |name: &str| folder.join(name).join("phy80211").exists();
        match &self.settings.interface {
            // A name with a slash is no name of an interface.
            Some(name) if !name.contains('/') && is_wifi(name) => Ok(name.clone()),
            Some(name) => Err(Cause::NoSuchDevice(name.clone())),
            None => {
                let names = fs::read_dir(folder).into_iter().flatten().flatten();
                names
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .filter(|name| is_wifi(name))
                    .min()
                    .ok_or(Cause::NoDevice)
            }
        }
    }

    /// Refuses a radio that is switched off.
    pub(super) fn usable(&self) -> Result<String, Cause> {
        let interface = self.device()?;
        let phy = self.settings.devices.join(&interface).join("phy80211");
        let is_set = |switch: &Path, name: &str| fs::read_to_string(switch.join(name)).is_ok_and(|text| text.trim() == "1");
        for entry in fs::read_dir(phy).into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with("rfkill") {
                continue;
            }
            if is_set(&entry.path(), "hard") {
                return Err(Cause::HardBlocked);
            }
            if is_set(&entry.path(), "soft") {
                let has_country = self.country.is_some() || (self.settings.country)().is_some_and(|country| country != "00");
                return Err(Cause::SoftBlocked { needs_country: !has_country });
            }
        }
        Ok(interface)
    }

    /// Connects to the bus.
    pub(super) async fn connect(&mut self) -> Result<(), Cause> {
        if self.bus.as_ref().is_none_or(Bus::is_closed) {
            self.bus = Some(Bus::connect(self.settings.bus.as_deref()).await?);
        }
        Ok(())
    }

    /// The files of the certificates of the network that the supplicant has.
    pub(super) fn certificates(&self) -> Certificates {
        Certificates::new(&self.settings.profiles.join("certificates"))
    }

    pub(super) fn bus(&self) -> Result<&Bus, Cause> {
        self.bus.as_ref().ok_or(Cause::BusLost)
    }

    /// Connects to the bus, and refuses a radio that NetworkManager uses: both would configure it.
    pub(super) async fn connect_alone(&mut self, interface: &str) -> Result<(), Cause> {
        self.connect().await?;
        if self.bus()?.has_network_manager(interface).await { Err(Cause::Managed(interface.to_owned())) } else { Ok(()) }
    }

    /// The radio at the supplicant, which is started if the bus can do so, and gets the radio if it does not have it.
    pub(super) async fn ready(&mut self) -> Result<(String, OwnedObjectPath), Cause> {
        let interface = self.usable()?;
        self.connect_alone(&interface).await?;
        let until = Instant::now() + READY_LIMIT;
        loop {
            let found = match self.bus()?.radio(&interface).await {
                Ok(None) => {
                    self.give_to_supplicant(&interface).await?;
                    self.bus()?.radio(&interface).await
                }
                found => found,
            };
            match found {
                Ok(Some(radio)) => return Ok((interface, radio)),
                Ok(None) | Err(Cause::Absent) if Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Ok(None) => return Err(Cause::Absent),
                Err(cause) => return Err(cause),
            }
        }
    }

    /// Asks the package's helper for what only root may; false if there is no helper, so that this program does it itself.
    async fn helped(&self, request: &str) -> Result<bool, Cause> {
        match timeout(HELPER_LIMIT, ask_helper(&self.settings.radio_helper, request)).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(error)) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => {
                Ok(false)
            }
            Ok(Err(error)) => Err(Cause::Helper(error)),
            Err(_) => Err(Cause::Late { call: "the helper of jarvis-provision", after: HELPER_LIMIT }),
        }
    }

    /// Gives the radio to the supplicant, with the system's configuration, if there is one: it may have networks of the owner.
    pub(super) async fn give_to_supplicant(&self, interface: &str) -> Result<(), Cause> {
        if self.helped(&format!("{interface} add\n")).await? {
            return Ok(());
        }
        let files =
            [format!("/etc/wpa_supplicant/wpa_supplicant-{interface}.conf"), "/etc/wpa_supplicant/wpa_supplicant.conf".into()];
        let file = files.iter().find(|file| Path::new(file).exists()).map(String::as_str);
        self.bus()?.create(interface, file).await
    }

    /// Takes the radio from the supplicant, which otherwise disturbs the access point.
    pub(super) async fn take_from_supplicant(&self, interface: &str) -> Result<(), Cause> {
        let radio = match self.bus()?.radio(interface).await {
            Ok(Some(radio)) => radio,
            Ok(None) | Err(Cause::Absent) => return Ok(()),
            Err(cause) => return Err(cause),
        };
        if self.helped(&format!("{interface} remove\n")).await? { Ok(()) } else { self.bus()?.remove(&radio).await }
    }

    /// Changes a setting of the supplicant. A failure is logged: a join may work without.
    pub(super) async fn change_supplicant(&self, interface: &str, radio: &OwnedObjectPath, change: Change) {
        let changing = async {
            if self.helped(&change.request(interface)).await? {
                return Ok(());
            }
            let (name, value) = change.property();
            self.bus()?.set(radio, name, Variant::from(value)).await
        };
        if let Err(cause) = changing.await {
            debug!(?change, "the supplicant was not changed: {}", chain(&cause));
        }
    }

    /// Sets the country. Lifts the soft block of a radio without a country, once.
    pub(super) async fn set_country(&mut self, country: Country) -> Result<(), Cause> {
        let is_blocked = matches!(self.usable(), Err(Cause::SoftBlocked { needs_country: true }));
        self.country = Some(country);
        if is_blocked && !std::mem::replace(&mut self.has_lifted, true) {
            lift(&self.settings.switches).map_err(Cause::Lift)?;
            info!(%country, "the radio was switched off without a country: it has one, and is switched on");
        }
        if self.hotspot.is_none() {
            let (interface, radio) = self.ready().await?;
            self.change_supplicant(&interface, &radio, Change::Country(country)).await;
        }
        Ok(())
    }

    /// Prepares the radio at the start: removes what a killed run has left, and reports whether another program uses it.
    pub(super) async fn prepare(&mut self, country: Option<Country>) -> Result<(), Cause> {
        self.country = country;
        self.certificates().erase(OURS);
        let interface = self.device()?;
        self.delete_addresses(&interface)?;
        let (interface, radio) = self.ready().await?;
        self.bus()?.remove_ours(&radio).await?;
        if let Some(country) = country {
            self.change_supplicant(&interface, &radio, Change::Country(country)).await;
        }
        self.report_others().await;
        Ok(())
    }

    /// Reports whether a network that another program has given the supplicant uses the radio.
    pub(super) async fn report_others(&self) {
        if self.hotspot.is_some() || self.station.is_some() {
            return;
        }
        let looking = async {
            let interface = self.device()?;
            let bus = self.bus()?;
            let Some(radio) = bus.radio(&interface).await? else { return Ok(None) };
            let state: Option<String> = take(&mut bus.of_radio(&radio).await?, "State");
            Ok::<_, Cause>((state.as_deref() == Some("completed")).then_some(interface))
        };
        let other = looking.await.unwrap_or_else(|cause| {
            debug!("the use of the radio is unknown: {}", chain(&cause));
            None
        });
        self.report_use(other.map_or(RadioUse::Idle, |interface| RadioUse::Other { interface }));
    }
}
