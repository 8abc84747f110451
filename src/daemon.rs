//! The loop around the machine: one input, all its outputs in order, then wait. The only clock and the only source of
//! random numbers.

mod handle;

pub use handle::{Ends, Event, Handle, Stopping, View};
