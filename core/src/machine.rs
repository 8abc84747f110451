//! The state machine behind every link.
//!
//! [`Machine`] has no clock, no random source, no files and no sockets. The loop around it hands over one
//! [`Input`], carries out every [`Output`] in order, then waits for the next input or for [`Machine::poll_timeout`].

mod apps;
mod attempt;
mod authorization;
mod cancel;
mod care;
pub mod command;
mod enrollment;
mod guess;
mod guesses;
mod improv;
mod networks;
mod nymea;
mod outbox;
mod pairing;
mod requests;
mod reset;
mod visibility;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use rand_core::CryptoRng;

use crate::domain::{CommandCenterUrl, Country, Credentials, Identity, K2, Network, Outcome, Pairing, State, Status};
use crate::endpoint::Endpoint;
use crate::espressif;
use crate::fault::Fault;
use crate::improv::FromClient;
use crate::secret::SecretText;
use crate::wire::{Info, Message, StatusReport};
use apps::Budget;
use attempt::Activity;
use authorization::Authorization;
use care::Caring;
use enrollment::Enrollment;
use guess::Guess;
use guesses::Guesses;
use improv::Improv;
use networks::Networks;
use nymea::Nymea;
use outbox::Outbox;
use pairing::Slot;
use requests::SavingK2;
use visibility::Visibility;

pub use command::{
    CareCommand, Cleared, ClearedItem, Command, CommandCenterCommand, DISK_LIMIT, DiskCommand, Done, Joined, Op, OpId, Pending,
    RADIO_LIMIT, RadioCommand, Refused,
};
pub use guesses::FREE as FREE_GUESSES;

/// How many times an attempt is resumed after a restart before it is given up.
pub const RESUMES: u32 = 3;

/// A point in time: the time since an arbitrary, fixed moment. Monotonic.
pub type Instant = Duration;

/// A connection of one phone; numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(pub u64);

/// A local request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// An event that the machine reacts to.
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
    /// One of Espressif's apps wrote a message. It gets exactly one answer, an [`Output::Send`]; an empty one says that the message
    /// is refused without one. An app sends its next message after that.
    Espressif {
        /// On this link.
        link: Link,
        /// To this endpoint.
        endpoint: espressif::Endpoint,
        /// The message.
        message: Vec<u8>,
    },
    /// A client of Improv has connected, or wrote a value. What it is notified of are [`Output::Send`]s, an encoded
    /// [`Notice`](crate::improv::Notice) each.
    Improv {
        /// On this link.
        link: Link,
        /// What it did.
        from: FromClient,
    },
    /// A client of nymea's has connected, or wrote a value. What it is notified of are [`Output::Send`]s, an encoded
    /// [`Notice`](crate::nymea::Notice) each.
    Nymea {
        /// On this link.
        link: Link,
        /// What it did.
        from: crate::nymea::FromClient,
    },
    /// A phone wrote bytes that are not a message, or more than the endpoint takes.
    InvalidMessage {
        /// On this link.
        link: Link,
        /// [`Fault::Malformed`] or [`Fault::TooLarge`].
        fault: Fault,
    },
    /// A phone is still on its link. It may send nothing for a while, because its owner is typing.
    Present {
        /// This one.
        link: Link,
    },
    /// A link has ended.
    Closed {
        /// This one.
        link: Link,
    },
    /// A request in clear, from the JSON API: anyone on the network can make one. It changes nothing while a phone has the
    /// session, or once a sealed attempt was accepted, until a reset or a restart.
    ClearRequest {
        /// Returned in [`Output::Answer`].
        ticket: Ticket,
        /// The request.
        request: LocalRequest,
    },
    /// A request that was made at the node: by a button or the command line.
    LocalRequest {
        /// Returned in [`Output::Answer`].
        ticket: Ticket,
        /// The request.
        request: LocalRequest,
    },
    /// A command has ended, with its result.
    Done(Done),
    /// The Bluetooth adapter appeared or disappeared.
    Bluetooth {
        /// There is one.
        available: bool,
    },
    /// Another program's connection uses the radio, or no longer does. The access point does not replace such a connection
    /// when no phone connects; an attempt does.
    RadioTaken {
        /// It does.
        taken: bool,
    },
    /// Network care has opened the access point, or something has closed it.
    AccessPoint {
        /// It is open.
        open: bool,
    },
    /// The time of [`Machine::poll_timeout`] has come. Harmless at any other time.
    Timeout,
}

