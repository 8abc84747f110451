//! `jarvis-provision factory` and `jarvis-provision label --sheet`: the device's program starts this one.

use std::path::Path;
use std::process::Command;

use crate::server::Server;
use crate::support::{Desk, FACTORY, Run, assert_agreement, program};

/// Runs the device's program at this path.
fn device(desk: &Desk, program: &Path, path: &str, arguments: &[&str]) -> Run {
    let mut command = Command::new(program);
    command.current_dir(desk.path("")).args(arguments).env("PATH", path).env_remove("RUST_LOG").env_remove("JARVIS_LOG_FORMAT");
    Run::of(command.output().unwrap())
}

#[test]
fn output_errors_and_status_are_those_of_the_factory() {
    let desk = Desk::new();
    desk.tree("rootfs");
    let provision = program("jarvis-provision");
    for (arguments, status) in [
        (&["factory", "--help"][..], 0),
        (&["factory", "-h"], 0),
        (&["--log-format", "json", "factory", "--help"], 0),
        (&["factory"], 2),
        (&["factory", "--serial", "../x", "--api-url", "http://127.0.0.1:9"], 2),
        (&["factory", "--serial", "AZJN-0042", "--mark-shipped", "--log-format", "json"], 1),
        (&["label", "--serial", "AZJN-0042", "--sheet", "labels.svg"], 2),
        (&["label", "--config", "none.toml", "--serial", "AZJN-0042", "--rootfs-dir", "rootfs", "--sheet", "labels.svg"], 1),
    ] {
        let (direct, forwarded) = (desk.run(arguments), device(&desk, &provision, "", arguments));
        assert_eq!(forwarded.status, Some(status), "{arguments:?}: {}", forwarded.errors);
        assert_eq!((forwarded.out, forwarded.errors), (direct.out, direct.errors), "{arguments:?}");
        assert_eq!(direct.status, Some(status), "{arguments:?}");
    }
}

#[test]
fn a_factory_program_in_the_path_prepares_the_image_and_its_label() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let provision = elsewhere.path().join("jarvis-provision");
    std::fs::hard_link(program("jarvis-provision"), &provision).unwrap();
    let path = Path::new(FACTORY).parent().unwrap().to_str().unwrap();
    let url = server.url();
    let arguments = ["factory", "--serial", "AZJN-0042", "--api-url", &url, "--rootfs-dir", "rootfs"];
    device(&desk, &provision, path, &arguments).succeeded();
    assert_agreement(&server, &rootfs);
    let arguments = ["label", "--serial", "AZJN-0042", "--rootfs-dir", "rootfs", "--sheet", "labels.svg"];
    device(&desk, &provision, path, &arguments).succeeded();
    assert!(std::fs::read_to_string(desk.path("labels.svg")).unwrap().contains("AZJN-0042"));
}
