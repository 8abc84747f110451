//! The loop around the machine: one input, all its outputs in order, then wait. The only clock and the only source of
//! random numbers.
//!
//! ```text
//! links ──Event──▶ ┌──────┐ ──Input──▶ Machine ──Output──▶ store thread   (in order)
//!                  │ loop │                               network, command center  (a task each)
//! results ─Done──▶ └──────┘ ◀───────── timeout ◀────────── links, readers
//! ```
//!
//! Commands for the store are carried out by one thread, one after another; what touches the network runs beside the
//! loop. So the loop never waits for anything but its next input, and whoever reads the [`View`] never waits at all.

mod handle;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use crate::claim;
use crate::command_center::CommandCenter;
use crate::network::Network;
use crate::store::Store;
pub use handle::{Ends, Event, Handle, Stopping, View};
use provisioning_core::domain::Status;
use provisioning_core::fault::Fault;
use provisioning_core::fault::chain;
use provisioning_core::machine::{Answer, Boot, Command, Config, Done, Input, Link, Machine, Op, Output, Ticket};

/// Events that may wait for the loop; more make the senders wait.
const EVENT_QUEUE: usize = 64;

/// Why the loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was left to do.
    Finished,
    /// It was told to.
    Stopped,
}

/// The machine and all that it commands.
pub struct Daemon<N, C> {
    machine: Machine,
    start: Instant,
    rng: UnwrapErr<SysRng>,
    network: Arc<N>,
    command_center: Arc<C>,
    store: std::sync::mpsc::Sender<(Op, Command)>,
    events: mpsc::Receiver<Event>,
    results: mpsc::UnboundedReceiver<(Op, Done)>,
    result: mpsc::UnboundedSender<(Op, Done)>,
    view: watch::Sender<Arc<View>>,
    advertising: watch::Sender<bool>,
    links: HashMap<Link, mpsc::Sender<Vec<u8>>>,
    tasks: HashMap<Op, AbortHandle>,
    tickets: HashMap<Ticket, oneshot::Sender<Answer>>,
    next_ticket: u64,
    /// Inputs that carrying out outputs gave rise to.
    inputs: Vec<Input>,
}

impl<N: Network, C: CommandCenter> Daemon<N, C> {
    /// Makes the machine, and the way to it.
    pub fn new(config: Config, boot: Boot, network: N, command_center: C, store: Store) -> (Self, Handle) {
        let machine = Machine::new(config, boot, Duration::ZERO);
        let (handle, Ends { events, view, advertising }) = Handle::channel(EVENT_QUEUE, view_of(&machine));
        let (result, results) = mpsc::unbounded_channel();
        let daemon = Self {
            machine,
            start: Instant::now(),
            rng: UnwrapErr(SysRng),
            network: Arc::new(network),
            command_center: Arc::new(command_center),
            store: store_thread(store, result.clone()),
            events,
            results,
            result,
            view,
            advertising,
            links: HashMap::new(),
            tasks: HashMap::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            inputs: Vec::new(),
        };
        (daemon, handle)
    }

    /// Runs until there is nothing left to do, or until `shutdown` is ready. What was stored stays; what was begun is
    /// taken up by the next start.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Ended {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            if self.carry_out() {
                return Ended::Finished;
            }
            let timeout = self.machine.poll_timeout();
            let input = tokio::select! {
                biased;
                () = &mut shutdown => return Ended::Stopped,
                Some((op, result)) = self.results.recv() => {
                    self.tasks.remove(&op);
                    Some(Input::Done { op, result })
                }
                Some(event) = self.events.recv() => self.input(event),
                () = tokio::time::sleep_until(self.start + timeout.unwrap_or_default()), if timeout.is_some() => Some(Input::Timeout),
            };
            if let Some(input) = input {
                self.handle(input);
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.start.elapsed();
        self.machine.handle(input, now, &mut self.rng);
    }

    fn input(&mut self, event: Event) -> Option<Input> {
        match event {
            Event::Opened { link, outbound } => {
                self.links.insert(link, outbound);
                None
            }
            Event::Received { link, endpoint, message } => Some(Input::Received { link, endpoint, message }),
            Event::InvalidMessage { link, fault } => Some(Input::InvalidMessage { link, fault }),
            Event::Closed { link } => {
                self.links.remove(&link);
                Some(Input::Closed { link })
            }
            Event::LocalRequest { request, answer } => {
                let ticket = Ticket(self.next_ticket);
                self.next_ticket += 1;
                self.tickets.insert(ticket, answer);
                Some(Input::LocalRequest { ticket, request })
            }
            Event::Bluetooth { available } => Some(Input::Bluetooth { available }),
        }
    }

    /// Carries out every output; returns whether the machine has finished.
    fn carry_out(&mut self) -> bool {
        loop {
            self.publish();
            while let Some(output) = self.machine.poll_output() {
                match output {
                    Output::Send { link, message } => self.send(link, message),
                    Output::Close { link } => {
                        debug!(link = link.0, "closing a link");
                        self.links.remove(&link);
                    }
                    Output::Answer { ticket, answer } => {
                        if let Some(waiting) = self.tickets.remove(&ticket)
                            && waiting.send(answer).is_err()
                        {
                            debug!("nobody waited for an answer any more");
                        }
                    }
                    Output::Start { op, command } => self.start(op, command),
                    Output::Cancel { op } => {
                        if let Some(task) = self.tasks.remove(&op) {
                            task.abort();
                        }
                    }
                    Output::Advertise(advertise) => {
                        self.advertising.send_replace(advertise);
                    }
                    Output::Finished => return true,
                }
            }
            if self.inputs.is_empty() {
                return false;
            }
            for input in std::mem::take(&mut self.inputs) {
                self.handle(input);
            }
        }
    }

    /// Shows readers how it stands, before anybody is told.
    fn publish(&mut self) {
        let machine = &self.machine;
        self.view.send_if_modified(|shown| {
            let unchanged = shown.status == *machine.status()
                && shown.identity == *machine.identity()
                && shown.networks == machine.networks()
                && shown.info.previously_provisioned == machine.info().previously_provisioned;
            if unchanged {
                return false;
            }
            if shown.status.step != machine.status().step || shown.status.failure != machine.status().failure {
                log_status(machine.status());
            }
            *shown = Arc::new(view_of(machine));
            true
        });
    }

    fn send(&mut self, link: Link, message: Vec<u8>) {
        let Some(outbound) = self.links.get(&link) else { return };
        if outbound.try_send(message).is_err() {
            debug!(link = link.0, "a phone takes too long to read, or is gone");
            self.links.remove(&link);
            self.inputs.push(Input::Closed { link });
        }
    }

    fn start(&mut self, op: Op, command: Command) {
        match command {
            Command::SaveGuesses(_)
            | Command::SaveK2(_)
            | Command::SavePending(_)
            | Command::SaveEnrollment { .. }
            | Command::MarkProvisioned
            | Command::SaveOutcome(_)
            | Command::Reset => {
                self.store.send((op, command)).expect("the store's thread lives as long as this sender");
            }
            command => {
                let (network, command_center) = (Arc::clone(&self.network), Arc::clone(&self.command_center));
                let result = self.result.clone();
                let task = tokio::spawn(async move {
                    let done = perform(&*network, &*command_center, command).await;
                    // The receiver is gone only when the loop has ended.
                    let _ended = result.send((op, done));
                });
                self.tasks.insert(op, task.abort_handle());
            }
        }
    }
}

