//! The world around a machine. Time is virtual, commands are executed one by one, and the power can fail at any instant:
//! after each output, and between a command's effect and its report.

use std::collections::VecDeque;
use std::time::Duration;

use provisioning_core::domain::{
    CareReply, CommandCenterUrl, CreatedAt, Credentials, Identity, K2, Network, Outcome, Pairing, Passphrase, ProvisionCode,
    Registration, Security, Ssid, State, Step,
};
use provisioning_core::endpoint::Endpoint;
use provisioning_core::fault::Fault;
use provisioning_core::machine::{
    AccessPointPolicy, Answer, Boot, CareCommand, Cleared, ClearedItem, Command, CommandCenterCommand, Config, DiskCommand, Done,
    Input, Joined, Link, LocalRequest, Machine, Output, Pending, RadioCommand, Ticket,
};
use provisioning_core::secret::{SecretBytes, SecretText};
use provisioning_core::session::PhoneSecret;
use provisioning_core::wire::{Message, Reply, Request};

pub(crate) use testing::random::Random;

use crate::center::{CODE_OF_A_SITE, Center};
use crate::phone::{Heard, Phone, right};

pub(crate) const CODE: &str = "071934";
pub(crate) const QR: [u8; 16] = *b"0123456789:;<=>?";
pub(crate) const UNREGISTERED: &str = "jarvis-5b91b661";
pub(crate) const NODE_ID: &str = "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d";
pub(crate) const PASSPHRASE: &str = "correct horse battery";
pub(crate) const TOKEN: &str = "token-of-this-node";

/// The data that survives a power cut.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) guesses: u32,
    /// How often the pairing secrets were renewed.
    pub(crate) renewals: u32,
    pub(crate) k2: Option<K2>,
    pub(crate) pending: Option<Pending>,
    pub(crate) enrollment: Option<(Credentials, Registration)>,
    pub(crate) provisioned: bool,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) resetting: bool,
}

/// The state of the radio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Radio {
    /// Its state before the daemon used it.
    Before,
    AccessPoint(String),
    Joined(Ssid),
}

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) config: Config,
    pub(crate) now: Duration,
    pub(crate) random: Random,
    pub(crate) disk: Disk,
    pub(crate) radio: Radio,
    /// The profile that the radio joins by itself after a restart.
    pub(crate) kept: Option<Ssid>,
    pub(crate) center: Center,
    pub(crate) phones: Vec<Phone>,
    pub(crate) answers: Vec<(Ticket, Answer)>,
    /// Commands in progress, oldest first.
    pub(crate) commands: VecDeque<Command>,
    /// Faults of the next scans.
    pub(crate) scans: VecDeque<Fault>,
    /// The results of the next joins; after those, the network decides.
    pub(crate) joins: VecDeque<Result<Joined, Fault>>,
    /// The failures of the next tries to forget all networks.
    pub(crate) forget_failures: VecDeque<Fault>,
    /// The failures of the next writes.
    pub(crate) full: VecDeque<Fault>,
    /// The last outcome could not be stored.
    pub(crate) outcome_lost: bool,
    pub(crate) advertised: bool,
    pub(crate) finished: bool,
    pub(crate) closed: Vec<Link>,
    /// The messages to links that are none of the phones: to Espressif's apps.
    pub(crate) app_answers: Vec<(Link, Vec<u8>)>,
    /// Every message that left the node.
    pub(crate) air: Vec<Vec<u8>>,
    /// The instant at which the power fails, and how many have passed.
    pub(crate) cut_at: Option<usize>,
    pub(crate) instants: usize,
    next_link: u64,
    next_ticket: u64,
}

/// The power has failed. The state of the machine is lost.
#[derive(Debug)]
pub(crate) struct PowerCut;

pub(crate) fn config(access_point: AccessPointPolicy) -> Config {
    Config {
        firmware_version: "1.0.0".into(),
        capabilities: vec!["voice".into()],
        access_point,
        answer_leaves: Duration::from_millis(500),
        linger: Some(Duration::from_mins(5)),
        network_care: false,
        improv: false,
        nymea: false,
        page: String::new(),
        next_url: None,
    }
}

pub(crate) fn ssid(name: &str) -> Ssid {
    Ssid::try_from(name).expect("1 to 32 bytes")
}

pub(crate) fn credentials() -> Credentials {
    Credentials {
        request_id: 7,
        ssid: Some(ssid("home")),
        passphrase: passphrase(PASSPHRASE),
        hidden: false,
        room: "kitchen".into(),
        command_center: Some(CommandCenterUrl::try_from("https://center.example").expect("a plain URL")),
        config_service: None,
        household_id: "h-1".into(),
        node_id: NODE_ID.into(),
        token: SecretText::new(TOKEN.into()),
        provision_code: None,
        time: None,
        country: None,
        seen_frequency: 0,
        enterprise: None,
    }
}

