//! Recovery in a simulated world: virtual time, a radio, networks that come and go, and commands that take time, fail or are
//! lost.

mod bounds;
mod faults;
mod random;
mod recovering;
mod returning;
mod world;
