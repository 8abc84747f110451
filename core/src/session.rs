//! The session between a phone and a node.
//!
//! The phone is the initiator, the node the responder; one round trip, and no secret travels before both have proven
//! that they know the pairing secret:
//!
//! ```text
//! phone → node   Open    session id, Ya, offer  (versions, kind of secret, X25519 key)
//! node  → phone  Accept  Yb, Tb,         answer (version, X25519 key, what was advertised)
//! phone → node   Record  Ta with the first sealed request
//! ```
//!
//! [CPace](cpace) derives a key from the pairing secret. An eavesdropper learns nothing about either; an impostor can test
//! one guess per live run. Offer and answer are its associated data, byte for byte, so nothing in them can be altered:
//! versions, capabilities and both X25519 keys are authenticated. The record keys come from the CPace key, the X25519
//! secret and the transcript, one for each direction; a stolen pairing secret opens no recorded session.
//!
//! The caller of [`accept`] has counted the guess on disk before, because the answer lets the phone check its guess.

pub mod cpace;
mod record;

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::{Digest, Sha512};
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::domain::Pairing;
use crate::fault::Fault;
use crate::secret::{SecretBytes, SecretText};
use crate::wire::{Accept, Answer, Offer, Open, Record, SecretKind, TAG};
use cpace::{Context, Share, SharedKey, Side};
pub use record::{NotAuthentic, Session};

/// The version of the protocol that this crate speaks.
pub const VERSION: u32 = 1;

/// Names the protocol in every derivation.
const PROTOCOL: &[u8] = b"jarvis-provisioning/1";

/// The pairing secret as the phone holds it.
#[derive(Clone, Debug)]
pub enum PhoneSecret {
    /// Six digits, typed.
    Code(SecretText),
    /// 128 bits, scanned.
    Qr(SecretBytes<16>),
}

/// Why a phone does not accept a node's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AcceptError {
    /// The answer cannot be parsed, or contains values that no honest node sends.
    #[error("the node's answer is malformed")]
    Malformed,
    /// The node chose a version that was not offered, or it is another node.
    #[error("the node's answer does not fit the offer")]
    Mismatch,
    /// The node does not know this pairing secret: a wrong code, or another node.
    #[error("the pairing code is wrong, or this is another device")]
    WrongSecret,
}

/// The phone between [`Open`] and [`Accept`].
pub struct Opening {
    session_id: [u8; 16],
    share: Share,
    offer: Vec<u8>,
    key: StaticSecret,
    node_id: String,
}

impl Opening {
    /// Starts a session with the node that claims to be `node_id`. Returns the message to write to `session`.
    pub fn new(node_id: &str, secret: &PhoneSecret, rng: &mut impl CryptoRng) -> (Self, Open) {
        let key = StaticSecret::from(*random::<32>(rng));
        let session_id = *random(rng);
        let (kind, password) = match secret {
            PhoneSecret::Code(code) => (SecretKind::Code, code.expose().as_bytes()),
            PhoneSecret::Qr(bits) => (SecretKind::Qr, &bits.expose()[..]),
        };
        let offer = Offer { versions: vec![VERSION], secret: kind, key: PublicKey::from(&key).to_bytes() }.encode();
        let channel = channel(node_id);
        let share = Share::new(&Context { password, channel: &channel, session_id: &session_id }, &random(rng));
        let open = Open { session_id, share: *share.public(), offer: offer.clone() };
        (Self { session_id, share, offer, key, node_id: node_id.to_owned() }, open)
    }

    /// Checks the node's answer. The first record of the returned session carries Ta.
    pub fn read(self, accept: &Accept) -> Result<Session, AcceptError> {
        let answer = Answer::decode(&accept.answer).map_err(|_| AcceptError::Malformed)?;
        if answer.version != VERSION || answer.node_id != self.node_id {
            return Err(AcceptError::Mismatch);
        }
        let own = *self.share.public();
        // draft-irtf-cfrg-cpace-21, 10.1: receiving the own share is a loopback attack.
        if accept.share == own {
            return Err(AcceptError::Malformed);
        }
        let phone = Side { share: &own, data: &self.offer };
        let node = Side { share: &accept.share, data: &accept.answer };
        let shared = self.share.agree(&self.session_id, &accept.share, phone, node).map_err(|_| AcceptError::Malformed)?;
        let secret = x25519(&self.key, answer.key).ok_or(AcceptError::Malformed)?;
        if !shared.verify(node, &accept.confirmation) {
            return Err(AcceptError::WrongSecret);
        }
        let keys = keys(&shared, &secret, &self.session_id, &self.node_id, phone, node);
        Ok(Session::phone(&keys, shared.confirm(phone)))
    }
}

