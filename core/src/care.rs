//! Network care: what is done after provisioning, so that the node stays online.
//!
//! | module | what it holds |
//! |---|---|
//! | [`recovery`] | the state machine that brings a node back online |
//! | [`diagnosis`] | what is wrong with the network |
//! | [`condition`] | mode, phase and health, in the terms of the existing system |
//!
//! Like the machine of provisioning, nothing here has a clock or a radio.

pub mod condition;
pub mod diagnosis;
pub mod recovery;
