//! The caretaker: the loop around [`Recovery`], as [`daemon`](crate::daemon) is the one around the machine of provisioning.
//!
//! ```text
//! requests of Care ──▶ ┌──────┐ ──Input──▶ Recovery ──Output──▶ executor  (a task, one job at a time)
//! views of daemon  ──▶ │ loop │                               log of events
//! results ───Done────▶ └──────┘ ◀───────── timeout            status
//! ```
//!
//! Recovery waits while provisioning needs the radio, while a request of the owner is in progress, and while a hotspot that the
//! owner has opened is held. A command that it has cancelled ends before the next job starts. Nothing is stored: after a
//! crash the first check says what the radio does.

mod executor;
mod report;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use provisioning_core::care::recovery::{Input, OpId, Output, Recovery, Refusal};
use provisioning_core::domain::{Network as Sighting, Security, Ssid};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::alarm::Alarm;
use super::events::{Action, Events, Kind, Level, News};
use super::health::Health;
use super::port::{Care, Ends, Error, Reply, Request, Saved, Scope, Seen, Status};
use super::{collect, collect_simulated};
use crate::command_center::Registrar;
use crate::daemon::{Handle, View};
use crate::network::{Inspection, Maintenance};
use executor::{Ended, Executor, Job, Operation, Work, failed};
use report::Facts;

/// A hotspot that the owner has opened stays open for this time after the last request of a phone, also if a stored network
/// is in range.
pub const HOLD: Duration = Duration::from_mins(10);

/// A restart that has begun takes less time than this. Afterwards the node is not restarting.
const RESTART_LIMIT: Duration = Duration::from_mins(2);

/// What the caretaker has to know about the node.
pub struct Settings {
    /// What is probed. Called for each diagnosis, because provisioning changes the command center.
    pub probes: Arc<dyn Fn() -> super::Settings + Send + Sync>,
    /// A lost network is recovered; otherwise the caretaker watches, reports and serves requests.
    pub recovery: bool,
    /// The network is simulated.
    pub simulated: bool,
    /// The Wi-Fi interface, such as `wlan0`; none for the first one.
    pub interface: Option<String>,
    /// The node's name in its network.
    pub hostname: String,
    /// The node's clock.
    pub clock: fn() -> SystemTime,
    /// Wakes the caretaker.
    pub alarm: Alarm,
    /// Takes a requested restart of the program; none if the settings allow no restarts.
    pub restart: Option<mpsc::UnboundedSender<()>>,
}

/// Recovery, and what carries it out.
pub struct Caretaker<N> {
    settings: Settings,
    network: Arc<N>,
    registrar: Arc<Registrar>,
    start: Instant,
    recovery: Recovery,
    /// The command in progress. It is cancelled when the sender is dropped.
    command: Option<(OpId, oneshot::Sender<Infallible>)>,
    /// The owner's request in progress.
    operation: Option<Running>,
    /// The owner has opened the hotspot: until then.
    held: Option<Instant>,
    /// A restart has begun, and counts as failed at that time.
    restarts_until: Option<Instant>,
    facts: Facts,
    jobs: mpsc::UnboundedSender<Job>,
    results: mpsc::UnboundedReceiver<Ended>,
    views: watch::Receiver<Arc<View>>,
    phones: watch::Receiver<u64>,
    requests: mpsc::Receiver<Request>,
    status: watch::Sender<Arc<Status>>,
    events: Events,
}

/// A request of the owner in progress.
struct Running {
    operation: Operation,
    action: Action,
    reply: Reply<()>,
    /// It is cancelled when this is dropped.
    _cancel: oneshot::Sender<Infallible>,
}

/// Why the loop waits no longer.
enum Wake {
    Stopped,
    Result(Option<Ended>),
    View,
    Phone,
    Request(Option<Request>),
    Time,
}

impl<N: Maintenance> Caretaker<N> {
    /// Makes the caretaker, its executor on the current tokio runtime, and the way to it. `daemon` is the way to provisioning,
    /// which uses the same network.
    pub fn new(settings: Settings, network: N, registrar: Registrar, daemon: Handle) -> (Self, Care) {
        let network = Arc::new(network);
        let (jobs, receiver) = mpsc::unbounded_channel();
        let (result, results) = mpsc::unbounded_channel();
        let hotspot = daemon.view().identity.name();
        let probes = (settings.probes)();
        let bus = probes.bus.clone();
        let health = (!settings.simulated).then(|| Health::new(probes));
        let executor = Executor { network: Arc::clone(&network), health, hotspot: hotspot.clone(), bus };
        tokio::spawn(executor.run(receiver, result));
        let (views, phones) = (daemon.views(), daemon.requests());
        let recovery = if settings.recovery { Recovery::new(Duration::ZERO) } else { Recovery::watching(Duration::ZERO) };
        let facts = Facts::new(hotspot, &settings);
        let status = facts.status(&recovery.status(Duration::ZERO), &daemon.view(), Duration::ZERO, (settings.clock)());
        let (care, ends) = Care::channel(status, Events::new(settings.clock), daemon);
        let Ends { requests, status, events } = ends;
        let caretaker = Self {
            settings,
            network,
            registrar: Arc::new(registrar),
            start: Instant::now(),
            recovery,
            command: None,
            operation: None,
            held: None,
            restarts_until: None,
            facts,
            jobs,
            results,
            views,
            phones,
            requests,
            status,
            events,
        };
        (caretaker, care)
    }

