//! CPace, a password-authenticated key exchange: suite CPACE-RISTR255-SHA512 in the initiator-responder setting, with
//! key confirmation both ways (draft-irtf-cfrg-cpace-21). The draft's vectors of appendix B.3 are its test.
//!
//! A share that is not a canonical encoding, or is the identity, is refused before anything secret is computed from it.

use alloc::vec::Vec;

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::wire::{SHARE, TAG};

const DSI: &[u8] = b"CPaceRistretto255";
const DSI_ISK: &[u8] = b"CPaceRistretto255_ISK";
/// Input block of SHA-512, bytes.
const BLOCK: usize = 128;

/// The inputs that both sides know before the first share: the password, the channel and the run.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// PRS: the pairing secret.
    pub password: &'a [u8],
    /// CI: protocol, version, roles and identities.
    pub channel: &'a [u8],
    /// sid: unique to this run.
    pub session_id: &'a [u8],
}

/// One side's secret scalar and its share.
pub struct Share {
    scalar: Zeroizing<Scalar>,
    public: [u8; SHARE],
}

/// A share and its associated data, as both sides saw them.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// Ya or Yb.
    pub share: &'a [u8; SHARE],
    /// ADa or ADb.
    pub data: &'a [u8],
}

/// The peer's share is not a point, or is the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadShare;

/// The intermediate session key, and the key of the confirmation tags.
pub struct SharedKey {
    isk: Zeroizing<[u8; 64]>,
    mac_key: Zeroizing<[u8; 64]>,
}

impl Share {
    /// Generates this side's share. `random` is 64 uniformly random bytes, used once.
    pub fn new(context: &Context<'_>, random: &[u8; 64]) -> Self {
        Self::with_scalar(context, Scalar::from_bytes_mod_order_wide(random))
    }

    fn with_scalar(context: &Context<'_>, scalar: Scalar) -> Self {
        let generator = Zeroizing::new(generator(context));
        let public = (*generator * scalar).compress().to_bytes();
        Self { scalar: Zeroizing::new(scalar), public }
    }

    /// The share to send.
    pub const fn public(&self) -> &[u8; SHARE] {
        &self.public
    }

    /// Combines this side's scalar with the peer's share. `initiator` and `responder` are the transcript; one of them
    /// holds the peer's share.
    pub fn agree(
        self,
        session_id: &[u8],
        peer: &[u8; SHARE],
        initiator: Side<'_>,
        responder: Side<'_>,
    ) -> Result<SharedKey, BadShare> {
        let peer = decode(peer)?;
        // draft-irtf-cfrg-cpace-21, 7.2: abort if the result is the neutral element.
        let point = Zeroizing::new(peer * *self.scalar);
        if point.is_identity() {
            return Err(BadShare);
        }
        let mut secret = point.compress().to_bytes();
        let mut hash = Sha512::new();
        for part in [DSI_ISK, session_id, &secret, initiator.share, initiator.data, responder.share, responder.data] {
            update_prefixed(&mut hash, part);
        }
        secret.zeroize();
        let isk: Zeroizing<[u8; 64]> = Zeroizing::new(hash.finalize().into());
        // draft-irtf-cfrg-cpace-21, 10.4: mac_key = H("CPaceMac" || sid || ISK).
        let mac_key =
            Zeroizing::new(Sha512::new().chain_update(b"CPaceMac").chain_update(session_id).chain_update(*isk).finalize().into());
        Ok(SharedKey { isk, mac_key })
    }
}

impl SharedKey {
    /// The intermediate session key; the caller derives its own keys from it.
    pub fn isk(&self) -> &[u8; 64] {
        &self.isk
    }

    /// The tag by which the sender of `side` proves that it holds this key.
    pub fn confirm(&self, side: Side<'_>) -> [u8; TAG] {
        self.mac(side).finalize().into_bytes().into()
    }

    /// Checks the peer's tag in constant time.
    pub fn verify(&self, side: Side<'_>, tag: &[u8]) -> bool {
        self.confirm(side).ct_eq(tag).into()
    }

    fn mac(&self, side: Side<'_>) -> Hmac<Sha512> {
        let mut mac = <Hmac<Sha512> as KeyInit>::new_from_slice(self.mac_key.as_slice()).expect("HMAC takes a key of any length");
        for part in [&side.share[..], side.data] {
            mac.update(&length(part.len()));
            mac.update(part);
        }
        mac
    }
}

/// Decodes a point; refuses encodings that are not canonical, and the identity.
pub fn decode(share: &[u8; SHARE]) -> Result<RistrettoPoint, BadShare> {
    let point = CompressedRistretto(*share).decompress().ok_or(BadShare)?;
    if point.is_identity() { Err(BadShare) } else { Ok(point) }
}

