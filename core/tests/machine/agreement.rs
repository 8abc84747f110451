//! A sealed request and a request of the JSON API have the same effect.

use std::collections::VecDeque;

use provisioning_core::domain::{Credentials, Status};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Joined, LocalRequest, Refused};

use crate::world::{Radio, World, credentials, passphrase, request, ssid, without_a_network};

struct Story {
    credentials: Credentials,
    joins: VecDeque<Result<Joined, Fault>>,
    failures: VecDeque<Refused>,
}

fn stories() -> Vec<Story> {
    let plain = |credentials| Story { credentials, joins: VecDeque::new(), failures: VecDeque::new() };
    let refused = |fault, status| Refused { fault, status, retry_after: None };
    let mut stories = vec![plain(credentials())];
    stories.push(plain(Credentials { passphrase: passphrase("not this one"), ..credentials() }));
    stories.push(plain(Credentials { ssid: Some(ssid("nowhere")), ..credentials() }));
    stories.push(plain(without_a_network()));
    for fault in Fault::ALL.iter().copied().filter(|fault| fault.is_network()) {
        stories.push(Story { joins: [Err(fault)].into(), ..plain(credentials()) });
    }
    stories.push(Story { joins: [Ok(Joined { limited_connectivity: true })].into(), ..plain(credentials()) });
    for fault in [Fault::TokenRejected, Fault::CommandCenterRefused, Fault::TlsFailed, Fault::CommandCenterAnswer] {
        stories.push(Story { failures: [refused(fault, Some(401))].into(), ..plain(credentials()) });
    }
    stories
}

/// All statuses from the request to the end, and the final state of radio and disk.
fn run_story(story: &Story, request_id: u64, ask: impl Fn(&mut World, &Credentials)) -> (Vec<Status>, Radio, String) {
    let mut world = World::new();
    world.idle().unwrap();
    world.joins.clone_from(&story.joins);
    world.center.failures.clone_from(&story.failures);
    let attempt = Credentials { request_id, ..story.credentials.clone() };
    ask(&mut world, &attempt);
    let mut statuses = vec![world.machine.status().clone()];
    while !world.settled() {
        assert!(world.step().unwrap());
        if statuses.last() != Some(world.machine.status()) {
            statuses.push(world.machine.status().clone());
        }
    }
    let disk = format!("{:?} {:?} {:?}", world.disk.enrollment, world.disk.outcome, world.disk.provisioned);
    // Only a sealed request has a name.
    let disk = disk.replace(&format!("request_id: {request_id}"), "request_id: 0");
    for status in &mut statuses {
        status.request_id = 0;
    }
    (statuses, world.radio, disk)
}

#[test]
fn sealed_and_json_requests_have_the_same_effect() {
    for story in stories() {
        let sealed = run_story(&story, 7, |world, credentials| {
            let phone = world.paired();
            world.ask(phone, &request(credentials)).unwrap();
        });
        let local = run_story(&story, 0, |world, credentials| {
            world.local(LocalRequest::Credentials(Box::new(credentials.clone()))).unwrap();
        });
        assert_eq!(sealed, local);
        assert!(sealed.0.len() >= 4);
    }
}
