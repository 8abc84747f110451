//! Any values on a characteristic. The first two bytes are the endpoint's limit; then come values, each after its length.

use provisioning_core::wire::framing::{Reassembler, VALUE_LIMIT, frames};

/// Runs one input.
pub fn run(data: &[u8]) {
    let Some((limit, mut rest)) = data.split_first_chunk::<2>() else { return };
    let limit = usize::from(u16::from_be_bytes(*limit));
    let mut reassembler = Reassembler::new(limit);
    while let Some((&length, tail)) = rest.split_first() {
        let (value, tail) = tail.split_at(usize::from(length).min(tail.len()));
        rest = tail;
        if let Ok(Some(message)) = reassembler.push(value) {
            assert!(!message.is_empty() && message.len() <= limit, "a message within the limit");
            // A reassembled message can be split into values of any size.
            let size = usize::from(length).clamp(20, VALUE_LIMIT);
            let mut next = Reassembler::new(limit);
            let arrived = frames(&message, size).iter().find_map(|frame| next.push(frame).expect("our own frames"));
            assert_eq!(arrived, Some(message));
        }
    }
}
