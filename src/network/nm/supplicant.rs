//! What `wpa_supplicant` tells beside NetworkManager: the status codes with which a network refused, and what the radio can do.
//!
//! NetworkManager reports every refusal as a missing network. Everything here is optional: without the permission, or with
//! another supplicant, nothing is told, and NetworkManager's reason decides alone.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_core::Stream as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;
use zbus::{Message, MessageStream, OwnedObjectPath, OwnedVariant, Variant};

use super::bus::Bus;
use super::cause::{Call, Cause};
use super::device::Device;
use super::enterprise::{LoginFailure, LoginTracker};
use super::proxies::{SupplicantInterfaceProxy, SupplicantProxy};
use provisioning_core::domain::Country;
use provisioning_core::fault::chain;

/// The name of `wpa_supplicant` on the bus.
pub(in crate::network) const SERVICE: &str = "fi.w1.wpa_supplicant1";
/// Its main object.
pub(in crate::network) const ROOT: &str = "/fi/w1/wpa_supplicant1";
/// The name of the daemon that NetworkManager uses in its place if it is configured so.
pub(super) const IWD: &str = "net.connman.iwd";
pub(in crate::network) const INTERFACE: &str = "fi.w1.wpa_supplicant1.Interface";
/// The supplicant answers within milliseconds.
const LIMIT: Duration = Duration::from_secs(1);

/// A status code of authentication or association (IEEE 802.11-2020, 9.4.1.9): a failure without a reason.
pub(in crate::network) const UNSPECIFIED: u16 = 1;
/// The challenge has failed: a wrong password, by the standard of SAE.
const CHALLENGE_FAILED: u16 = 15;
/// The access point has no room for another station.
const FULL: u16 = 17;

/// How the network has refused the node during a join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::network) struct Refusal {
    /// The last status code.
    pub status: Option<u16>,
    /// One of its stations was full.
    pub full: bool,
    /// One of its stations refused the password.
    pub wrong_password: bool,
}

impl Refusal {
    /// A station has answered with that status code.
    pub(in crate::network) fn observe(&mut self, status: u16) {
        if status != 0 {
            self.status = Some(status);
            self.full |= status == FULL;
            self.wrong_password |= status == CHALLENGE_FAILED;
        }
    }
}

/// For the log, after the reason of NetworkManager.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status.map_or(Ok(()), |status| write!(f, "; the access point refused with status {status}"))
    }
}

/// Collects the refusals while it exists.
pub(super) struct Listener {
    refusal: Arc<Mutex<Refusal>>,
    login: watch::Receiver<Option<LoginFailure>>,
    _readers: JoinSet<()>,
}

