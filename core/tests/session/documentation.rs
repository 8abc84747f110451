//! What `docs/protocol.md` says in tables is what the code does.

use provisioning_core::endpoint::{ENDPOINTS, Endpoint, OUTBOUND_LIMIT, PROTOBUF, SERVICE, SESSION_HEADER};
use provisioning_core::fault::Fault;
use provisioning_core::wire::framing::{VALUE_LIMIT, VALUE_MINIMUM};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

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
    says(&format!("| text fields (room, kid, ids, URLs, token) | {} bytes |", provisioning_core::domain::TEXT_LIMIT));
    says(&format!("`{SESSION_HEADER}`"));
    says(&format!("`{PROTOBUF}`"));
}
