//! The executors of commands, one for each family.
//!
//! Requests to network care are passed on to it: there is a receiver of them only if it runs.
//!
//! Commands for the disk and for the radio are queued: one thread writes, one task uses the radio, each in the order of the
//! commands. Requests to the command center have no order, so each has a task of its own. Nothing of this delays the loop.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::claim;
use crate::command_center::CommandCenter;
use crate::network::Network;
use crate::store::Store;
use provisioning_core::domain::{CareReply, CareRequest, Country};
use provisioning_core::fault::{Fault, chain};
use provisioning_core::machine::{CareCommand, Command, CommandCenterCommand, DiskCommand, Done, OpId, RadioCommand};

/// Executes the commands of the machine. The results go to the loop.
pub trait Execute {
    /// Starts or queues a command.
    fn carry_out(&mut self, command: Command);

    /// Stops a command if that is still possible, or removes it from the queue. Its result is not needed.
    fn cancel(&mut self, op: OpId);

    /// The result of a command was received.
    fn ended(&mut self, op: OpId);
}

/// The executors of a node.
pub struct Executors<C> {
    disk: std::sync::mpsc::Sender<(DiskCommand, Reply)>,
    radio: mpsc::UnboundedSender<RadioJob>,
    command_center: Arc<C>,
    care: Option<mpsc::Sender<CareCall>>,
    results: mpsc::UnboundedSender<Done>,
    /// The commands that can be cancelled, which happens when their sender is dropped.
    running: HashMap<OpId, oneshot::Sender<Infallible>>,
}

/// A request of a phone to network care.
#[derive(Debug)]
pub struct CareCall {
    /// The request.
    pub request: CareRequest,
    /// Takes the answer. Dropped without one, the request counts as lost.
    pub reply: oneshot::Sender<Result<CareReply, Fault>>,
}

/// Where the result of a command goes. A command whose reply is dropped without a result is reported as lost, so that no
/// attempt waits for an executor that has ended.
struct Reply {
    lost: Option<Done>,
    results: mpsc::UnboundedSender<Done>,
}

struct RadioJob {
    command: RadioCommand,
    reply: Reply,
    cancelled: oneshot::Receiver<Infallible>,
}

impl<C: CommandCenter> Executors<C> {
    /// Starts the disk's thread and the radio's task. The results arrive at the receiver of `results`.
    pub(super) fn start(network: impl Network, command_center: C, store: Store, results: mpsc::UnboundedSender<Done>) -> Self {
        let (radio, jobs) = mpsc::unbounded_channel();
        tokio::spawn(use_radio(network, jobs));
        let (disk, command_center) = (disk_thread(store), Arc::new(command_center));
        Self { disk, radio, command_center, care: None, results, running: HashMap::new() }
    }

    /// The requests of phones to network care, from now on.
    pub(super) fn care_calls(&mut self) -> mpsc::Receiver<CareCall> {
        // The machine has one request in progress.
        let (calls, receiver) = mpsc::channel(1);
        self.care = Some(calls);
        receiver
    }

    fn cancellable(&mut self, op: OpId) -> oneshot::Receiver<Infallible> {
        let (sender, cancelled) = oneshot::channel();
        self.running.insert(op, sender);
        cancelled
    }
}

impl<C: CommandCenter> Execute for Executors<C> {
    /// An executor that has ended drops the reply.
    fn carry_out(&mut self, command: Command) {
        let reply = Reply { lost: Some(command.lost()), results: self.results.clone() };
        match command {
            Command::Disk(command) => {
                let _ended = self.disk.send((command, reply));
            }
            Command::Radio(command) => {
                let cancelled = self.cancellable(command.id());
                let _ended = self.radio.send(RadioJob { command, reply, cancelled });
            }
            Command::CommandCenter(command) => {
                let cancelled = self.cancellable(command.id());
                let command_center = Arc::clone(&self.command_center);
                tokio::spawn(async move { reply.send_unless(cancelled, request(&*command_center, command)).await });
            }
            Command::Care(command) => {
                let cancelled = self.cancellable(command.id());
                let care = self.care.clone();
                tokio::spawn(async move { reply.send_unless(cancelled, serve(care, command)).await });
            }
        }
    }

