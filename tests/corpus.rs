//! The fuzz targets on their checked-in corpora, without a fuzzer: every seed, every prefix of it, and every seed with one
//! byte changed.

use std::fs;
use std::path::Path;

#[path = "../fuzz/targets/frames.rs"]
mod frames;
#[path = "../fuzz/targets/handshake.rs"]
mod handshake;
#[path = "../fuzz/targets/machine.rs"]
mod machine;
#[path = "../fuzz/targets/random.rs"]
mod random;
#[path = "../fuzz/targets/wire.rs"]
mod wire;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut seeds = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is checked in") {
        let seed = fs::read(entry.expect("an entry").path()).expect("a readable seed");
        run(&seed);
        // Long seeds are varied in steps, so that the replay takes seconds.
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
fn machine_corpus() {
    replay("machine", machine::run);
}
