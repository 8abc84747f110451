//! SRP-6a in the 3072-bit group of RFC 5054, appendix A, with SHA-512, as Espressif's clients compute it.
//!
//! The node is the server. Where RFC 5054 hashes an integer in 384 bytes, Espressif's clients hash it without leading zeros,
//! except in `k`, `u` and the generator's hash in M1, where they pad it, too.
//!
//! ```text
//! k  = H(N, PAD(g))              u = H(PAD(A), PAD(B))
//! x  = H(s, H(I, ":", p))        v = g^x
//! B  = k·v + g^b                 S = (A · v^u)^b
//! K  = H(S)
//! M1 = H(H(N) xor H(PAD(g)), H(I), s, A, B, K)
//! M2 = H(A, M1, K)
//! ```
//!
//! Exponentiation takes the same time for every exponent and base. What depends on a secret is erased.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U512, U3072};
use rand_core::CryptoRng;
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of an element of the group.
pub const ELEMENT: usize = 384;
/// Bytes of a salt.
pub const SALT: usize = 16;
/// Bytes of the server's exponent: twice the group's strength in bits.
const EXPONENT: usize = 32;
/// The same in bits.
const EXPONENT_BITS: u32 = 256;
/// Bytes of a hash.
const HASH: usize = 64;

/// N.
const PRIME: U3072 = U3072::from_be_hex(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
     020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
     4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
     98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
     9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
     E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718\
     3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33\
     A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
     ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864\
     D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2\
     08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
);
/// g.
const GENERATOR: u8 = 5;

/// A client's share, A: neither 0 nor a multiple of N, which would make S independent of the password.
#[derive(Clone)]
pub struct PublicKey(U3072);

impl PublicKey {
    /// Parses a share of at most 384 bytes. Values of N and above are refused as well: no client sends them.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut padded = [0; ELEMENT];
        padded[ELEMENT.checked_sub(bytes.len())?..].copy_from_slice(bytes);
        let value = U3072::from_be_slice(&padded);
        (value != U3072::ZERO && value < PRIME).then_some(Self(value))
    }

    fn bytes(&self) -> [u8; ELEMENT] {
        let mut bytes = [0; ELEMENT];
        bytes.copy_from_slice(self.0.to_be_bytes().as_ref());
        bytes
    }
}

/// The server's side of one run.
pub struct Server {
    /// s; its first byte is not 0.
    pub salt: [u8; SALT],
    /// B; its first byte is not 0.
    pub public_key: [u8; ELEMENT],
    /// M1: what the client must prove.
    pub expected: Zeroizing<[u8; HASH]>,
    /// M2: the proof for the client.
    pub proof: Zeroizing<[u8; HASH]>,
    /// K.
    pub key: Zeroizing<[u8; HASH]>,
}

impl Server {
    /// Answers a client. Draws salt and exponent again until no client can see leading zeros in salt or B, because clients
    /// differ in whether they hash them.
    pub fn new(user: &[u8], password: &[u8], client: &PublicKey, rng: &mut impl CryptoRng) -> Self {
        let mut salt = [0; SALT];
        while salt[0] == 0 {
            rng.fill_bytes(&mut salt);
        }
        let verifier = verifier(user, password, &salt);
        loop {
            let mut exponent = Zeroizing::new([0; EXPONENT]);
            rng.fill_bytes(&mut *exponent);
            let server = Self::with(user, &salt, &verifier, client, &exponent);
            if server.public_key[0] != 0 {
                return server;
            }
        }
    }

    /// The same with a given salt, verifier and exponent.
    fn with(user: &[u8], salt: &[u8; SALT], verifier: &Element, client: &PublicKey, exponent: &[u8; EXPONENT]) -> Self {
        let group = group();
        let exponent = Zeroizing::new(U512::from_be_slice(&*padded(exponent)));
        let k = reduced(&hash(&[PRIME.to_be_bytes().as_ref(), &pad(&[GENERATOR])]), &group);
        let power = Element(generator(&group).pow_bounded_exp(&exponent, EXPONENT_BITS));
        let public_key = bytes(&(k * verifier.0 + power.0));
        let client_key = client.bytes();
        let u = U512::from_be_slice(&*hash(&[&client_key, &public_key]));
        let base = Element(FixedMontyForm::new(&client.0, &group) * verifier.0.pow(&u));
        let secret = Element(base.0.pow_bounded_exp(&exponent, EXPONENT_BITS));
        let shared = Zeroizing::new(bytes(&secret.0));
        let key = hash(&[stripped(&*shared)]);
        let mut group_hash = hash(&[PRIME.to_be_bytes().as_ref()]);
        for (byte, other) in group_hash.iter_mut().zip(&*hash(&[&pad(&[GENERATOR])])) {
            *byte ^= other;
        }
        let (client_key, server_key) = (stripped(&client_key), stripped(&public_key));
        let expected = hash(&[&*group_hash, &*hash(&[user]), stripped(salt), client_key, server_key, &*key]);
        let proof = hash(&[client_key, &*expected, &*key]);
        Self { salt: *salt, public_key, expected, proof, key }
    }
}

/// An element of the group, erased when it is dropped.
struct Element(FixedMontyForm<{ U3072::LIMBS }>);

impl Drop for Element {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

type Group = FixedMontyParams<{ U3072::LIMBS }>;

fn group() -> Group {
    FixedMontyParams::new(Odd::new(PRIME).expect("N is odd"))
}

fn generator(group: &Group) -> FixedMontyForm<{ U3072::LIMBS }> {
    FixedMontyForm::new(&U3072::from(GENERATOR), group)
}

/// v, from which the server computes.
fn verifier(user: &[u8], password: &[u8], salt: &[u8]) -> Element {
    let identity = hash(&[user, b":", password]);
    let x = Zeroizing::new(U512::from_be_slice(&*hash(&[stripped(salt), &*identity])));
    Element(generator(&group()).pow(&x))
}

/// A hash as an element of the group.
fn reduced(hash: &[u8; HASH], group: &Group) -> FixedMontyForm<{ U3072::LIMBS }> {
    FixedMontyForm::new(&U3072::from_be_slice(&pad(hash)), group)
}

fn bytes(value: &FixedMontyForm<{ U3072::LIMBS }>) -> [u8; ELEMENT] {
    let mut bytes = [0; ELEMENT];
    let mut retrieved = value.retrieve();
    bytes.copy_from_slice(retrieved.to_be_bytes().as_ref());
    retrieved.zeroize();
    bytes
}

/// PAD: an integer in 384 bytes.
fn pad(bytes: &[u8]) -> [u8; ELEMENT] {
    let mut padded = [0; ELEMENT];
    padded[ELEMENT - bytes.len()..].copy_from_slice(bytes);
    padded
}

fn padded(exponent: &[u8; EXPONENT]) -> Zeroizing<[u8; HASH]> {
    let mut padded = Zeroizing::new([0; HASH]);
    padded[HASH - EXPONENT..].copy_from_slice(exponent);
    padded
}

/// An integer without leading zeros.
fn stripped(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros.min(bytes.len() - 1)..]
}

fn hash(parts: &[&[u8]]) -> Zeroizing<[u8; HASH]> {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    Zeroizing::new(hash.finalize().into())
}