    /// Runs until `shutdown` is ready, or until nothing can reach it. The hotspot stays as it is.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        self.events.publish(News::new(Kind::System, Level::Info, "Device manager started"));
        self.follow_provisioning();
        loop {
            self.carry_out();
            let wake = self.wait(shutdown.as_mut()).await;
            let now = self.start.elapsed();
            match wake {
                Wake::Stopped | Wake::Result(None) | Wake::Request(None) => return,
                Wake::Result(Some(ended)) => self.ended(ended, now),
                Wake::View => self.follow_provisioning(),
                Wake::Phone => self.phone_active(now),
                Wake::Request(Some(request)) => self.serve(request, now),
                Wake::Time => {
                    if self.held.is_some_and(|until| until <= Instant::now()) {
                        self.held = None;
                        self.pause_or_resume();
                    }
                    if self.restarts_until.take_if(|until| *until <= Instant::now()).is_some() {
                        self.facts.restart_pending = false;
                        self.announce_restart_failed();
                    }
                    self.recovery.handle(Input::Timeout, now);
                }
            }
        }
    }

    async fn wait(&mut self, shutdown: impl Future<Output = ()>) -> Wake {
        let timeout = self.recovery.poll_timeout().map(|at| self.start + at);
        let next = timeout.into_iter().chain(self.held).chain(self.restarts_until).min();
        tokio::select! {
            biased;
            () = shutdown => Wake::Stopped,
            ended = self.results.recv() => Wake::Result(ended),
            // The loop of provisioning has ended, and with it the program.
            changed = self.views.changed() => changed.map_or(Wake::Stopped, |()| Wake::View),
            changed = self.phones.changed() => changed.map_or(Wake::Stopped, |()| Wake::Phone),
            request = self.requests.recv() => Wake::Request(request),
            () = self.settings.alarm.until(next.unwrap_or_else(Instant::now)), if next.is_some() => Wake::Time,
        }
    }

    /// Carries out every output of recovery, then publishes the status.
    fn carry_out(&mut self) {
        while let Some(output) = self.recovery.poll_output() {
            match output {
                Output::Start(command) => {
                    let (cancel, cancelled) = oneshot::channel();
                    self.command = Some((command.id(), cancel));
                    self.start_job(Work::Command(command), cancelled);
                }
                Output::Cancel(op) => drop(self.command.take_if(|(running, _)| *running == op)),
                Output::Event(entry) => {
                    let news = self.facts.news(&entry.event);
                    self.publish();
                    if let Some(news) = news {
                        self.announce(news);
                    }
                }
            }
        }
        self.publish();
    }

    fn start_job(&self, work: Work, cancelled: oneshot::Receiver<Infallible>) {
        // The executor ends after this loop.
        let _ended = self.jobs.send(Job { work, cancelled });
    }

    fn announce(&self, news: News) {
        self.events.publish(news.with_status(Arc::clone(&self.status.borrow())));
    }

    fn publish(&self) {
        let now = self.start.elapsed();
        let status = self.facts.status(&self.recovery.status(now), &self.views.borrow(), now, (self.settings.clock)());
        self.status.send_if_modified(|shown| {
            let is_new = !report::same(shown, &status);
            if is_new {
                *shown = Arc::new(status);
            }
            is_new
        });
    }

    /// A job has ended.
    fn ended(&mut self, ended: Ended, now: Duration) {
        match ended {
            Ended::Command(done, seen) => {
                self.command = None;
                if let Some(seen) = seen {
                    self.facts.saw(seen);
                }
                self.recovery.handle(Input::Done(done), now);
            }
            Ended::Operation(result, seen) => self.operation_ended(result, seen),
        }
    }

    /// Provisioning may need the radio, or no longer need it. It comes before everything else.
    fn follow_provisioning(&mut self) {
        let needed = self.views.borrow_and_update().needs_radio;
        if needed {
            self.held = None;
            if let Some(Running { reply, action, .. }) = self.operation.take() {
                self.facts.restart_pending = false;
                self.conclude(action, Err(Error::Provisioning), reply);
            }
        }
        self.pause_or_resume();
    }

    /// Recovery waits while something else has the radio.
    fn pause_or_resume(&mut self) {
        let active = self.views.borrow().needs_radio || self.operation.is_some() || self.held.is_some();
        self.facts.paused = active;
        self.recovery.handle(Input::Provisioning { active }, self.start.elapsed());
    }

    fn phone_active(&mut self, now: Duration) {
        if let Some(until) = &mut self.held {
            *until = Instant::now() + HOLD;
        }
        self.recovery.handle(Input::PhoneActive, now);
    }

    fn serve(&mut self, request: Request, now: Duration) {
        match request {
            Request::Scan(reply) => self.scan(reply),
            Request::Saved(reply) => self.saved(reply),
            Request::Connect(join, reply) => self.operate(Operation::Connect(join), Action::Connect, None, reply),
            Request::Forget(name, reply) => self.operate(Operation::Forget(name), Action::Forget, None, reply),
            Request::Hotspot { open: true, reply } => self.operate(Operation::Open, Action::EnableHotspot, None, reply),
            Request::Hotspot { open: false, reply } => self.operate(Operation::Close, Action::DisableHotspot, None, reply),
            Request::Rollback { reason, reply } => {
                self.operate(Operation::Open, Action::EnableHotspot, Some(reason), reply);
            }
            Request::Recover(reply) => reply.send(self.recover(now)),
            Request::Diagnose(reply) => self.diagnose(reply),
            Request::Restart { reason, scope, reply } => self.restart(reason, scope, reply),
        }
    }

    fn restart(&mut self, reason: String, scope: Scope, reply: Reply<()>) {
        // A simulation does not restart the computer that it runs on.
        let is_allowed = self.settings.restart.is_some() && !(self.settings.simulated && scope == Scope::Device);
        if !is_allowed {
            return reply.send(Err(Error::RestartForbidden));
        }
        if let Err(error) = self.is_free() {
            return reply.send(Err(error));
        }
        if self.restarts_until.is_some() {
            return reply.send(Err(Error::Busy));
        }
        self.facts.restart_pending = true;
        self.facts.last_restart_reason = Some(reason).filter(|reason| !reason.is_empty());
        self.operate(Operation::Restart(scope), Action::Restart, None, reply);
    }

    fn announce_restart_failed(&self) {
        self.publish();
        self.announce(report::ended(Action::Restart, Some(&Error::RestartRefused)));
    }

    /// Whether a request of the owner can start.
    fn is_free(&self) -> Result<(), Error> {
        match (self.views.borrow().needs_radio, &self.operation) {
            (true, _) => Err(Error::Provisioning),
            (false, Some(_)) => Err(Error::Busy),
            (false, None) => Ok(()),
        }
    }

    /// Starts a request of the owner, which has the radio until its end. One at a time: the second one would undo the first.
    fn operate(&mut self, operation: Operation, action: Action, reason: Option<String>, reply: Reply<()>) {
        if let Err(error) = self.is_free() {
            return reply.send(Err(error));
        }
        if let Some(reason) = reason {
            self.facts.last_error = Some(reason);
        }
        let (cancel, cancelled) = oneshot::channel();
        let work = Work::Operation(operation.clone());
        self.facts.connecting = matches!(operation, Operation::Connect(_));
        self.operation = Some(Running { operation, action, reply, _cancel: cancel });
        // Recovery cancels its command before the request starts.
        self.pause_or_resume();
        self.carry_out();
        self.announce(report::started(action));
        self.start_job(work, cancelled);
    }

    fn operation_ended(&mut self, result: Result<(), Error>, seen: Inspection) {
        self.facts.saw(seen);
        let Some(Running { operation, action, reply, .. }) = self.operation.take() else { return };
        self.facts.connecting = false;
        self.held = match (&operation, &result) {
            (Operation::Open, Ok(())) => Some(Instant::now() + HOLD),
            (Operation::Connect(_) | Operation::Close, Ok(())) => None,
            _ => self.held,
        };
        self.pause_or_resume();
        self.carry_out();
        match operation {
            Operation::Restart(scope) => self.restart_began(scope, result, reply),
            _ => self.conclude(action, result, reply),
        }
    }

    /// A restart has begun, or was refused.
    fn restart_began(&mut self, scope: Scope, result: Result<(), Error>, reply: Reply<()>) {
        if result.is_err() {
            self.facts.restart_pending = false;
            self.announce_restart_failed();
            return reply.send(result);
        }
        self.restarts_until = Some(Instant::now() + RESTART_LIMIT);
        self.publish();
        reply.send(result);
        if let (Scope::Program, Some(restart)) = (scope, &self.settings.restart) {
            // The receiver is dropped when the program ends.
            let _ends = restart.send(());
        }
    }

    /// A request of the owner has ended.
    fn conclude(&mut self, action: Action, result: Result<(), Error>, reply: Reply<()>) {
        self.facts.connecting = false;
        if matches!(action, Action::Connect) {
            self.facts.last_error = result.as_ref().err().map(ToString::to_string);
        }
        self.publish();
        self.announce(report::ended(action, result.as_ref().err()));
        reply.send(result);
    }

    /// Starts a recovery. It ends the hold of a hotspot that the owner has opened.
    fn recover(&mut self, now: Duration) -> Result<(), Error> {
        if self.operation.is_some() {
            return Err(Error::Busy);
        }
        self.held = None;
        self.pause_or_resume();
        self.recovery.recover(now).map_err(|refusal| match refusal {
            Refusal::Cooldown(until) => Error::RecoveryCooldown((self.settings.clock)() + until.saturating_sub(now)),
            Refusal::InProgress => Error::RecoveryInProgress,
            Refusal::Provisioning => Error::Provisioning,
            Refusal::Disabled => Error::RecoveryDisabled,
        })?;
        self.facts.last_reason = Some("requested".into());
        Ok(())
    }

    fn scan(&self, reply: Reply<Vec<Seen>>) {
        let network = Arc::clone(&self.network);
        let joined = self.facts.joined().cloned();
        tokio::spawn(async move {
            let scanned = network.scan().await.map_err(|error| failed(&error));
            reply.send(scanned.map(|networks| seen(networks, joined.as_ref())));
        });
    }

    fn saved(&self, reply: Reply<Vec<Saved>>) {
        let network = Arc::clone(&self.network);
        tokio::spawn(async move {
            let stored = network.stored().await.map_err(|error| failed(&error));
            let saved = |network: crate::network::StoredNetwork| Saved {
                name: network.name,
                uuid: Some(network.uuid),
                autoconnect: network.autoconnect,
                active: network.active,
            };
            reply.send(stored.map(|stored| stored.into_iter().map(saved).collect()));
        });
    }

    fn diagnose(&self, reply: Reply<Box<provisioning_core::care::diagnosis::Evidence>>) {
        let registrar = Arc::clone(&self.registrar);
        let probes = Arc::clone(&self.settings.probes);
        let simulated = self.settings.simulated;
        tokio::spawn(async move {
            let probes = probes();
            let evidence =
                if simulated { collect_simulated(&probes, &registrar).await } else { collect(&probes, &registrar).await };
            reply.send(Ok(Box::new(evidence)));
        });
    }
}

