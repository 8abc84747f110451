//! The simulated Bluetooth link, with a real machine at one end and the phone harness at the other.

mod gatt;
mod provisioning;
