//! The machine in a simulated world: virtual time, a disk that survives power cuts, a network, a command center, and
//! phones that use the real session. The world controls both ends, so it can cut the power at every instant.

mod agreement;
mod app;
mod apps;
mod cancel;
mod care;
mod center;
mod clear_guesses;
mod failures;
mod flows;
mod guesses;
mod improv;
mod links;
mod matrix;
mod nymea;
mod phone;
mod power;
mod random;
mod renewal;
mod resets;
mod sessions;
mod together;
mod visibility;
mod world;
