//! Scripted randomness, and both ends of a session without a machine between them.

use std::convert::Infallible;

use provisioning_core::domain::Pairing;
use provisioning_core::secret::{SecretBytes, SecretText};
use provisioning_core::session::{self, Opening, PhoneSecret, Session};
use provisioning_core::wire::Open;
use rand_core::{TryCryptoRng, TryRng};

pub(crate) use testing::random::Random;

pub(crate) const NODE_ID: &str = "jarvis-5b91b661";
pub(crate) const CODE: &str = "071934";
pub(crate) const QR: [u8; 16] = *b"0123456789:;<=>?";

/// Yields exactly these bytes, and panics after the last one.
pub(crate) struct Scripted(pub(crate) Vec<u8>);

impl TryRng for Scripted {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let rest = self.0.split_off(bytes.len());
        bytes.copy_from_slice(&std::mem::replace(&mut self.0, rest));
        Ok(())
    }
}

impl TryCryptoRng for Scripted {}

pub(crate) fn pairing() -> Pairing {
    Pairing { code: SecretText::new(CODE.into()), secret: SecretBytes::new(QR) }
}

pub(crate) fn code(code: &str) -> PhoneSecret {
    PhoneSecret::Code(SecretText::new(code.into()))
}

pub(crate) fn qr() -> PhoneSecret {
    PhoneSecret::Qr(SecretBytes::new(QR))
}

/// A successful handshake: the phone's session, the node's, and the phone's message.
pub(crate) fn established(seed: u64) -> (Session, Session, Open) {
    let mut rng = Random(seed);
    let (opening, open) = Opening::new(NODE_ID, &code(CODE), &mut rng);
    let (unconfirmed, accept) = session::accept(&open, &pairing(), NODE_ID, &[], &mut rng).expect("an honest phone");
    let phone = opening.read(&accept).expect("an honest node");
    (phone, unconfirmed.established(), open)
}

pub(crate) fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16).expect("a hexadecimal digit")).expect("below 16");
    hexadecimal.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
