//! Failing servers and disks.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::IntoResponse;

use crate::server::{Server, Verdict};
use crate::support::{CONF, Desk, Run, assert_agreement};

/// A server that reads a request and answers with these bytes.
fn speaking(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let _ = connection.write_all(answer);
            // Nothing more is sent, and the connection stays open.
            if answer.is_empty() {
                open.push(connection);
            }
        }
    });
    url
}

fn against(url: &str, more: &[&str]) -> (Desk, Run) {
    let desk = Desk::new();
    desk.tree("rootfs");
    let fixed = ["prepare", "--serial", "AZJN-0042", "--api-url", url, "--rootfs-dir", "rootfs"];
    let run = desk.run(&[&fixed, more].concat());
    (desk, run)
}

#[test]
fn a_server_that_recovers_gets_another_request() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    server.script(|number, _| match number {
        0 => Verdict::Refuse(StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        1 => Verdict::Refuse(StatusCode::SERVICE_UNAVAILABLE.into_response()),
        _ => Verdict::Serve,
    });
    desk.single(&server, &[]).succeeded();
    assert_eq!(server.calls().len(), 3);
    assert_agreement(&server, &rootfs);
}

#[test]
fn a_server_that_keeps_failing_ends_the_run_and_a_later_run_continues() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    server.script(|_, _| Verdict::Refuse(StatusCode::INTERNAL_SERVER_ERROR.into_response()));
    desk.single(&server, &["--tries", "2"]).failed_with("500");
    assert_eq!(server.calls().len(), 2);
    assert!(!rootfs.join(CONF).exists());
    server.serve_everything();
    desk.single(&server, &[]).succeeded();
    assert_agreement(&server, &rootfs);
}

#[test]
fn a_server_that_is_down_ends_a_batch_early() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.list(60);
    server.script(|_, _| Verdict::Refuse(StatusCode::INTERNAL_SERVER_ERROR.into_response()));
    let run = desk.batch(&server, &["--jobs", "2", "--tries", "1"]).failed_with("500");
    assert!(run.out.contains("not tried"), "{}", run.out);
    assert!(server.calls().len() < 10);
}

#[test]
fn retry_after_delays_all_jobs_and_uses_no_try() {
    let (desk, server) = (Desk::new(), Server::start());
    let serials = desk.list(6);
    server.script(|number, _| match number {
        0..3 => Verdict::Refuse((StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "1")]).into_response()),
        _ => Verdict::Serve,
    });
    let begun = Instant::now();
    desk.batch(&server, &["--jobs", "3", "--tries", "1"]).succeeded();
    assert!(begun.elapsed() >= Duration::from_secs(1), "the requested pause");
    assert_eq!(server.calls().len(), 9);
    for serial in &serials {
        assert_agreement(&server, &desk.rootfs(serial));
    }
}

#[test]
fn a_final_answer_is_not_requested_again() {
    for status in [StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND, StatusCode::FOUND, StatusCode::UNPROCESSABLE_ENTITY] {
        let (desk, server) = (Desk::new(), Server::start());
        desk.tree("rootfs");
        server.script(move |_, _| Verdict::Refuse((status, "the password was 123").into_response()));
        let run = desk.single(&server, &[]).failed_with(status.as_str());
        assert_eq!(server.calls().len(), 1);
        run.shows_none_of(&["the password was".into()]);
    }
}

#[test]
fn an_answer_that_is_not_http_is_reported() {
    let (desk, run) = against(&speaking(b"\x16\x03\x01garbage\r\n\r\n"), &["--tries", "2"]);
    run.failed_with("no answer from the server");
    assert!(!desk.path("rootfs").join(CONF).exists());
}

#[test]
fn a_silent_server_times_out() {
    let (desk, run) = against(&speaking(b""), &["--tries", "1", "--timeout", "1"]);
    run.failed_with("no answer within 1 s");
    assert!(!desk.path("rootfs").join(CONF).exists());
}

#[test]
fn an_answer_cut_off_after_its_status_counts_by_its_status() {
    let (desk, run) = against(&speaking(b"HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{\"id\":"), &[]);
    run.succeeded();
    assert!(desk.path("rootfs").join(CONF).exists());
}

#[test]
fn an_unreachable_server_is_reported() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    against(&format!("http://{unused}"), &["--tries", "1"]).1.failed_with("no answer from the server");
}

#[test]
fn an_unusable_tree_is_reported_before_anything_is_sent() {
    let server = Server::start();
    let url = server.url();
    let desk = Desk::new();
    std::fs::write(desk.path("file"), "").unwrap();
    std::os::unix::fs::symlink("/", desk.path("link")).unwrap();
    for (rootfs, words) in [("missing", "missing"), ("file", "not a folder"), ("/", "own root"), ("link", "own root")] {
        desk.run(&["prepare", "--serial", "AZJN-0042", "--api-url", &url, "--rootfs-dir", rootfs]).failed_with(words);
    }
    assert_eq!(server.calls(), Vec::<String>::new());
}

/// Runs the program in a separate mount namespace, in which `script` has mounted file systems in the folder `rootfs`.
fn with_mount(desk: &Desk, server: &Server, script: &str) -> Option<Run> {
    let flags: &[&str] = if rustix::process::geteuid().is_root() { &["--mount"] } else { &["--mount", "--map-root-user"] };
    let probe = Command::new("unshare").args(flags).args(["sh", "-c", "mount -t tmpfs tmpfs /mnt"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        eprintln!("skipped: this machine does not allow mounts in a namespace");
        return None;
    }
    let program = desk.command(&[]).get_program().to_owned();
    let script = format!("set -e; {script}; exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.current_dir(desk.path("")).args(flags).args(["sh", "-c", &script]).arg(program);
    command.args(["prepare", "--serial", "AZJN-0042", "--rootfs-dir", "rootfs", "--api-url", &server.url()]);
    Some(Run::of(command.output().unwrap()))
}

#[test]
fn a_read_only_tree_is_reported_before_anything_is_sent() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.tree("rootfs");
    if let Some(run) = with_mount(&desk, &server, "mount -t tmpfs -o ro tmpfs rootfs") {
        run.failed_with("Read-only file system");
        assert_eq!(server.calls(), Vec::<String>::new());
    }
}

#[test]
fn a_full_tree_is_reported_before_anything_is_sent() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.tree("rootfs");
    let fill = "mount -t tmpfs -o size=64k tmpfs rootfs; mkdir -p rootfs/etc/azaion rootfs/boot/firmware; \
                dd if=/dev/zero of=rootfs/filler bs=4k 2>/dev/null || true";
    if let Some(run) = with_mount(&desk, &server, fill) {
        run.failed_with("No space left on device");
        assert_eq!(server.calls(), Vec::<String>::new());
    }
}
