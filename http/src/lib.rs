//! The HTTP layers that the node and the command center share. No routes, no formats of bodies.
//!
//! [`server`] accepts connections and bounds what a peer can use of them.

pub mod server;