/// A request without a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalRequest {
    /// Return the networks in range: answered at once with the last list.
    Scan,
    /// Store K2.
    K2(K2),
    /// Go online and register.
    Credentials(Box<Credentials>),
    /// The same, with a value that can only fail: accepted, and reported as a failed attempt.
    Unusable {
        /// The network's name as it was given.
        ssid: String,
        /// What is wrong with the request.
        fault: Fault,
    },
    /// The same as [`Credentials`](Self::Credentials), from a caller who proves the pairing code by sending it. The code
    /// counts as a guess, and the guess is on disk before its answer.
    Guess {
        /// The code.
        code: SecretText,
        /// What to do if the code is right.
        credentials: Box<Credentials>,
    },
    /// Return the pairing code.
    PairingCode,
    /// Return both pairing secrets, which are on the label.
    Pairing,
    /// Replace the pairing secrets, so that the label's no longer work.
    RenewPairing,
    /// Permit clients that have no secret to give the node its network, for a minute.
    Authorize,
    /// Delete everything that the owner gave.
    Reset,
}

/// The answer to a [`LocalRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// In the order of the adapter.
    Networks(Vec<Network>),
    /// K2 is stored.
    K2Stored,
    /// The attempt has begun.
    Accepted,
    /// Another attempt is in progress, or a phone has the session.
    Busy,
    /// The node is provisioned, and its command center answers: K2 is only replaced in pairing mode.
    AlreadyProvisioned,
    /// The pairing code; a new one only after it is stored.
    PairingCode(SecretText),
    /// The pairing secrets.
    Pairing(Pairing),
    /// Clients that have no secret may give the node its network, for a minute.
    Authorized,
    /// The node serves no protocol that needs it.
    NothingToAuthorize,
    /// Too many guesses were made: none is compared for so long.
    Locked(Duration),
    /// The reset is complete; what was cleared.
    Reset(Vec<ClearedItem>),
    /// The reset has begun and is not complete. The machine tries again, also after a restart, and takes nothing else before.
    ResetIncomplete(Fault),
    /// The request is refused, or has failed.
    Refused(Fault),
}

/// An action for the loop, which carries outputs out in order.
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
    /// Start a command; its result is returned as [`Input::Done`].
    Start(Command),
    /// Stop a command if that is still possible; its result is not needed.
    Cancel {
        /// This one.
        op: OpId,
    },
    /// Advertise over Bluetooth, or stop.
    Advertise(bool),
    /// Nothing is left to do: the program may exit.
    Finished,
}

/// When the access point is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessPointPolicy {
    /// From the start.
    Always,
    /// When there is no Bluetooth, or no phone was connected for so long; not while another program's connection uses the
    /// radio.
    WhenQuiet(Duration),
    /// Never.
    Never,
}

/// The settings of the machine; constant while it runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Shown in `info`.
    pub firmware_version: String,
    /// Shown in `info`.
    pub capabilities: Vec<String>,
    /// When the access point is opened.
    pub access_point: AccessPointPolicy,
    /// How long an answer takes to leave over the access point before the radio may switch.
    pub answer_leaves: Duration,
    /// How long the outcome can be read after a success; none for ever.
    pub linger: Option<Duration>,
    /// Network care runs beside the machine, and opens the access point of a provisioned node.
    pub network_care: bool,
    /// Improv's clients are served, after a person has authorized them.
    pub improv: bool,
    /// nymea's clients are served, after a person has authorized them.
    pub nymea: bool,
    /// The address of the node's page in the network that it joins; empty if there is none.
    pub page: String,
    /// Where the owner continues after a success.
    pub next_url: Option<CommandCenterUrl>,
}

/// The contents of the disk at the start.
#[derive(Clone, Debug)]
pub struct Boot {
    /// The node's identity.
    pub identity: Identity,
    /// The secrets of which a phone must prove one.
    pub pairing: Pairing,
    /// Guesses since the last success.
    pub guesses: u32,
    /// The marker is there.
    pub provisioned: bool,
    /// The command center of an earlier registration.
    pub command_center: Option<CommandCenterUrl>,
    /// An attempt that was not finished.
    pub pending: Option<Pending>,
    /// The outcome of the last attempt.
    pub outcome: Option<Outcome>,
    /// A factory reset was not finished.
    pub resetting: bool,
    /// The country of the radio, as in `info`.
    pub country: String,
}

