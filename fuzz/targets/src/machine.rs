//! Any inputs in any order, including arbitrary messages of phones with a session, and results of commands in any order
//! and repeatedly.
//!
//! An input is a list of steps, each a byte that chooses the step and the bytes that it takes.

use std::time::Duration;

use provisioning_core::domain::{
    CareReply, CommandCenterUrl, CreatedAt, Credentials, Identity, K2, Network, Pairing, Passphrase, Registration, Security, Ssid,
};
use provisioning_core::endpoint::{Endpoint, OUTBOUND_LIMIT};
use provisioning_core::fault::Fault;
use provisioning_core::improv::{FromClient, Notice};
use provisioning_core::machine::{
    AccessPointPolicy, Boot, CareCommand, Cleared, Command, CommandCenterCommand, Config, DiskCommand, Done, Input, Joined, Link,
    LocalRequest, Machine, Output, RadioCommand, Refused, Ticket,
};
use provisioning_core::nymea;
use provisioning_core::secret::{SecretBlob, SecretBytes, SecretText};
use provisioning_core::session::{Opening, PhoneSecret, Session};
use provisioning_core::wire::{Message, Outbound};
use testing::random::Random;

const CODE: &str = "071934";

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut steps = Steps(data);
    let mut node = Node::new(steps.byte());
    for _ in 0..256 {
        if steps.0.is_empty() {
            break;
        }
        node.step(&mut steps);
    }
}

struct Steps<'a>(&'a [u8]);

impl<'a> Steps<'a> {
    /// The next byte; zero after the last one.
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// As many bytes as the next one says.
    fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}

struct Node {
    machine: Machine,
    now: Duration,
    random: Random,
    commands: Vec<Command>,
    tickets: u64,
    opening: Option<(Link, Opening)>,
    session: Option<(Link, Session)>,
}

impl Node {
    fn new(kind: u8) -> Self {
        let access_point = match kind % 3 {
            0 => AccessPointPolicy::Never,
            1 => AccessPointPolicy::Always,
            _ => AccessPointPolicy::WhenQuiet(Duration::from_mins(1)),
        };
        let config = Config {
            firmware_version: "1".into(),
            capabilities: Vec::new(),
            access_point,
            answer_leaves: Duration::from_millis(500),
            linger: (kind & 0x80 == 0).then_some(Duration::from_mins(5)),
            network_care: kind & 0x80 != 0,
            improv: true,
            nymea: true,
            page: "http://node.local/".into(),
            next_url: None,
        };
        let boot = Boot {
            identity: Identity {
                node_id: "node".into(),
                unregistered: "node".into(),
                hardware: "fuzz".into(),
                mac_address: String::new(),
            },
            pairing: pairing(),
            guesses: u32::from(kind >> 4 & 7),
            provisioned: kind & 8 != 0,
            command_center: CommandCenterUrl::try_from("https://center.example").ok(),
            pending: None,
            outcome: None,
            resetting: kind & 4 != 0,
            country: String::new(),
        };
        let now = Duration::from_secs(1);
        let machine = Machine::new(config, boot, now);
        let mut node = Self { machine, now, random: Random(1), commands: Vec::new(), tickets: 0, opening: None, session: None };
        node.drain();
        node
    }

