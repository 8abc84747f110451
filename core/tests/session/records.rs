//! Attacks on sealed records.

use std::collections::HashSet;

use provisioning_core::endpoint::Endpoint;
use provisioning_core::session::NotAuthentic;
use provisioning_core::wire::Record;

use crate::support::established;

#[test]
fn a_flipped_bit_anywhere_in_a_record_is_noticed() {
    let (mut phone, mut node, _) = established(1);
    let first = phone.seal(Endpoint::Scan, b"first");
    node.open(Endpoint::Scan, &first).unwrap();
    let encoded = phone.seal(Endpoint::Scan, b"second").encode();
    for bit in 0..encoded.len() * 8 {
        let mut flipped = encoded.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(record) = Record::decode(&flipped) {
            assert_eq!(node.open(Endpoint::Scan, &record), Err(NotAuthentic), "bit {bit}");
        }
    }
    assert_eq!(*node.open(Endpoint::Scan, &Record::decode(&encoded).unwrap()).unwrap(), b"second");
}

#[test]
fn a_truncated_record_is_noticed() {
    let (mut phone, mut node, _) = established(1);
    let record = phone.seal(Endpoint::Scan, b"text");
    for length in 0..record.sealed.len() {
        let cut = Record { sealed: record.sealed[..length].to_vec(), ..record.clone() };
        assert_eq!(node.open(Endpoint::Scan, &cut), Err(NotAuthentic));
    }
}

#[test]
fn a_replayed_record_does_not_open() {
    let (mut phone, mut node, _) = established(1);
    let records: Vec<Record> = (0..5).map(|index| phone.seal(Endpoint::Status, &[index])).collect();
    for record in &records {
        node.open(Endpoint::Status, record).unwrap();
        for earlier in records.iter().take_while(|earlier| earlier.counter <= record.counter) {
            assert_eq!(node.open(Endpoint::Status, earlier), Err(NotAuthentic));
        }
    }
}

#[test]
fn a_reordered_record_does_not_open() {
    let (mut phone, mut node, _) = established(1);
    let (first, second) = (phone.seal(Endpoint::Status, b"1"), phone.seal(Endpoint::Status, b"2"));
    node.open(Endpoint::Status, &second).unwrap();
    assert_eq!(node.open(Endpoint::Status, &first), Err(NotAuthentic));
}

#[test]
fn a_record_for_one_endpoint_does_not_open_at_another() {
    let (mut phone, mut node, _) = established(1);
    let record = phone.seal(Endpoint::Scan, b"text");
    for endpoint in [Endpoint::K2, Endpoint::Credentials, Endpoint::Status] {
        assert_eq!(node.open(endpoint, &record), Err(NotAuthentic));
    }
    assert!(node.open(Endpoint::Scan, &record).is_ok());
}

#[test]
fn a_reflected_record_does_not_open() {
    let (mut phone, mut node, _) = established(1);
    let from_phone = phone.seal(Endpoint::Status, b"text");
    assert_eq!(phone.open(Endpoint::Status, &from_phone), Err(NotAuthentic));
    let from_node = node.seal(Endpoint::Status, b"text");
    assert_eq!(node.open(Endpoint::Status, &from_node), Err(NotAuthentic));
}

#[test]
fn a_record_of_another_session_does_not_open() {
    let (mut earlier, _, _) = established(1);
    let (_, mut node, _) = established(2);
    assert_eq!(node.open(Endpoint::Status, &earlier.seal(Endpoint::Status, b"text")), Err(NotAuthentic));
}

#[test]
fn the_last_counter_is_refused_so_that_none_can_follow_it() {
    let (mut phone, mut node, _) = established(1);
    let record = Record { counter: u64::MAX, ..phone.seal(Endpoint::Status, b"text") };
    assert_eq!(node.open(Endpoint::Status, &record), Err(NotAuthentic));
}

#[test]
fn a_hundred_thousand_failed_decrypts_leave_the_session_working() {
    let (mut phone, mut node, _) = established(1);
    let honest = phone.seal(Endpoint::Status, b"text");
    let mut forged = honest.clone();
    for index in 0..100_000_u32 {
        let position = index as usize % forged.sealed.len();
        forged.sealed[position] ^= u8::try_from(index % 255).unwrap() + 1;
        forged.counter = u64::from(index);
        assert_eq!(node.open(Endpoint::Status, &forged), Err(NotAuthentic));
        forged.sealed.clone_from(&honest.sealed);
    }
    assert_eq!(*node.open(Endpoint::Status, &honest).unwrap(), b"text");
}

#[test]
fn no_ciphertext_repeats_within_a_session_or_across_reconnects() {
    // The same plaintext under the same key and nonce gives the same ciphertext, so a repeated ciphertext is a repeated
    // pair of key and nonce.
    let mut seen = HashSet::new();
    for seed in 0..20 {
        let (mut phone, mut node, _) = established(seed);
        for _ in 0..50 {
            for session in [&mut phone, &mut node] {
                assert!(seen.insert(session.seal(Endpoint::Status, &[0; 32]).sealed));
            }
        }
    }
}

#[test]
fn only_the_first_record_of_the_phone_carries_its_proof() {
    let (mut phone, mut node, _) = established(1);
    assert_eq!(phone.seal(Endpoint::Status, b"").confirmation.len(), 64);
    assert!(phone.seal(Endpoint::Status, b"").confirmation.is_empty());
    assert!(node.seal(Endpoint::Status, b"").confirmation.is_empty());
}
