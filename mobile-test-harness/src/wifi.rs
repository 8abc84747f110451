//! The phone's Wi-Fi, over NetworkManager: joins a node's access point, and returns to the previous network.
//!
//! The access point is joined with a volatile profile, which NetworkManager removes when this program ends, even by a crash.
//! The profile of the previous network is deactivated and activated, and never changed.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::StreamExt;
use provisioning_core::secret::SecretText;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info, warn};
use zbus::proxy::SignalStream;
use zbus::{Connection, OwnedObjectPath, OwnedVariant, Proxy, Variant};

const SERVICE: &str = "org.freedesktop.NetworkManager";
const ROOT: &str = "/org/freedesktop/NetworkManager";
const DEVICE: &str = "org.freedesktop.NetworkManager.Device";
const WIRELESS: &str = "org.freedesktop.NetworkManager.Device.Wireless";
const ACCESS_POINT: &str = "org.freedesktop.NetworkManager.AccessPoint";
const DHCP: &str = "org.freedesktop.NetworkManager.DHCP4Config";
const ACTIVE: &str = "org.freedesktop.NetworkManager.Connection.Active";

/// The path by which NetworkManager denotes no object.
const NONE: &str = "/";

/// NetworkManager answers within milliseconds, unless it prompts its user.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A scan of all channels, after another scan in progress.
const SCAN_LIMIT: Duration = Duration::from_secs(20);
/// Association and address; NetworkManager's own limit for the former is 25 s.
const JOIN_LIMIT: Duration = Duration::from_secs(45);
/// A frame lost in the handshake looks like a wrong passphrase, so a second try is made before that is reported.
const TRIES: u32 = 2;
/// The polling interval for properties without a change signal.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

// NetworkManager's numbers: `nm-dbus-interface.h`.
const DEVICE_TYPE_WIFI: u32 = 2;
const MODE_INFRASTRUCTURE: u32 = 2;
const STATE_UNAVAILABLE: u32 = 20;
const STATE_ACTIVATED: u32 = 100;
const STATE_FAILED: u32 = 120;
const REASON_NO_SECRETS: u32 = 7;
const REASON_SSID_NOT_FOUND: u32 = 53;
const ACTIVE_ACTIVATING: u32 = 1;
const ACTIVE_ACTIVATED: u32 = 2;

/// Why an operation of the phone's Wi-Fi failed.
#[derive(Debug, Error)]
pub enum Error {
    /// NetworkManager refused, or is not running.
    #[error("asking NetworkManager to {attempt}")]
    Call {
        /// The operation.
        attempt: &'static str,
        /// The cause.
        #[source]
        source: zbus::Error,
    },
    /// NetworkManager did not answer.
    #[error("NetworkManager did not answer in time")]
    Late,
    /// There is no such Wi-Fi device, or NetworkManager cannot use it.
    #[error("there is no Wi-Fi device that NetworkManager can use")]
    NoDevice,
    /// No access point of a node is in range.
    #[error("no access point of a device is in range")]
    NotInRange,
    /// Several access points are in range, and none was chosen.
    #[error("several devices are in range: {}; choose one with --ap-name", .0.join(", "))]
    Several(Vec<String>),
    /// The access point rejects the passphrase.
    #[error("the access point rejects this passphrase; the right one is on the label")]
    WrongPassphrase,
    /// Joining failed in another way.
    #[error("joining failed; NetworkManager's reason is {0}")]
    Join(u32),
    /// Joining took too long.
    #[error("joining took longer than {} s", JOIN_LIMIT.as_secs())]
    Slow,
}

impl Error {
    /// Whether a retry can succeed.
    pub const fn passes(&self) -> bool {
        !matches!(self, Self::WrongPassphrase | Self::Several(_) | Self::NoDevice)
    }
}

fn call(attempt: &'static str) -> impl Fn(zbus::Error) -> Error {
    move |source| Error::Call { attempt, source }
}

async fn within<T>(attempt: &'static str, answer: impl Future<Output = zbus::Result<T>>) -> Result<T, Error> {
    timeout(ANSWER_LIMIT, answer).await.map_err(|_| Error::Late)?.map_err(call(attempt))
}

/// The phone's Wi-Fi device, and its previous network.
#[derive(Debug)]
pub struct Wifi {
    connection: Connection,
    device: OwnedObjectPath,
    /// The profile that was active before; none if the device was idle.
    before: Option<OwnedObjectPath>,
    /// The activation of the access point, while it lasts.
    joined: Option<OwnedObjectPath>,
}

impl Wifi {
    /// Opens the Wi-Fi device of that name, or the first one that can be used.
    pub async fn open(interface: Option<&str>) -> Result<Self, Error> {
        let connection = within("connect", Connection::system()).await?;
        let root = proxy(&connection, ROOT, SERVICE).await?;
        let devices: Vec<OwnedObjectPath> = within("list its devices", root.call("GetDevices", &())).await?;
        for device in devices {
            let properties = proxy(&connection, device.as_str(), DEVICE).await?;
            let (kind, state): (u32, u32) = (read(&properties, "DeviceType").await?, read(&properties, "State").await?);
            let name: String = read(&properties, "Interface").await?;
            let wanted = interface.is_none_or(|interface| interface == name);
            if kind != DEVICE_TYPE_WIFI || state <= STATE_UNAVAILABLE || !wanted {
                continue;
            }
            let mut wifi = Self { connection, device, before: None, joined: None };
            wifi.before = wifi.active().await?.map(|(profile, _)| profile);
            debug!(interface = name, before = ?wifi.before, "the phone's Wi-Fi");
            return Ok(wifi);
        }
        Err(Error::NoDevice)
    }