/// The state machine.
///
/// Input: [`handle`](Self::handle) cannot fail and does not block.
///
/// Output: `handle` appends to one queue, which [`poll_output`](Self::poll_output) empties. The order matters: what is
/// stored comes before what is announced, and the answer to a phone comes before the radio that carried the request is
/// switched. When the queue is empty, [`poll_timeout`](Self::poll_timeout) is the latest time of the next input, and
/// [`status`](Self::status) and [`info`](Self::info) are current for any number of readers.
///
/// Commands: each [`Output::Start`] is answered by exactly one [`Input::Done`], made from the command's [`Op`]. If an
/// executor ends without a result, the loop passes [`Command::lost`], and everything that waits for the command fails. If an
/// executor neither ends nor reports, the machine cancels the command at its limit and treats it as lost. A command that was
/// cancelled needs no result; one that arrives nevertheless is ignored.
pub struct Machine {
    config: Config,
    identity: Identity,
    pairing: Pairing,
    guesses: Guesses,
    slot: Option<Slot>,
    activity: Activity,
    status: Status,
    enrollment: Enrollment,
    networks: Networks,
    /// The country that a phone has sent.
    country: Option<Country>,
    /// The country that was set before, as in `info`.
    set_country: String,
    saving_k2: Vec<SavingK2>,
    /// A guess in clear that is being counted.
    guess: Option<Guess>,
    /// Callers that wait for new pairing secrets, which are being stored.
    renewing: Vec<Ticket>,
    /// The handshakes of Espressif's apps that are not counted as guesses.
    handshakes: Budget,
    /// A phone's request to network care.
    caring: Option<Caring>,
    /// The link of the last phone that has left the radio to network care.
    left_to_care: Option<Link>,
    /// A sealed attempt was begun since the start and since the last reset.
    had_sealed_attempt: bool,
    /// The permission of a person at the node.
    authorization: Authorization,
    /// The clients of Improv.
    improv: Improv,
    /// The clients of nymea's.
    nymea: Nymea,
    visibility: Visibility,
    outbox: Outbox,
}

/// The caller that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Phone {
        link: Link,
        to: u64,
    },
    /// One of Espressif's apps.
    App(Link),
    /// A client of Improv.
    Improv(Link),
    /// A client of nymea's.
    Nymea(Link),
    Local(Ticket),
}

impl Asker {
    fn is_on(&self, gone: Link) -> bool {
        matches!(self, Self::Phone { link, .. } | Self::App(link) | Self::Improv(link) | Self::Nymea(link) if *link == gone)
    }
}

impl Machine {
    /// Starts from the contents of the disk. There are outputs to carry out before the first input.
    pub fn new(config: Config, boot: Boot, now: Instant) -> Self {
        let is_online = boot.outcome.as_ref().is_some_and(|outcome| outcome.online) && !boot.provisioned;
        let mut machine = Self {
            guesses: Guesses::restored(boot.guesses, now),
            // A success was announced before the restart: the node waits for the next attempt.
            status: boot
                .outcome
                .filter(|outcome| outcome.failure.is_some() || is_online)
                .map_or_else(Status::waiting, Status::from),
            identity: boot.identity,
            pairing: boot.pairing,
            enrollment: Enrollment::new(boot.provisioned, is_online),
            config,
            slot: None,
            activity: Activity::Idle,
            networks: Networks::default(),
            country: None,
            set_country: boot.country,
            saving_k2: Vec::new(),
            guess: None,
            renewing: Vec::new(),
            handshakes: Budget::new(now),
            caring: None,
            left_to_care: None,
            had_sealed_attempt: false,
            authorization: Authorization::default(),
            improv: Improv::default(),
            nymea: Nymea::default(),
            visibility: Visibility::new(now),
            outbox: Outbox::new(now),
        };
        if let Some(url) = boot.command_center.filter(|_| boot.provisioned && !boot.resetting) {
            machine.enrollment.check(url, &mut machine.outbox);
        }
        if boot.resetting {
            machine.resume_reset();
        } else if let Some(pending) = boot.pending {
            machine.resume(pending, now);
        } else {
            machine.scan(None, now);
        }
        machine.settle(now);
        machine.settle_clients(now);
        machine
    }

    /// Takes one input. `now` never goes backwards; `rng` is a cryptographic random source.
    pub fn handle(&mut self, input: Input, now: Instant, rng: &mut impl CryptoRng) {
        self.outbox.set_now(now);
        match input {
            Input::Received { link, endpoint, message } => {
                self.visibility.heard(now);
                self.received(link, endpoint, &message, now, rng);
            }
            Input::Espressif { link, endpoint, message } => {
                self.visibility.heard(now);
                self.app_received(link, endpoint, &message, now, rng);
            }
            Input::Improv { link, from } => {
                self.visibility.heard(now);
                self.improv_received(link, from, now);
            }
            Input::Nymea { link, from } => {
                self.visibility.heard(now);
                self.nymea_received(link, from, now);
            }
            Input::InvalidMessage { link, fault } => self.refuse(link, fault),
            Input::Present { link } => self.phone_present(link, now),
            Input::Closed { link } => self.link_closed(link),
            Input::ClearRequest { ticket, request } => self.requested_in_clear(ticket, request, now),
            Input::LocalRequest { ticket, request } => self.requested_locally(ticket, request, now),
            Input::Done(done) => self.done(done, now, rng),
            Input::Bluetooth { available } => self.visibility.set_bluetooth(available),
            Input::RadioTaken { taken } => self.visibility.set_taken(taken, now),
            Input::AccessPoint { open } => self.visibility.access_point_is(open),
            Input::Timeout => {}
        }
        while let Some(lost) = self.outbox.overdue() {
            self.done(lost, now, rng);
        }
        self.app_timed_out(now);
        self.slot_timeout(now);
        self.scan_timed_out(now);
        self.attempt_timed_out(now);
        self.reset_timed_out(now);
        self.finish_timed_out(now);
        self.settle(now);
        self.settle_clients(now);
    }

