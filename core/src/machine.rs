//! What happens when: the one state machine behind every link.
//!
//! [`Machine`] has no clock, no random source, no files and no sockets. The loop around it obeys one law: hand over one
//! [`Input`], carry out every [`Output`] in order, then wait for the next input or for [`Machine::poll_timeout`].

mod guesses;
mod pairing;
mod requests;
mod run;
mod visibility;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use rand_core::CryptoRng;

use crate::domain::{
    CommandCenterUrl, Credentials, Identity, K2, Network, Outcome, Pairing, Passphrase, ProvisionCode, Registration, Ssid, Status,
};
use crate::endpoint::Endpoint;
use crate::fault::Fault;
use crate::secret::SecretText;
use crate::wire::{Info, Message, StatusReport};
use guesses::Guesses;
use pairing::Slot;
use run::Phase;
use visibility::AccessPoint;

pub use guesses::FREE as FREE_GUESSES;

/// How many times an attempt is taken up again after a restart before it is given up.
pub const RESUMES: u32 = 3;

/// A phone waits for networks this long at most.
const SCAN_LIMIT: Duration = Duration::from_secs(30);
/// A list younger than this is not asked for again.
const SCAN_RECENT: Duration = Duration::from_secs(10);

/// A point in time: the time since an arbitrary, fixed moment. Monotonic.
pub type Instant = Duration;

/// A connection of one phone; numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub u64);

/// A command under way; numbers are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Op(pub u64);

/// A local request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What the machine is told.
#[derive(Debug)]
pub enum Input {
    /// A phone wrote a whole message to an endpoint.
    Received {
        /// On this link.
        link: Link,
        /// To this endpoint.
        endpoint: Endpoint,
        /// The message.
        message: Vec<u8>,
    },
    /// A phone wrote what is not a message, or more than the endpoint takes.
    InvalidMessage {
        /// On this link.
        link: Link,
        /// [`Fault::Malformed`] or [`Fault::TooLarge`].
        fault: Fault,
    },
    /// A link has ended.
    Closed {
        /// This one.
        link: Link,
    },
    /// Somebody without a session asks: the JSON API, a button, the command line.
    LocalRequest {
        /// Comes back in [`Output::Answer`].
        ticket: Ticket,
        /// What is asked.
        request: LocalRequest,
    },
    /// A command is done.
    Done {
        /// This one.
        op: Op,
        /// With this result.
        result: Done,
    },
    /// The Bluetooth adapter came or went.
    Bluetooth {
        /// There is one.
        available: bool,
    },
    /// The time of [`Machine::poll_timeout`] has come. Harmless at any other time.
    Timeout,
}

/// A request of somebody who has no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalRequest {
    /// For the networks in range: answered at once with the last list.
    Scan,
    /// To store K2.
    K2(K2),
    /// To go online and register.
    Credentials(Box<Credentials>),
    /// The same, with a value that can only fail: accepted, and reported as a failed attempt.
    Unusable {
        /// The network's name as it was given.
        ssid: String,
        /// What is wrong with the request.
        fault: Fault,
    },
    /// To forget everything that the owner gave.
    Reset,
}

/// The answer to a [`LocalRequest`] request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// In the order of the adapter.
    Networks(Vec<Network>),
    /// K2 is stored.
    K2Stored,
    /// The attempt has begun.
    Accepted,
    /// Another attempt is under way.
    Busy,
    /// The node is provisioned, and its command center is in reach: not without pairing mode.
    AlreadyProvisioned,
    /// What was cleared.
    Reset(Vec<ClearedItem>),
    /// No.
    Refused(Fault),
}

/// What the machine wants done. The loop carries outputs out in order.
#[derive(Debug)]
pub enum Output {
    /// Send an encoded [`crate::wire::Outbound`].
    Send {
        /// On this link.
        link: Link,
        /// The message.
        message: Vec<u8>,
    },
    /// End a link.
    Close {
        /// This one.
        link: Link,
    },
    /// Answer a local request.
    Answer {
        /// This one.
        ticket: Ticket,
        /// With this.
        answer: Answer,
    },
    /// Start a command; its result comes as [`Input::Done`].
    Start {
        /// Its name.
        op: Op,
        /// What to do.
        command: Command,
    },
    /// Stop a command if that is still possible; its result is not wanted.
    Cancel {
        /// This one.
        op: Op,
    },
    /// Advertise over Bluetooth, or stop.
    Advertise(bool),
    /// Nothing is left to do: the program may end.
    Finished,
}

