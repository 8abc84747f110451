//! A provisioning attempt: from credentials to an enrolled node, or back to the state before.
//!
//! ```text
//! Saving → Saved → Joining → Registering ⇄ Pausing → Claiming → Storing → Keeping → Marking → provisioned
//!    └───────┴────────┴──────────┴────────────┴──────────┴──────────┴─────────┴─────────┴──→ Recording → the reason
//! ```
//!
//! An attempt without a command center goes from Joining to Keeping, and from there to Settling: the node is online and not
//! enrolled. An attempt without a network skips Joining and Keeping: the node enrolls over the connection that it has, and does not touch
//! the radio. Each stage has the data that is true in it, and the [`Step`] that readers see follows from it. An attempt is on disk
//! before it is made, and is resumed after a restart: the command center answers the same registration again, so a power
//! cut between its answer and our disk loses nothing. The attempt leaves the disk only when its outcome is there. Claiming
//! is for attempts that bring a provision code; it comes after the registration, which can be repeated, so that a code is
//! not spent on a node that is refused.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::mem::replace;
use core::time::Duration;

use rand_core::CryptoRng;

use super::command::{CommandCenterCommand, DiskCommand, Joined, Op, OpId, Pending, RadioCommand, Refused, kind};
use super::reset::Reset;
use super::{Answer, Asker, Instant, Link, Machine, Output, RESUMES};
use crate::backoff::{Backoff, Jitter};
use crate::domain::{Credentials, Failure, Outcome, Passphrase, Registration, Ssid, Status, Step, UnixTime};
use crate::fault::Fault;
use crate::secret::SecretText;
use crate::wire::Reply;

/// Longer than any limit of the network's own: WPA3, and DHCP on a busy access point.
const JOIN_LIMIT: Duration = Duration::from_mins(2);
/// Longer than the client of the command center takes for one try.
const REGISTER_LIMIT: Duration = Duration::from_mins(1);
/// Longer than the client of the command center takes for a claim, with all its tries.
const CLAIM_LIMIT: Duration = Duration::from_mins(5);
/// Storing a profile takes less than a join.
const KEEP_LIMIT: Duration = Duration::from_mins(2);
/// Tries while the command center cannot be reached: a router may take half a minute to let a new station through.
const UNREACHABLE_TRIES: u32 = 8;
/// Tries while the command center fails.
const FAILED_TRIES: u32 = 3;
/// How long the node waits for its clock, from the first certificate that is not valid yet. Time synchronisation takes some
/// seconds after the network is joined.
const CLOCK_LIMIT: Duration = Duration::from_mins(1);
/// The pause between tries while it waits. A new try shows whether the clock was set, or the time has come.
const CLOCK_PAUSE: Duration = Duration::from_secs(3);
/// Pauses between tries. Half of each is random: nodes that lost the same server do not retry together.
const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15), Jitter::Half);

/// The machine does one activity at a time.
pub(super) enum Activity {
    /// Nothing.
    Idle,
    /// An attempt, and its stage.
    Attempting { attempt: Box<Attempt>, stage: Stage },
    /// An attempt has failed, and its outcome is being stored.
    Recording {
        op: Op<kind::Save>,
        failure: Failure,
        rollback: Rollback,
        /// The callers that have cancelled the attempt, and wait for its outcome.
        waiting: Vec<Asker>,
    },
    /// A factory reset.
    Resetting(Reset),
}

/// The data of an attempt that is true in all its stages.
pub(super) struct Attempt {
    credentials: Credentials,
    began: Instant,
    /// The access point was open, or being opened, when the attempt began.
    over_access_point: bool,
    /// When the wait for the clock ends; set by the first certificate that is not valid yet.
    clock_until: Option<Instant>,
}