    /// A command of the disk cannot be stopped.
    fn cancel(&mut self, op: OpId) {
        self.running.remove(&op);
    }

    fn ended(&mut self, op: OpId) {
        self.running.remove(&op);
    }
}

impl Reply {
    fn send(mut self, done: Done) {
        self.lost = None;
        // The receiver is dropped only when the loop has ended.
        let _ended = self.results.send(done);
    }

    /// Sends the result of the work, unless the command is cancelled before.
    async fn send_unless(mut self, cancelled: oneshot::Receiver<Infallible>, work: impl Future<Output = Done>) {
        tokio::select! {
            biased;
            _ = cancelled => self.lost = None,
            done = work => self.send(done),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // When the loop has ended, nothing waits for a result.
        if let Some(lost) = self.lost.take()
            && !self.results.is_closed()
        {
            error!("a command has ended without a result");
            let _ended = self.results.send(lost);
        }
    }
}

/// One thread writes, in the order of the commands. It ends, with everything written, when the sender is dropped.
fn disk_thread(mut store: Store) -> std::sync::mpsc::Sender<(DiskCommand, Reply)> {
    let (sender, receiver) = std::sync::mpsc::channel::<(DiskCommand, Reply)>();
    let work = move || {
        for (command, reply) in receiver {
            reply.send(write(&mut store, command));
        }
    };
    std::thread::Builder::new().name("store".into()).spawn(work).expect("a process that has just started can start a thread");
    sender
}

/// One task uses the radio, in the order of the commands.
async fn use_radio(network: impl Network, mut jobs: mpsc::UnboundedReceiver<RadioJob>) {
    while let Some(RadioJob { command, reply, cancelled }) = jobs.recv().await {
        reply.send_unless(cancelled, switch(&network, command)).await;
    }
}

fn write(store: &mut Store, command: DiskCommand) -> Done {
    let saved = |result: Result<(), crate::store::Error>| result.map_err(|error| store_fault(&error));
    match command {
        DiskCommand::SaveGuesses { op, made } => op.done(saved(store.save_guesses(made))),
        DiskCommand::SaveK2 { op, k2 } => op.done(saved(store.save_k2(&k2))),
        DiskCommand::SavePending { op, pending } => op.done(saved(store.save_pending(&pending))),
        DiskCommand::SaveEnrollment { op, credentials, registration } => {
            op.done(saved(store.save_enrollment(&credentials, &registration)))
        }
        DiskCommand::MarkProvisioned { op } => op.done(saved(store.mark_provisioned())),
        DiskCommand::SaveOutcome { op, outcome } => op.done(saved(store.save_outcome(&outcome))),
        DiskCommand::RenewPairing { op } => op.done(store.renew_pairing().map_err(|error| store_fault(&error))),
        DiskCommand::BeginReset { op } => op.done(saved(store.begin_reset())),
        DiskCommand::FinishReset { op } => op.done(store.finish_reset(claim::forget).map_err(|error| store_fault(&error))),
    }
}

async fn switch<N: Network>(network: &N, command: RadioCommand) -> Done {
    match command {
        RadioCommand::Scan { op, country } => {
            prepare(network, country).await;
            op.done(network.scan().await.map_err(|error| network_fault(&error)))
        }
        RadioCommand::Join { op, ssid, passphrase, enterprise, hidden, country, seen_frequency } => {
            prepare(network, country).await;
            let joined = match enterprise {
                Some(enterprise) => network.join_enterprise(&ssid, &enterprise, hidden).await,
                None => network.join(&ssid, &passphrase, hidden).await,
            };
            op.done(match joined.map_err(|error| network_fault(&error)) {
                Err(Fault::NetworkNotFound) if seen_frequency != 0 && !network.may_use(seen_frequency).await => {
                    Err(Fault::ChannelNotAllowed)
                }
                joined => joined,
            })
        }
        RadioCommand::KeepNetwork { op } => op.done(network.keep().await.map_err(|error| network_fault(&error))),
        RadioCommand::RestoreNetwork { op } => op.done(network.restore().await.map_err(|error| network_fault(&error))),
        RadioCommand::OpenAccessPoint { op, name } => {
            op.done(network.open_access_point(&name).await.map_err(|error| network_fault(&error)))
        }
        RadioCommand::ForgetNetworks { op } => op.done(network.forget().await.map_err(|error| network_fault(&error))),
    }
}

/// Without the country the radio may be off, and the next use of it says so.
async fn prepare<N: Network>(network: &N, country: Option<Country>) {
    if let Some(country) = country
        && let Err(error) = network.set_country(country).await
    {
        warn!("{}", chain(&error));
    }
}

async fn request<C: CommandCenter>(center: &C, command: CommandCenterCommand) -> Done {
    match command {
        CommandCenterCommand::Register { op, command_center, node_id, token, room, time } => {
            op.done(center.register(&command_center, &node_id, &token, &room, time).await)
        }
        CommandCenterCommand::Claim { op, command_center, code, time } => {
            op.done(center.claim(&command_center, &code, time).await)
        }
        CommandCenterCommand::CheckHealth { op, command_center } => op.done(center.healthy(&command_center).await),
        CommandCenterCommand::ConfirmKey { op, command_center, registration, time } => {
            op.done(center.confirm_key(&command_center, &registration, time).await)
        }
    }
}

/// Passes a request on to network care.
async fn serve(care: Option<mpsc::Sender<CareCall>>, CareCommand::Serve { op, request }: CareCommand) -> Done {
    // As on a node that does not know the request.
    let Some(care) = care else { return op.done(Err(Fault::Malformed)) };
    let (reply, answer) = oneshot::channel();
    if care.send(CareCall { request, reply }).await.is_err() {
        return op.lost();
    }
    answer.await.map_or_else(|_| op.lost(), |answer| op.done(answer))
}

fn network_fault(failure: &crate::network::Error) -> Fault {
    warn!(fault = failure.fault.name(), "{}", chain(failure));
    failure.fault
}

fn store_fault(failure: &crate::store::Error) -> Fault {
    error!(fault = failure.fault().name(), "{}", chain(failure));
    failure.fault()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use getrandom::SysRng;
    use provisioning_core::domain::{self, Passphrase, Ssid};
    use provisioning_core::machine::{AccessPointPolicy, Input, Joined, LocalRequest, Machine, Output, Ticket};
    use rand_core::UnwrapErr;
    use testing_node::scripted;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::network::Error;

    /// A radio whose scans wait for a permit, or panic.
    struct Scripted {
        permits: Semaphore,
        panics: bool,
        calls: Mutex<Vec<&'static str>>,
    }

    impl Scripted {
        const fn new(panics: bool) -> Self {
            Self { permits: Semaphore::const_new(0), panics, calls: Mutex::new(Vec::new()) }
        }

        fn note(&self, call: &'static str) {
            self.calls.lock().expect("no test panics while it holds this").push(call);
        }

        fn calls(&self) -> Vec<&'static str> {
            self.calls.lock().expect("no test panics while it holds this").clone()
        }
    }