/// Something that takes time or can fail. Commands that write end only when what they wrote survives a power cut, and
/// are carried out in the order in which they were started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Look for networks. → [`Done::Scanned`]
    Scan,
    /// Store the number of attempts since the last success. → [`Done::Saved`]
    SaveGuesses(u32),
    /// Store K2. → [`Done::Saved`]
    SaveK2(K2),
    /// Store the intention, so that it is taken up after a restart. Fails if the configuration file could not be written
    /// in the end. → [`Done::Saved`]
    SavePending(Box<Pending>),
    /// Join a network without storing it. → [`Done::Joined`]
    Join {
        /// Its name.
        ssid: Ssid,
        /// Its passphrase.
        passphrase: Passphrase,
        /// It does not broadcast its name.
        hidden: bool,
    },
    /// Register with the command center: one try. → [`Done::Registered`]
    Register {
        /// Where.
        command_center: CommandCenterUrl,
        /// As whom.
        node_id: String,
        /// By whose order.
        token: SecretText,
        /// Where the node stands.
        room: String,
    },
    /// Claim a provision code at the command center and store what comes of it. The same code, claimed again by this node,
    /// has the same result. → [`Done::Claimed`]
    Claim {
        /// Where.
        command_center: CommandCenterUrl,
        /// What the phone sent.
        code: ProvisionCode,
    },
    /// Store configuration and credentials. → [`Done::Saved`]
    SaveEnrollment {
        /// What the phone sent.
        credentials: Box<Credentials>,
        /// What the command center gave.
        registration: Registration,
    },
    /// Keep the joined network over a restart. → [`Done::Saved`]
    KeepNetwork,
    /// Store that the node is provisioned; forget the intention and the last outcome. → [`Done::Saved`]
    MarkProvisioned,
    /// Store how an attempt ended; forget the intention. → [`Done::Saved`]
    SaveOutcome(Outcome),
    /// Leave what was joined and go back to the network before. → [`Done::Saved`]
    RestoreNetwork,
    /// Open the access point of that name, replacing what the radio did before. → [`Done::Saved`]
    OpenAccessPoint {
        /// Its SSID.
        name: String,
    },
    /// Ask the command center for its health. → [`Done::Health`]
    CheckHealth(CommandCenterUrl),
    /// Delete the network profiles that this program made. → [`Done::Saved`]
    ForgetNetworks,
    /// Delete what the owner gave. → [`Done::Reset`]
    Reset,
}

/// The result of a [`Command`].
#[derive(Clone, Debug)]
pub enum Done {
    /// The networks in range.
    Scanned(Result<Vec<Network>, Fault>),
    /// It is done, or it failed.
    Saved(Result<(), Fault>),
    /// The network is joined, and whether the internet is out of reach behind it.
    Joined(Result<Joined, Fault>),
    /// What the command center answered.
    Registered(Result<Registration, Refused>),
    /// What the provision code has made of the node, which is stored.
    Claimed(Result<String, Fault>),
    /// The command center is healthy.
    Health(bool),
    /// What was cleared, and who the node is from here on.
    Reset(Result<Cleared, Fault>),
}

/// A joined network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// A portal or a router keeps the node from the internet.
    pub limited_connectivity: bool,
}

/// A registration that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What to tell the phone.
    pub fault: Fault,
    /// The command center's HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// When the command center wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// A factory reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// What was cleared.
    pub items: Vec<ClearedItem>,
    /// The node's identity without registration.
    pub node_id: String,
}

/// What a factory reset clears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearedItem {
    /// The marker of a provisioned node.
    ProvisioningMarker,
    /// K2 and its metadata.
    K2,
    /// The credentials of the joined network.
    WifiCredentials,
    /// The database of the node's normal operation.
    NodeDatabase,
    /// The key of that database.
    DatabaseKey,
    /// The node's identity and key in its configuration.
    ConfigurationCredentials,
    /// The configuration that a provision code was exchanged for.
    ApplianceConfiguration,
}

