//! See `targets/json.rs`.

#![no_main]

#[path = "../targets/json.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
