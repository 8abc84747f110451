//! The HTTP layers that the node, the factory and the command center share. No routes, no formats of bodies.
//!
//! [`server`] accepts connections and bounds what a peer can use of them. With the feature `client`, [`client`] sends
//! requests and classifies what can fail.

#[cfg(feature = "client")]
pub mod client;
pub mod server;
