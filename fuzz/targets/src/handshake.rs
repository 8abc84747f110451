//! Any bytes as the first message of a session, and as the answer to one.

use provisioning_core::domain::Pairing;
use provisioning_core::secret::{SecretBytes, SecretText};
use provisioning_core::session::{self, Opening, PhoneSecret};
use provisioning_core::wire::{Open, Outbound, Record};
use testing::random::Random;

/// Runs one input.
pub fn run(data: &[u8]) {
    let pairing = Pairing { code: SecretText::new("071934".into()), secret: SecretBytes::new([7; 16]) };
    if let Ok(open) = Open::decode(data) {
        let checked = session::check(&open);
        let accepted = session::accept(&open, &pairing, "node", &["voice".into()], &mut Random(1));
        // A message that passes the check counts as a guess, so the node must be able to answer it.
        assert_eq!(checked.is_ok(), accepted.is_ok());
        if let Ok((unconfirmed, _)) = accepted {
            let forged = Record { counter: 0, sealed: data.to_vec(), confirmation: data.get(..64).unwrap_or(data).to_vec() };
            assert!(!unconfirmed.confirms(&forged), "a confirmation out of nothing");
        }
    }
    if let Ok(Outbound::Accept(accept)) = Outbound::decode(data) {
        let (opening, _) = Opening::new("node", &PhoneSecret::Code(SecretText::new("071934".into())), &mut Random(1));
        assert!(opening.read(&accept).is_err(), "a node out of nothing");
    }
}
