//! Attacks with values that an honest end never sends, and with values that the other end did send.

use provisioning_core::session::{self, AcceptError, Opening};
use provisioning_core::wire::{Accept, Open, Record};

use crate::support::{CODE, NODE_ID, Random, code, established, pairing};

#[test]
fn a_hundred_thousand_random_shares_do_no_harm() {
    // About one encoding in sixteen is a point, so both branches are taken.
    let mut rng = Random(9);
    let (_, honest) = Opening::new(NODE_ID, &code(CODE), &mut rng);
    let mut accepted = 0;
    for _ in 0..100_000 {
        let mut share = [0; 32];
        rand_core::Rng::fill_bytes(&mut rng, &mut share);
        let point = curve25519_dalek::ristretto::CompressedRistretto(share).decompress();
        let decoded = session::cpace::decode(&share);
        assert_eq!(decoded.is_ok(), point.is_some());
        accepted += usize::from(decoded.is_ok());
    }
    assert!(accepted > 1000, "{accepted} of the random encodings were points");
    assert!(session::check(&honest).is_ok());
}

#[test]
fn a_reflected_share_is_refused() {
    let mut rng = Random(1);
    let (opening, open) = Opening::new(NODE_ID, &code(CODE), &mut rng);
    let (_, accept) = session::accept(&open, &pairing(), NODE_ID, &[], &mut rng).unwrap();
    let reflected = Accept { share: open.share, ..accept };
    assert_eq!(opening.read(&reflected).err(), Some(AcceptError::Malformed));
}

#[test]
fn a_node_that_knows_nothing_cannot_confirm_with_what_it_was_sent() {
    // Everything that the impostor has: its own handshake with a code of its choice, and the phone's message.
    let mut rng = Random(1);
    let (opening, open) = Opening::new(NODE_ID, &code(CODE), &mut rng);
    let mut guessed = pairing();
    guessed.code = provisioning_core::secret::SecretText::new("000000".into());
    let (_, accept) = session::accept(&open, &guessed, NODE_ID, &[], &mut rng).unwrap();
    assert_eq!(opening.read(&accept).err(), Some(AcceptError::WrongSecret));
}

#[test]
fn a_reflected_confirmation_does_not_confirm() {
    let mut rng = Random(1);
    let (opening, open) = Opening::new(NODE_ID, &code(CODE), &mut rng);
    let (unconfirmed, accept) = session::accept(&open, &pairing(), NODE_ID, &[], &mut rng).unwrap();
    let reflected = Record { counter: 0, sealed: Vec::new(), confirmation: accept.confirmation.to_vec() };
    assert!(!unconfirmed.confirms(&reflected));
    assert!(opening.read(&accept).is_ok());
}

#[test]
fn an_empty_or_cut_confirmation_does_not_confirm() {
    let mut rng = Random(1);
    let (opening, open) = Opening::new(NODE_ID, &code(CODE), &mut rng);
    let (unconfirmed, accept) = session::accept(&open, &pairing(), NODE_ID, &[], &mut rng).unwrap();
    let mut phone = opening.read(&accept).unwrap();
    let first = phone.seal(provisioning_core::endpoint::Endpoint::Status, b"");
    for length in 0..first.confirmation.len() {
        let cut = Record { confirmation: first.confirmation[..length].to_vec(), ..first.clone() };
        assert!(!unconfirmed.confirms(&cut));
    }
    let longer = Record { confirmation: [&first.confirmation[..], &[0]].concat(), ..first.clone() };
    assert!(!unconfirmed.confirms(&longer));
    assert!(unconfirmed.confirms(&first));
}

#[test]
fn a_confirmation_of_another_run_does_not_confirm() {
    let (mut phone, _, recorded) = established(1);
    let first = phone.seal(provisioning_core::endpoint::Endpoint::Status, b"");
    // The whole recorded conversation again, to the same node: its share and its key are new.
    let (unconfirmed, _) = session::accept(&recorded, &pairing(), NODE_ID, &[], &mut Random(2)).unwrap();
    assert!(!unconfirmed.confirms(&first));
}

#[test]
fn every_flipped_bit_of_the_handshake_is_noticed() {
    let handshake = |open_in_flight: &dyn Fn(Vec<u8>) -> Vec<u8>, accept_in_flight: &dyn Fn(Accept) -> Accept| {
        let mut rng = Random(1);
        let (opening, open) = Opening::new(NODE_ID, &code(CODE), &mut rng);
        let seen = Open::decode(&open_in_flight(open.encode())).ok()?;
        let (_, accept) = session::accept(&seen, &pairing(), NODE_ID, &["voice".into()], &mut rng).ok()?;
        opening.read(&accept_in_flight(accept)).ok()
    };
    let (_, open) = Opening::new(NODE_ID, &code(CODE), &mut Random(1));
    assert!(handshake(&|open| open, &|accept| accept).is_some());
    for bit in 0..open.encode().len() * 8 {
        let flip = |mut open: Vec<u8>| {
            open[bit / 8] ^= 1 << (bit % 8);
            open
        };
        assert!(handshake(&flip, &|accept| accept).is_none(), "bit {bit} of Open");
    }
    let flip = |bytes: &mut [u8], bit: usize| bytes[bit / 8] ^= 1 << (bit % 8);
    for bit in 0..32 * 8 {
        let altered = |mut accept: Accept| {
            flip(&mut accept.share, bit);
            accept
        };
        assert!(handshake(&|open| open, &altered).is_none(), "bit {bit} of Yb");
    }
    for bit in 0..64 * 8 {
        let altered = |mut accept: Accept| {
            flip(&mut accept.confirmation, bit);
            accept
        };
        assert!(handshake(&|open| open, &altered).is_none(), "bit {bit} of Tb");
    }
    for bit in 0..(2 + 34 + 17 + 3 + 7) * 8 {
        let altered = |mut accept: Accept| {
            flip(&mut accept.answer, bit);
            accept
        };
        assert!(handshake(&|open| open, &altered).is_none(), "bit {bit} of the answer");
    }
}

#[test]
fn a_session_with_another_node_id_does_not_come_about() {
    let mut rng = Random(1);
    let (opening, open) = Opening::new("jarvis-00000000", &code(CODE), &mut rng);
    let (unconfirmed, mut accept) = session::accept(&open, &pairing(), NODE_ID, &[], &mut rng).unwrap();
    // Even a relay that renames the node in its answer fails: the name is in the generator.
    let mut answer = provisioning_core::wire::Answer::decode(&accept.answer).unwrap();
    answer.node_id = "jarvis-00000000".into();
    accept.answer = answer.encode();
    assert_eq!(opening.read(&accept).err(), Some(AcceptError::WrongSecret));
    drop(unconfirmed);
}
