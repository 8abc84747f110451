//! The steps of a recovery and of a return, from the mildest to the hotspot.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::command::{Command, Done, Observation, Op, Sighted};
use super::{BAD_CHECKS, CHECK_EVERY, CHECK_LIMIT, COOLDOWN, Duration, Event, Instant, Mode, Outcome, Recovery, Task};
use crate::domain::Ssid;

/// The limit of a scan: all channels of both bands take 4 s, and NetworkManager may delay a scan by 8 s.
pub(super) const SCAN_LIMIT: Duration = Duration::from_secs(12);
/// The limit of opening or closing the hotspot: 6 s with a scan in progress.
pub(super) const SWITCH_LIMIT: Duration = Duration::from_secs(15);
/// The limit of a join in a recovery. NetworkManager takes 25 s to give up a network that does not answer.
const JOIN_LIMIT: Duration = Duration::from_secs(25);
/// The limit of all joins of a recovery together, so that the hotspot opens in time, however many networks are stored.
const SEARCH_LIMIT: Duration = Duration::from_secs(50);
/// The limit of a restart of the radio's software.
const RESTART_LIMIT: Duration = Duration::from_secs(15);
/// The limit of the join after a restart of the radio's software. It restarts with an empty list of networks, which a scan
/// of a few seconds fills.
const JOIN_AFTER_RESTART_LIMIT: Duration = Duration::from_secs(15);
/// The limit of all joins of a return together. The network was seen twice, so only a slow DHCP server takes longer.
const RETURN_LIMIT: Duration = Duration::from_secs(30);

/// A recovery or a return in progress.
pub(super) struct Search {
    purpose: Purpose,
    /// No further network is tried after this time.
    until: Instant,
    /// The networks that are left to try.
    networks: VecDeque<Ssid>,
    /// The network that is being joined, if known.
    joining: Option<Ssid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The network is lost.
    Recovery,
    /// The hotspot is open, and a stored network has returned.
    Return,
    /// The hotspot is open, and its radio hears nothing.
    Repair,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Join the network that was used last.
    Reconnect,
    /// Scan for the other stored networks.
    Scan,
    /// Join one of them.
    Join,
    /// Restart the radio's software.
    Restart,
    /// Join the network that was used last, after the restart.
    ReconnectAfterRestart,
    /// Check whether the network works, after this step has reported success.
    Verify(Joining),
    /// Check whether a network works after all, before the radio does this: NetworkManager joins networks by itself, too.
    Recheck(Next),
    /// Open the hotspot.
    Open,
}

/// A step that takes the radio away from whatever it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Join,
    Restart,
    Open,
}

/// A step that joins a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joining {
    Reconnect,
    Join,
    ReconnectAfterRestart,
}

impl Recovery {
    /// Starts a recovery.
    pub(super) fn start_recovery(&mut self, now: Instant) {
        self.search = Some(Search {
            purpose: Purpose::Recovery,
            until: now + SEARCH_LIMIT,
            networks: VecDeque::new(),
            joining: self.home.clone(),
        });
        self.last_attempt = Some(now);
        self.announce(Event::RecoveryStarted, now);
        self.start_step(Step::Reconnect, JOIN_LIMIT, now, |op| Command::Reconnect { op: Op::new(op) });
    }

    /// A scan beside the hotspot has ended.
    pub(super) fn surveyed(&mut self, sighted: Option<Sighted>, now: Instant) {
        let Some(Sighted { networks, hears }) = sighted else { return };
        if self.returning.is_deaf(hears, now) {
            return self.repair_hotspot(now);
        }
        let networks: VecDeque<_> = self.returning.found(networks).into();
        if !networks.is_empty() {
            self.search = Some(Search { purpose: Purpose::Return, until: now + RETURN_LIMIT, networks, joining: None });
            self.recheck(Next::Join, now);
        }
    }

