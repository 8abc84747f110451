//! One device, as required by the existing pipeline.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::Value;

use crate::server::{Server, Verdict};
use crate::support::{CONF, Desk, PAIRING, assert_agreement, credentials, files, mode};

const ACCOUNT: &str = "azaion-jetson-0042@azaion.com";

fn create_foreign_account(server: &Server) {
    server.world().passwords.insert(ACCOUNT.into(), "of a device in the field".into());
}

#[test]
fn a_new_serial_gets_an_account_and_its_credentials() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    let run = desk.single(&server, &[]).succeeded();
    let (email, password) = credentials(&rootfs);
    assert_eq!(email, ACCOUNT);
    assert!(password.len() == 32 && password.bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_agreement(&server, &rootfs);
    let request = server.world().requests[0].clone();
    let expected = serde_json::json!({"email": ACCOUNT, "password": password, "role": "CompanionPC"});
    assert_eq!((request.body, request.authorization), (expected, None));
    assert_eq!(server.calls(), ["POST /users"]);
    assert!(run.out.contains(ACCOUNT) && run.out.contains("rootfs/etc/azaion/device.conf"), "{}", run.out);
    run.shows_none_of(&[password]);
}

#[test]
fn a_second_run_makes_no_second_account_and_keeps_the_password() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    desk.single(&server, &[]).succeeded();
    let before = credentials(&rootfs);
    desk.single(&server, &[]).succeeded();
    assert_eq!(server.calls(), ["POST /users", "POST /users", "PATCH /users/password"]);
    assert_eq!((credentials(&rootfs), server.world().made[ACCOUNT]), (before, 1));
    assert_agreement(&server, &rootfs);
}

#[test]
fn a_second_run_into_a_new_tree_makes_file_and_account_agree() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    desk.single(&server, &[]).succeeded();
    fs::remove_dir_all(&rootfs).unwrap();
    desk.tree("rootfs");
    desk.single(&server, &[]).succeeded();
    assert_eq!(server.world().made[ACCOUNT], 1);
    assert_agreement(&server, &rootfs);
}

#[test]
fn a_server_may_answer_200_for_every_success() {
    let (desk, server) = (Desk::new(), Server::start());
    server.say_200();
    let rootfs = desk.tree("rootfs");
    desk.single(&server, &[]).succeeded();
    desk.single(&server, &[]).succeeded();
    assert_agreement(&server, &rootfs);
}

#[test]
fn one_trailing_slash_of_the_address_is_removed() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.tree("rootfs");
    let url = format!("{}/", server.url());
    desk.run(&["prepare", "--serial", "AZJN-0042", "--api-url", &url, "--rootfs-dir", "rootfs"]).succeeded();
    assert_eq!(server.calls(), ["POST /users"]);
}

#[test]
fn an_account_of_others_is_unchanged_without_the_operators_consent() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    create_foreign_account(&server);
    for _ in 0..2 {
        desk.single(&server, &[]).failed_with("--reissue");
        assert_eq!(server.world().passwords[ACCOUNT], "of a device in the field");
        assert_eq!(files(&rootfs.join("etc")), Vec::<std::path::PathBuf>::new());
    }
    assert_eq!(server.calls(), ["POST /users", "POST /users"]);
    desk.single(&server, &["--reissue"]).succeeded();
    assert_agreement(&server, &rootfs);
}

#[test]
fn a_device_conf_that_is_not_ours_stays_if_its_account_is_refused() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    create_foreign_account(&server);
    fs::create_dir_all(rootfs.join("etc/azaion")).unwrap();
    fs::write(rootfs.join(CONF), "made elsewhere").unwrap();
    desk.single(&server, &[]).failed_with("--reissue");
    assert_eq!(fs::read_to_string(rootfs.join(CONF)).unwrap(), "made elsewhere");
}

#[test]
fn a_shipped_device_is_unchanged_without_the_operators_consent() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    desk.single(&server, &[]).succeeded();
    desk.run(&["prepare", "--serial", "AZJN-0042", "--mark-shipped"]).succeeded();
    let before = (credentials(&rootfs), server.calls());
    fs::remove_file(rootfs.join(CONF)).unwrap();
    desk.single(&server, &[]).failed_with("--reissue");
    assert_eq!(server.calls(), Vec::<String>::new());
    desk.single(&server, &["--reissue"]).succeeded();
    assert_ne!(credentials(&rootfs), before.0);
    assert_agreement(&server, &rootfs);
}

#[test]
fn a_device_that_was_never_registered_cannot_have_shipped() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.run(&["prepare", "--serial", "AZJN-0042", "--mark-shipped"]).failed_with("not registered");
    assert_eq!(server.calls(), Vec::<String>::new());
}

#[test]
fn an_account_created_despite_a_failed_answer_is_recognized_by_its_password() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    server.script(|number, _| match number {
        0 => Verdict::ServeAndAnswer(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Verdict::Serve,
    });
    desk.single(&server, &[]).succeeded();
    assert_eq!(server.calls(), ["POST /users", "POST /users", "POST /login"]);
    assert_agreement(&server, &rootfs);
}

#[test]
fn a_failure_before_an_account_that_is_not_ours_does_not_make_it_ours() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.tree("rootfs");
    create_foreign_account(&server);
    server.script(|number, _| match number {
        0 => Verdict::Refuse(StatusCode::BAD_GATEWAY.into_response()),
        _ => Verdict::Serve,
    });
    desk.single(&server, &[]).failed_with("--reissue");
    assert_eq!(server.world().passwords[ACCOUNT], "of a device in the field");
}

