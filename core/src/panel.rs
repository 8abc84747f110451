//! The device's own panel: what a light shows, and what a button means. Time is an argument.

pub mod button;
pub mod light;