    /// Restarts the radio's software, and opens the hotspot again.
    fn repair_hotspot(&mut self, now: Instant) {
        self.search = Some(Search { purpose: Purpose::Repair, until: now, networks: VecDeque::new(), joining: None });
        self.announce(Event::HotspotDeaf, now);
        self.start_step(Step::Restart, RESTART_LIMIT, now, |op| Command::RestartRadio { op: Op::new(op) });
    }

    /// A step has ended; `done` is none if its result was lost.
    pub(super) fn step_ended(&mut self, step: Step, done: Option<Done>, now: Instant) {
        let succeeded = done.as_ref().is_some_and(Done::succeeded);
        self.suspect |= done.as_ref().is_some_and(Done::hung);
        match step {
            Step::Reconnect if succeeded => self.verify(Joining::Reconnect, now),
            Step::Join if succeeded => self.verify(Joining::Join, now),
            Step::ReconnectAfterRestart if succeeded => self.verify(Joining::ReconnectAfterRestart, now),
            Step::Reconnect => self.scan_for_others(now),
            Step::Scan => self.others_found(done.and_then(Done::sighted), now),
            Step::Join => self.continue_search(now),
            Step::Restart if self.search.as_ref().is_some_and(|search| search.purpose == Purpose::Repair) => {
                self.recheck(Next::Open, now);
            }
            Step::Restart => {
                self.start_step(Step::ReconnectAfterRestart, JOIN_AFTER_RESTART_LIMIT, now, |op| Command::Reconnect {
                    op: Op::new(op),
                });
            }
            Step::ReconnectAfterRestart => self.recheck(Next::Open, now),
            Step::Verify(joining) => match done.and_then(Done::observation) {
                Some(seen) if !seen.works() => self.unverified(joining, now),
                // The join has succeeded; the next checks follow.
                seen => self.rejoined(seen.as_ref(), now),
            },
            Step::Recheck(next) => self.rechecked(next, done.and_then(Done::observation), now),
            Step::Open => self.opened(succeeded, now),
        }
    }

    fn verify(&mut self, joining: Joining, now: Instant) {
        self.start_step(Step::Verify(joining), CHECK_LIMIT, now, |op| Command::Check { op: Op::new(op) });
    }

    /// A network was joined, and does not work.
    fn unverified(&mut self, joining: Joining, now: Instant) {
        match joining {
            Joining::Reconnect => self.scan_for_others(now),
            Joining::Join => self.continue_search(now),
            Joining::ReconnectAfterRestart => self.proceed(Next::Open, now),
        }
    }

    fn scan_for_others(&mut self, now: Instant) {
        self.start_step(Step::Scan, SCAN_LIMIT, now, |op| Command::Scan { op: Op::new(op) });
    }

    fn others_found(&mut self, sighted: Option<Sighted>, now: Instant) {
        // A radio that is alive ends a scan, with or without a result.
        self.suspect |= sighted.is_none();
        let mut networks: Vec<Ssid> = sighted.unwrap_or_default().networks;
        networks.retain(|network| Some(network) != self.home.as_ref());
        if let Some(search) = &mut self.search {
            search.networks = networks.into();
        }
        self.continue_search(now);
    }

    /// Continues with the next network; if there is none, or no time, with the next step.
    fn continue_search(&mut self, now: Instant) {
        let Some(search) = &self.search else { return };
        let next = if !search.networks.is_empty() && search.until > now {
            Next::Join
        } else if search.purpose == Purpose::Recovery && self.suspect {
            Next::Restart
        } else {
            Next::Open
        };
        self.recheck(next, now);
    }

    fn recheck(&mut self, next: Next, now: Instant) {
        self.start_step(Step::Recheck(next), CHECK_LIMIT, now, |op| Command::Check { op: Op::new(op) });
    }

