//! The store with real files: its formats, its refusals, and its state after interruptions.

mod bad_states;
mod enrollment;
mod formats;
mod modes;
mod mounts;
