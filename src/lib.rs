//! The node: the daemon that provisions a headless Linux device, and what else runs on the device.
//!
//! [`provisioning_core`] decides; this crate touches the world, and decides nothing.
//!
//! | module | what it holds |
//! |---|---|
//! | [`care`] | network care: the caretaker, and the evidence for a diagnosis |
//! | [`claim`] | a provision code becomes an appliance's `config.yaml` |
//! | [`command_center`] | the port to the command center |
//! | [`config`] | the settings: file and environment |
//! | [`daemon`] | the loop around the machine, and the way to it |
//! | [`files`] | files that survive a power cut |
//! | `identity` | what the hardware says about the node |
//! | [`label`] | what an owner types or scans |
//! | [`link`] | the links: bytes between a phone and an endpoint |
//! | [`login`] | the first login of a device |
//! | [`network`] | what is needed of the machine's network |
//! | [`panel`] | the device's own panel: D-Bus |
//! | [`simulation`] | a network without a radio |
//! | [`store`] | the files |

pub mod care;
pub mod claim;
pub mod command_center;
pub mod config;
pub mod daemon;
pub mod files;
mod identity;
pub mod label;
pub mod link;
pub mod login;
pub mod network;
pub mod panel;
pub mod simulation;
pub mod store;
