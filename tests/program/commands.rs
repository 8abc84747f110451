//! The commands as a person or a script runs them: their output and exit status.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use provisioning_core::domain::State;
use serde_json::{Value, json};

use crate::center::{Center, credentials};
use crate::place::{Label, Place, bring_online, files, phone};
use testing::journal::{PASSWORD, WRONG_PASSWORD};

/// A provisioned node, whose process has exited, and its label.
pub(crate) async fn provisioned() -> (Place, Label) {
    let (place, center) = (Place::new(), Center::start().await);
    let node = place.start().await;
    let label = place.label().await;
    let order = center.order(&place).await;
    let mut phone = phone(&node.over_bluetooth(), &label.by_code()).await;
    let k2 = mobile_test_harness::key::new(std::time::SystemTime::UNIX_EPOCH, &mut rand_core::UnwrapErr(getrandom::SysRng));
    phone.send_k2(k2).await.expect("stored");
    let outcome = bring_online(&mut phone, &credentials("HomeNetwork", PASSWORD, &center.url(), &order)).await;
    assert_eq!(outcome.state, State::Provisioned);
    center.assert_enrolled(&place, &order).await;
    assert_eq!(node.stop().await.0, Some(0));
    (place, label)
}

#[tokio::test]
async fn every_command_explains_itself() {
    let place = Place::new();
    for (arguments, expected) in [
        (&["--help"][..], "Exit status:"),
        (&["run", "--help"], "--simulate"),
        (&["label", "--help"], "--png"),
        (&["status", "--help"], "--json"),
        (&["networks", "--help"], "--saved"),
        (&["connect", "--help"], "--password-stdin"),
        (&["forget", "--help"], "--json"),
        (&["hotspot", "--help"], "off"),
        (&["recover", "--help"], "--json"),
        (&["authorise", "--help"], "--json"),
        (&["events", "--help"], "--follow"),
        (&["reset", "--help"], "--yes"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
    ] {
        let ended = place.run(arguments).await;
        assert_eq!(ended.status, Some(0), "{arguments:?}");
        assert!(ended.output.contains(expected) && ended.errors.is_empty(), "{arguments:?}: {}", ended.output);
    }
    for shell in ["bash", "zsh", "fish"] {
        let ended = place.run(&["completions", shell]).await;
        assert_eq!(ended.status, Some(0));
        assert!(ended.output.contains("reset") && ended.output.contains("simulate"), "{shell}");
    }
    assert!(!place.path("secrets").exists(), "help creates no files");
}

#[tokio::test]
async fn every_command_has_a_manual_page() {
    let place = Place::new();
    let folder = place.path("pages");
    fs::create_dir(&folder).expect("a new folder");
    let ended = place.run(&["manual", folder.to_str().expect("a plain name")]).await;
    assert_eq!(ended.status, Some(0), "{}", ended.errors);
    let mut pages: Vec<_> = fs::read_dir(&folder).expect("the folder").map(|page| page.expect("a page").file_name()).collect();
    pages.sort();
    let commands = [
        "authorise",
        "claim",
        "completions",
        "connect",
        "diagnose",
        "events",
        "factory",
        "forget",
        "hotspot",
        "label",
        "login",
        "networks",
        "recover",
        "reset",
        "run",
        "status",
    ];
    let expected = commands.iter().map(|command| format!("jarvis-provision-{command}.1").into());
    assert_eq!(pages, expected.chain(["jarvis-provision.1".into()]).collect::<Vec<std::ffi::OsString>>());
}

#[tokio::test]
async fn an_invalid_command_line_exits_with_2() {
    let place = Place::new();
    for arguments in [&[][..], &["provision"], &["run", "--code", "123456"], &["status", "extra"]] {
        let ended = place.run(arguments).await;
        assert_eq!(ended.status, Some(2), "{arguments:?}");
        assert!(ended.errors.contains("Usage:"), "{arguments:?}: {}", ended.errors);
    }
}

#[tokio::test]
async fn a_missing_factory_program_exits_with_127_and_is_named() {
    let place = Place::new().with("PATH", "/nonexistent");
    // In a separate folder, the program has no jarvis-factory beside it.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let program = folder.path().join("jarvis-provision");
    fs::hard_link(env!("CARGO_BIN_EXE_jarvis-provision"), &program).expect("one file system");
    for arguments in [&["factory", "--help"][..], &["label", "--serial", "AZJN-0042", "--sheet", "labels.pdf"]] {
        let ended = place.run_program(&program, arguments).await;
        assert_eq!(ended.status, Some(127), "{arguments:?}: {}", ended.errors);
        assert!(ended.errors.contains("install the package jarvis-factory"), "{}", ended.errors);
    }
}

#[tokio::test]
async fn invalid_settings_exit_with_3_and_are_named() {
    let mut place = Place::new();
    for (name, value, expected) in [
        ("JARVIS_WIFI_BACKEND", "iwd", "unset it, or set it to networkmanager or hostapd"),
        ("JARVIS_PROVISIONING_PORT", "http", "JARVIS_PROVISIONING_PORT"),
        ("JARVIS_PROVISION_CONFIG", "/nonexistent.toml", "/nonexistent.toml"),
    ] {
        place.set(name, value);
        let ended = place.run(&["run"]).await;
        assert_eq!(ended.status, Some(3), "{name}={value}");
        assert!(ended.errors.contains(expected), "{name}={value}: {}", ended.errors);
        place.set(name, "");
    }
    let file = place.path("provision.toml");
    fs::write(&file, "prot = 8080\n").expect("a file");
    let ended = place.run(&["run", "--config", file.to_str().expect("UTF-8")]).await;
    assert_eq!(ended.status, Some(3));
    assert!(ended.errors.contains("prot") && ended.errors.contains("provision.toml"), "{}", ended.errors);
}

#[tokio::test]
async fn info_reports_the_firmware_version_and_capabilities_of_the_settings() {
    let mut place = Place::new();
    let file = place.path("provision.toml");
    fs::write(&file, "firmware_version = \"2.4.1-rc1\"\ncapabilities = [\"camera\"]\n").expect("a file");
    place.set("JARVIS_PROVISION_CONFIG", file.to_str().expect("UTF-8"));
    let node = place.start().await;
    let info = node.get("/api/v1/info").await.json();
    assert_eq!((&info["firmware_version"], &info["capabilities"]), (&json!("2.4.1-rc1"), &json!(["camera"])));
}

#[tokio::test]
async fn an_address_in_use_exits_with_5_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let place = Place::new().with("JARVIS_PROVISIONING_PORT", &port);
    let ended = place.run(&["run", "--simulate"]).await;
    assert_eq!(ended.status, Some(5));
    assert!(ended.errors.contains(&format!("127.0.0.1:{port}")), "{}", ended.errors);
}

