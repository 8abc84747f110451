//! The store against real files: its formats, what it refuses, and what is left when it is stopped anywhere.

mod bad_states;
mod enrollment;
mod formats;
mod modes;
mod mounts;
