//! One of Espressif's apps: the client's side of its session, and the messages that it writes.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U512, U3072};
use provisioning_core::espressif::Endpoint;
use provisioning_core::machine::{Input, Link};
use sha2::{Digest, Sha512};

use crate::world::World;

/// A protobuf message of fields with a number and bytes, or a number and a number.
pub(crate) fn message(fields: &[(u8, Value<'_>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let varint = |bytes: &mut Vec<u8>, mut number: usize| {
        while number > 0x7f {
            bytes.push(u8::try_from(number & 0x7f).expect("7 bits") | 0x80);
            number >>= 7;
        }
        bytes.push(u8::try_from(number).expect("7 bits"));
    };
    for (number, value) in fields {
        match value {
            Value::Bytes(content) => {
                varint(&mut bytes, usize::from(*number) << 3 | 2);
                varint(&mut bytes, content.len());
                bytes.extend_from_slice(content);
            }
            Value::Number(content) => {
                varint(&mut bytes, usize::from(*number) << 3);
                varint(&mut bytes, *content);
            }
        }
    }
    bytes
}

/// The value of a field.
pub(crate) enum Value<'a> {
    Bytes(&'a [u8]),
    Number(usize),
}

pub(crate) use Value::{Bytes, Number};

/// The content of the first field of that number, if it is bytes; fields before it may be anything.
pub(crate) fn field(mut bytes: &[u8], wanted: usize) -> Option<&[u8]> {
    let varint = |bytes: &mut &[u8]| {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = bytes.split_first()?;
            *bytes = rest;
            number |= usize::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                break;
            }
        }
        Some(number)
    };
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = varint(&mut bytes)?;
        if key & 7 == 2 {
            let (content, rest) = bytes.split_at_checked(value)?;
            if key >> 3 == wanted {
                return Some(content);
            }
            bytes = rest;
        }
    }
    None
}

pub(crate) fn hello(user: &[u8], share: &[u8]) -> Vec<u8> {
    message(&[(2, Number(2)), (12, Bytes(&message(&[(20, Bytes(&message(&[(1, Bytes(user)), (2, Bytes(share))])))])))])
}

pub(crate) fn proof(proof: &[u8]) -> Vec<u8> {
    message(&[(2, Number(2)), (12, Bytes(&message(&[(1, Number(2)), (22, Bytes(&message(&[(1, Bytes(proof))])))])))])
}

pub(crate) fn set(ssid: &str, passphrase: &str) -> Vec<u8> {
    let network = message(&[(1, Bytes(ssid.as_bytes())), (2, Bytes(passphrase.as_bytes()))]);
    message(&[(1, Number(2)), (12, Bytes(&network))])
}

pub(crate) fn apply() -> Vec<u8> {
    message(&[(1, Number(4)), (14, Bytes(&[]))])
}

pub(crate) fn state() -> Vec<u8> {
    message(&[(10, Bytes(&[]))])
}

pub(crate) fn start() -> Vec<u8> {
    message(&[(10, Bytes(&message(&[(1, Number(1)), (3, Number(5)), (4, Number(120))])))])
}

/// The app, once its session is open.
pub(crate) struct App {
    pub(crate) link: Link,
    cipher: Aes256Gcm,
    prefix: [u8; 8],
    counter: u32,
}

impl App {
    /// Writes a message, and takes what the node has answered when nothing more happens; none if the answer still waits.
    pub(crate) fn write(world: &mut World, link: Link, endpoint: Endpoint, message: Vec<u8>) -> Option<Vec<u8>> {
        world.app_answers.retain(|(to, _)| *to != link);
        world.input(Input::Espressif { link, endpoint, message }).expect("no cut is planned");
        while world.app_answers.iter().all(|(to, _)| *to != link) && !world.commands.is_empty() {
            world.work().expect("no cut is planned");
        }
        Self::taken(world, link)
    }

    /// The answer to an app, among what other links were told.
    fn taken(world: &mut World, link: Link) -> Option<Vec<u8>> {
        let mut own = world.told(link);
        assert!(own.len() <= 1, "one answer to one message");
        own.pop()
    }

    /// Opens a session; none if the node refuses.
    pub(crate) fn open(world: &mut World, link: Link, user: &[u8], password: &[u8]) -> Option<Self> {
        let group = FixedMontyParams::new(Odd::new(prime()).expect("odd"));
        let number = |bytes: &[u8]| FixedMontyForm::new(&U3072::from_be_slice(&padded(bytes)), &group);
        let bytes = |form: FixedMontyForm<{ U3072::LIMBS }>| form.retrieve().to_be_bytes().as_ref().to_vec();
        let exponent = U512::from_be_slice(&[0x5a; 64]);
        let share = bytes(number(&[5]).pow(&exponent));
        let answer = Self::write(world, link, Endpoint::Session, hello(user, &share))?;
        let challenge = field(field(&answer, 12)?, 21)?.to_vec();
        let (server, salt) = (field(&challenge, 2)?, field(&challenge, 3)?);
        let k = number(&hash(&[&padded(prime().to_be_bytes().as_ref()), &padded(&[5])]));
        let u = U512::from_be_slice(&hash(&[&share, server]));
        let x = U512::from_be_slice(&hash(&[salt, &hash(&[user, b":", password])]));
        let base = number(server) - k * number(&[5]).pow(&x);
        let secret = bytes(base.pow(&exponent) * base.pow(&u).pow(&x));
        let key = hash(&[stripped(&secret)]);
        let head: Vec<u8> =
            hash(&[prime().to_be_bytes().as_ref()]).iter().zip(hash(&[&padded(&[5])])).map(|(a, b)| a ^ b).collect();
        let own = hash(&[&head, &hash(&[user]), salt, stripped(&share), server, &key]);
        let answer = Self::write(world, link, Endpoint::Session, proof(&own))?;
        let verified = field(field(&answer, 12)?, 23)?.to_vec();
        assert_eq!(field(&verified, 2)?, hash(&[stripped(&share), &own, &key]));
        let prefix = field(&verified, 3)?[..8].try_into().expect("8 bytes");
        Some(Self { link, cipher: Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(&key[..32])), prefix, counter: 1 })
    }

    fn nonce(&mut self) -> [u8; 12] {
        let nonce = [&self.prefix[..], &self.counter.to_be_bytes()].concat();
        self.counter += 1;
        nonce.try_into().expect("12 bytes")
    }

    pub(crate) fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        let nonce = self.nonce();
        self.cipher.encrypt(Nonce::from_slice(&nonce), message).expect("short")
    }

    /// Asks, and opens the answer.
    pub(crate) fn ask(&mut self, world: &mut World, endpoint: Endpoint, message: &[u8]) -> Option<Vec<u8>> {
        let sealed = self.seal(message);
        let answer = Self::write(world, self.link, endpoint, sealed)?;
        self.opened(&answer)
    }

    pub(crate) fn opened(&mut self, answer: &[u8]) -> Option<Vec<u8>> {
        let nonce = self.nonce();
        self.cipher.decrypt(Nonce::from_slice(&nonce), answer).ok()
    }
}

fn prime() -> U3072 {
    let (_, text) = include_str!("../../src/espressif/srp.rs").split_once("from_be_hex(").expect("the prime is there");
    let digits: String = text.split('"').nth(1).expect("a text").chars().filter(char::is_ascii_hexdigit).collect();
    U3072::from_be_hex(&digits)
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = vec![0; 384 - bytes.len()];
    padded.extend_from_slice(bytes);
    padded
}

fn stripped(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]
}

fn hash(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().to_vec()
}
