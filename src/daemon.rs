//! The loop around the machine: one input, all its outputs in order, then wait. The only clock and the only source of
//! random numbers.
//!
//! ```text
//! links ──Event──▶ ┌──────┐ ──Input──▶ Machine ──Output──▶ disk            (a thread, in order)
//!                  │ loop │                               radio           (a task, in order)
//! results ─Done──▶ └──────┘ ◀───────── timeout            command center  (a task for each request)
//!                                                         links, readers
//! ```
//!
//! The loop waits for nothing but its next input, and readers of the [`View`] never wait.

mod executors;
mod handle;
mod heartbeats;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::command_center::CommandCenter;
use crate::network::Network;
use crate::store::Store;
pub use executors::{CareCall, Execute, Executors};
pub use handle::{Ends, Event, Handle, PRESENCE, Stopping, View};
pub use heartbeats::Heartbeats;
use provisioning_core::domain::Status;
use provisioning_core::machine::{Answer, Boot, Config, Done, Input, Link, Machine, Output, Ticket};

/// Events that may wait for the loop; more make the senders wait.
const EVENT_QUEUE: usize = 64;

/// Why the loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The machine has finished.
    Finished,
    /// The shutdown future was ready.
    Stopped,
}

/// The machine and what executes its commands.
pub struct Daemon<E> {
    machine: Machine,
    start: Instant,
    rng: UnwrapErr<SysRng>,
    executors: E,
    events: mpsc::Receiver<Event>,
    results: mpsc::UnboundedReceiver<Done>,
    view: watch::Sender<Arc<View>>,
    advertising: watch::Sender<bool>,
    links: HashMap<Link, mpsc::Sender<Vec<u8>>>,
    tickets: HashMap<Ticket, oneshot::Sender<Answer>>,
    next_ticket: u64,
    /// Inputs that the outputs caused.
    inputs: Vec<Input>,
}

impl<C: CommandCenter> Daemon<Executors<C>> {
    /// Makes the machine and its executors, on the current tokio runtime, and the handle of the links.
    pub fn new(config: Config, boot: Boot, network: impl Network, command_center: C, store: Store) -> (Self, Handle) {
        let (result, results) = mpsc::unbounded_channel();
        Self::with_executors(config, boot, Executors::start(network, command_center, store, result), results)
    }

    /// The requests of phones to network care. Without a receiver they are refused.
    pub fn care_calls(&mut self) -> mpsc::Receiver<CareCall> {
        self.executors.care_calls()
    }
}

impl<E: Execute> Daemon<E> {
    /// The same with other executors, whose results arrive at `results`.
    pub fn with_executors(config: Config, boot: Boot, executors: E, results: mpsc::UnboundedReceiver<Done>) -> (Self, Handle) {
        let machine = Machine::new(config, boot, Duration::ZERO);
        let (handle, Ends { events, view, advertising }) = Handle::channel(EVENT_QUEUE, View::from(&machine));
        let daemon = Self {
            machine,
            start: Instant::now(),
            rng: UnwrapErr(SysRng),
            executors,
            events,
            results,
            view,
            advertising,
            links: HashMap::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            inputs: Vec::new(),
        };
        (daemon, handle)
    }

