//! The session with Espressif's apps: known answers of an independent client, and everything that is refused.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use proptest::prelude::*;
use provisioning_core::domain::Pairing;
use provisioning_core::espressif::srp::{ELEMENT, PublicKey};
use provisioning_core::espressif::{Handshake, Session, User};
use provisioning_core::secret::{SecretBytes, SecretText};
use provisioning_core::wire::espressif::{self as wire, ConfigRequest, ControlRequest, PROOF, ScanRequest};
use serde_json::Value;

use crate::support::{Random, Scripted, bytes, pairing};

const PRIME_END: &[u8] = &[0xff; 8];

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/espressif.json")).expect("the vectors are JSON")
}

fn contains(message: &[u8], part: &[u8]) -> bool {
    message.windows(part.len()).any(|window| window == part)
}

/// N, from the source: the API does not have it.
fn prime() -> Vec<u8> {
    let (_, text) = include_str!("../../src/espressif/srp.rs").split_once("from_be_hex(").expect("the prime is there");
    bytes(&text.split('"').nth(1).expect("a text").chars().filter(char::is_ascii_hexdigit).collect::<String>())
}

/// A session and the key and prefix that its app has.
fn established() -> (Session, Aes256Gcm, [u8; 8]) {
    let vectors = vectors();
    let (session, message) = run(&vectors, &vectors["cases"][0]);
    let key = bytes(vectors["cases"][0]["key"].as_str().expect("a key"));
    let prefix = message[message.len() - 12..][..8].try_into().expect("8 bytes");
    (session, Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(&key)), prefix)
}

fn nonce(prefix: [u8; 8], counter: u32) -> [u8; 12] {
    [&prefix[..], &counter.to_be_bytes()].concat().try_into().expect("12 bytes")
}

fn run(vectors: &Value, case: &Value) -> (Session, Vec<u8>) {
    let value = |name: &str| bytes(case[name].as_str().unwrap_or_else(|| panic!("{name}")));
    let text = |name: &str| vectors[name].as_str().expect("a text").to_owned();
    let secret = SecretBytes::try_from(&*bytes(&text("secret"))).expect("16 bytes");
    let pairing = Pairing { code: SecretText::new(text("code")), secret };
    let Ok(wire::Handshake::Hello { user_name, public_key }) = wire::Handshake::decode(&value("hello")) else {
        panic!("a hello")
    };
    let user = User::from_name(&user_name).expect("a user");
    let client = PublicKey::parse(&public_key).expect("a share");
    let mut random = Scripted([value("random"), vec![7; 8]].concat());
    let (handshake, challenge) = Handshake::answer(user, &client, &pairing, &mut random);
    assert!(contains(&challenge, &value("server_share")) && contains(&challenge, &value("salt")), "{}", case["name"]);
    let Ok(wire::Handshake::Proof(proof)) = wire::Handshake::decode(&value("proof")) else { panic!("a proof") };
    let (session, verified) = handshake.verify(&proof, &mut random).expect("the right password");
    assert!(contains(&verified, &value("server_proof")), "{}", case["name"]);
    (session, verified)
}

#[test]
fn espressifs_handshake_has_the_values_of_an_independent_client_with_zeros_anywhere() {
    let vectors = vectors();
    let cases = vectors["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 6);
    for case in cases {
        let (mut session, verified) = run(&vectors, case);
        let key = bytes(case["key"].as_str().expect("a key"));
        let cipher = Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(&key));
        let prefix = verified[verified.len() - 12..][..8].try_into().expect("8 bytes");
        let sealed = cipher.encrypt(Nonce::from_slice(&nonce(prefix, 1)), &b"request"[..]).expect("short");
        assert_eq!(**session.open(&sealed).expect("the next message"), *b"request");
        let answer = session.seal(b"answer");
        assert_eq!(cipher.decrypt(Nonce::from_slice(&nonce(prefix, 2)), &*answer), Ok(b"answer".to_vec()));
    }
}

#[test]
fn a_share_that_is_0_or_a_multiple_of_n_is_refused() {
    let prime = prime();
    assert!(prime.len() == ELEMENT && prime.ends_with(PRIME_END) && prime.starts_with(PRIME_END));
    let mut below = prime.clone();
    below[ELEMENT - 1] -= 1;
    for refused in [&[][..], &[0], &[0; ELEMENT], &prime, &[0xff; ELEMENT], &[0; ELEMENT + 1], &[1; ELEMENT + 1]] {
        assert!(PublicKey::parse(refused).is_none(), "{} bytes", refused.len());
    }
    assert!(PublicKey::parse(&below).is_some() && PublicKey::parse(&[1]).is_some() && PublicKey::parse(&[0, 0, 2]).is_some());
}

#[test]
fn neither_salt_nor_share_of_the_node_begins_with_a_zero() {
    let client = PublicKey::parse(&[2]).expect("a share");
    // With zeros first, as a source of random bytes may begin.
    let exponents = [[0; 16], [9; 16]].concat();
    let mut random = Scripted([&exponents[..], &[5; 32]].concat());
    let (_, challenge) = Handshake::answer(User::Code, &client, &pairing(), &mut random);
    assert!(contains(&challenge, &[9; 16]) && !contains(&challenge, &[0; 16]));
}

#[test]
fn a_wrong_proof_is_refused_whatever_it_is() {
    let client = PublicKey::parse(&[3]).expect("a share");
    for proof in [[0; PROOF], [0xff; PROOF]] {
        let (handshake, _) = Handshake::answer(User::Code, &client, &pairing(), &mut Random(1));
        assert!(handshake.verify(&proof, &mut Random(2)).is_err());
    }
}

#[test]
fn a_message_of_the_app_opens_once_in_its_order_and_unchanged() {
    let (mut session, cipher, prefix) = established();
    let seal = |counter| cipher.encrypt(Nonce::from_slice(&nonce(prefix, counter)), &b"request"[..]).expect("short");
    let (first, third, fifth) = (seal(1), seal(3), seal(5));
    for bit in 0..first.len() * 8 {
        let mut flipped = first.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(session.open(&flipped).is_err(), "{bit}");
    }
    for length in 0..first.len() {
        assert!(session.open(&first[..length]).is_err(), "{length}");
    }
    assert!(session.open(&third).is_err());
    assert!(session.open(&first).is_ok());
    let answer = session.seal(b"answer");
    for replayed in [&first, &answer, &fifth] {
        assert!(session.open(replayed).is_err());
    }
    assert!(session.open(&third).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_parsed_by_every_endpoint(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = wire::Handshake::decode(&bytes);
        let _ = ScanRequest::decode(&bytes);
        let _ = ConfigRequest::decode(&bytes);
        let _ = ControlRequest::decode(&bytes);
        let _ = PublicKey::parse(&bytes);
    }
}

#[test]
fn a_message_that_is_cut_anywhere_is_never_another_one() {
    let vectors = vectors();
    let hello = bytes(vectors["cases"][0]["hello"].as_str().expect("a hello"));
    let proof = bytes(vectors["cases"][0]["proof"].as_str().expect("a proof"));
    for message in [&hello, &proof] {
        for length in 0..message.len() {
            assert!(wire::Handshake::decode(&message[..length]).is_err(), "{length}");
        }
    }
}