/// The node between [`Accept`] and the phone's first record.
pub struct Unconfirmed {
    session: Session,
    confirmation: [u8; TAG],
}

/// Answers a phone. `node_id` and `capabilities` are those that the node has advertised.
///
/// The answer lets the phone check its guess, so the guess must be counted on disk before this is called.
pub fn accept(
    open: &Open,
    pairing: &Pairing,
    node_id: &str,
    capabilities: &[String],
    rng: &mut impl CryptoRng,
) -> Result<(Unconfirmed, Accept), Fault> {
    let offer = check(open)?;
    let key = StaticSecret::from(*random::<32>(rng));
    let secret = x25519(&key, offer.key).ok_or(Fault::Malformed)?;
    let answer = Answer {
        version: VERSION,
        key: PublicKey::from(&key).to_bytes(),
        node_id: node_id.to_owned(),
        versions: vec![VERSION],
        capabilities: capabilities.to_vec(),
    }
    .encode();
    let password = match offer.secret {
        SecretKind::Code => pairing.code.expose().as_bytes(),
        SecretKind::Qr => &pairing.secret.expose()[..],
    };
    let channel = channel(node_id);
    let share = Share::new(&Context { password, channel: &channel, session_id: &open.session_id }, &random(rng));
    let own = *share.public();
    let phone = Side { share: &open.share, data: &open.offer };
    let node = Side { share: &own, data: &answer };
    let shared = share.agree(&open.session_id, &open.share, phone, node).map_err(|_| Fault::Malformed)?;
    let accept = Accept { share: own, confirmation: shared.confirm(node), answer: answer.clone() };
    let keys = keys(&shared, &secret, &open.session_id, node_id, phone, node);
    Ok((Unconfirmed { session: Session::node(&keys), confirmation: shared.confirm(phone) }, accept))
}

/// Refuses an [`Open`] that no honest phone sends, before anything is counted or computed from a secret: unknown
/// versions, points that are zero, the identity or not canonical, and X25519 keys of low order.
pub fn check(open: &Open) -> Result<Offer, Fault> {
    let offer = Offer::decode(&open.offer)?;
    if !offer.versions.contains(&VERSION) {
        return Err(Fault::UnsupportedVersion);
    }
    cpace::decode(&open.share).map_err(|_| Fault::Malformed)?;
    // A key of low order gives zero with every scalar, so one scalar is enough to detect it.
    x25519(&StaticSecret::from([1; 32]), offer.key).ok_or(Fault::Malformed)?;
    Ok(offer)
}

impl Unconfirmed {
    /// Whether the record carries the phone's proof.
    pub fn confirms(&self, record: &Record) -> bool {
        use subtle::ConstantTimeEq;
        self.confirmation.ct_eq(&record.confirmation).into()
    }

    /// The session, once a record has confirmed it.
    pub fn established(self) -> Session {
        self.session
    }
}

/// CI, the channel identifier, which both sides know before the first share: the roles, initiator first, and the node. The
/// transport is not part of it, because the code is the same over all of them.
fn channel(node_id: &str) -> Vec<u8> {
    prefixed(&[PROTOCOL, b"phone", b"node", node_id.as_bytes()])
}

/// RFC 7748 §6.1: refuse the all-zero shared secret.
fn x25519(own: &StaticSecret, peer: [u8; 32]) -> Option<x25519_dalek::SharedSecret> {
    let secret = own.diffie_hellman(&PublicKey::from(peer));
    secret.was_contributory().then_some(secret)
}

fn keys(
    shared: &SharedKey,
    secret: &x25519_dalek::SharedSecret,
    session_id: &[u8],
    node_id: &str,
    phone: Side<'_>,
    node: Side<'_>,
) -> record::Keys {
    let transcript = Sha512::digest(prefixed(&[&channel(node_id), session_id, phone.share, phone.data, node.share, node.data]));
    let material = Zeroizing::new([&shared.isk()[..], secret.as_bytes()].concat());
    let hkdf = Hkdf::<Sha512>::new(Some(&transcript), &material);
    let expand = |label: &[u8]| {
        let mut key = Zeroizing::new([0; 32]);
        hkdf.expand_multi_info(&[PROTOCOL, label], &mut *key).expect("32 bytes are below the limit of RFC 5869 §2.3");
        key
    };
    record::Keys { phone_to_node: expand(b" phone to node"), node_to_phone: expand(b" node to phone") }
}

/// Each part, preceded by its length, four bytes, big-endian.
fn prefixed(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend(u32::try_from(part.len()).expect("parts are bounded by the endpoints' limits").to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

fn random<const N: usize>(rng: &mut impl CryptoRng) -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    rng.fill_bytes(&mut *bytes);
    bytes
}
