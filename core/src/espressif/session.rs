//! The session of an app: from its hello to its last sealed message.

use alloc::vec::Vec;

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use super::User;
use super::srp::{PublicKey, Server};
use crate::domain::Pairing;
use crate::wire::espressif::{PROOF, Status, challenge, verified};

/// A message that was not sealed by the app, as the next one of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the message is not authentic")]
pub struct NotAuthentic;

/// The node between its challenge and the app's proof.
pub struct Handshake(Server);

impl Handshake {
    /// Answers the hello of an app; returns the message with the challenge.
    ///
    /// The guess must be counted on disk before this is called.
    pub fn answer(user: User, client: &PublicKey, pairing: &Pairing, rng: &mut impl CryptoRng) -> (Self, Vec<u8>) {
        let server = Server::new(user.name(), user.password(pairing).as_bytes(), client, rng);
        let message = challenge(Status::Success, &server.public_key, &server.salt);
        (Self(server), message)
    }

    /// Checks the proof; returns the session and the node's own proof. A wrong one ends the handshake: it was its guess.
    pub fn verify(&self, proof: &[u8; PROOF], rng: &mut impl CryptoRng) -> Result<(Session, Vec<u8>), NotAuthentic> {
        if !bool::from(self.0.expected.ct_eq(proof)) {
            return Err(NotAuthentic);
        }
        let mut prefix = [0; 8];
        rng.fill_bytes(&mut prefix);
        let key = self.0.key.first_chunk::<32>().expect("a hash is longer");
        let session = Session { cipher: Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(key)), prefix, counter: 1 };
        let message = verified(&self.0.proof, &session.nonce());
        Ok((session, message))
    }
}

/// An established session: AES-256-GCM with one counter for both directions, as since patch version 1.
///
/// App and node take turns: each opened and each sealed message takes the next counter, so a message that is replayed,
/// reordered or reflected does not open.
pub struct Session {
    cipher: Aes256Gcm,
    prefix: [u8; 8],
    counter: u32,
}

impl Session {
    /// Opens the app's next message. An error leaves the session unchanged. There is no associated data: what is opened can
    /// have been written to another endpoint, whose messages differ in their fields.
    pub fn open(&mut self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        // The last counter is for the answer.
        if self.counter >= u32::MAX - 1 {
            return Err(NotAuthentic);
        }
        let plaintext = self.cipher.decrypt(Nonce::from_slice(&self.nonce()), sealed).map_err(|_| NotAuthentic)?;
        self.counter += 1;
        Ok(Zeroizing::new(plaintext))
    }

    /// Seals the answer to the message that was opened last.
    pub fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let sealed = self.cipher.encrypt(Nonce::from_slice(&self.nonce()), plaintext);
        self.counter += 1;
        sealed.expect("answers are far below the cipher's limit of 64 GiB")
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.prefix);
        nonce[8..].copy_from_slice(&self.counter.to_be_bytes());
        nonce
    }
}
