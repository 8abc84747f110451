//! Every request in every state is answered, and nothing panics.

use provisioning_core::domain::{Status, Step};
use provisioning_core::machine::{Command, CommandCenterCommand, DiskCommand, LocalRequest, RadioCommand};
use provisioning_core::secret::SecretText;
use provisioning_core::wire::{Reply, Request};

use crate::phone::right;
use crate::world::{CODE, World, credentials, k2, passphrase, request, with_a_code};

/// A state of a node with a connected phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum States {
    /// The phone has sent nothing.
    Connected,
    /// The guess is being counted.
    Counting,
    /// The node has answered; the phone has not proven that it knows the code.
    Answered,
    /// The session is established, and nothing is in progress.
    Established,
    Saving,
    Joining,
    Registering,
    Claiming,
    Storing,
    Keeping,
    Marking,
    Recording,
    Failed,
    Done,
    Resetting,
}

impl States {
    pub(crate) const ALL: [Self; 15] = [
        Self::Connected,
        Self::Counting,
        Self::Answered,
        Self::Established,
        Self::Saving,
        Self::Joining,
        Self::Registering,
        Self::Claiming,
        Self::Storing,
        Self::Keeping,
        Self::Marking,
        Self::Recording,
        Self::Failed,
        Self::Done,
        Self::Resetting,
    ];

    /// A world in that state, and its phone.
    pub(crate) fn reach(self) -> (World, usize) {
        let mut world = World::new();
        world.idle().unwrap();
        let phone = world.connect();
        match self {
            Self::Connected => return (world, phone),
            Self::Counting => {
                let open = world.phones[phone].open("jarvis-5b91b661", &right(), &mut world.random);
                world.write(phone, provisioning_core::endpoint::Endpoint::Session, open).unwrap();
                return (world, phone);
            }
            _ => world.open(phone, &right()).unwrap(),
        }
        if self == Self::Answered {
            return (world, phone);
        }
        world.ask(phone, &Request::Status).unwrap();
        world.idle().unwrap();
        let mut sent = credentials();
        if matches!(self, Self::Recording | Self::Failed) {
            sent.passphrase = passphrase("not this one");
        }
        if self == Self::Claiming {
            sent = with_a_code();
        }
        if self == Self::Resetting {
            world.local(LocalRequest::Reset).unwrap();
        } else if self != Self::Established {
            world.ask(phone, &request(&sent)).unwrap();
        }
        match self {
            Self::Joining => world.until_command(|command| matches!(command, Command::Radio(RadioCommand::Join { .. }))),
            Self::Registering => {
                world.until_command(|command| matches!(command, Command::CommandCenter(CommandCenterCommand::Register { .. })));
            }
            Self::Claiming => {
                world.until_command(|command| matches!(command, Command::CommandCenter(CommandCenterCommand::Claim { .. })));
            }
            Self::Storing => {
                world.until_command(|command| matches!(command, Command::Disk(DiskCommand::SaveEnrollment { .. })));
            }
            Self::Keeping => world.until_command(|command| matches!(command, Command::Radio(RadioCommand::KeepNetwork { .. }))),
            Self::Marking => world.until_command(|command| matches!(command, Command::Disk(DiskCommand::MarkProvisioned { .. }))),
            Self::Recording => world.until_command(|command| matches!(command, Command::Disk(DiskCommand::SaveOutcome { .. }))),
            Self::Failed => world.until(World::settled).unwrap(),
            Self::Done => {
                world.until(|world| world.step_is(Step::Done)).unwrap();
                world.idle().unwrap();
            }
            _ => {}
        }
        (world, phone)
    }
}

/// What an attacker must not change: the state, the disk, and the commands in progress, except the counting of a guess.
#[derive(Debug, PartialEq)]
pub(crate) struct Snapshot {
    status: Status,
    disk: String,
    under_way: Vec<String>,
}

pub(crate) fn snapshot(world: &World) -> Snapshot {
    let disk = &world.disk;
    let under_way = world.commands.iter().filter(|command| !matches!(command, Command::Disk(DiskCommand::SaveGuesses { .. })));
    Snapshot {
        status: world.machine.status().clone(),
        disk: format!("{:?} {:?} {:?} {}", disk.k2, disk.pending, disk.enrollment, disk.provisioned),
        under_way: under_way.map(|command| format!("{command:?}")).collect(),
    }
}

#[test]
fn every_request_in_every_state_is_answered() {
    let requests = [
        Request::Scan { fresh: true, country: None },
        Request::K2(k2("k2-1")),
        request(&credentials()),
        Request::Status,
        Request::Cancel { request_id: credentials().request_id },
    ];
    for state in States::ALL.into_iter().filter(|state| !matches!(state, States::Connected | States::Counting)) {
        for request in &requests {
            let (mut world, phone) = state.reach();
            let to = world.ask(phone, request).unwrap();
            world.idle().unwrap();
            let replies = world.phones[phone].replies(to);
            assert!(
                matches!(
                    (request, &replies[..]),
                    (_, [Reply::Refused(_)])
                        | (Request::Scan { .. }, [.., Reply::Networks { last: true, .. }])
                        | (Request::K2(_), [Reply::K2Stored { .. }])
                        | (Request::Credentials(_), [Reply::Accepted { .. }])
                        | (Request::Status | Request::Cancel { .. }, [Reply::Status(_)])
                ),
                "{state:?} {request:?}: {replies:?}"
            );
        }
    }
}

#[test]
fn every_local_request_in_every_state_is_answered_once() {
    let requests = [
        LocalRequest::Scan,
        LocalRequest::K2(k2("k2-1")),
        LocalRequest::Credentials(Box::new(credentials())),
        LocalRequest::Unusable { ssid: String::new(), fault: provisioning_core::fault::Fault::InvalidSsid },
        LocalRequest::Guess { code: SecretText::new(CODE.into()), credentials: Box::new(credentials()) },
        LocalRequest::Pairing,
        LocalRequest::Reset,
    ];
    for state in States::ALL {
        for request in &requests {
            let (mut world, _) = state.reach();
            let ticket = world.local(request.clone()).unwrap();
            world.idle().unwrap();
            let answers = world.answers.iter().filter(|(answered, _)| *answered == ticket).count();
            assert_eq!(answers, 1, "{state:?} {request:?}");
        }
    }
}
