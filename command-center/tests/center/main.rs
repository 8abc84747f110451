//! The command center, tested over HTTP and through its program, on both databases.

mod accounts;
mod claims;
mod failover;
mod faults;
mod fleet;
mod guessing;
mod history;
mod host;
mod households;
mod key_relay;
mod layers;
mod looks;
mod migrations;
mod monitoring;
mod mosquitto;
mod nodes;
mod openapi;
mod operations;
mod operator;
mod page;
mod postgres_tls;
mod process;
mod registration;
mod routes;
mod support;
mod user_keys;
