//! The fuzz targets: each module has a function that runs one input and panics if the code under test is wrong. The fuzzer
//! calls them from `fuzz/fuzz_targets`, the replay of the corpora from `tests/corpus.rs`.

pub mod frames;
pub mod handshake;
pub mod json;
pub mod machine;
pub mod wire;