/// An attempt that is stored before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What the phone sent.
    pub credentials: Credentials,
    /// How often it was taken up after a restart.
    pub resumes: u32,
}

/// When the access point is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessPointPolicy {
    /// From the start.
    Always,
    /// When there is no Bluetooth, or nobody connected for so long.
    WhenQuiet(Duration),
    /// Not at all.
    Never,
}

/// What does not change while the machine runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// What is told in `info`.
    pub firmware_version: String,
    /// What is told in `info`.
    pub capabilities: Vec<String>,
    /// When the access point is opened.
    pub access_point: AccessPointPolicy,
    /// How long an answer takes to leave over the access point before the radio may switch.
    pub answer_leaves: Duration,
    /// How long the outcome can be asked for after a success; none for ever.
    pub linger: Option<Duration>,
}

/// What was on disk at the start.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Who the node is.
    pub identity: Identity,
    /// What a phone must prove to know.
    pub pairing: Pairing,
    /// Attempts since the last success.
    pub guesses: u32,
    /// The marker is there.
    pub provisioned: bool,
    /// The command center of an earlier registration.
    pub command_center: Option<CommandCenterUrl>,
    /// An attempt that was not finished.
    pub pending: Option<Pending>,
    /// How the last attempt ended.
    pub outcome: Option<Outcome>,
    /// A factory reset was not finished.
    pub resetting: bool,
}

/// The state machine.
///
/// [`handle`](Self::handle) cannot fail and does not block. It appends to one queue of outputs, which
/// [`poll_output`](Self::poll_output) empties; their order matters: what is stored comes before what is announced, and
/// the answer to a phone comes before the radio that carried the question is switched. After the queue is empty,
/// [`poll_timeout`](Self::poll_timeout) says when to come back at the latest, and [`status`](Self::status) and
/// [`info`](Self::info) are what any number of readers may be shown.
///
/// An [`Op`] whose result is no longer wanted is forgotten; its [`Input::Done`] is then ignored.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own; goes when two of them exclude each other")]
pub struct Machine {
    config: Config,
    identity: Identity,
    pairing: Pairing,
    guesses: Guesses,
    slot: Option<Slot>,
    phase: Phase,
    status: Status,
    provisioned: bool,
    /// The command center answered when last asked.
    healthy: bool,
    health_check: Option<Op>,
    networks: Option<(Vec<Network>, Instant)>,
    scan: Option<Scan>,
    saving_k2: Vec<(Op, Asker, String)>,
    access_point: AccessPoint,
    restoring: Option<Op>,
    bluetooth: bool,
    advertising: bool,
    /// When a phone was last heard.
    heard: Instant,
    /// Set by a success: when nobody asks for the outcome any more.
    finish_at: Option<Instant>,
    next_op: u64,
    outputs: VecDeque<Output>,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Phone { link: Link, to: u64 },
    Local(Ticket),
}

struct Scan {
    op: Op,
    until: Instant,
    waiting: Vec<Asker>,
}

impl Machine {
    /// Starts from what was on disk. There are outputs to carry out before the first input.
    pub fn new(config: Config, boot: Boot, now: Instant) -> Self {
        let mut machine = Self {
            guesses: Guesses::restored(boot.guesses, now),
            status: boot.outcome.map_or_else(Status::waiting, Status::from),
            identity: boot.identity,
            pairing: boot.pairing,
            provisioned: boot.provisioned,
            config,
            slot: None,
            phase: Phase::Idle,
            healthy: false,
            health_check: None,
            networks: None,
            scan: None,
            saving_k2: Vec::new(),
            access_point: AccessPoint::Closed,
            restoring: None,
            bluetooth: true,
            advertising: false,
            heard: now,
            finish_at: None,
            next_op: 0,
            outputs: VecDeque::new(),
        };
        if machine.status.failure.is_none() {
            // A success that was announced needs no telling after a restart: who is here wants to begin anew.
            machine.status = Status::waiting();
        }
        if let Some(url) = boot.command_center.filter(|_| boot.provisioned) {
            machine.health_check = Some(machine.start(Command::CheckHealth(url)));
        }
        if boot.resetting {
            machine.reset(None);
        } else if let Some(pending) = boot.pending {
            machine.resume(pending);
        } else {
            machine.scan(None, now);
        }
        machine.settle(now);
        machine
    }