/// draft-irtf-cfrg-cpace-21, 8.1 and 8.3: the password, padded to a whole hash block, mapped to a point.
fn generator(context: &Context<'_>) -> RistrettoPoint {
    let used = 1 + DSI.len() + length(context.password.len()).len() + context.password.len();
    let padding = [0_u8; BLOCK];
    let padding = &padding[..(BLOCK - 1).saturating_sub(used)];
    let mut hash = Sha512::new();
    for part in [DSI, context.password, padding, context.channel, context.session_id] {
        update_prefixed(&mut hash, part);
    }
    let uniform: Zeroizing<[u8; 64]> = Zeroizing::new(hash.finalize().into());
    RistrettoPoint::from_uniform_bytes(&uniform)
}

fn update_prefixed(hash: &mut Sha512, part: &[u8]) {
    hash.update(length(part.len()));
    hash.update(part);
}

/// `prepend_len` of the draft: a length in LEB128.
fn length(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(2);
    loop {
        let low = u8::try_from(value & 0x7f).expect("masked to seven bits");
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    struct Vectors(serde_json::Value);

    impl Vectors {
        fn load() -> Self {
            Self(serde_json::from_str(include_str!("../../../tests/vectors/cpace.json")).expect("the vectors are JSON"))
        }

        fn bytes(&self, pointer: &str) -> Vec<u8> {
            bytes(self.0.pointer(pointer).and_then(serde_json::Value::as_str).expect("the vectors have this value"))
        }

        fn array(&self, pointer: &str) -> [u8; 32] {
            self.bytes(pointer).try_into().expect("32 bytes")
        }

        fn scalar(&self, pointer: &str) -> Scalar {
            Scalar::from_canonical_bytes(self.array(pointer)).expect("the draft's scalars are canonical")
        }
    }

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        hexadecimal
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).expect("ASCII"), 16).expect("two digits"))
            .collect()
    }

    #[test]
    fn the_drafts_generator() {
        let vectors = Vectors::load();
        let (password, channel, session_id) =
            (vectors.bytes("/password"), vectors.bytes("/channel"), vectors.bytes("/session_id"));
        let context = Context { password: &password, channel: &channel, session_id: &session_id };
        assert_eq!(generator(&context).compress().to_bytes(), vectors.array("/generator"));
    }

    #[test]
    fn the_drafts_shares_and_key() {
        let vectors = Vectors::load();
        let (password, channel, session_id) =
            (vectors.bytes("/password"), vectors.bytes("/channel"), vectors.bytes("/session_id"));
        let context = Context { password: &password, channel: &channel, session_id: &session_id };
        let (ya, yb) = (vectors.array("/Ya"), vectors.array("/Yb"));
        let (ada, adb) = (vectors.bytes("/ADa"), vectors.bytes("/ADb"));
        let (initiator, responder) = (Side { share: &ya, data: &ada }, Side { share: &yb, data: &adb });

        let a = Share::with_scalar(&context, vectors.scalar("/ya"));
        let b = Share::with_scalar(&context, vectors.scalar("/yb"));
        assert_eq!(*a.public(), ya);
        assert_eq!(*b.public(), yb);
        let k = (decode(&yb).expect("a point") * vectors.scalar("/ya")).compress().to_bytes();
        assert_eq!(k, vectors.array("/K"));

        let a = a.agree(&session_id, &yb, initiator, responder).expect("the draft's shares are points");
        let b = b.agree(&session_id, &ya, initiator, responder).expect("the draft's shares are points");
        assert_eq!(a.isk()[..], vectors.bytes("/ISK_IR")[..]);
        assert_eq!(b.isk()[..], vectors.bytes("/ISK_IR")[..]);
        assert!(a.verify(responder, &b.confirm(responder)));
        assert!(!a.verify(initiator, &b.confirm(responder)));
    }

    #[test]
    fn the_drafts_scalar_multiplication() {
        let vectors = Vectors::load();
        let point = decode(&vectors.array("/scalar_mult/X")).expect("a point");
        let product = (point * vectors.scalar("/scalar_mult/s")).compress().to_bytes();
        assert_eq!(product, vectors.array("/scalar_mult/result"));
    }

    #[test]
    fn the_drafts_invalid_shares_are_refused() {
        let vectors = Vectors::load();
        for index in 0..2 {
            let bad = vectors.array(&format!("/invalid_shares/{index}"));
            assert_eq!(decode(&bad), Err(BadShare));
            let context = Context { password: b"000000", channel: b"", session_id: b"" };
            let share = Share::with_scalar(&context, vectors.scalar("/ya"));
            let own = *share.public();
            let refused = share.agree(b"", &bad, Side { share: &own, data: b"" }, Side { share: &bad, data: b"" });
            assert!(refused.is_err_and(|bad| bad == BadShare));
        }
    }

    // draft-irtf-cfrg-cpace-21, A.1.2: the vectors of prepend_len.
    #[test]
    fn lengths_are_leb128() {
        assert_eq!(length(0), [0]);
        assert_eq!(length(4), [4]);
        assert_eq!(length(127), [0x7f]);
        assert_eq!(length(128), [0x80, 0x01]);
    }

    #[test]
    fn a_password_longer_than_the_hash_block_needs_no_padding() {
        let long = [7; 200];
        let context = |password| Context { password, channel: b"", session_id: b"" };
        assert_ne!(generator(&context(&long)), generator(&context(&long[..199])));
    }
}