    fn step(&mut self, steps: &mut Steps<'_>) {
        let choice = steps.byte();
        let link = Link(u64::from(choice >> 6));
        let input = match choice % 12 {
            0 => {
                let endpoint = endpoint(steps.byte());
                Input::Received { link, endpoint, message: steps.bytes().to_vec() }
            }
            1 => Input::InvalidMessage { link, fault: Fault::Malformed },
            2 => Input::Closed { link },
            3 => {
                self.tickets += 1;
                Input::LocalRequest { ticket: Ticket(self.tickets), request: local(steps.byte()) }
            }
            4 => {
                let index = usize::from(steps.byte());
                let kind = steps.byte();
                let Some(command) = self.commands.get(index % self.commands.len().max(1)) else { return };
                Input::Done(done(command, kind))
            }
            5 if choice & 128 != 0 => Input::AccessPoint { open: choice & 64 != 0 },
            5 => Input::Bluetooth { available: choice & 64 != 0 },
            6 => {
                self.now += Duration::from_secs(u64::from(steps.byte()));
                Input::Timeout
            }
            7 | 8 => {
                let secret = if choice % 12 == 7 {
                    PhoneSecret::Code(SecretText::new(CODE.into()))
                } else {
                    PhoneSecret::Qr(SecretBytes::new([7; 16]))
                };
                let (opening, open) = Opening::new(&self.machine.identity().node_id, &secret, &mut self.random);
                self.opening = Some((link, opening));
                Input::Received { link, endpoint: Endpoint::Session, message: open.encode() }
            }
            11 => {
                // Links of other numbers, whose messages are no phone's.
                let link = Link(4 + link.0);
                let is_opened = choice & 16 == 0;
                if choice & 32 == 0 {
                    let from = if is_opened {
                        FromClient::Opened { room: 20 }
                    } else {
                        FromClient::Written { value: SecretBlob::new(steps.bytes().to_vec()), room: 20 }
                    };
                    Input::Improv { link, from }
                } else {
                    let number = usize::from(steps.byte()) % nymea::Characteristic::ALL.len();
                    let from = if is_opened {
                        nymea::FromClient::Opened
                    } else {
                        let (characteristic, value) =
                            (nymea::Characteristic::ALL[number], SecretBlob::new(steps.bytes().to_vec()));
                        nymea::FromClient::Written { characteristic, value, address: None }
                    };
                    Input::Nymea { link: Link(4 + link.0), from }
                }
            }
            _ => {
                let endpoint = endpoint(steps.byte());
                let Some((link, session)) = &mut self.session else { return };
                let message = session.seal(endpoint, steps.bytes()).encode();
                Input::Received { link: *link, endpoint, message }
            }
        };
        self.machine.handle(input, self.now, &mut self.random);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Start(command) => self.commands.push(command),
                Output::Cancel { op } => self.commands.retain(|running| running.id() != op),
                Output::Send { link, message } => self.hear(link, &message),
                _ => {}
            }
        }
        assert!(self.machine.poll_timeout().is_none_or(|timeout| timeout > self.now), "the loop would spin");
        assert!(self.machine.status().progress() <= 100);
    }

    fn hear(&mut self, link: Link, message: &[u8]) {
        assert!(message.len() <= OUTBOUND_LIMIT);
        if link.0 > 3 {
            if link.0 > 7 {
                nymea::Notice::decode(message).expect("the node sends what can be read");
                return;
            }
            let notice = Notice::decode(message).expect("the node sends what can be read");
            return assert!(notice.value.len() <= 20);
        }
        match Outbound::decode(message).expect("the node sends what can be read") {
            Outbound::Accept(accept) => {
                if let Some((_, opening)) = self.opening.take_if(|(opening, _)| *opening == link) {
                    self.session = opening.read(&accept).ok().map(|session| (link, session));
                }
            }
            Outbound::Record(record) => {
                if let Some((_, session)) = self.session.as_mut().filter(|(phone, _)| *phone == link)
                    && let Ok(plaintext) = session.open(Endpoint::Status, &record)
                {
                    Message::decode(&plaintext).expect("the node says what can be read");
                }
            }
            Outbound::Refusal(_) => {}
        }
    }
}

fn endpoint(number: u8) -> Endpoint {
    Endpoint::from_number(number % 6).expect("there are six")
}