    /// Takes one input. `now` never goes backwards; `rng` is a cryptographic random source.
    pub fn handle(&mut self, input: Input, now: Instant, rng: &mut impl CryptoRng) {
        match input {
            Input::Received { link, endpoint, message } => {
                self.heard = now;
                self.received(link, endpoint, &message, now, rng);
            }
            Input::InvalidMessage { link, fault } => self.refuse(link, fault),
            Input::Closed { link } => self.link_closed(link),
            Input::LocalRequest { ticket, request } => self.asked(ticket, request, now),
            Input::Done { op, result } => self.done(op, result, now, rng),
            Input::Bluetooth { available } => self.bluetooth = available,
            Input::Timeout => {}
        }
        self.timeouts(now);
        self.settle(now);
    }

    /// The next output, in order; none when all were taken.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due, unless another input comes first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let scan = self.scan.as_ref().map(|scan| scan.until);
        [self.slot.as_ref().map(Slot::until), self.phase_timeout(), scan, self.access_point_due(), self.finish_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// How it stands.
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// What the node says of itself.
    pub fn info(&self) -> Info {
        Info {
            node_id: self.identity.node_id.clone(),
            name: self.identity.name(),
            firmware_version: self.config.firmware_version.clone(),
            hardware: self.identity.hardware.clone(),
            capabilities: self.config.capabilities.clone(),
            state: self.status.state(),
            previously_provisioned: self.provisioned,
            versions: vec![crate::session::VERSION],
        }
    }

    /// Who the node is; changes with registration and factory reset.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The networks of the last scan, in the order of the adapter.
    pub fn networks(&self) -> &[Network] {
        self.networks.as_ref().map_or(&[], |(networks, _)| networks)
    }

    /// Whether a phone has the session.
    pub const fn has_session(&self) -> bool {
        self.slot.is_some()
    }

    fn done(&mut self, op: Op, result: Done, now: Instant, rng: &mut impl CryptoRng) {
        if self.scan.as_ref().is_some_and(|scan| scan.op == op) {
            if let Done::Scanned(result) = result {
                self.scanned(result, now);
            }
        } else if self.restoring == Some(op) {
            // Back or not, a phone may try again.
            self.restoring = None;
        } else if self.access_point == AccessPoint::Opening(op) {
            self.access_point_opened(&result, now);
        } else if self.health_check == Some(op) {
            self.health_check = None;
            self.healthy = matches!(result, Done::Health(true));
        } else if let Some(index) = self.saving_k2.iter().position(|(saving, ..)| *saving == op) {
            let (_, asker, kid) = self.saving_k2.swap_remove(index);
            self.k2_saved(asker, kid, &result);
        } else if self.slot.as_ref().is_some_and(|slot| slot.counting() == Some(op)) {
            self.attempt_counted(&result, rng);
        } else {
            self.phase_done(op, result, now, rng);
        }
    }

    fn timeouts(&mut self, now: Instant) {
        self.slot_timeout(now);
        if self.scan.as_ref().is_some_and(|scan| scan.until <= now) {
            if let Some(scan) = &self.scan {
                self.outputs.push_back(Output::Cancel { op: scan.op });
            }
            self.scanned(Err(Fault::ScanFailed), now);
        }
        self.phase_timed_out(now);
        if self.finish_due().is_some_and(|at| at <= now) {
            self.finish_at = None;
            self.outputs.push_back(Output::Finished);
        }
    }

    fn start(&mut self, command: Command) -> Op {
        let op = Op(self.next_op);
        self.next_op += 1;
        self.outputs.push_back(Output::Start { op, command });
        op
    }

    /// Tells the phone that has the session.
    fn announce(&mut self) {
        let message = Message::Changed(StatusReport::from(&self.status));
        self.tell(&message);
    }

    /// Sets the step and tells it.
    fn step(&mut self, step: crate::domain::Step) {
        self.status.step = step;
        self.announce();
    }
}
