//! The runbook: executes its commands as written, with the real command center.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Desk, Run, program};

const RUNBOOK: &str = include_str!("../../../docs/runbook.md");

/// The blocks that need no board, one after another.
fn commands() -> String {
    let mut commands = String::new();
    let mut is_inside = false;
    for line in RUNBOOK.lines() {
        match line {
            "```sh" => is_inside = true,
            "```" => is_inside = false,
            line if is_inside => commands.extend([line, "\n"]),
            _ => {}
        }
    }
    commands
}

/// The folder with all programs.
fn programs() -> PathBuf {
    program("jarvis-command-center");
    program("jarvis-provision").parent().unwrap().to_owned()
}

#[test]
fn devices_prepared_by_the_runbook_can_log_in() {
    let desk = Desk::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let commands = commands().replace("127.0.0.1:7703", &free.to_string());
    assert!(commands.lines().count() > 30 && commands.contains(&free.to_string()));
    // Job control as in an interactive shell. A failing command ends the shell, and the server with it.
    let script = format!("set -euo pipefail; set -m; trap 'kill %1 2>/dev/null || true' EXIT\n{commands}trap - EXIT\n");
    let path = format!("{}:{}", programs().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell.current_dir(desk.path("")).args(["-c", &script]).env("PATH", path).env_remove("RUST_LOG");
    let run = Run::of(shell.output().unwrap()).succeeded();
    assert!(run.out.contains("azaion-jetson-0042@azaion.com") && run.out.contains("created            3"), "{}", run.out);
    let ledger = std::fs::read_to_string(desk.path("factory-ledger.jsonl")).unwrap();
    assert!(ledger.contains(r#""serial":"AZJN-0043","state":"shipped""#));
    assert!(!desk.path("images").exists());
}
