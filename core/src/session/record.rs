//! Sealed records: ChaCha20-Poly1305 (RFC 8439), a key and a counter for each direction.

use alloc::vec::Vec;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::endpoint::Endpoint;
use crate::wire::{Record, TAG};

/// A record that was not sealed by the peer, for this endpoint, after the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the record is not authentic")]
pub struct NotAuthentic;

/// One key per direction.
pub(super) struct Keys {
    pub(super) phone_to_node: Zeroizing<[u8; 32]>,
    pub(super) node_to_phone: Zeroizing<[u8; 32]>,
}

#[derive(Clone, Copy)]
enum Direction {
    PhoneToNode = 0,
    NodeToPhone = 1,
}

/// An established session: seals outgoing and opens incoming messages.
///
/// A counter is used once in each direction. An incoming record must have a higher counter than every record before it, so
/// a replayed or reordered record does not open; a lost one is not detected here.
pub struct Session {
    outgoing: Sealer,
    incoming: Sealer,
    /// Ta, until the first record has carried it.
    confirmation: Option<[u8; TAG]>,
}

struct Sealer {
    cipher: ChaCha20Poly1305,
    direction: Direction,
    /// The lowest counter that may be used.
    next: u64,
}

impl Session {
    pub(super) fn phone(keys: &Keys, confirmation: [u8; TAG]) -> Self {
        let [phone, node] = sealers(keys);
        Self { outgoing: phone, incoming: node, confirmation: Some(confirmation) }
    }

    pub(super) fn node(keys: &Keys) -> Self {
        let [phone, node] = sealers(keys);
        Self { outgoing: node, incoming: phone, confirmation: None }
    }

    /// Seals a message. The node always seals for [`Endpoint::Status`].
    pub fn seal(&mut self, endpoint: Endpoint, plaintext: &[u8]) -> Record {
        let counter = self.outgoing.next;
        self.outgoing.next += 1;
        let sealed = self
            .outgoing
            .cipher
            .encrypt(&nonce(counter), Payload { msg: plaintext, aad: &self.outgoing.data(endpoint, counter) })
            .expect("messages are far below the cipher's limit of 256 GiB");
        Record { counter, sealed, confirmation: self.confirmation.take().map(Vec::from).unwrap_or_default() }
    }

    /// Opens a record that was written to `endpoint`. An error leaves the session unchanged.
    pub fn open(&mut self, endpoint: Endpoint, record: &Record) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        if record.counter < self.incoming.next || record.counter == u64::MAX {
            return Err(NotAuthentic);
        }
        let data = self.incoming.data(endpoint, record.counter);
        let plaintext = self
            .incoming
            .cipher
            .decrypt(&nonce(record.counter), Payload { msg: &record.sealed, aad: &data })
            .map_err(|_| NotAuthentic)?;
        self.incoming.next = record.counter + 1;
        Ok(Zeroizing::new(plaintext))
    }
}

impl Sealer {
    /// The associated data: protocol, direction, endpoint, counter.
    fn data(&self, endpoint: Endpoint, counter: u64) -> Vec<u8> {
        [super::PROTOCOL, &[self.direction as u8, endpoint.row().number], &counter.to_be_bytes()].concat()
    }
}

fn sealers(keys: &Keys) -> [Sealer; 2] {
    let sealer = |key: &[u8; 32], direction| Sealer { cipher: ChaCha20Poly1305::new(&Key::from(*key)), direction, next: 0 };
    [sealer(&keys.phone_to_node, Direction::PhoneToNode), sealer(&keys.node_to_phone, Direction::NodeToPhone)]
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce.into()
}
