//! The program as people, scripts and phones use it: its processes with a temporary folder, a phone, and a real command
//! center in this process.
//!
//! Every node runs with `RUST_LOG=trace`. When a test ends, all output is searched for all secrets.

mod attempts;
mod care;
mod center;
mod children;
mod clock;
mod commands;
mod diagnose;
mod docs_client;
mod dumpable;
mod espressif;
mod failures;
mod hostile_page;
mod improv;
mod kills;
mod network_care;
mod nymea;
mod pace;
mod place;
mod provisioning;
mod relay;
mod resets;
mod secrets;
mod wrong_side;