    /// The names of the access points in range that start with `prefix`, strongest first; from a new scan.
    pub async fn look_for(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let wireless = proxy(&self.connection, self.device.as_str(), WIRELESS).await?;
        let before: i64 = read(&wireless, "LastScan").await?;
        let options = HashMap::<&str, Variant<'_>>::new();
        if let Err(error) = within("look for networks", wireless.call::<_, _, ()>("RequestScan", &(options,))).await {
            // A scan that is in progress is as good.
            debug!(%error, "requesting a scan");
        }
        let until = Instant::now() + SCAN_LIMIT;
        while read::<i64>(&wireless, "LastScan").await? == before && Instant::now() < until {
            sleep(LOOK_AGAIN).await;
        }
        let points: Vec<OwnedObjectPath> = within("list networks", wireless.call("GetAllAccessPoints", &())).await?;
        let mut found = Vec::new();
        for point in points {
            let properties = proxy(&self.connection, point.as_str(), ACCESS_POINT).await?;
            // An access point that has vanished meanwhile is not in range.
            let (Ok(ssid), Ok(mode)) = (read::<Vec<u8>>(&properties, "Ssid").await, read::<u32>(&properties, "Mode").await)
            else {
                continue;
            };
            let seen: i32 = read(&properties, "LastSeen").await.unwrap_or(-1);
            let strength: u8 = read(&properties, "Strength").await.unwrap_or(0);
            let name = String::from_utf8_lossy(&ssid).into_owned();
            // Access points stay in the list for a while after they vanish. `LastScan` is in milliseconds, `LastSeen` in seconds.
            let fresh = i64::from(seen) * 1000 >= before;
            if mode == MODE_INFRASTRUCTURE && fresh && name.starts_with(prefix) {
                found.push((strength, name));
            }
        }
        found.sort_by(|one, other| other.cmp(one));
        let mut names: Vec<String> = found.into_iter().map(|(_, name)| name).collect();
        names.dedup();
        Ok(names)
    }

    /// Joins an access point; the device leaves its current network.
    pub async fn join(&mut self, ssid: &str, passphrase: &SecretText) -> Result<(), Error> {
        for _ in 1..TRIES {
            match self.try_to_join(ssid, passphrase).await {
                Err(error @ (Error::WrongPassphrase | Error::Join(_))) => debug!(%error, "joining again"),
                result => return result,
            }
        }
        self.try_to_join(ssid, passphrase).await
    }

    async fn try_to_join(&mut self, ssid: &str, passphrase: &SecretText) -> Result<(), Error> {
        let options = HashMap::from([("persist", Variant::from("volatile")), ("bind-activation", Variant::from("dbus-client"))]);
        let device = proxy(&self.connection, self.device.as_str(), DEVICE).await?;
        // Subscribe before the call: an activation can end before its answer arrives.
        let mut states = within("report its states", device.receive_signal("StateChanged")).await?;
        let root = proxy(&self.connection, ROOT, SERVICE).await?;
        let body = (profile(ssid, passphrase), &self.device, any(), options);
        let asking = root.call("AddAndActivateConnection2", &body);
        let (_, active, _): (OwnedObjectPath, OwnedObjectPath, HashMap<String, OwnedVariant>) =
            within("join the access point", asking).await?;
        self.joined = Some(active);
        settled(&mut states).await
    }

    /// Whether the device is still in the access point that was joined.
    pub async fn is_joined(&self) -> Result<bool, Error> {
        let Some(joined) = &self.joined else { return Ok(false) };
        Ok(self.active().await?.is_some_and(|(_, active)| active == *joined))
    }

    /// The router of the network, as DHCP names it; none if it names none.
    pub async fn router(&self) -> Option<Ipv4Addr> {
        let device = proxy(&self.connection, self.device.as_str(), DEVICE).await.ok()?;
        let lease: OwnedObjectPath = read(&device, "Dhcp4Config").await.ok()?;
        let lease = proxy(&self.connection, lease.as_str(), DHCP).await.ok()?;
        let options: HashMap<String, OwnedVariant> = read(&lease, "Options").await.ok()?;
        let routers: &str = options.get("routers")?.downcast_ref().ok()?;
        routers.split_whitespace().next()?.parse().ok()
    }