    /// Runs until there is nothing left to do, or until `shutdown` is ready. What was stored stays; an attempt
    /// in progress is resumed by the next start.
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
                Some(done) = self.results.recv() => {
                    debug!(op = ?done.id(), "a command has ended");
                    self.executors.ended(done.id());
                    self.handle_events();
                    Some(Input::Done(done))
                }
                Some(event) = self.events.recv() => self.input(event),
                () = tokio::time::sleep_until(self.start + timeout.unwrap_or_default()), if timeout.is_some() => Some(Input::Timeout),
            };
            if let Some(input) = input {
                self.handle(input);
            }
        }
    }

    /// Handles the events that have arrived before a result. One of them may decide what follows from it: that another program
    /// uses the radio, before the scan for which the access point waits.
    fn handle_events(&mut self) {
        for _ in 0..self.events.len() {
            let Ok(event) = self.events.try_recv() else { return };
            if let Some(input) = self.input(event) {
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
            Event::Espressif { link, endpoint, message } => Some(Input::Espressif { link, endpoint, message }),
            Event::Improv { link, from } => Some(Input::Improv { link, from }),
            Event::Nymea { link, from } => Some(Input::Nymea { link, from }),
            Event::InvalidMessage { link, fault } => Some(Input::InvalidMessage { link, fault }),
            Event::Present { link } => Some(Input::Present { link }),
            Event::Closed { link } => {
                self.links.remove(&link);
                Some(Input::Closed { link })
            }
            Event::ClearRequest { request, answer } => Some(Input::ClearRequest { ticket: self.ticket(answer), request }),
            Event::LocalRequest { request, answer } => Some(Input::LocalRequest { ticket: self.ticket(answer), request }),
            Event::Bluetooth { available } => Some(Input::Bluetooth { available }),
            Event::RadioTaken { taken } => Some(Input::RadioTaken { taken }),
            Event::AccessPoint { open } => Some(Input::AccessPoint { open }),
        }
    }

    fn ticket(&mut self, answer: oneshot::Sender<Answer>) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, answer);
        ticket
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
                            debug!("the caller of a local request no longer waits");
                        }
                    }
                    Output::Start(command) => {
                        debug!(op = ?command.id(), command = command.name(), "a command starts");
                        self.executors.carry_out(command);
                    }
                    Output::Cancel { op } => self.executors.cancel(op),
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

    /// Publishes the state to readers, before any output is carried out.
    fn publish(&mut self) {
        let machine = &self.machine;
        self.view.send_if_modified(|shown| {
            let unchanged = shown.status == *machine.status()
                && shown.identity == *machine.identity()
                && shown.networks == machine.networks()
                && shown.session == machine.session_link()
                && shown.needs_radio == machine.needs_radio()
                && shown.improv == machine.improv()
                && shown.nymea == machine.nymea()
                && shown.is_identifying == machine.is_identifying()
                && shown.info.previously_provisioned == machine.info().previously_provisioned;
            if unchanged {
                return false;
            }
            if shown.status.step != machine.status().step || shown.status.failure != machine.status().failure {
                log_status(machine.status());
            }
            *shown = Arc::new(View::from(machine));
            true
        });
    }

    fn send(&mut self, link: Link, message: Vec<u8>) {
        let Some(outbound) = self.links.get(&link) else { return };
        if outbound.try_send(message).is_err() {
            debug!(link = link.0, "a phone reads too slowly, or has disconnected");
            self.links.remove(&link);
            self.inputs.push(Input::Closed { link });
        }
    }
}

fn log_status(status: &Status) {
    let ssid = status.public_ssid();
    if let Some(failure) = &status.failure {
        warn!(ssid, fault = failure.fault.name(), step = ?status.step, "provisioning failed");
    } else {
        info!(ssid, step = ?status.step, progress = status.progress(), "{}", status.state().name());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::pin::pin;

    use provisioning_core::domain::RadioUse;
    use provisioning_core::machine::{AccessPointPolicy, Command, RadioCommand};
    use testing_node::scripted::{Scripted, boot, config, success};
    use tokio::sync::watch;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn an_event_is_handled_before_a_result_that_came_after_it() {
        let (scan, opened) = (RefCell::new(None), Cell::new(false));
        let script = |command: &Command| match command {
            Command::Radio(RadioCommand::Scan { .. }) => {
                scan.replace(Some(success(command)));
                None
            }
            Command::Radio(RadioCommand::OpenAccessPoint { .. }) => {
                opened.set(true);
                None
            }
            _ => Some(success(command)),
        };
        let (daemon, handle, results) = Scripted::node(config(AccessPointPolicy::WhenQuiet(Duration::ZERO)), boot(), script);
        let mut running = pin!(daemon.run(std::future::pending()));
        assert!(timeout(Duration::ZERO, &mut running).await.is_err(), "it runs");
        let (_radio, used) = watch::channel(RadioUse::Other { interface: "wlan0".into() });
        assert!(timeout(Duration::ZERO, handle.follow_radio(used)).await.is_err(), "it follows the radio");
        results.send(scan.take().expect("it scans first")).expect("it runs");
        assert!(timeout(Duration::ZERO, &mut running).await.is_err(), "it runs");
        assert!(!opened.get(), "the other program keeps the radio");
    }
}
