//! The program as people, scripts and phones use it: processes of its own on a folder of their own, a phone, and a real
//! command center in this process.
//!
//! Every node runs at `RUST_LOG=trace`, and whatever it wrote is searched for every secret when its test ends.

mod attempts;
mod center;
mod commands;
mod docs_client;
mod failures;
mod kills;
mod pace;
mod place;
mod provisioning;
mod relay;
mod secrets;
