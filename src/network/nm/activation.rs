//! One activation, from the call to its outcome.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};
use zbus::{ObjectPath, OwnedObjectPath};

use super::bus::{Event, ROOT};
use super::cause::{Call, Cause};
use super::device::Device;
use super::outcome::{Mode, Sighting, Tracker, Verdict};
use super::profile::Plan;
use super::proxies::{ConnectionProxy, ServiceProxy, SettingsProxy};
use super::radio::{Caller, Held, Radio};
use super::supplicant::{Listener, Refusal};
use super::values::{ACTIVE_ACTIVATED, ACTIVE_ACTIVATING, DeviceState};
use provisioning_core::domain::{EapMethod, RadioUse};

/// NetworkManager answers before it activates, unless it waits for polkit or hangs.
const START_LIMIT: Duration = Duration::from_secs(10);
/// NetworkManager reports an access point as activated before its DHCP and DNS server has started; a failure follows within
/// 0.3 s.
const ACCESS_POINT_SETTLES: Duration = Duration::from_secs(1);

/// No specific access point: for a specific one, NetworkManager checks the security with rules that are too strict.
const ANY: &str = "/";

pub(super) const DELETE: Call = Call { name: "Delete", action: "org.freedesktop.NetworkManager.settings.modify.system" };

/// What an activation of an enterprise network listens to.
#[derive(Clone, Copy, Default)]
struct Heard<'a> {
    login: Option<EapMethod>,
    listener: Option<&'a Listener>,
}

impl Heard<'_> {
    async fn login_failed(self) -> Cause {
        match (self.login, self.listener) {
            (Some(method), Some(listener)) => Cause::Login { method, failure: listener.login_failed().await },
            _ => std::future::pending().await,
        }
    }
}

impl Radio {
    /// Activates a plan in place of the device's current connection, and holds it. After a failure nothing of it is left.
    pub(super) async fn activate(
        &mut self,
        plan: Plan,
        device: &Device,
        sighting: Option<Sighting>,
        caller: &mut Caller,
        limit: Duration,
    ) -> Result<(), Cause> {
        self.catch_up();
        let listener = match plan.mode() {
            Mode::Station => Listener::start(self.bus()?, plan.method().map(|_| device)).await,
            Mode::AccessPoint => None,
        };
        // Before the access point opens, so that servers are ready for its first phone.
        self.report_use(plan.radio_use(&device.interface));
        if let Err(error) = plan.write_certificates() {
            self.report_use(RadioUse::Idle);
            self.certificates().erase(plan.uuid());
            return Err(Cause::Certificates(error));
        }
        let started = match self.start(&plan, device, caller).await {
            Ok(started) => started,
            Err(cause) => {
                self.report_use(RadioUse::Idle);
                // After an unexpected answer the activation may have started nevertheless.
                self.discard(plan.uuid()).await;
                return Err(cause);
            }
        };
        // From here on the device's previous connection is lost.
        self.held = None;
        if plan.mode() == Mode::Station {
            // The access point has ended, and its DNS server with it.
            self.dns = None;
        }
        let heard = Heard { login: plan.method(), listener: listener.as_ref() };
        let up = self.watch(device, &started, plan.mode(), heard, caller, limit).await;
        if up.is_err() {
            self.report_use(RadioUse::Idle);
        }
        match up {
            Ok(()) => {
                self.held = Some(Held { plan, device: device.path.clone(), lost: None });
                Ok(())
            }
            // A volatile profile ends with NetworkManager.
            Err(cause @ (Cause::Exited | Cause::BusLost)) => {
                self.certificates().erase(plan.uuid());
                Err(cause)
            }
            Err(cause) => {
                self.discard(plan.uuid()).await;
                Err(match cause {
                    Cause::Ended { ended, mode, .. } => {
                        let refusal = listener.map(|listener| listener.refusal()).unwrap_or_default();
                        Cause::Ended { ended, mode, sighting, refusal }
                    }
                    cause => cause,
                })
            }
        }
    }

    /// Activates a stored profile, without changing it.
    pub(super) async fn activate_stored(
        &mut self,
        profile: &OwnedObjectPath,
        device: &Device,
        caller: &mut Caller,
        limit: Duration,
    ) -> Result<(), Cause> {
        self.catch_up();
        let bus = self.bus()?;
        let service: ServiceProxy<'_> = bus.proxy(ROOT.try_into().expect("a valid path")).await?;
        let call = Call { name: "ActivateConnection", action: "org.freedesktop.NetworkManager.network-control" };
        let any = ObjectPath::try_from(ANY).expect("a valid path");
        let active = bus.call(call, service.activate_connection(profile, &device.path, &any)).await?;
        self.held = None;
        self.report_use(RadioUse::Idle);
        self.watch(device, &active, Mode::Station, Heard::default(), caller, limit).await
    }

