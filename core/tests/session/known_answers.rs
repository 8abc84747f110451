//! This crate sends and accepts the values that `tests/vectors/session.py` computed.

use std::process::Command;

use provisioning_core::endpoint::Endpoint;
use provisioning_core::fault::Fault;
use provisioning_core::session::{self, AcceptError, Opening};
use provisioning_core::wire::{Message, Open, Outbound, Record, Request};
use serde_json::Value;

use crate::support::{Scripted, bytes, code, pairing, qr};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/session.json")).expect("the vectors are JSON")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}"))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("{name} in {value}"))
}

/// The phone's side of a case, started with the case's random bytes.
fn opening(vectors: &Value, case: &Value) -> (Opening, Open) {
    let secret = match text(case, "secret") {
        "code" => code(text(case, "phone_code")),
        _ => qr(),
    };
    let random = ["phone_key", "session_id", "phone_scalar"].map(|name| bytes(text(&case["random"], name))).concat();
    Opening::new(text(vectors, "node_id"), &secret, &mut Scripted(random))
}

fn accept(encoded: &str) -> Option<provisioning_core::wire::Accept> {
    match Outbound::decode(&bytes(encoded)) {
        Ok(Outbound::Accept(accept)) => Some(accept),
        _ => None,
    }
}

fn endpoint(name: &str) -> Endpoint {
    match name {
        "scan" => Endpoint::Scan,
        "k2" => Endpoint::K2,
        "credentials" => Endpoint::Credentials,
        "status" => Endpoint::Status,
        _ => panic!("{name} is no endpoint of records"),
    }
}

#[test]
fn both_ends_send_the_known_bytes() {
    let vectors = vectors();
    let capabilities: Vec<String> = list(&vectors, "capabilities").iter().map(|name| name.as_str().unwrap().into()).collect();
    for case in list(&vectors, "success") {
        let (opening, open) = opening(&vectors, case);
        assert_eq!(open.encode(), bytes(text(case, "open")));

        let random = ["node_key", "node_scalar"].map(|name| bytes(text(&case["random"], name))).concat();
        let (unconfirmed, accept) =
            session::accept(&open, &pairing(), text(&vectors, "node_id"), &capabilities, &mut Scripted(random)).unwrap();
        assert_eq!(Outbound::Accept(accept.clone()).encode(), bytes(text(case, "accept")));

        let mut phone = opening.read(&accept).unwrap();
        let mut node = None;
        let mut unconfirmed = Some(unconfirmed);
        for step in list(case, "records") {
            let endpoint = endpoint(text(step, "endpoint"));
            let plaintext = bytes(text(step, "plaintext"));
            if text(step, "from") == "phone" {
                let record = phone.seal(endpoint, &plaintext);
                assert_eq!(record.encode(), bytes(text(step, "record")));
                let node = node.get_or_insert_with(|| {
                    let unconfirmed = unconfirmed.take().unwrap();
                    assert!(unconfirmed.confirms(&record));
                    unconfirmed.established()
                });
                assert_eq!(*node.open(endpoint, &record).unwrap(), plaintext);
                assert_eq!(*Request::decode(endpoint, &plaintext).unwrap().encode(), plaintext);
            } else {
                let record = node.as_mut().unwrap().seal(endpoint, &plaintext);
                assert_eq!(record.encode(), bytes(text(step, "record")));
                assert_eq!(*phone.open(endpoint, &record).unwrap(), plaintext);
                assert_eq!(*Message::decode(&plaintext).unwrap().encode(), plaintext);
            }
        }
    }
}

#[test]
fn the_phone_refuses_what_it_must() {
    let vectors = vectors();
    for case in list(&vectors, "phone_refuses") {
        let (opening, open) = opening(&vectors, case);
        assert_eq!(open.encode(), bytes(text(case, "open")), "{}", text(case, "name"));
        let error = match accept(text(case, "accept")) {
            Some(accept) => opening.read(&accept).err(),
            None => Some(AcceptError::Malformed),
        };
        let expected = match text(case, "error") {
            "Malformed" => AcceptError::Malformed,
            "Mismatch" => AcceptError::Mismatch,
            "WrongSecret" => AcceptError::WrongSecret,
            error => panic!("{error} is no error of the phone"),
        };
        assert_eq!(error, Some(expected), "{}", text(case, "name"));
    }
}

#[test]
fn the_node_refuses_what_it_must() {
    let vectors = vectors();
    for case in list(&vectors, "node_refuses") {
        let refused = Open::decode(&bytes(text(case, "open"))).and_then(|open| session::check(&open)).err();
        assert_eq!(refused.map(Fault::name), Some(text(case, "fault")), "{}", text(case, "name"));
    }
}

#[test]
fn a_phone_with_the_wrong_code_does_not_confirm() {
    let vectors = vectors();
    let case = list(&vectors, "phone_refuses").iter().find(|case| text(case, "name") == "wrong code").unwrap();
    let right = list(&vectors, "success").first().unwrap();
    let (_, open) = opening(&vectors, case);
    let random = ["node_key", "node_scalar"].map(|name| bytes(text(&case["random"], name))).concat();
    let (unconfirmed, _) = session::accept(&open, &pairing(), text(&vectors, "node_id"), &[], &mut Scripted(random)).unwrap();
    let replayed = Record::decode(&bytes(text(&list(right, "records")[0], "record"))).unwrap();
    assert!(!replayed.confirmation.is_empty());
    assert!(!unconfirmed.confirms(&replayed));
}

#[test]
fn the_independent_implementation_still_computes_the_vectors() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/session.py");
    let checked = match Command::new("python3").arg(script).arg("--check").output() {
        Ok(checked) => checked,
        // The vectors themselves are checked in and replayed above; only their regeneration needs Python.
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: python3 did not start ({error}); session.json and wire.json were not recomputed");
            return;
        }
        Err(error) => panic!("CI has python3: {error}"),
    };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
