//! See `targets/machine.rs`.

#![no_main]

#[path = "../targets/machine.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