/// The stage of an attempt, with the data that is valid in it.
pub(super) enum Stage {
    /// The intention is being stored.
    Saving {
        op: Op<kind::Save>,
        /// The callers that are waiting for the attempt to be accepted, once it is stored.
        waiting: Vec<Asker>,
    },
    /// The intention is stored. The answer leaves, and the previous network is restored, before the radio switches.
    Saved { until: Instant },
    /// The network is being joined.
    Joining { op: Op<kind::Join>, until: Instant },
    /// A registration is in progress.
    Registering { op: Op<kind::Register>, tries: u32, until: Instant },
    /// The command center did not answer, and is tried again later. `next` is the number of that try.
    Pausing { next: u32, until: Instant },
    /// The provision code is being claimed.
    Claiming { op: Op<kind::Claim>, registration: Registration, until: Instant },
    /// The registration is being stored.
    Storing { op: Op<kind::Save>, registration: Registration },
    /// The network is being kept.
    Keeping { op: Op<kind::Switch>, registration: Option<Registration>, until: Instant },
    /// The network is kept, and that the node is online without a command center is being stored.
    Settling { op: Op<kind::Save> },
    /// The marker is being written.
    Marking { op: Op<kind::Save>, registration: Registration },
}

/// How a failed attempt restores the radio.
#[derive(Clone, Copy)]
pub(super) enum Rollback {
    /// Nothing: the radio was not touched.
    Nothing,
    /// The access point is opened again at once, so that the phone reconnects by itself.
    AccessPoint,
    /// The previous network, if there was one, is joined again.
    Network,
}

impl Attempt {
    const fn rollback(&self) -> Rollback {
        match self.credentials.ssid {
            None => Rollback::Nothing,
            Some(_) if self.over_access_point => Rollback::AccessPoint,
            Some(_) => Rollback::Network,
        }
    }

    /// A time that has passed, by the phone's clock. After a restart, the time before it is not counted.
    fn time(&self, now: Instant) -> Option<UnixTime> {
        self.credentials.time.map(|time| time.after(now.saturating_sub(self.began)))
    }
}

impl Stage {
    /// The step that readers see.
    const fn step(&self) -> Step {
        match self {
            Self::Saving { .. } => Step::Saving,
            Self::Saved { .. } => Step::Saved,
            Self::Joining { .. } => Step::Joining,
            Self::Registering { .. } | Self::Pausing { .. } => Step::Registering,
            Self::Claiming { .. } => Step::Claiming,
            Self::Keeping { registration: None, .. } | Self::Settling { .. } => Step::Joined,
            Self::Storing { .. } | Self::Keeping { .. } | Self::Marking { .. } => Step::Finalizing,
        }
    }

    /// The command that the stage waits for.
    const fn op(&self) -> Option<OpId> {
        match self {
            Self::Saving { op, .. } | Self::Storing { op, .. } | Self::Marking { op, .. } | Self::Settling { op } => {
                Some(op.id())
            }
            Self::Joining { op, .. } => Some(op.id()),
            Self::Registering { op, .. } => Some(op.id()),
            Self::Claiming { op, .. } => Some(op.id()),
            Self::Keeping { op, .. } => Some(op.id()),
            Self::Saved { .. } | Self::Pausing { .. } => None,
        }
    }

    /// When the stage ends by itself. None while it writes: the machine limits every write.
    const fn until(&self) -> Option<Instant> {
        match self {
            Self::Saved { until }
            | Self::Joining { until, .. }
            | Self::Registering { until, .. }
            | Self::Pausing { until, .. }
            | Self::Claiming { until, .. }
            | Self::Keeping { until, .. } => Some(*until),
            Self::Saving { .. } | Self::Storing { .. } | Self::Marking { .. } | Self::Settling { .. } => None,
        }
    }
}

impl Activity {
    pub(super) const fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    pub(super) const fn is_reset(&self) -> bool {
        matches!(self, Self::Resetting(_))
    }

    /// How the radio is restored if the attempt in progress ends now; none if there is no attempt.
    pub(super) const fn rollback(&self) -> Option<Rollback> {
        match self {
            Self::Attempting { stage: Stage::Saving { .. } | Stage::Saved { .. }, .. } => Some(Rollback::Nothing),
            Self::Attempting { attempt, .. } => Some(attempt.rollback()),
            Self::Recording { rollback, .. } => Some(*rollback),
            Self::Idle | Self::Resetting(_) => None,
        }
    }

