//! The program as people, scripts and phones use it: processes of its own on a folder of their own, a phone, and a real
//! command center in this process.
//!
//! Every node runs at `RUST_LOG=trace`, and whatever it wrote is searched for every secret when its test ends.

mod attempts;
mod center;
mod commands;
mod failures;
mod kills;
mod pace;
mod place;
mod provisioning;
mod relay;
mod secrets;

#[expect(dead_code, reason = "the other tests use more of it; goes when these use all")]
#[path = "../support/http.rs"]
mod http;
#[expect(dead_code, reason = "the other tests use more of it; goes when these use all")]
#[path = "../support/journal.rs"]
mod journal;
