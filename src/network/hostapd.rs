//! The network without NetworkManager: an access point by `hostapd` and `dnsmasq`, stations by `wpa_supplicant` over D-Bus.
//!
//! For images with systemd-networkd, dhcpcd or `BusyBox`. One task owns the radio and executes one request after another; the
//! caller waits for the answer. If it stops waiting, the request is dropped, and what it has begun is undone.
//!
//! ```text
//! scan, join, keep … ──▶ radio (one task) ──D-Bus──▶ wpa_supplicant
//!                              ├──children──▶ hostapd, dnsmasq, udhcpc
//!                              └──netlink──▶ addresses
//! ```
//!
//! The supplicant and the access point cannot share the radio, so the supplicant loses it while the access point is open, and
//! gets it back with the system's configuration. Networks are given to the supplicant only until it ends: the stored ones are in
//! a file of this program, which gives them again. The certificates of an enterprise network are files while the supplicant has it.
//!
//! | module | contents |
//! |---|---|
//! | `radio` | the task: one request after another, and what may happen between them |
//! | `access_point`, `station`, `inspect` | the requests |
//! | `children` | programs that end with this one |
//! | `address` | addresses of the interface, and who assigns them |
//! | `profiles` | the stored networks |
//! | `network`, `outcome`, `text` | pure: the properties of networks, the meaning of reports, and the texts of configurations |
//! | `bus` | the supplicant on the bus |

mod access_point;
mod address;
mod bus;
mod cause;
mod children;
mod inspect;
mod network;
mod outcome;
mod profiles;
mod radio;
mod station;
mod text;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use provisioning_core::backoff::{Backoff, Jitter};
use provisioning_core::care::diagnosis;
use provisioning_core::care::recovery::Sighted;
use provisioning_core::domain::{self, Country, Enterprise, Passphrase, RadioUse, Ssid};
use provisioning_core::fault::{Fault, chain};
use provisioning_core::machine::Joined;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, info};

use crate::network::nm::country::may_use;
use crate::network::nm::stations;
use crate::network::{Error, Inspection, Maintenance, Network, StoredNetwork};
use cause::Cause;
pub use children::{become_child, supervise};
use profiles::Profile;
use radio::{Job, Radio};

/// The programs that this backend needs, and Debian's packages of them.
const PROGRAMS: [(&str, &str); 3] = [("hostapd", "hostapd"), ("dnsmasq", "dnsmasq-base"), ("wpa_supplicant", "wpasupplicant")];
/// Pauses between tries to join a stored network.
const RETRIES: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_mins(1), Jitter::None);
/// So long a network that has refused the login is not tried again: many tries could lock the owner's account.
const REFUSAL: Duration = Duration::from_mins(15);

/// The settings of the radio.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The D-Bus address of another bus than the system's.
    pub bus: Option<String>,
    /// The Wi-Fi interface, such as `wlan0`; none for the first one.
    pub interface: Option<String>,
    /// The access point's passphrase; none for an open one.
    pub passphrase: Option<Passphrase>,
    /// The node's address in its access point, with 254 addresses around it. It is another one if this network overlaps one of
    /// another interface.
    pub address: Ipv4Addr,
    /// The access point's channel: 1, 6 or 11.
    pub channel: u32,
    /// The folder of the node's files, for the stored networks and, in a folder of it, the certificates of the one that is used.
    pub profiles: PathBuf,
    /// The folder of the configurations of the access point's programs; made if it is missing.
    pub runtime: PathBuf,
    /// This program, which becomes its children.
    pub launcher: PathBuf,
    /// The kernel's table of routes.
    pub routes: PathBuf,
    /// The kernel's network interfaces.
    pub devices: PathBuf,
    /// Where services have the files that tell that they run.
    pub run: PathBuf,
    /// The kernel's radio switches.
    pub switches: PathBuf,
    /// The socket of the helper for what only root may ask of the supplicant.
    pub radio_helper: PathBuf,
    /// The country that the kernel has.
    pub country: fn() -> Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let nm = super::nm::Settings::default();
        Self {
            bus: None,
            interface: None,
            passphrase: None,
            address: nm.address,
            channel: nm.channel,
            profiles: PathBuf::from("."),
            runtime: "/run/jarvis-provision".into(),
            launcher: "/proc/self/exe".into(),
            routes: nm.routes,
            devices: "/sys/class/net".into(),
            run: "/run".into(),
            switches: nm.switches,
            radio_helper: nm.radio_helper,
            country: stations::country,
        }
    }
}

