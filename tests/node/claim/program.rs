//! `jarvis-provision claim` as installers and scripts run it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use testing::server::Server;

use crate::claim::server::{answer, claimed};
use crate::claim::{CODE, MAC, config};

/// A run of the program.
struct Run {
    status: i32,
    out: String,
    err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis-provision"));
    command.arg("claim").arg("--state-dir").arg(folder).args(["--mac", MAC]).args(arguments);
    command.env_remove("JARVIS_PROVISION_CODE").env("RUST_LOG", "info").env("NO_COLOR", "1");
    command
}

/// Runs a command until it exits, with this standard input.
async fn run(mut command: Command, typed: &'static str) -> Run {
    let running = tokio::task::spawn_blocking(move || {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The program may exit before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
        child.wait_with_output().unwrap().into()
    });
    running.await.unwrap()
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

#[tokio::test]
async fn the_screen_prompts_for_a_code_and_shows_the_result() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([claimed()]).await);
    let run = run(command(folder.path(), &["--api-endpoint", &server.url()]), "abcd-1234-efgh-5678\n").await;
    let rule = "=".repeat(60);
    let expected = format!(
        "{rule}
  OsirisCare Appliance Provisioning
{rule}

MAC Address: {MAC}
Hostname:    {}

Enter your provision code (from partner dashboard):
Format: XXXXXXXXXXXXXXXX (16 characters)

Provision Code: \nProvisioning...

{rule}
  Provisioning Complete!
{rule}

Site ID:     partner-clinic-abc123
Partner:     NEPA IT Solutions
Config:      {}

The agent will now restart in normal operation mode.
",
        hostname(),
        config(folder.path()).display()
    );
    assert_eq!((run.out, run.status), (expected, 0), "{}", run.err);
    assert_eq!(fs::metadata(config(folder.path())).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn there_are_three_tries_and_an_empty_line_costs_one() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([claimed()]).await);
    let endpoint = server.url();
    let early = run(command(folder.path(), &["--api-endpoint", &endpoint]), "\nABC\n  \nABCD1234EFGH5678\n").await;
    assert_eq!(early.out.matches("Provision Code: ").count(), 3, "{}", early.out);
    assert!(early.out.contains("Invalid provision code format. Expected 16 alphanumeric characters."), "{}", early.out);
    assert_eq!((early.status, server.requests().len()), (1, 0));

    let third = run(command(folder.path(), &["--api-endpoint", &endpoint]), "\n\nABCD1234EFGH5678\n").await;
    assert_eq!(third.status, 0, "{}", third.out);
}

