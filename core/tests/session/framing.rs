//! The frames in `tests/vectors/framing.json` are the ones that are sent and accepted.

use provisioning_core::endpoint::OUTBOUND_LIMIT;
use provisioning_core::wire::framing::{FramingError, Reassembler, frames};
use serde_json::Value;

use crate::support::bytes;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/framing.json")).expect("the vectors of framing")
}

fn cases(kind: &str) -> Vec<Value> {
    vectors()[kind].as_array().expect("a list").clone()
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().expect("a text")
}

fn number(case: &Value, field: &str) -> usize {
    case[field].as_u64().and_then(|number| number.try_into().ok()).expect("a small number")
}

fn frames_of(case: &Value) -> Vec<Vec<u8>> {
    case["frames"].as_array().expect("a list").iter().map(|frame| bytes(frame.as_str().expect("a text"))).collect()
}

/// The result of each frame.
fn push(limit: usize, case: &Value) -> Vec<Result<Option<Vec<u8>>, FramingError>> {
    let mut reassembler = Reassembler::new(limit);
    frames_of(case).iter().map(|frame| reassembler.push(frame)).collect()
}

/// Only the last frame completes a message, which is this one.
fn assert_completes(case: &Value) {
    let mut results = push(OUTBOUND_LIMIT, case);
    assert_eq!(results.pop(), Some(Ok(Some(bytes(text(case, "message"))))), "{}", case["name"]);
    assert!(results.iter().all(|result| *result == Ok(None)), "{}: {results:?}", case["name"]);
}

#[test]
fn messages_have_the_frames_of_the_vectors() {
    let cases = cases("messages");
    assert!(!cases.is_empty());
    for case in cases {
        assert_eq!(frames(&bytes(text(&case, "message")), number(&case, "size")), frames_of(&case), "{}", case["name"]);
        assert_completes(&case);
    }
}

#[test]
fn a_first_frame_discards_an_incomplete_message() {
    assert_completes(&vectors()["restarted"]);
}

#[test]
fn the_last_frame_of_each_refused_vector_is_refused() {
    let cases = cases("refused");
    assert!(!cases.is_empty());
    for case in cases {
        let mut results = push(number(&case, "limit"), &case);
        let fault = results.pop().expect("a frame").expect_err(text(&case, "name")).fault();
        assert_eq!(format!("{fault:?}"), text(&case, "fault"), "{}", case["name"]);
        assert!(results.iter().all(|result| *result == Ok(None)), "{}: {results:?}", case["name"]);
    }
}