/// The Wi-Fi radio, without NetworkManager.
///
/// Clones share it. The access point, and addresses of its own client, end when the last one is dropped.
#[derive(Clone)]
pub struct Hostapd {
    jobs: mpsc::UnboundedSender<Job>,
    radio: watch::Receiver<RadioUse>,
}

impl Hostapd {
    /// What is missing on this system, for the operator; none if nothing is.
    pub fn missing() -> Option<String> {
        Self::missing_of(&PROGRAMS)
    }

    fn missing_of(programs: &[(&str, &str)]) -> Option<String> {
        let (program, package) = programs.iter().find(|(program, _)| children::find(program).is_none())?;
        Some(format!(
            "the program {program} is missing, which the backend hostapd needs: install it (Debian: the package {package})"
        ))
    }

    /// Starts the task that owns the radio, on the current tokio runtime, which must run on the main thread: the kernel ends the
    /// children with the thread that has started them.
    pub fn start(settings: Settings) -> Self {
        let (jobs, receiver) = mpsc::unbounded_channel();
        let (used, radio) = watch::channel(RadioUse::Idle);
        tokio::spawn(Radio::new(settings, used).run(receiver));
        Self { jobs, radio }
    }

    /// Removes what an earlier run has left, and sets the country.
    pub async fn prepare(&self, country: Option<Country>) {
        let prepared = self.ask("preparing the radio", move |radio| Box::pin(radio.prepare(country))).await;
        if let Err(error) = prepared {
            info!("{}", chain(&error));
        }
    }

    /// Keeps a provisioned node in its stored networks, in place of NetworkManager. Never ends.
    pub async fn hold(&self) {
        let mut refusals = Refusals::default();
        for tries in 1_u32.. {
            let stored = self.stored().await.unwrap_or_default();
            if stored.is_empty() {
                info!("no network is stored");
                break;
            }
            for StoredNetwork { ssid, .. } in stored {
                if refusals.is_recent(&ssid) {
                    continue;
                }
                match self.join_stored(Some(&ssid)).await {
                    Ok(()) => return std::future::pending().await,
                    Err(error) => {
                        info!("{}", chain(&error));
                        refusals.note(ssid, error.fault);
                    }
                }
            }
            tokio::time::sleep(RETRIES.nominal(tries)).await;
        }
        std::future::pending::<()>().await;
    }

    /// Closes the access point, and gives the radio back to the supplicant. For the end of the program.
    pub async fn stop(&self) {
        let stopped = self
            .ask("closing the access point", |radio| {
                Box::pin(async {
                    radio.close_hotspot().await;
                    Ok(())
                })
            })
            .await;
        if let Err(error) = stopped {
            debug!("{}", chain(&error));
        }
    }

    /// What the radio is used for, and its changes.
    pub fn radio(&self) -> watch::Receiver<RadioUse> {
        self.radio.clone()
    }

    async fn ask<T: Send + 'static>(
        &self,
        attempt: &'static str,
        work: impl for<'a> FnOnce(&'a mut Radio) -> BoxFuture<'a, Result<T, Cause>> + Send + 'static,
    ) -> Result<T, Error> {
        let (mut reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |radio| {
            Box::pin(async move {
                let done = tokio::select! {
                    biased;
                    () = reply.closed() => None,
                    done = work(radio) => Some(done),
                };
                match done {
                    // The caller may have stopped waiting at this moment.
                    Some(done) => _ = reply.send(done),
                    None => {
                        debug!(attempt, "abandoned");
                        radio.abandon().await;
                    }
                }
            })
        });
        let answer = async {
            self.jobs.send(job).map_err(|_| Cause::Stopped)?;
            answer.await.map_err(|_| Cause::Stopped)?
        };
        answer.await.map_err(|cause| Error { hung: cause.is_hung(), ..Error::because(attempt, cause.fault(), cause) })
    }
}

