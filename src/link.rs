//! The links that carry the endpoints of [`provisioning_core::endpoint`]: Bluetooth, HTTP, and a simulated Bluetooth link.
//!
//! A link moves bytes between a phone and an endpoint. It does not know what the bytes mean.

pub mod ble;
mod clients;
pub mod http;
pub mod mdns;
pub mod sim;
