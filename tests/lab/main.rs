//! The laboratory's scenarios: a node and a phone that meet on virtual radios, through the real `bluetoothd`.
//!
//! They are built only with the feature `lab`, and run in the guests that `tests/lab/run` boots, one process each. What
//! a scenario starts ends with it.
//!
//! | module | what it holds |
//! |---|---|
//! | `gatt` | Bluetooth alone: a node on a simulated network |
//! | `over_bluetooth`, `over_access_point` | the whole: the node's program, a home, a command center |
//! | `att` | the whole, and a phone with the smallest MTU |
//! | `bad_input` | the whole, and a phone that does what none should |
//! | `trouble` | the whole, and something breaks in the middle |
//! | `phone_program` | the phone's program, over Bluetooth and in the access point |
//! | `captive_portal` | what phones do by themselves in the access point |
//! | `network_service` | the node in the home's network afterwards |
//! | `units` | the programs as their units start them |
//! | `bench` | the figures |
//! | `scene` | what scenarios of the whole begin with |
//! | `air`, `place`, `desk` | radios, a home, and where the phone is |
//! | `node`, `device` | the node, in this process and as a program |

mod air;
mod att;
mod bad_input;
mod bench;
mod captive_portal;
mod desk;
mod device;
mod gatt;
mod network_service;
mod node;
mod over_access_point;
mod over_bluetooth;
mod phone_program;
mod place;
mod scene;
mod trouble;
mod units;