impl<N, C> Drop for Daemon<N, C> {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

fn view_of(machine: &Machine) -> View {
    View {
        info: machine.info(),
        identity: machine.identity().clone(),
        status: machine.status().clone(),
        networks: machine.networks().to_vec(),
    }
}

/// One thread writes, so that writes happen in the order in which they were asked for, and a slow disk delays nobody
/// who does not wait for a promise about it. It ends, with everything written, when the sender is dropped.
fn store_thread(store: Store, result: mpsc::UnboundedSender<(Op, Done)>) -> std::sync::mpsc::Sender<(Op, Command)> {
    let (sender, receiver) = std::sync::mpsc::channel::<(Op, Command)>();
    let work = move || {
        for (op, command) in receiver {
            let done = write(&store, command);
            // The receiver is gone only when the loop has ended; what was asked is written all the same.
            let _ended = result.send((op, done));
        }
    };
    std::thread::Builder::new().name("store".into()).spawn(work).expect("a process that has just started can start a thread");
    sender
}

async fn perform<N: Network, C: CommandCenter>(network: &N, center: &C, command: Command) -> Done {
    match command {
        Command::Scan => Done::Scanned(network.scan().await.map_err(|error| network_fault(&error))),
        Command::Join { ssid, passphrase, hidden } => {
            Done::Joined(network.join(&ssid, &passphrase, hidden).await.map_err(|error| network_fault(&error)))
        }
        Command::KeepNetwork => saved(network.keep().await),
        Command::RestoreNetwork => saved(network.restore().await),
        Command::OpenAccessPoint { name } => saved(network.open_access_point(&name).await),
        Command::ForgetNetworks => saved(network.forget().await),
        Command::Register { command_center, node_id, token, room } => {
            Done::Registered(center.register(&command_center, &node_id, &token, &room).await)
        }
        Command::Claim { command_center, code } => Done::Claimed(center.claim(&command_center, &code).await),
        Command::CheckHealth(url) => Done::Health(center.healthy(&url).await),
        command => unreachable!("a command for the store: {command:?}"),
    }
}

fn write(store: &Store, command: Command) -> Done {
    let result = match command {
        Command::SaveGuesses(made) => store.save_guesses(made),
        Command::SaveK2(k2) => store.save_k2(&k2),
        Command::SavePending(pending) => store.save_pending(&pending),
        Command::SaveEnrollment { credentials, registration } => store.save_enrollment(&credentials, &registration),
        Command::MarkProvisioned => store.mark_provisioned(),
        Command::SaveOutcome(outcome) => store.save_outcome(&outcome),
        Command::Reset => return Done::Reset(store.reset(claim::forget).map_err(|error| store_fault(&error))),
        command => unreachable!("not a command for the store: {command:?}"),
    };
    Done::Saved(result.map_err(|error| store_fault(&error)))
}

fn saved(result: Result<(), crate::network::Error>) -> Done {
    Done::Saved(result.map_err(|error| network_fault(&error)))
}

fn network_fault(failure: &crate::network::Error) -> Fault {
    warn!(fault = failure.fault.name(), "{}", chain(failure));
    failure.fault
}

fn store_fault(failure: &crate::store::Error) -> Fault {
    error!(fault = failure.fault().name(), "{}", chain(failure));
    failure.fault()
}

fn log_status(status: &Status) {
    let ssid = status.ssid.as_deref().unwrap_or_default();
    if let Some(failure) = &status.failure {
        warn!(ssid, fault = failure.fault.name(), step = ?status.step, "provisioning failed");
    } else {
        info!(ssid, step = ?status.step, progress = status.progress(), "{}", status.state().name());
    }
}