    /// Brings what clients without a session know in line with everything else.
    fn settle_clients(&mut self, now: Instant) {
        self.settle_authorization(now);
        self.settle_improv(now);
        self.settle_nymea(now);
    }

    /// The next output, in order; none when all were taken.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.next()
    }

    /// When [`Input::Timeout`] is due, unless another input comes first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let session = self.slot.as_ref().map(Slot::until);
        [
            session,
            self.attempt_timeout(),
            self.reset_due(),
            self.networks.until(),
            self.access_point_due(),
            self.finish_due(),
            self.outbox.overdue_at(),
            self.app_due(),
            self.authorization.until(),
            self.improv_due(),
            self.nymea_due(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The state of provisioning.
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// Where the owner continues after a success, if the settings name a page.
    pub fn next_url(&self) -> Option<&CommandCenterUrl> {
        self.config.next_url.as_ref().filter(|_| self.status.state() == State::Provisioned)
    }

    /// The public information about the node.
    pub fn info(&self) -> Info {
        Info {
            node_id: self.identity.node_id.clone(),
            name: self.identity.name(),
            firmware_version: self.config.firmware_version.clone(),
            hardware: self.identity.hardware.clone(),
            capabilities: self.config.capabilities.clone(),
            state: self.status.state(),
            previously_provisioned: self.enrollment.is_provisioned(),
            versions: vec![crate::session::VERSION],
            country: self.country.map_or_else(|| self.set_country.clone(), Country::into_string),
        }
    }

    /// The node's identity; changes with registration and factory reset.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The networks of the last scan, in the order of the adapter.
    pub fn networks(&self) -> &[Network] {
        self.networks.list()
    }

    /// Whether a phone has the session.
    pub const fn has_session(&self) -> bool {
        self.slot.is_some()
    }

    /// The link of the phone that has the session, or has begun its handshake.
    pub fn session_link(&self) -> Option<Link> {
        self.slot.as_ref().map(Slot::link)
    }

    /// Whether provisioning needs the radio: the node keeps no network, an attempt or a reset is in progress, the radio is
    /// being switched, or a phone has the session and has not left the radio to network care.
    pub fn needs_radio(&self) -> bool {
        !self.enrollment.keeps_network()
            || !self.activity.is_idle()
            || self.visibility.is_switching()
            || self.established().is_some_and(|link| self.left_to_care != Some(link))
    }

    fn done(&mut self, done: Done, now: Instant, rng: &mut impl CryptoRng) {
        self.outbox.ended(done.id());
        match done {
            Done::Saved(op, result) => self.saved(op, result, now, rng),
            Done::Renewed(_, result) => self.pairing_renewed(result),
            Done::Reset(op, result) => self.files_deleted(op, result, now),
            Done::Scanned(op, result) => self.scanned(op, result, now),
            Done::Joined(op, result) => self.joined(op, result, now),
            Done::Switched(op, result) => self.switched(op, result, now),
            Done::Registered(op, result) => self.registered(op, result, now, rng),
            Done::Claimed(op, result) => self.claimed(op, result),
            Done::Cared(op, result) => self.cared(op, result),
            Done::Health(op, healthy) => self.enrollment.checked(op, healthy),
            // The node is provisioned either way.
            Done::KeyConfirmed(..) => {}
        }
    }

    fn saved(&mut self, op: Op<command::kind::Save>, result: Result<(), Fault>, now: Instant, rng: &mut impl CryptoRng) {
        if let Some(index) = self.saving_k2.iter().position(|saving| saving.op == op) {
            let saving = self.saving_k2.swap_remove(index);
            self.k2_saved(saving, result);
        } else if let Some(guess) = self.guess.take_if(|guess| guess.op() == op) {
            self.guess_in_clear_counted(guess, result, now);
        } else if self.slot.as_ref().and_then(Slot::counting) == Some(op) {
            self.guess_counted(result, rng);
        } else if self.activity.beginning_reset() == Some(op) {
            self.reset_begun(result);
        } else {
            self.attempt_saved(op, result, now);
        }
    }

    /// Sends the status to the phone that has the session.
    fn announce(&mut self) {
        let message = Message::Changed(self.report());
        self.tell(&message);
    }

    /// The status as phones get it.
    fn report(&self) -> StatusReport {
        StatusReport { next_url: self.next_url().cloned(), ..StatusReport::from(&self.status) }
    }
}