    /// Calls for the activation. The call continues when the caller abandons the request, so that a profile that it creates is removed.
    async fn start(&self, plan: &Plan, device: &Device, caller: &mut Caller) -> Result<OwnedObjectPath, Cause> {
        let bus = self.bus()?;
        let service: ServiceProxy<'_> = bus.proxy(ROOT.try_into().expect("a valid path")).await?;
        let call = plan.call();
        let (answer, answered) = oneshot::channel();
        let (plan, device) = (plan.clone(), device.path.clone());
        debug!("calling {}", call.name);
        tokio::spawn(async move {
            let any = ObjectPath::try_from(ANY).expect("a valid path");
            let started = service.add_and_activate_connection2(&plan.settings(), &device, &any, &plan.options()).await;
            if let Err(Ok((profile, ..))) = answer.send(started) {
                remove_unwanted(service.inner().connection(), profile).await;
            }
        });
        let started = tokio::select! {
            biased;
            () = caller.abandoned() => return Err(Cause::Abandoned),
            started = timeout(START_LIMIT, answered) => started,
        };
        match started {
            Ok(Ok(Ok((_, active, _)))) => Ok(active),
            Ok(Ok(Err(_))) if bus.is_closed() => Err(Cause::BusLost),
            Ok(Ok(Err(source))) => Err(self.refused(Cause::of(call, source)).await),
            // The runtime is shutting down.
            Ok(Err(_)) => Err(Cause::Stopped),
            Err(_) => Err(Cause::Late { call: call.name, after: START_LIMIT }),
        }
    }

    /// Why NetworkManager refused to activate: it reports a device that has just become unusable as not available.
    async fn refused(&self, cause: Cause) -> Cause {
        let unavailable = |name: &str| name.ends_with(".UnknownConnection") || name.ends_with(".ConnectionNotAvailable");
        let (true, Ok(bus)) = (cause.error_name().is_some_and(unavailable), self.bus()) else { return cause };
        let found = Device::find(bus, self.settings.interface.as_deref()).await;
        match found {
            Ok(device) => device.usable(bus).await.err().unwrap_or(cause),
            Err(ended) => ended,
        }
    }

    /// Waits for the outcome.
    async fn watch(
        &mut self,
        device: &Device,
        active: &OwnedObjectPath,
        mode: Mode,
        heard: Heard<'_>,
        caller: &mut Caller,
        limit: Duration,
    ) -> Result<(), Cause> {
        let mut tracker = Tracker::default();
        let mut until = Instant::now() + limit;
        let mut up = false;
        loop {
            let event = tokio::select! {
                biased;
                () = caller.abandoned() => return Err(Cause::Abandoned),
                event = self.next_event() => event?,
                // The supplicant would try again with the same.
                cause = heard.login_failed() => return Err(cause),
                () = sleep_until(until) => return if up { Ok(()) } else { Err(Cause::Slow(limit)) },
            };
            let change = match event {
                Event::Removed { device: removed } if removed == device.path => return Err(Cause::NoDevice),
                Event::State { device: changed, change } if changed == device.path => change,
                _ => continue,
            };
            debug!(state = %change.new, reason = %change.reason, "the device");
            if mode == Mode::AccessPoint && matches!(change.new, DeviceState::Config | DeviceState::IpConfig) {
                self.end_scan(device).await;
            }
            match tracker.observe(change) {
                Verdict::Pending => {}
                Verdict::Activated if mode == Mode::AccessPoint => {
                    up = true;
                    until = Instant::now() + ACCESS_POINT_SETTLES;
                }
                Verdict::Activated => return Ok(()),
                Verdict::Ended(ended) => {
                    return Err(Cause::Ended { ended, mode, sighting: None, refusal: Refusal::default() });
                }
                // Our activation replaced an earlier one, or another one replaced ours.
                Verdict::Superseded if self.is_alive(active).await => {}
                Verdict::Superseded => return Err(Cause::Superseded),
            }
        }
    }

    /// Whether an active connection is activating or activated. A missing one has ended.
    async fn is_alive(&self, active: &OwnedObjectPath) -> bool {
        let Ok(bus) = self.bus() else { return false };
        let properties = bus.properties(active, "org.freedesktop.NetworkManager.Connection.Active").await;
        let state = properties.ok().and_then(|mut properties| properties.take::<u32>("State"));
        state.is_some_and(|state| [ACTIVE_ACTIVATING, ACTIVE_ACTIVATED].contains(&state))
    }

    /// Deletes a profile of this program, and so deactivates it, if it still exists.
    pub(super) async fn discard(&self, uuid: &str) {
        self.certificates().erase(uuid);
        let Ok(bus) = self.bus() else { return };
        let discarding = async {
            let settings: SettingsProxy<'_> = bus.proxy(SETTINGS.try_into().expect("a valid path")).await?;
            let path = bus.call(GET_BY_UUID, settings.get_connection_by_uuid(uuid)).await?;
            let profile: ConnectionProxy<'_> = bus.proxy(path.as_ref()).await?;
            bus.call(DELETE, profile.delete()).await
        };
        match discarding.await {
            Ok(()) => debug!(uuid, "deleted a profile"),
            // NetworkManager deletes a failed volatile profile.
            Err(cause) if cause.is_missing_object() => {}
            Err(cause) => warn!(uuid, "a profile could not be deleted: {}", provisioning_core::fault::chain(&cause)),
        }
    }
}

/// NetworkManager's object for profiles.
pub(super) const SETTINGS: &str = "/org/freedesktop/NetworkManager/Settings";
pub(super) const GET_BY_UUID: Call =
    Call { name: "GetConnectionByUuid", action: "org.freedesktop.NetworkManager.network-control" };

async fn remove_unwanted(connection: &zbus::Connection, profile: OwnedObjectPath) {
    info!("an abandoned activation was answered; deleting its profile");
    let removing = async { ConnectionProxy::builder(connection).path(&profile).build().await?.delete().await };
    if let Err(error) = removing.await {
        debug!(%error, "the abandoned profile was already deleted");
    }
}
