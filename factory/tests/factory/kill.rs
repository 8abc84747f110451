//! A batch that is killed repeatedly, and then completed.

use std::process::Stdio;
use std::time::Duration;

use tokio::time::Instant;

use crate::server::Server;
use crate::support::{Desk, assert_agreement, credentials, files, mode};

const DEVICES: usize = 50;
const BATCHES: usize = 20;
const KILLS: usize = 5;

fn random() -> f64 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)
}

/// The duration of an undisturbed batch.
fn undisturbed() -> Duration {
    let (desk, server) = (Desk::fast(), Server::start());
    desk.list(DEVICES);
    let begun = Instant::now();
    desk.batch(&server, &[]).succeeded();
    begun.elapsed()
}

#[test]
fn a_batch_that_was_killed_at_any_time_is_completed_by_another_run() {
    let whole = undisturbed();
    let mut killed = 0;
    for _ in 0..BATCHES {
        let (desk, server) = (Desk::fast(), Server::start());
        let serials = desk.list(DEVICES);
        let url = server.url();
        for _ in 0..KILLS {
            let mut command = desk.command(&Desk::batch_arguments(&url));
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // The time of the kill is random; the assertions hold for every state of the run.
            std::thread::sleep(whole.mul_f64(random() / 2.0));
            child.kill().unwrap();
            killed += usize::from(child.wait().unwrap().code().is_none());
        }
        let run = desk.batch(&server, &["--verify"]).succeeded();
        let passwords: Vec<_> = serials.iter().map(|serial| credentials(&desk.rootfs(serial)).1).collect();
        run.shows_none_of(&passwords);
        for serial in &serials {
            assert_agreement(&server, &desk.rootfs(serial));
            assert!(files(&desk.rootfs(serial)).iter().all(|file| mode(file) == 0o600));
            assert_eq!(files(&desk.rootfs(serial)).len(), 2, "nothing is left over");
        }
        let made: Vec<_> = server.world().made.values().copied().collect();
        assert_eq!(made, [1; DEVICES]);
        let ledger = std::fs::read_to_string(desk.path("factory-ledger.jsonl")).unwrap();
        assert!(passwords.iter().all(|password| !ledger.contains(password)));
    }
    assert!(killed > 0, "every run had ended before it was killed");
}
