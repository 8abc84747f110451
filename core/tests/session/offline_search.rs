//! The offline search of the pairing code: an attacker with a transcript tries every code on it, without sending anything.
//!
//! The same search runs against two protocols. Against a code that is mixed into X25519 by HKDF it finds the code, so the
//! search works. Against CPace it finds nothing, in any of the three roles of an attacker, because nothing that is
//! computed from a guess can be compared with anything that was sent. An attacker's one guess in one live run is found, which
//! shows that the tools work.
//!
//! The code space is cut to ten thousand so that the searches end soon; their result does not depend on its size.

use chacha20poly1305::aead::Aead;
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac};
use provisioning_core::endpoint::Endpoint;
use provisioning_core::session::{self, AcceptError, Opening};
use provisioning_core::wire::{Accept, Answer, Offer, Open, SecretKind};
use rand_core::Rng;
use sha2::{Digest, Sha512};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::support::{CODE, NODE_ID, Random, code, pairing};

/// The codes that the attacker tries; [`CODE`] is among them.
fn guesses() -> impl Iterator<Item = String> {
    (70_000..80_000).map(|guess| format!("{guess:06}"))
}

mod broken {
    //! A session key from X25519 and the code, without a PAKE: the design that the attack breaks.

    use super::*;

    fn cipher(shared: &[u8], code: &str) -> ChaCha20Poly1305 {
        let mut key = [0; 32];
        Hkdf::<Sha512>::new(Some(code.as_bytes()), shared).expand(b"broken", &mut key).expect("32 bytes are few");
        ChaCha20Poly1305::new(&Key::from(key))
    }

    /// The first message of an honest side: a text sealed under the key.
    pub(super) fn first_message(own: &StaticSecret, peer: &PublicKey, code: &str) -> Vec<u8> {
        cipher(own.diffie_hellman(peer).as_bytes(), code).encrypt(&Nonce::from([0; 12]), &b"hello"[..]).expect("short")
    }

    pub(super) fn search(shared: &[u8], sealed: &[u8]) -> Option<String> {
        guesses().find(|guess| cipher(shared, guess).decrypt(&Nonce::from([0; 12]), sealed).is_ok())
    }
}

#[test]
fn control_a_code_mixed_into_x25519_is_found_by_a_fake_node_and_by_a_fake_phone() {
    // Both seats are the same: the attacker chose one of the two keys.
    let (attacker, honest) = (StaticSecret::from([1; 32]), StaticSecret::from([2; 32]));
    let sealed = broken::first_message(&honest, &PublicKey::from(&attacker), CODE);
    let shared = attacker.diffie_hellman(&PublicKey::from(&honest));
    assert_eq!(broken::search(shared.as_bytes(), &sealed).as_deref(), Some(CODE));
}

/// The part of CPace that an attacker can compute: from a candidate for the point K to the tags.
struct Run<'a> {
    open: &'a Open,
    accept: &'a Accept,
}

impl Run<'_> {
    /// Whether this point, taken for K, explains the node's tag.
    fn explains(&self, k: &RistrettoPoint) -> bool {
        tag_of(self.open, self.accept, k) == self.accept.confirmation
    }

    /// Tries every code with every point that the attacker can compute from the guess, the transcript and its own choices.
    fn search(&self, scalar: Option<Scalar>) -> Option<String> {
        let (ya, yb) = (point(&self.open.share), point(&self.accept.share));
        let fixed = [ya, yb, ya + yb, ya - yb];
        let chosen = scalar.map(|scalar| [ya * scalar, yb * scalar]);
        guesses().find(|guess| {
            let generator = generator(guess, &self.open.session_id);
            let guessed = [generator, ya + generator, yb + generator].into_iter().chain(scalar.map(|scalar| generator * scalar));
            fixed.iter().chain(chosen.iter().flatten()).any(|k| self.explains(k))
                || guessed.into_iter().any(|k| self.explains(&k))
        })
    }
}

fn point(encoded: &[u8; 32]) -> RistrettoPoint {
    CompressedRistretto(*encoded).decompress().expect("an honest share")
}

fn lv_cat(parts: &[&[u8]]) -> Vec<u8> {
    // Every part of these runs is shorter than 128 bytes, so that its LEB128 length is one byte.
    parts.iter().flat_map(|part| [&[u8::try_from(part.len()).expect("short") & 0x7f][..], part].concat()).collect()
}

fn generator(code: &str, session_id: &[u8; 16]) -> RistrettoPoint {
    let channel: Vec<u8> = [&b"jarvis-provisioning/1"[..], b"phone", b"node", NODE_ID.as_bytes()]
        .iter()
        .flat_map(|part| [&u32::try_from(part.len()).expect("short").to_be_bytes()[..], part].concat())
        .collect();
    let dsi = b"CPaceRistretto255";
    let padding = vec![0; 127 - (1 + dsi.len()) - (1 + code.len())];
    let hash = Sha512::digest(lv_cat(&[dsi, code.as_bytes(), &padding, &channel, session_id]));
    RistrettoPoint::from_uniform_bytes(&hash.into())
}