    /// What the attempt in progress was given.
    pub(super) fn attempted(&self) -> Option<&Credentials> {
        match self {
            Self::Attempting { attempt, .. } => Some(&attempt.credentials),
            Self::Recording { .. } | Self::Idle | Self::Resetting(_) => None,
        }
    }

    /// The command that the attempt in progress waits for.
    pub(super) const fn attempt_op(&self) -> Option<OpId> {
        match self {
            Self::Attempting { stage, .. } => stage.op(),
            Self::Recording { op, .. } => Some(op.id()),
            Self::Idle | Self::Resetting(_) => None,
        }
    }

    /// The callers that are waiting for an attempt to be accepted, or for its end.
    pub(super) const fn waiting(&mut self) -> Option<&mut Vec<Asker>> {
        match self {
            Self::Attempting { stage: Stage::Saving { waiting, .. }, .. } | Self::Recording { waiting, .. } => Some(waiting),
            _ => None,
        }
    }
}

impl Machine {
    /// A phone sends credentials. The same ones, sent again, are the same attempt.
    pub(super) fn credentials(&mut self, link: Link, to: u64, credentials: Credentials, now: Instant) {
        let request_id = credentials.request_id;
        match &mut self.activity {
            Activity::Attempting { attempt, stage } if attempt.credentials.is_same(&credentials) => {
                return match stage {
                    Stage::Saving { waiting, .. } => waiting.push(Asker::Phone { link, to }),
                    _ => self.reply(to, Reply::Accepted { request_id }),
                };
            }
            Activity::Idle => {}
            _ => return self.reply(to, Reply::Refused(Fault::InProgress)),
        }
        let done = self.status.step == Step::Done && self.status.failure.is_none();
        if done && request_id != 0 && self.status.request_id == request_id {
            self.reply(to, Reply::Accepted { request_id });
            return self.announce();
        }
        self.begin(credentials, 0, Some(Asker::Phone { link, to }), now);
    }

    /// The attempt to join a network without a command center, for protocols that cannot say that a network hides its name: one
    /// that no scan has found does. `request_id`: 0 if it came in clear.
    pub(super) fn network_alone(&self, request_id: u64, ssid: Ssid, passphrase: Passphrase) -> Credentials {
        Credentials {
            request_id,
            hidden: !self.networks().iter().any(|network| network.ssid == ssid),
            ssid: Some(ssid),
            passphrase,
            enterprise: None,
            room: String::new(),
            command_center: None,
            config_service: None,
            household_id: String::new(),
            node_id: String::new(),
            token: SecretText::new(String::new()),
            provision_code: None,
            time: None,
            country: None,
            seen_frequency: 0,
        }
    }

    /// Begins an attempt. Nothing else is in progress. The caller gets the acceptance once it is on disk.
    pub(super) fn begin(&mut self, credentials: Credentials, resumes: u32, asker: Option<Asker>, now: Instant) {
        self.visibility.heard(now);
        self.is_in(credentials.country);
        // Only sealed attempts have a request id.
        self.had_sealed_attempt |= credentials.request_id != 0;
        let over_access_point = self.visibility.is_access_point();
        let pending = Box::new(Pending { credentials: credentials.clone(), resumes });
        let op = self.outbox.op();
        let stage = Stage::Saving { op, waiting: asker.into_iter().collect() };
        self.status = status_of(&credentials, stage.step());
        let attempt = Attempt { credentials, began: now, over_access_point, clock_until: None };
        self.activity = Activity::Attempting { attempt: Box::new(attempt), stage };
        // A phone that sent the credentials gets the answer and the first events together: one round trip over HTTP.
        if !matches!(asker, Some(Asker::Phone { .. })) {
            self.announce();
        }
        self.outbox.start(DiskCommand::SavePending { op, pending });
    }

