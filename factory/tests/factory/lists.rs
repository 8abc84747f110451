//! Invalid lists: nothing is sent, and nothing is written.

use std::fs;

use crate::server::Server;
use crate::support::{Desk, files};

#[test]
fn a_list_with_one_bad_line_does_nothing_for_any_line() {
    let long = "A".repeat(300);
    for bad in [
        "",
        "\"\"",
        "AZJN-0001",
        "azjn-0001",
        "OTHER-0001",
        &long,
        "a/b",
        "..",
        "../../etc",
        "a\0b",
        "a\u{7}b",
        "a\u{1b}[31m",
        "\"a\nb\"",
        "=HYPERLINK(1)",
        "+1",
        "@SUM(1)",
        "-2",
        "AZJN-",
        "\u{feff}AZJN-0009",
        "\u{202e}AZJN",
    ] {
        let (desk, server) = (Desk::new(), Server::start());
        desk.tree("images/AZJN-0001/rootfs");
        fs::write(desk.path("list.csv"), format!("station,serial\r\n1,AZJN-0001\r\n2,{bad}\r\n")).unwrap();
        let before = files(&desk.path(""));
        let run = desk.batch(&server, &[]);
        assert_eq!(run.status, Some(2), "{bad:?}: {}", run.errors);
        assert!(run.errors.contains("line 3"), "{bad:?}: {}", run.errors);
        assert!(run.errors.chars().all(|letter| !letter.is_control() || letter == '\n'), "{bad:?}: {:?}", run.errors);
        assert_eq!((server.calls(), files(&desk.path(""))), (vec![], before), "{bad:?}");
    }
}

#[test]
fn a_list_without_a_serial_column_is_refused() {
    for list in ["", "serial", "name\nAZJN-0001\n", "AZJN-0001\nAZJN-0002\n", "serial,serial\na,b\n", "a\nserial\n"] {
        let (desk, server) = (Desk::new(), Server::start());
        fs::write(desk.path("list.csv"), list).unwrap();
        assert_eq!(desk.batch(&server, &[]).status, Some(2), "{list:?}");
        assert_eq!(server.calls(), Vec::<String>::new());
    }
}

#[test]
fn a_list_that_is_missing_or_not_a_file_is_refused() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.batch(&server, &[]).failed_with("list.csv");
    desk.tree("list.csv");
    desk.batch(&server, &[]).failed_with("list.csv");
}

#[test]
fn several_devices_are_never_written_into_one_tree() {
    let (desk, server) = (Desk::new(), Server::start());
    desk.list(2);
    desk.tree("rootfs");
    let url = server.url();
    desk.run(&["prepare", "--serials", "list.csv", "--rootfs-dir", "rootfs", "--api-url", &url]).failed_with("{serial}");
    assert_eq!(server.calls(), Vec::<String>::new());
}

#[test]
fn a_serial_on_the_command_line_is_checked_like_one_of_a_list() {
    let (desk, server) = (Desk::new(), Server::start());
    let url = server.url();
    for bad in ["", "../x", "a/b", "=1", "AZJN-0042\n"] {
        let run = desk.run(&["prepare", "--serial", bad, "--api-url", &url, "--rootfs-dir", "rootfs"]);
        assert_eq!(run.status, Some(2), "{bad:?}: {}", run.errors);
    }
    assert_eq!(server.calls(), Vec::<String>::new());
}
