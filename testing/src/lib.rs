//! Support that the tests of several packages share. It depends on none of them, so that the core's tests compile without
//! the node.

pub mod bus;
pub mod fake;
pub mod http;
pub mod journal;
pub mod netns;
pub mod random;
pub mod server;
pub mod tls;