/// Inspects the Wi-Fi interface of that name, or the first one, on the system's bus or on another one. Every user may do this
/// whom the bus lets read the supplicant's properties.
pub async fn inspect(bus: Option<&str>, interface: Option<&str>) -> Inspection {
    let [bus, interface] = [bus, interface].map(|text| text.map(str::to_owned));
    let (used, _) = watch::channel(RadioUse::Idle);
    Radio::new(Settings { bus, interface, ..Settings::default() }, used).inspect().await
}

impl Network for Hostapd {
    async fn scan(&self) -> Result<Vec<domain::Network>, Error> {
        self.ask("scanning for networks", |radio| Box::pin(radio.scan())).await
    }

    async fn join(&self, ssid: &Ssid, passphrase: &Passphrase, hidden: bool) -> Result<Joined, Error> {
        let profile = Profile { ssid: ssid.clone(), passphrase: passphrase.clone(), enterprise: None, hidden };
        // The journal does not contain the name, which may have come sealed.
        self.ask("joining the network", |radio| Box::pin(radio.join(profile, false))).await
    }

    async fn join_enterprise(&self, ssid: &Ssid, enterprise: &Enterprise, hidden: bool) -> Result<Joined, Error> {
        let passphrase = Passphrase::try_from(String::new()).expect("an open network's passphrase");
        let enterprise = Some(Arc::new(enterprise.clone()));
        let profile = Profile { ssid: ssid.clone(), passphrase, enterprise, hidden };
        self.ask("joining the enterprise network", |radio| Box::pin(radio.join(profile, false))).await
    }

    async fn set_country(&self, country: Country) -> Result<(), Error> {
        self.ask("setting the country of the radio", move |radio| Box::pin(radio.set_country(country))).await
    }

    /// The supplicant does not tell the bands of the radio.
    async fn may_use(&self, frequency: u32) -> bool {
        may_use(frequency, true)
    }

    async fn keep(&self) -> Result<(), Error> {
        self.ask("storing the joined network", |radio| Box::pin(std::future::ready(radio.keep()))).await
    }

    async fn restore(&self) -> Result<(), Error> {
        self.ask("returning to the previous network", |radio| Box::pin(radio.restore())).await
    }

    async fn open_access_point(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask("opening the access point", |radio| Box::pin(async move { radio.open_hotspot(&name).await })).await
    }

    async fn forget(&self) -> Result<(), Error> {
        self.ask("deleting the stored networks", |radio| Box::pin(radio.forget())).await
    }
}

impl Maintenance for Hostapd {
    async fn inspect(&self) -> Inspection {
        let inspected = self.ask("inspecting the network", |radio| Box::pin(async { Ok(radio.inspect().await) })).await;
        inspected.unwrap_or_else(|error| Inspection::unconnected(diagnosis::Radio::ServiceSilent(chain(&error))))
    }

    async fn in_range(&self) -> Result<Sighted, Error> {
        self.ask("scanning for stored networks", |radio| Box::pin(radio.in_range())).await
    }

    async fn join_stored(&self, network: Option<&Ssid>) -> Result<(), Error> {
        let network = network.cloned();
        self.ask("joining a stored network", |radio| Box::pin(async move { radio.join_stored(network.as_ref()).await })).await
    }

    async fn close_access_point(&self) -> Result<(), Error> {
        self.ask("closing the access point", |radio| Box::pin(radio.close_and_rejoin())).await
    }

    async fn restart_radio(&self) -> Result<(), Error> {
        self.ask("restarting the radio's software", |radio| Box::pin(radio.restart_radio())).await
    }

    async fn stored(&self) -> Result<Vec<StoredNetwork>, Error> {
        self.ask("listing the stored networks", |radio| Box::pin(std::future::ready(radio.stored()))).await
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask("deleting a stored network", |radio| Box::pin(async move { radio.delete(&name).await })).await
    }
}

/// The stored networks that have refused the login, and when.
#[derive(Default)]
struct Refusals(HashMap<Ssid, Instant>);

impl Refusals {
    /// Notes the fault with which a join has failed.
    fn note(&mut self, ssid: Ssid, fault: Fault) {
        if fault == Fault::LoginRefused {
            self.0.insert(ssid, Instant::now());
        }
    }