    /// The attempt is on disk.
    fn accept_attempt(&mut self, asker: Asker, request_id: u64) {
        match asker {
            Asker::Local(ticket) => self.answer(ticket, Answer::Accepted),
            Asker::Phone { link, to } if self.established() == Some(link) => self.reply(to, Reply::Accepted { request_id }),
            // Clients without a session learn the outcome.
            Asker::Phone { .. } | Asker::Improv(_) | Asker::Nymea(_) => {}
            Asker::App(link) => self.app_accepted(link, request_id),
        }
    }

    /// The attempt is not on disk. The existing apps expect the reason in the status.
    fn refuse_attempt(&mut self, asker: Asker, fault: Fault) {
        match asker {
            Asker::Local(ticket) => self.answer(ticket, Answer::Accepted),
            Asker::Phone { link, to } if self.established() == Some(link) => self.reply(to, Reply::Refused(fault)),
            Asker::Phone { .. } | Asker::Improv(_) | Asker::Nymea(_) => {}
            Asker::App(link) => self.app_refused(link, fault),
        }
    }

    /// The attempt is stopped: its acceptance and its end are not reported to those who wait for them.
    pub(super) fn refuse_waiting(&mut self, fault: Fault) {
        let waiting = self.activity.waiting().map(core::mem::take).unwrap_or_default();
        for asker in waiting {
            match asker {
                Asker::Local(ticket) => self.answer(ticket, Answer::Refused(fault)),
                Asker::Phone { .. } | Asker::App(_) | Asker::Improv(_) | Asker::Nymea(_) => self.refuse_attempt(asker, fault),
            }
        }
    }

    /// An attempt that can only fail fails like any other, with its reason in the status.
    pub(super) fn begin_unusable(&mut self, ssid: String, fault: Fault) {
        self.status = Status { step: Step::Saving, ssid: Some(ssid), ..Status::waiting() };
        self.announce();
        self.fail(fault.into(), Rollback::Nothing);
    }

    /// Resumes an attempt that a restart has interrupted.
    pub(super) fn resume(&mut self, Pending { credentials, resumes }: Pending, now: Instant) {
        if resumes < RESUMES {
            return self.begin(credentials, resumes + 1, None, now);
        }
        self.status = status_of(&credentials, Step::Saving);
        self.fail(Fault::Interrupted.into(), Rollback::Network);
    }

    pub(super) fn attempt_timeout(&self) -> Option<Instant> {
        match &self.activity {
            // The radio does one thing at a time.
            Activity::Attempting { stage: Stage::Saved { .. }, .. } if self.visibility.is_switching() => None,
            Activity::Attempting { stage, .. } => stage.until(),
            _ => None,
        }
    }

    pub(super) fn attempt_timed_out(&mut self, now: Instant) {
        if self.attempt_timeout().is_none_or(|until| until > now) {
            return;
        }
        let cancel = self.activity.attempt_op();
        match replace(&mut self.activity, Activity::Idle) {
            Activity::Attempting { attempt, stage: Stage::Saved { .. } } => self.go_online(attempt, now),
            Activity::Attempting { attempt, stage: Stage::Pausing { next, .. } } => self.register(attempt, next, now),
            Activity::Attempting { attempt, stage } => {
                let fault = match stage {
                    Stage::Registering { .. } | Stage::Claiming { .. } => Fault::CommandCenterUnreachable,
                    _ => Fault::NetworkTimeout,
                };
                if let Some(op) = cancel {
                    self.outbox.push(Output::Cancel { op });
                }
                self.fail(fault.into(), attempt.rollback());
            }
            activity => self.activity = activity,
        }
    }

