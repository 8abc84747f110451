//! Labels of devices that have never been started.

use std::fs;

use jarvis_provisioning::store::{Paths, Store};

use crate::server::Server;
use crate::support::{Desk, PAIRING, mode};

#[test]
fn a_device_that_starts_from_the_image_has_the_label_that_was_printed() {
    let (desk, server) = (Desk::new(), Server::start());
    let serials = desk.list(3);
    desk.batch(&server, &["--labels", "labels.svg"]).succeeded();
    let sheet = fs::read_to_string(desk.path("labels.svg")).unwrap();
    for serial in &serials {
        let mut paths = Paths::new(desk.path(format!("state-{serial}")));
        paths.pairing = Some(desk.rootfs(serial).join(PAIRING));
        let store = Store::open(paths).unwrap();
        let boot = store.load().unwrap();
        let code = boot.pairing.code.expose().to_owned();
        for text in
            [serial, &boot.identity.name(), store.access_point_passphrase().expose(), &format!("{} {}", &code[..3], &code[3..])]
        {
            assert!(sheet.contains(text), "{text} is on the sheet");
        }
    }
    assert_eq!(mode(&desk.path("labels.svg")), 0o600);
}

#[test]
fn the_sheet_can_be_drawn_later_as_pages() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.list(3);
    desk.batch(&server, &[]).succeeded();
    let arguments = ["label", "--serials", "list.csv", "--rootfs-dir", "images/{serial}/rootfs", "--sheet", "labels.pdf"];
    desk.run(&arguments).succeeded();
    assert!(fs::read(desk.path("labels.pdf")).unwrap().starts_with(b"%PDF-"));
    assert_eq!(mode(&desk.path("labels.pdf")), 0o600);
}

#[test]
fn the_page_code_leads_to_the_port_of_the_settings_in_the_image() {
    let (desk, server) = (Desk::new(), Server::start());
    let settings = desk.tree("rootfs/etc/jarvis").join("provision.toml");
    desk.single(&server, &[]).succeeded();
    let draw = || desk.run(&["label", "--serial", "AZJN-0042", "--rootfs-dir", "rootfs", "--page-qr", "--sheet", "l.svg"]);
    let sheet = |text: &str| {
        fs::write(&settings, text).unwrap();
        draw().succeeded();
        fs::read_to_string(desk.path("l.svg")).unwrap()
    };
    let usual = sheet("");
    assert_eq!(sheet("port = 8080"), usual);
    assert_ne!(sheet("port = 8181"), usual);
    fs::remove_file(&settings).unwrap();
    draw().succeeded();
    assert_eq!(fs::read_to_string(desk.path("l.svg")).unwrap(), usual);
    fs::write(&settings, "port = none").unwrap();
    draw().failed_with("rootfs/etc/jarvis/provision.toml");
}

#[test]
fn a_sheet_of_an_unknown_form_is_refused_before_anything_is_sent() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.list(1);
    assert_eq!(desk.batch(&server, &["--labels", "labels.png"]).failed_with(".pdf or .svg").status, Some(2));
    assert_eq!(server.calls(), Vec::<String>::new());
}

#[test]
fn another_run_keeps_the_label() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    desk.single(&server, &[]).succeeded();
    let before = fs::read(rootfs.join(PAIRING)).unwrap();
    let run = desk.single(&server, &["--reissue"]).succeeded();
    assert_eq!(fs::read(rootfs.join(PAIRING)).unwrap(), before);
    assert!(!run.out.contains("new: print the label"), "{}", run.out);
}

#[test]
fn secrets_that_came_with_the_tree_are_replaced() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    fs::create_dir_all(rootfs.join("boot/firmware")).unwrap();
    fs::write(rootfs.join(PAIRING), r#"{"code": "111111"}"#).unwrap();
    let run = desk.single(&server, &[]).succeeded();
    assert!(!fs::read_to_string(rootfs.join(PAIRING)).unwrap().contains("111111"));
    assert!(run.out.contains("new: print the label"), "{}", run.out);
}

#[test]
fn no_secrets_are_written_if_devices_are_to_make_their_own() {
    let (desk, server) = (Desk::new(), Server::start());
    let rootfs = desk.tree("rootfs");
    desk.single(&server, &["--no-pairing"]).succeeded();
    assert!(!rootfs.join("boot").exists());
}

#[test]
fn a_device_without_secrets_of_the_ledger_has_no_label() {
    let desk = Desk::new();
    desk.tree("rootfs");
    desk.run(&["label", "--serial", "AZJN-0042", "--rootfs-dir", "rootfs", "--sheet", "l.svg"]).failed_with("AZJN-0042");
}