#[test]
fn without_a_login_endpoint_the_ledger_decides() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    server.know_no_login();
    server.script(|number, _| match number {
        0 => Verdict::ServeAndAnswer(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Verdict::Serve,
    });
    desk.single(&server, &[]).succeeded();
    assert_eq!(server.calls(), ["POST /users", "POST /users", "POST /login", "PATCH /users/password"]);
    assert_agreement(&server, &rootfs);
}

#[test]
fn an_account_that_the_server_lost_is_created_again_with_the_same_password() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    desk.single(&server, &[]).succeeded();
    server.world().passwords.clear();
    desk.single(&server, &[]).succeeded();
    assert_agreement(&server, &rootfs);
}

#[test]
fn a_readable_file_becomes_private() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    for file in [CONF, PAIRING] {
        fs::create_dir_all(rootfs.join(file).parent().unwrap()).unwrap();
        fs::write(rootfs.join(file), "{}").unwrap();
        fs::set_permissions(rootfs.join(file), fs::Permissions::from_mode(0o666)).unwrap();
    }
    desk.single(&server, &[]).succeeded();
    assert_agreement(&server, &rootfs);
}

#[test]
fn the_umask_of_the_process_changes_no_mode() {
    for mask in ["000", "077", "777"] {
        let (desk, server) = (Desk::new(), Server::start());
        let rootfs = desk.tree("rootfs");
        let program = desk.command(&[]).get_program().to_owned();
        let script = format!("umask {mask}; exec \"$0\" \"$@\"");
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(desk.path("")).args(["-c", &script]).arg(program);
        shell.args(["prepare", "--serial", "AZJN-0042", "--rootfs-dir", "rootfs", "--api-url", &server.url()]);
        // The ledger belongs to the operator: under the last umask only root could read it.
        if mask == "777" && !rustix::process::geteuid().is_root() {
            continue;
        }
        crate::support::Run::of(shell.output().unwrap()).succeeded();
        assert_agreement(&server, &rootfs);
        assert_eq!(mode(&rootfs.join("etc/azaion")), 0o755);
    }
}

#[test]
fn a_dry_run_sends_nothing_and_writes_nothing() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.tree("rootfs");
    let run = desk.single(&server, &["--dry-run"]).succeeded();
    assert!(run.out.contains("create") && run.out.contains(ACCOUNT), "{}", run.out);
    assert_eq!(files(&desk.path("")), Vec::<std::path::PathBuf>::new());
    assert_eq!(server.calls(), Vec::<String>::new());
}

#[test]
fn a_dry_run_reports_what_would_fail() {
    let (desk, server) = (Desk::new(), Server::start());
    let run = desk.single(&server, &["--dry-run"]).failed_with("would fail");
    assert!(run.out.contains("fail") && run.out.contains("rootfs"), "{}", run.out);
}

#[test]
fn accounts_are_named_by_the_template() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    desk.single(&server, &["--account", "{serial}@devices.example.com"]).succeeded();
    assert_eq!(credentials(&rootfs).0, "azjn-0042@devices.example.com");
}

#[test]
fn an_account_of_another_device_is_refused_before_anything_is_sent() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.tree("rootfs");
    desk.single(&server, &[]).succeeded();
    server.calls();
    let arguments = ["prepare", "--serial", "OTHER-0042", "--api-url", &server.url(), "--rootfs-dir", "rootfs"];
    desk.run(&arguments).failed_with("AZJN-0042");
    assert_eq!(server.calls(), Vec::<String>::new());
}

#[test]
fn the_operators_token_comes_from_a_file_and_goes_only_to_the_admin_api() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.tree("rootfs");
    fs::write(desk.path("token"), "canary.token\n").unwrap();
    let run = desk.single(&server, &["--admin-token-file", "token", "--verify"]).succeeded();
    let seen: Vec<_> = server.world().requests.iter().map(|request| request.authorization.clone()).collect();
    assert_eq!(seen, [Some("Bearer canary.token".to_owned()), None]);
    run.shows_none_of(&["canary.token".into()]);
}

#[test]
fn the_log_at_trace_level_contains_no_secret() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    fs::write(desk.path("token"), "canary.token").unwrap();
    let url = server.url();
    let arguments =
        ["prepare", "--serial", "AZJN-0042", "--api-url", &url, "--rootfs-dir", "rootfs", "--admin-token-file", "token"];
    let output = desk.command(&arguments).env("RUST_LOG", "trace").output().unwrap();
    let run = crate::support::Run::of(output).succeeded();
    let pairing: Value = serde_json::from_slice(&fs::read(rootfs.join(PAIRING)).unwrap()).unwrap();
    let mut secrets = vec![credentials(&rootfs).1, "canary.token".into()];
    secrets.extend(["secret", "access_point_passphrase"].map(|name| pairing[name].as_str().unwrap().to_owned()));
    let run = run.shows_none_of(&secrets);
    // Six digits may appear in a log by coincidence.
    assert!(!run.errors.contains(&pairing["code"].to_string()), "the code is shown");
    let ledger = fs::read_to_string(desk.path("factory-ledger.jsonl")).unwrap();
    assert!(secrets.iter().all(|secret| !ledger.contains(secret)));
}

#[test]
fn a_final_login_verifies_that_the_server_stored_the_password() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.tree("rootfs");
    // A proxy that answers every request with success and forwards nothing.
    server.script(|_, request| match request.path.as_str() {
        "/users" => Verdict::Refuse((StatusCode::OK, "<html>welcome</html>").into_response()),
        _ => Verdict::Serve,
    });
    desk.single(&server, &["--verify"]).failed_with("does not let it log in");
}
