//! Recovery of a lost network.
//!
//! [`Recovery`] checks the network every [`CHECK_EVERY`]. After [`BAD_CHECKS`] bad checks in a row it tries, in this order:
//! the network that was used last, the other stored networks in range, a restart of the radio's software if that hangs, and
//! finally the hotspot, over which a phone can reach the node. While the hotspot is open, it scans for stored networks and
//! joins one when it has returned and no phone uses the hotspot.
//!
//! | situation | bound |
//! |---|---|
//! | no stored network works | the hotspot is open within [`FALLBACK_WITHIN`] |
//! | a stored network returns | the node is in it within [`RETURN_WITHIN`], if no phone uses the hotspot |
//! | the network appears and disappears all the time | at most 3 changes between network and hotspot in an hour |
//! | only the internet is missing | the radio is left alone |
//! | a phone is being served by provisioning | the radio is left alone |
//!
//! There is no wall clock in it: time is monotonic, so a clock that is set changes nothing. Nothing is stored either: after a
//! crash the first check says what the radio does.

mod command;
mod history;
mod returning;
mod search;

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::domain::Ssid;
pub use command::{Command, Done, Internet, Link, Observation, Op, OpId, Outage, Radio, Sighted, Trouble};
use history::History;
pub use history::{Entry, Event, HISTORY};
use returning::Returning;
use search::Search;

/// A point in time: the time since an arbitrary, fixed moment. Monotonic.
pub type Instant = Duration;

/// The time from the start of a check to the start of the next one.
pub const CHECK_EVERY: Duration = Duration::from_secs(30);
/// Bad checks in a row that start a recovery.
pub const BAD_CHECKS: u32 = 3;
/// After a recovery, successful or not, none starts by itself for this time.
pub const COOLDOWN: Duration = Duration::from_mins(2);
/// The longest time from the loss of the last network to the open hotspot.
pub const FALLBACK_WITHIN: Duration = Duration::from_mins(4);
/// The longest time from the return of a stored network to the node in it.
pub const RETURN_WITHIN: Duration = Duration::from_mins(2);

/// The limit of a check. It reads a few properties, and waits for the answer of the gateway.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// Who has the radio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The node is in a network, or looks for one.
    Station,
    /// The hotspot is open.
    Hotspot,
}

/// How the last recovery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was none.
    Idle,
    /// One is in progress.
    Pending,
    /// The hotspot was opened.
    HotspotRestored,
    /// The node is in a stored network.
    RejoinSucceeded,
    /// A stored network has returned, but refused the node; the hotspot is open again.
    RejoinFailed,
    /// Neither a network nor the hotspot works.
    Failed,
}

/// What keeps a recovery from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Nothing.
    None,
    /// The last one ended less than [`COOLDOWN`] ago.
    Cooldown,
    /// One is in progress.
    Recovery,
}

/// Why a recovery was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The last one ended less than [`COOLDOWN`] ago; it may be requested again at that time.
    Cooldown(Instant),
    /// One is in progress.
    InProgress,
    /// Provisioning has the radio.
    Provisioning,
    /// The machine only watches.
    Disabled,
}

/// An event that recovery reacts to.
#[derive(Debug)]
pub enum Input {
    /// A command has ended.
    Done(Done),
    /// Provisioning needs the radio, or no longer needs it.
    Provisioning {
        /// It needs it.
        active: bool,
    },
    /// A phone in the hotspot has sent a request. Probes for captive portals do not count: phones send them unattended.
    PhoneActive,
    /// The time of [`Recovery::poll_timeout`] has come. Harmless at any other time.
    Timeout,
}

/// An action for the loop, which carries outputs out in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Start a command. There is at most one at a time.
    Start(Command),
    /// Stop a command if that is still possible; its result is not needed. The next command starts after this one has ended.
    Cancel(OpId),
    /// Announce an event.
    Event(Entry),
}

/// The state that readers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who has the radio.
    pub mode: Mode,
    /// Provisioning has the radio; nothing is checked.
    pub paused: bool,
    /// The last check, or none since the start or the last pause.
    pub last_check: Option<Observation>,
    /// Bad checks in a row.
    pub bad_checks: u32,
    /// How the last recovery ended.
    pub outcome: Outcome,
    /// What keeps a recovery from starting.
    pub lock: Lock,
    /// When the last recovery started.
    pub last_attempt: Option<Instant>,
    /// When the node last came back to a network.
    pub last_recovered: Option<Instant>,
    /// When the cooldown ends.
    pub cooldown_until: Option<Instant>,
}

