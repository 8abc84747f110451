//! What the node promises against a peer that attacks it: one file per promise.

mod busy;
mod content_type;
mod failure_text;
mod host;
mod open_network;
mod reset;
mod sealed_names;