#[tokio::test]
async fn unusable_files_exit_with_4_and_are_named() {
    let place = Place::new();
    fs::write(place.path("secrets"), "not a folder").expect("a file");
    for arguments in [&["run", "--simulate"][..], &["status"], &["label"], &["reset", "--yes"]] {
        let ended = place.run(arguments).await;
        assert_eq!(ended.status, Some(4), "{arguments:?}");
        assert!(ended.errors.contains("/secrets"), "{arguments:?}: {}", ended.errors);
    }
    assert_eq!(fs::read_to_string(place.path("secrets")).expect("it is left alone"), "not a folder");
}

#[tokio::test]
async fn a_provisioned_node_exits_with_0_unless_the_check_is_skipped() {
    let (mut place, _) = provisioned().await;
    let ended = place.run(&["run", "--simulate"]).await;
    assert_eq!(ended.status, Some(0));
    assert!(ended.output.contains("is provisioned already"), "{}", ended.output);
    assert!(ended.errors.contains("JARVIS_SKIP_PROVISIONING_CHECK"), "{}", ended.errors);

    place.set("JARVIS_SKIP_PROVISIONING_CHECK", "yes");
    let node = place.start().await;
    let info = node.get("/api/v1/info").await.json();
    assert_eq!((&info["state"], &info["previously_provisioned"]), (&json!("AP_MODE"), &json!(true)));
}