/// The state machine.
///
/// Input: [`handle`](Self::handle) cannot fail and does not block.
///
/// Output: `handle` appends to one queue, which [`poll_output`](Self::poll_output) empties. When the queue is empty,
/// [`poll_timeout`](Self::poll_timeout) is the latest time of the next input.
///
/// Commands: at most one is in progress, checks included. Each has a limit, after which it is cancelled and counts as failed, so
/// a lost result blocks nothing. A result that arrives later is ignored.
pub struct Recovery {
    outputs: VecDeque<Output>,
    history: History,
    next_op: u64,
    /// The command in progress.
    pending: Option<Pending>,
    /// It checks and reports, and never changes what the radio does.
    only_watches: bool,
    mode: Mode,
    paused: bool,
    last_check: Option<Observation>,
    bad_checks: u32,
    /// When the next check starts.
    check_at: Instant,
    /// The network that the node was in at the last check that found it in one.
    home: Option<Ssid>,
    /// The recovery, or the return, in progress.
    search: Option<Search>,
    returning: Returning,
    /// The radio's software did not react: it is restarted by this recovery, or by the next one.
    suspect: bool,
    /// Why the internet was missing at the last good check; none if it was there, or before the first one.
    outage: Option<Outage>,
    last: Outcome,
    last_attempt: Option<Instant>,
    last_recovered: Option<Instant>,
    cooldown_until: Option<Instant>,
}

/// The command in progress.
struct Pending {
    op: OpId,
    task: Task,
    until: Instant,
}

/// What the command in progress is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// A check in its turn.
    Check,
    /// A scan beside the hotspot.
    Survey,
    /// The hotspot is closed, because the node is in a network by another way.
    Close,
    /// A step of a recovery or of a return.
    Step(search::Step),
}

impl Recovery {
    /// Starts with a check. There are outputs to carry out before the first input.
    pub fn new(now: Instant) -> Self {
        Self::start_watching(false, now)
    }

    /// The same, but it only checks and reports, and leaves the radio to NetworkManager.
    pub fn watching(now: Instant) -> Self {
        Self::start_watching(true, now)
    }

    fn start_watching(only_watches: bool, now: Instant) -> Self {
        let mut recovery = Self {
            outputs: VecDeque::new(),
            history: History::default(),
            next_op: 0,
            pending: None,
            only_watches,
            mode: Mode::Station,
            paused: false,
            last_check: None,
            bad_checks: 0,
            check_at: now,
            home: None,
            search: None,
            returning: Returning::default(),
            suspect: false,
            outage: None,
            last: Outcome::Idle,
            last_attempt: None,
            last_recovered: None,
            cooldown_until: None,
        };
        recovery.settle(now);
        recovery
    }

    /// Takes one input. `now` never goes backwards.
    pub fn handle(&mut self, input: Input, now: Instant) {
        match input {
            Input::Done(done) => {
                if let Some(Pending { task, .. }) = self.pending.take_if(|pending| pending.op == done.op()) {
                    self.ended(task, Some(done), now);
                }
            }
            Input::Provisioning { active } => self.set_provisioning(active, now),
            Input::PhoneActive => self.returning.phone_active(now),
            Input::Timeout => {}
        }
        if let Some(Pending { op, task, .. }) = self.pending.take_if(|pending| pending.until <= now) {
            self.outputs.push_back(Output::Cancel(op));
            self.ended(task, None, now);
        }
        self.settle(now);
    }

    /// Starts a recovery at once, whatever the last check has found.
    pub fn recover(&mut self, now: Instant) -> Result<(), Refusal> {
        if self.only_watches {
            return Err(Refusal::Disabled);
        }
        if self.paused {
            return Err(Refusal::Provisioning);
        }
        if self.search.is_some() {
            return Err(Refusal::InProgress);
        }
        if let Some(until) = self.cooldown(now) {
            return Err(Refusal::Cooldown(until));
        }
        self.cancel_pending();
        self.start_recovery(now);
        Ok(())
    }