    /// A write of the attempt has ended.
    pub(super) fn attempt_saved(&mut self, op: Op<kind::Save>, result: Result<(), Fault>, now: Instant) {
        match replace(&mut self.activity, Activity::Idle) {
            Activity::Attempting { attempt, stage: Stage::Saving { op: expected, waiting } } if expected == op => match result {
                Ok(()) => {
                    let is_announced = !waiting.iter().any(|asker| matches!(asker, Asker::Phone { .. }));
                    for asker in waiting {
                        self.accept_attempt(asker, attempt.credentials.request_id);
                    }
                    if !is_announced {
                        self.announce();
                    }
                    let until = if attempt.over_access_point { now + self.config.answer_leaves } else { now };
                    self.enter(attempt, Stage::Saved { until });
                }
                Err(fault) => {
                    for asker in waiting {
                        self.refuse_attempt(asker, fault);
                    }
                    self.fail(fault.into(), Rollback::Nothing);
                }
            },
            Activity::Attempting { attempt, stage: Stage::Storing { op: expected, registration } } if expected == op => {
                match result {
                    Ok(()) => self.keep(attempt, Some(registration), now),
                    Err(fault) => self.fail(fault.into(), attempt.rollback()),
                }
            }
            Activity::Attempting { attempt, stage: Stage::Settling { op: expected } } if expected == op => match result {
                Ok(()) => self.settled_online(now),
                Err(fault) => self.fail(fault.into(), attempt.rollback()),
            },
            Activity::Attempting { attempt, stage: Stage::Marking { op: expected, registration } } if expected == op => {
                match result {
                    Ok(()) => self.provisioned(&attempt, registration, now),
                    Err(fault) => self.fail(fault.into(), attempt.rollback()),
                }
            }
            // Report the reason even if it could not be stored: the owner can act on the reason, not on the disk.
            Activity::Recording { op: expected, failure, rollback, waiting } if expected == op => {
                self.recorded(failure, rollback, now);
                self.report_end(waiting);
            }
            activity => self.activity = activity,
        }
    }

    pub(super) fn joined(&mut self, op: Op<kind::Join>, result: Result<Joined, Fault>, now: Instant) {
        match replace(&mut self.activity, Activity::Idle) {
            Activity::Attempting { attempt, stage: Stage::Joining { op: expected, .. } } if expected == op => match result {
                Ok(joined) => {
                    self.status.limited_connectivity = joined.limited_connectivity;
                    // Readers see it; the registration follows at once.
                    self.announce_step(Step::Joined);
                    self.register_or_keep(attempt, now);
                }
                Err(fault) => self.fail(fault.into(), attempt.rollback()),
            },
            activity => self.activity = activity,
        }
    }

    pub(super) fn registered(
        &mut self,
        op: Op<kind::Register>,
        result: Result<Registration, Refused>,
        now: Instant,
        rng: &mut impl CryptoRng,
    ) {
        match replace(&mut self.activity, Activity::Idle) {
            Activity::Attempting { attempt, stage: Stage::Registering { op: expected, tries, .. } } if expected == op => {
                self.status.waits_for_time &= matches!(&result, Err(refused) if refused.fault == Fault::ClockNotSet);
                match result {
                    Ok(registration) if !registration.is_for(&attempt.credentials.household_id) => {
                        self.fail(Fault::WrongHousehold.into(), attempt.rollback());
                    }
                    Ok(registration) => self.claim(attempt, registration, now),
                    Err(refused) => self.refused(attempt, tries, &refused, now, rng),
                }
            }
            activity => self.activity = activity,
        }
    }

    pub(super) fn claimed(&mut self, op: Op<kind::Claim>, result: Result<String, Fault>) {
        match replace(&mut self.activity, Activity::Idle) {
            Activity::Attempting { attempt, stage: Stage::Claiming { op: expected, registration, .. } } if expected == op => {
                match result {
                    Ok(appliance_id) => {
                        self.status.appliance_id = Some(appliance_id);
                        self.enroll(attempt, registration);
                    }
                    Err(fault) => self.fail(fault.into(), attempt.rollback()),
                }
            }
            activity => self.activity = activity,
        }
    }

    pub(super) fn network_kept(&mut self, op: Op<kind::Switch>, result: Result<(), Fault>) {
        match replace(&mut self.activity, Activity::Idle) {
            Activity::Attempting { attempt, stage: Stage::Keeping { op: expected, registration, .. } } if expected == op => {
                match (result, registration) {
                    (Ok(()), Some(registration)) => self.mark(attempt, registration),
                    (Ok(()), None) => self.settle_online(attempt),
                    (Err(fault), _) => self.fail(fault.into(), attempt.rollback()),
                }
            }
            activity => self.activity = activity,
        }
    }