#[tokio::test]
async fn the_simulation_can_be_switched_on_by_its_variable() {
    let place = Place::new().with("JARVIS_SIMULATE_PROVISIONING", "1").with("JARVIS_WIFI_BACKEND", "hostapd");
    let mut process = place.command(&["run"]).stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(process.stdout.take().expect("a pipe")));
    let ready = lines.next_line().await.expect("UTF-8").expect("it is ready");
    let ready: Value = serde_json::from_str(&ready).expect("one JSON object");
    assert!(ready["listening"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{ready}");
}

#[tokio::test]
async fn a_node_runs_once_at_a_time() {
    let place = Place::new();
    let node = place.start().await;
    let ended = place.run(&["run", "--simulate"]).await;
    assert_eq!(ended.status, Some(2));
    assert!(ended.errors.contains("jarvis-provision is running for this node"), "{}", ended.errors);
    node.get("/api/v1/status").await;
    let (status, printed) = node.stop().await;
    assert_eq!((status, printed), (Some(0), vec![]), "exits with 0 on SIGTERM");
}

#[tokio::test]
async fn the_label_is_printed_drawn_and_available_as_json() {
    let place = Place::new();
    let label = place.label().await;
    assert!(label.code.len() == 6 && label.code.bytes().all(|digit| digit.is_ascii_digit()));
    assert_eq!(label.wifi_qr, format!("WIFI:T:WPA;S:{};P:{};;", label.name, label.access_point_passphrase));
    assert!(label.pairing_qr.to_lowercase().contains(&label.secret), "{}", label.pairing_qr);

    let shown = place.run(&["label"]).await;
    assert_eq!(shown.status, Some(0));
    let digits: String = shown.output.chars().filter(char::is_ascii_digit).collect();
    assert!(digits.contains(&label.code), "{}", shown.output);
    assert!(shown.output.contains(&label.name) && shown.output.contains(&label.access_point_passphrase), "{}", shown.output);
    assert!(shown.output.matches('█').count() > 100, "two QR codes");
    assert!(!shown.output.contains('\u{1b}'), "colours without a terminal");

    let png = place.path("label.png");
    let drawn = place.run(&["label", "--png", png.to_str().expect("UTF-8")]).await;
    assert_eq!((drawn.status, drawn.output.as_str()), (Some(0), ""));
    assert!(fs::read(&png).expect("a picture").starts_with(b"\x89PNG\r\n"));
    assert_eq!(fs::metadata(&png).expect("a picture").permissions().mode() & 0o777, 0o600);
    place.assert_clean("the journal of `label`", &drawn.errors);

    fs::set_permissions(&png, fs::Permissions::from_mode(0o644)).expect("our own file");
    assert_eq!(place.run(&["label", "--png", png.to_str().expect("UTF-8")]).await.status, Some(0));
    assert_eq!(fs::metadata(&png).expect("a picture").permissions().mode() & 0o777, 0o600);
    let (link, target) = (place.path("link.png"), place.path("target"));
    fs::write(&target, "untouched").expect("a file");
    std::os::unix::fs::symlink(&target, &link).expect("a link");
    let refused = place.run(&["label", "--png", link.to_str().expect("UTF-8")]).await;
    assert_eq!(refused.status, Some(4), "{}", refused.errors);
    assert_eq!(fs::read_to_string(&target).expect("a file"), "untouched");
    assert_eq!(place.label().await.code, label.code, "it stays the same");
}

#[tokio::test]
async fn the_label_leads_to_the_port_of_the_settings() {
    let place = Place::new().with("JARVIS_PROVISIONING_PORT", "");
    let file = place.path("provision.toml");
    fs::write(&file, "port = 8181\n").expect("a file");
    let ended = place.run(&["label", "--json", "--config", file.to_str().expect("UTF-8")]).await;
    let label: Value = serde_json::from_str(&ended.output).expect("one JSON object");
    let page = format!("http://192.168.4.1:8181/#code={}", label["code"].as_str().expect("a code"));
    assert_eq!(label["page_qr"], page);
}

#[tokio::test]
async fn the_status_has_its_state_and_no_secret() {
    let place = Place::new();
    let label = place.label().await;
    let fresh = place.status().await;
    assert_eq!(
        (&fresh["state"], &fresh["provisioned"], &fresh["last_failure"]),
        (&json!("AP_MODE"), &json!(false), &Value::Null)
    );
    assert_eq!(fresh["name"], label.name);

    let node = place.start().await;
    let mut phone = phone(&node.over_bluetooth(), &label.by_code()).await;
    let order = mobile_test_harness::command_center::Order {
        node_id: "0e8c1f5a".into(),
        token: provisioning_core::secret::SecretText::new(testing::journal::TOKEN.into()),
        good_for: std::time::Duration::ZERO,
    };
    bring_online(&mut phone, &credentials("Lighthouse", WRONG_PASSWORD, "http://127.0.0.1:9", &order)).await;
    let failed = place.status().await;
    assert_eq!(failed["state"], "ERROR");
    assert_eq!(
        (&failed["last_failure"]["fault"], &failed["last_failure"]["ssid"]),
        (&json!("WrongPassword"), &json!("Lighthouse"))
    );
    let shown = place.run(&["status"]).await;
    assert_eq!(shown.status, Some(0));
    assert!(shown.output.contains("WrongPassword: The Wi-Fi password is wrong."), "{}", shown.output);
    place.assert_clean("the status", &format!("{failed}\n{}{}", shown.output, shown.errors));
}

#[tokio::test]
async fn every_file_of_a_node_is_private() {
    let (place, _) = provisioned().await;
    for file in files(&place.path("secrets")) {
        let mode = fs::symlink_metadata(&file).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.display());
    }
    assert_eq!(fs::metadata(place.path("secrets")).expect("it is there").permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn the_journal_is_json_for_machines_and_without_colours_for_files() {
    let place = Place::new();
    for format in ["human", "json"] {
        let ended = place.run(&["--log-format", format, "label", "--json"]).await;
        assert!(!ended.errors.contains('\u{1b}'), "{}", ended.errors);
        let lines: Vec<_> = ended.errors.lines().map(serde_json::from_str::<Value>).collect();
        assert!(lines.iter().all(|line| line.is_ok() == (format == "json")), "{}", ended.errors);
    }
}
