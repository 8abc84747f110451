//! Random actions in random order. The world checks the invariants: what is announced is stored, a guess is counted before it is
//! answered, no message contains a secret, the radio does one thing at a time, and the loop never spins.

use std::time::Duration;

use proptest::prelude::*;
use provisioning_core::domain::Step;
use provisioning_core::endpoint::Endpoint;
use provisioning_core::fault::Fault;
use provisioning_core::machine::{AccessPointPolicy, Input, Joined, LocalRequest, Refused};
use provisioning_core::wire::Request;

use crate::center::unreachable;
use crate::phone::{by_qr, right, wrong};
use crate::world::{PowerCut, World, credentials, k2, passphrase, request};

#[derive(Clone, Debug)]
enum Action {
    Connect,
    Open { secret: u8 },
    Scan { fresh: bool },
    K2,
    Credentials { right: bool, request_id: u8 },
    Status,
    Cancel { request_id: u8 },
    Write { endpoint: u8, message: Vec<u8> },
    Present,
    Close,
    InvalidMessage,
    Local(u8),
    Work,
    Wait { seconds: u8 },
    JoinFails(u8),
    CenterFails(u8),
    AnswerLost,
    DiskFull,
    ForgettingFails,
    Bluetooth(bool),
    RadioTaken(bool),
    PowerCut { instants: u8 },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        2 => Just(Action::Connect),
        4 => (0..4_u8).prop_map(|secret| Action::Open { secret }),
        2 => any::<bool>().prop_map(|fresh| Action::Scan { fresh }),
        2 => Just(Action::K2),
        4 => (any::<bool>(), 1..4_u8).prop_map(|(right, request_id)| Action::Credentials { right, request_id }),
        2 => Just(Action::Status),
        2 => (0..4_u8).prop_map(|request_id| Action::Cancel { request_id }),
        1 => (0..6_u8, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(endpoint, message)| Action::Write { endpoint, message }),
        1 => Just(Action::Present),
        2 => Just(Action::Close),
        1 => Just(Action::InvalidMessage),
        2 => (0..5_u8).prop_map(Action::Local),
        12 => Just(Action::Work),
        3 => any::<u8>().prop_map(|seconds| Action::Wait { seconds }),
        1 => (20..31_u8).prop_map(Action::JoinFails),
        1 => (40..47_u8).prop_map(Action::CenterFails),
        1 => Just(Action::AnswerLost),
        1 => Just(Action::DiskFull),
        1 => Just(Action::ForgettingFails),
        1 => any::<bool>().prop_map(Action::Bluetooth),
        1 => any::<bool>().prop_map(Action::RadioTaken),
        2 => (1..30_u8).prop_map(|instants| Action::PowerCut { instants }),
    ]
}

/// The phone that connected last, if it can send requests.
fn with_session(world: &World) -> Option<usize> {
    let phone = world.phones.len().checked_sub(1)?;
    (world.phones[phone].connected && world.phones[phone].session.is_some()).then_some(phone)
}

fn ask(world: &mut World, request: &Request) -> Result<(), PowerCut> {
    if let Some(phone) = with_session(world) {
        world.ask(phone, request)?;
    }
    Ok(())
}

