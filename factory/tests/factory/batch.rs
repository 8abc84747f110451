//! Batches of devices.

use std::collections::HashSet;
use std::fs;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::Value;

use crate::server::{Server, Verdict};
use crate::support::{CONF, Desk, PAIRING, assert_agreement, credentials};

#[test]
fn every_device_of_a_list_can_log_in_with_its_own_credentials() {
    let (desk, server) = (Desk::new(), Server::start());
    let serials = desk.list(50);
    let run = desk.batch(&server, &["--verify"]).succeeded();
    let mut secrets = HashSet::new();
    for serial in &serials {
        assert_agreement(&server, &desk.rootfs(serial));
        let pairing: Value = serde_json::from_slice(&fs::read(desk.rootfs(serial).join(PAIRING)).unwrap()).unwrap();
        secrets.extend(["secret", "access_point_passphrase", "node_id"].map(|name| pairing[name].to_string()));
        secrets.insert(credentials(&desk.rootfs(serial)).1);
    }
    assert_eq!(secrets.len(), 4 * serials.len());
    assert!(server.world().roles.values().all(|role| role == "CompanionPC"));
    assert!(run.out.contains("created           50"), "{}", run.out);
    let passwords: Vec<_> = serials.iter().map(|serial| credentials(&desk.rootfs(serial)).1).collect();
    run.shows_none_of(&passwords);
}

#[test]
fn a_second_run_over_a_list_sends_nothing() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.list(5);
    desk.batch(&server, &[]).succeeded();
    server.calls();
    let run = desk.batch(&server, &[]).succeeded();
    assert!(run.out.contains("done already       5"), "{}", run.out);
    assert_eq!(server.calls(), Vec::<String>::new());
}

#[test]
fn the_manifest_has_hashes_and_no_secret() {
    let (desk, server) = (Desk::new(), Server::start());
    let serials = desk.list(3);
    desk.batch(&server, &["--device-table", "table"]).succeeded();
    let text = fs::read_to_string(desk.path("factory-manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    for (device, serial) in manifest["devices"].as_array().unwrap().iter().zip(&serials) {
        assert_eq!((device["serial"].as_str(), device["outcome"].as_str()), (Some(serial.as_str()), Some("created")));
        for (file, path) in device["files"].as_array().unwrap().iter().zip([CONF, PAIRING]) {
            let content = fs::read(desk.rootfs(serial).join(path)).unwrap();
            let hash: String =
                <sha2::Sha256 as sha2::Digest>::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((file["path"].as_str(), file["sha256"].as_str()), (Some(&*format!("/{path}")), Some(&*hash)));
        }
        assert!(!text.contains(&credentials(&desk.rootfs(serial)).1));
    }
    let table = fs::read_to_string(desk.path("table")).unwrap();
    assert!(table.contains("/etc/azaion/device.conf f 600 0 0 - - - - -"), "{table}");
}

#[test]
fn the_failure_of_one_device_is_reported_and_the_others_are_completed() {
    let (desk, server) = (Desk::new(), Server::start());
    let serials = desk.list(6);
    fs::remove_dir_all(desk.rootfs(&serials[1])).unwrap();
    fs::remove_dir_all(desk.rootfs(&serials[3])).unwrap();
    fs::write(desk.rootfs(&serials[3]), "not a folder").unwrap();
    server.world().passwords.insert("azaion-jetson-0006@azaion.com".into(), "another's".into());
    let run = desk.batch(&server, &[]).failed_with("3 of 6 devices not done");
    for failed in ["AZJN-0002: ", "AZJN-0004: ", "AZJN-0006: "] {
        assert!(run.errors.contains(failed), "{}", run.errors);
    }
    for done in [0, 2, 4] {
        assert_agreement(&server, &desk.rootfs(&serials[done]));
    }
}

#[test]
fn credentials_refused_during_a_batch_end_it_and_the_next_run_continues() {
    let (desk, server) = (Desk::new(), Server::start());
    let serials = desk.list(40);
    server.script(|number, _| match number {
        0..20 => Verdict::Serve,
        _ => Verdict::Refuse(StatusCode::UNAUTHORIZED.into_response()),
    });
    let run = desk.batch(&server, &["--jobs", "2"]).failed_with("401");
    assert!(run.out.contains("not tried"), "{}", run.out);
    let sent = server.calls().len();
    assert!((20..=22).contains(&sent), "{sent} requests, of which two may have been under way");
    server.serve_everything();
    desk.batch(&server, &["--jobs", "2"]).succeeded();
    for serial in &serials {
        assert_agreement(&server, &desk.rootfs(serial));
    }
    assert!(server.world().made.values().all(|made| *made == 1));
}

#[test]
fn the_number_of_concurrent_requests_is_limited() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};
    // A threaded server that answers only when three requests are waiting, so fewer would never be answered.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (barrier, most, under_way) = (Arc::new(Barrier::new(3)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, barrier) = (connection.unwrap(), barrier.clone());
            let (most, under_way) = (most.clone(), under_way.clone());
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let mut buffer = [0; 4096];
                while connection.read(&mut buffer).is_ok_and(|read| read > 0) {
                    most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    barrier.wait();
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    connection.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").unwrap();
                }
            });
        }
    });
    let desk = Desk::new();
    desk.list(12);
    let url = format!("http://{address}");
    desk.run(&[&Desk::batch_arguments(&url)[..], &["--jobs", "3"]].concat()).succeeded();
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

#[test]
fn two_runs_at_once_do_not_share_a_ledger() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.list(2);
    let ledger = fs::File::create(desk.path("factory-ledger.jsonl")).unwrap();
    rustix::fs::flock(&ledger, rustix::fs::FlockOperation::LockExclusive).unwrap();
    desk.batch(&server, &[]).failed_with("another run");
    assert_eq!(server.calls(), Vec::<String>::new());
}

#[test]
fn without_a_writable_ledger_nothing_is_sent() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.list(3);
    let full = "/dev/full";
    desk.batch(&server, &["--ledger", full]).failed_with("ledger");
    assert_eq!(server.calls(), Vec::<String>::new());
}
