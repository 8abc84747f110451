//! The world around a recovery: the radio, the networks in range, and the executor of commands.

use std::collections::BTreeMap;
use std::time::Duration;

use provisioning_core::care::recovery::{
    Command, Entry, Event, Input, Internet, Link, Mode, Observation, OpId, Output, Radio, Recovery, Sighted, Trouble,
};
use provisioning_core::domain::Ssid;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_mins(1);
pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// How long commands take.
const CHECK: Duration = Duration::from_millis(200);
const SCAN: Duration = Duration::from_secs(4);
const JOIN: Duration = Duration::from_secs(2);
const JOIN_FAILS: Duration = Duration::from_secs(24);
const SWITCH: Duration = Duration::from_secs(3);

pub(crate) fn ssid(name: &str) -> Ssid {
    Ssid::try_from(name).expect("1 to 32 bytes")
}

/// When a network is on the air.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Air {
    On,
    Off,
    /// In some seconds only: in those whose hash, between 0 and 99, is less than this.
    Flaps {
        percent: u64,
        seed: u64,
    },
}

impl Air {
    fn is_on(self, now: Duration) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            Self::Flaps { percent, seed } => {
                let second = now.as_secs().wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let mixed = (second ^ (second >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                (mixed >> 32) % 100 < percent
            }
        }
    }
}

/// A stored network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    pub(crate) air: Air,
    /// It accepts the node and assigns an address.
    pub(crate) accepts: bool,
    /// Its gateway answers.
    pub(crate) routes: bool,
}

impl Network {
    pub(crate) const GOOD: Self = Self { air: Air::On, accepts: true, routes: true };
    pub(crate) const GONE: Self = Self { air: Air::Off, ..Self::GOOD };
    pub(crate) const REFUSING: Self = Self { accepts: false, ..Self::GOOD };
}

/// What the radio does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Nothing,
    Joined(Ssid),
    Hotspot,
}