/// The networks of a scan, without repetition; the strongest comes first.
fn seen(networks: Vec<Sighting>, joined: Option<&Ssid>) -> Vec<Seen> {
    let mut sorted = networks;
    sorted.sort_by_key(|network| std::cmp::Reverse(network.signal));
    let mut seen: Vec<Seen> = Vec::new();
    // Thousands of stations may be in range, or made up by one.
    let mut listed: BTreeMap<Ssid, Vec<Security>> = BTreeMap::new();
    for Sighting { ssid, signal, security, .. } in sorted {
        let securities = listed.entry(ssid.clone()).or_default();
        if !securities.contains(&security) {
            securities.push(security);
            let in_use = joined == Some(&ssid);
            seen.push(Seen { ssid, signal: percent(signal), security, in_use });
        }
    }
    seen
}

/// A signal in percent, as NetworkManager counts it: −90 dBm or less is 0, −30 dBm or more is 100.
fn percent(dbm: i8) -> u8 {
    let above = i16::from(dbm).clamp(-90, -30) + 90;
    u8::try_from(above * 10 / 6).expect("100 at most")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_with_many_stations_is_listed_once_with_its_best_signal() {
        let ssid = |name: &str| Ssid::try_from(name).expect("a short name");
        let sighting = |name: &str, signal| Sighting { ssid: ssid(name), signal, security: Security::Wpa2, frequency: 2437 };
        let listed = seen(vec![sighting("home", -80), sighting("other", -60), sighting("home", -30)], Some(&ssid("home")));
        let short: Vec<_> = listed.iter().map(|seen| (seen.ssid.to_string(), seen.signal, seen.in_use)).collect();
        assert_eq!(short, [("home".to_owned(), 100, true), ("other".to_owned(), 50, false)]);
    }

    #[test]
    fn each_of_ten_thousand_networks_is_listed_once() {
        let sighting = |number: u32| Sighting {
            ssid: Ssid::try_from(format!("network {}", number % 10_000).as_str()).expect("a short name"),
            signal: -50,
            security: Security::Wpa2,
            frequency: 2437,
        };
        assert_eq!(seen((0..20_000).map(sighting).collect(), None).len(), 10_000);
    }

    #[test]
    fn a_signal_is_a_percentage_at_any_strength() {
        assert_eq!([-128, -90, -60, -45, -30, 127].map(percent), [0, 0, 50, 75, 100, 100]);
    }
}