/// The same with a provision code.
pub(crate) fn with_a_code() -> Credentials {
    let code = ProvisionCode::try_from(CODE_OF_A_SITE).expect("16 letters and digits");
    Credentials { provision_code: Some(code), ..credentials() }
}

pub(crate) fn without_a_network() -> Credentials {
    Credentials { ssid: None, passphrase: passphrase(""), ..credentials() }
}

pub(crate) fn passphrase(text: &str) -> Passphrase {
    Passphrase::try_from(text.to_owned()).expect("at most 64 bytes")
}

pub(crate) fn k2(kid: &str) -> K2 {
    K2 {
        key: SecretBytes::new([0x5a; 32]),
        kid: kid.into(),
        created_at: CreatedAt::try_from("2026-03-01T12:00:00+00:00").expect("a date"),
    }
}

pub(crate) fn request(credentials: &Credentials) -> Request {
    Request::Credentials(Box::new(credentials.clone()))
}

/// Whether a command opens the access point.
pub(crate) fn is_opening(command: &Command) -> bool {
    matches!(command, Command::Radio(RadioCommand::OpenAccessPoint { .. }))
}

fn networks() -> Vec<Network> {
    let network = |name: &str, signal| Network { ssid: ssid(name), signal, security: Security::Wpa2, frequency: 2412 };
    vec![network("attic", -80), network("home", -60), network("home", -45)]
}

/// The pairing secrets after so many renewals.
fn pairing(renewals: u32) -> Pairing {
    match renewals {
        0 => Pairing { code: SecretText::new(CODE.into()), secret: SecretBytes::new(QR) },
        _ => Pairing { code: SecretText::new(renewed(renewals)), secret: SecretBytes::new([u8::MAX; 16]) },
    }
}

/// The pairing code after so many renewals.
pub(crate) fn renewed(renewals: u32) -> String {
    format!("{renewals:06}")
}

