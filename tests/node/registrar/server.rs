//! Answers of a command center.

use crate::registrar::NODE_KEY;

/// The body of a successful registration.
pub(crate) fn registered() -> String {
    format!(r#"{{"node_id":"node-1","room":"kitchen","user":"default","voice_mode":"brief","node_key":"{NODE_KEY}"}}"#)
}