#[tokio::test]
async fn a_refused_code_costs_a_try() {
    let folder = TempDir::new().unwrap();
    let server = Server::acting([answer("404 Not Found", r#"{"detail":"Invalid provision code"}"#), claimed()]).await;
    let run = run(command(folder.path(), &["--api-endpoint", &server.url()]), "0000000000000000\nABCD1234EFGH5678\n").await;
    assert!(run.out.contains("Provisioning failed: Invalid provision code\n"), "{}", run.out);
    assert!(run.out.ends_with("The agent will now restart in normal operation mode.\n"), "{}", run.out);
    assert_eq!(run.status, 0);
}

#[tokio::test]
async fn the_program_exits_at_the_end_of_its_input() {
    let folder = TempDir::new().unwrap();
    let run = run(command(folder.path(), &[]), "").await;
    assert_eq!(run.status, 1, "{}", run.out);
}

#[tokio::test]
async fn a_code_comes_from_a_file_a_variable_a_picture_or_standard_input() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("code");
    fs::write(&file, "osiris://abcd1234efgh5678\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let picture = place.path().join("code.png");
    fs::write(&picture, command_center::qr_png(&format!("osiris://{CODE}"))).unwrap();
    let (file, picture) = (file.to_str().unwrap(), picture.to_str().unwrap());
    for (arguments, variable, typed) in [
        (&["--code-file", file][..], None, ""),
        (&["--code-file", "-"], None, "ABCD1234EFGH5678"),
        (&["--qr", picture], None, ""),
        (&[], Some(CODE), ""),
    ] {
        let (place, server) = (TempDir::new().unwrap(), Server::acting([claimed()]).await);
        let folder = place.path().join("msp");
        let mut command = command(&folder, arguments);
        command.args(["--api-endpoint", &server.url()]).envs(variable.map(|code| ("JARVIS_PROVISION_CODE", code)));
        let run = run(command, typed).await;
        let expected =
            format!("Auto-provisioning with code: ABCD...5678\nProvisioning complete. Config: {}\n", config(&folder).display());
        assert_eq!((run.out, run.status), (expected, 0), "{}", run.err);
        assert!(server.requests()[0].contains(CODE));
        for secret in [CODE, &crate::claim::value(&folder, "api_key")] {
            assert!(!run.err.contains(secret), "{}", run.err);
        }
        assert!(!run.err.contains("WARN"), "{}", run.err);
    }
}

#[tokio::test]
async fn a_code_on_the_command_line_works_with_a_warning() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([claimed()]).await);
    let run = run(command(folder.path(), &["--code", CODE, "--api-endpoint", &server.url()]), "").await;
    assert_eq!(run.status, 0, "{}", run.err);
    assert!(run.err.contains("WARN") && run.err.contains("--code-file"), "{}", run.err);
}

#[tokio::test]
async fn a_file_that_others_can_read_works_with_a_warning() {
    let (folder, server, place) = (TempDir::new().unwrap(), Server::acting([claimed()]).await, TempDir::new().unwrap());
    let file = place.path().join("code");
    fs::write(&file, CODE).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let run = run(command(folder.path(), &["--code-file", file.to_str().unwrap(), "--api-endpoint", &server.url()]), "").await;
    assert_eq!(run.status, 0, "{}", run.err);
    assert!(run.err.contains("chmod 600"), "{}", run.err);
}

#[tokio::test]
async fn an_unattended_failure_is_reported_in_one_line() {
    for (code, status, error) in [
        ("ABC", "200 OK", "Invalid provision code format. Expected 16 alphanumeric characters."),
        (CODE, "400 Bad Request", "Provision code expired"),
    ] {
        let folder = TempDir::new().unwrap();
        let server = Server::acting([answer(status, &format!(r#"{{"detail":"{error}"}}"#))]).await;
        let run = run(command(folder.path(), &["--code", code, "--api-endpoint", &server.url()]), "").await;
        // Nothing of the code, which somebody else could claim.
        assert_eq!(run.out, format!("Provisioning failed: {error}\n"));
        assert!(!run.err.contains("ABCD") && !run.err.contains("5678"), "{}", run.err);
        assert_eq!((run.status, server.requests().len()), (1, usize::from(code == CODE)));
    }
}

#[tokio::test]
async fn whether_a_code_is_needed_is_an_exit_status() {
    let folder = TempDir::new().unwrap();
    let needed = run(command(folder.path(), &["--check"]), "").await;
    assert_eq!((needed.out.as_str(), needed.status), ("Provisioning required\n", 1));
    fs::write(config(folder.path()), "").unwrap();
    let done = run(command(folder.path(), &["--check"]), "").await;
    assert_eq!((done.out.as_str(), done.status), ("Already provisioned\n", 0));
}

#[tokio::test]
async fn a_provisioned_appliance_is_left_unchanged() {
    let (folder, server) = (TempDir::new().unwrap(), Server::acting([claimed()]).await);
    fs::write(config(folder.path()), "site_id: mine\n").unwrap();
    let endpoint = server.url();
    let arguments = ["--code", CODE, "--api-endpoint", &endpoint];
    let left = run(command(folder.path(), &arguments), "").await;
    assert_eq!((left.out.as_str(), left.status), ("Already provisioned\n", 0));
    assert!(server.requests().is_empty());
    let mut again = command(folder.path(), &arguments);
    again.arg("--again");
    assert_eq!(run(again, "").await.status, 0);
    assert_eq!(crate::claim::value(folder.path(), "site_id"), "partner-clinic-abc123");
}

#[tokio::test]
async fn an_unusable_folder_has_its_own_exit_status() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    let run = run(command(&file, &["--code", CODE, "--api-endpoint", "http://127.0.0.1:1"]), "").await;
    assert_eq!(run.status, 4, "{} {}", run.out, run.err);
}

#[tokio::test]
async fn invalid_arguments_are_refused() {
    let folder = TempDir::new().unwrap();
    for arguments in [
        &["--code", CODE, "--check"][..],
        &["--code", CODE, "--api-endpoint", "ftp://x"],
        &["--code", CODE, "--api-endpoint", "https://user:password@x"],
    ] {
        let run = run(command(folder.path(), arguments), "").await;
        assert_eq!(run.status, 2, "{arguments:?} {}", run.err);
    }
}