impl Listener {
    /// Subscribes; none if that fails. Not longer than a join, because the supplicant signals at every scan. `login`: the radio
    /// whose login to an enterprise network is followed.
    pub(super) async fn start(bus: &Bus, login: Option<&Device>) -> Option<Self> {
        let streams = async {
            let changes = bus.changes_of(SERVICE, INTERFACE).await?;
            let logins = match login {
                Some(device) => {
                    // If the supplicant does not tell the radio's object, the logins of others are taken for ours.
                    let object = timeout(LIMIT, path(bus, &device.interface)).await.ok().and_then(Result::ok);
                    Some(bus.signals_of(SERVICE, object.as_ref(), INTERFACE, "EAP").await?)
                }
                None => None,
            };
            Ok((changes, logins))
        };
        let (mut stream, logins) = match streams.await {
            Ok(streams) => streams,
            Err::<_, zbus::Error>(error) => {
                debug!(%error, "the supplicant is not heard");
                return None;
            }
        };
        let refusal = Arc::<Mutex<Refusal>>::default();
        let heard = Arc::clone(&refusal);
        let mut readers = JoinSet::new();
        readers.spawn(async move {
            while let Some(message) = next(&mut stream).await {
                for status in message.ok().as_ref().map(statuses).unwrap_or_default() {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).observe(status);
                }
            }
        });
        let (failure, login) = watch::channel(None);
        if let Some(logins) = logins {
            readers.spawn(follow(logins, failure));
        }
        Some(Self { refusal, login, _readers: readers })
    }

    /// Waits until a login has failed. Never ends for other networks.
    pub(super) async fn login_failed(&self) -> LoginFailure {
        let mut login = self.login.clone();
        loop {
            if let Some(failure) = *login.borrow_and_update() {
                return failure;
            }
            if login.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// What was heard so far.
    pub(super) fn refusal(&self) -> Refusal {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows a login until its first failure, which is the cause of those after it.
async fn follow(mut logins: MessageStream, failure: watch::Sender<Option<LoginFailure>>) {
    let mut login = LoginTracker::default();
    while let Some(message) = next(&mut logins).await {
        let Some((status, parameter)) = message.ok().as_ref().and_then(of_login) else { continue };
        if let Some(heard) = login.observe(&status, &parameter) {
            failure.send_if_modified(|failure| failure.is_none() && failure.replace(heard).is_none());
        }
    }
}

async fn next(stream: &mut MessageStream) -> Option<zbus::Result<Message>> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// What a signal `EAP` tells of a login: a status, and its parameter.
pub(in crate::network) fn of_login(message: &Message) -> Option<(String, String)> {
    let (status, parameter): (String, String) = message.body().deserialize().ok()?;
    debug!(status, parameter, "the login");
    Some((status, parameter))
}

/// The status codes of a signal.
fn statuses(message: &Message) -> Vec<u16> {
    let body = message.body();
    let Ok((_, changed, _)) = body.deserialize::<(&str, HashMap<&str, Variant<'_>>, Vec<&str>)>() else { return Vec::new() };
    let status = |name| changed.get(name).and_then(|value| i32::try_from(value).ok()).and_then(|code| code.try_into().ok());
    ["AuthStatusCode", "AssocStatusCode"].into_iter().filter_map(status).collect()
}

/// A change of the supplicant's settings for a radio, which only root may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::network) enum Change {
    /// The country, which it passes on to the kernel.
    Country(Country),
    /// Both ways of SAE to derive an element: some access points take only the newer one (`sae_pwe`), which the supplicant does
    /// not use by itself.
    BothElements,
}

impl Change {
    /// The property, and its value.
    pub(in crate::network) fn property(self) -> (&'static str, String) {
        match self {
            Self::Country(country) => ("Country", country.into_string()),
            Self::BothElements => ("SaePwe", "2".into()),
        }
    }

    /// The request to the package's helper.
    pub(in crate::network) fn request(self, interface: &str) -> String {
        match self {
            Self::Country(country) => format!("{interface} country {country}\n"),
            Self::BothElements => format!("{interface} elements\n"),
        }
    }

    /// Makes the change on the bus.
    pub(super) async fn make(self, bus: &Bus, device: &Device) -> Result<(), Cause> {
        let path = path(bus, &device.interface).await?;
        let (name, value) = self.property();
        let call = Call { name: "Set", action: "" };
        bus.call(call, bus.set(SERVICE, &path, INTERFACE, name, value.into())).await
    }
}

/// Whether the radio and its software support WPA3, as far as known. Before version 2.10 the supplicant lists no SAE although it
/// may have it; it has no [`Change::BothElements`] then.
pub(super) async fn has_sae(bus: &Bus, device: &Device) -> Option<bool> {
    let asking = async {
        let path = path(bus, &device.interface).await?;
        let get = async |name| bus.call(Call { name: "Get", action: "" }, bus.get(SERVICE, &path, INTERFACE, name)).await;
        let listed = lists_sae(get("Capabilities").await?);
        if listed == Some(false) {
            get(Change::BothElements.property().0).await?;
        }
        Ok::<_, Cause>(listed)
    };
    match timeout(LIMIT, asking).await {
        Ok(Ok(listed)) => listed,
        Ok(Err(cause)) => {
            debug!("the capabilities of the radio are unknown: {}", chain(&cause));
            None
        }
        Err(_) => None,
    }
}

/// The object of a radio.
async fn path(bus: &Bus, interface: &str) -> Result<OwnedObjectPath, Cause> {
    let supplicant: SupplicantProxy<'_> = bus.proxy(ROOT.try_into().expect("a valid path")).await?;
    bus.call(Call { name: "GetInterface", action: "" }, supplicant.get_interface(interface)).await
}

/// Aborts a running scan of a radio.
pub(super) async fn abort_scan(bus: &Bus, device: &Device) -> Result<(), Cause> {
    let path = path(bus, &device.interface).await?;
    let interface: SupplicantInterfaceProxy<'_> = bus.proxy((&path).into()).await?;
    bus.call(Call { name: "AbortScan", action: "" }, interface.abort_scan()).await
}

/// Whether `KeyMgmt` has SAE; none if there is no such list.
pub(in crate::network) fn lists_sae(capabilities: OwnedVariant) -> Option<bool> {
    let mut capabilities = HashMap::<String, OwnedVariant>::try_from(capabilities).ok()?;
    let methods = Vec::<String>::try_from(capabilities.remove("KeyMgmt")?).ok()?;
    (!methods.is_empty()).then(|| methods.iter().any(|method| method == "sae"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(values: &[(&str, i32)]) -> Message {
        let values: HashMap<&str, Variant<'_>> = values.iter().map(|(name, value)| (*name, Variant::from(*value))).collect();
        let signal =
            Message::signal("/fi/w1/wpa_supplicant1/Interfaces/0", "org.freedesktop.DBus.Properties", "PropertiesChanged");
        signal.build(&(INTERFACE, values, Vec::<&str>::new())).expect("a valid message")
    }

    #[test]
    fn the_status_codes_of_both_steps_are_read() {
        assert_eq!(statuses(&changed(&[("AuthStatusCode", 17)])), [17]);
        assert_eq!(statuses(&changed(&[("AssocStatusCode", 12)])), [12]);
        assert_eq!(statuses(&changed(&[("DisconnectReason", -3), ("AuthStatusCode", -1)])), [0_u16; 0]);
    }

    #[test]
    fn a_signal_of_a_login_has_a_status_and_its_parameter() {
        let signal = Message::signal("/fi/w1/wpa_supplicant1/Interfaces/0", INTERFACE, "EAP");
        let signal = signal.build(&("completion", "failure")).expect("a valid message");
        assert_eq!(of_login(&signal), Some(("completion".into(), "failure".into())));
        assert_eq!(of_login(&changed(&[])), None);
    }

    #[test]
    fn a_radio_supports_wpa3_if_its_list_says_so() {
        let capabilities = |methods: &[&str]| {
            let methods: Vec<String> = methods.iter().map(ToString::to_string).collect();
            let table = HashMap::from([("KeyMgmt", Variant::from(methods))]);
            Variant::from(table).try_into_owned().expect("no file descriptors")
        };
        assert_eq!(lists_sae(capabilities(&["wpa-psk", "sae"])), Some(true));
        assert_eq!(lists_sae(capabilities(&["wpa-psk"])), Some(false));
        assert_eq!(lists_sae(capabilities(&[])), None);
    }
}
