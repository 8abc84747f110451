//! Accounts and images for many devices: the program itself, against a real HTTP server that fails as it is told.

mod batch;
mod device;
mod faults;
mod hostile;
mod kill;
mod labels;
mod lists;
mod login;
mod runbook;
mod server;
mod single;
mod support;
mod tls;
