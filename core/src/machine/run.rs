//! An attempt: from credentials to an enrolled node, or back to where it was.
//!
//! ```text
//! Idle → Saving → Leaving → Joining → Registering → Claiming → Storing → Keeping → Marking → Idle, provisioned
//!           └────────┴─────────┴───────────┴──────────┴──────────┴─────────┴─────────┴────→ Recording → Idle, with the reason
//! ```
//!
//! Each phase has the data that is true in it. An attempt is on disk before it is made, and is taken up again after a
//! restart: the command center answers the same registration again, so a power cut between its answer and our disk loses
//! nothing. It leaves the disk only when its outcome is there. Claiming is for attempts that bring a provision code; it comes
//! after the registration, which can be made again, so that a code is not spent on a node that is not let in.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use rand_core::CryptoRng;

use super::{AccessPoint, Command, Done, Instant, Machine, Op, Output, Pending, RESUMES, Refused, Ticket};
use crate::backoff::{Backoff, Jitter};
use crate::domain::{Credentials, Failure, Outcome, Registration, Status, Step};
use crate::fault::Fault;
use crate::wire::Reply;

/// Longer than any limit of the network's own: WPA3, and DHCP on a busy access point.
const JOIN_LIMIT: Duration = Duration::from_mins(2);
/// Tries while the command center cannot be reached: a router may take half a minute to let a new station through.
const UNREACHABLE_TRIES: u32 = 8;
/// Tries while the command center fails.
const FAILED_TRIES: u32 = 3;
/// Pauses between tries. Half of each is random: nodes that lost the same server do not retry together.
const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15), Jitter::Half);

pub(super) enum Phase {
    /// Nothing is under way.
    Idle,
    /// The intention is being stored.
    Saving { run: Run, op: Op },
    /// The intention is stored; the answer leaves, and the network before comes back, before the radio switches.
    Leaving { run: Run, until: Instant },
    /// The network is being joined.
    Joining { run: Run, op: Op, until: Instant },
    /// The command center is asked.
    Registering { run: Run, tries: u32, op: Op },
    /// The command center did not answer; it is asked again.
    Pausing { run: Run, tries: u32, until: Instant },
    /// The provision code is being claimed.
    Claiming { run: Run, registration: Registration, op: Op },
    /// What the command center gave is being stored.
    Storing { run: Run, registration: Registration, op: Op },
    /// The network is being kept.
    Keeping { run: Run, registration: Registration, op: Op },
    /// The marker is being written.
    Marking { run: Run, registration: Registration, op: Op },
    /// The failure is being stored.
    Recording { failure: Failure, left: Left, op: Op },
    /// Everything is being forgotten.
    Resetting { op: Op, waiting: Vec<Ticket>, interrupted: Option<Left> },
}

/// An attempt.
pub(super) struct Run {
    credentials: Credentials,
    /// The access point was open, or being opened, when the attempt began.
    over_access_point: bool,
}

/// What the radio has left when an attempt fails.
#[derive(Clone, Copy)]
pub(super) enum Left {
    /// Nothing: it was not touched.
    Nothing,
    /// The access point: it is opened again at once, so that the phone finds its way back by itself.
    AccessPoint,
    /// Whatever the network before was.
    Network,
}

impl Run {
    const fn left(&self) -> Left {
        if self.over_access_point { Left::AccessPoint } else { Left::Network }
    }
}

impl Phase {
    /// What the radio is left with if the attempt ends here; none if there is no attempt.
    pub(super) const fn left(&self) -> Option<Left> {
        match self {
            Self::Saving { .. } | Self::Leaving { .. } => Some(Left::Nothing),
            Self::Recording { left, .. } => Some(*left),
            _ => match self.run() {
                Some(run) => Some(run.left()),
                None => None,
            },
        }
    }

    /// The attempt that is under way.
    const fn run(&self) -> Option<&Run> {
        match self {
            Self::Saving { run, .. }
            | Self::Leaving { run, .. }
            | Self::Joining { run, .. }
            | Self::Registering { run, .. }
            | Self::Pausing { run, .. }
            | Self::Claiming { run, .. }
            | Self::Storing { run, .. }
            | Self::Keeping { run, .. }
            | Self::Marking { run, .. } => Some(run),
            Self::Idle | Self::Recording { .. } | Self::Resetting { .. } => None,
        }
    }

    /// The command that the phase waits for.
    pub(super) const fn op(&self) -> Option<Op> {
        match self {
            Self::Idle | Self::Leaving { .. } | Self::Pausing { .. } => None,
            Self::Saving { op, .. }
            | Self::Joining { op, .. }
            | Self::Registering { op, .. }
            | Self::Claiming { op, .. }
            | Self::Storing { op, .. }
            | Self::Keeping { op, .. }
            | Self::Marking { op, .. }
            | Self::Recording { op, .. }
            | Self::Resetting { op, .. } => Some(*op),
        }
    }
}

