//! What all layers share: the time, secrets, refusals, QR codes. The only layer that knows the node's core.

pub(crate) mod clock;
pub(crate) mod qr;
pub(crate) mod refusal;
pub(crate) mod secret;

pub(crate) use provisioning_core::backoff::{Backoff, Jitter};
pub use provisioning_core::fault::chain;