    impl Network for Arc<Scripted> {
        async fn scan(&self) -> Result<Vec<domain::Network>, Error> {
            self.note("scan begins");
            assert!(!self.panics, "the radio's executor fails");
            self.permits.acquire().await.expect("it is never closed").forget();
            self.note("scan ends");
            Ok(Vec::new())
        }

        async fn join(&self, _: &Ssid, _: &Passphrase, _: bool) -> Result<Joined, Error> {
            unreachable!("no test joins")
        }

        async fn keep(&self) -> Result<(), Error> {
            unreachable!("no test joins")
        }

        async fn restore(&self) -> Result<(), Error> {
            unreachable!("no test joins")
        }

        async fn open_access_point(&self, _: &str) -> Result<(), Error> {
            unreachable!("no test opens the access point")
        }

        async fn forget(&self) -> Result<(), Error> {
            self.note("forget");
            Ok(())
        }
    }

    /// The radio's commands of a machine that scans, and is then reset.
    fn scan_and_forget() -> [RadioCommand; 2] {
        let mut machine = Machine::new(scripted::config(AccessPointPolicy::Never), scripted::boot(), Duration::ZERO);
        let reset = Input::LocalRequest { ticket: Ticket(0), request: LocalRequest::Reset };
        machine.handle(reset, Duration::ZERO, &mut UnwrapErr(SysRng));
        let mut radio = Vec::new();
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Start(Command::Radio(command)) => radio.push(command),
                Output::Start(command) => {
                    machine.handle(Input::Done(scripted::success(&command)), Duration::ZERO, &mut UnwrapErr(SysRng));
                }
                _ => {}
            }
        }
        radio.try_into().expect("a scan, and the end of the profiles")
    }

    struct Queue {
        jobs: mpsc::UnboundedSender<RadioJob>,
        done: mpsc::UnboundedReceiver<Done>,
        results: mpsc::UnboundedSender<Done>,
        network: Arc<Scripted>,
    }

    impl Queue {
        fn start(network: Scripted) -> Self {
            let network = Arc::new(network);
            let (jobs, receiver) = mpsc::unbounded_channel();
            let (results, done) = mpsc::unbounded_channel();
            tokio::spawn(use_radio(Arc::clone(&network), receiver));
            Self { jobs, done, results, network }
        }

        /// Queues a command; dropping what is returned cancels it.
        fn push(&self, command: RadioCommand) -> oneshot::Sender<Infallible> {
            let (sender, cancelled) = oneshot::channel();
            let lost = Some(Command::from(command.clone()).lost());
            let reply = Reply { lost, results: self.results.clone() };
            let _ended = self.jobs.send(RadioJob { command, reply, cancelled });
            sender
        }
    }

    #[tokio::test]
    async fn a_radio_command_begins_when_the_one_before_has_ended() {
        let mut queue = Queue::start(Scripted::new(false));
        let running = scan_and_forget().map(|command| queue.push(command));
        tokio::task::yield_now().await;
        assert_eq!(queue.network.calls(), ["scan begins"]);
        queue.network.permits.add_permits(1);
        assert!(matches!(queue.done.recv().await, Some(Done::Scanned(_, Ok(_)))));
        assert!(matches!(queue.done.recv().await, Some(Done::Switched(_, Ok(())))));
        assert_eq!(queue.network.calls(), ["scan begins", "scan ends", "forget"]);
        drop(running);
    }

    #[tokio::test]
    async fn a_cancelled_radio_command_makes_way_without_a_result() {
        let mut queue = Queue::start(Scripted::new(false));
        let [scan, forget] = scan_and_forget().map(|command| queue.push(command));
        tokio::task::yield_now().await;
        drop(scan);
        assert!(matches!(queue.done.recv().await, Some(Done::Switched(_, Ok(())))));
        assert_eq!(queue.network.calls(), ["scan begins", "forget"]);
        drop(forget);
    }

    #[tokio::test]
    async fn a_queued_radio_command_that_is_cancelled_never_begins() {
        let mut queue = Queue::start(Scripted::new(false));
        let [scan, forget] = scan_and_forget().map(|command| queue.push(command));
        drop(forget);
        queue.network.permits.add_permits(1);
        assert!(matches!(queue.done.recv().await, Some(Done::Scanned(_, Ok(_)))));
        drop(queue.jobs);
        tokio::task::yield_now().await;
        assert_eq!(queue.network.calls(), ["scan begins", "scan ends"]);
        drop(scan);
    }

    #[tokio::test]
    async fn commands_of_an_executor_that_has_ended_are_reported_as_lost() {
        let mut queue = Queue::start(Scripted::new(true));
        let [scan, forget] = scan_and_forget().map(|command| queue.push(command));
        let results = [queue.done.recv().await, queue.done.recv().await];
        assert!(results.iter().any(|done| matches!(done, Some(Done::Scanned(_, Err(Fault::ScanFailed))))));
        assert!(results.iter().any(|done| matches!(done, Some(Done::Switched(_, Err(Fault::NetworkUnavailable))))));
        let late = queue.push(scan_and_forget()[1].clone());
        assert!(matches!(queue.done.recv().await, Some(Done::Switched(_, Err(Fault::NetworkUnavailable)))));
        drop((scan, forget, late));
    }
}