fn credentials() -> Credentials {
    Credentials {
        request_id: 1,
        ssid: Some(Ssid::try_from("home").expect("four bytes")),
        passphrase: Passphrase::try_from("passphrase".to_owned()).expect("ten bytes"),
        hidden: false,
        room: String::new(),
        command_center: CommandCenterUrl::try_from("https://center.example").ok(),
        config_service: None,
        household_id: String::new(),
        node_id: "registered".into(),
        token: SecretText::new("token".into()),
        provision_code: None,
        time: None,
        country: None,
        seen_frequency: 0,
        enterprise: None,
    }
}

fn pairing() -> Pairing {
    Pairing { code: SecretText::new(CODE.into()), secret: SecretBytes::new([7; 16]) }
}

fn local(kind: u8) -> LocalRequest {
    match kind % 6 {
        0 => LocalRequest::Scan,
        1 => LocalRequest::K2(K2 {
            key: SecretBytes::new([1; 32]),
            kid: "kid".into(),
            created_at: CreatedAt::try_from("2026-03-01T12:00:00+00:00").expect("a date"),
        }),
        2 => LocalRequest::Credentials(Box::new(credentials())),
        4 => LocalRequest::Authorize,
        3 => LocalRequest::Unusable { ssid: "x".repeat(usize::from(kind)), fault: Fault::InvalidSsid },
        _ => LocalRequest::Reset,
    }
}

fn done(command: &Command, kind: u8) -> Done {
    let fault = Fault::ALL[usize::from(kind >> 3) % Fault::ALL.len()];
    let network = |index: u8| Network {
        ssid: Ssid::try_from(&[index, kind][..]).expect("two bytes"),
        signal: -40,
        security: Security::Wpa2,
        frequency: 2412,
    };
    let ok = kind & 8 == 0;
    let plain = if kind % 8 == 1 { Err(fault) } else { Ok(()) };
    match command {
        Command::Disk(DiskCommand::FinishReset { op }) => {
            op.done(if ok { Ok(Cleared { items: Vec::new(), node_id: "node".into() }) } else { Err(fault) })
        }
        Command::Disk(DiskCommand::RenewPairing { op }) => op.done(if ok { Ok(pairing()) } else { Err(fault) }),
        Command::CommandCenter(CommandCenterCommand::CheckHealth { op, .. }) => op.done(ok),
        Command::CommandCenter(CommandCenterCommand::ConfirmKey { op, .. }) => op.done(ok),
        command if kind % 8 == 7 => command.lost(),
        Command::Disk(
            DiskCommand::SaveGuesses { op, .. }
            | DiskCommand::SaveK2 { op, .. }
            | DiskCommand::SavePending { op, .. }
            | DiskCommand::SaveEnrollment { op, .. }
            | DiskCommand::MarkProvisioned { op }
            | DiskCommand::SaveOutcome { op, .. }
            | DiskCommand::BeginReset { op },
        ) => op.done(plain),
        Command::Radio(RadioCommand::Scan { op, .. }) => op.done(plain.map(|()| (0..kind).map(network).collect())),
        Command::Radio(RadioCommand::Join { op, .. }) => {
            op.done(if ok { Ok(Joined { limited_connectivity: false }) } else { Err(fault) })
        }
        Command::Radio(
            RadioCommand::KeepNetwork { op }
            | RadioCommand::RestoreNetwork { op }
            | RadioCommand::OpenAccessPoint { op, .. }
            | RadioCommand::ForgetNetworks { op },
        ) => op.done(plain),
        Command::CommandCenter(CommandCenterCommand::Register { op, .. }) => op.done(if kind % 8 == 5 {
            Err(Refused { fault, status: Some(500), retry_after: Some(Duration::from_secs(kind.into())) })
        } else {
            Ok(Registration { node_id: "registered".into(), node_key: SecretText::new("key".into()), household_id: None })
        }),
        Command::CommandCenter(CommandCenterCommand::Claim { op, .. }) => op.done(plain.map(|()| "appliance".into())),
        Command::Care(CareCommand::Serve { op, .. }) => op.done(plain.map(|()| CareReply::Done)),
    }
}