struct Running {
    command: Command,
    /// When it ends; none if its result is lost.
    ends: Option<Duration>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own; goes when two of them exclude each other")]
pub(crate) struct World {
    pub(crate) recovery: Recovery,
    pub(crate) now: Duration,
    pub(crate) networks: BTreeMap<Ssid, Network>,
    /// The network that was used last.
    pub(crate) last: Ssid,
    pub(crate) radio: Use,
    pub(crate) state: Radio,
    pub(crate) internet: Internet,
    /// The radio hears the networks of neighbours.
    pub(crate) hears: bool,
    pub(crate) cable: bool,
    pub(crate) stations: u32,
    /// The hotspot can be opened.
    pub(crate) hotspot_works: bool,
    /// How many of the next results are lost.
    pub(crate) lost: u32,
    /// Every command takes until its limit.
    pub(crate) slow: bool,
    running: Option<Running>,
    /// The last check's result was lost, or somebody asked for a recovery: then the machine may act on an old check.
    blind: bool,
    pub(crate) commands: Vec<(Duration, Command)>,
    pub(crate) events: Vec<Entry>,
    /// The changes of mode.
    pub(crate) changes: Vec<(Duration, Mode)>,
    mode: Mode,
    provisioning: bool,
}

impl World {
    /// A node in its home.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            recovery: Recovery::new(Duration::ZERO),
            now: Duration::ZERO,
            networks: BTreeMap::from([(ssid("home"), Network::GOOD)]),
            last: ssid("home"),
            radio: Use::Joined(ssid("home")),
            state: Radio::Ready,
            internet: Internet::Full,
            hears: true,
            cable: false,
            stations: 0,
            hotspot_works: true,
            lost: 0,
            slow: false,
            running: None,
            blind: false,
            commands: Vec::new(),
            events: Vec::new(),
            changes: Vec::new(),
            mode: Mode::Station,
            provisioning: false,
        };
        world.drain();
        world
    }

    /// The same, after an hour, and after the check at that time.
    pub(crate) fn settled() -> Self {
        let mut world = Self::new();
        world.advance(HOUR + SECOND);
        world.commands.clear();
        world
    }

    /// In the hotspot, with the home gone.
    pub(crate) fn in_hotspot() -> Self {
        let mut world = Self::settled();
        world.set("home", Network::GONE);
        world.until(4 * MINUTE, |world| world.recovery.status(world.now).mode == Mode::Hotspot);
        world.commands.clear();
        world
    }

    pub(crate) fn set(&mut self, name: &str, network: Network) {
        self.networks.insert(ssid(name), network);
    }

    fn on_air(&self, network: &Ssid) -> Option<Network> {
        self.networks.get(network).copied().filter(|network| network.air.is_on(self.now))
    }

    /// Whether the node is in a Wi-Fi network that works.
    pub(crate) fn is_home(&self) -> bool {
        let Use::Joined(network) = &self.radio else { return false };
        self.state == Radio::Ready && self.on_air(network).is_some_and(|network| network.accepts && network.routes)
    }

    pub(crate) fn mode_is(&self, mode: Mode) -> bool {
        self.recovery.status(self.now).mode == mode
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.recovery.handle(input, self.now);
        self.drain();
    }

    pub(crate) fn set_provisioning(&mut self, active: bool) {
        self.provisioning = active;
        self.input(Input::Provisioning { active });
        if active {
            assert!(self.running.is_none(), "provisioning takes the radio, and a command is in progress");
        }
    }

    pub(crate) fn recover(&mut self) -> Result<(), provisioning_core::care::recovery::Refusal> {
        self.blind = true;
        let asked = self.recovery.recover(self.now);
        self.drain();
        asked
    }

    /// The program is killed and started again. NetworkManager closes the hotspot of a program that ends.
    pub(crate) fn crash(&mut self) {
        self.running = None;
        self.provisioning = false;
        if self.radio == Use::Hotspot {
            self.radio = Use::Nothing;
            self.stations = 0;
        }
        self.recovery = Recovery::new(self.now);
        self.mode = Mode::Station;
        self.drain();
    }

    pub(crate) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Advances until `done`, for `limit` at most; the time that it took.
    pub(crate) fn until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let (start, end) = (self.now, self.now + limit);
        while !done(self) {
            assert!(self.step(end), "not within {limit:?}: {:?}, {:?}", self.recovery.status(self.now), self.events);
        }
        self.now.saturating_sub(start)
    }

    /// Starts from here at another time, without an input in between.
    pub(crate) fn jump(&mut self, time: Duration) {
        self.now += time;
        self.input(Input::Timeout);
    }

    /// Whether a command is in progress.
    pub(crate) fn is_busy(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn has_event(&self, event: &Event) -> bool {
        self.events.iter().any(|entry| entry.event == *event)
    }

    /// The commands since they were cleared that change what the radio does, by their names.
    pub(crate) fn switches(&self) -> Vec<String> {
        self.commands.iter().filter(|(_, command)| command.switches_radio()).map(|(_, command)| name(command)).collect()
    }

    /// Makes one step: the end of the command in progress, or the next timeout; false if neither comes before `end`.
    fn step(&mut self, end: Duration) -> bool {
        let timeout = self.recovery.poll_timeout();
        let ends = self.running.as_ref().and_then(|running| running.ends);
        let Some(next) = timeout.into_iter().chain(ends).min().filter(|next| *next <= end) else { return false };
        self.now = next;
        if ends == Some(next) {
            let Running { command, .. } = self.running.take().expect("it has an end");
            let done = self.execute(command);
            self.input(Input::Done(done));
        } else {
            self.input(Input::Timeout);
        }
        true
    }

    fn drain(&mut self) {
        while let Some(output) = self.recovery.poll_output() {
            match output {
                Output::Start(command) => self.start(command),
                Output::Cancel(op) => self.cancel(op),
                Output::Event(entry) => {
                    assert!(self.events.last().is_none_or(|last| last.number < entry.number || entry.number == 1));
                    self.events.push(entry);
                }
            }
        }
        if let Some(timeout) = self.recovery.poll_timeout() {
            assert!(timeout > self.now, "the loop would spin: a timeout that is due was not served");
        }
        let mode = self.recovery.status(self.now).mode;
        if mode != self.mode {
            self.mode = mode;
            self.changes.push((self.now, mode));
        }
    }

    /// Checks the invariants of commands.
    fn start(&mut self, command: Command) {
        assert!(self.running.is_none(), "two commands at once: {command:?}");
        assert!(!self.provisioning, "provisioning has the radio: {command:?}");
        let closes = matches!(command, Command::CloseHotspot { .. });
        if command.switches_radio() && !closes {
            assert!(self.blind || !self.is_home(), "the radio leaves a network that works: {command:?}");
        }
        if matches!(command, Command::Reconnect { .. } | Command::Connect { .. }) && self.radio == Use::Hotspot {
            self.radio = Use::Nothing;
        }
        let ends = if self.lost > 0 {
            self.lost -= 1;
            self.blind = true;
            None
        } else {
            let slow =
                self.recovery.poll_timeout().filter(|_| self.slow).map(|limit| limit.saturating_sub(Duration::from_millis(1)));
            Some(slow.unwrap_or_else(|| self.now + self.takes(&command)))
        };
        self.commands.push((self.now, command.clone()));
        self.running = Some(Running { command, ends });
    }

    fn cancel(&mut self, op: OpId) {
        let running = self.running.take().expect("what is cancelled is in progress");
        assert_eq!(running.command.id(), op);
    }

    fn takes(&self, command: &Command) -> Duration {
        match command {
            Command::Check { .. } => CHECK,
            Command::Scan { .. } => SCAN,
            Command::Reconnect { .. } if !self.can_join(&self.last) => JOIN_FAILS,
            Command::Connect { network, .. } if !self.can_join(network) => JOIN_FAILS,
            Command::Reconnect { .. } | Command::Connect { .. } => JOIN,
            Command::RestartRadio { .. } | Command::OpenHotspot { .. } | Command::CloseHotspot { .. } => SWITCH,
        }
    }

    fn can_join(&self, network: &Ssid) -> bool {
        self.state == Radio::Ready && self.on_air(network).is_some_and(|network| network.accepts)
    }

    fn execute(&mut self, command: Command) -> provisioning_core::care::recovery::Done {
        let failed = if self.state == Radio::Hung { Trouble::Hung } else { Trouble::Failed };
        match command {
            Command::Check { op } => {
                self.blind = false;
                op.done(self.observe())
            }
            Command::Scan { op } => {
                let mut networks: Vec<Ssid> = self.networks.keys().filter(|name| self.on_air(name).is_some()).cloned().collect();
                networks.sort_by_key(|network| *network != self.last);
                op.done(if self.state == Radio::Ready {
                    Sighted { networks, hears: Some(self.hears) }
                } else {
                    Sighted::default()
                })
            }
            Command::Reconnect { op } => op.done(self.join(self.last.clone()).ok_or(failed)),
            Command::Connect { op, network } => op.done(self.join(network).ok_or(failed)),
            Command::RestartRadio { op } => {
                if self.state == Radio::Hung {
                    self.state = Radio::Ready;
                }
                self.radio = Use::Nothing;
                op.done(Ok(()))
            }
            Command::OpenHotspot { op } => {
                let opens = self.hotspot_works && self.state == Radio::Ready;
                self.radio = if opens { Use::Hotspot } else { Use::Nothing };
                op.done(if opens { Ok(()) } else { Err(failed) })
            }
            Command::CloseHotspot { op } => {
                self.radio = Use::Nothing;
                self.stations = 0;
                op.done(Ok(()))
            }
        }
    }

    fn join(&mut self, network: Ssid) -> Option<()> {
        let joined = self.can_join(&network);
        self.stations = 0;
        self.radio = if joined { Use::Joined(network.clone()) } else { Use::Nothing };
        joined.then(|| self.last = network)
    }

    fn observe(&self) -> Observation {
        let joined = match &self.radio {
            Use::Joined(network) if self.state != Radio::Unusable => self.on_air(network).map(|found| (network.clone(), found)),
            _ => None,
        };
        let link = match &joined {
            _ if self.cable => Link::Up,
            None => Link::Down,
            Some((_, network)) if !network.accepts => Link::NoAddress,
            Some((_, network)) if !network.routes => Link::GatewaySilent,
            Some(_) => Link::Up,
        };
        Observation {
            radio: self.state,
            link,
            internet: if link == Link::Up { self.internet } else { Internet::None },
            joined: joined.map(|(network, _)| network),
            hotspot: (self.radio == Use::Hotspot).then_some(self.stations),
        }
    }
}

fn name(command: &Command) -> String {
    match command {
        Command::Check { .. } => "check".into(),
        Command::Scan { .. } => "scan".into(),
        Command::Reconnect { .. } => "reconnect".into(),
        Command::Connect { network, .. } => format!("connect {network}"),
        Command::RestartRadio { .. } => "restart".into(),
        Command::OpenHotspot { .. } => "open".into(),
        Command::CloseHotspot { .. } => "close".into(),
    }
}
