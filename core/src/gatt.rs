//! What both ends of a GATT connection must agree on.

pub mod packets;