    /// Moves on to a stage, and announces its step.
    fn enter(&mut self, attempt: Box<Attempt>, stage: Stage) {
        self.announce_step(stage.step());
        self.activity = Activity::Attempting { attempt, stage };
    }

    fn announce_step(&mut self, step: Step) {
        if self.status.step != step {
            self.status.step = step;
            self.announce();
        }
    }

    fn go_online(&mut self, attempt: Box<Attempt>, now: Instant) {
        let Credentials { ssid, passphrase, enterprise, hidden, country, seen_frequency, .. } = attempt.credentials.clone();
        let Some(ssid) = ssid else { return self.register_or_keep(attempt, now) };
        let op = self.outbox.op();
        self.enter(attempt, Stage::Joining { op, until: now + JOIN_LIMIT });
        self.visibility.station_takes_radio();
        self.outbox.start(RadioCommand::Join { op, ssid, passphrase, enterprise, hidden, country, seen_frequency });
    }

    /// The node is online.
    fn register_or_keep(&mut self, attempt: Box<Attempt>, now: Instant) {
        if attempt.credentials.command_center.is_some() {
            self.register(attempt, 1, now);
        } else {
            self.keep(attempt, None, now);
        }
    }

    fn register(&mut self, attempt: Box<Attempt>, tries: u32, now: Instant) {
        let Credentials { command_center, node_id, token, room, .. } = attempt.credentials.clone();
        let command_center = command_center.expect("an attempt without a command center does not register");
        let time = attempt.time(now);
        let op = self.outbox.op();
        self.enter(attempt, Stage::Registering { op, tries, until: now + REGISTER_LIMIT });
        self.outbox.start(CommandCenterCommand::Register { op, command_center, node_id, token, room, time });
    }

    fn claim(&mut self, attempt: Box<Attempt>, registration: Registration, now: Instant) {
        let Some(code) = attempt.credentials.provision_code.clone() else { return self.enroll(attempt, registration) };
        let command_center = attempt.credentials.command_center.clone().expect("the node has registered there");
        let time = attempt.time(now);
        let op = self.outbox.op();
        self.enter(attempt, Stage::Claiming { op, registration, until: now + CLAIM_LIMIT });
        self.outbox.start(CommandCenterCommand::Claim { op, command_center, code, time });
    }

    fn enroll(&mut self, attempt: Box<Attempt>, registration: Registration) {
        let credentials = Box::new(attempt.credentials.clone());
        let op = self.outbox.op();
        self.enter(attempt, Stage::Storing { op, registration: registration.clone() });
        self.outbox.start(DiskCommand::SaveEnrollment { op, credentials, registration });
    }

    fn keep(&mut self, attempt: Box<Attempt>, registration: Option<Registration>, now: Instant) {
        let registration = match registration {
            Some(registration) if attempt.credentials.ssid.is_none() => return self.mark(attempt, registration),
            None if attempt.credentials.ssid.is_none() => return self.settle_online(attempt),
            registration => registration,
        };
        let op = self.outbox.op();
        self.enter(attempt, Stage::Keeping { op, registration, until: now + KEEP_LIMIT });
        self.outbox.start(RadioCommand::KeepNetwork { op });
    }

    fn mark(&mut self, attempt: Box<Attempt>, registration: Registration) {
        let op = self.outbox.op();
        self.enter(attempt, Stage::Marking { op, registration });
        self.outbox.start(DiskCommand::MarkProvisioned { op });
    }

    /// The node is online, and has no command center: stores that.
    fn settle_online(&mut self, attempt: Box<Attempt>) {
        let outcome = Outcome {
            request_id: attempt.credentials.request_id,
            ssid: self.status.ssid.clone().unwrap_or_default(),
            ssid_bytes: self.status.ssid_bytes.clone(),
            step: if self.enrollment.is_provisioned() { Step::Done } else { Step::Online },
            failure: None,
            online: !self.enrollment.is_provisioned(),
        };
        let op = self.outbox.op();
        self.outbox.start(DiskCommand::SaveOutcome { op, outcome });
        self.enter(attempt, Stage::Settling { op });
    }

