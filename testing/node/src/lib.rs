//! Nodes and their files, for the tests of several packages. A separate crate from `testing`, so that the core's tests compile
//! without the node.

pub mod caretaker;
pub mod files;
pub mod scripted;
pub mod sim_link;
