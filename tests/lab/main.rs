//! The laboratory's scenarios: a node and a phone that meet on virtual radios, through the real `bluetoothd`.
//!
//! They are built only with the feature `lab`, and run in the guests that `tests/lab/run` boots, one process each. What
//! a scenario starts ends with it.

mod air;
mod gatt;
mod node;
