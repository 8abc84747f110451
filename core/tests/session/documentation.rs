//! The tables of `docs/protocol.md` match the code, and `docs/testing.md` and `docs/security.md` name tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

use provisioning_core::endpoint::{ENDPOINTS, Endpoint, OUTBOUND_LIMIT, PROTOBUF, SERVICE, SESSION_HEADER};
use provisioning_core::fault::Fault;
use provisioning_core::gatt::AttError;
use provisioning_core::gatt::packets::{FromNode, FromPhone, PACKET_LIMIT};
use provisioning_core::wire::framing::{VALUE_LIMIT, VALUE_MINIMUM};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");
/// The documents that name tests in a table, and the heading of the table.
const TABLES: [(&str, &str, &str); 2] = [
    ("docs/testing.md", include_str!("../../../docs/testing.md"), "## Where each invariant is tested"),
    ("docs/security.md", include_str!("../../../docs/security.md"), "## Where each promise is tested"),
];

/// The 8-4-4-4-12 form.
fn uuid(uuid: u128) -> String {
    let digits = format!("{uuid:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

fn says(text: &str) {
    assert!(DOCUMENT.contains(text), "docs/protocol.md does not say: {text}");
}

#[test]
fn every_endpoint_has_its_row() {
    says(&format!("| service | – | `{}` |", uuid(SERVICE)));
    for row in &ENDPOINTS {
        let name = format!("{:?}", row.endpoint).to_lowercase();
        says(&format!("| {name} | {} | `{}` |", row.number, uuid(row.uuid)));
        if row.endpoint != Endpoint::Info {
            let line = DOCUMENT.lines().find(|line| line.starts_with(&format!("| {name} | {} |", row.number))).unwrap();
            assert!(line.ends_with(&format!("| {} |", row.limit)), "{line}");
            says(&format!("`POST {}`", row.path));
        }
    }
}

#[test]
fn every_fault_has_its_row() {
    for fault in Fault::ALL {
        let retry = if fault.retryable() { "yes" } else { "no" };
        let name = fault.name().chars().fold("FAULT".to_owned(), |name, letter| {
            if letter.is_uppercase() { format!("{name}_{letter}") } else { format!("{name}{}", letter.to_ascii_uppercase()) }
        });
        says(&format!("| {} | `{name}` | {retry} | {} |", fault.number(), fault.text()));
    }
}

#[test]
fn the_limits_are_those_of_the_code() {
    says(&format!("| a GATT value | {VALUE_MINIMUM} to {VALUE_LIMIT} bytes |"));
    says(&format!("| a message from the node | {OUTBOUND_LIMIT} bytes |"));
    let text_limit = provisioning_core::domain::TEXT_LIMIT;
    says(&format!("| room, household id | 0 to {text_limit} bytes without control characters |"));
    says(&format!("| kid, token | 1 to {text_limit} bytes without control characters |"));
    says(&format!("| URLs | {text_limit} bytes |"));
    says(&format!("`{SESSION_HEADER}`"));
    says(&format!("`{PROTOBUF}`"));
}

#[test]
fn every_packet_of_the_simulated_link_has_its_row() {
    let (name, service, mtu, characteristic, value) = (String::new(), SERVICE, 23, SERVICE, Vec::new());
    for (name, packet) in [
        ("advertisement", FromNode::Advertisement { name, service }.encode()),
        ("MTU", FromNode::Mtu(mtu).encode()),
        ("not advertising", FromNode::NotAdvertising.encode()),
        ("value", FromNode::Value(value.clone()).encode()),
        ("written", FromNode::Written.encode()),
        ("error", FromNode::Error(AttError::InvalidHandle).encode()),
        ("notification", FromNode::Notification { characteristic, value: value.clone() }.encode()),
        ("subscribe", FromPhone::Subscribe { characteristic }.encode()),
        ("read", FromPhone::Read { characteristic, offset: 0 }.encode()),
        ("write", FromPhone::Write { characteristic, value }.encode()),
    ] {
        says(&format!("| `{:#04x}` {name} |", packet[2]));
    }
    says(&format!("of kind and body: 1 to {PACKET_LIMIT})"));
    let (_, section) = DOCUMENT.split_once("\n## The simulated link\n").expect("the section of the link");
    for code in 0..=u8::MAX {
        if let Some(error) = AttError::from_code(code) {
            assert!(section.contains(&format!("`{code:#04x}`")), "the code of \"{error}\" is missing");
        }
    }
}

#[test]
fn every_vector_of_a_message_has_its_type() {
    let vectors: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(include_str!("../../../tests/vectors/wire.json")).expect("an object");
    let (_, rows) = DOCUMENT.split_once("| names | type |").expect("the table of types");
    let patterns: Vec<&str> = rows.lines().filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`')).collect();
    let fits = |name: &str, pattern: &str| match pattern.split_once(" …") {
        _ if !pattern.starts_with(char::is_alphabetic) && !pattern.starts_with('…') => false,
        _ if pattern.starts_with("… ") => name.contains(pattern.trim_matches(['…', ' '])),
        Some((start, _)) => name.starts_with(start),
        None => name == pattern,
    };
    for name in vectors.keys() {
        assert!(patterns.iter().any(|pattern| fits(name, pattern)), "docs/protocol.md does not give the type of {name}");
    }
}

/// The text of all Rust files below a folder.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("a readable folder").path());
    entries.fold(String::new(), |text, path| {
        if path.is_dir() {
            text + &sources(&path)
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text + &fs::read_to_string(&path).expect("a readable file")
        } else {
            text
        }
    })
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let entries = fs::read_dir(&root).expect("the workspace").map(|entry| entry.expect("a readable folder").path());
    let packages: Vec<PathBuf> = entries.filter(|path| path.join("Cargo.toml").exists()).chain([root.clone()]).collect();
    let code: String = packages.iter().flat_map(|package| ["src", "tests"].map(|part| sources(&package.join(part)))).collect();
    for (document, text, heading) in TABLES {
        let (_, table) = text.split_once(heading).expect("the table of tests");
        let rows = table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
        let names: Vec<&str> = rows.flat_map(|line| line.split('`').skip(1).step_by(2)).collect();
        assert!(names.len() > 50, "{document}: {} names", names.len());
        for name in names.into_iter().filter(|name| !name.contains(['/', '.', ' '])) {
            let exists = code.contains(&format!("fn {name}(")) || code.contains(&format!("\"{name}\""));
            assert!(exists, "{document} names the test {name}, which does not exist");
        }
    }
}
