//! Any bytes as the JSON bodies of the existing phone app. The first byte chooses the endpoint and the content type.
//! Accepted values are within their bounds; a refusal has the form that clients parse, and repeats no value of the request.

use jarvis_provisioning::link::http::read_json;
use provisioning_core::domain::TEXT_LIMIT;
use provisioning_core::endpoint::Endpoint;
use provisioning_core::machine::LocalRequest;
use serde_json::Value;

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((&kind, body)) = data.split_first() else { return };
    let endpoint = if kind & 1 == 0 { Endpoint::Credentials } else { Endpoint::K2 };
    let content_type = [Some("application/json"), None, Some("application/problem+json; charset=utf-8"), Some("text/plain")];
    match read_json(endpoint, content_type[usize::from(kind >> 1 & 3)], body) {
        Ok(LocalRequest::Credentials(credentials)) => {
            let texts = [&credentials.room, &credentials.household_id, &credentials.node_id];
            assert!(texts.iter().all(|text| text.len() <= TEXT_LIMIT));
            assert!(!credentials.node_id.is_empty() && !credentials.token.expose().is_empty());
        }
        Ok(LocalRequest::Unusable { ssid, .. }) => assert!(ssid.len() <= TEXT_LIMIT),
        Ok(LocalRequest::K2(_)) => assert_eq!(endpoint, Endpoint::K2),
        Ok(other) => panic!("{other:?} is not a request of this endpoint"),
        Err(answer) => refused(endpoint, &answer),
    }
}

fn refused(endpoint: Endpoint, answer: &[u8]) {
    let answer: Value = serde_json::from_slice(answer).expect("every answer is JSON");
    let Some(detail) = answer["detail"].as_array() else {
        assert!(endpoint == Endpoint::K2 && answer["success"] == false && answer["error"].is_string());
        return;
    };
    assert!(!detail.is_empty());
    for fault in detail {
        assert!(fault["type"].is_string() && fault["msg"].is_string());
        assert_eq!(fault["loc"][0], "body");
        assert!(fault["input"].is_null() || fault["input"].as_object().is_some_and(serde_json::Map::is_empty));
        // The length of the parser's longest message; a longer text could contain a value of the request.
        assert!(fault["ctx"]["error"].as_str().is_none_or(|error| error.len() < 64 && error.is_ascii()));
    }
}