fn random(rng: &mut Random) -> Scalar {
    let mut wide = [0; 64];
    rng.fill_bytes(&mut wide);
    Scalar::from_bytes_mod_order_wide(&wide)
}

/// A phone of the attacker's own, with a guess fixed when it speaks first.
fn fake_phone(guess: &str, rng: &mut Random) -> (Scalar, Open) {
    let session_id = [7; 16];
    let scalar = random(rng);
    let key = PublicKey::from(&StaticSecret::from([5; 32])).to_bytes();
    let offer = Offer { versions: vec![session::VERSION], secret: SecretKind::Code, key }.encode();
    let share = (generator(guess, &session_id) * scalar).compress().to_bytes();
    (scalar, Open { session_id, share, offer })
}

#[test]
fn a_passive_sniffer_finds_nothing_to_test_codes_with() {
    let mut rng = Random(1);
    let (opening, open) = Opening::new(NODE_ID, &code(CODE), &mut rng);
    let (unconfirmed, accept) = session::accept(&open, &pairing(), NODE_ID, &[], &mut rng).unwrap();
    let first = opening.read(&accept).unwrap().seal(Endpoint::Status, b"");
    assert!(unconfirmed.confirms(&first));
    assert_eq!(Run { open: &open, accept: &accept }.search(None), None);
}

#[test]
fn a_fake_phone_finds_nothing_to_test_codes_with_but_its_one_guess() {
    let mut rng = Random(1);
    let (scalar, open) = fake_phone("000000", &mut rng);
    let (_, accept) = session::accept(&open, &pairing(), NODE_ID, &[], &mut rng).unwrap();
    assert_eq!(Run { open: &open, accept: &accept }.search(Some(scalar)), None);
}

#[test]
fn control_a_fake_phone_learns_whether_its_one_guess_was_right() {
    // This is why an attempt is charged before the answer leaves.
    let mut rng = Random(1);
    let (scalar, open) = fake_phone(CODE, &mut rng);
    let (_, accept) = session::accept(&open, &pairing(), NODE_ID, &[], &mut rng).unwrap();
    let run = Run { open: &open, accept: &accept };
    assert!(run.explains(&(point(&accept.share) * scalar)));
}

/// A node that knows no code, and its answer to a phone that knows the right one.
struct FakeNode {
    opening: Opening,
    open: Open,
    scalar: Scalar,
    k: RistrettoPoint,
    accept: Accept,
}

impl FakeNode {
    /// Answers with a guess. The best tag is the one of that guess.
    fn with(guess: &str) -> Self {
        let mut rng = Random(1);
        let (opening, open) = Opening::new(NODE_ID, &code(CODE), &mut rng);
        let scalar = random(&mut rng);
        let share = (generator(guess, &open.session_id) * scalar).compress().to_bytes();
        let answer = Answer {
            version: session::VERSION,
            key: PublicKey::from(&StaticSecret::from([5; 32])).to_bytes(),
            node_id: NODE_ID.into(),
            versions: vec![session::VERSION],
            capabilities: Vec::new(),
        };
        let k = point(&open.share) * scalar;
        let mut accept = Accept { share, confirmation: [0; 64], answer: answer.encode() };
        accept.confirmation = tag_of(&open, &accept, &k);
        Self { opening, open, scalar, k, accept }
    }
}

#[test]
fn a_fake_node_learns_nothing_from_the_phone_to_test_codes_with() {
    let FakeNode { opening, open, scalar, k, accept } = FakeNode::with("000000");
    assert!(Run { open: &open, accept: &accept }.explains(&k));
    // The phone ends here: it has no message left that could carry anything derived from the code.
    assert_eq!(opening.read(&accept).err(), Some(AcceptError::WrongSecret));
    // The attacker has Ya left. A guess explains it only together with the phone's scalar, so no guess is better than another.
    for guess in guesses() {
        let generator = generator(&guess, &open.session_id);
        assert_ne!(generator.compress().to_bytes(), open.share);
        assert_ne!((generator * scalar).compress().to_bytes(), open.share);
    }
}

#[test]
fn control_a_fake_node_with_the_right_code_is_accepted() {
    // The attacker's tools make a valid answer once they have the code: so the tools do not cause the refusals above.
    let FakeNode { opening, accept, .. } = FakeNode::with(CODE);
    assert!(opening.read(&accept).is_ok());
}

fn tag_of(open: &Open, accept: &Accept, k: &RistrettoPoint) -> [u8; 64] {
    let k = k.compress().to_bytes();
    let Open { session_id, share: ya, offer } = open;
    let Accept { share: yb, answer, .. } = accept;
    let isk = Sha512::digest(lv_cat(&[b"CPaceRistretto255_ISK", session_id, &k, ya, offer, yb, answer]));
    let mac_key = Sha512::new().chain_update(b"CPaceMac").chain_update(session_id).chain_update(isk).finalize();
    let mut mac = Hmac::<Sha512>::new_from_slice(&mac_key).expect("any length");
    mac.update(&lv_cat(&[yb, answer]));
    mac.finalize().into_bytes().into()
}