    fn rechecked(&mut self, next: Next, seen: Option<Observation>, now: Instant) {
        match seen {
            // A cable was plugged in.
            Some(seen) if seen.works() && seen.hotspot.is_some() => {
                self.search = None;
                self.network_works(&seen, now);
            }
            Some(seen) if seen.works() => self.rejoined(Some(&seen), now),
            Some(Observation { hotspot: Some(stations), .. }) => {
                self.returning.stations(stations, now);
                let returns = self.search.as_ref().is_some_and(|search| search.purpose == Purpose::Return);
                if returns && self.returning.is_used(now) {
                    // A phone has started to use the hotspot during the scan.
                    self.search = None;
                } else {
                    self.proceed(next, now);
                }
            }
            _ => self.proceed(next, now),
        }
    }

    /// Nothing works, so the radio may do this.
    fn proceed(&mut self, next: Next, now: Instant) {
        match next {
            Next::Join => self.join_next(now),
            Next::Restart => {
                self.suspect = false;
                if let Some(search) = &mut self.search {
                    search.joining.clone_from(&self.home);
                }
                self.announce(Event::RadioRestarted, now);
                self.start_step(Step::Restart, RESTART_LIMIT, now, |op| Command::RestartRadio { op: Op::new(op) });
            }
            Next::Open => self.start_step(Step::Open, SWITCH_LIMIT, now, |op| Command::OpenHotspot { op: Op::new(op) }),
        }
    }

    fn join_next(&mut self, now: Instant) {
        let Some(search) = &mut self.search else { return };
        let left = search.until.saturating_sub(now);
        match search.networks.pop_front().filter(|_| !left.is_zero()) {
            Some(network) => {
                search.joining = Some(network.clone());
                let returns = search.purpose == Purpose::Return;
                let limit = if returns { left } else { left.min(JOIN_LIMIT) };
                if returns {
                    self.announce(Event::ReturnStarted { network: network.clone() }, now);
                }
                self.start_step(Step::Join, limit, now, |op| Command::Connect { op: Op::new(op), network });
            }
            None => {
                search.networks.clear();
                self.continue_search(now);
            }
        }
    }

    /// The node is in a network that works.
    fn rejoined(&mut self, seen: Option<&Observation>, now: Instant) {
        let Some(search) = self.search.take() else { return };
        self.home = seen.and_then(|seen| seen.joined.clone()).or(search.joining).or(self.home.take());
        if search.purpose == Purpose::Recovery {
            self.announce(Event::Rejoined { network: self.home.clone() }, now);
        }
        self.bad_checks = 0;
        if self.mode == Mode::Hotspot {
            self.arrived(now);
        }
        self.last_recovered = Some(now);
        self.finish(search.purpose, Outcome::RejoinSucceeded, now);
    }

    /// The hotspot is open, or could not be opened.
    fn opened(&mut self, open: bool, now: Instant) {
        let Some(search) = self.search.take() else { return };
        let failed_return = search.purpose == Purpose::Return;
        if failed_return {
            self.returning.failed(now);
            self.announce(Event::ReturnFailed, now);
        }
        if open {
            self.bad_checks = 0;
            self.mode = Mode::Hotspot;
            self.returning.opened();
            self.announce(Event::HotspotOpened, now);
            let outcome = if failed_return { Outcome::RejoinFailed } else { Outcome::HotspotRestored };
            self.finish(search.purpose, outcome, now);
        } else {
            // A radio that neither joins nor opens a hotspot may hang without a sign of it.
            self.suspect = true;
            self.mode = Mode::Station;
            self.bad_checks = self.bad_checks.max(BAD_CHECKS);
            self.announce(Event::RecoveryFailed, now);
            self.finish(Purpose::Recovery, Outcome::Failed, now);
        }
    }

    fn finish(&mut self, purpose: Purpose, outcome: Outcome, now: Instant) {
        self.last = outcome;
        self.check_at = now + CHECK_EVERY;
        if purpose == Purpose::Recovery {
            self.cooldown_until = Some(now + COOLDOWN);
        }
    }

    fn start_step(&mut self, step: Step, limit: Duration, now: Instant, command: impl FnOnce(super::OpId) -> Command) {
        self.start(Task::Step(step), limit, now, command);
    }
}