    /// Returns to the previous network.
    pub async fn go_back(&mut self) -> Result<(), Error> {
        let joined = self.joined.take();
        let Some(before) = &self.before else {
            let Some(joined) = joined else { return Ok(()) };
            let root = proxy(&self.connection, ROOT, SERVICE).await?;
            // An error means that the activation has ended already.
            let ended = within("leave the access point", root.call::<_, _, ()>("DeactivateConnection", &(&joined,))).await;
            debug!(?ended, "left the access point");
            return Ok(());
        };
        // NetworkManager returns by itself when the access point vanishes.
        if self.active().await?.is_some_and(|(profile, _)| profile == *before) {
            return Ok(());
        }
        for _ in 1..TRIES {
            match self.try_to_go_back(before).await {
                Err(error) if error.passes() || matches!(error, Error::WrongPassphrase) => debug!(%error, "returning again"),
                result => return result,
            }
        }
        self.try_to_go_back(before).await
    }

    async fn try_to_go_back(&self, before: &OwnedObjectPath) -> Result<(), Error> {
        let device = proxy(&self.connection, self.device.as_str(), DEVICE).await?;
        let mut states = within("report its states", device.receive_signal("StateChanged")).await?;
        let root = proxy(&self.connection, ROOT, SERVICE).await?;
        let body = (before, &self.device, any());
        let _active: OwnedObjectPath = within("return to the previous network", root.call("ActivateConnection", &body)).await?;
        settled(&mut states).await?;
        info!("returned to the previous network");
        Ok(())
    }

    /// The device's profile and activation, after an activation in progress has ended; none if the device is idle.
    async fn active(&self) -> Result<Option<(OwnedObjectPath, OwnedObjectPath)>, Error> {
        let until = Instant::now() + JOIN_LIMIT;
        loop {
            let device = proxy(&self.connection, self.device.as_str(), DEVICE).await?;
            let active: OwnedObjectPath = read(&device, "ActiveConnection").await?;
            if active.as_str() == NONE {
                return Ok(None);
            }
            let properties = proxy(&self.connection, active.as_str(), ACTIVE).await?;
            match (read::<u32>(&properties, "State").await, read::<OwnedObjectPath>(&properties, "Connection").await) {
                (Ok(ACTIVE_ACTIVATED), Ok(profile)) => return Ok(Some((profile, active))),
                (Ok(ACTIVE_ACTIVATING), Ok(_)) if Instant::now() < until => sleep(LOOK_AGAIN).await,
                (Ok(_), Ok(_)) => return Ok(None),
                // The activation has ended meanwhile.
                (error, _) => {
                    debug!(?error, "the activation has ended");
                    return Ok(None);
                }
            }
        }
    }
}

impl Drop for Wifi {
    fn drop(&mut self) {
        if self.joined.is_some() {
            warn!("still in the access point; NetworkManager leaves it when this program ends");
        }
    }
}

/// The path that lets NetworkManager choose an object.
fn any() -> zbus::ObjectPath<'static> {
    NONE.try_into().expect("a valid path")
}

async fn proxy<'a>(connection: &Connection, path: &'a str, interface: &'a str) -> Result<Proxy<'a>, Error> {
    let building = zbus::proxy::Builder::new(connection)
        .destination(SERVICE)
        .path(path)
        .interface(interface)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build();
    within("answer", building).await
}

async fn read<T>(proxy: &Proxy<'_>, name: &'static str) -> Result<T, Error>
where
    T: serde::de::DeserializeOwned + zbus::Type,
{
    within("read a property", proxy.get_property(name)).await
}

/// Waits until the activation succeeds or fails. The deactivation of the previous network is not a failure.
async fn settled(states: &mut SignalStream<'_>) -> Result<(), Error> {
    let until = Instant::now() + JOIN_LIMIT;
    loop {
        let message = timeout_at(until, states.next()).await.map_err(|_| Error::Slow)?.ok_or(Error::Late)?;
        let Ok((new, _, reason)) = message.body().deserialize::<(u32, u32, u32)>() else { continue };
        debug!(new, reason, "the phone's Wi-Fi");
        match (new, reason) {
            (STATE_ACTIVATED, _) => return Ok(()),
            (STATE_FAILED, REASON_NO_SECRETS) => return Err(Error::WrongPassphrase),
            (STATE_FAILED, REASON_SSID_NOT_FOUND) => return Err(Error::NotInRange),
            (STATE_FAILED, reason) => return Err(Error::Join(reason)),
            _ => {}
        }
    }
}

/// The profile for a node's access point. It sets no default route and no DNS, because only the node is there.
fn profile<'a>(ssid: &'a str, passphrase: &'a SecretText) -> HashMap<&'a str, HashMap<&'a str, Variant<'a>>> {
    let mut profile = HashMap::from([
        ("connection", HashMap::from([("id", ssid.into()), ("type", "802-11-wireless".into()), ("autoconnect", false.into())])),
        ("802-11-wireless", HashMap::from([("ssid", ssid.as_bytes().to_vec().into()), ("mode", "infrastructure".into())])),
        ("ipv4", HashMap::from([("method", "auto".into()), ("never-default", true.into()), ("ignore-auto-dns", true.into())])),
        ("ipv6", HashMap::from([("method", "disabled".into())])),
    ]);
    if !passphrase.expose().is_empty() {
        let security = HashMap::from([("key-mgmt", "wpa-psk".into()), ("psk", passphrase.expose().into())]);
        profile.insert("802-11-wireless-security", security);
    }
    profile
}