    /// The next output, in order; none when all were taken.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due, unless another input comes first. None while provisioning has the radio.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.pending {
            Some(pending) => Some(pending.until),
            None if self.paused => None,
            None => Some(self.check_at),
        }
    }

    /// The state that readers see.
    pub fn status(&self, now: Instant) -> Status {
        let cooldown_until = self.cooldown(now);
        let recovering = self.search.is_some();
        Status {
            mode: self.mode,
            paused: self.paused,
            last_check: self.last_check.clone(),
            bad_checks: self.bad_checks,
            outcome: if recovering { Outcome::Pending } else { self.last },
            lock: match cooldown_until {
                _ if recovering => Lock::Recovery,
                Some(_) => Lock::Cooldown,
                None => Lock::None,
            },
            last_attempt: self.last_attempt,
            last_recovered: self.last_recovered,
            cooldown_until,
        }
    }

    /// The last [`HISTORY`] events, oldest first.
    pub fn history(&self) -> impl Iterator<Item = &Entry> {
        self.history.entries()
    }

    /// Provisioning takes the radio, or gives it back. Nothing is known about the radio afterwards except by a check.
    fn set_provisioning(&mut self, active: bool, now: Instant) {
        if self.paused == active {
            return;
        }
        self.paused = active;
        self.cancel_pending();
        self.search = None;
        self.bad_checks = 0;
        self.last_check = None;
        self.returning = Returning::default();
        self.check_at = now;
        self.announce(if active { Event::Paused } else { Event::Resumed }, now);
    }

    /// Starts the check that is due.
    fn settle(&mut self, now: Instant) {
        if self.paused || self.pending.is_some() || self.search.is_some() || self.check_at > now {
            return;
        }
        self.check_at = now + CHECK_EVERY;
        self.start(Task::Check, CHECK_LIMIT, now, |op| Command::Check { op: Op::new(op) });
    }

    /// A command has ended; none if its result was lost.
    fn ended(&mut self, task: Task, done: Option<Done>, now: Instant) {
        match task {
            Task::Check => self.checked(done.and_then(Done::observation), now),
            Task::Survey => self.surveyed(done.and_then(Done::sighted), now),
            Task::Close => self.closed(done.as_ref().is_some_and(Done::succeeded), now),
            Task::Step(step) => self.step_ended(step, done, now),
        }
    }

    /// A check has ended. One that was lost says nothing about the network, and counts as bad.
    fn checked(&mut self, observation: Option<Observation>, now: Instant) {
        self.last_check.clone_from(&observation);
        match observation {
            Some(seen) if seen.works() => self.network_works(&seen, now),
            Some(Observation { hotspot: Some(stations), .. }) => self.hotspot_open(stations, now),
            seen => self.check_is_bad(seen.as_ref(), now),
        }
    }

    /// The node is in a network that works, with or without internet.
    fn network_works(&mut self, seen: &Observation, now: Instant) {
        self.bad_checks = 0;
        self.suspect = seen.radio == Radio::Hung;
        if seen.joined.is_some() {
            self.home.clone_from(&seen.joined);
        }
        let outage = seen.internet.outage();
        if outage != self.outage {
            self.outage = outage;
            self.announce(outage.map_or(Event::InternetBack, |outage| Event::InternetLost { outage }), now);
        }
        match seen.hotspot {
            // A cable was plugged in, or another radio is in use.
            Some(stations) => {
                self.set_hotspot(stations, now);
                if self.may_leave_hotspot(now) {
                    self.start(Task::Close, search::SWITCH_LIMIT, now, |op| Command::CloseHotspot { op: Op::new(op) });
                }
            }
            None => {
                // Another program has left the hotspot for a network.
                if self.mode == Mode::Hotspot {
                    self.arrived(now);
                }
                self.returning.works(now);
            }
        }
    }

    /// The hotspot is open, and nothing else works: look for a stored network, unless a phone is there.
    fn hotspot_open(&mut self, stations: u32, now: Instant) {
        self.bad_checks = 0;
        self.set_hotspot(stations, now);
        if self.may_leave_hotspot(now) {
            self.start(Task::Survey, search::SCAN_LIMIT, now, |op| Command::Scan { op: Op::new(op) });
        }
    }

    fn may_leave_hotspot(&self, now: Instant) -> bool {
        !self.only_watches && self.returning.may_leave(now)
    }

    fn set_hotspot(&mut self, stations: u32, now: Instant) {
        if self.mode == Mode::Station {
            self.mode = Mode::Hotspot;
            self.returning.opened();
            self.announce(Event::HotspotOpened, now);
        }
        self.returning.stations(stations, now);
    }

    fn check_is_bad(&mut self, seen: Option<&Observation>, now: Instant) {
        let radio = seen.map(|seen| seen.radio);
        self.bad_checks = self.bad_checks.saturating_add(1);
        self.returning.fails(now);
        self.suspect |= radio == Some(Radio::Hung);
        if self.bad_checks == BAD_CHECKS {
            self.announce(Event::NetworkLost { network: self.home.clone(), link: seen.map(|seen| seen.link) }, now);
        }
        // A radio that was switched off or unplugged stays so until its owner acts.
        let usable = radio != Some(Radio::Unusable) && !self.only_watches;
        // Requests of a phone show that the hotspot is open, whatever the checks say.
        let used = self.mode == Mode::Hotspot && self.returning.is_used(now);
        if usable && !used && self.bad_checks >= BAD_CHECKS && self.cooldown(now).is_none() {
            self.start_recovery(now);
        }
    }

    fn closed(&mut self, closed: bool, now: Instant) {
        if closed {
            self.arrived(now);
        }
    }

    /// The node is in a network again.
    fn arrived(&mut self, now: Instant) {
        self.mode = Mode::Station;
        self.bad_checks = 0;
        self.last_recovered = Some(now);
        self.returning.returned(now);
        self.announce(Event::Returned { network: self.home.clone() }, now);
    }

    fn cooldown(&self, now: Instant) -> Option<Instant> {
        self.cooldown_until.filter(|until| *until > now)
    }

    fn cancel_pending(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.outputs.push_back(Output::Cancel(pending.op));
        }
    }

    fn start(&mut self, task: Task, limit: Duration, now: Instant, command: impl FnOnce(OpId) -> Command) {
        let op = OpId::new(self.next_op);
        self.next_op += 1;
        self.pending = Some(Pending { op, task, until: now + limit });
        self.outputs.push_back(Output::Start(command(op)));
    }

    fn announce(&mut self, event: Event, now: Instant) {
        let entry = self.history.add(event, now);
        self.outputs.push_back(Output::Event(entry));
    }
}
