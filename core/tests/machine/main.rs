//! The machine in a simulated world: virtual time, a disk that survives power cuts, a network, a command center, and
//! phones that speak the real session. Both ends are ours, so every instant can be the last one.

mod agreement;
mod failures;
mod flows;
mod guesses;
mod links;
mod matrix;
mod phone;
mod power;
mod random;
mod resets;
mod sessions;
mod visibility;
mod world;