impl Machine {
    /// An authenticated phone sent credentials.
    pub(super) fn credentials(&mut self, to: u64, credentials: Credentials, now: Instant) {
        let request_id = credentials.request_id;
        if let Some(running) = self.running() {
            let same = *running == credentials;
            return self.reply(to, if same { Reply::Accepted { request_id } } else { Reply::Refused(Fault::InProgress) });
        }
        if !matches!(self.phase, Phase::Idle) {
            return self.reply(to, Reply::Refused(Fault::InProgress));
        }
        self.reply(to, Reply::Accepted { request_id });
        let done = self.status.step == Step::Done && self.status.failure.is_none();
        if done && request_id != 0 && self.status.request_id == request_id {
            return self.announce();
        }
        self.begin(credentials, 0, now);
    }

    /// Begins an attempt. Nothing else is under way.
    pub(super) fn begin(&mut self, credentials: Credentials, resumes: u32, now: Instant) {
        self.heard = now;
        self.status = Status {
            step: Step::Saving,
            request_id: credentials.request_id,
            ssid: Some(credentials.ssid.to_string()),
            ssid_bytes: Some(credentials.ssid.clone()),
            ..Status::waiting()
        };
        self.announce();
        let op = self.start(Command::SavePending(Box::new(Pending { credentials: credentials.clone(), resumes })));
        let over_access_point = self.access_point == AccessPoint::Open || self.opening_access_point();
        self.phase = Phase::Saving { run: Run { credentials, over_access_point }, op };
    }

    /// An attempt that can only fail fails like any other, with its reason in the status.
    pub(super) fn begin_unusable(&mut self, ssid: String, fault: Fault) {
        self.status = Status { step: Step::Saving, ssid: Some(ssid), ..Status::waiting() };
        self.announce();
        self.fail(Failure { fault, registration_status: None }, Left::Nothing);
    }

    /// Takes up what a restart interrupted.
    pub(super) fn resume(&mut self, Pending { credentials, resumes }: Pending) {
        if resumes < RESUMES {
            return self.begin(credentials, resumes + 1, self.heard);
        }
        self.status = Status {
            step: Step::Saving,
            request_id: credentials.request_id,
            ssid: Some(credentials.ssid.to_string()),
            ssid_bytes: Some(credentials.ssid.clone()),
            ..Status::waiting()
        };
        self.fail(Failure { fault: Fault::Interrupted, registration_status: None }, Left::Network);
    }

    pub(super) fn phase_timeout(&self) -> Option<Instant> {
        match &self.phase {
            // The radio does one thing at a time.
            Phase::Leaving { until, .. } if self.restoring.is_none() && !self.opening_access_point() => Some(*until),
            Phase::Joining { until, .. } | Phase::Pausing { until, .. } => Some(*until),
            _ => None,
        }
    }

