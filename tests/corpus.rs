//! Runs the fuzz targets without a fuzzer: on their checked-in corpora (every seed, every prefix of it, and every seed with
//! one byte changed), and on random bytes. `PROPTEST_CASES` sets the number of random inputs.

use std::fs;
use std::path::Path;

use fuzz_targets::{frames, handshake, json, machine, wire};
use proptest::prelude::*;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is checked in") {
        let seed = fs::read(entry.expect("an entry").path()).expect("a readable seed");
        run(&seed);
        // Long seeds are changed in steps, to limit the replay to seconds.
        let stride = seed.len().div_ceil(64).max(1);
        for position in (0..seed.len()).step_by(stride) {
            run(&seed[..position]);
            for changed in [0x00, 0x01, 0x80, 0xff] {
                let mut varied = seed.clone();
                varied[position] ^= changed;
                run(&varied);
            }
        }
        seeds += 1;
    }
    assert!(seeds >= 4, "{seeds} seeds for {target}");
}

#[test]
fn frames_corpus() {
    replay("frames", frames::run);
}

#[test]
fn wire_corpus() {
    replay("wire", wire::run);
}

#[test]
fn handshake_corpus() {
    replay("handshake", handshake::run);
}

#[test]
fn json_corpus() {
    replay("json", json::run);
}

#[test]
fn machine_corpus() {
    replay("machine", machine::run);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_at_random(data in prop::collection::vec(any::<u8>(), 0..2000)) {
        frames::run(&data);
    }

    #[test]
    fn short_frames_at_random(
        limit in 0..300_u16,
        values in prop::collection::vec((prop_oneof![Just(0x80_u8), 0..4_u8, any::<u8>()], prop::collection::vec(0..3_u8, 0..30)), 0..40),
    ) {
        let values = values.into_iter().flat_map(|(control, rest)| {
            let length = u8::try_from(rest.len() + 1).expect("at most 30");
            [vec![length, control], rest].concat()
        });
        let data: Vec<u8> = limit.to_be_bytes().into_iter().chain(values).collect();
        frames::run(&data);
    }

    #[test]
    fn wire_at_random(data in prop::collection::vec(any::<u8>(), 0..300)) {
        wire::run(&data);
    }

    #[test]
    fn handshake_at_random(data in prop::collection::vec(any::<u8>(), 0..300)) {
        handshake::run(&data);
    }

    #[test]
    fn json_at_random(kind in any::<u8>(), data in prop_oneof![prop::collection::vec(any::<u8>(), 0..300), "[\\[\\]{}:,\"\\\\a-z0-9.eE+\\-]{0,80}".prop_map(String::into_bytes)]) {
        json::run(&[&[kind], &data[..]].concat());
    }

    #[test]
    fn machine_at_random(data in prop::collection::vec(any::<u8>(), 0..400)) {
        machine::run(&data);
    }
}
