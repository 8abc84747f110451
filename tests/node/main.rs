//! The node's parts against real files, sockets and buses: one program, so that it is linked once.
//!
//! Tests that need a process of their own, or change its state, are programs of their own.

mod ble;
mod care;
mod claim;
mod http;
mod nm;
mod panel;
mod registrar;
mod security;
mod sim_link;
mod store;