    /// The node is online without a command center, and this is stored. A node that was enrolled before still is.
    fn settled_online(&mut self, now: Instant) {
        if self.enrollment.is_provisioned() {
            self.linger(now);
            self.announce_step(Step::Done);
        } else {
            self.enrollment.is_online_now();
            self.announce_step(Step::Online);
        }
    }

    /// The attempt has succeeded, and everything is stored.
    fn provisioned(&mut self, attempt: &Attempt, registration: Registration, now: Instant) {
        self.identity.node_id.clone_from(&registration.node_id);
        self.enrollment.enrolled();
        self.linger(now);
        self.announce_step(Step::Done);
        // Until its key is used, the command center gives it to everyone who has the token. Not before the end is on disk:
        // an attempt that is resumed registers again.
        let command_center = attempt.credentials.command_center.clone().expect("the node has registered there");
        let op = self.outbox.op();
        self.outbox.start(CommandCenterCommand::ConfirmKey { op, command_center, registration, time: attempt.time(now) });
    }

    fn refused(&mut self, attempt: Box<Attempt>, tries: u32, refused: &Refused, now: Instant, rng: &mut impl CryptoRng) {
        if refused.fault == Fault::ClockNotSet {
            return self.wait_for_time(attempt, tries, now);
        }
        let allowed = match refused.fault {
            Fault::CommandCenterUnreachable => UNREACHABLE_TRIES,
            Fault::CommandCenterFailed => FAILED_TRIES,
            _ => 1,
        };
        if tries >= allowed {
            let failure = Failure { fault: refused.fault, registration_status: refused.status };
            return self.fail(failure, attempt.rollback());
        }
        let pause = RETRIES.pause_after_answer(tries, rng.next_u32(), refused.retry_after);
        self.enter(attempt, Stage::Pausing { next: tries + 1, until: now + pause });
    }

    /// The command center's certificate is not valid yet. The node stays in the network, because the time comes from there.
    fn wait_for_time(&mut self, mut attempt: Box<Attempt>, tries: u32, now: Instant) {
        let until = *attempt.clock_until.get_or_insert(now + CLOCK_LIMIT);
        if now >= until {
            return self.fail(Fault::ClockNotSet.into(), attempt.rollback());
        }
        let is_new = !replace(&mut self.status.waits_for_time, true);
        self.enter(attempt, Stage::Pausing { next: tries, until: until.min(now + CLOCK_PAUSE) });
        if is_new {
            self.announce();
        }
    }

    /// The attempt has failed. The reason is stored before it is announced.
    pub(super) fn fail(&mut self, failure: Failure, rollback: Rollback) {
        let outcome = Outcome {
            request_id: self.status.request_id,
            ssid: self.status.ssid.clone().unwrap_or_default(),
            ssid_bytes: self.status.ssid_bytes.clone(),
            step: self.status.step,
            failure: Some(failure.clone()),
            online: self.enrollment.is_online(),
        };
        let op = self.outbox.op();
        self.outbox.start(DiskCommand::SaveOutcome { op, outcome });
        self.activity = Activity::Recording { op, failure, rollback, waiting: Vec::new() };
    }

    fn recorded(&mut self, failure: Failure, rollback: Rollback, now: Instant) {
        // A node that was provisioned before still is, and exits when the linger time is over.
        if self.visibility.is_finishing() {
            self.linger(now);
        }
        self.status.failure = Some(failure);
        self.status.limited_connectivity = false;
        self.status.waits_for_time = false;
        match rollback {
            Rollback::Nothing => self.status.retryable = true,
            Rollback::AccessPoint => self.open_access_point(),
            Rollback::Network => self.restore_network(),
        }
        self.announce();
    }
}

fn status_of(credentials: &Credentials, step: Step) -> Status {
    Status {
        step,
        request_id: credentials.request_id,
        ssid: credentials.ssid.as_ref().map(Ssid::to_string),
        ssid_bytes: credentials.ssid.clone(),
        ..Status::waiting()
    }
}