    fn is_recent(&self, ssid: &Ssid) -> bool {
        self.0.get(ssid).is_some_and(|refused| refused.elapsed() < REFUSAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::nm::enterprise::tests::with_password;

    #[tokio::test(start_paused = true)]
    async fn a_refused_login_is_not_repeated_at_once() {
        let ssid = Ssid::try_from("office").expect("a short name");
        let mut refusals = Refusals::default();
        refusals.note(ssid.clone(), Fault::WrongPassword);
        assert!(!refusals.is_recent(&ssid), "a passphrase locks nothing");
        refusals.note(ssid.clone(), Fault::LoginRefused);
        assert!(refusals.is_recent(&ssid));
        tokio::time::advance(REFUSAL).await;
        assert!(!refusals.is_recent(&ssid));
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let text = Hostapd::missing_of(&[("sh", "dash"), ("no-such-program", "the-package")]).expect("one is missing");
        assert!(text.contains("no-such-program") && text.contains("the-package"), "{text}");
        assert_eq!(Hostapd::missing_of(&[("sh", "dash")]), None);
    }

    #[tokio::test]
    async fn a_radio_that_is_not_there_is_named_and_nothing_hangs() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = Settings {
            interface: Some("wlan7".into()),
            devices: folder.path().into(),
            profiles: folder.path().into(),
            runtime: folder.path().join("run"),
            radio_helper: folder.path().join("radio"),
            bus: Some(format!("unix:path={}", folder.path().join("bus").display())),
            ..Settings::default()
        };
        let radio = Hostapd::start(settings);
        let fault = |result: Result<(), Error>| result.map_err(|error| error.fault);
        let ssid = Ssid::try_from("home").expect("short");
        let passphrase = Passphrase::try_from("a passphrase".to_owned()).expect("short");
        let office = Enterprise::try_from(with_password()).expect("a valid login");
        assert_eq!(fault(radio.scan().await.map(drop)), Err(Fault::AdapterGone));
        assert_eq!(fault(radio.join(&ssid, &passphrase, false).await.map(drop)), Err(Fault::AdapterGone));
        assert_eq!(fault(radio.join_enterprise(&ssid, &office, false).await.map(drop)), Err(Fault::AdapterGone));
        assert_eq!(fault(radio.open_access_point("jarvis-5b91b661").await), Err(Fault::AdapterGone));
        assert_eq!(fault(radio.open_access_point(&"x".repeat(33)).await), Err(Fault::InvalidSsid));
        assert_eq!(fault(radio.keep().await), Err(Fault::NetworkUnavailable));
        assert_eq!(fault(radio.join_stored(None).await), Err(Fault::NetworkNotFound));
        assert_eq!(fault(radio.delete("home").await), Err(Fault::NetworkNotFound));
        assert!(radio.may_use(2437).await && radio.may_use(5180).await && !radio.may_use(2472).await);
        // Nothing is stored, and no supplicant has anything.
        assert_eq!(fault(radio.forget().await), Ok(()));
        assert_eq!(radio.inspect().await.radio, diagnosis::Radio::Missing);
    }

    #[tokio::test]
    async fn a_blocked_radio_is_told_from_one_without_a_country() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let switch = folder.path().join("wlan0/phy80211/rfkill3");
        std::fs::create_dir_all(&switch).expect("a writable folder");
        let fault = async |soft: &str, hard: &str, country: fn() -> Option<String>| {
            std::fs::write(switch.join("soft"), soft).expect("a writable folder");
            std::fs::write(switch.join("hard"), hard).expect("a writable folder");
            let settings = Settings { devices: folder.path().into(), country, ..Settings::default() };
            Hostapd::start(settings).open_access_point("jarvis-5b91b661").await.map_err(|error| error.fault)
        };
        assert_eq!(fault("1\n", "0\n", || Some("00".into())).await, Err(Fault::CountryMissing));
        assert_eq!(fault("1\n", "0\n", || Some("DE".into())).await, Err(Fault::RadioBlocked));
        assert_eq!(fault("0\n", "1\n", || None).await, Err(Fault::RadioBlocked));
    }
}