    pub(super) fn phase_timed_out(&mut self, now: Instant) {
        if self.phase_timeout().is_none_or(|until| until > now) {
            return;
        }
        match core::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Leaving { run, .. } => self.join(run, now),
            Phase::Joining { run, op, .. } => {
                self.outputs.push_back(Output::Cancel { op });
                self.fail(Failure { fault: Fault::NetworkTimeout, registration_status: None }, run.left());
            }
            Phase::Pausing { run, tries, .. } => self.register(run, tries + 1),
            phase => self.phase = phase,
        }
    }

    pub(super) fn phase_done(&mut self, op: Op, result: Done, now: Instant, rng: &mut impl CryptoRng) {
        if self.phase.op() != Some(op) {
            return;
        }
        let plain = |fault| Failure { fault, registration_status: None };
        match (core::mem::replace(&mut self.phase, Phase::Idle), result) {
            (Phase::Saving { run, .. }, Done::Saved(Ok(()))) => {
                self.step(Step::Saved);
                let until = if run.over_access_point { now + self.config.answer_leaves } else { now };
                self.phase = Phase::Leaving { run, until };
            }
            (Phase::Saving { .. }, Done::Saved(Err(fault))) => self.fail(plain(fault), Left::Nothing),
            (Phase::Joining { run, .. }, Done::Joined(Ok(joined))) => {
                self.status.limited_connectivity = joined.limited_connectivity;
                self.step(Step::Joined);
                self.step(Step::Registering);
                self.register(run, 1);
            }
            (Phase::Joining { run, .. }, Done::Joined(Err(fault)))
            | (Phase::Claiming { run, .. }, Done::Claimed(Err(fault)))
            | (Phase::Storing { run, .. } | Phase::Keeping { run, .. } | Phase::Marking { run, .. }, Done::Saved(Err(fault))) => {
                self.fail(plain(fault), run.left());
            }
            (Phase::Registering { run, .. }, Done::Registered(Ok(registration))) => self.claim(run, registration),
            (Phase::Registering { run, tries, .. }, Done::Registered(Err(refused))) => {
                self.refused(run, tries, &refused, now, rng);
            }
            (Phase::Claiming { run, registration, .. }, Done::Claimed(Ok(appliance_id))) => {
                self.status.appliance_id = Some(appliance_id);
                self.enroll(run, registration);
            }
            (Phase::Storing { run, registration, .. }, Done::Saved(Ok(()))) => {
                let op = self.start(Command::KeepNetwork);
                self.phase = Phase::Keeping { run, registration, op };
            }
            (Phase::Keeping { run, registration, .. }, Done::Saved(Ok(()))) => {
                let op = self.start(Command::MarkProvisioned);
                self.phase = Phase::Marking { run, registration, op };
            }
            (Phase::Marking { registration, .. }, Done::Saved(Ok(()))) => {
                self.identity.node_id = registration.node_id;
                self.provisioned = true;
                self.healthy = true;
                self.linger(now);
                self.step(Step::Done);
            }
            // Stored or not, the phone is told: it can do more about the reason than about the disk.
            (Phase::Recording { failure, left, .. }, Done::Saved(_)) => self.recorded(failure, left, now),
            (Phase::Resetting { waiting, interrupted, .. }, Done::Reset(result)) => {
                self.reset_done(waiting, interrupted, result, now);
            }
            // A result of another kind than the command's: the loop is at fault, and the attempt cannot go on.
            (phase, _) => {
                self.phase = phase;
            }
        }
    }

    fn join(&mut self, run: Run, now: Instant) {
        self.step(Step::Joining);
        let Credentials { ssid, passphrase, hidden, .. } = run.credentials.clone();
        // The station takes the radio from the access point.
        self.access_point = AccessPoint::Closed;
        let op = self.start(Command::Join { ssid, passphrase, hidden });
        self.phase = Phase::Joining { run, op, until: now + JOIN_LIMIT };
    }

    fn register(&mut self, run: Run, tries: u32) {
        let Credentials { command_center, node_id, token, room, .. } = run.credentials.clone();
        let op = self.start(Command::Register { command_center, node_id, token, room });
        self.phase = Phase::Registering { run, tries, op };
    }

    fn claim(&mut self, run: Run, registration: Registration) {
        let Some(code) = run.credentials.provision_code.clone() else { return self.enroll(run, registration) };
        self.step(Step::Claiming);
        let command_center = run.credentials.command_center.clone();
        let op = self.start(Command::Claim { command_center, code });
        self.phase = Phase::Claiming { run, registration, op };
    }

    fn enroll(&mut self, run: Run, registration: Registration) {
        self.step(Step::Finalizing);
        let credentials = Box::new(run.credentials.clone());
        let op = self.start(Command::SaveEnrollment { credentials, registration: registration.clone() });
        self.phase = Phase::Storing { run, registration, op };
    }

    fn refused(&mut self, run: Run, tries: u32, refused: &Refused, now: Instant, rng: &mut impl CryptoRng) {
        let allowed = match refused.fault {
            Fault::CommandCenterUnreachable => UNREACHABLE_TRIES,
            Fault::CommandCenterFailed => FAILED_TRIES,
            _ => 1,
        };
        if tries >= allowed {
            return self.fail(Failure { fault: refused.fault, registration_status: refused.status }, run.left());
        }
        let pause = RETRIES.pause_after_answer(tries, rng.next_u32(), refused.retry_after);
        self.phase = Phase::Pausing { run, tries, until: now + pause };
    }

    /// The attempt has failed: the reason is stored before it is told.
    pub(super) fn fail(&mut self, failure: Failure, left: Left) {
        let outcome = Outcome {
            request_id: self.status.request_id,
            ssid: self.status.ssid.clone().unwrap_or_default(),
            ssid_bytes: self.status.ssid_bytes.clone(),
            step: self.status.step,
            failure: Some(failure.clone()),
        };
        let op = self.start(Command::SaveOutcome(outcome));
        self.phase = Phase::Recording { failure, left, op };
    }

    fn recorded(&mut self, failure: Failure, left: Left, now: Instant) {
        // What was provisioned before is so still, and ends when nobody asks any more.
        if self.finish_at.is_some() {
            self.linger(now);
        }
        self.status.failure = Some(failure);
        self.status.limited_connectivity = false;
        match left {
            Left::Nothing => self.status.retryable = true,
            Left::AccessPoint => self.open_access_point(),
            Left::Network => self.restoring = Some(self.start(Command::RestoreNetwork)),
        }
        self.announce();
    }

    /// From here on the outcome can be asked for as long as the configuration says.
    fn linger(&mut self, now: Instant) {
        self.finish_at = self.config.linger.map(|linger| now + linger);
    }

    /// What the attempt under way was asked for.
    fn running(&self) -> Option<&Credentials> {
        self.phase.run().map(|run| &run.credentials)
    }
}