fn act(world: &mut World, action: Action) -> Result<(), PowerCut> {
    let connected = world.phones.len().checked_sub(1).filter(|phone| world.phones[*phone].connected);
    match action {
        Action::Connect => {
            world.connect();
        }
        Action::Open { secret } => {
            if let Some(phone) = connected {
                let secret = [right(), right(), wrong(), by_qr()][usize::from(secret)].clone();
                let node_id = world.machine.identity().node_id.clone();
                let open = world.phones[phone].open(&node_id, &secret, &mut world.random);
                world.write(phone, Endpoint::Session, open)?;
            }
        }
        Action::Scan { fresh } => ask(world, &Request::Scan { fresh, country: None })?,
        Action::K2 => ask(world, &Request::K2(k2("k2-1")))?,
        Action::Credentials { right, request_id } => {
            let mut sent = credentials();
            sent.request_id = request_id.into();
            if !right {
                sent.passphrase = passphrase("not this one");
            }
            ask(world, &request(&sent))?;
        }
        Action::Status => ask(world, &Request::Status)?,
        Action::Cancel { request_id } => ask(world, &Request::Cancel { request_id: request_id.into() })?,
        Action::Write { endpoint, message } => {
            if let (Some(phone), Some(endpoint)) = (connected, Endpoint::from_number(endpoint)) {
                world.write(phone, endpoint, message)?;
            }
        }
        Action::Present => {
            if let Some(phone) = connected {
                let link = world.phones[phone].link;
                world.input(Input::Present { link })?;
            }
        }
        Action::Close => {
            if let Some(phone) = connected {
                world.close(phone)?;
            }
        }
        Action::InvalidMessage => {
            if let Some(phone) = connected {
                let link = world.phones[phone].link;
                world.input(Input::InvalidMessage { link, fault: Fault::Malformed })?;
            }
        }
        Action::Local(kind) => {
            let request = match kind {
                0 => LocalRequest::Scan,
                1 => LocalRequest::K2(k2("k2-local")),
                2 => LocalRequest::Credentials(Box::new(credentials())),
                3 => LocalRequest::Unusable { ssid: "x".repeat(40), fault: Fault::InvalidSsid },
                _ => LocalRequest::Reset,
            };
            world.local(request)?;
        }
        Action::Work => {
            world.work()?;
        }
        Action::Wait { seconds } => {
            // Time also passes while commands are in progress.
            let end = world.now + Duration::from_secs(seconds.into());
            while let Some(timeout) = world.machine.poll_timeout().filter(|timeout| *timeout <= end) {
                world.now = timeout;
                world.input(Input::Timeout)?;
            }
            world.now = end;
        }
        Action::JoinFails(fault) => world.joins.extend(Fault::from_number(fault).map(Err::<Joined, _>)),
        Action::CenterFails(fault) => {
            let fault = Fault::from_number(fault);
            world.center.failures.extend(fault.map(|fault| Refused { fault, ..unreachable() }));
        }
        Action::AnswerLost => world.center.lost_answers += 1,
        Action::ForgettingFails => world.forget_failures.push_back(Fault::NetworkUnavailable),
        Action::DiskFull => world.full.push_back(Fault::StorageFailed),
        Action::Bluetooth(available) => world.input(Input::Bluetooth { available })?,
        Action::RadioTaken(taken) => world.input(Input::RadioTaken { taken })?,
        Action::PowerCut { instants } => world.cut_at = Some(world.instants + usize::from(instants)),
    }
    Ok(())
}

fn policies() -> impl Strategy<Value = AccessPointPolicy> {
    prop_oneof![
        Just(AccessPointPolicy::Never),
        Just(AccessPointPolicy::Always),
        Just(AccessPointPolicy::WhenQuiet(Duration::from_mins(1))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_actions_the_node_can_be_provisioned(
        policy in policies(),
        actions in prop::collection::vec(action(), 1..80),
    ) {
        let mut world = World::with(policy);
        for action in actions {
            if act(&mut world, action).is_err() {
                world.reboot().unwrap();
            }
        }
        // The failures end, and an owner provisions the node by the QR code.
        world.cut_at = None;
        world.full.clear();
        world.forget_failures.clear();
        world.joins.clear();
        world.center.failures.clear();
        world.center.lost_answers = 0;
        for phone in 0..world.phones.len() {
            world.close(phone).unwrap();
        }
        world.until(|world| !world.disk.resetting && world.commands.is_empty() && (world.settled() || world.step_is(Step::Waiting))).unwrap();
        let phone = world.connect();
        world.open(phone, &by_qr()).unwrap();
        let mut sent = credentials();
        sent.request_id = 99;
        world.ask(phone, &request(&sent)).unwrap();
        world.until(|world| world.step_is(Step::Done) && world.machine.status().request_id == 99).unwrap();
        world.check_enrollment();
        prop_assert!(world.disk.provisioned);
        prop_assert_eq!(&world.radio, &crate::world::Radio::Joined(crate::world::ssid("home")));
    }
}
