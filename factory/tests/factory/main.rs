//! Tests of the program against a real HTTP server with scripted failures.

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
