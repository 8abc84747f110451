//! What the node promises against a peer that attacks it: one file per promise.

mod announcement;
mod busy;
mod content_type;
mod crowd;
mod failure_text;
mod host;
mod matrix;
mod open_network;
mod reset;
mod sealed_names;
mod urls;
mod wrong_side;