fn boot(disk: &Disk) -> Boot {
    let enrolled = disk.enrollment.as_ref();
    let node_id = enrolled.filter(|_| disk.provisioned).map_or(UNREGISTERED, |(_, registration)| &registration.node_id);
    Boot {
        identity: Identity {
            node_id: node_id.into(),
            unregistered: UNREGISTERED.into(),
            hardware: "linux-aarch64".into(),
            mac_address: "02:00:5b:91:b6:61".into(),
        },
        pairing: pairing(disk.renewals),
        guesses: disk.guesses,
        provisioned: disk.provisioned,
        command_center: enrolled.and_then(|(credentials, _)| credentials.command_center.clone()),
        pending: disk.pending.clone(),
        outcome: disk.outcome.clone(),
        resetting: disk.resetting,
        country: String::new(),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(AccessPointPolicy::Never)
    }

    pub(crate) fn with(policy: AccessPointPolicy) -> Self {
        let disk = Disk::default();
        let config = config(policy);
        let now = Duration::from_secs(1000);
        let mut world = Self {
            machine: Machine::new(config.clone(), boot(&disk), now),
            config,
            now,
            random: Random(1),
            disk,
            radio: Radio::Before,
            kept: None,
            center: Center::default(),
            phones: Vec::new(),
            answers: Vec::new(),
            commands: VecDeque::new(),
            joins: VecDeque::new(),
            scans: VecDeque::new(),
            forget_failures: VecDeque::new(),
            full: VecDeque::new(),
            outcome_lost: false,
            advertised: false,
            finished: false,
            closed: Vec::new(),
            app_answers: Vec::new(),
            air: Vec::new(),
            cut_at: None,
            instants: 0,
            next_link: 0,
            next_ticket: 0,
        };
        world.drain().expect("no cut is planned");
        world
    }

    /// The power returns: a new machine, with the unchanged disk, radio profile and command center.
    pub(crate) fn reboot(&mut self) -> Result<(), PowerCut> {
        self.commands.clear();
        for phone in &mut self.phones {
            phone.connected = false;
            phone.opening = None;
        }
        self.radio = self.kept.clone().map_or(Radio::Before, Radio::Joined);
        self.advertised = false;
        self.finished = false;
        self.machine = Machine::new(self.config.clone(), boot(&self.disk), self.now);
        self.drain()
    }

    // -- Actions of people.

    /// A phone connects.
    pub(crate) fn connect(&mut self) -> usize {
        self.phones.push(Phone::new(Link(self.next_link)));
        self.next_link += 1;
        self.phones.len() - 1
    }

    pub(crate) fn write(&mut self, phone: usize, endpoint: Endpoint, message: Vec<u8>) -> Result<(), PowerCut> {
        let link = self.phones[phone].link;
        self.input(Input::Received { link, endpoint, message })
    }

    /// Sends the first message of a session, and waits for the answer.
    pub(crate) fn open(&mut self, phone: usize, secret: &PhoneSecret) -> Result<(), PowerCut> {
        let node_id = self.machine.identity().node_id.clone();
        let message = self.phones[phone].open(&node_id, secret, &mut self.random);
        self.write(phone, Endpoint::Session, message)?;
        self.until(|world| world.phones[phone].opening.is_none() || !world.phones[phone].refusals.is_empty())
    }

    /// Writes a sealed request, which is answered later.
    pub(crate) fn ask(&mut self, phone: usize, request: &Request) -> Result<u64, PowerCut> {
        let (message, to) = self.phones[phone].seal(request);
        self.write(phone, request.endpoint(), message)?;
        Ok(to)
    }

    /// A phone with a session.
    pub(crate) fn paired(&mut self) -> usize {
        let phone = self.connect();
        self.open(phone, &right()).expect("no cut is planned");
        assert!(self.phones[phone].session.is_some(), "{:?}", self.phones[phone].refusals);
        phone
    }

    /// A new phone opens a session, sends these credentials, and waits until the attempt has ended.
    pub(crate) fn attempt(&mut self, credentials: &Credentials) -> usize {
        let phone = self.paired();
        self.ask(phone, &request(credentials)).expect("no cut is planned");
        self.until(Self::settled).expect("no cut is planned");
        phone
    }

    pub(crate) fn close(&mut self, phone: usize) -> Result<(), PowerCut> {
        self.phones[phone].connected = false;
        let link = self.phones[phone].link;
        self.input(Input::Closed { link })
    }

    pub(crate) fn local(&mut self, request: LocalRequest) -> Result<Ticket, PowerCut> {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.input(Input::LocalRequest { ticket, request })?;
        Ok(ticket)
    }

    pub(crate) fn answered(&self, ticket: Ticket) -> Option<&Answer> {
        self.answers.iter().find(|(answered, _)| *answered == ticket).map(|(_, answer)| answer)
    }

    /// A person at the node authorizes clients without a session.
    pub(crate) fn authorize(&mut self) {
        let ticket = self.local(LocalRequest::Authorize).expect("no cut is planned");
        assert_eq!(self.answered(ticket), Some(&Answer::Authorized));
    }

    /// What a link without a session of phones was told since the last time.
    pub(crate) fn told(&mut self, link: Link) -> Vec<Vec<u8>> {
        self.app_answers.extract_if(.., |(to, _)| *to == link).map(|(_, message)| message).collect()
    }

    // -- Progress of time.

    pub(crate) fn input(&mut self, input: Input) -> Result<(), PowerCut> {
        self.machine.handle(input, self.now, &mut self.random);
        self.drain()
    }

    /// Executes the oldest command, if there is one.
    pub(crate) fn work(&mut self) -> Result<bool, PowerCut> {
        let Some(command) = self.commands.pop_front() else { return Ok(false) };
        let done = self.execute(command);
        self.instant()?;
        self.input(Input::Done(done))?;
        Ok(true)
    }

    /// Makes one step: executes a command, or advances the time to the next timeout.
    pub(crate) fn step(&mut self) -> Result<bool, PowerCut> {
        if self.work()? {
            return Ok(true);
        }
        let Some(timeout) = self.machine.poll_timeout() else { return Ok(false) };
        self.now = timeout;
        self.input(Input::Timeout)?;
        Ok(true)
    }

    /// Makes steps until `done`, for an hour at most.
    pub(crate) fn until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), PowerCut> {
        let deadline = self.now + Duration::from_hours(1);
        while !done(self) {
            assert!(self.step()? && self.now < deadline, "nothing leads there; the status is {:?}", self.machine.status());
        }
        Ok(())
    }

    /// Makes steps until the oldest command in progress is such a command.
    pub(crate) fn until_command(&mut self, is_such: impl Fn(&Command) -> bool) {
        self.until(|world| world.commands.front().is_some_and(&is_such)).expect("no cut is planned");
    }

    /// Executes all commands without advancing the time.
    pub(crate) fn idle(&mut self) -> Result<(), PowerCut> {
        while self.work()? {}
        Ok(())
    }

    pub(crate) fn advance(&mut self, time: Duration) -> Result<(), PowerCut> {
        self.idle()?;
        let end = self.now + time;
        while let Some(timeout) = self.machine.poll_timeout().filter(|timeout| *timeout <= end) {
            self.now = timeout;
            self.input(Input::Timeout)?;
            self.idle()?;
        }
        self.now = end;
        Ok(())
    }

    /// Whether an attempt has ended, with success or with a retryable failure.
    pub(crate) fn settled(&self) -> bool {
        let status = self.machine.status();
        matches!(status.state(), State::Provisioned) || status.failure.is_some() && status.retryable
    }

    fn instant(&mut self) -> Result<(), PowerCut> {
        self.instants += 1;
        if self.cut_at == Some(self.instants) {
            self.cut_at = None;
            return Err(PowerCut);
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), PowerCut> {
        while let Some(output) = self.machine.poll_output() {
            self.output(output);
            self.instant()?;
        }
        if let Some(timeout) = self.machine.poll_timeout() {
            assert!(timeout > self.now, "the loop would spin: a timeout that is due was not served");
        }
        Ok(())
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send { link, message } => self.deliver(link, &message),
            Output::Close { link } => {
                self.closed.push(link);
                for phone in self.phones.iter_mut().filter(|phone| phone.link == link) {
                    phone.connected = false;
                }
            }
            Output::Answer { ticket, answer } => {
                let complete = !self.disk.resetting && !self.disk.provisioned && self.kept.is_none();
                assert!(!matches!(answer, Answer::Reset(_)) || complete, "reported a reset that is not complete");
                self.answers.push((ticket, answer));
            }
            Output::Start(command) => {
                if matches!(command, Command::Radio(RadioCommand::Join { .. })) {
                    assert!(!self.commands.iter().any(is_opening), "the radio executes two commands at once");
                }
                self.commands.push_back(command);
            }
            Output::Cancel { op } => {
                // The reason of a failure is reported even if the write of the outcome is overdue.
                let is_outcome = |running: &Command| matches!(running, Command::Disk(DiskCommand::SaveOutcome { .. }));
                self.outcome_lost |= self.commands.iter().any(|running| running.id() == op && is_outcome(running));
                self.commands.retain(|running| running.id() != op);
            }
            Output::Advertise(advertised) => self.advertised = advertised,
            Output::Finished => self.finished = true,
        }
    }

    /// Checks the invariants of sent messages: what they report survives a power cut at the next instruction.
    fn deliver(&mut self, link: Link, message: &[u8]) {
        for secret in [PASSPHRASE, TOKEN, CODE, CODE_OF_A_SITE] {
            assert!(!message.windows(secret.len()).any(|window| window == secret.as_bytes()), "a message contains a secret");
        }
        self.air.push(message.to_vec());
        let Some(phone) = self.phones.iter_mut().find(|phone| phone.link == link && phone.connected) else {
            self.app_answers.push((link, message.to_vec()));
            return;
        };
        match phone.hear(message) {
            Heard::Accept => assert!(!phone.by_code || self.disk.guesses > 0, "answered before the guess was counted"),
            Heard::Refusal => {}
            Heard::Message(message) => match *message {
                Message::Changed(report) | Message::Reply { reply: Reply::Status(report), .. } => match report.state {
                    State::Provisioned => {
                        assert!(self.disk.provisioned, "reported PROVISIONED before the marker was there");
                        self.check_enrollment();
                    }
                    State::Error if !self.outcome_lost => {
                        let stored = self.disk.outcome.as_ref().expect("reported an error that is not stored");
                        assert_eq!(stored.failure, report.failure);
                        assert_eq!(stored.request_id, report.request_id);
                        assert!(self.disk.pending.is_none(), "reported the end of an attempt that would be resumed");
                    }
                    _ => {}
                },
                Message::Reply { reply: Reply::K2Stored { kid }, .. } => {
                    assert_eq!(self.disk.k2.as_ref().map(|k2| &k2.kid), Some(&kid), "K2 was announced and is not stored");
                }
                Message::Reply { .. } => {}
            },
        }
    }

    /// Asserts that a provisioned node and its command center have the same key.
    pub(crate) fn check_enrollment(&self) {
        let (_, registration) = self.disk.enrollment.as_ref().expect("a provisioned node is enrolled");
        assert_eq!(self.center.nodes.get(&registration.node_id).map(String::as_str), Some(registration.node_key.expose()));
    }

    fn write_or_fail(&mut self, write: impl FnOnce(&mut Disk)) -> Result<(), Fault> {
        if let Some(fault) = self.full.pop_front() {
            return Err(fault);
        }
        write(&mut self.disk);
        Ok(())
    }

    fn execute(&mut self, command: Command) -> Done {
        match command {
            Command::Disk(command) => self.save(command),
            Command::Radio(command) => self.switch(command),
            Command::CommandCenter(command) => match command {
                CommandCenterCommand::Register { op, node_id, token, time, .. } => {
                    op.done(self.center.register(&node_id, token.expose(), time))
                }
                CommandCenterCommand::Claim { op, code, time, .. } => op.done(self.center.claim(&code, time)),
                CommandCenterCommand::CheckHealth { op, .. } => op.done(true),
                CommandCenterCommand::ConfirmKey { op, .. } => op.done(true),
            },
            Command::Care(CareCommand::Serve { op, .. }) => op.done(Ok(CareReply::Done)),
        }
    }

    fn save(&mut self, command: DiskCommand) -> Done {
        match command {
            DiskCommand::SaveGuesses { op, made } => op.done(self.write_or_fail(|disk| disk.guesses = made)),
            DiskCommand::SaveK2 { op, k2 } => op.done(self.write_or_fail(|disk| disk.k2 = Some(k2))),
            DiskCommand::SavePending { op, pending } => op.done(self.write_or_fail(|disk| disk.pending = Some(*pending))),
            DiskCommand::SaveEnrollment { op, credentials, registration } => {
                op.done(self.write_or_fail(|disk| disk.enrollment = Some((*credentials, registration))))
            }
            DiskCommand::MarkProvisioned { op } => op.done(self.write_or_fail(|disk| {
                disk.provisioned = true;
                disk.pending = None;
                disk.outcome = None;
            })),
            DiskCommand::SaveOutcome { op, outcome } => {
                self.outcome_lost = !self.full.is_empty();
                op.done(self.write_or_fail(|disk| {
                    disk.outcome = Some(outcome);
                    disk.pending = None;
                }))
            }
            DiskCommand::RenewPairing { op } => {
                let written = self.write_or_fail(|disk| disk.renewals += 1);
                op.done(written.map(|()| pairing(self.disk.renewals)))
            }
            DiskCommand::BeginReset { op } => op.done(self.write_or_fail(|disk| {
                disk.resetting = true;
                disk.outcome = None;
            })),
            DiskCommand::FinishReset { op } => {
                assert!(self.disk.resetting, "files are deleted before the reset is on disk");
                assert_eq!(self.kept, None, "files are deleted before the networks are forgotten");
                op.done(if let Some(fault) = self.full.pop_front() {
                    Err(fault)
                } else {
                    self.disk = Disk { guesses: self.disk.guesses, renewals: self.disk.renewals, ..Disk::default() };
                    Ok(Cleared { items: vec![ClearedItem::ProvisioningMarker], node_id: UNREGISTERED.into() })
                })
            }
        }
    }

    fn switch(&mut self, command: RadioCommand) -> Done {
        match command {
            RadioCommand::Scan { op, .. } => op.done(self.scans.pop_front().map_or_else(|| Ok(networks()), Err)),
            RadioCommand::Join { op, ssid, passphrase, .. } => {
                let result = self.joins.pop_front().unwrap_or_else(|| match ssid.as_bytes() {
                    b"home" if passphrase.expose() == PASSPHRASE => Ok(Joined { limited_connectivity: false }),
                    b"home" => Err(Fault::WrongPassword),
                    _ => Err(Fault::NetworkNotFound),
                });
                self.radio = if result.is_ok() { Radio::Joined(ssid) } else { Radio::Before };
                op.done(result)
            }
            RadioCommand::KeepNetwork { op } => {
                let Radio::Joined(ssid) = &self.radio else { panic!("there is no network to keep") };
                self.kept = Some(ssid.clone());
                op.done(Ok(()))
            }
            RadioCommand::RestoreNetwork { op } => {
                self.radio = self.kept.clone().map_or(Radio::Before, Radio::Joined);
                op.done(Ok(()))
            }
            RadioCommand::OpenAccessPoint { op, name } => {
                self.radio = Radio::AccessPoint(name);
                op.done(Ok(()))
            }
            RadioCommand::ForgetNetworks { op } => {
                assert!(self.disk.resetting, "networks are forgotten before the reset is on disk");
                if let Some(fault) = self.forget_failures.pop_front() {
                    return op.done(Err(fault));
                }
                self.kept = None;
                op.done(Ok(()))
            }
        }
    }

    pub(crate) fn step_is(&self, step: Step) -> bool {
        self.machine.status().step == step
    }
}
